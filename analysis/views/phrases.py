"""What every view says in the same words: spans of time, names of sockets, segments, reasons, how a connection closed.

Plain text without markup. Nothing here comes from a capture or a file name but numbers and addresses; what does
(names of files, above all) each view escapes in its own way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from ..model import Flag, SequenceNumber, Verdict, spoken
from ..replay import octets
from ..states import State

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..model import CaptureResult, Endpoint, Opening, Segment
    from ..replay import Replay, Step
    from ..wireshark import Witness

#: Openings shown in full unless more are asked for; the others get a line each.
TIMELINES = 8

#: Said once, under the first timeline.
LEGEND = "(3.10.7.3): a section of RFC 9293. *: inferred, it follows from the rules but no packet proves it."


def count(number: int, what: str) -> str:
    """So many of *what*: ``1 packet``, ``2,000 packets``."""
    return f"{number:,} {what}{'s' * (number != 1)}"


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
    if result.duplicates:
        yield f"{count(result.duplicates, 'duplicate')} left out (one packet captured twice)"
    for why_not, frames in result.undecoded.items():
        yield f"{count(frames, 'frame')} not decoded: {why_not}"
    if result.midstream:
        yield f"{count(result.midstream, 'conversation')} without a SYN in the capture"
    if result.midstream_to_itself:
        yield (
            f"{count(result.midstream_to_itself, 'conversation')} with equal ends, without a SYN and without proof: "
            "such segments alone prove nothing"
        )
    if result.evicted:
        yield f"{count(result.evicted, 'opening')} forgotten before decided: --table was too small"
    if result.left_out:
        yield f"{count(result.left_out, 'opening')} more than are shown are only counted; --all shows every one"
    if result.unsure:
        yield "put together from parts of which some could not be decided: read it in one go to be sure"
    for part in result.parts:
        if part.damage:
            yield f"a gap: {part.name} ends early, at byte {part.damage.offset:,}: {part.damage.reason}"


def damage(result: CaptureResult) -> str:
    """Where the capture ends early and why; "" where it does not."""
    if result.damage is None:
        return ""
    return f"Ends early, at byte {result.damage.offset:,}: {result.damage.reason}. The part before is here."


def nothing(result: CaptureResult) -> str:
    """What there is to say of a capture without any opening of those that were asked for."""
    asked = ", ".join(verdict.value for verdict in result.verdicts)
    return "No opening of a TCP connection" + (f" ({asked})" if len(result.verdicts) < len(Verdict) else "") + "."


# -- an opening ----------------------------------------------------------------------------------------------------


def names(replayed: Replay) -> dict[Endpoint, str]:
    """One letter for each socket, A for the opener; B has two addresses where one of them was translated."""
    found = dict(zip(replayed.sockets, "AB", strict=False))
    other = replayed.opening.answered_by
    return found | {other: "B"} if other else found


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
    if not replayed.handshake:
        return f"{text}No segment of its handshake was captured."
    frames = ", ".join(map(str, replayed.handshake))
    done = "Handshake" if replayed.established else "Not completed:"
    word = "frame" if len(replayed.handshake) == 1 else "frames"
    took = "" if duration is None else f" in {span(duration)}"
    return text + f"{done} {word} {frames}{took}."


def first_of_them(opening: Opening) -> str:
    """How long before an opening the first refused attempt was; "" where nobody knows, or the clock went back."""
    if opening.refused_since is None or opening.refused_since > opening.time:
        return ""
    return f", the first {span(opening.time - opening.refused_since)} earlier"


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
    closing = [segment for segment in replayed.segments if segment.flags & (Flag.FIN | Flag.RST)]
    last = replayed.segments[-1].frame
    if not closing:
        yield f"No close in the capture: the connection stands at its last frame ({last})."
    for endpoint in replayed.sockets:
        path = replayed.state_path(endpoint)
        path = path[next(place for place, state in enumerate(path) if state in _OPENED) :]
        if len(path) > 1:
            yield f"Close of {letters[endpoint]}: {' > '.join(path)}."
    waiting = [endpoint for endpoint in replayed.sockets if replayed.final_state(endpoint) is State.TIME_WAIT]
    reset = [segment for segment in closing if segment.flags & Flag.RST]
    if opening.to_itself:
        yield from _server_of_itself(replayed, closed=bool(closing), reset=bool(reset))
    elif waiting:
        ends = " and ".join(letters[endpoint] for endpoint in waiting)
        yield f"TIME-WAIT at {ends} keeps this 4-tuple for 2 MSL (60 s on Linux)."
    elif reset:
        yield f"Reset in frame {reset[0].frame}: no TIME-WAIT, the 4-tuple is free at once."


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
    """One frame of which Wireshark makes something: our reading and its, side by side."""

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
        f"Frame {witness.frame}: we read {difference.field} {difference.ours}, Wireshark {version} reads "
        f"{difference.theirs}. One of the two is wrong: please report it with the capture."
        for witness in said.values()
        for difference in witness.differences
    ]
    frames = f"in {count(len(said), 'frame')}" if said else "in no frame: it was not asked about this opening"
    return different or [f"Wireshark {version} reads the same ports, numbers, flags, window and options {frames}."]
