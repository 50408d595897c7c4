"""The search for packets that were captured more than once (compiled only): a ring, and a table of hashes into it.

interpreted.py has two dicts instead. docs/verdicts.md ("What counts") says what makes a packet a duplicate.
"""

from __future__ import annotations

import os

import cython

from ..memory import mapping, sparse

if not cython.compiled:
    from .interpreted import (
        any_alike,
        apart,
        folded,
        halves_in,
        load_u16,
        load_u32,
        load_u64,
        push,
        segment_at,
        seldom,
        send_for_half,
        traces,
        words_in,
    )
    from .layout import (
        ELSEWHERE,
        FEW_SETS,
        KEYS,
        LOW16,
        MILLISECOND,
        MIX1,
        MIX2,
        NEAR,
        SETS,
        WAYS,
        WORDS_OF_PACKET,
        Segment,
    )

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..model import Octets


class Duplicates:
    """Finds packets that were captured already, less than NEAR frames before.

    The last NEAR packets are in a ring, four words for each: a hash of the addresses, the ports, the TCP header without
    its checksum, and the payload's length; the time; the frame's number; and, in one word, a hash of where the packet
    was seen (32 bits), its IPv4 identification (16 bits), and a hash of what else the IP header and the TCP checksum
    say (16 bits). A packet's entry in the table is 21 bits of its first hash, and its place in the ring. A set of the
    table has WAYS entries, half a line of the processor's cache, the newest one first.

    A capture of fewer than NEAR *frames* needs fewer sets: as many as it has frames, a power of two.
    """

    def __init__(self, frames: int) -> None:
        sets = FEW_SETS
        while sets < min(frames, SETS):
            sets *= 2
        self.mask = sets - 1
        self.memory = memoryview(mapping(4 * WAYS * sets)).cast("I")
        self.entries = halves_in(self.memory)
        self.ring_memory = memoryview(sparse(8 * WORDS_OF_PACKET * NEAR)).cast("Q")
        self.ring = words_in(self.ring_memory)
        self.taken = 0  # packets so far
        self.keys_memory = memoryview(bytearray(os.urandom(8 * KEYS))).cast("Q")
        self.keys = words_in(self.keys_memory)

    def digest(self, d: Octets, segment: Segment) -> int:
        """Return a 64-bit hash of what identifies a segment: folded products with random keys of this run.

        That of the 4-tuple is there already (index.py). The last bits, which choose the set, have no key: what a full
        set forgets is the same in each run.
        """
        at = segment.at
        place = (load_u64(d, at) + load_u64(d, at + 8) + segment.a_low + segment.b_low) * MIX1 >> 48
        size = segment.size
        end = at + size
        h = segment.ends + segment.from_a + folded(load_u64(d, at) ^ self.keys[0], load_u64(d, at + 8) ^ self.keys[1])
        size |= segment.data << 8
        rest = size << 16 | load_u16(d, at + 18)
        at += 20
        i = 2
        while end - at >= 16:
            h += folded(load_u64(d, at) ^ self.keys[i], load_u64(d, at + 8) ^ self.keys[i + 1])
            i += 2
            at += 16
        last = 0
        if end - at >= 8:
            last = load_u64(d, at)
            rest ^= load_u64(d, end - 8) * MIX1
        elif end > at:
            last = load_u32(d, at) << 32 | load_u32(d, end - 4)
        h += folded(rest ^ self.keys[i], last ^ self.keys[i + 1])
        return h * MIX2 & ~self.mask | place & self.mask

    def digest_batch(self, d: Octets, batch: list[Segment], count: int) -> None:
        """Hash the headers of a batch, and prefetch their sets into the processor's cache."""
        for place in range(count):
            segment = segment_at(batch, place)
            segment.digest = self.digest(d, segment)
            send_for_half(self.entries, (segment.digest & self.mask) * WAYS)

    def mark(self, d: Octets, batch: list[Segment], count: int) -> None:
        """Mark those of a batch whose packets were captured already: how many frames ago. Remember the others (0).

        A burst of duplicate ACKs might fill a set: nothing but the IPv4 identification tells them apart. So where two
        entries of a set have its hash, a packet is remembered in another set, which its identification tells.
        """
        entries, ring, mask, taken = self.entries, self.ring, self.mask, self.taken
        for place in range(count):
            segment = segment_at(batch, place)
            base = (segment.digest & mask) * WAYS
            entry = segment.digest >> 32 & ~(NEAR - 1)
            number = segment.identification
            seen = segment.place
            seen = seen << 32 | number << 16 | traces(d, segment)
            segment.duplicate = 0
            if seldom(any_alike(entries, base, entry)):
                other = (segment.digest + number * (MIX1 >> 40) & mask) * WAYS
                segment.duplicate = self.find_copy(base, entry, seen, segment) or self.find_copy(
                    other, entry, seen, segment
                )
                if segment.duplicate:
                    continue
                if self.count_alike(base, entry) > 1:
                    base = other
            i = taken & (NEAR - 1)
            taken += 1
            push(entries, base, entry | i)
            i *= WORDS_OF_PACKET
            ring[i], ring[i + 1], ring[i + 2], ring[i + 3] = segment.digest, segment.time, segment.frame, seen
        self.taken = taken

    def count_alike(self, base: int, entry: int) -> int:
        """Return how many entries of the set at *base* have the same hash as *entry*."""
        count = 0
        for way in range(WAYS):
            count += (self.entries[base + way] ^ entry) < NEAR
        return count

    def find_copy(self, base: int, entry: int, seen: int, segment: Segment) -> int:
        """Return how many frames ago a packet of the set at *base* came of which this one is a copy; 0 if none did."""
        for way in range(WAYS):
            differ = self.entries[base + way] ^ entry
            if differ < NEAR:
                ago = self.is_copy(differ * WORDS_OF_PACKET, seen, segment)
                if ago:
                    return ago
        return 0

    def is_copy(self, i: int, seen: int, segment: Segment) -> int:
        """Return how many frames ago the packet at *i* in the ring came, if this one is a copy of it; else 0.

        *seen* is what the ring's last word would be.
        """
        frame = self.ring[i + 2]
        if self.ring[i] != segment.digest or not frame or segment.frame - frame >= NEAR:
            return 0
        then = self.ring[i + 1]
        distance = apart(segment.time, then)
        found = self.ring[i + 3]
        if (found ^ seen) >> 32:
            number = found >> 16 & LOW16
            same = distance <= ELSEWHERE and (
                number == segment.identification or not number or not segment.identification
            )
        else:
            same = distance <= MILLISECOND and found == seen
        return segment.frame - frame if same else 0
