import cython
from .translations cimport AllConversations
from .destinations cimport packed
from .layout cimport *
from .octets cimport *

cdef class PartialConversations(AllConversations):
    cdef public bint unsure
    cdef u64 mark_a, mark_b
    cdef public list log, finished_at
    cdef public dict ring, refusals
    cdef public object fresh
    cdef object again_memory
    cdef Segment* again_batch

    cpdef begin(self, bint heads)
    cdef int remember_packet(self, Segment* segment, bytes_at d) except -1 with gil
    cdef int log_possible_copy(self, Segment* segment, bytes_at d) except -1 with gil
    @cython.locals(s=SlotAt, control=u64, side=u64, another=bint)
    cdef bint head(self, i64 slot, Segment* segment, bytes_at d) except -1 with gil
    cdef int log_independent(self, i64 slot, Segment* segment) except -1
    @cython.locals(s=SlotAt)
    cdef int flush(self, i64 slot) except -1
    cdef object entry(self, Segment* segment, bytes packet, i64 size)
    @cython.locals(twin=i64)
    cdef int doubt_answers(self, i64 slot, Segment* segment, u64 control) except -1
    cdef int link(self, i64 slot, i64 twin) except -1 with gil
    cdef int miss(self, i64 slot, Segment* segment, bytes_at d) except -1 with gil
    cdef int miss_error(self, Segment* quoted, bytes sender, i64 kind, i64 code) except -1 with gil
    cdef object log_of_slot(self, Slot* s, i64 time, u64 data, i64 size)
    cdef int write_log(self, object entry) except -1
    cdef int hand_on(self, i64 slot, u64 verdict) except -1 with gil
    cdef i64 make_room(self) except -9 nogil
    cdef u64 refused_at(self, object key) except? 77
    cdef int recall(self, Slot* s) except -1 with gil
    cdef int refuse(self, Slot* s) except -1 with gil
    cpdef list walks(self)
    cpdef finish(self)
    @cython.locals(segment=SegmentAt)
    cdef int put_in_hand(self, object one, u64 base) except -1
    @cython.locals(segment=SegmentAt)
    cdef int read_header(self, bytes_at d, Py_ssize_t at, u64 size) except -1
    @cython.locals(segment=SegmentAt)
    cdef int again_copy(self, object one, bytes_at d) except -1
    @cython.locals(segment=SegmentAt)
    cdef int again_error(self, bytes packet) except -1
    @cython.locals(segment=SegmentAt, d=bytes_at)
    cdef int again_answer(self, object one, i64 slot) except -1
    cdef int take_answers(self, i64 slot, object tail, Segment* segment) except -1
    @cython.locals(size=i64, slot=i64)
    cpdef again(self, object one, u64 base)
    @cython.locals(segment=SegmentAt, d=bytes_at, slot=i64, s=SlotAt)
    cdef int again_segment(self, object one, Py_ssize_t at) except -1
    @cython.locals(s=SlotAt, segment=SegmentAt)
    cdef int independent(self, i64 slot, object one) except -1
    @cython.locals(s=SlotAt, phase=u64)
    cdef int left_out(self, i64 slot, u64 count) except -1
    @cython.locals(slot=i64, s=SlotAt)
    cpdef list tails(self)
    @cython.locals(segment=SegmentAt, slot=i64, s=SlotAt)
    cpdef take_tail(self, object tail)
    @cython.locals(d=bytes_at)
    cpdef take_packet(self, object one, u64 base)
