import cython
from .layout cimport *
from .octets cimport *

cdef bint is_client(Slot* s, u64 high, u64 low, u64 port, u64 six) noexcept nogil

@cython.final
cdef class Answers:
    cdef object memory
    cdef words origins
    cdef u64 seed
    cdef public dict lent, errors, links, missed
    cdef public u64 translated
    cdef public bint any, had_room
    @cython.locals(h=u64)
    cdef inline u64 digest(self, u64 high, u64 low, u64 port, u64 six) noexcept nogil
    cdef inline u64 client_of(self, Segment* segment, bint sent) noexcept nogil
    @cython.locals(h=u64, i=u64, entry=u64, one=u64, two=u64, after=u64, own=SlotAt)
    cdef i64 enter(self, Slot* slots, u64 slot, Segment* segment) noexcept nogil
    @cython.locals(place=Py_ssize_t, segment=SegmentAt)
    cdef void fetch_batch(self, Segment* batch, Py_ssize_t count) noexcept nogil
    @cython.locals(s=SlotAt)
    cdef bint is_other_side(self, Slot* slots, u64 found, Slot* own, Segment* segment) noexcept nogil
    @cython.locals(h=u64, i=u64, k=u64, found=u64, s=SlotAt)
    cdef i64 find(self, Slot* slots, Segment* segment) noexcept nogil
    cdef bint is_answered_by(self, Slot* s, Segment* segment) noexcept nogil
    cdef int miss(self, object client, u64 ack, object answer) except -1 with gil
    cdef object misdirected(self, object client, i64 port, u64 ack, u64 frame)
    cdef bint has_room(self) except -1 with gil
    cdef int forget(self, i64 slot) except -1 with gil
