"""What every view says in the same words: spans of time, names of sockets, segments, reasons, how a connection closed.

Plain text without markup. What comes from a capture is numbers and addresses, and the text of capture filters, which
is made safe here; names of files each view escapes in its own way.
"""

from __future__ import annotations

from collections import Counter
from itertools import islice

from ..model import HIDING_NOTHING, Evidence, Flag, SequenceNumber, Verdict, spoken
from ..records import NamedTuple
from ..replay import octets
from ..states import State
from ..text import count, printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from ..model import CaptureResult, Endpoint, Opening, Segment, Unreachable
    from ..replay import Replay, Step
    from ..report import Report
    from ..wireshark import Witness

#: Openings shown in full unless more are asked for; the others get a line each.
TIMELINES = 8

#: Said once, under the first timeline.
LEGEND = "(3.10.7.3): a section of RFC 9293. *: inferred, it follows from the rules but no packet proves it."


def span(nanoseconds: int) -> str:
    """A span of time as people say it, three or four figures: ``14.0 us``, ``1.234 s``."""
    for unit, size, digits in (("us", 1_000, 1), ("ms", 1_000_000, 2)):
        if abs(nanoseconds) < 1000 * size:
            return f"{nanoseconds / size:.{digits}f} {unit}"
    return f"{nanoseconds / 1_000_000_000:,.3f} s"


# -- a capture -----------------------------------------------------------------------------------------------------


def facts(result: CaptureResult) -> Iterator[str]:
    """What the capture is and holds besides openings, one fact a text."""
    yield f"{result.format}, {count(result.packets, 'packet')}, {count(result.segments, 'TCP segment')}"
    yield from _without_segments(result)
    yield from _recorded(result)
    if 2 * result.unread < result.packets:  # where half was not read, what a SYN is missing of may be in there
        if result.midstream:
            yield f"{count(result.midstream, 'conversation')} without a SYN in the capture"
        if result.midstream_to_itself:
            yield (
                f"{count(result.midstream_to_itself, 'conversation')} with equal ends, without a SYN and without "
                "proof: such segments alone prove nothing"
            )
    if result.translated:
        yield f"{count(result.translated, 'pair')} of openings that are two sides of one translated connection"
    if result.left_out:
        yield f"{count(result.left_out, 'more opening')} only counted, not shown: --all shows every one"
    for part in result.parts:
        if part.damage:
            yield f"a gap: {part.name} ends early, at byte {part.damage.offset:,}: {part.damage.reason}"


def _without_segments(result: CaptureResult) -> Iterator[str]:
    """The frames that are no segment of their own, each kind with how many there are."""
    if result.duplicates:
        yield f"{count(result.duplicates, 'duplicate')} left out (the same packet captured again)"
    if result.other:
        frames = sum(result.other.values())
        yield f"{count(frames, 'frame')} without TCP: {_counted(result.other)}"
    for why_not, frames in result.undecoded.items():
        yield f"{count(frames, 'frame')} not decoded: {why_not}"
    for name, frames in result.unknown.items():
        yield f"{count(frames, 'frame')} not looked into: selfconn cannot read {name}"
    if result.cut_to_itself:
        yield _cut_to_itself(result)


def _recorded(result: CaptureResult) -> Iterator[str]:
    """What packets were lost before they were in the file, and which openings may be undecided."""
    if result.recorded_drops:
        yield _dropped(result.recorded_drops)
    if result.narrowed_by:
        yield f"recorded with a filter: {_filters(result)}"
    if result.evicted:
        yield f"{count(result.evicted, 'opening')} forgotten while undecided: --table was too small"
    if result.unsure:
        yield "put together from parts, and not sure to be the same as read in one go: read it in one go (--jobs 1)"


