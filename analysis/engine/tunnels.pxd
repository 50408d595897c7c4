import cython
from .layout cimport *
from .links cimport seen
from .octets cimport *

cdef i64 tunnel(bytes_at d, Cursor* c, u64 reader) noexcept nogil
@cython.locals(size=Py_ssize_t, total=Py_ssize_t, end=Py_ssize_t)
cdef bint is_ipv4(bytes_at d, Cursor* c, Py_ssize_t p) noexcept nogil
@cython.locals(rest=Py_ssize_t)
cdef bint is_ipv6(bytes_at d, Cursor* c, Py_ssize_t p) noexcept nogil
@cython.locals(tags=u64, kind=u64)
cdef bint is_frame(bytes_at d, Cursor* c, Py_ssize_t p) noexcept nogil
@cython.locals(kind=u64)
cdef bint is_tagged(bytes_at d, Cursor* c, Py_ssize_t p) noexcept nogil
@cython.locals(bottom=u64)
cdef i64 mpls(bytes_at d, Cursor* c) noexcept nogil
@cython.locals(p=Py_ssize_t, nibble=u64)
cdef i64 mpls_payload(bytes_at d, Cursor* c) noexcept nogil
@cython.locals(p=Py_ssize_t, kind=u64, sequence=u64, size=Py_ssize_t)
cdef i64 gre(bytes_at d, Cursor* c) noexcept nogil
cdef i64 gre_payload(bytes_at d, Cursor* c, u64 kind, u64 sequence) noexcept nogil
@cython.locals(p=Py_ssize_t)
cdef i64 erspan_3(bytes_at d, Cursor* c) noexcept nogil
@cython.locals(size=Py_ssize_t)
cdef i64 macsec(bytes_at d, Cursor* c) noexcept nogil
@cython.locals(size=Py_ssize_t)
cdef i64 metadata(bytes_at d, Cursor* c) noexcept nogil
@cython.locals(following=u64)
cdef i64 nsh(bytes_at d, Cursor* c) noexcept nogil
cdef i64 numbered(u64 following) noexcept nogil
cdef i64 trill(bytes_at d, Cursor* c) noexcept nogil
@cython.locals(p=Py_ssize_t, kind=u64, size=Py_ssize_t)
cdef i64 batman(bytes_at d, Cursor* c) noexcept nogil
cdef i64 vxlan(bytes_at d, Cursor* c) noexcept nogil
cdef i64 vxlan_gpe(bytes_at d, Cursor* c) noexcept nogil
cdef i64 geneve(bytes_at d, Cursor* c) noexcept nogil
@cython.locals(p=Py_ssize_t)
cdef i64 gtp(bytes_at d, Cursor* c) noexcept nogil
cdef i64 teredo(bytes_at d, Cursor* c) noexcept nogil
@cython.locals(p=Py_ssize_t, flags=u64)
cdef i64 l2tp(bytes_at d, Cursor* c) noexcept nogil
@cython.locals(tries=u64, p=Py_ssize_t)
cdef i64 l2tp_3(bytes_at d, Cursor* c) noexcept nogil
@cython.locals(protocol=u64)
cdef i64 tzsp(bytes_at d, Cursor* c) noexcept nogil
@cython.locals(p=Py_ssize_t, native=u64, fragment=u64)
cdef i64 capwap(bytes_at d, Cursor* c) noexcept nogil
@cython.locals(control=u64, flags=u64)
cdef i64 swapped_wifi(bytes_at d, Cursor* c) noexcept nogil
@cython.locals(p=Py_ssize_t)
cdef i64 ayiya(bytes_at d, Cursor* c) noexcept nogil
