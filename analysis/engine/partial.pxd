import cython
from .translations cimport AllConversations
from .destinations cimport packed
from .layout cimport *
from .octets cimport *
from .refusals cimport RefusedAttempts

cdef class PartialConversations(AllConversations):
    cdef public bint unsure, remembers
    cdef bint absorbing
    cdef u64 mark_a, mark_b
    cdef readonly u64 ring_from
    cdef readonly i64 logged
    cdef i64 log_room
    cdef object log_memory, ring_memory, marks_memory
    cdef Entry* log
    cdef Entry* ring
    cdef octets_at marks
    cdef readonly RefusedAttempts refused
    cdef public list finished_at
    cdef object again_memory
    cdef Segment* again_batch

    cpdef begin(self, bint heads)
    cpdef remember_from(self, u64 frame)
    @cython.locals(one=EntryAt)
    cdef int remember_packet(self, Segment* segment, bytes_at d) except -1 nogil
    @cython.locals(slot=i64)
    cdef int log_possible_copy(self, Segment* segment, bytes_at d) except -1 nogil
    @cython.locals(one=EntryAt)
    cdef int log_segment(self, Segment* segment, bytes_at d, u64 kind, u64 size) except -1 nogil
    @cython.locals(one=EntryAt)
    cdef int log_conversation(self, i64 slot, u64 kind, Segment* segment, u64 count) except -1 nogil
    cdef bint has_room(self) except -1 nogil
    @cython.locals(used=Py_ssize_t)
    cdef int grow_log(self) except -1 with gil
    cdef int count_entry(self, Entry* one) except -1 nogil
    @cython.locals(s=SlotAt, control=u64, side=u64, another=bint)
    cdef bint head(self, i64 slot, Segment* segment, bytes_at d) except -1 nogil
    cdef int begin_independent(self, Slot* s) except -1 nogil
    @cython.locals(twin=i64)
    cdef int doubt_answers(self, i64 slot, Segment* segment, u64 control) except -1 nogil
    cdef int link(self, i64 slot, i64 twin) except -1 with gil
    cdef int miss(self, i64 slot, Segment* segment, bytes_at d) except -1 nogil
    @cython.locals(one=EntryAt)
    cdef int miss_error(self, Segment* quoted, bytes sender, i64 kind, i64 code) except -1 with gil
    cdef int log_independent(self, i64 slot, Segment* segment) except -1 nogil
    @cython.locals(s=SlotAt)
    cdef int flush(self, i64 slot, Segment* segment) except -1 nogil
    cdef int hand_on(self, i64 slot, u64 verdict) except -1 with gil
    cdef int recall(self, Slot* s) except -1 nogil
    cdef int refuse(self, Slot* s) except -1 nogil
    cpdef list walks(self)
    cpdef list chosen_destinations(self)
    cpdef finish(self)
    cdef i64 make_room(self) except -9 nogil
    @cython.locals(s=SlotAt, mark=u64)
    cdef int find_oldest(self) except -1 nogil
    cdef int mark(self, i64 slot, u64 what) except -1 nogil

    @cython.locals(d=bytes_at, place=i64, count=i64)
    cpdef work_through(self, bytes log, u64 base)
    @cython.locals(segment=SegmentAt, slot=i64, kind=u64)
    cdef int again(self, Entry* one, u64 base) except -1 nogil
    @cython.locals(segment=SegmentAt)
    cdef int put_in_hand(self, Entry* one, u64 base) except -1 nogil
    @cython.locals(segment=SegmentAt, d=bytes_at)
    cdef int read_header(self, Entry* one) except -1 nogil
    @cython.locals(slot=i64)
    cdef int again_copy(self, Entry* one) except -1 nogil
    @cython.locals(segment=SegmentAt, slot=i64, s=SlotAt)
    cdef int again_segment(self, Entry* one) except -1 nogil
    @cython.locals(segment=SegmentAt)
    cdef int again_error(self, bytes_at d, Py_ssize_t size) except -1 with gil
    @cython.locals(segment=SegmentAt)
    cdef int again_answer(self, Entry* one, i64 slot) except -1 nogil
    @cython.locals(d=bytes_at, place=i64, one=EntryAt, segment=SegmentAt, slot=i64)
    cpdef bint fits(self, bytes log)
    @cython.locals(s=SlotAt)
    cdef bint concerns(self, i64 slot, Segment* segment) noexcept nogil
    @cython.locals(segment=SegmentAt, s=SlotAt)
    cdef int again_fresh(self, Entry* one, i64 slot) except -1 nogil
    @cython.locals(s=SlotAt)
    cdef int independent(self, i64 slot, Segment* segment) except -1 nogil
    @cython.locals(s=SlotAt, phase=u64)
    cdef int left_out(self, i64 slot, u64 count) except -1 nogil
    @cython.locals(kept=Py_ssize_t)
    cdef int omit(self, i64 slot, Slot* s, u64 count) except -1 with gil

    @cython.locals(slot=i64, s=SlotAt)
    cpdef tuple tails(self)
    cpdef bytes log_octets(self)
    @cython.locals(one=EntryAt, frame=i64)
    cpdef bytes ring_octets(self, i64 frames)
    @cython.locals(d=bytes_at, place=i64, number=i64)
    cpdef take_tails(self, bytes tails, dict held, u64 base)
    @cython.locals(number=i64)
    cdef int take_slots(self, bytes_at d, i64 start, i64 end, u64 base) except -1 nogil
    @cython.locals(segment=SegmentAt, slot=i64, s=SlotAt, touched=u64, twin=i64)
    cdef i64 take_slot(self, Slot* tail, u64 base, u64 link) except -9 nogil
    @cython.locals(s=SlotAt)
    cdef int take_held(self, i64 slot, object held, u64 base) except -1
    @cython.locals(slot=i64)
    cdef int forget_marks(self) except -1 nogil
    @cython.locals(d=bytes_at, place=i64)
    cpdef take_ring(self, bytes ring, u64 base)
    @cython.locals(segment=SegmentAt, mine=EntryAt)
    cdef int take_packet(self, Entry* one, u64 base) except -1 nogil
