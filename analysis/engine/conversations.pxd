import cython
from .answers cimport Answers
from .destinations cimport Destinations, packed
from .duplicates cimport Duplicates
from .index cimport Index
from .kept cimport KeptSegments, handed_on
from .layout cimport *
from .octets cimport *
from .resets cimport acknowledges_early, all_acknowledged, answered_early, begin_numbers, begin_tracking, note_unanswered, remember_early, reset_fits, track

cdef int take_ends(Slot* s, Segment* segment) noexcept nogil
cdef void take_syn(Slot* s, Segment* segment, bytes_at d) noexcept nogil
@cython.locals(one=u64, two=u64, phase=u64, seq=u64, ack=u64, control=u64)
cdef u64 classify(Slot* s, Segment* segment, bint first) noexcept nogil

cdef class Conversations:
    cdef readonly u64 capacity
    cdef u64 collect, most, keep_phases, oldest, equals
    cdef readonly u64 used
    cdef bint count_refusals, heeds_refusals
    cdef public bint heads, remembers
    cdef public u64 zone
    cdef object memory
    cdef Slot* slots
    cdef Index index
    cdef Duplicates duplicates_seen
    cdef Destinations destinations
    cdef public KeptSegments kept
    cdef public Answers answers
    cdef public bint announce
    cdef public list decided
    cdef tuple tables
    cdef bytes_at rules, verdict_of
    cdef readonly object counted
    cdef object collected_memory
    cdef words counts, collected
    cdef public list finished
    cdef public u64 frame, segments, duplicates, midstream, midstream_to_itself, evicted

    @cython.final
    @cython.locals(place=Py_ssize_t)
    cdef int take_batch(self, bytes_at d, Segment* batch, Py_ssize_t count) except -1 nogil
    @cython.final
    @cython.locals(slot=i64)
    cdef inline int meet(self, Segment* segment, bytes_at d) except -1 nogil
    @cython.final
    cdef bint is_known(self, Segment* segment, bytes_at d) except -1 nogil
    @cython.final
    cdef inline bint refuse_plainly(self, Slot* s, i64 slot, Segment* segment, bint first) except -1 nogil
    @cython.final
    @cython.locals(s=SlotAt, control=u64, phase=u64, flags=u64, first=bint, event=u64, after=u64, answered=bint, ends=bint)
    cdef inline int step(self, i64 slot, Segment* segment, bytes_at d) except -1 nogil
    @cython.final
    cdef int decide(self, Slot* s) except -1 nogil
    @cython.final
    @cython.locals(s=SlotAt, control=u64, lent=bint)
    cdef int stray(self, i64 slot, Segment* segment, bytes_at d) except -1 nogil
    @cython.final
    @cython.locals(s=SlotAt)
    cdef int expect(self, i64 slot, Segment* segment, bytes_at d) except -1 nogil
    @cython.final
    @cython.locals(s=SlotAt)
    cdef int close_ended(self, i64 slot, Segment* segment) except -1 nogil
    @cython.final
    @cython.locals(s=SlotAt)
    cdef inline int open(self, i64 slot, Segment* segment, bytes_at d) except -1 nogil
    @cython.final
    @cython.locals(s=SlotAt, after=u64, joined=bint, fins=u64)
    cdef int open_specially(self, i64 slot, Segment* segment, bytes_at d) except -1 nogil
    @cython.final
    @cython.locals(twin=i64)
    cdef inline int enter(self, i64 slot, Segment* segment, bytes_at d) except -1 nogil
    @cython.final
    cdef int uncount_midstream(self, Slot* s, u64 counted) except -1 nogil
    @cython.final
    @cython.locals(s=SlotAt, verdict=u64)
    cdef int close(self, i64 slot) except -1 nogil
    @cython.locals(s=SlotAt)
    cdef int hand_on(self, i64 slot, u64 verdict) except -1 with gil
    @cython.final
    @cython.locals(s=SlotAt, verdict=u64)
    cdef int announce_opening(self, i64 slot) except -1 with gil
    @cython.final
    @cython.locals(s=SlotAt, limit=u64, retried=bint)
    cdef int keep(self, i64 slot, Segment* segment, bytes_at d, bint first) except -1 nogil
    @cython.locals(slot=u64)
    cpdef finish(self)
    @cython.final
    @cython.locals(slot=i64, s=SlotAt, flags=u64)
    cdef i64 claim(self, Segment* segment) except -9 nogil
    @cython.locals(slot=i64, s=SlotAt, equal=u64)
    cdef i64 make_room(self) except -9 nogil

    cdef int refuse(self, Slot* s) except -1 nogil
    cdef int recall(self, Slot* s) except -1 nogil
    cpdef list walks(self)
    cdef bint head(self, i64 slot, Segment* segment, bytes_at d) except -1 nogil
    cdef int remember_packet(self, Segment* segment, bytes_at d) except -1 nogil
    cdef int log_side(self, Segment* segment, bytes_at d) except -1 nogil
    cdef int log_possible_copy(self, Segment* segment, bytes_at d) except -1 nogil

    cdef int step_with_itself(self, i64 slot, Segment* segment, bytes_at d) except -1 nogil
    cdef int lend(self, i64 slot, Segment* segment, bytes_at d) except -1 nogil
    cdef int take_back(self, i64 slot) except -1 with gil
    cdef int link(self, i64 slot, i64 twin) except -1 with gil
    cdef int settle(self, i64 slot) except -1 with gil
