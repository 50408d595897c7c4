"""Which header follows which, as tables: number, name, and the short function in headers.py that reads it.

To read one more link type, EtherType or IP protocol, add a row here; where no function fits, add one to headers.py and
its number to layout.py.
"""

from __future__ import annotations

from typing import NamedTuple

from .layout import (
    BY_NIBBLE,
    ETHERNET,
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
    LLC,
    MPLS,
    PPP,
    PPPOE,
)


class Protocol(NamedTuple):
    """A protocol by its number in the field that names it, and what reads its header (H_NONE: nothing does).

    ``kind`` is what comes next, where the header itself does not say.
    """

    number: int
    name: str
    reader: int
    kind: int = 0


#: By the link type of the capture (LINKTYPE_ of tcpdump.org).
LINK_TYPES = (
    Protocol(0, "BSD loopback", H_NULL),
    Protocol(1, "Ethernet", H_ETHERNET),
    Protocol(9, "PPP", H_PPP_LINK),
    Protocol(12, "raw IP", H_BY_NIBBLE),
    Protocol(14, "raw IP", H_BY_NIBBLE),
    Protocol(50, "PPP in HDLC framing", H_PPP_LINK),
    Protocol(51, "PPPoE", H_PPPOE_LINK),
    Protocol(101, "raw IP", H_BY_NIBBLE),
    Protocol(104, "Cisco HDLC", H_HDLC),
    Protocol(108, "OpenBSD loopback", H_NULL),
    Protocol(113, "Linux cooked", H_SLL),
    Protocol(228, "raw IPv4", H_IPV4),
    Protocol(229, "raw IPv6", H_IPV6),
    Protocol(276, "Linux cooked v2", H_SLL2),
)

#: By EtherType (IEEE 802), and by the kinds that have none.
ETHER_TYPES = (
    Protocol(IPV4, "IPv4", H_IPV4),
    Protocol(IPV6, "IPv6", H_IPV6),
    Protocol(0x8100, "VLAN (802.1Q)", H_VLAN),
    Protocol(0x88A8, "VLAN (802.1ad)", H_VLAN),
    Protocol(0x9100, "VLAN (QinQ)", H_VLAN),
    Protocol(0x9200, "VLAN (QinQ)", H_VLAN),
    Protocol(MPLS, "MPLS", H_MPLS),
    Protocol(0x8848, "MPLS multicast", H_MPLS),
    Protocol(PPPOE, "PPPoE session", H_PPPOE),
    Protocol(PPP, "PPP", H_PPP),
    Protocol(ETHERNET, "bridged Ethernet", H_ETHERNET),
    Protocol(BY_NIBBLE, "IP", H_BY_NIBBLE),
    Protocol(LLC, "LLC and SNAP", H_LLC),
)

#: By the protocol field of an IPv4 header, or the next header of an IPv6 one (IANA).
IP_PROTOCOLS = (
    Protocol(0, "IPv6 hop-by-hop options", H_OPTIONS_6),
    Protocol(4, "IPv4 in IP", H_NONE, IPV4),
    Protocol(6, "TCP", H_TCP),
    Protocol(17, "UDP", H_UDP),
    Protocol(41, "IPv6 in IP", H_NONE, IPV6),
    Protocol(43, "IPv6 routing header", H_OPTIONS_6),
    Protocol(44, "IPv6 fragment header", H_OPTIONS_6),
    Protocol(47, "GRE", H_GRE),
    Protocol(51, "authentication header", H_OPTIONS),
    Protocol(60, "IPv6 destination options", H_OPTIONS_6),
    Protocol(135, "IPv6 mobility header", H_OPTIONS_6),
    Protocol(137, "MPLS in IP", H_NONE, MPLS),
    Protocol(139, "IPv6 host identity", H_OPTIONS_6),
    Protocol(140, "IPv6 shim", H_OPTIONS_6),
)

#: EtherTypes, and the kinds beyond them.
KINDS = LLC + 1


def by_link() -> bytes:
    """Return the reader of each link type below LINKS."""
    return _readers(LINK_TYPES, LINKS)


def by_kind() -> bytes:
    """Return the reader of each EtherType, and of each kind that has none; below 0x600 it is a length: LLC follows."""
    readers = bytearray(_readers(ETHER_TYPES, KINDS))
    readers[:0x600] = bytes([H_LLC]) * 0x600
    return bytes(readers)


def by_protocol() -> bytes:
    """Return the reader of each IP protocol."""
    return _readers(IP_PROTOCOLS, 256)


def carried() -> memoryview:
    """Return the kind that each IP protocol carries, 0 where none does."""
    kinds = memoryview(bytearray(8 * 256)).cast("Q")
    for row in IP_PROTOCOLS:
        kinds[row.number] = row.kind
    return kinds


def _readers(rows: tuple[Protocol, ...], size: int) -> bytes:
    table = bytearray(size)
    for row in rows:
        table[row.number] = row.reader
    return bytes(table)
