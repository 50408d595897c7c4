"""The views for programs: one JSON object, or JSON lines; and their schema, selfconn/1. docs/json.md has the fields."""

from __future__ import annotations

import json
from functools import cache, lru_cache

from .. import VERSION, patterns
from ..model import NANOSECONDS
from ..records import NamedTuple
from ..report import Entry

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ..model import CaptureResult, Damage, Endpoint, Unreachable
    from ..portwalk import Walk
    from ..replay import Step
    from ..report import Json, Report
    from ..wireshark import Evidence, Witness

SCHEMA = "selfconn/1"
#: Patterns of openings that are remembered: a few kilobytes each.
_PATTERNS = 512


def render(report: Report) -> Iterator[str]:
    """The whole report as one object, a line for each capture and each opening."""
    yield f'{{"schema": {json.dumps(SCHEMA)}, "version": {json.dumps(VERSION)},\n'
    yield from _array("captures", _captures(report))
    yield ",\n"
    yield from _array("openings", (entry_as_text(entry, report.said(entry)) for entry in report.entries))
    for name, section in sections(report).items():
        yield f",\n{json.dumps(name)}: {json.dumps(section)}"
    yield "}\n"


def walks(result: CaptureResult) -> str:
    """The port walks of a capture as an array, tens of thousands of numbers long."""
    return json.dumps(walks_as_json(result))


def _captures(report: Report) -> Iterator[str]:
    """Each capture as an object; its port walks may have been written before."""
    for place, result in enumerate(report.captures):
        prepared = report.captures.walks(place)
        written = prepared if isinstance(prepared, str) else walks(result)
        yield f'{json.dumps(capture_as_json(result))[:-1]}, "walks": {written}}}'


def _array(name: str, items: Iterable[str]) -> Iterator[str]:
    yield f"{json.dumps(name)}: ["
    separator = "\n "
    for item in items:
        yield separator + item
        separator = ",\n "
    yield "]"


def render_lines(report: Report) -> Iterator[str]:
    """One opening a line, then one capture a line, then what a live capture adds; ``type`` tells which is which."""
    for entry in report.entries:
        yield line("opening", entry_as_text(entry, report.said(entry)))
    for capture in _captures(report):
        yield line("capture", capture)
    for name, section in sections(report).items():
        yield line(name, section)


def line(kind: str, fields: dict[str, Json] | str) -> str:
    """Return a line: what every line begins with, and then *fields* (an object, or the text of one)."""
    written = fields if isinstance(fields, str) else json.dumps(fields)
    return f"{_beginning(kind)}, {written[1:]}\n"


@cache
def _beginning(kind: str) -> str:
    return json.dumps({"schema": SCHEMA, "version": VERSION, "type": kind})[:-1]


# -- the schema -----------------------------------------------------------------------------------------------------


def sections(report: Report) -> dict[str, Json]:
    """The sections that only some reports have."""
    found = {"live": report.live, "kernel": report.kernel, "witness": report.witness and _witness(report.witness)}
    return {name: section for name, section in found.items() if section is not None}


def seconds(nanoseconds: int) -> str:
    """A time as a decimal string of seconds with nine digits after the point."""
    sign, whole = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    return f"{sign}{whole // NANOSECONDS}.{whole % NANOSECONDS:09d}"


def capture_as_json(result: CaptureResult) -> dict[str, Json]:
    """One capture in the shape of the schema, without what walks_as_json() returns."""
    parts = [{"name": part.name, "packets": part.packets, "damage": _damage(part.damage)} for part in result.parts]
    return {
        "name": result.name,
        "format": result.format,
        "packets": result.packets,
        "segments": result.segments,
        "duplicates": result.duplicates,
        "complete": result.complete,
        "undecoded": dict(result.undecoded),
        "other": dict(result.other),
        "unknown": dict(result.unknown),
        "cut_to_itself": result.cut_to_itself,
        "needed_snaplen": result.needed_snaplen or None,
        "recorded_drops": result.recorded_drops,
        "filter": one_filter(result.filters),
        "damage": _damage(result.damage),
        "verdicts": {verdict.value: count for verdict, count in result.verdicts.items()},
        "midstream": result.midstream,
        "midstream_to_itself": result.midstream_to_itself,
        "translated": result.translated,
        "evicted": result.evicted,
        "left_out": result.left_out,
        **({"parts": parts} if parts else {}),
        **({"unsure": True} if result.unsure else {}),
    }


def one_filter(filters: Sequence[str]) -> str | None:
    """Combine the filters of all interfaces by "or": it passes what one of them passes. None where there is none."""
    if len(filters) < 2:
        return filters[0] if filters else None
    return " or ".join(f"({text})" for text in filters)


def walks_as_json(result: CaptureResult) -> list[Json]:
    """The port walks of a capture in the shape of the schema."""
    if not result.attempts:
        return []
    from ..portwalk import look  # noqa: PLC0415 - most captures have none

    return [_walk(walk) for walk in look(result)]


def _damage(damage: Damage | None) -> dict[str, Json] | None:
    return None if damage is None else {"offset": damage.offset, "reason": damage.reason}


