"""Names for what lies in memory: constants, and the fields of a segment, a conversation and a destination.

Interpreted, the classes below are used as they are. Compiled, ``layout.pxd`` gives the same names to C structs, and
setup.py writes the numbers of this module as C constants (``numbers.pxi``): so each number is written only here.
"""

from __future__ import annotations

import struct

from ..model import EVIDENCE as EVIDENCE_OF
from ..model import Evidence, Verdict
from ..records import NamedTuple
from ..verdicts import VERDICTS, Event, Phase

# -- files -------------------------------------------------------------------------------------------------------------

#: A longer record is damage, as it is for libpcap (MAXIMUM_SNAPLEN), and so is a longer pcapng block. Octets.
MAX_RECORD = 262_144
MAX_BLOCK = 16 << 20
#: Interfaces of a pcapng section.
MAX_INTERFACES = 65_536
#: Link types below this one are looked up; none beyond it is known here.
LINKS = 512
#: Words of an interface: link type, snap length, if_tsresol, if_tsoffset, packets dropped as the interface statistics
#: say, and as the packet blocks say.
WORDS_OF_INTERFACE = 6
#: A pcapng file that claims more dropped packets than this makes no sense.
MAX_DROPS = 1 << 48
#: Capture filters that are remembered, and octets of each.
MAX_FILTERS = 16
LONGEST_FILTER = 1024
#: Seconds since the epoch: the year 2255. Times beyond it count as 0.
LAST_SECOND = 9_000_000_000
SECOND = 1_000_000_000
MICROSECONDS = 1_000_000  # of a second
MILLISECOND = 1_000_000
#: The two sides of a translated connection send their SYNs within so many nanoseconds.
SIDES = 20 * MILLISECOND

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

#: What can break a file: reading ends there, and what came before it counts. The number that the file claims is put in
#: place of the braces.
DAMAGES = (
    "",
    "a record claims {} octets, more than the 262144 that a capture may hold",
    "a pcapng section begins without a byte-order mark",
    "a pcapng block claims {} octets, not a multiple of 4 from 12 to 16777216",
    "the two lengths of a pcapng block differ",
    "a pcapng packet block is too short for its header",
    "a pcapng section of an unknown version",
    "a pcapng interface description is too short",
    "a packet of interface {}, which the file has not described",
    "a packet claims {} octets, more than its pcapng block or a capture (262144) can hold",
    "a pcapng section describes more than 65536 interfaces",
    "an option claims {} octets, more than its pcapng block holds",
)

# -- headers -----------------------------------------------------------------------------------------------------------

# Places in REASONS, and the other results of reading a frame.
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
R_TUNNEL = 12
OTHER = -1  # a sound frame without a TCP segment, or one that this program cannot read: see the cursor's kind
FOUND = -2
QUOTED = -3  # an ICMP error that may quote a TCP segment
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
    "GRE header cut short",
    "too many headers inside each other",
    "TCP header cut short",
    "TCP header malformed",
    "UDP or tunnel header cut short",
)

#: How many headers may be stacked before the TCP header.
MAX_DEPTH = 32

# Kinds: what follows a header, as an EtherType ...
IPV4 = 0x0800
IPV4_OF_20_OCTETS = 0x080045  # an IPv4 header without options
IPV6 = 0x86DD
MPLS = 0x8847
ETHERNET = 0x6558  # transparent Ethernet bridging
PPP = 0x880B
PPPOE = 0x8864
NSH = 0x894F
# ... and kinds that have no EtherType.
BY_NIBBLE = 0x10000  # IP of the version that its first four bits give
NOT_IP = 0x10001
LLC = 0x10002
WIFI = 0x10003
RADIOTAP = 0x10004
FRAME_RELAY = 0x10005
ERSPAN = 0x10006  # types I and II
ERSPAN_3 = 0x10007
LLC_OTHER = 0x10010
SNAP_OTHER = 0x10011
SNAP_UNKNOWN = 0x10012
COOKED_OTHER = 0x10013
PPP_CONTROL = 0x10014
PPP_CLOSED = 0x10015
MPLS_CONTROL = 0x10016
MPLS_UNKNOWN = 0x10017
MACSEC_CLOSED = 0x10018
WIFI_OTHER = 0x10019
WIFI_CLOSED = 0x1001A
WIFI_SEVERAL = 0x1001B
FDDI_OTHER = 0x1001C
BATMAN_OTHER = 0x1001D
BATMAN_UNKNOWN = 0x1001E
GRE_EMPTY = 0x1001F
GRE_UNKNOWN = 0x10020
NSH_UNKNOWN = 0x10021
ROUTE_UNKNOWN = 0x10022
TUNNEL_CONTROL = 0x10023
ARCNET_OTHER = 0x10024
FRAME_RELAY_OTHER = 0x10025
FRAME_RELAY_UNKNOWN = 0x10026
RECORD_UNKNOWN = 0x10027
IP_PROTOCOL = 0x10100  # and an IP protocol's number
LINK_TYPE = 0x20000  # and a link type's number
PPP_PROTOCOL = 0x30000  # and a PPP protocol's number
#: Kinds that are counted.
KINDS = 0x40000
#: Kinds by which a header is looked up.
READ_KINDS = IP_PROTOCOL + 256

