"""The report in Markdown, as forges render it (GitHub Flavored Markdown): to paste into a ticket or a pull request.

Addresses and whatever comes from a file name stand in code spans, where nothing is markup, a mention or an emoji.
Each opening has its Mermaid diagram.
"""

from __future__ import annotations

import re

from ..report import entries
from ..text import count, printable
from . import mermaid
from .phrases import (
    LEGEND,
    TIMELINES,
    Fold,
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


def render(report: Report, *, verbose: bool = False) -> Iterator[str]:
    """The report in pieces of text: the first few openings of each capture in full, all of them where *verbose*."""
    number = 0
    legend = LEGEND
    for place, result in enumerate(report.captures):
        if place:
            yield "\n"
        yield from _capture(result)
        openings = entries(place, result)
        shown = len(openings) if verbose else TIMELINES
        for entry in openings[:shown]:
            number += 1
            yield from _opening(number, entry, report, legend)
            legend = ""
        if rest := openings[shown:]:
            yield f"\n{count(len(rest), 'more opening')} (`-v` shows each in full):\n\n"
            yield from _table(
                ("", "verdict", "frame", "from", "to"), "r-r--", map(_line, range(number + 1, 1 << 60), rest)
            )
            number += len(rest)
    if text := remark(report):
        yield f"\n{escape(text)}\n"


def code(text: str) -> str:
    """*text* as a code span, where nothing in it is markup."""
    text = printable(text) or " "
    fence = "`" * (1 + max(map(len, re.findall("`+", text)), default=0))
    pad = " " if text[0] in "` " or text[-1] in "` " else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def escape(text: str) -> str:
    """*text* as text: what could be markup is escaped."""
    return re.sub(r"([\\`*_\[\]<|~#$&])", r"\\\1", printable(text))


def _sentence(text: str, ends: Iterable[Endpoint]) -> str:
    """*text* escaped, the endpoints in it as code."""
    addresses = sorted({re.escape(str(end)) for end in ends}, key=len, reverse=True)
    pieces = re.split(f"({'|'.join(addresses)})", text)
    return "".join(code(piece) if place % 2 else escape(piece) for place, piece in enumerate(pieces))


def _table(headers: Sequence[str], align: str, rows: Iterable[Sequence[str]]) -> Iterator[str]:
    """A table; *align* has an ``r`` for each column that is aligned to the right. Cells are markup already."""
    marks = ("--:" if where == "r" else "---" for where in align)
    for cells in (headers, marks, *rows):
        yield f"| {' | '.join(cells)} |\n"


def _capture(result: CaptureResult) -> Iterator[str]:
    yield f"## {code(result.name)}\n\n"
    yield "".join(f"- {escape(fact)}\n" for fact in facts(result))
    counts = [(verdict.value, f"{number:,}") for verdict, number in result.verdicts.items() if number]
    for text in (damage(result), incomplete(result) if counts else ""):
        if text:
            yield f"- **{escape(text)}**\n"
    yield "\n"
    if counts:
        yield from _table(("verdict", "openings"), "-r", counts)
    else:
        yield escape(nothing(result)) + "\n"


def _line(number: int, entry: Entry) -> tuple[str, ...]:
    opening = entry.opening
    ends = (code(str(opening.source)), code(str(opening.destination)))
    return (f"{number}.", kind(opening), str(opening.first_frame), *ends)


def _opening(number: int, entry: Entry, report: Report, legend: str) -> Iterator[str]:
    opening = entry.opening
    replayed, notes, duration = entry.account()
    yield f"\n### {number}. {kind(opening)}: {code(str(opening.source))} > {code(str(opening.destination))}\n\n"
    yield _sentence(before(replayed, duration), filter(None, (*replayed.sockets, opening.answered_by))) + "\n\n"
    headers = ("frame", "time", "segment", "the sending socket", "the receiving socket")
    yield from _table(headers, "rr---", _timeline(replayed))
    if legend:
        yield f"\n{escape(legend)}\n"
    if bullets := [*close(replayed), *notes]:
        yield "\n" + "".join(f"- {escape(text)}\n" for text in bullets)
    yield f"\n```mermaid\n{mermaid.diagram(replayed)}```\n"
    said = report.said(entry)
    if said is not None and report.witness is not None:
        yield "".join(f"\n{escape(text)}\n" for text in agreement(said, report.witness.version))
        if lines := remarks(replayed, said):
            columns = ("frame", "segment", "what it is", "what Wireshark makes of it")
            yield "\n"
            yield from _table(columns, "r---", ((str(line[0]), *map(escape, line[1:])) for line in lines))


def _timeline(replayed: Replay) -> Iterator[tuple[str, ...]]:
    letters = names(replayed)
    for row in timeline(replayed):
        if isinstance(row, Fold):
            yield "...", "", escape(row.text), "", ""
            continue
        segment = row.segment
        lines = "<br>".join(map(escape, segment_lines(segment, replayed)))
        steps = (_cell(steps, segment, letters) for steps in (row.sent, row.received))
        yield str(segment.frame), span(segment.time - replayed.opening.time), lines, *steps


def _cell(steps: Sequence[Step], segment: Segment, letters: dict[Endpoint, str]) -> str:
    """What a segment did to one socket: the state before and after, and why."""
    lines = []
    for step in steps:
        name = letters[step.endpoint]
        if step.changes:
            lines.append(f"{name} **{step.before} > {step.after}**" + ("\\*" if step.inferred else ""))
        elif step is steps[0]:
            lines.append(f"{name} {step.before}")
        if step.changes or not is_dull(step, segment):
            lines.append(f"**{escape(why(step))}**" if step.finding else escape(why(step)))
    return "<br>".join(lines)