def _counted(kinds: Mapping[str, int]) -> str:
    """Kinds with their numbers, the most frequent first."""
    ordered = sorted(kinds.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{frames:,} {name}" for name, frames in ordered)


def _cut_to_itself(result: CaptureResult) -> str:
    enough = f": with -s {result.needed_snaplen} the recorder keeps them" if result.needed_snaplen else ""
    frames = count(result.cut_to_itself, "frame")
    be = "is" if result.cut_to_itself == 1 else "are"
    return f"{frames} from a socket to itself {be} cut off before the TCP flags{enough}"


def _dropped(packets: int) -> str:
    return f"{count(packets, 'packet')} dropped by the recorder, as the file says"


#: Characters of a capture filter that are shown, and how many filters of many captures.
_FILTER, _FILTERS = 200, 3


def _filters(result: CaptureResult) -> str:
    """The capture filters that may have kept a self-connect out, quoted; they are a stranger's text."""
    safe = (printable(text) for text in result.narrowed_by)
    return " or ".join(f'"{text if len(text) <= _FILTER else text[:_FILTER] + "..."}"' for text in safe)


def damage(result: CaptureResult) -> str:
    """Where the capture ends early and why; "" where it does not."""
    if result.damage is None:
        return ""
    return f"Ends early, at byte {result.damage.offset:,}: {result.damage.reason}. The part before it is analysed."


def unseen(result: CaptureResult) -> Iterator[str]:
    """Why not every opening can have been seen, apart from damage; nothing where the capture is complete."""
    if result.unread:
        missing = {name: frames for name, frames in result.undecoded.items() if name not in HIDING_NOTHING}
        yield (
            f"{result.unread:,} of {count(result.packets, 'frame')} could not be looked into "
            f"({_counted({**missing, **result.unknown})})"
        )
    if result.cut_to_itself:
        yield _cut_to_itself(result)
    if result.recorded_drops:
        yield _dropped(result.recorded_drops)
    if result.evicted:
        yield f"{count(result.evicted, 'opening')} forgotten while undecided"
    if result.unsure:
        yield "put together from parts, and not sure to be the same as read in one go"


def _hidden(result: CaptureResult) -> str:
    """All that may hide an opening: what was not seen, damage, and what a filter left out."""
    reasons = list(unseen(result))
    if result.damage:
        reasons.append(f"it ends early, at byte {result.damage.offset:,}: {result.damage.reason}")
    if any(part.damage for part in result.parts):
        reasons.append("there are gaps in it")
    if result.narrowed_by:
        reasons.append(f"only what its filter lets through was recorded: {_filters(result)}")
    return "; ".join(reasons)


def incomplete(result: CaptureResult) -> str:
    """What an opening may be hidden in, as a sentence; "" where the capture is complete, or damage() says it all."""
    reasons = "; ".join(unseen(result))
    return reasons and f"Not everything was seen: {reasons}."


class PassedOver:
    """Of many captures those that have no openings to show; ``hiding`` has a line for each that may hide one.

    ``filters`` counts the others that were recorded with a filter, by its text.
    """

    def __init__(self) -> None:
        self.captures = 0
        self.hiding: list[str] = []
        self.filters: Counter[str] = Counter()

    def add(self, result: CaptureResult) -> None:
        """Pass over one more."""
        self.captures += 1
        if not result.complete:
            self.hiding.append(f"{printable(result.name)}: {_hidden(result)}")
        elif result.narrowed_by:
            self.filters[_filters(result)] += 1

    def sentences(self) -> Iterator[str]:
        """How many there are of which kind; the last sentence introduces ``hiding``, if there are any."""
        if sound := self.captures - len(self.hiding):
            text = f"{sound:,} of them without an opening of those asked for; -v names them."
            if filtered := self.filters.total():
                kinds = [f"{times:,} with {one}" for one, times in self.filters.most_common(_FILTERS)]
                text += f" {filtered:,} of these were recorded with a filter, which may have kept one out: "
                text += ", ".join(kinds) + (" and others." if len(self.filters) > _FILTERS else ".")
            yield text
        if self.hiding:
            yield (
                f"{len(self.hiding):,} of them without an opening of those asked for in what was seen, which is not "
                "everything:"
            )


def nothing(result: CaptureResult) -> str:
    """What there is to say of a capture without any opening of those that were asked for."""
    asked = ", ".join(verdict.value for verdict in result.verdicts)
    what = "opening of a TCP connection" + (f" ({asked})" if len(result.verdicts) < len(Verdict) else "")
    hidden = _hidden(result)
    if not hidden:
        return f"No {what}."
    if result.unread and result.unread >= result.packets:
        return f"Whether there is an {what} is not known: {hidden}."
    return f"No {what} in what was seen, which is not everything: {hidden}."


def everything_seen(report: Report) -> bool:
    """Whether the captures show all traffic: then what is not in the report did not happen, as far as they tell."""
    return all(result.complete and not result.narrowed_by for result in report.captures)


def remark(report: Report) -> str:
    """What has to be said once under all captures; "" for nothing."""
    if not any(name.startswith("UDP") for name in report.other):
        return ""
    return "UDP is counted here as without TCP: tunnels in it are looked for only on the ports of known tunnels."


# -- an opening ----------------------------------------------------------------------------------------------------


def names(replayed: Replay) -> dict[Endpoint, str]:
    """One letter for each socket, A for the opener; B has two addresses where one of them was translated."""
    found = dict(zip(replayed.sockets, "AB", strict=False))
    other = replayed.opening.answered_by
    return found | {other: "B"} if other else found


def kind(opening: Opening) -> str:
    """What an opening is, as a title: its verdict, and since when where its beginning is not known."""
    return opening.verdict.value + (f" {standing(opening)}" if opening.evidence is Evidence.STANDING else "")


def standing(opening: Opening) -> str:
    """Since when a connection stands whose handshake was not captured; its 4-tuple may have had another one before."""
    return f"since before frame {opening.first_frame}"


#: What is missing of a self-connect's handshake.
_MISSING = {
    Evidence.SYN_ACK: "its SYN was not captured",
    Evidence.ACKNOWLEDGED: "its SYN-ACK was not captured",
    Evidence.STANDING: "connected",
}


def unreachable(error: Unreachable) -> str:
    """An ICMP error by its numbers: ``ICMP type 3, code 13``."""
    return f"{'ICMP' if len(error.sender) == 4 else 'ICMPv6'} type {error.type}, code {error.code}"


def grounds(opening: Opening) -> Iterator[str]:
    """In a few words what the verdict rests on besides the handshake between the two ends; the notes explain it."""
    if opening.evidence in _MISSING:
        frames = proof(opening)
        word = "frame" if len(frames) == 1 else "frames"
        proves = f"{word} {' and '.join(map(str, frames))} prove{'s' * (len(frames) == 1)} it"
        since = f" {standing(opening)}" * (opening.evidence is Evidence.STANDING)
        yield f"{_MISSING[opening.evidence]}{since}, {proves}"
    if opening.answered_by:
        yield f"answered by {opening.answered_by}, as an address was translated"
    if opening.translated_with:
        yield f"the other side of its translation is the opening of frame {opening.translated_with}"
    if error := opening.refused_by:
        yield f"refused by {error.address} in frame {error.frame} ({unreachable(error)})"


def proof(opening: Opening) -> tuple[int, ...]:
    """The frames that prove a self-connect whose handshake is not whole.

    A SYN-ACK proves it alone. Else the proof is a segment and a later one that acknowledges it and continues after it:
    after a SYN any such segment; for a standing one a segment that acknowledges exactly the end of data, FIN or
    keepalive.
    """
    first = next((one for one in opening.segments if one.frame == opening.first_frame), None)
    if first is None or opening.evidence not in (Evidence.ACKNOWLEDGED, Evidence.STANDING):
        return (opening.first_frame,)
    ends = {first.end, first.seq + 1}
    later = (
        one.frame
        for one in opening.segments
        if one.frame > first.frame
        and one.flags & (Flag.ACK | Flag.SYN | Flag.RST) == Flag.ACK
        and one.seq == one.ack
        and (first.bare_syn or one.ack in ends)
    )
    return (opening.first_frame, *islice(later, 1))


def before(replayed: Replay, duration: int | None) -> str:
    """Who the ends are, what was tried before, how long the handshake took."""
    opening = replayed.opening
    letters = names(replayed)
    who = ", ".join(f"{letters[endpoint]} is {endpoint}" for endpoint in replayed.sockets)
    if opening.answered_by not in (None, *replayed.sockets):
        who += f", which answers as {opening.answered_by}"
    if opening.to_itself:
        who += ", one socket: both ends of the connection are the same"
    text = f"{who}. "
    if opening.refused_before:
        text += f"{count(opening.refused_before, 'attempt')} to the same destination refused before it"
        text += first_of_them(opening)
        text += ". "
    if opening.evidence is Evidence.STANDING:
        return f"{text}Connected {standing(opening)}."
    if not replayed.handshake:
        return f"{text}No segment of its handshake was captured."
    frames = ", ".join(map(str, replayed.handshake))
    done = "Handshake" if replayed.established else "Not completed in the capture:"
    word = "frame" if len(replayed.handshake) == 1 else "frames"
    took = "" if duration is None else f" in {span(duration)}"
    return text + f"{done} {word} {frames}{took}."


def refused_earlier(opening: Opening) -> str:
    """How long before an opening the first refused attempt was; "" if that is unknown, or the clock went back."""
    if opening.refused_since is None or opening.refused_since > opening.time:
        return ""
    return span(opening.time - opening.refused_since)


def first_of_them(opening: Opening) -> str:
    """The same as a clause."""
    earlier = refused_earlier(opening)
    return f", the first {earlier} earlier" if earlier else ""


class Row(NamedTuple):
    """One line of the timeline: a segment, what it did to the socket that sent it, and to the one that received it."""

    segment: Segment
    sent: list[Step]
    received: list[Step]

    @property
    def dull(self) -> bool:
        """Whether nothing happens but data and its ACK."""
        flags = self.segment.flags & (Flag.SYN | Flag.FIN | Flag.RST)
        return not flags and not any(step.changes or step.finding for step in (*self.sent, *self.received))


class Fold(NamedTuple):
    """Lines of the timeline that are said in one: their frames, and the one line."""

    frames: tuple[int, ...]
    text: str


#: Segments of one run of data that are shown at its start and at its end; those between are folded.
_HEAD, _TAIL = 6, 2


def timeline(replayed: Replay) -> Iterator[Row | Fold]:
    """The segments of an opening in the order of cause and effect; what is long and dull is folded."""
    lines = {segment.frame: Row(segment, [], []) for segment in replayed.segments}
    for step in replayed.steps:
        (lines[step.frame].sent if step.sends else lines[step.frame].received).append(step)
    run: list[Row] = []
    handshake = set(replayed.handshake)
    omitted = replayed.opening.omitted
    for row in [*lines.values(), None]:
        if row is not None and row.dull and row.segment.frame not in handshake:
            run.append(row)
            continue
        if len(run) > _HEAD + _TAIL + 1 or (run and omitted and len(run) > _HEAD):
            yield from run[:_HEAD]
            yield _fold(run[_HEAD:-_TAIL], omitted)
            omitted = 0
            yield from run[-_TAIL:]
        else:
            yield from run
        run = []
        if row is not None:
            yield row


def _fold(hidden: Sequence[Row], omitted: int) -> Fold:
    payload = sum(row.segment.payload for row in hidden)
    text = f"{count(len(hidden) + omitted, 'segment')}, {octets(payload)}"
    return Fold(tuple(row.segment.frame for row in hidden), text + (" and more" if omitted else ""))


def segment_lines(segment: Segment, replayed: Replay) -> list[str]:
    """A segment in a few short lines: ends and control bits, relative numbers, each option that matters."""
    letters = names(replayed)
    ends = f"{letters.get(segment.source, '?')} > {letters.get(segment.destination, '?')}"
    return [f"{ends} {spoken(segment.flags & ~Flag.PSH)}", *segment_details(segment, replayed)]


def segment_details(segment: Segment, replayed: Replay) -> list[str]:
    """The lines of segment_lines() after the first."""
    numbers = f"seq {relative(segment.seq, replayed.isn.get(segment.source))}"
    if segment.flags & Flag.ACK:
        numbers += f" ack {relative(segment.ack, replayed.isn.get(segment.destination))}"
    lines = [numbers]
    if segment.payload:
        lines.append(octets(segment.payload))
    if segment.options.sack:
        lines.append(sack(segment, replayed))
    if segment.bare_syn and segment.options.tsecr:
        lines.append(f"TSecr {segment.options.tsecr}")
    if segment.options.fast_open is not None:
        lines.append("Fast Open")
    return lines


def sack(segment: Segment, replayed: Replay) -> str:
    """The SACK blocks of a segment that has some: ``D-SACK {0:1}``."""
    peer = replayed.isn.get(segment.destination)
    edges = ([relative(SequenceNumber(edge), peer) for edge in block] for block in segment.options.sack)
    return ("D-SACK " if segment.dsack else "SACK ") + " ".join(f"{{{left}:{right}}}" for left, right in edges)


def relative(number: SequenceNumber, isn: SequenceNumber | None) -> str:
    """A sequence number as a distance from *isn*; as it is where none is known, or it lies before that."""
    if isn is None:
        return str(int(number))
    return str(number - isn) if number >= isn else f"{int(number)} (absolute)"


def why(step: Step) -> str:
    """Why the step came about, with its section of RFC 9293."""
    text = step.reason + (f" ({step.section})" if step.section else "")
    return f"{text}; crossed frame {step.after_frame}" if step.after_frame else text


def is_dull(step: Step, segment: Segment) -> bool:
    """Whether the reason says nothing that the segment does not."""
    if step.finding or not step.section:
        return False
    if step.sends:
        return bool(segment.payload) and step.event == "send data"
    return step.event == "receive ACK" and not segment.payload


# -- the close -----------------------------------------------------------------------------------------------------


#: Where a connection that was opened begins to close.
_OPENED = (State.ESTABLISHED, State.FIN_WAIT_1)


def close(replayed: Replay) -> Iterator[str]:
    """How the connection ended, and what that means for a server that wants the port."""
    if not replayed.established:
        return
    opening = replayed.opening
    letters = names(replayed)
    reset = [segment for segment in replayed.segments if segment.flags & Flag.RST and _ends(segment, replayed)]
    closed = bool(reset) or any(segment.flags & Flag.FIN for segment in replayed.segments)
    if not closed:
        last = "" if opening.omitted else f" ({replayed.segments[-1].frame})"
        yield f"No close in the capture: the connection still stands at its last frame{last}."
    for endpoint in replayed.sockets:
        path = replayed.state_path(endpoint)
        path = path[next(place for place, state in enumerate(path) if state in _OPENED) :]
        if len(path) > 1:
            yield f"Close of {letters[endpoint]}: {' > '.join(path)}."
    waiting = [endpoint for endpoint in replayed.sockets if replayed.final_state(endpoint) is State.TIME_WAIT]
    if opening.to_itself:
        yield from _server_of_itself(replayed, closed=closed, reset=bool(reset))
    elif waiting:
        ends = " and ".join(letters[endpoint] for endpoint in waiting)
        yield f"TIME-WAIT at {ends} keeps this 4-tuple for 2 MSL (60 s on Linux)."
    elif reset:
        yield f"Reset in frame {reset[0].frame}: no TIME-WAIT, the 4-tuple is free at once."


def _ends(rst: Segment, replayed: Replay) -> bool:
    """Whether this RST ends the connection."""
    ruling = replayed.resets.get(rst.frame)
    return ruling is not None and ruling.ends


def _server_of_itself(replayed: Replay, *, closed: bool, reset: bool) -> Iterator[str]:
    port = f"port {replayed.opening.source.port}"
    state = replayed.final_state(replayed.opening.source)
    if state is State.TIME_WAIT:
        yield (
            f"A server that wants {port} cannot have it yet: after this close TIME-WAIT keeps it (60 s on Linux), and "
            f"bind() fails with EADDRINUSE unless both sockets set SO_REUSEADDR."
        )
    elif reset:
        yield f"A server that wants {port} can have it at once: a reset leaves no TIME-WAIT."
    else:
        still = "while it stands" if not closed else "until this close is complete, and then for TIME-WAIT"
        yield (
            f"A server that wants {port} cannot have it {still}: bind() fails with EADDRINUSE unless both sockets set "
            f"SO_REUSEADDR."
        )


# -- the second witness --------------------------------------------------------------------------------------------


class Remark(NamedTuple):
    """One frame that Wireshark remarks on: our reading and its reading, side by side."""

    frame: int
    segment: str
    ours: str
    theirs: str


def remarks(replayed: Replay, said: dict[int, Witness]) -> list[Remark]:
    """The frames of an opening that Wireshark remarks on, with what we say of them."""
    sent = {step.frame: why(step) for step in replayed.steps if step.sends}
    return [
        Remark(segment.frame, segment_lines(segment, replayed)[0], sent.get(segment.frame, ""), ", ".join(witness.says))
        for segment in replayed.segments
        if (witness := said.get(segment.frame)) and witness.says
    ]


def agreement(said: dict[int, Witness], version: str) -> list[str]:
    """Whether Wireshark reads the same fields in the frames of an opening: one sentence, or one for each difference."""
    different = [
        f"Frame {witness.frame}: selfconn reads {difference.field} {difference.ours}, Wireshark {version} reads "
        f"{difference.theirs}. One of the two is wrong: please report it with the capture."
        for witness in said.values()
        for difference in witness.differences
    ]
    frames = f"in {count(len(said), 'frame')}" if said else "in no frame: it was not asked about this opening"
    return different or [
        f"Wireshark {version} reads the same ports, numbers, flags, window and sound options {frames}."
    ]
