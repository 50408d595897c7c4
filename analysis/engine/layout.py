"""What lies in memory, by name: the numbers, and what a segment, a conversation and a destination consist of.

Interpreted, the classes below are used as they are. Compiled, ``layout.pxd`` gives the same names to C structs, and
setup.py writes the numbers of this module as C constants (``numbers.pxi``): so each number stands here alone.
"""

from __future__ import annotations

from typing import NamedTuple

from ..verdicts import Event, Phase

# -- files -------------------------------------------------------------------------------------------------------------

#: A longer record is damage, as it is for libpcap (MAXIMUM_SNAPLEN), and so is a longer pcapng block. Octets.
MAX_RECORD = 262_144
MAX_BLOCK = 16 << 20
#: Interfaces of a pcapng section, and link types that are counted by their number, at most.
MAX_INTERFACES = 65_536
MAX_LINKS = 16
#: Link types below this one are looked up; none beyond it is known here.
LINKS = 512
#: Words of an interface: link type, snap length, if_tsresol, if_tsoffset.
WORDS_OF_INTERFACE = 4
#: Seconds since the epoch: the year 2255. Times beyond it count as 0.
LAST_SECOND = 9_000_000_000
SECOND = 1_000_000_000
MILLISECOND = 1_000_000

# Places in DAMAGES.
D_RECORD = 1
D_ORDER = 2
D_BLOCK = 3
D_LENGTHS = 4
D_PACKET_HEADER = 5
D_VERSION = 6
D_INTERFACE = 7
D_UNKNOWN_INTERFACE = 8
D_PACKET = 9
D_INTERFACES = 10
D_OPTION = 11

#: What can break a file: reading ends there, and what came before it counts. Braces take the number that was claimed.
DAMAGES = (
    "",
    "a record claims {} octets, more than the 262144 that a capture may hold",
    "a pcapng section begins without a byte-order mark",
    "a pcapng block claims {} octets",
    "the two lengths of a pcapng block differ",
    "a pcapng packet block is too short for its header",
    "a pcapng section of an unknown version",
    "a pcapng interface description is too short",
    "a packet of interface {}, which the file has not described",
    "a packet claims {} octets, more than its block holds",
    "a pcapng section describes more than 65536 interfaces",
    "an option claims {} octets, more than its pcapng block holds",
)

# -- headers -----------------------------------------------------------------------------------------------------------

# Places in REASONS, and what else a frame can come to.
R_LINK = 0
R_TAG = 1
R_IP4_CUT = 2
R_IP4_BAD = 3
R_IP6_CUT = 4
R_IP6_BAD = 5
R_IP6_EXT = 6
R_FRAGMENT = 7
R_GRE = 8
R_DEPTH = 9
R_TCP_CUT = 10
R_TCP_BAD = 11
OTHER = -1  # a sound frame without a TCP segment
FOUND = -2
UNKNOWN_LINK = -3
GO_ON = -4  # another header follows

#: Why a frame gave no segment. Counted by place; none of them ends the run.
REASONS = (
    "link header cut short",
    "VLAN, MPLS or PPPoE header cut short",
    "IPv4 header cut short",
    "IPv4 header malformed",
    "IPv6 header cut short",
    "IPv6 header malformed",
    "IPv6 extension headers cut short",
    "IP fragment after the first",
    "GRE header cut short or of an unknown kind",
    "too many headers inside each other",
    "TCP header cut short",
    "TCP header malformed",
)

#: How many headers may be stacked before the TCP header.
MAX_DEPTH = 32

# What follows a header, as an EtherType; the last three stand for headers that have none.
IPV4 = 0x0800
IPV6 = 0x86DD
MPLS = 0x8847
ETHERNET = 0x6558  # transparent Ethernet bridging
PPP = 0x880B
PPPOE = 0x8864
ERSPAN = 0x88BE
BY_NIBBLE = 0x10000  # IP of the version that its first four bits give
NOT_IP = 0x10001
LLC = 0x10002

