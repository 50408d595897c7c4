"""Replays the segments of one opening through the table in states.py: what became of the socket at each end.

Every segment is a send at its source, then an arrival at its destination. There is one socket an endpoint, so
where both endpoints are equal there is one socket, and a self-connect needs no word of its own.

A capture shows when a segment passed, not when it arrived. What it takes in sequence space arrived before the
first segment by which the other end acknowledges it, and after each one by which it does not: so SYNs and FINs
that crossed are told from those that did not, wherever on the path the capture was made. Segments of one
direction stay in order. What nothing acknowledges is taken to have arrived where nothing speaks against it.

Whether a RST ends the opening is the rule of resets.py, which the verdict follows, too. A SYN-ACK that reaches a socket
in SYN-RECEIVED opens it (figure 7), unless the socket answers as one that dropped it (states.CONTRADICTION).

Marked ``inferred`` is what the capture does not prove: an arrival that nothing acknowledges (a pure ACK, a RST),
and what the table itself marks so.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

from . import resets
from .model import Flag, Verdict, spoken
from .resets import Ruling
from .states import TABLE, Event, State, absent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from .model import Endpoint, Opening, Segment, SequenceNumber


class Step(NamedTuple):
    """What one segment, or one part of it, did to one socket.

    ``frame`` is the segment's. ``sends`` says whether it left the socket (else it reached it). ``after_frame`` is
    the frame that this socket had sent last when the segment reached it, where that was captured later than the
    segment itself (they crossed). ``section`` is one of RFC 9293, or empty where nothing happened that the RFC
    speaks of. ``finding`` marks what the RFC does not allow.
    """

    frame: int
    event: str
    endpoint: Endpoint
    before: State
    after: State
    section: str
    reason: str
    sends: bool
    inferred: bool = False
    finding: bool = False
    after_frame: int | None = None

    @property
    def changes(self) -> bool:
        """Whether the socket changed its state."""
        return self.before is not self.after

    @property
    def by_itself(self) -> bool:
        """Whether no segment did it: the program listens, or gives up. ``frame`` is then what follows."""
        return self.event in (Event.PASSIVE_OPEN, Event.DELETE)


@dataclass(slots=True)
class Replay:
    """What is known of one opening.

    ``segments`` are in the order of cause and effect, which is capture order but for a SYN captured after its
    SYN-ACK. ``sockets`` are the distinct endpoints, the opener first. ``isn`` holds the initial sequence number
    of each endpoint whose SYN was seen. ``handshake`` are the frames that belong to the open, to the last ACK.
    ``resets`` says for the frame of each RST whether it ends the opening.
    """

    opening: Opening
    segments: list[Segment]
    sockets: tuple[Endpoint, ...]
    steps: list[Step] = field(default_factory=list)
    isn: dict[Endpoint, SequenceNumber] = field(default_factory=dict)
    handshake: list[int] = field(default_factory=list)
    resets: dict[int, Ruling] = field(default_factory=dict)

    @property
    def transitions(self) -> list[Step]:
        """The steps that changed a state, in order."""
        return [step for step in self.steps if step.changes]

    @property
    def findings(self) -> list[Step]:
        """The steps that RFC 9293 does not allow."""
        return [step for step in self.steps if step.finding]

    @property
    def established(self) -> bool:
        """Whether the open was completed at every socket: to ESTABLISHED, or beyond it by an early FIN."""
        return all(_OPEN & set(self.state_path(endpoint)) for endpoint in self.sockets)

    def state_path(self, endpoint: Endpoint) -> list[State]:
        """Every state of the socket at *endpoint*, in order, CLOSED at the start."""
        return [State.CLOSED] + [step.after for step in self.steps if step.endpoint == endpoint and step.changes]

    def final_state(self, endpoint: Endpoint) -> State:
        """The state in which the capture leaves the socket at *endpoint*."""
        return self.state_path(endpoint)[-1]


_OPEN = frozenset({State.ESTABLISHED, State.FIN_WAIT_2, State.TIME_WAIT})


def replay(opening: Opening) -> Replay:
    """Replay *opening*. Any segments give a replay; what does not fit is in its findings."""
    return _Player(opening).play()


class _Seg:
    """A segment taken apart, once: its control bits as truth values, SEG.LEN, and the number after it."""

    __slots__ = (
        *("whole", "frame", "source", "destination", "seq", "ack", "payload", "length", "end"),
        *("syn", "fin", "rst", "acks", "control", "bare_syn", "syn_ack"),
    )

    def __init__(self, segment: Segment) -> None:
        flags = int(segment.flags)  # enum's own arithmetic takes longer than all the rest
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


_FIN, _SYN, _RST, _ACK = int(Flag.FIN), int(Flag.SYN), int(Flag.RST), int(Flag.ACK)


@dataclass(slots=True)
class _Socket:
    """What a socket knows: the variables of RFC 9293 3.3.1 that tell one event from another."""

    endpoint: Endpoint
    state: State = State.CLOSED
    passive: bool = False
    iss: SequenceNumber | None = None
    snd_nxt: SequenceNumber | None = None
    syn_acknowledged: bool = False
    syn_ack_sent: bool = False
    fin_end: SequenceNumber | None = None
    fin_acknowledged: bool = False
    irs: SequenceNumber | None = None
    rcv_nxt: SequenceNumber | None = None
    #: What its SYN or SYN-ACK offered: never scaled (RFC 7323 2.2).
    first_window: int = 0
    #: The ACK field that it could not accept, while it has not answered.
    refused_ack: SequenceNumber | None = None
    #: The last segment with SYN, FIN or data that it has not answered yet, and the state in which it arrived.
    owed: _Seg | None = None
    owed_state: State = State.CLOSED
    #: Whether it has acknowledged the other end's SYN by an ACK of its own.
    greeted: bool = False
    had_fin: bool = False
    #: Its SYN-ACKs with another sequence number than ``iss``: the other end takes one of them.
    rivals: list[_Seg] = field(default_factory=list)
    #: The octets in the SYN that it received: not every receiver takes them.
    in_syn: int = 0
    #: The frame that made it CLOSED.
    closed_by: int | None = None

    def sending(self, segment: _Seg) -> Event:  # noqa: PLR0911 -- one return an event
        """Which event it is that *segment* leaves this socket."""
        if segment.rst:
            answers = not segment.acks and segment.seq == self.refused_ack
            return Event.ANSWER_RST if answers else Event.SEND_RST
        if segment.syn:
            again = self.iss == segment.seq and (self.syn_ack_sent if segment.acks else True)
            if again and self.iss is not None:
                return Event.RETRANSMIT
            return Event.SEND_SYN_ACK if segment.acks else Event.SEND_SYN
        if self.iss is None:
            return Event.SEND_EARLY_ACK
        if segment.length and self.snd_nxt is not None and segment.end <= self.snd_nxt:
            return Event.RETRANSMIT
        if segment.fin:
            return Event.SEND_FIN
        return Event.SEND_DATA if segment.payload else Event.SEND_ACK

    def note_sent(self, segment: _Seg, event: Event) -> None:
        """Remember what *segment* tells of this socket, which sent it."""
        if segment.rst:
            self.refused_ack = None
            return
        if segment.syn and self.iss not in (None, segment.seq):
            if segment.syn_ack:
                self.rivals.append(segment)
            return  # somebody else's, or of another connection
        if segment.syn:
            self.iss = segment.seq
            self.first_window = segment.whole.window
            self.syn_ack_sent |= segment.acks
        if segment.acks:
            self.owed = None
            if self.rcv_nxt is not None:
                self.rcv_nxt = max(self.rcv_nxt, segment.ack)
        if event is Event.SEND_FIN:
            self.fin_end = segment.end
        if self.snd_nxt is None or segment.end > self.snd_nxt:
            self.snd_nxt = segment.end

    def receiving(self, segment: _Seg) -> list[Event]:  # noqa: PLR0911 -- one return a step of the RFC
        """Which events it is, in turn, that *segment*, which is no RST, reaches this socket (RFC 9293 3.10.7)."""
        acknowledges_syn = self.acknowledged_by(segment)
        if segment.acks and not self.syn_acknowledged and not acknowledges_syn:
            return [Event.RECEIVE_BAD_ACK]
        if segment.syn:
            if acknowledges_syn and self.irs in (None, segment.seq):
                return [Event.RECEIVE_SYN_ACK]
            if self.irs is None:
                return [Event.RECEIVE_SYN]
            return [Event.RECEIVE_UNACCEPTABLE if self.irs == segment.seq else Event.RECEIVE_OTHER_SYN]
        if self._is_outside(segment):
            again = self.had_fin and segment.fin and segment.end == self.rcv_nxt
            return [Event.RECEIVE_FIN_AGAIN if again else Event.RECEIVE_UNACCEPTABLE]
        if not segment.acks:
            return [Event.RECEIVE_NO_ACK]
        events = []
        if acknowledges_syn:
            events.append(Event.RECEIVE_ACK_OF_SYN)
        if self.fin_end is not None and not self.fin_acknowledged and segment.ack >= self.fin_end:
            events.append(Event.RECEIVE_ACK_OF_FIN)
        if segment.fin:
            events.append(Event.RECEIVE_FIN)
        return events or [Event.RECEIVE_ACK]

    def _is_outside(self, segment: _Seg) -> bool:
        """Whether no part of *segment* lies in the window (RFC 9293 table 6), as far as a capture tells the window."""
        if self.rcv_nxt is None:
            return False
        beyond = not self.syn_acknowledged and segment.seq - self.rcv_nxt >= max(self.first_window, 1)
        return beyond or (segment.end <= self.rcv_nxt if segment.length else segment.seq < self.rcv_nxt)

    def acknowledged_by(self, segment: _Seg) -> bool:
        """Whether *segment* acknowledges this socket's SYN for the first time: SND.UNA < SEG.ACK =< SND.NXT."""
        if self.syn_acknowledged or not segment.acks or self.iss is None or self.snd_nxt is None:
            return False
        return self.iss < segment.ack <= self.snd_nxt or self._rival(segment) is not None

    def _rival(self, segment: _Seg) -> _Seg | None:
        """The SYN-ACK with another sequence number that *segment* acknowledges."""
        return next((one for one in self.rivals if one.seq < segment.ack <= one.end), None)

    def note_received(self, segment: _Seg, events: Sequence[Event]) -> None:
        """Remember what *segment* tells of the other end."""
        if Event.RECEIVE_SYN_ACK in events or (Event.RECEIVE_ACK_OF_SYN in events and self.irs is not None):
            self.syn_acknowledged = True  # an ACK that comes before any SYN is dropped, and counts for nothing
            if taken := self._rival(segment):
                self.iss, self.snd_nxt = taken.seq, taken.end
        if Event.RECEIVE_ACK_OF_FIN in events:
            self.fin_acknowledged = True
        self.had_fin |= Event.RECEIVE_FIN in events and self.irs is not None
        if Event.RECEIVE_BAD_ACK in events:
            self.refused_ack = segment.ack
            return
        if segment.rst:
            return
        if segment.syn:
            if self.irs is None:  # data in a SYN is taken for new when it comes again: not every receiver takes it
                self.irs, self.rcv_nxt, self.in_syn = segment.seq, segment.seq + 1, segment.payload
        elif segment.acks and segment.length and self.rcv_nxt is not None and segment.end > self.rcv_nxt:
            self.rcv_nxt = segment.end


