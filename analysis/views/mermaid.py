"""The report as a Mermaid sequence diagram: one participant a socket, so one alone for a socket that talks to itself.

An arrow is a segment as it leaves, a note what it did to a socket: the sender's below the arrow, the receiver's when
the segment arrives, which may be after later arrows where segments crossed. An arrow that ends in a cross was lost,
or is not known to have arrived.
"""

from __future__ import annotations

import re
import textwrap
from itertools import count

from ..replay import replay
from ..text import printable
from .phrases import TIMELINES, Fold, damage, grounds, incomplete, kind, names, nothing, segment_lines, timeline

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ..model import CaptureResult, Endpoint, Opening
    from ..replay import Replay, Step
    from ..report import Report


def render(report: Report, *, verbose: bool = False) -> Iterator[str]:
    """One diagram of all openings, one below the other: of the first few of a capture, unless *verbose*."""
    most = None if verbose else TIMELINES
    if len(report.captures) == len(report.entries[:most]) == 1 and report.captures[0].complete:
        yield diagram(report.entries[0].account().replay)
        return
    shown = (opening for result in report.captures for opening in result.openings[:most])
    sockets = dict.fromkeys(end for opening in shown for end in _sockets(opening))
    letters = {endpoint: f"S{place}" for place, endpoint in enumerate(sockets, 1)}
    ids = list(letters.values()) or ["S1"]
    note = f"    Note over {','.join(dict.fromkeys((ids[0], ids[-1])))}: "
    yield "sequenceDiagram\n"
    yield from _participants({str(endpoint): name for endpoint, name in letters.items()} or {"capture": "S1"})
    numbers = count(1)
    for result in report.captures:
        if len(report.captures) > 1:
            yield f"{note}{_safe(result.name)}\n"
        known = [damage(result), incomplete(result)] if any(result.verdicts.values()) else []
        for text in (*known, _ordinary(result)):
            if text:
                yield f"{note}{_safe(text)}\n"
        for opening, number in zip(result.openings[:most], numbers, strict=False):
            yield f"{note}{number}. {kind(opening)}\n"
            replayed = replay(opening)
            yield from _opening(replayed, {end: letters[end] for end in replayed.sockets})


def _sockets(opening: Opening) -> tuple[Endpoint, Endpoint]:
    """The two ends; where an address was translated so that both look the same, the second is the one that answered."""
    other = opening.answered_by if opening.source == opening.destination else None
    return opening.source, other or opening.destination


def diagram(replayed: Replay) -> str:
    """The diagram of one opening."""
    letters = names(replayed)
    lines = _participants({f"{letters[endpoint]} is {endpoint}": letters[endpoint] for endpoint in replayed.sockets})
    return "".join(("sequenceDiagram\n", *lines, *_opening(replayed, letters)))


def _participants(labels: Mapping[str, str]) -> Iterator[str]:
    for label, name in labels.items():
        yield f"    participant {name} as {_safe(label)}\n"


def _opening(replayed: Replay, letters: Mapping[Endpoint, str]) -> Iterator[str]:
    rows = list(timeline(replayed))
    segments = {row.segment.frame: row.segment for row in rows if not isinstance(row, Fold)}
    folds = {row.frames[0]: row.text for row in rows if isinstance(row, Fold)}
    unknown = {step.frame for step in replayed.steps if _is_unknown(step)}
    ends = ",".join(letters[endpoint] for endpoint in replayed.sockets)
    for ground in grounds(replayed.opening):
        yield f"    Note over {ends}: {'<br/>'.join(map(_safe, textwrap.wrap(ground, _NOTE)))}\n"
    for step in replayed.steps:
        name = letters[step.endpoint]
        segment = segments.get(step.frame)
        if segment is None:
            if text := folds.pop(step.frame, ""):
                yield f"    Note over {ends}: {_safe(text)}\n"
            continue
        if step.sends and not step.by_itself:
            arrow = "-x" if step.frame in unknown else "->>"
            words = ", ".join(segment_lines(segment, replayed)).partition(" > ")[2].partition(" ")[2]
            yield f"    {name}{arrow}{letters[segment.destination]}: {step.frame}. {_safe(words)}\n"
        if lines := textwrap.wrap(_note(step), _NOTE):
            yield f"    Note over {name}: {'<br/>'.join(map(_safe, lines))}\n"


#: Characters in a line of a note.
_NOTE = 48


def _is_unknown(step: Step) -> bool:
    """Whether the step tells that an arrival is not known of."""
    return not step.sends and not step.section and step.inferred and not step.changes


def _note(step: Step) -> str:
    """What a step did to a socket; "" for nothing worth a note."""
    arrived = "" if step.sends or step.by_itself else f"{step.frame} arrives. "
    if step.changes:
        return f"{arrived}{step.before} > {step.after}{'*' if step.inferred else ''} ({step.section})"
    if step.finding:
        return f"{arrived}{step.before}: {step.reason}"
    return f"{step.frame}: {step.reason}" if _is_unknown(step) else ""


def _ordinary(result: CaptureResult) -> str:
    """What there is to say of a capture without any opening to show; "" of others."""
    if result.openings:
        return ""
    counts = ", ".join(f"{number:,} {verdict}" for verdict, number in result.verdicts.items() if number)
    return f"{counts}. --all shows ordinary openings" if counts else nothing(result)


def _safe(text: str) -> str:
    """*text* with everything as a character code that Mermaid could take for its own."""
    return re.sub(r"[^\w .,:()\[\]{}>*/+-]", lambda found: f"#{ord(found[0])};", printable(text))
