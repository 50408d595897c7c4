import cython
from .layout cimport *
from .octets cimport *

@cython.final
cdef class Duplicates:
    cdef list memory
    cdef object keys_memory, turns_memory
    cdef halves entries
    cdef words ring, keys
    cdef octets_at turns
    cdef u64 taken
    @cython.locals(at=Py_ssize_t, end=Py_ssize_t, size=u64, h=u64, i=u64, rest=u64, last=u64)
    cdef inline u64 digest(self, bytes_at d, Segment* segment) noexcept nogil
    @cython.locals(place=Py_ssize_t, segment=SegmentAt)
    cdef void digest_batch(self, bytes_at d, Segment* batch, Py_ssize_t count) noexcept nogil
    @cython.locals(place=Py_ssize_t, segment=SegmentAt)
    cdef void mark(self, bytes_at d, Segment* batch, Py_ssize_t count) noexcept nogil
    @cython.locals(at=u64, base=u64, entry=uint32_t, key=u64, where=u64, i=u64, way=u64, near=u64, other=u64)
    cdef inline bint seen(self, bytes_at d, Segment* segment) noexcept nogil
    @cython.locals(way=u64, differ=u64, count=u64)
    cdef u64 count_alike(self, u64 base, uint32_t entry, u64 key, u64 where, Segment* segment) noexcept nogil
    @cython.locals(found=u64, then=i64, differ=u64, distance=u64)
    cdef bint is_copy(self, u64 i, u64 key, u64 where, Segment* segment) noexcept nogil