class _Arrival(NamedTuple):
    """When a segment reaches its destination: after the send at place ``after``. ``proof`` acknowledges it."""

    after: int
    proof: _Seg | None = None
    #: Why it is not taken to have arrived.
    unknown: str = ""


class _Player:
    """Plays one opening: first the plan (what arrived when), then the table."""

    def __init__(self, opening: Opening) -> None:
        whole = _in_order(opening)
        ends = dict.fromkeys((opening.source, opening.destination))
        self.replay = Replay(opening, whole, tuple(ends))
        self.sockets = {endpoint: _Socket(endpoint) for endpoint in ends}
        self.segments = [_Seg(segment) for segment in whole]
        self.rulings = self.replay.resets
        for place, segment in enumerate(whole):
            if segment.flags & Flag.RST:
                self.rulings[segment.frame] = _goes_on(self.segments, place, opening) or resets.rule(
                    opening, whole[:place], segment
                )
        self.plan = _plan(self.segments, self.rulings)
        self.whose = "its own" if opening.to_itself else "the peer's"

    def play(self) -> Replay:
        """Send each segment, then let arrive what arrives before the next one is sent."""
        segments = self.segments
        due: dict[int, list[int]] = {}
        for place, arrival in enumerate(self.plan):
            due.setdefault(arrival.after, []).append(place)
        listener = self._listener()
        for place, segment in enumerate(segments):
            if listener and segment.destination == listener.endpoint:
                self._listen(listener, segment)
                listener = None
            self.send(segment)
            for arrived in due.get(place, ()):
                self.arrive(segments[arrived], self.plan[arrived], place)
        return self.replay

    def _listener(self) -> _Socket | None:
        """The socket that listens from the start: it takes a SYN before it has sent anything itself."""
        if self.replay.opening.to_itself:
            return None
        end = self.replay.opening.destination
        spoken_at = next((place for place, one in enumerate(self.segments) if one.source == end), len(self.segments))
        for one, arrival in zip(self.segments, self.plan, strict=True):
            if one.destination == end and _opens_a_listener(one, arrival) and arrival.after < spoken_at:
                return self.sockets[end]
        return None

    def _listen(self, socket: _Socket, segment: _Seg) -> None:
        self._step(socket, segment, Event.PASSIVE_OPEN)
        socket.passive = True

    def send(self, segment: _Seg) -> None:
        """The segment leaves its source."""
        socket = self.sockets[segment.source]
        event = socket.sending(segment)
        ruling = self.rulings.get(segment.frame)
        if segment.syn:
            self.replay.isn.setdefault(segment.source, segment.seq)
        if ruling and ruling.refuses:
            event = Event.ANSWER_RST
        if ruling and ruling.ends:
            event = Event.SEND_RST
        elif ruling and event is not Event.ANSWER_RST:
            self._stay(socket, segment, f"this RST ends nothing: {ruling.why}", finding=True)
            return
        greets = self._greets(socket, segment, event)
        if segment.syn or greets or (ruling and ruling.ends):
            self._into_handshake(segment, even_when_open=greets)
        allowed = self._step(socket, segment, event, reason=_why_sent(socket, segment, event, ruling))
        if allowed or socket.state is not State.CLOSED:  # what no socket can have sent says nothing of one
            socket.greeted |= greets
            socket.note_sent(segment, event)

    def arrive(self, segment: _Seg, arrival: _Arrival, now: int) -> None:
        """The segment reaches its destination, once the segment at place *now* was sent."""
        socket = self.sockets[segment.destination]
        if arrival.unknown:
            self._stay(socket, segment, arrival.unknown)
            return
        if socket.state is State.CLOSED and socket.iss is None and _opens_a_listener(segment, arrival):
            self._listen(socket, segment)
        if gone := socket.state is State.SYN_SENT and segment.syn_ack and _answers_from_nowhere(arrival.proof):
            self._step(socket, segment, Event.DELETE)
        events = self._events(socket, segment, now)
        if segment.length and not gone:
            socket.owed, socket.owed_state = segment, socket.state
        crossed = self.segments[now].frame if self.segments[now] is not segment else None
        for event in events:
            was = socket.state
            reason = _why_received(socket, segment, event, self.replay)
            self._step(socket, segment, event, reason=reason, inferred=arrival.proof is None, after_frame=crossed)
            if socket.state is State.ESTABLISHED and was is not State.ESTABLISHED:
                self._into_handshake(segment, even_when_open=True)
        socket.note_received(segment, events)
        if socket.rivals and socket.syn_acknowledged and socket.iss is not None:
            self.replay.isn[socket.endpoint] = socket.iss

    def _events(self, socket: _Socket, segment: _Seg, now: int) -> list[Event]:
        """Which events it is that *segment* reaches *socket*."""
        if ruling := self.rulings.get(segment.frame):
            return [Event.RECEIVE_RST if ruling.ends else Event.RECEIVE_BAD_RST]
        events = socket.receiving(segment)
        if events == [Event.RECEIVE_SYN_ACK] and socket.irs is not None and self._drops_syn_ack(socket, now):
            return [Event.RECEIVE_UNACCEPTABLE]
        return events

    def _drops_syn_ack(self, socket: _Socket, now: int) -> bool:
        """Whether the socket answers a SYN-ACK as one that cannot use it: by an ACK without D-SACK, where SACK is on.

        An ACK that opens the socket must follow, which may be this very one.
        """
        segments, end = self.segments, socket.endpoint
        syns = [one.whole for one in segments if one.syn]
        if not all(syn.options.sack_permitted for syn in syns):
            return False
        sent = [(place, one) for place, one in enumerate(segments[now + 1 :]) if one.source == end and not one.syn]
        if not sent or not _is_pure_ack(sent[0][1]) or any(one.whole.dsack for _, one in sent[:2]):
            return False
        used = next((place for place, one in sent if not _is_pure_ack(one)), len(segments))
        return any(
            one.destination == end
            and one.acks
            and not (one.syn or one.rst)
            and socket.iss is not None
            and one.ack > socket.iss
            and place < used
            for place, one in enumerate(segments[now + 1 :])
        )

    def _step(  # noqa: PLR0913 -- the fields of a step
        self,
        socket: _Socket,
        segment: _Seg,
        event: Event,
        *,
        reason: str = "",
        inferred: bool = False,
        after_frame: int | None = None,
    ) -> bool:
        """Look the event up in the table, and move the socket; tell whether the table allows it."""
        row = TABLE.get((socket.state, event))
        before = socket.state
        if row:
            socket.state = row.passive if row.passive and socket.passive else row.to
        if socket.state is State.CLOSED and (socket.state is not before or event is Event.SEND_RST):
            socket.closed_by = segment.frame
        if socket.state is not before and before is State.SYN_RECEIVED and socket.state is State.LISTEN:
            self.sockets[socket.endpoint] = _Socket(socket.endpoint, State.LISTEN, passive=True)
        text = f"{event} {spoken(segment.whole.flags & ~Flag.PSH)}" if event is Event.RETRANSMIT else event.value
        self.replay.steps.append(
            Step(
                segment.frame,
                text,
                socket.endpoint,
                before,
                socket.state,
                row.section if row else "",
                (reason or row.reason).format(whose=self.whose) if row else _why_not(socket, before, event),
                event.is_send,
                inferred or (row is not None and row.inferred),
                row is None,
                after_frame,
            )
        )
        return row is not None

    def _stay(self, socket: _Socket, segment: _Seg, reason: str, *, finding: bool = False) -> None:
        """Record that nothing is known to have happened."""
        event = f"{'send' if finding else 'receive'} {spoken(segment.whole.flags & ~Flag.PSH)}"
        self.replay.steps.append(
            Step(
                segment.frame,
                event,
                socket.endpoint,
                socket.state,
                socket.state,
                "",
                reason,
                finding,
                not finding,
                finding,
            )
        )

    def _greets(self, socket: _Socket, segment: _Seg, event: Event) -> bool:
        """Whether this is the ACK by which a socket answers the other end's SYN: the handshake's last word."""
        pure = event in (Event.SEND_ACK, Event.SEND_EARLY_ACK) and not segment.length
        return pure and not socket.greeted and socket.owed is not None and socket.owed.syn

    def _into_handshake(self, segment: _Seg, *, even_when_open: bool) -> None:
        frames = self.replay.handshake
        if segment.frame not in frames and (even_when_open or not self.replay.established):
            frames.append(segment.frame)


