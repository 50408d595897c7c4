"""Which sockets of this host are connected to themselves, to which ports it can happen, how soon, and the remedies.

Findings are about one network namespace, Survey about all that were looked at. Nothing is changed: no port is bound,
no packet is sent, no setting is written.
"""

from __future__ import annotations

import enum
import math
import time

from analysis.odds import Odds
from analysis.records import NamedTuple
from analysis.states import State
from analysis.text import count

from ..kernel import addresses, port_choice, sockets
from ..kernel.number_lists import LONGEST, spans
from ..kernel.socket_options import FREE, bind

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
    from typing import Self

    from analysis.model import Endpoint

    from ..kernel.namespaces import Inside, Namespace, Refused
    from ..kernel.port_choice import Kernel
    from ..kernel.socket_options import Bind, Options
    from ..kernel.socket_table import TcpSocket
    from ..kernel.sockets import Process, Table

#: For each of these times (in seconds), the chance is calculated that it has happened by then.
HORIZONS = (60, 3_600, 86_400, 604_800)

#: Sockets of a port whose options are asked, and that are listed for programs.
MOST_HOLDERS = 100


class Risk(enum.StrEnum):
    """Whether a client that keeps dialling a port of this host can be given that very port."""

    AT_RISK = "at risk"
    UNTIL = "safe only until"
    SAFE = "safe"


class Held(NamedTuple):
    """A socket and the processes that hold it; none where they cannot be seen, see ``Findings.missing``.

    ``idle``: the seconds since it last sent data or received an acknowledgment; it is at least that old. None where
    the kernel does not say, or was not asked. ``options`` are its SO_REUSEADDR and SO_REUSEPORT; None where that could
    not be seen, or was not asked.
    """

    socket: TcpSocket
    processes: list[Process]
    idle: float | None = None
    options: Options | None = None

    @property
    def user(self) -> str:
        """The name of the user who owns it."""
        return sockets.user(self.socket.uid)

    @property
    def oldest(self) -> float | None:
        """Its greatest possible age in seconds: the age of its oldest process; None where no process is known."""
        return max((one.seconds for one in self.processes), default=None)


class Port(NamedTuple):
    """Whether a client can be given a port as its source, and why (``reason``).

    ``until`` says what ends its safety, if it is safe only until then. ``asked``: whether the user named it.
    ``listening``: the sockets that serve it; ``others`` are those that have it otherwise: as a connection's own port,
    in TIME-WAIT, connected to themselves, or bound and no more (CLOSED). ``bind`` is what bind() to all addresses of
    their families gets meanwhile. ``odds`` are those of a client that tries again at the asked pace while nobody
    serves the port; their chance is 0 where it is safe.
    """

    port: int
    asked: bool
    listening: list[Held]
    risk: Risk
    reason: str
    until: str | None
    odds: Odds
    others: Sequence[Held] = ()
    bind: Bind = FREE


#: Which processes hold which sockets, by inode, and how many processes could not be looked into.
Owners = tuple[dict[int, list["Process"]], int]


class Seen(NamedTuple):
    """What was asked of a network namespace before privilege was given up; ``options`` are by the socket's inode."""

    owners: Owners
    table: Table
    options: Mapping[int, Options]


class Measured(NamedTuple):
    """How many attempts to connect ``failed`` on this host within how many ``seconds``."""

    seconds: float
    failed: int


