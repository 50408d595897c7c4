"""The picture for people: counts first, then each opening as a timeline of what every segment did to the sockets.

At most WIDTH columns. Every text that a capture or a file name brings along passes ``printable``.
"""

from __future__ import annotations

import sys
import textwrap
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, NamedTuple

from ..replay import octets
from ..states import State
from ..text import printable
from ..words import Flag, SequenceNumber, Verdict, spoken

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ..replay import Replay, Step
    from ..report import Entry, Report
    from ..words import CaptureResult, Endpoint, Segment

WIDTH = 100


@contextmanager
def _without_metadata() -> Iterator[None]:
    """Keep importlib.metadata out: tabulate asks it for its own version, and that takes a third of a short run."""
    name = "importlib.metadata"
    if name in sys.modules:
        yield
        return
    stub = ModuleType(name)
    vars(stub).update(version=lambda _: "unknown", PackageNotFoundError=ImportError)
    sys.modules[name] = stub
    try:
        yield
    finally:
        del sys.modules[name]


with _without_metadata():
    from tabulate import tabulate

#: Timelines shown unless more are asked for; the other openings get a line each.
TIMELINES = 8

#: Segments of one run of data that are shown at its start and at its end; those between are folded.
_HEAD, _TAIL = 6, 2

#: Bold, dim, green, yellow, red: what they mark.
_STYLES = {"title": "1", "dim": "2", "change": "32", "inferred": "33", "finding": "31"}


class Style(NamedTuple):
    """How to print: with colour or without, every timeline or the first few, counts only."""

    color: bool = False
    verbose: bool = False
    quiet: bool = False

    def paint(self, style: str, text: str) -> str:
        """*text* in a colour of _STYLES, if there is colour."""
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if self.color and text else text


#: No colour, the first few timelines.
DEFAULT = Style()


def render(report: Report, style: Style = DEFAULT) -> Iterator[str]:
    """The report in pieces of text, each ending in a newline."""
    entries: dict[int, list[Entry]] = {}
    for entry in report.entries:
        entries.setdefault(entry.capture, []).append(entry)
    number = 0
    legend = True
    for place, result in enumerate(report.captures):
        if place:
            yield "\n"
        yield from _capture(result, style)
        if style.quiet:
            continue
        rest = []
        for shown, entry in enumerate(entries.get(place, ())):
            number += 1
            if style.verbose or shown < TIMELINES:
                yield "\n" + _opening(number, entry, style, legend=legend)
                legend = False
            else:
                rest.append((number, entry))
        if rest:
            yield "\n" + _list(rest, style)


# -- a capture: what it is, and how many openings of which kind ----------------------------------------------------


def _capture(result: CaptureResult, style: Style) -> Iterator[str]:
    yield style.paint("title", printable(result.name)) + "\n"
    facts = [f"{result.format}, {_count(result.packets, 'packet')}, {_count(result.segments, 'TCP segment')}"]
    if result.duplicates:
        facts.append(f"{_count(result.duplicates, 'duplicate')} left out (one packet captured twice)")
    facts += [f"{_count(frames, 'frame')} not decoded: {printable(why)}" for why, frames in result.undecoded.items()]
    if result.midstream:
        facts.append(f"{_count(result.midstream, 'conversation')} without a SYN in the capture")
    if result.midstream_to_itself:
        facts.append(f"{_count(result.midstream_to_itself, 'conversation')} with itself that began before the capture")
    if result.evicted:
        facts.append(f"{_count(result.evicted, 'opening')} forgotten before decided: --table was too small")
    yield "".join(line + "\n" for fact in facts for line in _wrap(fact, WIDTH))
    if result.damage:
        text = (
            f"Ends early, at byte {result.damage.offset:,}: {printable(result.damage.reason)}. The part before is here."
        )
        yield "".join(style.paint("finding", line) + "\n" for line in _wrap(text, WIDTH))
    counts = [(verdict.value, f"{count:,}") for verdict, count in result.verdicts.items() if count]
    if counts:
        yield "\n" + _table(counts, ("verdict", "openings"), ("left", "right")) + "\n"
    else:
        asked = ", ".join(verdict.value for verdict in result.verdicts)
        yield (
            "\nNo opening of a TCP connection" + (f" ({asked})" if len(result.verdicts) < len(Verdict) else "") + ".\n"
        )


