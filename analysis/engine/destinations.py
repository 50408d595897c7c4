"""The destinations of refused attempts: how many, since when, and the source ports that were tried one by one.

An attempt is an opening that was refused. portwalk.py says what these ports reveal about the client's system.
"""

from __future__ import annotations

from array import array

import cython

from ..memory import growing, mapping

if not cython.compiled:
    from .interpreted import destination_at, destination_octets, destinations_in, ports_in, words_in
    from .layout import DESTINATIONS, FIRST_IS_B, IN_USE, LOW48, LOW64, MIX1, PROBES, WALK, WALKS, Slot

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .interpreted import Words
    from .layout import Key

#: Address and port of a destination; how many attempts; the times of the first and the last (ns since the epoch); then
#: two arrays for the first WALK attempts: source ports, and nanoseconds since the first attempt.
Attempts = tuple[bytes, int, int, int, int, "array[int]", "array[int]"]


def packed(high: int, low: int, six: int) -> bytes:
    """Return an address out of its two words: 4 or 16 octets."""
    return int(high).to_bytes(8, "big") + int(low).to_bytes(8, "big") if six else int(low).to_bytes(4, "big")


def probe(low: int, port: int, six: int) -> int:
    """Return the place at which the search for a destination begins."""
    return ((low * MIX1 & LOW64) >> 40) + (port | six << 32 | IN_USE) * 7 & DESTINATIONS - 1


def chosen(order: list[Key]) -> list[Key]:
    """Return the destinations that find a place in the table; *order* has all, in the order of their first refusal."""
    taken = bytearray(DESTINATIONS)
    found = []
    for key in order:
        _, low, port = key
        at = probe(low, port & 0xFFFF, port >> 32)
        for _ in range(PROBES):
            if not taken[at]:
                taken[at] = 1
                found.append(key)
                break
            at = (at + 1) & (DESTINATIONS - 1)
    return found


def split(attempts: Words, count: int, ports: Words, times: Words) -> None:
    """Split *count* remembered attempts into ports (the low 16 bits) and times (the bits above)."""
    for place in range(count):
        ports[place] = attempts[place] & 0xFFFF
        times[place] = attempts[place] >> 16


class Destinations:
    """A table of at most DESTINATIONS; the first WALKS of them have a list of their attempts, the first WALK of these.

    No more than *frames* attempts are to come.
    """

    def __init__(self, frames: int) -> None:
        self.walk = min(WALK, frames)
        self.memory = memoryview(mapping(destination_octets() * DESTINATIONS))
        self.attempts_memory = memoryview(growing(8 * WALKS * self.walk)).cast("Q")
        self.places_memory = memoryview(bytearray(8 * WALKS)).cast("Q")
        self.places = words_in(self.places_memory)  # of those with a list
        self.table = destinations_in(self.memory)
        self.attempts = words_in(self.attempts_memory)
        self.walks = 0
        self.last = 0  # the place that was found last

    def place(self, s: Slot, claim: bool) -> int:
        """Return the place of this opening's destination in the table, or -1.

        With *claim* a new destination takes a free place, if there is one among the PROBES places where it is looked
        for.
        """
        if s.flags & FIRST_IS_B:
            high, low, port = s.a_high, s.a_low, s.a_port
        else:
            high, low, port = s.b_high, s.b_low, s.b_port
        one = destination_at(self.table, self.last)
        if one.port == port and one.low == low and one.high == high and one.six == s.six and one.used:
            return self.last
        at = probe(low, port, s.six)
        for _ in range(PROBES):
            one = destination_at(self.table, at)
            if not one.used:
                if not claim:
                    return -1
                one.used = 1
                one.high, one.low, one.port, one.six = high, low, port, s.six
                self.last = at
                return at
            if one.port == port and one.low == low and one.high == high and one.six == s.six:
                self.last = at
                return at
            at = (at + 1) & (DESTINATIONS - 1)
        return -1

    def refuse(self, s: Slot) -> None:
        """Count the opening in this slot as a refused attempt at its destination."""
        at = self.place(s, True)
        if at < 0:
            return
        one = destination_at(self.table, at)
        count = one.count
        if count == 0:
            one.first = s.time
            if self.walks < WALKS:
                self.places[self.walks] = at
                self.walks += 1
                one.walk = self.walks
        one.count = count + 1
        one.last = s.time
        if one.walk and count < self.walk:
            port = s.b_port if s.flags & FIRST_IS_B else s.a_port
            # The attempt's time is kept as the distance from the first, in 48 bits: three days.
            self.attempts[(one.walk - 1) * self.walk + count] = ((s.time - one.first) & LOW48) << 16 | port

    def recall(self, s: Slot) -> None:
        """Note in this slot how many attempts at its destination were refused so far."""
        at = self.place(s, False)
        s.refused = s.since = 0
        if at >= 0:
            one = destination_at(self.table, at)
            s.refused, s.since = one.count, one.first

    def listed(self) -> list[Attempts]:
        """Return the destinations whose attempts are remembered one by one."""
        found = []
        for place in range(self.walks):
            one = destination_at(self.table, self.places[place])
            start = (one.walk - 1) * self.walk
            count = min(one.count, self.walk)
            ports = array("H", bytes(2 * count))
            times = array("Q", bytes(8 * count))
            split(words_in(self.attempts_memory[start : start + count]), count, ports_in(ports), words_in(times))
            address = packed(one.high, one.low, one.six)
            found.append((address, int(one.port), int(one.count), int(one.first), int(one.last), ports, times))
        return found
