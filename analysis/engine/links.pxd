import cython
from .layout cimport *
from .octets cimport *

cdef i64 seen(Cursor* c, u64 value) noexcept nogil
cdef i64 skip(bytes_at d, Cursor* c, Py_ssize_t size, u64 kind, bint telling) noexcept nogil
cdef i64 hash_octets(bytes_at d, Cursor* c, Py_ssize_t p, Py_ssize_t end) noexcept nogil
cdef i64 typed(bytes_at d, Cursor* c, Py_ssize_t size, Py_ssize_t after) noexcept nogil
cdef i64 ethernet(bytes_at d, Cursor* c) noexcept nogil
@cython.locals(p=Py_ssize_t)
cdef i64 tagged(bytes_at d, Cursor* c, Py_ssize_t size) noexcept nogil
cdef i64 vlan(bytes_at d, Cursor* c) noexcept nogil
@cython.locals(p=Py_ssize_t)
cdef i64 cooked(bytes_at d, Cursor* c) noexcept nogil
@cython.locals(p=Py_ssize_t)
cdef i64 cooked_2(bytes_at d, Cursor* c) noexcept nogil
cdef i64 cooked_protocol(Cursor* c, u64 hardware, u64 protocol) noexcept nogil
@cython.locals(family=u64)
cdef i64 address_family(bytes_at d, Cursor* c) noexcept nogil
cdef i64 ppp_link(bytes_at d, Cursor* c) noexcept nogil
@cython.locals(protocol=u64, closed=u64)
cdef i64 ppp(bytes_at d, Cursor* c) noexcept nogil
@cython.locals(p=Py_ssize_t, organization=u64, protocol=u64)
cdef i64 llc(bytes_at d, Cursor* c) noexcept nogil
cdef i64 link(bytes_at d, Cursor* c, u64 reader) noexcept nogil
@cython.locals(p=Py_ssize_t, size=Py_ssize_t)
cdef i64 inner_link(bytes_at d, Cursor* c, Py_ssize_t least, Py_ssize_t length, Py_ssize_t link) noexcept nogil
@cython.locals(p=Py_ssize_t, size=Py_ssize_t, at=Py_ssize_t, present=u64, padded=u64)
cdef i64 radiotap(bytes_at d, Cursor* c) noexcept nogil
@cython.locals(p=Py_ssize_t, size=Py_ssize_t)
cdef i64 avs(bytes_at d, Cursor* c) noexcept nogil
@cython.locals(p=Py_ssize_t, control=u64, flags=u64, size=Py_ssize_t, several=u64)
cdef i64 wifi(bytes_at d, Cursor* c, bint padded) noexcept nogil
@cython.locals(p=Py_ssize_t, family=u64, size=Py_ssize_t, kind=u64)
cdef i64 nflog(bytes_at d, Cursor* c) noexcept nogil
@cython.locals(p=Py_ssize_t, size=Py_ssize_t)
cdef i64 pflog(bytes_at d, Cursor* c) noexcept nogil
@cython.locals(p=Py_ssize_t)
cdef i64 fddi(bytes_at d, Cursor* c) noexcept nogil
@cython.locals(p=Py_ssize_t)
cdef i64 token_ring(bytes_at d, Cursor* c) noexcept nogil
@cython.locals(p=Py_ssize_t, protocol=u64)
cdef i64 frame_relay(bytes_at d, Cursor* c) noexcept nogil
@cython.locals(p=Py_ssize_t, flags=u64)
cdef i64 juniper(bytes_at d, Cursor* c) noexcept nogil
@cython.locals(p=Py_ssize_t, size=Py_ssize_t, protocol=u64)
cdef i64 arcnet(bytes_at d, Cursor* c) noexcept nogil
@cython.locals(p=Py_ssize_t, kind=u64, more=u64)
cdef i64 erf(bytes_at d, Cursor* c) noexcept nogil
