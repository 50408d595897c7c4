import cython
from .destinations cimport probe
from .layout cimport *
from .octets cimport *

@cython.final
cdef class Rows:
    cdef i64 width, room
    cdef readonly i64 used
    cdef readonly object memory
    cdef words words
    cdef inline Py_ssize_t add(self) except -1 nogil
    @cython.locals(size=i64)
    cdef int make_room(self) except -1 with gil
    cpdef bytes octets(self)

@cython.final
cdef class RefusedAttempts:
    cdef readonly Rows destinations, attempts, fresh
    cdef public bint direct, merging, full
    cdef u64 latest, mask
    cdef object index_memory, keys_memory, taken
    cdef words index, keys
    cdef dict by_destination

    cdef inline u64 digest(self, u64 high, u64 low, u64 port) noexcept nogil
    @cython.locals(w=words)
    cdef inline bint is_at(self, i64 row, u64 high, u64 low, u64 port) noexcept nogil
    @cython.locals(row=i64, i=u64, entry=u64)
    cdef i64 find(self, u64 high, u64 low, u64 port) noexcept nogil
    @cython.locals(row=i64, w=words)
    cdef Py_ssize_t claim(self, u64 high, u64 low, u64 port) except -9 nogil
    @cython.locals(w=words, i=u64)
    cdef void put(self, i64 row) noexcept nogil
    @cython.locals(each=i64)
    cdef int grow(self) except -1 with gil
    @cython.locals(at=u64)
    cdef bint finds_place(self, u64 low, u64 port) except -1 with gil
    @cython.locals(row=i64)
    cdef u64 count(self, u64 high, u64 low, u64 port) noexcept nogil
    @cython.locals(w=words)
    cdef int refuse(self, i64 row, u64 client, u64 frame, u64 time) except -1 nogil
    @cython.locals(row=i64)
    cdef Py_ssize_t place(self, u64 high, u64 low, u64 port) except -9 nogil
    @cython.locals(at=i64)
    cdef int remember(self, Rows rows, i64 row, u64 client, u64 frame, u64 time) except -1 nogil
    cpdef begin_merge(self)
    @cython.locals(row=i64, at=i64)
    cpdef u64 before(self, tuple key, u64 frame) except? 77
    @cython.locals(numbers=words)
    cpdef take(self, bytes destinations, bytes attempts, u64 base)
    @cython.locals(place=i64, at=i64, row=i64, frame=u64, w=words)
    cdef int add_counts(self, words theirs, i64 count, u64 base, words numbers) except -1 nogil
    @cython.locals(one=i64, two=i64, a=i64, b=i64, number=u64)
    cdef int add_attempts(self, words theirs, i64 count, u64 base, words numbers) except -1 nogil
    @cython.locals(row=i64, w=words)
    cdef int add_attempt(self, u64 of, u64 frame, u64 time) except -1 nogil
    cpdef list keys_in_order(self)
    cpdef since(self, tuple key)
    @cython.locals(row=i64)
    cpdef tuple walk(self, tuple key)
    @cython.locals(w=words, place=i64, row=i64, at=i64)
    cdef int fill(self, u64 number, u64 start, uint16_t* ports, words times) except -1