class Findings(NamedTuple):
    """What was found in a network namespace: in ``namespace``, or in the process's own.

    ``every``: the seconds between two attempts with which the odds are calculated; ``measured``: the measurement from
    which they come, if there was one. ``selves``: the sockets that are connected to themselves now; ``left``: those
    that were and are in TIME-WAIT. ``missing``: sentences about what could not be seen; ``whole``: whether every
    self-connect would have been seen all the same, and no part of the kernel that tells of sockets is missing.
    """

    kernel: Kernel
    every: float
    measured: Measured | None
    selves: list[Held]
    left: list[TcpSocket]
    ports: list[Port]
    missing: list[str]
    whole: bool
    namespace: Namespace | None = None

    @property
    def name(self) -> str:
        """What the network namespace is called."""
        return self.namespace.name if self.namespace else "self"

    @property
    def status(self) -> int:
        """The exit status: 1 something is connected to itself, 4 that cannot be ruled out, 0 nothing is."""
        return 1 if self.selves else 0 if self.whole else 4

    @property
    def remedy(self) -> str | None:
        """The setting that reserves the ports at risk and keeps what is reserved; None where there is none at risk."""
        return self._reserve(Risk.AT_RISK)

    @property
    def thorough(self) -> str | None:
        """The same with the ports that are safe only for now; None where that is no more than the remedy."""
        setting = self._reserve(Risk.AT_RISK, Risk.UNTIL)
        return setting if setting != self.remedy else None

    def _reserve(self, *risks: Risk) -> str | None:
        low, high = self.kernel.low, self.kernel.high
        ports = {one.port for one in self.ports if one.risk in risks and low <= one.port <= high}
        return f"net.ipv4.ip_local_reserved_ports={spans(ports | self.kernel.reserved, LONGEST)}" if ports else None


def measured(seconds: float) -> Measured:
    """Count for so many *seconds* how many attempts to connect fail. Raises CannotCapture where nobody counts them.

    The attempts may go to several ports, so the attempts at one port are at most as many.
    """
    before = port_choice.failed_attempts()
    time.sleep(seconds)
    return Measured(seconds, port_choice.failed_attempts() - before)


def look(
    ports: Collection[int] = (),
    every: float = 1.0,
    *,
    measured: Measured | None = None,
    of: Inside | None = None,
    seen: Seen | None = None,
) -> Findings:
    """Look at a network namespace, at what listens and at these *ports*; a client tries again *every* so many seconds.

    If *measured* has a failed attempt, its pace counts and not *every*. *of* is the namespace, ours if None; *seen* is
    what was asked before privilege was given up, if it was. Raises CannotCapture where this is not Linux.
    """
    if measured and measured.failed:
        every = measured.seconds / measured.failed
    kernel = port_choice.kernel(of.settings, of.rule) if of else port_choice.kernel()
    table = seen.table if seen else sockets.table(ports, of)
    use = _Use(table, ports)
    by, closed = seen.owners if seen else sockets.owners({one.inode for one in use.all()})
    options = seen.options if seen else {}
    # A socket without an inode has no process any more.
    unknown = sum(one.inode != 0 and one.inode not in by for one in (*use.selves, *use.listening, *use.bound))

    def held(one: TcpSocket) -> Held:
        return Held(one, by.get(one.inode, []), options=options.get(one.inode))

    bound = [held(one) for one in (*use.listening, *table.bound)]
    dialled = of.routes.dialled_from_itself if of and of.routes else addresses.dialled_from_itself
    others: dict[int, list[Held]] = {}
    for one in (*use.selves, *use.left, *use.bound, *use.others):
        others.setdefault(one.local.port, []).append(held(one))
    return Findings(
        kernel=kernel,
        every=every,
        measured=measured,
        selves=[held(one)._replace(idle=sockets.idle(one, of)) for one in use.selves],
        left=use.left,
        ports=[
            _used(kernel, _port(kernel, port, bound, every, dialled), others.get(port, []), table, asked=port in ports)
            for port in sorted(use.ports)
        ],
        missing=[*table.missing, *_unseen(unknown, closed)],
        whole=table.whole,
        namespace=of.namespace if of else None,
    )


class _Use:
    """Who uses which of the ports that are of interest: those of *ports*, of servers, and of self-connects."""

    def __init__(self, table: Table, ports: Collection[int]) -> None:
        to_itself = [one for one in table.sockets if one.to_itself]
        self.selves = sorted(
            (one for one in to_itself if one.state is not State.TIME_WAIT), key=lambda one: one.local.port
        )
        self.left = [one for one in to_itself if one.state is State.TIME_WAIT]
        self.listening = [one for one in table.sockets if one.state is State.LISTEN]
        self.ports = {*ports, *(one.local.port for one in (*self.selves, *self.listening))}
        self.bound = [one for one in table.bound if one.local.port in self.ports]
        self.others = [
            one
            for one in table.sockets
            if one.local.port in self.ports and not one.to_itself and one.state is not State.LISTEN
        ]

    def all(self) -> Iterator[TcpSocket]:
        """Return those that have a process, or may have one."""
        yield from (*self.selves, *self.listening, *self.bound, *self.others)


