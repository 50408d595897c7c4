"""How much longer it takes for twice as much; many small captures, every opening shown, and a small capture.

    .venv/bin/python bench/growth.py [--dir DIRECTORY] [--rounds N] [--scale S]

Each figure is processor time of whole processes, of all runs the least: what the machine does besides only adds.
bench/run.py puts both tables into bench/README.md.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import captures
from many import PAIR

if TYPE_CHECKING:
    from collections.abc import Iterator

OURS = Path(sys.executable).with_name("selfconn-analyze")
SMALL = captures.ROOT / "pcaps" / "self-connect-v4.pcapng"
#: Attempts in a small capture of 10 KB; captures in the folder.
PAIRS, FILES = 62, 2_000
TIMES = (1, 2, 4, 8)


class Cost(NamedTuple):
    """Of a process and its children: processor seconds, octets of memory of the largest."""

    seconds: float
    memory: int


def cost(rounds: int, *arguments: str | Path) -> Cost:
    """The least of so many runs of selfconn-analyze."""
    found = []
    for _ in range(rounds):
        with subprocess.Popen([OURS, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:  # noqa: S603 - ourselves
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode not in {0, 4}:  # 4: the table does not hold all conversations of a flood
            sys.exit(f"selfconn-analyze {' '.join(map(str, arguments))}: exit status {process.returncode}")
        found.append(Cost(used.ru_utime + used.ru_stime, used.ru_maxrss * 1024))
    return Cost(min(one.seconds for one in found), min(one.memory for one in found))


class Dimension(NamedTuple):
    """What grows: its name, how much of it at first, what selfconn-analyze is given besides the captures."""

    name: str
    first: int
    options: tuple[str, ...] = ()


PACKETS = Dimension("packets", 1_000_000)
CONVERSATIONS = Dimension("conversations", 125_000, ("-q",))
OPENINGS = Dimension("openings shown (--all, jsonl)", 12_500, ("--all", "--format", "jsonl"))
ATTEMPTS = Dimension("attempts in a walk (json)", 4_000, ("--format", "json"))
FOLDER = Dimension("captures in a folder (-q)", FILES // 8, ("-q", "--jobs", "1"))


def cut(directory: Path, files: int) -> None:
    """Make so many small captures, the attempts of the storm one after the other."""
    storm = captures.made(directory.parent, "storm", 2 * PAIRS * files + 10)
    with storm.open("rb") as source:
        head = source.read(len(captures.PCAP))
        for number in range(files):
            (directory / f"{number:04}.pcap").write_bytes(head + source.read(PAIR * PAIRS))


def of(dimension: Dimension, directory: Path, size: int) -> list[Path]:
    """The captures that hold so much of it."""
    if dimension is FOLDER:
        return sorted((directory / "many").iterdir())[:size]
    kind = "flood" if dimension is CONVERSATIONS else "storm"
    packets = size if dimension in {PACKETS, CONVERSATIONS} else 2 * size
    return [captures.made(directory, kind, packets)]


def grown(directory: Path, rounds: int, scale: float) -> Iterator[str]:
    """A row for each dimension: processor seconds of n, 2 n, 4 n and 8 n, and the last by the first."""
    yield "| what grows | n | n: s | 2 n | 4 n | 8 n | 8 n by n |\n|---|--:|--:|--:|--:|--:|--:|"
    for dimension in (PACKETS, CONVERSATIONS, OPENINGS, ATTEMPTS, FOLDER):
        first = max(int(dimension.first * scale), 1)
        taken = [cost(rounds, *dimension.options, *of(dimension, directory, first * times)).seconds for times in TIMES]
        cells = " | ".join(f"{seconds:.3f}" for seconds in taken)
        yield f"| {dimension.name} | {first:,} | {cells} | {taken[-1] / taken[0]:.1f} |"


def small_things(directory: Path, rounds: int, scale: float) -> Iterator[str]:
    """A row for each of what is small, or many."""
    yield "| | processor time | an opening | memory MB |\n|---|--:|--:|--:|"
    many = sorted((directory / "many").iterdir())
    for form in (("-q",), ("--format", "json")):
        seconds, memory = cost(rounds, *form, "--jobs", "1", *many)
        yield f"| {len(many):,} captures of 10 KB, {' '.join(form)} | {seconds:.2f} s | | {memory / 1e6:.0f} |"
    openings = int(1_000_000 * scale)
    storm = captures.made(directory, "storm", 2 * openings)
    for ending in ("jsonl", "parquet"):
        output = directory / f"every.{ending}"
        seconds, memory = cost(1, "--all", storm, "-o", output)
        output.unlink()
        an_opening = f"{seconds / openings * 1e6:.1f} us"
        yield f"| --all, {openings:,} openings, {ending} | {seconds:.1f} s | {an_opening} | {memory / 1e6:.0f} |"
    seconds, memory = cost(5 * rounds, SMALL)
    yield f"| a small capture, the table | {seconds * 1e3:.0f} ms | | {memory / 1e6:.0f} |"


def report(directory: Path, rounds: int, scale: float) -> Iterator[str]:
    """Measure; both tables, as Markdown."""
    directory.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory) as name:
        here = Path(name)
        (here / "many").mkdir()
        cut(here / "many", int(FILES * scale))
        yield "\n**many and small**: the least processor time of all runs\n"
        yield from small_things(here, rounds, scale)
        yield "\n**growth**: processor seconds\n"
        yield from grown(here, rounds, scale)


def main() -> None:
    """Measure and print."""
    options = captures.parser(__doc__ or "", ())
    options.add_argument("--rounds", type=int, default=3, help="runs of each (3)")
    asked = options.parse_args()
    for line in report(asked.dir, asked.rounds, asked.scale):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
