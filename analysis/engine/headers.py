"""From a frame to its innermost IP packet: a short function for each header, chosen by the tables of protocols.py.

The most common frame (Ethernet, IPv4, TCP) does not come here: wire.py reads it in one step. Link headers are in
links.py, tunnels in tunnels.py.
"""

from __future__ import annotations

import cython

from .protocols import by_kind, by_link, by_port, by_protocol, rows

if not cython.compiled:
    from .interpreted import octets_of, u16, words_in
    from .layout import (
        FOUND,
        GO_ON,
        H_BY_NIBBLE,
        H_ETHERNET,
        H_ICMP,
        H_ICMP_6,
        H_IPV4,
        H_IPV6,
        H_LINKS,
        H_LLC,
        H_MPLS,
        H_NULL,
        H_OPTIONS,
        H_OPTIONS_6,
        H_PPP,
        H_PPP_LINK,
        H_SEEN,
        H_SKIP,
        H_SLL,
        H_SLL2,
        H_TAGGED,
        H_TCP,
        H_TUNNELS,
        H_TYPED,
        H_UDP,
        H_VLAN,
        IP_PROTOCOL,
        IPV4,
        IPV6,
        LINK_TYPE,
        LINKS,
        MAX_DEPTH,
        MIX_TTL,
        NOT_IP,
        OTHER,
        QUOTED,
        R_DEPTH,
        R_FRAGMENT,
        R_IP4_BAD,
        R_IP4_CUT,
        R_IP6_BAD,
        R_IP6_CUT,
        R_IP6_EXT,
        R_LINK,
        R_TUNNEL,
        READ_KINDS,
        ROUTE_UNKNOWN,
        Cursor,
    )
    from .links import (
        address_family,
        cooked,
        cooked_2,
        hash_octets,
        link,
        llc,
        ppp,
        ppp_link,
        skip,
        tagged,
        typed,
        vlan,
    )
    from .tunnels import is_ipv4, is_ipv6, mpls, tunnel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..model import Octets


class Headers:
    """Reads the headers of a frame one after the other. A Cursor holds how far it has come."""

    def __init__(self) -> None:
        self.tables = by_link(), by_kind(), by_protocol(), by_port(), rows()
        self.by_link = octets_of(self.tables[0])
        self.by_kind = octets_of(self.tables[1])
        self.by_protocol = octets_of(self.tables[2])
        self.by_port = octets_of(self.tables[3])
        self.rows = words_in(self.tables[4])

    def find(self, d: Octets, c: Cursor, link: int) -> int:
        """Find the innermost TCP header of the frame at *c*.

        Return FOUND, with its place in *c*; or why there is none: a place in REASONS, QUOTED or OTHER.
        """
        c.kind = LINK_TYPE + link
        c.cut = c.end < c.stop
        c.guess = c.fragment = 0
        found = GO_ON
        depth = 0
        while found == GO_ON and depth <= MAX_DEPTH:
            depth += 1
            found = self.header(d, c)
        if found == GO_ON:
            found = R_DEPTH
        if c.guess and (not c.cut or found in (OTHER, R_FRAGMENT, R_IP4_BAD, R_IP6_BAD)):
            c.kind = c.guess
            return OTHER
        return found

    def header(self, d: Octets, c: Cursor) -> int:
        """Read the header that comes next, by its kind."""
        if c.kind < READ_KINDS:
            if c.kind == IPV4 and c.end > c.p and d[c.p] >> 4 == 6:  # the EtherType is wrong; Wireshark reads IPv6, too
                c.kind = IPV6
            return self.read(d, c, self.by_kind[c.kind])
        if LINK_TYPE <= c.kind < LINK_TYPE + LINKS:
            return self.read(d, c, self.by_link[c.kind - LINK_TYPE])
        return OTHER

    def read(self, d: Octets, c: Cursor, row: int) -> int:
        """Read the header that this row of the tables is about."""
        reader, size = self.rows[row * 3], self.rows[row * 3 + 1]
        if reader == H_IPV4:
            return self.ip_payload(d, c, ipv4(d, c))
        if reader == H_IPV6:
            return self.ip_payload(d, c, ipv6(d, c))
        if reader in (H_ETHERNET, H_TAGGED):
            return tagged(d, c, size)
        if reader == H_VLAN:
            return vlan(d, c)
        if reader in (H_SKIP, H_SEEN):
            return skip(d, c, size, self.rows[row * 3 + 2], reader == H_SEEN)
        if reader == H_TYPED:
            return typed(d, c, size, self.rows[row * 3 + 2])
        if reader == H_BY_NIBBLE:
            if c.end <= c.p:
                return R_LINK
            c.kind = IPV4 if d[c.p] >> 4 == 4 else IPV6 if d[c.p] >> 4 == 6 else NOT_IP
            return GO_ON
        if reader == H_SLL:
            return cooked(d, c)
        if reader == H_SLL2:
            return cooked_2(d, c)
        if reader == H_NULL:
            return address_family(d, c)
        if reader == H_PPP_LINK:
            return ppp_link(d, c)
        if reader == H_PPP:
            return ppp(d, c)
        if reader == H_LLC:
            return llc(d, c)
        if reader == H_MPLS:
            return mpls(d, c)
        if reader >= H_TUNNELS:
            return tunnel(d, c, reader)
        if reader >= H_LINKS:
            return link(d, c, reader)
        return OTHER

    def ip_payload(self, d: Octets, c: Cursor, found: int) -> int:
        """Read what an IP header carries, extension headers first."""
        if found != GO_ON:
            return found
        row = self.by_protocol[c.protocol]
        reader = self.rows[row * 3]
        while reader == H_OPTIONS or (reader == H_OPTIONS_6 and c.six):
            found = options(d, c)
            if found != GO_ON:
                return found
            row = self.by_protocol[c.protocol]
            reader = self.rows[row * 3]
        if reader == H_TCP:
            return FOUND
        c.kind = IP_PROTOCOL + c.protocol
        if reader == H_ICMP:
            return icmp(d, c, 3, 4) if not c.six else OTHER
        if reader == H_ICMP_6:
            return icmp(d, c, 1, 256) if c.six else OTHER
        if row == 0 or reader == H_OPTIONS_6:
            return OTHER
        hash_octets(d, c, c.source, c.target + (16 if c.six else 4))
        if reader == H_UDP:
            return self.udp(d, c)
        return self.read(d, c, row)

    def udp(self, d: Octets, c: Cursor) -> int:
        """Read UDP; where its port suggests a tunnel, go on: an IP header has to prove it (see tunnels.py)."""
        p = c.p
        if c.stop - p <= 8:
            return OTHER
        if c.end - p < 8:
            return R_TUNNEL
        row = self.by_port[u16(d, p + 2)]
        if row == 0:
            row = self.by_port[u16(d, p)]
            if self.rows[row * 3 + 1] == 0:  # only of the destination
                return OTHER
        size = u16(d, p + 4)
        if size > c.stop - p and not c.fragment:
            return OTHER
        if size >= 8:
            c.stop = min(c.stop, p + size)
            c.end = min(c.end, c.stop)
        c.p += 8
        if c.stop - c.p < 8:
            return OTHER
        c.guess = IP_PROTOCOL + 17
        if c.end - c.p < 8:
            return R_TUNNEL
        return self.read(d, c, row)

    def quoted(self, d: Octets, c: Cursor) -> int:
        """Find the TCP header that the ICMP error at *c* quotes: FOUND where its first eight octets are there."""
        c.p += 8
        c.fragment = 0
        found = ipv6(d, c) if c.six else ipv4(d, c)
        while found == GO_ON:
            reader = self.rows[self.by_protocol[c.protocol] * 3]
            if reader == H_TCP:
                return FOUND if c.end - c.p >= 8 else OTHER
            found = options(d, c) if reader == H_OPTIONS or (reader == H_OPTIONS_6 and c.six) else OTHER
        return found


