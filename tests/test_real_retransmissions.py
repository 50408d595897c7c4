"""What Linux sends again, within milliseconds, is no duplicate; what a router passes on is.

Between two network namespaces SYNs, SYN-ACKs, data, the last piece of it, and FINs are lost once each. Whatever the
kernels send is captured in the middle, before it is lost: retransmissions, duplicate ACKs, tail-loss probes. Only what
is alike octet for octet, and sent within a millisecond, counts once: nothing tells it from what loopback shows twice.
"""

from __future__ import annotations

import fcntl
import itertools
import socket
import sys
import termios
import threading
import time
from collections import Counter
from typing import TYPE_CHECKING, NamedTuple

import pytest
import writers
from oracle import fact, judge
from scenes import MICROSECOND, MILLISECOND, OTHER_MAC
from test_conversations import analysed, judgement
from topology import LEFT, LEFT6, RIGHT, RIGHT6, Crossing

from analysis.model import NANOSECONDS, Flag

if TYPE_CHECKING:
    from collections.abc import Callable

    from oracle import Fact

pytestmark = [pytest.mark.live, pytest.mark.root, pytest.mark.usefixtures("need_root")]

PIECE = b"x" * 1000
PIECES = 12


class Loss(NamedTuple):
    """Which segment to a port, or from it, is lost the first time that it comes."""

    from_client: bool
    wanted: Callable[[Fact], bool]


#: By the port of the server.
LOSSES = {
    2001: Loss(True, lambda f: f.bare_syn),
    2002: Loss(False, lambda f: f.syn_ack),
    2003: Loss(True, lambda f: f.payload > 0),
    2004: Loss(True, lambda f: 0 < f.payload < 1000),
    2005: Loss(False, lambda f: f.payload > 0),
    2006: Loss(True, lambda f: bool(f.flags & Flag.FIN)),
}


class _Middle:
    """Sees every frame, and loses the first of each kind."""

    def __init__(self) -> None:
        self.frames: list[tuple[int, bytes]] = []
        self.lost: set[tuple[int, int]] = set()

    def loses(self, frame: bytes, from_left: bool) -> bool:
        packet = frame[14:]
        if (packet[9] if packet[0] >> 4 == 4 else packet[6]) != socket.IPPROTO_TCP:
            return True
        segment = fact(0, 0, packet[: _length(packet)])
        self.frames.append((time.time_ns(), frame[: 14 + _length(packet)]))
        port = (segment.destination if from_left else segment.source).port
        loss, key = LOSSES[port], (port, len(segment.source.packed))
        if key in self.lost or loss.from_client is not from_left or not loss.wanted(segment):
            return False
        self.lost.add(key)
        return True


def _length(packet: bytes) -> int:
    return int.from_bytes(packet[2:4], "big") if packet[0] >> 4 == 4 else 40 + int.from_bytes(packet[4:6], "big")


def _serve(listening: socket.socket) -> None:
    listening.settimeout(20)
    with listening, listening.accept()[0] as there:
        there.settimeout(20)
        there.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        total = 0
        while total < PIECES * len(PIECE) + 500:
            total += len(there.recv(1 << 16))
        for _ in range(4):
            there.sendall(PIECE)
        while there.recv(1 << 16):
            pass


def _unacknowledged(one: socket.socket) -> int:
    """Octets that were sent, or wait to be sent, and that the other end has not acknowledged: SIOCOUTQ of tcp(7)."""
    return int.from_bytes(fcntl.ioctl(one, termios.TIOCOUTQ, bytes(4)), sys.byteorder)


def _call(calling: socket.socket, address: tuple[str, int]) -> None:
    with calling:
        calling.settimeout(20)
        calling.connect(address)
        calling.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(PIECES):
            calling.sendall(PIECE)
        while _unacknowledged(calling):
            time.sleep(0.01)
        # The last piece alone, so that a probe brings it again.
        calling.sendall(PIECE[:500])
        total = 0
        while total < 4 * len(PIECE):
            total += len(calling.recv(1 << 16))


