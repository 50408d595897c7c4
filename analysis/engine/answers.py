"""Answers that do not come in the 4-tuple of the SYN: from a translated address, or as an ICMP error.

The client of an opening is the endpoint that sent the SYN. When a SYN comes, its opening is entered here under its
client. When a SYN-ACK or an RST answers nothing in its own 4-tuple, the table looks here for an unanswered opening
whose client it was sent to. If it acknowledges the SYN of that opening, an address was translated on the way. Two
openings of one client with the same ISN are the two sides of a translation.
"""

from __future__ import annotations

import cython

from ..memory import mapping

if not cython.compiled:
    from .interpreted import acknowledges_syn, apart, counters_in, own_words_in, segment_at, send_for, slot_at
    from .layout import (
        ACK,
        FIRST_IS_B,
        LOW32,
        LOW64,
        MAX_ANSWERS,
        MAX_MISSED,
        MIX1,
        MIX2,
        ORIGINS,
        P_SYN,
        SIDES,
        SYN,
        UNANSWERED_PHASES,
        Segment,
        Slot,
    )


def is_client(s: Slot, high: int, low: int, port: int, six: int) -> bool:
    """Whether this endpoint sent the SYN of the opening in this slot."""
    if s.six != six:
        return False
    if s.flags & FIRST_IS_B:
        return s.b_port == port and s.b_low == low and s.b_high == high
    return s.a_port == port and s.a_low == low and s.a_high == high


