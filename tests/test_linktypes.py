"""One small conversation in every wrapping that the reader must know: link types, tunnels, IP with all its extras.

Wireshark's dissectors are the second witness: all wrappings in one pcapng, an interface each.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import encapsulations
import frames
import pytest
import writers
from dissected import facts
from frames import LINKS, Link
from oracle import judge
from test_conversations import judgement

from analysis.model import NANOSECONDS, CaptureResult, Endpoint, Flag, Options, Segment, SequenceNumber, Verdict
from analysis.reader import Analysis

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    Wrap = Callable[[Endpoint, Endpoint, bytes], bytes]

EPOCH = 1_700_000_000 * NANOSECONDS
MILLISECOND = NANOSECONDS // 1000

CLIENT = {4: "10.0.0.1", 6: "2001:db8::1"}
SERVER = {4: "10.0.0.2", 6: "2001:db8::2"}

VERSIONS = pytest.mark.parametrize("version", [4, 6])
BOTH = {Verdict.THREE_WAY: 1, Verdict.SELF_CONNECT: 1}


def handshakes(version: int, port: int = 40_000) -> list[tuple[Endpoint, Endpoint, bytes]]:
    """A three-way handshake, then a self-connect, both from *port*: source, destination, TCP segment."""
    a, b = Endpoint.parse(CLIENT[version], port), Endpoint.parse(SERVER[version], 80)
    p = Endpoint.parse(CLIENT[version], port)

    def segment(source: Endpoint, destination: Endpoint, flags: int, seq: int, ack: int = 0) -> bytes:
        options = frames.mss(1460) + frames.sack_permitted() if flags & Flag.SYN else b""
        return frames.tcp(source.port, destination.port, flags, seq, ack, options=options)

    return [
        (a, b, segment(a, b, Flag.SYN, 1000)),
        (b, a, segment(b, a, Flag.SYN | Flag.ACK, 5000, 1001)),
        (a, b, segment(a, b, Flag.ACK, 1001, 5001)),
        (p, p, segment(p, p, Flag.SYN, 7000)),
        (p, p, segment(p, p, Flag.SYN | Flag.ACK, 7000, 7001)),
        (p, p, segment(p, p, Flag.ACK, 7001, 7001)),
    ]


def packets(version: int, port: int = 40_000) -> list[bytes]:
    return [
        frames.segment_packet(source, destination, segment, identification=place)
        for place, (source, destination, segment) in enumerate(handshakes(version, port), 1)
    ]


def timed(found: Iterable[bytes]) -> list[writers.Record]:
    return [(EPOCH + place * MILLISECOND, frame) for place, frame in enumerate(found)]


def analysed(data: bytes) -> CaptureResult:
    analysis = Analysis("frames", collect=frozenset(Verdict))
    analysis.feed(data)
    return analysis.finish()


def told(found: Iterable[bytes], link: int = 1) -> CaptureResult:
    return analysed(writers.pcap(timed(found), link))


def counted(result: CaptureResult) -> dict[Verdict, int]:
    return {verdict: count for verdict, count in result.verdicts.items() if count}


CASES = [pytest.param(link, version, id=f"{link} IPv{version}") for link in LINKS for version in link.versions]


@pytest.mark.parametrize(("link", "version"), CASES)
def test_each_link_carries_the_conversation(link: Link, version: int) -> None:
    result = told(map(link.wrap, packets(version)), link.number)
    assert counted(result) == BOTH
    assert (result.packets, result.segments, result.undecoded, result.damage) == (6, 6, {}, None)


def every_link() -> bytes:
    """All of them in one pcapng, an interface each."""
    data = writers.section()
    blocks = b""
    number = 0
    for link in LINKS:
        for version in link.versions:
            data += writers.interface(link.number, resolution=9)
            for time, frame in timed(map(link.wrap, packets(version, 10_000 + number))):
                blocks += writers.enhanced(time + number * NANOSECONDS, frame, number=number)
            number += 1
    return data + blocks


def test_all_links_in_one_file_as_wireshark_reads_them(need_tshark: str, tmp_path: Path) -> None:
    path = tmp_path / "links.pcapng"
    path.write_bytes(every_link())
    seen = list(facts(need_tshark, str(path)))
    result = analysed(every_link())
    assert judgement(result) == judge(seen)
    assert counted(result) == {verdict: len(CASES) for verdict in BOTH}
    ours = [
        (s.frame, s.time, s.source, s.destination, s.seq, s.ack, s.flags, s.window, s.payload)
        for opening in result.openings
        for s in opening.segments
    ]
    theirs = [(f.frame, f.time, f.source, f.destination, f.seq, f.ack, f.flags, f.window, f.payload) for f in seen]
    assert sorted(ours) == sorted(theirs)


@pytest.mark.parametrize("kept", [34 + 20, 34 + 24, 34 + 28])
def test_frames_without_their_options_as_wireshark_reads_them(kept: int, need_tshark: str, tmp_path: Path) -> None:
    data = writers.pcap_header()
    for time, frame in timed(map(frames.ethernet, packets(4))):
        data += writers.pcap_record(time, frame[:kept], original=len(frame))
    path = tmp_path / "short.pcap"
    path.write_bytes(data)
    assert counted(analysed(data)) == BOTH
    assert judgement(analysed(data)) == judge(facts(need_tshark, str(path)))


# -- IP and what it may carry before TCP -------------------------------------------------------------------------


def _v4(**extras: object) -> Wrap:
    return lambda source, destination, segment: frames.ipv4(source.packed, destination.packed, segment, **extras)  # type: ignore[arg-type]


def _v6(*extensions: tuple[int, bytes]) -> Wrap:
    return lambda source, destination, segment: frames.ipv6(
        source.packed, destination.packed, segment, extensions=extensions
    )


def _v4_authenticated(source: Endpoint, destination: Endpoint, segment: bytes) -> bytes:
    return frames.ipv4(source.packed, destination.packed, bytes((6,)) + frames.AUTHENTICATION[1] + segment, 51)


PACKETS = [
    pytest.param(4, _v4(options=b"\x94\4\0\0"), id="IPv4 router alert"),
    pytest.param(4, _v4(options=b"\7\x27\4" + bytes(36)), id="IPv4 all 40 octets of options"),
    pytest.param(4, _v4(more_fragments=True), id="IPv4 first fragment"),
    pytest.param(4, _v4(total_length=0), id="IPv4 without a length: segmentation offload"),
    pytest.param(4, _v4(ttl=1), id="IPv4 TTL 1"),
    pytest.param(4, _v4_authenticated, id="IPv4 authentication header"),
    pytest.param(6, _v6(frames.HOP_BY_HOP), id="IPv6 hop-by-hop options"),
    pytest.param(6, _v6(frames.DESTINATION_OPTIONS), id="IPv6 destination options"),
    pytest.param(6, _v6(frames.ROUTING), id="IPv6 routing"),
    pytest.param(6, _v6(frames.AUTHENTICATION), id="IPv6 authentication header"),
    pytest.param(6, _v6(frames.fragment(0, more=True)), id="IPv6 first fragment"),
    pytest.param(6, _v6(frames.fragment(0, more=False)), id="IPv6 atomic fragment"),
    pytest.param(
        6,
        _v6(frames.HOP_BY_HOP, frames.ROUTING, frames.fragment(0, more=False), frames.DESTINATION_OPTIONS),
        id="IPv6 four headers",
    ),
]


@pytest.mark.parametrize(("version", "wrap"), PACKETS)
def test_ip_with_all_its_extras(version: int, wrap: Wrap) -> None:
    result = told(frames.ethernet(wrap(*parts)) for parts in handshakes(version))
    assert counted(result) == BOTH
    assert (result.segments, result.undecoded) == (6, {})
    assert {segment.payload for opening in result.openings for segment in opening.segments} == {0}


@pytest.mark.parametrize(("version", "wrap"), PACKETS)
def test_ip_with_all_its_extras_as_wireshark_reads_it(
    version: int, wrap: Wrap, need_tshark: str, tmp_path: Path
) -> None:
    path = tmp_path / "extras.pcap"
    path.write_bytes(writers.pcap(timed(frames.ethernet(wrap(*parts)) for parts in handshakes(version))))
    assert judgement(analysed(path.read_bytes())) == judge(facts(need_tshark, str(path)))


def syn_packet(version: int = 4, *, payload: bytes = b"") -> bytes:
    a, b = Endpoint.parse(CLIENT[version], 40_000), Endpoint.parse(SERVER[version], 80)
    return frames.segment_packet(a, b, frames.tcp(40_000, 80, Flag.SYN, 1000, payload=payload))


def first_segment(frame: bytes, link: int = 1) -> Segment:
    return told([frame], link).openings[0].segments[0]


@VERSIONS
def test_padding_is_no_payload(version: int) -> None:
    assert first_segment(frames.ethernet(syn_packet(version)) + bytes(30)).payload == 0


@VERSIONS
def test_payload_is_what_was_sent_not_what_was_captured(version: int) -> None:
    frame = frames.ethernet(syn_packet(version, payload=b"x" * 500))
    kept = len(frame) - 480
    data = writers.pcap_header() + writers.pcap_record(EPOCH, frame[:kept], original=len(frame))
    assert analysed(data).openings[0].segments[0].payload == 500


def test_payload_without_a_length_is_what_was_captured() -> None:
    segment = frames.tcp(40_000, 80, Flag.SYN, 1000, payload=b"x" * 50)
    packet = frames.ipv4(b"\n\0\0\1", b"\n\0\0\2", segment, total_length=0)
    assert first_segment(frames.ethernet(packet)).payload == 50


def test_fields_and_options_of_a_segment() -> None:
    a, b = Endpoint.parse(CLIENT[4], 40_000), Endpoint.parse(SERVER[4], 80)
    options = (
        frames.mss(1460)
        + frames.sack_permitted()
        + frames.timestamps(100, 200)
        + frames.window_scale(7)
        + frames.fast_open(b"cookie")
    )
    syn = frames.tcp(a.port, b.port, Flag.SYN | Flag.ECE, 4_294_967_295, 77, window=512, options=options, payload=b"hi")
    blocks = frames.sack((10, 20), (30, 4_294_967_295))
    answer = frames.tcp(b.port, a.port, Flag.SYN | Flag.ACK, 9, 2, options=blocks)
    found = [frames.segment_packet(a, b, syn), frames.segment_packet(b, a, answer)]
    segments = told(map(frames.ethernet, found)).openings[0].segments
    assert segments == [
        Segment(
            frame=1,
            time=EPOCH,
            source=a,
            destination=b,
            seq=SequenceNumber(4_294_967_295),
            ack=SequenceNumber(77),
            flags=Flag.SYN | Flag.ECE,
            window=512,
            payload=2,
            options=Options(mss=1460, sack_permitted=True, tsval=100, tsecr=200, window_scale=7, fast_open=b"cookie"),
        ),
        Segment(
            frame=2,
            time=EPOCH + MILLISECOND,
            source=b,
            destination=a,
            seq=SequenceNumber(9),
            ack=SequenceNumber(2),
            flags=Flag.SYN | Flag.ACK,
            window=65535,
            options=Options(sack=((10, 20), (30, 4_294_967_295))),
        ),
    ]


# -- copies -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cooked", [frames.sll, frames.sll2], ids=["SLL", "SLL2"])
def test_loopback_doubles_sent_and_received(cooked: Callable[..., bytes]) -> None:
    link = 113 if cooked is frames.sll else 276
    records = [
        (EPOCH + place * MILLISECOND + delay, cooked(packet, packet_type=kind))
        for place, packet in enumerate(packets(4))
        for kind, delay in ((4, 0), (0, 3000))
    ]
    result = analysed(writers.pcap(records, link, kind="nano"))
    assert counted(result) == BOTH
    assert (result.packets, result.segments, result.duplicates) == (12, 6, 6)
    assert all(opening.syn_retransmissions == 0 for opening in result.openings)


def test_one_packet_on_two_interfaces_of_different_kind() -> None:
    data = writers.section() + writers.interface(1, resolution=9) + writers.interface(113, resolution=9)
    data += writers.interface(1, resolution=9)
    for place, packet in enumerate(packets(4)):
        tagged = frames.ethernet(frames.vlan(packet, frames.ETHERTYPE_IPV4), 0x8100)
        for number, frame in enumerate((frames.ethernet(packet) + bytes(6), frames.sll(packet), tagged)):
            data += writers.enhanced(EPOCH + place * MILLISECOND + number * 1000, frame, number=number)
    result = analysed(data)
    assert counted(result) == BOTH
    assert (result.segments, result.duplicates) == (6, 12)


def test_copies_are_told_however_long_their_headers_are() -> None:
    extensions = (frames.HOP_BY_HOP, frames.ROUTING, frames.AUTHENTICATION)
    records = []
    for times in range(3):
        for source, destination, segment in handshakes(6, 40_000 + times):
            packet = frames.ipv6(source.packed, destination.packed, segment, extensions=extensions * times)
            records += [(EPOCH + len(records) * 1000, frames.ethernet(packet))] * 2
    result = analysed(writers.pcap(records, kind="nano"))
    assert counted(result) == dict.fromkeys(BOTH, 3)
    assert (result.segments, result.duplicates) == (18, 18)


@pytest.mark.parametrize("identification", [0, 1, 0x8000, 0xFFFF])
@pytest.mark.parametrize(("apart", "copies"), [(MILLISECOND, 1), (15 * MILLISECOND, 1), (30 * MILLISECOND, 0)])
def test_a_packet_one_hop_further_is_a_copy_if_it_comes_soon(apart: int, copies: int, identification: int) -> None:
    a, b = Endpoint.parse(CLIENT[4], 40_000), Endpoint.parse(SERVER[4], 80)
    syn = frames.tcp(a.port, b.port, Flag.SYN, 1000)
    hops = [
        frames.ethernet(frames.ipv4(a.packed, b.packed, syn, ttl=ttl, identification=identification))
        for ttl in (64, 63)
    ]
    result = analysed(writers.pcap([(EPOCH, hops[0]), (EPOCH + apart, hops[1])]))
    assert (result.duplicates, result.openings[0].syn_retransmissions) == (copies, 1 - copies)


# -- what is not understood ---------------------------------------------------------------------------------------

WRAPPED = frames.tcp(40_000, 80, Flag.SYN, 1000)


def _ip(payload: bytes, protocol: int = 6, **extras: object) -> bytes:
    return frames.ethernet(frames.ipv4(b"\n\0\0\1", b"\n\0\0\2", payload, protocol, **extras))  # type: ignore[arg-type]


def _deep(levels: int) -> bytes:
    packet = syn_packet()
    for _ in range(levels):
        packet = frames.in_ipv4(packet)
    return frames.ethernet(packet)


@pytest.mark.parametrize(
    ("frame", "link", "reason"),
    [
        pytest.param(b"", 1, "link header cut short", id="no octet"),
        pytest.param(bytes(13), 1, "link header cut short", id="half an Ethernet header"),
        pytest.param(frames.ethernet(b"\0", 0x8100), 1, "VLAN, MPLS or PPPoE header cut short", id="half a tag"),
        pytest.param(frames.ethernet(syn_packet()[:19]), 1, "IPv4 header cut short", id="half of IPv4"),
        pytest.param(frames.ethernet(syn_packet(6)[:39]), 1, "IPv6 header cut short", id="half of IPv6"),
        pytest.param(
            frames.ethernet(b"\x50" + syn_packet(6)[1:], 0x86DD), 1, "IPv6 header malformed", id="IPv6 version 5"
        ),
        pytest.param(frames.ethernet(b"\x44" + syn_packet()[1:]), 1, "IPv4 header malformed", id="IPv4 too short"),
        pytest.param(_ip(WRAPPED, total_length=19), 1, "IPv4 header malformed", id="IPv4 length below its header"),
        pytest.param(_ip(WRAPPED, fragment_offset=24), 1, "IP fragment after the first", id="IPv4 fragment"),
        pytest.param(_ip(WRAPPED[:8], more_fragments=True), 1, "TCP header cut short", id="tiny fragment"),
        pytest.param(_ip(WRAPPED[:19]), 1, "TCP header cut short", id="half of TCP"),
        pytest.param(_ip(WRAPPED[:12] + b"\x40" + WRAPPED[13:]), 1, "TCP header malformed", id="TCP offset 4"),
        pytest.param(_ip(WRAPPED[:12] + b"\xf0" + WRAPPED[13:]), 1, "TCP header malformed", id="TCP offset 15"),
        pytest.param(_ip(b"\0\0", 47), 1, "GRE header cut short", id="half of GRE"),
        pytest.param(_deep(50), 1, "too many headers inside each other", id="fifty times IP in IP"),
    ],
)
def test_what_cannot_be_decoded_is_counted_with_its_reason(frame: bytes, link: int, reason: str) -> None:
    result = told([frame], link)
    assert (result.packets, result.segments, result.undecoded) == (1, 0, {reason: 1})
    assert result.damage is None


ARP = frames.ethernet(bytes(28), frames.ETHERTYPE_ARP)
LLC = "LLC (spanning tree, OSI, IPX, NetBIOS)"


@pytest.mark.parametrize(
    ("frame", "link", "name"),
    [
        (ARP, 1, "ARP"),
        (frames.ethernet(bytes(20), 0x88CC), 1, "LLDP"),
        (frames.ethernet(bytes(20), 0x888E), 1, "EAPOL"),
        (_ip(bytes(20), frames.UDP), 1, "UDP"),
        (frames.ethernet(frames.unreachable(b"\n\0\0\2", b"\n\0\0\1", syn_packet())), 1, "ICMP"),
        (frames.ethernet(frames.unreachable(bytes(15) + b"\1", bytes(16), syn_packet(6))), 1, "ICMPv6"),
        (_ip(bytes(20), 2), 1, "IGMP"),
        (_ip(bytes(20), 132), 1, "SCTP"),
        (_ip(bytes(20), 50), 1, "ESP (encrypted)"),
        (_ip(bytes(20), 108), 1, "IPComp (compressed)"),
        (_ip(frames.gre(b"", 0), frames.GRE), 1, "GRE without a packet"),
        (frames.ethernet(b"\x08\0" + bytes(40), 0x88E5), 1, "MACsec (encrypted)"),
        (frames.ethernet(b"\x42\x42\3" + bytes(40), 43), 1, LLC),
        (frames.ethernet(b"\xaa\xaa\3\0\0\x0c\x20\0" + bytes(40), 48), 1, "vendors' SNAP (CDP, VTP, AppleTalk)"),
        (b"\x80\0" + bytes(40), 105, "802.11 without data"),
        (b"\x08\x41" + bytes(40), 105, "802.11 data (encrypted)"),
        (frames.sll(bytes(8), hardware=824, protocol=16), 113, "other protocol families (netlink, CAN)"),
        (frames.null(b"\x45", family=7), 0, "other protocol families (netlink, CAN)"),
        (b"\xff\3\xc0\x21" + bytes(8), 9, "PPP control"),
        (b"\xff\3\0\xfd" + bytes(8), 9, "PPP (encrypted or compressed)"),
        (bytes(16), 227, "CAN"),
    ],
)
def test_what_carries_no_tcp_is_counted_by_name(frame: bytes, link: int, name: str) -> None:
    result = told([frame], link)
    assert (result.packets, result.segments, result.undecoded, result.midstream) == (1, 0, {}, 0)
    assert (result.other, result.unknown) == ({name: 1}, {})


@pytest.mark.parametrize(
    ("frame", "link", "name"),
    [
        (syn_packet(), 147, "link type 147 (user type 0)"),
        (syn_packet(), 400, "link type 400"),
        (syn_packet(), 60_000, "link type 60000"),
        (syn_packet(), 189, "link type 189 (USB (Linux))"),
        (frames.ethernet(syn_packet(), 0x1234), 1, "EtherType 0x1234"),
        (frames.ethernet(syn_packet(), 0x88B5), 1, "EtherType 0x88b5 (local experimental)"),
        (_ip(WRAPPED, 200), 1, "IP protocol 200"),
        (_ip(WRAPPED, 253), 1, "IP protocol 253 (experimental)"),
        (_ip(WRAPPED, 43), 1, "IP protocol 43 (IPv6 routing header)"),
        (_ip(frames.gre(WRAPPED, 0x1234), frames.GRE), 1, "EtherType 0x1234"),
        (_ip(b"\0\2" + bytes(20), frames.GRE), 1, "GRE of an unknown kind"),
        (b"\xff\3\0\x2d" + bytes(8), 9, "PPP protocol 0x002d"),
        (b"\x95" + syn_packet()[1:], 101, "neither IPv4 nor IPv6"),
        (encapsulations.aggregated(syn_packet(), syn_packet()), 105, "802.11 with several packets (A-MSDU)"),
        (frames.ethernet(frames.mpls(b"\x20" + bytes(70), 16), 0x8847), 1, "MPLS payload"),
    ],
)
def test_what_nobody_reads_is_counted_by_name(frame: bytes, link: int, name: str) -> None:
    result = told([frame], link)
    assert (result.packets, result.segments, result.undecoded, result.midstream) == (1, 0, {}, 0)
    assert (result.other, result.unknown) == ({}, {name: 1})


def test_one_packet_in_an_aggregate_is_read() -> None:
    assert told([encapsulations.aggregated(syn_packet())], 105).segments == 1


def test_names_come_most_frames_first_and_are_bounded() -> None:
    found = [frames.ethernet(bytes(20), 0x7000 + kind) for kind in range(100) for _ in range(kind + 1)]
    unknown = told([*found, ARP]).unknown
    assert sum(unknown.values()) == len(found)
    assert len(unknown) == 65
    assert list(unknown.items())[:2] == [("EtherType 0x7063", 100), ("EtherType 0x7062", 99)]
    assert list(unknown.items())[-1] == ("others", sum(range(37)))


# -- what the file tells of itself ----------------------------------------------------------------------------------


def statistics(number: int, *options: tuple[int, int], order: writers.Order = "<") -> bytes:
    """An interface statistics block with these counts."""
    body = struct.pack(f"{order}III", number, 0, 0)
    body += b"".join(writers.option(code, struct.pack(f"{order}Q", count), order=order) for code, count in options)
    return writers.block(5, body + writers.option(0, b"", order=order), order=order)


IFDROP, OSDROP = 5, 7


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(
    ("blocks", "drops"),
    [
        ([], None),
        ([(0, (4, 9))], None),
        ([(0, (IFDROP, 0))], 0),
        ([(0, (IFDROP, 3), (OSDROP, 5))], 5),
        ([(0, (IFDROP, 3)), (0, (IFDROP, 7)), (1, (OSDROP, 2))], 9),
        ([(0, (IFDROP, 1 << 60))], None),
        ([(7, (IFDROP, 3))], None),
    ],
)
def test_packets_that_the_recorder_dropped(
    order: writers.Order, blocks: list[tuple[int, ...]], drops: int | None
) -> None:
    data = writers.section(order=order) + writers.interface(1, order=order) * 2
    data += b"".join(statistics(number, *counts, order=order) for number, *counts in blocks)  # type: ignore[arg-type]
    assert analysed(data + writers.enhanced(0, ARP, order=order)).recorded_drops == drops


def test_packets_dropped_before_a_packet() -> None:
    lost = [writers.option(4, struct.pack("<Q", count)) + writers.option(0, b"") for count in (2, 3)]
    data = writers.section() + writers.interface(1) * 2
    data += writers.enhanced(0, ARP, options=lost[0]) + writers.enhanced(0, ARP, options=lost[1], number=1)
    assert analysed(data + writers.enhanced(0, ARP, options=lost[0])).recorded_drops == 7
    assert analysed(data + statistics(0, (IFDROP, 10))).recorded_drops == 13
    obsolete = bytearray(writers.obsolete(0, ARP))
    for count, drops in ((0, 5), (4, 9), (0xFFFF, 5)):
        obsolete[10:12] = struct.pack("<H", count)
        assert analysed(data + bytes(obsolete)).recorded_drops == drops


def test_capture_filters_are_told_and_bounded() -> None:
    def interface(text: bytes) -> bytes:
        return writers.block(1, struct.pack("<HHI", 1, 0, 0) + writers.option(11, text) + writers.option(0, b""))

    data = writers.section() + interface(b"\0tcp port 80") + interface(b"\0arp\xff") + interface(b"\1\0\0\0")
    assert analysed(data).filters == ("arp\ufffd", "tcp port 80")
    many = writers.section() + b"".join(interface(b"\0%03d" % number + b"x" * 2000) for number in range(40))
    assert [(text[:3], len(text)) for text in analysed(many).filters] == [(f"{n:03}", 1023) for n in range(16)]


@pytest.mark.parametrize("version", [4, 6])
@pytest.mark.parametrize("wrap", [frames.ethernet, frames.vxlan], ids=["Ethernet", "VXLAN"])
def test_frames_to_itself_that_are_cut(version: int, wrap: Callable[[bytes], bytes]) -> None:
    inside = frames.ethernet if wrap is frames.vxlan else bytes
    whole = [frames.ethernet(wrap(inside(p))) if inside is frames.ethernet else wrap(p) for p in packets(version)]
    needed = len(whole[0]) - 8
    for kept in range(needed - 20, needed + 1):
        data = writers.pcap_header()
        for frame in whole:
            data += writers.pcap_record(EPOCH, frame[:kept], original=len(frame))
        result = analysed(data)
        cut = 3 if needed - 16 <= kept < needed else 0
        assert (result.cut_to_itself, result.needed_snaplen) == (cut, needed if cut else 0)
        assert result.segments == (6 if kept == needed else 0)


# -- where a packet goes ----------------------------------------------------------------------------------------------


def _routed(kind: int, left: int, *addresses: bytes) -> tuple[int, bytes]:
    """An IPv6 routing header."""
    return 43, bytes((2 * len(addresses), kind, left)) + bytes(4) + b"".join(addresses)


HERE, HOP, THERE = (b"\x20\1\x0d\xb8" + bytes(11) + bytes((n,)) for n in (1, 2, 3))


@pytest.mark.parametrize(
    ("header", "target"),
    [
        (_routed(0, 0, HOP, HOP), HOP),
        (_routed(0, 1, HOP, THERE), THERE),
        (_routed(2, 1, THERE), THERE),
        (_routed(4, 1, THERE, HOP), THERE),
        (_routed(4, 0, THERE, HOP), HOP),
    ],
)
def test_an_ipv6_route_with_segments_left_ends_at_its_last_address(header: tuple[int, bytes], target: bytes) -> None:
    segment = frames.tcp(80, 80, Flag.SYN, 1)
    opening = told([frames.ethernet(frames.ipv6(HERE, HOP, segment, extensions=[header]))]).openings[0]
    assert opening.destination == Endpoint(target, 80)


def test_a_route_of_an_unknown_type_is_not_read() -> None:
    packet = frames.ipv6(HERE, HOP, WRAPPED, extensions=[_routed(3, 1, THERE)])
    assert told([frames.ethernet(packet)]).unknown == {"IPv6 source route of an unknown type": 1}


@pytest.mark.parametrize("kind", [131, 137])
def test_an_ipv4_source_route_with_hops_left_ends_at_its_last_address(kind: int) -> None:
    a, b, c = (bytes((10, 0, 0, n)) for n in (1, 2, 3))
    segment = frames.tcp(80, 80, Flag.SYN, 1)
    for pointer, target in ((4, a), (8, a), (12, b)):
        route = bytes((1, kind, 11, pointer)) + c + a
        opening = told([frames.ethernet(frames.ipv4(a, b, segment, options=route))]).openings[0]
        assert opening.destination == Endpoint(target, 80)
        assert opening.to_itself == (target == a)
    for wrong in (bytes((131,)), bytes((131, 0)), bytes((131, 40, 4)), bytes((131, 3, 4)), bytes((0, 131, 7, 4)) + a):
        assert told([frames.ethernet(frames.ipv4(a, b, segment, options=wrong))]).openings[0].destination.packed == b


@pytest.mark.parametrize("held", [20, 24, 36])
def test_a_first_fragment_needs_the_fixed_part_of_the_header_only(held: int) -> None:
    syn = frames.tcp(40_000, 80, Flag.SYN, 1000, options=frames.mss(1460) + frames.timestamps(1, 0) + bytes(4))
    first = [
        frames.ipv4(b"\n\0\0\1", b"\n\0\0\2", syn[:held], more_fragments=True),
        frames.ipv6(HERE, THERE, syn[:held], extensions=[frames.fragment(0, more=True)]),
    ]
    result = told(map(frames.ethernet, first))
    assert (result.segments, result.undecoded) == (2, {})
    assert [opening.segments[0].payload for opening in result.openings] == [0, 0]
    assert told([_ip(syn[:held])]).undecoded == {"TCP header malformed": 1}


@pytest.mark.parametrize(("version", "minor"), [(2, 0), (2, 1), (2, 2), (2, 3), (543, 0)])
def test_old_files_have_the_lengths_the_other_way_round(version: int, minor: int) -> None:
    whole = frames.ethernet(syn_packet(payload=b"x" * 400))
    data = struct.pack("<IHHiIII", 0xA1B2C3D4, version, minor, 0, 0, 96, 1)
    for place in range(3):
        data += struct.pack("<IIII", 1_700_000_000 + place, 0, len(whole), 96) + whole[:96]
    result = analysed(data)
    assert (result.packets, result.segments, result.damage) == (3, 3, None)
    assert result.openings[0].segments[0].payload == 400
    in_order = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 3, 0, 0, 96, 1)
    in_order += struct.pack("<IIII", 1_700_000_000, 0, 96, len(whole)) + whole[:96]
    assert analysed(in_order).openings[0].segments[0].payload == 400


@pytest.mark.parametrize(("link", "version"), CASES)
def test_a_frame_cut_anywhere_is_a_segment_or_has_a_reason(link: Link, version: int) -> None:
    packet = packets(version)[0]
    frame = link.wrap(packet)
    for kept in range(len(frame) + 1):
        data = writers.pcap_header(link.number) + writers.pcap_record(EPOCH, frame[:kept], original=len(frame))
        result = analysed(data)
        reasons = sum(result.undecoded.values())
        assert result.packets == 1
        assert result.segments == (kept >= len(frame) - 8)
        assert result.segments + reasons == 1
