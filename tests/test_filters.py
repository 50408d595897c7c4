"""The kernel's filter programs against libpcap's reading of the same text, on the same frames."""

from __future__ import annotations

import mmap
import random
import socket
import struct
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest
from alone import alone
from frames import (
    AUTHENTICATION,
    DESTINATION_OPTIONS,
    ETHERTYPE_ARP,
    HOP_BY_HOP,
    UDP,
    ethernet,
    fragment,
    ipv4,
    ipv6,
    tcp,
    unreachable,
)
from writers import pcap

from analysis.model import Endpoint
from capture.packets import filters
from capture.packets.ring import Ring

SOL_PACKET, PACKET_TX_RING = 263, 13
PORT = 50000
A4, B4 = b"\xc0\0\2\1", b"\xc0\0\2\2"
A6, B6 = b"\x20\1\x0d\xb8" + bytes(11) + b"\1", b"\x20\1\x0d\xb8" + bytes(11) + b"\2"
#: Addresses that differ in one of their four words only.
NEAR = [A6[:word] + bytes((A6[word] ^ 0x40,)) + A6[word + 1 :] for word in (0, 5, 10, 15)]

PROGRAMS = {
    "nothing": filters.NOTHING,
    "proof": filters.proof(),
    "port": filters.context(PORT),
    "all": filters.context(),
    "ends of port": filters.context(PORT, ends_only=True),
    "ends of all": filters.context(ends_only=True),
    "answers of port": filters.answer(PORT),
    "answers": filters.answer(),
    "before, of port": filters.before(PORT),
    "before": filters.before(),
}


def crafted() -> list[bytes]:
    """Frames of every kind that a program decides on, each one different from all others."""
    numbers = iter(range(1, 1 << 20))

    def segment(source: int, destination: int, flags: int = 2) -> bytes:
        return tcp(source, destination, flags, next(numbers), payload=b"data")

    made = []
    for source, destination in ((PORT, PORT), (PORT, 7), (7, PORT), (7, 7), (7, 8), (0, 0), (65535, PORT)):
        for one, other in ((A4, A4), (A4, B4), (B4, A4)):
            made += [ipv4(one, other, segment(source, destination, flags)) for flags in (2, 18, 16, 24, 1, 4, 0)]
            made += [ipv4(one, other, segment(source, destination), options=bytes(size)) for size in (4, 20, 40)]
            made.append(ipv4(one, other, segment(source, destination), more_fragments=True))
            made.append(ipv4(one, other, segment(source, destination), fragment_offset=8))
            made.append(ipv4(one, other, segment(source, destination), fragment_offset=65528, more_fragments=True))
            made.append(ipv4(one, other, segment(source, destination), UDP))
            end = Endpoint(one, source), Endpoint(other, destination)
            made.append(unreachable(A4, B4, ipv4(*(each.packed for each in end), segment(source, destination))))
        for one, other in ((A6, A6), (A6, B6), *((A6, near) for near in NEAR)):
            made += [ipv6(one, other, segment(source, destination, flags)) for flags in (2, 18, 16, 4)]
            made.append(ipv6(one, other, segment(source, destination), UDP))
            for extension in (HOP_BY_HOP, DESTINATION_OPTIONS, AUTHENTICATION, fragment(0, more=True)):
                made.append(ipv6(one, other, segment(source, destination), extensions=[extension]))
    frames = [ethernet(packet) for packet in made]
    whole = [ethernet(ipv4(A4, A4, segment(PORT, PORT), options=bytes(8))), ethernet(ipv6(A6, A6, segment(7, PORT)))]
    # Cut anywhere.
    frames += [
        frame[:size] for frame in whole for size in range(14, len(frame)) if size not in {43, 44, 45, 55, 56, 57}
    ]
    frames += [ethernet(segment(PORT, PORT), ETHERTYPE_ARP), ethernet(ipv6(A6, A6, segment(7, 7)), 0x0800)]
    chance = random.Random(1)
    for _ in range(300):
        noisy = bytearray(chance.choice(frames))
        for _ in range(chance.randrange(1, 4)):
            noisy[chance.randrange(12, len(noisy))] = chance.choice((0, 6, 0x45, 0x4F, 0x60, 0x86, 0xFF, 0x08, 0xDD))
        frames.append(bytes(noisy))
    # The kernel takes a tag out of the frame before anybody looks: see test_ring.
    return list(dict.fromkeys(frame for frame in frames if frame[12:14] not in {b"\x81\0", b"\x88\xa8"}))


def passed_by_kernel(frames: list[bytes]) -> dict[str, list[bytes]]:
    """Send *frames* over lo; what each program let through."""
    with ExitStack() as opened:
        rings = {
            name: opened.enter_context(Ring("lo", program, octets=1 << 20, block=1 << 16))
            for name, program in PROGRAMS.items()
        }
        sender = opened.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0))
        sender.bind(("lo", 0))
        passed: dict[str, list[bytes]] = {name: [] for name in rings}

        def taken() -> int:
            before = sum(map(len, passed.values()))
            for name, ring in rings.items():
                passed[name] += [data for _, data, _ in ring.read()]
            return sum(map(len, passed.values())) - before

        for frame in frames:
            sender.send(frame)
            taken()  # on a slow machine each few packets have a block of their own
        idle = time.monotonic()
        while time.monotonic() - idle < 0.2 or any(ring.pending() for ring in rings.values()):
            idle = time.monotonic() if taken() else idle
            time.sleep(0.01)
        assert all(ring.statistics()[1] == 0 for ring in rings.values())
    return passed


