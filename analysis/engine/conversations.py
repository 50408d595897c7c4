"""The conversation table: every segment steps the opening of its 4-tuple by the rules of verdicts.py.

A conversation is a *slot* of the table (layout.Slot). Slots are handed out in turn; when all are in use the oldest one
goes (with a second chance for those touched since), but one whose two endpoints are equal stays while fewer than half
of the slots are such.

Segments come in batches. Each stage takes the whole batch before the next one begins, since what a segment is compared
with lies anywhere in memory: hash and send for the entries, send for the slots, mark duplicates, step.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cython

from ..memory import mapping
from ..verdicts import VERDICTS, compiled_rules, compiled_verdicts
from .layout import Finished

if not cython.compiled:
    from .destinations import Destinations, packed
    from .interpreted import (
        Duplicates,
        Index,
        add_slot,
        octets_of,
        remember_header,
        segment_at,
        slot_at,
        slot_octets,
        slots_in,
        words_in,
    )
    from .kept import KeptSegments, remembered
    from .layout import (
        ACK,
        ANOTHER,
        CONTROL,
        COUNTED,
        CROSSED_PHASES,
        E_ACK_FIRST,
        E_ACK_SECOND,
        E_NOTHING,
        E_OTHER_SECOND,
        E_RST_FIRST,
        E_RST_SECOND,
        E_SYN_ACK_FIRST,
        E_SYN_ACK_SECOND,
        E_SYN_SECOND,
        EARLIES,
        EARLY,
        EARLY_ACKED,
        EARLY_FROM_A,
        ENDED,
        EQUAL,
        EVENTS,
        FIN,
        FIN_A,
        FIN_B,
        FINS,
        FIRST_IS_B,
        HALF32,
        HEAD,
        KEPT,
        LOW32,
        MAX_KEPT,
        MAX_RETRIED,
        MID,
        OWN,
        P_CROSSED,
        P_MIDSTREAM,
        P_REFUSED,
        P_SELF_CONNECT,
        P_SELF_SYN,
        P_SYN,
        P_SYN_ACKED,
        P_THREE_WAY,
        RST,
        SECOND,
        SYN,
        TOUCHED,
        UNCROSSED_PHASES,
        WIRED,
        Segment,
        Slot,
    )

if TYPE_CHECKING:
    from ..model import Octets
    from .destinations import Attempts


class Conversations:
    """Steps the verdict rules over the segments of one capture.

    *capacity* is the number of conversations remembered at one time. *collect* has a bit for each verdict (by its
    place in VERDICTS) whose openings come back in ``finished``, the first *most* of each; *keep* a bit for each
    phase from which segments are kept for that. With *count_refusals* refused attempts are counted by destination.
    """

    def __init__(self, capacity: int, collect: int, most: int, keep: int, count_refusals: bool) -> None:
        self.capacity = capacity
        self.collect = collect
        self.most = most
        self.keep_phases = keep
        self.count_refusals = count_refusals
        self.used = self.oldest = self.equals = 0
        self.heads = False
        self.zone = 0  # up to this frame, what is a duplicate depends on the part before
        self.memory = memoryview(mapping(max(slot_octets() * capacity, 1)))
        self.slots = slots_in(self.memory)
        self.index = Index(capacity)
        self.duplicates_seen = Duplicates()
        self.destinations = Destinations()
        self.kept = KeptSegments()
        self.tables = compiled_rules(), compiled_verdicts()
        self.rules = octets_of(self.tables[0])
        self.verdict_of = octets_of(self.tables[1])
        self.collected_memory = memoryview(bytearray(8 * len(VERDICTS))).cast("Q")
        self.collected = words_in(self.collected_memory)
        #: Openings by the place of their verdict in VERDICTS.
        self.counted = memoryview(bytearray(8 * len(VERDICTS))).cast("Q")
        self.counts = words_in(self.counted)
        self.finished: list[Finished] = []
        self.frame = 0  # that of the segment in hand
        self.segments = self.duplicates = self.midstream = self.midstream_to_itself = self.evicted = 0

    # -- a batch -------------------------------------------------------------------------------------------------------

    def take_batch(self, d: Octets, batch: list[Segment], count: int) -> None:
        """Take the first *count* segments of a batch, whose headers lie in *d*."""
        self.index.digest_batch(batch, count)
        self.duplicates_seen.digest_batch(d, batch, count)
        self.index.look_up_batch(batch, count, self.slots)
        self.duplicates_seen.mark(d, batch, count)
        for place in range(count):
            self.meet(segment_at(batch, place), d)

    def meet(self, segment: Segment, d: Octets) -> int:
        """Find the conversation of a segment, and step with it, unless it was captured twice."""
        self.frame = segment.frame
        if segment.duplicate:
            if segment.frame < self.zone:
                self.log_possible_copy(segment, d)
            else:
                self.duplicates += 1
            return 0
        if self.heads:
            self.remember_packet(segment, d)
        if segment.frame < self.zone:
            self.log_possible_copy(segment, d)
            return 0
        self.segments += 1
        slot = segment.slot
        if slot < 0 or not self.is_of(slot_at(self.slots, slot), segment):
            slot = self.index.find(segment, self.slots)
            if slot < 0:
                slot = self.claim(segment)
        self.step(slot, segment, d)
        return 0

    def is_of(self, s: Slot, segment: Segment) -> bool:
        """Whether this slot has the segment's 4-tuple."""
        return (
            s.a_low == segment.a_low
            and s.b_low == segment.b_low
            and s.a_port == segment.a_port
            and s.b_port == segment.b_port
            and s.a_high == segment.a_high
            and s.b_high == segment.b_high
            and s.six == segment.six
        )

    # -- one segment ---------------------------------------------------------------------------------------------------

    def step(self, slot: int, segment: Segment, d: Octets) -> int:
        """Step the opening in *slot* with this segment."""
        s = slot_at(self.slots, slot)
        control = segment.flags & CONTROL
        if s.flags & HEAD and self.head(slot, segment, d):
            return 0
        phase = s.phase
        flags = s.flags
        first = segment.from_a != ((flags & FIRST_IS_B) != 0)
        answered = False
        if control == SYN:
            event = E_NOTHING
            if phase >= P_SYN and not flags & ENDED:
                if first:
                    if segment.seq == s.isn:
                        s.retransmissions += 1
                        event = E_SYN_ACK_FIRST  # any but E_NOTHING: no new opening
                elif CROSSED_PHASES >> phase & 1:
                    if segment.seq == s.isn_second:
                        s.retransmissions += 1
                        event = E_SYN_ACK_FIRST
                elif UNCROSSED_PHASES >> phase & 1:
                    event = E_SYN_SECOND
            if event == E_NOTHING:
                self.open(slot, segment, d)
                return 0
            flags = s.flags = (flags & ~EARLY) | TOUCHED
            if event != E_SYN_SECOND:
                self.keep(slot, segment, d, first)
                return 0
            # The first end may have acknowledged this SYN before it was captured.
            answered = flags & OWN != 0 and (s.isn_second - segment.seq) & LOW32 <= segment.data
            s.isn_second = segment.seq
            s.syn_data_second = segment.data & 0xFFFF
        elif phase < P_SYN or flags & ENDED:
            self.stray(slot, segment, d)
            return 0
        elif phase == P_THREE_WAY and not control & (SYN | RST | FIN) and not flags & (KEPT | EARLY):
            s.flags = flags | TOUCHED  # the bulk of all traffic
            return 0
        elif control & RST:
            event = E_RST_FIRST if first else E_RST_SECOND
        else:
            event = self.classify(s, segment, first)
            flags |= s.flags & (ANOTHER | OWN)
        if control == SYN | ACK and event not in (E_SYN_ACK_FIRST, E_SYN_ACK_SECOND):
            self.expect(slot, segment, d)
            flags = s.flags
        elif flags & EARLY:
            if control != ACK:
                flags &= ~EARLY
            else:
                s.before = self.rules[s.before * EVENTS + event]

        after = self.rules[phase * EVENTS + event]
        if answered:
            after = self.rules[after * EVENTS + E_SYN_ACK_FIRST]
        flags |= TOUCHED
        if control & RST:
            flags |= ENDED
        elif control & FIN:
            flags |= FIN_A if segment.from_a else FIN_B
            if flags & EQUAL or flags & FINS == FINS:
                flags |= ENDED
        counted = after != phase and self.verdict_of[after] & 0x80 != 0
        if counted:
            self.counts[self.verdict_of[after] & 0x7F] += 1
            flags |= COUNTED
        s.phase = after
        s.flags = flags
        if counted and after == P_REFUSED and self.count_refusals:
            self.refuse(s)
        if flags & KEPT or self.keep_phases >> after & 1:
            self.keep(slot, segment, d, first)
        if control & RST:
            self.close(slot)
        return 0

    def classify(self, s: Slot, segment: Segment, first: bool) -> int:
        """Return the event that a segment without RST is to the opening in this slot (verdicts.py says what fits)."""
        one = s.isn
        two = s.isn_second
        phase = s.phase
        seq, ack = segment.seq, segment.ack
        control = segment.flags & CONTROL
        if control == SYN | ACK:
            if first:
                if seq != one:
                    return E_NOTHING
                if s.flags & EQUAL:
                    return E_SYN_ACK_FIRST if (ack - one - 1) & LOW32 <= s.syn_data else E_NOTHING
                if CROSSED_PHASES >> phase & 1:
                    return E_SYN_ACK_FIRST if (ack - two - 1) & LOW32 <= s.syn_data_second else E_NOTHING
                if UNCROSSED_PHASES >> phase & 1 and not s.flags & OWN:
                    s.isn_second = (ack - 1) & LOW32
                    s.flags |= OWN
                    return E_SYN_ACK_FIRST
                return E_NOTHING
            if (ack - one - 1) & LOW32 > s.syn_data:
                return E_OTHER_SECOND
            if CROSSED_PHASES >> phase & 1:
                return E_SYN_ACK_SECOND if seq == two else E_OTHER_SECOND
            if phase != P_SYN_ACKED:
                s.isn_second = seq
                s.end = (seq + 1 + segment.data) & LOW32
                s.reach = ((ack - one - 1) & LOW32) + max(segment.window, 1)
            elif seq != two:
                s.another = seq
                s.flags |= ANOTHER
            return E_SYN_ACK_SECOND
        if first:
            if (
                phase == P_SYN_ACKED
                and control & ACK
                and (seq - one - 1) & LOW32 < s.reach
                and (
                    (ack - two - 1) & LOW32 <= (s.end - two - 1) & LOW32
                    or (s.flags & ANOTHER and ack == (s.another + 1) & LOW32)
                )
            ):
                return E_ACK_FIRST
            return E_NOTHING
        if phase == P_SYN_ACKED:
            beyond = (seq + segment.data + (control & FIN) - s.end) & LOW32
            if beyond < HALF32:
                s.end = (s.end + beyond) & LOW32
        return E_ACK_SECOND if control == ACK else E_OTHER_SECOND

    def stray(self, slot: int, segment: Segment, d: Octets) -> None:
        """Take a segment of a conversation that has no opening under way: none yet, or one that has ended."""
        s = slot_at(self.slots, slot)
        control = segment.flags & CONTROL
        s.flags |= TOUCHED
        if s.phase == 0:
            self.midstream += 1
            if s.flags & EQUAL and control & ACK and not control & RST:
                self.midstream_to_itself += 1
            s.flags &= EQUAL
            if control == SYN | ACK:
                s.flags |= MID
            s.phase = P_MIDSTREAM
            s.before = 0
        elif control == SYN | ACK:
            s.flags &= ~MID
        elif control != ACK:
            s.flags &= ~(EARLY | MID)
        elif s.flags & EARLY and self.acknowledges(s, segment):
            s.flags |= EARLY_ACKED
            self.kept.add_early(slot, segment, d, True)
        if control == SYN | ACK:
            self.expect(slot, segment, d)
        elif s.flags & KEPT:
            self.keep(slot, segment, d, segment.from_a != ((s.flags & FIRST_IS_B) != 0))

    def expect(self, slot: int, segment: Segment, d: Octets) -> None:
        """Remember a SYN-ACK that fits no SYN so far."""
        s = slot_at(self.slots, slot)
        s.flags = (s.flags & ~EARLIES) | EARLY | (EARLY_FROM_A if segment.from_a else 0)
        s.before = s.phase
        s.early_isn = (segment.ack - 1) & LOW32
        s.early_seq = segment.seq
        s.early_time = segment.time
        s.early_end = (segment.seq + 1 + segment.data) & LOW32
        s.early_reach = max(segment.window, 1)
        if self.kept.early_count:
            self.kept.drop_early(slot)
        if self.keep_phases >> P_SYN & 1 or (self.keep_phases and s.flags & EQUAL):
            self.kept.add_early(slot, segment, d, s.flags & EQUAL != 0)

    def acknowledges(self, s: Slot, segment: Segment) -> bool:
        """Whether this ACK is the third of the handshake to the early SYN-ACK in this slot."""
        if not s.flags & EQUAL and segment.from_a == ((s.flags & EARLY_FROM_A) != 0):
            return False
        two = s.early_seq + 1
        return (segment.seq - s.early_isn - 1) & LOW32 < s.early_reach and (segment.ack - two) & LOW32 <= (
            s.early_end - two
        ) & LOW32

    # -- errors ------------------------------------------------------------------------------------------------------

    def unreachable(self, quoted: Segment, sender: bytes, kind: int, code: int) -> int:
        """Take an ICMP error of this type and code from *sender* (a packed address).

        *quoted* has the frame and the time of the error, and the 4-tuple and sequence number of the SYN that it quotes.
        What waits in the batch was handed over before.
        """
        return 0

    # -- openings ------------------------------------------------------------------------------------------------------

    def open(self, slot: int, segment: Segment, d: Octets) -> None:
        """Begin an opening with a bare SYN."""
        s = slot_at(self.slots, slot)
        flags = s.flags
        after = P_SELF_SYN if flags & EQUAL else P_SYN
        two = 0
        acknowledged = 0
        if flags & EARLY:
            time = segment.time
            apart = time - s.early_time if time > s.early_time else s.early_time - time
            acknowledged = (s.early_isn - segment.seq) & LOW32
            two = s.early_seq
            if apart <= SECOND and acknowledged <= segment.data:
                if flags & EQUAL:
                    if two == segment.seq:
                        after = P_SELF_CONNECT
                elif segment.from_a != ((flags & EARLY_FROM_A) != 0):
                    after = P_THREE_WAY if flags & EARLY_ACKED else P_SYN_ACKED
        joined = after not in (P_SYN, P_SELF_SYN)
        if joined:
            if flags & MID:
                self.midstream -= 1
                if flags & EQUAL:
                    self.midstream_to_itself -= 1
            # Without the SYN-ACK that was not its own, the opening before was where it had been.
            s.phase = s.before
            s.end = s.early_end
        if s.phase >= P_SYN:
            self.close(slot)
        s.isn = segment.seq
        s.isn_second = two
        s.size = segment.size
        s.syn_data = segment.data & 0xFFFF
        s.syn_data_second = 0
        s.reach = min(s.early_reach + acknowledged, LOW32) if joined else 0
        s.phase = after
        s.before = 0
        s.retransmissions = 0
        flags &= EQUAL | TOUCHED
        if not segment.from_a:
            flags |= FIRST_IS_B
        if segment.wired:
            flags |= WIRED
        if self.verdict_of[after] & 0x80:
            self.counts[self.verdict_of[after] & 0x7F] += 1
            flags |= COUNTED
        s.flags = flags
        s.time = segment.time
        s.frame = segment.frame
        s.refused = s.since = 0
        remember_header(s, d, segment.at, segment.size)
        if self.keep_phases and (self.keep_phases >> after & 1 or flags & EQUAL):
            self.keep(slot, segment, d, True)
        if joined and s.flags & KEPT and self.kept.early_count:
            self.kept.take_early(slot)

    def close(self, slot: int) -> None:
        """End the opening in *slot*: count it, hand it on where it was asked for, leave the conversation."""
        s = slot_at(self.slots, slot)
        if s.phase >= P_SYN:
            verdict = self.verdict_of[s.phase] & 0x7F
            if not s.flags & COUNTED:
                self.counts[verdict] += 1
            if self.collect >> verdict & 1 and self.collected[verdict] < self.most:
                self.collected[verdict] += 1
                self.hand_on(slot, verdict)
        if s.flags & KEPT:
            self.kept.drop(slot, s)
        s.flags &= EQUAL | TOUCHED | EARLIES
        s.phase = P_MIDSTREAM
        s.before = 0
        s.retransmissions = 0

    def hand_on(self, slot: int, verdict: int) -> None:
        """Put the opening in *slot* on the list of the finished."""
        s = slot_at(self.slots, slot)
        one, two = packed(s.a_high, s.a_low, s.six), packed(s.b_high, s.b_low, s.six)
        one_port, two_port = s.a_port, s.b_port
        if s.flags & FIRST_IS_B:
            one, two = two, one
            one_port, two_port = two_port, one_port
        segments = self.kept.segments.get(slot)
        if segments is None:
            segments = [remembered(s)]
        omitted = self.kept.omitted.get(slot, 0)
        wired = s.flags & WIRED != 0
        self.finished.append(
            Finished(
                verdict,
                one,
                one_port,
                two,
                two_port,
                s.isn,
                s.frame,
                s.time,
                s.retransmissions,
                s.refused,
                s.since,
                omitted,
                wired,
                segments,
            )
        )

    def keep(self, slot: int, segment: Segment, d: Octets, first: bool) -> None:
        """Keep a segment of the opening in *slot*, if it is one of those that are kept."""
        s = slot_at(self.slots, slot)
        if not s.flags & KEPT:
            limit = MAX_KEPT if self.keep_phases >> s.phase & 1 or (self.keep_phases and s.flags & EQUAL) else 0
            if s.retransmissions and not s.flags & (ENDED | COUNTED) and self.keep_phases >> P_CROSSED & 1:
                limit = max(limit, MAX_RETRIED)
            if self.kept.count < limit:
                self.kept.begin(slot, s)
                if s.phase >= P_SYN:
                    self.recall(s)
                    if s.frame != self.frame:
                        self.kept.add_first(slot, s)
        if s.flags & KEPT:
            self.kept.add(slot, s, segment, d, first)

    def finish(self) -> None:
        """The capture is over, and with it every opening; *frame* is its last."""
        for slot in range(self.used):
            self.close(slot)

    # -- slots ---------------------------------------------------------------------------------------------------------

    def claim(self, segment: Segment) -> int:
        """Return a slot for a new conversation; the oldest one makes room where there is none."""
        if self.used < self.capacity:
            slot = self.used
            self.used += 1
            add_slot(self.slots)
        else:
            slot = self.make_room()
        s = slot_at(self.slots, slot)
        s.a_high = segment.a_high
        s.a_low = segment.a_low
        s.b_high = segment.b_high
        s.b_low = segment.b_low
        s.a_port = segment.a_port
        s.b_port = segment.b_port
        s.six = segment.six
        flags = 0
        s.phase = s.before = 0
        s.retransmissions = 0
        if self.heads:
            flags = HEAD
            s.refused = s.since = 0
        if segment.equal:
            flags |= EQUAL
            self.equals += 1
        s.flags = flags
        self.index.enter(segment.tag, slot, s)
        return slot

    def make_room(self) -> int:
        """Put the oldest conversation out; return its slot."""
        while True:
            slot = self.oldest
            self.oldest += 1
            if self.oldest == self.capacity:
                self.oldest = 0
            s = slot_at(self.slots, slot)
            if s.flags & EQUAL and s.phase >= P_SYN and not s.flags & ENDED and self.equals * 2 < self.capacity:
                continue
            if not s.flags & TOUCHED:
                break
            s.flags &= ~TOUCHED
        if s.phase >= P_SYN and not s.flags & (ENDED | COUNTED):
            self.evicted += 1
        equal = s.flags & EQUAL
        self.close(slot)
        if self.kept.early_count:
            self.kept.drop_early(slot)
        if equal:
            self.equals -= 1
        self.index.remove(slot, self.slots)
        return slot

    # -- what a part of a capture does otherwise (partial.py) ----------------------------------------------------------

    def refuse(self, s: Slot) -> None:
        """Count the opening in this slot as a refused attempt at its destination."""
        self.destinations.refuse(s)

    def recall(self, s: Slot) -> None:
        """Note in this slot how many attempts at its destination were refused so far."""
        self.destinations.recall(s)

    def walks(self) -> list[Attempts]:
        """Return the refused attempts by destination."""
        return self.destinations.listed()

    def head(self, slot: int, segment: Segment, d: Octets) -> bool:  # noqa: ARG002 - PartialConversations needs them
        """Whether this segment depends on what came before: in a whole capture, none does."""
        return False

    def remember_packet(self, segment: Segment, d: Octets) -> None:
        """Remember a packet of which a copy may come in the next part: in a whole capture, none does."""

    def log_possible_copy(self, segment: Segment, d: Octets) -> None:
        """Log a segment that may be a copy of a packet in the part before: in a whole capture, none is."""
