"""Reads the headers of tunnels: a short function for each finds the packet in it.

Where only a UDP port or four bits suggest a tunnel, that is a guess (``Cursor.guess``). The next IP header has to prove
it: by the right version, by lengths that fit, and in IPv4 by the right checksum.
"""

from __future__ import annotations

import cython

if not cython.compiled:
    from .interpreted import u16, u32
    from .layout import (
        BATMAN_OTHER,
        BATMAN_UNKNOWN,
        BY_NIBBLE,
        ERSPAN_3,
        ETHERNET,
        GO_ON,
        GRE_EMPTY,
        GRE_UNKNOWN,
        H_AYIYA,
        H_BATMAN,
        H_CAPWAP,
        H_ERSPAN_3,
        H_GENEVE,
        H_GRE,
        H_GTP,
        H_L2TP,
        H_L2TP_3,
        H_LISP,
        H_MACSEC,
        H_METADATA,
        H_NSH,
        H_TEREDO,
        H_TRILL,
        H_TZSP,
        H_VXLAN,
        H_VXLAN_GPE,
        IP_PROTOCOL,
        IPV4,
        IPV6,
        LINK_TYPE,
        LLC_OTHER,
        MACSEC_CLOSED,
        MPLS,
        MPLS_CONTROL,
        MPLS_UNKNOWN,
        NSH,
        NSH_UNKNOWN,
        OTHER,
        PPP,
        PPPOE,
        R_FRAGMENT,
        R_GRE,
        R_TAG,
        R_TUNNEL,
        TUNNEL_CONTROL,
        WIFI,
        Cursor,
    )
    from .links import seen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..model import Octets


def tunnel(d: Octets, c: Cursor, reader: int) -> int:
    """Read a tunnel's header by the number of its reader."""
    seen(c, reader)
    if reader == H_GRE:
        return gre(d, c)
    if reader == H_ERSPAN_3:
        return erspan_3(d, c)
    if reader == H_MACSEC:
        return macsec(d, c)
    if reader == H_METADATA:
        return metadata(d, c)
    if reader == H_NSH:
        return nsh(d, c)
    if reader == H_BATMAN:
        return batman(d, c)
    if reader == H_TRILL:
        return trill(d, c)
    if reader == H_VXLAN:
        return vxlan(d, c)
    if reader == H_VXLAN_GPE:
        return vxlan_gpe(d, c)
    if reader == H_GENEVE:
        return geneve(d, c)
    if reader == H_GTP:
        return gtp(d, c)
    if reader == H_TEREDO:
        return teredo(d, c)
    if reader == H_L2TP:
        return l2tp(d, c)
    if reader == H_L2TP_3:
        return l2tp_3(d, c)
    if reader == H_TZSP:
        return tzsp(d, c)
    if reader == H_CAPWAP:
        return capwap(d, c)
    if reader == H_AYIYA:
        return ayiya(d, c)
    if reader == H_LISP:
        c.kind = BY_NIBBLE
        c.p += 8
        return GO_ON
    return OTHER


# -- proofs ------------------------------------------------------------------------------------------------------------


def is_ipv4(d: Octets, c: Cursor, p: int) -> bool:
    """Whether at *p* there is an IPv4 header with a right version, checksum, and lengths that fit."""
    if c.end - p < 20 or d[p] >> 4 != 4:
        return False
    size = (d[p] & 15) * 4
    total = u16(d, p + 2)
    if size < 20 or c.end - p < size or (total and total < size) or (total > c.stop - p and not c.fragment):
        return False
    end = p + size
    total = 0
    while p < end:
        total += u16(d, p)
        p += 2
    return ((total & 0xFFFF) + (total >> 16)) in (0xFFFF, 0x1FFFE)


def is_ipv6(d: Octets, c: Cursor, p: int) -> bool:
    """Whether at *p* there is an IPv6 header with the right version, and a length that leaves no more than a checksum.

    The length must be 8 at least: a DNS answer whose number begins with 6 looks like an IPv6 header with a length of 1.
    """
    if c.end - p < 40 or d[p] >> 4 != 6 or u16(d, p + 4) < 8:
        return False
    rest = c.stop - p - 40 - u16(d, p + 4)
    return (rest >= 0 or c.fragment != 0) and rest <= 8


def is_frame(d: Octets, c: Cursor, p: int) -> bool:
    """Whether at *p* there is surely an Ethernet frame: with proven IP, ARP, LLDP or spanning tree in it."""
    tags = 0
    p += 12
    while c.end - p >= 6 and u16(d, p) in (0x8100, 0x88A8, 0x9100) and tags < 4:
        tags += 1
        p += 4
    if c.end - p < 8:
        return False
    kind = u16(d, p)
    p += 2
    if kind == IPV4:
        return is_ipv4(d, c, p)
    if kind == IPV6:
        return is_ipv6(d, c, p)
    if kind == 0x0806:
        return u32(d, p) == 0x00010800 and u16(d, p + 4) == 0x0604
    if kind == 0x88CC:
        return u16(d, p) >> 9 == 1
    return kind < 0x600 and kind <= c.stop - p and u32(d, p) >> 8 == 0x424203


