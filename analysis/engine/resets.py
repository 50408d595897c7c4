"""Whether an RST ends an opening (RFC 9293 3.10.7.3, 3.10.7.4, figure 9), and the numbers that decide it.

The capture may lack packets. So after the SYN-ACK an RST ends the opening unless its number is provably outside of what
its receiver accepts. analysis/resets.py has the same rule for the replay.
"""

from __future__ import annotations

import cython

if not cython.compiled:
    from .interpreted import acknowledges_syn, ahead, apart, octets_of_header, u16, within
    from .layout import (
        ACK,
        ACKED_FIRST,
        ACKED_SECOND,
        CONTROL,
        EARLIES,
        EARLY,
        EARLY_FIN_A,
        EARLY_FIN_B,
        EARLY_FROM_A,
        EQUAL,
        FIN,
        FIN_A,
        LOW32,
        P_SELF_SYN,
        P_THREE_WAY,
        SECOND,
        SYN,
        UNACKED_PHASES,
        UNCROSSED_PHASES,
        UNTRACKED,
        Segment,
        Slot,
    )

if not cython.compiled:
    from ..model import Octets


def scale_in(d: Octets, at: int, size: int) -> int:
    """Return the window scale in the options of the TCP header d[at:at+size], and 1; 0 where there is none (RFC 7323).

    A shift of more than 14 counts as 14.
    """
    i = at + 20
    end = at + size
    while i + 2 < end:
        kind = d[i]
        if kind == 0:
            break
        if kind == 1:
            i += 1
            continue
        length = d[i + 1]
        if kind == 3 and length == 3:
            return min(d[i + 2], 14) + 1
        if length < 2:
            break
        i += length
    return 0


def acknowledge(s: Slot, ack: int, edge: int, first: bool) -> int:
    """Note an ACK field of one end, and the right edge of the window that it offers with it."""
    begun = not UNCROSSED_PHASES >> s.phase & 1  # before the second end's SYN, no edge is known
    if first:
        known = s.flags & ACKED_FIRST != 0
        if not known or ahead(ack, s.acked_first):
            s.acked_first = ack
        if not (known or begun) or ahead(edge, s.edge_first):
            s.edge_first = edge
        s.flags |= ACKED_FIRST
    else:
        known = s.flags & ACKED_SECOND != 0
        if not known or ahead(ack, s.acked_second):
            s.acked_second = ack
        if not (known or begun) or ahead(edge, s.edge_second):
            s.edge_second = edge
        s.flags |= ACKED_SECOND
    return 0


def begin_tracking(s: Slot, segment: Segment, d: Octets) -> int:
    """Note the numbers of the second end's first SYN or SYN-ACK, and the window that the first end's SYN offered."""
    s.next_second = end_of(segment)
    s.scale_first = scale_in(octets_of_header(s), 0, s.size)
    s.scale_second = scale_in(d, segment.at, segment.size)
    edge = u16(octets_of_header(s), 14)
    edge = (edge + (s.acked_first if s.flags & ACKED_FIRST else segment.seq + 1)) & LOW32
    if not s.flags & ACKED_FIRST or ahead(edge, s.edge_first):
        s.edge_first = edge
    if segment.flags & ACK:
        return acknowledge(s, segment.ack, (segment.ack + segment.window) & LOW32, False)
    s.another = s.acked_first if s.flags & ACKED_FIRST else segment.seq
    edge = segment.window
    edge = (edge + (s.acked_second if s.flags & ACKED_SECOND else s.isn + 1)) & LOW32
    if not s.flags & ACKED_SECOND or ahead(edge, s.edge_second):
        s.edge_second = edge
    return 0


def end_of(segment: Segment) -> int:
    """Return the sequence number just after a segment."""
    return (segment.seq + segment.data + (1 if segment.flags & SYN else segment.flags & FIN)) & LOW32


def note_unanswered(s: Slot, segment: Segment, first: bool) -> int:
    """Note the numbers of a segment without SYN and RST, or of a SYN-ACK that fits nothing, before any answer."""
    if segment.flags & ACK:
        acknowledge(s, segment.ack, (segment.ack + segment.window) & LOW32, first)
        if not first:
            note_refusable(s, segment.ack, False)
    if first and ahead(end_of(segment), s.next_first):
        s.next_first = end_of(segment)
    return 0


def track(s: Slot, segment: Segment, first: bool) -> int:
    """Note the numbers of a segment without RST: what its end has sent and acknowledged, what it offers.

    Where octets are missing from the capture, they may have offered a larger window: UNTRACKED notes that.
    """
    control = segment.flags & CONTROL
    stop = end_of(segment)
    shift = 0
    if not control & SYN and s.scale_first and s.scale_second:
        shift = (s.scale_first if first else s.scale_second) - 1
    own, other = (s.next_first, s.next_second) if first else (s.next_second, s.next_first)
    if ahead(segment.seq, own) or (control & ACK and ahead(segment.ack, other)):
        s.flags |= UNTRACKED
    if ahead(stop, own):
        if first:
            s.next_first = stop
        else:
            s.next_second = stop
    if control & ACK:
        if UNACKED_PHASES >> s.phase & 1:
            note_refusable(s, segment.ack, first)
        acknowledge(s, segment.ack, (segment.ack + (segment.window << shift)) & LOW32, first)
    return 0


def note_refusable(s: Slot, ack: int, first: bool) -> int:
    """Note an ACK field that acknowledges something that the other end has sent.

    An RST with this number only refuses the segment with that ACK. ``another`` holds the ACK of the first end,
    ``reach`` that of the second one, as long as no SYN-ACK has come.
    """
    if first:
        if within(ack, s.isn_second, s.next_second):
            s.another = ack
    elif within(ack, s.isn, s.next_first):
        s.reach = ack
    return 0


