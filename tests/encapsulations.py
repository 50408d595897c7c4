"""Everything that may stand between a frame's first octet and an IP packet, as builders that nest in each other.

A *tag* stands behind an EtherType and says which comes next; a *tunnel* makes an IP packet of an IP packet or of an
Ethernet frame; a *carrier* is a link type. Formats: the source that analysis/engine names beside the reader of each;
what Wireshark makes of them is compared in test_encapsulations.py.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import frames
from frames import ETHERTYPE_IPV4, ETHERTYPE_IPV6, ethernet, ethertype_of, gre, in_ipv4, in_ipv6, mpls, ppp, udp, vlan

if TYPE_CHECKING:
    from collections.abc import Callable

    #: An EtherType and what it announces.
    Typed = tuple[int, bytes]

MAC = b"\2\0\0\0\0\1"
SNAP = b"\xaa\xaa\3\0\0\0"


def typed(packet: bytes) -> Typed:
    return ethertype_of(packet), packet


def octets(number: int) -> bytes:
    return struct.pack(">H", number)


def _frame(what: Typed) -> bytes:
    return ethernet(what[1], what[0])


def _numbered(what: Typed) -> tuple[int, bytes]:
    """The number of NSH and VXLAN-GPE for what follows, and that: IP as it is, all else in Ethernet."""
    if what[0] in (ETHERTYPE_IPV4, ETHERTYPE_IPV6):
        return (1 if what[0] == ETHERTYPE_IPV4 else 2), what[1]
    return 3, _frame(what)


def nsh(what: Typed) -> bytes:
    """Network service header, metadata type 1 (RFC 8300)."""
    number, carried = _numbered(what)
    return struct.pack(">HBBI16x", 0x0FC6, 1, number, 0x100FF) + carried


def batman(kind: int, frame: bytes) -> bytes:
    """B.A.T.M.A.N. advanced, version 15: unicast, unicast with four addresses, broadcast."""
    head = bytes((kind, 15, 50))
    if kind == 1:
        return head + b"\0" + bytes(4) + MAC + frame
    return head + b"\1" + MAC + (MAC + b"\1\0" if kind == 0x42 else b"") + frame


def macsec(what: Typed, *, sci: bool) -> bytes:
    """MACsec that protects without encryption, with what checks it."""
    return (
        (b"\x20\0" if sci else b"\0\0")
        + bytes(4)
        + (MAC + b"\0\1" if sci else b"")
        + octets(what[0])
        + what[1]
        + bytes(16)
    )


def of_vendors(frame: bytes) -> bytes:
    """An Ethernet frame with addresses by whose vendors Wireshark tells it from a control word."""
    return b"\0\x1b\x21\0\0\2\0\x1b\x21\0\0\1" + frame[12:]


TAGS: dict[str, Callable[[Typed], Typed]] = {
    "802.1Q": lambda t: (0x8100, vlan(t[1], t[0])),
    "802.1ad": lambda t: (0x88A8, vlan(t[1], t[0])),
    "MetaData": lambda t: (0x8909, b"\1\1\0\1\0\x10" + octets(t[0]) + t[1]),
    "VN-TAG": lambda t: (0x8926, b"\0\1\0\2" + octets(t[0]) + t[1]),
    "E-TAG": lambda t: (0x893F, bytes(6) + octets(t[0]) + t[1]),
    "HSR": lambda t: (0x892F, octets(len(t[1]) + 6) + b"\0\1" + octets(t[0]) + t[1]),
    "R-TAG": lambda t: (0xF1C1, b"\0\0\0\1" + octets(t[0]) + t[1]),
    "MACsec": lambda t: (0x88E5, macsec(t, sci=False)),
    "MACsec with SCI": lambda t: (0x88E5, macsec(t, sci=True)),
    "802.1ah": lambda t: (0x88E7, b"\0\0\0\7" + _frame(t)),
    "TRILL": lambda t: (0x22F3, b"\0\x0f\0\1\0\2" + _frame(t)),
    "TRILL with options": lambda t: (0x22F3, b"\0\x4f\0\1\0\2" + bytes(4) + _frame(t)),
    "batman unicast": lambda t: (0x4305, batman(0x40, _frame(t))),
    "batman four addresses": lambda t: (0x4305, batman(0x42, _frame(t))),
    "batman broadcast": lambda t: (0x4305, batman(1, _frame(t))),
    "NSH": lambda t: (0x894F, nsh(t)),
    "FabricPath": lambda t: (0x8903, b"\0\x5f" + _frame(t)),
}
#: Of these IP alone follows.
IP_TAGS: dict[str, Callable[[bytes], Typed]] = {
    "MPLS": lambda p: (0x8847, mpls(p, 16, 17)),
    "MPLS pseudowire": lambda p: (0x8847, mpls(of_vendors(ethernet(p)), 16)),
    "MPLS pseudowire, VLAN": lambda p: (0x8847, mpls(of_vendors(ethernet(vlan(p, ethertype_of(p)), 0x8100)), 16)),
    "MPLS pseudowire with control word": lambda p: (0x8847, mpls(bytes(4) + of_vendors(ethernet(p)), 16)),
    "PPPoE": lambda p: (0x8864, frames.pppoe(p)),
}


@dataclass(frozen=True)
class Tunnel:
    """A tunnel for Ethernet (``ethernet``) or for IP, of these versions."""

    name: str
    wrap: Callable[[bytes], bytes]
    ethernet: bool = False
    versions: tuple[int, ...] = (4, 6)

    @property
    def guess(self) -> bool:
        """Whether it stands in UDP, or what is in it has to be guessed."""
        frame = self.wrap(frames.ethernet(frames.in_ipv4(b"\x45")) if self.ethernet else frames.in_ipv4(b"\x45"))
        return frame[9] == frames.UDP or self.name.startswith("L2TP")


def erspan(frame: bytes) -> bytes:
    """ERSPAN type II (draft-foschiano-erspan)."""
    return in_ipv4(gre(b"\x10\1\0\1" + bytes(4) + frame, 0x88BE, sequence=1), frames.GRE)


def erspan_3(frame: bytes, *, subheader: bool) -> bytes:
    """ERSPAN type III, perhaps with a platform's subheader."""
    head = b"\x20\1\0\1" + bytes(6) + (b"\0\1" + bytes(8) if subheader else b"\0\0")
    return in_ipv4(gre(head + frame, 0x22EB, sequence=1), frames.GRE)


