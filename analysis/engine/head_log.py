"""What a part of a capture logs: what depends on the part before it.

partial.py works through the log when parts are merged.
"""

from __future__ import annotations

import cython

from ..memory import sparse
from ..verdicts import VERDICTS
from .destinations import chosen
from .refusals import RefusedAttempts

if not cython.compiled:
    from .destinations import packed
    from .interpreted import (
        add_entry,
        entries_in,
        entry_at,
        entry_octets,
        keyed,
        note_conversation,
        note_error,
        note_octets,
        note_segment,
        slot_at,
    )
    from .layout import (
        ACK,
        CONTROL,
        EARLY,
        ENDED,
        EQUAL,
        FIN,
        FIN_A,
        FIN_B,
        FINS,
        FIRST_IS_B,
        FULL,
        HEAD,
        L_ANSWER,
        L_COPY,
        L_ERROR,
        L_FRESH,
        L_INDEPENDENT,
        L_LEFT_OUT,
        L_ORDER,
        L_SEGMENT,
        L_SIDE,
        LOW32,
        LOW64,
        MAX_LOG,
        MID,
        NEAR,
        P_MIDSTREAM,
        RST,
        SURE_LOG,
        SYN,
        TOUCHED,
        WALKS,
        Entry,
        Segment,
        Slot,
    )
    from .translations import AllConversations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..model import Octets
    from .destinations import Attempts
    from .layout import Finished, Key


def key_of(high: int, low: int, port: int, six: int) -> Key:
    """Return the key of a destination."""
    return high, low, port | (six << 32 if six else 0)


def destination(one: Finished) -> Key:
    """Return the key of an opening's destination."""
    number = int.from_bytes(one.two, "big")
    return key_of(number >> 64, number & LOW64, one.two_port, int(len(one.two) == 16))


