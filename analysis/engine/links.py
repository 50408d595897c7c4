"""Reads link headers, and the tags behind them: a short function for each finds what the header carries.

What a header says about where the packet was seen goes into ``Cursor.place``.
"""

from __future__ import annotations

import cython

if not cython.compiled:
    from .interpreted import folded, l16, l32, load_u64, u16, u32
    from .layout import (
        ARCNET_OTHER,
        BY_NIBBLE,
        COOKED_OTHER,
        ETHERNET,
        FDDI_OTHER,
        FRAME_RELAY_OTHER,
        FRAME_RELAY_UNKNOWN,
        GO_ON,
        H_ARCNET,
        H_AVS,
        H_ERF,
        H_FDDI,
        H_FRAME_RELAY,
        H_JUNIPER,
        H_NFLOG,
        H_PFLOG,
        H_PKTAP,
        H_PPI,
        H_RADIOTAP,
        H_TOKEN_RING,
        H_WIFI,
        IPV4,
        IPV6,
        LINK_TYPE,
        LLC,
        LLC_OTHER,
        MIX1,
        MPLS,
        OTHER,
        PPP,
        PPP_CLOSED,
        PPP_CONTROL,
        PPP_PROTOCOL,
        R_FRAGMENT,
        R_LINK,
        R_TAG,
        RADIOTAP,
        RECORD_UNKNOWN,
        SNAP_OTHER,
        SNAP_UNKNOWN,
        WIFI,
        WIFI_CLOSED,
        WIFI_OTHER,
        WIFI_SEVERAL,
        Cursor,
    )

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..model import Octets


def seen(c: Cursor, value: int) -> int:
    """Mix a value that tells where the packet was seen into the cursor's place."""
    c.place = folded(c.place ^ value, MIX1)
    return 0


def skip(d: Octets, c: Cursor, size: int, kind: int, telling: bool) -> int:
    """Skip a header of *size* octets before this *kind*; *telling*: its octets tell where the packet was seen."""
    if c.end - c.p < size:
        return R_LINK if c.kind >= LINK_TYPE else R_TAG
    seen(c, c.kind)
    if telling:
        hash_octets(d, c, c.p, c.p + size)
    c.kind = kind
    c.p += size
    return GO_ON


def hash_octets(d: Octets, c: Cursor, p: int, end: int) -> int:
    """Mix d[p:end] into the cursor's place."""
    while p < end:
        seen(c, d[p])
        p += 1
    return 0


def typed(d: Octets, c: Cursor, size: int, after: int) -> int:
    """Skip a header of *size* octets, and take the EtherType that is before the last *after* of them."""
    if c.end - c.p < size:
        return R_LINK if c.kind >= LINK_TYPE else R_TAG
    seen(c, c.kind)
    after = c.p + size - after - 2
    if c.kind >= LINK_TYPE:  # addresses are before it
        hash_octets(d, c, c.p, after)
    c.kind = u16(d, after)
    c.p += size
    return GO_ON


def ethernet(d: Octets, c: Cursor) -> int:
    """Ethernet (IEEE 802.3): two addresses, and a type or a length."""
    return tagged(d, c, 0)


def tagged(d: Octets, c: Cursor, size: int) -> int:
    """Ethernet, with a tag of *size* octets between addresses and type."""
    p = c.p
    if c.end - p < 14 + size:
        return R_LINK
    c.place = folded(load_u64(d, p) ^ c.place, load_u64(d, p + 4) ^ MIX1)  # wire.common_frame() has the same
    c.kind = u16(d, p + 12 + size)
    c.p += 14 + size
    return GO_ON


def vlan(d: Octets, c: Cursor) -> int:
    """VLAN tag (IEEE 802.1Q)."""
    if c.end - c.p < 4:
        return R_TAG
    seen(c, c.kind << 12 | u16(d, c.p) & 0xFFF)
    c.kind = u16(d, c.p + 2)
    c.p += 4
    return GO_ON


