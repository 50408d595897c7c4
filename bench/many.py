"""Many captures: one process and several, the memory they take, and a cluster of one and of two workers.

    python bench/many.py [--dir DIRECTORY] [--files N]

cuts the storm of bench/captures.py (run bench/run.py or captures.py first) into captures of 10 MB, has them read by
each way in turn, compares the reports octet by octet, and prints the figures.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAIRS = 62_500  # a SYN of 74 and a RST of 54 octets each, with two record headers of 16: 10 MB
PAIR = 160
ROUNDS = 5


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def cut(storm: Path, directory: Path, files: int) -> list[Path]:
    """Cut so many captures out of the storm."""
    made = []
    with storm.open("rb") as source:
        head = source.read(24)
        for number in range(files):
            made.append(directory / f"{number:04}.pcap")
            made[-1].write_bytes(head + source.read(PAIRS * PAIR))
    return made


def run(output: Path, *arguments: str) -> tuple[float, float]:
    """Run selfconn-analyze; seconds, and MB of memory of its largest process."""
    start = time.monotonic()
    command = [sys.executable, "-m", "analysis.cli", *arguments]
    with output.open("wb") as stream, subprocess.Popen(command, stdout=stream, cwd=ROOT) as process:  # noqa: S603 - ourselves
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        sys.exit(f"{' '.join(command)}: exit status {process.returncode}")
    return time.monotonic() - start, used.ru_maxrss / 1000


def peak(pid: int) -> float:
    """MB of memory that a process had at most."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024 / 1e6
    raise ValueError(pid)


def cluster(workers: int, output: Path, *names: str) -> tuple[float, float, list[float]]:
    """The same on a cluster of so many workers, started before and warm: seconds, MB of the client and of each."""
    from distributed import Client, LocalCluster  # noqa: PLC0415 - only this part needs it

    with (
        LocalCluster(
            n_workers=workers, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None
        ) as ours,
        Client(ours) as client,
    ):
        address = ours.scheduler_address
        run(output, "-q", "--cluster", address, *names)  # the workers import what they need
        seconds, memory = run(output, "-q", "--cluster", address, *names)
        return seconds, memory, [peak(pid) for pid in client.run(os.getpid).values()]


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--dir", type=Path, default=ROOT / ".cache" / "bench")
    options.add_argument("--files", type=int, default=200)
    asked = options.parse_args()
    storm = asked.dir / "storm-40000000.pcap"
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        captures = cut(storm, directory, asked.files)
        names = [str(path) for path in captures]
        octets = sum(path.stat().st_size for path in captures)
        one, two = directory / "one", directory / "two"
        say(f"{len(names)} captures, {octets / 1e9:.2f} GB; median of {ROUNDS}")
        for form in (["-q"], ["--format", "table"], ["--format", "json"]):
            times: dict[str, list[float]] = {"1": [], "2": []}
            for _ in range(ROUNDS):
                times["1"].append(run(one, *form, "--jobs", "1", *names)[0])
                times["2"].append(run(two, *form, "--jobs", "2", *names)[0])
                if not filecmp.cmp(one, two, shallow=False):
                    sys.exit("the reports differ")
            median = {jobs: statistics.median(taken) for jobs, taken in times.items()}
            for jobs, taken in times.items():
                say(f"{' '.join(form)} --jobs {jobs}: {median[jobs]:.2f} s ({min(taken):.2f}, {max(taken):.2f})")
            say(f"ratio {median['1'] / median['2']:.2f}, the reports are equal")
        for count in (20, 200, 2000):
            several = (names * (count // len(names) + 1))[:count]
            say(f"{count} captures, the table: {run(one, '--jobs', '2', *several)[1]:.0f} MB")
        several = (names * 5)[:600]
        seconds = run(one, "-q", "--jobs", "1", *several)[0]
        say(f"{len(several)} captures, {octets * len(several) / len(names) / 1e9:.1f} GB: one process {seconds:.2f} s")
        for workers in (1, 2):
            seconds, client, each = cluster(workers, two, *several)
            equal = "equal" if filecmp.cmp(one, two, shallow=False) else "DIFFERENT"
            memory = ", ".join(f"{megabytes:.0f}" for megabytes in each)
            say(f"{workers} workers: {seconds:.2f} s; client {client:.0f} MB, workers {memory} MB; report {equal}")


if __name__ == "__main__":
    main()
