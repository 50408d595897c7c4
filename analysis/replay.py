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

from itertools import pairwise

from . import resets
from .arrivals import (
    COMPLETED,
    Arrival,
    Seg,
    answers_from_nowhere,
    in_order,
    is_pure_ack,
    opens_a_listener,
    plan,
    strangers,
)
from .model import NANOSECONDS, Evidence, Flag, SequenceNumber, Verdict, spoken
from .records import NamedTuple
from .resets import Ruling
from .states import TABLE, Event, Row, State, absent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from .model import Endpoint, Opening, Segment


class Step(NamedTuple):
    """What one segment, or one part of it, did to one socket.

    ``frame`` is the segment's. ``sends`` says whether it left the socket (else it reached it). ``after_frame`` is the
    frame that this socket had sent last when the segment reached it, where that was captured later than the segment
    itself (they crossed). ``section`` is one of RFC 9293, or empty where nothing happened that the RFC speaks of.
    ``finding`` marks what the RFC does not allow, ``implied`` what a segment did that was not captured, and that must
    have come before this one.
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
    implied: bool = False

    @property
    def changes(self) -> bool:
        """Whether the socket changed its state."""
        return self.before is not self.after

    @property
    def by_itself(self) -> bool:
        """Whether no segment in the capture did it: the program listens or gives up, or the segment was not captured.

        ``frame`` is then what follows.
        """
        return self.implied or self.event in (Event.PASSIVE_OPEN, Event.DELETE)


class Replay:
    """What is known of one opening.

    ``segments`` are in the order of cause and effect, which is capture order but for a SYN captured after its
    SYN-ACK. ``sockets`` are the distinct endpoints, the opener first. ``isn`` holds the initial sequence number
    of each endpoint whose SYN was seen. ``handshake`` are the frames that belong to the open, to the last ACK.
    ``resets`` says for the frame of each RST whether it ends the opening.
    """

    def __init__(self, opening: Opening, segments: list[Segment], sockets: tuple[Endpoint, ...]) -> None:
        self.opening = opening
        self.segments = segments
        self.sockets = sockets
        self.steps: list[Step] = []
        self.isn: dict[Endpoint, SequenceNumber] = {}
        self.handshake: list[int] = []
        self.resets: dict[int, Ruling] = {}

    @property
    def transitions(self) -> list[Step]:
        """The steps that changed a state, in order."""
        return [step for step in self.steps if step.changes]

    @property
    def findings(self) -> list[Step]:
        """The steps that RFC 9293 does not allow."""
        return [step for step in self.steps if step.finding]

    @property
    def clock_went_back(self) -> list[int]:
        """The frames before which the capture's clock was set back: by more than what packets may be out of order."""
        frames = sorted((segment.frame, segment.time) for segment in self.opening.segments)
        return [frame for (_, before), (frame, then) in pairwise(frames) if before - then > NANOSECONDS]

    @property
    def established(self) -> bool:
        """Whether the open was completed at every socket: to ESTABLISHED, or beyond it by an early FIN."""
        return {step.endpoint for step in self.steps if _opens(step)}.issuperset(self.sockets)

    def state_path(self, endpoint: Endpoint) -> list[State]:
        """Every state of the socket at *endpoint*, in order, CLOSED at the start."""
        return [State.CLOSED] + [step.after for step in self.steps if step.endpoint == endpoint and step.changes]

    def final_state(self, endpoint: Endpoint) -> State:
        """The state in which the capture leaves the socket at *endpoint*."""
        return self.state_path(endpoint)[-1]


_OPEN = frozenset({State.ESTABLISHED, State.FIN_WAIT_2, State.TIME_WAIT})
_OPENS = frozenset({Event.RECEIVE_SYN_ACK, Event.RECEIVE_ACK_OF_SYN})


def _opens(step: Step) -> bool:
    """Whether the open is completed at a socket with this step, or was before."""
    late = step.before is State.FIN_WAIT_1 and step.event in _OPENS and step.section != ""
    return late or (step.changes and step.after in _OPEN)