def cooked(d: Octets, c: Cursor) -> int:
    """Linux cooked capture: packet type, hardware type, address, protocol."""
    p = c.p
    if c.end - p < 16:
        return R_LINK
    seen(c, u16(d, p))
    seen(c, load_u64(d, p + 6))
    c.p += 16
    return cooked_protocol(c, u16(d, p + 2), u16(d, p + 14))


def cooked_2(d: Octets, c: Cursor) -> int:
    """Linux cooked capture, version 2: protocol, interface, hardware type, packet type, address."""
    p = c.p
    if c.end - p < 20:
        return R_LINK
    seen(c, u32(d, p + 4) << 8 | d[p + 10])
    seen(c, load_u64(d, p + 12))
    c.p += 20
    return cooked_protocol(c, u16(d, p + 8), u16(d, p))


def cooked_protocol(c: Cursor, hardware: int, protocol: int) -> int:
    """Note what a cooked header says comes next: an EtherType, unless the hardware has none (Linux: if_arp.h)."""
    c.kind = protocol
    if hardware == 803:
        c.kind = RADIOTAP
    elif hardware == 801:
        c.kind = WIFI
    elif protocol == 4:
        c.kind = LLC
    elif protocol == 7:
        c.kind = PPP
    elif protocol == 0x19:
        c.kind = LINK_TYPE + 104  # Cisco HDLC
    elif protocol < 0x600 or hardware == 824:  # 824: netlink
        c.kind = COOKED_OTHER
        return OTHER
    return GO_ON


def address_family(d: Octets, c: Cursor) -> int:
    """BSD loopback: the address family, in the byte order of either machine."""
    if c.end - c.p < 4:
        return R_LINK
    family = u32(d, c.p)
    if family > 0xFFFF:
        family = l32(d, c.p)
    c.p += 4
    if family == 2:
        c.kind = IPV4
    elif family in (10, 24, 28, 30):
        c.kind = IPV6
    else:
        c.kind = COOKED_OTHER
        return OTHER
    return GO_ON


def ppp_link(d: Octets, c: Cursor) -> int:
    """PPP (RFC 1661), perhaps in Cisco's HDLC framing."""
    c.kind = PPP
    if c.end - c.p >= 4 and (d[c.p] == 0x0F or d[c.p] == 0x8F) and d[c.p + 1] == 0:
        c.kind = u16(d, c.p + 2)
        c.p += 4
    return GO_ON


def ppp(d: Octets, c: Cursor) -> int:
    """PPP, perhaps with address and control, perhaps with a compressed protocol field (RFC 1661 6.5)."""
    if c.end - c.p >= 2 and d[c.p] == 0xFF and d[c.p + 1] == 3:
        c.p += 2
    if c.end - c.p < 2:
        return R_TAG
    if d[c.p] & 1:
        protocol = d[c.p]
        c.p += 1
    else:
        protocol = u16(d, c.p)
        c.p += 2
    seen(c, PPP)
    if protocol == 0x21:
        c.kind = IPV4
    elif protocol == 0x57:
        c.kind = IPV6
    elif protocol in (0x281, 0x283):
        c.kind = MPLS
    else:
        # From 0x8000 on nothing is a user's packet (RFC 1661 2); the others are encrypted or compressed by CCP, ECP.
        closed = protocol in (0x53, 0x55, 0xFB, 0xFD)
        c.kind = PPP_CONTROL if protocol >= 0x8000 else PPP_CLOSED if closed else PPP_PROTOCOL + protocol
        return OTHER
    return GO_ON


