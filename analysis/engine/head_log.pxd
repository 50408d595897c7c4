import cython
from .translations cimport AllConversations
from .destinations cimport packed
from .layout cimport *
from .octets cimport *
from .refusals cimport RefusedAttempts

cdef class LoggedConversations(AllConversations):
    cdef public bint unsure
    cdef u64 mark_a, mark_b
    cdef readonly u64 ring_from
    cdef readonly i64 logged
    cdef i64 log_room
    cdef object log_memory, ring_memory
    cdef Entry* log
    cdef Entry* ring
    cdef readonly RefusedAttempts refused
    cdef public list finished_at

    cpdef begin(self, bint heads)
    cpdef remember_from(self, u64 frame)
    @cython.locals(one=EntryAt)
    cdef int remember_packet(self, Segment* segment, bytes_at d) except -1 nogil
    @cython.locals(slot=i64, before=i64)
    cdef int log_possible_copy(self, Segment* segment, bytes_at d) except -1 nogil
    @cython.locals(one=EntryAt)
    cdef int log_segment(self, Segment* segment, bytes_at d, u64 kind, u64 size) except -1 nogil
    cdef bint has_room(self) except -1 nogil
    @cython.locals(used=Py_ssize_t)
    cdef int grow_log(self) except -1 with gil
    cdef int count_entry(self, Entry* one) except -1 nogil
    @cython.locals(s=SlotAt, control=u64, side=u64, another=bint)
    cdef bint head(self, i64 slot, Segment* segment, bytes_at d) except -1 nogil
    cdef int begin_independent(self, Slot* s) except -1 nogil
    @cython.locals(place=i64)
    cdef int doubt_answers(self, i64 slot, Segment* segment, u64 control) except -1 nogil
    @cython.locals(s=SlotAt, one=EntryAt)
    cdef int log_order(self, u64 entry) except -1 nogil
    @cython.locals(last=EntryAt)
    cdef int log_side(self, Segment* segment, bytes_at d) except -1 nogil
    cdef int miss(self, i64 slot, Segment* segment, bytes_at d) except -1 nogil
    @cython.locals(one=EntryAt)
    cdef int miss_error(self, Segment* quoted, bytes sender, i64 kind, i64 code) except -1 with gil
    cdef int log_independent(self, i64 slot, Segment* segment, bytes_at d, u64 kind) except -1 nogil
    @cython.locals(s=SlotAt, one=EntryAt)
    cdef int flush(self, i64 slot) except -1 nogil
    cdef int hand_on(self, i64 slot, u64 verdict) except -1 with gil
    cdef int recall(self, Slot* s) except -1 nogil
    @cython.locals(row=i64)
    cdef int refuse(self, Slot* s) except -1 nogil
    cpdef list walks(self)
    cpdef list chosen_destinations(self)
    cpdef finish(self)
