"""The conversation table: every segment steps the opening of its 4-tuple by the rules of verdicts.py.

A conversation is a *slot* of the table (layout.Slot). Slots are given out in turn. When all are in use, the oldest one
is given to a new conversation; but one that a segment has touched since its last turn is passed over once, and an
opening under way whose two endpoints are equal is passed over as long as such conversations have fewer than half of the
slots.

Segments come in batches, and each stage works through the whole batch before the next one begins: hash the 4-tuples and
prefetch their index entries, prefetch the slots, mark duplicates, step. So what a segment is compared with, anywhere in
memory, is in the processor's cache when it is needed.
"""

# ruff: noqa: ARG002 - the subclasses use these arguments

from __future__ import annotations

import cython

from ..memory import growing
from ..verdicts import VERDICTS, compiled_rules, compiled_verdicts
from .layout import Finished

if not cython.compiled:
    from .answers import Answers
    from .destinations import Destinations
    from .interpreted import (
        Duplicates,
        Index,
        acknowledges_syn,
        add_slot,
        ahead,
        is_of,
        octets_of,
        segment_at,
        slot_at,
        slot_octets,
        slots_in,
        take_first,
        within,
        words_in,
    )
    from .kept import KeptSegments, handed_on
    from .layout import (
        ACK,
        ACKED_FIRST,
        ACKED_SECOND,
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
        EARLY_FIN_A,
        EARLY_FIN_B,
        ENDED,
        EQUAL,
        EVENTS,
        FIN,
        FIN_A,
        FIN_B,
        FINS,
        FIRST_IS_B,
        HEAD,
        KEPT,
        LENDER,
        LENT,
        LENT_ACKED,
        LENT_RST,
        LOW16,
        LOW32,
        MANY,
        MAX_KEPT,
        MAX_RETRIED,
        MID,
        MID_COUNTED,
        MID_ITSELF,
        OWN,
        P_CROSSED,
        P_MIDSTREAM,
        P_REFUSED,
        P_SELF_CONNECT,
        P_SELF_SYN,
        P_SYN,
        P_SYN_ACKED,
        P_THREE_WAY,
        PAST,
        PLAIN,
        RST,
        SYN,
        TOUCHED,
        TRACKED_PHASES,
        UNCROSSED_PHASES,
        UNREACHED,
        UNTRACKED,
        V_REFUSED,
        WIRED,
        Segment,
        Slot,
    )
    from .resets import (
        acknowledges_early,
        all_acknowledged,
        answered_early,
        begin_numbers,
        begin_tracking,
        note_unanswered,
        remember_early,
        reset_fits,
        track,
    )

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..model import Octets
    from .destinations import Attempts


def take_ends(s: Slot, segment: Segment) -> int:
    """Note whose conversation is in this slot: the 4-tuple of this segment."""
    s.a_high = segment.a_high
    s.a_low = segment.a_low
    s.b_high = segment.b_high
    s.b_low = segment.b_low
    s.a_port = segment.a_port
    s.b_port = segment.b_port
    s.six = segment.six
    return 0


def take_syn(s: Slot, segment: Segment, d: Octets) -> None:
    """Note the SYN of an opening in its slot."""
    take_first(s, segment, d)
    s.isn = segment.seq
    s.next_first = (segment.seq + 1 + segment.data) & LOW32
    s.reach = segment.seq  # acknowledges nothing


