import cython
from .layout cimport *
from .octets cimport *

@cython.locals(i=Py_ssize_t, end=Py_ssize_t, kind=u64, length=u64)
cdef u64 scale_in(bytes_at d, Py_ssize_t at, u64 size) noexcept nogil
@cython.locals(known=bint, begun=bint)
cdef int acknowledge(Slot* s, u64 ack, u64 edge, bint first) noexcept nogil
@cython.locals(edge=u64)
cdef int begin_tracking(Slot* s, Segment* segment, bytes_at d) noexcept nogil
cdef int note_refusable(Slot* s, u64 ack, bint first) noexcept nogil
cdef u64 end_of(Segment* segment) noexcept nogil
cdef int note_unanswered(Slot* s, Segment* segment, bint first) noexcept nogil
@cython.locals(control=u64, stop=u64, shift=u64, own=u64, other=u64)
cdef int track(Slot* s, Segment* segment, bint first) noexcept nogil
@cython.locals(seq=u64, ack=u64, answers=bint, inside=bint)
cdef bint reset_fits(Slot* s, Segment* segment, bint first) noexcept nogil
@cython.locals(inside=bint)
cdef bint takes_back(Slot* s, u64 seq, bint first) noexcept nogil
@cython.locals(seq=u64, inside=bint, refused=bint)
cdef bint reset_of_itself(Slot* s, Segment* segment) noexcept nogil
cdef int begin_numbers(Slot* s, Segment* segment, bytes_at d, bint joined) noexcept nogil
@cython.locals(two=u64)
cdef bint acknowledges_early(Slot* s, Segment* segment) noexcept nogil
cdef int remember_early(Slot* s, Segment* segment) noexcept nogil
@cython.locals(acknowledged=u64)
cdef bint answered_early(Slot* s, Segment* segment) noexcept nogil
cdef bint all_acknowledged(Slot* s) noexcept nogil
