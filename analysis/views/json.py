"""The machine's views: one JSON object, or JSON lines. docs/json.md has the fields."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ..portwalk import overlook
from ..report import SCHEMA, VERSION, capture_as_json, entry_as_json, walks_as_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..report import Report
    from ..words import CaptureResult


def render(report: Report) -> Iterator[str]:
    """The whole report as one object, a line for each capture and each opening."""
    yield f'{{"schema": {json.dumps(SCHEMA)}, "version": {json.dumps(VERSION)},\n'
    yield from _array("captures", map(_capture, report.captures))
    yield ",\n"
    yield from _array("openings", (json.dumps(entry_as_json(entry, report.said(entry))) for entry in report.entries))
    for name, section in report.sections().items():
        yield f",\n{json.dumps(name)}: {json.dumps(section)}"
    yield "}\n"


def draw(result: CaptureResult) -> None:
    """Put the port walks of a capture into the text that they will be, tens of thousands of numbers long."""
    if result.drawn is None:
        result.drawn = json.dumps(walks_as_json(result))
    overlook(result)


def _capture(result: CaptureResult) -> str:
    """One capture as an object, in its place the text of the port walks if that was drawn before."""
    walks = json.dumps(walks_as_json(result)) if result.drawn is None else result.drawn
    return f'{json.dumps(capture_as_json(result))[:-1]}, "walks": {walks}}}'


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