def _walk(walk: Walk) -> dict[str, Json]:
    attempts, guess = walk.attempts, walk.guess
    return {
        "destination": endpoint_as_json(walk.destination),
        "attempts": attempts.count,
        "first": seconds(attempts.first),
        "last": seconds(attempts.last),
        "rate": walk.rate,
        "low": walk.low,
        "high": walk.high,
        "parity": None if walk.parity is None else ("even", "odd")[walk.parity],
        "steps": [list(step) for step in walk.steps],
        "laps": walk.laps,
        "jumps": list(walk.jumps),
        "salted": walk.salted,
        "beside": list(walk.beside),
        "passed": list(walk.passed),
        "algorithm": guess.algorithm and guess.algorithm.value,
        "sure": guess.sure,
        "why": guess.why,
        "range": list(walk.range),
        "range_assumed": walk.assumed,
        "chance": walk.odds.chance,
        "mean_attempts": walk.odds.mean if walk.odds.catch else None,
        "ports": list(attempts.ports),
        "times_ns": list(attempts.times),
    }


class _Written(NamedTuple):
    """The openings of a pattern as JSON.

    ``form`` is for the operator %, ``numbers`` picks out what it takes; ``handshake`` are the places of the segments
    that belong to it, None where the duration is not known.
    """

    form: str
    numbers: Callable[[list[object]], tuple[object, ...]]
    handshake: tuple[int, ...] | None


@lru_cache(maxsize=_PATTERNS)
def _written(pattern: patterns.Pattern) -> _Written:
    opening = patterns.plain(pattern)
    fields = entry_as_json(Entry(patterns.mark(patterns.CAPTURE), opening))
    handshake = None
    fields["time"] = str(patterns.mark(patterns.TIME))
    if fields["duration_us"] is not None:
        fields["duration_us"] = patterns.mark(patterns.DURATION)
        handshake = tuple(place for place, one in enumerate(opening.segments) if one.frame in fields["frames"])
    if opening.refused_since is not None:
        fields["refused_since"] = str(patterns.mark(patterns.SINCE))
    return _Written(*patterns.template(json.dumps(fields), pattern), handshake)


def entry_as_text(entry: Entry, said: dict[int, Witness] | None = None) -> str:
    """One opening as JSON; with *said*, what Wireshark says of its frames as well."""
    opening = entry.opening
    pattern, numbers = patterns.pattern(opening)
    form, taken, handshake = _written(pattern)
    numbers[patterns.CAPTURE] = entry.capture
    numbers[patterns.TIME] = seconds(opening.time)
    if handshake:
        took = max([opening.segments[place].time for place in handshake]) - opening.time
        numbers[patterns.DURATION] = took / 1000 if took > 0 else "null"
    if opening.refused_since is not None:
        numbers[patterns.SINCE] = seconds(opening.refused_since)
    text = form % taken(numbers)
    return text if said is None else f'{text[:-1]}, "witness": {json.dumps([_said(one) for one in said.values()])}}}'


def entry_as_json(entry: Entry) -> dict[str, Json]:
    """One opening in the shape of the schema."""
    opening = entry.opening
    replayed, notes, duration = entry.account()
    since = opening.refused_since
    return {
        "capture": entry.capture,
        "verdict": opening.verdict.value,
        "source": endpoint_as_json(opening.source),
        "destination": endpoint_as_json(opening.destination),
        "evidence": opening.evidence and opening.evidence.value,
        "isn": None if opening.isn is None else int(opening.isn),
        "first_frame": opening.first_frame,
        "frames": list(replayed.handshake),
        "time": seconds(opening.time),
        "duration_us": None if duration is None else duration / 1000,
        "syn_retransmissions": opening.syn_retransmissions,
        "established": replayed.established,
        "answered_by": opening.answered_by and endpoint_as_json(opening.answered_by),
        "translated_with": opening.translated_with,
        "refused_by": opening.refused_by and _unreachable(opening.refused_by),
        "refused_before": opening.refused_before,
        "refused_since": None if since is None else seconds(since),
        "omitted": opening.omitted,
        "notes": notes,
        "transitions": [_transition(step) for step in replayed.transitions],
        "findings": [
            {
                "frame": step.frame,
                "event": step.event,
                "endpoint": endpoint_as_json(step.endpoint),
                "state": step.before.value,
                "reason": step.reason,
            }
            for step in replayed.findings
        ],
    }


def _unreachable(error: Unreachable) -> dict[str, Json]:
    return {"type": error.type, "code": error.code, "sender": error.address}


def _said(witness: Witness) -> dict[str, Json]:
    differences = [difference._asdict() for difference in witness.differences]
    return {"frame": witness.frame, "says": list(witness.says), "differences": differences}


def _witness(evidence: Evidence) -> dict[str, Json]:
    return {
        "tshark": evidence.version,
        "frames": len(evidence.frames),
        "differences": evidence.differences,
    }


def endpoint_as_json(endpoint: Endpoint) -> dict[str, Json]:
    """An endpoint in the shape of the schema."""
    return {"address": endpoint.address, "port": endpoint.port}


def _transition(step: Step) -> dict[str, Json]:
    return {
        "frame": step.frame,
        "event": step.event,
        "endpoint": endpoint_as_json(step.endpoint),
        "from": step.before.value,
        "to": step.after.value,
        "section": step.section,
        "reason": step.reason,
        "inferred": step.inferred,
    }
