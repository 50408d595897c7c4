"""Whether an RST ends an opening (RFC 9293 3.10.7.3, 3.10.7.4, figure 9), and the numbers by which that is told.

An observer may have lost packets: after the SYN-ACK an RST ends the opening unless it is provably outside of what its
receiver accepts. analysis/resets.py has the same rule for the replay, in words.
"""

from __future__ import annotations

import cython

if not cython.compiled:
    from .interpreted import ahead, octets_of_header, u16
    from .layout import (
        ACK,
        ACKED_FIRST,
        ACKED_SECOND,
        CONTROL,
        FIN,
        LOW32,
        P_SELF_SYN,
        SYN,
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


def begin_tracking(s: Slot, segment: Segment, d: Octets) -> None:
    """Note the numbers of the second end's first SYN or SYN-ACK, and the window that the first end's SYN offered."""
    s.next_second = (segment.seq + 1 + segment.data) & LOW32
    s.scale_first = scale_in(octets_of_header(s), 0, s.size)
    s.scale_second = scale_in(d, segment.at, segment.size)
    s.edge_first = (segment.seq + 1 + u16(octets_of_header(s), 14)) & LOW32
    s.flags &= ~(ACKED_FIRST | ACKED_SECOND)
    if segment.flags & ACK:
        s.flags |= ACKED_SECOND
        s.acked_second = segment.ack
        s.edge_second = (segment.ack + segment.window) & LOW32
    else:
        s.edge_second = (s.isn + 1 + segment.window) & LOW32


def track(s: Slot, segment: Segment, first: bool) -> None:
    """Note the numbers of a segment without RST: what its end has sent and acknowledged, what it offers."""
    control = segment.flags & CONTROL
    stop = (segment.seq + segment.data + (1 if control & SYN else control & FIN)) & LOW32
    shift = 0
    if not control & SYN and s.scale_first and s.scale_second:
        shift = (s.scale_first if first else s.scale_second) - 1
    edge = (segment.ack + (segment.window << shift)) & LOW32
    if first:
        if ahead(stop, s.next_first):
            s.next_first = stop
        if control & ACK:
            if not s.flags & ACKED_FIRST or ahead(segment.ack, s.acked_first):
                s.acked_first = segment.ack
                s.flags |= ACKED_FIRST
            if ahead(edge, s.edge_first):
                s.edge_first = edge
    else:
        if ahead(stop, s.next_second):
            s.next_second = stop
        if control & ACK:
            if not s.flags & ACKED_SECOND or ahead(segment.ack, s.acked_second):
                s.acked_second = segment.ack
                s.flags |= ACKED_SECOND
            if ahead(edge, s.edge_second):
                s.edge_second = edge


def reset_fits(s: Slot, segment: Segment, first: bool) -> bool:
    """Whether an RST between two sockets ends their opening; *first* says whether its first end sent it."""
    seq, ack = segment.seq, segment.ack
    answers = segment.flags & ACK != 0
    if UNCROSSED_PHASES >> s.phase & 1:  # the first end is in SYN-SENT
        if first:
            inside = (seq - s.isn - 1) & LOW32 <= (s.next_first - s.isn - 1) & LOW32
            return inside and not (s.flags & ACKED_SECOND and seq == s.acked_second)
        return answers and (ack - s.isn - 1) & LOW32 <= s.syn_data
    if first:
        if not s.flags & ACKED_SECOND and answers and (ack - s.isn_second - 1) & LOW32 <= s.syn_data_second:
            return True
        if ahead(s.acked_second if s.flags & ACKED_SECOND else s.isn + 1, seq):
            return False
        return s.flags & UNTRACKED != 0 or not ahead(seq, s.next_first) or ahead(s.edge_second, seq)
    if not s.flags & ACKED_FIRST and answers and (ack - s.isn - 1) & LOW32 <= s.syn_data:
        return True
    if ahead(s.acked_first if s.flags & ACKED_FIRST else s.isn_second + 1, seq):
        return False
    return s.flags & UNTRACKED != 0 or not ahead(seq, s.next_second) or ahead(s.edge_first, seq)


def reset_of_itself(s: Slot, segment: Segment) -> bool:
    """Whether an RST of a socket to itself ends its opening."""
    seq = segment.seq
    if s.phase == P_SELF_SYN:
        if segment.flags & ACK and (segment.ack - s.isn - 1) & LOW32 <= s.syn_data:
            return True
        inside = (seq - s.isn - 1) & LOW32 <= (s.next_first - s.isn - 1) & LOW32
        return inside and not (s.flags & ACKED_FIRST and seq == s.acked_first)
    if s.flags & ACKED_FIRST and ahead(s.acked_first, seq):
        return False
    return s.flags & UNTRACKED != 0 or not ahead(seq, s.next_first) or ahead(s.edge_first, seq)
