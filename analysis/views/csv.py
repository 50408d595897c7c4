"""Openings as comma-separated values (RFC 4180), a row for each, written as they end; docs/data.md has the columns.

A spreadsheet never takes text from a capture or from a file's name for a formula.
"""

from __future__ import annotations

import re
import time
from functools import lru_cache

from ..model import NANOSECONDS
from ..text import printable
from .rows import COLUMNS, row

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TextIO

    from ..model import Opening

#: Text that needs no quotes, no matter what a program takes for a separator.
_PLAIN = re.compile(r"[\w.:/ -]*", re.ASCII)
#: What a spreadsheet takes for the beginning of a formula; East Asian ones take the wide forms for it, too.
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")
#: Between the items of a list.
_FRAMES, _NOTES = " ", " | "

_TIMES = [name in {"time", "refused_since"} for name in COLUMNS]


class Rows:
    """Writes the heading to *stream*, and a row for each opening that is added; *at_once*: flush each row."""

    def __init__(self, stream: TextIO, *, at_once: bool = False) -> None:
        self._stream = stream
        self._at_once = at_once
        self._put(",".join(COLUMNS))

    def add(self, capture: str, opening: Opening) -> None:
        """Add an opening of the capture of this name. Raises OSError where it cannot be written."""
        cells = zip(row(capture, opening), _TIMES, strict=True)
        self._put(",".join([_moment(cell) if is_time and cell is not None else _cell(cell) for cell, is_time in cells]))

    def _put(self, line: str) -> None:
        self._stream.write(f"{line}\r\n")
        if self._at_once:
            self._stream.flush()


def _cell(value: Any) -> str:  # noqa: ANN401 - whatever a row holds
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case list():
            return text((_NOTES if value and isinstance(value[0], str) else _FRAMES).join(map(str, value)))
    return text(value)


@lru_cache(1 << 10)
def text(value: str) -> str:
    """A text as a cell, in quotes where it needs them; a spreadsheet shows it, and does not calculate it.

    What could do more to a terminal than stand there is escaped.
    """
    value = printable(value)
    if value.lstrip().startswith(_FORMULA):
        value = f"'{value}"
    return value if _PLAIN.fullmatch(value) else '"' + value.replace('"', '""') + '"'


def _moment(nanoseconds: int) -> str:
    """A time by ISO 8601, in UTC, with nine digits of the second."""
    seconds, rest = divmod(nanoseconds, NANOSECONDS)
    return f"{_second(seconds)}.{rest:09d}Z"


@lru_cache(1 << 10)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))
