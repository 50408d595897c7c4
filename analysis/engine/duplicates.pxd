import cython
from .layout cimport *
from .octets cimport *

@cython.final
cdef class Duplicates:
    cdef object memory, keys_memory
    cdef words places, keys
    cdef u64 seed
    @cython.locals(h=u64, i=Py_ssize_t)
    cdef inline u64 digest(self, bytes_at d, Py_ssize_t start, Py_ssize_t end) noexcept nogil
    @cython.locals(place=Py_ssize_t, segment=SegmentAt)
    cdef void digest_batch(self, bytes_at d, Segment* batch, Py_ssize_t count) noexcept nogil
    @cython.locals(place=Py_ssize_t, segment=SegmentAt)
    cdef void mark(self, bytes_at _d, Segment* batch, Py_ssize_t count) noexcept nogil
    @cython.locals(i=Py_ssize_t, k=Py_ssize_t, found=u64, then=u64)
    cdef inline bint seen(self, u64 h, u64 frame, u64 time) noexcept nogil
    @cython.locals(d=bytes_at)
    cdef void remember(self, bytes packet, u64 frame, u64 time) noexcept
