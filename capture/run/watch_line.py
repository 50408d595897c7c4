"""The line of a watch for people: when, which process, in which container, on which port, after how many attempts."""

from __future__ import annotations

import time

from analysis.model import NANOSECONDS
from analysis.records import NamedTuple
from analysis.text import count, printable
from analysis.views.phrases import span

TYPE_CHECKING = False
if TYPE_CHECKING:
    from analysis.model import Opening

    from ..kernel.socket_owner import SocketOwner

_COLUMNS = "{:<8}  {:>7}  {:<15}  {:<26}  {:<21}  {}"
#: The least that is left of a name before the last column is cut.
_SHORTEST = 8


class Seen(NamedTuple):
    """A self-connect: whose socket, where that lives (container, or namespace), and the opening, if packets show it."""

    found: SocketOwner
    place: str
    opening: Opening | None


def heading() -> str:
    """Name the columns."""
    return _COLUMNS.format("TIME", "PID", "COMM", "CONTAINER", "ADDR:PORT", "")


def written(one: Seen) -> list[str]:
    """Say it in the words of each column. The time is the local one."""
    found, opening = one.found, one.opening
    return [
        time.strftime("%H:%M:%S", time.localtime(found.time // NANOSECONDS)),
        str(found.pid or "-"),
        printable(found.process or "-"),
        printable(one.place),
        str(found.endpoint),
        "" if opening is None else _after(opening),
    ]


def _after(opening: Opening) -> str:
    attempts, since = opening.refused_before, opening.refused_since
    if not attempts or since is None:
        return "at once"
    return f"after {count(attempts, 'attempt')} in {span(opening.time - since)}"


def fitted(words: list[str], width: int | None) -> str:
    """Lay out the columns, no wider than *width* (None: as wide as they are): the container's name gives way first."""
    line = _COLUMNS.format(*words).rstrip()
    if width is None or len(line) <= width:
        return line
    name = words[3]
    left = max(_SHORTEST, max(len(name), 26) - (len(line) - width))
    words = [*words[:3], name if len(name) <= left else name[: left - 1] + "\u2026", *words[4:]]
    layout = _COLUMNS.replace("{:<26}", f"{{:<{min(left, 26)}}}")
    line = layout.format(*words).rstrip()
    return line if len(line) <= width else line[: width - 1] + "\u2026"