def passed_by_libpcap(tcpdump: str, text: str, frames: list[bytes]) -> list[bytes]:
    """What ``tcpdump -r`` selects of a file with *frames*."""
    file = pcap((place, frame) for place, frame in enumerate(frames))
    answer = subprocess.run(
        [tcpdump, "-r", "-", "-w", "-", text], input=file, capture_output=True, timeout=30, check=True
    )
    selected, rest = [], answer.stdout[24:]
    while rest:
        (kept,) = struct.unpack_from("<8xI", rest)
        selected.append(rest[16 : 16 + kept])
        rest = rest[16 + kept :]
    return selected


def in_fragments(interface: str) -> list[bool]:
    """What passes proof() of a frame whose headers lie in a page fragment: a transmit ring sends such (packet_mmap)."""
    frame = ethernet(ipv4(A4, A4, tcp(PORT, PORT, 2, 1)))
    with (
        Ring(interface, filters.proof(), octets=1 << 20, block=1 << 16) as ring,
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender,
    ):
        sender.setsockopt(SOL_PACKET, PACKET_TX_RING, struct.pack("=4I", 4096, 1, 2048, 2))
        with mmap.mmap(sender.fileno(), 4096) as memory:
            sender.bind(("lo", 0))
            memory[32 : 32 + len(frame)] = frame
            memory[0:12] = struct.pack("=QI", 1, len(frame))  # TP_STATUS_SEND_REQUEST; 64-bit
            sender.send(b"")
            deadline = time.monotonic() + 5
            while not (packets := ring.read()) and time.monotonic() < deadline:
                time.sleep(0.01)
    return [bytes(data)[-len(frame) + 14 :] == frame[14:] for _, data, _ in packets]


@pytest.mark.live
@pytest.mark.skipif(sys.maxsize < 1 << 32, reason="a structure of 64-bit machines")
@pytest.mark.usefixtures("need_private_namespace")
@pytest.mark.parametrize("interface", ["lo", "any"])
def test_headers_in_page_fragments_are_looked_at(interface: str) -> None:
    """Linux 5.10.218, for one, did not, where the filter counts from the network header."""
    assert alone(in_fragments, interface) == [True]


@pytest.fixture(scope="module")
def frames() -> list[bytes]:
    return crafted()


@pytest.fixture(scope="module")
def by_kernel(need_private_namespace, frames: list[bytes]) -> dict[str, list[bytes]]:  # noqa: ARG001 - must be there
    return alone(passed_by_kernel, frames)


@pytest.mark.live
@pytest.mark.parametrize("name", PROGRAMS)
def test_the_kernel_passes_what_the_text_says(name, by_kernel, frames, need_tcpdump) -> None:
    expected = passed_by_libpcap(need_tcpdump, PROGRAMS[name].text, frames)
    passed = by_kernel[name]  # once each: what leaves through lo is not passed, what arrives is
    assert sorted(passed) == sorted(expected)
    assert bool(passed) == (name != "nothing")


@pytest.mark.live
def test_no_packet_passes_both_programs(by_kernel) -> None:
    assert not set(by_kernel["proof"]) & set(by_kernel["all"])


@pytest.mark.live
def test_the_text_of_both_is_what_both_pass(by_kernel, frames, need_tcpdump) -> None:
    for name, port, ends_only in (("port", PORT, False), ("all", None, False), ("ends of all", None, True)):
        both = by_kernel["proof"] + by_kernel[name]
        text = filters.both_text(port, ends_only=ends_only)
        assert sorted(both) == sorted(passed_by_libpcap(need_tcpdump, text, frames))


@pytest.mark.live
@pytest.mark.parametrize(("suffix", "port"), [("", None), (" of port", PORT)])
def test_what_a_watch_takes_in(suffix, port, by_kernel, frames, need_tcpdump) -> None:
    answers, before = by_kernel["answers" + suffix], by_kernel["before" + (suffix and "," + suffix)]
    assert not set(answers) & set(before)
    assert sorted(answers + before) == sorted(passed_by_libpcap(need_tcpdump, filters.watch_text(port), frames))
    if port is None:  # all of the proof whose flags are there to be looked at
        rest = set(by_kernel["proof"]) - set(answers + before)
        assert all(len(frame) < 14 + (60 if frame[14] >> 4 == 4 else 40) + 14 for frame in rest)


def test_a_jump_goes_where_its_label_stands() -> None:
    lines = [(filters.JEQ, 5, "there", None), (filters.JA, "there"), (filters.RET, 1), "there", (filters.RET, 2)]
    assert [*struct.iter_unpack("=HBBI", filters.assemble(lines))] == [
        (filters.JEQ, 2, 0, 5),
        (filters.JA, 0, 0, 1),
        (filters.RET, 0, 0, 1),
        (filters.RET, 0, 0, 2),
    ]


def test_a_label_that_is_nowhere_is_an_error() -> None:
    with pytest.raises(KeyError):
        filters.assemble([(filters.JA, "nowhere")])
