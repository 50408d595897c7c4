import cython
from .layout cimport *
from .octets cimport *

@cython.locals(i=Py_ssize_t, end=Py_ssize_t, kind=u64, length=u64)
cdef u64 scale_in(bytes_at d, Py_ssize_t at, u64 size) noexcept nogil
cdef void begin_tracking(Slot* s, Segment* segment, bytes_at d) noexcept nogil
@cython.locals(control=u64, stop=u64, shift=u64, edge=u64)
cdef void track(Slot* s, Segment* segment, bint first) noexcept nogil
@cython.locals(seq=u64, ack=u64, answers=bint, inside=bint)
cdef bint reset_fits(Slot* s, Segment* segment, bint first) noexcept nogil
@cython.locals(seq=u64, inside=bint)
cdef bint reset_of_itself(Slot* s, Segment* segment) noexcept nogil