# What reads a header: numbers of the short functions in headers.py, by which protocols.py names them.
H_NONE = 0
H_ETHERNET = 1
H_BY_NIBBLE = 2
H_SLL = 3
H_SLL2 = 4
H_NULL = 5
H_IPV4 = 6
H_IPV6 = 7
H_PPP_LINK = 8
H_PPPOE_LINK = 9
H_HDLC = 10
H_VLAN = 11
H_MPLS = 12
H_PPPOE = 13
H_PPP = 14
H_LLC = 15
H_GRE = 16
H_UDP = 17
H_TCP = 18
H_OPTIONS = 19  # an IPv6 extension header
H_OPTIONS_6 = 20  # one that is none in IPv4

FIN = 0x01
SYN = 0x02
RST = 0x04
ACK = 0x10
#: The bits that make an opening.
CONTROL = 0x17

# -- the conversation table --------------------------------------------------------------------------------------------

#: Segments that are decoded before the first of them is stepped with (compiled; one by one, interpreted).
BATCH = 32
#: Octets of a TCP header that a slot remembers: the longest that there is, and four more.
HEADER = 64
#: Places in the index, to begin with.
LEAST = 4096
#: How many slots ahead of the oldest the table sends for what it will have to put out.
AHEAD = 16
KEYS = 16

LOW24 = 0xFFFFFF
LOW32 = 0xFFFFFFFF
HALF32 = 0x80000000
LOW48 = 0xFFFFFFFFFFFF
LOW64 = 0xFFFFFFFFFFFFFFFF
MIX1 = 0x9E3779B97F4A7C15
MIX2 = 0xC2B2AE3D27D4EB4F

# Flags of a slot.
FIRST_IS_B = 1
ENDED = 1 << 1
FIN_A = 1 << 2
FIN_B = 1 << 3
TOUCHED = 1 << 4
KEPT = 1 << 5
COUNTED = 1 << 6  # its verdict is in the counts already
MID = 1 << 7  # midstream only for the sake of an early SYN-ACK; in a HEAD: a SYN was the last to change it
EQUAL = 1 << 8  # both endpoints are one
EARLY = 1 << 9  # the early fields hold a SYN-ACK ...
EARLY_FROM_A = 1 << 10  # ... which A sent ...
EARLY_ACKED = 1 << 11  # ... and the other end has acknowledged
ANOTHER = 1 << 12  # ``another`` holds another ISN
OWN = 1 << 13  # the first end acknowledged a SYN that was not captured so far: isn_second has its ISN
WIRED = 1 << 14  # its SYN came in an Ethernet frame with addresses: over a real link
HEAD = 1 << 15  # of a part: the state depends on what came before it (see partial.py)
FINS = 0x0C  # FIN_A | FIN_B
EARLIES = 0x0E00  # EARLY | EARLY_FROM_A | EARLY_ACKED

#: Frames remembered in the search for duplicates ...
REMEMBERED = 65_536
#: ... which lie less than so many frames apart; with 32 places each, next to none is crowded out.
NEAR = 2048
#: Octets of an IPv4 and a TCP header: longer packets are remembered by a hash (interpreted).
LONGEST = 80

#: Destinations whose refused attempts are counted ...
DESTINATIONS = 1024
IN_USE = 1 << 40  # part of a destination's hash
PROBES = 8  # ... looked for in so many neighbouring places
WALKS = 32  # destinations whose refused attempts are remembered one by one ...
WALK = 32_768  # ... up to so many

#: Of one opening, so many segments are kept in full, and so many in all (those that can still change a state).
FULL = 64
ALL = 512
#: Segments that a part may log, some 220 MB: a file can be made that has every one of them logged.
MAX_LOG = 1 << 19
#: Openings whose segments are kept at one time.
MAX_KEPT = 65_536
#: The same for those that are kept only because their SYN was repeated, and may be crossed yet.
MAX_RETRIED = 4_096