def llc(d: Octets, c: Cursor) -> int:
    """LLC and SNAP (IEEE 802.2)."""
    p = c.p
    c.kind = LLC_OTHER
    if c.stop - p < 3:
        return OTHER
    if c.end - p < 3:
        return R_LINK
    if d[p] == 6:  # the SAP of IP
        c.kind = BY_NIBBLE
        c.p += 3
        return GO_ON
    if d[p] != 0xAA or d[p + 1] != 0xAA or c.stop - p < 8:
        return OTHER
    if c.end - p < 8:
        return R_LINK
    organization, protocol = u32(d, p + 2) & 0xFFFFFF, u16(d, p + 6)
    c.p += 8
    if organization in (0, 0xF8):  # EtherTypes (RFC 1042; 0xF8 is IEEE 802.1H's)
        c.kind = protocol if protocol >= 0x600 else SNAP_OTHER
        return GO_ON if protocol >= 0x600 else OTHER
    # Cisco, Apple and Extreme have their own protocols there, none of which carries IP.
    c.kind = SNAP_OTHER if organization in (0xC, 0x80007, 0xE02B) else SNAP_UNKNOWN
    return OTHER


# -- further link types, and what is carried like one ------------------------------------------------------------------


def link(d: Octets, c: Cursor, reader: int) -> int:
    """Read a link header by the number of its reader."""
    seen(c, c.kind)
    if reader == H_RADIOTAP:
        return radiotap(d, c)
    if reader == H_WIFI:
        return wifi(d, c, False)
    if reader == H_PPI:
        return inner_link(d, c, 8, 2, 4)
    if reader == H_PKTAP:
        return inner_link(d, c, 12, 0, 8)
    if reader == H_NFLOG:
        return nflog(d, c)
    if reader == H_PFLOG:
        return pflog(d, c)
    if reader == H_FDDI:
        return fddi(d, c)
    if reader == H_FRAME_RELAY:
        return frame_relay(d, c)
    if reader == H_JUNIPER:
        return juniper(d, c)
    if reader == H_ARCNET:
        return arcnet(d, c)
    if reader == H_TOKEN_RING:
        return token_ring(d, c)
    if reader == H_ERF:
        return erf(d, c)
    if reader == H_AVS:
        return avs(d, c)
    return OTHER


def inner_link(d: Octets, c: Cursor, least: int, length: int, link: int) -> int:
    """A header that says, little-endian, how long it is (at octet *length*) and which link type follows (at *link*).

    PPI (CACE), PKTAP (Apple).
    """
    p = c.p
    if c.end - p < least:
        return R_LINK
    size = l16(d, p + length)
    if size < least or l32(d, p + link) >= 0x10000:
        c.kind = RECORD_UNKNOWN
        return OTHER
    if c.end - p < size:
        return R_LINK
    if length == 0:  # PKTAP has the interface's name there
        hash_octets(d, c, p + 12, p + min(size, 36))
    c.kind = LINK_TYPE + l32(d, p + link)
    c.p += size
    return GO_ON


def radiotap(d: Octets, c: Cursor) -> int:
    """Radiotap (radiotap.org): a header of its own length, in which the flags may say that 802.11's is padded."""
    p = c.p
    if c.end - p < 8:
        return R_LINK
    size = l16(d, p + 2)
    if size < 8 or d[p]:
        c.kind = RECORD_UNKNOWN
        return OTHER
    if c.end - p < size:
        return R_LINK
    at = 4
    while at + 4 <= size and l32(d, p + at) >> 31:
        at += 4
    at += 4
    present = l32(d, p + 4)
    if present & 1:  # a time, aligned to its eight octets
        at = ((at + 7) & ~7) + 8
    padded = present & 2 and at < size and d[p + at] & 0x20
    c.p += size
    return wifi(d, c, padded != 0)


def avs(d: Octets, c: Cursor) -> int:
    """The header of AVS, which gives its length, or of Prism, which always has 144 octets; 802.11 follows."""
    p = c.p
    if c.end - p < 8:
        return R_LINK
    size = u32(d, p + 4) if d[p] == 0x80 else 144
    if size < 8 or size > 0xFFFF:
        c.kind = RECORD_UNKNOWN
        return OTHER
    if c.end - p < size:
        return R_LINK
    c.p += size
    return wifi(d, c, False)


