"""The refused attempts of a part, by destination: destinations.py for captures whose beginning is not known yet.

In a whole capture the first destinations find a place in a table, and no others. Which these are a part cannot know,
so it remembers all of them (partial.py). Everything is 64-bit words, which go to other processes as they are.
"""

from __future__ import annotations

import os
from array import array

import cython

if not cython.compiled:
    from .destinations import probe
    from .interpreted import folded, ports_in, words_in
    from .layout import (
        DESTINATIONS,
        LOW16,
        LOW48,
        MAX_ATTEMPTS,
        MAX_REFUSED,
        PROBES,
        W_COUNT,
        W_FIRST,
        W_FIRST_FRAME,
        W_HIGH,
        W_LAST,
        W_LAST_FRAME,
        W_LOW,
        W_PORT,
        W_REMEMBERED,
        WALK,
        WALKS,
        WORDS_OF_ATTEMPT,
        WORDS_OF_REFUSED,
    )

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .interpreted import Words
    from .layout import Key


class Rows:
    """A table of 64-bit words, so many to a row, that grows. Rows are zero to begin with."""

    def __init__(self, width: int) -> None:
        self.width = width
        self.room = 256
        self.used = 0
        self.memory = memoryview(bytearray(8 * width * self.room)).cast("Q")
        self.words = words_in(self.memory)

    def add(self) -> int:
        """Make a row; return the place of its first word."""
        if self.used == self.room:
            self.make_room()
        self.used += 1
        return (self.used - 1) * self.width

    def make_room(self) -> int:
        """Make room for twice as many rows."""
        words = self.width * self.room
        grown = memoryview(bytearray(2 * 8 * words)).cast("Q")
        grown[:words] = self.memory
        self.memory = grown
        self.words = words_in(grown)
        self.room *= 2
        return 0

    def octets(self) -> bytes:
        """Return all rows as octets."""
        return bytes(self.memory[: self.used * self.width])


