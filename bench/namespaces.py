"""selfconn-check on hosts with many network namespaces, beside lsns(8) and ss(8) in each of them. As root.

    python bench/namespaces.py [--rounds N] [NUMBER...]

makes so many network namespaces (3, 50 and 200), each with a server, every tenth with a socket that is connected to
itself; runs both in turns, checks that both have found all of these sockets, and prints medians in seconds: of the wall
times (the fastest, the slowest), and of the processors' time. Namespaces of other programs on the machine are looked
at, too, by both. ss does not say here whose the sockets are (-p): it would read all of /proc once in each namespace.
"""

from __future__ import annotations

import argparse
import compileall
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.model import Endpoint
from capture.kernel import netns
from capture.run.command import die_with

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
EVERY = 10  # namespaces to one with a self-connect
PORT = 50000

#: As the script does that an installation brings.
OURS = (sys.executable, "-c", "import sys; from capture.check_cli import main; sys.exit(main())")
THEIRS = ("sh", "-c", "for p in $(lsns -t net -n -o PID); do nsenter -n -t $p ss -Htan; done")
CONTESTANTS = {"selfconn-check": OURS, "selfconn-check -q": (*OURS, "-q"), "lsns, nsenter ss -tan": THEIRS}


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _room(number: int, ready: int) -> None:
    """Be a process in a network namespace of its own, until it is killed, or the parent ends."""
    die_with(os.getppid(), signal.SIGKILL)
    netns.enter(Endpoint.parse("127.0.0.1", PORT), (32768, 60999))
    server, itself = socket.create_server(("127.0.0.1", PORT + 2)), socket.socket()
    if number % EVERY == 0:
        itself.bind(("127.0.0.1", PORT))
        itself.connect(("127.0.0.1", PORT))
    os.write(ready, b"1")
    signal.pause()
    server.close()


@contextmanager
def rooms(count: int) -> Iterator[None]:
    """Have so many network namespaces."""
    told, ready = os.pipe()
    pids = []
    try:
        for number in range(count):
            pid = os.fork()
            if not pid:
                try:
                    _room(number, ready)
                finally:
                    os._exit(1)
            pids.append(pid)
            os.read(told, 1)
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)


def run(*command: str) -> tuple[float, float, bytes]:
    """Run it: seconds by the clock, and of processors; what it printed."""
    before, began = os.times(), time.monotonic()
    said = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False)  # noqa: S603 - ours
    took, after = time.monotonic() - began, os.times()
    used = after.children_user - before.children_user + after.children_system - before.children_system
    return took, used, said.stdout


def told(runs: list[tuple[float, float, bytes]]) -> str:
    """The medians, and between which times the first lies."""
    clock, used = [one[0] for one in runs], [one[1] for one in runs]
    return f"{statistics.median(clock):.2f} ({min(clock):.2f}, {max(clock):.2f}); {statistics.median(used):.2f}"


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("numbers", nargs="*", type=int, default=[3, 50, 200], metavar="NUMBER")
    asked = options.parse_args()
    for folder in ("analysis", "capture"):
        compileall.compile_dir(ROOT / folder, quiet=1)
    say(f"| namespaces | {' | '.join(CONTESTANTS)} |\n|--:|{'--:|' * len(CONTESTANTS)}")
    for count in asked.numbers:
        with rooms(count):
            document = json.loads(run(*OURS, "--format", "json")[2])
            found = sum(one["endpoint"]["port"] == PORT for one in document["self_connected"])
            lines = run(*THEIRS)[2].splitlines()
            also = sum(line.split()[3:5] == [f"127.0.0.1:{PORT}".encode()] * 2 for line in lines)
            wanted = -(-count // EVERY)
            if min(found, also) < wanted:
                sys.exit(f"{wanted} sockets are connected to themselves; selfconn-check found {found}, ss {also}")
            times: dict[str, list[tuple[float, float, bytes]]] = {name: [] for name in CONTESTANTS}
            for _ in range(asked.rounds):
                for name, command in CONTESTANTS.items():
                    times[name].append(run(*command))
        say(f"| {count} | {' | '.join(map(told, times.values()))} |")


if __name__ == "__main__":
    main()
