"""The network namespaces that a watch looks into: its own, and those of the host that come and go.

Rings in each of them, and not the kernel's tracepoint with a ring opened where something happens: the attempts before
a self-connect are what its report is for, and a ring that is opened after it has none of them. What happens in a
namespace before its rings are open, in its first half second, the tracepoint tells.
"""

from __future__ import annotations

import os
import select
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from analysis.states import State
from analysis.text import count, printable

from ..kernel.namespaces import NOT_FOUND, Namespace, home_of, named
from ..kernel.netlink import SockDiag
from .namespace_opener import Alive, Shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from analysis.report import Json

    from ..packets.watch_rings import WatchRings
    from .namespace_opener import NamespaceOpener

#: Seconds from one look for namespaces that have come or gone to the next; where nothing tells of any.
_AGAIN, _AT_LEAST = 0.4, 5.0
#: Seconds between two looks into the flight recorders of namespaces where little happens, and of those of the others.
_RARELY, _BUSY = 0.2, 0.01
#: Seconds from a namespace's end until its rings are closed, if nothing waits there and if something does.
_LAST_LOOK, _WAITED_FOR = 0.05, 0.4
#: Rings that are closed at the same time: the kernel takes some milliseconds for each, however many there are.
_AT_ONCE = 32
#: Seconds that a watch waits at the start until all namespaces are there.
_START = 10.0
#: Namespaces that are named in one sentence, and sockets that are told one by one at the start.
_NAMED, _TOLD = 5, 20


@dataclass(slots=True, eq=False)
class Watched:
    """A network namespace with its rings. ``diag`` asks for its sockets; None: it is ours, ask as ever."""

    namespace: Namespace
    rings: WatchRings
    diag: SockDiag | None = None
    #: The last self-connect that was seen there (nanoseconds since the epoch), and how many wait to be told.
    newest: int = 0
    waiting: int = 0
    #: How many of them the kernel had no room for, so far.
    lost: int = 0
    #: The namespace has ended, and the rings are let go.
    closed: bool = False
    _held: float | None = None

    def holds(self, now: float, most: float) -> bool:
        """Whether the rings are to keep what they have for those that wait: only for so many seconds in a row."""
        if not self.waiting:
            self._held = None
            return False
        self._held = now if self._held is None else self._held
        return now < self._held + most

    def close(self) -> None:
        """Let go of it."""
        self.rings.close()
        if self.diag:
            self.diag.close()