def reset_fits(s: Slot, segment: Segment, first: bool) -> bool:
    """Whether an RST between two sockets ends their opening; *first* says whether its first end sent it."""
    seq, ack = segment.seq, segment.ack
    answers = segment.flags & ACK != 0
    if UNCROSSED_PHASES >> s.phase & 1:  # the first end is in SYN-SENT
        if first:
            inside = within(seq, s.isn, s.next_first)
            return inside and seq != s.reach
        return answers and acknowledges_syn(ack, s.isn, s.syn_data)
    if UNACKED_PHASES >> s.phase & 1 and takes_back(s, seq, first):
        return True
    if first:
        if not s.flags & ACKED_SECOND and answers and acknowledges_syn(ack, s.isn_second, s.syn_data_second):
            return True
        if ahead(s.isn + 1, seq) or (s.flags & ACKED_SECOND and ahead(s.acked_second, seq)):
            return False
        return s.flags & UNTRACKED != 0 or not ahead(seq, s.next_first) or ahead(s.edge_second, seq)
    if not s.flags & ACKED_FIRST and answers and acknowledges_syn(ack, s.isn, s.syn_data):
        return True
    if ahead(s.isn_second + 1, seq) or (s.flags & ACKED_FIRST and ahead(s.acked_first, seq)):
        return False
    return s.flags & UNTRACKED != 0 or not ahead(seq, s.next_second) or ahead(s.edge_first, seq)


def takes_back(s: Slot, seq: int, first: bool) -> bool:
    """Whether an RST with this number, after crossed SYNs, takes its own end's SYN back, and refuses no ACK."""
    if first:
        inside = within(seq, s.isn, s.next_first)
        return inside and seq != s.reach
    inside = within(seq, s.isn_second, s.next_second)
    return inside and seq != s.another


def reset_of_itself(s: Slot, segment: Segment) -> bool:
    """Whether an RST of a socket to itself ends its opening."""
    seq = segment.seq
    if s.phase == P_SELF_SYN:
        if segment.flags & ACK and acknowledges_syn(segment.ack, s.isn, s.syn_data):
            return True
        inside = within(seq, s.isn, s.next_first)
        refused = seq in (s.acked_second, s.isn_second, s.edge_second)
        return inside and not refused
    if s.flags & ACKED_FIRST and ahead(s.acked_first, seq):
        return False
    return s.flags & UNTRACKED != 0 or not ahead(seq, s.next_first) or ahead(s.edge_first, seq)


def begin_numbers(s: Slot, segment: Segment, d: Octets, joined: bool) -> None:
    """Note the numbers of an opening that begins with this SYN, after an early SYN-ACK or of a socket to itself."""
    if s.flags & EQUAL:
        s.next_second = s.next_first
        s.acked_second = s.isn_second = s.edge_second = s.isn
        s.scale_first = s.scale_second = scale_in(d, segment.at, segment.size)
        s.edge_first = (segment.seq + 1 + segment.window) & LOW32
        if joined:
            s.flags |= ACKED_FIRST
            s.acked_first = (s.early_isn + 1) & LOW32
            s.edge_first = (s.acked_first + s.early_reach) & LOW32
    else:
        s.next_second = s.early_end
        s.scale_first = s.scale_second = 0
        s.flags |= ACKED_SECOND | UNTRACKED
        s.acked_second = (s.early_isn + 1) & LOW32
        s.edge_second = (s.acked_second + s.early_reach) & LOW32
        if s.phase == P_THREE_WAY:  # the first end has acknowledged the SYN-ACK
            s.flags |= ACKED_FIRST
            s.acked_first = s.edge_first = (s.isn_second + 1) & LOW32
    if joined:
        s.reach = min(s.early_reach + ((s.early_isn - segment.seq) & LOW32), LOW32)


def acknowledges_early(s: Slot, segment: Segment) -> bool:
    """Whether this ACK is the third of the handshake to the early SYN-ACK in this slot."""
    if not s.flags & EQUAL and segment.from_a == ((s.flags & EARLY_FROM_A) != 0):
        return False
    two = s.early_seq + 1
    return (segment.seq - s.early_isn - 1) & LOW32 < s.early_reach and (segment.ack - two) & LOW32 <= (
        s.early_end - two
    ) & LOW32


def remember_early(s: Slot, segment: Segment) -> int:
    """Remember the numbers of a SYN-ACK that fits no SYN so far."""
    s.flags = (s.flags & ~EARLIES) | EARLY | (EARLY_FROM_A if segment.from_a else 0)
    s.flags &= ~(FIN_A if s.flags & EQUAL else EARLY_FIN_A | EARLY_FIN_B)
    s.before = s.phase
    s.early_isn = (segment.ack - 1) & LOW32
    s.early_seq = segment.seq
    s.early_time = segment.time
    s.early_end = (segment.seq + 1 + segment.data) & LOW32
    s.early_reach = max(segment.window, 1)
    return 0


def answered_early(s: Slot, segment: Segment) -> bool:
    """Whether the early SYN-ACK in this slot answers this SYN, which was captured less than a second from it."""
    acknowledged = (s.early_isn - segment.seq) & LOW32
    if apart(segment.time, s.early_time) > SECOND or acknowledged > segment.data:
        return False
    if s.flags & EQUAL:
        return s.early_seq == segment.seq
    return segment.from_a != ((s.flags & EARLY_FROM_A) != 0)


def all_acknowledged(s: Slot) -> bool:
    """Whether each end has acknowledged all that was captured of the other."""
    if s.flags & EQUAL:
        return not ahead(s.next_first, s.acked_first)
    return not ahead(s.next_second, s.acked_first) and not ahead(s.next_first, s.acked_second)
