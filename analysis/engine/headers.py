"""From a frame to its innermost IP packet: a short function for each header, chosen by the tables of protocols.py.

What most captures are full of (Ethernet, IPv4, TCP) does not come here: wire.py reads it at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cython

from .protocols import by_kind, by_link, by_protocol, carried

if not cython.compiled:
    from .interpreted import l32, octets_of, u16, u32, words_in
    from .layout import (
        BY_NIBBLE,
        ERSPAN,
        ETHERNET,
        FOUND,
        GO_ON,
        H_BY_NIBBLE,
        H_ETHERNET,
        H_GRE,
        H_HDLC,
        H_IPV4,
        H_IPV6,
        H_LLC,
        H_MPLS,
        H_NONE,
        H_NULL,
        H_OPTIONS,
        H_OPTIONS_6,
        H_PPP,
        H_PPP_LINK,
        H_PPPOE,
        H_PPPOE_LINK,
        H_SLL,
        H_SLL2,
        H_TCP,
        H_UDP,
        H_VLAN,
        IPV4,
        IPV6,
        LINKS,
        MAX_DEPTH,
        MPLS,
        NOT_IP,
        OTHER,
        PPP,
        PPPOE,
        R_DEPTH,
        R_FRAGMENT,
        R_GRE,
        R_IP4_BAD,
        R_IP4_CUT,
        R_IP6_BAD,
        R_IP6_CUT,
        R_IP6_EXT,
        R_LINK,
        R_TAG,
        UNKNOWN_LINK,
        Cursor,
    )

if TYPE_CHECKING:
    from ..model import Octets


class Headers:
    """Reads the headers of a frame one after the other. What it has reached stands in a Cursor."""

    def __init__(self) -> None:
        self.tables = by_link(), by_kind(), by_protocol(), carried()
        self.by_link = octets_of(self.tables[0])
        self.by_kind = octets_of(self.tables[1])
        self.by_protocol = octets_of(self.tables[2])
        self.carried = words_in(self.tables[3])

    def find(self, d: Octets, c: Cursor, link: int) -> int:
        """Find the innermost TCP header of the frame at *c*: FOUND, with its place in *c*, or why there is none."""
        found = self.link_header(d, c, link)
        depth = 0
        while found == GO_ON and depth < MAX_DEPTH:
            depth += 1
            found = self.header(d, c)
        return R_DEPTH if found == GO_ON else found

    def link_header(self, d: Octets, c: Cursor, link: int) -> int:
        """Read the header of a link type."""
        reader = self.by_link[link] if 0 <= link < LINKS else H_NONE
        if reader == H_ETHERNET:
            return ethernet(d, c)
        if reader == H_BY_NIBBLE:
            c.kind = BY_NIBBLE
            return GO_ON
        if reader == H_SLL:
            return cooked(d, c, 14, 16)
        if reader == H_SLL2:
            return cooked(d, c, 0, 20)
        if reader == H_NULL:
            return address_family(d, c)
        if reader == H_IPV4:
            c.kind = IPV4
            return GO_ON
        if reader == H_IPV6:
            c.kind = IPV6
            return GO_ON
        if reader == H_PPP_LINK:
            return ppp_link(d, c)
        if reader == H_PPPOE_LINK:
            c.kind = PPPOE
            return GO_ON
        if reader == H_HDLC:
            return cooked(d, c, 2, 4)
        return UNKNOWN_LINK

    def header(self, d: Octets, c: Cursor) -> int:
        """Read the header that comes next, by its kind."""
        if c.kind == BY_NIBBLE:
            if c.end <= c.p:
                return R_LINK
            c.kind = IPV4 if d[c.p] >> 4 == 4 else IPV6 if d[c.p] >> 4 == 6 else NOT_IP
        elif c.kind == IPV4 and c.end > c.p and d[c.p] >> 4 == 6:  # wrong, but clear, and Wireshark sees it so, too
            c.kind = IPV6
        reader = self.by_kind[c.kind]
        if reader == H_IPV4:
            return self.ip_payload(d, c, ipv4(d, c))
        if reader == H_IPV6:
            return self.ip_payload(d, c, ipv6(d, c))
        if reader == H_VLAN:
            return vlan(d, c)
        if reader == H_MPLS:
            return mpls(d, c)
        if reader == H_PPPOE:
            return pppoe(c)
        if reader == H_PPP:
            return ppp(d, c)
        if reader == H_ETHERNET:
            return ethernet(d, c)
        if reader == H_LLC:
            return llc(d, c)
        return OTHER

    def ip_payload(self, d: Octets, c: Cursor, found: int) -> int:
        """Read what an IP header carries, extension headers first."""
        while found == GO_ON:
            reader = self.by_protocol[c.protocol]
            if reader == H_OPTIONS or (reader == H_OPTIONS_6 and c.six):
                found = options(d, c)
                continue
            if reader == H_TCP:
                return FOUND
            if reader == H_GRE:
                return gre(d, c)
            if reader == H_UDP:
                return udp(d, c)
            c.kind = self.carried[c.protocol]
            return GO_ON if c.kind else OTHER
        return found


# -- one function a header ---------------------------------------------------------------------------------------------


def ethernet(d: Octets, c: Cursor) -> int:
    """Ethernet (IEEE 802.3): two addresses, and a type or a length."""
    if c.end - c.p < 14:
        return R_LINK
    c.kind = u16(d, c.p + 12)
    c.p += 14
    return GO_ON


def cooked(d: Octets, c: Cursor, at: int, size: int) -> int:
    """A header of *size* octets with an EtherType at *at*: Linux cooked (v1, v2), Cisco HDLC."""
    if c.end - c.p < size:
        return R_LINK
    c.kind = u16(d, c.p + at)
    c.p += size
    return GO_ON


def address_family(d: Octets, c: Cursor) -> int:
    """BSD loopback: the address family, in the byte order of either machine."""
    if c.end - c.p < 4:
        return R_LINK
    family = u32(d, c.p)
    if family > 0xFFFF:
        family = l32(d, c.p)
    c.kind = IPV4 if family == 2 else IPV6 if family in (10, 24, 28, 30) else NOT_IP
    c.p += 4
    return GO_ON


def ppp_link(d: Octets, c: Cursor) -> int:
    """PPP (RFC 1661), perhaps in Cisco's HDLC framing."""
    c.kind = PPP
    if c.end - c.p >= 4 and (d[c.p] == 0x0F or d[c.p] == 0x8F) and d[c.p + 1] == 0:
        c.kind = u16(d, c.p + 2)
        c.p += 4
    return GO_ON


