"""Raw bytes for the tests, from the TCP header outwards: segments, IP packets, tunnels, link headers.

Every builder takes what it carries as bytes and returns bytes, so that they nest as the headers do:
``ethernet(vlan(ipv4(a, b, tcp(...))))``. Numbers are those of the wire (network byte order), sources are named
beside the formats that are not RFC 9293, 791 or 8200.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from analysis.model import Endpoint

TCP, IP_IN_IP, UDP, IPV6_IN_IP, GRE, ICMP, ICMPV6 = 6, 4, 17, 41, 47, 1, 58
ETHERTYPE_IPV4, ETHERTYPE_IPV6, ETHERTYPE_ARP = 0x0800, 0x86DD, 0x0806


def checksum(data: bytes) -> int:
    """The Internet checksum (RFC 1071)."""
    if len(data) % 2:
        data += b"\0"
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


# -- TCP ------------------------------------------------------------------------------------------------------


def option(kind: int, value: bytes = b"") -> bytes:
    """One TCP option of the kind-length-value form."""
    return bytes((kind, 2 + len(value))) + value


def mss(octets: int) -> bytes:
    return option(2, struct.pack(">H", octets))


def window_scale(shift: int) -> bytes:
    return option(3, bytes((shift,)))


def sack_permitted() -> bytes:
    return option(4)


def sack(*blocks: tuple[int, int]) -> bytes:
    return option(5, b"".join(struct.pack(">II", left % 2**32, right % 2**32) for left, right in blocks))


def timestamps(value: int, echo: int) -> bytes:
    return option(8, struct.pack(">II", value % 2**32, echo % 2**32))


def fast_open(cookie: bytes = b"") -> bytes:
    """TCP Fast Open (RFC 7413); an empty cookie asks for one."""
    return option(34, cookie)


def tcp(
    source_port: int,
    destination_port: int,
    flags: int,
    seq: int,
    ack: int = 0,
    *,
    window: int = 65535,
    options: bytes = b"",
    payload: bytes = b"",
) -> bytes:
    """A TCP segment, its checksum left zero: on loopback it is wrong more often than not, and nobody may care."""
    options += b"\1" * (-len(options) % 4)
    header = struct.pack(
        ">HHIIBBHHH",
        source_port,
        destination_port,
        seq % 2**32,
        ack % 2**32,
        (20 + len(options)) // 4 << 4,
        flags,
        window,
        0,
        0,
    )
    return header + options + payload


# -- IP -------------------------------------------------------------------------------------------------------


def ipv4(
    source: bytes,
    destination: bytes,
    payload: bytes,
    protocol: int = TCP,
    *,
    identification: int = 0,
    ttl: int = 64,
    options: bytes = b"",
    fragment_offset: int = 0,
    more_fragments: bool = False,
    total_length: int | None = None,
) -> bytes:
    """An IPv4 packet; *fragment_offset* in octets. *total_length* 0 is what segmentation offload leaves behind."""
    options += b"\0" * (-len(options) % 4)
    length = 20 + len(options)
    header = struct.pack(
        ">BBHHHBBH4s4s",
        0x40 | length // 4,
        0,
        length + len(payload) if total_length is None else total_length,
        identification % 2**16,
        (0x2000 if more_fragments else 0) | fragment_offset // 8,
        ttl,
        protocol,
        0,
        source,
        destination,
    )
    header += options
    return header[:10] + struct.pack(">H", checksum(header)) + header[12:] + payload


def ipv6(
    source: bytes,
    destination: bytes,
    payload: bytes,
    next_header: int = TCP,
    *,
    hop_limit: int = 64,
    extensions: Iterable[tuple[int, bytes]] = (),
    payload_length: int | None = None,
) -> bytes:
    """An IPv6 packet; each extension is (its own protocol number, its bytes after the next-header octet)."""
    chain = b""
    following = next_header
    for number, body in reversed(tuple(extensions)):
        chain = bytes((following,)) + body + chain
        following = number
    carried = chain + payload
    length = len(carried) if payload_length is None else payload_length
    return struct.pack(">IHBB16s16s", 0x6000_0000, length, following, hop_limit, source, destination) + carried


HOP_BY_HOP = (0, b"\0" + b"\1\4\0\0\0\0")
DESTINATION_OPTIONS = (60, b"\1" + b"\1\14" + bytes(12))
ROUTING = (43, b"\2\0\0" + bytes(20))
AUTHENTICATION = (51, b"\4\0\0" + struct.pack(">II", 7, 1) + bytes(12))  # RFC 4302: length in 4-octet units minus 2


def fragment(offset: int, *, more: bool, identification: int = 7) -> tuple[int, bytes]:
    """The IPv6 fragment header (RFC 8200 4.5); *offset* in octets."""
    return (44, b"\0" + struct.pack(">HI", offset & ~7 | more, identification))


def segment_packet(source: Endpoint, destination: Endpoint, segment: bytes, *, identification: int = 0) -> bytes:
    """The IP packet, version 4 or 6 by the address, that carries a TCP segment."""
    if len(source.packed) == 4:
        return ipv4(source.packed, destination.packed, segment, identification=identification)
    return ipv6(source.packed, destination.packed, segment)


def unreachable(source: bytes, destination: bytes, quoted: bytes) -> bytes:
    """ICMP port unreachable from *source* that quotes the first octets of an IP packet (RFC 792, 4443)."""
    if len(source) == 4:
        message = b"\3\3\0\0" + bytes(4) + quoted[:128]
        message = message[:2] + struct.pack(">H", checksum(message)) + message[4:]
        return ipv4(source, destination, message, ICMP)
    return ipv6(source, destination, b"\1\4\0\0" + bytes(4) + quoted[:512], ICMPV6)


# -- tunnels --------------------------------------------------------------------------------------------------


def ethertype_of(packet: bytes) -> int:
    """The Ethertype for an IP packet, by its version."""
    return ETHERTYPE_IPV4 if packet[0] >> 4 == 4 else ETHERTYPE_IPV6


def in_ipv4(packet: bytes, protocol: int | None = None) -> bytes:
    """*packet* inside IPv4: IP-in-IP (RFC 2003) or 6in4 (RFC 4213), by its version."""
    number = (IP_IN_IP if packet[0] >> 4 == 4 else IPV6_IN_IP) if protocol is None else protocol
    return ipv4(b"\xc0\0\2\1", b"\xc0\0\2\2", packet, number)


def in_ipv6(packet: bytes, protocol: int | None = None) -> bytes:
    """*packet* inside IPv6 (RFC 2473)."""
    number = (IP_IN_IP if packet[0] >> 4 == 4 else IPV6_IN_IP) if protocol is None else protocol
    return ipv6(b"\x20\1\x0d\xb8" + bytes(11) + b"\1", b"\x20\1\x0d\xb8" + bytes(11) + b"\2", packet, number)


def gre(
    payload: bytes,
    protocol: int,
    *,
    with_checksum: bool = False,
    key: int | None = None,
    sequence: int | None = None,
) -> bytes:
    """GRE version 0 (RFC 2784, 2890)."""
    flags = (
        (0x8000 if with_checksum else 0) | (0x2000 if key is not None else 0) | (0x1000 if sequence is not None else 0)
    )
    header = struct.pack(">HH", flags, protocol)
    if with_checksum:
        header += bytes(4)
    if key is not None:
        header += struct.pack(">I", key)
    if sequence is not None:
        header += struct.pack(">I", sequence)
    return header + payload


def pptp_gre(payload: bytes, *, sequence: int | None = 1, acknowledgment: int | None = None) -> bytes:
    """GRE version 1 around PPP (RFC 2637 4.1)."""
    flags = 0x2001 | (0x1000 if sequence is not None else 0) | (0x0080 if acknowledgment is not None else 0)
    header = struct.pack(">HHHH", flags, 0x880B, len(payload), 17)
    if sequence is not None:
        header += struct.pack(">I", sequence)
    if acknowledgment is not None:
        header += struct.pack(">I", acknowledgment)
    return header + payload


def udp(payload: bytes, port: int) -> bytes:
    """UDP to *port*, in IPv4."""
    datagram = struct.pack(">HHHH", 50_000, port, 8 + len(payload), 0) + payload
    return ipv4(b"\xc0\0\2\1", b"\xc0\0\2\2", datagram, UDP)


def vxlan(frame: bytes) -> bytes:
    """An Ethernet frame in VXLAN (RFC 7348), network 7."""
    return udp(struct.pack(">II", 0x0800_0000, 7 << 8) + frame, 4789)


def geneve(payload: bytes, protocol: int, *, options: bytes = b"") -> bytes:
    """Geneve (RFC 8926), network 7."""
    return udp(struct.pack(">BBHI", len(options) // 4, 0, protocol, 7 << 8) + options + payload, 6081)


def gtp(packet: bytes, *, sequence: int | None = None) -> bytes:
    """GTP-U version 1, a user's packet (3GPP TS 29.281), tunnel 7."""
    extra = b"" if sequence is None else struct.pack(">HBB", sequence, 0, 0)
    flags = 0x30 | (0x02 if extra else 0)
    return udp(struct.pack(">BBHI", flags, 255, len(extra) + len(packet), 7) + extra + packet, 2152)


