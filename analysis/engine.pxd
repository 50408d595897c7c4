# The C types of engine.py, for Cython. Every statement stands in engine.py; a name without a type here
# is a Python object. numbers.pxi comes from engine.py, too: setup.py writes it.
import cython
from libc.string cimport memcpy, memset

ctypedef unsigned long long u64
ctypedef long long i64
ctypedef u64[::1] word_view
ctypedef u64* words
ctypedef const unsigned char* bytes_at
ctypedef const unsigned char[::1] octets

cdef extern from * nogil:
    """
    #include <endian.h>
    #include <stdint.h>
    #include <string.h>
    static inline uint16_t selfconn_16(const unsigned char *p) { uint16_t x; memcpy(&x, p, sizeof x); return x; }
    static inline uint32_t selfconn_32(const unsigned char *p) { uint32_t x; memcpy(&x, p, sizeof x); return x; }
    static inline uint64_t selfconn_64(const unsigned char *p) { uint64_t x; memcpy(&x, p, sizeof x); return x; }
    static inline uint64_t selfconn_folded(uint64_t a, uint64_t b) {
    #ifdef __SIZEOF_INT128__
        unsigned __int128 product = (unsigned __int128) a * b;
        return (uint64_t) product ^ (uint64_t) (product >> 64);
    #else
        a = (a ^ a >> 32) * 0x9E3779B97F4A7C15u; b = (b ^ b >> 29) * 0xC2B2AE3D27D4EB4Fu;
        return (a ^ a >> 32) + ((b ^ b >> 32) << 1 | b >> 63) * 0x9E3779B97F4A7C15u;
    #endif
    }
    #define selfconn_u16(p) ((unsigned long long) be16toh(selfconn_16(p)))
    #define selfconn_u32(p) ((unsigned long long) be32toh(selfconn_32(p)))
    #define selfconn_l16(p) ((unsigned long long) le16toh(selfconn_16(p)))
    #define selfconn_l32(p) ((unsigned long long) le32toh(selfconn_32(p)))
    """
    u64 load_u16 "selfconn_u16"(bytes_at p)
    u64 load_u32 "selfconn_u32"(bytes_at p)
    u64 load_l16 "selfconn_l16"(bytes_at p)
    u64 load_l32 "selfconn_l32"(bytes_at p)
    u64 load_u64 "selfconn_64"(bytes_at p)
    u64 folded "selfconn_folded"(u64 a, u64 b)
    void prefetch "__builtin_prefetch"(const void* p)

include "numbers.pxi"

@cython.locals(view=word_view)
cdef words address(object words)
@cython.locals(place=Py_ssize_t)
cpdef split(u64[::1] steps, unsigned short[::1] ports, u64[::1] times)
cdef u64 u16(bytes_at d, Py_ssize_t i) noexcept nogil
cdef u64 u32(bytes_at d, Py_ssize_t i) noexcept nogil
cdef u64 l16(bytes_at d, Py_ssize_t i) noexcept nogil
cdef u64 l32(bytes_at d, Py_ssize_t i) noexcept nogil