def vlan(d: Octets, c: Cursor) -> int:
    """VLAN tag (IEEE 802.1Q)."""
    if c.end - c.p < 4:
        return R_TAG
    c.kind = u16(d, c.p + 2)
    c.p += 4
    return GO_ON


def mpls(d: Octets, c: Cursor) -> int:
    """One entry of an MPLS label stack (RFC 3032); IP follows the bottom of the stack."""
    if c.end - c.p < 4:
        return R_TAG
    if d[c.p + 2] & 1:
        c.kind = BY_NIBBLE
    c.p += 4
    return GO_ON


def pppoe(c: Cursor) -> int:
    """PPPoE session header (RFC 2516)."""
    if c.end - c.p < 6:
        return R_TAG
    c.kind = PPP
    c.p += 6
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
    c.kind = IPV4 if protocol == 0x21 else IPV6 if protocol == 0x57 else MPLS if protocol == 0x281 else NOT_IP
    return GO_ON


def llc(d: Octets, c: Cursor) -> int:
    """LLC and SNAP (IEEE 802.2) behind a length instead of an EtherType."""
    p = c.p
    if c.end - p < 8 or d[p] != 0xAA or d[p + 1] != 0xAA or d[p + 3] or d[p + 4] or d[p + 5]:
        return OTHER
    c.kind = u16(d, p + 6)
    c.p += 8
    return OTHER if c.kind < 0x600 else GO_ON


def ipv4(d: Octets, c: Cursor) -> int:
    """IPv4 (RFC 791). A total length of 0 was left empty for segmentation offload."""
    p = c.p
    if c.end - p < 20:
        return R_IP4_CUT
    size = (d[p] & 15) * 4
    total = u16(d, p + 2)
    if total == 0:
        total = c.stop - p
    if d[p] >> 4 != 4 or size < 20 or total < size:
        return R_IP4_BAD
    if u16(d, p + 6) & 0x1FFF:
        return R_FRAGMENT
    c.stop = p + total
    c.end = min(c.end, c.stop)
    if c.end - p < size:
        return R_IP4_CUT
    c.ip = p
    c.six = 0
    c.protocol = d[p + 9]
    c.p += size
    return GO_ON


