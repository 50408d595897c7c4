import cython
from .translations cimport AllConversations
from .headers cimport Headers
from .interfaces cimport Interfaces
from .layout cimport *
from .octets cimport *

@cython.locals(head=u64, size=u64)
cdef bint is_common(bytes_at d, Py_ssize_t p) noexcept nogil

@cython.locals(
    head=u64, ends=u64, ports=u64, numbers=u64, source=u64, target=u64, from_a=bint, low=u64, high=u64, size=Py_ssize_t)
cdef void read_common(bytes_at d, Py_ssize_t p, Py_ssize_t end, u64 where, Segment* one) noexcept nogil

@cython.final
cdef class Engine:
    cdef public AllConversations table
    cdef tuple of_table
    cdef bint equal_only, big, host_set, picky
    cdef u64 port, host_high, host_low
    cdef Headers headers
    cdef object cursor_memory, batch_memory
    cdef Cursor* cursor
    cdef Segment* batch
    cdef Py_ssize_t room, waiting
    cdef readonly object reasons
    cdef words counted_reasons
    cdef object account_memory
    cdef words account
    cdef readonly list kinds
    cdef public i64 cut_to_itself, needed_snaplen
    cdef readonly Interfaces interfaces
    cdef public u64 packets, passed_over
    cdef public Py_ssize_t position, need
    cdef i64 broken, claimed
    cdef Py_ssize_t record_header
    cdef i64 scale, link, lengths
    cdef u64 where

    cpdef next_file(self)
    cpdef begin_pcap(self, bint big, Py_ssize_t header, i64 scale, i64 link, i64 lengths)
    @cython.locals(d=bytes_at)
    cpdef pcap(self, object octets, Py_ssize_t i, Py_ssize_t end)
    @cython.locals(seconds=i64, ticks=i64, size=i64, wire=i64, p=Py_ssize_t, header=Py_ssize_t, link=i64, plain=bint)
    cdef inline int records(self, bytes_at d, Py_ssize_t i, Py_ssize_t end, i64 lengths) except -1 nogil
    @cython.locals(
        header=Py_ssize_t, scale=i64, where=u64, batch=SegmentAt, room=Py_ssize_t, packets=u64, waiting=Py_ssize_t,
        last=Py_ssize_t, p=Py_ssize_t, size=i64, one=SegmentAt)
    cdef Py_ssize_t common_records(self, bytes_at d, Py_ssize_t i, Py_ssize_t end) except -1 nogil
    @cython.locals(packets=u64, header=Py_ssize_t, big=bint, last=Py_ssize_t, p=Py_ssize_t, size=i64, ports=u64)
    cdef Py_ssize_t pass_over(self, bytes_at d, Py_ssize_t i, Py_ssize_t end) noexcept nogil
    cdef int read_records(self, bytes_at d, Py_ssize_t i, Py_ssize_t end) except -1 nogil
    @cython.locals(d=bytes_at)
    cpdef pcapng(self, object octets, Py_ssize_t i, Py_ssize_t end)
    @cython.locals(kind=u64, size=i64)
    cdef int read_blocks(self, bytes_at d, Py_ssize_t i, Py_ssize_t end) except -1 nogil
    cdef inline u64 order16(self, bytes_at d, Py_ssize_t i) noexcept nogil
    cdef inline u64 order32(self, bytes_at d, Py_ssize_t i) noexcept nogil
    @cython.locals(which=i64, size=i64, wire=i64, ticks=u64, time=i64)
    cdef bint block(self, bytes_at d, u64 kind, Py_ssize_t p, Py_ssize_t end) except -1 nogil
    cdef bint other_block(self, bytes_at d, u64 kind, Py_ssize_t p, Py_ssize_t end) except -1 nogil
    @cython.locals(ports=u64)
    cdef inline int frame(self, bytes_at d, Py_ssize_t p, Py_ssize_t end, Py_ssize_t stop, i64 link, i64 time) except -1 nogil
    @cython.locals(one=SegmentAt)
    cdef inline int common_frame(self, bytes_at d, Py_ssize_t p, Py_ssize_t end, i64 time) except -1 nogil
    @cython.locals(c=CursorAt, found=i64)
    cdef int odd_frame(self, bytes_at d, Py_ssize_t p, Py_ssize_t end, Py_ssize_t stop, i64 link, i64 time) except -1 nogil
    @cython.locals(size=Py_ssize_t, one=SegmentAt)
    cdef int odd_segment(self, bytes_at d, Cursor* c, Py_ssize_t p, i64 link, i64 time) except -9 nogil
    @cython.locals(one=SegmentAt)
    cdef bint is_to_itself(self, bytes_at d, Cursor* c) noexcept nogil
    @cython.locals(sender=Py_ssize_t, outer=u64, kind=i64, code=i64, one=SegmentAt)
    cdef int quoted(self, bytes_at d, Cursor* c, i64 time) except -1 nogil
    cdef int refused(self, bytes_at d, Segment* one, Py_ssize_t sender, Py_ssize_t after, i64 kind, i64 code) except -1 with gil
    cdef int note_kind(self, u64 kind) except -1 with gil
    cpdef add_accounted(self, u64 kind, u64 count)
    cdef inline bint ends(self, bytes_at d, Segment* one, Py_ssize_t source, Py_ssize_t target, Py_ssize_t p) noexcept nogil
    cdef inline int segment(
        self, bytes_at d, Segment* one, Py_ssize_t ip, Py_ssize_t source, Py_ssize_t target, Py_ssize_t p) except -1 nogil
    cdef bint is_asked_for(self, Segment* one) noexcept nogil
    cdef inline int put(self, bytes_at d, Segment* one) except -1 nogil
    cdef int hand_over(self, bytes_at d) except -1 nogil
