"""What the engine hands on beside segments: where a packet was seen, and the errors of ICMP that quote a segment.

Only the engine as it is written lets one look; the compiled form has the same statements.
"""

from __future__ import annotations

import struct
import sys
from typing import TYPE_CHECKING, Any

import encapsulations
import frames
import pytest
import writers
from test_mutants import interpreted

from analysis.engine import layout
from analysis.model import Endpoint, Flag

if TYPE_CHECKING:
    from collections.abc import Callable

A, B = Endpoint.parse("10.0.0.1", 4000), Endpoint.parse("10.0.0.2", 80)
A6, B6 = Endpoint.parse("2001:db8::1", 4000), Endpoint.parse("2001:db8::2", 80)
SEQ = 0xFEDCBA98


def made(*, equal_only: bool = False, port: int = 0, host: bytes = b"", link: int = 1) -> Any:
    """An engine as it is written, ready for pcap records of this link type."""
    package = interpreted().__name__
    one = sys.modules[f"{package}.wire"].Engine(1024, 0, 0, 0, equal_only, port, host)
    one.begin_pcap(False, 16, 1000, link, 0)
    return one


def packet(source: Endpoint = A, destination: Endpoint = B, **extras: Any) -> bytes:
    """An IP packet with a SYN."""
    segment = frames.tcp(source.port, destination.port, Flag.SYN, SEQ)
    if len(source.packed) == 4:
        return frames.ipv4(source.packed, destination.packed, segment, **extras)
    return frames.ipv6(source.packed, destination.packed, segment, **extras)


# -- places --------------------------------------------------------------------------------------------------------


def place(frame: bytes, link: int = 1) -> int:
    """Where a packet was seen."""
    one = made(link=link)
    record = writers.pcap_record(0, frame)
    one.pcap(record, 0, len(record))
    assert one.segments == 1
    return int(one.batch[0].place)


def place_of_interface(number: int) -> int:
    one = made()
    data = writers.section() + writers.interface(1) * 3 + writers.enhanced(0, frames.ethernet(packet()), number=number)
    one.pcapng(data, 0, len(data))
    return int(one.batch[0].place)


def _from(mac: bytes, inside: bytes) -> bytes:
    return frames.ethernet(inside)[:6] + mac + frames.ethernet(inside)[12:]


def _outer(inside: bytes, **extras: Any) -> bytes:
    return frames.ethernet(frames.ipv4(b"\xc0\0\2\1", b"\xc0\0\2\2", inside, frames.IP_IN_IP, **extras))


def _vxlan(source_port: int) -> bytes:
    datagram = struct.pack(">HHHHII", source_port, 4789, 16 + 54, 0, 0x0800_0000, 7 << 8) + frames.ethernet(packet())
    return frames.ethernet(frames.ipv4(b"\xc0\0\2\1", b"\xc0\0\2\2", datagram, frames.UDP))


def _other_hop(frame: bytes) -> bytes:
    """The frame with the outer destination of the next hop."""
    return frame.replace(b"\xc0\0\2\2", b"\xc0\0\2\3")


