"""When each segment of an opening reached its destination, as far as a capture tells: see replay.py, whose half it is.

What a segment takes in sequence space arrived before the first segment by which the other end acknowledges it, and
after each one by which it does not. Segments of one direction do not overtake each other. What nothing acknowledges is
taken to have arrived where nothing speaks against it; against a copy speaks that the first one was not answered.
"""

from __future__ import annotations

from .model import Flag, Verdict
from .records import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from .model import Endpoint, Opening, Segment, SequenceNumber
    from .resets import Ruling


class Seg:
    """A segment taken apart, once: its control bits as truth values, SEG.LEN, and the number after it.

    A retransmission has the same ``again`` as the segment that it repeats; a SYN-ACK is not one of the SYN.
    """

    __slots__ = (
        *("whole", "frame", "source", "destination", "seq", "ack", "payload", "length", "end"),
        *("syn", "fin", "rst", "acks", "control", "bare_syn", "syn_ack", "again"),
    )

    def __init__(self, segment: Segment) -> None:
        flags = segment.flags
        self.whole = segment
        self.frame, self.payload = segment.frame, segment.payload
        self.source, self.destination = segment.source, segment.destination
        self.seq, self.ack = segment.seq, segment.ack
        self.syn, self.fin = bool(flags & _SYN), bool(flags & _FIN)
        self.rst, self.acks = bool(flags & _RST), bool(flags & _ACK)
        self.control = self.syn or self.fin
        self.bare_syn = self.syn and not (self.acks or self.rst or self.fin)
        self.syn_ack = self.syn and self.acks and not (self.rst or self.fin)
        self.length = self.payload + self.syn + self.fin
        self.end = self.seq + self.length
        number, end, ack = int(self.seq), int(self.end), int(self.ack) if self.syn else None
        self.again = (self.source, number, end, ack, self.syn, self.fin, self.acks)


_FIN, _SYN, _RST, _ACK = Flag.FIN, Flag.SYN, Flag.RST, Flag.ACK


#: Verdicts that no RST can have prevented, nor a lost packet: whatever comes of it, they stand.
COMPLETED = frozenset({Verdict.SELF_CONNECT, Verdict.SIMULTANEOUS_OPEN, Verdict.THREE_WAY})


class Arrival(NamedTuple):
    """When a segment reaches its destination: after the send at place ``after``. ``proof`` acknowledges it."""

    after: int
    proof: Seg | None = None
    #: Why it is not taken to have arrived.
    unknown: str = ""


def in_order(opening: Opening) -> list[Seg]:
    """The segments in capture order, but a SYN that was captured after its acknowledgment comes before that."""
    segments = [Seg(segment) for segment in opening.segments]
    for place, syn in enumerate(segments[:]):
        if not syn.bare_syn:
            continue
        for earlier_place, earlier in enumerate(segments[:place]):
            if earlier.source == syn.source and earlier.syn and earlier.seq == syn.seq:
                break  # it is sent again
            if earlier.source == syn.destination and earlier.acks and syn.seq < earlier.ack <= syn.whole.end:
                segments.insert(earlier_place, segments.pop(place))
                break
    return segments


def opens_a_listener(segment: Seg, arrival: Arrival) -> bool:
    """Whether *segment* is a SYN that was taken by a socket which has sent none itself, if that listens."""
    return segment.bare_syn and arrival.proof is not None and not arrival.proof.rst


def is_pure_ack(segment: Seg) -> bool:
    """Whether there is nothing in it but an ACK."""
    return segment.acks and not segment.length and not segment.rst


def strangers(segments: Sequence[Seg]) -> frozenset[int]:
    """The frames of SYN-ACKs with another number than the SYN of the same end: not of this opening (figure 7)."""
    own: dict[Endpoint, set[SequenceNumber]] = {}
    for segment in segments:
        if segment.bare_syn or (segment.syn_ack and segment.source == segment.destination and not own):
            own.setdefault(segment.source, set()).add(segment.seq)
    return frozenset(
        one.frame for one in segments if one.syn_ack and one.source in own and one.seq not in own[one.source]
    )


