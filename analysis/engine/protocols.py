"""Which header follows which, as tables: number, name, and the short function that reads it.

To read one more link type, EtherType, IP protocol or UDP port, add a row here; where no function fits, add one to
headers.py, links.py or tunnels.py, and its number to layout.py. docs/protocols.md is written from these tables
(``python -m analysis.engine.protocols``).
"""

from __future__ import annotations

import functools

from ..records import NamedTuple
from .layout import (
    ARCNET_OTHER,
    BATMAN_OTHER,
    BATMAN_UNKNOWN,
    BY_NIBBLE,
    COOKED_OTHER,
    ERSPAN_3,
    ETHERNET,
    FDDI_OTHER,
    FRAME_RELAY,
    FRAME_RELAY_OTHER,
    FRAME_RELAY_UNKNOWN,
    GRE_EMPTY,
    GRE_UNKNOWN,
    H_ARCNET,
    H_AVS,
    H_AYIYA,
    H_BATMAN,
    H_BY_NIBBLE,
    H_CAPWAP,
    H_ERF,
    H_ERSPAN_3,
    H_ETHERNET,
    H_FDDI,
    H_FRAME_RELAY,
    H_GENEVE,
    H_GRE,
    H_GTP,
    H_ICMP,
    H_ICMP_6,
    H_IPV4,
    H_IPV6,
    H_JUNIPER,
    H_L2TP,
    H_L2TP_3,
    H_LISP,
    H_LLC,
    H_MACSEC,
    H_METADATA,
    H_MPLS,
    H_NFLOG,
    H_NONE,
    H_NSH,
    H_NULL,
    H_OPTIONS,
    H_OPTIONS_6,
    H_OTHER,
    H_PFLOG,
    H_PKTAP,
    H_PPI,
    H_PPP,
    H_PPP_LINK,
    H_RADIOTAP,
    H_SEEN,
    H_SKIP,
    H_SLL,
    H_SLL2,
    H_TAGGED,
    H_TCP,
    H_TEREDO,
    H_TOKEN_RING,
    H_TRILL,
    H_TYPED,
    H_TZSP,
    H_UDP,
    H_VLAN,
    H_VXLAN,
    H_VXLAN_GPE,
    H_WIFI,
    IP_PROTOCOL,
    IPV4,
    IPV6,
    LINK_TYPE,
    LINKS,
    LLC,
    LLC_OTHER,
    MACSEC_CLOSED,
    MAX_DEPTH,
    MPLS,
    MPLS_CONTROL,
    MPLS_UNKNOWN,
    NOT_IP,
    NSH,
    NSH_UNKNOWN,
    PPP,
    PPP_CLOSED,
    PPP_CONTROL,
    PPP_PROTOCOL,
    PPPOE,
    RADIOTAP,
    READ_KINDS,
    RECORD_UNKNOWN,
    ROUTE_UNKNOWN,
    SNAP_OTHER,
    SNAP_UNKNOWN,
    TUNNEL_CONTROL,
    WIFI,
    WIFI_CLOSED,
    WIFI_OTHER,
    WIFI_SEVERAL,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping


class Protocol(NamedTuple):
    """A protocol by its number in the field that names it, and what reads its header.

    H_NONE: nothing here reads it, and it may carry TCP; H_OTHER: it carries none. ``kind`` is what comes next where the
    header itself does not say, ``size`` its octets where they are always as many. For a UDP port a ``size`` of 1 says
    that the port announces the tunnel also as the source port.
    """

    number: int
    name: str
    reader: int = H_NONE
    kind: int = 0
    size: int = 0


#: By the link type of the capture (LINKTYPE_ of tcpdump.org).
LINK_TYPES = (
    Protocol(0, "BSD loopback", H_NULL),
    Protocol(1, "Ethernet", H_ETHERNET),
    Protocol(6, "token ring", H_TOKEN_RING),
    Protocol(7, "ARCnet", H_ARCNET),
    Protocol(9, "PPP", H_PPP_LINK),
    Protocol(10, "FDDI", H_FDDI),
    Protocol(12, "raw IP", H_BY_NIBBLE),
    Protocol(14, "raw IP", H_BY_NIBBLE),
    Protocol(50, "PPP in HDLC framing", H_PPP_LINK),
    Protocol(51, "PPPoE", H_SKIP, PPPOE),
    Protocol(100, "LLC over ATM", H_SKIP, LLC),
    Protocol(101, "raw IP", H_BY_NIBBLE),
    Protocol(104, "Cisco HDLC", H_TYPED, size=4),
    Protocol(105, "802.11", H_WIFI),
    Protocol(107, "Frame Relay", H_FRAME_RELAY),
    Protocol(108, "OpenBSD loopback", H_NULL),
    Protocol(109, "OpenBSD encapsulating interface", H_SEEN, BY_NIBBLE, 12),
    Protocol(113, "Linux cooked", H_SLL),
    Protocol(117, "OpenBSD packet filter log", H_PFLOG),
    Protocol(119, "802.11 with a Prism header", H_AVS),
    Protocol(122, "IP over Fibre Channel", H_SEEN, LLC, 16),
    Protocol(127, "802.11 with radiotap", H_RADIOTAP),
    Protocol(128, "TZSP", H_TZSP),
    Protocol(129, "ARCnet (Linux)", H_ARCNET),
    Protocol(138, "IP over IEEE 1394 (Apple)", H_TYPED, size=18),
    Protocol(149, "PKTAP (as user type 2)", H_PKTAP),
    Protocol(163, "802.11 with an AVS header", H_AVS),
    Protocol(166, "PPP of pppd with direction", H_SEEN, PPP, 2),
    Protocol(175, "Endace ERF with Ethernet", H_ERF),
    Protocol(178, "Juniper Ethernet", H_JUNIPER),
    Protocol(192, "PPI", H_PPI),
    Protocol(197, "Endace ERF", H_ERF),
    Protocol(204, "PPP with direction", H_SEEN, PPP, 1),
    Protocol(205, "Cisco HDLC with direction", H_SEEN, LINK_TYPE + 104, 1),
    Protocol(206, "Frame Relay with direction", H_SEEN, LINK_TYPE + 107, 1),
    Protocol(219, "MPLS", H_SKIP, MPLS),
    Protocol(226, "Solaris ipnet", H_SEEN, BY_NIBBLE, 24),
    Protocol(228, "raw IPv4", H_SKIP, IPV4),
    Protocol(229, "raw IPv6", H_SKIP, IPV6),
    Protocol(239, "Linux netfilter log", H_NFLOG),
    Protocol(240, "netANALYZER", H_SKIP, ETHERNET, 4),
    Protocol(242, "IP over InfiniBand", H_TYPED, 2, 44),
    Protocol(258, "PKTAP", H_PKTAP),
    Protocol(276, "Linux cooked v2", H_SLL2),
    Protocol(281, "Ethernet with a Broadcom tag", H_TAGGED, size=4),
    Protocol(282, "Ethernet behind a Broadcom tag", H_SEEN, ETHERNET, 4),
    Protocol(284, "Ethernet with a Marvell DSA tag", H_TAGGED, size=4),
    Protocol(285, "Ethernet with a Marvell EDSA tag", H_TAGGED, size=8),
    *(
        Protocol(number, name, H_OTHER)
        for number, name in {
            139: "SS7 MTP2 with a pseudo-header",
            140: "SS7 MTP2",
            141: "SS7 MTP3",
            142: "SS7 SCCP",
            165: "BACnet MS/TP",
            184: "ARINC 429",
            190: "CAN 2.0B",
            199: "IPMB (Kontron)",
            209: "IPMB (Linux)",
            210: "FlexRay",
            212: "LIN",
            216: "Linux input events",
            227: "CAN",
            231: "D-Bus",
            235: "DVB-CI",
            245: "NFC LLCP",
            246: "pfsync",
            248: "SCTP",
            250: "RTAC serial line",
            253: "Linux netlink",
            257: "PROFIBUS",
            260: "IPMI",
            261: "Z-Wave R1, R2",
            262: "Z-Wave R3",
            264: "ISO 14443",
            265: "radio data system",
            268: "SDLC",
            270: "LoRaTap",
            271: "VSOCK",
            275: "DisplayPort AUX",
            287: "Z-Wave serial",
        }.items()
    ),
    *(
        Protocol(number, name)
        for number, name in {
            2: "experimental Ethernet",
            3: "AX.25",
            4: "ProNET",
            5: "Chaosnet",
            8: "SLIP",
            99: "Symantec firewall",
            102: "SLIP of BSD/OS",
            103: "PPP of BSD/OS",
            106: "classical IP over ATM (Linux)",
            114: "LocalTalk",
            120: "802.11 with an Aironet header",
            121: "HDLC of HiPath",
            123: "ATM (SunATM)",
            **{
                number: f"Juniper {name}"
                for number, name in {
                    130: "multilink PPP",
                    131: "multilink Frame Relay",
                    132: "ES",
                    133: "GGSN",
                    134: "MFR",
                    135: "ATM2",
                    136: "services",
                    137: "ATM1",
                    164: "monitor",
                    167: "PPPoE",
                    168: "PPPoE over ATM",
                    174: "PIC peer",
                    179: "PPP",
                    180: "Frame Relay",
                    181: "Cisco HDLC",
                    183: "voice",
                    194: "ISM",
                    200: "secure tunnel",
                    232: "virtual system",
                    233: "SRX",
                    234: "Fibre Channel",
                    238: "ATM CE",
                }.items()
            },
            143: "DOCSIS",
            144: "IrDA",
            **{147 + place: f"user type {place}" for place in range(16) if place != 2},
            169: "GPRS LLC",
            182: "multilink Frame Relay",
            186: "USB (FreeBSD)",
            187: "Bluetooth HCI",
            188: "802.16",
            189: "USB (Linux)",
            191: "802.15.4 (Linux)",
            195: "802.15.4",
            196: "SITA",
            201: "Bluetooth HCI with direction",
            202: "AX.25 with KISS",
            203: "LAPD",
            207: "LAPB with direction",
            211: "MOST",
            215: "802.15.4 with PHY",
            217: "GSM Um",
            218: "GSM Abis",
            220: "USB (Linux, padded)",
            221: "DECT",
            224: "Fibre Channel",
            225: "Fibre Channel with delimiters",
            230: "802.15.4 without FCS",
            236: "3GPP multiplexing",
            237: "STANAG 5066",
            241: "netANALYZER with preamble",
            243: "MPEG-2 transport stream",
            247: "InfiniBand",
            249: "USBPcap",
            251: "Bluetooth Low Energy",
            252: "Wireshark upper PDU",
            254: "Bluetooth (Linux monitor)",
            255: "Bluetooth baseband",
            256: "Bluetooth Low Energy with a pseudo-header",
            259: "EPON",
            266: "USB (macOS)",
            267: "OpenFlow",
            272: "Bluetooth Low Energy (Nordic)",
            273: "DOCSIS 3.1",
            274: "Ethernet with preamble (mPacket)",
            280: "VPP graph dispatch",
            283: "802.15.4 with metadata",
            286: "ELEE",
            288: "USB 2.0",
            289: "ATSC link layer",
            290: "Windows event trace",
        }.items()
    ),
)

#: By EtherType (IEEE 802).
ETHER_TYPES = (
    Protocol(IPV4, "IPv4", H_IPV4),
    Protocol(0x22F3, "TRILL", H_TRILL),
    Protocol(0x4305, "B.A.T.M.A.N. advanced", H_BATMAN),
    Protocol(ETHERNET, "bridged Ethernet", H_ETHERNET),
    Protocol(0x6559, "Frame Relay in GRE", H_FRAME_RELAY),
    Protocol(0x8100, "VLAN (802.1Q)", H_VLAN),
    Protocol(IPV6, "IPv6", H_IPV6),
    Protocol(PPP, "PPP", H_PPP),
    Protocol(MPLS, "MPLS", H_MPLS),
    Protocol(0x8848, "MPLS multicast", H_MPLS),
    Protocol(PPPOE, "PPPoE session", H_SKIP, PPP, 6),
    Protocol(0x8870, "jumbo frame with LLC", H_SKIP, LLC),
    Protocol(0x88A8, "VLAN (802.1ad)", H_VLAN),
    Protocol(0x88E5, "MACsec", H_MACSEC),
    Protocol(0x88E7, "provider backbone bridge (802.1ah)", H_SKIP, ETHERNET, 4),
    Protocol(0x8903, "Cisco FabricPath", H_SKIP, ETHERNET, 2),
    Protocol(0x8909, "Cisco MetaData (TrustSec)", H_METADATA),
    Protocol(0x8926, "VN-TAG", H_TYPED, size=6),
    Protocol(0x892F, "HSR", H_TYPED, size=6),
    Protocol(0x893F, "E-TAG (802.1BR)", H_TYPED, size=8),
    Protocol(NSH, "network service header", H_NSH),
    Protocol(0xF1C1, "R-TAG (802.1CB)", H_TYPED, size=6),
    Protocol(0x9100, "VLAN (QinQ)", H_VLAN),
    Protocol(0x9200, "VLAN (QinQ)", H_VLAN),
    *(
        Protocol(number, name, H_OTHER)
        for number, name in {
            0x0806: "ARP",
            0x0842: "Wake-on-LAN",
            0x0BAD: "VINES",
            0x2000: "CDP",
            0x2001: "NHRP",
            0x2003: "VTP",
            0x2004: "DTP",
            0x22EA: "stream reservation",
            0x22F0: "AVTP",
            0x22F4: "IS-IS of TRILL",
            0x6000: "DEC experimental",
            0x6001: "DEC MOP",
            0x6002: "DEC MOP",
            0x6003: "DECnet",
            0x6004: "LAT",
            0x8035: "RARP",
            0x8038: "DEC spanning tree",
            0x80F3: "AppleTalk ARP",
            0x8137: "IPX",
            0x8138: "IPX",
            0x8204: "QNX Qnet",
            0x8102: "Wellfleet BOFL",
            0x8181: "STP (Avaya)",
            0x814C: "SNMP over Ethernet",
            0x8808: "Ethernet flow control",
            0x8809: "slow protocols (LACP)",
            0x8819: "CobraNet",
            0x8863: "PPPoE discovery",
            0x886D: "Intel ANS",
            0x8874: "Broadcom loop detection",
            0x887B: "HomePlug",
            0x888E: "EAPOL",
            0x8892: "PROFINET",
            0x8899: "Realtek remote control",
            0x889A: "HyperSCSI",
            0x88A2: "ATA over Ethernet",
            0x88AB: "POWERLINK",
            0x88B8: "GOOSE",
            0x88B9: "GSE management",
            0x88BA: "sampled values",
            0x88B4: "WAI",
            0x88C7: "EAPOL pre-authentication",
            0x88CA: "TIPC",
            0x88CC: "LLDP",
            0x88CD: "SERCOS III",
            0x88D9: "LLTD",
            0x88DC: "WSMP",
            0x88E1: "HomePlug AV",
            0x88E3: "MRP",
            0x88F5: "MVRP",
            0x88F6: "MMRP",
            0x88F7: "PTP",
            0x88F8: "NC-SI",
            0x88FB: "PRP",
            0x8902: "connectivity fault management",
            0x8906: "FCoE",
            0x8914: "FCoE initialization",
            0x8915: "RoCE",
            0x893A: "IEEE 1905",
            0x8940: "edge control (ECP)",
            0x9000: "Ethernet loopback test",
            0xFEFE: "OSI",
        }.items()
    ),
    *(
        Protocol(number, name)
        for number, name in {
            0x0805: "X.25",
            0x809B: "AppleTalk",
            0x88A4: "EtherCAT",
            0x0808: "Frame Relay ARP",
            0x876B: "compressed TCP/IP",
            0x880C: "GSMP",
            0x88B5: "local experimental",
            0x88B6: "local experimental",
            0x88B7: "local extended",
            0x890D: "802.11 encapsulation",
            0x88BB: "LWAPP",
            0x88D2: "CDMA2000 A10",
            0x8881: "CDMA2000 A10",
            0x8947: "GeoNetworking",
            0xA0ED: "6LoWPAN",
        }.items()
    ),
)

#: What has no EtherType.
UNNUMBERED = (
    Protocol(BY_NIBBLE, "IP", H_BY_NIBBLE),
    Protocol(LLC, "LLC and SNAP", H_LLC),
    Protocol(WIFI, "802.11", H_WIFI),
    Protocol(RADIOTAP, "802.11 with radiotap", H_RADIOTAP),
    Protocol(FRAME_RELAY, "Frame Relay", H_FRAME_RELAY),
    Protocol(ERSPAN_3, "ERSPAN III", H_ERSPAN_3),
    *(
        Protocol(number, name, H_OTHER)
        for number, name in {
            LLC_OTHER: "LLC (spanning tree, OSI, IPX, NetBIOS)",
            SNAP_OTHER: "vendors' SNAP (CDP, VTP, AppleTalk)",
            COOKED_OTHER: "other protocol families (netlink, CAN)",
            PPP_CONTROL: "PPP control",
            PPP_CLOSED: "PPP (encrypted or compressed)",
            MPLS_CONTROL: "MPLS control channel",
            MACSEC_CLOSED: "MACsec (encrypted)",
            WIFI_OTHER: "802.11 without data",
            WIFI_CLOSED: "802.11 data (encrypted)",
            FDDI_OTHER: "FDDI or token ring control",
            BATMAN_OTHER: "B.A.T.M.A.N. without data",
            GRE_EMPTY: "GRE without a packet",
            TUNNEL_CONTROL: "tunnel control",
            ARCNET_OTHER: "ARCnet without IP",
            FRAME_RELAY_OTHER: "Frame Relay control",
        }.items()
    ),
    *(
        Protocol(number, name)
        for number, name in {
            NOT_IP: "neither IPv4 nor IPv6",
            SNAP_UNKNOWN: "SNAP of an unknown organization",
            MPLS_UNKNOWN: "MPLS payload",
            WIFI_SEVERAL: "802.11 with several packets (A-MSDU)",
            BATMAN_UNKNOWN: "B.A.T.M.A.N. fragment, or of an unknown version",
            GRE_UNKNOWN: "GRE of an unknown kind",
            NSH_UNKNOWN: "NSH payload",
            ROUTE_UNKNOWN: "IPv6 source route of an unknown type",
            FRAME_RELAY_UNKNOWN: "Frame Relay payload",
            RECORD_UNKNOWN: "capture header of an unknown form",
        }.items()
    ),
)

#: By the protocol field of an IPv4 header, or the next header of an IPv6 one (IANA).
IP_PROTOCOLS = (
    Protocol(0, "IPv6 hop-by-hop options", H_OPTIONS_6),
    Protocol(1, "ICMP", H_ICMP),
    Protocol(4, "IPv4 in IP", H_SKIP, IPV4),
    Protocol(6, "TCP", H_TCP),
    Protocol(17, "UDP", H_UDP),
    Protocol(41, "IPv6 in IP", H_SKIP, IPV6),
    Protocol(43, "IPv6 routing header", H_OPTIONS_6),
    Protocol(44, "IPv6 fragment header", H_OPTIONS_6),
    Protocol(47, "GRE", H_GRE),
    Protocol(51, "authentication header", H_OPTIONS),
    Protocol(58, "ICMPv6", H_ICMP_6),
    Protocol(60, "IPv6 destination options", H_OPTIONS_6),
    Protocol(94, "IP in IP (old)", H_SKIP, IPV4),
    Protocol(97, "EtherIP", H_SKIP, ETHERNET, 2),
    Protocol(115, "L2TPv3", H_L2TP_3),
    Protocol(135, "IPv6 mobility header", H_OPTIONS_6),
    Protocol(137, "MPLS in IP", H_SKIP, MPLS),
    Protocol(139, "IPv6 host identity", H_OPTIONS_6),
    Protocol(140, "IPv6 shim", H_OPTIONS_6),
    Protocol(143, "Ethernet in IP", H_SKIP, ETHERNET),
    *(
        Protocol(number, name, H_OTHER)
        for number, name in {
            2: "IGMP",
            3: "GGP",
            8: "EGP",
            9: "IGRP",
            27: "RDP",
            33: "DCCP",
            46: "RSVP",
            50: "ESP (encrypted)",
            59: "IPv6 without a payload",
            85: "NSFNET-IGP",
            88: "EIGRP",
            89: "OSPF",
            103: "PIM",
            108: "IPComp (compressed)",
            112: "VRRP",
            113: "PGM",
            121: "SMP",
            124: "IS-IS over IP",
            132: "SCTP",
            136: "UDP-Lite",
        }.items()
    ),
    *(
        Protocol(number, name)
        for number, name in {
            29: "ISO transport",
            53: "SwIPe",
            55: "minimal encapsulation",
            57: "SKIP",
            98: "encapsulation header",
            99: "private encryption",
            253: "experimental",
            254: "experimental",
        }.items()
    ),
)

#: UDP ports behind which there may be a tunnel.
TUNNELS = (
    Protocol(1701, "L2TPv2, L2TPv3", H_L2TP, size=1),
    Protocol(2152, "GTP-U", H_GTP),
    Protocol(3544, "Teredo", H_TEREDO, size=1),
    Protocol(4341, "LISP", H_LISP),
    Protocol(4754, "GRE in UDP", H_GRE),
    Protocol(4789, "VXLAN", H_VXLAN),
    Protocol(4790, "VXLAN-GPE", H_VXLAN_GPE),
    Protocol(5072, "AYIYA", H_AYIYA, size=1),
    Protocol(5247, "CAPWAP data", H_CAPWAP, size=1),
    Protocol(6081, "Geneve", H_GENEVE),
    Protocol(6635, "MPLS in UDP", H_MPLS),
    Protocol(8472, "VXLAN (Linux before IANA's number)", H_VXLAN),
    Protocol(37008, "TZSP", H_TZSP),
)

#: How many names a report lists; the frames of all others are counted together.
MAX_NAMES = 64


# -- as the engine looks things up -------------------------------------------------------------------------------------


@functools.cache
def _read() -> tuple[Protocol, ...]:
    """The rows that something reads, each at its place; none is at place 0."""
    tables = (*LINK_TYPES, *ETHER_TYPES, *UNNUMBERED, *IP_PROTOCOLS, *TUNNELS)
    return (Protocol(0, ""), *(row for row in tables if row.reader > H_OTHER))


@functools.cache
def rows() -> memoryview:
    """Return, of each row that something reads, the reader, the size and the kind: three words each."""
    words = memoryview(bytearray(8 * 3 * len(_read()))).cast("Q")
    for place, row in enumerate(_read()):
        words[place * 3], words[place * 3 + 1], words[place * 3 + 2] = row.reader, row.size, row.kind
    return words


@functools.cache
def by_link() -> bytes:
    """Return the place of the row of each link type below LINKS."""
    return _places(LINK_TYPES, LINKS)


@functools.cache
def by_kind() -> bytes:
    """Return the place of the row of each EtherType, and of each kind that has none.

    Below 0x600 it is a length: LLC follows.
    """
    places = bytearray(_places((*ETHER_TYPES, *UNNUMBERED), READ_KINDS))
    places[:0x600] = places[LLC : LLC + 1] * 0x600
    return bytes(places)


@functools.cache
def by_protocol() -> bytes:
    """Return the place of the row of each IP protocol."""
    return _places(IP_PROTOCOLS, 256)


@functools.cache
def by_port() -> bytes:
    """Return the place of the row of each UDP port."""
    return _places(TUNNELS, 65_536)


def _places(table: tuple[Protocol, ...], size: int) -> bytes:
    places = bytearray(size)
    place_of = {row: place for place, row in enumerate(_read())}
    for row in table:
        if row.reader > H_OTHER:
            places[row.number] = place_of[row]
    return bytes(places)


# -- as reports say it -------------------------------------------------------------------------------------------------


@functools.cache
def _named() -> dict[int, Protocol]:
    """The row of every kind that is counted and has one."""
    bases = ((0, ETHER_TYPES), (0, UNNUMBERED), (IP_PROTOCOL, IP_PROTOCOLS), (LINK_TYPE, LINK_TYPES))
    return {base + row.number: row for base, table in bases for row in table}


def is_known(kind: int) -> bool:
    """Whether frames that come to this kind are known to carry no TCP; else they may carry some."""
    row = _named().get(kind)
    if row is None:
        return False
    # ICMP and UDP are read for what they may hold, but carry no TCP of their own. The others that are read come here
    # only where they cannot be read on, as an IPv6 extension header in IPv4: they may carry TCP.
    return row.reader in (H_OTHER, H_ICMP, H_ICMP_6, H_UDP)


def name_of(kind: int) -> str:
    """Return the name of what is counted under this kind."""
    row = _named().get(kind)
    if row and (is_known(kind) or BY_NIBBLE <= kind < IP_PROTOCOL):
        return row.name
    if kind >= PPP_PROTOCOL:
        what = f"PPP protocol 0x{kind - PPP_PROTOCOL:04x}"
    elif kind >= LINK_TYPE:
        what = f"link type {kind - LINK_TYPE}"
    elif kind >= IP_PROTOCOL:
        what = f"IP protocol {kind - IP_PROTOCOL}"
    else:
        what = f"EtherType 0x{kind:04x}"
    return f"{what} ({row.name})" if row else what


def accounted(counts: Mapping[int, int], *, unknown: bool) -> dict[str, int]:
    """Name what was counted by kind: what carries no TCP, or (*unknown*) what may carry some, most frames first."""
    named: dict[str, int] = {}
    for kind, count in counts.items():
        if is_known(kind) != unknown:
            named[name_of(kind)] = named.get(name_of(kind), 0) + count
    ordered = sorted(named.items(), key=lambda item: (-item[1], item[0]))
    rest = sum(count for _, count in ordered[MAX_NAMES:])
    return dict(ordered[:MAX_NAMES]) | ({"others": rest} if rest else {})


# -- docs/protocols.md -------------------------------------------------------------------------------------------------

_DOCUMENT = """\
# What is read

Written by `python -m analysis.engine.protocols > docs/protocols.md`; a test keeps it current.

A frame is read header by header, at most {depth} of them, to the innermost IP packet. Each frame of a capture
is counted once: as a TCP segment, as a duplicate of one, by the name of what it carries instead of TCP, by
the name of what this program cannot read (it may carry TCP: the report says so, and does not say "none"
beside it), or by the reason why it could not be decoded (cut short, malformed, a fragment after the first).

- **read**: the program reads this header and looks into what it carries.
- **no TCP**: this carries no TCP that can be seen. That includes what is encrypted or compressed; its name says so.
- **not read**: the program knows only the name. What has no row here is counted by its number.

## Link types

By the numbers of [tcpdump.org](https://www.tcpdump.org/linktypes.html). The headers of PPI, PKTAP and ERF
say which link type follows inside.

{links}

## EtherTypes

They stand behind Ethernet, VLAN tags, Linux cooked headers, SNAP, GRE and Geneve. MACsec is read where it is
not encrypted; 802.11 where a data frame is not encrypted and holds one packet; B.A.T.M.A.N. in version 15.

{types}

## IP protocols

{protocols}

Where a source route (LSRR, SSRR) or an IPv6 routing header has hops left, its last address is the destination.
GRE also carries ERSPAN I to III, WCCP, PPTP's PPP, and Aruba's 802.11; MPLS also Ethernet, with or without a
control word (a pseudowire).

## Tunnels in UDP

A port proves nothing (37008 is a port that Linux gives to clients). So a tunnel counts only if an IP header
in it proves it: by its version, its lengths, and in IPv4 its checksum. The same is true of a pseudowire behind
MPLS labels, and of L2TPv3, whose header does not give its own length. Without such a proof the frame counts as
UDP. On all other ports the program does not look for tunnels.

| port | tunnel |
|---|---|
{tunnels}

## What has no number

{others}
"""


def document() -> str:
    """docs/protocols.md: what is read, what carries no TCP, and what is known by name only."""
    either = {row.number: "" if row.size == 0 else ", also as the source port" for row in TUNNELS}
    return _DOCUMENT.format(
        depth=MAX_DEPTH,
        links=_table("link type", LINK_TYPES, str),
        types=_table("EtherType", ETHER_TYPES, "0x{:04x}".format),
        protocols=_table("protocol", IP_PROTOCOLS, str),
        tunnels="\n".join(f"| {row.number}{either[row.number]} | {row.name} |" for row in TUNNELS),
        others=_table("", [row for row in UNNUMBERED if row.reader <= H_OTHER], lambda _: ""),
    )


def _table(title: str, table: Iterable[Protocol], number: Callable[[int], str]) -> str:
    """A table in Markdown of the rows of one here, by their numbers."""
    said = {H_NONE: "not read", H_OTHER: "no TCP"}
    head = [f"| {title} | name | |", "|---|---|---|"] if title else ["| name | |", "|---|---|"]
    for row in sorted(table):
        first = f"| {number(row.number)} " if title else ""
        head.append(f"{first}| {row.name} | {said.get(row.reader, 'read')} |")
    return "\n".join(head)


if __name__ == "__main__":
    print(document(), end="")  # noqa: T201 - it writes a document here
