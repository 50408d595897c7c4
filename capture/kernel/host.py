"""What this host does with ephemeral ports, and so: whether, why and how soon a target can connect to itself.

Needs no root. Everything is read in the network namespace that the process is in.

A socket connects to itself when the kernel gives it, as its source port, the very port that it dials. The kernel does
not look out for that. Which ports it gives, and in which order, is ``RULES``; ``outlook()`` applies them to one target.
"""

from __future__ import annotations

import errno
import math
import os
import re
import socket
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from analysis.errors import CannotCapture, UsageError
from analysis.model import Endpoint
from analysis.odds import LINUX_2_6, LINUX_5_12, LINUX_5_18, RANDOM, Odds, Selection
from analysis.states import State

_PROC = Path("/proc")


class Rule(NamedTuple):
    """How connect() chooses a source port, from one kernel release on.

    ``halves``: it takes only ports of the parity of the range's low end while one is free, and bind() to port 0 takes
    only the others. ``selection``: how it goes on from one attempt to the next; ``description`` is the middle of
    a sentence about that.
    """

    since: tuple[int, int]
    halves: bool
    selection: Selection
    description: str


#: The newest first, with the commit that brought it. The code is __inet_hash_connect() in net/ipv4/inet_hashtables.c
#: and, for bind() to port 0, inet_csk_find_open_port(). Stable kernels before 5.18 took up the newest rule, too.
RULES = (
    Rule((5, 18), True, LINUX_5_18, "moving on by 2 to 16 at random"),
    Rule((5, 12), True, LINUX_5_12, "moving on by 2, seldom by 4"),
    Rule((4, 2), True, LINUX_2_6, "moving on by 2"),  # 07f4c90062f8
    Rule((0, 0), False, LINUX_2_6, "moving on by 1"),
)

#: From this release on, a socket can have a range of its own: setsockopt(IP_LOCAL_PORT_RANGE).
OWN_RANGE_SINCE = (6, 3)

#: include/net/tcp_states.h, the numbers in /proc/net/tcp.
STATES = dict(
    enumerate(
        (
            State.ESTABLISHED,
            State.SYN_SENT,
            State.SYN_RECEIVED,
            State.FIN_WAIT_1,
            State.FIN_WAIT_2,
            State.TIME_WAIT,
            State.CLOSED,
            State.CLOSE_WAIT,
            State.LAST_ACK,
            State.LISTEN,
            State.CLOSING,
            State.SYN_RECEIVED,  # NEW_SYN_RECV, the request object
        ),
        start=1,
    )
)


class TcpSocket(NamedTuple):
    """One line of /proc/net/tcp or tcp6. ``seconds`` is what is left of its timer (of TIME-WAIT, for one)."""

    local: Endpoint
    remote: Endpoint
    state: State
    seconds: float
    uid: int
    inode: int


@dataclass(frozen=True, slots=True)
class Kernel:
    """What the kernel says of its ephemeral ports: ``low`` to ``high``, both included, without ``reserved``.

    ``tw_reuse`` and ``tw_reuse_delay`` (milliseconds): when connect() may take over a 4-tuple that is in TIME-WAIT
    (0 never, 1 always, 2 on loopback). ``step_width``: 0 where unset or not known to this kernel.
    ``unprivileged_from``: the first port that everybody may bind().
    """

    release: str
    low: int
    high: int
    reserved: frozenset[int] = frozenset()
    tw_reuse: int = 2
    tw_reuse_delay: int = 1000
    step_width: int = 0
    unprivileged_from: int = 1024

    @property
    def version(self) -> tuple[int, int]:
        """The release as two numbers, ``(6, 18)``."""
        found = re.match(r"(\d+)\.(\d+)", self.release)
        return (int(found[1]), int(found[2])) if found else (0, 0)

    @property
    def rule(self) -> Rule:
        """How this kernel's connect() chooses."""
        return next(rule for rule in RULES if self.version >= rule.since)

    def candidates(self, *, bound_first: bool = False, taken: frozenset[int] = frozenset()) -> tuple[range, list[int]]:
        """The ports that an attempt starts its search at, and those of them that it can end with.

        *bound_first*: bind() to port 0 comes before connect(). *taken* ports are held by somebody's bind().
        """
        count = self.high - self.low + 1
        if not self.rule.halves:
            ports = range(self.low, self.low + count)
            return ports, self._free(ports, taken)
        count -= count % 2 if count > 1 else 0  # the kernel rounds down: the last port of an odd range is never given
        own, other = range(self.low, self.low + count, 2), range(self.low + 1, self.low + count, 2)
        if bound_first and other:
            own, other = other, own
        free = self._free(own, taken)
        return (own, free) if free else (other, self._free(other, taken))

    def _free(self, ports: range, taken: frozenset[int]) -> list[int]:
        return [port for port in ports if port not in self.reserved and port not in taken]

    def windows(self, *, bound_first: bool = False, taken: frozenset[int] = frozenset()) -> dict[int, int]:
        """The ports that an attempt can end with, each with the number of ports to start at that lead there.

        An attempt that starts at a port it cannot have goes on to the next one it can, so a port behind
        a reserved block gets what starts in the block, too; with ip_local_port_step_width that spreads evenly.
        """
        ports, free = self.candidates(bound_first=bound_first, taken=taken)
        if self.step_width or not free:
            return dict.fromkeys(free, 1)
        positions = [ports.index(port) for port in free]
        before = [positions[-1] - len(ports), *positions]
        return {port: position - last for port, position, last in zip(free, positions, before, strict=False)}

    def share(self, port: int, *, bound_first: bool = False, taken: frozenset[int] = frozenset()) -> float:
        """The chance that an attempt gets *port* as its source, if it may start anywhere."""
        windows = self.windows(bound_first=bound_first, taken=taken)
        return windows.get(port, 0) / max(1, sum(windows.values()))

    def odds(self, port: int, windows: dict[int, int], *, bound_first: bool = False, every: float = 0.0) -> Odds:
        """The odds of getting *port* with an attempt *every* so many seconds; 0: as quickly as may be.

        *windows* are those of ``windows()``, *bound_first* as there.
        """
        if port not in windows:
            return Odds(0.0)
        way = RANDOM if bound_first else self.rule.selection
        return way.odds(Counter(windows.values()), windows[port], every=every)


