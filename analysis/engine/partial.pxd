import cython
from .head_log cimport LoggedConversations
from .layout cimport *
from .octets cimport *

cdef class PartialConversations(LoggedConversations):
    cdef bint absorbing
    cdef object marks_memory
    cdef octets_at marks
    cdef object again_memory
    cdef Segment* again_batch

    cdef i64 make_room(self) except -9 nogil
    @cython.locals(s=SlotAt, mark=u64)
    cdef int find_oldest(self) except -1 nogil
    cdef int mark(self, i64 slot, u64 what) except -1 nogil

    cpdef list work_through(self, bytes log, u64 base, list finished, list finished_at)
    @cython.locals(d=bytes_at, count=i64, one=EntryAt)
    cdef i64 work_up_to(self, bytes log, i64 place, u64 frame, u64 base) except -1
    @cython.locals(segment=SegmentAt, slot=i64, kind=u64)
    cdef int again(self, Entry* one, u64 base) except -1 nogil
    @cython.locals(segment=SegmentAt)
    cdef int put_in_hand(self, Entry* one, u64 base) except -1 nogil
    @cython.locals(segment=SegmentAt, d=bytes_at)
    cdef int read_header(self, Entry* one) except -1 nogil
    @cython.locals(segment=SegmentAt, slot=i64, d=bytes_at)
    cdef int again_copy(self, Entry* one) except -1 nogil
    @cython.locals(segment=SegmentAt, slot=i64)
    cdef Py_ssize_t find_conversation(self, Entry* one) except -9 nogil
    @cython.locals(segment=SegmentAt, d=bytes_at)
    cdef int again_duplicate(self, Entry* one) except -1 nogil
    @cython.locals(segment=SegmentAt, slot=i64)
    cdef int again_segment(self, Entry* one) except -1 nogil
    @cython.locals(segment=SegmentAt)
    cdef int again_error(self, bytes_at d, Py_ssize_t size) except -1 with gil
    @cython.locals(segment=SegmentAt)
    cdef int again_answer(self, Entry* one, i64 slot) except -1 nogil
    @cython.locals(segment=SegmentAt)
    cdef int again_side(self, Entry* one, i64 slot) except -1 nogil
    @cython.locals(entry=u64)
    cdef int renew(self, i64 slot) except -1 nogil
    @cython.locals(d=bytes_at, place=i64, one=EntryAt, segment=SegmentAt, slot=i64)
    cpdef bint fits(self, bytes log)
    @cython.locals(s=SlotAt)
    cdef bint concerns(self, i64 slot, Segment* segment) noexcept nogil
    @cython.locals(segment=SegmentAt, s=SlotAt)
    cdef int independent(self, Entry* one, i64 slot) except -1 nogil
    @cython.locals(s=SlotAt, phase=u64)
    cdef int left_out(self, i64 slot, u64 count) except -1 nogil
    @cython.locals(kept=Py_ssize_t)
    cdef int omit(self, i64 slot, Slot* s, u64 count) except -1 with gil

    @cython.locals(slot=i64, s=SlotAt, entry=u64, numbers=words)
    cpdef tuple tails(self)
    cpdef bytes log_octets(self)
    @cython.locals(one=EntryAt, first=i64, frame=i64)
    cpdef bytes ring_octets(self, i64 frames)
    @cython.locals(d=bytes_at, place=i64, number=i64, slot=i64)
    cpdef take_tails(self, bytes tails, dict held, object origins, u64 base)
    @cython.locals(number=i64)
    cdef int take_slots(self, bytes_at d, i64 start, i64 end, u64 base) except -1 nogil
    @cython.locals(segment=SegmentAt)
    cdef i64 slot_of(self, Slot* tail) except -9 nogil
    @cython.locals(slot=i64, s=SlotAt, touched=u64)
    cdef i64 take_slot(self, Slot* tail, u64 base) except -9 nogil
    @cython.locals(s=SlotAt)
    cdef int take_held(self, i64 slot, object held, u64 base) except -1
    @cython.locals(slot=i64)
    cdef int forget_marks(self) except -1 nogil
    @cython.locals(d=bytes_at, place=i64)
    cpdef take_ring(self, bytes ring, u64 base)
    @cython.locals(segment=SegmentAt, mine=EntryAt)
    cdef int take_packet(self, Entry* one, u64 base) except -1 nogil
