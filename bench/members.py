"""gzip that states where its members begin (bgzip), and gzip that does not: how long a capture takes to read.

    python bench/members.py [--dir DIRECTORY] [--scale S] [--rounds N] [NAME...]

compresses captures of bench/captures.py both ways (the storm, a tenth of it, where nothing is named), has them read in
turns, compares the reports, and prints seconds by the clock, the median and the least, and of processors.
"""

from __future__ import annotations

import gzip
import itertools
import os
import statistics
import struct
import subprocess
import sys
import time
import zlib
from typing import TYPE_CHECKING

import captures

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: Octets of a member before it is compressed, and the level: bgzip's own.
SIZE, LEVEL = 0xFF00, 6

#: How selfconn-analyze is started, with zlib-ng (where it is installed) and without.
STARTS = {
    "zlib-ng": ["-m", "analysis.cli"],
    "zlib": ["-c", "import sys; sys.modules['zlib_ng'] = None; from analysis.cli import main; sys.exit(main())"],
}

#: What it is given, and whether the capture is the one in members.
WAYS = {
    "gzip": (["--jobs", "2"], False),
    "bgzip, --jobs 1": (["--jobs", "1"], True),
    "bgzip, --jobs 2": (["--jobs", "2"], True),
}


def members(path: Path) -> Iterator[bytes]:
    """What bgzip makes of a file (SAM specification, 4.1)."""
    with path.open("rb") as source:
        while True:
            octets = source.read(SIZE)
            packer = zlib.compressobj(LEVEL, wbits=-15)
            packed = packer.compress(octets) + packer.flush()
            yield b"\x1f\x8b\x08\x04" + struct.pack("<IBBHBBHH", 0, 0, 255, 6, 66, 67, 2, len(packed) + 25)
            yield packed + struct.pack("<II", zlib.crc32(octets), len(octets))
            if not octets:
                return


def compressed(path: Path) -> tuple[Path, Path]:
    """The capture in one member, and in those of bgzip; what is there already is taken as it is."""
    one, many = path.with_name(f"{path.name}.gz"), path.with_name(f"{path.name}.members.gz")
    if not one.exists():
        one.write_bytes(gzip.compress(path.read_bytes(), LEVEL, mtime=0))
    if not many.exists():
        with many.open("wb") as made:
            made.writelines(members(path))
    return one, many


def run(path: Path, start: list[str], *arguments: str) -> tuple[float, float, bytes]:
    """Read a capture: seconds by the clock and of processors, and the report without its name."""
    began = time.perf_counter()
    command = [sys.executable, *start, *arguments, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=captures.ROOT) as process:  # noqa: S603 - ourselves
        assert process.stdout  # noqa: S101 - for the type checker
        told = process.stdout.read()
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)}: exit status {process.returncode}")
    return time.perf_counter() - began, used.ru_utime + used.ru_stime, told.replace(path.name.encode(), b"")


def measure(both: tuple[Path, Path], rounds: int, library: str, arguments: list[str]) -> None:
    """Read the capture in each way in turns, and print how long it takes. Exits where the reports differ."""
    times: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
    reports = set()
    for _ in range(rounds):
        for way, (jobs, in_members) in WAYS.items():
            clock, processors, told = run(both[in_members], STARTS[library], *arguments, *jobs)
            times[way].append((clock, processors))
            reports.add(told)
    if len(reports) > 1:
        sys.exit("the reports differ")
    sys.stdout.write(f"{both[0].name} {' '.join(arguments)}, {library}: seconds (the fastest), of processors\n")
    for way, found in times.items():
        clocks, used = zip(*found, strict=True)
        median = statistics.median(clocks)
        sys.stdout.write(f"  {way:15} {median:.2f} ({min(clocks):.2f}), {statistics.median(used):.2f}\n")
    sys.stdout.flush()


def main() -> None:
    """Measure and print."""
    options = captures.parser(__doc__ or "", captures.CAPTURES)
    options.add_argument("--rounds", type=int, default=9)
    options.set_defaults(scale=0.1)
    asked = options.parse_args()
    for name in asked.names or ["storm"]:
        packets = round(captures.CAPTURES[name].packets * asked.scale)
        path = captures.made(asked.dir, name, packets)
        both = compressed(path)
        for library, arguments in itertools.product(STARTS, (["-q", "--only", "self-connect"], ["-q"])):
            measure(both, asked.rounds, library, arguments)


if __name__ == "__main__":
    main()