def wifi(d: Octets, c: Cursor, padded: bool) -> int:
    """IEEE 802.11: data frames with LLC in them. *padded*: their header is padded to a multiple of four octets."""
    p = c.p
    if c.end - p < 2:
        return R_LINK
    control, flags = d[p], d[p + 1]
    c.kind = WIFI_OTHER
    if control & 0x0C != 8 or control & 0x40:  # management and control; data frames without data
        return OTHER
    size = 24
    if flags & 3 == 3:
        size += 6
    several = 0
    if control & 0x80:  # with QoS
        if c.end - p < size + 2:
            return R_LINK
        several = d[p + size] & 0x80
        size += 2
        if flags & 0x80:
            size += 4
    if c.end - p < size:
        return R_LINK
    seen(c, flags & 3)
    hash_octets(d, c, p + 4, p + 22)
    if flags & 0x40:
        c.kind = WIFI_CLOSED
        return OTHER
    if d[p + 22] & 15:
        return R_FRAGMENT
    c.p += (size + 3) & ~3 if padded else size
    c.kind = LLC
    if several:  # subframes, each with addresses and a length
        if c.end - c.p < 14:
            return R_LINK
        c.p += 14
        if c.stop - c.p > u16(d, c.p - 2) + 7:  # more than what pads and checks this one
            c.kind = WIFI_SEVERAL
            return OTHER
    return GO_ON


def nflog(d: Octets, c: Cursor) -> int:
    """Linux netfilter log: attributes, one of which is the packet, in the capturing machine's byte order."""
    p = c.p
    if c.end - p < 4:
        return R_LINK
    family = d[p]
    p += 4
    while c.end - p >= 4:
        size, kind = l16(d, p), l16(d, p + 2)
        if kind > 0xFF:
            size, kind = u16(d, p), u16(d, p + 2)
        if size < 4:
            break
        if kind == 9:
            c.stop = min(c.stop, p + size)
            c.end = min(c.end, c.stop)
            c.p = p + 4
            c.kind = IPV4 if family == 2 else IPV6 if family == 10 else BY_NIBBLE
            return GO_ON
        if kind in (1, 4, 5, 8) and c.end - p >= size:  # the hook, both interfaces, the address
            hash_octets(d, c, p + 4, p + size)
        p += (size + 3) & ~3
    c.kind = COOKED_OTHER
    return R_LINK if p > c.end or c.end < c.stop else OTHER


def pflog(d: Octets, c: Cursor) -> int:
    """OpenBSD packet filter log: a length without its padding to four octets, the address family, interface, rule."""
    p = c.p
    if c.end - p < 4:
        return R_LINK
    size = (d[p] + 3) & ~3
    if size < 4:
        c.kind = RECORD_UNKNOWN
        return OTHER
    if c.end - p < size:
        return R_LINK
    hash_octets(d, c, p + 4, p + min(size, 20))
    c.kind = BY_NIBBLE
    c.p += size
    return GO_ON


def fddi(d: Octets, c: Cursor) -> int:
    """FDDI: frame control, two addresses, LLC."""
    p = c.p
    if c.end - p < 13:
        return R_LINK
    if d[p] & 0xF0 != 0x50:
        c.kind = FDDI_OTHER
        return OTHER
    hash_octets(d, c, p + 1, p + 13)
    c.kind = LLC
    c.p += 13
    return GO_ON


def token_ring(d: Octets, c: Cursor) -> int:
    """Token ring (IEEE 802.5): access and frame control, two addresses, perhaps a route, LLC."""
    p = c.p
    if c.end - p < 16:
        return R_LINK
    if d[p + 1] & 0xC0 != 0x40:
        c.kind = FDDI_OTHER
        return OTHER
    hash_octets(d, c, p + 2, p + 14)
    c.kind = LLC
    c.p += 14 + (d[p + 14] & 0x1F if d[p + 8] & 0x80 else 0)
    return GO_ON