def is_tagged(d: Octets, c: Cursor, p: int) -> bool:
    """Whether at *p* there may be an Ethernet frame with a header that announces another one."""
    if c.end - p < 16:
        return False
    kind = u16(d, p + 12)
    # Those of protocols.ETHER_TYPES.
    return (
        kind in (0x22F3, 0x4305, MPLS, PPPOE, NSH, 0xF1C1)
        or kind in (0x88E5, 0x88E7, 0x8903, 0x8909)
        or kind in (0x8926, 0x892F, 0x893F)
    )


# -- what an EtherType or an IP protocol announces ---------------------------------------------------------------------


def mpls(d: Octets, c: Cursor) -> int:
    """One entry of an MPLS label stack (RFC 3032); IP follows the bottom of the stack, or a pseudowire (RFC 4448)."""
    if c.end - c.p < 4:
        return R_TAG
    bottom = d[c.p + 2] & 1
    seen(c, u32(d, c.p) >> 12)
    c.p += 4
    return mpls_payload(d, c) if bottom else GO_ON


def mpls_payload(d: Octets, c: Cursor) -> int:
    """Find what follows the last label: its first four bits do not prove that it is IP (RFC 4928)."""
    p = c.p
    if c.end <= p:
        return R_TAG
    nibble = d[p] >> 4
    c.kind = ETHERNET
    if is_frame(d, c, p):
        return GO_ON
    if nibble == 0 and is_frame(d, c, p + 4):  # behind a control word
        c.p += 4
        return GO_ON
    if is_ipv4(d, c, p) or is_ipv6(d, c, p):
        c.kind = BY_NIBBLE
        return GO_ON
    if is_tagged(d, c, p) or (nibble == 0 and is_tagged(d, c, p + 4)):
        c.p += 0 if is_tagged(d, c, p) else 4
        c.guess = c.guess or MPLS_UNKNOWN
        return GO_ON
    if nibble in (4, 6):
        c.kind = BY_NIBBLE
        return GO_ON
    if c.cut and c.end - p < 58:
        return R_TAG
    c.kind = MPLS_CONTROL if nibble == 1 else MPLS_UNKNOWN
    return OTHER


def gre(d: Octets, c: Cursor) -> int:
    """GRE (RFC 2784, 2890), ERSPAN in it, or PPTP's (RFC 2637)."""
    p = c.p
    if c.end - p < 4:
        return R_GRE
    c.kind = GRE_UNKNOWN
    kind = u16(d, p + 2)
    sequence = d[p] >> 4 & 1
    if d[p + 1] & 7 == 0 and not d[p] & 0x40:
        size = 4 + (d[p] >> 7) * 4 + (d[p] >> 5 & 1) * 4 + sequence * 4
    elif d[p + 1] & 7 == 1 and kind == PPP:
        size = 8 + sequence * 4 + (d[p + 1] >> 7) * 4
    else:
        return OTHER
    c.p += size
    if c.p >= c.stop:  # an acknowledgement of the tunnel's own, or an empty packet
        c.kind = GRE_EMPTY
        return OTHER
    if c.p >= c.end:
        return R_GRE
    c.kind = gre_payload(d, c, kind, sequence)
    return GO_ON


def gre_payload(d: Octets, c: Cursor, kind: int, sequence: int) -> int:
    """Return the kind of what a GRE header of this protocol type carries."""
    if kind == 0x88BE:  # ERSPAN: type II has a header where the sequence number is present
        c.p += sequence * 8
        return ETHERNET
    if kind == 0x22EB:
        return ERSPAN_3
    if kind == 0x883E:  # WCCP: perhaps with a redirect header
        c.p += 0 if d[c.p] >> 4 == 4 else 4
        return IPV4
    if 0x8200 <= kind <= 0x8370 and kind & 15 == 0:  # Aruba
        return WIFI
    if kind < 0x600:
        return LLC_OTHER if kind == 0xFE else GRE_UNKNOWN
    return kind


def erspan_3(d: Octets, c: Cursor) -> int:
    """ERSPAN type III (draft-foschiano-erspan): 12 octets, perhaps with a subheader of eight; Ethernet, or IP."""
    p = c.p
    if c.end - p < 12:
        return R_GRE
    c.kind = BY_NIBBLE if d[p + 10] >> 2 & 0x1F == 2 else ETHERNET
    c.p += 20 if d[p + 11] & 1 else 12
    return GO_ON