# -- what lies between the link header and IP -------------------------------------------------------------------


def vlan(payload: bytes, ethertype: int, tag: int = 7) -> bytes:
    """What follows the Ethertype 0x8100 (802.1Q) or 0x88a8 (802.1ad)."""
    return struct.pack(">HH", tag, ethertype) + payload


def mpls(payload: bytes, *labels: int) -> bytes:
    """A label stack (RFC 3032), outermost label first."""
    stack = b"".join(
        struct.pack(">I", label << 12 | (0x100 if place == len(labels) - 1 else 0) | 64)
        for place, label in enumerate(labels)
    )
    return stack + payload


def ppp(packet: bytes, *, framed: bool = True, compressed: bool = False) -> bytes:
    """PPP (RFC 1661, 1662): with or without address and control octets, protocol in two octets or in one."""
    number = 0x21 if packet[0] >> 4 == 4 else 0x57
    return (b"\xff\3" if framed else b"") + (bytes((number,)) if compressed else struct.pack(">H", number)) + packet


def pppoe(packet: bytes) -> bytes:
    """A PPPoE session frame (RFC 2516)."""
    inner = ppp(packet, framed=False)
    return struct.pack(">BBHH", 0x11, 0, 9, len(inner)) + inner


# -- link headers -------------------------------------------------------------------------------------------------


