"""What a watch costs the programs that it watches: microseconds of a connect() to a dead port, with it and without.

    .venv/bin/python bench/watch.py [--rounds N]

In a network namespace of its own (as root, or where user namespaces are allowed). The variants take turns; of each the
median of a round's connect() times is taken, and of the rounds the least: what the machine does besides only adds.

``its rings``: without the kernel's states; ``in each namespace``: the smaller ones of all namespaces but the first.
``kernel's states``: without the rings. ``headers only``: the flight recorder keeps 128 octets of a packet. ``one in
16``: it takes the attempts from every 16th port. ``answers only``: there is none. ``tracepoint``: nothing but an event
of the kernel's for each change of a socket's state, in a buffer that nobody reads (root, tracefs).
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import time
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from analysis.errors import SelfconnError  # noqa: E402 - the clone's own
from capture.kernel.tracepoint import StateTrace  # noqa: E402 - here and below
from capture.packets import filters  # noqa: E402 - the clone's own
from capture.packets.ring import FlightRecorder, Ring  # noqa: E402
from capture.packets.watch_rings import WatchRings  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

PORT = 50_001  # odd: no attempt is given it
ATTEMPTS = 2_000
PACKETS = 10_000
TRACEFS = "/sys/kernel/tracing"


def attempts() -> float:
    """Microseconds of a connect(), the median of a round."""
    taken = []
    for _ in range(ATTEMPTS):
        with socket.socket() as one:
            begin = time.perf_counter_ns()
            one.connect_ex(("127.0.0.1", PORT))
            taken.append(time.perf_counter_ns() - begin)
    return statistics.median(taken) / 1000


def changed(program: filters.Program, change: Callable[[list[bytes]], list[bytes]]) -> filters.Program:
    """The program with other instructions."""
    code = [program.code[at : at + 8] for at in range(0, len(program.code), 8)]
    return program._replace(code=b"".join(change(code)))


def headers_only(code: list[bytes]) -> list[bytes]:
    """Accept 128 octets instead of all."""
    accept = filters.assemble([(filters.RET, filters.SNAPLEN)])
    return [filters.assemble([(filters.RET, 128)]) if one == accept else one for one in code]


def sampled() -> filters.Program:
    """What begins or ends a connection of which a port is divisible by 16."""
    lines = [
        *(*filters._LOOK, "same", (filters.RET, filters.SNAPLEN), "different", (filters.LDX_MEM, filters.HEADER)),  # noqa: SLF001 - a variant of it
        *((filters.LD_H_X, filters.NET), (filters.JSET, 15, None, "sampled")),
        *((filters.LD_H_X, filters.NET + 2), (filters.JSET, 15, "reject", None), "sampled"),
        *((filters.LD_B_X, filters.NET + 13), (filters.JSET, 7, "accept", "reject")),
        *("accept", (filters.RET, filters.SNAPLEN), "reject", (filters.RET, 0)),
    ]
    return filters.Program("", filters.assemble(lines))


@contextmanager
def recorder(program: filters.Program) -> Iterator[None]:
    """The two rings of a watch, the flight recorder with another program."""
    with ExitStack() as stack:
        answers = Ring("lo", filters.answer(None), octets=1 << 19, block=1 << 14)
        stack.callback(answers.close)
        before = FlightRecorder("lo", program, packets=PACKETS)
        stack.callback(before.close)
        yield


@contextmanager
def answers_only() -> Iterator[None]:
    """The ring for self-connects alone."""
    ring = Ring("lo", filters.answer(None), octets=1 << 19, block=1 << 14)
    try:
        yield
    finally:
        ring.close()


@contextmanager
def tracepoint() -> Iterator[None]:
    """An instance of the kernel's tracing of its own, with the events of TCP sockets' states."""
    here = Path(TRACEFS, "instances", f"bench-{os.getpid()}")
    here.mkdir()
    try:
        event = here / "events/sock/inet_sock_set_state"
        (event / "filter").write_text("protocol == 6")
        (event / "enable").write_text("1")
        yield
        (event / "enable").write_text("0")
    finally:
        here.rmdir()


@contextmanager
def command() -> Iterator[None]:
    """selfconn-capture itself."""
    words = [sys.executable, "-m", "capture.cli", "--watch", "--netns", "self", "-i", "lo", "-w", os.devnull]
    with subprocess.Popen(words, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as watch:  # noqa: S603 - ourselves
        try:
            assert watch.stderr  # noqa: S101 - for the type checker
            watch.stderr.readline()
            time.sleep(0.5)
            yield
        finally:
            watch.terminate()
            watch.communicate()


VARIANTS: dict[str, Callable[[], AbstractContextManager[object]]] = {
    "nothing": nullcontext,
    "selfconn-capture --watch": command,
    "its rings": lambda: WatchRings("lo", None, packets=PACKETS),
    "in each namespace": lambda: WatchRings("lo", None, packets=PACKETS, small=True),
    "kernel's states": StateTrace.simultaneous,
    "headers only": lambda: recorder(changed(filters.before(None), headers_only)),
    "one in 16": lambda: recorder(sampled()),
    "answers only": answers_only,
    "tracepoint": tracepoint,
}


def main() -> None:
    """Measure and print."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rounds", type=int, default=15)
    options.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    asked = options.parse_args()
    if not asked.inside:
        unshare = ["unshare", "--net", "--mount"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net"]
        os.execvp(unshare[0], [*unshare, sys.executable, __file__, "--inside", "--rounds", str(asked.rounds)])  # noqa: S606 - a program of util-linux
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)  # noqa: S607 - wherever iproute2 is
    if os.geteuid() == 0:  # in a mount namespace of its own
        subprocess.run(["mount", "-t", "tracefs", "tracefs", TRACEFS], check=False)  # noqa: S603, S607 - as above
    attempts()
    found: dict[str, list[float]] = {}
    for _ in range(asked.rounds):
        for name, variant in VARIANTS.items():
            try:
                with variant():
                    found.setdefault(name, []).append(attempts())
            except (OSError, SelfconnError) as error:
                found.setdefault(f"{name}: {error}", []).append(float("nan"))
    for name, rounds in found.items():
        sys.stdout.write(
            f"{name:26} {min(rounds):6.2f} us   median of the rounds {statistics.median(rounds):6.2f} us\n"
        )


if __name__ == "__main__":
    main()
