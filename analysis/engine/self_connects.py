"""A socket's conversation with itself: both endpoints are equal, so both ends are one.

The four kinds of evidence for a self-connect stand in docs/verdicts.md.
"""

from __future__ import annotations

import cython

if not cython.compiled:
    from .conversations import Conversations
    from .interpreted import (
        acknowledges_syn,
        ahead,
        apart,
        evidence_of,
        remember_header,
        slot_at,
        take_first,
        within,
    )
    from .layout import (
        A_AGAIN,
        A_CANDIDATE,
        A_EARLY,
        A_JOIN,
        A_NOTHING,
        A_OPEN,
        A_PROOF,
        A_RESET,
        A_STANDING,
        A_STRAY,
        A_SYN_ACK,
        ACK,
        BY_ACK,
        BY_SYN_ACK,
        CANDIDATE,
        CONTROL,
        EARLY,
        ENDED,
        EQUAL,
        EVIDENCE,
        EVIDENCES,
        FIN,
        FIN_A,
        HALF32,
        KEPT,
        LENT,
        LENT_ACKED,
        LENT_RST,
        LOW16,
        LOW32,
        MANY,
        MID_COUNTED,
        P_SELF_CONNECT,
        P_SELF_SYN,
        P_SYN,
        PAST,
        RST,
        SECOND,
        STANDING,
        SYN,
        TOUCHED,
        UNTRACKED,
        WIRED,
        Segment,
        Slot,
    )
    from .resets import reset_of_itself, scale_in, track

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..model import Octets


