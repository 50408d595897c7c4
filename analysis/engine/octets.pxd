# Integers out of captured octets, and what C has and Python has not: each is one instruction or a few. interpreted.py
# has the same names in Python. The caller has checked that the octets are there.
from libc.stdint cimport uint32_t

from cpython.buffer cimport PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer

ctypedef unsigned long long u64
ctypedef long long i64
ctypedef u64* words
ctypedef uint32_t* halves
ctypedef const unsigned char* bytes_at
ctypedef unsigned char* octets_at

cdef extern from * nogil:
    """
    #include <endian.h>
    #include <stdint.h>
    #include <string.h>
    #ifndef SELFCONN_OCTETS
    #define SELFCONN_OCTETS
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
    #define selfconn_u16(p, i) ((unsigned long long) be16toh(selfconn_16((p) + (i))))
    #define selfconn_u32(p, i) ((unsigned long long) be32toh(selfconn_32((p) + (i))))
    #define selfconn_be64(p, i) ((unsigned long long) be64toh(selfconn_64((p) + (i))))
    #define selfconn_l16(p, i) ((unsigned long long) le16toh(selfconn_16((p) + (i))))
    #define selfconn_l32(p, i) ((unsigned long long) le32toh(selfconn_32((p) + (i))))
    #define selfconn_u64(p, i) selfconn_64((p) + (i))
    #define selfconn_load16(p, i) ((unsigned long long) selfconn_16((p) + (i)))
    #define selfconn_load32(p, i) ((unsigned long long) selfconn_32((p) + (i)))
    /* Copy a TCP header: 20 to 60 octets. Of memcpy() with a size that varies, GCC makes a slow string instruction. */
    static inline void selfconn_copy_header(unsigned char *to, const unsigned char *from, uint64_t size) {
        if (size < 20 || size > 60) { memcpy(to, from, size); return; }
        memcpy(to, from, 16);
        if (size > 32) { memcpy(to + 16, from + 16, 16); if (size > 48) memcpy(to + 32, from + 32, 16); }
        memcpy(to + size - 16, from + size - 16, 16);
    }
    #define selfconn_seldom(x) __builtin_expect(!!(x), 0)
    /* Whether any of eight entries equals this one in all but the low bits. */
    typedef uint32_t selfconn_four __attribute__((vector_size(16)));
    static inline int selfconn_any_alike(const uint32_t *entries, uint64_t base, uint32_t entry, int bits) {
        selfconn_four one, two, of = {entry, entry, entry, entry};
        uint64_t halves[2];
        memcpy(&one, entries + base, sizeof one);
        memcpy(&two, entries + base + 4, sizeof two);
        one = (selfconn_four) ((one ^ of) >> bits == 0) | (selfconn_four) ((two ^ of) >> bits == 0);
        memcpy(halves, &one, sizeof one);
        return (halves[0] | halves[1]) != 0;
    }
    /* Put an entry before eight others, of which the last one goes. */
    static inline void selfconn_push(uint32_t *entries, uint64_t base, uint32_t entry) {
        selfconn_four one, two;
        memcpy(&one, entries + base, sizeof one);
        memcpy(&two, entries + base + 3, sizeof two);
        memcpy(entries + base + 1, &one, sizeof one);
        memcpy(entries + base + 4, &two, sizeof two);
        entries[base] = entry;
    }
    #define selfconn_send_for(p, i) __builtin_prefetch((p) + (i))
    #define selfconn_clear(p, count) memset((p), 0, (count) * sizeof *(p))
    #endif
    """
    u64 u16 "selfconn_u16"(bytes_at d, Py_ssize_t i)
    u64 u32 "selfconn_u32"(bytes_at d, Py_ssize_t i)
    u64 u64_at "selfconn_be64"(bytes_at d, Py_ssize_t i)
    u64 l16 "selfconn_l16"(bytes_at d, Py_ssize_t i)
    u64 l32 "selfconn_l32"(bytes_at d, Py_ssize_t i)
    u64 load_u16 "selfconn_load16"(bytes_at d, Py_ssize_t i)
    u64 load_u32 "selfconn_load32"(bytes_at d, Py_ssize_t i)
    u64 load_u64 "selfconn_u64"(bytes_at d, Py_ssize_t i)
    u64 folded "selfconn_folded"(u64 a, u64 b)
    void prefetch "__builtin_prefetch"(const void* p)
    void send_for "selfconn_send_for"(words w, u64 place)
    void copy_header "selfconn_copy_header"(octets_at to, bytes_at start, u64 size)
    bint seldom "selfconn_seldom"(bint x)
    bint has_alike "selfconn_any_alike"(halves entries, u64 base, uint32_t entry, int bits)
    void push "selfconn_push"(halves entries, u64 base, uint32_t entry)
    void send_for_half "selfconn_send_for"(halves w, u64 place)
    void clear "selfconn_clear"(words w, u64 count)

# Where an object's octets lie in memory. The caller keeps the object alive.
cdef inline void* address(object memory) except NULL:
    cdef Py_buffer buffer
    PyObject_GetBuffer(memory, &buffer, PyBUF_SIMPLE)
    cdef void* found = buffer.buf
    PyBuffer_Release(&buffer)
    return found

cdef inline words words_in(object memory) except NULL:
    return <words> address(memory)

cdef inline words own_words_in(object memory) except NULL:
    return <words> address(memory)

cdef inline halves halves_in(object memory) except NULL:
    return <halves> address(memory)

cdef inline octets_at counters_in(object memory) except NULL:
    return <octets_at> address(memory)

cdef inline bytes_at octets_of(object data) except NULL:
    return <bytes_at> address(data)

cdef inline i64* signed_words_in(object memory) except NULL:
    return <i64*> address(memory)