def _in_order(opening: Opening) -> list[Segment]:
    """The segments in capture order, but a SYN that was captured after its acknowledgment comes before that."""
    segments = list(opening.segments)
    for place, syn in enumerate(opening.segments):
        if not syn.bare_syn:
            continue
        for earlier_place, earlier in enumerate(segments[:place]):
            if earlier.source == syn.source and earlier.flags & Flag.SYN and earlier.seq == syn.seq:
                break  # it is sent again
            if earlier.source == syn.destination and earlier.flags & Flag.ACK and syn.seq < earlier.ack <= syn.end:
                segments.insert(earlier_place, segments.pop(place))
                break
    return segments


def _opens_a_listener(segment: _Seg, arrival: _Arrival) -> bool:
    """Whether *segment* is a SYN that was taken by a socket which has sent none itself, if that listens."""
    return segment.bare_syn and arrival.proof is not None and not arrival.proof.rst


def _is_pure_ack(segment: _Seg) -> bool:
    return segment.acks and not segment.length and not segment.rst


def _plan(segments: Sequence[_Seg], rulings: Mapping[int, Ruling]) -> list[_Arrival]:
    """When each of *segments* reaches its destination, or why that is not known."""
    plan = []
    latest: dict[Endpoint, int] = {}
    for place, segment in enumerate(segments):
        if ruling := rulings.get(segment.frame):
            arrival = _arrival_of_rst(segments, place) if ruling.ends else _Arrival(place)
        else:
            arrival = _arrival(segments, place) if segment.length else _arrival_of_ack(segments, place)
        if not arrival.unknown:  # segments of one direction do not overtake each other
            after = latest[segment.source] = max(arrival.after, latest.get(segment.source, 0))
            arrival = _Arrival(after, arrival.proof)
        plan.append(arrival)
    return plan


