"""The machine's views: one JSON object, or JSON lines. docs/json.md has the fields."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ..report import SCHEMA, VERSION, capture_as_json, entry_as_json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..report import Json, Report


def render(report: Report) -> Iterator[str]:
    """The whole report as one object, indented for people who look at it after all."""
    yield json.dumps(report.as_json(), indent=1) + "\n"


def render_lines(report: Report) -> Iterator[str]:
    """One opening a line, then one capture a line, then what a live capture adds; ``type`` tells which is which."""
    for entry in report.entries:
        yield _line("opening", entry_as_json(entry))
    for result in report.captures:
        yield _line("capture", capture_as_json(result))
    for name, section in report.sections().items():
        yield _line(name, section)


def _line(kind: str, fields: dict[str, Json]) -> str:
    return json.dumps({"schema": SCHEMA, "version": VERSION, "type": kind, **fields}) + "\n"