def l2tp(packet: bytes, *, flags: int = 0x4002, framed: bool = True) -> bytes:
    """L2TPv2 (RFC 2661); of *flags* length, sequence and offset say what the header has."""
    head = octets(1) + octets(1)
    head += b"\0\1\0\2" if flags & 0x0800 else b""
    head += b"\0\4" + bytes(4) if flags & 0x0200 else b""
    body = ppp(packet, framed=framed)
    if flags & 0x4000:
        head = octets(len(head) + len(body) + 4) + head
    return udp(octets(flags) + head + body, 1701)


def l2tp_3(frame: bytes, *, cookie: int, sublayer: bool, over_udp: bool = False) -> bytes:
    """L2TPv3 (RFC 3931) with Ethernet."""
    head = struct.pack(">I", 7) + b"\xaa" * cookie + (bytes(4) if sublayer else b"")
    if over_udp:
        return udp(b"\0\3\0\0" + head + frame, 1701)
    return in_ipv4(head + frame, 115)


def tzsp(carried: bytes, protocol: int) -> bytes:
    """TZSP: a received packet, a field that pads, one with a value, the end."""
    return udp(b"\1\0" + octets(protocol) + b"\0\x0a\1\7\1" + carried, 37008)


def data_frame(packet: bytes, *, qos: bool = False, wds: bool = False, padded: bool = False) -> bytes:
    """An 802.11 data frame to an access point, with LLC; *wds*: between two of them; *padded* to four octets."""
    head = bytes((0x88 if qos else 0x08, 3 if wds else 1, 0, 0)) + MAC * 3 + b"\0\0" + (MAC if wds else b"")
    head += b"\0\0" if qos else b""
    return head + (b"\0" * (-len(head) % 4) if padded else b"") + SNAP + octets(ethertype_of(packet)) + packet