# What reads a header: numbers of the short functions in headers.py, links.py and tunnels.py, by which protocols.py
# names them. The first two read nothing: H_NONE is for what this program cannot read, H_OTHER for what carries no TCP.
H_NONE = 0
H_OTHER = 1
H_SKIP = 2  # the row says how many octets, and what follows
H_SEEN = 3  # the same; the octets tell where the packet was seen
H_TYPED = 4  # the row says how many octets; an EtherType is the last two of them
H_VLAN = 5
H_ETHERNET = 6
H_IPV4 = 7
H_IPV6 = 8
H_BY_NIBBLE = 9
H_SLL = 10
H_SLL2 = 11
H_NULL = 12
H_PPP_LINK = 13
H_PPP = 14
H_LLC = 15
H_MPLS = 16
H_TCP = 17
H_UDP = 18
H_ICMP = 19
H_ICMP_6 = 20
H_OPTIONS = 21  # an extension header of either version of IP
H_OPTIONS_6 = 22  # one that is none in IPv4
# In links.py.
H_LINKS = 32
H_RADIOTAP = 32
H_WIFI = 33
H_PPI = 34
H_PKTAP = 35
H_NFLOG = 36
H_PFLOG = 37
H_FDDI = 38
H_FRAME_RELAY = 39
H_JUNIPER = 40
H_ARCNET = 41
H_TOKEN_RING = 42
H_ERF = 43
H_AVS = 44
H_TAGGED = 45  # Ethernet with a tag behind its addresses, as long as the row says
# In tunnels.py.
H_TUNNELS = 64
H_GRE = 64
H_ERSPAN_3 = 65
H_MACSEC = 66
H_METADATA = 67
H_NSH = 68
H_BATMAN = 69
H_TRILL = 70
H_VXLAN = 71
H_VXLAN_GPE = 72
H_GENEVE = 73
H_GTP = 74
H_TEREDO = 75
H_L2TP = 76
H_L2TP_3 = 77
H_TZSP = 78
H_CAPWAP = 79
H_AYIYA = 80
H_LISP = 81
FIN = 0x01
SYN = 0x02
RST = 0x04
ACK = 0x10
#: The bits that make an opening.
CONTROL = 0x17

# -- the conversation table --------------------------------------------------------------------------------------------

#: How many segments are decoded before the table is stepped with the first of them (compiled; one, interpreted).
BATCH = 32
#: Sets of the search for the opening whose SYN a segment answers, each of two places.
ORIGINS = 8192
#: Answers of other 4-tuples, errors and links that are remembered at one time.
MAX_ANSWERS = 65_536
#: Segments that answer no SYN of their own 4-tuple, nor of another one: the last so many are remembered.
MAX_MISSED = 4096
#: Places in the index, to begin with.
LEAST = 4096
#: How many slots ahead of the oldest one the table prefetches: it will put these conversations out soon.
AHEAD = 16
KEYS = 16