def plan(segments: Sequence[Seg], rulings: Mapping[int, Ruling], verdict: Verdict) -> list[Arrival]:
    """When each of *segments* reaches its destination, or why that is not known.

    *verdict* speaks where nothing else does: what it counts as the open's SYN-ACK and ACK has arrived.
    """
    strange = strangers(segments)
    found = [one for one in segments if one.frame not in strange] if strange else segments
    arrivals = _plan(found, rulings)
    if verdict in COMPLETED and any(arrival.unknown for arrival in arrivals):
        places = {one: place for place, one in enumerate(found)}
        for needed, chosen in _needed(found, verdict):
            if all(arrivals[places[one]].unknown for one in needed):
                arrivals[places[chosen]] = Arrival(_late(found, chosen))
    if not strange:
        return arrivals
    places = {one: place for place, one in enumerate(segments)}
    known = {
        one: arrival._replace(after=places[found[arrival.after]]) for one, arrival in zip(found, arrivals, strict=True)
    }
    stranger = "not the sender's: its SYN has another sequence number"
    return [known.get(one) or _unknown(place, stranger) for place, one in enumerate(segments)]


def _needed(segments: Sequence[Seg], verdict: Verdict) -> Iterator[tuple[list[Seg], Seg]]:
    """For each arrival without which there is no such verdict, the segments that it can be, and the likeliest."""
    first = segments[0].source if segments else None
    syn_acks = [one for one in segments if one.syn_ack]
    acks = [one for one in segments if one.acks and not (one.syn or one.rst) and one.source == first]
    if verdict is not Verdict.THREE_WAY:
        for end in dict.fromkeys(one.source for one in syn_acks):
            syns = [one for one in segments if one.bare_syn and one.destination == end] or syn_acks
            fit = [one for one in syn_acks if any(syn.seq < one.ack <= syn.end for syn in syns)]
            if its := [one for one in fit if one.source == end]:
                yield its, its[-1]
        return
    if taken := [one for one in syn_acks if any(one.seq < ack.ack for ack in acks)]:
        yield taken, taken[-1]
        third = [ack for ack in acks if ack.frame > taken[0].frame and any(one.seq < ack.ack for one in taken)]
        if third:
            yield third, third[0]


def _late(segments: Sequence[Seg], segment: Seg) -> int:
    """The place after which a segment arrived that was late: the last by which the other end did not know of it."""
    place = segments.index(segment)
    later = [at for at, one in enumerate(segments) if at > place and one.source == segment.destination and one.syn]
    return later[-1] if later else place


def _plan(segments: Sequence[Seg], rulings: Mapping[int, Ruling]) -> list[Arrival]:
    """The same without the verdict."""
    plan = []
    latest: dict[Endpoint, int] = {}
    for place, segment in enumerate(segments):
        if ruling := rulings.get(segment.frame):
            arrival = _arrival_of_rst(segments, place) if ruling.ends else Arrival(place)
        else:
            arrival = _arrival(segments, place) if segment.length else _arrival_of_ack(segments, place)
        if not arrival.unknown:  # segments of one direction do not overtake each other
            after = latest[segment.source] = max(arrival.after, latest.get(segment.source, 0))
            arrival = Arrival(after, arrival.proof)
        plan.append(arrival)
    return plan


def _arrival(segments: Sequence[Seg], place: int) -> Arrival:
    """When a segment arrives that takes sequence space: before the other end first acknowledges it."""
    segment = segments[place]
    silent = place  # the last segment by which the other end has not acknowledged it
    missing = False  # whether one of those would have shown it
    sent = segment.end  # the number after all that its sender has sent by then
    rivals = _rivals(segments, segment)
    limit = next((other.seq for other in rivals if other.seq > segment.seq), None)
    again = None
    for other_place in range(place + 1, len(segments)):
        other = segments[other_place]
        if other.source == segment.destination:
            if _acknowledges(other, segment, sent if limit is None else min(sent, limit)):
                # A SYN that reaches a socket is answered by a SYN-ACK or a RST. Where an ACK answers the SYN-ACK that
                # repeated the SYN, the SYN-ACK is what arrived.
                if again and not (other.syn_ack or other.rst):
                    return _unknown(place, f"lost, or overtaken by frame {again.frame}, which is what was answered")
                return Arrival(silent, proof=other)
            if taken := next((one for one in rivals if other.acks and one.seq < other.ack <= one.end), None):
                return _unknown(place, f"frame {other.frame} acknowledges another SYN-ACK, that in frame {taken.frame}")
            silent = other_place
            # A SYN-ACK answers a SYN; whether a SYN-ACK has arrived it cannot show.
            missing = missing or not (segment.syn_ack and other.syn)
        if other.source == segment.source:
            sent = max(sent, other.end)
            if segment.bare_syn and other.syn_ack and other.seq == segment.seq and other.source != other.destination:
                again = again or other
            elif other.again == segment.again:
                return _unknown(place, f"unanswered when frame {other.frame} repeated it: lost, or late")
    why = _unanswered(segments, place, segments[silent] if missing else None)
    return _unknown(place, why) if why else Arrival(silent)