def macsec(d: Octets, c: Cursor) -> int:
    """MACsec (IEEE 802.1AE): readable where it protects without encryption."""
    if c.end - c.p < 8:
        return R_TAG
    size = 14 if d[c.p] & 0x20 else 6
    if d[c.p] & 0x8C:
        c.kind = MACSEC_CLOSED
        return OTHER
    if c.end - c.p < size + 2:
        return R_TAG
    c.kind = u16(d, c.p + size)
    c.p += size + 2
    c.stop = max(c.stop - 16, c.p)  # the integrity check value
    c.end = min(c.end, c.stop)
    return GO_ON


def metadata(d: Octets, c: Cursor) -> int:
    """Cisco MetaData (TrustSec): version, length in units of four octets, options; an EtherType."""
    if c.end - c.p < 4:
        return R_TAG
    size = 2 + d[c.p + 1] * 4
    if c.end - c.p < size + 2:
        return R_TAG
    c.kind = u16(d, c.p + size)
    c.p += size + 2
    return GO_ON


def nsh(d: Octets, c: Cursor) -> int:
    """Network service header (RFC 8300)."""
    if c.end - c.p < 8:
        return R_TAG
    following = d[c.p + 3]
    c.p += max((u16(d, c.p) & 0x3F) * 4, 8)
    c.kind = numbered(following)
    return R_TAG if c.p > c.end else GO_ON


def numbered(following: int) -> int:
    """Return the kind that NSH and VXLAN-GPE mean by this number."""
    if following == 1:
        return IPV4
    if following == 2:
        return IPV6
    if following == 3:
        return ETHERNET
    if following == 4:
        return NSH
    return MPLS if following == 5 else NSH_UNKNOWN


def trill(d: Octets, c: Cursor) -> int:
    """TRILL (RFC 6325), perhaps with options."""
    if c.end - c.p < 6:
        return R_TAG
    c.p += 6 + (u16(d, c.p) >> 6 & 0x1F) * 4
    c.kind = ETHERNET
    return GO_ON


def batman(d: Octets, c: Cursor) -> int:
    """B.A.T.M.A.N. advanced, version 15 (Linux: batadv_packet.h): unicast and broadcast carry Ethernet."""
    p = c.p
    if c.end - p < 2:
        return R_TAG
    kind = d[p]
    c.kind = BATMAN_UNKNOWN
    if d[p + 1] != 15 or kind in (2, 5, 0x41):  # coded, multicast, a fragment
        return OTHER
    if kind == 0x40:
        size = 10
    elif kind == 0x42:
        size = 18
    elif kind == 1:
        size = 14
    else:
        c.kind = BATMAN_OTHER
        return OTHER
    c.kind = ETHERNET
    c.p += size
    return R_TAG if c.p > c.end else GO_ON


# -- what is guessed from a UDP port -----------------------------------------------------------------------------------
# The caller has checked that eight octets are there.


def vxlan(d: Octets, c: Cursor) -> int:
    """VXLAN (RFC 7348)."""
    if not d[c.p] & 0x08:
        return OTHER
    c.kind = ETHERNET
    c.p += 8
    return GO_ON


def vxlan_gpe(d: Octets, c: Cursor) -> int:
    """VXLAN-GPE (draft-ietf-nvo3-vxlan-gpe)."""
    if d[c.p] & 0x38 != 0x08:
        return OTHER
    c.kind = numbered(d[c.p + 3]) if d[c.p] & 4 else ETHERNET
    c.p += 8
    return GO_ON


def geneve(d: Octets, c: Cursor) -> int:
    """Geneve (RFC 8926)."""
    if d[c.p] >> 6:
        return OTHER
    c.kind = u16(d, c.p + 2)
    c.p += 8 + (d[c.p] & 0x3F) * 4
    return GO_ON


def gtp(d: Octets, c: Cursor) -> int:
    """GTP-U with a user's packet (3GPP TS 29.281), perhaps behind extension headers."""
    p = c.p
    if d[p] >> 4 != 3 or d[p + 1] != 0xFF or (u16(d, p + 2) > c.stop - p - 8 and not c.fragment):
        return OTHER
    c.kind = BY_NIBBLE
    c.p += 8
    if d[p] & 7:
        c.p += 4
        while d[p] & 4 and c.p < c.end and d[c.p - 1]:
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


def l2tp(d: Octets, c: Cursor) -> int:
    """L2TPv2 (RFC 2661) with PPP in it, or L2TPv3 over UDP (RFC 3931)."""
    p = c.p
    flags = d[p]
    if flags & 0x80:
        c.kind = TUNNEL_CONTROL
        return OTHER
    if d[p + 1] & 15 == 3:
        c.p += 4
        return l2tp_3(d, c)
    if d[p + 1] & 15 != 2:
        return OTHER
    c.p += 6 + (flags >> 6 & 1) * 2 + (flags >> 3 & 1) * 4
    if flags & 2:
        if c.end - c.p < 2:
            return R_TUNNEL
        c.p += 2 + u16(d, c.p)
    c.kind = PPP
    return GO_ON


