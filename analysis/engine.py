"""The engine: capture records in, verdicts out. One pass, one decoder, bounded memory.

    record -> frame -> innermost IP packet -> TCP segment -> the opening of its 4-tuple -> next phase

This file is ordinary Python and runs as it is. Where a C compiler is found, Cython compiles it with the C types
that ``engine.pxd`` lists: the same statements, some fifty times faster. So it is written plainly: integers and
arrays, no object on the way of a packet. What the phases mean stands in verdicts.py; this file knows how to
find a segment in a frame, and an opening in a table.

A conversation is a *slot*: ``WORDS`` 64-bit words in ``self.m``, and its first SYN's header in ``self.raw``. Slots
are handed out in turn; when all are in use the oldest one goes (with a second chance for those touched since),
but one whose two endpoints are equal stays while fewer than half of the slots are such.
"""

from __future__ import annotations

import os
import struct
from array import array

import cython

from .memory import mapping
from .model import Octets, Refusals
from .verdicts import VERDICTS, Event, Phase, compiled_rules, compiled_verdicts

#: Whether this is the compiled engine.
COMPILED: bool = cython.compiled

#: What can break a file: the run ends there, and what came before it counts. Braces take the number that was claimed.
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


# Numbers. Compiled, they are C's constants: setup.py reads them here and writes them for engine.pxd to include.
if not cython.compiled:
    #: A longer record is damage, as it is for libpcap (MAXIMUM_SNAPLEN), and so is a longer pcapng block.
    MAX_RECORD = 262_144
    MAX_BLOCK = 16 << 20

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

    #: How many headers may be stacked before the TCP header.
    MAX_DEPTH = 32

    # What follows a header, as an EtherType; the last two stand for headers that have none.
    IPV4 = 0x0800
    IPV6 = 0x86DD
    MPLS = 0x8847
    ETHERNET = 0x6558  # transparent Ethernet bridging
    PPP = 0x880B
    BY_NIBBLE = 0x10000  # IP of the version that its first four bits give
    NOT_IP = 0x10001

    # The words of a slot.
    WORDS = 16
    A_HIGH = 0
    A_LOW = 1
    B_HIGH = 2
    B_LOW = 3
    PORTS = 4  # lower endpoint's port << 16 | other's | IP version << 32
    STATE = 5  # phase | flags | SYN retransmissions << 32
    ISN = 6  # the first end's | the second end's << 32
    END = 7  # the sequence number after the second end's last octet | ISN of another SYN-ACK of its << 32
    TIME = 8  # of the first SYN
    FRAME = 9
    SIZE = 10  # octets of header remembered | data in the first SYN << 8 | in the second << 24 | reach << 40
    REFUSED = 11  # attempts at the same destination refused before
    SINCE = 12  # time of the first of those
    # A SYN-ACK that fits nothing yet: its SYN may have been captured late.
    EARLY_ISN = 13  # of the SYN that it acknowledges (with the data in it) | its own << 32
    EARLY_TIME = 14
    EARLY_END = 15  # as END | reach << 40
    # The reach is how far from ISN + 1 the first end's next segment may begin: what the SYN-ACK acknowledges
    # and offers.

    # The words of a segment that waits for its turn: where its header is, the parameters of meet() of these names ...
    WAITING = 13
    W_AT = 0
    W_SHAPE = 1  # flags | from A << 8 | wired << 9 | window << 16 | octets of header << 32
    W_DATA = 2
    W_TIME = 3
    W_A_HIGH = 4
    W_A_LOW = 5
    W_B_HIGH = 6
    W_B_LOW = 7
    W_PORTS = 8
    W_TAG = 9
    W_DIGEST = 10
    W_NUMBERS = 11  # seq | ack << 32
    W_FRAME = 12  # ... and the number of its frame
    QUEUE = 32  # segments that wait at most

    # Flags in the STATE word, above the phase.
    FIRST_IS_B = 1 << 8
    ENDED = 1 << 9
    FIN_A = 1 << 10
    FIN_B = 1 << 11
    TOUCHED = 1 << 12
    KEPT = 1 << 13
    COUNTED = 1 << 14  # its verdict is in the counts already
    MID = 1 << 15  # midstream only for the sake of an early SYN-ACK
    EQUAL = 1 << 16
    EARLY = 1 << 17  # the EARLY words hold a SYN-ACK ...
    EARLY_FROM_A = 1 << 18  # ... which A sent ...
    EARLY_ACKED = 1 << 19  # ... and the other end has acknowledged
    ANOTHER = 1 << 20  # the END word holds another ISN
    OWN = 1 << 21  # the first end acknowledged a SYN that was not captured so far: the ISN word has its ISN
    WIRED = 1 << 22  # its SYN came in an Ethernet frame with addresses: over a real link
    BEFORE = 24  # the phase before the early SYN-ACK, 5 bits from here
    HEAD = 1 << 29  # of a part: the state depends on what came before it (see head())
    RETRANSMISSION = 1 << 32

    # Parts of the SIZE word.
    DATA_SECOND = 0xFFFF000000
    BELOW_REACH = 0xFFFFFFFFFF
    IN_USE = 0x10000000000  # bit 40 of the third word of a place

    LEAST = 4096  # places in the index, to begin with
    AHEAD = 16  # slots
    KEYS = 16
    RAW = 64  # octets of self.raw to a slot
    LOW24 = 0xFFFFFF
    LOW32 = 0xFFFFFFFF
    HALF32 = 0x80000000
    LOW48 = 0xFFFFFFFFFFFF
    LOW64 = 0xFFFFFFFFFFFFFFFF
    MIX1 = 0x9E3779B97F4A7C15
    MIX2 = 0xC2B2AE3D27D4EB4F
    SECOND = 1_000_000_000
    MILLISECOND = 1_000_000

    #: Words of an interface: link type, snap length, if_tsresol, if_tsoffset.
    FACE = 4
    #: Interfaces of a section, and link types that are counted by their number, at most.
    MAX_FACES = 65_536
    MAX_LINKS = 16
    LAST_SECOND = 9_000_000_000

    LONGEST = 80  # octets of an IPv4 and a TCP header: longer packets are remembered by a hash (interpreted)
    TWINS = 65_536  # frames remembered in the search for doubles ...
    NEAR = 2048  # ... which lie less than so many frames apart; with 32 places each, next to none is crowded out
    PLACES = 1024  # destinations whose refused attempts are counted ...
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

    FIN = 0x01
    SYN = 0x02
    RST = 0x04
    ACK = 0x10

#: Numbers that parts.py needs of those above, which are no variables when compiled.
NUMBERS = (NEAR, WALK, STATE, FRAME, REFUSED, SINCE, KEPT, FIRST_IS_B)

#: What a part cannot decide without what came before it: frame, time, the five words of the 4-tuple, from A | wired
#: << 1, octets of data, octets of TCP header, the packet up to the end of that (without what is before the TCP header
#: unless doubles are to be looked for still), refused attempts at A and at B by then. Without a header: from here on
#: the 4-tuple is independent; header -1: so many octets of data are so many segments that cannot change anything.
Undecided = tuple[int, int, int, int, int, int, int, int, int, int, bytes, int, int]

#: A segment as it is kept: frame, time, whether the first endpoint sent it, TCP header, octets of data.
Kept = tuple[int, int, bool, bytes, int]
#: An opening as it is handed on: place of the verdict, first end's packed address and port, second end's, ISN, frame,
#: time, SYN retransmissions, refused attempts before, time of the first of those, segments left out, whether it came
#: over a real link (known of those to itself only), segments.
Finished = tuple[int, bytes, int, bytes, int, int, int, int, int, int, int, int, bool, list[Kept]]

RECORD_LITTLE = struct.Struct("<4I").unpack_from
COMMON = struct.Struct(">12x3sxH2xI2x12sIIBBH").unpack_from
WAY_4 = struct.Struct(">3I").pack
WAY_6 = struct.Struct(">4QI").pack
RECORD_BIG = struct.Struct(">4I").unpack_from


def address(words: memoryview) -> memoryview:
    """Where *words* begin in memory (compiled only)."""
    view = words
    return cython.address(view[0])  # type: ignore[no-any-return]


# Integers out of captured octets; the caller has checked that they are there. Compiled, each is one load (engine.pxd).


def u16(d: Octets, i: int) -> int:
    """The two octets at *i*, big-endian."""
    if cython.compiled:
        return load_u16(d + i)  # type: ignore[name-defined, operator, no-any-return, unused-ignore]  # noqa: F821 - engine.pxd has it
    return d[i] << 8 | d[i + 1]


def u32(d: Octets, i: int) -> int:
    """The four octets at *i*, big-endian."""
    if cython.compiled:
        return load_u32(d + i)  # type: ignore[name-defined, operator, no-any-return, unused-ignore]  # noqa: F821 - engine.pxd has it
    return d[i] << 24 | d[i + 1] << 16 | d[i + 2] << 8 | d[i + 3]


def l16(d: Octets, i: int) -> int:
    """The two octets at *i*, little-endian."""
    if cython.compiled:
        return load_l16(d + i)  # type: ignore[name-defined, operator, no-any-return, unused-ignore]  # noqa: F821 - engine.pxd has it
    return d[i] | d[i + 1] << 8


def l32(d: Octets, i: int) -> int:
    """The four octets at *i*, little-endian."""
    if cython.compiled:
        return load_l32(d + i)  # type: ignore[name-defined, operator, no-any-return, unused-ignore]  # noqa: F821 - engine.pxd has it
    return d[i] | d[i + 1] << 8 | d[i + 2] << 16 | d[i + 3] << 24


def split(steps: memoryview, ports: array[int], times: array[int]) -> None:
    """Take apart what is remembered of attempts: the port below, the time above."""
    for place in range(len(steps)):
        ports[place] = steps[place] & 0xFFFF
        times[place] = steps[place] >> 16