def aggregated(*packets: bytes) -> bytes:
    """An 802.11 data frame with several packets in it (A-MSDU)."""
    head = b"\x88\1\0\0" + MAC * 3 + b"\0\0\x80\0"
    for packet in packets:
        body = SNAP + octets(ethertype_of(packet)) + packet
        head += b"\0" * (-(len(head) - 26) % 4) + MAC + MAC + octets(len(body)) + body
    return head


def capwap(frame: bytes, *, native: bool) -> bytes:
    """CAPWAP's data (RFC 5415): 802.11 or Ethernet."""
    return udp(b"\0" + bytes((2 << 3, 0x42 | native, 0)) + bytes(4) + frame, 5247)


def swapped(frame: bytes) -> bytes:
    """802.11 with its first two octets exchanged."""
    return frame[1::-1] + frame[2:]


def ayiya(packet: bytes) -> bytes:
    """AYIYA with a signature (draft-massar-v6ops-ayiya)."""
    return udp(b"\x41\x52\x11" + bytes((41 if packet[0] >> 4 == 6 else 4,)) + bytes(4 + 16 + 20) + packet, 5072)


def gpe(packet: bytes) -> bytes:
    """VXLAN-GPE with IP."""
    return udp(b"\x0c\0\0" + bytes((1 if packet[0] >> 4 == 4 else 2,)) + b"\0\0\7\0" + packet, 4790)


def _gre(packet: bytes, **fields: int) -> bytes:
    return in_ipv4(gre(packet, ethertype_of(packet), **fields), frames.GRE)  # type: ignore[arg-type]