def _table(rows: Sequence[Sequence[str]], headers: Sequence[str], align: Sequence[str]) -> str:
    # Without disable_numparse what looks like a number would be one, and be printed in another way.
    return tabulate(rows, headers=headers, colalign=align, tablefmt="simple", disable_numparse=True)


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'s' * (number != 1)}"


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_on_hyphens=False) or [""]


# -- openings that get a line each -------------------------------------------------------------------------------


def _list(entries: Sequence[tuple[int, Entry]], style: Style) -> str:
    rows = []
    for number, (_, opening) in entries:
        ends = f"{opening.source} > {opening.destination}"
        if len(ends) > _ENDS:
            ends = f"{opening.source}\n> {opening.destination}"
        rows.append((f"{number}.", opening.verdict.value, str(opening.first_frame), ends))
    headers = ("", "verdict", "frame", "from and to")
    title = style.paint("title", f"{_count(len(rows), 'more opening')}") + " (-v shows each in full)"
    return f"{title}\n{_table(rows, headers, ('right', 'left', 'right', 'left'))}\n"


#: Room for the two ends of an opening in its line.
_ENDS = 58

# -- an opening: who, what came before, the timeline, the close ----------------------------------------------------


def _opening(number: int, entry: Entry, style: Style, *, legend: bool) -> str:
    opening = entry.opening
    account, notes, duration = entry.account()
    title = f"{number}. {opening.verdict}: {opening.source} > {opening.destination}"
    parts = [
        *(style.paint("title", line) for line in _wrap(title, WIDTH)),
        *_wrap(_before(account, duration), WIDTH),
        "",
        _timeline(account, style),
    ]
    if legend:
        parts += [style.paint("dim", line) for line in _wrap(_LEGEND, WIDTH)]
    if bullets := _bullets([*_close(account), *notes]):
        parts += ["", *bullets]
    return "\n".join(parts) + "\n"


#: Said once, under the first timeline.
_LEGEND = "(3.10.7.3): a section of RFC 9293. *: inferred, it follows from the rules but no packet proves it."


def _bullets(texts: Iterable[str]) -> list[str]:
    return [
        line
        for text in texts
        for line in textwrap.wrap(text, WIDTH, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False)
    ]


def _before(account: Replay, duration: int | None) -> str:
    """Who the ends are, what was tried before, how long the handshake took."""
    opening = account.opening
    names = _names(account)
    who = ", ".join(f"{name} is {endpoint}" for endpoint, name in names.items())
    if opening.to_itself:
        who += ", one socket: both ends of the connection are the same"
    text = f"{who}. "
    if opening.refused_before:
        text += f"{_count(opening.refused_before, 'attempt')} to the same destination refused before it"
        if opening.refused_since is not None:
            text += f", in {_time(opening.time - opening.refused_since)}"
        text += ". "
    frames = ", ".join(map(str, account.handshake))
    done = "Handshake" if account.established else "Not completed:"
    word = "frame" if len(account.handshake) == 1 else "frames"
    took = "" if duration is None else f" in {_time(duration)}"
    return text + f"{done} {word} {frames}{took}."


def _names(account: Replay) -> dict[Endpoint, str]:
    return dict(zip(account.sockets, "AB", strict=False))


def _time(nanoseconds: int) -> str:
    """A span of time as people say it, three or four figures: ``14.0 us``, ``1.234 s``."""
    for unit, size, digits in (("us", 1_000, 1), ("ms", 1_000_000, 2)):
        if abs(nanoseconds) < 1000 * size:
            return f"{nanoseconds / size:.{digits}f} {unit}"
    return f"{nanoseconds / 1_000_000_000:,.3f} s"


