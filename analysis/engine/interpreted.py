"""What the engine imports when it is not compiled: octets as integers, the rows of tables, and look-up by dict.

The compiled engine has the same names in ``octets.pxd``, ``layout.pxd``, ``index.py`` and ``duplicates.py``.
"""

from __future__ import annotations

import struct
from operator import attrgetter, getitem

from .layout import (
    ELSEWHERE,
    ENTRY,
    EVIDENCE,
    HALF32,
    LOW16,
    LOW32,
    LOW64,
    MILLISECOND,
    MIX1,
    MIX_TTL,
    NEAR,
    NEAR_BITS,
    SLOT,
    SLOT_FIELDS,
    TCP_AT,
    WAYS,
    Cursor,
    Destination,
    Entry,
    Segment,
    Slot,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from array import array

    from ..model import Octets

    Words = memoryview[int] | array[int] | list[int]
    #: What is remembered of a packet: its frame, its time, and what marks_of() returns. Of a common frame (see wire.py)
    #: its first 52 octets and its interface stand for that, since few are ever asked for it.
    Packet = tuple[int, int, bytes, int | tuple[int, int, int]]

_OF_ENTRY, _OF_SLOT = attrgetter(*Entry.__slots__), attrgetter(*SLOT_FIELDS)
_WAY_4 = struct.Struct(">3I").pack
_WAY_6 = struct.Struct(">4QI").pack

# Integers out of captured octets; the caller has checked that they are there.


def u16(d: Octets, i: int) -> int:
    """Return the two octets at *i*, big-endian."""
    return d[i] << 8 | d[i + 1]


def u32(d: Octets, i: int) -> int:
    """Return the four octets at *i*, big-endian."""
    return d[i] << 24 | d[i + 1] << 16 | d[i + 2] << 8 | d[i + 3]


def u64_at(d: Octets, i: int) -> int:
    """Return the eight octets at *i*, big-endian."""
    return int.from_bytes(d[i : i + 8], "big")


def l16(d: Octets, i: int) -> int:
    """Return the two octets at *i*, little-endian."""
    return d[i] | d[i + 1] << 8


def l32(d: Octets, i: int) -> int:
    """Return the four octets at *i*, little-endian."""
    return d[i] | d[i + 1] << 8 | d[i + 2] << 16 | d[i + 3] << 24


def octets_of(octets: Octets) -> bytes:
    """Return *octets* in the form in which the engine reads them."""
    return octets if type(octets) is bytes else bytes(octets)


# Tables: lists of rows.

#: slot_at(slots, number), segment_at(batch, place) and so on. They are called more often than
#: anything else here; getitem is written in C, and takes half as long as a function in Python.
slot_at = segment_at = destination_at = entry_at = getitem


def slots_in(_memory: object) -> list[Slot]:
    """Return an empty table of conversations."""
    return []


def add_slot(slots: list[Slot]) -> None:
    """Make the next slot."""
    slots.append(Slot())


def cursor_in(_memory: object) -> Cursor:
    """Return a cursor."""
    return Cursor()


def cursor_octets() -> int:
    """Return 0: a cursor is an object here, and takes none of the mapping."""
    return 0


def segments_in(_memory: object) -> list[Segment]:
    """Return room for a batch, which is one segment here."""
    return [Segment()]


def destinations_in(memory: memoryview) -> list[Destination]:
    """Return an empty table of destinations, one for each octet of *memory*."""
    return [Destination() for _ in range(len(memory))]


def words_in(memory: Words) -> Words:
    """Return *memory* as 64-bit words."""
    return memory


def own_words_in(memory: Words) -> list[int]:
    """Return what stands for the words of *memory* where nobody else looks at them: a list is twice as quick."""
    return list(memory)


def halves_in(memory: Words) -> Words:
    """Return *memory* as words of 32 bits."""
    return memory


def signed_words_in(memory: Words) -> Words:
    """Return *memory* as signed 64-bit words."""
    return memory


def counters_in(memory: bytearray) -> bytearray:
    """Return *memory* as counters of one octet each."""
    return memory


def ports_in(memory: Words) -> Words:
    """Return *memory* as ports."""
    return memory


def slot_octets() -> int:
    """Return 0: slots are objects in a list here, and take none of the mapping."""
    return 0


def segment_octets() -> int:
    """Return 0: a segment is an object here, and takes none of the mapping."""
    return 0


def destination_octets() -> int:
    """Return 1: destinations_in() makes one destination for each octet of the mapping."""
    return 1


def send_for(_words: Words, _place: int) -> None:
    """Do nothing: compiled, this brings a word into the processor's cache."""


def seldom(condition: bool) -> bool:
    """Return *condition*, which is seldom true."""
    return condition


def any_alike(entries: Words, base: int, entry: int) -> bool:
    """Whether any of the entries at *base* has the same upper bits as this one."""
    return any((entries[base + way] ^ entry) >> NEAR_BITS == 0 for way in range(WAYS))


def push(entries: Words, base: int, entry: int) -> None:
    """Put an entry before the others at *base*, of which the last one goes."""
    for way in range(WAYS - 1, 0, -1):
        entries[base + way] = entries[base + way - 1]
    entries[base] = entry


def send_for_half(_words: Words, _place: int) -> None:
    """Do nothing: compiled, this brings half a word into the processor's cache."""


def fetch(_s: Slot) -> None:
    """Do nothing: compiled, this brings a slot into the processor's cache."""


def clear(words: Words, count: int) -> None:
    """Set the first *count* words to 0."""
    for place in range(count):
        words[place] = 0


def load_u16(d: Octets, i: int) -> int:
    """Return the two octets at *i*, in the order of most machines."""
    return int.from_bytes(d[i : i + 2], "little")


def load_u32(d: Octets, i: int) -> int:
    """Return the four octets at *i*, in the order of most machines."""
    return int.from_bytes(d[i : i + 4], "little")


def load_u64(d: Octets, i: int) -> int:
    """Return the eight octets at *i*, in the order of most machines."""
    return int.from_bytes(d[i : i + 8], "little")


def folded(a: int, b: int) -> int:
    """Return the two halves of the 128-bit product of two words, combined by XOR, so that all bits count."""
    product = a * b
    return product & LOW64 ^ product >> 64


def remember_header(s: Slot, d: Octets, at: int, size: int) -> None:
    """Remember the TCP header of the first SYN."""
    s.header = bytes(d[at : at + size])


def evidence_of(s: Slot) -> int:
    """Return on what grounds the opening in this slot is a self-connect, as a place in EVIDENCE."""
    return s.flags >> EVIDENCE & 3


def is_of(s: Slot, segment: Segment) -> bool:
    """Whether this slot has the segment's 4-tuple."""
    return (
        s.a_low == segment.a_low
        and s.b_low == segment.b_low
        and s.a_port == segment.a_port
        and s.b_port == segment.b_port
        and s.a_high == segment.a_high
        and s.b_high == segment.b_high
        and s.six == segment.six
    )


def name_ends(segment: Segment, s: Slot) -> None:
    """Give a segment the 4-tuple of its conversation: interpreted_engine.py does without where it can."""
    segment.a_high, segment.a_low, segment.b_high, segment.b_low = s.a_high, s.a_low, s.b_high, s.b_low
    segment.a_port, segment.b_port, segment.six = s.a_port, s.b_port, s.six


def acknowledges_syn(ack: int, isn: int, data: int) -> bool:
    """Whether an ACK field acknowledges the SYN with this ISN, and no more than the *data* octets in it."""
    return (ack - isn - 1) & LOW32 <= data


def within(number: int, isn: int, last: int) -> bool:
    """Whether a sequence number lies from ISN + 1 to *last*."""
    return (number - isn - 1) & LOW32 <= (last - isn - 1) & LOW32


def apart(one: int, other: int) -> int:
    """Return the distance of two times, in nanoseconds."""
    return abs(one - other)


def ahead(one: int, other: int) -> bool:
    """Whether the first of two sequence numbers is the later one (RFC 9293 3.4)."""
    return 0 < (one - other) & LOW32 < HALF32


def take_first(s: Slot, segment: Segment, d: Octets) -> None:
    """Note this segment as the first one of the opening in this slot."""
    s.time, s.frame, s.size = segment.time, segment.frame, segment.size
    s.syn_data = min(LOW16, segment.data)
    s.identification = segment.identification
    s.syn_data_second = s.before = s.retransmissions = 0
    s.header = bytes(d[segment.at : segment.at + segment.size])


def octets_of_header(s: Slot) -> Octets:
    """Return the TCP header of the first SYN, as octets to read."""
    return s.header


def place_of(d: Octets, p: int, where: int) -> int:
    """Return where a common frame was seen: what links.tagged() and then headers.ipv4() make of *where*."""
    return (folded(load_u64(d, p) ^ where, load_u64(d, p + 4) ^ MIX1) ^ d[p + 22] * MIX_TTL) & LOW32


def traces(d: Octets, segment: Segment) -> int:
    """Return a 16-bit hash of the TCP checksum and of IP header fields that a duplicate's key does not have."""
    ip, at = segment.ip, segment.at
    if segment.six:
        return (u16(d, ip) ^ u16(d, at + 16) * 5 ^ u16(d, ip + 2) * 3) & LOW16
    return traces_of_4(d, ip, at)


def traces_of_4(d: Octets, ip: int, at: int) -> int:
    """The same of an IPv4 packet whose header is at *ip*, and its TCP header at *at*."""
    return (u16(d, ip) ^ u16(d, at + 16) * 5 ^ u16(d, ip + 6) * 3 ^ u16(d, ip + 10) * 7) & LOW16


def marks_of(packet: Packet) -> tuple[int, int, int]:
    """Return where a packet was seen, its IPv4 identification, and its other traces."""
    _, _, head, where = packet
    if isinstance(where, tuple):
        return where
    return place_of(head, 0, where), u16(head, 18), traces_of_4(head, 14, 34)


def header_of(s: Slot) -> bytes:
    """Return the TCP header of the first SYN."""
    return s.header


# Log entries (partial.py).


def entry_octets() -> int:
    """Return 0: entries are objects in a list here, and take none of the mapping."""
    return 0


def entries_in(_memory: object) -> list[Entry]:
    """Return an empty log."""
    return []


def add_entry(entries: list[Entry]) -> None:
    """Make the next entry."""
    entries.append(Entry())


def entry_in(d: Octets, place: int) -> Entry:
    """Return the entry with this number in the octets of a part."""
    e = Entry()
    fields = ENTRY.unpack_from(d, place * ENTRY.size)
    e.a_high, e.a_low, e.b_high, e.b_low, e.time, e.frame, e.data, e.refused_a, e.refused_b, e.place = fields[:10]
    e.identification, e.a_port, e.b_port, e.six, e.from_a, e.wired, e.kind, e.size, e.duplicate, e.octets = fields[10:]
    return e


def slot_in(d: Octets, place: int) -> Slot:
    """Return the slot with this number in the octets of a part."""
    s = Slot()
    for name, value in zip(SLOT_FIELDS, SLOT.unpack_from(d, place * SLOT.size), strict=True):
        setattr(s, name, value)
    s.header = s.header[: s.size]
    return s


def octets_of_entry(e: Entry) -> bytes:
    """Return the octets of the packet that an entry is about."""
    return e.octets


def octets_of_entries(entries: list[Entry], count: int) -> bytes:
    """Return the first *count* entries as octets."""
    return b"".join(octets_of_entry_at(entries, place) for place in range(count))


def octets_of_entry_at(entries: list[Entry], place: int) -> bytes:
    """Return one of the entries as octets."""
    return ENTRY.pack(*_OF_ENTRY(entries[place]))


def octets_of_slot(s: Slot) -> bytes:
    """Return a slot as octets."""
    s.reach &= LOW32  # as a C integer
    return SLOT.pack(*_OF_SLOT(s))


def copy_slot(s: Slot, of: Slot) -> None:
    """Make a slot like another one."""
    for name in SLOT_FIELDS:
        setattr(s, name, getattr(of, name))


def copy_entry(e: Entry, of: Entry) -> None:
    """Make an entry like another one."""
    for name in Entry.__slots__:
        setattr(e, name, getattr(of, name))


def note_segment(e: Entry, segment: Segment, kind: int) -> None:
    """Note in an entry what a segment is, but for its octets."""
    e.a_high, e.a_low, e.b_high, e.b_low = segment.a_high, segment.a_low, segment.b_high, segment.b_low
    e.a_port, e.b_port, e.six = segment.a_port, segment.b_port, segment.six
    e.time, e.frame, e.data, e.place = segment.time, segment.frame, segment.data, segment.place
    e.identification, e.from_a, e.wired = segment.identification, segment.from_a, segment.wired
    e.refused_a = e.refused_b = e.size = e.duplicate = 0
    e.octets = b""
    e.kind = kind


def note_conversation(e: Entry, s: Slot, kind: int) -> None:
    """Note in an entry the conversation of a slot."""
    e.a_high, e.a_low, e.b_high, e.b_low = s.a_high, s.a_low, s.b_high, s.b_low
    e.a_port, e.b_port, e.six = s.a_port, s.b_port, s.six
    e.time = e.frame = e.data = e.place = e.identification = e.refused_a = e.refused_b = 0
    e.size = e.duplicate = 0
    e.from_a = e.wired = False
    e.octets = b""
    e.kind = kind


def note_octets(e: Entry, d: Octets, segment: Segment, size: int) -> None:
    """Note octets of a packet in an entry: *size* of its TCP header, and of the IP header what is needed."""
    header = bytes(d[segment.ip : min(segment.at, segment.ip + TCP_AT)])
    e.octets = header.ljust(TCP_AT, b"\0") + bytes(d[segment.at : segment.at + size])
    e.size = size


def note_error(e: Entry, octets: bytes) -> None:
    """Note what an ICMP error says in an entry."""
    e.octets = octets
    e.size = len(octets)


def keyed(port: int, six: int) -> int:
    """Return the port of a destination as its key has it."""
    return port | six << 32


class Index:
    """Where the conversation of a 4-tuple is: a dict from its octets as a header has them, in both directions.

    Each value is slot << 2, plus 2 if both endpoints are equal, plus 1 if A is the sender.
    """

    def __init__(self, _capacity: int) -> None:
        self.ways: dict[bytes, int] = {}

    def digest_tuple(self, _segment: Segment) -> int:
        """Return 0: the dict makes its own hashes."""
        return 0

    def digest_batch(self, batch: list[Segment], count: int) -> None:
        """Do nothing: the dict makes its own hashes."""

    def look_up_batch(self, batch: list[Segment], count: int, slots: list[Slot]) -> None:
        """Find the slots of a batch."""
        for segment in batch[:count]:
            segment.slot = self.find(segment, slots)

    def find(self, segment: Segment, _slots: list[Slot]) -> int:
        """Return the slot of the segment's 4-tuple, -1 where it has none."""
        if segment.six:
            way = _WAY_6(
                segment.a_high, segment.a_low, segment.b_high, segment.b_low, segment.a_port << 16 | segment.b_port
            )
        else:
            way = _WAY_4(segment.a_low, segment.b_low, segment.a_port << 16 | segment.b_port)
        return self.ways.get(way, -1) >> 2

    def enter(self, _tag: int, slot: int, s: Slot) -> None:
        """Enter the conversation in *slot*."""
        there, back = self._both_ways(s)
        self.ways[back] = slot << 2
        self.ways[there] = slot << 2 | (3 if there == back else 1)

    def remove(self, slot: int, slots: list[Slot]) -> None:
        """Take a conversation out."""
        for way in self._both_ways(slots[slot]):
            self.ways.pop(way, None)

    def _both_ways(self, s: Slot) -> tuple[bytes, bytes]:
        there, back = s.a_port << 16 | s.b_port, s.b_port << 16 | s.a_port
        if s.six:
            a, b = (s.a_high, s.a_low), (s.b_high, s.b_low)
            return _WAY_6(*a, *b, there), _WAY_6(*b, *a, back)
        return _WAY_4(s.a_low, s.b_low, there), _WAY_4(s.b_low, s.a_low, back)


class Duplicates:
    """Finds packets that were captured already, less than NEAR frames before.

    Two dicts from what makes a segment (addresses, ports, TCP header without checksum, length) to what is remembered of
    the packets that had it; the older one goes when the other is full.
    """

    def __init__(self, _frames: int) -> None:
        self.recent: dict[bytes, tuple[Packet, ...]] = {}
        self.older: dict[bytes, tuple[Packet, ...]] = {}

    def digest_batch(self, d: Octets, batch: list[Segment], count: int) -> None:
        """Do nothing: the dict makes its own hashes."""

    def mark(self, d: Octets, batch: list[Segment], count: int) -> None:
        """Mark those of the first *count* segments of a batch whose packets were captured already."""
        for segment in batch[:count]:
            segment.duplicate = self.seen(d, segment)

    def seen(self, d: Octets, segment: Segment) -> int:
        """Return how many frames ago this packet was captured already; if it was not, 0, and it is remembered."""
        ip, at, s = segment.ip, segment.at, segment
        ends = d[ip + 8 : ip + 40] if s.six else d[ip + 12 : ip + 20]
        key = b"".join((ends, d[at : at + 16], d[at + 18 : at + s.size], s.data.to_bytes(4, "big")))
        return self.is_copy(key, (s.frame, s.time, b"", (s.place, s.identification, traces(d, s))))

    def is_copy(self, key: bytes, packet: Packet) -> int:
        """The same of a packet with this key."""
        before = self.recent.get(key) or self.older.get(key, ())
        if before:
            frame, time, _, _ = packet
            place, identification, trace = marks_of(packet)
            for one in before:
                then, when, _, _ = one
                if frame - then >= NEAR:
                    continue
                where, number, rest = marks_of(one)
                if where != place:
                    if abs(time - when) <= ELSEWHERE and (number == identification or not number or not identification):
                        return frame - then
                elif abs(time - when) <= MILLISECOND and number == identification and rest == trace:
                    return frame - then
            before = tuple(one for one in before if frame - one[0] < NEAR)
        self.recent[key] = (packet, *before)
        if len(self.recent) == NEAR:
            self.older, self.recent = self.recent, {}
        return 0
