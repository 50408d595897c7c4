"""Run us and other programs side by side on the same big captures, and print who takes how long.

    make bench                                       everything: takes 24 GB of disk and some minutes
    .venv/bin/python bench/run.py --scale 0.02       a quick look

Whole processes, prompt to prompt: the median of --rounds wall times, and the most memory. The file is in the page
cache (read once before), the programs take turns, so that whatever else the machine does hits all of them; so do the
captures whose figures are compared. A full run on a compiled engine writes its results into bench/README.md.
"""

from __future__ import annotations

import compileall
import json
import os
import platform
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import captures
import growth

if TYPE_CHECKING:
    import argparse
    from collections.abc import Collection, Iterator, Sequence

HERE = Path(__file__).resolve().parent
README = HERE / "README.md"
BEGIN, END = "<!-- results: bench/run.py -->", "<!-- end of results -->"

OURS = Path(sys.executable).with_name("selfconn-analyze")
EQUAL_ENDS = "tcp[0:2]=tcp[2:2] and ip[12:4]=ip[16:4]"

# -- who runs on what -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Program:
    """A contestant: its command line, where FILE is the capture; *pure* has our engine interpreted."""

    name: str
    command: tuple[str, ...]
    pure: bool = False

    @property
    def ours(self) -> bool:
        """Whether it is selfconn-analyze."""
        return self.command[0] == str(OURS)


ONLY = Program("selfconn-analyze --only self-connect", (str(OURS), "--only", "self-connect", "FILE"))
ONE_THREAD = Program(
    "selfconn-analyze --only self-connect -q --jobs 1", (*ONLY.command[:-1], "-q", "--jobs", "1", "FILE")
)
EVERY = Program("selfconn-analyze", (str(OURS), "FILE"))
PURE_ONLY = Program("selfconn-analyze --only self-connect, interpreted", ONLY.command, pure=True)
PURE = Program("selfconn-analyze, interpreted", EVERY.command, pure=True)
TCPDUMP = Program("tcpdump, equal endpoints", ("tcpdump", "-n", "-r", "FILE", EQUAL_ENDS))
DD = Program("dd bs=1M", ("dd", "bs=1M", "if=FILE", "of=/dev/null"))
FINDING = Program("the same tests in a loop in C (bench/finding.c)", (str(captures.DIRECTORY / "finding"), "FILE"))
TSHARK = Program("tshark -q -z conv,tcp", ("tshark", "-q", "-z", "conv,tcp", "-r", "FILE"))
TCPTRACE = Program("tcptrace -n", ("tcptrace", "-n", "FILE"))
DPKT = Program("dpkt, equal endpoints", (sys.executable, str(HERE / "peers.py"), "dpkt", "FILE"))
SCAPY = Program("scapy, equal endpoints", (sys.executable, str(HERE / "peers.py"), "scapy", "FILE"))


@dataclass(frozen=True)
class Heat:
    """Programs that run in turn on one capture of so many packets; *rounds* where it is not --rounds."""

    capture: str
    packets: int
    programs: tuple[Program, ...]
    rounds: int | None = None


HEATS = {
    "storm": Heat("storm", captures.CAPTURES["storm"].packets, (ONLY, ONE_THREAD, FINDING, TCPDUMP, EVERY, DD)),
    "flood": Heat("flood", captures.CAPTURES["flood"].packets, (ONLY, TCPDUMP, EVERY)),
    "million": Heat("storm", 1_000_000, (EVERY, PURE, TSHARK, PURE_ONLY, TCPTRACE)),
    "bulk": Heat("bulk", captures.CAPTURES["bulk"].packets, (ONLY, TCPDUMP, EVERY, DD)),
    "web": Heat("web", captures.CAPTURES["web"].packets, (ONLY, TCPDUMP, EVERY)),
    "long": Heat("storm", 125_000_000, (EVERY,), rounds=1),  # 10 GB: for its memory
    "small": Heat("storm", 100_000, (EVERY, PURE, DPKT, SCAPY)),
}
#: Heats that values() compares with each other: they take turns as their programs do.
COMPARED = ("storm", "flood", "million")


@dataclass(frozen=True)
class Target:
    """A promise: *value* of the results must be at least, or at most, *bound*."""

    what: str
    value: str  # key of _values()
    bound: float
    at_least: bool = True

    def met(self, value: float) -> bool:
        """Whether this value keeps it."""
        return value >= self.bound if self.at_least else value <= self.bound


