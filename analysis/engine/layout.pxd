# The C structs of layout.py, and its numbers (numbers.pxi, which setup.py writes).
from libc.string cimport memcpy, memset
from .octets cimport address, bytes_at, copy_header, folded, halves, has_alike, i64, load_u16, load_u64, prefetch, u64

from libc.stdint cimport uint8_t, uint16_t, uint32_t

include "numbers.pxi"

cdef struct Segment:
    u64 a_high
    u64 a_low
    u64 b_high
    u64 b_low
    uint16_t a_port
    uint16_t b_port
    uint8_t six
    uint8_t flags
    uint16_t window
    u64 frame
    i64 time
    uint32_t seq
    uint32_t ack

    u64 ends
    u64 digest
    i64 slot
    Py_ssize_t ip
    Py_ssize_t at
    uint32_t data
    uint32_t place
    uint16_t identification
    uint16_t duplicate
    uint8_t size
    uint8_t from_a
    uint8_t equal
    uint8_t wired

cdef struct Cursor:
    Py_ssize_t p
    Py_ssize_t end
    Py_ssize_t stop
    u64 kind
    Py_ssize_t ip
    u64 six
    u64 protocol
    u64 place
    Py_ssize_t source
    Py_ssize_t target
    u64 fragment
    u64 guess
    u64 cut

# Four lines of the processor's cache, 64 octets each. What a SYN and the RST to it need stands in the first two: the
# 4-tuple and the state; time, number and header of the first SYN (40 octets are Linux's).
cdef struct Slot:
    u64 a_high
    u64 a_low
    u64 b_high
    u64 b_low
    uint16_t a_port
    uint16_t b_port
    uint8_t six
    uint8_t phase
    uint8_t before
    uint8_t size
    uint32_t flags
    uint32_t retransmissions
    uint32_t isn
    uint32_t isn_second
    uint32_t next_first
    uint32_t reach

    u64 time
    u64 frame
    uint16_t syn_data
    uint16_t syn_data_second
    uint8_t scale_first
    uint8_t scale_second
    uint16_t identification
    uint8_t header[60]
    uint32_t early_isn
    u64 refused
    u64 since
    uint32_t next_second
    uint32_t another
    uint32_t acked_first
    uint32_t acked_second
    uint32_t edge_first
    uint32_t edge_second

    u64 early_time
    u64 ended_at
    uint32_t early_seq
    uint32_t early_end
    uint32_t early_reach
    uint8_t unused[36]

cdef struct Entry:
    u64 a_high
    u64 a_low
    u64 b_high
    u64 b_low
    i64 time
    u64 frame
    u64 data
    u64 refused_a
    u64 refused_b
    uint32_t place
    uint16_t identification
    uint16_t a_port
    uint16_t b_port
    uint8_t six
    uint8_t from_a
    uint8_t wired
    uint8_t kind
    uint8_t size
    uint8_t duplicate
    uint8_t octets[104]

cdef struct Destination:
    u64 high
    u64 low
    u64 port
    u64 six
    u64 used
    u64 count
    u64 walk
    u64 first
    u64 last

# For @cython.locals, which takes names alone.
ctypedef Slot* SlotAt
ctypedef Segment* SegmentAt
ctypedef Cursor* CursorAt
ctypedef Destination* DestinationAt
ctypedef Entry* EntryAt

cdef inline Slot* slot_at(Slot* slots, i64 slot) noexcept nogil:
    return slots + slot

cdef inline void add_slot(Slot* slots) noexcept nogil:
    pass  # interpreted, the list grows

cdef inline Segment* segment_at(Segment* batch, i64 place) noexcept nogil:
    return batch + place

cdef inline Destination* destination_at(Destination* table, i64 place) noexcept nogil:
    return table + place

cdef inline Slot* slots_in(object memory) except NULL:
    return <Slot*> address(memory)

cdef inline Cursor* cursor_in(object memory) except NULL:
    return <Cursor*> address(memory)

cdef inline Segment* segments_in(object memory) except NULL:
    return <Segment*> address(memory)

cdef inline Destination* destinations_in(object memory) except NULL:
    return <Destination*> address(memory)

cdef inline Py_ssize_t slot_octets() noexcept nogil:
    return sizeof(Slot)

cdef inline Py_ssize_t cursor_octets() noexcept nogil:
    return sizeof(Cursor)

cdef inline Py_ssize_t segment_octets() noexcept nogil:
    return sizeof(Segment)

cdef inline Py_ssize_t destination_octets() noexcept nogil:
    return sizeof(Destination)

cdef inline void remember_header(Slot* s, bytes_at d, Py_ssize_t at, u64 size) noexcept nogil:
    copy_header(s.header, d + at, size)

# Note this segment as the first one of the opening in this slot.
cdef inline void take_first(Slot* s, Segment* segment, bytes_at d) noexcept nogil:
    s.time = segment.time
    s.frame = segment.frame
    s.size = segment.size
    s.syn_data = min(segment.data, LOW16)
    s.syn_data_second = 0
    s.identification = segment.identification
    s.before = 0
    s.retransmissions = 0
    copy_header(s.header, d + segment.at, segment.size)

cdef inline bytes header_of(Slot* s):
    return s.header[:s.size]

# On what grounds the opening in a slot is a self-connect, as a place in EVIDENCE.
cdef inline u64 evidence_of(Slot* s) noexcept nogil:
    return s.flags >> EVIDENCE & 3

# Whether this slot has the segment's 4-tuple.
cdef inline bint is_of(Slot* s, Segment* segment) noexcept nogil:
    return (
        s.a_low == segment.a_low and s.b_low == segment.b_low
        and s.a_port == segment.a_port and s.b_port == segment.b_port
        and s.a_high == segment.a_high and s.b_high == segment.b_high
        and s.six == segment.six
    )

