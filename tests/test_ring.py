"""The packet ring against real packets, in a network of its own."""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import socket
import struct
import subprocess
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
from alone import alone
from frames import UDP, ethernet, ethertype_of, ipv4, ipv6, sll2, tcp, vlan

from analysis.errors import CannotCapture
from capture.packets import filters
from capture.packets.ring import LINKTYPE_ETHERNET, LINKTYPE_LINUX_SLL2, LINKTYPE_RAW, FlightRecorder, Ring

if TYPE_CHECKING:
    from collections.abc import Iterator

    from capture.packets.ring import Packet

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("need_private_namespace")]

HERE = b"\xc0\0\2\1"  # nobody's address, so that nobody answers (RFC 5737)
BLOCK = 1 << 14


def numbered(count: int, *, start: int = 0, size: int = 0) -> list[bytes]:
    """Frames from an endpoint to itself with the sequence numbers *start*, *start* + 1, ..."""
    return [ethernet(ipv4(HERE, HERE, tcp(7, 7, 2, start + place, payload=bytes(size)))) for place in range(count)]


def send(frames: list[bytes], interface: str = "lo") -> None:
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
        sender.bind((interface, 0))
        for frame in frames:
            sender.send(frame)


def armed(interface: str = "lo", *, octets: int = 1 << 20) -> Ring:
    return Ring(interface, filters.proof(), octets=octets, block=BLOCK)


def read_all(ring: Ring, count: int) -> list[Packet]:
    """*count* packets, and what else comes until the ring is empty."""
    packets: list[Packet] = []
    while len(packets) < count or ring.pending():
        assert select.select([ring], [], [], 10)[0], f"{len(packets)} of {count} packets came"
        packets += ring.read()
    return packets


def data(packets: list[Packet]) -> list[bytes]:
    return [octets for _, octets, _ in packets]


def test_every_packet_once_as_it_was_and_when_it_was() -> None:
    def run() -> None:
        with armed() as ring:
            assert ring.linktype == LINKTYPE_ETHERNET
            before = time.time_ns()
            send(numbered(50))
            packets = read_all(ring, 50)
            times = [moment for moment, _, _ in packets]
            assert data(packets) == numbered(50)
            assert before < times[0] <= times[-1] < time.time_ns()
            assert times == sorted(times)
            assert len({moment % 1000 for moment in times}) > 1, "nanoseconds"
            assert ring.statistics() == (50, 0)

    alone(run)


def test_what_passed_before_is_not_in_the_ring() -> None:
    def run() -> None:
        send(numbered(10))
        with armed() as ring:
            send(numbered(10, start=100))
            assert data(read_all(ring, 10)) == numbered(10, start=100)

    alone(run)


@contextmanager
def ceaseless(frame: bytes) -> Iterator[None]:
    """A child that sends *frame* all the time."""
    child = os.fork()
    if child == 0:
        while True:
            send([frame] * 100)
    try:
        yield
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.parametrize("interface", ["lo", "any"])
def test_nothing_slips_in_before_the_filter(interface: str) -> None:
    def run() -> None:
        foreign = ethernet(ipv4(HERE, HERE, tcp(7, 7, 2, 0), UDP))
        with ceaseless(foreign):
            for start in range(0, 100, 10):
                with armed(interface, octets=4 * BLOCK) as ring:
                    send(numbered(10, start=start))
                    heads = {LINKTYPE_ETHERNET: 14, LINKTYPE_LINUX_SLL2: 20}
                    packets = [octets[heads[ring.linktype] :] for octets in data(read_all(ring, 10))]
                    assert packets == [frame[14:] for frame in numbered(10, start=start)]
                    assert ring.statistics() == (10, 0)

    alone(run)


@pytest.mark.parametrize("interface", ["lo", "any"])
def test_counts_are_exact_when_armed_under_fire(interface: str) -> None:
    def run() -> None:
        for _ in range(10):
            with ceaseless(numbered(1)[0]):
                ring = armed(interface, octets=4 * BLOCK)
                assert select.select([ring], [], [], 10)[0]
            with ring:
                packets = len(read_all(ring, 1))
                assert packets == ring.statistics()[0]

    alone(run)


def test_round_and_round_the_ring() -> None:
    def run() -> None:
        with armed(octets=4 * BLOCK) as ring:
            for start in range(0, 10_000, 200):
                send(numbered(200, start=start))
                assert data(read_all(ring, 200)) == numbered(200, start=start)
            assert ring.statistics() == (10_000, 0)

    alone(run)