# The phases and events as plain integers, for the compiler.
P_MIDSTREAM = int(Phase.MIDSTREAM)
P_SYN = int(Phase.SYN)
P_SYN_ACKED = int(Phase.SYN_ACKED)
P_THREE_WAY = int(Phase.THREE_WAY)
P_CROSSED = int(Phase.CROSSED)
P_REFUSED = int(Phase.REFUSED)
P_SELF_SYN = int(Phase.SELF_SYN)
P_SELF_CONNECT = int(Phase.SELF_CONNECT)
E_SYN_SECOND = int(Event.SYN_SECOND)
E_SYN_ACK_FIRST = int(Event.SYN_ACK_FIRST)
E_SYN_ACK_SECOND = int(Event.SYN_ACK_SECOND)
E_ACK_FIRST = int(Event.ACK_FIRST)
E_ACK_SECOND = int(Event.ACK_SECOND)
E_OTHER_SECOND = int(Event.OTHER_SECOND)
E_RST_FIRST = int(Event.RST_FIRST)
E_RST_SECOND = int(Event.RST_SECOND)
E_NOTHING = int(Event.NOTHING)
EVENTS = len(Event)
#: Phases in which the second end's own SYN is known (bits).
CROSSED_PHASES = sum(
    1 << phase
    for phase in (
        Phase.CROSSED,
        Phase.CROSSED_ONE,
        Phase.CROSSED_OTHER,
        Phase.SIMULTANEOUS,
        Phase.SPLIT_CROSSED,
        Phase.SPLIT_ONE,
        Phase.SPLIT_OTHER,
    )
)
#: Phases before any SYN-ACK of the second end, in which its SYN still belongs to the opening (bits).
UNCROSSED_PHASES = sum(1 << phase for phase in (Phase.SYN, Phase.SYN_BARE_ACK, Phase.SYN_ODD))


class Segment:
    """One TCP segment on its way from the decoder to the table. A is the lower of its two endpoints, whoever sent it.

    ``ip`` and ``at`` are the places of the IP and of the TCP header in the octets being read, ``size`` the octets of
    the TCP header that are there, ``data`` octets of payload on the wire, ``time`` nanoseconds since the epoch.
    ``from_a`` says whether A sent it, ``equal`` whether both endpoints are one, ``wired`` whether a segment with equal
    endpoints came in a frame with Ethernet addresses. An address is two 64-bit words; of IPv4 the first is zero, and
    ``six`` tells it from IPv6. ``tag`` and ``digest`` are hashes, of the 4-tuple and of the headers; ``slot`` is
    where the conversation most probably is, ``duplicate`` whether the packet was captured before.

    ``place`` is a 32-bit hash of where the packet was seen (interface, direction, link addresses, headers around it,
    TTL), ``identification`` the IPv4 identification, 0 where there is none.
    """

    __slots__ = (
        *("a_high", "a_low", "b_high", "b_low", "a_port", "b_port", "six"),
        *("ip", "at", "size", "data", "time", "frame", "seq", "ack", "flags", "window"),
        *("from_a", "equal", "wired", "duplicate", "tag", "digest", "slot", "place", "identification"),
    )
    a_high: int
    a_low: int
    b_high: int
    b_low: int
    a_port: int
    b_port: int
    six: int
    ip: int
    at: int
    size: int
    data: int
    time: int
    frame: int
    seq: int
    ack: int
    flags: int
    window: int
    from_a: bool
    equal: bool
    wired: bool
    duplicate: bool
    tag: int
    digest: int
    slot: int
    place: int
    identification: int

    def __init__(self) -> None:
        self.tag = self.digest = self.place = self.identification = 0  # a dict makes its own hashes


class Cursor:
    """How far a frame's headers are read: the next one begins at ``p``, the captured octets end before ``end``.

    On the wire the packet ended before ``stop``. ``kind`` is what comes next, as an EtherType; ``ip`` is the place of
    the innermost IP header so far, ``six`` tells its version, ``protocol`` what it carries. ``place`` becomes a hash of
    where the packet was seen (see Segment), as the headers are read.
    """

    __slots__ = ("end", "ip", "kind", "p", "place", "protocol", "six", "stop")
    p: int
    end: int
    stop: int
    kind: int
    ip: int
    six: int
    protocol: int
    place: int


