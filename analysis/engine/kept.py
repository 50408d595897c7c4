"""The segments that are kept of some openings, so that a report can replay them."""

from __future__ import annotations

import cython

from .layout import Finished

if not cython.compiled:
    from .answers import Answers
    from .destinations import packed
    from .interpreted import evidence_of, header_of
    from .layout import (
        ALL,
        FIN,
        FINS,
        FIRST_IS_B,
        FULL,
        KEPT,
        LENT,
        LOW32,
        MAX_KEPT,
        MAX_RETRIED,
        P_SELF_CONNECT,
        RST,
        SETTLED,
        STANDING,
        SYN,
        UNANSWERED_PHASES,
        WIRED,
        Segment,
        Slot,
    )

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..model import Octets
    from .layout import Kept


def remembered(s: Slot) -> Kept:
    """Return the first SYN of the opening in this slot, as a kept segment."""
    return (s.frame, s.time, True, header_of(s), s.syn_data)


class KeptSegments:
    """By slot: the segments of its opening, how many were left out of them, and an early SYN-ACK with what follows it.

    ``count`` and ``early_count`` say how many slots have segments and early segments, ``most`` how many there were at
    one time, at most, and ``retried`` whether any was kept only because its SYN was repeated.
    """

    def __init__(self) -> None:
        self.segments: dict[int, list[Kept]] = {}
        self.omitted: dict[int, int] = {}
        self.early: dict[int, list[Kept]] = {}
        self.count = self.early_count = self.most = 0
        self.retried = False

    def begin(self, slot: int, s: Slot) -> None:
        """From now on keep the segments of the opening in *slot*."""
        s.flags |= KEPT
        self.segments[slot] = []
        self.recount()

    def add_first(self, slot: int, s: Slot) -> None:
        """Add the opening's first SYN, as the slot remembers it."""
        self.segments[slot].append(remembered(s))

    def put_first(self, slot: int, s: Slot) -> None:
        """Put the opening's SYN, as the slot remembers it, before the kept segments: it was captured late."""
        self.segments[slot].insert(0, remembered(s))

    def add(self, slot: int, s: Slot, segment: Segment, d: Octets, first: bool) -> None:
        """Add a segment, or only count it if there are too many.

        Beyond FULL segments those are added that may change a state, beyond ALL none.
        """
        segments = self.segments[slot]
        count = len(segments)
        if count < FULL or (count < ALL and (segment.flags & (SYN | FIN | RST) or s.flags & FINS)):
            header = bytes(d[segment.at : segment.at + segment.size])
            segments.append((segment.frame, segment.time, first, header, segment.data))
        else:
            self.omitted[slot] = self.omitted.get(slot, 0) + 1

    def drop(self, slot: int, s: Slot) -> None:
        """Forget the segments of *slot*."""
        self.segments.pop(slot, None)
        self.count = len(self.segments)
        self.omitted.pop(slot, None)
        s.flags &= ~KEPT

    def add_early(self, slot: int, segment: Segment, d: Octets, first: bool) -> None:
        """Keep an early SYN-ACK for the opening that may follow in *slot*, or the ACK to one that is kept."""
        if slot in self.early or (segment.flags & SYN and self.early_count < MAX_KEPT):
            segments = self.early.setdefault(slot, [])
            if len(segments) < FULL:
                header = bytes(d[segment.at : segment.at + segment.size])
                segments.append((segment.frame, segment.time, first, header, segment.data))
            self.recount()

    def recount(self) -> None:
        """Count what is kept."""
        self.count, self.early_count = len(self.segments), len(self.early)
        self.most = max(self.most, self.count + self.early_count)

    def drop_early(self, slot: int) -> None:
        """Forget what add_early() kept."""
        self.early.pop(slot, None)
        self.early_count = len(self.early)

    def take_early(self, slot: int) -> None:
        """Give what add_early() kept to the opening in *slot*."""
        self.segments[slot] += self.early.pop(slot, [])
        self.early_count = len(self.early)

    def put(self, slot: int, kept: list[Kept] | None, omitted: int, early: list[Kept] | None) -> None:
        """Take over what a part of the capture kept of *slot*."""
        self.early.pop(slot, None)
        if early is not None:
            self.early[slot] = early
        if kept is not None:
            self.segments[slot] = kept
        if omitted:
            self.omitted[slot] = omitted
        self.recount()

    def begin_merge(self) -> int:
        """From now on ``most`` is of this merge; return what it was."""
        before, self.most = self.most, self.count + self.early_count
        return int(before)

    def end_merge(self, before: int, most: int, retried: bool) -> bool:
        """Say how many openings the part that is merged kept at one time; return whether some may be too many.

        The part, which knew nothing of those *before*, kept what the whole would not have kept then.
        """
        most += self.most
        self.most = max(before, most)
        self.retried = self.retried or retried
        return self.most >= (MAX_RETRIED if self.retried else MAX_KEPT)


def handed_on(s: Slot, slot: int, verdict: int, kept: KeptSegments, answers: Answers) -> Finished:
    """Return the opening in *slot* as a Finished."""
    one, two = packed(s.a_high, s.a_low, s.six), packed(s.b_high, s.b_low, s.six)
    one_port, two_port = s.a_port, s.b_port
    if s.flags & FIRST_IS_B:
        one, two = two, one
        one_port, two_port = two_port, one_port
    segments = kept.segments.get(slot)
    segments = [remembered(s)] if segments is None else list(segments)
    evidence = evidence_of(s) if s.phase == P_SELF_CONNECT else -1
    isn = -1 if evidence == STANDING else s.isn
    answer, other, other_port, error = 0, b"", 0, None
    if s.flags & SETTLED and s.flags & LENT:
        answer, other, other_port, _ = answers.lent.get(slot, (0, b"", 0, False))
    elif s.flags & SETTLED:
        error = answers.errors.get(slot)
    misdirected = None
    if answers.missed and UNANSWERED_PHASES >> s.phase & 1:
        misdirected = answers.misdirected(one, one_port, (s.isn + 1) & LOW32, s.frame)
    return Finished(
        verdict,
        one,
        one_port,
        two,
        two_port,
        isn,
        s.frame,
        s.time,
        s.retransmissions,
        s.refused if s.flags & KEPT else 0,
        s.since if s.flags & KEPT else 0,
        kept.omitted.get(slot, 0),
        s.flags & WIRED != 0,
        segments,
        evidence,
        answer,
        other,
        other_port,
        answers.links.get(slot, 0),
        error,
        misdirected,
    )