def _arrival(segments: Sequence[_Seg], place: int) -> _Arrival:
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
                return _Arrival(silent, proof=other)
            if why := _against(segments, place, other, rivals):
                return _unknown(place, why)
            silent = other_place
            # A SYN-ACK answers a SYN; whether a SYN-ACK has arrived it cannot show.
            missing = missing or not (segment.syn_ack and other.syn)
        if other.source == segment.source:
            sent = max(sent, other.end)
            if segment.bare_syn and other.syn_ack and other.seq == segment.seq:
                again = again or other
            elif _repeats(other, segment):
                return _unknown(place, f"unanswered when frame {other.frame} repeated it: lost, or late")
    why = _unanswered(segments, place, segments[silent] if missing else None)
    return _unknown(place, why) if why else _Arrival(silent)


def _against(segments: Sequence[_Seg], place: int, other: _Seg, rivals: Sequence[_Seg]) -> str:
    """Why *other*, from the other end and no proof, says that a SYN-ACK did not arrive; "" where it does not."""
    taken = next((one for one in rivals if other.acks and one.seq < other.ack <= one.end), None)
    if taken:
        return f"frame {other.frame} acknowledges another SYN-ACK, that in frame {taken.frame}"
    if segments[place].syn_ack and other.bare_syn and any(_repeats(other, one) for one in segments[:place]):
        return f"frame {other.frame} sends the SYN again: lost, late, or not passed to the socket"
    return ""