LOW16 = 0xFFFF
LOW32 = 0xFFFFFFFF
HALF32 = 0x80000000
LOW48 = 0xFFFFFFFFFFFF
LOW64 = 0xFFFFFFFFFFFFFFFF
MIX1 = 0x9E3779B97F4A7C15
MIX2 = 0xC2B2AE3D27D4EB4F
#: A TTL times this one fits 64 bits.
MIX_TTL = 0x9E3779B97F4A7D

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
LENT = 1 << 16  # a segment of another 4-tuple answered its SYN: answers.py has it ...
LENT_RST = 1 << 17  # ... an RST ...
LENT_ACKED = 1 << 18  # ... or a SYN-ACK that the first end has acknowledged
UNREACHED = 1 << 19  # an ICMP error quotes its SYN: answers.py has it
LENDER = 1 << 20  # the early SYN-ACK in here was lent to another opening
ACKED_FIRST = 1 << 21  # acked_first holds what the first end acknowledged; both ends, where they are one
ACKED_SECOND = 1 << 22
UNTRACKED = 1 << 23  # the numbers of some segments were not noted: no RST is too far ahead
LEFT_OUT = 1 << 24  # ... because a part of the capture did not log them
PAST = 1 << 25  # isn and next_first are those of an opening that has ended: both ends are one
CANDIDATE = 1 << 26  # ``another`` holds the number that its next segment acknowledges, if it is one socket
MID_ITSELF = 1 << 27  # counted as midstream to itself: both ends are one
EVIDENCE = 28  # two bits: on what grounds it is a self-connect, as a place in EVIDENCE
EVIDENCES = 3 << EVIDENCE
MID_COUNTED = 1 << 30  # counted as midstream: both ends are one
SETTLED = 1 << 31  # an answer from elsewhere decided its verdict
EARLY_FIN_A = MID_ITSELF  # a FIN of A after the early SYN-ACK: there are two ends
EARLY_FIN_B = MID_COUNTED
FINS = 0x0C  # FIN_A | FIN_B
PLAIN = FIRST_IS_B | TOUCHED | WIRED | LENDER  # flags of an opening of which nothing is known but its SYN
EARLIES = 0x0E00  # EARLY | EARLY_FROM_A | EARLY_ACKED

#: Copies of a packet lie less than so many frames apart: so many packets are remembered, in so many words each ...
NEAR_BITS = 11
NEAR = 1 << NEAR_BITS
WORDS_OF_PACKET = 4
#: ... and looked up in so many sets of entries. There are eight for each packet, so hardly any is lost.
SETS = 2048
FEW_SETS = 256  # the least
WAYS = 8
#: A packet that was seen at two places: within so many nanoseconds, at most.
ELSEWHERE = 20 * MILLISECOND

#: Where nobody knows how many frames are to come.
MANY = 1 << 40

#: Destinations whose refused attempts are counted ...
DESTINATIONS = 1024
IN_USE = 1 << 40  # part of a destination's hash
PROBES = 8  # ... looked for in so many neighbouring places
WALKS = 32  # destinations whose refused attempts are remembered one by one ...
WALK = 32_768  # ... up to so many

#: Of one opening, the first FULL segments are kept, and then up to ALL in total of those that can change a state.
FULL = 64
ALL = 512
#: How many segments a part may log (100 MB): a file can be made of which every segment has to be logged.
MAX_LOG = 1 << 19
#: From so many entries on, a part takes a conversation that begins with a SYN for one that does not depend on the part
#: before it. Merging shows whether that is so.
SURE_LOG = 1 << 16
#: How many refused attempts a part remembers one by one (100 MB), and how many destinations (75 MB).
MAX_ATTEMPTS = 1 << 22
MAX_REFUSED = 1 << 20
#: Words of an attempt (refusals.py): destination and source port, frame, time.
WORDS_OF_ATTEMPT = 3
#: Words of a destination: its key (see Key), how many attempts, frame and time of the last one and of the first one,
#: and how many are remembered.
W_HIGH = 0
W_LOW = 1
W_PORT = 2
W_COUNT = 3
W_LAST_FRAME = 4
W_LAST = 5
W_FIRST_FRAME = 6
W_FIRST = 7
W_REMEMBERED = 8
WORDS_OF_REFUSED = 9
#: What a log entry of a part is about (partial.py): a segment that may be a copy of a packet in the part before, a
#: segment of a conversation that depends on that part, ...
L_COPY = 1
L_SEGMENT = 2
L_INDEPENDENT = 3  # ... the SYN with which a conversation became independent, ...
L_LEFT_OUT = 4  # ... segments that were left out, ...
L_ANSWER = 5  # ... a SYN-ACK or RST that answers nothing in its own 4-tuple, or an ICMP error
L_ERROR = 6
L_FRESH = 7  # the SYN with which a conversation began in the part: it is independent, if that is true
L_SIDE = 8  # a later SYN of one that is independent: its other side, after a translation, may be in the part before
L_ORDER = 9  # from here on the opening of this client is the newest in its set (answers.py)
#: Where the TCP header begins in the octets of a log entry: before it are so many octets of the IP header.
TCP_AT = 40
#: Octets of a log entry, and of a slot, in a part.
ENTRY_OCTETS = 192
SLOT_OCTETS = 256
#: What is known of the TOUCHED flag of a slot while a part is merged (partial.py): without a mark everything; the part
#: logged segments of it; the part did not log all; nothing.
M_LOGGED = 1
M_INDEPENDENT = 2
M_DOUBTFUL = 3
#: Openings whose segments are kept at one time.
MAX_KEPT = 65_536
#: The same for openings that are kept only because their SYN was repeated: another SYN may still cross it.
MAX_RETRIED = 4_096

