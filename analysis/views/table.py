"""The picture for people: counts first, then each opening as a timeline of what every segment did to the sockets.

At most WIDTH columns. Every text that a capture or a file name brings along passes ``printable``.
"""

from __future__ import annotations

import textwrap

from ..model import Verdict
from ..report import entries
from ..text import Style, count, printable
from ..unneeded import without
from .phrases import (
    LEGEND,
    TIMELINES,
    Fold,
    PassedOver,
    agreement,
    before,
    close,
    damage,
    facts,
    incomplete,
    is_dull,
    kind,
    names,
    nothing,
    remark,
    remarks,
    segment_lines,
    span,
    timeline,
    why,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ..model import CaptureResult, Endpoint, Segment
    from ..replay import Replay, Step
    from ..report import Entry, Report

WIDTH = 100


#: What tabulate imports, takes half of a short run, and is needed for nothing that is printed here: its own version,
#: rows that are dataclasses, HTML. What it would have of them.
_UNNEEDED: dict[str, dict[str, object]] = {
    "importlib.metadata": {"version": lambda _: "unknown", "PackageNotFoundError": ImportError},
    "dataclasses": {"is_dataclass": lambda _: False},
    "html": {"escape": None},
}


with without(_UNNEEDED):
    from tabulate import tabulate

#: No colour, the first few timelines.
DEFAULT = Style()


def render(report: Report, style: Style = DEFAULT) -> Iterator[str]:
    """The report in pieces of text, each ending in a newline."""
    number = 0
    legend = True
    many = len(report.captures) > 1
    passed_over = PassedOver()
    for place, result in enumerate(report.captures):
        if many and not style.verbose and not any(result.verdicts.values()):
            passed_over.add(result)
            continue
        if place > passed_over.captures:
            yield "\n"
        yield from _capture(result, style)
        if style.quiet:
            continue
        prepared = report.captures.walks(place)
        yield prepared if isinstance(prepared, str) else walks(result, style)
        rest = []
        for shown, entry in enumerate(entries(place, result)):
            number += 1
            if style.verbose or shown < TIMELINES:
                yield "\n" + _opening(number, entry, style, legend=legend)
                yield from _witness(report, entry, style)
                legend = False
            else:
                rest.append((number, entry))
        if rest:
            yield "\n" + _list(rest, style)
    if many:
        yield from _total(report, passed_over, style)
    if text := remark(report):
        yield "".join(["\n", *(line + "\n" for line in _wrap(text, WIDTH))])


def _total(report: Report, passed_over: PassedOver, style: Style) -> Iterator[str]:
    """The verdicts of all captures together, and how many captures were passed over."""
    if passed_over.captures < len(report.captures):
        yield "\n"
    yield style.paint("title", f"{len(report.captures):,} captures, {report.packets:,} packets") + "\n"
    counts = [(verdict.value, f"{report.count(verdict):,}") for verdict in Verdict if report.count(verdict)]
    if counts:
        yield "\n" + grid(counts, ("verdict", "openings"), ("left", "right")) + "\n"
    for text in passed_over.sentences():
        yield "\n" + "".join(line + "\n" for line in _wrap(text, WIDTH))
    if passed_over.hiding:
        yield "".join(line + "\n" for line in _bullets(passed_over.hiding))


# -- a capture: what it is, and how many openings of which kind ----------------------------------------------------


def _capture(result: CaptureResult, style: Style) -> Iterator[str]:
    yield style.paint("title", printable(result.name)) + "\n"
    yield "".join(line + "\n" for fact in facts(result) for line in _wrap(printable(fact), WIDTH))
    counts = [(verdict.value, f"{number:,}") for verdict, number in result.verdicts.items() if number]
    for text in (damage(result), incomplete(result) if counts else ""):
        if text:
            yield "".join(style.paint("finding", line) + "\n" for line in _wrap(printable(text), WIDTH))
    if counts:
        yield "\n" + grid(counts, ("verdict", "openings"), ("left", "right")) + "\n"
    else:
        yield "\n" + "".join(line + "\n" for line in _wrap(printable(nothing(result)), WIDTH))


#: Port walks shown unless more are asked for.
_WALKS = 2


def walks(result: CaptureResult, style: Style) -> str:
    """The walks through the source ports of refused attempts: what they tell, and a picture in characters."""
    if not result.attempts:
        return ""
    from ..portwalk import look  # noqa: PLC0415 - most captures have none

    lines: list[str] = []
    for shown, walk in enumerate(look(result)):
        if shown == _WALKS and not style.verbose:
            lines += ["", "More walks through source ports: -v shows them."]
            break
        lines += ["", style.paint("title", f"The walk through source ports to {walk.destination}")]
        lines += [line for text in walk.sentences() for line in _wrap(text, WIDTH)]
        lines += ["", *walk.plot()]
    return "".join(line + "\n" for line in lines)


def grid(rows: Sequence[Sequence[str]], headers: Sequence[str], align: Sequence[str]) -> str:
    """Rows under their headers, texts as they are; *align* says ``left`` or ``right`` for each column."""
    # Without disable_numparse what looks like a number would be one, and be printed in another way.
    return tabulate(rows, headers=headers, colalign=align, tablefmt="simple", disable_numparse=True)


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_on_hyphens=False) or [""]


