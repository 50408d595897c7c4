import cython
from .layout cimport *
from .octets cimport *

@cython.final
cdef class Duplicates:
    cdef object memory, keys_memory, turns_memory
    cdef words sets, keys
    cdef octets_at turns
    cdef u64 seed, mask
    @cython.locals(at=Py_ssize_t, end=Py_ssize_t, h=u64, i=u64, rest=u64, last=u64)
    cdef inline u64 digest(self, bytes_at d, Segment* segment) noexcept nogil
    @cython.locals(place=Py_ssize_t, segment=SegmentAt)
    cdef void digest_batch(self, bytes_at d, Segment* batch, Py_ssize_t count) noexcept nogil
    @cython.locals(place=Py_ssize_t, segment=SegmentAt)
    cdef void mark(self, bytes_at d, Segment* batch, Py_ssize_t count) noexcept nogil
    @cython.locals(at=u64, base=u64, key=u64, where=u64, way=u64, near=u64, other=u64, ago=u64)
    cdef inline u64 seen(self, bytes_at d, Segment* segment) noexcept nogil
    @cython.locals(way=u64, differ=u64, ago=u64)
    cdef u64 has_copy(self, u64 base, u64 key, u64 where, Segment* segment) noexcept nogil
    @cython.locals(found=u64, then=i64, distance=u64, ago=u64, same=bint)
    cdef inline u64 is_copy(self, u64 i, u64 key, u64 differ, u64 where, Segment* segment) noexcept nogil