def kernel() -> Kernel:
    """Ask the running kernel. Raises CannotCapture where it is not Linux."""
    try:
        low, high = map(int, _setting("ip_local_port_range").split())
    except (OSError, ValueError) as error:
        raise CannotCapture(f"this needs Linux with /proc/sys/net ({error})") from error
    return Kernel(
        release=os.uname().release,
        low=low,
        high=high,
        reserved=_reserved(_setting("ip_local_reserved_ports", "")),
        tw_reuse=int(_setting("tcp_tw_reuse", "0")),
        tw_reuse_delay=int(_setting("tcp_tw_reuse_delay", "1000")),
        step_width=int(_setting("ip_local_port_step_width", "0")),
        unprivileged_from=int(_setting("ip_unprivileged_port_start", "1024")),
    )


def failed_attempts() -> int:
    """How many attempts to connect have failed in this network namespace so far (RFC 4022, tcpAttemptFails).

    Raises CannotCapture where the kernel does not tell.
    """
    try:
        lines = (_PROC / "net/snmp").read_text(encoding="ascii").splitlines()
        names, values = (line.split() for line in lines if line.startswith("Tcp:"))
        return int(values[names.index("AttemptFails")])
    except (OSError, ValueError) as error:
        raise CannotCapture(f"/proc/net/snmp does not count the attempts that fail ({error}): use --every") from error


def _setting(name: str, default: str | None = None) -> str:
    """One of net.ipv4, which serve IPv6 as well. *default* where this kernel does not have it."""
    try:
        setting = os.open(_PROC / "sys/net/ipv4" / name, os.O_RDONLY | os.O_CLOEXEC)
        try:
            # In one read: the kernel cuts a long list (of reserved ports) to the room there is, and says no more.
            return os.read(setting, 1 << 20).decode("ascii").strip()
        finally:
            os.close(setting)
    except FileNotFoundError:
        if default is None:
            raise
        return default


def _reserved(text: str) -> frozenset[int]:
    """The ports in ``8080,9148-9150``."""
    spans = [[int(end) for end in span.split("-")] for span in text.split(",") if span]
    return frozenset(port for first, *last in spans for port in range(first, (last or [first])[0] + 1))


def tcp_sockets(*ports: int) -> list[TcpSocket]:
    """List the TCP sockets of this network namespace that listen, are their own peer, or have one of the local *ports*.

    A socket that is bound but neither listening nor connected is not among them, see sockets.py. Raises OSError where
    the kernel's table cannot be read.
    """
    found = []
    ends = tuple(f":{port:04X}" for port in ports)
    for name in ("tcp", "tcp6"):
        table = _PROC / "net" / name
        if name == "tcp6" and not table.exists():  # no IPv6 in this kernel
            continue
        rows = (line.split() for line in table.read_text(encoding="ascii").splitlines()[1:])
        found += [_tcp_socket(row) for row in rows if row[3] == "0A" or row[1] == row[2] or row[1].endswith(ends)]
    return found