def classify(s: Slot, segment: Segment, first: bool) -> int:
    """Return which event a segment without RST is for the opening in this slot (see verdicts.Event)."""
    one = s.isn
    two = s.isn_second
    phase = s.phase
    seq, ack = segment.seq, segment.ack
    control = segment.flags & CONTROL
    if control == SYN | ACK:
        if first:
            if seq != one:
                return E_NOTHING
            if CROSSED_PHASES >> phase & 1:
                return E_SYN_ACK_FIRST if acknowledges_syn(ack, two, s.syn_data_second) else E_NOTHING
            if UNCROSSED_PHASES >> phase & 1 and not s.flags & OWN:
                s.isn_second = (ack - 1) & LOW32
                s.flags |= OWN
                return E_SYN_ACK_FIRST
            return E_NOTHING
        if not acknowledges_syn(ack, one, s.syn_data):
            return E_OTHER_SECOND
        if CROSSED_PHASES >> phase & 1:
            return E_SYN_ACK_SECOND if seq == two else E_OTHER_SECOND
        if phase != P_SYN_ACKED:
            s.isn_second = seq
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
            and (within(ack, two, s.next_second) or (s.flags & ANOTHER and ack == (s.another + 1) & LOW32))
        ):
            return E_ACK_FIRST
        if s.flags & LENT and not s.flags & LENT_RST and control & ACK and ahead(ack, s.another):
            s.flags |= LENT_ACKED
        return E_NOTHING
    return E_ACK_SECOND if control == ACK else E_OTHER_SECOND