class SelfConnects(Conversations):
    """The conversation table with the rules for sockets that are connected to themselves."""

    def step_with_itself(self, slot: int, segment: Segment, d: Octets) -> int:
        """Step the conversation of a socket with itself."""
        s = slot_at(self.slots, slot)
        ended = s.flags & ENDED != 0
        if segment.flags & FIN and s.flags & EARLY and (ended or s.phase < P_SYN):
            s.flags |= FIN_A  # of an opening whose SYN may follow
        action = with_itself(s, segment)
        s.flags |= TOUCHED
        if action == A_OPEN:
            self.open(slot, segment, d)
            return 0
        if segment.flags & (SYN | RST) and action != A_EARLY:
            s.flags &= ~EARLY
        if action in (A_SYN_ACK, A_STANDING):
            self.begin_without_syn(slot, segment, d, action)
            return 0
        if action == A_JOIN:
            self.join(slot, segment, d)
            return 0
        if action == A_CANDIDATE:
            self.take_candidate(slot, segment, d)
            return 0
        if action == A_AGAIN:
            s.retransmissions += 1
        elif action == A_EARLY or (action == A_STRAY and s.phase < P_SYN):
            self.stray(slot, segment, d)
            if s.phase < P_SYN:
                return 0
        elif action == A_PROOF:
            s.phase = s.before = P_SELF_CONNECT
            self.decide(s)
        if s.flags & KEPT or (s.phase >= P_SYN and self.keep_phases >> s.phase & 1):
            self.keep(slot, segment, d, True)
        if action == A_PROOF and self.announce:
            self.announce_opening(slot)
        if action == A_RESET:
            s.flags |= ENDED
            self.close(slot)
        elif segment.flags & FIN and s.phase >= P_SYN and not s.flags & ENDED and not segment.flags & RST:
            s.flags |= ENDED
            s.ended_at = segment.time
        elif ended and self.announce and segment.flags & CONTROL == ACK:
            self.close_ended(slot, segment)
        return 0

    def begin_without_syn(self, slot: int, segment: Segment, d: Octets, action: int) -> int:
        """Begin the opening of a socket to itself with the segment that proves it: its SYN was not captured."""
        s = slot_at(self.slots, slot)
        if action == A_SYN_ACK:
            if s.phase >= P_SYN:
                self.close(slot)
            take_first(s, segment, d)
            s.isn = segment.seq
            s.flags = (s.flags & (EQUAL | TOUCHED)) | BY_SYN_ACK << EVIDENCE
            s.syn_data = 0
        else:
            self.uncount_midstream(s, MID_COUNTED)
            s.isn = s.isn_second
            s.flags = (s.flags & (EQUAL | TOUCHED | WIRED)) | UNTRACKED | STANDING << EVIDENCE
        s.next_second = s.next_first = (segment.seq + (segment.flags >> 1 & 1)) & LOW32
        s.scale_first = s.scale_second = scale_in(d, segment.at, segment.size)
        s.edge_first = (segment.ack + segment.window) & LOW32
        track(s, segment, True)
        if segment.wired:
            s.flags |= WIRED
        s.phase = P_SELF_CONNECT
        self.decide(s)
        if self.keep_phases:
            self.keep(slot, segment, d, True)
        if self.announce:
            self.announce_opening(slot)
        if segment.flags & FIN:
            s.flags |= ENDED
            s.ended_at = segment.time
        return 0

    def take_candidate(self, slot: int, segment: Segment, d: Octets) -> int:
        """Remember a segment whose two endpoints are equal, and which belongs to no opening.

        If it is a socket that is connected to itself, its next segment acknowledges this one.
        """
        s = slot_at(self.slots, slot)
        if s.phase >= P_SYN:
            fin = s.flags & FIN_A
            self.close(slot)
            s.flags |= fin
        again = s.flags & CANDIDATE and s.another == end_of_candidate(segment)
        self.stray(slot, segment, d)
        if again:
            return 0
        take_first(s, segment, d)
        s.another = end_of_candidate(segment)
        s.isn_second = (segment.seq - 1) & LOW32
        s.flags = (s.flags & ~WIRED) | CANDIDATE
        if segment.wired:
            s.flags |= WIRED
        return 0

    def join(self, slot: int, segment: Segment, d: Octets) -> int:
        """Add the SYN to an opening that began with its SYN-ACK, because that was captured first."""
        s = slot_at(self.slots, slot)
        s.time, s.frame, s.size = segment.time, segment.frame, segment.size
        s.syn_data = min(segment.data, LOW16)
        s.flags &= ~EVIDENCES
        if segment.wired:
            s.flags |= WIRED
        remember_header(s, d, segment.at, segment.size)
        if s.flags & KEPT:
            self.kept.put_first(slot, s)

        return 0

    def oldest_opening(self) -> int:
        """Return the least frame in which an opening that is under way, or may turn out to be one, began."""
        least = MANY
        for slot in range(self.used):
            s = slot_at(self.slots, slot)
            if (s.phase >= P_SYN or (s.flags & EQUAL and s.flags & CANDIDATE)) and s.frame < least:
                least = s.frame
        return int(least)


# What a segment is to such a conversation. These functions look at a slot and a segment, keep the slot's sequence
# numbers, and return what the table has to do (layout.A_...); they begin and end nothing.


def with_itself(s: Slot, segment: Segment) -> int:
    """Return what a segment is to the conversation in this slot."""
    if s.phase >= P_SYN and not s.flags & ENDED:
        return to_opening(s, segment)
    return to_no_opening(s, segment)