TUNNELS = (
    Tunnel("IP in IPv4", in_ipv4),
    Tunnel("IP in IPv6", in_ipv6),
    Tunnel("IP in IP, old", lambda p: in_ipv4(p, 94), versions=(4,)),
    Tunnel("EtherIP", lambda f: in_ipv4(b"\x30\0" + f, 97), ethernet=True),
    Tunnel("Ethernet in IPv6", lambda f: in_ipv6(f, 143), ethernet=True),
    Tunnel("MPLS in IP", lambda p: in_ipv4(mpls(p, 16), 137)),
    Tunnel("GRE", _gre),
    Tunnel("GRE with key", lambda p: _gre(p, key=9)),
    Tunnel("GRE Ethernet", lambda f: in_ipv4(gre(f, 0x6558, key=9), frames.GRE), ethernet=True),
    Tunnel("GRE in IPv6", lambda p: in_ipv6(gre(p, ethertype_of(p)), frames.GRE)),
    Tunnel("GRE MPLS", lambda p: in_ipv4(gre(mpls(p, 16), 0x8847), frames.GRE)),
    Tunnel("GRE NSH", lambda p: in_ipv4(gre(nsh(typed(p)), 0x894F), frames.GRE)),
    Tunnel("GRE MetaData", lambda p: in_ipv4(gre(TAGS["MetaData"](typed(p))[1], 0x8909), frames.GRE)),
    Tunnel("GRE WCCP", lambda p: in_ipv4(gre(b"\0\0\0\1" + p, 0x883E), frames.GRE), versions=(4,)),
    Tunnel("GRE of PPTP", lambda p: in_ipv4(frames.pptp_gre(ppp(p)), frames.GRE)),
    Tunnel("GRE Aruba", lambda p: in_ipv4(gre(data_frame(p), 0x8200), frames.GRE)),
    Tunnel("GRE Frame Relay", lambda p: in_ipv4(gre(frame_relay(p), 0x6559), frames.GRE)),
    Tunnel("ERSPAN I", lambda f: in_ipv4(gre(f, 0x88BE), frames.GRE), ethernet=True),
    Tunnel("ERSPAN II", erspan, ethernet=True),
    Tunnel("ERSPAN III", lambda f: erspan_3(f, subheader=False), ethernet=True),
    Tunnel("ERSPAN III with subheader", lambda f: erspan_3(f, subheader=True), ethernet=True),
    Tunnel("GRE in UDP", lambda p: udp(gre(p, ethertype_of(p)), 4754)),
    Tunnel("MPLS in UDP", lambda p: udp(mpls(p, 16), 6635)),
    Tunnel("VXLAN", frames.vxlan, ethernet=True),
    Tunnel("VXLAN-GPE", gpe),
    Tunnel("VXLAN-GPE NSH", lambda p: udp(b"\x0c\0\0\4\0\0\7\0" + nsh(typed(p)), 4790)),
    Tunnel("Geneve", lambda f: frames.geneve(f, 0x6558, options=b"\1\1\0\1" + bytes(4)), ethernet=True),
    Tunnel("Geneve with IP", lambda p: frames.geneve(p, ethertype_of(p))),
    Tunnel("GTP-U", lambda p: frames.gtp(p, sequence=9)),
    Tunnel("Teredo", lambda p: udp(p, 3544), versions=(6,)),
    Tunnel("LISP", lambda p: udp(b"\x08\0\0\0\0\0\7\0" + p, 4341)),
    Tunnel("L2TPv2", l2tp),
    Tunnel("L2TPv2 without length", lambda p: l2tp(p, flags=2)),
    Tunnel("L2TPv2 with everything", lambda p: l2tp(p, flags=0x4A02, framed=False)),
    Tunnel("L2TPv3", lambda f: l2tp_3(f, cookie=0, sublayer=True), ethernet=True),
    Tunnel("L2TPv3 with a cookie", lambda f: l2tp_3(f, cookie=8, sublayer=False), ethernet=True),
    Tunnel("L2TPv3 in UDP", lambda f: l2tp_3(f, cookie=4, sublayer=False, over_udp=True), ethernet=True),
    Tunnel("TZSP", lambda f: tzsp(f, 1), ethernet=True),
    Tunnel("TZSP 802.11", lambda p: tzsp(data_frame(p), 18)),
    Tunnel("CAPWAP", lambda p: capwap(data_frame(p), native=True)),
    Tunnel("CAPWAP with QoS, swapped", lambda p: capwap(swapped(data_frame(p, qos=True)), native=True)),
    Tunnel("CAPWAP Ethernet", lambda f: capwap(f, native=False), ethernet=True),
    Tunnel("AYIYA", ayiya, versions=(6,)),
)


@dataclass(frozen=True)
class Carrier:
    """A link type, and how it carries what has an EtherType (``wrap``), or IP alone (``wrap_ip``)."""

    name: str
    number: int
    wrap: Callable[[Typed], bytes] | None = None
    wrap_ip: Callable[[bytes], bytes] | None = None

    def carry(self, packet: bytes) -> bytes:
        """A frame with an IP packet."""
        if self.wrap:
            return self.wrap(typed(packet))
        assert self.wrap_ip
        return self.wrap_ip(packet)


def frame_relay(packet: bytes) -> bytes:
    """Frame Relay (RFC 2427): address, control, NLPID of IP."""
    return b"\x18\x41\3" + (b"\xcc" if packet[0] >> 4 == 4 else b"\x8e") + packet


def radiotap(frame: bytes, *, time: bool = False, flags: int | None = None) -> bytes:
    """Radiotap (radiotap.org) with a time or flags, or neither."""
    present = (1 if time else 0) | (2 if flags is not None else 0)
    fields = (bytes(8) if time else b"") + (bytes((flags,)) if flags is not None else b"")
    return struct.pack("<BBHI", 0, 0, 8 + len(fields), present) + fields + frame


