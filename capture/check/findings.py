"""Who is connected to itself on this host now, which ports it can happen to, how soon, and what to do about it.

Everything is looked at in the network namespace that the process is in, and nothing is changed: no port is bound, no
packet is sent, no setting is written.
"""

from __future__ import annotations

import enum
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from analysis.odds import LINUX_5_18, Odds
from analysis.states import State

from ..kernel import addresses, port_choice, sockets
from ..kernel.number_lists import spans

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from ..kernel.port_choice import Kernel
    from ..kernel.socket_table import TcpSocket
    from ..kernel.sockets import Process

#: For each of these times (in seconds) the chance is reckoned that it has happened by then.
HORIZONS = (60, 3_600, 86_400, 604_800)


class Risk(enum.StrEnum):
    """Whether a client that keeps dialling a port of this host can be given that very port."""

    AT_RISK = "at risk"
    UNTIL = "safe only until"
    SAFE = "safe"


class Held(NamedTuple):
    """A socket and the processes that hold it; none where they cannot be seen, see ``Findings.missing``.

    ``idle``: the seconds since it last sent data or was acknowledged, so that it is at least that old; None where the
    kernel does not tell, or was not asked.
    """

    socket: TcpSocket
    processes: list[Process]
    idle: float | None = None

    @property
    def user(self) -> str:
        """Whose it is."""
        return sockets.user(self.socket.uid)

    @property
    def oldest(self) -> float | None:
        """The seconds that it can have existed at most: as long as its eldest process has run."""
        return max((one.seconds for one in self.processes), default=None)


class Port(NamedTuple):
    """What can happen to a port, and why. ``until`` is set if it is safe only until that.

    ``asked``: the user named it. ``listening``: who serves it. ``odds`` are those of a client that tries again at the
    pace asked for while nobody serves it; without a chance where it is safe.
    """

    port: int
    asked: bool
    listening: list[Held]
    risk: Risk
    reason: str
    until: str | None
    odds: Odds


class Measured(NamedTuple):
    """For how many seconds it was counted how many attempts to connect failed, and the count."""

    seconds: float
    failed: int


@dataclass(frozen=True, slots=True)
class Findings:
    """All that there is to say. ``every``: the seconds between two attempts that the odds are reckoned with.

    ``measured``: what that was taken from, if it was measured.

    ``selves`` are connected to themselves now, ``left`` is what earlier ones left in TIME-WAIT. ``missing``: what
    could not be seen; ``whole``: that this cannot hide a self-connect.
    """

    kernel: Kernel
    every: float
    measured: Measured | None
    selves: list[Held]
    left: list[TcpSocket]
    ports: list[Port]
    missing: list[str]
    whole: bool

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
        ports = {one.port for one in self.ports if one.risk in risks}
        return f"net.ipv4.ip_local_reserved_ports={spans(ports | self.kernel.reserved)}" if ports else None


def measured(seconds: float) -> Measured:
    """Count for so many seconds how many attempts to connect fail here. Raises CannotCapture where nobody counts them.

    They may go anywhere, so that a client of one port is no faster than that.
    """
    before = port_choice.failed_attempts()
    time.sleep(seconds)
    return Measured(seconds, port_choice.failed_attempts() - before)


def look(
    ports: Collection[int] = (),
    every: float = 1.0,
    *,
    measured: Measured | None = None,
    owners: tuple[dict[int, list[Process]], int] | None = None,
) -> Findings:
    """Look at this host, at what listens and at these *ports*; a client would try again *every* so many seconds.

    If any attempt failed while it was *measured*, theirs is the pace. *owners* is what sockets.owners() told, while
    there was privilege for it. Raises CannotCapture where this is not Linux.
    """
    if measured and measured.failed:
        every = measured.seconds / measured.failed
    kernel, table = port_choice.kernel(), sockets.table(ports)
    to_itself = [one for one in table.sockets if one.to_itself]
    selves = [one for one in to_itself if one.state is not State.TIME_WAIT]
    listening = [one for one in table.sockets if one.state is State.LISTEN]
    wanted = {*ports, *(one.local.port for one in (*selves, *listening))}
    held = [one for one in table.bound if one.local.port in wanted]
    by, closed = owners or sockets.owners({one.inode for one in (*selves, *listening, *held)})
    unknown = sum(one.inode not in by for one in (*selves, *listening, *held))
    bound = [Held(one, by.get(one.inode, [])) for one in (*listening, *table.bound)]
    return Findings(
        kernel=kernel,
        every=every,
        measured=measured,
        selves=[Held(one, by.get(one.inode, []), sockets.idle(one)) for one in selves],
        left=[one for one in to_itself if one.state is State.TIME_WAIT],
        ports=[_port(kernel, port, bound, every)._replace(asked=port in ports) for port in sorted(wanted)],
        missing=[*table.missing, *_unseen(unknown, closed)],
        whole=table.whole,
    )


