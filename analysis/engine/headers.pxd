import cython
from .layout cimport *
from .octets cimport *

@cython.final
cdef class Headers:
    cdef tuple tables
    cdef bytes_at by_link, by_kind, by_protocol
    cdef words carried
    @cython.locals(found=i64, depth=u64)
    cdef i64 find(self, bytes_at d, Cursor* c, i64 link) noexcept nogil
    @cython.locals(reader=u64)
    cdef inline i64 link_header(self, bytes_at d, Cursor* c, i64 link) noexcept nogil
    @cython.locals(reader=u64)
    cdef inline i64 header(self, bytes_at d, Cursor* c) noexcept nogil
    @cython.locals(reader=u64)
    cdef inline i64 ip_payload(self, bytes_at d, Cursor* c, i64 found) noexcept nogil

cdef inline i64 ethernet(bytes_at d, Cursor* c) noexcept nogil
cdef inline i64 cooked(bytes_at d, Cursor* c, Py_ssize_t at, Py_ssize_t size) noexcept nogil
@cython.locals(family=u64)
cdef i64 address_family(bytes_at d, Cursor* c) noexcept nogil
cdef i64 ppp_link(bytes_at d, Cursor* c) noexcept nogil
cdef inline i64 vlan(bytes_at d, Cursor* c) noexcept nogil
cdef i64 mpls(bytes_at d, Cursor* c) noexcept nogil
cdef i64 pppoe(Cursor* c) noexcept nogil
@cython.locals(protocol=u64)
cdef i64 ppp(bytes_at d, Cursor* c) noexcept nogil
@cython.locals(p=Py_ssize_t)
cdef i64 llc(bytes_at d, Cursor* c) noexcept nogil
@cython.locals(p=Py_ssize_t, size=Py_ssize_t, total=Py_ssize_t)
cdef inline i64 ipv4(bytes_at d, Cursor* c) noexcept nogil
@cython.locals(p=Py_ssize_t, total=Py_ssize_t)
cdef inline i64 ipv6(bytes_at d, Cursor* c) noexcept nogil
@cython.locals(p=Py_ssize_t, size=Py_ssize_t)
cdef i64 options(bytes_at d, Cursor* c) noexcept nogil
@cython.locals(p=Py_ssize_t, size=Py_ssize_t, sequence=Py_ssize_t)
cdef i64 gre(bytes_at d, Cursor* c) noexcept nogil
@cython.locals(p=Py_ssize_t, source=u64, target=u64, found=i64)
cdef i64 udp(bytes_at d, Cursor* c) noexcept nogil
@cython.locals(more=u64, chained=u64)
cdef i64 gtp(bytes_at d, Cursor* c) noexcept nogil
cdef i64 teredo(bytes_at d, Cursor* c) noexcept nogil