def nflog(packet: bytes, *, order: str = "<") -> bytes:
    """Linux netfilter log: the hook, an interface, the prefix, the packet."""

    def attribute(kind: int, value: bytes) -> bytes:
        return struct.pack(f"{order}HH", 4 + len(value), kind) + value + b"\0" * (-len(value) % 4)

    attributes = attribute(1, struct.pack(">HBx", ethertype_of(packet), 3)) + attribute(5, b"\0\0\0\1")
    attributes += attribute(10, b"\0") + attribute(9, packet)
    return bytes((2 if packet[0] >> 4 == 4 else 10, 0, 0, 5)) + attributes


def pflog(packet: bytes) -> bytes:
    """OpenBSD packet filter log, with the header of 61 octets."""
    family = 2 if packet[0] >> 4 == 4 else 24
    return bytes((61, family, 0, 0)) + b"lo0".ljust(16, b"\0") + bytes(41) + bytes(3) + packet


def pktap(frame: bytes, link: int) -> bytes:
    """PKTAP (Apple), little-endian: length, record type, link type, interface's name."""
    return struct.pack("<III24s", 108, 1, link, b"lo0").ljust(108, b"\0") + frame


def erf(carried: bytes, kind: int, *, more: int = 0) -> bytes:
    """Endace's record, perhaps with extension headers."""
    extensions = b"".join(bytes((0x80 if place < more - 1 else 3,)) + bytes(7) for place in range(more))
    size = 16 + len(extensions) + len(carried)
    head = struct.pack("<Q", 1_700_000_000 << 32) + bytes((kind | (0x80 if more else 0), 4))
    return head + struct.pack(">HHH", size, 0, len(carried)) + extensions + carried


def _llc(what: Typed) -> bytes:
    return SNAP + octets(what[0]) + what[1]


def _data(what: Typed, **kind: bool) -> bytes:
    head = data_frame(frames.ipv4(bytes(4), bytes(4), b""), **kind)
    return head[: -20 - 2] + octets(what[0]) + what[1]


