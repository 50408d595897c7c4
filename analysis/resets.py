"""Whether a RST ends the opening that it meets: RFC 9293 3.5.3, 3.10.7.3, 3.10.7.4, as far as packets tell.

RFC 9293 asks the socket that receives it. In SYN-SENT a RST counts if its ACK field acknowledges the SYN; in every
later state if its sequence number lies in the receive window. A capture shows neither the state nor the window, and may
lack packets. So here:

* **In SYN-SENT**, while no SYN-ACK that fits was captured (nor, of a socket that speaks to itself, another proof): a
  RST ends the opening if its ACK field acknowledges the SYN of the end that it goes to, ISN+1 to ISN+1+data; or if it
  comes from an end that sent a SYN (it aborts) and its sequence number lies in [ISN+1, the next number of that end],
  unless it equals an ACK field that the other end sent before: then it refuses that segment
  (``<SEQ=SEG.ACK><CTL=RST>``, figure 9), and the opening goes on.
* **Later** it ends the opening unless it is provably outside what its receiver can accept: its sequence number lies
  before the highest ACK of the receiver, or behind both the sender's next number and every window that the receiver
  offered. A receiver that acknowledged nothing expects the sender's ISN+1, or is in SYN-SENT still: an ACK field that
  acknowledges its SYN suffices then.
* Where packets are missing (octets that were sent or acknowledged) nothing is provably behind: the RST ends the
  opening, and ``unproven`` says so.

Where both ends are equal they are one socket, sender and receiver.

The engine applies the same rule in one pass, so that no timeline contradicts the verdict above it.
"""

from __future__ import annotations

from .model import Evidence, Flag
from .records import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .model import Endpoint, Opening, Segment, SequenceNumber


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
    """Judge *rst*; *earlier* are the segments of *opening* that were captured before it, in order."""
    earlier = [one for one in earlier if not one.flags & Flag.RST]
    sender, receiver = (_End([one for one in earlier if one.source == end]) for end in (rst.source, rst.destination))
    if opening.evidence is Evidence.STANDING or sender.has_answered(receiver) or receiver.has_answered(sender):
        gaps = bool(opening.omitted) or _gaps(earlier)
        return _later(sender, receiver, rst, gaps=gaps, standing=opening.evidence is Evidence.STANDING)
    return _in_syn_sent(sender, receiver, rst)


class _End:
    """What one end has sent that is no RST."""

    def __init__(self, sent: Sequence[Segment]) -> None:
        self.sent = sent
        self.syn = next((one for one in sent if one.flags & Flag.SYN), None)
        self.bare_syn = next((one for one in sent if one.bare_syn), None)
        self.acks = [one for one in sent if one.flags & Flag.ACK]

    def acknowledges(self, other: _End, segment: Segment) -> bool:
        """Whether *segment* acknowledges the SYN of the *other* end, perhaps with the data in it, and no more."""
        syn = other.bare_syn
        return syn is not None and bool(segment.flags & Flag.ACK) and syn.seq < segment.ack <= syn.end

    def has_answered(self, other: _End) -> bool:
        """Whether it has sent a SYN-ACK that fits, or acknowledged itself."""
        own = self.bare_syn.seq if self.bare_syn else None
        if self.sent == other.sent and (own is None or any(self._proves(one) for one in self.acks)):
            return True
        return any(one.syn_ack and own in (None, one.seq) and self.acknowledges(other, one) for one in self.acks)

    def _proves(self, segment: Segment) -> bool:
        """Whether a socket that speaks to itself acknowledges its own SYN by it (evidence ``acknowledged``)."""
        syn = self.bare_syn
        if syn is None or segment.flags & Flag.SYN or segment.seq != segment.ack:
            return False
        reach = syn.end
        for one in self.sent:
            if one.frame < segment.frame and not one.flags & Flag.SYN and syn.seq < one.seq <= reach < one.end:
                reach = one.end
        return syn.seq < segment.seq <= reach


def _in_syn_sent(sender: _End, receiver: _End, rst: Segment) -> Ruling:
    if sender.acknowledges(receiver, rst):
        return Ruling(ends=True)
    syn = sender.bare_syn
    if syn is None:
        return Ruling(ends=False, why="it does not acknowledge the SYN, as a RST must in SYN-SENT (3.10.7.3)")
    refused = [one.frame for one in receiver.acks if one.ack == rst.seq]
    if refused:
        return Ruling(ends=False, why=f"it refuses the segment in frame {refused[-1]} (figure 9)", refuses=True)
    if 1 <= rst.seq - syn.seq <= max(one.end - syn.seq for one in sender.sent):
        return Ruling(ends=True)
    return Ruling(ends=False, why="its sender has not reached its sequence number")


def _later(sender: _End, receiver: _End, rst: Segment, *, gaps: bool, standing: bool) -> Ruling:
    unknown = Ruling(ends=True, why="the capture does not show whether its receiver could accept it", unproven=True)
    if not receiver.sent:
        return unknown
    if receiver.acks:
        expected = receiver.acks[0].ack
        for one in receiver.acks:
            expected = max(expected, one.ack)
    elif sender.syn is None or sender.acknowledges(receiver, rst):
        return Ruling(ends=True)  # the receiver may be in SYN-SENT
    else:
        expected = sender.syn.seq + 1
    if rst.seq < expected:
        return Ruling(ends=False, why="its sequence number lies before the receive window (3.10.7.4)")
    if any(rst.seq <= one.end for one in sender.sent):
        return Ruling(ends=True)
    shift = 14 if standing else _shift(sender, receiver)
    for one in receiver.sent:
        begins = one.ack if one.flags & Flag.ACK else expected
        if rst.seq < begins + (one.window << (0 if one.flags & Flag.SYN else shift)):
            return Ruling(ends=True)
    return unknown if gaps else Ruling(False, "its sequence number lies behind every receive window (3.10.7.4)")


def _shift(sender: _End, receiver: _End) -> int:
    """By how much the receiver's windows are scaled: not at all unless both SYNs had the option (RFC 7323 2.2)."""
    scales = [
        next((syn.options.window_scale for syn in reversed(end.sent) if syn.flags & Flag.SYN), None)
        for end in (sender, receiver)
    ]
    return min(scales[1], 14) if scales[0] is not None and scales[1] is not None else 0


def _gaps(segments: Sequence[Segment]) -> bool:
    """Whether octets are missing that were sent, or acknowledged."""
    following: dict[Endpoint, SequenceNumber] = {}
    for one in segments:
        sent, received = following.get(one.source), following.get(one.destination)
        if sent is not None and one.seq > sent:
            return True
        following[one.source] = one.end if sent is None else max(sent, one.end)
        if one.flags & Flag.ACK and received is not None and one.ack > received:
            return True
    return False
