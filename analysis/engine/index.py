"""The index of the conversation table (compiled only): a hash table with open addressing and random keys.

It doubles when more than a quarter of it is in use. interpreted.py has a dict instead.
"""

from __future__ import annotations

import os

import cython

from ..memory import growing

if not cython.compiled:
    from .interpreted import clear, fetch, folded, is_of, segment_at, send_for, slot_at, words_in
    from .layout import AHEAD, LEAST, LOW32, LOW64, Segment, Slot


class Index:
    """Where the conversation of a 4-tuple is. An entry is the tag of its 4-tuple << 32 | its slot + 1."""

    def __init__(self, capacity: int) -> None:
        size = 2
        while size < 4 * capacity:
            size *= 2
        self.mask = min(size, LEAST) - 1
        self.used = 0
        self.capacity = capacity
        self.memory = [memoryview(growing(8 * size)).cast("Q"), memoryview(growing(8 * capacity)).cast("Q")]
        self.entries = words_in(self.memory[0])
        self.tags = words_in(self.memory[1])  # of each slot
        self.keys_memory = memoryview(bytearray(os.urandom(8 * 6))).cast("Q")
        self.keys = words_in(self.keys_memory)

    def digest_tuple(self, segment: Segment) -> int:
        """Return a 64-bit hash of a 4-tuple: folded products with keys of this run.

        So nobody can choose addresses that collide.

        Every bit of an address and of a key reaches every bit of the hash. (Of a plain product the upper bits of its
        factors reach only the upper bits: then addresses can be chosen that share a place whatever the key.)
        """
        ports = segment.six
        ports = ports << 16 | segment.a_port
        ports = ports << 16 | segment.b_port
        h = folded(segment.a_low ^ self.keys[0], segment.b_low ^ self.keys[1])
        if segment.six:
            h = (h + folded(segment.a_high ^ self.keys[2], segment.b_high ^ self.keys[3])) & LOW64
        return folded(h ^ self.keys[4], ports ^ self.keys[5])

    def digest_batch(self, batch: list[Segment], count: int) -> None:
        """Hash the 4-tuples of a batch, and prefetch their entries into the processor's cache."""
        for place in range(count):
            segment = segment_at(batch, place)
            segment.ends = self.digest_tuple(segment)
            send_for(self.entries, segment.ends >> 32 & self.mask)

    def look_up_batch(self, batch: list[Segment], count: int, slots: list[Slot]) -> None:
        """Guess the slots of a batch from the first place of each in the index, and prefetch these slots.

        A guess may be wrong: the table checks it before it uses it.
        """
        for place in range(count):
            segment = segment_at(batch, place)
            entry = self.entries[segment.ends >> 32 & self.mask]
            segment.slot = -1
            if entry >> 32 == segment.ends >> 32:
                segment.slot = (entry & LOW32) - 1
                fetch(slot_at(slots, segment.slot))

    def find(self, segment: Segment, slots: list[Slot]) -> int:
        """Return the slot of the segment's 4-tuple, -1 where it has none."""
        tag = segment.ends >> 32
        i = tag & self.mask
        entry = self.entries[i]
        while entry:
            if entry >> 32 == tag and is_of(slot_at(slots, (entry & LOW32) - 1), segment):
                return (entry & LOW32) - 1
            i = (i + 1) & self.mask
            entry = self.entries[i]
        return -1

    def enter(self, tag: int, slot: int, _s: Slot) -> None:
        """Enter the conversation in *slot*. The index grows with what it holds, so that a small one fits the caches."""
        self.tags[slot] = tag
        if slot >= self.used:
            self.used = slot + 1
        if self.used * 4 > self.mask + 1:
            clear(self.entries, self.mask + 1)
            self.mask = self.mask * 2 + 1
            for each in range(self.used):
                self.put(self.tags[each], each)
        else:
            self.put(tag, slot)

    def put(self, tag: int, slot: int) -> None:
        """Write an entry to the next free place."""
        i = tag & self.mask
        while self.entries[i]:
            i = (i + 1) & self.mask
        self.entries[i] = tag << 32 | (slot + 1)

    def remove(self, slot: int, slots: list[Slot]) -> None:
        """Remove the conversation in *slot*.

        Entries that lie behind it because their own place was taken move back.

        Also prefetch what will be removed AHEAD calls later: the slot, its entry, and earlier the tag that leads to it.
        """
        i = self.tags[slot] & self.mask
        while self.entries[i] & LOW32 != slot + 1:
            i = (i + 1) & self.mask
        j = i
        while True:
            j = (j + 1) & self.mask
            entry = self.entries[j]
            if not entry:
                break
            if ((j - (entry >> 32)) & self.mask) >= ((j - i) & self.mask):
                self.entries[i] = entry
                i = j
        self.entries[i] = 0
        if slot + AHEAD < self.capacity:
            fetch(slot_at(slots, slot + AHEAD))
            send_for(self.entries, self.tags[slot + AHEAD] & self.mask)
            send_for(self.tags, slot + 2 * AHEAD)