def test_a_full_ring_keeps_the_first_and_counts_the_rest() -> None:
    def run() -> None:
        with armed(octets=4 * BLOCK) as ring:
            send(numbered(1000))
            early = ring.statistics()
            send(numbered(1000, start=1000))
            received, dropped = ring.statistics()
            assert sum(early) == 1000
            assert received + dropped == 2000
            assert dropped > 0
            assert data(read_all(ring, received)) == numbered(received)
            send(numbered(10, start=5000))  # and goes on when there is room again
            assert data(read_all(ring, 10)) == numbered(10, start=5000)
            assert ring.statistics() == (received + 10, dropped)

    alone(run)


def test_pending_tells_what_cannot_be_read_yet() -> None:
    def run() -> None:
        with armed() as ring:
            assert ring.pending() is None
            send(numbered(1))
            pending = ring.pending()
            assert pending is not None
            ((moment, _, _),) = read_all(ring, 1)
            assert pending <= moment
            assert ring.pending() is None

    alone(run)


def test_long_frames_are_cut_and_their_length_kept() -> None:
    def run() -> None:
        with armed() as ring:
            frames = numbered(20, size=9000)
            send(frames)
            packets = read_all(ring, 20)
            assert data(packets) == [frame[: filters.SNAPLEN] for frame in frames]
            assert {length for _, _, length in packets} == {14 + 20 + 20 + 9000}

    alone(run)


def test_replaced_filter() -> None:
    def run() -> None:
        with armed() as ring:
            send(numbered(5))
            ring.replace(filters.NOTHING)
            send(numbered(5))
            assert data(read_all(ring, 5)) == numbered(5)
            assert ring.statistics() == (5, 0)

    alone(run)


def test_all_interfaces_at_once() -> None:
    def run() -> None:
        with armed("any") as ring:
            assert ring.linktype == LINKTYPE_LINUX_SLL2
            packet = ipv4(HERE, HERE, tcp(7, 7, 2, 1))
            packet6 = ipv6(HERE * 4, HERE * 4, tcp(7, 7, 2, 1))
            giant = ipv4(HERE, HERE, tcp(7, 7, 2, 1, payload=bytes(9000)))
            send([ethernet(packet), ethernet(packet6), ethernet(giant)])
            packets = read_all(ring, 3)
            addressed_to = 3  # PACKET_OTHERHOST: the frames go to no address of lo
            expected = [sll2(each, packet_type=addressed_to) for each in (packet, packet6, giant)]
            sender = b"\2\0\0\0\0\1\0\0"
            expected = [each[:12] + sender + each[20:] for each in expected]
            assert [(octets, length) for _, octets, length in packets] == [
                (each[: filters.SNAPLEN], len(each)) for each in expected
            ]

    alone(run)


def test_raw_ip() -> None:
    def run() -> str | None:
        # linux/if_tun.h: TUNSETIFF, IFF_TUN | IFF_NO_PI
        try:
            tun = os.open("/dev/net/tun", os.O_RDWR | os.O_CLOEXEC)
            fcntl.ioctl(tun, 0x400454CA, struct.pack("16sH22x", b"tun0", 0x1001))
        except OSError as error:
            return str(error)
        with socket.socket() as control:
            fcntl.ioctl(control, 0x8914, struct.pack("16sH22x", b"tun0", 1))  # SIOCSIFFLAGS, IFF_UP
        with armed("tun0") as ring:
            assert ring.linktype == LINKTYPE_RAW
            packets = [ipv4(HERE, HERE, tcp(7, 7, 2, 1)), ipv6(HERE * 4, HERE * 4, tcp(7, 7, 2, 1))]
            for packet in packets:
                os.write(tun, packet)
            assert data(read_all(ring, 2)) == packets
        return None

    if failure := alone(run):
        pytest.skip(f"no tun device: {failure}")


@pytest.mark.usefixtures("need_root")
def test_both_directions_and_vlan_tags() -> None:
    def run() -> None:
        for command in ("link add v0 type veth peer name v1", "link set v0 up", "link set v1 up"):
            subprocess.run(["ip", *command.split()], check=True, timeout=20)
        packet = ipv4(HERE, HERE, tcp(7, 7, 2, 1))
        tagged = ethernet(vlan(packet, ethertype_of(packet), 0xE123), 0x8100)
        twice = ethernet(vlan(packet, ethertype_of(packet), 0x0456), 0x88A8)
        with armed("v0") as near, armed("v1") as far:
            send([ethernet(packet), tagged, twice], "v0")
            send([ethernet(packet)], "v1")
            packets = read_all(far, 4)
            assert data(packets) == [ethernet(packet), tagged, twice, ethernet(packet)]
            assert [length for _, _, length in packets] == [len(each) for each in data(packets)]
            assert data(read_all(near, 2)) == [ethernet(packet)] * 2

    alone(run)


