"""Whether, why and how soon a target can connect to itself on this host, and what is in the way.

``outlook()`` applies what port_choice.py says of the kernel, and what socket_table.py has of the port, to one target.
"""

from __future__ import annotations

import errno
import math
from dataclasses import dataclass

from analysis.model import Endpoint
from analysis.states import State

from .addresses import server_error
from .port_choice import kernel
from .socket_table import tcp_sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from analysis.odds import Odds

    from .port_choice import Kernel
    from .socket_table import TcpSocket


@dataclass(frozen=True, slots=True)
class Outlook:
    """What will happen when somebody keeps connecting to ``target`` while nobody serves it.

    ``bound_first``: only sockets that bind() to port 0 beforehand get the target's port. ``odds`` are those of
    attempts without a pause. ``sockets`` are those with the target's port as local port.
    ``bind_error`` is the errno of binding the target with SO_REUSEADDR, or 0. ``listening``: who serves it.
    ``left``: an earlier self-connect in TIME-WAIT; ``gives_way`` if connect() may have its place soon.
    """

    target: Endpoint
    kernel: Kernel
    bound_first: bool
    odds: Odds
    sockets: tuple[TcpSocket, ...]
    bind_error: int

    @property
    def in_range(self) -> bool:
        """Whether the port is in the ephemeral range."""
        return self.kernel.low <= self.target.port <= self.kernel.high

    @property
    def listening(self) -> TcpSocket | None:
        """A socket that would accept the connection."""
        return next(
            (
                one
                for one in self.sockets
                if one.state is State.LISTEN and one.local in (self.target, *_wildcards(self.target))
            ),
            None,
        )

    @property
    def left(self) -> TcpSocket | None:
        """What an earlier self-connect left in TIME-WAIT."""
        return next((one for one in self._to_itself() if one.state is State.TIME_WAIT), None)

    @property
    def gives_way(self) -> bool:
        """Whether ``left`` keeps the port from connect() for ``tw_reuse_delay`` only, not to the end of TIME-WAIT.

        Not where the port had been bound; that shows in that it can be bound again, see repro.py.
        """
        return self.left is not None and self.renewable and self.bind_error == errno.EADDRINUSE

    @property
    def renewable(self) -> bool:
        """Whether this kernel lets connect() take over a TIME-WAIT of the target to itself."""
        return self.kernel.renews(self.target)

    @property
    def now(self) -> TcpSocket | None:
        """A socket that is connected to itself at this moment."""
        return next((one for one in self._to_itself() if one.state is not State.TIME_WAIT), None)

    def _to_itself(self) -> list[TcpSocket]:
        return [one for one in self.sockets if one.to_itself and one.local == self.target]

    @property
    def held(self) -> bool:
        """Whether somebody's socket, other than that TIME-WAIT, keeps bind() from having the port."""
        return self.bind_error == errno.EADDRINUSE and self.left is None

    @property
    def barred(self) -> bool:
        """Whether it keeps connect() from the port as well: it is bound, or connected to itself.

        A connection of somebody's to elsewhere does not, if its port came from connect().
        """
        bound = not self.sockets or any(one.state is State.LISTEN for one in self.sockets)
        return self.held and not self.listening and (bound or self.now is not None)

    def sentences(self) -> list[str]:
        """Tell it to a person: where source ports come from, whether the target is one of them, what is in the way."""
        return [*self._why(), *self._in_the_way()]

    def _why(self) -> list[str]:
        kernel, port, odds = self.kernel, self.target.port, self.odds
        span = f"{kernel.low}-{kernel.high}"
        if not self.in_range:
            return [f"connect() takes its source port from {span} (ip_local_port_range), never port {port}."]
        if port in kernel.reserved:
            return [f"Port {port} is in ip_local_reserved_ports: the kernel never gives it away as a source port."]
        if not self.odds.catch:
            return [f"Source ports come from {span}, but {port} is the last of an odd number of ports: it is left out."]
        ports, free = kernel.candidates(bound_first=self.bound_first)
        kind = ("odd" if ports[0] % 2 else "even") + " " if ports.step == 2 else ""
        who = "After bind() to port 0, connect()" if self.bound_first else "connect()"
        choice = "each time another one at random" if self.bound_first else kernel.rule.description
        lines = [f"{who} takes its source port from the {len(free):,} {kind}ports of {span}, {choice}."]
        if self.bound_first:
            lines.insert(0, f"connect() alone never takes port {port}: it keeps to the ports of {kernel.low}'s parity.")
        lines.append(
            f"{port} is one of them: 1 attempt in {1 / odds.chance:,.0f} hits, the first after {odds.mean:,.0f} on "
            f"average, after {odds.attempts(0.99):,.0f} at most in 99 of 100 cases."
        )
        return lines

    def _in_the_way(self) -> list[str]:
        if self.now:
            return [f"A socket (inode {self.now.inode}, uid {self.now.uid}) is connected to itself there already."]
        if self.listening:
            return [f"A server (uid {self.listening.uid}) listens on {self.listening.local}: connect() will reach it."]
        if self.left:
            more = f"it keeps the port from connect() for {math.ceil(self.left.seconds)} s more"
            soon = f"connect() may take its place {self.kernel.tw_reuse_delay / 1000:g} s after it began"
            return [f"An earlier self-connect is in TIME-WAIT: {soon if self.gives_way else more}."]
        if self.held:
            holders = ", ".join(f"{one.local} {one.state} (uid {one.uid})" for one in self.sockets[:3])
            shared = "bind() cannot have it, connect() may share it, unless bind() gave it to them"
            so = "connect() passes it over" if self.barred else shared
            return [f"Port {self.target.port} is taken ({holders or 'bound, though nobody listens'}): {so}."]
        if elsewhere := [one for one in self.sockets if not one.to_itself]:
            # The kernel looks at who has the port, whatever their addresses (__inet_hash_connect()).
            one = min(elsewhere, key=lambda one: one.state is not State.LISTEN)
            sure = one.state is State.LISTEN
            rest = f" for {math.ceil(one.seconds)} s more" if one.state is State.TIME_WAIT else ""
            so = "connect() passes it over" if sure else "if by bind(), connect() passes it over meanwhile"
            return [f"Port {self.target.port} is that of {one.local}, too ({one.state}{rest}): {so}."]
        return []


def _wildcards(endpoint: Endpoint) -> list[Endpoint]:
    """The addresses to listen on that take in the endpoint's own: an IPv6 socket may serve IPv4 as well."""
    return [Endpoint(bytes(size), endpoint.port) for size in (4, 16) if size >= len(endpoint.packed)]


def outlook(endpoint: Endpoint) -> Outlook:
    """Look at the host before anything is tried; *endpoint*'s address is this machine's own (``check_own``)."""
    asked = kernel()
    port = endpoint.port
    sockets = tcp_sockets(port)
    # A listening socket was bound, and so is skipped. What else is bound does not show.
    taken = frozenset(one.local.port for one in sockets if one.state is State.LISTEN and one.local.port != port)
    plain, bound = asked.windows(taken=taken), asked.windows(bound_first=True, taken=taken)
    bound_first = port not in plain and port in bound
    return Outlook(
        target=endpoint,
        kernel=asked,
        bound_first=bound_first,
        odds=asked.odds(port, bound if bound_first else plain, bound_first=bound_first),
        sockets=tuple(one for one in sockets if one.local.port == port),
        bind_error=server_error(endpoint, reuse=True),
    )
