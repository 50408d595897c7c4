"""The machine's views: one JSON object, or JSON lines. docs/json.md has the fields."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from .. import VERSION
from ..report import SCHEMA, capture_as_json, entry_as_json, walks_as_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..model import CaptureResult
    from ..report import Report


def render(report: Report) -> Iterator[str]:
    """The whole report as one object, a line for each capture and each opening."""
    yield f'{{"schema": {json.dumps(SCHEMA)}, "version": {json.dumps(VERSION)},\n'
    yield from _array("captures", map(_capture, report.captures))
    yield ",\n"
    yield from _array("openings", (json.dumps(entry_as_json(entry, report.said(entry))) for entry in report.entries))
    for name, section in report.sections().items():
        yield f",\n{json.dumps(name)}: {json.dumps(section)}"
    yield "}\n"


def walks(result: CaptureResult) -> str:
    """The port walks of a capture as an array, tens of thousands of numbers long."""
    return json.dumps(walks_as_json(result))


def _capture(result: CaptureResult) -> str:
    """One capture as an object; its port walks may have been drawn before."""
    drawn = walks(result) if result.drawn is None else result.drawn
    return f'{json.dumps(capture_as_json(result))[:-1]}, "walks": {drawn}}}'


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
        yield _line("opening", json.dumps(entry_as_json(entry, report.said(entry))))
    for result in report.captures:
        yield _line("capture", _capture(result))
    for name, section in report.sections().items():
        yield _line(name, json.dumps(section))


def _line(kind: str, fields: str) -> str:
    """*fields*, the text of an object, after what every line begins with."""
    return f"{json.dumps({'schema': SCHEMA, 'version': VERSION, 'type': kind})[:-1]}, {fields[1:]}\n"
