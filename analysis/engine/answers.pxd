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
    cdef readonly u64 most
    cdef public bint any
    cdef readonly bint doubtful
    cdef bint again
    cdef u64 place
    cdef object unsettled_memory
    cdef octets_at unsettled
    cpdef begin_part(self)
    @cython.locals(h=u64)
    cdef inline u64 digest(self, u64 high, u64 low, u64 port, u64 six) noexcept nogil
    cdef inline u64 client_of(self, Segment* segment, bint sent) noexcept nogil
    @cython.locals(h=u64, i=u64, entry=u64, one=u64, two=u64)
    cdef i64 enter(self, Slot* slots, u64 slot, Segment* segment) noexcept nogil
    @cython.locals(one=u64, two=u64)
    cdef inline void put(self, u64 i, u64 entry) noexcept nogil
    cdef void doubt(self, u64 i, u64 age) noexcept nogil
    @cython.locals(before=u64)
    cdef inline bint settle(self) noexcept nogil
    @cython.locals(i=u64, known=bint)
    cdef i64 unsettle(self, Segment* segment) noexcept nogil
    @cython.locals(h=u64, i=u64, k=u64, found=u64, own=SlotAt)
    cdef bint is_expected(self, Slot* slots, u64 slot, Segment* segment) noexcept nogil
    @cython.locals(h=u64, entry=u64)
    cdef u64 renew(self, u64 slot, Segment* segment) noexcept nogil
    cdef bint is_by_a(self, Slot* s, u64 entry) noexcept nogil
    @cython.locals(i=Py_ssize_t)
    cdef list settled(self)
    @cython.locals(place=Py_ssize_t, segment=SegmentAt)
    cdef void fetch_batch(self, Segment* batch, Py_ssize_t count) noexcept nogil
    @cython.locals(s=SlotAt)
    cdef bint is_other_side(self, Slot* slots, u64 found, Slot* own, Segment* segment) noexcept nogil
    @cython.locals(h=u64, i=u64, k=u64, found=u64, s=SlotAt)
    cdef i64 find(self, Slot* slots, Segment* segment) noexcept nogil
    cdef bint is_answered_by(self, Slot* s, Segment* segment) noexcept nogil
    cdef int miss(self, object client, u64 ack, object answer) except -1 with gil
    cdef object misdirected(self, object client, i64 port, u64 ack, u64 frame)
    @cython.locals(count=u64)
    cdef bint has_room(self) except -1 with gil
    cdef u64 count(self)
    cpdef begin_merge(self)
    cpdef bint end_merge(self, u64 before, u64 most)
    cdef int forget(self, i64 slot) except -1 with gil
