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
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.states import State
from analysis.text import printable
from analysis.views.phrases import count

from ..kernel import sockets
from ..kernel.namespaces import NOT_FOUND, Namespace, home_of, named
from ..kernel.netlink import SockDiag
from ..kernel.socket_owner import SocketOwner
from .namespace_opener import Alive, Shown

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from analysis.report import Json

    from ..kernel.kernel_states import KernelStates
    from ..kernel.tracepoint import StateChange
    from ..packets.watch_rings import WatchRings
    from .namespace_opener import NamespaceOpener

#: Seconds from one look for namespaces that have come or gone to the next; where nothing tells of any.
_AGAIN, _AT_LEAST = 0.4, 5.0
#: Seconds between two looks into the flight recorders of namespaces where little happens, and of those of the others.
_RARELY, _BUSY = 0.2, 0.01
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
        self._poll = select.poll()
        self.own = own
        self.others: dict[int, Watched] = {}
        self.leaving: list[Watched] = []  # they have ended, and what their rings hold is not told yet
        self.refused: dict[int, Shown] = {}
        self.trouble: str | None = None
        self._poll.register(own.rings.fileno(), select.POLLIN)
        self._considered = self._asked = 0.0
        self._last_process = ""
        self._looked, self._busy = 0.0, list[Watched]()
        self._ringing: dict[int, Watched] = {}  # by descriptor
        self._closing = ThreadPoolExecutor(_AT_ONCE)
        if opener:
            self._poll.register(opener.fileno(), select.POLLIN)
            opener.ask()
            end = time.monotonic() + _START
            while opener.waiting and time.monotonic() < end and not self.trouble:
                list(self._receive())

    @property
    def everywhere(self) -> bool:
        """Whether it is the whole host that is watched."""
        return self._everywhere

    @property
    def dropped(self) -> int:
        """How many packets the kernel has dropped so far in all that are watched now."""
        return sum(one.rings.dropped for one in self.all())

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
        self._poll.register(signalled, select.POLLIN)
        ready = {descriptor for descriptor, _ in self._poll.poll(pause * 1000)}
        remarks = []
        if self._opener and self._opener.fileno() in ready:
            remarks = list(self._receive())
        now = time.monotonic()
        if now > self._looked + _RARELY:
            self._looked = now
            self._busy = [one for one in self.others.values() if one.rings.stirred()]
        answered = [self._ringing[one] for one in ready if one in self._ringing]
        due = list(dict.fromkeys((self.own, *self._busy, *answered, *self.leaving)))
        self._busy = [one for one in self._busy if one.rings.busy]
        self._ask(now)
        return signalled in ready, due, remarks

    def let_go(self, but: Iterable[Watched]) -> None:
        """Close those that have ended, *but* these: what they showed is not told yet."""
        wanted = set(but)
        for one in [one for one in self.leaving if one not in wanted]:
            self.leaving.remove(one)
            self._closing.submit(one.close)

    def _ask(self, now: float) -> None:
        """Have the opener look, if something may have come or gone."""
        if self._opener is None or now < self._considered + _AGAIN:
            return
        self._considered = now
        # The last word is the process that was started last: threads count, too.
        last = Path("/proc/loadavg").read_text(encoding="ascii").split()[-1]
        if last != self._last_process or now > self._asked + _AT_LEAST or self._one_has_ended():
            self._asked, self._last_process = now, last
            self._opener.ask()

    def _one_has_ended(self) -> bool:
        return any(
            one.namespace.pids and not os.path.exists(f"/proc/{one.namespace.pids[0]}")  # noqa: PTH110 - often
            for one in self.others.values()
        )

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
                    self.leaving.append(gone)
                    yield f"Gone: the network namespace {printable(gone.namespace.name)}."
                self.refused = {inode: one for inode, one in self.refused.items() if inode in said.inodes}
            case Shown(space, None):
                self.refused[space.inode] = said
                yield _not_entered(said)
            case Shown(space, rings, diag) if rings:
                named([space])
                one = Watched(space, rings, diag)
                self.others[space.inode] = one
                self._ringing[rings.fileno()] = one
                self._poll.register(rings.fileno(), select.POLLIN)
                yield f"Watching the network namespace {printable(space.name)}, too."

    def all(self) -> list[Watched]:
        """Return all of them, ours first, and those that have ended last."""
        return [self.own, *self.others.values(), *self.leaving]

    def close(self) -> None:
        """Let go of all of them."""
        if self._opener:
            self._opener.close()
        for one in self.all():
            self._closing.submit(one.close)
        self._closing.shutdown()


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


def teller(change: StateChange, kernel_states: KernelStates) -> tuple[SocketOwner, Namespace]:
    """Find whose socket it was that the tracepoint told of, and what its namespace may be called: by its process.

    The namespace's number is not known, because the link to it may not be read without privilege.
    """
    found = SocketOwner(change.time, change.source)
    space = Namespace(0, name="unknown")
    pid = kernel_states.caller(change.source, change.time)
    if pid:
        space.pids = [pid]
        named([space])
        known = sockets.process(pid)
        found = found._replace(pid=pid, process=known.name if known else None, user=known.user if known else None)
    return found, space


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
