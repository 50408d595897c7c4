"""The conversation table of one part of a capture, and how another one is merged into it.

A part logs what depends on the part before it (head_log.py); the log is worked through when the parts are merged.
analysis/partial.py says what a part is.
"""

from __future__ import annotations

from array import array

import cython

from ..memory import mapping
from ..records import NamedTuple
from .head_log import key_of

if not cython.compiled:
    from .head_log import LoggedConversations
    from .interpreted import (
        copy_entry,
        copy_slot,
        counters_in,
        entry_at,
        entry_in,
        octets_of,
        octets_of_entries,
        octets_of_entry,
        octets_of_entry_at,
        octets_of_slot,
        segment_at,
        segment_octets,
        segments_in,
        slot_at,
        slot_in,
        u16,
        u32,
        words_in,
    )
    from .layout import (
        ALL,
        CROSSED_PHASES,
        EARLY,
        ENDED,
        ENTRY_OCTETS,
        EQUAL,
        FINS,
        FIRST_IS_B,
        FULL,
        HEAD,
        KEPT,
        L_ANSWER,
        L_COPY,
        L_ERROR,
        L_FRESH,
        L_LEFT_OUT,
        L_ORDER,
        L_SEGMENT,
        L_SIDE,
        LEFT_OUT,
        LOW32,
        M_DOUBTFUL,
        M_INDEPENDENT,
        M_LOGGED,
        MANY,
        NEAR,
        P_MIDSTREAM,
        P_SELF_CONNECT,
        P_SYN,
        P_SYN_ACKED,
        RST,
        SLOT_OCTETS,
        TCP_AT,
        TOUCHED,
        UNANSWERED_VERDICTS,
        UNCROSSED_PHASES,
        UNTRACKED,
        Entry,
        Segment,
        Slot,
    )

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..model import Octets
    from .layout import Finished, Kept


class Held(NamedTuple):
    """What is held of a 4-tuple at the end of a part besides its slot: kept segments, and answers from elsewhere."""

    kept: list[Kept] | None
    omitted: int
    early: list[Kept] | None
    lent: tuple[int, bytes, int, bool] | None = None
    error: tuple[int, int, bytes, int, int] | None = None
    link: int = 0