def replay(opening: Opening) -> Replay:
    """Replay *opening*. Any segments give a replay; what does not fit is in its findings.

    An answer with a translated address (``answered_by``) is that of the other end; where it is not among the segments,
    its SYN-ACK or RST is implied. What belongs to neither end is left out.
    """
    ends = (opening.source, opening.destination)
    if opening.answered_by is None and all(one.source in ends and one.destination in ends for one in opening.segments):
        return _Player(opening).play()
    server = opening.destination if opening.destination != opening.source else opening.answered_by or opening.source
    theirs = {server, opening.destination, opening.answered_by}
    plain = []
    for segment in opening.segments:
        if segment.source == opening.source and segment.destination in theirs:
            plain.append(_between(segment, opening.source, server))
        elif segment.destination == opening.source and segment.source in theirs:
            plain.append(_between(segment, server, opening.source))
    player = _Player(opening._replace(destination=server, answered_by=None, segments=plain))
    if opening.answered_by and not any(one.source == server for one in plain):
        player.answer_elsewhere(opening.answered_by)
    account = player.play()
    account.opening = opening
    if opening.answered_by:
        whole = {segment.frame: segment for segment in opening.segments}
        account.segments = [whole[segment.frame] for segment in account.segments]
    return account


def _between(segment: Segment, source: Endpoint, destination: Endpoint) -> Segment:
    if (segment.source, segment.destination) == (source, destination):
        return segment
    return segment._replace(source=source, destination=destination)


class _Socket:
    """What a socket knows: the variables of RFC 9293 3.3.1 that tell one event from another."""

    iss: SequenceNumber | None = None
    snd_nxt: SequenceNumber | None = None
    syn_acknowledged: bool = False
    syn_sent: bool = False
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
    owed: Seg | None = None
    owed_state: State = State.CLOSED
    #: Whether it has acknowledged the other end's SYN by an ACK of its own.
    greeted: bool = False
    had_fin: bool = False
    #: Its SYN-ACKs with another sequence number than ``iss``: the other end takes one of them.
    rivals: list[Seg]
    #: The octets in the SYN that it received: not every receiver takes them.
    in_syn: int = 0
    #: The frame that made it CLOSED.
    closed_by: int | None = None

    def __init__(self, endpoint: Endpoint, state: State = State.CLOSED, *, passive: bool = False) -> None:
        self.endpoint = endpoint
        self.state = state
        self.passive = passive
        self.rivals = []

    def sending(self, segment: Seg) -> Event:  # noqa: PLR0911 -- one return an event
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

    def stands(self, first: Seg) -> None:
        """Take what *first* tells of a connection to itself that stands already, as if its SYN had come just before."""
        self.state, self.syn_acknowledged, self.greeted = State.ESTABLISHED, True, True
        self.iss = self.irs = first.seq + -1
        self.snd_nxt, self.rcv_nxt = first.end, first.ack if first.acks else None

    def note_sent(self, segment: Seg, event: Event) -> None:
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
            self.syn_sent |= not segment.acks
        if segment.acks:
            self.owed = None
            if self.rcv_nxt is not None and not (segment.syn and segment.ack > self.rcv_nxt + self.in_syn):
                self.rcv_nxt = max(self.rcv_nxt, segment.ack)
        if event is Event.SEND_FIN:
            self.fin_end = segment.end
        if self.snd_nxt is None or segment.end > self.snd_nxt:
            self.snd_nxt = segment.end

    def receiving(self, segment: Seg) -> list[Event]:  # noqa: PLR0911 -- one return a step of the RFC
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

    def _is_outside(self, segment: Seg) -> bool:
        """Whether no part of *segment* lies in the window (RFC 9293 table 6), as far as a capture tells the window."""
        if self.rcv_nxt is None:
            return False
        beyond = not self.syn_acknowledged and segment.seq - self.rcv_nxt >= max(self.first_window, 1)
        return beyond or (segment.end <= self.rcv_nxt if segment.length else segment.seq < self.rcv_nxt)

    def acknowledged_by(self, segment: Seg) -> bool:
        """Whether *segment* acknowledges this socket's SYN for the first time: SND.UNA < SEG.ACK =< SND.NXT."""
        if self.syn_acknowledged or not segment.acks or self.iss is None or self.snd_nxt is None:
            return False
        return self.iss < segment.ack <= self.snd_nxt or self._rival(segment) is not None

    def _rival(self, segment: Seg) -> Seg | None:
        """The SYN-ACK with another sequence number that *segment* acknowledges."""
        return next((one for one in self.rivals if one.seq < segment.ack <= one.end), None)

    def note_received(self, segment: Seg, events: Sequence[Event]) -> None:
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


