"""One small conversation in every wrapping that the reader must know: link types, tunnels, IP with all its extras.

Wireshark's dissectors are the second witness: all wrappings in one pcapng, an interface each.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import frames
import pytest
import writers
from frames import LINKS, Link
from oracle import facts, judge
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


def test_a_packet_one_hop_further_is_no_copy() -> None:
    a, b = Endpoint.parse(CLIENT[4], 40_000), Endpoint.parse(SERVER[4], 80)
    syn = frames.tcp(a.port, b.port, Flag.SYN, 1000)
    hops = [frames.ipv4(a.packed, b.packed, syn, ttl=ttl) for ttl in (64, 63)]
    result = analysed(writers.pcap([(EPOCH, frames.ethernet(hop)) for hop in hops]))
    assert (result.duplicates, result.openings[0].syn_retransmissions) == (0, 1)


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
        pytest.param(syn_packet(), 147, "link type 147 is not supported", id="unknown link type"),
    ],
)
def test_what_cannot_be_decoded_is_counted_with_its_reason(frame: bytes, link: int, reason: str) -> None:
    result = told([frame], link)
    assert (result.packets, result.segments, result.undecoded) == (1, 0, {reason: 1})
    assert result.damage is None


@pytest.mark.parametrize(
    "frame",
    [
        pytest.param(frames.ethernet(bytes(28), frames.ETHERTYPE_ARP), id="ARP"),
        pytest.param(_ip(bytes(20), frames.UDP), id="UDP"),
        pytest.param(frames.ethernet(frames.unreachable(b"\n\0\0\2", b"\n\0\0\1", syn_packet())), id="ICMP"),
        pytest.param(frames.ethernet(frames.unreachable(bytes(15) + b"\1", bytes(16), syn_packet(6))), id="ICMPv6"),
        pytest.param(frames.ethernet(b"\x42\x42\3" + bytes(40), 43), id="spanning tree"),
        pytest.param(frames.sll(bytes(8), hardware=824, protocol=16), id="netlink"),
    ],
)
def test_what_is_not_tcp_is_neither_a_segment_nor_undecoded(frame: bytes) -> None:
    link = 113 if len(frame) == 24 else 1
    result = told([frame], link)
    assert (result.packets, result.segments, result.undecoded, result.midstream) == (1, 0, {}, 0)


@pytest.mark.parametrize(("link", "version"), CASES)
def test_a_frame_cut_anywhere_is_a_segment_or_has_a_reason(link: Link, version: int) -> None:
    packet = packets(version)[0]
    frame = link.wrap(packet)
    # Cut before the packet inside, a tunnel may pass for an empty one, UDP for UDP; Teredo is known by its IPv6 header.
    in_tunnel = link.name.startswith(("GRE", "VXLAN", "Geneve", "GTP-U", "Teredo"))
    told_from = len(frame) - len(packet) + (40 if link.name == "Teredo" else 1) if in_tunnel else 0
    for kept in range(len(frame) + 1):
        data = writers.pcap_header(link.number) + writers.pcap_record(EPOCH, frame[:kept], original=len(frame))
        result = analysed(data)
        reasons = sum(result.undecoded.values())
        assert result.packets == 1
        assert result.segments == (kept >= len(frame) - 8)
        assert result.segments + reasons == 1 or kept < told_from