class PartialConversations(LoggedConversations):
    """The table of one part, or (without *heads*) the table into which the parts are merged one after the other.

    ``marks`` say what is known of the TOUCHED flags while a part is merged (layout.M_...), ``absorbing`` that one has
    been merged.
    """

    def __init__(self, capacity: int, collect: int, most: int, keep: int, count_refusals: bool) -> None:
        LoggedConversations.__init__(self, capacity, collect, most, keep, count_refusals)
        self.absorbing = False
        self.marks_memory = bytearray(capacity)
        self.marks = counters_in(self.marks_memory)
        self.again_memory = memoryview(mapping(max(segment_octets(), 1)))
        self.again_batch = segments_in(self.again_memory)

    # -- which conversation is put out ---------------------------------------------------------------------------------

    def make_room(self) -> int:
        """Put the oldest conversation out. A part becomes unsure: read in one go, another one might be the oldest."""
        if self.heads:
            self.unsure = True
        elif self.absorbing:
            self.find_oldest()
        return LoggedConversations.make_room(self)

    def find_oldest(self) -> int:
        """Go on to the conversation that is to be put out; become unsure where the parts do not tell which one it is.

        New conversations are all in the log, in their order. But a conversation that has become independent in the part
        may be touched later, without an entry. Until it does, it is known when it was touched, and where the hand has
        not been since, it is known that it was.
        """
        while True:
            s = slot_at(self.slots, self.oldest)
            mark = self.marks[self.oldest]
            if mark == M_DOUBTFUL or (mark == M_INDEPENDENT and (s.flags & EQUAL or not s.flags & TOUCHED)):
                self.unsure = True
            if not (s.flags & EQUAL and s.phase >= P_SYN and not s.flags & ENDED and self.equals * 2 < self.capacity):
                if not s.flags & TOUCHED:
                    self.marks[self.oldest] = 0
                    break
                s.flags &= ~TOUCHED
                if mark:
                    self.marks[self.oldest] = M_DOUBTFUL
            self.oldest += 1
            if self.oldest == self.capacity:
                self.oldest = 0
        return 0

    def mark(self, slot: int, what: int) -> int:
        """Note that the part being merged has a log entry about this slot."""
        self.marks[slot] = max(self.marks[slot], what)
        return 0

    # -- merging -------------------------------------------------------------------------------------------------------

    def work_through(
        self, log: bytes, base: int, finished: list[Finished], finished_at: list[int]
    ) -> list[tuple[int, bytes, int, int] | None]:
        """Work through the log of a part, now that what came before it is known: *base* frames.

        Return for each opening that *finished* in the part, at which frame of it, what is ``misdirected`` (see
        layout.Finished): the part may have logged the segment without knowing that it answers nothing.
        """
        self.refused.begin_merge()
        self.absorbing = True
        misdirected: list[tuple[int, bytes, int, int] | None] = [None] * len(finished)
        place = 0
        for number in sorted(range(len(finished)), key=finished_at.__getitem__):
            one = finished[number]
            if UNANSWERED_VERDICTS >> one.verdict & 1:
                place = self.work_up_to(log, place, finished_at[number], base)
                ack = (one.isn + 1) & LOW32
                misdirected[number] = self.answers.misdirected(one.one, one.one_port, ack, base + one.frame)
        self.work_up_to(log, place, MANY, base)
        self.mark_a = self.mark_b = 0
        return misdirected

    def work_up_to(self, log: bytes, place: int, frame: int, base: int) -> int:
        """Work through the entries from *place* on that are about frames before *frame*; return the next place."""
        d = octets_of(log)
        count = len(log) // ENTRY_OCTETS
        with cython.nogil:
            while place < count:
                one = entry_in(d, place)
                if one.frame >= frame:
                    break
                self.again(one, base)
                place += 1
        return place

    def again(self, one: Entry, base: int) -> int:
        """Work through one log entry."""
        self.put_in_hand(one, base)
        self.mark_a, self.mark_b = one.refused_a, one.refused_b
        kind = one.kind
        if kind == L_COPY:
            self.again_copy(one)
        elif kind == L_SEGMENT:
            self.again_segment(one)
        elif kind == L_ERROR:
            self.again_error(octets_of_entry(one), one.size)
        else:
            self.index.digest_batch(self.again_batch, 1)
            segment = segment_at(self.again_batch, 0)
            slot = self.index.find(segment, self.slots)
            if kind == L_ANSWER:
                self.again_answer(one, slot)
            elif kind == L_SIDE:
                self.again_side(one, slot)
            elif kind == L_ORDER:
                self.renew(slot)
            elif kind != L_LEFT_OUT:
                self.independent(one, slot)
            elif slot < 0:
                self.unsure = True
            else:
                self.left_out(slot, one.data)
        return 0

    def put_in_hand(self, one: Entry, base: int) -> int:
        """Make a log entry the current segment; *base* is the number of frames before its part."""
        segment = segment_at(self.again_batch, 0)
        segment.frame = base + one.frame
        segment.time = one.time
        segment.a_high, segment.a_low, segment.b_high, segment.b_low = one.a_high, one.a_low, one.b_high, one.b_low
        segment.a_port, segment.b_port, segment.six = one.a_port, one.b_port, one.six
        segment.equal = one.a_high == one.b_high and one.a_low == one.b_low and one.a_port == one.b_port
        segment.from_a, segment.wired = one.from_a != 0, one.wired != 0
        segment.data, segment.place, segment.identification = one.data, one.place, one.identification
        segment.ip = 0
        self.frame = segment.frame
        return 0

    def read_header(self, one: Entry) -> int:
        """Read the TCP header of an entry into the segment in hand."""
        d = octets_of_entry(one)
        segment = segment_at(self.again_batch, 0)
        segment.at, segment.size = TCP_AT, one.size
        segment.seq, segment.ack = u32(d, TCP_AT + 4), u32(d, TCP_AT + 8)
        segment.flags, segment.window = d[TCP_AT + 13], u16(d, TCP_AT + 14)
        return 0

    def again_copy(self, one: Entry) -> int:
        """Step with a logged segment, if it is no copy of an earlier one."""
        segment = segment_at(self.again_batch, 0)
        self.find_conversation(one)
        d = octets_of_entry(one)
        if not one.duplicate:
            self.take_batch(d, self.again_batch, 1)
        else:
            self.again_duplicate(one)
        slot = self.index.find(segment, self.slots)
        if slot >= 0:
            self.mark(slot, M_LOGGED)
        return 0

    def find_conversation(self, one: Entry) -> int:
        """Return the slot of a logged segment's 4-tuple, or -1; become unsure where an RST is in doubt."""
        self.read_header(one)
        self.index.digest_batch(self.again_batch, 1)
        segment = segment_at(self.again_batch, 0)
        slot = self.index.find(segment, self.slots)
        if slot >= 0 and segment.flags & RST and slot_at(self.slots, slot).flags & LEFT_OUT:
            self.unsure = True  # the segments that were left out might decide whether it ends the opening
        return slot

    def again_duplicate(self, one: Entry) -> int:
        """Handle a logged segment that the part took for a duplicate."""
        segment = segment_at(self.again_batch, 0)
        d = octets_of_entry(one)
        self.duplicates_seen.digest_batch(d, self.again_batch, 1)
        self.duplicates_seen.mark(d, self.again_batch, 1)
        self.unsure = self.unsure or not segment.duplicate
        if segment.frame >= self.zone:
            self.duplicates += one.duplicate == 1
        if segment.frame - segment.duplicate < self.zone:
            self.log_possible_copy(segment, d)
        return 0

    def again_segment(self, one: Entry) -> int:
        """Step with a logged segment."""
        segment = segment_at(self.again_batch, 0)
        slot = self.find_conversation(one)
        self.segments += 1
        if slot < 0:
            slot = self.claim(segment)
        self.step(slot, segment, octets_of_entry(one))
        self.mark(slot, M_LOGGED)
        return 0

    def again_error(self, d: Octets, size: int) -> int:
        """Handle a logged ICMP error."""
        segment = segment_at(self.again_batch, 0)
        segment.seq = u32(d, 0)
        self.unreachable(segment, bytes(d[6:size]), d[4], d[5])
        return 0

    def again_answer(self, one: Entry, slot: int) -> int:
        """Handle a logged segment that answers nothing in its own 4-tuple, which *slot* has."""
        self.read_header(one)
        segment = segment_at(self.again_batch, 0)
        if slot < 0 or self.answers.find(self.slots, segment) >= 0:
            self.unsure = True  # the part has decided already what its own conversation counts as
        else:
            self.miss(slot, segment, octets_of_entry(one))
        return 0

    def again_side(self, one: Entry, slot: int) -> int:
        """Handle a later SYN of a conversation that is independent, which *slot* has."""
        self.read_header(one)
        segment = segment_at(self.again_batch, 0)
        if slot < 0 or self.answers.enter(self.slots, slot, segment) >= 0:
            self.unsure = True  # the part has counted it without its other side
        elif self.heads:
            self.log_side(segment, octets_of_entry(one))
        return 0

    def renew(self, slot: int) -> int:
        """Enter the opening in *slot* once more, whose client is that of the segment in hand."""
        if slot < 0:
            self.unsure = True
            return 0
        entry = self.answers.renew(slot, segment_at(self.again_batch, 0))
        if self.heads and self.answers.settle():
            self.log_order(entry)
        return 0

    def fits(self, log: bytes) -> bool:
        """Whether the conversations that began in the part with this log are independent of what came before it."""
        d = octets_of(log)
        for place in range(len(log) // ENTRY_OCTETS):
            one = entry_in(d, place)
            if one.kind == L_FRESH:
                self.put_in_hand(one, 0)
                self.read_header(one)
                self.index.digest_batch(self.again_batch, 1)
                segment = segment_at(self.again_batch, 0)
                slot = self.index.find(segment, self.slots)
                if slot >= 0 and self.concerns(slot, segment):
                    return False
        return True

    def concerns(self, slot: int, segment: Segment) -> bool:
        """Whether a bare SYN concerns the opening in this slot, or may do so, rather than beginning another one."""
        s = slot_at(self.slots, slot)
        if s.flags & HEAD:
            return False  # that remains to be seen
        if s.flags & EARLY:
            return True
        if s.phase < P_SYN or s.flags & ENDED:
            return False
        if segment.from_a != ((s.flags & FIRST_IS_B) != 0):
            return segment.seq == s.isn
        if CROSSED_PHASES >> s.phase & 1:
            return segment.seq == s.isn_second
        return UNCROSSED_PHASES >> s.phase & 1 != 0

    def independent(self, one: Entry, slot: int) -> int:
        """Handle the SYN with which the conversation in *slot* became independent in the part, or began in it."""
        self.read_header(one)
        segment = segment_at(self.again_batch, 0)
        if slot < 0:
            self.unsure = self.unsure or one.kind != L_FRESH
            slot = self.claim(segment)
        elif one.kind == L_FRESH and self.concerns(slot, segment):
            self.unsure = True
        s = slot_at(self.slots, slot)
        if s.flags & HEAD:
            self.log_independent(slot, segment, octets_of_entry(one), one.kind)
            s.flags &= ~TOUCHED
        elif s.phase >= P_SYN:
            self.close(slot)
        s.flags &= EQUAL | TOUCHED
        s.phase = P_MIDSTREAM
        s.before = 0
        s.retransmissions = 0
        self.mark(slot, M_INDEPENDENT)
        if self.count_refusals:
            if self.answers.enter(self.slots, slot, segment) >= 0:
                self.unsure = True  # it is the other side of a translated connection
            if self.heads:
                self.log_side(segment, octets_of_entry(one))
        return 0

    def left_out(self, slot: int, count: int) -> int:
        """Count segments without SYN, RST or FIN that the part did not log; become unsure where they could matter."""
        s = slot_at(self.slots, slot)
        phase = s.phase
        if s.flags & HEAD:
            s.refused += count
            s.since += count
            count = 0
            phase = 0
        self.segments += count
        if s.flags & KEPT:
            self.omit(slot, s, count)
        s.flags |= UNTRACKED | (LEFT_OUT if phase else 0)
        if s.flags & EQUAL and count and (phase != P_SELF_CONNECT or s.flags & ENDED):
            self.unsure = True
        if (s.flags & EARLY and not s.flags & HEAD) or (P_SYN <= phase <= P_SYN_ACKED and not s.flags & ENDED):
            self.unsure = True
        return 0

    def omit(self, slot: int, s: Slot, count: int) -> int:
        """Count segments that were left out of the kept ones, which must be all that are kept of this opening."""
        kept = len(self.kept.segments[slot])
        if kept < FULL or (kept < ALL and s.flags & FINS):
            self.unsure = True
        self.kept.omitted[slot] = self.kept.omitted.get(slot, 0) + count
        return 0

    # -- from part to part ---------------------------------------------------------------------------------------------

    def tails(self) -> tuple[bytes, dict[int, Held], array[int]]:
        """Return the slot of each 4-tuple that is independent, and by their numbers in there what is held of some.

        Then which of them are to be entered once more (answers.py): twice the number, and 1 if A is the client.
        """
        found: list[bytes] = []
        held = {}
        kept, answers = self.kept, self.answers
        numbers_memory = memoryview(bytearray(8 * self.used)).cast("Q")
        numbers = words_in(numbers_memory)
        slots = {*kept.segments, *kept.early, *answers.lent, *answers.errors, *answers.links}
        for slot in range(self.used):
            s = slot_at(self.slots, slot)
            self.flush(slot)
            if not s.flags & HEAD:
                if slot in slots:
                    held[len(found)] = Held(
                        kept.segments.get(slot),
                        kept.omitted.get(slot, 0),
                        kept.early.get(slot),
                        answers.lent.get(slot),
                        answers.errors.get(slot),
                        answers.links.get(slot, 0),
                    )
                numbers[slot] = len(found)
                found.append(octets_of_slot(s))
        origins = array("Q")
        for entry in answers.settled():
            slot = (entry & LOW32) - 1
            s = slot_at(self.slots, slot)
            if not s.flags & HEAD:  # it has come into the table again
                origins.append(2 * numbers[slot] + answers.is_by_a(s, entry))
        return b"".join(found), held, origins

    def log_octets(self) -> bytes:
        """Return the log as octets; tails() is to be called before, which may add to it."""
        return octets_of_entries(self.log, self.logged)

    def ring_octets(self, frames: int) -> bytes:
        """Return the packets that are remembered of the last NEAR of so many frames, as log entries in octets."""
        found = []
        first = 1 if frames < NEAR else frames - NEAR + 1
        for frame in range(first, frames + 1):
            one = entry_at(self.ring, frame % NEAR)
            if one.frame == frame:
                found.append(octets_of_entry_at(self.ring, frame % NEAR))
        return b"".join(found)

    def take_tails(self, tails: bytes, held: dict[int, Held], origins: array[int], base: int) -> None:
        """Take over the slots of a part, and what is held of them, with frames counted as they are here."""
        place = 0
        d = octets_of(tails)
        for number in sorted(held):
            self.take_slots(d, place, number, base)
            self.take_held(self.take_slot(slot_in(d, number), base), held[number], base)
            place = number + 1
        self.take_slots(d, place, len(tails) // SLOT_OCTETS, base)
        for number in origins:
            slot = self.slot_of(slot_in(d, number >> 1))
            segment_at(self.again_batch, 0).from_a = number & 1 != 0
            self.renew(slot)
        self.forget_marks()

    def take_slots(self, d: Octets, start: int, end: int, base: int) -> int:
        """Take over slots of which nothing else is held."""
        for number in range(start, end):
            self.take_slot(slot_in(d, number), base)
        return 0

    def slot_of(self, tail: Slot) -> int:
        """Return which slot the 4-tuple of a part's slot has here, or -1; it is the one of the segment in hand then."""
        segment = segment_at(self.again_batch, 0)
        segment.a_high, segment.a_low, segment.b_high, segment.b_low = (
            tail.a_high,
            tail.a_low,
            tail.b_high,
            tail.b_low,
        )
        segment.a_port, segment.b_port, segment.six = tail.a_port, tail.b_port, tail.six
        segment.equal = tail.flags & EQUAL != 0
        self.index.digest_batch(self.again_batch, 1)
        return self.index.find(segment, self.slots)

    def take_slot(self, tail: Slot, base: int) -> int:
        """Take over the slot of a 4-tuple in a part; return which slot it has here."""
        slot = self.slot_of(tail)
        if slot < 0:
            self.unsure = True
            slot = self.claim(segment_at(self.again_batch, 0))
        s = slot_at(self.slots, slot)
        touched = s.flags & TOUCHED
        copy_slot(s, tail)
        s.flags |= touched
        s.frame += base
        if self.kept.early_count:
            self.kept.drop_early(slot)
        if self.answers.any:
            self.answers.forget(slot)
        return slot

    def take_held(self, slot: int, held: Held, base: int) -> int:
        """Take over what is held of a slot, whose frames are counted as they are here."""
        s = slot_at(self.slots, slot)
        if s.flags & KEPT and s.since:
            s.since += base
            if s.flags & FIRST_IS_B:
                key = key_of(s.a_high, s.a_low, s.a_port, s.six)
            else:
                key = key_of(s.b_high, s.b_low, s.b_port, s.six)
            s.refused += self.refused.before(key, s.since)
        self.kept.put(slot, held.kept, held.omitted, held.early)
        answers = self.answers
        if held.lent:
            answers.lent[slot] = held.lent
        if held.error:
            answers.errors[slot] = held.error
        if held.link:
            answers.links[slot] = held.link
        if held.lent or held.error or held.link:
            answers.any = True
        return 0

    def forget_marks(self) -> int:
        """The part is merged: a conversation is touched if it was before or is in the part."""
        for slot in range(self.used):
            if self.marks[slot] != M_DOUBTFUL:
                self.marks[slot] = 0
        return 0

    def take_ring(self, ring: bytes, base: int) -> None:
        """Take the packets that a part remembers into the search for copies."""
        d = octets_of(ring)
        for place in range(len(ring) // ENTRY_OCTETS):
            if entry_in(d, place).frame >= NEAR:  # the others were logged
                self.take_packet(entry_in(d, place), base)

    def take_packet(self, one: Entry, base: int) -> int:
        """Take a packet of a part into the search for copies."""
        self.put_in_hand(one, base)
        self.read_header(one)
        segment = segment_at(self.again_batch, 0)
        self.index.digest_batch(self.again_batch, 1)
        self.duplicates_seen.digest_batch(octets_of_entry(one), self.again_batch, 1)
        self.duplicates_seen.mark(octets_of_entry(one), self.again_batch, 1)
        mine = entry_at(self.ring, segment.frame % NEAR)
        copy_entry(mine, one)
        mine.frame = segment.frame
        return 0