def _unanswered(segments: Sequence[_Seg], place: int, silent: _Seg | None) -> str:
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
    earlier = next((one for one in segments[:place] if _repeats(segment, one)), None)
    return f"frame {earlier.frame}, which it repeats, was not answered, and nothing answers it" if earlier else ""


def _rivals(segments: Sequence[_Seg], segment: _Seg) -> list[_Seg]:
    """The SYN-ACKs of the same end that have another sequence number than *segment*, which is one."""
    if not segment.syn_ack:
        return []
    return [one for one in segments if one.syn_ack and one.source == segment.source and one.seq != segment.seq]


def _unknown(place: int, why: str) -> _Arrival:
    return _Arrival(place, unknown=why)


def _repeats(segment: _Seg, earlier: _Seg) -> bool:
    """Whether *segment* is a retransmission of *earlier*; a SYN-ACK is not one of the SYN."""
    return (
        segment.source == earlier.source
        and segment.seq == earlier.seq
        and segment.end == earlier.end
        and (segment.syn, segment.fin, segment.acks) == (earlier.syn, earlier.fin, earlier.acks)
    )


def _acknowledges(answer: _Seg, segment: _Seg, sent: SequenceNumber) -> bool:
    """Whether *answer* shows that its sender had *segment*, when all up to *sent* had been sent."""
    if segment.syn_ack and answer.syn:
        return False  # a SYN-ACK answers a SYN; that it acknowledges the same number proves nothing about the SYN-ACK
    if not answer.acks:
        return answer.rst and segment.acks and answer.seq == segment.ack
    if segment.syn:
        return segment.seq < answer.ack <= sent
    return answer.ack >= segment.end  # beyond what was sent, too: there may be a gap in the capture