def ipv6(d: Octets, c: Cursor) -> int:
    """IPv6 (RFC 8200). A payload length of 0 is a jumbogram's, or was left empty for segmentation offload."""
    p = c.p
    if c.end - p < 40:
        return R_IP6_CUT
    if d[p] >> 4 != 6:
        return R_IP6_BAD
    total = u16(d, p + 4)
    if total:
        c.stop = p + 40 + total
        c.end = min(c.end, c.stop)
    c.ip = p
    c.six = 1
    c.protocol = d[p + 6]
    c.p += 40
    return GO_ON


def options(d: Octets, c: Cursor) -> int:
    """An IPv6 extension header (RFC 8200 4), or an authentication header (RFC 4302)."""
    p = c.p
    if c.end - p < 8:
        return R_IP6_EXT
    if c.protocol == 44:
        if u16(d, p + 2) & 0xFFF8:
            return R_FRAGMENT
        size = 8
    elif c.protocol == 51:
        size = (d[p + 1] + 2) * 4
    else:
        size = (d[p + 1] + 1) * 8
    c.protocol = d[p]
    c.p += size
    return R_IP6_EXT if c.p > c.end else GO_ON


def gre(d: Octets, c: Cursor) -> int:
    """GRE (RFC 2784, 2890), ERSPAN in it, or PPTP's (RFC 2637)."""
    p = c.p
    if c.end - p < 4:
        return R_GRE
    c.kind = u16(d, p + 2)
    sequence = d[p] >> 4 & 1
    if d[p + 1] & 7 == 0 and not d[p] & 0x40:
        size = 4 + (d[p] >> 7) * 4 + (d[p] >> 5 & 1) * 4 + sequence * 4
        if c.kind == ERSPAN:  # type II has a header where the sequence number is present
            size += sequence * 8
            c.kind = ETHERNET
    elif d[p + 1] & 7 == 1 and c.kind == PPP:
        size = 8 + sequence * 4 + (d[p + 1] >> 7) * 4
    else:
        return R_GRE
    c.p += size
    if c.p > c.end:
        return R_GRE
    return OTHER if c.p == c.end else GO_ON  # an acknowledgement of the tunnel's own, or an empty packet


def udp(d: Octets, c: Cursor) -> int:
    """UDP with a tunnel in it, which its port tells."""
    if c.end - c.p < 16:
        return OTHER
    source, target = u16(d, c.p), u16(d, c.p + 2)
    c.p += 8
    p = c.p
    found = GO_ON
    if target in (4789, 8472) and d[p] & 0x08:  # VXLAN (RFC 7348), and the port Linux had before it
        c.kind = ETHERNET
        c.p += 8
    elif target == 6081 and d[p] >> 6 == 0:  # Geneve (RFC 8926)
        c.kind = u16(d, p + 2)
        c.p += 8 + (d[p] & 0x3F) * 4
    elif target == 2152 and d[p] >> 4 == 3 and d[p + 1] == 0xFF:
        found = gtp(d, c)
    elif target == 3544 or source == 3544:
        teredo(d, c)
    else:
        return OTHER
    return OTHER if c.p >= c.end else found


def gtp(d: Octets, c: Cursor) -> int:
    """GTP-U with a user's packet (3GPP TS 29.281), perhaps behind extension headers."""
    c.kind = BY_NIBBLE
    more, chained = d[c.p] & 7, d[c.p] & 4
    c.p += 8
    if more:
        c.p += 4
        while chained and c.p < c.end and d[c.p - 1]:
            if d[c.p] == 0:
                return OTHER
            c.p += d[c.p] * 4
    return GO_ON


def teredo(d: Octets, c: Cursor) -> int:
    """Teredo (RFC 4380), perhaps with its indications."""
    c.kind = BY_NIBBLE
    if u16(d, c.p) == 1:
        c.p += 13 + d[c.p + 2] + d[c.p + 3]
    if c.end - c.p >= 8 and u16(d, c.p) == 0:
        c.p += 8
    return GO_ON