class WatchedNamespaces:
    """All of them, *own* first. *opener* finds the others; without one there are none."""

    def __init__(self, own: Watched, opener: NamespaceOpener | None) -> None:
        self._opener = opener
        self._everywhere = opener is not None
        self._poll = select.epoll()
        self._signalled: int | None = None
        self._lives: dict[int, tuple[Watched, int]] = {}  # descriptors of a process of each
        self.own = own
        self.others: dict[int, Watched] = {}
        self.refused: dict[int, Shown] = {}
        self.trouble: str | None = None
        self._poll.register(own.rings.fileno(), select.EPOLLIN)
        self._considered = self._asked = 0.0
        self._last_process = ""
        self._looked, self._busy = 0.0, list[Watched]()
        self._ringing: dict[int, Watched] = {}  # by descriptor
        self._closing = ThreadPoolExecutor(_AT_ONCE)
        self._leaving: dict[Watched, float] = {}
        self._dropped = 0  # in those that are gone
        self._too_many = 0
        self._ended = False  # a process that kept a namespace
        if opener:
            self._poll.register(opener.fileno(), select.EPOLLIN)
            opener.ask()
            end = time.monotonic() + _START
            while opener.waiting and time.monotonic() < end and self._opener:
                list(self._receive())

    @property
    def everywhere(self) -> bool:
        """Whether it is the whole host that is watched."""
        return self._everywhere

    @property
    def dropped(self) -> int:
        """How many packets the kernel has dropped so far in all that are watched now."""
        return self._dropped + sum(one.rings.dropped for one in self.all())

    def started(self) -> Iterator[str]:
        """Say what is watched, what is not, and which sockets are connected to themselves already."""
        if self._everywhere:
            names = [printable(one.namespace.name) for one in self.others.values()]
            more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
            listed = f": {', '.join(names[:_NAMED])}{more}" if names else ""
            yield f"Besides this network namespace {count(len(names), 'other')} of this host{listed}; later ones, too."
            for shown in self.refused.values():
                yield _not_entered(shown)
            yield f"Not watched: {NOT_FOUND}."
        else:
            yield "Other network namespaces, such as containers have, are not watched."
        standing = [line for one in self.all() for line in _standing(one)]
        yield from standing[:_TOLD]
        if len(standing) > _TOLD:
            yield f"{len(standing) - _TOLD:,} more are connected to themselves already: selfconn-check lists them."

    def wait(self, signalled: int, pause: float) -> tuple[bool, list[Watched], list[str]]:
        """Wait for something: whether *signalled* is readable, whose rings to look into, what to say."""
        if self._busy:
            pause = min(pause, _BUSY)
        if self._leaving:
            pause = min(pause, _LAST_LOOK)
        if self._signalled is None:
            self._signalled = signalled
            self._poll.register(signalled, select.EPOLLIN)
        ready = {descriptor for descriptor, _ in self._poll.poll(pause)}
        remarks = []
        if self._opener and self._opener.fileno() in ready:
            remarks = list(self._receive())
        now = time.monotonic()
        if now > self._looked + _RARELY:
            self._looked = now
            self._busy = [one for one in self.others.values() if one.rings.stirred()]
        for one in ready & self._lives.keys():
            self._has_ended(one)
        answered = [self._ringing[one] for one in ready if one in self._ringing]
        due = list(dict.fromkeys((self.own, *self._busy, *answered, *self._leaving)))
        self._let_go(now)
        self._busy = [one for one in self._busy if one.rings.busy]
        self._ask(now)
        return signalled in ready, due, remarks

    def _let_go(self, now: float) -> None:
        """Close the rings of namespaces that have ended, once what they showed last is told."""
        for one, since in list(self._leaving.items()):
            if now > since + (_WAITED_FOR if one.waiting else _LAST_LOOK):
                self._dropped += one.rings.dropped
                del self._leaving[one]
                one.closed = True
                self._closing.submit(one.close)

    def _ask(self, now: float) -> None:
        """Have the opener look, if something may have come or gone."""
        if self._opener is None or self._opener.waiting or now < self._considered + _AGAIN:
            return  # what changes during a look is a reason for the next one
        self._considered = now
        # The last word is the process that was started last: threads count, too.
        last = Path("/proc/loadavg").read_text(encoding="ascii").split()[-1]
        if last != self._last_process or now > self._asked + _AT_LEAST or self._ended:
            self._asked, self._last_process, self._ended = now, last, False
            self._opener.ask()

    def _follow(self, one: Watched) -> None:
        """Hear of the end of a process that lives there, of the first that is still alive."""
        for at, pid in enumerate(one.namespace.pids):
            with suppress(OSError):
                life = os.pidfd_open(pid)
                if _is_over(life):  # and nobody has waited for it
                    os.close(life)
                    continue
                self._lives[life] = one, at
                self._poll.register(life, select.EPOLLIN)
                return

    def _has_ended(self, life: int) -> None:
        one, at = self._lives.pop(life)
        self._poll.unregister(life)
        os.close(life)
        one.namespace.pids = one.namespace.pids[at + 1 :] or one.namespace.pids[at:]
        self._ended = True
        if one.namespace.inode in self.others:
            self._follow(one)

    def _receive(self) -> Iterator[str]:
        """Take one message of the opener's; say what has come or gone."""
        if (opener := self._opener) is None:
            return
        said = opener.receive()
        match said:
            case None:
                self._poll.unregister(opener.fileno())
                self._opener = None
                self.trouble = "the process that looks for network namespaces has ended: later ones are not watched"
            case Alive():
                for inode in [one for one in self.others if one not in said.inodes]:
                    gone = self.others.pop(inode)
                    self._poll.unregister(gone.rings.fileno())
                    del self._ringing[gone.rings.fileno()]
                    self._busy = [one for one in self._busy if one is not gone]
                    self._leaving[gone] = time.monotonic()
                    for life in [life for life, (one, _) in self._lives.items() if one is gone]:
                        self._has_ended(life)
                    yield f"Gone: the network namespace {printable(gone.namespace.name)}."
                if said.too_many > self._too_many:
                    self.trouble = (
                        f"{count(said.too_many, 'network namespace')} more than can be watched: what happens there "
                        "only the kernel's tracepoint tells"
                    )
                self._too_many = said.too_many
                self.refused = {inode: one for inode, one in self.refused.items() if inode in said.inodes}
            case Shown(space, None):
                self.refused[space.inode] = said
                yield _not_entered(said)
            case Shown(space, rings, diag) if rings:
                named([space])
                one = Watched(space, rings, diag)
                self.others[space.inode] = one
                self._ringing[rings.fileno()] = one
                self._poll.register(rings.fileno(), select.EPOLLIN)
                self._follow(one)
                yield f"Watching the network namespace {printable(space.name)}, too."

    def all(self) -> list[Watched]:
        """Return all of them, ours first; those, too, that have just ended."""
        return [self.own, *self.others.values(), *self._leaving]

    def close(self) -> None:
        """Let go of all of them."""
        if self._opener:
            self._opener.close()
        self._poll.close()
        for life in self._lives:
            os.close(life)
        for one in self.all():
            self._closing.submit(one.close)
        self._closing.shutdown()


def _is_over(life: int) -> bool:
    """Whether the process of this descriptor has ended."""
    poll = select.poll()
    poll.register(life, select.POLLIN)
    return bool(poll.poll(0))


def _not_entered(shown: Shown) -> str:
    space = shown.namespace
    return (
        f"The network namespace at {printable(space.path)} ({space.inode}) could not be entered ({shown.why}): what "
        "happens there only the kernel's tracepoint tells."
    )


def _standing(one: Watched) -> Iterator[str]:
    """Say which sockets are connected to themselves there."""
    try:
        with ExitStack() as opened:
            diag = one.diag or opened.enter_context(SockDiag())
            sockets = diag.sockets(ports=())
    except OSError:
        return
    for line in sockets:
        if line.to_itself and line.state not in (State.TIME_WAIT, State.CLOSED, State.LISTEN):
            yield f"Connected to itself already: {line.local} in {printable(one.namespace.name)}."


def namespace_fields(space: Namespace, pid: int | None) -> dict[str, Json]:
    """Say for a report which network namespace it was, and in which container the process is that is found there."""
    lives = home_of(pid) if pid and not space.own else None
    if space.inode and not space.own:
        named([space])  # its first process may be another program by now
    return {
        "namespace": space.name,
        "inode": space.inode or None,
        "runtime": lives.runtime if lives else space.runtime,
        "id": lives.id if lives else space.id,
        "pod": lives.pod if lives else space.pod,
    }


def whereabouts(space: Namespace) -> Iterator[str]:
    """Say where it was, where that is not the host's own network."""
    if not space.own:
        yield f"It is in the network namespace {printable(space.name)}{f', pod {space.pod}' if space.pod else ''}."