def frame_relay(d: Octets, c: Cursor) -> int:
    """Frame Relay (RFC 2427), or Cisco's: an address of two to four octets, then an NLPID or an EtherType."""
    p = c.p
    while c.end > p and not d[p] & 1:
        p += 1
    p += 1
    if c.end - p < 2:
        return R_TAG
    hash_octets(d, c, c.p, p - 1)
    if d[p] != 3:
        c.kind = u16(d, p)
        c.p = p + 2
        if c.kind < 0x600:
            c.kind = FRAME_RELAY_OTHER
            return OTHER
        return GO_ON
    p += 1
    if d[p] == 0:  # padding to an even number
        p += 1
        if c.end - p < 1:
            return R_TAG
    protocol = d[p]
    c.p = p + 1
    if protocol == 0xCC:
        c.kind = IPV4
    elif protocol == 0x8E:
        c.kind = IPV6
    elif protocol == 0xCF:
        c.kind = PPP
    elif protocol == 0x80:
        if c.end - c.p < 5:
            return R_TAG
        c.kind = u16(d, c.p + 3) if u16(d, c.p) == 0 and d[c.p + 2] == 0 else SNAP_UNKNOWN
        c.p += 5
    else:  # 8: Q.933; 0x81 to 0x83: OSI
        c.kind = FRAME_RELAY_OTHER if protocol == 8 or 0x81 <= protocol <= 0x83 else FRAME_RELAY_UNKNOWN
    return GO_ON


def juniper(d: Octets, c: Cursor) -> int:
    """Juniper's header before Ethernet: "MGC", flags, perhaps extensions; without a link layer IP follows."""
    p = c.p
    if c.end - p < 4:
        return R_LINK
    if u32(d, p) >> 8 != 0x4D4743:
        c.kind = RECORD_UNKNOWN
        return OTHER
    flags = d[p + 3]
    c.p += 4
    if flags & 0x80:
        if c.end - c.p < 2:
            return R_LINK
        c.p += 2 + u16(d, c.p)
    c.kind = ETHERNET
    if flags & 2:
        c.kind = BY_NIBBLE
        c.p += 4
    seen(c, flags)
    return R_LINK if c.p > c.end else GO_ON


def arcnet(d: Octets, c: Cursor) -> int:
    """ARCnet (RFC 1201, 1051): addresses (two octets longer in Linux's link type), type, perhaps split and sequence."""
    p = c.p
    size = 4 if c.kind == LINK_TYPE + 129 else 2
    if c.end - p < size + 1:
        return R_LINK
    hash_octets(d, c, p, p + 2)
    p += size
    protocol = d[p]
    p += 1
    if protocol in (0xD4, 0xC4, 0xD5):
        if c.end - p < 3:
            return R_LINK
        p += 3 if d[p] != 0xFF else 7
    if c.end < p:
        return R_LINK
    c.p = p
    c.kind = IPV4 if protocol in (0xD4, 0xF0) else IPV6 if protocol == 0xC4 else ARCNET_OTHER
    return GO_ON


def erf(d: Octets, c: Cursor) -> int:
    """Endace's record: time, type, flags, lengths; perhaps more headers; two octets of padding before Ethernet."""
    p = c.p
    if c.end - p < 16:
        return R_LINK
    kind = d[p + 8] & 0x7F
    more = d[p + 8] & 0x80
    seen(c, d[p + 9] & 3)
    p += 16
    while more:
        if c.end - p < 8:
            return R_LINK
        more = d[p] & 0x80
        p += 8
    if kind in (2, 11, 16, 20):
        c.kind = ETHERNET
        p += 2
    elif kind == 22:
        c.kind = IPV4
    elif kind == 23:
        c.kind = IPV6
    else:
        c.kind = RECORD_UNKNOWN
    c.p = p
    return R_LINK if p > c.end else GO_ON
