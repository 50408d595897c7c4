import cython
from .layout cimport *
from .octets cimport *

@cython.final
cdef class Index:
    cdef u64 mask, used, capacity
    cdef list memory
    cdef object keys_memory
    cdef words entries, tags, keys
    @cython.locals(h=u64, ports=u64)
    cdef inline u64 digest_tuple(self, Segment* segment) noexcept nogil
    @cython.locals(place=Py_ssize_t, segment=SegmentAt)
    cdef void digest_batch(self, Segment* batch, Py_ssize_t count) noexcept nogil
    @cython.locals(place=Py_ssize_t, segment=SegmentAt, entry=u64)
    cdef void look_up_batch(self, Segment* batch, Py_ssize_t count, Slot* slots) noexcept nogil
    @cython.locals(tag=u64, i=u64, entry=u64, s=SlotAt)
    cdef i64 find(self, Segment* segment, Slot* slots) noexcept nogil
    @cython.locals(each=u64)
    cdef void enter(self, u64 tag, u64 slot, Slot* _s) noexcept nogil
    @cython.locals(i=u64)
    cdef inline void put(self, u64 tag, u64 slot) noexcept nogil
    @cython.locals(i=u64, j=u64, entry=u64)
    cdef void remove(self, u64 slot, Slot* slots) noexcept nogil