def _arrival_of_ack(segments: Sequence[_Seg], place: int) -> _Arrival:
    """When a segment arrives that takes no sequence space: at once, if nothing speaks against it."""
    segment = segments[place]
    acknowledged = [
        other
        for other in segments[:place]
        if other.control
        and other.source == segment.destination
        and other.seq < segment.ack
        and other.end <= segment.ack
    ]
    for other in segments[place + 1 :] if acknowledged else ():
        if any(_repeats(other, earlier) for earlier in acknowledged):
            return _unknown(place, f"lost, or late: frame {other.frame} repeats what it acknowledges")
    return _Arrival(place)


def _arrival_of_rst(segments: Sequence[_Seg], place: int) -> _Arrival:
    """When a RST arrives that ends the opening: once the other end has fallen silent."""
    segment = segments[place]
    after = place
    for other_place in range(place + 1, len(segments)):
        other = segments[other_place]
        if other.source == segment.destination and not other.rst:
            after = other_place
    return _Arrival(after)


#: Verdicts that no RST can have prevented: whatever comes of it, they stand.
_COMPLETED = frozenset({Verdict.SELF_CONNECT, Verdict.SIMULTANEOUS_OPEN, Verdict.THREE_WAY})


def _goes_on(segments: Sequence[_Seg], place: int, opening: Opening) -> Ruling | None:
    """The ruling on a RST of a completed open whose sender goes on as if it had not sent it; None where it does not."""
    sender = segments[place].source
    later = (other for other in segments[place + 1 :] if other.source == sender)
    if opening.verdict not in _COMPLETED or all(other.rst or other.syn for other in later):
        return None
    return Ruling(ends=False, why="the connection goes on after it, so it is forged or not meant for it")