def _tcp_socket(words: list[str]) -> TcpSocket:
    _, local, remote, state, _, timer, _, uid, _, inode, *_ = words
    return TcpSocket(
        _endpoint(local),
        _endpoint(remote),
        STATES[int(state, 16)],
        int(timer.partition(":")[2], 16) / os.sysconf("SC_CLK_TCK"),
        int(uid),
        int(inode),
    )


def _endpoint(text: str) -> Endpoint:
    """``0100007F:C350``: 32-bit words in the host's byte order, as the kernel prints them."""
    address, _, port = text.partition(":")
    words = [int(address[at : at + 8], 16) for at in range(0, len(address), 8)]
    packed = b"".join(socket.htonl(word).to_bytes(4, "big") for word in words)
    if packed[:12] == b"\0" * 10 + b"\xff\xff":  # an IPv4 connection of an IPv6 socket
        packed = packed[12:]
    return Endpoint(packed, int(port, 16))


def target(host: str, port: int) -> Endpoint:
    """The endpoint to connect to itself. Raises UsageError unless *host* is a unicast address and *port* a TCP port."""
    if not 1 <= port <= 65535:
        raise UsageError(f"{port} is not a TCP port: 1 to 65535")
    try:
        endpoint = Endpoint.parse(host.removeprefix("::ffff:") if "." in host else host, port)
    except (OSError, ValueError):
        raise UsageError(f"{host!r} is not an IP address (names are not resolved): try 127.0.0.1 or ::1") from None
    first, wildcard = endpoint.packed[0], not any(endpoint.packed)
    if wildcard or first == 0xFF or (len(endpoint.packed) == 4 and first >= 224):
        raise UsageError(f"{host} is not the address of one socket: try 127.0.0.1, ::1 or an address of this machine")
    return endpoint


def dialled_from_itself(endpoint: Endpoint) -> bool:
    """Whether connect() to this address of ours takes it for the source as well; 127.0.0.2 is dialled from 127.0.0.1.

    A datagram socket is given its source in connect(), and nothing is sent. A wildcard, dialled, means loopback.
    """
    try:
        with socket.socket(family(endpoint), socket.SOCK_DGRAM) as probe:
            probe.connect((endpoint.address, 9))
            return not any(endpoint.packed) or probe.getsockname()[0] == endpoint.address
    except OSError:  # of a link, or gone meanwhile: nothing speaks against it
        return True


def family(endpoint: Endpoint) -> socket.AddressFamily:
    """AF_INET or AF_INET6."""
    return socket.AF_INET if len(endpoint.packed) == 4 else socket.AF_INET6


def check_own(endpoint: Endpoint) -> None:
    """Raise UsageError unless the address is one of this machine's (of this network namespace's)."""
    try:
        with socket.socket(family(endpoint), socket.SOCK_STREAM) as probe:
            probe.bind((endpoint.address, 0))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:  # the address is there, but no port is free
            return
        if error.errno == errno.EAFNOSUPPORT:
            raise UsageError(f"{endpoint.address}: this kernel has no IPv6") from None
        raise UsageError(
            f"{endpoint.address} is not an address of this machine, so no socket can connect to itself there: "
            "`ip address` lists those that are, --private makes one up"
        ) from None


def server_error(endpoint: Endpoint, *, reuse: bool = False) -> int:
    """Bind a socket as a server would, and let go of it: 0, or the errno that bind() gave. *reuse*: SO_REUSEADDR."""
    with socket.socket(family(endpoint), socket.SOCK_STREAM) as server:
        if reuse:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((endpoint.address, endpoint.port))
        except OSError as error:
            return error.errno or errno.EIO
    return 0


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
        """Whether this kernel lets connect() take over a TIME-WAIT between these addresses (tcp_tw_reuse)."""
        return self.kernel.tw_reuse == 1 or (self.kernel.tw_reuse == 2 and _loopback(self.target))

    @property
    def now(self) -> TcpSocket | None:
        """A socket that is connected to itself at this moment."""
        return next((one for one in self._to_itself() if one.state is not State.TIME_WAIT), None)

    def _to_itself(self) -> list[TcpSocket]:
        return [one for one in self.sockets if one.local == one.remote == self.target]

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
            so = "connect() passes it over" if self.barred else "bind() cannot have it, connect() may share it"
            return [f"Port {self.target.port} is taken ({holders or 'bound, though nobody listens'}): {so}."]
        return []


def _loopback(endpoint: Endpoint) -> bool:
    """Whether the address says loopback: the kernel does not look where the packets go (tcp_twsk_unique())."""
    return endpoint.packed[0] == 127 if len(endpoint.packed) == 4 else endpoint.packed == bytes(15) + b"\x01"


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
