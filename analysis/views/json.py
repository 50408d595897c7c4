"""The machine's views: one JSON object, or JSON lines. docs/json.md has the fields."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ..report import SCHEMA, VERSION, capture_as_json, entry_as_json

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..report import Json, Report


def render(report: Report) -> Iterator[str]:
    """The whole report as one object, a line for each capture and each opening."""
    yield f'{{"schema": {json.dumps(SCHEMA)}, "version": {json.dumps(VERSION)},\n'
    yield from _array("captures", map(capture_as_json, report.captures))
    yield ",\n"
    yield from _array("openings", (entry_as_json(entry, report.said(entry)) for entry in report.entries))
    for name, section in report.sections().items():
        yield f",\n{json.dumps(name)}: {json.dumps(section)}"
    yield "}\n"


def _array(name: str, items: Iterable[Json]) -> Iterator[str]:
    yield f"{json.dumps(name)}: ["
    separator = "\n "
    for item in items:
        yield separator + json.dumps(item)
        separator = ",\n "
    yield "]"


def render_lines(report: Report) -> Iterator[str]:
    """One opening a line, then one capture a line, then what a live capture adds; ``type`` tells which is which."""
    for entry in report.entries:
        yield _line("opening", entry_as_json(entry, report.said(entry)))
    for result in report.captures:
        yield _line("capture", capture_as_json(result))
    for name, section in report.sections().items():
        yield _line(name, section)


def _line(kind: str, fields: dict[str, Json]) -> str:
    return json.dumps({"schema": SCHEMA, "version": VERSION, "type": kind, **fields}) + "\n"
