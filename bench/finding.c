/* The loop that a C programmer would write to find segments whose two ports are equal: what nobody can be much
 * faster than. It reads a pcap file of Ethernet frames with read(), and makes the tests that the engine makes of a
 * common frame (analysis/engine/wire.py): link type, IPv4 without options, TCP, no later fragment, header lengths,
 * ports. It remembers nothing and judges nothing.
 *
 *     finding FILE       prints how many frames, and how many of them have equal ports
 */
#include <endian.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { BLOCK = 256 << 10, RECORD = 16, LONGEST = 262144, BEFORE = LONGEST + 4096, HUGE = 2 << 20 };

static uint16_t u16(const unsigned char *p) { uint16_t x; memcpy(&x, p, 2); return be16toh(x); }
static uint32_t l32(const unsigned char *p) { uint32_t x; memcpy(&x, p, 4); return le32toh(x); }

static int equal_ports(const unsigned char *p, uint32_t size) {
    return size >= 54 && u16(p + 12) == 0x0800 && p[14] == 0x45 && p[23] == 6 && !(u16(p + 20) & 0x1FFF)
        && p[46] >= 0x50 && u16(p + 16) >= 20 + (p[46] >> 4) * 4 && u16(p + 34) == u16(p + 36);
}

int main(int argc, char **argv) {
    /* The kernel copies faster into whole pages: what is left of a block is put before the next one. */
    unsigned char *octets = aligned_alloc(HUGE, HUGE);
    int file = argc == 2 && octets ? open(argv[1], O_RDONLY) : -1;
    unsigned char head[24];
    if (file < 0 || read(file, head, sizeof head) != sizeof head || l32(head) != 0xA1B2C3D4 || l32(head + 20) != 1) {
        fputs("finding: one pcap file is needed: little-endian, microseconds, Ethernet\n", stderr);
        return 2;
    }
    madvise(octets, HUGE, MADV_HUGEPAGE);
    uint64_t frames = 0, equal = 0;
    size_t held = 0;
    for (;;) {
        ssize_t got = read(file, octets + BEFORE, BLOCK);
        if (got <= 0)
            break;
        size_t end = BEFORE + (size_t) got, at = BEFORE - held;
        while (end - at >= RECORD) {
            uint32_t size = l32(octets + at + 8);
            if (size > LONGEST)
                return 4;
            if (end - at - RECORD < size)
                break;
            equal += equal_ports(octets + at + RECORD, size);
            frames++;
            at += RECORD + size;
        }
        held = end - at;
        memmove(octets + BEFORE - held, octets + at, held);
    }
    printf("%llu frames, %llu with equal ports\n", (unsigned long long) frames, (unsigned long long) equal);
    return 0;
}