# -- IP ----------------------------------------------------------------------------------------------------------------


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
    if c.guess:
        if c.end - p < size:
            return R_IP4_CUT
        if not is_ipv4(d, c, p):
            return OTHER
        c.guess = 0
    if u16(d, p + 6) & 0x1FFF:
        return R_FRAGMENT
    c.stop = p + total
    c.end = min(c.end, c.stop)
    if c.end - p < size:
        return R_IP4_CUT
    c.ip = p
    c.six = 0
    c.source = p + 12
    c.target = p + 16
    c.fragment = d[p + 6] & 0x20
    c.place ^= d[p + 8] * MIX_TTL  # wire.common_frame() has the same
    c.protocol = d[p + 9]
    c.p += size
    return source_route(d, c, p + 20) if size > 20 else GO_ON


def source_route(d: Octets, c: Cursor, p: int) -> int:
    """Look for a source route with hops left in the options from *p* on: its last address is the destination."""
    while c.p - p >= 3 and d[p]:
        size = d[p + 1]
        if d[p] == 1:
            size = 1
        elif size < 2 or size > c.p - p:
            break
        elif d[p] in (131, 137) and size >= 7 and d[p + 2] <= size - 3:
            c.target = p + 3 + ((size - 3) // 4 - 1) * 4
        p += size
    return GO_ON


def ipv6(d: Octets, c: Cursor) -> int:
    """IPv6 (RFC 8200). A payload length of 0 is a jumbogram's, or was left empty for segmentation offload."""
    p = c.p
    if c.end - p < 40:
        return R_IP6_CUT
    if d[p] >> 4 != 6:
        return R_IP6_BAD
    if c.guess:
        if not is_ipv6(d, c, p):
            return OTHER
        c.guess = 0
    total = u16(d, p + 4)
    if total:
        c.stop = p + 40 + total
        c.end = min(c.end, c.stop)
    c.ip = p
    c.six = 1
    c.source = p + 8
    c.target = p + 24
    c.fragment = 0
    c.place ^= d[p + 7] * MIX_TTL
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
        c.fragment = d[p + 3] & 1
        size = 8
    elif c.protocol == 51:
        size = (d[p + 1] + 2) * 4
    else:
        size = (d[p + 1] + 1) * 8
    if c.end - p < size:
        return R_IP6_EXT
    if c.protocol == 43 and d[p + 3] and not final(d, c, p):
        return OTHER
    c.protocol = d[p]
    c.p += size
    return GO_ON


def final(d: Octets, c: Cursor, p: int) -> bool:
    """Find the final destination in the routing header at *p*, which has segments left; False if its type is unknown.

    Types 0 (RFC 2460), 2 (mobile IPv6, RFC 6275), 4 (segment routing, RFC 8754: the last segment comes first).
    """
    addresses = d[p + 1] // 2
    if addresses == 0 or d[p + 2] not in (0, 2, 4):
        c.kind = ROUTE_UNKNOWN
        return False
    c.target = p + 8 if d[p + 2] == 4 else p + 8 + (addresses - 1) * 16
    return True


def icmp(d: Octets, c: Cursor, kind: int, code: int) -> int:
    """Return QUOTED for an ICMP error of type *kind* whose code is not *code*; else OTHER."""
    return QUOTED if c.end - c.p >= 8 and d[c.p] == kind and d[c.p + 1] != code else OTHER