# What a segment is to a conversation of a socket with itself (self_connects.py).
A_NOTHING = 0  # a segment of the opening under way, or of the one that has ended, that changes nothing
A_STRAY = 1  # it belongs to no opening
A_OPEN = 2  # a bare SYN begins an opening
A_JOIN = 3  # the SYN of an opening that began with its SYN-ACK
A_AGAIN = 4  # the SYN of the opening once more
A_SYN_ACK = 5  # a SYN-ACK that acknowledges a SYN which was not captured
A_EARLY = 6  # a SYN-ACK whose SYN may have been captured late
A_PROOF = 7  # the first segment that acknowledges the SYN of the opening under way
A_CANDIDATE = 8  # data that the next segment acknowledges, if both ends are one socket
A_STANDING = 9  # the segment that acknowledges a candidate: both ends are one socket
A_RESET = 10  # an RST that ends the opening

# The phases and events as plain integers, for the compiler.
P_MIDSTREAM = int(Phase.MIDSTREAM)
P_SYN = int(Phase.SYN)
P_SYN_ACKED = int(Phase.SYN_ACKED)
P_THREE_WAY = int(Phase.THREE_WAY)
P_CROSSED = int(Phase.CROSSED)
P_REFUSED = int(Phase.REFUSED)
P_SELF_SYN = int(Phase.SELF_SYN)
P_SELF_CONNECT = int(Phase.SELF_CONNECT)
# The evidence of a self-connect: places in EVIDENCE.
HANDSHAKE = EVIDENCE_OF.index(Evidence.HANDSHAKE)
BY_SYN_ACK = EVIDENCE_OF.index(Evidence.SYN_ACK)
BY_ACK = EVIDENCE_OF.index(Evidence.ACKNOWLEDGED)
STANDING = EVIDENCE_OF.index(Evidence.STANDING)
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
V_REFUSED = VERDICTS.index(Verdict.REFUSED)
#: The bit of ``collect`` for openings without an answer.
UNANSWERED = 1 << VERDICTS.index(Verdict.UNANSWERED)
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
#: Phases in which the SYNs have crossed, and neither is acknowledged (bits).
UNACKED_PHASES = 1 << Phase.CROSSED | 1 << Phase.SPLIT_CROSSED
#: Phases before any answer, in which an answer from elsewhere counts (bits).
UNANSWERED_PHASES = 1 << Phase.SYN | 1 << Phase.SELF_SYN
#: Verdicts of openings that end in such a phase, and in no other (bits, by their places in VERDICTS).
UNANSWERED_VERDICTS = UNANSWERED | 1 << VERDICTS.index(Verdict.SELF_SYN)
#: Phases in which the numbers of both ends are known (bits).
TRACKED_PHASES = CROSSED_PHASES | 1 << Phase.SYN_ACKED | 1 << Phase.THREE_WAY