def ethernet(payload: bytes, ethertype: int | None = None) -> bytes:
    """Ethernet II; the Ethertype of IP by default."""
    number = ethertype_of(payload) if ethertype is None else ethertype
    return b"\2\0\0\0\0\2\2\0\0\0\0\1" + struct.pack(">H", number) + payload


def null(packet: bytes, *, family: int | None = None, order: Literal["<", ">"] = "<") -> bytes:
    """BSD loopback: the address family, in the capturing host's byte order (LINKTYPE_NULL) or big (LINKTYPE_LOOP)."""
    number = (2 if packet[0] >> 4 == 4 else 30) if family is None else family
    return struct.pack(f"{order}I", number) + packet


def sll(payload: bytes, *, packet_type: int = 0, protocol: int | None = None, hardware: int = 772) -> bytes:
    """Linux cooked capture (LINKTYPE_LINUX_SLL); *packet_type* 0 to us, 4 sent by us; hardware 772 is loopback."""
    number = ethertype_of(payload) if protocol is None else protocol
    return struct.pack(">HHH8sH", packet_type, hardware, 6, bytes(8), number) + payload


def sll2(payload: bytes, *, packet_type: int = 0, protocol: int | None = None, hardware: int = 772) -> bytes:
    """Linux cooked capture, version 2 (LINKTYPE_LINUX_SLL2)."""
    number = ethertype_of(payload) if protocol is None else protocol
    return struct.pack(">HHIHBB8s", number, 0, 1, hardware, packet_type, 6, bytes(8)) + payload


@dataclass(frozen=True)
class Link:
    """One way to carry an IP packet in a capture: the file's link type, and what stands before the packet."""

    name: str
    number: int
    wrap: Callable[[bytes], bytes]
    versions: tuple[int, ...] = (4, 6)

    def __str__(self) -> str:
        return self.name


def _teb(packet: bytes) -> bytes:
    return in_ipv4(gre(ethernet(packet), 0x6558), GRE)