class RefusedAttempts:
    """Refused attempts by destination: all destinations, and of each the first WALK attempts, in the order of frames.

    While a part is merged, attempts go to ``fresh`` first: what the part knows itself, take() adds afterwards. ``full``
    says that there were too many to remember. With ``direct`` nothing came before: then a destination that finds no
    place in destinations.py's table is not remembered, and only the first WALKS have a list of attempts.
    """

    def __init__(self) -> None:
        self.destinations = Rows(WORDS_OF_REFUSED)
        self.attempts = Rows(WORDS_OF_ATTEMPT)
        self.fresh = Rows(WORDS_OF_ATTEMPT)
        self.direct = self.merging = self.full = False
        self.latest = 0  # the destination that was looked for last, counted from 1
        self.mask = 511
        self.index_memory = memoryview(bytearray(8 * 512)).cast("Q")
        self.index = words_in(self.index_memory)
        self.keys_memory = memoryview(bytearray(os.urandom(8 * 4))).cast("Q")
        self.keys = words_in(self.keys_memory)
        self.taken: set[int] = set()
        self.by_destination: dict[int, list[int]] | None = None

    def digest(self, high: int, low: int, port: int) -> int:
        """Return a hash of a destination, with keys of this run, so that nobody can choose some that collide."""
        return folded(folded(low ^ self.keys[0], high ^ self.keys[1]) ^ self.keys[2], port ^ self.keys[3])

    def is_at(self, row: int, high: int, low: int, port: int) -> bool:
        """Whether the destination in this row has this key."""
        w = self.destinations.words
        return w[row + W_LOW] == low and w[row + W_PORT] == port and w[row + W_HIGH] == high

    def find(self, high: int, low: int, port: int) -> int:
        """Return the place of a destination's row, or -1."""
        row = (self.latest - 1) * WORDS_OF_REFUSED
        if self.latest and self.is_at(row, high, low, port):
            return row
        i = self.digest(high, low, port) & self.mask
        entry = self.index[i]
        while entry:
            row = (entry - 1) * WORDS_OF_REFUSED
            if self.is_at(row, high, low, port):
                self.latest = entry
                return row
            i = (i + 1) & self.mask
            entry = self.index[i]
        return -1

    def claim(self, high: int, low: int, port: int) -> int:
        """Return the place of a new destination's row; -1 where there are too many."""
        if self.destinations.used >= MAX_REFUSED:
            self.full = True
            return -1
        row = self.destinations.add()
        w = self.destinations.words
        w[row + W_HIGH], w[row + W_LOW], w[row + W_PORT] = high, low, port
        if self.destinations.used * 2 > self.mask:
            self.grow()
        else:
            self.put(row)
        return row

    def put(self, row: int) -> None:
        """Enter a destination in the index."""
        w = self.destinations.words
        i = self.digest(w[row + W_HIGH], w[row + W_LOW], w[row + W_PORT]) & self.mask
        while self.index[i]:
            i = (i + 1) & self.mask
        self.index[i] = row // WORDS_OF_REFUSED + 1

    def grow(self) -> int:
        """Double the index."""
        self.mask = self.mask * 2 + 1
        self.index_memory = memoryview(bytearray(8 * (self.mask + 1))).cast("Q")
        self.index = words_in(self.index_memory)
        for each in range(self.destinations.used):
            self.put(each * WORDS_OF_REFUSED)
        return 0

    def finds_place(self, low: int, port: int) -> bool:
        """Whether a new destination finds a place in the table of a whole capture; the place is taken then."""
        at = probe(low, port & LOW16, port >> 32)
        for _ in range(PROBES):
            if at not in self.taken:
                self.taken.add(at)
                return True
            at = (at + 1) & (DESTINATIONS - 1)
        return False

    def count(self, high: int, low: int, port: int) -> int:
        """Return how many attempts at a destination were refused so far."""
        row = self.find(high, low, port)
        return self.destinations.words[row + W_COUNT] if row >= 0 else 0

    def place(self, high: int, low: int, port: int) -> int:
        """Return the place of a destination's row, which may be new; -1 where it is not to be remembered."""
        row = self.find(high, low, port)
        if row >= 0:
            return row
        if self.direct and not self.finds_place(low, port):
            return -1
        return self.claim(high, low, port)

    def refuse(self, row: int, client: int, frame: int, time: int) -> int:
        """Count a refused attempt at the destination in this row (see place()), from the port *client*."""
        if row < 0:
            return 0
        w = self.destinations.words
        if not w[row + W_COUNT]:
            w[row + W_FIRST_FRAME], w[row + W_FIRST] = frame, time
        w[row + W_COUNT] += 1
        w[row + W_LAST_FRAME], w[row + W_LAST] = frame, time
        if self.merging:
            self.remember(self.fresh, row, client, frame, time)
        elif w[row + W_REMEMBERED] < WALK and not (self.direct and row >= WALKS * WORDS_OF_REFUSED):
            w[row + W_REMEMBERED] += 1
            self.remember(self.attempts, row, client, frame, time)
        return 0

    def remember(self, rows: Rows, row: int, client: int, frame: int, time: int) -> int:
        """Remember one attempt."""
        if rows.used >= MAX_ATTEMPTS:
            self.full = True
            return 0
        at = rows.add()
        rows.words[at] = (row // WORDS_OF_REFUSED) << 16 | client
        rows.words[at + 1] = frame
        rows.words[at + 2] = time
        return 0

    # -- merging -------------------------------------------------------------------------------------------------------

    def begin_merge(self) -> None:
        """Say that the attempts that follow are those of a part, as far as that left them undecided."""
        self.direct = False
        self.merging = True

    def before(self, key: Key, frame: int) -> int:
        """Return how many attempts at a destination came before this frame, besides those that the part knew itself."""
        from bisect import bisect_left  # noqa: PLC0415 - seldom needed

        high, low, port = key
        row = self.find(high, low, port)
        if row < 0:
            return 0
        if self.by_destination is None:
            self.by_destination = {}
            for at in range(0, self.fresh.used * WORDS_OF_ATTEMPT, WORDS_OF_ATTEMPT):
                self.by_destination.setdefault(self.fresh.memory[at] >> 16, []).append(self.fresh.memory[at + 1])
        fresh = self.by_destination.get(row // WORDS_OF_REFUSED, [])
        return int(self.destinations.memory[row + W_COUNT]) - len(fresh) + bisect_left(fresh, frame)

    def take(self, destinations: bytes, attempts: bytes, base: int) -> None:
        """Add what a part knew itself, with its frames *base* later; this ends the merge."""
        count = len(destinations) // (8 * WORDS_OF_REFUSED)
        numbers_memory = memoryview(bytearray(8 * count)).cast("Q")
        numbers = words_in(numbers_memory)
        self.add_counts(words_in(memoryview(destinations).cast("Q")), count, base, numbers)
        count = len(attempts) // (8 * WORDS_OF_ATTEMPT)
        self.add_attempts(words_in(memoryview(attempts).cast("Q")), count, base, numbers)
        self.fresh.used = 0
        self.merging = False
        self.by_destination = None

    def add_counts(self, theirs: Words, count: int, base: int, numbers: Words) -> int:
        """Add the counts of a part's destinations, and write to *numbers* which of ours they are, counted from 1."""
        for place in range(count):
            at = place * WORDS_OF_REFUSED
            row = self.find(theirs[at + W_HIGH], theirs[at + W_LOW], theirs[at + W_PORT])
            if row < 0:
                row = self.claim(theirs[at + W_HIGH], theirs[at + W_LOW], theirs[at + W_PORT])
                if row < 0:
                    continue
            numbers[place] = row // WORDS_OF_REFUSED + 1
            w = self.destinations.words
            frame = theirs[at + W_FIRST_FRAME] + base
            if not w[row + W_COUNT] or frame < w[row + W_FIRST_FRAME]:
                w[row + W_FIRST_FRAME], w[row + W_FIRST] = frame, theirs[at + W_FIRST]
            frame = theirs[at + W_LAST_FRAME] + base
            if not w[row + W_COUNT] or frame >= w[row + W_LAST_FRAME]:
                w[row + W_LAST_FRAME], w[row + W_LAST] = frame, theirs[at + W_LAST]
            w[row + W_COUNT] += theirs[at + W_COUNT]
        return 0

    def add_attempts(self, theirs: Words, count: int, base: int, numbers: Words) -> int:
        """Add a part's attempts and the fresh ones, in the order of frames."""
        one = two = 0
        while one < self.fresh.used or two < count:
            a, b = one * WORDS_OF_ATTEMPT, two * WORDS_OF_ATTEMPT
            if two == count or (one < self.fresh.used and self.fresh.words[a + 1] <= theirs[b + 1] + base):
                one += 1
                self.add_attempt(self.fresh.words[a], self.fresh.words[a + 1], self.fresh.words[a + 2])
            else:
                two += 1
                number = numbers[theirs[b] >> 16]
                if number:
                    self.add_attempt((number - 1) << 16 | (theirs[b] & LOW16), theirs[b + 1] + base, theirs[b + 2])
        return 0

    def add_attempt(self, of: int, frame: int, time: int) -> int:
        """Add an attempt, if its destination has not enough of them."""
        row = (of >> 16) * WORDS_OF_REFUSED
        w = self.destinations.words
        if w[row + W_REMEMBERED] < WALK:
            w[row + W_REMEMBERED] += 1
            self.remember(self.attempts, row, of & LOW16, frame, time)
        return 0

    # -- at the end ----------------------------------------------------------------------------------------------------

    def keys_in_order(self) -> list[Key]:
        """Return the destinations, in the order of their first refusal."""
        memory = self.destinations.memory
        rows = range(0, self.destinations.used * WORDS_OF_REFUSED, WORDS_OF_REFUSED)
        found = [(memory[row + W_FIRST_FRAME], *memory[row + W_HIGH : row + W_COUNT]) for row in rows]
        return [(high, low, port) for _, high, low, port in sorted(found)]

    def since(self, key: Key) -> int:
        """Return the time of the first refused attempt at a destination."""
        high, low, port = key
        return int(self.destinations.memory[self.find(high, low, port) + W_FIRST])

    def walk(self, key: Key) -> tuple[int, int, int, array[int], array[int]]:
        """Return how many attempts at a destination there were, the first and last time, then ports and distances."""
        high, low, port = key
        row = self.find(high, low, port)
        memory = self.destinations.memory
        start = memory[row + W_FIRST]
        count = memory[row + W_REMEMBERED]
        ports, times = array("H", bytes(2 * count)), array("Q", bytes(8 * count))
        if count:
            self.fill(row // WORDS_OF_REFUSED, start, ports_in(ports), words_in(times))
        return int(memory[row + W_COUNT]), int(start), int(memory[row + W_LAST]), ports, times

    def fill(self, number: int, start: int, ports: Words, times: Words) -> int:
        """Write the ports and the times (since *start*) of the attempts at a destination, which are remembered."""
        w = self.attempts.words
        place = 0
        for row in range(self.attempts.used):
            at = row * WORDS_OF_ATTEMPT
            if w[at] >> 16 == number:
                ports[place] = w[at] & LOW16
                times[place] = (w[at + 2] - start) & LOW48
                place += 1
        return 0
