import cython
from .destinations cimport packed
from .layout cimport *
from .octets cimport *
from .self_connects cimport SelfConnects

cdef class AllConversations(SelfConnects):
    @cython.locals(s=SlotAt, borrower=i64)
    cdef int lend(self, i64 slot, Segment* segment, bytes_at d) except -1 nogil
    @cython.final
    @cython.locals(s=SlotAt)
    cdef int remember_answer(self, i64 borrower, i64 slot, Segment* segment) except -1 with gil
    @cython.locals(s=SlotAt)
    cdef int take_back(self, i64 slot) except -1 with gil
    @cython.locals(s=SlotAt, slot=i64)
    cdef int unreachable(self, Segment* quoted, bytes sender, i64 kind, i64 code) except -1 with gil
    @cython.locals(s=SlotAt, other=SlotAt)
    cdef int link(self, i64 slot, i64 twin) except -1 with gil
    @cython.locals(s=SlotAt)
    cdef int settle(self, i64 slot) except -1 with gil
    cdef int miss(self, i64 slot, Segment* segment, bytes_at d) except -1 nogil
    @cython.final
    @cython.locals(s=SlotAt)
    cdef int note_missed(self, i64 slot, Segment* segment) except -1 with gil
    cdef int miss_error(self, Segment* quoted, bytes sender, i64 kind, i64 code) except -1 with gil
