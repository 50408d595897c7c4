"""A table of text that keeps to a width: cells are broken into lines, the widest column first."""

from __future__ import annotations

import textwrap

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

_APART = "  "
#: No column is made narrower than that, unless all are.
_NARROW = 8


def _plain(_column: int, _cell: str, text: str) -> str:
    return text


def grid(
    headers: Sequence[str],
    rows: Sequence[Sequence[str]],
    width: int,
    *,
    right: Collection[int] = (),
    painted: Callable[[int, str, str], str] = _plain,
) -> str:
    """Draw a table, at most *width* columns wide where that can be; a newline in a cell begins a line.

    Columns whose numbers are in *right* end on the right. *painted* may put colour around the text of a line: it is
    given the number of the column, the whole cell and the text.
    """
    widths = _widths([headers, *rows], width)

    def line(texts: Sequence[str], cells: Sequence[str] | None) -> str:
        shown = []
        for column, (text, size) in enumerate(zip(texts, widths, strict=True)):
            space = " " * (size - len(text))
            colored = painted(column, cells[column], text) if cells and text else text
            shown.append(space + colored if column in right else colored + space)
        return _APART.join(shown).rstrip()

    def lines(cells: Sequence[str], painted_as: Sequence[str] | None) -> list[str]:
        broken = [_broken(cell, size) for cell, size in zip(cells, widths, strict=True)]
        return [
            line([cell[at] if at < len(cell) else "" for cell in broken], painted_as)
            for at in range(max(map(len, broken)))
        ]

    drawn = [*lines(headers, None), line(["-" * one for one in widths], None)]
    for row in rows:
        drawn += lines(row, row)
    return "\n".join(drawn) + "\n"


def _widths(rows: Sequence[Sequence[str]], width: int) -> list[int]:
    widths = [max(len(line) for cell in column for line in cell.split("\n")) for column in zip(*rows, strict=True)]
    room = max(width - len(_APART) * (len(widths) - 1), len(widths))
    for least in (_NARROW, 1):
        while sum(widths) > room and max(widths) > least:
            widest = widths.index(max(widths))
            widths[widest] -= 1
    return widths


def _broken(cell: str, width: int) -> list[str]:
    return [line for part in cell.split("\n") for line in textwrap.wrap(part, width, break_on_hyphens=False)] or [""]