class Conversations:
    """Applies the verdict rules to the segments of one capture.

    *capacity* is the number of conversations remembered at one time, *frames* the most frames that may come. *collect*
    has a bit for each verdict (by its place in VERDICTS) whose openings come back in ``finished``, the first *most* of
    each; *keep* a bit for each phase from which segments are kept for that. With *count_refusals* refused attempts are
    counted by destination, and answers from elsewhere looked for, in all segments (else: those with equal endpoints).
    """

    def __init__(  # noqa: PLR0913, PLR0917 - each is a bound or a choice of its own
        self, capacity: int, collect: int, most: int, keep: int, count_refusals: bool, frames: int = MANY
    ) -> None:
        self.capacity = capacity
        self.collect = collect
        self.most = most
        self.keep_phases = keep
        self.count_refusals = count_refusals
        self.used = self.oldest = self.equals = 0
        self.heads = self.remembers = False
        self.zone = 0  # up to this frame, what is a duplicate depends on the part before
        self.memory = memoryview(growing(max(slot_octets() * capacity, 1)))
        self.slots = slots_in(self.memory)
        self.index = Index(capacity)
        self.duplicates_seen = Duplicates(frames)
        self.destinations = Destinations(frames)
        self.kept = KeptSegments()
        self.answers = Answers()
        self.tables = compiled_rules(), compiled_verdicts()
        self.rules, self.verdict_of = octets_of(self.tables[0]), octets_of(self.tables[1])
        self.collected_memory = memoryview(bytearray(8 * len(VERDICTS))).cast("Q")
        self.collected = words_in(self.collected_memory)
        #: Openings by the place of their verdict in VERDICTS.
        self.counted = memoryview(bytearray(8 * len(VERDICTS))).cast("Q")
        self.counts = words_in(self.counted)
        self.finished: list[Finished] = []
        #: With ``announce``, openings as they are decided, before they end; the caller that takes them clears the list.
        self.announce = False
        # Whether anything but the count of refused openings is asked for.
        self.heeds_refusals = (collect >> V_REFUSED | keep >> P_REFUSED) & 1 != 0
        self.decided: list[Finished] = []
        self.frame = 0  # number of the frame of the current segment
        self.segments = self.duplicates = self.midstream = self.midstream_to_itself = self.evicted = 0

    # -- a batch -------------------------------------------------------------------------------------------------------

    def take_batch(self, d: Octets, batch: list[Segment], count: int) -> None:
        """Step with the first *count* segments of a batch, whose headers lie in *d*."""
        self.index.digest_batch(batch, count)
        self.duplicates_seen.digest_batch(d, batch, count)
        self.index.look_up_batch(batch, count, self.slots)
        self.answers.fetch_batch(batch, count)
        self.duplicates_seen.mark(d, batch, count)
        for place in range(count):
            self.meet(segment_at(batch, place), d)

    def meet(self, segment: Segment, d: Octets) -> int:
        """Find or begin the conversation of a segment, and step it, unless the packet is a duplicate."""
        self.frame = segment.frame
        if self.heads and self.is_known(segment, d):
            return 0
        if segment.duplicate:
            self.duplicates += 1
            if segment.frame - segment.duplicate < self.zone:
                self.log_possible_copy(segment, d)
            return 0
        self.segments += 1
        slot = segment.slot
        if slot < 0 or not is_of(slot_at(self.slots, slot), segment):
            slot = self.index.find(segment, self.slots)
            if slot < 0:
                slot = self.claim(segment)
        self.step(slot, segment, d)
        return 0

    def is_known(self, segment: Segment, d: Octets) -> bool:
        """Whether what a segment of a part means depends on the part before: it may be a copy of a packet there."""
        if not segment.duplicate:
            self.remember_packet(segment, d)
        if segment.frame >= self.zone:
            return False
        self.log_possible_copy(segment, d)
        return True

    # -- one segment ---------------------------------------------------------------------------------------------------

    def step(self, slot: int, segment: Segment, d: Octets) -> int:
        """Step the opening in *slot* with this segment."""
        s = slot_at(self.slots, slot)
        control = segment.flags & CONTROL
        if s.flags & (HEAD | EQUAL):
            if s.flags & HEAD and self.head(slot, segment, d):
                return 0
            if s.flags & EQUAL:
                return self.step_with_itself(slot, segment, d)
        phase = s.phase
        flags = s.flags
        if control == SYN and phase < P_SYN:
            self.open(slot, segment, d)
            return 0
        first = segment.from_a != (flags & FIRST_IS_B)
        if phase == P_SYN and control == RST | ACK and self.refuse_plainly(s, slot, segment, first):
            return 0
        answered = ends = False
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
            s.syn_data_second = min(segment.data, LOW16)
            begin_tracking(s, segment, d)
            flags = s.flags
        elif phase < P_SYN or flags & ENDED:
            self.stray(slot, segment, d)
            return 0
        elif phase == P_THREE_WAY and not control & (SYN | RST | FIN) and not flags & (KEPT | EARLY):
            s.flags = flags | TOUCHED  # the bulk of all traffic
            return track(s, segment, first)
        elif control & RST:
            ends = reset_fits(s, segment, first)
            if ends:
                event = E_RST_FIRST if first else E_RST_SECOND
            else:
                event = E_NOTHING if first else E_OTHER_SECOND
                self.lend(slot, segment, d)
        else:
            event = classify(s, segment, first)
            if TRACKED_PHASES >> phase & 1:
                track(s, segment, first)
            elif event != E_SYN_ACK_SECOND:
                note_unanswered(s, segment, first)
        if control == SYN | ACK and event not in (E_SYN_ACK_FIRST, E_SYN_ACK_SECOND):
            self.expect(slot, segment, d)
            self.lend(slot, segment, d)
            flags = s.flags
        elif s.flags & OWN and not flags & OWN:
            self.expect(slot, segment, d)
            flags = s.flags
        elif flags & EARLY:
            if control & ~FIN != ACK:
                flags &= ~EARLY
            else:
                s.before = self.rules[s.before * EVENTS + event]

        after = self.rules[phase * EVENTS + event]
        if answered:
            after = self.rules[after * EVENTS + E_SYN_ACK_FIRST]
        if event == E_SYN_ACK_SECOND and UNCROSSED_PHASES >> phase & 1:
            begin_tracking(s, segment, d)
        flags |= TOUCHED | (s.flags & (ANOTHER | OWN | ACKED_FIRST | ACKED_SECOND | UNTRACKED | LENT_ACKED))
        if ends:
            flags |= ENDED
        elif control & FIN:
            flags |= FIN_A if segment.from_a else FIN_B
            if flags & FINS == FINS:
                flags |= ENDED
        s.phase = after
        s.flags = flags
        if after != phase and self.verdict_of[after] & 0x80:
            self.decide(s)
        if s.flags & KEPT or self.keep_phases >> after & 1:
            self.keep(slot, segment, d, first)
        if self.announce and after != phase and s.flags & COUNTED:
            self.announce_opening(slot)
        if ends:
            self.close(slot)
        return 0

    def refuse_plainly(self, s: Slot, slot: int, segment: Segment, first: bool) -> bool:
        """Do in one go what the rules make of an RST that answers a SYN, where nothing else is known of the opening.

        In a storm of attempts at a closed port that is half of all packets.
        """
        if first or s.flags & ~PLAIN or self.heeds_refusals or not acknowledges_syn(segment.ack, s.isn, s.syn_data):
            return False
        self.counts[V_REFUSED] += 1
        if self.count_refusals:
            self.refuse(s)
        if self.answers.any:
            self.answers.forget(slot)
        s.flags = (s.flags & LENDER) | TOUCHED
        s.phase = P_MIDSTREAM
        s.before = 0
        s.retransmissions = 0
        return True

    def decide(self, s: Slot) -> None:
        """Count the opening in this slot, whose verdict cannot change any more."""
        self.counts[self.verdict_of[s.phase] & 0x7F] += 1
        s.flags |= COUNTED
        if s.phase == P_REFUSED and self.count_refusals:
            self.refuse(s)

    def stray(self, slot: int, segment: Segment, d: Octets) -> None:
        """Handle a segment of a conversation without an opening under way: there was none yet, or it has ended."""
        s = slot_at(self.slots, slot)
        control = segment.flags & CONTROL
        s.flags |= TOUCHED
        lent = not s.flags & EQUAL and (control == SYN | ACK or control & RST) and self.lend(slot, segment, d)
        if s.phase == 0:
            s.flags &= EQUAL | LENDER
            if not lent:
                self.midstream += 1
                if s.flags & EQUAL:
                    s.flags |= MID_COUNTED
                    if control & ACK and not control & RST:
                        self.midstream_to_itself += 1
                        s.flags |= MID_ITSELF
                if control == SYN | ACK:
                    s.flags |= MID
            s.phase = P_MIDSTREAM
            s.before = 0
        elif control == SYN | ACK:
            s.flags &= ~MID
        elif control & ~FIN != ACK:
            s.flags &= ~(EARLY | MID)
        elif s.flags & EARLY:
            if control & FIN and not s.flags & EQUAL:
                s.flags |= EARLY_FIN_A if segment.from_a else EARLY_FIN_B
            if acknowledges_early(s, segment):
                s.flags |= EARLY_ACKED
                self.kept.add_early(slot, segment, d, True)
        if control == SYN | ACK:
            self.expect(slot, segment, d)
        elif s.flags & KEPT and not s.flags & EQUAL:
            self.keep(slot, segment, d, segment.from_a != ((s.flags & FIRST_IS_B) != 0))
        if self.announce and control & (ACK | SYN | RST) == ACK:
            self.close_ended(slot, segment)

    def close_ended(self, slot: int, segment: Segment) -> int:
        """Close the opening in *slot*, if FINs have ended it and this segment acknowledges the last of them."""
        s = slot_at(self.slots, slot)
        if s.flags & ENDED and s.phase >= P_SYN:
            track(s, segment, s.flags & EQUAL != 0 or segment.from_a != ((s.flags & FIRST_IS_B) != 0))
            if all_acknowledged(s):
                self.close(slot)
        return 0

    def expect(self, slot: int, segment: Segment, d: Octets) -> None:
        """Remember a SYN-ACK that fits no SYN so far."""
        s = slot_at(self.slots, slot)
        remember_early(s, segment)
        if self.kept.early_count:
            self.kept.drop_early(slot)
        if self.keep_phases >> P_SYN & 1 or (self.keep_phases and s.flags & EQUAL):
            self.kept.add_early(slot, segment, d, s.flags & EQUAL != 0)

    # -- openings ------------------------------------------------------------------------------------------------------

    def open(self, slot: int, segment: Segment, d: Octets) -> int:
        """Begin an opening with a bare SYN."""
        s = slot_at(self.slots, slot)
        if s.flags & (EARLY | EQUAL):
            return self.open_specially(slot, segment, d)
        if s.phase >= P_SYN:
            self.close(slot)
        s.isn_second = 0
        take_syn(s, segment, d)
        s.phase = P_SYN
        s.flags = (s.flags & TOUCHED) | (0 if segment.from_a else FIRST_IS_B)
        if self.count_refusals:
            self.enter(slot, segment, d)
        if self.keep_phases >> P_SYN & 1:
            self.keep(slot, segment, d, True)
        return 0

    def open_specially(self, slot: int, segment: Segment, d: Octets) -> int:
        """Begin an opening of a socket to itself, or after a SYN-ACK that may have come early."""
        s = slot_at(self.slots, slot)
        after = P_SELF_SYN if s.flags & EQUAL else P_SYN
        joined = s.flags & EARLY != 0 and answered_early(s, segment)
        fins = 0
        if joined:
            after = P_THREE_WAY if s.flags & EARLY_ACKED else P_SYN_ACKED
            if s.flags & EQUAL:
                after = P_SELF_CONNECT
            fins = s.flags & FIN_A
            if not s.flags & EQUAL:
                fins = (FIN_A if s.flags & EARLY_FIN_A else 0) | (FIN_B if s.flags & EARLY_FIN_B else 0)
            self.uncount_midstream(s, MID)
            if s.flags & LENDER:
                self.take_back(slot)
            # The SYN-ACK belongs to the new opening: the one before is in the phase that it had without it.
            s.phase = s.before
        if s.phase >= P_SYN:
            self.close(slot)
        s.isn_second = s.early_seq if joined else 0
        take_syn(s, segment, d)
        s.phase = after
        s.flags = (s.flags & (EQUAL | TOUCHED)) | fins
        if fins == FINS or (fins and s.flags & EQUAL):
            s.flags |= ENDED
        s.flags |= (0 if segment.from_a else FIRST_IS_B) | (WIRED if segment.wired else 0)
        if self.verdict_of[after] & 0x80:
            self.counts[self.verdict_of[after] & 0x7F] += 1
            s.flags |= COUNTED
        if joined or s.flags & EQUAL:
            begin_numbers(s, segment, d, joined)
        if self.count_refusals:
            self.enter(slot, segment, d)
        if self.keep_phases and (self.keep_phases >> after & 1 or s.flags & EQUAL):
            self.keep(slot, segment, d, True)
        if joined and s.flags & KEPT and self.kept.early_count:
            self.kept.take_early(slot)
        if self.announce and s.flags & COUNTED:
            self.announce_opening(slot)
        return 0

    def enter(self, slot: int, segment: Segment, d: Octets) -> None:
        """Enter the opening in *slot* under its client, where answers from elsewhere look for it."""
        twin = self.answers.enter(self.slots, slot, segment)
        if twin >= 0:
            self.link(slot, twin)
        if self.heads:
            self.log_side(segment, d)

    def uncount_midstream(self, s: Slot, counted: int) -> None:
        """Take the conversation out of the midstream count: what it was counted for proved to be an opening."""
        if s.flags & counted:
            self.midstream -= 1
            if s.flags & EQUAL and s.flags & MID_ITSELF:
                self.midstream_to_itself -= 1
        s.flags &= ~(MID | MID_COUNTED | MID_ITSELF)

    def close(self, slot: int) -> None:
        """End the opening in *slot*: count it, and hand it on if its verdict is collected. Its conversation stays."""
        s = slot_at(self.slots, slot)
        if s.phase >= P_SYN:
            if s.flags & (LENT | UNREACHED):
                self.settle(slot)
            verdict = self.verdict_of[s.phase] & 0x7F
            if not s.flags & COUNTED:
                self.counts[verdict] += 1
            if self.collect >> verdict & 1 and self.collected[verdict] < self.most:
                self.collected[verdict] += 1
                self.hand_on(slot, verdict)
            if self.answers.any:
                self.answers.forget(slot)
            if s.flags & EQUAL:
                s.flags |= PAST
        if s.flags & KEPT:
            self.kept.drop(slot, s)
        s.flags &= EQUAL | TOUCHED | EARLIES | PAST | LENDER
        s.phase = P_MIDSTREAM
        s.before = 0
        s.retransmissions = 0

    def hand_on(self, slot: int, verdict: int) -> None:
        """Put the opening in *slot* on the list of the finished."""
        s = slot_at(self.slots, slot)
        self.finished.append(handed_on(s, slot, verdict, self.kept, self.answers))

    def announce_opening(self, slot: int) -> None:
        """Put the opening in *slot*, which was decided just now, on the list of the decided."""
        s = slot_at(self.slots, slot)
        verdict = self.verdict_of[s.phase] & 0x7F
        if self.collect >> verdict & 1:
            self.decided.append(handed_on(s, slot, verdict, self.kept, self.answers))

    def keep(self, slot: int, segment: Segment, d: Octets, first: bool) -> None:
        """Keep a segment of the opening in *slot*, if segments of this opening are kept."""
        s = slot_at(self.slots, slot)
        if not s.flags & KEPT:
            limit = MAX_KEPT if self.keep_phases >> s.phase & 1 or (self.keep_phases and s.flags & EQUAL) else 0
            retried = s.retransmissions and not s.flags & (ENDED | COUNTED) and self.keep_phases >> P_CROSSED & 1
            if not limit and retried:
                limit = MAX_RETRIED
                self.kept.retried = True
            if self.kept.count < limit:
                self.kept.begin(slot, s)
                if s.phase >= P_SYN:
                    self.recall(s)
                    if s.frame != self.frame:
                        self.kept.add_first(slot, s)
        if s.flags & KEPT:
            self.kept.add(slot, s, segment, d, first)

    def finish(self) -> None:
        """End every opening: the capture is over. ``frame`` is its last frame."""
        for slot in range(self.used):
            self.close(slot)

    # -- slots ---------------------------------------------------------------------------------------------------------

    def claim(self, segment: Segment) -> int:
        """Return a slot for a new conversation: a free one, or else that of the oldest conversation."""
        if self.used < self.capacity:
            slot = self.used
            self.used += 1
            add_slot(self.slots)
        else:
            slot = self.make_room()
        s = slot_at(self.slots, slot)
        take_ends(s, segment)
        flags = 0
        s.phase = s.before = s.retransmissions = 0
        if self.heads:
            flags = HEAD | EARLY  # a SYN-ACK may have come in the part before
            s.refused = s.since = 0
        if segment.equal:
            flags |= EQUAL
            self.equals += 1
        s.flags = flags
        self.index.enter(segment.ends >> 32, slot, s)
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

    # -- what is seldom needed (self_connects.py, translations.py) -----------------------------------------------------

    def step_with_itself(self, slot: int, segment: Segment, d: Octets) -> int:
        """Step the conversation of a socket with itself."""
        return 0

    def lend(self, slot: int, segment: Segment, d: Octets) -> int:
        """Let a SYN-ACK or an RST that answers nothing in its own 4-tuple answer an opening of another 4-tuple."""
        return False

    def take_back(self, slot: int) -> int:
        """Undo lend(): the early SYN-ACK of *slot* answers a SYN in its own 4-tuple, and so no other opening."""
        return 0

    def link(self, slot: int, twin: int) -> int:
        """Note that the openings in these two slots are the two sides of one translated connection."""
        return 0

    def settle(self, slot: int) -> int:
        """Let an answer from elsewhere decide the opening in *slot*, which ends, if it has none of its own."""
        return 0

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

    def head(self, slot: int, segment: Segment, d: Octets) -> bool:
        """Whether this segment depends on what came before: in a whole capture, none does."""
        return False

    def log_side(self, segment: Segment, d: Octets) -> int:
        """Do nothing: there is no part before, in which the other side of this opening might be."""
        return 0

    def remember_packet(self, segment: Segment, d: Octets) -> int:
        """Do nothing: there is no next part, in which a copy of this packet might come."""
        return 0

    def log_possible_copy(self, segment: Segment, d: Octets) -> int:
        """Do nothing: there is no part before, of which this segment might be a copy."""
        return 0