#: Frames with one packet that were seen at several places, each with its link type.
PLACES: dict[str, list[tuple[bytes, int]]] = {
    "addresses": [(_from(bytes((2, 0, 0, 0, 0, n)), packet()), 1) for n in range(3)],
    "the first octet of an address": [(_from(bytes((n, 0, 0, 0, 0, 1)), packet()), 1) for n in range(3)],
    "TTL": [(frames.ethernet(packet(ttl=ttl)), 1) for ttl in (64, 63, 62, 1)],
    "hop limit": [(frames.ethernet(packet(A6, B6, hop_limit=hops)), 1) for hops in (64, 63)],
    "VLAN": [
        (frames.ethernet(frames.vlan(packet(), 0x0800, tag), kind), 1) for tag in (1, 2) for kind in (0x8100, 0x88A8)
    ],
    "a tunnel or none": [(frames.ethernet(packet()), 1), (_outer(packet()), 1), (_vxlan(5), 1)],
    "the addresses outside": [(_outer(packet()), 1), (_other_hop(_outer(packet())), 1)],
    "the TTL outside": [(_outer(packet(), ttl=ttl), 1) for ttl in (64, 63)],
    "the direction": [(frames.sll(packet(), packet_type=kind), 113) for kind in (0, 4)],
    "the direction, version 2": [(frames.sll2(packet(), packet_type=kind), 276) for kind in (0, 4)],
    "the interface": [(frames.sll2(packet())[:7] + bytes((n,)) + frames.sll2(packet())[8:], 276) for n in (1, 2)],
    "a label": [(frames.ethernet(frames.mpls(packet(), label), 0x8847), 1) for label in (16, 17)],
    "the interface's name": [
        (encapsulations.pktap(packet(), 12).replace(b"lo0", name), 258) for name in (b"lo0", b"en0")
    ],
    "the hook": [
        (encapsulations.nflog(packet()).replace(b"\x08\0\3\0", b"\x08\0" + hook), 239) for hook in (b"\1\0", b"\3\0")
    ],
    "the radio": [
        (encapsulations.radiotap(encapsulations.data_frame(packet(), wds=wds)), 127) for wds in (False, True)
    ],
}


@pytest.mark.parametrize("name", PLACES)
def test_another_place_is_told(name: str) -> None:
    found = [place(frame, link) for frame, link in PLACES[name]]
    assert len(set(found)) == len(found)
    assert found == [place(frame, link) for frame, link in PLACES[name]]


def test_the_interface_of_pcapng_is_a_place() -> None:
    found = [place_of_interface(number) for number in range(3)]
    assert len(set(found)) == 3
    assert found[0] == place(frames.ethernet(packet()))


@pytest.mark.parametrize(
    "seen",
    [
        pytest.param([_outer(packet(), identification=n) for n in (1, 2)], id="the identification outside"),
        pytest.param([_vxlan(port) for port in (5, 50_000)], id="the source port outside"),
        pytest.param(
            [
                frames.ethernet(
                    frames.in_ipv4(frames.gre(packet(), 0x0800, sequence=n, with_checksum=True), frames.GRE)
                )
                for n in (1, 2)
            ],
            id="the number of GRE",
        ),
        pytest.param(
            [frames.ethernet(frames.vlan(packet(), 0x0800, tag), 0x8100) for tag in (7, 0xA007)], id="the priority"
        ),
        pytest.param([frames.ethernet(packet(identification=n)) for n in (1, 2)], id="the identification"),
    ],
)
def test_what_differs_between_packets_of_one_path_is_no_place(seen: list[bytes]) -> None:
    assert len({place(frame) for frame in seen}) == 1


def test_the_common_frame_has_the_place_that_the_headers_give() -> None:
    for ttl in (1, 64, 255):
        frame = frames.ethernet(packet(ttl=ttl))
        one, other = made(), made()
        one.frame(frame, 0, len(frame), len(frame), 1, 0)
        other.odd_frame(frame, 0, len(frame), len(frame), 1, 0)
        for name in ("place", "size", "data", "seq", "a_low", "b_low", "ip", "at", "wired", "identification"):
            assert getattr(one.batch[0], name) == getattr(other.batch[0], name), name


# -- ICMP ----------------------------------------------------------------------------------------------------------


def told(frame: bytes, **asked: Any) -> list[tuple[layout.Segment, bytes, int, int]]:
    """What the table is told of an error in this frame; the frame is one of ICMP in any case."""
    one = made(**asked)
    heard: list[tuple[layout.Segment, bytes, int, int]] = []
    one.table.unreachable = lambda *what: heard.append(what)
    record = writers.pcap_record(5_000_000_000, frame)
    one.pcap(record, 0, len(record))
    assert (one.packets, one.segments) == (1, 0)
    assert sum(one.other.values()) == 1
    assert next(iter(one.other)).startswith("ICMP")
    return heard