def to_ask(table: Table, ports: Collection[int]) -> set[int]:
    """The inodes of the sockets whose options tell what bind() gets of a port: some of each, where there are many."""
    use = _Use(table, ports)
    served = {one.local.port for one in use.listening}
    asked: dict[int, int] = {}
    wanted = set()
    for one in use.all():
        port = one.local.port
        # While somebody listens on it nobody asks, but whom the user sends.
        if one.inode and (port in ports or port not in served or one.to_itself):
            asked[port] = asked.get(port, 0) + 1
            if asked[port] <= MOST_HOLDERS:
                wanted.add(one.inode)
    return wanted


class Survey(NamedTuple):
    """What was found in the network namespaces of this host that were looked at: ``each`` in turn, ours first if asked.

    ``refused`` are those that could not be entered; ``missing`` says what else could not be seen, ``whole`` is False
    where that may hide a socket that is connected to itself. ``everywhere``: whether all were asked for.
    """

    each: list[Findings]
    refused: list[Refused]
    missing: list[str]
    whole: bool
    everywhere: bool = False

    @classmethod
    def of_one(cls, one: Findings) -> Self:
        """One network namespace and no more."""
        return cls([one], [], [], whole=True)

    @property
    def named(self) -> bool:
        """Whether it has to be said which namespace something is in: it is not ours alone that was looked at."""
        return len(self.each) > 1 or any(one.namespace and not one.namespace.own for one in self.each)

    @property
    def status(self) -> int:
        """The exit status: 1 something is connected to itself, 4 that cannot be ruled out, 0 nothing is."""
        if any(one.selves for one in self.each):
            return 1
        return 0 if self.complete else 4

    @property
    def complete(self) -> bool:
        """Whether every self-connect in what was asked for would have been seen."""
        return self.whole and not self.refused and all(one.whole for one in self.each)


def _unseen(unknown: int, closed: int) -> list[str]:
    """Say that *unknown* sockets have no known owner, because *closed* processes could not be read."""
    if not unknown:
        return []
    why = "no visible process does; the kernel itself does, or a process in another PID namespace"
    if closed:
        why = f"{count(closed, 'process')} of other users cannot be read; run it as root"
    return [f"who holds {unknown:,} of the sockets: {why}"]


def _used(kernel: Kernel, port: Port, others: list[Held], table: Table, *, asked: bool) -> Port:
    """Add who uses the port; it is not safe where a socket is connected to itself on it."""
    sockets = [one.socket for one in others if one.socket.state is not State.CLOSED]
    if port.risk is not Risk.AT_RISK and any(one.to_itself and one.state is not State.TIME_WAIT for one in sockets):
        until = "a client calls bind() with the port that it dials, as one did: it meets itself, whatever the port"
        port = port._replace(risk=Risk.UNTIL, until=until)
    if port.risk is Risk.AT_RISK:
        unseen = [] if table.bound_told or port.listening else [_UNSEEN_BOUND]
        port = port._replace(reason="; ".join((port.reason, *_for_now(kernel, sockets), *unseen)))
    holders = [(one.socket.state, one.options) for one in (*port.listening, *others)]
    return port._replace(asked=asked, others=others, bind=bind(holders))


_UNSEEN_BOUND = "if a socket is bound to it and no more, which is not told here, connect() passes it over meanwhile"


def _for_now(kernel: Kernel, sockets: Sequence[TcpSocket]) -> Iterator[str]:
    """Say what may keep connect() from a port at risk as long as these have it; who bound it cannot be seen."""
    if elsewhere := [one for one in sockets if not one.to_itself]:
        has = "another socket has" if len(elsewhere) == 1 else f"{len(elsewhere):,} other sockets have"
        yield f"{has} it, too: if by bind(), connect() passes it over meanwhile"
    for one in sockets:
        if one.to_itself and one.state is State.TIME_WAIT:
            first = f", else connect() to {one.local} does for the first {kernel.tw_reuse_delay / 1000:g} s"
            so = first if kernel.renews(one.local) else f", else connect() to {one.local} does"
            yield (
                f"a self-connect of {one.local} is in TIME-WAIT for {math.ceil(one.seconds)} s more: if it had called "
                f"bind(), connect() passes the port over meanwhile{so}"
            )