cdef inline void name_ends(Segment* segment, Slot* s) noexcept nogil:
    pass  # interpreted, a segment may have come without

# Whether an ACK field acknowledges the SYN with this ISN, and no more than the data in it.
cdef inline bint acknowledges_syn(u64 ack, u64 isn, u64 data) noexcept nogil:
    return ((ack - isn - 1) & LOW32) <= data

# Whether a sequence number lies from ISN + 1 to *last*.
cdef inline bint within(u64 number, u64 isn, u64 last) noexcept nogil:
    return ((number - isn - 1) & LOW32) <= ((last - isn - 1) & LOW32)

# The distance of two times.
cdef inline u64 apart(u64 one, u64 other) noexcept nogil:
    return one - other if one > other else other - one

# Whether the first of two sequence numbers is the later one (RFC 9293 3.4).
cdef inline bint ahead(u64 one, u64 other) noexcept nogil:
    return 0 < ((one - other) & LOW32) < HALF32

cdef inline bytes_at octets_of_header(Slot* s) noexcept nogil:
    return s.header

cdef inline void fetch(Slot* s) noexcept nogil:
    prefetch(s)
    prefetch(<char*> s + 64)

# Whether any of the eight entries at *base* has the same upper bits as this one.
cdef inline bint any_alike(halves entries, u64 base, uint32_t entry) noexcept nogil:
    return has_alike(entries, base, entry, NEAR_BITS)

# Where a common frame was seen: what links.tagged() and then headers.ipv4() make of *where*.
cdef inline u64 place_of(bytes_at d, Py_ssize_t p, u64 where) noexcept nogil:
    return (folded(load_u64(d, p) ^ where, load_u64(d, p + 4) ^ MIX1) ^ d[p + 22] * MIX_TTL) & LOW32

# A hash of the TCP checksum and of IP header fields that a duplicate's key does not have.
cdef inline u64 traces(bytes_at d, Segment* segment) noexcept nogil:
    cdef u64 found = load_u16(d, segment.ip) ^ load_u16(d, segment.at + 16) * 5
    if segment.six:
        return (found ^ load_u16(d, segment.ip + 2) * 3) & LOW16
    return (found ^ load_u16(d, segment.ip + 6) * 3 ^ load_u16(d, segment.ip + 10) * 7) & LOW16

cdef inline uint16_t* ports_in(object memory) except NULL:
    return <uint16_t*> address(memory)

# Log entries (partial.py).

cdef inline Py_ssize_t entry_octets() noexcept nogil:
    return sizeof(Entry)

cdef inline Entry* entries_in(object memory) except NULL:
    return <Entry*> address(memory)

cdef inline Entry* entry_at(Entry* entries, i64 place) noexcept nogil:
    return entries + place

cdef inline void add_entry(Entry* entries) noexcept nogil:
    pass  # interpreted, the list grows

# The entry, and the slot, with this number in the octets of a part.
cdef inline Entry* entry_in(bytes_at d, i64 place) noexcept nogil:
    return <Entry*> d + place

cdef inline Slot* slot_in(bytes_at d, i64 place) noexcept nogil:
    return <Slot*> d + place

cdef inline bytes_at octets_of_entry(Entry* e) noexcept nogil:
    return e.octets

cdef inline bytes octets_of_entries(Entry* entries, i64 count):
    return (<char*> entries)[:count * sizeof(Entry)]

cdef inline bytes octets_of_entry_at(Entry* entries, i64 place):
    return (<char*> (entries + place))[:sizeof(Entry)]

cdef inline bytes octets_of_slot(Slot* s):
    return (<char*> s)[:sizeof(Slot)]

cdef inline void copy_slot(Slot* s, Slot* of) noexcept nogil:
    s[0] = of[0]

cdef inline void copy_entry(Entry* e, Entry* of) noexcept nogil:
    e[0] = of[0]

# Note what a segment is, but for its octets.
cdef inline void note_segment(Entry* e, Segment* segment, u64 kind) noexcept nogil:
    memset(e, 0, sizeof(Entry))
    e.a_high = segment.a_high
    e.a_low = segment.a_low
    e.b_high = segment.b_high
    e.b_low = segment.b_low
    e.a_port = segment.a_port
    e.b_port = segment.b_port
    e.six = segment.six
    e.time = segment.time
    e.frame = segment.frame
    e.data = segment.data
    e.place = segment.place
    e.identification = segment.identification
    e.from_a = segment.from_a
    e.wired = segment.wired
    e.kind = kind

# Note the conversation of a slot.
cdef inline void note_conversation(Entry* e, Slot* s, u64 kind) noexcept nogil:
    memset(e, 0, sizeof(Entry))
    e.a_high = s.a_high
    e.a_low = s.a_low
    e.b_high = s.b_high
    e.b_low = s.b_low
    e.a_port = s.a_port
    e.b_port = s.b_port
    e.six = s.six
    e.kind = kind

# Note octets of a packet, of which the TCP header takes the last *size*.
cdef inline void note_octets(Entry* e, bytes_at d, Segment* segment, u64 size) noexcept nogil:
    memcpy(e.octets, d + segment.ip, min(segment.at - segment.ip, TCP_AT))
    memcpy(e.octets + TCP_AT, d + segment.at, size)
    e.size = size

cdef inline void note_error(Entry* e, bytes octets):
    memcpy(e.octets, <char*> octets, len(octets))
    e.size = len(octets)

# The port of a destination as its key has it.
cdef inline u64 keyed(u64 port, u64 six) noexcept nogil:
    return port | six << 32