def _traffic(*, timestamps: bool, sack: bool) -> list[tuple[int, bytes]]:
    """All frames of some connections, IPv4 and IPv6, of which each loses something."""
    middle = _Middle()
    with Crossing(0.0005, loses=middle.loses) as path:
        for namespace in (path.left, path.right):
            namespace.sysctl("net.ipv4.tcp_timestamps", str(int(timestamps)))
            namespace.sysctl("net.ipv4.tcp_sack", str(int(sack)))
        threads = []
        for (address, family), port in itertools.product(((RIGHT, socket.AF_INET), (RIGHT6, socket.AF_INET6)), LOSSES):
            with path.right.entered():
                listening = socket.socket(family)
            listening.bind((address, port))
            listening.listen()
            with path.left.entered():
                calling = socket.socket(family)
            threads.append(threading.Thread(target=_serve, args=(listening,), daemon=True))
            threads.append(threading.Thread(target=_call, args=(calling, (address, port)), daemon=True))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        time.sleep(0.7)  # the last FINs and their ACKs
    assert len(middle.lost) == 2 * len(LOSSES)
    return sorted(middle.frames)


@pytest.fixture(scope="module", params=["timestamps", "no timestamps", "timestamps, no SACK"])
def traffic(request: pytest.FixtureRequest) -> list[tuple[int, bytes]]:
    """Made again where a busy machine sent data twice within a millisecond: nobody tells these apart."""
    for _ in range(5):
        made = _traffic(timestamps=not request.param.startswith("no"), sack="no SACK" not in request.param)
        if not any(map(_tells_itself, _told_apart_by_nothing(made))):
            break
    return made


def _facts(frames: list[tuple[int, bytes]]) -> list[Fact]:
    """Each frame with its place: its MAC addresses."""
    return [fact(number, time, frame[14:], frame[:14]) for number, (time, frame) in enumerate(frames, 1)]


def _behind_a_router(frames: list[tuple[int, bytes]], later: int) -> list[tuple[int, bytes]]:
    """All frames, and each one once more behind a router, by time."""
    behind = []
    for time_, frame in frames:
        packet = bytearray(frame[14:])
        packet[8 if packet[0] >> 4 == 4 else 7] -= 1
        behind.append((time_ + later, OTHER_MAC.wrap(bytes(packet))))
    return sorted([*frames, *behind], key=lambda record: record[0])


def test_much_was_sent_again(traffic: list[tuple[int, bytes]]) -> None:
    """The capture has what it is taken for."""
    sent = Counter((f.source, f.destination, f.seq) for f in _facts(traffic) if f.end != f.seq)
    again = [key for key, count in sent.items() if count > 1]
    assert {end.port for source, destination, *_ in again for end in (source, destination)} >= set(LOSSES)
    assert {len(source.packed) for source, *_ in again} == {4, 16}
    assert {LEFT, LEFT6, RIGHT, RIGHT6} == {f.source.address for f in _facts(traffic)}


def _tells_itself(segment: Fact) -> bool:
    """Whether it is of a kind that is not sent twice within a millisecond, where the machine is not busy."""
    return bool(segment.payload or segment.identification or segment.bare_syn)


def _told_apart_by_nothing(traffic: list[tuple[int, bytes]]) -> list[Fact]:
    """What is sent twice within a millisecond, octet for octet alike, as loopback's copies are.

    Duplicate ACKs of IPv6, and SYN-ACKs (IPv4 identification 0) of which a timer sent one and a SYN the other.
    """
    found = []
    latest: dict[bytes, int] = {}
    for segment in _facts(traffic):
        if segment.time - latest.get(segment.packet, -NANOSECONDS) <= MILLISECOND:
            found.append(segment)
        else:
            latest[segment.packet] = segment.time
    return found


def test_nothing_that_was_sent_again_is_a_duplicate(traffic: list[tuple[int, bytes]]) -> None:
    result = analysed(writers.pcap(traffic, kind="nano"))
    alike = _told_apart_by_nothing(traffic)
    assert list(filter(_tells_itself, alike)) == []
    assert (result.segments, result.duplicates) == (len(traffic) - len(alike), len(alike))
    assert judgement(result) == judge(_facts(traffic))


@pytest.mark.parametrize("later", [30 * MICROSECOND, 5 * MILLISECOND, 15 * MILLISECOND])
def test_every_copy_of_a_router_is_a_duplicate_and_nothing_else(traffic: list[tuple[int, bytes]], later: int) -> None:
    alike = {segment.frame for segment in _told_apart_by_nothing(traffic)}
    told_apart = [record for frame, record in enumerate(traffic, 1) if frame not in alike]
    frames = _behind_a_router(told_apart, later)
    result = analysed(writers.pcap(frames, kind="nano"))
    assert (result.segments, result.duplicates) == (len(told_apart), len(told_apart))
    assert judgement(result) == judge(_facts(frames))