# -- openings that get a line each -------------------------------------------------------------------------------


def _list(entries: Sequence[tuple[int, Entry]], style: Style) -> str:
    rows = []
    for number, (_, opening) in entries:
        ends = f"{opening.source} > {opening.destination}"
        if len(ends) > _ENDS:
            ends = f"{opening.source}\n> {opening.destination}"
        rows.append((f"{number}.", kind(opening), str(opening.first_frame), ends))
    headers = ("", "verdict", "frame", "from and to")
    title = style.paint("title", f"{count(len(rows), 'more opening')}") + " (-v shows each in full)"
    return f"{title}\n{grid(rows, headers, ('right', 'left', 'right', 'left'))}\n"


#: Room for the two ends of an opening in its line.
_ENDS = 58

# -- an opening: who, what came before, the timeline, the close ----------------------------------------------------


def _opening(number: int, entry: Entry, style: Style, *, legend: bool) -> str:
    opening = entry.opening
    replayed, notes, duration = entry.account()
    title = f"{number}. {kind(opening)}: {opening.source} > {opening.destination}"
    parts = [
        *(style.paint("title", line) for line in _wrap(title, WIDTH)),
        *_wrap(before(replayed, duration), WIDTH),
        "",
        _timeline(replayed, style),
    ]
    if legend:
        parts += [style.paint("dim", line) for line in _wrap(LEGEND, WIDTH)]
    if bullets := _bullets([*close(replayed), *notes]):
        parts += ["", *bullets]
    return "\n".join(parts) + "\n"


def _witness(report: Report, entry: Entry, style: Style) -> Iterator[str]:
    """What Wireshark says of the same frames, beside what we say; nothing where it was not asked."""
    said = report.said(entry)
    if said is None or report.witness is None:
        return
    replayed = entry.account().replay
    different = any(witness.differences for witness in said.values())
    for text in agreement(said, report.witness.version):
        yield "\n" + "".join(style.paint("finding" if different else "", line) + "\n" for line in _wrap(text, WIDTH))
    if lines := remarks(replayed, said):
        cells = [(str(line.frame), line.segment, *("\n".join(_wrap(t, _OPINION)) for t in line[2:])) for line in lines]
        headers = ("frame", "segment", "what it is", "what Wireshark makes of it")
        yield "\n" + grid(cells, headers, ("right", "left", "left", "left")) + "\n"


#: Room for each of two readings of a frame.
_OPINION = 34


def _bullets(texts: Iterable[str]) -> list[str]:
    return [
        line
        for text in texts
        for line in textwrap.wrap(text, WIDTH, initial_indent="- ", subsequent_indent="  ", break_on_hyphens=False)
    ]


def _timeline(replayed: Replay, style: Style) -> str:
    letters = names(replayed)
    start = replayed.opening.time
    rows = list(timeline(replayed))
    segments = [row.segment for row in rows if not isinstance(row, Fold)]
    texts = {segment.frame: _segment(segment, replayed) for segment in segments}
    # tabulate makes a column two wider than its header, and puts two spaces between columns.
    frames = max(len("frame") + 2, *(len(str(segment.frame)) for segment in segments))
    times = max(len("time") + 2, *(len(span(segment.time - start)) for segment in segments))
    widest = max(len("segment") + 2, *(len(line) for lines in texts.values() for line in lines))
    column = (WIDTH - frames - times - widest - 4 * 2) // 2
    cells: list[tuple[str, ...]] = []
    for row in rows:
        if isinstance(row, Fold):
            cells.append(("...", "", "\n".join(_wrap(row.text, widest)), "", ""))
            continue
        frame, time = str(row.segment.frame), span(row.segment.time - start)
        steps = (_cell(steps, row.segment, letters, column, style) for steps in (row.sent, row.received))
        cells.append((frame, time, "\n".join(texts[row.segment.frame]), *steps))
    headers = ("frame", "time", "segment", "the sending socket", "the receiving socket")
    align = ("right", "right", "left", "left", "left")
    return grid(cells, headers, align)


def _segment(segment: Segment, replayed: Replay) -> list[str]:
    return [part for line in segment_lines(segment, replayed) for part in _wrap(line, _SEGMENT)]


#: Room for a segment's words in the timeline.
_SEGMENT = 22


def _cell(steps: Sequence[Step], segment: Segment, letters: dict[Endpoint, str], width: int, style: Style) -> str:
    """What a segment did to one socket: the state before and after, and why."""
    if not steps:
        return ""
    lines = []
    for step in steps:
        name = letters[step.endpoint]
        if step.changes:
            mark = "*" if step.inferred else ""
            text = f"{name} {step.before} > {step.after}{mark}"
            painted = "inferred" if step.inferred else "change"
            lines += [style.paint(painted, line) for line in _wrap_states(text, width)]
        elif step is steps[0]:
            lines.append(f"{name} {step.before}")
        if step.changes or not is_dull(step, segment):
            lines += [style.paint("finding" if step.finding else "dim", line) for line in _wrap(why(step), width)]
    return "\n".join(lines)


def _wrap_states(text: str, width: int) -> list[str]:
    if len(text) <= width:
        return [text]
    before, after = text.split(" > ")
    return [before, f"  > {after}"]
