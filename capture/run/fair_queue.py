"""Who is served next, where many wait and some of them bring more than can be served: nobody waits for who floods.

What waits has an owner, written as a path such as (user, network namespace, process). On each level of it the one is
served next that has been served least, in seconds of processor: users first, then the namespaces of that user, then
the processes of those. So a user who starts processes or makes namespaces shares one user's part among them, and a
container is not drowned by another one of the same user. What was served is forgotten at an even pace; who is ahead
of that pace by more than a burst waits. Where there is no more room, the oldest of whoever has most has to go.

Nothing here knows a clock, a socket or a process.
"""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from typing import Generic, TypeVar

from analysis.records import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

T = TypeVar("T")


class Pace(NamedTuple):
    """How much each may take on one level: seconds of processor a second, and how many at once."""

    share: float
    burst: float


class FairQueue(Generic[T]):
    """Up to *most* that wait, up to *each* of one owner. *paces* are those of all together, then of each level.

    Moments are seconds of any clock that goes forward.
    """

    def __init__(self, paces: Sequence[Pace], most: int, each: int) -> None:
        self._paces, self._most, self._each = paces, most, each
        self._all: _Node[T] = _Node(None)

    def __len__(self) -> int:
        return self._all.waiting

    def put(self, owner: Sequence[Hashable], one: T) -> T | None:
        """Have *one* wait; return what had to go for it."""
        path = self._path(owner)
        for node in path:
            node.waiting += 1
        path[-1].own.append(one)
        if path[-1].waiting > self._each:
            return _out_of(path)
        if len(self) <= self._most:
            return None
        gone, path = self._all, [self._all]
        while not gone.own:
            gone = max(gone.below.values(), key=lambda node: node.waiting)
            path.append(gone)
        return _out_of(path)

    def waiting(self, owner: Sequence[Hashable]) -> int:
        """How many of *owner* wait."""
        node: _Node[T] | None = self._all
        for key in owner:
            node = node and node.below.get(key)
        return node.waiting if node else 0

    def take(self, now: float, ready: Callable[[T], bool]) -> T | None:
        """Return the next that is *ready*; None where nobody is, or whoever is has to wait."""
        return self._take(self._all, [self._all], now, ready)

    def _take(self, node: _Node[T], path: list[_Node[T]], now: float, ready: Callable[[T], bool]) -> T | None:
        pace = self._paces[len(path) - 1]
        if not node.waiting or node.left(now, pace) > pace.burst:
            return None
        if node.own:
            return _out_of(path) if ready(node.own[0]) else None
        below = self._paces[len(path)]
        for key in [key for key, one in node.below.items() if not (one.waiting or one.left(now, below))]:
            del node.below[key]
        for one in sorted(node.below.values(), key=lambda one: one.served):
            if (found := self._take(one, [*path, one], now, ready)) is not None:
                return found
        return None

    def charge(self, owner: Sequence[Hashable], seconds: float, now: float) -> None:
        """Write down that *owner* was served for so many *seconds*."""
        for node, pace in zip(self._path(owner), self._paces, strict=True):
            node.served = node.left(now, pace) + seconds

    def drop(self, old: Callable[[T], bool]) -> Iterator[T]:
        """Take out those that are too *old*: of an owner the first that came are."""
        yield from _drop(self._all, [self._all], old)

    def _path(self, owner: Sequence[Hashable]) -> list[_Node[T]]:
        path = [self._all]
        for key in owner:
            below = path[-1].below
            if key not in below:
                below[key] = _Node(key)
            path.append(below[key])
        return path


class _Node(Generic[T]):
    """A user, a namespace, a process: what waits there and below, and for how long it was served."""

    __slots__ = ("at", "below", "key", "own", "served", "waiting")

    def __init__(self, key: Hashable) -> None:
        self.key = key
        self.below: dict[Hashable, _Node[T]] = {}
        self.own: deque[T] = deque()
        self.waiting = 0
        self.served = self.at = 0.0

    def left(self, now: float, pace: Pace) -> float:
        """What of its service is not forgotten yet."""
        self.served = max(0.0, self.served - (now - self.at) * pace.share)
        self.at = now
        return self.served


def _out_of(path: list[_Node[T]]) -> T:
    for node in path:
        node.waiting -= 1
    for above, node in pairwise(path):
        if not (node.waiting or node.served):
            above.below.pop(node.key, None)
    return path[-1].own.popleft()


def _drop(node: _Node[T], path: list[_Node[T]], old: Callable[[T], bool]) -> Iterator[T]:
    while node.own and old(node.own[0]):
        yield _out_of(path)
    for one in list(node.below.values()) if node.waiting else ():
        yield from _drop(one, [*path, one], old)