def to_opening(s: Slot, segment: Segment) -> int:
    """Return what a segment is to the opening under way."""
    control = segment.flags & CONTROL
    own = s.phase != P_SELF_CONNECT or evidence_of(s) != STANDING  # whether the ISN is known
    if control == SYN:
        if not own or segment.seq != s.isn:
            return A_OPEN
        return A_JOIN if s.phase == P_SELF_CONNECT and evidence_of(s) == BY_SYN_ACK else A_AGAIN
    if control & RST:
        return A_RESET if reset_of_itself(s, segment) else A_NOTHING
    action = A_NOTHING
    if control == SYN | ACK:
        if not own or segment.seq != s.isn:
            if segment.ack == (segment.seq + 1) & LOW32:
                return A_SYN_ACK
            refuse_ack(s, segment)
            return A_EARLY
        if s.phase == P_SELF_SYN:
            if not acknowledges_syn(segment.ack, s.isn, s.syn_data):
                refuse_ack(s, segment)
                return A_EARLY
            action = A_PROOF
        elif not acknowledges_syn(segment.ack, s.isn, s.syn_data):
            track(s, segment, True)
            return A_EARLY
        elif evidence_of(s) == BY_ACK:
            s.flags &= ~EVIDENCES
    elif s.phase == P_SELF_SYN and control & ACK and not control & SYN and acknowledges_itself(s, segment):
        s.flags |= BY_ACK << EVIDENCE
        action = A_PROOF
    advance(s, segment)
    if s.phase == P_SELF_CONNECT or action == A_PROOF:
        track(s, segment, True)
    else:
        refuse_ack(s, segment)
        if s.flags & LENT and not s.flags & LENT_RST and ahead(segment.ack, s.another) and control & ACK:
            s.flags |= LENT_ACKED
    return action


def refuse_ack(s: Slot, segment: Segment) -> int:
    """Note the numbers of a segment that does not acknowledge the SYN. An RST with its ACK's number refuses it."""
    if s.phase != P_SELF_SYN:
        return 0
    known = segment.ack in (s.acked_second, s.isn_second, s.edge_second)
    if segment.flags & ACK and not known and within(segment.ack, s.isn, s.next_first):
        s.edge_second = s.isn_second  # the last three ACK fields are remembered
        s.isn_second = s.acked_second
        s.acked_second = segment.ack
    track(s, segment, True)
    return 0


def acknowledges_itself(s: Slot, segment: Segment) -> bool:
    """Whether a segment acknowledges the SYN in this slot, and no more than what was captured after it."""
    return segment.seq == segment.ack and within(segment.ack, s.isn, s.next_second)


def advance(s: Slot, segment: Segment) -> int:
    """Note up to which number all that the socket sent was captured."""
    beyond = (segment.seq + segment.data + (segment.flags & FIN) - s.next_second) & LOW32
    if 0 < beyond < HALF32 and (s.next_second - segment.seq) & LOW32 < HALF32:
        s.next_second = (s.next_second + beyond) & LOW32
    return 0


def to_no_opening(s: Slot, segment: Segment) -> int:
    """Return what a segment is to a conversation that has no opening under way: none yet, or one that has ended."""
    control = segment.flags & CONTROL
    past = s.phase >= P_SYN or s.flags & PAST != 0
    if control == SYN:
        return A_JOIN if lacks_its_syn(s, segment) and segment.seq == s.isn else A_OPEN
    if control == SYN | ACK:
        if past and segment.seq == s.isn:
            return A_EARLY
        return A_SYN_ACK if segment.ack == (segment.seq + 1) & LOW32 else A_EARLY
    if control & (SYN | RST) or not control & ACK:
        return A_STRAY
    if past and (segment.seq - s.isn) & LOW32 <= (s.next_first - s.isn) & LOW32:
        return A_NOTHING
    if s.flags & CANDIDATE and segment.ack == s.another and segment.seq == s.another and s.another:
        return A_STANDING
    # A keepalive repeats the number before the next one, and has no payload (RFC 9293 3.8.4).
    octets = segment.data or control & FIN or segment.ack == (segment.seq + 1) & LOW32
    return A_CANDIDATE if octets and not lacks_its_syn(s, segment) else A_STRAY


def lacks_its_syn(s: Slot, segment: Segment) -> bool:
    """Whether the opening in this slot, which ended less than a second ago, began with its SYN-ACK."""
    if s.phase != P_SELF_CONNECT or evidence_of(s) != BY_SYN_ACK:
        return False
    return apart(segment.time, s.ended_at) <= SECOND


def end_of_candidate(segment: Segment) -> int:
    """Return the number that acknowledges all of this segment."""
    octets = segment.data + (segment.flags & FIN)
    return (segment.seq + octets) & LOW32 if octets else segment.ack