class Segment:
    """One TCP segment on its way from the decoder to the table. A is the lower of its endpoints, whichever sent it.

    ``ip`` and ``at`` are the places of the IP and of the TCP header in the octets being read, ``size`` the octets of
    the TCP header that are there, ``data`` octets of payload on the wire, ``time`` nanoseconds since the epoch.
    ``from_a`` says whether A sent it, ``equal`` whether both endpoints are one, ``wired`` whether a segment with equal
    endpoints came in a frame with Ethernet addresses. An address is two 64-bit words; of IPv4 the first is zero, and
    ``six`` tells it from IPv6. ``ends`` and ``digest`` are hashes, of the 4-tuple and of the headers; ``slot`` is
    where the conversation most probably is, ``duplicate`` how many frames ago the packet was captured already, or 0.

    ``place`` is a 32-bit hash of where the packet was seen (interface, direction, link addresses, headers around it,
    TTL), ``identification`` the IPv4 identification, 0 where there is none.
    """

    __slots__ = (
        *("a_high", "a_low", "b_high", "b_low", "a_port", "b_port", "six"),
        *("ip", "at", "size", "data", "time", "frame", "seq", "ack", "flags", "window"),
        *("from_a", "equal", "wired", "duplicate", "ends", "digest", "slot", "place", "identification"),
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
    duplicate: int
    ends: int
    digest: int
    slot: int
    place: int
    identification: int

    def __init__(self) -> None:
        for name in Segment.__slots__:  # an ICMP error's has no more than a 4-tuple, a number and a time
            setattr(self, name, 0)


class Cursor:
    """How far a frame's headers are read: the next one begins at ``p``, the captured octets end before ``end``.

    On the wire the packet ended before ``stop``; ``cut`` says whether the end of the frame was not captured. ``kind``
    is what comes next, as an EtherType. ``ip`` is the place of the innermost IP header so far, ``six`` tells its
    version, ``protocol`` what it carries, ``source`` and ``target`` are the places of its addresses (of a source route
    the last one), ``fragment`` tells a first fragment. While it is only a guess that a tunnel follows, ``guess`` is the
    kind as which the frame counts if no IP header proves the tunnel; else it is 0. ``place`` becomes a hash of where
    the packet was seen (see Segment), as the headers are read.
    """

    __slots__ = (
        *("end", "ip", "kind", "p", "place", "protocol", "six", "stop"),
        *("source", "target", "fragment", "guess", "cut"),
    )
    p: int
    end: int
    stop: int
    kind: int
    ip: int
    six: int
    protocol: int
    place: int
    source: int
    target: int
    fragment: int
    guess: int
    cut: int


class Slot:
    """What is remembered of one conversation, and of the opening that is under way in it.

    The first end is the one that sent the SYN; ``isn`` is its initial sequence number, ``isn_second`` that of the
    other end. ``next_first`` and ``next_second`` are the numbers after the last octet that each end sent, the
    ``acked_`` fields the highest that it acknowledged, the ``edge_`` fields the right edge of the window that it
    offered, the ``scale_`` fields the window scale option of its SYN and 1, 0 where that has none (RFC 7323).
    Where both ends are one, the first end's fields are the socket's, and ``next_second`` is the number up to which all
    that it sent was captured. ``another`` is the ISN of another SYN-ACK of the second end.
    ``reach`` is how far from ISN + 1 the first end's next segment may begin: what the SYN-ACK acknowledges and offers.
    ``time`` (nanoseconds) and ``frame`` are those of the first SYN, ``header`` the first ``size`` octets of its TCP
    header, ``identification`` its IPv4 identification, ``syn_data`` and ``syn_data_second`` the octets of data in the
    SYNs. Where segments are kept, ``refused`` attempts at its destination came before it, the first at ``since``.
    ``ended_at`` is the time of the FIN where both ends are one.

    The ``early`` fields hold a SYN-ACK that fits nothing yet, since its SYN may have been captured late: the ISN that
    it acknowledges (with the data in that SYN), its own number, its time, and ``end`` and ``reach`` as above;
    ``before`` is the phase before it.
    """

    __slots__ = (
        *("a_high", "a_low", "b_high", "b_low", "a_port", "b_port", "six", "phase", "before", "size"),
        *("scale_first", "scale_second", "identification"),
        *("flags", "retransmissions", "isn", "isn_second", "next_first", "next_second", "reach", "another"),
        *("acked_first", "acked_second", "edge_first", "edge_second", "syn_data", "syn_data_second"),
        *("early_isn", "early_seq", "early_end", "early_reach", "time", "frame", "refused", "since", "early_time"),
        "ended_at",
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
    next_first: int
    next_second: int
    reach: int
    another: int
    acked_first: int
    acked_second: int
    edge_first: int
    edge_second: int
    scale_first: int
    scale_second: int
    identification: int
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
    ended_at: int
    header: bytes

    def __init__(self) -> None:
        self.a_high = self.a_low = self.b_high = self.b_low = self.a_port = self.b_port = self.six = self.phase = 0
        self.before = self.size = self.flags = self.retransmissions = self.isn = self.isn_second = self.next_first = 0
        self.next_second = self.reach = self.another = self.acked_first = self.acked_second = self.edge_first = 0
        self.edge_second = self.scale_first = self.scale_second = self.syn_data = self.syn_data_second = 0
        self.early_isn = self.early_seq = self.early_end = self.early_reach = self.time = self.frame = 0
        self.refused = self.since = self.early_time = self.ended_at = 0
        self.header = b""


#: The fields of a Slot as the C struct of layout.pxd has them in memory, for parts that go to another process.
SLOT = struct.Struct("=4Q2H4B6I2Q2H2BH60sI2Q6I2Q3I36x")
SLOT_FIELDS = (
    *("a_high", "a_low", "b_high", "b_low", "a_port", "b_port", "six", "phase", "before", "size"),
    *("flags", "retransmissions", "isn", "isn_second", "next_first", "reach", "time", "frame"),
    *("syn_data", "syn_data_second", "scale_first", "scale_second", "identification"),
    *("header", "early_isn", "refused", "since"),
    *("next_second", "another", "acked_first", "acked_second", "edge_first", "edge_second"),
    *("early_time", "ended_at", "early_seq", "early_end", "early_reach"),
)


class Entry:
    """What a part cannot decide without what came before it, or what may be copied in the part after it.

    ``kind`` (L_...) says what it is about: a segment, with the fields of a Segment and ``octets`` (its IP header, TCP
    header at TCP_AT), or only the 4-tuple. ``data`` is how many segments were left out where it is about those.
    ``refused_a`` and ``refused_b`` are how many attempts at its two ends the part had seen refused by then.
    ``duplicate`` says that the part took a segment for one: 1, or 2 if it counted it as one.
    """

    __slots__ = (
        *("a_high", "a_low", "b_high", "b_low", "time", "frame", "data", "refused_a", "refused_b", "place"),
        *("identification", "a_port", "b_port", "six", "from_a", "wired", "kind", "size", "duplicate", "octets"),
    )
    a_high: int
    a_low: int
    b_high: int
    b_low: int
    time: int
    frame: int
    data: int
    refused_a: int
    refused_b: int
    place: int
    identification: int
    a_port: int
    b_port: int
    six: int
    from_a: bool
    wired: bool
    kind: int
    size: int
    duplicate: int
    octets: bytes

    def __init__(self) -> None:
        self.a_high = self.a_low = self.b_high = self.b_low = self.time = self.frame = self.data = self.refused_a = 0
        self.refused_b = self.place = self.identification = self.a_port = self.b_port = self.six = self.kind = 0
        self.size = self.duplicate = 0
        self.from_a = self.wired = False
        self.octets = b""


#: The fields of an Entry as the C struct has them.
ENTRY = struct.Struct("=4Qq4QI3H6B104s")


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
    """An opening as the engine hands it to the report.

    ``verdict`` is a place in VERDICTS; ``one`` and ``two`` are the packed addresses of the first and the second end.
    ``refused`` attempts at its destination came before it, the first at ``since``. ``omitted`` segments were left out
    of ``kept``. ``wired`` says whether it came over a real link (known of those to itself only). ``evidence`` is a
    place in EVIDENCE, -1 if it is no self-connect; of a standing one the ISN is -1. Where ``answer`` is not 0, a
    segment of another 4-tuple answered its SYN, in that frame and from the endpoint ``other`` and ``other_port``.
    ``translated`` is the first frame of the opening on the other side of a translation, or 0; ``error`` the ICMP error
    that refused it: frame, time, sender, type, code. ``misdirected`` is a segment that acknowledges its SYN and was
    sent to another port of the client: frame, packed address and port that it came from, the port it was sent to.
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
    evidence: int = -1
    answer: int = 0
    other: bytes = b""
    other_port: int = 0
    translated: int = 0
    error: tuple[int, int, bytes, int, int] | None = None
    misdirected: tuple[int, bytes, int, int] | None = None