class _Player:
    """Plays one opening: first the plan (what arrived when), then the table."""

    def __init__(self, opening: Opening) -> None:
        self.segments = in_order(opening)
        whole = [one.whole for one in self.segments]
        ends = dict.fromkeys((opening.source, opening.destination))
        self.replay = Replay(opening, whole, tuple(ends))
        self.sockets = {endpoint: _Socket(endpoint) for endpoint in ends}
        self.rulings = self.replay.resets
        for place, one in enumerate(self.segments):
            if one.rst:
                ruling = _goes_on(self.segments, place, opening)
                earlier = [segment for segment in opening.segments if segment.frame < one.frame]
                self.rulings[one.frame] = ruling or resets.rule(opening, earlier, one.whole)
        self.strange = strangers(self.segments)
        self.plan = plan(self.segments, self.rulings, opening.verdict)
        if opening.refused_by:
            self.plan = [self._refused_by_icmp(one, at) for one, at in zip(self.segments, self.plan, strict=True)]
        self.whose = "its own" if opening.to_itself else "the peer's"
        self.missing = opening.evidence
        self.elsewhere: Seg | None = None
        self.answered_by: Endpoint | None = None
        self.opened: set[Endpoint] = set()  # by the first of the steps, of which so many were seen
        self.seen = 0

    def play(self) -> Replay:
        """Send each segment, then let arrive what arrives before the next one is sent."""
        segments = self.segments
        due: dict[int, list[int]] = {}
        for place, arrival in enumerate(self.plan):
            due.setdefault(arrival.after, []).append(place)
        listener = self._listener()
        if segments:
            self._begin(segments[0])
        for place, segment in enumerate(segments):
            if listener and segment.destination == listener.endpoint:
                self._listen(listener, segment)
                listener = None
            if self.elsewhere and segment.acks and not segment.rst and segment.source == self.elsewhere.destination:
                self._imply_answer(self.elsewhere, segment)
            if self.missing is Evidence.ACKNOWLEDGED and not segment.bare_syn and not segment.rst:
                self._imply_syn_ack(segment, place)
            self.send(segment)
            for arrived in due.get(place, ()):
                self.arrive(segments[arrived], self.plan[arrived], place)
                if self.elsewhere and self.elsewhere.rst and self.plan[arrived].proof is self.elsewhere:
                    self._imply_answer(self.elsewhere, segment)
        return self.replay

    def answer_elsewhere(self, answered_by: Endpoint) -> None:
        """Assume an answer to the SYN in another conversation: a SYN-ACK, or a RST if the opening was refused."""
        opening, segments = self.replay.opening, self.segments
        place = max((place for place, one in enumerate(segments) if one.bare_syn), default=None)
        if place is None:
            return
        syn = segments[place]
        third = next((one for one in segments[place + 1 :] if one.acks and not one.rst), None)
        flags = Flag.RST | Flag.ACK if opening.verdict is Verdict.REFUSED else Flag.SYN | Flag.ACK
        answer = syn.whole._replace(
            source=syn.destination,
            destination=syn.source,
            seq=third.ack + -1 if third else SequenceNumber(0),
            ack=syn.seq + 1,
            flags=flags,
            payload=0,
        )
        self.answered_by, self.elsewhere = answered_by, Seg(answer)
        self.plan[place] = Arrival(place, proof=self.elsewhere)

    def _imply_answer(self, answer: Seg, before: Seg) -> None:
        """The answer that was sent in another conversation reaches the opener, before it sends *before*."""
        server, client = self.sockets[answer.source], self.sockets[answer.destination]
        self.elsewhere = None
        if client.state is not State.SYN_SENT:
            return
        event = Event.RECEIVE_RST if answer.rst else Event.RECEIVE_SYN_ACK
        row = TABLE[client.state, event]
        why = f"{row.reason}, by what {self.answered_by} sends"
        self._imply(client, before, event, row._replace(reason=why))
        if not answer.rst:
            server.note_sent(answer, Event.SEND_SYN_ACK)
            client.owed, client.owed_state = answer, State.SYN_SENT
            client.note_received(answer, [event])

    def _refused_by_icmp(self, segment: Seg, arrival: Arrival) -> Arrival:
        error = self.replay.opening.refused_by
        if error is None or not (segment.bare_syn and arrival.unknown):
            return arrival
        return arrival._replace(unknown=f"not taken: the ICMP error in frame {error.frame} quotes this SYN")

    def _begin(self, first: Seg) -> None:
        """Put the socket of a self-connect whose SYN was not captured into the state that its first segment shows."""
        socket = self.sockets[first.source]
        if self.missing is Evidence.STANDING:
            why = "its handshake was not captured: it stands already"
            self._imply(socket, first, "opened before", Row(State.ESTABLISHED, "", "", why))
            socket.stands(first)
        elif self.missing is Evidence.SYN_ACK and first.syn_ack:
            syn = Seg(first.whole._replace(flags=Flag.SYN, ack=SequenceNumber(0), payload=0))
            for event in (Event.SEND_SYN, Event.RECEIVE_SYN):
                row = TABLE[socket.state, event]
                why = "its SYN was not captured: the SYN-ACK implies it"
                self._imply(socket, first, event, row._replace(reason=why))
            socket.note_sent(syn, Event.SEND_SYN)
            socket.note_received(syn, [Event.RECEIVE_SYN])

    def _imply_syn_ack(self, segment: Seg, place: int) -> None:
        """The SYN-ACK that was not captured: what acknowledges the socket's own SYN came after it."""
        socket = self.sockets[segment.source]
        if socket.state is State.SYN_RECEIVED and not self._drops_syn_ack(socket, place - 1):
            why = "its SYN-ACK was not captured: this segment implies it"
            event = Event.RECEIVE_SYN_ACK
            self._imply(socket, segment, event, TABLE[socket.state, event]._replace(reason=why))
            socket.syn_acknowledged = socket.syn_ack_sent = True
        self.missing = None

    def _imply(self, socket: _Socket, segment: Seg, event: str, row: Row) -> None:
        before, socket.state = socket.state, row.to
        step = Step(segment.frame, str(event), socket.endpoint, before, row.to, row.section, row.reason, sends=True)
        self.replay.steps.append(step._replace(inferred=True, implied=True))

    def _listener(self) -> _Socket | None:
        """The socket that listens from the start: it takes a SYN before it has sent anything itself."""
        if self.replay.opening.to_itself:
            return None
        end = self.replay.opening.destination
        spoken_at = next((place for place, one in enumerate(self.segments) if one.source == end), len(self.segments))
        for one, arrival in zip(self.segments, self.plan, strict=True):
            if one.destination == end and opens_a_listener(one, arrival) and arrival.after < spoken_at:
                return self.sockets[end]
        return None

    def _listen(self, socket: _Socket, segment: Seg) -> None:
        self._step(socket, segment, Event.PASSIVE_OPEN)
        socket.passive = True

    def send(self, segment: Seg) -> None:
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
        if segment.frame in self.strange:
            why = "a SYN-ACK with another sequence number than the SYN of this end: of another socket or connection"
            self._stay(socket, segment, why, finding=True)
            return
        greets = self._greets(socket, segment, event)
        if segment.syn or greets or (ruling and ruling.ends):
            self._into_handshake(segment, even_when_open=greets)
        allowed = self._step(socket, segment, event, reason=_why_sent(socket, segment, event, ruling))
        if allowed or socket.state is not State.CLOSED:  # what no socket can have sent says nothing of one
            socket.greeted |= greets
            socket.note_sent(segment, event)

    def arrive(self, segment: Seg, arrival: Arrival, now: int) -> None:
        """The segment reaches its destination, once the segment at place *now* was sent."""
        socket = self.sockets[segment.destination]
        if arrival.unknown:
            self._stay(socket, segment, arrival.unknown)
            return
        if socket.state is State.CLOSED and socket.iss is None and opens_a_listener(segment, arrival):
            self._listen(socket, segment)
        if gone := socket.state is State.SYN_SENT and segment.syn_ack and answers_from_nowhere(arrival.proof):
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

    def _events(self, socket: _Socket, segment: Seg, now: int) -> list[Event]:
        """Which events it is that *segment* reaches *socket*."""
        if ruling := self.rulings.get(segment.frame):
            return [Event.RECEIVE_RST if ruling.ends else Event.RECEIVE_BAD_RST]
        events = socket.receiving(segment)
        repeats = events == [Event.RECEIVE_SYN_ACK] and socket.irs is not None
        if repeats and (not socket.syn_sent or self._drops_syn_ack(socket, now)):
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
        if not sent or not is_pure_ack(sent[0][1]) or any(one.whole.dsack for _, one in sent[:2]):
            return False
        used = next((place for place, one in sent if not is_pure_ack(one)), len(segments))
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
        segment: Seg,
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

    def _stay(self, socket: _Socket, segment: Seg, reason: str, *, finding: bool = False) -> None:
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

    def _greets(self, socket: _Socket, segment: Seg, event: Event) -> bool:
        """Whether this is the ACK by which a socket answers the other end's SYN: the handshake's last word."""
        pure = event in (Event.SEND_ACK, Event.SEND_EARLY_ACK) and not segment.length
        return pure and not socket.greeted and socket.owed is not None and socket.owed.syn

    def _into_handshake(self, segment: Seg, *, even_when_open: bool) -> None:
        frames = self.replay.handshake
        if segment.frame not in frames and (even_when_open or not self._established()):
            frames.append(segment.frame)

    def _established(self) -> bool:
        """Whether the open was completed at every socket so far; each step is looked at once."""
        steps = self.replay.steps
        self.opened.update(step.endpoint for step in steps[self.seen :] if _opens(step))
        self.seen = len(steps)
        return self.opened.issuperset(self.sockets)