TARGETS = (
    Target("--only self-connect on the storm: times as fast as tcpdump", "storm only", 4),
    Target("--only self-connect -q on the storm, one thread: time of a loop in C", "storm C", 1.2, at_least=False),
    Target("--only self-connect on full frames: times as fast as tcpdump", "bulk only", 2),
    Target("--only self-connect on full frames: time of dd", "bulk dd", 2, at_least=False),
    Target("all verdicts on the storm: time of tcpdump's filter", "storm every", 2, at_least=False),
    Target("all verdicts: packets a second of tshark -z conv,tcp (a million packets)", "tshark", 100),
    Target("all verdicts: packets a second of tcptrace (a million packets)", "tcptrace", 30),
    Target("SYN flood: MB of memory", "flood memory", 100, at_least=False),
    Target("SYN flood: time a packet, of the storm's", "flood", 2, at_least=False),
    Target("10 GB: MB of memory", "long memory", 100, at_least=False),
    Target("interpreted: times as fast as tshark -z conv,tcp (a million packets)", "pure", 2),
)

# -- measuring ------------------------------------------------------------------------------------------------------


@dataclass
class Times:
    """What was measured of one program in one heat: seconds of each round, octets of memory."""

    program: Program
    packets: int
    octets: int
    seconds: list[float] = field(default_factory=list)
    memory: int = 0

    @property
    def median(self) -> float:
        """Seconds."""
        return statistics.median(self.seconds)

    @property
    def rate(self) -> float:
        """Packets a second."""
        return self.packets / self.median


def say(text: str) -> None:
    """Tell the user how far it is."""
    sys.stderr.write(text + "\n")


def command(program: Program, path: Path, pure: Path) -> tuple[list[str], dict[str, str]]:
    """Say how *program* is called on *path*, and in which environment; *pure* is the tree without a compiled engine."""
    arguments = [argument.replace("FILE", str(path)) for argument in program.command]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if program.pure:
        arguments[:1] = [sys.executable, "-P", "-m", "analysis.cli"]
        environment["PYTHONPATH"] = str(pure)
    return arguments, environment


def measure(program: Program, path: Path, pure: Path) -> tuple[float, int]:
    """Run it once: seconds from start to end, octets of memory at the most (never less than ours here)."""
    arguments, environment = command(program, path, pure)
    executable = shutil.which(arguments[0])
    assert executable  # noqa: S101 -- absentees were sorted out
    nothing = [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in range(3)]
    begin = time.perf_counter()
    process = os.posix_spawn(executable, arguments, environment, file_actions=nothing)
    _, status, used = os.wait4(process, 0)
    seconds = time.perf_counter() - begin
    check_status(program, arguments, os.waitstatus_to_exitcode(status))
    return seconds, used.ru_maxrss * 1024


def check_status(program: Program, arguments: Sequence[str], status: int) -> None:
    """Exit where a program failed. Ours ends the flood with 4: the table does not hold all of its conversations."""
    if status not in ((0, 4) if program.ours else (0,)):
        sys.exit(f"{' '.join(arguments)} ended with status {status}")


def made(directory: Path, name: str, packets: int) -> Path:
    """The capture, made by a process of its own: what this one needed in memory, its children would seem to need."""
    scale = packets / captures.CAPTURES[name].packets
    program = [sys.executable, str(HERE / "captures.py"), "--dir", str(directory), "--scale", repr(scale), name]
    answer = subprocess.run(program, stdout=subprocess.PIPE, text=True, check=False)  # noqa: S603 -- our own program
    if answer.returncode:
        sys.exit(answer.returncode)
    return Path(answer.stdout.removesuffix("\n"))


def read_once(path: Path) -> None:
    """Bring a file into the page cache."""
    with path.open("rb", buffering=0) as file:
        buffer = bytearray(1 << 20)
        while file.readinto(buffer):
            pass


@dataclass
class Ready:
    """A heat that can begin: its capture, who takes part, and what was measured of each."""

    heat: Heat
    path: Path
    times: list[Times]


def run(heats: Sequence[Ready], rounds: int, pure: Path) -> None:
    """Let the programs, and these heats, take turns."""
    for one in heats:
        read_once(one.path)
    for turn in range(rounds):
        for one in heats:
            if one.heat.rounds is None or turn < one.heat.rounds:
                for times in one.times:
                    seconds, memory = measure(times.program, one.path, pure)
                    times.seconds.append(seconds)
                    times.memory = max(times.memory, memory)


