"""What the rings of a watch and the kernel's tracepoint tell, put together: which socket, whose, in which namespace.

Every self-connect that a ring shows is here at once, and the tracepoint's word of it says who called connect(). A word
that no ring confirms is of a namespace that has no rings yet. The user is known from the process, which costs nothing
for the next one of the same process; the kernel is asked for the socket as long as there is time for it.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass, replace

from analysis.model import NANOSECONDS
from analysis.records import NamedTuple

from ..kernel import sockets
from ..kernel.namespaces import Namespace, named
from ..kernel.socket_owner import SocketOwner, of_process, with_line, with_process
from ..packets.self_connect import SelfConnect
from .watch_counts import LOST, Alike

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from analysis.model import Endpoint

    from ..kernel.kernel_states import Connected, KernelStates
    from .watch_counts import Untold
    from .watched import Watched, WatchedNamespaces

    #: Finds the processes that hold sockets, by inode.
    Holders = Callable[[Collection[int]], Mapping[int, Sequence[sockets.Process]]]

#: Seconds until the rings have shown what the tracepoint told of, nanoseconds that the two may be apart, and words of
#: the tracepoint that may wait for that; seconds after which the rings show it no more, if they came late.
_RINGS_TAKE, _SAME, _WORDS, _RINGS_LATE = 0.4, NANOSECONDS // 200, 10_000, 5.0
#: The share of the time for asking the kernel for sockets, and seconds of it in a row.
_ASKING, _IN_A_ROW = 0.1, 0.1
#: Seconds for which a process is known to be the same, and how many are remembered; how much longer than a search in
#: /proc the time to the next one is.
_SAME_PROCESS, _PROCESSES, _REST = 1.0, 1000, 4
#: Seconds for which rings keep what they have for those that wait.
_HOLD = 0.75


class Waiting(NamedTuple):
    """A self-connect that is not told yet: what was found of its socket at once, and when that was (monotonic).

    ``shown``: a ring has its packets.
    """

    hit: SelfConnect
    found: SocketOwner
    since: float
    watched: Watched
    shown: bool = True

    @property
    def is_shown(self) -> bool:
        """Whether the ring is still there."""
        return self.shown and not self.watched.closed

    @property
    def owner(self) -> tuple[str | None, int, int | None]:
        """Whose it is: user, network namespace, process."""
        return self.found.user, self.watched.namespace.inode, self.found.pid

    @property
    def alike(self) -> Alike:
        """What makes another one alike."""
        return Alike(self.watched.namespace.inode, self.hit.endpoint, self.found.user, self.found.pid)


@dataclass(slots=True)
class _Word:
    """A word of the tracepoint: ``taken`` where a ring has shown the same, ``told`` where none had by then."""

    said: Connected
    since: float
    taken: bool = False
    told: bool = False


class Intake:
    """Takes in what is new of what is *watched*; counts as *untold* what the kernel has lost.

    *holders* finds the processes that the tracepoint has not told of.
    """

    def __init__(
        self, watched: WatchedNamespaces, kernel_states: KernelStates, untold: Untold, holders: Holders
    ) -> None:
        self._holders = holders
        self._watched, self._kernel_states, self._untold = watched, kernel_states, untold
        self._words: dict[Endpoint, deque[_Word]] = {}
        self._order: deque[_Word] = deque()
        self._past: deque[_Word] = deque()  # a ring that comes late may still show the same
        self._processes: dict[int, tuple[float, sockets.Process | None]] = {}
        self._heard_of: set[Watched] = set()
        self._next_search = self._looked = 0.0
        self._spare = _IN_A_ROW  # seconds for asking

    def look(self, due: Iterable[Watched]) -> Iterator[Waiting]:
        """Yield the self-connects since the last call: in the rings that are *due*, and where there are none."""
        now = time.monotonic()
        there = [one for one in due if not one.closed]
        hits = [(one, hit) for one in there for hit in one.rings.look(hold=one.holds(now, _HOLD))]
        self._heard_of.update(one for one, _ in hits)
        self._kernel_states.read()  # after the rings: of what they show it has told by now
        self._hear(now)
        self._spare = min(_IN_A_ROW, self._spare + _ASKING * (now - self._looked))
        self._looked = now
        words = [self._taken(hit) for _, hit in hits]
        some = [
            Waiting(hit, self._told_by_the_kernel(hit, word), now, watched)
            for (watched, hit), word in zip(hits, words, strict=True)
            if not (word and word.told)
        ]
        yield from self._with_processes([one if one.found.process else self.asked(one) for one in some])
        yield from self._unshown(now)

    def last(self) -> Iterator[Waiting]:
        """Yield what only the tracepoint has told, at the end: no ring is going to show it."""
        yield from self._unshown(time.monotonic() + _RINGS_TAKE)

    def count_lost(self) -> None:
        """Count the packets by which sockets have connected to themselves that the kernel had no room for."""
        for one in self._heard_of:
            lost = one.rings.missed
            self._untold.add(lost - one.lost, None, one.namespace.name, LOST)
            one.lost = lost
        self._heard_of.clear()

    def _hear(self, now: float) -> None:
        for said in self._kernel_states.connected():
            word = _Word(said, now)
            self._words.setdefault(said.endpoint, deque()).append(word)
            self._order.append(word)

    def _taken(self, hit: SelfConnect) -> _Word | None:
        """Find the tracepoint's word of it: the nearest in time, which is of no other then."""
        words = self._words.get(hit.endpoint, ())
        word = min((one for one in words if not one.taken), key=lambda one: abs(one.said.time - hit.time), default=None)
        if word is None or abs(word.said.time - hit.time) > _SAME:
            return None
        word.taken = True
        return word

    def _unshown(self, now: float) -> Iterator[Waiting]:
        while self._order and (now > self._order[0].since + _RINGS_TAKE or len(self._order) > _WORDS):
            word = self._order.popleft()
            self._past.append(word)
            if word.taken or not self._watched.everywhere:
                continue
            word.told = True
            hit = SelfConnect(word.said.time, word.said.endpoint, None)
            found = self._by_process(SocketOwner(hit.time, hit.endpoint), word.said.process)
            # Its number is not known, because the link to it may not be read without privilege.
            space = Namespace(0, name="unknown", pids=[found.pid] if found.pid else [])
            if found.process:
                named([space])
            yield Waiting(hit, found, now, replace(self._watched.own, namespace=space, diag=None), shown=False)
        while self._past and (now > self._past[0].since + _RINGS_LATE or len(self._past) > _WORDS):
            end = self._past.popleft().said.endpoint
            self._words[end].popleft()  # they are in the same order
            if not self._words[end]:
                del self._words[end]

    def _told_by_the_kernel(self, hit: SelfConnect, word: _Word | None) -> SocketOwner:
        """Find out whose it is by the tracepoint's word."""
        return self._by_process(SocketOwner(hit.time, hit.endpoint), word.said.process if word else None)

    def asked(self, one: Waiting) -> Waiting:
        """Ask the kernel for the socket, if there is time for that now: soon there may be nothing left of it."""
        if self._spare <= 0:
            return one
        began = time.monotonic()
        found = self._asked(one)
        self._spare -= time.monotonic() - began
        return one._replace(found=found)

    def _asked(self, one: Waiting) -> SocketOwner:
        if not one.is_shown:
            return one.found
        line = with_line(SocketOwner(one.found.time, one.found.endpoint), one.watched.diag)
        user = one.found.user or line.user
        return one.found._replace(state=line.state, inode=line.inode, uid=line.uid, user=user)

    def _with_processes(self, some: list[Waiting]) -> list[Waiting]:
        """Look in /proc for the processes that the tracepoint has not told of, for all in one go; seldom."""
        inodes = [one.found.inode for one in some if one.found.inode and not one.found.pid]
        began = time.monotonic()
        if not inodes or began < self._next_search:
            return some
        holders = self._holders(inodes)
        now = time.monotonic()
        self._next_search = now + _REST * (now - began)
        return [one if one.found.pid else one._replace(found=with_process(one.found, holders)) for one in some]

    def once_more(self, one: Waiting) -> SocketOwner:
        """Look for what was not found when *one* was taken in; return what is known now."""
        found = one.found if one.found.state else self._asked(one)
        if found.inode and not found.pid:
            found = with_process(found, self._holders([found.inode]))
        return found if found.uid is None else found._replace(user=sockets.user(found.uid))

    def _by_process(self, found: SocketOwner, pid: int | None) -> SocketOwner:
        if pid is None:
            return found
        now = time.monotonic()
        known = self._processes.get(pid)
        if known is None or now > known[0] + _SAME_PROCESS:
            if len(self._processes) >= _PROCESSES:
                self._processes.clear()
            known = self._processes[pid] = now, sockets.process(pid)
        return of_process(found, pid, known[1])
