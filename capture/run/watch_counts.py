"""What a watch does not tell one by one: what is like one that was told, and what there was no time for.

Both are counted, by whose they are, and the counts are told within seconds: so all that was seen is in what was told.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass

from analysis import VERSION
from analysis.records import NamedTuple
from analysis.text import count, printable
from analysis.views.json import SCHEMA, seconds

from .report_sections import endpoint_as_json, socket_as_json
from .watched import namespace_fields

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from analysis.model import Endpoint
    from analysis.report import Json

    from ..kernel.namespaces import Namespace
    from ..kernel.socket_owner import SocketOwner

#: Self-connects that are remembered, to count those that are like them, and seconds without one until one is forgotten.
_MEMORY, _FORGET = 5000, 60.0
#: Seconds until the first word of those that are like one that was told; twice as long to the next, and so on up to.
_FIRST, _LAST = 2.0, 64.0
#: Owners that are counted apart; all others are one.
_APART = 50

#: Why something was not told.
LATE = "too many at a time"
LOST = "lost by the kernel"


class Alike(NamedTuple):
    """What makes two self-connects alike: network namespace, endpoint, user and process."""

    inode: int
    endpoint: Endpoint
    user: str | None
    pid: int | None


@dataclass(slots=True)
class _Known:
    """One that was told, or waits for it, and how many came later: in all, and since the last word of them."""

    found: SocketOwner
    space: Namespace
    told: bool
    seen: float
    due: float
    total: int = 0
    new: int = 0
    last: int = 0
    pause: float = _FIRST


class Again:
    """Counts those that are like one that was told. ``total`` is how many there were. Moments are monotonic."""

    def __init__(self) -> None:
        self.total = 0
        self._known: dict[Alike, _Known] = {}
        self._over: list[_Known] = []

    def is_known(self, alike: Alike, moment: int, now: float) -> bool:
        """Whether there was one like that: then this one, of *moment* (nanoseconds since the epoch), is counted.

        Those of which nothing is known but the endpoint are not alike.
        """
        known = self._known.pop(alike, None)
        if known is None or not (alike.user or alike.pid):
            return False
        self._known[alike] = known  # now the last one in it
        known.total += 1
        known.new += 1
        known.last, known.seen = moment, now
        self.total += 1
        return True

    def remember(self, alike: Alike, found: SocketOwner, space: Namespace, now: float) -> None:
        """From now on count those that are like this one, which waits to be told."""
        if len(self._known) == _MEMORY:
            self._over.append(self._known.pop(next(iter(self._known))))
        self._known[alike] = _Known(found, space, told=False, seen=now, due=now + _FIRST)

    def told(self, alike: Alike, found: SocketOwner) -> None:
        """Write down that it was told, with what was found of it."""
        if known := self._known.get(alike):
            known.told, known.found = True, found

    def forget(self, alike: Alike) -> int:
        """It is not going to be told: return how many were counted in its name, which are not told either."""
        known = self._known.pop(alike, None)
        if known is None or known.told:
            return 0
        self.total -= known.new
        return known.new

    def words(self, now: float) -> Iterator[tuple[dict[str, Json], str]]:
        """Yield what is to be said now, as a line of JSON's fields and as a sentence; with infinity all of it."""
        due = [one for one in self._known.values() if one.new and one.told and one.due <= now]
        for known in (*self._over, *due):
            if known.new:
                yield _again(known)
                known.pause = min(2 * known.pause, _LAST)
                known.new, known.due = 0, now + known.pause
        self._over.clear()
        old = [alike for alike, one in self._known.items() if one.seen + _FORGET < now < math.inf and not one.new]
        for alike in old:
            del self._known[alike]


def _again(known: _Known) -> tuple[dict[str, Json], str]:
    end = endpoint_as_json(known.found.endpoint)
    who = socket_as_json(known.found)
    fields = {
        "source": end,
        "destination": end,
        "time": seconds(known.last),
        "count": known.new,
        "total": known.total,
        **namespace_fields(known.space, known.found.pid),
        **{key: who[key] for key in ("uid", "user", "pid", "process")},
    }
    name = f"{printable(known.found.process)} (pid {known.found.pid})" if known.found.process else "the same process"
    return fields, (
        f"Again: {known.found.endpoint} by {name}, {count(known.new, 'time')} since the last word of it, "
        f"{known.total:,} in all."
    )


class Untold:
    """Counts what could not be told. ``total`` is how many there were."""

    def __init__(self) -> None:
        self.total = self._said = 0
        self._new: dict[tuple[str | None, str | None, str], int] = {}

    def add(self, number: int, user: str | None, namespace: str | None, why: str = LATE) -> None:
        """Count so many more."""
        if not number:
            return
        self.total += number
        whose = (user, namespace, why)
        if whose not in self._new and len(self._new) >= _APART:
            whose = (None, None, why)
        self._new[whose] = self._new.get(whose, 0) + number

    def words(self) -> tuple[list[dict[str, Json]], str] | None:
        """Return what is new, as fields of lines of JSON and as a sentence; None where nothing is."""
        if not self._new:
            return None
        new, self._new = self._new, {}
        lines: list[dict[str, Json]] = [
            {"user": user, "namespace": namespace, "reason": why, "count": number}
            for (user, namespace, why), number in new.items()
        ]
        most = max(new, key=lambda one: new[one])
        whose = f" (most of them of user {printable(most[0])})" if most[0] else ""
        lost = sum(number for (_, _, why), number in new.items() if why == LOST)
        lines_lost = f"; of {lost:,} of these the kernel had no room for the packet" if lost else ""
        return lines, (
            f"self-connects come too fast to be told one by one: {self.total:,} so far are only counted"
            f"{whose}{lines_lost}"
        )


def one_line(kind: str, fields: dict[str, Json]) -> str:
    """Make a line of JSON of what was counted."""
    return json.dumps({"schema": SCHEMA, "version": VERSION, "type": kind, **fields}) + "\n"