class _Verdict(NamedTuple):
    """Whether it can happen to a port, why, and what may change that."""

    risk: Risk
    reason: str
    until: str | None = None


_KINDS = ("even", "odd")


def _port(kernel: Kernel, port: int, bound: Sequence[Held], every: float, dialled: Callable[[Endpoint], bool]) -> Port:
    """What can happen to the port, given all that is *bound*."""
    holding = [one for one in bound if one.socket.local.port == port]
    listening = [one for one in holding if one.socket.state is State.LISTEN]
    taken = frozenset(one.socket.local.port for one in bound if one.socket.local.port != port)
    windows = kernel.windows(taken=taken)
    odds = kernel.odds(port, windows, every=every)
    if odds.catch:
        verdict = _held(holding, listening, dialled) or _free(kernel, windows, odds, listening)
    else:
        verdict = _never(kernel, port, taken)
    return Port(port, False, listening, *verdict, odds if verdict.risk is Risk.AT_RISK else Odds(0.0))


def _never(kernel: Kernel, port: int, taken: frozenset[int]) -> _Verdict:
    """Why connect() alone never takes the port, where others are *taken*."""
    span = f"{kernel.low}-{kernel.high}"
    if not kernel.low <= port <= kernel.high:
        return _Verdict(Risk.SAFE, f"source ports come from {span} (ip_local_port_range)")
    if port in kernel.reserved:
        return _Verdict(Risk.SAFE, "reserved: nobody is given it as a source port (ip_local_reserved_ports)")
    if port not in kernel.windows(bound_first=True, taken=taken):
        return _Verdict(Risk.SAFE, f"{span} is an odd number of ports, of which the last is left out")
    own, its = _KINDS[kernel.low % 2], _KINDS[port % 2]
    reason = f"{its}, and connect() prefers {own} ones, like {kernel.low}, the first of {span}"
    return _Verdict(Risk.UNTIL, reason, f"a client calls bind() to port 0 before connect(), or no {own} one is free")


def _held(holding: Sequence[Held], listening: Sequence[Held], dialled: Callable[[Endpoint], bool]) -> _Verdict | None:
    """Say what protects a port that connect() could take: a socket holds it, or clients have another address."""
    if holding and not listening:
        whose = ", ".join(f"{one.name} ({one.pid})" for one in holding[0].processes) or "who holds it"
        reason = "bound by a socket that does not listen: the kernel gives no such port as a source port"
        return _Verdict(Risk.UNTIL, reason, f"{whose} closes that socket")
    ends = [one.socket.local for one in listening]
    if ends and not any(map(dialled, ends)):
        reason = f"a client that dials {ends[0].address} gets another source address, unless it binds to this one"
        return _Verdict(Risk.UNTIL, reason, f"a client calls bind() to {ends[0].address} before connect()")
    return None


def _free(kernel: Kernel, windows: Collection[int], odds: Odds, listening: Sequence[Held]) -> _Verdict:
    """Say that the port is given to a client sooner or later, and to how many attempts."""
    kind = f"{_KINDS[kernel.low % 2]} " if kernel.rule.halves else ""
    reason = f"one of {len(windows):,} {kind}source ports of {kernel.low}-{kernel.high}, "
    reason += f"given to 1 attempt in {1 / odds.chance:,.0f}" + (" once nobody listens" if listening else "")
    return _Verdict(Risk.AT_RISK, reason)


def caveat(kernel: Kernel) -> str | None:
    """Say how the kernel was measured to choose, or what its release leaves open about that; None where nothing."""
    if kernel.measured:
        return f"(Measured: this kernel goes through the ports {kernel.rule.description}.)"
    if kernel.certain:
        return None
    return (
        f"Linux {kernel.release} is assumed to go through the ports {kernel.rule.description}: which changes of later "
        "releases it took up cannot be seen. --measure-rule finds out within a second."
    )