def _answers_from_nowhere(answer: _Seg | None) -> bool:
    """Whether *answer* is the RST by which a host answers where it has no socket: RST without ACK (3.10.7.1)."""
    return answer is not None and answer.rst and not answer.acks


def _why_sent(  # noqa: PLR0911 -- one return a reason
    socket: _Socket, segment: _Seg, event: Event, ruling: Ruling | None
) -> str:
    """A better reason than the table's for some sends; "" for none."""
    if event is Event.SEND_DATA:
        return f"sends {octets(segment.payload)}"
    if ruling and ruling.refuses and segment.seq != socket.refused_ack:
        return ruling.why
    if event is Event.SEND_SYN_ACK and socket.syn_ack_sent:
        return "answers {whose} SYN once more, with another sequence number"
    if event is Event.SEND_RST and socket.state is State.SYN_SENT and socket.acknowledged_by(segment):
        return "a RST that acknowledges the SYN, as where no socket is (3.10.7.1)"
    owed = socket.owed
    if event is not Event.SEND_ACK or owed is None:
        return ""
    if owed.syn and socket.owed_state is not State.SYN_SENT and owed.syn_ack:
        how = "an ACK with D-SACK" if segment.whole.dsack else "an ACK"
        return f"{{whose}} SYN-ACK repeats a SYN that it has: answered by {how}"
    what = "SYN" if owed.syn else "FIN" if owed.fin else "data"
    return f"acknowledges {{whose}} {what}"


def _why_received(socket: _Socket, segment: _Seg, event: Event, replayed: Replay) -> str:
    """A better reason than the table's for some arrivals; "" for none."""
    ruling = replayed.resets.get(segment.frame)
    if ruling and ruling.refuses and socket.state is State.CLOSED:
        return "{whose} RST ends the older connection that it answers (figure 9)"
    if event is Event.RECEIVE_UNACCEPTABLE and segment.syn_ack and socket.state is State.SYN_RECEIVED:
        return "{whose} SYN-ACK repeats a SYN that it has: dropped, and answered by an ACK"
    if event is not Event.RECEIVE_ACK:
        return ""
    if not segment.payload:
        return "{whose} ACK"
    arrived = f"{octets(segment.payload)} arrive{'s' * (segment.payload == 1)}"
    if socket.in_syn and socket.irs is not None and socket.rcv_nxt == socket.irs + 1 == segment.seq:
        return f"{arrived}, as for the first time: those in the SYN were not acknowledged"
    return f"its own {arrived}: the socket reads what it wrote" if replayed.opening.to_itself else arrived


def _why_not(socket: _Socket, state: State, event: Event) -> str:
    """Why it is a finding that *event* happened in *state*."""
    if state is State.CLOSED and socket.closed_by is not None:
        return f"this socket was closed by frame {socket.closed_by}: from another connection, or it was not"
    return absent(state, event)


def octets(number: int) -> str:
    """Spell a number of octets: ``1 octet``, ``5 octets``."""
    return f"{number:,} octet{'s' * (number != 1)}"
