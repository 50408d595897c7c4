"""The search for packets that were captured twice (compiled only): a table of hashes, four places to each.

interpreted.py has two dicts in its place.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import cython

from ..memory import mapping

if not cython.compiled:
    from .interpreted import folded, load_u64, segment_at, send_for, words_in
    from .layout import KEYS, LOW24, MILLISECOND, MIX2, NEAR, REMEMBERED, Segment

if TYPE_CHECKING:
    from ..model import Octets


class Duplicates:
    """Which packets were captured already: less than NEAR frames and one millisecond from here.

    Four places to a hash, in one cache line, the newest first: the hash, the frame's number in its lowest 24 bits
    (which the place tells), and the time.
    """

    def __init__(self) -> None:
        self.memory = memoryview(mapping(16 * REMEMBERED)).cast("Q")
        self.keys_memory = memoryview(bytearray(os.urandom(8 * KEYS))).cast("Q")
        self.places = words_in(self.memory)
        self.keys = words_in(self.keys_memory)
        self.seed = int.from_bytes(os.urandom(8), "little")

    def digest(self, d: Octets, start: int, end: int) -> int:
        """Return a 64-bit hash of d[start:end]: folded products with keys of this run, so that none collide on purpose.

        An IP and a TCP header are 40 octets at least; what is left of the last 16 is taken together with some before.
        """
        h = self.seed + (end - start)
        i = 0
        while end > start:
            if end - start < 16:
                start = end - 16
            h += folded(load_u64(d, start) ^ self.keys[i], load_u64(d, start + 8) ^ self.keys[i + 1])
            i = (i + 2) & (KEYS - 1)
            start += 16
        h *= MIX2
        return h ^ h >> 32

    def digest_batch(self, d: Octets, batch: list[Segment], count: int) -> None:
        """Hash the headers of a batch, and send for their places in the table."""
        for place in range(count):
            segment = segment_at(batch, place)
            segment.digest = self.digest(d, segment.ip, segment.at + segment.size)
            send_for(self.places, (segment.digest & (REMEMBERED - 4)) * 2)

    def mark(self, _d: Octets, batch: list[Segment], count: int) -> None:
        """Mark those of a batch whose packets were captured already; remember the others."""
        for place in range(count):
            segment = segment_at(batch, place)
            segment.duplicate = self.seen(segment.digest, segment.frame, segment.time)

    def seen(self, h: int, frame: int, time: int) -> bool:
        """Whether the packet of this hash was captured already; it is remembered if not."""
        i = (h & (REMEMBERED - 4)) * 2
        for k in range(i, i + 8, 2):
            found = self.places[k]
            if (found ^ h) <= LOW24 and found and (frame - found) & LOW24 < NEAR:
                then = self.places[k + 1]
                if (time - then if time > then else then - time) <= MILLISECOND:
                    return True
        for k in range(i + 7, i + 1, -1):
            self.places[k] = self.places[k - 2]
        self.places[i] = (h & ~LOW24) | (frame & LOW24)
        self.places[i + 1] = time
        return False

    def remember(self, packet: bytes, frame: int, time: int) -> None:
        """Remember a packet of a part before."""
        d = packet
        self.seen(self.digest(d, 0, len(packet)), frame, time)
