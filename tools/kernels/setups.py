"""What selfconn-check says of a port against what connect() then does, in random set-ups: ``setups.py SEED COUNT``.

A set-up is an ephemeral range, a target, what somebody holds and what is in TIME-WAIT. Each has a network namespace of
its own. The exit status is 1 where a verdict was wrong. Needs root, or user namespaces.
"""

from __future__ import annotations

import errno
import itertools
import json
import math
import os
import random
import socket
import struct
import sys
import time
import traceback
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from analysis.model import Endpoint
from capture.check import findings
from capture.check.findings import Risk
from capture.kernel import bound_sockets, netns, sockets

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The hits that are expected of a port at risk in one experiment.
_HITS = 60
_MOST_ATTEMPTS = 6000
_BIND_ADDRESS_NO_PORT = 24  # <linux/in.h>
_RESET = struct.pack("ii", 1, 0)

#: Ways to hold a port, or to leave it in TIME-WAIT; the key is what they are called.
_HOLDERS = ("nobody", "bound", "bound reusable", "listening", "connected", "connected after bind()")
_LEFT = ("nothing", "itself after bind()", "itself by a walk", "connection", "connection after bind()")
#: Addresses for them: the dialled one, others of the family and of the other.
_ADDRESSES = {"127.0.0.1": ("127.0.0.1", "127.0.0.2", "0.0.0.0", "::1"), "::1": ("::1", "::", "127.0.0.1")}  # noqa: S104


class Setup(NamedTuple):
    """What the host is like: ``held`` and ``left`` have a kind, an address and a port each."""

    address: str
    low: int
    high: int
    target: int
    reserved: tuple[int, ...]
    held: tuple[str, str, int]
    left: tuple[str, str, int]


class Outcome(NamedTuple):
    """What was said of the target, and what happened: ``hits`` of so many ``attempts``, and how many were expected.

    ``beside``: whether another port of the range is held or in TIME-WAIT.
    """

    risk: str
    reason: str
    until: str | None
    expected: float
    hits: int
    attempts: int
    beside: bool

    @property
    def right(self) -> bool:
        """Whether what happened is what was said."""
        if self.risk != Risk.AT_RISK:
            return not self.hits
        if self.may and not self.hits:
            return True
        # A port beside it that is passed over as well leaves its own attempts to this one.
        return self.expected - self.spread <= self.hits <= (2 if self.beside else 1) * self.expected + self.spread

    @property
    def spread(self) -> float:
        """Six standard deviations of the hits, if each attempt stood alone."""
        return 6 * math.sqrt(self.expected)

    @property
    def may(self) -> bool:
        """Whether it was said that connect() may pass the port over for now."""
        return "meanwhile" in self.reason


