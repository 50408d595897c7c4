import cython
from .layout cimport *
from .octets cimport *

@cython.final
cdef class Duplicates:
    cdef object memory, ring_memory, keys_memory
    cdef halves entries
    cdef words ring, keys
    cdef u64 mask, taken
    @cython.locals(at=Py_ssize_t, end=Py_ssize_t, size=u64, place=u64, h=u64, i=u64, rest=u64, last=u64)
    cdef inline u64 digest(self, bytes_at d, Segment* segment) noexcept nogil
    @cython.locals(place=Py_ssize_t, segment=SegmentAt)
    cdef void digest_batch(self, bytes_at d, Segment* batch, Py_ssize_t count) noexcept nogil
    @cython.locals(
        place=Py_ssize_t, segment=SegmentAt, entries=halves, ring=words, mask=u64, taken=u64, base=u64, entry=uint32_t,
        number=u64, seen=u64, i=u64, other=u64)
    cdef void mark(self, bytes_at d, Segment* batch, Py_ssize_t count) noexcept nogil
    @cython.locals(way=u64, count=u64)
    cdef u64 count_alike(self, u64 base, uint32_t entry) noexcept nogil
    @cython.locals(way=u64, differ=u64, ago=u64)
    cdef u64 find_copy(self, u64 base, uint32_t entry, u64 seen, Segment* segment) noexcept nogil
    @cython.locals(frame=u64, then=i64, found=u64, number=u64, distance=u64, same=bint)
    cdef u64 is_copy(self, u64 i, u64 seen, Segment* segment) noexcept nogil