class Answers:
    """The openings by client, and what answered them from elsewhere, by slot. New entries overwrite old ones.

    ``lent`` is a SYN-ACK or RST of another 4-tuple (its frame, the packed address and port it came from, and whether
    that 4-tuple would have been midstream for its sake), ``errors`` an ICMP error (frame, time, sender, type, code),
    ``links`` the first frame of the opening on the other side of a translation. ``missed`` are the last segments that
    would answer a SYN, but for the client's port. ``translated`` counts the pairs of openings that are two sides of a
    translation, ``any`` says whether there was anything yet, ``most`` how many were remembered at one time, at most.

    In a part, openings are entered only as far as it knows that they are openings. What the whole has in a set is known
    again as soon as two more were entered there: ``unsettled`` says of each set how many that still takes, ``doubtful``
    that what was found may have been overwritten in the whole. The last one was entered in the set at ``place``;
    ``again`` says that it had been the newest there before.
    """

    def __init__(self) -> None:
        self.memory = memoryview(mapping(8 * 2 * ORIGINS)).cast("Q")
        self.origins = own_words_in(self.memory)
        self.seed = MIX2  # always the same, so that the same capture gives the same report
        self.lent: dict[int, tuple[int, bytes, int, bool]] = {}
        self.errors: dict[int, tuple[int, int, bytes, int, int]] = {}
        self.links: dict[int, int] = {}
        self.missed: dict[tuple[bytes, int], tuple[int, bytes, int, int]] = {}
        self.translated = self.most = 0
        self.place = 0
        self.any = self.again = self.doubtful = False
        self.unsettled_memory = bytearray(ORIGINS)
        self.unsettled = counters_in(self.unsettled_memory)

    def begin_part(self) -> None:
        """Say that something comes before: every set may have had entries."""
        self.unsettled_memory[:] = b"\2" * ORIGINS

    def digest(self, high: int, low: int, port: int, six: int) -> int:
        """Return a 64-bit hash of an endpoint."""
        h = ((low ^ self.seed) * MIX1) & LOW64
        h = ((h ^ h >> 32 ^ port) * MIX2) & LOW64
        if six:
            h = ((h ^ h >> 32 ^ high) * MIX1) & LOW64
        return h

    def client_of(self, segment: Segment, sent: bool) -> int:
        """Return the hash of the endpoint that sent a segment, or else of the one that it was sent to."""
        if segment.from_a == sent:
            return self.digest(segment.a_high, segment.a_low, segment.a_port, segment.six)
        return self.digest(segment.b_high, segment.b_low, segment.b_port, segment.six)

    def enter(self, slots: list[Slot], slot: int, segment: Segment) -> int:
        """Enter the opening in *slot* under its client, the sender of *segment*; return its other side, or -1."""
        h = self.client_of(segment, True)
        i = (h & (ORIGINS - 1)) * 2
        entry = (h & ~LOW32) | (slot + 1)
        one, two = self.origins[i], self.origins[i + 1]
        self.put(i, entry)
        # Of the same client, and not this one: 1 to LOW32.
        if ((one ^ entry) - 1) & LOW64 < LOW32 and self.is_other_side(slots, one, slot_at(slots, slot), segment):
            self.doubt(i, 0)
            return (one & LOW32) - 1
        if ((two ^ entry) - 1) & LOW64 < LOW32 and self.is_other_side(slots, two, slot_at(slots, slot), segment):
            self.doubt(i, 1)
            return (two & LOW32) - 1
        return -1

    def put(self, i: int, entry: int) -> None:
        """Make this entry the newest of the set at *i*."""
        one, two = self.origins[i], self.origins[i + 1]
        # Without a branch, since no processor can guess which of the two it is.
        self.origins[i + 1] = two if one == entry else one
        self.origins[i] = entry
        self.place = i
        self.again = one == entry

    def doubt(self, i: int, age: int) -> None:
        """Note that the entry of this age in the set at *i* was found: 0 is the newest."""
        if self.unsettled[i >> 1] + age > 1:
            self.doubtful = True

    def settle(self) -> bool:
        """Say that what was entered last is an opening; return whether it was not known what the whole has there."""
        before = self.unsettled[self.place >> 1]
        if before == 2 or (before and not self.again):
            self.unsettled[self.place >> 1] = before - 1
        return before != 0

    def unsettle(self, segment: Segment) -> int:
        """Say that the SYN *segment* may begin an opening; return where its set is if that was known so far, or -1."""
        i = (self.client_of(segment, True) & (ORIGINS - 1)) * 2
        known = not self.unsettled[i >> 1]
        self.unsettled[i >> 1] = 2
        return i if known else -1

    def is_expected(self, slots: list[Slot], slot: int, segment: Segment) -> bool:
        """Whether the SYN *segment*, of the 4-tuple in *slot*, is the other side of an opening."""
        h = self.client_of(segment, True)
        i = (h & (ORIGINS - 1)) * 2
        own = slot_at(slots, slot)
        for k in range(i, i + 2):
            found = self.origins[k]
            if not (found ^ h) >> 32 and (found & LOW32) - 1 != slot and self.is_other_side(slots, found, own, segment):
                return True
        return False

    def renew(self, slot: int, segment: Segment) -> int:
        """Enter an opening once more, where the order is all that was not known; return its entry."""
        h = self.client_of(segment, True)
        entry = (h & ~LOW32) | (slot + 1)
        self.put((h & (ORIGINS - 1)) * 2, entry)
        return entry

    def is_by_a(self, s: Slot, entry: int) -> bool:
        """Whether the client of this entry, which is about the slot, is A."""
        return not (self.digest(s.a_high, s.a_low, s.a_port, s.six) ^ entry) >> 32

    def settled(self) -> list[int]:
        """Return the entries of the sets of which it is known what the whole has there, the older one first."""
        found = []
        for i in range(ORIGINS):
            if not self.unsettled[i]:
                found += [self.origins[2 * i + 1], self.origins[2 * i]]
        return found

    def fetch_batch(self, batch: list[Segment], count: int) -> None:
        """Prefetch where the SYNs of a batch will be entered into the processor's cache."""
        for place in range(count):
            segment = segment_at(batch, place)
            if segment.flags & (SYN | ACK) == SYN:
                send_for(self.origins, (self.client_of(segment, True) & (ORIGINS - 1)) * 2)

    def is_other_side(self, slots: list[Slot], found: int, own: Slot, segment: Segment) -> bool:
        """Whether the opening of this entry began with the SYN *segment* of *own*, too, but for the destination."""
        if not found:
            return False
        s = slot_at(slots, (found & LOW32) - 1)
        if s.isn != segment.seq or apart(segment.time, s.time) > SIDES or s.phase < P_SYN:
            return False
        if s.identification != segment.identification and s.identification and segment.identification:
            return False  # a scanner's: a translation leaves the identification as it is
        if segment.from_a:
            return is_client(s, own.a_high, own.a_low, own.a_port, own.six)
        return is_client(s, own.b_high, own.b_low, own.b_port, own.six)

    def find(self, slots: list[Slot], segment: Segment) -> int:
        """Return the slot of the unanswered opening whose SYN this segment of another 4-tuple acknowledges, or -1."""
        h = self.client_of(segment, False)
        i = (h & (ORIGINS - 1)) * 2
        for k in range(i, i + 2):
            found = self.origins[k]
            if not (found ^ h) >> 32 and found:
                s = slot_at(slots, (found & LOW32) - 1)
                if self.is_answered_by(s, segment):
                    self.doubt(i, k - i)
                    return (found & LOW32) - 1
        return -1

    def is_answered_by(self, s: Slot, segment: Segment) -> bool:
        """Whether the opening in this slot has no answer yet, and this segment acknowledges its SYN."""
        if not UNANSWERED_PHASES >> s.phase & 1 or not acknowledges_syn(segment.ack, s.isn, s.syn_data):
            return False
        if segment.from_a:
            return is_client(s, segment.b_high, segment.b_low, segment.b_port, segment.six)
        return is_client(s, segment.a_high, segment.a_low, segment.a_port, segment.six)

    def miss(self, client: bytes, ack: int, answer: tuple[int, bytes, int, int]) -> int:
        """Remember a segment to *client* (a packed address) that acknowledges *ack*, and no SYN that was captured.

        *answer* is its frame, the address and the port that it came from, and the port that it was sent to. Of several
        the last is remembered: which was the first may depend on what came before a part of the capture.
        """
        self.missed.pop((client, ack), None)
        if len(self.missed) == MAX_MISSED:
            del self.missed[next(iter(self.missed))]
        self.missed[(client, ack)] = answer
        return 0

    def misdirected(self, client: bytes, port: int, ack: int, frame: int) -> tuple[int, bytes, int, int] | None:
        """Return the last segment after *frame* that would have answered a SYN, but for the client's port."""
        found = self.missed.get((client, ack))
        return found if found and found[0] > frame and found[3] != port else None

    def has_room(self) -> bool:
        """Whether more can be remembered; the caller does so then, one or two, which ``most`` counts as two."""
        count = self.count()
        self.most = max(self.most, count + 2)
        return count < MAX_ANSWERS

    def count(self) -> int:
        """Return how many are remembered."""
        return len(self.lent) + len(self.errors) + len(self.links)

    def begin_merge(self) -> int:
        """From now on ``most`` is of this merge; return what it was."""
        before, self.most = self.most, self.count()
        return int(before)

    def end_merge(self, before: int, most: int) -> bool:
        """Say how many the merged part remembered at one time; return whether the whole may have had no room."""
        most += self.most
        self.most = max(before, most)
        return most > MAX_ANSWERS

    def forget(self, slot: int) -> int:
        """Forget what answered the opening in *slot*: it has ended."""
        self.lent.pop(slot, None)
        self.errors.pop(slot, None)
        self.links.pop(slot, None)
        return 0
