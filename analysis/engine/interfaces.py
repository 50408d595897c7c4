"""What a pcapng file says of its interfaces: link types and clocks, what they dropped, and the capture filters."""

from __future__ import annotations

import cython

if not cython.compiled:
    from .interpreted import l16, l32, signed_words_in, u16, u32
    from .layout import (
        D_OPTION,
        LAST_SECOND,
        LONGEST_FILTER,
        LOW32,
        MAX_DROPS,
        MAX_FILTERS,
        MICROSECONDS,
        SECOND,
        WORDS_OF_INTERFACE,
    )

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..model import Octets


class Interfaces:
    """The ``count`` interfaces of a pcapng section, WORDS_OF_INTERFACE words each.

    ``recorded_drops`` is how many packets the recorder dropped, in all sections; -1 where no section says it.
    ``filters`` are the capture filters that the interfaces name: the first MAX_FILTERS of them in alphabetical order.
    ``described`` is how many interfaces were described, in all sections and files.
    ``broken`` and ``claimed`` say what is wrong with the block that was read last (see DAMAGES).
    """

    def __init__(self) -> None:
        self.big = False
        self.memory = memoryview(bytearray(8 * WORDS_OF_INTERFACE)).cast("q")
        self.words = signed_words_in(self.memory)
        self.count = self.described = 0
        self.room = 1
        self.recorded_drops = -1
        self.filters: list[str] = []
        self.broken = self.claimed = 0

    def order16(self, d: Octets, i: int) -> int:
        """Return the 16-bit integer at *i* in the section's byte order."""
        return u16(d, i) if self.big else l16(d, i)

    def order32(self, d: Octets, i: int) -> int:
        """Return the 32-bit integer at *i* in the section's byte order."""
        return u32(d, i) if self.big else l32(d, i)

    def order64(self, d: Octets, i: int) -> int:
        """Return the 64-bit integer at *i* in the section's byte order."""
        if self.big:
            return u32(d, i) << 32 | u32(d, i + 4)
        return l32(d, i + 4) << 32 | l32(d, i)

    def describe(self, d: Octets, p: int, end: int) -> None:
        """Read an interface description block: link type, snap length, if_tsresol, if_tsoffset."""
        base = self.count * WORDS_OF_INTERFACE
        if self.count == self.room:
            self.make_room()
        self.count += 1
        self.described += 1
        self.words[base] = self.order16(d, p)
        self.words[base + 1] = self.order32(d, p + 4)
        self.words[base + 2] = 6
        self.words[base + 3] = self.words[base + 4] = self.words[base + 5] = 0
        p += 8
        while end - p >= 4:
            code = self.order16(d, p)
            size = self.order16(d, p + 2)
            p += 4
            if size > end - p:
                self.broken = D_OPTION
                self.claimed = size
                break
            if code == 0:
                break
            if code == 9 and size == 1:
                self.words[base + 2] = d[p]
            elif code == 11 and size > 1 and d[p] == 0:  # a text, not a program for BPF
                self.note_filter(d, p + 1, p + min(size, LONGEST_FILTER))
            elif code == 14 and size == 8:
                high = self.order32(d, p) if self.big else self.order32(d, p + 4)
                low = self.order32(d, p + 4) if self.big else self.order32(d, p)
                # A signed number of seconds. One that no clock can show makes no sense, and is ignored.
                if high <= 2:
                    self.words[base + 3] = high << 32 | low
                elif high >= LOW32 - 2:
                    self.words[base + 3] = low - ((LOW32 + 1 - high) << 32)
            p += (size + 3) & ~3

    def make_room(self) -> None:
        """Make room for twice as many interfaces."""
        used = WORDS_OF_INTERFACE * self.room
        grown = memoryview(bytearray(2 * 8 * used)).cast("q")
        grown[:used] = self.memory
        self.memory = grown
        self.words = signed_words_in(grown)
        self.room *= 2

    def clock(self, ticks: int, resolution: int, offset: int) -> int:
        """Return a pcapng time in nanoseconds since 1970; 0 where *offset* leads out of the years 1970 to 2255.

        *resolution* is if_tsresol, *offset* is if_tsoffset in seconds.
        """
        if offset == 0:  # the two clocks that nearly all files have need no division
            if resolution == 6 and ticks < LAST_SECOND * MICROSECONDS:
                return ticks * 1000
            if resolution == 9 and ticks < LAST_SECOND * SECOND:
                return ticks
        if resolution & 0x80:
            bits = resolution & 0x7F
            seconds = ticks >> bits if bits < 64 else 0
            rest = ticks - (seconds << bits) if bits < 64 else ticks
            if bits > 34:  # so that rest * 10**9 fits 64 bits
                rest = rest >> (bits - 34) if bits < 98 else 0
                bits = 34
            rest = rest * SECOND >> bits
        else:
            unit = 1
            bits = min(resolution, 19)
            while bits:
                unit *= 10
                bits -= 1
            seconds = ticks // unit if resolution < 20 else 0
            rest = ticks - seconds * unit if resolution < 20 else 0
            if unit <= SECOND:
                rest *= SECOND // unit
            else:
                rest //= unit // SECOND
        whole = min(seconds, LAST_SECOND)
        whole += offset
        return whole * SECOND + rest if 0 <= whole <= LAST_SECOND else 0

    def statistics(self, d: Octets, p: int, end: int, base: int) -> int:
        """Read the options of an interface statistics block: what isb_ifdrop or isb_osdrop says, whichever is more."""
        while end - p >= 4:
            code, size = self.order16(d, p), self.order16(d, p + 2)
            p += 4
            if code == 0 or size > end - p:
                break
            if code in (5, 7) and size == 8:
                self.dropped(base, 4, self.order64(d, p))
            p += (size + 3) & ~3
        return 0

    def packet_options(self, d: Octets, p: int, end: int, base: int) -> int:
        """Read the options of an enhanced packet block: epb_dropcount, packets lost since the one before.

        Return its direction, of epb_flags: 1 in, 2 out, 0 where it says neither.
        """
        direction = 0
        while end - p >= 4:
            code, size = self.order16(d, p), self.order16(d, p + 2)
            p += 4
            if code == 0 or size > end - p:
                break
            if code == 2 and size == 4:
                direction = self.order32(d, p) & 3
            elif code == 4 and size == 8:
                self.dropped(base, 5, self.words[base + 5] + self.order64(d, p))
            p += (size + 3) & ~3
        return direction

    def dropped(self, base: int, word: int, count: int) -> int:
        """Note that *count* packets of an interface were dropped so far, as one of two sources says.

        Interface statistics write *word* 4, packet blocks word 5; the larger number of the two counts.
        """
        if count < MAX_DROPS:
            before = max(self.words[base + 4], self.words[base + 5])
            self.words[base + word] = max(self.words[base + word], count)
            after = max(self.words[base + 4], self.words[base + 5])
            self.recorded_drops = max(self.recorded_drops, 0) + after - before
        return 0

    def note_filter(self, d: Octets, p: int, end: int) -> None:
        """Remember the capture filter of an interface, if it is among the first MAX_FILTERS in alphabetical order."""
        text = bytes(d[p:end]).decode(errors="replace")
        self.filters = sorted({*self.filters, text})[:MAX_FILTERS]