#: Link types and what may lie between them and IP (link numbers: tcpdump.org/linktypes.html).
LINKS = (
    Link("ethernet", 1, ethernet),
    Link("802.1Q", 1, lambda p: ethernet(vlan(p, ethertype_of(p)), 0x8100)),
    Link("802.1ad", 1, lambda p: ethernet(vlan(vlan(p, ethertype_of(p)), 0x8100), 0x88A8)),
    Link("802.1Q three deep", 1, lambda p: ethernet(vlan(vlan(vlan(p, ethertype_of(p)), 0x8100), 0x8100), 0x8100)),
    Link("QinQ 0x9100", 1, lambda p: ethernet(vlan(vlan(p, ethertype_of(p)), 0x8100), 0x9100)),
    Link("MPLS one label", 1, lambda p: ethernet(mpls(p, 16), 0x8847)),
    Link("MPLS three labels", 1, lambda p: ethernet(mpls(p, 16, 17, 18), 0x8847)),
    Link("MPLS in 802.1Q", 1, lambda p: ethernet(vlan(mpls(p, 99), 0x8847), 0x8100)),
    Link("PPPoE", 1, lambda p: ethernet(pppoe(p), 0x8864)),
    Link("PPPoE in 802.1Q", 1, lambda p: ethernet(vlan(pppoe(p), 0x8864), 0x8100)),
    Link("PPP framed", 9, ppp),
    Link("PPP unframed", 9, lambda p: ppp(p, framed=False)),
    Link("PPP with a protocol of one octet", 9, lambda p: ppp(p, framed=False, compressed=True)),
    Link("PPP HDLC", 50, ppp),
    Link("NULL little-endian", 0, null),
    Link("NULL big-endian", 0, lambda p: null(p, order=">")),
    Link("NULL family of NetBSD", 0, lambda p: null(p, family=24), (6,)),
    Link("NULL family of FreeBSD", 0, lambda p: null(p, family=28, order=">"), (6,)),
    Link("LOOP", 108, lambda p: null(p, family=2 if p[0] >> 4 == 4 else 24, order=">")),
    Link("RAW 101", 101, bytes),
    Link("RAW 12", 12, bytes),
    Link("RAW 14", 14, bytes),
    Link("IPV4 228", 228, bytes),
    Link("IPV6 229", 229, bytes, (6,)),
    Link("SLL", 113, sll),
    Link("SLL sent by us", 113, lambda p: sll(p, packet_type=4)),
    Link("SLL 802.1Q", 113, lambda p: sll(vlan(p, ethertype_of(p)), protocol=0x8100)),
    Link("SLL2", 276, sll2),
    Link("SLL2 sent by us", 276, lambda p: sll2(p, packet_type=4)),
    Link("IP-in-IP, 6in4", 1, lambda p: ethernet(in_ipv4(p))),
    Link("IPv6 called IPv4", 1, lambda p: ethernet(p, ETHERTYPE_IPV4), (6,)),
    Link("in IPv6", 1, lambda p: ethernet(in_ipv6(p))),
    Link("IP-in-IP twice", 101, lambda p: in_ipv4(in_ipv4(p))),
    Link("GRE", 1, lambda p: ethernet(in_ipv4(gre(p, ethertype_of(p)), GRE))),
    Link("GRE checksum", 1, lambda p: ethernet(in_ipv4(gre(p, ethertype_of(p), with_checksum=True), GRE))),
    Link("GRE key", 1, lambda p: ethernet(in_ipv4(gre(p, ethertype_of(p), key=5), GRE))),
    Link("GRE sequence", 1, lambda p: ethernet(in_ipv4(gre(p, ethertype_of(p), sequence=5), GRE))),
    Link(
        "GRE all fields",
        1,
        lambda p: ethernet(in_ipv6(gre(p, ethertype_of(p), with_checksum=True, key=5, sequence=6), GRE)),
    ),
    Link("GRE Ethernet", 1, lambda p: ethernet(_teb(p))),
    Link("GRE Ethernet 802.1Q", 113, lambda p: sll(_teb_vlan(p))),
    Link("GRE MPLS", 1, lambda p: ethernet(in_ipv4(gre(mpls(p, 16), 0x8847), GRE))),
    Link("GRE of PPTP", 1, lambda p: ethernet(in_ipv4(pptp_gre(ppp(p)), GRE))),
    Link("GRE of PPTP with acknowledgment", 1, lambda p: ethernet(in_ipv4(pptp_gre(ppp(p), acknowledgment=3), GRE))),
    Link("VXLAN", 1, lambda p: ethernet(vxlan(ethernet(p)))),
    Link("VXLAN 802.1Q", 1, lambda p: ethernet(vxlan(ethernet(vlan(p, ethertype_of(p)), 0x8100)))),
    Link("Geneve Ethernet", 1, lambda p: ethernet(geneve(ethernet(p), 0x6558))),
    Link("Geneve with options", 1, lambda p: ethernet(geneve(ethernet(p), 0x6558, options=b"\1\1\0\1" + bytes(4)))),
    Link("GTP-U", 1, lambda p: ethernet(gtp(p))),
    Link("GTP-U with sequence", 1, lambda p: ethernet(gtp(p, sequence=9))),
    Link("Teredo", 1, lambda p: ethernet(udp(p, 3544)), (6,)),
)


def _teb_vlan(packet: bytes) -> bytes:
    return in_ipv4(gre(ethernet(vlan(packet, ethertype_of(packet)), 0x8100), 0x6558), GRE)