def l2tp_3(d: Octets, c: Cursor) -> int:
    """L2TPv3 (RFC 3931): a session, then a cookie and a sublayer whose lengths no packet gives; Ethernet, IP or PPP."""
    if c.end - c.p < 4:
        return R_TUNNEL
    if u32(d, c.p) == 0:
        c.kind = TUNNEL_CONTROL
        return OTHER
    c.p += 4
    tries = 0
    while tries < 4:  # cookies of 0, 4 or 8 octets, a sublayer of 0 or 4
        p = c.p + tries * 4
        if is_frame(d, c, p):
            c.p = p
            c.kind = ETHERNET
            return GO_ON
        if is_ipv4(d, c, p) or is_ipv6(d, c, p):
            c.p = p
            c.kind = BY_NIBBLE
            return GO_ON
        if c.end - p >= 4 and u16(d, p) == 0xFF03 and (is_ipv4(d, c, p + 4) or is_ipv6(d, c, p + 4)):
            c.p = p
            c.kind = PPP
            return GO_ON
        tries += 1
    tries = 0
    while tries < 4:
        if is_tagged(d, c, c.p + tries * 4):
            c.p += tries * 4
            c.kind = ETHERNET
            c.guess = c.guess or IP_PROTOCOL + 115
            return GO_ON
        tries += 1
    return R_TUNNEL if c.cut and c.end - c.p < 70 else OTHER


def tzsp(d: Octets, c: Cursor) -> int:
    """TZSP, as MikroTik's sniffer sends it: a number for what it carries, then fields up to the one that ends them."""
    if c.end - c.p < 5:
        return R_TUNNEL
    if d[c.p] != 1 or d[c.p + 1] > 1:
        return OTHER
    protocol = u16(d, c.p + 2)
    if protocol == 1:
        c.kind = ETHERNET
    elif protocol == 18:
        c.kind = WIFI
    elif protocol in (119, 127):  # Prism; radiotap's number is that of the link type, too
        c.kind = LINK_TYPE + protocol
    else:
        return OTHER
    c.p += 4
    while c.end > c.p and d[c.p] != 1:
        if d[c.p] == 0:
            c.p += 1
        elif c.end - c.p < 2:
            return R_TUNNEL
        else:
            c.p += 2 + d[c.p + 1]
    c.p += 1
    return GO_ON


def capwap(d: Octets, c: Cursor) -> int:
    """CAPWAP's data (RFC 5415): 802.11, perhaps with its first two octets exchanged as Cisco has it, or Ethernet."""
    p = c.p
    if d[p] >> 4:
        return OTHER
    if d[p] & 15:
        c.kind = TUNNEL_CONTROL  # DTLS
        return OTHER
    native, fragment = d[p + 2] & 1, d[p + 3] & 0x80
    if fragment and u16(d, p + 6) & 0xFFF8:
        return R_FRAGMENT
    if d[p + 3] & 8:  # a keepalive
        return OTHER
    c.p += (d[p + 1] >> 3) * 4
    if fragment:
        c.fragment = 1
    if not native:
        c.kind = ETHERNET
        return GO_ON
    if c.end - c.p < 26:
        return R_TUNNEL
    return swapped_wifi(d, c)


def swapped_wifi(d: Octets, c: Cursor) -> int:
    """802.11 in CAPWAP, with its frame control in whichever order it makes sense."""
    control, flags = d[c.p], d[c.p + 1]
    if control & 15 != 8 and flags & 15 == 8:
        control, flags = flags, control
    if control & 0x4F != 8 or flags & 0x40:
        return OTHER
    c.p += 24 + (6 if flags & 3 == 3 else 0) + (2 if control & 0x80 else 0)
    if c.end - c.p < 8:
        return R_TUNNEL
    if u16(d, c.p) != 0xAAAA or u32(d, c.p + 2) != 0x03000000:
        return OTHER
    c.kind = u16(d, c.p + 6)
    c.p += 8
    return GO_ON


def ayiya(d: Octets, c: Cursor) -> int:
    """AYIYA (draft-massar-v6ops-ayiya): an identity and a signature, both of given length, then IPv6 or IPv4."""
    p = c.p
    if d[p + 2] & 15 != 1:  # "forward"
        return OTHER
    c.p += 8 + (1 << (d[p] >> 4)) + (d[p + 1] >> 4) * 4
    if d[p + 3] == 41:
        c.kind = IPV6
    elif d[p + 3] == 4:
        c.kind = IPV4
    else:
        return OTHER
    return GO_ON