class _Row(NamedTuple):
    """One line of the timeline: a segment with its steps, or a fold."""

    segment: Segment
    sent: list[Step]
    received: list[Step]

    @property
    def dull(self) -> bool:
        """Whether nothing happens but data and its ACK."""
        flags = self.segment.flags & (Flag.SYN | Flag.FIN | Flag.RST)
        return not flags and not any(step.changes or step.finding for step in (*self.sent, *self.received))


def _timeline(account: Replay, style: Style) -> str:
    names = _names(account)
    start = account.opening.time
    rows = list(_folded(_rows(account), account))
    segments = [row.segment for row in rows if not isinstance(row, str)]
    texts = {segment.frame: _segment(segment, account, names) for segment in segments}
    # tabulate makes a column two wider than its header, and puts two spaces between columns.
    frames = max(len("frame") + 2, *(len(str(segment.frame)) for segment in segments))
    times = max(len("time") + 2, *(len(_time(segment.time - start)) for segment in segments))
    widest = max(len("segment") + 2, *(len(line) for lines in texts.values() for line in lines))
    column = (WIDTH - frames - times - widest - 4 * 2) // 2
    cells: list[tuple[str, ...]] = []
    for row in rows:
        if isinstance(row, str):
            cells.append(("...", "", "\n".join(_wrap(row, widest)), "", ""))
            continue
        frame, time = str(row.segment.frame), _time(row.segment.time - start)
        steps = (_cell(steps, row.segment, names, column, style) for steps in (row.sent, row.received))
        cells.append((frame, time, "\n".join(texts[row.segment.frame]), *steps))
    headers = ("frame", "time", "segment", "the sending socket", "the receiving socket")
    align = ("right", "right", "left", "left", "left")
    return _table(cells, headers, align)


def _rows(account: Replay) -> list[_Row]:
    rows = {segment.frame: _Row(segment, [], []) for segment in account.segments}
    for step in account.steps:
        (rows[step.frame].sent if step.sends else rows[step.frame].received).append(step)
    return list(rows.values())


def _folded(rows: Sequence[_Row], account: Replay) -> Iterator[_Row | str]:
    """The rows, with what is long and dull said in a line."""
    run: list[_Row] = []
    handshake = set(account.handshake)
    omitted = account.opening.omitted
    for row in [*rows, None]:
        if row is not None and row.dull and row.segment.frame not in handshake:
            run.append(row)
            continue
        if len(run) > _HEAD + _TAIL + 1 or (run and omitted and len(run) > _HEAD):
            hidden = run[_HEAD:-_TAIL]
            yield from run[:_HEAD]
            payload = sum(hide.segment.payload for hide in hidden)
            text = f"{_count(len(hidden) + omitted, 'segment')}, {octets(payload)}"
            yield text + (" and more" if omitted else "")
            omitted = 0
            yield from run[-_TAIL:]
        else:
            yield from run
        run = []
        if row is not None:
            yield row


def _segment(segment: Segment, account: Replay, names: dict[Endpoint, str]) -> list[str]:
    """A segment in a few words: flags, relative numbers, the options that matter."""
    ends = f"{names.get(segment.source, '?')} > {names.get(segment.destination, '?')}"
    lines = [f"{ends} {spoken(segment.flags & ~Flag.PSH)}"]
    numbers = f"seq {_relative(segment.seq, account.isn.get(segment.source))}"
    if segment.flags & Flag.ACK:
        numbers += f" ack {_relative(segment.ack, account.isn.get(segment.destination))}"
    lines.append(numbers)
    if segment.payload:
        lines.append(octets(segment.payload))
    if segment.options.sack:
        peer = account.isn.get(segment.destination)
        blocks = " ".join(
            f"{{{_relative(SequenceNumber(left), peer)}:{_relative(SequenceNumber(right), peer)}}}"
            for left, right in segment.options.sack
        )
        lines.append(("D-SACK " if segment.dsack else "SACK ") + blocks)
    if segment.bare_syn and segment.options.tsecr:
        lines.append(f"TSecr {segment.options.tsecr}")
    if segment.options.fast_open is not None:
        lines.append("Fast Open")
    return [part for line in lines for part in _wrap(line, _SEGMENT)]


