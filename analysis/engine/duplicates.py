"""The search for packets that were captured more than once (compiled only): a table of hashes, eight places to each.

interpreted.py has two dicts instead. docs/verdicts.md ("What counts") says what makes a packet a duplicate.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import cython

from ..memory import mapping

if not cython.compiled:
    from .interpreted import folded, load_u32, load_u64, segment_at, send_for, traces, u16, words_in
    from .layout import (
        ELSEWHERE,
        KEYS,
        LOW16,
        LOW32,
        MILLISECOND,
        MIX2,
        NEAR,
        SETS,
        WAYS,
        WORDS_OF_SET,
        Segment,
    )

if TYPE_CHECKING:
    from ..model import Octets


class Duplicates:
    """Finds packets that were captured already, less than NEAR frames before.

    A set has eight places; a new packet takes the place of the oldest one. A set lies in four rows of eight words, a
    column for each place. A key is a hash of the addresses, the ports, the TCP header without its checksum, and the
    payload's length: 48 bits of it, and the IPv4 identification; the time; and the frame's number (32 bits), a hash of
    where the packet was seen (16 bits), and one of what else the IP header and the TCP checksum say (16 bits). The last
    row counts the packets that came to the set.
    """

    def __init__(self) -> None:
        self.memory = memoryview(mapping(8 * WORDS_OF_SET * SETS)).cast("Q")
        self.keys_memory = memoryview(bytearray(os.urandom(8 * KEYS))).cast("Q")
        self.sets = words_in(self.memory)
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
            send_for(self.sets, (segment.digest & (SETS - 1)) * WORDS_OF_SET)

    def mark(self, d: Octets, batch: list[Segment], count: int) -> None:
        """Mark those of a batch whose packets were captured already; remember the others."""
        for place in range(count):
            segment = segment_at(batch, place)
            segment.duplicate = self.seen(d, segment)

    def seen(self, d: Octets, segment: Segment) -> bool:
        """Whether this packet was captured already; it is remembered if not."""
        base = (segment.digest & (SETS - 1)) * WORDS_OF_SET
        key = (segment.digest & ~LOW16) | segment.identification
        where = (segment.place & LOW16) << 16 | traces(d, segment)
        for i in range(base, base + WAYS):
            if (
                (self.sets[i] ^ key) <= LOW16
                and self.sets[i + 2 * WAYS]
                and self.is_copy(i, key, where, segment.frame, segment.time)
            ):
                return True
        i = base + (self.sets[base + 3 * WAYS] & (WAYS - 1))
        self.sets[base + 3 * WAYS] += 1
        self.sets[i] = key
        self.sets[i + WAYS] = segment.time
        self.sets[i + 2 * WAYS] = (segment.frame & LOW32) << 32 | where
        return False

    def is_copy(self, i: int, key: int, where: int, frame: int, time: int) -> bool:
        """Whether the packet with this key is a copy of the one in place *i*, whose key differs in the lowest bits."""
        found = self.sets[i + 2 * WAYS]
        if (frame - (found >> 32)) & LOW32 >= NEAR:
            return False
        then = self.sets[i + WAYS]
        apart = time - then if time > then else then - time
        differ = (self.sets[i] ^ key) & LOW16
        if (found ^ where) & (LOW16 << 16):
            return apart <= ELSEWHERE and (not differ or not key & LOW16 or not self.sets[i] & LOW16)
        return apart <= MILLISECOND and not differ and not (found ^ where) & LOW16
