import cython
from .layout cimport *
from .octets cimport *

cpdef bytes packed(u64 high, u64 low, int six)
cdef u64 probe(u64 low, u64 port, u64 six) noexcept nogil
@cython.locals(place=Py_ssize_t)
cdef int split(words attempts, Py_ssize_t count, uint16_t* ports, words times) except -1

@cython.final
cdef class Destinations:
    cdef object memory, attempts_memory, places_memory
    cdef Destination* table
    cdef words attempts, places
    cdef u64 walks, walk
    cdef i64 last
    @cython.locals(high=u64, low=u64, port=u64, at=u64, one=DestinationAt, _=u64)
    cdef inline i64 place(self, Slot* s, bint claim) noexcept nogil
    @cython.locals(at=i64, one=DestinationAt, count=u64, port=u64)
    cdef void refuse(self, Slot* s) noexcept nogil
    @cython.locals(at=i64, one=DestinationAt)
    cdef void recall(self, Slot* s) noexcept nogil
    @cython.locals(place=Py_ssize_t, one=DestinationAt, start=Py_ssize_t, count=Py_ssize_t, attempts=words)
    cpdef list listed(self)
