import cython
from .layout cimport *
from .octets cimport *

cdef class Interfaces:
    cdef public bint big
    cdef object memory
    cdef i64* words
    cdef public i64 count, described
    cdef i64 room
    cdef public i64 recorded_drops, broken, claimed
    cdef public list filters

    @cython.final
    cdef inline u64 order16(self, bytes_at d, Py_ssize_t i) noexcept nogil
    @cython.final
    cdef inline u64 order32(self, bytes_at d, Py_ssize_t i) noexcept nogil
    @cython.final
    cdef inline u64 order64(self, bytes_at d, Py_ssize_t i) noexcept nogil
    @cython.locals(base=i64, code=u64, size=i64, high=i64, low=i64)
    cdef int describe(self, bytes_at d, Py_ssize_t p, Py_ssize_t end) except -1 nogil
    cdef int make_room(self) except -1 with gil
    @cython.locals(bits=u64, seconds=u64, rest=u64, unit=u64, whole=i64)
    cdef i64 clock(self, u64 ticks, u64 resolution, i64 offset) noexcept nogil
    @cython.locals(code=u64, size=i64)
    cdef int statistics(self, bytes_at d, Py_ssize_t p, Py_ssize_t end, i64 base) except -1 nogil
    @cython.locals(code=u64, size=i64, direction=u64)
    cdef int packet_options(self, bytes_at d, Py_ssize_t p, Py_ssize_t end, i64 base) except -1 nogil
    @cython.locals(before=i64, after=i64)
    cdef int dropped(self, i64 base, i64 word, u64 count) except -1 nogil
    cdef int note_filter(self, bytes_at d, Py_ssize_t p, Py_ssize_t end) except -1 with gil