def _goes_on(segments: Sequence[Seg], place: int, opening: Opening) -> Ruling | None:
    """The ruling on a RST of a completed open whose sender goes on as if it had not sent it; None where it does not."""
    sender = segments[place].source
    later = (other for other in segments[place + 1 :] if other.source == sender)
    if opening.verdict not in COMPLETED or all(other.rst or other.syn for other in later):
        return None
    return Ruling(ends=False, why="the connection goes on after it, so it is forged or not meant for it")


def _why_sent(  # noqa: PLR0911 -- one return a reason
    socket: _Socket, segment: Seg, event: Event, ruling: Ruling | None
) -> str:
    """A better reason than the table's for some sends; "" for none."""
    if event is Event.SEND_DATA:
        return f"sends {octets(segment.payload)}"
    if ruling and ruling.refuses and segment.seq != socket.refused_ack:
        return ruling.why
    if event is Event.SEND_SYN_ACK and socket.syn_ack_sent:
        return "answers {whose} SYN once more, with another sequence number"
    own = segment.source == segment.destination  # else its ACK field speaks of the other end's numbers
    if event is Event.SEND_RST and own and socket.state is State.SYN_SENT and socket.acknowledged_by(segment):
        return "a RST that acknowledges the SYN, as a host without a socket sends it (3.10.7.1)"
    owed = socket.owed
    if event is not Event.SEND_ACK or owed is None:
        return ""
    if owed.syn and socket.owed_state is not State.SYN_SENT and owed.syn_ack:
        how = "an ACK with D-SACK" if segment.whole.dsack else "an ACK"
        return f"{{whose}} SYN-ACK repeats a SYN that it has: answered by {how}"
    what = "SYN" if owed.syn else "FIN" if owed.fin else "data"
    return f"acknowledges {{whose}} {what}"


def _why_received(socket: _Socket, segment: Seg, event: Event, replayed: Replay) -> str:
    """A better reason than the table's for some arrivals; "" for none."""
    ruling = replayed.resets.get(segment.frame)
    if ruling and ruling.refuses and socket.state is State.CLOSED:
        return "{whose} RST is for the older connection that it answers (figure 9)"
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
        return f"frame {socket.closed_by} closed this socket: this is of another connection, or it was not closed"
    return absent(state, event)


def octets(number: int) -> str:
    """Spell a number of octets: ``1 octet``, ``5 octets``."""
    return f"{number:,} octet{'s' * (number != 1)}"