@cython.final
cdef class Engine:
    cdef bint equal_only, big, host_set
    cdef u64 host_high, host_low
    cdef Py_ssize_t frame_start
    cdef i64 frame_link
    cdef u64 port, collect, most, keep_phases, capacity, used, hand, equals, mask, seed
    cdef public bint apart, heads, unsure
    cdef u64 zone, mark_a, mark_b
    cdef public list log, finished_at
    cdef public dict ring, refusals
    cdef public object fresh
    cdef words m, twins, places, walked, index, tags, queue
    cdef u64 walk_count, early_count, kept_count
    cdef list memory
    cdef public u64[::1] counts, reasons
    cdef u64[::1] collected
    cdef unsigned char[::1] headers
    cdef unsigned char* raw
    cdef u64[::1] keys
    cdef const unsigned char[::1] rules, verdict_of
    cdef dict lookup, kept, early, omitted, recent, older, place_of
    cdef list times
    cdef public dict unknown_links
    cdef public list finished
    cdef public u64 packets, segments, duplicates, midstream, midstream_to_itself, evicted, number, waiting
    cdef public Py_ssize_t position, need
    cdef i64 broken, claimed
    cdef Py_ssize_t header
    cdef i64 scale, link
    cdef object record
    cdef i64[::1] faces
    cdef i64 face_count, face_room

    cpdef next_file(self)
    cpdef begin_pcap(self, bint big, Py_ssize_t header, i64 scale, i64 link)
    @cython.locals(d=bytes_at)
    cpdef pcap(self, octets octets, Py_ssize_t i, Py_ssize_t end)
    @cython.locals(seconds=i64, ticks=i64, size=i64, wire=i64, p=Py_ssize_t, header=Py_ssize_t, link=i64)
    cdef int walk_pcap(self, bytes_at d, Py_ssize_t i, Py_ssize_t end) except -1 nogil
    @cython.locals(d=bytes_at)
    cpdef pcapng(self, octets octets, Py_ssize_t i, Py_ssize_t end)
    @cython.locals(kind=u64, size=i64)
    cdef int walk_pcapng(self, bytes_at d, Py_ssize_t i, Py_ssize_t end) except -1 nogil
    cdef u64 order16(self, bytes_at d, Py_ssize_t i) noexcept nogil
    cdef u64 order32(self, bytes_at d, Py_ssize_t i) noexcept nogil
    @cython.locals(face=i64, size=i64, wire=i64, ticks=u64, time=i64)
    cdef bint block(self, bytes_at d, u64 kind, Py_ssize_t p, Py_ssize_t end) except -1 nogil
    @cython.locals(bits=u64, seconds=u64, rest=u64, unit=u64, whole=i64)
    cdef i64 clock(self, u64 ticks, u64 resolution, i64 offset) noexcept nogil
    @cython.locals(base=i64, code=u64, size=i64, high=i64, low=i64)
    cdef int describe(self, bytes_at d, Py_ssize_t p, Py_ssize_t end) except -1 nogil

    @cython.locals(found=i64, size=u64, total=u64)
    cdef inline Py_ssize_t frame(self, bytes_at d, Py_ssize_t p, Py_ssize_t end, Py_ssize_t stop, i64 link, i64 time) except? -9 nogil
    @cython.locals(
        kind=u64, family=u64, protocol=u64, size=Py_ssize_t, total=Py_ssize_t, ip=Py_ssize_t, six=u64,
        depth=u64, source=u64, target=u64, more=u64, chained=u64)
    cdef inline Py_ssize_t decode(self, bytes_at d, Py_ssize_t p, Py_ssize_t end, Py_ssize_t stop, i64 link, i64 time) except -9 nogil
    @cython.locals(size=Py_ssize_t, data=u64, a_high=u64, a_low=u64, b_high=u64, b_low=u64)
    cdef inline Py_ssize_t segment(
        self, bytes_at d, Py_ssize_t ip, u64 six, Py_ssize_t p, Py_ssize_t end, Py_ssize_t stop, i64 time) except -9 nogil
    @cython.locals(equal=bint, ports=u64, from_a=bint, wired=bint, tag=u64, h=u64, i=Py_ssize_t, q=words)
    cdef inline Py_ssize_t hand_in(
        self, bytes_at d, Py_ssize_t ip, u64 six, Py_ssize_t p, Py_ssize_t size, u64 data, i64 time, u64 a_high, u64 a_low,
        u64 b_high, u64 b_low, u64 source_port, u64 target_port, u64 seq, u64 ack, u64 flags, u64 window) except -9 nogil
    @cython.locals(q=words, count=u64, k=u64, i=u64, entry=u64, shape=u64)
    cdef inline int drain(self, bytes_at d) except -1 nogil
    @cython.locals(slot=Py_ssize_t)
    cdef inline Py_ssize_t meet(
        self, bytes_at d, Py_ssize_t p, Py_ssize_t size, u64 data, i64 time, u64 a_high, u64 a_low, u64 b_high, u64 b_low,
        u64 ports, u64 tag, u64 h, u64 seq, u64 ack, u64 flags, u64 window, bint from_a, bint wired) except -9 nogil
    @cython.locals(
        m=words, b=Py_ssize_t, state=u64, phase=u64, control=u64, first=bint, event=u64, after=u64, answered=bint, before=u64)
    cdef inline Py_ssize_t step(
        self, Py_ssize_t slot, bytes_at d, Py_ssize_t p, Py_ssize_t size, u64 data, i64 time, u64 seq, u64 ack, u64 flags,
        u64 window, bint from_a, bint wired) except -9 nogil
    @cython.locals(m=words, one=u64, two=u64, beyond=u64)
    cdef inline u64 classify(
        self, Py_ssize_t b, u64 phase, u64 control, bint first, u64 seq, u64 ack, u64 data, u64 window) noexcept nogil
    @cython.locals(m=words, b=Py_ssize_t, state=u64)
    cdef int stray(
        self, Py_ssize_t slot, bytes_at d, Py_ssize_t p, Py_ssize_t size, u64 data, u64 seq, u64 ack, u64 control, bint from_a,
        u64 time) except -1 nogil
    @cython.locals(m=words, b=Py_ssize_t, state=u64)
    cdef int expect(
        self, Py_ssize_t slot, bytes_at d, Py_ssize_t p, Py_ssize_t size, u64 data, u64 seq, u64 ack, bint from_a, u64 time) except -1 nogil
    @cython.locals(m=words, two=u64)
    cdef bint acknowledges(self, Py_ssize_t b, u64 seq, u64 ack, bint from_a) noexcept nogil
    @cython.locals(
        m=words, b=Py_ssize_t, state=u64, after=u64, two=u64, apart=u64, acknowledged=u64, joined=bint, i=Py_ssize_t)
    cdef int open(
        self, Py_ssize_t slot, bytes_at d, Py_ssize_t p, Py_ssize_t size, u64 data, u64 seq, bint from_a, bint wired, u64 time) except -1 nogil
    @cython.locals(m=words, b=Py_ssize_t, state=u64, phase=u64, verdict=u64)
    cdef int close(self, Py_ssize_t slot) except -1 nogil
    @cython.locals(m=words, b=Py_ssize_t, state=u64)
    cdef int hand_on(self, Py_ssize_t slot, u64 verdict) except -1 with gil
    cdef bytes packed(self, u64 high, u64 low, int width)
    @cython.locals(m=words, b=Py_ssize_t)
    cdef tuple remembered(self, Py_ssize_t slot)
    @cython.locals(b=Py_ssize_t, state=u64, limit=u64)
    cdef int keep(
        self, Py_ssize_t slot, bytes_at d, Py_ssize_t p, Py_ssize_t size, u64 data, bint first, u64 time) except -1 nogil
    @cython.locals(b=Py_ssize_t)
    cdef int begin_keeping(self, Py_ssize_t slot) except -1 with gil
    @cython.locals(count=Py_ssize_t)
    cdef int add(
        self, Py_ssize_t slot, bytes_at d, Py_ssize_t p, Py_ssize_t size, u64 data, bint first, u64 time) except -1 with gil
    cdef int drop(self, Py_ssize_t slot) except -1 with gil
    cdef int keep_early(
        self, Py_ssize_t slot, bytes_at d, Py_ssize_t p, Py_ssize_t size, u64 data, bint first, u64 time) except -1 with gil
    cdef int drop_early(self, Py_ssize_t slot) except -1 with gil
    cdef int take_early(self, Py_ssize_t slot) except -1 with gil
    cdef int make_room(self) except -1 with gil
    cdef int note_link(self, i64 link) except -1 with gil
    @cython.locals(h=u64, i=Py_ssize_t, one=u64, two=u64)
    cdef inline u64 digest(self, bytes_at d, Py_ssize_t start, Py_ssize_t end) noexcept nogil
    @cython.locals(i=Py_ssize_t, k=Py_ssize_t, seen=u64, then=u64)
    cdef inline bint twin(self, u64 h, u64 time) noexcept nogil
    @cython.locals(h=u64)
    cdef inline u64 tag(self, u64 a_high, u64 a_low, u64 b_high, u64 b_low, u64 ports) noexcept nogil
    @cython.locals(m=words, i=u64, entry=u64, b=Py_ssize_t)
    cdef inline Py_ssize_t find(self, u64 tag, u64 a_high, u64 a_low, u64 b_high, u64 b_low, u64 ports) except -9 nogil
    cdef tuple ways(self, Py_ssize_t slot)
    @cython.locals(m=words, slot=u64, state=u64, b=Py_ssize_t)
    cdef Py_ssize_t claim(self, u64 tag, u64 a_high, u64 a_low, u64 b_high, u64 b_low, u64 ports) except -9 nogil
    cdef inline void fetch(self, u64 slot) noexcept nogil
    @cython.locals(i=u64)
    cdef inline int enter(self, u64 tag, u64 slot) except -1 nogil
    @cython.locals(slot=u64)
    cdef int spread(self) except -1 nogil
    @cython.locals(i=u64, j=u64, entry=u64)
    cdef int unindex(self, Py_ssize_t slot) except -1 nogil
    @cython.locals(m=words, high=u64, low=u64, port=u64, at=u64, i=Py_ssize_t, _=u64)
    cdef Py_ssize_t place(self, Py_ssize_t b, bint claim) noexcept nogil
    @cython.locals(i=Py_ssize_t)
    cdef int refuse(self, Py_ssize_t b) except -1 nogil
    @cython.locals(m=words, places=words, then=u64, count=u64, walk=u64, port=u64)
    cdef int add_attempt(self, Py_ssize_t b, Py_ssize_t i) except -1 nogil
    @cython.locals(i=Py_ssize_t)
    cdef int recall(self, Py_ssize_t b) except -1 with gil
    @cython.locals(i=Py_ssize_t, start=Py_ssize_t, count=Py_ssize_t)
    cpdef list walks(self)
    @cython.locals(slot=u64)
    cpdef finish(self)

    cpdef begin_part(self, bint heads)
    cdef int note(self, bytes_at d, Py_ssize_t start, Py_ssize_t end, u64 time) except -1 with gil
    cdef int forget(self) except -1 with gil
    @cython.locals(m=words, b=Py_ssize_t, state=u64, side=u64)
    cdef bint head(
        self, Py_ssize_t slot, bytes_at d, Py_ssize_t p, Py_ssize_t size, u64 data, i64 time, u64 seq, u64 control,
        bint from_a, bint wired) except -1 nogil
    @cython.locals(m=words, b=Py_ssize_t)
    cdef int undecided(
        self, Py_ssize_t slot, bytes_at d, Py_ssize_t p, Py_ssize_t size, u64 data, i64 time, bint from_a, bint wired,
        u64 a_high, u64 a_low, u64 b_high, u64 b_low, u64 ports) except -1 with gil
    @cython.locals(m=words, b=Py_ssize_t, left_out=u64)
    cdef int flush(self, Py_ssize_t slot) except -1
    cdef u64 refused_at(self, u64 high, u64 low, u64 port) except? 77
    @cython.locals(m=words, version=u64)
    cdef u64 refused(self, Py_ssize_t b, bint at_a) except? 77
    @cython.locals(m=words, ports=u64, version=u64, port=u64)
    cdef int note_refusal(self, Py_ssize_t b) except -1 with gil
    @cython.locals(
        number=u64, time=i64, a_high=u64, a_low=u64, b_high=u64, b_low=u64, ports=u64, how=u64, data=u64, size=i64, octets=bytes, p=Py_ssize_t, d=bytes_at,
        tag=u64, slot=Py_ssize_t, seq=u64, ack=u64, flags=u64, window=u64, h=u64, from_a=bint, wired=bint)
    cpdef again(self, tuple one, u64 base)
    @cython.locals(b=Py_ssize_t, state=u64)
    cdef int independent(self, Py_ssize_t slot, i64 time, bint from_a, bint wired) except -1
    @cython.locals(b=Py_ssize_t, state=u64, phase=u64)
    cdef int left_out(self, Py_ssize_t slot, u64 count) except -1
    @cython.locals(slot=u64, b=Py_ssize_t)
    cpdef list tails(self)
    @cython.locals(a_high=u64, a_low=u64, b_high=u64, b_low=u64, ports=u64, tag=u64, slot=Py_ssize_t, b=Py_ssize_t, i=Py_ssize_t, d=bytes_at)
    cpdef take_tail(self, tuple words, bytes header, object kept, u64 omitted, object early)
    @cython.locals(d=bytes_at)
    cpdef take_packet(self, u64 number, i64 time, bytes octets)
