import cython
from .layout cimport *
from .links cimport address_family, cooked, cooked_2, hash_octets, link, llc, ppp, ppp_link, skip, tagged, typed, vlan
from .octets cimport *
from .tunnels cimport is_ipv4, is_ipv6, mpls, tunnel

@cython.final
cdef class Headers:
    cdef tuple tables
    cdef bytes_at by_link, by_kind, by_protocol, by_port
    cdef words rows
    @cython.locals(found=i64, depth=u64)
    cdef i64 find(self, bytes_at d, Cursor* c, i64 link) noexcept nogil
    cdef i64 header(self, bytes_at d, Cursor* c) noexcept nogil
    @cython.locals(reader=u64, size=Py_ssize_t)
    cdef i64 read(self, bytes_at d, Cursor* c, u64 row) noexcept nogil
    @cython.locals(row=u64, reader=u64)
    cdef i64 ip_payload(self, bytes_at d, Cursor* c, i64 found) noexcept nogil
    @cython.locals(p=Py_ssize_t, row=u64, size=Py_ssize_t)
    cdef i64 udp(self, bytes_at d, Cursor* c) noexcept nogil
    @cython.locals(found=i64, reader=u64)
    cdef i64 quoted(self, bytes_at d, Cursor* c) noexcept nogil

@cython.locals(p=Py_ssize_t, size=Py_ssize_t, total=Py_ssize_t)
cdef i64 ipv4(bytes_at d, Cursor* c) noexcept nogil
@cython.locals(size=Py_ssize_t)
cdef i64 source_route(bytes_at d, Cursor* c, Py_ssize_t p) noexcept nogil
@cython.locals(p=Py_ssize_t, total=Py_ssize_t)
cdef i64 ipv6(bytes_at d, Cursor* c) noexcept nogil
@cython.locals(p=Py_ssize_t, size=Py_ssize_t)
cdef i64 options(bytes_at d, Cursor* c) noexcept nogil
@cython.locals(addresses=Py_ssize_t)
cdef bint final(bytes_at d, Cursor* c, Py_ssize_t p) noexcept nogil
cdef i64 icmp(bytes_at d, Cursor* c, u64 kind, u64 code) noexcept nogil