CARRIERS = (
    Carrier("Ethernet", 1, _frame),
    Carrier("802.3 with SNAP", 1, lambda t: ethernet(_llc(t), len(_llc(t)))),
    Carrier("802.3 with 802.1H", 1, lambda t: ethernet(b"\xaa\xaa\3\0\0\xf8" + _llc(t)[6:], len(_llc(t)))),
    Carrier("802.3 with the SAP of IP", 1, None, lambda p: ethernet(b"\6\6\3" + p, 3 + len(p))),
    Carrier("Linux cooked", 113, lambda t: frames.sll(t[1], protocol=t[0])),
    Carrier("Linux cooked v2", 276, lambda t: frames.sll2(t[1], protocol=t[0])),
    Carrier("Linux cooked, LLC", 113, lambda t: frames.sll(_llc(t), protocol=4)),
    Carrier("Cisco HDLC", 104, lambda t: b"\x0f\0" + octets(t[0]) + t[1]),
    Carrier("Cisco HDLC with direction", 205, lambda t: b"\0\x0f\0" + octets(t[0]) + t[1]),
    Carrier("BSD loopback", 0, None, frames.null),
    Carrier("raw IP", 101, None, bytes),
    Carrier("PPP", 9, None, ppp),
    Carrier("PPP with direction", 204, None, lambda p: b"\1" + ppp(p)),
    Carrier("PPPoE", 51, None, frames.pppoe),
    Carrier("FDDI", 10, lambda t: b"\x50" + MAC + MAC + _llc(t)),
    Carrier("token ring", 6, lambda t: b"\x10\x40" + MAC + MAC + _llc(t)),
    Carrier("token ring with a route", 6, lambda t: b"\x10\x40" + MAC + b"\x82" + MAC[1:] + b"\6\0\0\1\0\2" + _llc(t)),
    Carrier("LLC over ATM", 100, _llc),
    Carrier("IP over Fibre Channel", 122, lambda t: (b"\0\0" + MAC) * 2 + _llc(t)),
    Carrier("IP over IEEE 1394", 138, lambda t: bytes(16) + octets(t[0]) + t[1]),
    Carrier("IP over InfiniBand", 242, lambda t: bytes(40) + octets(t[0]) + b"\0\0" + t[1]),
    Carrier("ARCnet", 7, None, lambda p: b"\1\2" + (b"\xd4" if p[0] >> 4 == 4 else b"\xc4") + b"\0\0\1" + p),
    Carrier(
        "ARCnet of Linux", 129, None, lambda p: b"\1\2\0\0" + (b"\xd4" if p[0] >> 4 == 4 else b"\xc4") + b"\0\0\1" + p
    ),
    Carrier("Frame Relay", 107, None, frame_relay),
    Carrier("Frame Relay with SNAP", 107, lambda t: b"\x18\x41\3\0\x80\0\0\0" + octets(t[0]) + t[1]),
    Carrier("Frame Relay of Cisco", 107, lambda t: b"\x18\x41" + octets(t[0]) + t[1]),
    Carrier("Frame Relay with direction", 206, None, lambda p: b"\1" + frame_relay(p)),
    Carrier("OpenBSD enc", 109, None, lambda p: struct.pack("<III", 2 if p[0] >> 4 == 4 else 24, 7, 0) + p),
    Carrier("OpenBSD pflog", 117, None, pflog),
    Carrier("netfilter log", 239, None, nflog),
    Carrier("netfilter log, big-endian", 239, None, lambda p: nflog(p, order=">")),
    Carrier("802.11", 105, _data),
    Carrier("802.11 with QoS", 105, lambda t: _data(t, qos=True)),
    Carrier("802.11 with four addresses", 105, lambda t: _data(t, wds=True)),
    Carrier("802.11 with radiotap", 127, lambda t: radiotap(_data(t))),
    Carrier("802.11 with radiotap and time", 127, lambda t: radiotap(_data(t), time=True, flags=0)),
    Carrier("802.11 padded", 127, lambda t: radiotap(_data(t, qos=True, padded=True), time=True, flags=0x20)),
    Carrier(
        "802.11 with Prism", 119, lambda t: struct.pack("<II16s", 0x44, 144, b"wlan0").ljust(144, b"\0") + _data(t)
    ),
    Carrier("802.11 with AVS", 163, lambda t: struct.pack(">II", 0x80211001, 64).ljust(64, b"\0") + _data(t)),
    Carrier("PPI with Ethernet", 192, lambda t: struct.pack("<BBHI", 0, 0, 8, 1) + _frame(t)),
    Carrier("PPI with 802.11", 192, lambda t: struct.pack("<BBHI", 0, 0, 8, 105) + _data(t)),
    Carrier("PKTAP with Ethernet", 258, lambda t: pktap(_frame(t), 1)),
    Carrier("PKTAP with loopback", 258, None, lambda p: pktap(frames.null(p), 0)),
    Carrier("PKTAP with raw IP", 149, None, lambda p: pktap(p, 12)),
    Carrier("Juniper Ethernet", 178, lambda t: b"MGC\1" + _frame(t)),
    Carrier("Juniper Ethernet with extensions", 178, lambda t: b"MGC\x80\0\6\4\4\0\0\0\0" + _frame(t)),
    Carrier("ERF with Ethernet", 197, lambda t: erf(b"\0\0" + _frame(t), 2)),
    Carrier("ERF with more headers", 197, lambda t: erf(b"\0\0" + _frame(t), 2, more=2)),
    Carrier("ERF with IP", 197, None, lambda p: erf(p, 22 if p[0] >> 4 == 4 else 23)),
    Carrier("netANALYZER", 240, lambda t: b"\0\0\0\0" + _frame(t)),
    Carrier("TZSP as a link type", 128, lambda t: b"\1\0\0\1\1" + _frame(t)),
    Carrier("MPLS as a link type", 219, None, lambda p: mpls(p, 16)),
    Carrier(
        "Solaris ipnet", 226, None, lambda p: struct.pack(">BBHI16x", 2, 2 if p[0] >> 4 == 4 else 26, 0, len(p)) + p
    ),
    Carrier("Linux cooked, PPP", 113, None, lambda p: frames.sll(ppp(p), protocol=7)),
    Carrier("Linux cooked, HDLC", 113, lambda t: frames.sll(b"\x0f\0" + octets(t[0]) + t[1], protocol=0x19)),
    Carrier("Broadcom tag", 281, lambda t: MAC + MAC + b"\0\0\0\1" + octets(t[0]) + t[1]),
    Carrier("Broadcom tag in front", 282, lambda t: b"\0\0\0\1" + _frame(t)),
    Carrier("Marvell DSA tag", 284, lambda t: MAC + MAC + b"\xc0\0\0\1" + octets(t[0]) + t[1]),
    Carrier("Marvell EDSA tag", 285, lambda t: MAC + MAC + b"\xda\xda\0\0\xc0\0\0\1" + octets(t[0]) + t[1]),
)