class Engine:
    """Steps the verdict rules over the packets of one capture.

    *capacity* is the number of conversations remembered at one time. *collect* has a bit for each verdict (by its
    place in VERDICTS) whose openings come back in ``finished``, the first *most* of each; *keep* a bit for each
    phase from which segments are kept for that. With *equal_only* nothing but segments whose two endpoints are
    equal is looked at; with *port* and *host* (a packed address) nothing but segments to or from there.
    """

    def __init__(
        self, capacity: int, collect: int, most: int, keep: int, equal_only: bool, port: int, host: bytes
    ) -> None:
        self.equal_only = equal_only
        self.port = port
        self.host_set = len(host) > 0
        number = int.from_bytes(host, "big")
        self.host_low = number & LOW64
        self.host_high = number >> 64
        self.collect = collect
        self.most = most
        self.collected = memoryview(bytearray(8 * len(VERDICTS))).cast("Q")
        self.keep_phases = keep
        self.capacity = capacity
        self.used = self.hand = self.equals = self.walk_count = self.early_count = self.kept_count = 0
        size = 2
        while size < 4 * capacity:
            size *= 2
        self.mask = min(size, LEAST) - 1
        # Anonymous mappings are zero, and cost memory only where they are touched. The tables are touched at random:
        # huge pages spare the processor the search for the page.
        self.memory = [
            memoryview(mapping(8 * words)).cast("Q")
            for words in (
                WORDS * capacity,
                2 * TWINS,
                8 * PLACES,
                WALKS * WALK,
                size if COMPILED else 1,
                capacity if COMPILED else 1,  # the tag of each slot, by which it is found in the index
                QUEUE * WAITING,
            )
        ]
        self.headers = memoryview(mapping(RAW * capacity))
        if cython.compiled:
            self.m = address(self.memory[0])
            self.twins = address(self.memory[1])
            self.places = address(self.memory[2])
            self.walked = address(self.memory[3])
            self.index = address(self.memory[4])
            self.tags = address(self.memory[5])
            self.queue = address(self.memory[6])
            self.raw = cython.address(self.headers[0])
        else:
            self.m, self.twins, self.places, self.walked, self.index, self.tags, self.queue = self.memory
            self.raw = self.headers
        self.lookup: dict[bytes, int] = {}  # each way of a conversation: slot << 2 | to itself << 1 | from A
        self.seed = int.from_bytes(os.urandom(8), "little")
        self.keys = memoryview(bytearray(os.urandom(8 * KEYS))).cast("Q")
        self.rules = compiled_rules()
        self.verdict_of = compiled_verdicts()
        self.counts = memoryview(bytearray(8 * len(VERDICTS))).cast("Q")
        self.reasons = memoryview(bytearray(8 * len(REASONS))).cast("Q")
        self.unknown_links: dict[int, int] = {}
        self.kept: dict[int, list[Kept]] = {}
        self.early: dict[int, list[Kept]] = {}
        self.recent: dict[int, int] = {}
        self.older: dict[int, int] = {}
        self.times = [] if COMPILED else [0] * NEAR
        self.place_of: dict[tuple[int, int, int], int] = {}
        self.omitted: dict[int, int] = {}
        self.finished: list[Finished] = []
        self.packets = self.number = self.segments = self.duplicates = 0
        self.waiting = 0
        self.apart = self.heads = self.unsure = False
        self.zone = 0
        self.mark_a = self.mark_b = 0
        self.log: list[Undecided] = []
        self.ring: dict[int, tuple[int, int, bytes]] = {}
        self.refusals: dict[tuple[int, int, int], Refusals] = {}
        #: Refused attempts by destination that were added since parts.py asked for them.
        self.fresh: dict[tuple[int, int, int], list[tuple[int, int, int]]] | None = None
        self.finished_at: list[int] = []
        self.midstream = self.midstream_to_itself = self.evicted = 0
        # Where the last walk stopped, how many octets it wants from there, and what broke there.
        self.position = self.need = 0
        self.broken = self.claimed = 0
        # The shape of the file.
        self.big = False
        self.header = 16
        self.scale = 1000
        self.link = 1
        self.record = RECORD_LITTLE
        self.faces = memoryview(bytearray(8 * FACE)).cast("q")
        self.face_count = 0
        self.face_room = 1

    # -- files -----------------------------------------------------------------------------------------------------

    @property
    def damage(self) -> str:
        """What broke the file where the last walk stopped; empty where nothing did."""
        return DAMAGES[self.broken].format(self.claimed)

    def next_file(self) -> None:
        """What comes next is the beginning of another file."""
        self.broken = 0
        self.face_count = 0

    def begin_pcap(self, big: bool, header: int, scale: int, link: int) -> None:
        """Expect pcap records: byte order, octets of a record header, nanoseconds to a tick, link type."""
        self.big = big
        self.header = header
        self.scale = scale
        self.link = link
        self.record = RECORD_BIG if big else RECORD_LITTLE

    def pcap(self, octets: Octets, i: int, end: int) -> None:
        """Walk the whole pcap records in octets[i:end], which is not empty."""
        d = cython.address(octets[0]) if cython.compiled else bytes(octets)
        with cython.nogil:
            self.walk_pcap(d, i, end)
            self.drain(d)

    def walk_pcap(self, d: Octets, i: int, end: int) -> None:
        """Do so, while other threads run."""
        header = self.header
        link = self.link
        self.need = header
        while end - i >= header:
            if not cython.compiled:
                seconds, ticks, size, wire = self.record(d, i)
            elif self.big:
                seconds, ticks, size, wire = u32(d, i), u32(d, i + 4), u32(d, i + 8), u32(d, i + 12)
            else:
                seconds, ticks, size, wire = l32(d, i), l32(d, i + 4), l32(d, i + 8), l32(d, i + 12)
            if size > MAX_RECORD:
                self.broken = D_RECORD
                self.claimed = size
                break
            p = i + header
            if end - p < size:
                self.need = header + size
                break
            i = p + size
            self.frame(d, p, i, p + wire, link, seconds * SECOND + ticks * self.scale)
        self.position = i

    def pcapng(self, octets: Octets, i: int, end: int) -> None:
        """Walk the whole pcapng blocks in octets[i:end], which is not empty."""
        d = cython.address(octets[0]) if cython.compiled else bytes(octets)
        with cython.nogil:
            self.walk_pcapng(d, i, end)
            self.drain(d)

    def walk_pcapng(self, d: Octets, i: int, end: int) -> None:
        """Do so, while other threads run."""
        while True:
            self.need = 12
            if end - i < 12:
                break
            kind = self.order32(d, i)
            if kind == 0x0A0D0D0A:
                if u32(d, i + 8) == 0x1A2B3C4D:
                    self.big = True
                elif l32(d, i + 8) == 0x1A2B3C4D:
                    self.big = False
                else:
                    self.broken = D_ORDER
                    break
            size = self.order32(d, i + 4)
            if size < 12 or size % 4 or size > MAX_BLOCK:
                self.broken = D_BLOCK
                self.claimed = size
                break
            if end - i < size:
                self.need = size
                break
            if self.order32(d, i + size - 4) != size:
                self.broken = D_LENGTHS
                break
            if not self.block(d, kind, i + 8, i + size - 4):
                break
            i += size
        self.position = i

    def order16(self, d: Octets, i: int) -> int:
        """The 16-bit integer at *i* in the section's byte order."""
        return u16(d, i) if self.big else l16(d, i)

    def order32(self, d: Octets, i: int) -> int:
        """The 32-bit integer at *i* in the section's byte order."""
        return u32(d, i) if self.big else l32(d, i)

    def block(self, d: Octets, kind: int, p: int, end: int) -> bool:
        """One pcapng block with the body d[p:end]; False where it is damaged."""
        if kind == 6 or kind == 2:  # enhanced; the obsolete one differs in its first field only
            if end - p < 20:
                self.broken = D_PACKET_HEADER
                return False
            face = self.order32(d, p) if kind == 6 else self.order16(d, p)
            size = self.order32(d, p + 12)
            wire = self.order32(d, p + 16)
            ticks = self.order32(d, p + 4) << 32 | self.order32(d, p + 8)
            p += 20
        elif kind == 3:
            if end - p < 4:
                self.broken = D_PACKET_HEADER
                return False
            face = 0
            wire = self.order32(d, p)
            ticks = 0
            p += 4
            size = min(wire, end - p)
            if self.face_count and self.faces[1]:
                size = min(size, self.faces[1])
        else:
            if kind == 0x0A0D0D0A:
                self.face_count = 0
                if end - p < 16 or self.order16(d, p + 4) != 1 or self.order16(d, p + 6) & 0xFFFD:
                    self.broken = D_VERSION
                    return False
            elif kind == 1:
                if end - p < 8:
                    self.broken = D_INTERFACE
                    return False
                if self.face_count == MAX_FACES:
                    self.broken = D_INTERFACES
                    return False
                self.describe(d, p, end)
            return self.broken == 0
        if face >= self.face_count:
            self.broken = D_UNKNOWN_INTERFACE
            self.claimed = face
            return False
        if size > end - p or size > MAX_RECORD:
            self.broken = D_PACKET
            self.claimed = size
            return False
        face *= FACE
        time = 0 if kind == 3 else self.clock(ticks, self.faces[face + 2], self.faces[face + 3])
        self.frame(d, p, p + size, p + wire, self.faces[face], time)
        return True

    def clock(self, ticks: int, resolution: int, offset: int) -> int:
        """A pcapng time in nanoseconds, between the epoch and the year 2255; *resolution* as if_tsresol has it."""
        if resolution & 0x80:
            bits = resolution & 0x7F
            seconds = ticks >> bits if bits < 64 else 0
            rest = ticks - (seconds << bits) if bits < 64 else ticks
            if bits > 34:  # so that rest * 10**9 fits 64 bits
                rest = rest >> (bits - 34) if bits < 98 else 0
                bits = 34
            rest = rest * SECOND >> bits
        else:
            unit = 1
            bits = min(resolution, 19)
            while bits:
                unit *= 10
                bits -= 1
            seconds = ticks // unit if resolution < 20 else 0
            rest = ticks - seconds * unit if resolution < 20 else 0
            if unit <= SECOND:
                rest *= SECOND // unit
            else:
                rest //= unit // SECOND
        whole = min(seconds, LAST_SECOND)
        whole += offset
        return whole * SECOND + rest if 0 <= whole <= LAST_SECOND else 0

    def describe(self, d: Octets, p: int, end: int) -> None:
        """An interface description block: link type, snap length, if_tsresol, if_tsoffset."""
        base = self.face_count * FACE
        if self.face_count == self.face_room:
            self.make_room()
        self.face_count += 1
        self.faces[base] = self.order16(d, p)
        self.faces[base + 1] = self.order32(d, p + 4)
        self.faces[base + 2] = 6
        self.faces[base + 3] = 0
        p += 8
        while end - p >= 4:
            code = self.order16(d, p)
            size = self.order16(d, p + 2)
            p += 4
            if size > end - p:
                self.broken = D_OPTION
                self.claimed = size
                break
            if code == 0:
                break
            if code == 9 and size == 1:
                self.faces[base + 2] = d[p]
            elif code == 14 and size == 8:
                high = self.order32(d, p) if self.big else self.order32(d, p + 4)
                low = self.order32(d, p + 4) if self.big else self.order32(d, p)
                # A signed number of seconds; one that no clock can show is nonsense, and counts for none.
                if high <= 2:
                    self.faces[base + 3] = high << 32 | low
                elif high >= LOW32 - 2:
                    self.faces[base + 3] = low - ((LOW32 + 1 - high) << 32)
            p += (size + 3) & ~3

    def make_room(self) -> None:
        """Room for twice as many interfaces."""
        grown = memoryview(bytearray(2 * 8 * FACE * self.face_room)).cast("q")
        grown[: FACE * self.face_room] = self.faces
        self.faces = grown
        self.face_room *= 2

    # -- frames ----------------------------------------------------------------------------------------------------

    def frame(self, d: Octets, p: int, end: int, stop: int, link: int, time: int) -> int:
        """One frame: captured as d[p:end], *stop* - p octets long on the wire, *time* in nanoseconds."""
        self.packets = self.number = self.packets + 1
        if link == 1 and end - p >= 54 and (self.equal_only or not cython.compiled):
            # What most captures are full of (Ethernet, IPv4, TCP, whole) needs no search.
            if cython.compiled:
                size = d[p + 46] >> 4
                total = u16(d, p + 16)
                if (
                    u16(d, p + 12) == IPV4
                    and d[p + 14] == 0x45
                    and d[p + 23] == 6
                    and not u16(d, p + 20) & 0x1FFF
                    and u16(d, p + 34) != u16(d, p + 36)
                    and size >= 5
                    and total >= 20 + size * 4
                ):
                    self.segments += 1
                    return FOUND
            else:
                kind, total, protocol, there, seq, ack, size, flags, window = COMMON(d, p)
                size = size >> 4 << 2
                data = total - 20 - size
                # EtherType, IP version and header length; no fragment after the first, TCP.
                if (
                    kind == b"\x08\0E"
                    and protocol & 0x1FFF00FF == 6
                    and size >= 20
                    and data >= 0
                    and end - p >= 34 + size
                ):
                    way = self.lookup.get(there, 2)
                    if not way & 2 and self.number >= self.zone:
                        packet = d[p + 14 : p + 34 + size]
                        if self.twin(packet, time):  # type: ignore[arg-type]  # see digest()
                            self.duplicates += 1
                            return FOUND
                        if self.heads:
                            self.ring[self.number % NEAR] = (self.number, time, packet)  # type: ignore[assignment]  # octets here
                        self.segments += 1
                        return self.step(
                            way >> 2,
                            d,
                            p + 34,
                            size,
                            data,
                            time,
                            seq,
                            ack,
                            flags,
                            window,
                            way & 1 != 0,
                            False,
                        )
                    if self.equal_only and there[8:10] != there[10:]:
                        self.segments += 1
                        return FOUND
        self.frame_start = p
        self.frame_link = link
        found = self.decode(d, p, end, stop, link, time)
        if found >= 0:
            self.reasons[found] += 1
        elif found == UNKNOWN_LINK:
            self.note_link(link)
        return found

    def note_link(self, link: int) -> None:
        """Count a frame of a link type that is not known here; from MAX_LINKS of them on, all others as -1."""
        if len(self.unknown_links) >= MAX_LINKS and link not in self.unknown_links:
            link = -1
        self.unknown_links[link] = self.unknown_links.get(link, 0) + 1

    def decode(self, d: Octets, p: int, end: int, stop: int, link: int, time: int) -> int:
        """Find the innermost IP packet, and hand its TCP segment on; the place of the reason where there is none."""
        if link == 1:
            if end - p < 14:
                return R_LINK
            kind = u16(d, p + 12)
            p += 14
        elif link == 101 or link == 12 or link == 14:
            kind = BY_NIBBLE
        elif link == 113:  # Linux cooked v1
            if end - p < 16:
                return R_LINK
            kind = u16(d, p + 14)
            p += 16
        elif link == 276:  # Linux cooked v2
            if end - p < 20:
                return R_LINK
            kind = u16(d, p)
            p += 20
        elif link == 0 or link == 108:  # BSD loopback: the address family, in the byte order of either machine
            if end - p < 4:
                return R_LINK
            family = u32(d, p)
            if family > 0xFFFF:
                family = l32(d, p)
            kind = (
                IPV4
                if family == 2
                else IPV6
                if family == 24 or family == 28 or family == 30 or family == 10
                else NOT_IP
            )
            p += 4
        elif link == 228:
            kind = IPV4
        elif link == 229:
            kind = IPV6
        elif link == 9 or link == 50:
            kind = PPP
            if end - p >= 4 and (d[p] == 0x0F or d[p] == 0x8F) and d[p + 1] == 0:  # Cisco HDLC framing
                kind = u16(d, p + 2)
                p += 4
        elif link == 51:
            kind = 0x8864
        elif link == 104:
            if end - p < 4:
                return R_LINK
            kind = u16(d, p + 2)
            p += 4
        else:
            return UNKNOWN_LINK

        depth = 0
        while depth < MAX_DEPTH:
            depth += 1
            if kind == BY_NIBBLE:
                if end <= p:
                    return R_LINK
                kind = IPV4 if d[p] >> 4 == 4 else IPV6 if d[p] >> 4 == 6 else NOT_IP
            elif kind == IPV4 and end > p and d[p] >> 4 == 6:  # wrong, but clear, and Wireshark sees it so, too
                kind = IPV6
            if kind == IPV4:
                if end - p < 20:
                    return R_IP4_CUT
                size = (d[p] & 15) * 4
                total = u16(d, p + 2)
                if total == 0:  # left empty for segmentation offload
                    total = stop - p
                if d[p] >> 4 != 4 or size < 20 or total < size:
                    return R_IP4_BAD
                if u16(d, p + 6) & 0x1FFF:
                    return R_FRAGMENT
                stop = p + total
                if end > stop:
                    end = stop
                if end - p < size:
                    return R_IP4_CUT
                ip = p
                six = 0
                protocol = d[p + 9]
                p += size
            elif kind == IPV6:
                if end - p < 40:
                    return R_IP6_CUT
                if d[p] >> 4 != 6:
                    return R_IP6_BAD
                total = u16(d, p + 4)
                if total:  # else a jumbogram, or segmentation offload
                    stop = p + 40 + total
                    if end > stop:
                        end = stop
                ip = p
                six = 1
                protocol = d[p + 6]
                p += 40
            elif kind == 0x8100 or kind == 0x88A8 or kind == 0x9100 or kind == 0x9200:
                if end - p < 4:
                    return R_TAG
                kind = u16(d, p + 2)
                p += 4
                continue
            elif kind == MPLS or kind == 0x8848:
                if end - p < 4:
                    return R_TAG
                if d[p + 2] & 1:  # the bottom of the stack
                    kind = BY_NIBBLE
                p += 4
                continue
            elif kind == 0x8864:
                if end - p < 6:
                    return R_TAG
                kind = PPP
                p += 6
                continue
            elif kind == PPP:
                if end - p >= 2 and d[p] == 0xFF and d[p + 1] == 3:
                    p += 2
                if end - p < 2:
                    return R_TAG
                if d[p] & 1:  # compressed protocol field (RFC 1661 6.5)
                    protocol = d[p]
                    p += 1
                else:
                    protocol = u16(d, p)
                    p += 2
                kind = IPV4 if protocol == 0x21 else IPV6 if protocol == 0x57 else MPLS if protocol == 0x281 else NOT_IP
                continue
            elif kind == ETHERNET:
                if end - p < 14:
                    return R_LINK
                kind = u16(d, p + 12)
                p += 14
                continue
            elif kind < 0x600:  # IEEE 802.3 length: LLC follows
                if end - p < 8 or d[p] != 0xAA or d[p + 1] != 0xAA or d[p + 3] or d[p + 4] or d[p + 5]:
                    return OTHER
                kind = u16(d, p + 6)
                p += 8
                if kind < 0x600:
                    return OTHER
                continue
            else:
                return OTHER

            while protocol == 51 or (
                six
                and (
                    protocol == 0
                    or protocol == 43
                    or protocol == 44
                    or protocol == 60
                    or protocol == 135
                    or protocol == 139
                    or protocol == 140
                )
            ):
                if end - p < 8:
                    return R_IP6_EXT
                if protocol == 44:
                    if u16(d, p + 2) & 0xFFF8:
                        return R_FRAGMENT
                    size = 8
                elif protocol == 51:
                    size = (d[p + 1] + 2) * 4
                else:
                    size = (d[p + 1] + 1) * 8
                protocol = d[p]
                p += size
                if p > end:
                    return R_IP6_EXT
            if protocol == 6:
                return self.segment(d, ip, six, p, end, stop, time)
            if protocol == 4:
                kind = IPV4
            elif protocol == 41:
                kind = IPV6
            elif protocol == 137:
                kind = MPLS
            elif protocol == 47:
                if end - p < 4:
                    return R_GRE
                kind = u16(d, p + 2)
                if d[p + 1] & 7 == 0 and not d[p] & 0x40:  # RFC 2784, 2890
                    size = 4 + (d[p] >> 7) * 4 + (d[p] >> 5 & 1) * 4 + (d[p] >> 4 & 1) * 4
                    if kind == 0x88BE:  # ERSPAN: type II has a header where the sequence number is present
                        size += (d[p] >> 4 & 1) * 8
                        kind = ETHERNET
                elif d[p + 1] & 7 == 1 and kind == PPP:  # RFC 2637
                    size = 8 + (d[p] >> 4 & 1) * 4 + (d[p + 1] >> 7) * 4
                else:
                    return R_GRE
                p += size
                if p > end:
                    return R_GRE
                if p == end:  # an acknowledgement of the tunnel's own, or an empty packet
                    return OTHER
            elif protocol == 17 and end - p >= 16:
                target = u16(d, p + 2)
                source = u16(d, p)
                p += 8
                if (target == 4789 or target == 8472) and d[
                    p
                ] & 0x08:  # VXLAN (RFC 7348), and the port Linux had before it
                    kind = ETHERNET
                    p += 8
                elif target == 6081 and d[p] >> 6 == 0:  # Geneve (RFC 8926)
                    kind = u16(d, p + 2)
                    p += 8 + (d[p] & 0x3F) * 4
                elif target == 2152 and d[p] >> 4 == 3 and d[p + 1] == 0xFF:  # GTP-U (3GPP TS 29.281), a user's packet
                    kind = BY_NIBBLE
                    more = d[p] & 7
                    chained = d[p] & 4
                    p += 8
                    if more:
                        p += 4
                        while chained and p < end and d[p - 1]:
                            if d[p] == 0:
                                return OTHER
                            p += d[p] * 4
                elif target == 3544 or source == 3544:  # Teredo (RFC 4380), perhaps with its indications
                    kind = BY_NIBBLE
                    if u16(d, p) == 1:
                        p += 13 + d[p + 2] + d[p + 3]
                    if end - p >= 8 and u16(d, p) == 0:
                        p += 8
                else:
                    return OTHER
                if p >= end:
                    return OTHER
            else:
                return OTHER
        return R_DEPTH

    # -- segments --------------------------------------------------------------------------------------------------

    def segment(self, d: Octets, ip: int, six: int, p: int, end: int, stop: int, time: int) -> int:
        """The TCP segment whose header begins at *p*, in the IP packet that begins at *ip*."""
        if end - p < 20:
            return R_TCP_CUT
        size = (d[p + 12] >> 4) * 4
        if size < 20 or stop - p < size:
            return R_TCP_BAD
        data = stop - p - size
        if size > end - p:
            size = end - p
        if six:
            a_high = u32(d, ip + 8) << 32 | u32(d, ip + 12)
            a_low = u32(d, ip + 16) << 32 | u32(d, ip + 20)
            b_high = u32(d, ip + 24) << 32 | u32(d, ip + 28)
            b_low = u32(d, ip + 32) << 32 | u32(d, ip + 36)
        else:
            a_high = b_high = 0
            a_low = u32(d, ip + 12)
            b_low = u32(d, ip + 16)
        return self.hand_in(
            d,
            ip,
            six,
            p,
            size,
            data,
            time,
            a_high,
            a_low,
            b_high,
            b_low,
            u16(d, p),
            u16(d, p + 2),
            u32(d, p + 4),
            u32(d, p + 8),
            d[p + 13],
            u16(d, p + 14),
        )

    def hand_in(
        self,
        d: Octets,
        ip: int,
        six: int,
        p: int,
        size: int,
        data: int,
        time: int,
        a_high: int,
        a_low: int,
        b_high: int,
        b_low: int,
        source_port: int,
        target_port: int,
        seq: int,
        ack: int,
        flags: int,
        window: int,
    ) -> int:
        """Take a segment, from A to B until we know which of them is the lower."""
        equal = a_low == b_low and source_port == target_port and a_high == b_high
        if (
            (self.equal_only and not equal)
            or (self.port and source_port != self.port and target_port != self.port)
            or (
                self.host_set
                and (a_high != self.host_high or a_low != self.host_low)
                and (b_high != self.host_high or b_low != self.host_low)
            )
        ):
            self.segments += 1
            return FOUND
        # The lower endpoint is A, whoever sent this.
        from_a = not (
            a_high > b_high or (a_high == b_high and (a_low > b_low or (a_low == b_low and source_port > target_port)))
        )
        if from_a:
            ports = source_port << 16 | target_port | six << 32
        else:
            a_high, b_high = b_high, a_high
            a_low, b_low = b_low, a_low
            ports = target_port << 16 | source_port | six << 32
        h = self.digest(d, ip, p + size)
        if self.heads:
            self.note(d, ip, p + size, time)
        wired = False
        if equal and self.frame_link == 1:
            i = self.frame_start
            wired = (u32(d, i) | u32(d, i + 4) | u32(d, i + 8)) != 0  # loopback leaves the addresses zero
        if not cython.compiled:
            return self.meet(
                d,
                p,
                size,
                data,
                time,
                a_high,
                a_low,
                b_high,
                b_low,
                ports,
                0,
                h,
                seq,
                ack,
                flags,
                window,
                from_a,
                wired,
            )
        # What it is compared with lies anywhere in memory: it is sent for, and the segment waits meanwhile.
        tag = self.tag(a_high, a_low, b_high, b_low, ports)
        prefetch(self.index + (tag & self.mask))  # type: ignore[name-defined, operator]  # noqa: F821 - engine.pxd has it
        prefetch(self.twins + (h & (TWINS - 4)) * 2)  # type: ignore[name-defined, operator]  # noqa: F821
        q = self.queue
        i = self.waiting * WAITING
        q[i + W_AT] = p
        q[i + W_SHAPE] = flags | from_a << 8 | wired << 9 | window << 16 | size << 32
        q[i + W_DATA] = data
        q[i + W_TIME] = time
        q[i + W_A_HIGH] = a_high
        q[i + W_A_LOW] = a_low
        q[i + W_B_HIGH] = b_high
        q[i + W_B_LOW] = b_low
        q[i + W_PORTS] = ports
        q[i + W_TAG] = tag
        q[i + W_DIGEST] = h
        q[i + W_NUMBERS] = seq | ack << 32
        q[i + W_FRAME] = self.number
        self.waiting += 1
        if self.waiting == QUEUE:
            self.drain(d)
        return FOUND

    def drain(self, d: Octets) -> None:
        """Step with the segments that wait (compiled only)."""
        q = self.queue
        count = self.waiting
        self.waiting = 0  # whatever happens: the octets are there only for now
        for k in range(count):
            i = k * WAITING
            entry = self.index[q[i + W_TAG] & self.mask]
            if entry >> 32 == q[i + W_TAG]:  # most probably: who is not there is looked for later
                self.fetch((entry & LOW32) - 1)
        for k in range(count):
            i = k * WAITING
            shape = q[i + W_SHAPE]
            self.number = q[i + W_FRAME]
            self.meet(
                d,
                q[i + W_AT],
                shape >> 32,
                q[i + W_DATA],
                q[i + W_TIME],
                q[i + W_A_HIGH],
                q[i + W_A_LOW],
                q[i + W_B_HIGH],
                q[i + W_B_LOW],
                q[i + W_PORTS],
                q[i + W_TAG],
                q[i + W_DIGEST],
                q[i + W_NUMBERS] & LOW32,
                q[i + W_NUMBERS] >> 32,
                shape & 0xFF,
                shape >> 16 & 0xFFFF,
                shape >> 8 & 1 != 0,
                shape >> 9 & 1 != 0,
            )

    def meet(
        self,
        d: Octets,
        p: int,
        size: int,
        data: int,
        time: int,
        a_high: int,
        a_low: int,
        b_high: int,
        b_low: int,
        ports: int,
        tag: int,
        h: int,
        seq: int,
        ack: int,
        flags: int,
        window: int,
        from_a: bool,
        wired: bool,
    ) -> int:
        """Find the slot of A and B, and step with this segment, unless it was captured twice."""
        slot = self.find(tag, a_high, a_low, b_high, b_low, ports)
        if self.twin(h, time):
            if self.number < self.zone:
                self.undecided(-1, d, p, size, data, time, from_a, wired, a_high, a_low, b_high, b_low, ports)
            else:
                self.duplicates += 1
            if self.heads:
                self.forget()
            return FOUND
        if self.number < self.zone:
            self.undecided(-1, d, p, size, data, time, from_a, wired, a_high, a_low, b_high, b_low, ports)
            return FOUND
        self.segments += 1
        if slot < 0:
            slot = self.claim(tag, a_high, a_low, b_high, b_low, ports)
        return self.step(slot, d, p, size, data, time, seq, ack, flags, window, from_a, wired)

    def step(
        self,
        slot: int,
        d: Octets,
        p: int,
        size: int,
        data: int,
        time: int,
        seq: int,
        ack: int,
        flags: int,
        window: int,
        from_a: bool,
        wired: bool,
    ) -> int:
        """Step the opening in *slot* with this segment."""
        m = self.m
        b = slot * WORDS
        state = m[b + STATE]
        phase = state & 0xFF
        control = flags & (SYN | ACK | RST | FIN)
        if state & HEAD:
            if self.head(slot, d, p, size, data, time, seq, control, from_a, wired):
                return FOUND
            state = m[b + STATE]
            phase = state & 0xFF
        first = from_a != ((state & FIRST_IS_B) != 0)

        answered = False
        if control == SYN:
            event = E_NOTHING
            if phase >= P_SYN and not state & ENDED:
                if first:
                    if seq == m[b + ISN] & LOW32:
                        state += RETRANSMISSION
                        event = E_SYN_ACK_FIRST  # any but E_NOTHING: no new opening
                elif CROSSED_PHASES >> phase & 1:
                    if seq == m[b + ISN] >> 32:
                        state += RETRANSMISSION
                        event = E_SYN_ACK_FIRST
                elif UNCROSSED_PHASES >> phase & 1:
                    event = E_SYN_SECOND
            if event == E_NOTHING:
                self.open(slot, d, p, size, data, seq, from_a, wired, time)
                return FOUND
            m[b + STATE] = (state & ~EARLY) | TOUCHED
            if event != E_SYN_SECOND:
                self.keep(slot, d, p, size, data, first, time)
                return FOUND
            # The first end may have acknowledged this SYN before it was captured.
            answered = state & OWN != 0 and ((m[b + ISN] >> 32) - seq) & LOW32 <= data
            m[b + ISN] = (m[b + ISN] & LOW32) | seq << 32
            m[b + SIZE] = (m[b + SIZE] & ~DATA_SECOND) | (data & 0xFFFF) << 24
        elif phase < P_SYN or state & ENDED:
            self.stray(slot, d, p, size, data, seq, ack, control, from_a, time)
            return FOUND
        elif phase == P_THREE_WAY and not control & (SYN | RST | FIN) and not state & (KEPT | EARLY):
            m[b + STATE] = state | TOUCHED  # the bulk of all traffic
            return FOUND
        elif control & RST:
            event = E_RST_FIRST if first else E_RST_SECOND
        else:
            event = self.classify(b, phase, control, first, seq, ack, data, window)
            state |= m[b + STATE] & (ANOTHER | OWN)
        if control == SYN | ACK and event != E_SYN_ACK_FIRST and event != E_SYN_ACK_SECOND:
            self.expect(slot, d, p, size, data, seq, ack, from_a, time)
            state = m[b + STATE]
        elif state & EARLY:
            if control != ACK:
                state &= ~EARLY
            else:
                before = state >> BEFORE & 0x1F
                state += (self.rules[before * EVENTS + event] - before) << BEFORE

        after = self.rules[phase * EVENTS + event]
        if answered:
            after = self.rules[after * EVENTS + E_SYN_ACK_FIRST]
        state = (state - phase + after) | TOUCHED
        if control & RST:
            state |= ENDED
        elif control & FIN:
            state |= FIN_A if from_a else FIN_B
            if state & EQUAL or (state & FIN_A and state & FIN_B):
                state |= ENDED
        if after != phase and self.verdict_of[after] & 0x80:
            self.counts[self.verdict_of[after] & 0x7F] += 1
            state |= COUNTED
            if after == P_REFUSED and not self.equal_only:
                self.refuse(b)
        m[b + STATE] = state
        if state & KEPT or self.keep_phases >> after & 1:
            self.keep(slot, d, p, size, data, first, time)
        if control & RST:
            self.close(slot)
        return FOUND

    def classify(
        self, b: int, phase: int, control: int, first: bool, seq: int, ack: int, data: int, window: int
    ) -> int:
        """The event that a segment without RST is to the opening at word *b* (verdicts.py says what fits)."""
        m = self.m
        one = m[b + ISN] & LOW32
        two = m[b + ISN] >> 32
        if control == SYN | ACK:
            if first:
                if seq != one:
                    return E_NOTHING
                if m[b + STATE] & EQUAL:
                    return E_SYN_ACK_FIRST if (ack - one - 1) & LOW32 <= m[b + SIZE] >> 8 & 0xFFFF else E_NOTHING
                if CROSSED_PHASES >> phase & 1:
                    return E_SYN_ACK_FIRST if (ack - two - 1) & LOW32 <= m[b + SIZE] >> 24 & 0xFFFF else E_NOTHING
                if UNCROSSED_PHASES >> phase & 1 and not m[b + STATE] & OWN:
                    m[b + ISN] = one | ((ack - 1) & LOW32) << 32
                    m[b + STATE] |= OWN
                    return E_SYN_ACK_FIRST
                return E_NOTHING
            if (ack - one - 1) & LOW32 > m[b + SIZE] >> 8 & 0xFFFF:
                return E_OTHER_SECOND
            if CROSSED_PHASES >> phase & 1:
                return E_SYN_ACK_SECOND if seq == two else E_OTHER_SECOND
            if phase != P_SYN_ACKED:
                m[b + ISN] = one | seq << 32
                m[b + END] = (seq + 1 + data) & LOW32
                m[b + SIZE] = (m[b + SIZE] & BELOW_REACH) | (((ack - one - 1) & LOW32) + max(window, 1)) << 40
            elif seq != two:
                m[b + END] = (m[b + END] & LOW32) | seq << 32
                m[b + STATE] |= ANOTHER
            return E_SYN_ACK_SECOND
        if first:
            if (
                phase == P_SYN_ACKED
                and control & ACK
                and (seq - one - 1) & LOW32 < m[b + SIZE] >> 40
                and (
                    (ack - two - 1) & LOW32 <= (m[b + END] - two - 1) & LOW32
                    or (m[b + STATE] & ANOTHER and ack == ((m[b + END] >> 32) + 1) & LOW32)
                )
            ):
                return E_ACK_FIRST
            return E_NOTHING
        if phase == P_SYN_ACKED:
            beyond = (seq + data + (control & FIN) - m[b + END]) & LOW32
            if beyond < HALF32:
                m[b + END] = (m[b + END] >> 32 << 32) | ((m[b + END] + beyond) & LOW32)
        return E_ACK_SECOND if control == ACK else E_OTHER_SECOND

    def stray(
        self,
        slot: int,
        d: Octets,
        p: int,
        size: int,
        data: int,
        seq: int,
        ack: int,
        control: int,
        from_a: bool,
        time: int,
    ) -> None:
        """A segment of a conversation that has no opening under way: none yet, or one that has ended."""
        m = self.m
        b = slot * WORDS
        state = m[b + STATE] | TOUCHED
        if state & 0xFF == 0:
            self.midstream += 1
            if state & EQUAL and control & ACK and not control & RST:
                self.midstream_to_itself += 1
            state = (state & EQUAL) | P_MIDSTREAM | (MID if control == SYN | ACK else 0)
        elif control == SYN | ACK:
            state &= ~MID
        elif control != ACK:
            state &= ~(EARLY | MID)
        elif state & EARLY and self.acknowledges(b, seq, ack, from_a):
            state |= EARLY_ACKED
            self.keep_early(slot, d, p, size, data, True, time)
        m[b + STATE] = state
        if control == SYN | ACK:
            self.expect(slot, d, p, size, data, seq, ack, from_a, time)
        elif state & KEPT:
            self.keep(slot, d, p, size, data, from_a != ((state & FIRST_IS_B) != 0), time)

    def expect(
        self, slot: int, d: Octets, p: int, size: int, data: int, seq: int, ack: int, from_a: bool, time: int
    ) -> None:
        """Remember a SYN-ACK that fits no SYN so far."""
        m = self.m
        b = slot * WORDS
        state = m[b + STATE] & ~(EARLY_FROM_A | EARLY_ACKED | (0x1F << BEFORE))
        m[b + STATE] = state | EARLY | (EARLY_FROM_A if from_a else 0) | (state & 0x1F) << BEFORE
        m[b + EARLY_ISN] = ((ack - 1) & LOW32) | seq << 32
        m[b + EARLY_TIME] = time
        m[b + EARLY_END] = ((seq + 1 + data) & LOW32) | max(u16(d, p + 14), 1) << 40
        if self.early_count:
            self.drop_early(slot)
        if self.keep_phases >> P_SYN & 1 or (self.keep_phases and state & EQUAL):
            self.keep_early(slot, d, p, size, data, state & EQUAL != 0, time)

    def acknowledges(self, b: int, seq: int, ack: int, from_a: bool) -> bool:
        """Whether this ACK is the third of the handshake to the early SYN-ACK at word *b*."""
        m = self.m
        if not m[b + STATE] & EQUAL and from_a == ((m[b + STATE] & EARLY_FROM_A) != 0):
            return False
        two = (m[b + EARLY_ISN] >> 32) + 1
        return (seq - (m[b + EARLY_ISN] & LOW32) - 1) & LOW32 < m[b + EARLY_END] >> 40 and (ack - two) & LOW32 <= (
            m[b + EARLY_END] - two
        ) & LOW32

    # -- openings --------------------------------------------------------------------------------------------------

    def open(
        self, slot: int, d: Octets, p: int, size: int, data: int, seq: int, from_a: bool, wired: bool, time: int
    ) -> None:
        """A bare SYN begins an opening."""
        m = self.m
        b = slot * WORDS
        state = m[b + STATE]
        after = P_SELF_SYN if state & EQUAL else P_SYN
        two = 0
        if state & EARLY:
            apart = time - m[b + EARLY_TIME] if time > m[b + EARLY_TIME] else m[b + EARLY_TIME] - time
            acknowledged = ((m[b + EARLY_ISN] & LOW32) - seq) & LOW32
            two = m[b + EARLY_ISN] >> 32
            if apart <= SECOND and acknowledged <= data:
                if state & EQUAL:
                    if two == seq:
                        after = P_SELF_CONNECT
                elif from_a != ((state & EARLY_FROM_A) != 0):
                    after = P_THREE_WAY if state & EARLY_ACKED else P_SYN_ACKED
        joined = after != P_SYN and after != P_SELF_SYN
        if joined:
            if state & MID:
                self.midstream -= 1
                if state & EQUAL:
                    self.midstream_to_itself -= 1
            # Without the SYN-ACK that was not its own, the opening before was where it had been.
            m[b + STATE] = (state & ~0xFF) | (state >> BEFORE & 0x1F)
            m[b + END] = m[b + EARLY_END] & LOW32
        if state & 0xFF >= P_SYN:
            self.close(slot)
        m[b + ISN] = seq | two << 32
        m[b + SIZE] = size | (data & 0xFFFF) << 8
        if joined:
            m[b + SIZE] |= (m[b + EARLY_END] >> 40) + acknowledged << 40
        state = (state & (EQUAL | TOUCHED)) | after
        if not from_a:
            state |= FIRST_IS_B
        if wired:
            state |= WIRED
        if self.verdict_of[after] & 0x80:
            self.counts[self.verdict_of[after] & 0x7F] += 1
            state |= COUNTED
        m[b + STATE] = state
        m[b + TIME] = time
        m[b + FRAME] = self.number
        m[b + REFUSED] = 0
        if self.apart:
            m[b + SINCE] = 0
        if cython.compiled:
            memcpy(self.raw + slot * RAW, d + p, size)  # type: ignore[name-defined, operator, no-any-return, unused-ignore]  # noqa: F821 - engine.pxd has it
        else:
            self.raw[slot * RAW : slot * RAW + size] = d[p : p + size]
        if self.keep_phases and (self.keep_phases >> after & 1 or state & EQUAL):
            self.keep(slot, d, p, size, data, True, time)
        if joined and m[b + STATE] & KEPT and self.early_count:
            self.take_early(slot)

    def close(self, slot: int) -> None:
        """The opening in *slot* is over: count it, hand it on where it was asked for, leave the conversation."""
        m = self.m
        b = slot * WORDS
        state = m[b + STATE]
        phase = state & 0xFF
        if phase >= P_SYN:
            verdict = self.verdict_of[phase] & 0x7F
            if not state & COUNTED:
                self.counts[verdict] += 1
            if self.collect >> verdict & 1 and self.collected[verdict] < self.most:
                self.collected[verdict] += 1
                self.hand_on(slot, verdict)
        if state & KEPT:
            self.drop(slot)
        m[b + STATE] = (state & (EQUAL | TOUCHED | EARLY | EARLY_FROM_A | EARLY_ACKED)) | P_MIDSTREAM

    def hand_on(self, slot: int, verdict: int) -> None:
        """Put the opening in *slot* on the list of the finished."""
        m = self.m
        b = slot * WORDS
        state = m[b + STATE]
        width = 16 if m[b + PORTS] >> 32 else 4
        one = self.packed(m[b + A_HIGH], m[b + A_LOW], width)
        two = self.packed(m[b + B_HIGH], m[b + B_LOW], width)
        one_port = m[b + PORTS] >> 16 & 0xFFFF
        two_port = m[b + PORTS] & 0xFFFF
        if state & FIRST_IS_B:
            one, two = two, one
            one_port, two_port = two_port, one_port
        segments = self.kept.get(slot)
        if segments is None:
            segments = [self.remembered(slot)]
        if self.apart:
            self.finished_at.append(self.number)
        self.finished.append(
            (
                verdict,
                one,
                one_port,
                two,
                two_port,
                m[b + ISN] & LOW32,
                m[b + FRAME],
                m[b + TIME],
                state >> 32,
                m[b + REFUSED],
                m[b + SINCE],
                self.omitted.get(slot, 0),
                state & WIRED != 0,
                segments,
            )
        )

    def packed(self, high: int, low: int, width: int) -> bytes:
        """An address of *width* octets out of its two words."""
        return int(low).to_bytes(4, "big") if width == 4 else int(high).to_bytes(8, "big") + int(low).to_bytes(8, "big")

    # -- what is kept for the replay -------------------------------------------------------------------------------

    def remembered(self, slot: int) -> Kept:
        """The first SYN of the opening in *slot*, as a kept segment."""
        m = self.m
        b = slot * WORDS
        header = bytes(self.raw[slot * RAW : slot * RAW + (m[b + SIZE] & 0xFF)])
        return (m[b + FRAME], m[b + TIME], True, header, m[b + SIZE] >> 8 & 0xFFFF)

    def keep(self, slot: int, d: Octets, p: int, size: int, data: int, first: bool, time: int) -> None:
        """Keep a segment of the opening in *slot*, if it is one of those that are kept."""
        b = slot * WORDS
        state = self.m[b + STATE]
        if not state & KEPT:
            limit = MAX_KEPT if self.keep_phases >> (state & 0xFF) & 1 or (self.keep_phases and state & EQUAL) else 0
            if state >> 32 and not state & (ENDED | COUNTED) and self.keep_phases >> P_CROSSED & 1:
                limit = max(limit, MAX_RETRIED)
            if self.kept_count < limit:
                self.begin_keeping(slot)
        if self.m[b + STATE] & KEPT:
            self.add(slot, d, p, size, data, first, time)

    def begin_keeping(self, slot: int) -> None:
        """From now on keep the segments of the opening in *slot*."""
        b = slot * WORDS
        self.m[b + STATE] |= KEPT
        self.kept[slot] = []
        self.kept_count = len(self.kept)
        if (self.m[b + STATE] & 0xFF) >= P_SYN:
            self.recall(b)
            if self.m[b + FRAME] != self.number:
                self.kept[slot].append(self.remembered(slot))

    def add(self, slot: int, d: Octets, p: int, size: int, data: int, first: bool, time: int) -> None:
        """Add a segment to those that are kept of *slot*, unless it is one of too many and changes nothing."""
        segments = self.kept[slot]
        count = len(segments)
        if count < FULL or (
            count < ALL and (d[p + 13] & (SYN | FIN | RST) or self.m[slot * WORDS + STATE] & (FIN_A | FIN_B))
        ):
            segments.append((self.number, time, first, bytes(d[p : p + size]), data))
        else:
            self.omitted[slot] = self.omitted.get(slot, 0) + 1

    def drop(self, slot: int) -> None:
        """Forget the kept segments of *slot*."""
        self.kept.pop(slot, None)
        self.kept_count = len(self.kept)
        self.omitted.pop(slot, None)
        self.m[slot * WORDS + STATE] &= ~KEPT

    def keep_early(self, slot: int, d: Octets, p: int, size: int, data: int, first: bool, time: int) -> None:
        """Keep an early SYN-ACK for the opening that may follow in *slot*, or the ACK to one that is kept."""
        if slot in self.early or (d[p + 13] & SYN and self.early_count < MAX_KEPT):
            segments = self.early.setdefault(slot, [])
            if len(segments) < FULL:
                segments.append((self.number, time, first, bytes(d[p : p + size]), data))
            self.early_count = len(self.early)

    def drop_early(self, slot: int) -> None:
        """Forget what keep_early() kept."""
        self.early.pop(slot, None)
        self.early_count = len(self.early)

    def take_early(self, slot: int) -> None:
        """Give what keep_early() kept to the opening in *slot*."""
        self.kept[slot] += self.early.pop(slot, [])
        self.early_count = len(self.early)

    # -- tables ----------------------------------------------------------------------------------------------------

    def digest(self, d: Octets, start: int, end: int) -> int:
        """A 64-bit hash of d[start:end]: folded products with keys of this run, so that none collide on purpose."""
        if not cython.compiled:
            # The tables of twin() take the octets themselves, unless they are many.
            packet = bytes(d[start:end])
            return packet if len(packet) <= LONGEST else hash(packet)  # type: ignore[return-value]
        # An IP and a TCP header are 40 octets at least; what is left of the last 16 is taken together
        # with some before it.
        h = self.seed + (end - start)
        i = 0
        while end > start:
            if end - start < 16:
                start = end - 16
            one = load_u64(d + start) ^ self.keys[i]  # type: ignore[name-defined, operator]  # noqa: F821
            two = load_u64(d + start + 8) ^ self.keys[i + 1]  # type: ignore[name-defined, operator]  # noqa: F821
            h += folded(one, two)  # type: ignore[name-defined]  # noqa: F821 - all 128 bits of the product count
            i = (i + 2) & (KEYS - 1)
            start += 16
        h *= MIX2
        return h ^ h >> 32

    def twin(self, h: int, time: int) -> bool:
        """Whether the IP packet of this digest was captured already: less than NEAR frames and 1 ms from here."""
        if not cython.compiled:
            number = self.number
            copy = self.recent.get(h) or self.older.get(h)
            if copy and number - copy < NEAR and -MILLISECOND <= time - self.times[copy % NEAR] <= MILLISECOND:
                return True
            self.recent[h] = number
            self.times[number % NEAR] = time
            if len(self.recent) == NEAR:
                self.older, self.recent = self.recent, {}
            return False
        # Four places to a hash, in one cache line, the newest first. The bits of the hash that the place tells are left
        # out of the first word: the frame's number stands there.
        i = (h & (TWINS - 4)) * 2
        for k in range(i, i + 8, 2):
            seen = self.twins[k]
            if (seen ^ h) <= LOW24 and seen and (self.number - seen) & LOW24 < NEAR:
                then = self.twins[k + 1]
                if (time - then if time > then else then - time) <= MILLISECOND:
                    return True
        for k in range(i + 7, i + 1, -1):
            self.twins[k] = self.twins[k - 2]
        self.twins[i] = (h & ~LOW24) | (self.number & LOW24)
        self.twins[i + 1] = time
        return False

    def tag(self, a_high: int, a_low: int, b_high: int, b_low: int, ports: int) -> int:
        """A 32-bit hash of a 4-tuple; seeded, so that no capture can be made to collide."""
        h = ((a_low ^ self.seed) * MIX1) & LOW64
        h = ((h ^ h >> 32 ^ b_low) * MIX2) & LOW64
        h = ((h ^ h >> 32 ^ ports) * MIX1) & LOW64
        if a_high | b_high:
            h = ((h ^ h >> 32 ^ a_high) * MIX2) & LOW64
            h = ((h ^ h >> 32 ^ b_high) * MIX1) & LOW64
        return h >> 32

    def find(self, tag: int, a_high: int, a_low: int, b_high: int, b_low: int, ports: int) -> int:
        """The slot of a conversation, -1 where it has none."""
        if not cython.compiled:
            way = WAY_6(a_high, a_low, b_high, b_low, ports & LOW32) if ports >> 32 else WAY_4(a_low, b_low, ports)
            return self.lookup.get(way, -1) >> 2
        m = self.m
        i = tag & self.mask
        entry = self.index[i]
        while entry:
            if entry >> 32 == tag:
                b = ((entry & LOW32) - 1) * WORDS
                if (
                    m[b + PORTS] == ports
                    and m[b + A_LOW] == a_low
                    and m[b + B_LOW] == b_low
                    and m[b + A_HIGH] == a_high
                    and m[b + B_HIGH] == b_high
                ):
                    return (entry & LOW32) - 1
            i = (i + 1) & self.mask
            entry = self.index[i]
        return -1

    def ways(self, slot: int) -> tuple[bytes, bytes]:
        """From A to B and back, as the header of a segment has it: addresses, then ports (interpreted only)."""
        m = self.m
        b = slot * WORDS
        ports = m[b + PORTS] & LOW32
        turned = (ports & 0xFFFF) << 16 | ports >> 16
        if m[b + PORTS] >> 32:
            a = m[b + A_HIGH], m[b + A_LOW]
            z = m[b + B_HIGH], m[b + B_LOW]
            return WAY_6(*a, *z, ports), WAY_6(*z, *a, turned)
        return WAY_4(m[b + A_LOW], m[b + B_LOW], ports), WAY_4(m[b + B_LOW], m[b + A_LOW], turned)

    def claim(self, tag: int, a_high: int, a_low: int, b_high: int, b_low: int, ports: int) -> int:
        """A slot for a new conversation; the oldest one makes room where there is none."""
        m = self.m
        if self.used < self.capacity:
            slot = self.used
            self.used += 1
        else:
            self.unsure = True
            while True:
                slot = self.hand
                self.hand += 1
                if self.hand == self.capacity:
                    self.hand = 0
                state = m[slot * WORDS + STATE]
                if state & EQUAL and (state & 0xFF) >= P_SYN and not state & ENDED and self.equals * 2 < self.capacity:
                    continue
                if not state & TOUCHED:
                    break
                m[slot * WORDS + STATE] = state & ~TOUCHED
            if (state & 0xFF) >= P_SYN and not state & (ENDED | COUNTED):
                self.evicted += 1
            self.close(slot)
            if self.early_count:
                self.drop_early(slot)
            if state & EQUAL:
                self.equals -= 1
            self.unindex(slot)
            if cython.compiled and slot + AHEAD < self.capacity:  # fetch whoever goes soon, and its place in the index
                self.fetch(slot + AHEAD)
                prefetch(self.index + (self.tags[slot + AHEAD] & self.mask))  # type: ignore[name-defined, operator]  # noqa: F821
        b = slot * WORDS
        m[b + A_HIGH] = a_high
        m[b + A_LOW] = a_low
        m[b + B_HIGH] = b_high
        m[b + B_LOW] = b_low
        m[b + PORTS] = ports
        m[b + STATE] = 0
        if self.heads:
            m[b + STATE] = HEAD
            m[b + SIZE] = m[b + END] = 0
        if a_low == b_low and a_high == b_high and ports >> 16 & 0xFFFF == ports & 0xFFFF:
            m[b + STATE] |= EQUAL
            self.equals += 1
        if not cython.compiled:
            there, back = self.ways(slot)
            self.lookup[back] = slot << 2
            self.lookup[there] = slot << 2 | (3 if there == back else 1)
            return slot
        self.tags[slot] = tag
        if self.used * 4 > self.mask + 1:
            self.spread()
        else:
            self.enter(tag, slot)
        return slot

    def fetch(self, slot: int) -> None:
        """Send for what is remembered of the conversation in *slot* (compiled only)."""
        prefetch(self.m + slot * WORDS)  # type: ignore[name-defined, operator]  # noqa: F821 - engine.pxd has it
        prefetch(self.m + slot * WORDS + WORDS // 2)  # type: ignore[name-defined, operator]  # noqa: F821
        prefetch(self.raw + slot * RAW)  # type: ignore[name-defined]  # noqa: F821

    def enter(self, tag: int, slot: int) -> int:
        """Enter the conversation in *slot* into the index (compiled only)."""
        i = tag & self.mask
        while self.index[i]:
            i = (i + 1) & self.mask
        self.index[i] = tag << 32 | (slot + 1)
        return 0

    def spread(self) -> int:
        """Make the index twice as large: it grows with what it holds, so that little lies close together."""
        memset(self.index, 0, (self.mask + 1) * 8)  # type: ignore[name-defined]  # noqa: F821 - engine.pxd has it
        self.mask = self.mask * 2 + 1
        for slot in range(self.used):
            self.enter(self.tags[slot], slot)
        return 0

    def unindex(self, slot: int) -> int:
        """Take the conversation in *slot* out of the index."""
        if not cython.compiled:
            for way in self.ways(slot):
                self.lookup.pop(way, None)
            return 0
        i = self.tags[slot] & self.mask
        while self.index[i] & LOW32 != slot + 1:
            i = (i + 1) & self.mask
        j = i
        while True:  # close the gap: whoever probed past it moves back
            j = (j + 1) & self.mask
            entry = self.index[j]
            if not entry:
                break
            if ((j - (entry >> 32)) & self.mask) >= ((j - i) & self.mask):
                self.index[i] = entry
                i = j
        self.index[i] = 0
        return 0

    def place(self, b: int, claim: bool) -> int:
        """The first word, in self.places, of the destination of the opening at word *b*; -1 where there is no room."""
        m = self.m
        if m[b + STATE] & FIRST_IS_B:
            high, low, port = m[b + A_HIGH], m[b + A_LOW], m[b + PORTS] >> 16 & 0xFFFF
        else:
            high, low, port = m[b + B_HIGH], m[b + B_LOW], m[b + PORTS] & 0xFFFF
        port |= (m[b + PORTS] >> 32 << 32) | IN_USE
        if not cython.compiled:
            i = self.place_of.get((high, low, port), -1)
            if i >= 0:
                return i
        at = ((low * MIX1 & LOW64) >> 40) + port * 7 & PLACES - 1
        for _ in range(PROBES):
            i = at * 8
            if self.places[i + 2] == port and self.places[i + 1] == low and self.places[i] == high:
                return i
            if not self.places[i + 2]:
                if not claim:
                    return -1
                self.places[i] = high
                self.places[i + 1] = low
                self.places[i + 2] = port
                if not cython.compiled:
                    self.place_of[high, low, port] = i
                return i
            at = (at + 1) & (PLACES - 1)
        return -1

    def refuse(self, b: int) -> None:
        """Count the opening at word *b* as a refused attempt at its destination."""
        i = -1 if self.apart else self.place(b, True)
        if i >= 0:
            self.add_attempt(b, i)
        elif self.apart:
            self.note_refusal(b)

    def add_attempt(self, b: int, i: int) -> None:
        """Count it at the destination whose first word is *i*."""
        m = self.m
        places = self.places
        then = m[b + TIME]
        count = places[i + 3]
        if count == 0:
            places[i + 4] = then
            if self.walk_count < WALKS:
                self.walk_count += 1
                places[i + 5] = self.walk_count
        places[i + 3] = count + 1
        places[i + 6] = then
        walk = places[i + 5]
        if walk and count < WALK:
            port = m[b + PORTS] if m[b + STATE] & FIRST_IS_B else m[b + PORTS] >> 16
            # The attempt's time is kept as the distance from the first, in 48 bits: three days.
            self.walked[(walk - 1) * WALK + count] = ((then - places[i + 4]) & LOW48) << 16 | (port & 0xFFFF)

    def recall(self, b: int) -> None:
        """Note at word *b* how many attempts at its destination were refused so far."""
        if self.apart:
            self.m[b + REFUSED] = self.refused(b, (self.m[b + STATE] & FIRST_IS_B) != 0)
            self.m[b + SINCE] = self.number
        else:
            i = self.place(b, False)
            self.m[b + REFUSED] = self.places[i + 3] if i >= 0 else 0
            self.m[b + SINCE] = self.places[i + 4] if i >= 0 else 0

    def walks(self) -> list[tuple[bytes, int, int, int, int, array[int], array[int]]]:
        """The refused attempts by destination: address, port, how many, time of first and last.

        And of each of the first WALK attempts the source port, and the nanoseconds since the first.
        """
        if self.apart:
            return self.walks_of_parts()
        found = []
        for i in range(0, 8 * PLACES, 8):
            if self.places[i + 5]:
                width = 16 if self.places[i + 2] >> 32 & 1 else 4
                start = (self.places[i + 5] - 1) * WALK
                count = min(self.places[i + 3], WALK)
                ports = array("H", bytes(2 * count))
                times = array("Q", bytes(8 * count))
                if count:
                    split(self.memory[3][start : start + count], ports, times)
                found.append(
                    (
                        self.packed(self.places[i], self.places[i + 1], width),
                        self.places[i + 2] & 0xFFFF,
                        self.places[i + 3],
                        self.places[i + 4],
                        self.places[i + 6],
                        ports,
                        times,
                    )
                )
        return found

    # -- the end ---------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """The capture is over, and with it every opening."""
        self.number = self.packets
        for slot in range(self.used):
            self.close(slot)
        if self.apart:
            self.settle()

    # -- parts -----------------------------------------------------------------------------------------------------

    def begin_part(self, heads: bool) -> None:
        """What is analysed is a part of a capture, or (without *heads*) a whole that is absorbed part by part."""
        self.apart = True
        self.heads = heads
        self.zone = NEAR if heads else 0

    def note(self, d: Octets, start: int, end: int, time: int) -> None:
        """Remember the packet d[start:end] of this frame: a copy of it may come in the next part."""
        self.ring[self.number % NEAR] = (self.number, time, bytes(d[start:end]))

    def forget(self) -> None:
        """Forget it: it is a copy itself."""
        self.ring.pop(self.number % NEAR, None)

    def head(
        self,
        slot: int,
        d: Octets,
        p: int,
        size: int,
        data: int,
        time: int,
        seq: int,
        control: int,
        from_a: bool,
        wired: bool,
    ) -> bool:
        """Whether this segment depends on what came before the part; it is logged then, and not stepped with.

        A 4-tuple becomes independent at a bare SYN that opens whatever the state: one after RST or FINs of both ends,
        or one right after another SYN of the same end with another ISN. (Right after: no SYN of the other end between,
        which might have crossed, and no SYN-ACK, which might be early.)
        """
        m = self.m
        b = slot * WORDS
        state = m[b + STATE]
        if control == SYN:
            side = 0 if from_a else FIRST_IS_B
            if state & ENDED or (state & MID and state & FIRST_IS_B == side and m[b + ISN] != seq):
                self.undecided(slot, d, p, 0, 0, time, from_a, wired, 0, 0, 0, 0, 0)
                m[b + STATE] = (state & EQUAL) | TOUCHED | P_MIDSTREAM
                return False
            m[b + STATE] = (state & (EQUAL | HEAD)) | TOUCHED | MID | side  # MID: a SYN was the last to change this
            m[b + ISN] = seq
        elif control == SYN | ACK:
            m[b + STATE] = (state & (EQUAL | HEAD)) | TOUCHED
        else:
            if control & RST:
                state |= ENDED
            elif control & FIN:
                state |= FIN_A if from_a else FIN_B
                if state & EQUAL or (state & FIN_A and state & FIN_B):
                    state |= ENDED
            m[b + STATE] = state | TOUCHED
        self.segments -= 1
        if control & (SYN | RST | FIN):
            m[b + SIZE] = 0
        else:
            m[b + SIZE] += 1
            if m[b + SIZE] > FULL:
                m[b + END] += 1
                return True
        self.undecided(slot, d, p, size, data, time, from_a, wired, 0, 0, 0, 0, 0)
        return True

    def undecided(
        self,
        slot: int,
        d: Octets,
        p: int,
        size: int,
        data: int,
        time: int,
        from_a: bool,
        wired: bool,
        a_high: int,
        a_low: int,
        b_high: int,
        b_low: int,
        ports: int,
    ) -> None:
        """Log a segment; without *slot* one that may be a copy of a packet in the part before."""
        m = self.m
        if slot >= 0:
            b = slot * WORDS
            a_high, a_low, b_high, b_low, ports = m[b], m[b + A_LOW], m[b + B_HIGH], m[b + B_LOW], m[b + PORTS]
            self.flush(slot)
            packet = bytes(d[p : p + size]) if size else b""
        else:
            packet = self.ring[self.number % NEAR][2]
        if len(self.log) >= MAX_LOG:
            self.unsure = True
        else:
            self.log.append(
                (
                    self.number,
                    time,
                    a_high,
                    a_low,
                    b_high,
                    b_low,
                    ports,
                    from_a | wired << 1,
                    data,
                    size,
                    packet,
                    self.refused_at(a_high, a_low, ports >> 16 & 0xFFFF | (ports >> 32 << 32)) + self.mark_a,
                    self.refused_at(b_high, b_low, ports & 0xFFFF | (ports >> 32 << 32)) + self.mark_b,
                )
            )

    def flush(self, slot: int) -> None:
        """Log how many segments were left out of the log of *slot* since its last one."""
        m = self.m
        b = slot * WORDS
        left_out = m[b + END]
        if m[b + STATE] & HEAD and left_out:
            self.log.append((self.number, 0, m[b], m[b + 1], m[b + 2], m[b + 3], m[b + 4], 0, left_out, -1, b"", 0, 0))
            m[b + END] = 0

    def refused_at(self, high: int, low: int, port: int) -> int:
        """How many attempts at a destination were refused so far, in what is decided."""
        known = self.refusals.get((high, low, port))
        return known.count if known else 0

    def refused(self, b: int, at_a: bool) -> int:
        """How many at an end of the 4-tuple at word *b*, with those that the part being absorbed had by then."""
        m = self.m
        version = m[b + PORTS] >> 32 << 32
        if at_a:
            return self.refused_at(m[b], m[b + 1], m[b + PORTS] >> 16 & 0xFFFF | version) + self.mark_a
        return self.refused_at(m[b + 2], m[b + 3], m[b + PORTS] & 0xFFFF | version) + self.mark_b

    def note_refusal(self, b: int) -> None:
        """Note the opening at word *b* as a refused attempt."""
        m = self.m
        ports = m[b + PORTS]
        version = ports >> 32 << 32
        if m[b + STATE] & FIRST_IS_B:
            key = (m[b], m[b + 1], ports >> 16 & 0xFFFF | version)
            port = ports & 0xFFFF
        else:
            key = (m[b + 2], m[b + 3], ports & 0xFFFF | version)
            port = ports >> 16 & 0xFFFF
        known = self.refusals.get(key)
        if known is None:
            known = self.refusals[key] = Refusals()
        known.count += 1
        known.frame = self.number
        known.time = m[b + TIME]
        if known.count <= WALK:
            known.first.append((self.number, known.time, port))
        if self.fresh is not None:
            self.fresh.setdefault(key, []).append((self.number, known.time, port))

    def again(self, one: Undecided, base: int) -> None:
        """Step with what a part could not decide; *base* is the number of frames before that part."""
        number, time, a_high, a_low, b_high, b_low, ports, how, data, size, octets, self.mark_a, self.mark_b = one
        self.number = base + number
        from_a = how & 1 != 0
        wired = how & 2 != 0
        tag = self.tag(a_high, a_low, b_high, b_low, ports) if cython.compiled else 0
        slot = self.find(tag, a_high, a_low, b_high, b_low, ports)
        if size > 0:
            d = octets
            p = len(octets) - size
            seq, ack, flags, window = u32(d, p + 4), u32(d, p + 8), d[p + 13], u16(d, p + 14)
            if p:
                if self.heads:
                    self.note(d, 0, p + size, time)
                h = self.digest(d, 0, p + size)
                self.meet(
                    d,
                    p,
                    size,
                    data,
                    time,
                    a_high,
                    a_low,
                    b_high,
                    b_low,
                    ports,
                    tag,
                    h,
                    seq,
                    ack,
                    flags,
                    window,
                    from_a,
                    wired,
                )
            else:
                self.segments += 1
                if slot < 0:
                    slot = self.claim(tag, a_high, a_low, b_high, b_low, ports)
                self.step(slot, d, p, size, data, time, seq, ack, flags, window, from_a, wired)
        elif slot < 0:
            self.unsure = True
        elif size == 0:
            self.independent(slot, time, from_a, wired)
        else:
            self.left_out(slot, data)
        self.mark_a = self.mark_b = 0

    def independent(self, slot: int, time: int, from_a: bool, wired: bool) -> None:
        """The SYN at which *slot* became independent in the part."""
        b = slot * WORDS
        state = self.m[b + STATE]
        if state & HEAD:
            self.undecided(slot, self.raw, 0, 0, 0, time, from_a, wired, 0, 0, 0, 0, 0)
        elif state & 0xFF >= P_SYN:
            self.close(slot)
        self.m[b + STATE] = (state & EQUAL) | TOUCHED | P_MIDSTREAM

    def left_out(self, slot: int, count: int) -> None:
        """Take so many segments without SYN, RST or FIN that the part did not log; unsure where they could matter."""
        b = slot * WORDS
        state = self.m[b + STATE]
        phase = state & 0xFF
        if state & HEAD:
            self.m[b + SIZE] += count
            self.m[b + END] += count
            count = 0
            phase = 0
        self.segments += count
        if state & KEPT:
            kept = len(self.kept[slot])
            if kept < FULL or (kept < ALL and state & (FIN_A | FIN_B)):
                self.unsure = True
            self.omitted[slot] = self.omitted.get(slot, 0) + count
        if state & EARLY or (P_SYN <= phase <= P_SYN_ACKED and not state & ENDED):
            self.unsure = True

    def tails(self) -> list[tuple[bytes, bytes, list[Kept] | None, int, list[Kept] | None]]:
        """The state of each 4-tuple that is independent: its words and header, and what is kept."""
        found = []
        for slot in range(self.used):
            b = slot * WORDS
            self.flush(slot)
            if not self.m[b + STATE] & HEAD:
                found.append(
                    (
                        bytes(self.memory[0][b : b + WORDS]),
                        bytes(self.headers[slot * RAW : slot * RAW + RAW]),
                        self.kept.get(slot),
                        self.omitted.get(slot, 0),
                        self.early.get(slot),
                    )
                )
        return found

    def take_tail(
        self,
        words: tuple[int, ...],
        header: bytes,
        kept: list[Kept] | None,
        omitted: int,
        early: list[Kept] | None,
    ) -> None:
        """Take over the state of a 4-tuple in a part, with frames counted as they are here."""
        a_high, a_low, b_high, b_low, ports = words[:5]
        tag = self.tag(a_high, a_low, b_high, b_low, ports) if cython.compiled else 0
        slot = self.find(tag, a_high, a_low, b_high, b_low, ports)
        if slot < 0:
            self.unsure = True
            slot = self.claim(tag, a_high, a_low, b_high, b_low, ports)
        b = slot * WORDS
        for i in range(STATE, WORDS):
            self.m[b + i] = words[i]
        if cython.compiled:
            d = header
            memcpy(self.raw + slot * RAW, d, RAW)  # type: ignore[name-defined, operator, no-any-return, unused-ignore]  # noqa: F821
        else:
            self.raw[slot * RAW : slot * RAW + RAW] = header
        self.drop_early(slot)
        if early is not None:
            self.early[slot] = early
        if kept is not None:
            self.kept[slot] = kept
        if omitted:
            self.omitted[slot] = omitted
        self.early_count = len(self.early)
        self.kept_count = len(self.kept)

    def take_packet(self, number: int, time: int, octets: bytes) -> None:
        """Take a packet into the search for copies."""
        self.number = number
        d = octets
        self.twin(self.digest(d, 0, len(octets)), time)
        self.note(d, 0, len(octets), time)

    def settle(self) -> None:
        """Bring the openings of all parts into the order in which they ended, and tell what was refused before them."""
        order = sorted(range(len(self.finished)), key=self.finished_at.__getitem__)
        placed = self.placed()
        seen = [0] * len(VERDICTS)
        found = []
        for at in order:
            one = self.finished[at]
            seen[one[0]] += 1
            if seen[one[0]] > self.most:
                continue
            key = destination(one)
            count = one[9] if key in placed else 0
            since = self.refusals[key].first[0][1] if count else 0
            found.append((*one[:9], count, since, *one[11:]))
        self.finished = found

    def placed(self) -> dict[tuple[int, int, int], int]:
        """The destinations that find a place, in the order of their first refusal."""
        taken = bytearray(PLACES)
        found = {}
        for key in sorted(self.refusals, key=lambda key: self.refusals[key].first[0][0]):
            _, low, port = key
            at = ((low * MIX1 & LOW64) >> 40) + (port | IN_USE) * 7 & PLACES - 1
            for _ in range(PROBES):
                if not taken[at]:
                    taken[at] = 1
                    found[key] = at
                    break
                at = (at + 1) & (PLACES - 1)
        return found

    def walks_of_parts(self) -> list[tuple[bytes, int, int, int, int, array[int], array[int]]]:
        """As walks(), of what the parts had."""
        found = []
        for key, _ in zip(self.placed(), range(WALKS), strict=False):
            known = self.refusals[key]
            start = known.first[0][1]
            ports = array("H", [port for _, _, port in known.first])
            times = array("Q", [(then - start) & LOW48 for _, then, _ in known.first])
            width = 16 if key[2] >> 32 else 4
            packed = self.packed(key[0], key[1], width)
            found.append((packed, key[2] & 0xFFFF, known.count, start, known.time, ports, times))
        return found


def destination(one: Finished) -> tuple[int, int, int]:
    """The key of an opening's destination among the refusals."""
    packed, port = one[3], one[4]
    number = int.from_bytes(packed, "big")
    return number >> 64, number & LOW64, port | (1 << 32 if len(packed) == 16 else 0)