class Slot:
    """What is remembered of one conversation, and of the opening that is under way in it.

    The first end is the one that sent the SYN; ``isn`` is its initial sequence number, ``isn_second`` that of the
    other end. ``end`` is the number after the last octet that the second end sent, ``another`` the ISN of another
    SYN-ACK of its. ``reach`` is how far from ISN + 1 the first end's next segment may begin: what the SYN-ACK
    acknowledges and offers. ``time`` (nanoseconds) and ``frame`` are those of the first SYN, ``header`` the first
    ``size`` octets of its TCP header, ``syn_data`` and ``syn_data_second`` the octets of data in the SYNs. ``refused``
    attempts at the same destination came before it, the first at ``since``.

    The ``early`` fields hold a SYN-ACK that fits nothing yet, since its SYN may have been captured late: the ISN that
    it acknowledges (with the data in that SYN), its own number, its time, and ``end`` and ``reach`` as above;
    ``before`` is the phase before it.
    """

    __slots__ = (
        *("a_high", "a_low", "b_high", "b_low", "a_port", "b_port", "six", "phase", "before", "size"),
        *("flags", "retransmissions", "isn", "isn_second", "end", "reach", "another", "syn_data", "syn_data_second"),
        *("early_isn", "early_seq", "early_end", "early_reach", "time", "frame", "refused", "since", "early_time"),
        "header",
    )
    a_high: int
    a_low: int
    b_high: int
    b_low: int
    a_port: int
    b_port: int
    six: int
    phase: int
    before: int
    size: int
    flags: int
    retransmissions: int
    isn: int
    isn_second: int
    end: int
    reach: int
    another: int
    syn_data: int
    syn_data_second: int
    early_isn: int
    early_seq: int
    early_end: int
    early_reach: int
    time: int
    frame: int
    refused: int
    since: int
    early_time: int
    header: bytes

    def __init__(self) -> None:
        self.a_high = self.a_low = self.b_high = self.b_low = self.a_port = self.b_port = self.six = 0
        self.phase = self.before = self.size = self.flags = self.retransmissions = self.syn_data = 0
        self.isn = self.isn_second = self.end = self.reach = self.another = self.syn_data_second = 0
        self.early_isn = self.early_seq = self.early_end = self.early_reach = self.early_time = 0
        self.time = self.frame = self.refused = self.since = 0
        self.header = b""


class Destination:
    """A destination of refused attempts: its endpoint (``used`` tells a free place), how many, the first and last time.

    ``walk`` is the place, counted from 1, where its attempts are remembered one by one; 0 where they are not.
    """

    __slots__ = ("count", "first", "high", "last", "low", "port", "six", "used", "walk")
    high: int
    low: int
    port: int
    six: int
    used: int
    count: int
    walk: int
    first: int
    last: int

    def __init__(self) -> None:
        for name in Destination.__slots__:
            setattr(self, name, 0)


#: A segment as it is kept: frame, time, whether the first endpoint sent it, TCP header, octets of data.
Kept = tuple[int, int, bool, bytes, int]
#: A destination: the two words of its address, and its port (bit 32 is set where it is IPv6).
Key = tuple[int, int, int]


class Finished(NamedTuple):
    """An opening as it is handed on.

    ``verdict`` is a place in VERDICTS; ``one`` and ``two`` are the packed addresses of the first and the second end.
    Of the attempts refused ``before`` it the first was at ``since``. ``omitted`` segments were left out of ``kept``.
    ``wired`` says whether it came over a real link (known of those to itself only).
    """

    verdict: int
    one: bytes
    one_port: int
    two: bytes
    two_port: int
    isn: int
    frame: int
    time: int
    retransmissions: int
    refused: int
    since: int
    omitted: int
    wired: bool
    kept: list[Kept]