def verify(name: str, packets: int, path: Path, programs: Sequence[Program], pure: Path) -> None:
    """See to it that our answers are right, and the same from the interpreted engine; else exit."""
    expected = captures.CAPTURES[name].verdicts(packets)
    answers = set()
    for program in programs:
        if not program.ours:
            continue
        arguments, environment = command(program, path, pure)
        arguments += ["--format", "json"]
        ended = subprocess.run(  # noqa: S603 -- our own program
            arguments, env=environment, stdout=subprocess.PIPE, check=False
        )
        check_status(program, arguments, ended.returncode)
        answer = ended.stdout
        counted = json.loads(answer)["captures"][0]["verdicts"]
        wanted = {verdict: count for verdict, count in expected.items() if verdict in counted}
        if {verdict: count for verdict, count in counted.items() if count} != wanted:
            sys.exit(f"{program.name}: {path} holds {wanted}, it found {counted}")
        answers.add(("--only" in program.command, answer))
    if len({only for only, _ in answers}) != len(answers):
        sys.exit(f"{path}: the interpreted engine says something else than the compiled one")


@contextmanager
def interpreted() -> Iterator[Path]:
    """Copy our packages to a place where no compiled engine lies beside them."""
    with tempfile.TemporaryDirectory(prefix="selfconn-bench-") as directory:
        leave = shutil.ignore_patterns("*.so", "*.c", "__pycache__")
        shutil.copytree(HERE.parent / "analysis", Path(directory) / "analysis", ignore=leave)
        compileall.compile_dir(directory, quiet=1)  # as an installation does
        yield Path(directory)


# -- who is here ----------------------------------------------------------------------------------------------------


def absent(program: Program) -> str | None:
    """Why *program* cannot run here, None where it can."""
    name = program.command[0]
    if program.ours and not OURS.exists():
        return f"{OURS} is missing: run make bench"
    if program is FINDING and not Path(name).exists():
        return f"{name} is missing: make bench compiles it"
    if shutil.which(name) is None:
        return f"{name} is not installed; as root, make bench installs it where there is an apt-get"
    if program in {DPKT, SCAPY}:
        library = program.command[2]
        answer = subprocess.run(  # noqa: S603 -- our own interpreter
            [name, "-c", f"import {library}"], stderr=subprocess.DEVNULL, check=False
        )
        if answer.returncode:
            return f"Python has no {library}: {name} -m pip install {library}"
    return None


def versions() -> str:
    """Name the programs that took part, with their versions."""
    asked = {
        "selfconn-analyze": [str(OURS), "--version"],
        "tcpdump": ["tcpdump", "--version"],
        "tshark": ["tshark", "--version"],
        "tcptrace": ["tcptrace", "-version"],
        "dd": ["dd", "--version"],
    }
    found = []
    for name, line in asked.items():
        if shutil.which(line[0]):
            answer = subprocess.run(line, capture_output=True, text=True, check=False)  # noqa: S603 -- as above
            number = re.search(r"\d+\.\d[\w.]*", answer.stdout + answer.stderr)
            found.append(f"{name} {number[0] if number else '?'}")
    for library in ("dpkt", "scapy"):
        code = f"import importlib.metadata as m; print(m.version({library!r}))"
        answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)  # noqa: S603
        if answer.returncode == 0:
            found.append(f"{library} {answer.stdout.strip()}")
    return ", ".join(found)


def machine() -> str:
    """Outline the machine: nothing that names it."""
    cpuinfo = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    model = re.search(r"^model name\s*:\s*(.+)$", cpuinfo, re.MULTILINE)
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return (
        f"{os.cpu_count()} cores, {model[1] if model else platform.machine()}, {memory:.0f} GiB of memory, "
        f"Linux {'.'.join(platform.release().split('.')[:2])}, Python {platform.python_version()}"
    )


# -- the results ----------------------------------------------------------------------------------------------------

Results = dict[str, dict[Program, Times]]


def values(results: Results) -> dict[str, float]:
    """Take what the targets are about from the results, as far as it was measured."""
    found: dict[str, float] = {}

    def ratio(name: str, above: tuple[str, Program], below: tuple[str, Program]) -> None:
        """Time of one over time of the other, a packet."""
        one, other = (results.get(heat, {}).get(program) for heat, program in (above, below))
        if one and other:
            found[name] = other.rate / one.rate

    ratio("storm only", ("storm", TCPDUMP), ("storm", ONLY))
    ratio("storm C", ("storm", ONE_THREAD), ("storm", FINDING))
    ratio("bulk only", ("bulk", TCPDUMP), ("bulk", ONLY))
    ratio("bulk dd", ("bulk", ONLY), ("bulk", DD))
    ratio("storm every", ("storm", EVERY), ("storm", TCPDUMP))
    ratio("tshark", ("million", TSHARK), ("storm", EVERY))
    ratio("tcptrace", ("million", TCPTRACE), ("storm", EVERY))
    ratio("flood", ("flood", EVERY), ("storm", EVERY))
    ratio("pure", ("million", TSHARK), ("million", PURE))
    for heat in ("flood", "long"):
        if heat in results:
            found[f"{heat} memory"] = results[heat][EVERY].memory / 1e6
    return found


