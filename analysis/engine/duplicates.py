"""The search for packets that were captured more than once (compiled only): a table of hashes, eight places to each.

interpreted.py has two dicts instead. docs/verdicts.md ("What counts") says what makes a packet a duplicate.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import cython

from ..memory import mapping

if not cython.compiled:
    from .interpreted import apart, counters_in, folded, load_u32, load_u64, segment_at, send_for, traces, u16, words_in
    from .layout import (
        ELSEWHERE,
        FEW_SETS,
        KEYS,
        LOW16,
        LOW32,
        MILLISECOND,
        MIX1,
        MIX2,
        NEAR,
        SETS,
        WAYS,
        WHERE,
        WORDS_OF_SET,
        Segment,
    )

if TYPE_CHECKING:
    from ..model import Octets


class Duplicates:
    """Finds packets that were captured already, less than NEAR frames before.

    A set has eight places; a new packet takes the place of the oldest one (``turns`` says which that is). A set lies in
    three lines of the processor's cache: the keys, then two words for each place. A key is a hash of the addresses, the
    ports, the TCP header without its checksum, and the payload's length: 48 bits of it, and the IPv4 identification.
    The words are the time; and the frame's number (32 bits), a hash of where the packet was seen (16 bits), and one of
    what else the IP header and the TCP checksum say (16 bits).

    A capture of fewer than NEAR *frames* needs fewer sets: as many as it has frames, a power of two.
    """

    def __init__(self, frames: int) -> None:
        sets = FEW_SETS
        while sets < min(frames, SETS):
            sets *= 2
        self.mask = sets - 1
        self.memory = memoryview(mapping(8 * WORDS_OF_SET * sets)).cast("Q")
        self.keys_memory = memoryview(bytearray(os.urandom(8 * KEYS))).cast("Q")
        self.turns_memory = bytearray(sets)
        self.sets = words_in(self.memory)
        self.turns = counters_in(self.turns_memory)
        self.keys = words_in(self.keys_memory)
        self.seed = int.from_bytes(os.urandom(8), "little")

    def digest(self, d: Octets, segment: Segment) -> int:
        """Return a 64-bit hash of what identifies a segment: folded products with random keys of this run."""
        at = segment.at
        end = at + segment.size
        h = self.seed + segment.from_a
        h += folded(segment.a_low ^ self.keys[0], segment.b_low ^ self.keys[1])
        if segment.six:
            h += folded(segment.a_high ^ self.keys[2], segment.b_high ^ self.keys[3])
        h += folded(load_u64(d, at) ^ self.keys[4], load_u64(d, at + 8) ^ self.keys[5])
        i = 6
        at += 20
        while end - at >= 16:
            h += folded(load_u64(d, at) ^ self.keys[i], load_u64(d, at + 8) ^ self.keys[i + 1])
            i += 2
            at += 16
        rest = u16(d, segment.at + 18) | segment.size << 16 | segment.data << 24
        if end - at >= 8:
            h += folded(load_u64(d, at) ^ self.keys[i], load_u64(d, end - 8) ^ self.keys[i + 1] ^ rest)
        else:
            last = load_u32(d, at) << 32 | load_u32(d, end - 4) if end > at else 0
            h += folded(rest ^ self.keys[i], last ^ self.keys[i + 1])
        h *= MIX2
        return h ^ h >> 32

    def digest_batch(self, d: Octets, batch: list[Segment], count: int) -> None:
        """Hash the headers of a batch, and prefetch their sets into the processor's cache."""
        for place in range(count):
            segment = segment_at(batch, place)
            segment.digest = self.digest(d, segment)
            send_for(self.sets, (segment.digest & self.mask) * WORDS_OF_SET)

    def mark(self, d: Octets, batch: list[Segment], count: int) -> None:
        """Mark those of a batch whose packets were captured already; remember the others."""
        for place in range(count):
            segment = segment_at(batch, place)
            segment.duplicate = self.seen(d, segment)

    def seen(self, d: Octets, segment: Segment) -> int:
        """Return how many frames ago this packet was captured already; if it was not, 0, and it is remembered.

        A burst of duplicate ACKs might fill a set: nothing but the IPv4 identification tells them apart. So where two
        places of a set have its key, a packet is remembered in another set, which its identification tells.
        """
        at = segment.digest & self.mask
        base = at * WORDS_OF_SET
        key = (segment.digest & ~LOW16) | segment.identification
        where = (segment.place & LOW16) << 16 | traces(d, segment)
        near = 0
        for way in range(WAYS):  # all of them, without a branch: next to none is near
            near += (self.sets[base + way] ^ key) <= LOW16
        if near:
            other = ((segment.digest >> 16) + segment.identification * MIX1) & self.mask
            ago = self.has_copy(base, key, where, segment) or self.has_copy(other * WORDS_OF_SET, key, where, segment)
            if ago:
                return ago
            if near > 1:
                at = other
                base = at * WORDS_OF_SET
        way = self.turns[at]
        self.turns[at] = (way + 1) & (WAYS - 1)
        self.sets[base + way] = key
        self.sets[base + WAYS + 2 * way] = segment.time
        self.sets[base + WAYS + 2 * way + 1] = (segment.frame & LOW32) << 32 | where
        return 0

    def has_copy(self, base: int, key: int, where: int, segment: Segment) -> int:
        """Return how many frames before a packet one came of which it is a copy, if the set at *base* has one; else 0."""
        for way in range(WAYS):
            differ = self.sets[base + way] ^ key
            if differ <= LOW16:
                ago = self.is_copy(base + WAYS + 2 * way, key, differ, where, segment)
                if ago:
                    return ago
        return 0

    def is_copy(self, i: int, key: int, differ: int, where: int, segment: Segment) -> int:
        """Return how many frames ago the packet came of which the words at *i* tell, if this one is a copy of it; else 0.

        *differ* is by what their keys do.
        """
        found = self.sets[i + 1]
        ago = (segment.frame - (found >> 32)) & LOW32
        if not found or ago >= NEAR:
            return 0
        then = self.sets[i]
        distance = apart(segment.time, then)
        if (found ^ where) & WHERE:
            same = distance <= ELSEWHERE and (not differ or not key & LOW16 or not (key ^ differ) & LOW16)
        else:
            same = distance <= MILLISECOND and not differ and not (found ^ where) & LOW16
        return ago if same else 0