def test_an_interface_that_goes_down_is_told() -> None:
    def run() -> None:
        with armed() as ring, socket.socket() as control:
            assert ring.trouble() is None
            send(numbered(3))
            fcntl.ioctl(control, 0x8914, struct.pack("16sH22x", b"lo", 0))
            assert select.select([ring], [], [], 10)[0]
            assert str(ring.trouble()).startswith("interface 'lo' is down; bring it up: ip link set lo up; ")
            assert ring.trouble() is None
            assert data(read_all(ring, 3)) == numbered(3)
            with pytest.raises(CannotCapture, match="interface 'lo' is down"):
                armed()

    alone(run)


@pytest.mark.parametrize(
    ("interface", "sentence"),
    [
        ("nowhere0", "there is no interface 'nowhere0'; choose one of any, lo"),
        ("a-name-longer-than-any-interface-has", "there is no interface 'a-name-longer"),
        ("lo\x1b[2J", r"there is no interface 'lo\x1b[2J'; choose one of"),
        ("", "there is no interface ''; choose one of"),
    ],
)
def test_no_such_interface(interface: str, sentence: str) -> None:
    def run() -> None:
        with pytest.raises(CannotCapture, match=re.escape(sentence)):
            armed(interface)

    alone(run)


@pytest.mark.usefixtures("need_ordinary_user")
def test_no_privilege() -> None:
    with pytest.raises(CannotCapture, match="needs root or CAP_NET_RAW"):
        armed()


# -- the flight recorder: a ring that forgets ------------------------------------------------------------------------


def flight(*, packets: int, retire: int = 10) -> FlightRecorder:
    """A small one: eight blocks, four of them for what is kept."""
    return FlightRecorder("lo", filters.proof(), packets=packets, octets=8 << 16, retire=retire)


def settled(recorder: FlightRecorder) -> list[Packet]:
    """What it remembers when the kernel has handed over everything."""
    deadline = time.monotonic() + 10
    recorder.keep()
    while recorder.pending():
        assert time.monotonic() < deadline
        time.sleep(0.001)
        recorder.keep()
    return recorder.last(time.time_ns())


def test_the_newest_packets_are_kept_whatever_came_before() -> None:
    def run() -> None:
        with flight(packets=100) as recorder:
            for start in range(0, 5000, 50):
                send(numbered(50, start=start, size=1000))
                recorder.keep()
            assert data(settled(recorder)) == numbered(100, start=4900, size=1000)
            assert recorder.statistics() == (5000, 0)
            assert data(settled(recorder)) == numbered(100, start=4900, size=1000), "they stay where they are"
            moment = settled(recorder)[49][0]
            assert data(recorder.last(moment)) == numbered(100, start=4850, size=1000)
            assert recorder.last(moment - 10**12) == []

    alone(run)


def test_few_packets_are_remembered_as_long_as_there_are_no_newer_ones() -> None:
    def run() -> None:
        with flight(packets=40, retire=2) as recorder:
            for place in range(60):  # each in a block of its own, many more blocks than there are
                send(numbered(1, start=place))
                assert settled(recorder)[-1][1] == numbered(1, start=place)[0]
            assert data(settled(recorder)) == numbered(40, start=20)
            for start in range(1000, 2000, 50):  # then so many that the few are of no interest any more
                send(numbered(50, start=start, size=1000))
                recorder.keep()
            assert data(settled(recorder)) == numbered(40, start=1960, size=1000)
            assert recorder.statistics() == (1060, 0)

    alone(run)


def test_what_finds_no_room_because_nobody_gave_any_back_is_counted() -> None:
    def run() -> None:
        with flight(packets=100) as recorder:
            send(numbered(1000, size=1000))
            received, dropped = recorder.statistics()
            assert dropped
            assert received + dropped == 1000
            send(numbered(1, start=5000))
            assert data(settled(recorder)) == numbered(100, start=received - 100, size=1000)
            send(numbered(1, start=5001))
            assert data(settled(recorder))[-1] == numbered(1, start=5001)[0]

    alone(run)