#: Room for a segment's words in the timeline.
_SEGMENT = 22


def _relative(number: SequenceNumber, isn: SequenceNumber | None) -> str:
    """A sequence number as a distance from *isn*; as it is where none is known, or it lies before that."""
    if isn is None:
        return str(int(number))
    return str(number - isn) if number >= isn else f"{int(number)} (absolute)"


def _cell(steps: Sequence[Step], segment: Segment, names: dict[Endpoint, str], width: int, style: Style) -> str:
    """What a segment did to one socket: the state before and after, and why."""
    if not steps:
        return ""
    lines = []
    name = names[steps[0].endpoint]
    for step in steps:
        if step.changes:
            mark = "*" if step.inferred else ""
            text = f"{name} {step.before} > {step.after}{mark}"
            painted = "inferred" if step.inferred else "change"
            lines += [style.paint(painted, line) for line in _wrap_states(text, width)]
        elif step is steps[0]:
            lines.append(f"{name} {step.before}")
        if step.changes or not _is_dull(step, segment):
            lines += [style.paint("finding" if step.finding else "dim", line) for line in _wrap(_why(step), width)]
    return "\n".join(lines)


def _wrap_states(text: str, width: int) -> list[str]:
    if len(text) <= width:
        return [text]
    before, after = text.split(" > ")
    return [before, f"  > {after}"]


def _why(step: Step) -> str:
    text = step.reason + (f" ({step.section})" if step.section else "")
    return f"{text}; crossed frame {step.after_frame}" if step.after_frame else text


def _is_dull(step: Step, segment: Segment) -> bool:
    """Whether the reason says nothing that the segment does not."""
    if step.finding or not step.section:
        return False
    if step.sends:
        return bool(segment.payload) and step.event == "send data"
    return step.event == "receive ACK" and not segment.payload


# -- the close -----------------------------------------------------------------------------------------------------


#: Where a connection that was opened begins to close.
_OPENED = (State.ESTABLISHED, State.FIN_WAIT_1)


def _close(account: Replay) -> Iterator[str]:
    """How the connection ended, and what that means for a server that wants the port."""
    if not account.established:
        return
    opening = account.opening
    names = _names(account)
    closing = [segment for segment in account.segments if segment.flags & (Flag.FIN | Flag.RST)]
    last = account.segments[-1].frame
    if not closing:
        yield f"No close in the capture: the connection stands at its last frame ({last})."
    for endpoint in account.sockets:
        path = account.state_path(endpoint)
        path = path[next(place for place, state in enumerate(path) if state in _OPENED) :]
        if len(path) > 1:
            yield f"Close of {names[endpoint]}: {' > '.join(path)}."
    waiting = [endpoint for endpoint in account.sockets if account.final_state(endpoint) is State.TIME_WAIT]
    reset = [segment for segment in closing if segment.flags & Flag.RST]
    if opening.to_itself:
        yield from _server_of_itself(account, closed=bool(closing), reset=bool(reset))
    elif waiting:
        ends = " and ".join(names[endpoint] for endpoint in waiting)
        yield f"TIME-WAIT at {ends} keeps this 4-tuple for 2 MSL (60 s on Linux)."
    elif reset:
        yield f"Reset in frame {reset[0].frame}: no TIME-WAIT, the 4-tuple is free at once."


def _server_of_itself(account: Replay, *, closed: bool, reset: bool) -> Iterator[str]:
    port = f"port {account.opening.source.port}"
    state = account.final_state(account.opening.source)
    if state is State.TIME_WAIT:
        yield (
            f"A server that wants {port} cannot have it yet: after this close TIME-WAIT keeps it (60 s on Linux), and "
            f"bind() fails with EADDRINUSE even with SO_REUSEADDR."
        )
    elif reset:
        yield f"A server that wants {port} can have it at once: a reset leaves no TIME-WAIT."
    else:
        still = "while it stands" if not closed else "until this close is complete, and then for TIME-WAIT"
        yield f"A server that wants {port} cannot have it {still}: bind() fails with EADDRINUSE, SO_REUSEADDR or not."