def setups(seed: int) -> Iterator[Setup]:
    """Set-ups at random, without end, the same for the same seed; not all can be made."""
    rolls = random.Random(seed)  # noqa: S311 - nothing is kept secret
    while True:
        address = rolls.choice(list(_ADDRESSES))
        low = rolls.randrange(20000, 60000)
        high = low + rolls.randrange(3, 60)
        inside = range(low, high + 1)
        target = rolls.choice((*inside, low - 2, high + 2)) if rolls.random() < 0.3 else rolls.choice(inside[::2])
        reserved = tuple(sorted(rolls.sample(inside, len(inside) // 5))) if rolls.random() < 0.3 else ()
        held, left = (
            (rolls.choice(kinds), rolls.choice(_ADDRESSES[address]), target if rolls.random() < 0.7 else inside[0])
            for kinds in (_HOLDERS, _LEFT)
        )
        yield Setup(address, low, high, target, reserved, held, left)


def tried(setup: Setup) -> Outcome | None:
    """Make the set-up in a child's namespace, ask for the verdict and try; None where two cannot have the port."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            with os.fdopen(writer, "w") as pipe:
                try:
                    json.dump(_tried(setup), pipe)
                except OSError as error:
                    if error.errno not in (errno.EADDRINUSE, errno.EADDRNOTAVAIL):
                        raise
                    json.dump(None, pipe)
        except BaseException:  # noqa: BLE001 - the parent shows it
            traceback.print_exc()
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as pipe:
        said = pipe.read()
    os.waitpid(child, 0)
    if not said:
        raise RuntimeError(f"no outcome of {setup}")
    outcome = json.loads(said)
    return Outcome(*outcome) if outcome else None


def _tried(setup: Setup) -> Outcome:
    netns.enter(Endpoint.parse(setup.address, setup.target), (setup.low, setup.high))
    with ExitStack() as kept:
        made = _leave(*setup.left, setup, kept)
        _hold(*setup.held, setup, kept)
        _set("ip_local_reserved_ports", ",".join(map(str, setup.reserved)))
        if made:
            time.sleep(1.1)  # connect() may have the place of a TIME-WAIT after a second
        # The user names the port, as somebody does whose server is down.
        [port] = (one for one in _look(setup.target).ports if one.port == setup.target)
        beside = any(kind not in ("nobody", "nothing") and at != setup.target for kind, _, at in setup[-2:])
        if port.listening:  # who dials it reaches that server, as long as it is there
            return Outcome(port.risk, port.reason, port.until, 0.0, 0, 0, beside)
        chance = port.odds.chance
        attempts = min(_MOST_ATTEMPTS, math.ceil(_HITS / chance)) if chance else 2 * (setup.high - setup.low + 1) * 8
        hits = sum(_attempt(setup) for _ in range(attempts))
        return Outcome(port.risk, port.reason, port.until, attempts * chance, hits, attempts, beside)


def _look(target: int) -> findings.Findings:
    """What selfconn-check looks at here."""
    descriptors: dict[int, str] = {}
    owners = sockets.owners(None, None, descriptors)
    here = Path("/proc/self/ns/net").stat().st_ino
    [table] = bound_sockets.completed([(sockets.table([target]), here)], descriptors)
    return findings.look([target], seen=findings.Seen(owners, table, {}))


def _attempt(setup: Setup) -> bool:
    with _socket(setup.address) as one:
        if one.connect_ex((setup.address, setup.target)):
            return False
        return bool(one.getsockname() == one.getpeername())


def _socket(address: str, *, abort: bool = True) -> socket.socket:
    one = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    if ":" in address:
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    if abort:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    return one


def _set(name: str, value: str) -> None:
    with open(f"/proc/sys/net/ipv4/{name}", "w") as file:  # noqa: PTH123
        file.write(value)


def _hold(kind: str, address: str, port: int, setup: Setup, kept: ExitStack) -> None:
    if kind == "nobody":
        return
    one = kept.enter_context(_socket(address))
    if kind == "bound reusable":
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if kind.startswith("connected"):
        _connect(one, (address, port), setup, kept, bind="bind" in kind)
        return
    one.bind((address, port))
    if kind == "listening":
        one.listen()


def _leave(kind: str, address: str, port: int, setup: Setup, kept: ExitStack) -> bool:
    """Leave it in TIME-WAIT; whether there is any now."""
    if kind == "nothing":
        return False
    address = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)  # noqa: S104
    with _socket(address, abort=False) as one:
        if kind.startswith("itself"):
            if "bind" in kind:
                one.bind((address, port))
            else:
                _set("ip_local_port_range", f"{port} {port}")
                if address == "127.0.0.2":  # its source would be 127.0.0.1
                    one.setsockopt(socket.IPPROTO_IP, _BIND_ADDRESS_NO_PORT, 1)
                    one.bind((address, 0))
            one.connect((address, port))
            one.close()
            _set("ip_local_port_range", f"{setup.low} {setup.high}")
            return True
        _connect(one, (address, port), setup, kept, bind="bind" in kind)
        one.shutdown(socket.SHUT_WR)
        time.sleep(0.05)
    return True


def _connect(one: socket.socket, at: tuple[str, int], setup: Setup, kept: ExitStack, *, bind: bool) -> None:
    """Connect *one* from there to a server of ours elsewhere, with bind() or given the port by the kernel."""
    address, port = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(at[0], at[0]), at[1]  # noqa: S104
    server = kept.enter_context(_socket(address))
    server.bind((address, 1024 + port % 1000))
    server.listen()
    if bind:
        one.bind((address, port))
        one.connect(server.getsockname()[:2])
    else:
        _set("ip_local_port_range", f"{port} {port}")
        one.connect(server.getsockname()[:2])
        _set("ip_local_port_range", f"{setup.low} {setup.high}")
    other, _ = server.accept()
    other.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    server.close()
    kept.callback(other.close)


def experiments(seed: int, count: int) -> Iterator[tuple[Setup, Outcome]]:
    """Try so many that can be made."""
    could = ((setup, outcome) for setup in setups(seed) if (outcome := tried(setup)))
    yield from itertools.islice(could, count)


def main(seed: int, count: int) -> int:
    """Try them, and say which were wrong."""
    made = wrong = 0
    for setup, outcome in experiments(seed, count):
        made += 1
        wrong += not outcome.right
        print("right" if outcome.right else "WRONG", tuple(setup), tuple(outcome), flush=True)
    print(f"{made} set-ups, {wrong} wrong")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), int(sys.argv[2])))