def _unseen(unknown: int, closed: int) -> list[str]:
    """What cannot be told of owners: those of *unknown* sockets, while *closed* processes cannot be looked into."""
    if not unknown:
        return []
    why = "no process that can be seen from here holds them, as where they belong to another PID namespace"
    if closed:
        why = f"{closed:,} processes of other users cannot be looked into; root can"
    return [f"who holds {unknown:,} of the sockets: {why}"]


class _Verdict(NamedTuple):
    """Whether it can happen to a port, why, and what may change that."""

    risk: Risk
    reason: str
    until: str | None = None


_KINDS = ("even", "odd")


def _port(kernel: Kernel, port: int, bound: Sequence[Held], every: float) -> Port:
    """What can happen to the port, given all that is *bound*."""
    holding = [one for one in bound if one.socket.local.port == port]
    listening = [one for one in holding if one.socket.state is State.LISTEN]
    taken = frozenset(one.socket.local.port for one in bound if one.socket.local.port != port)
    windows = kernel.windows(taken=taken)
    odds = kernel.odds(port, windows, every=every)
    if odds.catch:
        verdict = _held(holding, listening) or _free(kernel, windows, odds, listening)
    else:
        verdict = _never(kernel, port, other=kernel.windows(bound_first=True, taken=taken))
    return Port(port, False, listening, *verdict, odds if verdict.risk is Risk.AT_RISK else Odds(0.0))


def _never(kernel: Kernel, port: int, other: Collection[int]) -> _Verdict:
    """Why connect() alone never takes the port; *other* are those that it takes after bind() to port 0."""
    span = f"{kernel.low}-{kernel.high}"
    if not kernel.low <= port <= kernel.high:
        return _Verdict(Risk.SAFE, f"source ports come from {span} (ip_local_port_range)")
    if port in kernel.reserved:
        return _Verdict(Risk.SAFE, "reserved: nobody is given it as a source port (ip_local_reserved_ports)")
    if port not in other:
        return _Verdict(Risk.SAFE, f"{span} is an odd number of ports, of which the last is left out")
    own, its = _KINDS[kernel.low % 2], _KINDS[port % 2]
    reason = f"{its}, and connect() takes {own} ones of {span}, like the first"
    return _Verdict(Risk.UNTIL, reason, f"a client calls bind() to port 0 before connect(), or no {own} one is free")


def _held(holding: Sequence[Held], listening: Sequence[Held]) -> _Verdict | None:
    """What keeps a port, which could be taken, from being taken or from being dialled from its own address."""
    if holding and not listening:
        whose = ", ".join(f"{one.name} ({one.pid})" for one in holding[0].processes) or "who holds it"
        reason = "bound by a socket that does not listen: source ports are not taken from such"
        return _Verdict(Risk.UNTIL, reason, f"{whose} closes that socket")
    ends = [one.socket.local for one in listening]
    if ends and not any(map(addresses.dialled_from_itself, ends)):
        reason = f"who dials {ends[0].address} does so from another address, unless told to"
        return _Verdict(Risk.UNTIL, reason, f"a client calls bind() to {ends[0].address} before connect()")
    return None


def _free(kernel: Kernel, windows: Collection[int], odds: Odds, listening: Sequence[Held]) -> _Verdict:
    """What makes the port one that is taken sooner or later."""
    kind = f"{_KINDS[kernel.low % 2]} " if kernel.rule.halves else ""
    reason = f"one of {len(windows):,} {kind}source ports of {kernel.low}-{kernel.high}, "
    reason += f"given to 1 attempt in {1 / odds.chance:,.0f}" + (" once nobody listens" if listening else "")
    return _Verdict(Risk.AT_RISK, reason)


def caveat(kernel: Kernel) -> str | None:
    """What the release does not tell for sure of how its kernel chooses."""
    if kernel.rule.selection is LINUX_5_18:
        return None
    return (
        f"Linux {kernel.release} is taken for one that goes through the ports {kernel.rule.description}. "
        "If it has the rule of 5.18, which stable releases of older series took up, it takes about twice as long "
        "on average."
    )
