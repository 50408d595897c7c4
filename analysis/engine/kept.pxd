import cython
from .answers cimport Answers
from .destinations cimport packed
from .layout cimport *
from .octets cimport *

cdef tuple remembered(Slot* s)

@cython.final
cdef class KeptSegments:
    cdef public dict segments, omitted, early
    cdef public u64 count, early_count
    cdef readonly u64 most
    cdef public bint retried
    cdef int begin(self, i64 slot, Slot* s) except -1 with gil
    cdef int add_first(self, i64 slot, Slot* s) except -1 with gil
    cdef int put_first(self, i64 slot, Slot* s) except -1 with gil
    @cython.locals(count=Py_ssize_t)
    cdef int add(self, i64 slot, Slot* s, Segment* segment, bytes_at d, bint first) except -1 with gil
    cdef int drop(self, i64 slot, Slot* s) except -1 with gil
    cdef int add_early(self, i64 slot, Segment* segment, bytes_at d, bint first) except -1 with gil
    cdef int recount(self) except -1
    cdef int drop_early(self, i64 slot) except -1 with gil
    cdef int take_early(self, i64 slot) except -1 with gil
    cpdef begin_merge(self)
    cpdef bint end_merge(self, u64 before, u64 most, bint retried)
    cpdef put(self, i64 slot, object kept, u64 omitted, object early)

@cython.locals(evidence=i64, isn=i64)
cdef object handed_on(Slot* s, i64 slot, u64 verdict, KeptSegments kept, Answers answers)
