"""Openings whose answer comes from elsewhere: from a translated address, or as an ICMP error."""

# ruff: noqa: ARG002 - PartialConversations uses these arguments

from __future__ import annotations

import cython

if not cython.compiled:
    from .destinations import packed
    from .interpreted import name_ends, slot_at
    from .layout import (
        ACK,
        ENDED,
        FIRST_IS_B,
        HEAD,
        LENDER,
        LENT,
        LENT_ACKED,
        LENT_RST,
        P_REFUSED,
        P_SYN_ACKED,
        P_THREE_WAY,
        RST,
        SETTLED,
        SYN,
        TOUCHED,
        UNANSWERED,
        UNANSWERED_PHASES,
        UNCROSSED_PHASES,
        UNREACHED,
        Segment,
    )
    from .self_connects import SelfConnects

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..model import Octets


class AllConversations(SelfConnects):
    """The conversation table with the rules for answers from elsewhere."""

    def lend(self, slot: int, segment: Segment, d: Octets) -> int:
        """Let a SYN-ACK or an RST that answers nothing in its own 4-tuple answer an opening of another one.

        Return whether there is such an opening.
        """
        if not segment.flags & ACK or not self.count_refusals:
            return False
        name_ends(segment, slot_at(self.slots, slot))
        borrower = self.answers.find(self.slots, segment)
        if borrower < 0:
            self.miss(slot, segment, d)
            return False
        s = slot_at(self.slots, borrower)
        if s.flags & LENT or borrower == slot or s.flags & ENDED:
            return s.flags & LENT != 0 and borrower != slot
        self.remember_answer(borrower, slot, segment)
        if s.flags & LENT and segment.flags & RST:
            s.flags |= LENT_RST
            if self.count_refusals and not s.flags & UNREACHED:
                self.refuse(s)
        s.another = segment.seq
        return True

    def remember_answer(self, borrower: int, slot: int, segment: Segment) -> int:
        """Remember from where the opening in the slot *borrower* was answered."""
        if not self.answers.has_room():
            return 0
        self.answers.any = True
        s = slot_at(self.slots, slot)
        fresh = s.phase == 0
        if segment.from_a:
            self.answers.lent[borrower] = (segment.frame, packed(s.a_high, s.a_low, s.six), s.a_port, fresh)
        else:
            self.answers.lent[borrower] = (segment.frame, packed(s.b_high, s.b_low, s.six), s.b_port, fresh)
        slot_at(self.slots, borrower).flags |= LENT
        if segment.flags & SYN:
            s.flags |= LENDER
        return 0

    def take_back(self, slot: int) -> int:
        """Undo lend(): the early SYN-ACK of *slot* answers a SYN in its own 4-tuple, and so no other opening."""
        s = slot_at(self.slots, slot)
        s.flags &= ~LENDER
        a, b = packed(s.a_high, s.a_low, s.six), packed(s.b_high, s.b_low, s.six)
        for borrower, (_, address, port, _) in list(self.answers.lent.items()):
            if (address, port) in ((a, s.a_port), (b, s.b_port)):
                del self.answers.lent[borrower]
                slot_at(self.slots, borrower).flags &= ~(LENT | LENT_ACKED)
        return 0

    def unreachable(self, quoted: Segment, sender: bytes, kind: int, code: int) -> int:
        """Handle an ICMP error of this type (*kind*) and code from *sender* (a packed address).

        *quoted* has the frame and the time of the error, and the 4-tuple and sequence number of the SYN that it quotes.
        The caller has handed over the batch before.
        """
        self.frame = quoted.frame
        quoted.ends = self.index.digest_tuple(quoted)
        slot = self.index.find(quoted, self.slots)
        if slot < 0 or slot_at(self.slots, slot).flags & HEAD:
            self.miss_error(quoted, sender, kind, code)
            return 0
        s = slot_at(self.slots, slot)
        if (
            (UNCROSSED_PHASES | UNANSWERED_PHASES) >> s.phase & 1
            and not s.flags & (ENDED | UNREACHED)
            and s.isn == quoted.seq
            and quoted.from_a != ((s.flags & FIRST_IS_B) != 0)
            and self.answers.has_room()
        ):
            s.flags |= UNREACHED | TOUCHED
            self.answers.any = True
            self.answers.errors[slot] = (int(quoted.frame), int(quoted.time), sender, kind, code)
            if self.count_refusals and UNANSWERED_PHASES >> s.phase & 1 and not s.flags & LENT:
                self.refuse(s)
        return 0

    def link(self, slot: int, twin: int) -> int:
        """Note that the openings in these two slots are the two sides of one translated connection."""
        s, other = slot_at(self.slots, slot), slot_at(self.slots, twin)
        if self.answers.has_room():
            self.answers.any = True
            self.answers.links[slot] = int(other.frame)
            self.answers.links[twin] = int(s.frame)
            self.answers.translated += 1
        return 0

    def settle(self, slot: int) -> int:
        """Let an answer from elsewhere decide the opening in *slot*, which ends, if it has none of its own."""
        s = slot_at(self.slots, slot)
        if not UNANSWERED_PHASES >> s.phase & 1:
            lent = self.answers.lent.get(slot)
            if lent and lent[3]:
                self.midstream += 1
            return 0
        s.flags |= SETTLED
        if s.flags & LENT_RST:
            s.phase = P_REFUSED
        elif s.flags & LENT:
            s.phase = P_THREE_WAY if s.flags & LENT_ACKED else P_SYN_ACKED
        else:
            s.phase = P_REFUSED
        return 0

    def miss(self, slot: int, segment: Segment, d: Octets) -> int:
        """Note that a SYN-ACK or RST answers no opening: it may have been sent to another port of the client."""
        if self.collect & UNANSWERED:
            self.note_missed(slot, segment)
        return 0

    def note_missed(self, slot: int, segment: Segment) -> int:
        """Remember such a segment."""
        s = slot_at(self.slots, slot)
        a, b = packed(s.a_high, s.a_low, s.six), packed(s.b_high, s.b_low, s.six)
        if segment.from_a:
            self.answers.miss(b, segment.ack, (segment.frame, a, s.a_port, s.b_port))
        else:
            self.answers.miss(a, segment.ack, (segment.frame, b, s.b_port, s.a_port))
        return 0

    def miss_error(self, quoted: Segment, sender: bytes, kind: int, code: int) -> int:
        """Do nothing: this ICMP error quotes no SYN of an opening under way, and there is no part before."""
        return 0