def _unanswered(segments: Sequence[Seg], place: int, silent: Seg | None) -> str:
    """Why a segment that nothing acknowledges is not taken to have arrived; "" where nothing speaks against it.

    *silent* is the last segment of the other end that would have acknowledged it.
    """
    segment = segments[place]
    if segment.bare_syn:
        if silent and silent.acks:
            return f"frame {silent.frame} answers, but does not acknowledge it"
        return "no answer to it was captured: lost, dropped or ignored"
    if silent:
        return "never acknowledged: lost, or the capture ends too early"
    before = {one.again for one in segments[:place] if one.source == segment.destination and one.bare_syn}
    for other in segments[place + 1 :] if segment.syn_ack else ():
        if other.again in before:
            return f"frame {other.frame} sends the SYN again: lost, late, or not passed to the socket"
    if segment.source == segment.destination:
        return ""
    earlier = next((one for one in segments[:place] if segment.again == one.again), None)
    return f"frame {earlier.frame}, which it repeats, was not answered, and nothing answers it" if earlier else ""


def _rivals(segments: Sequence[Seg], segment: Seg) -> list[Seg]:
    """The SYN-ACKs of the same end that have another sequence number than *segment*, which is one."""
    if not segment.syn_ack:
        return []
    return [one for one in segments if one.syn_ack and one.source == segment.source and one.seq != segment.seq]


def _unknown(place: int, why: str) -> Arrival:
    return Arrival(place, unknown=why)


def _acknowledges(answer: Seg, segment: Seg, sent: SequenceNumber) -> bool:
    """Whether *answer* shows that its sender had *segment*, when all up to *sent* had been sent."""
    if segment.syn_ack and answer.syn:
        return False  # a SYN-ACK answers a SYN; that it acknowledges the same number proves nothing about the SYN-ACK
    if not answer.acks:
        return answer.rst and segment.acks and answer.seq == segment.ack
    if segment.syn:
        return segment.seq < answer.ack <= sent
    return answer.ack >= segment.end  # beyond what was sent, too: there may be a gap in the capture


def _arrival_of_ack(segments: Sequence[Seg], place: int) -> Arrival:
    """When a segment arrives that takes no sequence space: at once, if nothing speaks against it."""
    segment = segments[place]
    acknowledged = {
        other.again
        for other in segments[:place]
        if other.control
        and other.source == segment.destination
        and other.seq < segment.ack
        and other.end <= segment.ack
    }
    for other in segments[place + 1 :] if acknowledged else ():
        if other.again in acknowledged:
            return _unknown(place, f"lost, or late: frame {other.frame} repeats what it acknowledges")
    return Arrival(place)


def _arrival_of_rst(segments: Sequence[Seg], place: int) -> Arrival:
    """When a RST arrives that ends the opening: once the other end has fallen silent."""
    segment = segments[place]
    after = place
    for other_place in range(place + 1, len(segments)):
        other = segments[other_place]
        if other.source == segment.destination and not other.rst:
            after = other_place
    return Arrival(after)


def answers_from_nowhere(answer: Seg | None) -> bool:
    """Whether *answer* is the RST by which a host answers where it has no socket: RST without ACK (3.10.7.1)."""
    return answer is not None and answer.rst and not answer.acks