def report(results: Results, missing: dict[str, str], load: float, floor: int, scale: float) -> Iterator[str]:
    """Write the results as Markdown."""
    yield f"{machine()}; load average before the run {load:.1f}.\n{versions()}."
    yield f"Memory below {floor / 1e6:.0f} MB cannot be told from that of the program that measures.\n"
    if scale != 1:
        yield f"Captures of {scale:g} times their size, for which the targets are not meant.\n"
    yield "| target | | here | |\n|---|--:|--:|---|"
    found = values(results)
    for target in TARGETS:
        bound = f"{'>=' if target.at_least else '<='} {target.bound:g}"
        value = found.get(target.value)
        judged = "" if scale != 1 else "met" if value is not None and target.met(value) else "**missed**"
        here = "not measured | " if value is None else f"{value:.3g} | {judged}"
        yield f"| {target.what} | {bound} | {here} |"
    for heat, measured in results.items():
        times = next(iter(measured.values()))
        kind = HEATS[heat].capture
        yield f"\n**{heat}**: {kind}, {times.packets:,} packets, {times.octets / 1e9:.2g} GB\n"
        yield "| | seconds | (fastest, slowest) | packets/s | GB/s | memory MB |\n|---|--:|---|--:|--:|--:|"
        for program, times in measured.items():
            yield (
                f"| {program.name} | {times.median:.3f} | ({min(times.seconds):.3f}, {max(times.seconds):.3f}) | "
                f"{rounded(times.rate)} | {times.octets / times.median / 1e9:.2g} | {times.memory / 1e6:.0f} |"
            )
    for name, why in missing.items():
        yield f"\nNot measured: {name}. {why}."


def rounded(number: float) -> str:
    """Three figures, thousands set apart."""
    return f"{float(f'{number:.3g}'):,.0f}"


def write(lines: str) -> None:
    """Put the results into bench/README.md."""
    head, _, rest = README.read_text().partition(BEGIN)
    README.write_text(f"{head}{BEGIN}\n\n{lines}\n\n{END}{rest.partition(END)[2]}")


def prepared(name: str, asked: argparse.Namespace, missing: Collection[str], pure: Path) -> Ready | None:
    """Make the capture of that heat, and see to it that our answers are right; None where nobody can take part."""
    heat = HEATS[name]
    packets = round(heat.packets * asked.scale)
    programs = [program for program in heat.programs if program.name not in missing]
    if not programs:
        return None
    say(f"{name}: {packets:,} packets")
    path = made(asked.dir, heat.capture, packets)
    if path.stat().st_size > available():
        say(f"{path} is larger than the memory that is free: this will measure the disk")
    verify(heat.capture, packets, path, programs, pure)
    return Ready(heat, path, [Times(program, packets, path.stat().st_size) for program in programs])


def main() -> None:
    """Run what was asked for."""
    options = captures.parser(__doc__ or "", HEATS)
    options.add_argument("--rounds", type=int, default=5, help="runs of each program (5)")
    options.add_argument("--discard", action="store_true", help="delete each capture when it is done with")
    asked = options.parse_args()
    results: Results = {}
    missing = {p.name: why for heat in HEATS.values() for p in heat.programs if (why := absent(p))}
    load = os.getloadavg()[0]
    with interpreted() as pure:
        names = asked.names or list(HEATS)
        compared = [name for name in names if name in COMPARED]
        for group in [compared, *([name] for name in names if name not in COMPARED)]:
            ready = {name: one for name in group if (one := prepared(name, asked, missing, pure))}
            run(list(ready.values()), asked.rounds, pure)
            for name, one in ready.items():
                results[name] = {times.program: times for times in one.times}
                if asked.discard:
                    one.path.unlink()
    floor = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    lines = "\n".join(report(results, missing, load, floor, asked.scale))
    if not asked.names:
        say("many small captures, every opening, and growth")
        lines += "\n" + "\n".join(growth.report(asked.dir, asked.rounds, asked.scale))
    sys.stdout.write(lines + "\n")
    if asked.scale == 1 and results.keys() == HEATS.keys():
        write(lines)
        say(f"written into {README}")
    if not asked.discard:
        say(f"the captures stay in {asked.dir}; make clean removes .cache")


def available() -> int:
    """Octets of memory that files can be cached in."""
    meminfo = Path("/proc/meminfo").read_text(encoding="ascii")
    found = re.search(r"^MemAvailable:\s*(\d+) kB", meminfo, re.MULTILINE)
    return int(found[1]) * 1024 if found else sys.maxsize


if __name__ == "__main__":
    main()