@dataclass(frozen=True)
class Case:
    """One way from a frame to an IP packet of these versions, innermost part first."""

    parts: tuple[str, ...]
    number: int
    wrap: Callable[[bytes], bytes]
    versions: tuple[int, ...] = (4, 6)

    def __str__(self) -> str:
        return " in ".join(self.parts)


#: What is put into one of these is IPv6 outside.
_OUTSIDE_6 = ("IP in IPv6", "GRE in IPv6", "Ethernet in IPv6")


def _wraps(tunnel: Tunnel, packet: bytes) -> bytes:
    return tunnel.wrap(ethernet(packet) if tunnel.ethernet else packet)


def single() -> list[Case]:
    """Each carrier, tag and tunnel by itself."""
    cases = [Case((carrier.name,), carrier.number, carrier.carry) for carrier in CARRIERS]
    cases += [Case((name,), 1, lambda p, t=tag: _frame(t(typed(p)))) for name, tag in TAGS.items()]
    cases += [Case((name,), 1, lambda p, t=tag: _frame(t(p))) for name, tag in IP_TAGS.items()]
    cases += [Case((t.name,), 1, lambda p, t=t: ethernet(_wraps(t, p)), t.versions) for t in TUNNELS]
    return cases


def combined() -> list[Case]:
    """Each tag and tunnel in each carrier, each tag in each tag, each tunnel in each tag and tunnel, and so on."""
    cases: list[Case] = []
    for c in CARRIERS:
        cases += [
            Case((t.name, c.name), c.number, lambda p, c=c, t=t: c.carry(_wraps(t, p)), t.versions) for t in TUNNELS
        ]
        if w := c.wrap:
            cases += [Case((name, c.name), c.number, lambda p, w=w, t=t: w(t(typed(p)))) for name, t in TAGS.items()]
            cases += [Case((name, c.name), c.number, lambda p, w=w, t=t: w(t(p))) for name, t in IP_TAGS.items()]
    for outer, o in TAGS.items():
        cases += [Case((name, outer), 1, lambda p, o=o, t=t: _frame(o(t(typed(p))))) for name, t in TAGS.items()]
        cases += [Case((name, outer), 1, lambda p, o=o, t=t: _frame(o(t(p)))) for name, t in IP_TAGS.items()]
        cases += [
            Case((t.name, outer), 1, lambda p, o=o, t=t: _frame(o(typed(_wraps(t, p)))), t.versions) for t in TUNNELS
        ]
    for around in TUNNELS:
        cases += [
            Case((t.name, around.name), 1, lambda p, o=around, t=t: ethernet(_wraps(o, _wraps(t, p))), t.versions)
            for t in TUNNELS
            if (6 if t.name in _OUTSIDE_6 else 4) in around.versions
        ]
        if around.ethernet:
            cases += [
                Case((name, around.name), 1, lambda p, o=around, t=t: ethernet(o.wrap(_frame(t(typed(p))))))
                for name, t in TAGS.items()
            ]
    return cases