class LoggedConversations(AllConversations):
    """The conversation table of a part, as long as that is read.

    ``unsure`` says that the result may differ from that of the whole read in one go. ``log`` has ``logged`` entries.
    ``ring`` has the last NEAR packets, by frame: a copy of one may come in the next part. It has all from the frame
    ``ring_from`` on, and is written to while ``remembers`` says so. While a part is merged, ``mark_a`` and ``mark_b``
    are how many attempts at the ends of the current segment that part had seen refused by then.
    """

    def __init__(self, capacity: int, collect: int, most: int, keep: int, count_refusals: bool) -> None:
        AllConversations.__init__(self, capacity, collect, most, keep, count_refusals)
        self.unsure = False
        self.mark_a = self.mark_b = self.ring_from = 0
        self.logged = 0
        self.log_room = 1024
        self.log_memory = memoryview(sparse(max(entry_octets() * self.log_room, 1)))
        self.log = entries_in(self.log_memory)
        self.ring_memory = memoryview(sparse(max(entry_octets() * NEAR, 1)))
        self.ring = entries_in(self.ring_memory)
        for _ in range(NEAR):
            add_entry(self.ring)
        self.refused = RefusedAttempts()
        self.finished_at: list[int] = []

    def begin(self, heads: bool) -> None:
        """Say whether something comes before this part."""
        self.heads = self.remembers = heads
        self.refused.direct = not heads
        self.zone = NEAR if heads else 0
        if heads:
            self.answers.begin_part()

    def remember_from(self, frame: int) -> None:
        """Begin to remember packets: *frame* is the next one."""
        self.remembers = True
        self.ring_from = frame

    # -- what a part does otherwise than a whole -----------------------------------------------------------------------

    def remember_packet(self, segment: Segment, d: Octets) -> int:
        """Remember a packet: a copy of it may come in the next part."""
        if self.remembers:
            one = entry_at(self.ring, segment.frame % NEAR)
            note_segment(one, segment, L_COPY)
            note_octets(one, d, segment, segment.size)
        return 0

    def log_possible_copy(self, segment: Segment, d: Octets) -> int:
        """Log a segment of the first NEAR frames: it may be a copy of a packet in the part before.

        Or a copy of one of those: if that is a copy itself, this one may come too late after the first of them.
        """
        before = self.logged
        self.log_segment(segment, d, L_COPY, segment.size)
        if segment.duplicate and self.logged > before:
            entry_at(self.log, before).duplicate = 1 if segment.frame < self.zone else 2
        if segment.frame < self.zone:
            slot = self.index.find(segment, self.slots)
            if slot < 0:
                slot = self.claim(segment)
            slot_at(self.slots, slot).flags |= TOUCHED  # it does not begin with what follows
        return 0

    def log_segment(self, segment: Segment, d: Octets, kind: int, size: int) -> int:
        """Log a segment, with the first *size* octets of its TCP header."""
        if self.has_room():
            one = entry_at(self.log, self.logged)
            note_segment(one, segment, kind)
            note_octets(one, d, segment, size)
            self.count_entry(one)
        return 0

    def has_room(self) -> bool:
        """Whether the log has room for another entry, which is made then; become unsure if not."""
        if self.logged >= MAX_LOG:
            self.unsure = True
            return False
        if self.logged == self.log_room:
            self.grow_log()
        add_entry(self.log)
        return True

    def grow_log(self) -> int:
        """Double the log."""
        used = entry_octets() * self.log_room
        if used:
            grown = memoryview(sparse(2 * used))
            grown[:used] = self.log_memory
            self.log_memory = grown
            self.log = entries_in(grown)
        self.log_room *= 2
        return 0

    def count_entry(self, one: Entry) -> int:
        """Add the entry that was written last, and note how many attempts were refused by then."""
        one.refused_a = self.refused.count(one.a_high, one.a_low, keyed(one.a_port, one.six)) + self.mark_a
        one.refused_b = self.refused.count(one.b_high, one.b_low, keyed(one.b_port, one.six)) + self.mark_b
        self.logged += 1
        return 0

    def head(self, slot: int, segment: Segment, d: Octets) -> bool:
        """Whether this segment depends on what came before the part; it is logged then, and steps nothing.

        A 4-tuple becomes independent at a bare SYN that begins an opening in every state: one after FINs of both ends,
        or one right after another SYN of the same end with another ISN. (Right after: no SYN of the other end between,
        which might have crossed. In both cases no SYN-ACK, which might be early. An RST makes none independent, since
        it may end nothing.) Until then ``refused`` counts the segments without SYN, RST or FIN since the last one that
        has one, and ``since`` those of them that are not logged; TOUCHED says that there were any.

        After SURE_LOG entries a 4-tuple that comes for the first time, with a bare SYN, counts as independent, too.
        """
        s = slot_at(self.slots, slot)
        control = segment.flags & CONTROL
        if control == SYN and not s.flags & (TOUCHED | EQUAL) and self.logged >= SURE_LOG:
            self.log_independent(slot, segment, d, L_FRESH)
            self.begin_independent(s)
            return False
        s.flags |= TOUCHED
        self.doubt_answers(slot, segment, control)
        if control == SYN:
            side = 0 if segment.from_a else FIRST_IS_B
            another = s.flags & MID and s.flags & FIRST_IS_B == side and s.isn != segment.seq
            if another or (s.flags & ENDED and not s.flags & EARLY):
                self.log_independent(slot, segment, d, L_INDEPENDENT)
                self.begin_independent(s)
                return False
            s.flags = (s.flags & (EQUAL | HEAD)) | TOUCHED | MID | side
            s.isn = segment.seq
            s.time, s.identification = segment.time, segment.identification
        elif control == SYN | ACK:
            s.flags = (s.flags & (EQUAL | HEAD)) | TOUCHED | EARLY
        else:
            # The SYN of a socket to itself may come after its FIN.
            if control & FIN and not control & RST and not s.flags & EQUAL:
                s.flags |= FIN_A if segment.from_a else FIN_B
                if s.flags & FINS == FINS:
                    s.flags |= ENDED
            if control & ~FIN != ACK:
                s.flags &= ~EARLY
        self.segments -= 1
        if control & (SYN | RST | FIN):
            s.refused = 0
        else:
            s.refused += 1
            if s.refused > FULL:
                s.since += 1
                return True
        self.flush(slot)
        self.log_segment(segment, d, L_SEGMENT, segment.size)
        return True

    def begin_independent(self, s: Slot) -> int:
        """Let a conversation be independent from here on. TOUCHED becomes what it is in a whole capture."""
        s.flags &= EQUAL
        s.phase = P_MIDSTREAM
        return 0

    def doubt_answers(self, slot: int, segment: Segment, control: int) -> int:
        """Become unsure if a logged segment may answer from elsewhere what this part decides, or be its other side."""
        if not self.count_refusals:
            return 0
        if control == SYN:
            if self.answers.is_expected(self.slots, slot, segment):
                self.unsure = True
            place = self.answers.unsettle(segment)
            if place >= 0:
                self.log_order(self.answers.origins[place + 1])
                self.log_order(self.answers.origins[place])
        elif control & ACK and control & (SYN | RST) and self.answers.find(self.slots, segment) >= 0:
            self.unsure = True
        return 0

    def log_order(self, entry: int) -> int:
        """Log that the opening of this entry is the newest in its set now (answers.py): it may be in no log so far."""
        if self.has_room():
            s = slot_at(self.slots, (entry & LOW32) - 1)
            one = entry_at(self.log, self.logged)
            note_conversation(one, s, L_ORDER)
            one.frame = self.frame
            one.from_a = self.answers.is_by_a(s, entry)
            self.count_entry(one)
        return 0

    def log_side(self, segment: Segment, d: Octets) -> int:
        """Log the SYN of an independent opening, just entered, unless it is known what the whole has in its set.

        Where it is not (answers.py), the other side of a translation may be in a part before, and the order of what is
        in the set depends on that part. A SYN that is in the log for another reason is not logged twice.
        """
        if not self.answers.settle():
            return 0
        if self.logged:
            last = entry_at(self.log, self.logged - 1)
            if last.frame == segment.frame and last.kind != L_ORDER:
                return 0
        return self.log_segment(segment, d, L_SIDE, 20)

    def miss(self, slot: int, segment: Segment, d: Octets) -> int:
        """Log a SYN-ACK or RST that answers nothing here: it may answer a SYN in the part before."""
        AllConversations.miss(self, slot, segment, d)
        if self.heads:
            self.log_segment(segment, d, L_ANSWER, 20)
        return 0

    def miss_error(self, quoted: Segment, sender: bytes, kind: int, code: int) -> int:
        """Log an ICMP error: the SYN that it quotes may be in the part before."""
        if self.heads and self.has_room():
            one = entry_at(self.log, self.logged)
            note_segment(one, quoted, L_ERROR)
            note_error(one, int(quoted.seq).to_bytes(4, "big") + bytes((kind, code)) + sender)
            self.count_entry(one)
        return 0

    def log_independent(self, slot: int, segment: Segment, d: Octets, kind: int) -> int:
        """Log that from this SYN on the 4-tuple is independent; *kind* says why."""
        self.flush(slot)
        return self.log_segment(segment, d, kind, 20)

    def flush(self, slot: int) -> int:
        """Log how many segments were left out of the log of *slot* since its last one."""
        s = slot_at(self.slots, slot)
        if s.flags & HEAD and s.since:
            if self.has_room():
                one = entry_at(self.log, self.logged)
                note_conversation(one, s, L_LEFT_OUT)
                one.frame = self.frame
                one.data = s.since
                self.count_entry(one)
            s.since = 0
        return 0

    def hand_on(self, slot: int, verdict: int) -> None:
        """Put the opening in *slot* on the list of the finished, and remember when it ended."""
        self.finished_at.append(self.frame)
        AllConversations.hand_on(self, slot, verdict)

    def recall(self, s: Slot) -> None:
        """Note in this slot how many attempts at its destination were refused so far, and the current frame.

        Those count, too, that the part being merged had by then.
        """
        if s.flags & FIRST_IS_B:
            s.refused = self.refused.count(s.a_high, s.a_low, keyed(s.a_port, s.six)) + self.mark_a
        else:
            s.refused = self.refused.count(s.b_high, s.b_low, keyed(s.b_port, s.six)) + self.mark_b
        s.since = self.frame

    def refuse(self, s: Slot) -> None:
        """Note the opening in this slot as a refused attempt."""
        if s.flags & FIRST_IS_B:
            row = self.refused.place(s.a_high, s.a_low, keyed(s.a_port, s.six))
            self.refused.refuse(row, s.b_port, self.frame, s.time)
        else:
            row = self.refused.place(s.b_high, s.b_low, keyed(s.b_port, s.six))
            self.refused.refuse(row, s.a_port, self.frame, s.time)
        if self.refused.full:
            self.unsure = True

    def walks(self) -> list[Attempts]:
        """Return the refused attempts by destination, of all parts."""
        found = []
        for key, _ in zip(self.chosen_destinations(), range(WALKS), strict=False):
            found.append((packed(key[0], key[1], key[2] >> 32), key[2] & 0xFFFF, *self.refused.walk(key)))
        return found

    def chosen_destinations(self) -> list[Key]:
        """Return the destinations that find a place, in the order of their first refusal."""
        return chosen(self.refused.keys_in_order())

    def finish(self) -> None:
        """Sort the openings of all parts by when they ended, and note how many attempts were refused before each."""
        AllConversations.finish(self)
        order = sorted(range(len(self.finished)), key=self.finished_at.__getitem__)
        with_place = set(self.chosen_destinations()) if order else set()
        seen = [0] * len(VERDICTS)
        found = []
        for at in order:
            one = self.finished[at]
            seen[one.verdict] += 1
            if seen[one.verdict] > self.most:
                continue
            key = destination(one)
            count = one.refused if key in with_place else 0
            since = self.refused.since(key) if count else 0
            found.append(one._replace(refused=count, since=since))
        self.finished = found
