import cython
from .conversations cimport Conversations
from .layout cimport *
from .octets cimport *
from .resets cimport end_of, reset_of_itself, scale_in, track

cdef class SelfConnects(Conversations):
    @cython.locals(s=SlotAt, action=u64, ended=bint)
    cdef int step_with_itself(self, i64 slot, Segment* segment, bytes_at d) except -1 nogil
    @cython.final
    @cython.locals(s=SlotAt)
    cdef int begin_without_syn(self, i64 slot, Segment* segment, bytes_at d, u64 action) except -1 nogil
    @cython.final
    @cython.locals(s=SlotAt, again=bint, fin=u64)
    cdef int take_candidate(self, i64 slot, Segment* segment, bytes_at d) except -1 nogil
    @cython.final
    @cython.locals(s=SlotAt)
    cdef int join(self, i64 slot, Segment* segment, bytes_at d) except -1 nogil
    @cython.locals(slot=u64, s=SlotAt, least=u64)
    cpdef oldest_opening(self)

cdef u64 with_itself(Slot* s, Segment* segment) noexcept nogil
@cython.locals(control=u64, own=bint, action=u64)
cdef u64 to_opening(Slot* s, Segment* segment) noexcept nogil
@cython.locals(known=bint)
cdef int refuse_ack(Slot* s, Segment* segment) noexcept nogil
cdef bint acknowledges_itself(Slot* s, Segment* segment) noexcept nogil
@cython.locals(beyond=u64)
cdef int advance(Slot* s, Segment* segment) noexcept nogil
cdef bint lacks_its_syn(Slot* s, Segment* segment) noexcept nogil
@cython.locals(control=u64, past=bint, octets=bint)
cdef u64 to_no_opening(Slot* s, Segment* segment) noexcept nogil
@cython.locals(octets=u64)
cdef u64 end_of_candidate(Segment* segment) noexcept nogil
