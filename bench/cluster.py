"""One large capture, read by Dask clusters on this machine, beside --jobs.

    python bench/cluster.py CAPTURE [--rounds N]

starts clusters of one and of two workers, with a thread each, has the capture read in turns (all verdicts, the table),
checks that the reports are equal, and prints medians in seconds, with the fastest and the slowest. The client's own
start, its imports and the greeting are part of each.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
COMMAND = (sys.executable, "-m", "analysis.cli")
CLUSTER = """
import sys
from distributed import LocalCluster
if __name__ == "__main__":
    with LocalCluster(
        n_workers=int(sys.argv[1]), threads_per_worker=1, host="127.0.0.1", dashboard_address=None, silence_logs=50
    ) as cluster:
        print(cluster.scheduler_address, flush=True)
        sys.stdin.read()
"""


@contextmanager
def cluster(workers: int) -> Iterator[str]:
    """Have so many workers; yield the address of their scheduler."""
    command = (sys.executable, "-c", CLUSTER, str(workers))
    with subprocess.Popen(  # noqa: S603 - ours
        command, env=environment(), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin  # noqa: S101 - for the type checker
        assert process.stdout  # noqa: S101 - as above
        yield process.stdout.readline().strip()
        process.stdin.close()


def environment() -> dict[str, str]:
    """Return that of a process that finds the analysis here."""
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def main() -> int:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("capture", type=Path)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    with ExitStack() as clusters:
        contestants = {f"--jobs {jobs}": ("--jobs", str(jobs)) for jobs in (1, 2)} | {
            f"a cluster of {workers}": ("--cluster", clusters.enter_context(cluster(workers))) for workers in (1, 2)
        }
        seconds: dict[str, list[float]] = {name: [] for name in contestants}
        reports = set()
        for _ in range(options.rounds):
            for name, how in contestants.items():
                began = time.perf_counter()
                ended = subprocess.run(  # noqa: S603 - ours
                    (*COMMAND, *how, options.capture), env=environment(), check=True, stdout=subprocess.PIPE
                )
                seconds[name].append(time.perf_counter() - began)
                reports.add(ended.stdout)
    if len(reports) != 1:
        raise SystemExit("the reports differ")
    for name, all_of_it in seconds.items():
        median = statistics.median(all_of_it)
        sys.stdout.write(f"{name:15} {median:6.2f} ({min(all_of_it):.2f}, {max(all_of_it):.2f})\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
