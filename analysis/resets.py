"""Whether a RST ends the opening that it meets: RFC 9293 3.5.3, 3.10.7.3, 3.10.7.4, as far as packets tell.

RFC 9293 asks the socket that receives it. In SYN-SENT a RST counts if its ACK field acknowledges the SYN; in every
later state if its sequence number lies in the receive window. Whoever reads a capture knows neither the state nor the
window, and may have lost packets. So here:

* **In SYN-SENT**, while no SYN and no fitting SYN-ACK of the other end was captured: a RST *from the other end* ends
  the opening if its ACK field lies in (ISN, ISN+1+data]; one *from the opener* (it aborts) if its sequence number lies
  in [ISN+1, its next number], unless it equals an ACK field that the other end sent before: then it refuses that
  segment (``<SEQ=SEG.ACK><CTL=RST>``, figure 9), and the opening goes on.
* **Later** it ends the opening unless it is provably outside what its receiver can accept: its sequence number lies
  before the highest ACK of the receiver (or the sender's ISN+1), or behind both the sender's next number and every
  window that the receiver offered. A receiver that acknowledged nothing may be in SYN-SENT still: an ACK field that
  acknowledges its SYN suffices then.
* Where packets are missing (a gap, one direction alone) and the check cannot be made, it ends the opening, too;
  ``unproven`` says so.

Where both ends are equal they are one socket: the other end and the opener, sender and receiver.

The engine applies the same rule in one pass, so that no timeline contradicts the verdict above it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from .model import Flag

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .model import Opening, Segment, SequenceNumber


class Ruling(NamedTuple):
    """Whether a RST ends the opening, and why.

    ``refuses``: it does not, for it answers a segment that its sender could not use (figure 9). ``unproven``: it does,
    but packets that would show whether its receiver could accept it are missing.
    """

    ends: bool
    why: str = ""
    refuses: bool = False
    unproven: bool = False


def rule(opening: Opening, earlier: Sequence[Segment], rst: Segment) -> Ruling:
    """Judge *rst*; *earlier* are the segments of *opening* that came before it."""
    known = {end: _End([one for one in earlier if one.source == end]) for end in (opening.source, opening.destination)}
    first, other = known[opening.source], known[opening.destination]
    crossed = not opening.to_itself and any(one.bare_syn for one in other.syns)
    answered = crossed or any(one.syn_ack and first.is_acknowledged_by(one) for one in other.syns)
    if answered or not first.syns:
        return _later(known[rst.source], known[rst.destination], rst, gaps=bool(opening.omitted))
    ruling = _refusal(first, rst) if rst.source == opening.destination else None
    if rst.source == opening.source and not (ruling and ruling.ends):
        ruling = _abort(first, other, rst)
    return ruling or Ruling(ends=False, why="it comes from neither end")


class _End:
    """What one end has sent that is no RST: its SYNs, and what has an ACK field.

    A SYN-ACK with another number than its own SYN is not its own.
    """

    def __init__(self, sent: Sequence[Segment]) -> None:
        own = {one.seq for one in sent if one.bare_syn}
        sent = [one for one in sent if not (one.flags & Flag.RST or (own and one.syn_ack and one.seq not in own))]
        self.syns = [one for one in sent if one.flags & Flag.SYN]
        self.acks = [one for one in sent if one.flags & Flag.ACK]
        #: The lowest number that its SYN may have, and the number after all that it has sent.
        self.isn = min((one.seq for one in self.syns), default=None)
        self.next = max((one.end for one in sent), default=None)

    def is_acknowledged_by(self, segment: Segment) -> bool:
        """Whether the ACK field acknowledges a SYN of this end, perhaps with the data in it, and no more."""
        return bool(segment.flags & Flag.ACK) and any(syn.seq < segment.ack <= syn.end for syn in self.syns)

    def acknowledged_of(self, sender: _End) -> list[SequenceNumber]:
        """The ACK fields of this end that can be true: of what *sender* is known to have sent."""
        return [
            one.ack
            for one in self.acks
            if sender.next is not None and one.ack <= sender.next and (sender.isn is None or one.ack > sender.isn)
        ]


def _refusal(first: _End, rst: Segment) -> Ruling:
    if first.is_acknowledged_by(rst):
        return Ruling(ends=True)
    return Ruling(ends=False, why="it does not acknowledge the SYN, as a RST must in SYN-SENT (3.10.7.3)")


def _abort(first: _End, other: _End, rst: Segment) -> Ruling:
    refused = [one.frame for one in other.acks if one.ack == rst.seq]
    if refused:
        return Ruling(ends=False, why=f"it refuses the segment in frame {refused[-1]} (figure 9)", refuses=True)
    if first.isn is not None and first.next is not None and first.isn + 1 <= rst.seq <= first.next:
        return Ruling(ends=True)
    return Ruling(ends=False, why="its sequence number is not one that the opener has come to")


def _later(sender: _End, receiver: _End, rst: Segment, *, gaps: bool) -> Ruling:
    acknowledged = receiver.acknowledged_of(sender)
    if not acknowledged and receiver.is_acknowledged_by(rst):
        return Ruling(ends=True)  # the receiver may be in SYN-SENT
    begun = [] if sender.isn is None else [sender.isn + 1]
    if any(rst.seq < number for number in (*acknowledged, *begun)):
        return Ruling(ends=False, why="its sequence number lies before the receive window (3.10.7.4)")
    if sender.next is not None and rst.seq <= sender.next:
        return Ruling(ends=True)
    edges = _edges(sender, receiver)
    if any(rst.seq < edge for edge in edges):
        return Ruling(ends=True)
    missing = gaps or not edges or any(sender.next is not None and one.ack > sender.next for one in receiver.acks)
    if missing:
        return Ruling(ends=True, why="whether its receiver could accept it the capture does not show", unproven=True)
    return Ruling(ends=False, why="its sequence number lies behind every receive window (3.10.7.4)")


def _edges(sender: _End, receiver: _End) -> list[SequenceNumber]:
    """The numbers just behind the windows that the receiver offered: in a SYN unscaled (RFC 7323 2.2)."""
    scales = [[one.options.window_scale for one in end.syns] for end in (sender, receiver)]
    scaled = all(any(scale is not None for scale in of_end) for of_end in scales)
    shift = min(14, max(scale or 0 for scale in scales[1])) if scaled else 0
    edges = [one.ack + (one.window << (0 if one.flags & Flag.SYN else shift)) for one in receiver.acks]
    if sender.isn is not None:  # a SYN without ACK offers its window to the SYN that crosses it
        edges += [sender.isn + 1 + one.window for one in receiver.syns if one.bare_syn]
    return edges