def error(quoted: bytes, *, kind: int = 3, code: int = 3) -> bytes:
    """A frame with an ICMP error from 10.0.0.9, or (for IPv6) from 2001:db8::9."""
    if quoted[0] >> 4 == 4:
        return frames.ethernet(frames.ipv4(b"\n\0\0\x09", A.packed, bytes((kind, code, 0, 0)) + bytes(4) + quoted, 1))
    sender = A6.packed[:-1] + b"\x09"
    message = bytes((kind, code, 0, 0)) + bytes(4) + quoted
    return frames.ethernet(frames.ipv6(sender, A6.packed, message, 58))


def _chain(seq: int = SEQ) -> bytes:
    segment = frames.tcp(A6.port, B6.port, Flag.SYN, seq)
    return frames.ipv6(A6.packed, B6.packed, segment, extensions=[frames.HOP_BY_HOP, frames.fragment(0, more=True)])


@pytest.mark.parametrize(
    ("quoted", "kind", "code"),
    [
        pytest.param(packet(), 3, 3, id="all of it"),
        pytest.param(packet()[:28], 3, 10, id="eight octets"),
        pytest.param(packet(options=bytes(8)), 3, 13, id="IP options"),
        pytest.param(packet(total_length=0), 3, 1, id="without a length"),
        pytest.param(packet(more_fragments=True), 3, 1, id="first fragment"),
        pytest.param(packet(A6, B6), 1, 4, id="IPv6"),
        pytest.param(packet(A6, B6)[:48], 1, 1, id="IPv6, eight octets"),
        pytest.param(_chain(), 1, 4, id="IPv6 with more headers"),
    ],
)
def test_an_error_that_quotes_a_segment_is_told(quoted: bytes, kind: int, code: int) -> None:
    six = quoted[0] >> 4 == 6
    ((segment, sender, told_kind, told_code),) = told(error(quoted, kind=kind, code=code))
    assert (segment.frame, segment.time, segment.seq, segment.six) == (1, 5_000_000_000, SEQ, int(six))
    assert (segment.a_port, segment.b_port, segment.from_a, segment.equal) == (4000, 80, True, False)
    assert (segment.a_low & 0xFF, segment.b_low & 0xFF) == (1, 2)
    assert (sender[-1], len(sender), told_kind, told_code) == (9, 16 if six else 4, kind, code)


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(error(packet(), code=4), id="fragmentation needed"),
        pytest.param(error(packet(), kind=11), id="time exceeded"),
        pytest.param(error(packet(A6, B6), kind=2), id="packet too big"),
        pytest.param(error(packet()[:27]), id="seven octets"),
        pytest.param(error(packet(fragment_offset=8)), id="a later fragment"),
        pytest.param(error(frames.ipv4(A.packed, B.packed, bytes(20), frames.UDP)), id="UDP"),
        pytest.param(error(b"\x45"), id="one octet"),
        pytest.param(error(b"\x45")[:-5], id="no octet"),
    ],
)
def test_other_errors_are_not(frame: bytes) -> None:
    assert told(frame) == []


def test_errors_come_from_the_other_end_and_through_tunnels_too() -> None:
    back = error(packet(B, A))
    ((segment, *_),) = told(back)
    assert (segment.a_port, segment.from_a) == (4000, False)
    assert len(told(frames.ethernet(frames.vxlan(back)))) == 1


@pytest.mark.parametrize(
    ("asked", "heard"),
    [
        ({"port": 80}, 1),
        ({"port": 81}, 0),
        ({"host": B.packed}, 1),
        ({"host": b"\n\0\0\5"}, 0),
        ({"equal_only": True}, 0),
    ],
)
def test_errors_are_told_of_what_is_asked_for(asked: dict[str, Any], heard: int) -> None:
    assert len(told(error(packet()), **asked)) == heard
    assert len(told(error(packet(A, A)), equal_only=True)) == 1


def test_what_waits_is_handed_over_before_an_error() -> None:
    one = made()
    order: list[str] = []
    meet: Callable[..., None] = one.table.meet
    one.table.meet = lambda *what: order.append("segment") or meet(*what)
    one.table.unreachable = lambda *_: order.append("error")
    data = writers.pcap_record(0, frames.ethernet(packet())) + writers.pcap_record(1, error(packet()))
    one.pcap(data, 0, len(data))
    assert order == ["segment", "error"]
