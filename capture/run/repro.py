"""Making a socket connect to itself, and reporting what happened.

Every way is the same loop: make a socket, prepare it, connect() to a port that nobody serves; repeat until the answer
is not ECONNREFUSED. The ways differ in how they prepare the socket (``WAYS``). ``walk`` is what happens in practice,
the retry loop of a client whose server is down. In the others the port is not left to the kernel's choice.

The loop runs in a process of its own, ``Repro``, so that it does not share a Python interpreter with the recorder. It
reports to its parent in lines of JSON, whose fields are those of ``Progress``.
"""

from __future__ import annotations

import contextlib
import errno
import json
import math
import os
import select
import signal
import socket
import struct
import sys
import time
from dataclasses import dataclass

from analysis.errors import CannotCapture, UsageError
from analysis.records import NamedTuple, TypedDict

from ..kernel import addresses, netlink, sockets
from ..kernel.port_rules import OWN_RANGE
from .command import die_with

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn, TypeAlias

    from analysis.model import Endpoint

    from ..kernel.port_outlook import Outlook

#: What the socket says to itself.
GREETING = b"hello"

_IP_BIND_ADDRESS_NO_PORT, _IP_LOCAL_PORT_RANGE = 24, 51  # <linux/in.h>, Linux 4.2 and 6.3
_A_LOOK = 64  # attempts between two looks at the clock: about a millisecond
_SECONDS_A_REPORT = 0.1
_SECONDS_A_WAIT = 0.02  # while the port is in TIME-WAIT
_PATIENCE = 2.0  # for what is on its way within the kernel already

#: The fewest attempts without a limit of the user's: they outlast the second for which a TIME-WAIT keeps its port.
_ATTEMPTS = 200_000
#: Without a limit of the user's, give up after so many times the mean: 1 walk in 485 million takes longer.
_MEANS = 20


#: errno of a port that an earlier connection, in TIME-WAIT, still has.
_TAKEN = (errno.EADDRINUSE, errno.EADDRNOTAVAIL)

_HINTS = {
    errno.EADDRINUSE: ": somebody's socket holds the port",
    errno.EADDRNOTAVAIL: ": no source port is free",
    errno.EACCES: ": not for this user, or a firewall forbids it",
    errno.EPERM: ": a firewall forbids it",
    errno.ETIMEDOUT: ": nothing answers, a firewall may be in the way",
}

Prepare: TypeAlias = "Callable[[socket.socket, tuple[str, int]], None]"


class Way(NamedTuple):
    """One way to the target: how it is described, and what happens to each socket before it connects."""

    description: str
    prepare: Prepare | None = None


def _bind_any(sock: socket.socket, address: tuple[str, int]) -> None:
    sock.bind((address[0], 0))


def _bind_target(sock: socket.socket, address: tuple[str, int]) -> None:
    try:
        sock.bind(address)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        # The TIME-WAIT of an earlier run of ours lets us share the port, see run(). The option is set for this call
        # alone: with it, a server that sets it as well would get the port during the self-connect.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)


def _own_range(sock: socket.socket, address: tuple[str, int]) -> None:
    sock.setsockopt(socket.IPPROTO_IP, _IP_LOCAL_PORT_RANGE, struct.pack("=I", address[1] << 16 | address[1]))


def _bind_address(sock: socket.socket, address: tuple[str, int]) -> None:
    """Take the address alone; the port is chosen in connect(), as ever."""
    sock.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
    sock.bind((address[0], 0))


def _bind_address_and_range(sock: socket.socket, address: tuple[str, int]) -> None:
    _bind_address(sock, address)
    _own_range(sock, address)


#: By the names of --repro, and their second forms: ``bound`` for the ports that connect() alone never takes,
#: ``addressed`` for addresses that connect() alone does not take for the source, though it dials them.
WAYS = {
    "walk": Way("connect() again and again"),
    "walk, bound": Way("bind() to port 0, then connect(), again and again", _bind_any),
    "walk, addressed": Way("bind() to the address without a port, then connect(), again and again", _bind_address),
    "bind": Way("bind() to the target's port, then connect()", _bind_target),
    "range": Way("connect() with a port range of one, the target's (IP_LOCAL_PORT_RANGE)", _own_range),
    "range, addressed": Way(
        "bind() to the address without a port, then connect() with a port range of one, the target's "
        "(IP_LOCAL_PORT_RANGE)",
        _bind_address_and_range,
    ),
}


@dataclass(frozen=True, slots=True)
class Plan:
    """What is going to be tried: *repro* as --repro names it, the *way*, and why this one, where that is not plain.

    ``attempts`` and ``seconds`` are the limits. ``reset``: close with RST instead of FIN.
    """

    outlook: Outlook
    repro: str
    way: Way
    why: str | None
    attempts: int
    seconds: float
    reset: bool = False


def plan(
    outlook: Outlook, asked: str = "auto", *, attempts: int | None = None, seconds: float = 90, reset: bool = False
) -> Plan:
    """Choose a way. Raises UsageError where the way asked for can never succeed, CannotCapture where it is forbidden.

    With a limit of *attempts* such a way is tried all the same: it shows that the port is never hit.
    """
    repro, why = (asked, None) if asked != "auto" else _choose(outlook)
    if repro == "bind" and outlook.left and outlook.gives_way:
        wait = f"{math.ceil(outlook.left.seconds)} s"
        why = f"bind() gets the port only when that TIME-WAIT ends, in {wait}; --repro walk takes its place sooner."
    if attempts is None:
        if outlook.bind_error in (errno.EACCES, errno.EPERM) and repro == "bind":
            # CAP_NET_BIND_SERVICE is given up with the rest; in a private namespace nobody needs it.
            raise CannotCapture(f"only root may bind port {outlook.target.port} on this host; add --private")
        if hopeless := _hopeless(outlook, repro):
            raise UsageError(hopeless)
        attempts = max(_ATTEMPTS, int(_MEANS * outlook.odds.mean)) if outlook.odds.catch else _ATTEMPTS
    form = ""
    if repro == "walk" and outlook.bound_first:
        form = ", bound"
    elif repro != "bind" and not addresses.dialled_from_itself(outlook.target):
        form = ", addressed"
    return Plan(outlook, repro, WAYS[repro + form], why, attempts, seconds, reset)


def _choose(outlook: Outlook) -> tuple[str, str | None]:
    if outlook.listening:
        return "walk", None
    if outlook.left and not outlook.gives_way and not outlook.bind_error:
        return "bind", "A walk would have to wait, and bind() gets the port at once: using bind()."
    if not outlook.odds.catch:
        return "bind", "A walk never gets this port: using bind()."
    return "walk", None


def _hopeless(outlook: Outlook, repro: str) -> str | None:
    port, kernel = outlook.target.port, outlook.kernel
    if outlook.barred:
        return f"{outlook.sentences()[-1]} Use another --port, or --private"
    if repro == "walk" and not outlook.odds.catch:
        return f"{outlook.sentences()[0]} Use --repro bind, or --private, which has a range of its own"
    if repro == "range" and not kernel.has(OWN_RANGE):
        return f"--repro range needs Linux 6.3, and this is {kernel.release}; use --repro bind, which does the same"
    if repro == "range" and port in kernel.reserved:
        return f"--repro range cannot get port {port}, which is in ip_local_reserved_ports; use --repro bind"
    return None


class Server(TypedDict):
    """What a server gets that would like the port now: the errno's name, or None where bind() succeeded."""

    when: str  # "connected", "closed"
    reuse: bool  # whether it set SO_REUSEADDR
    error: str | None


class Progress(TypedDict, total=False):
    """How far the repro has come, and in the end what became of it; what it has not come to is absent.

    ``attempts`` counts the connect() calls that were refused. ``outcome``: ``hit``, ``server`` (somebody serves the
    port), ``limit``, ``stopped`` or ``error``; ``error`` then says which.
    """

    attempts: int
    seconds: float
    source_port: int
    outcome: str
    error: str
    local: tuple[str, int]
    peer: tuple[str, int]
    socket: dict[str, str | int]
    echo: str
    server: list[Server]
    close: str  # "FIN", "RST"
    time_wait: float  # seconds that it lasts


class Repro:
    """The repro as a child process. It ends with its parent, whatever becomes of that.

    Wait for ``fileno()`` to become readable, then ``read()``; at the end, and at any moment, ``stop()``.
    """

    def __init__(self, plan: Plan) -> None:
        self.progress: Progress = {"attempts": 0, "seconds": 0.0}
        self._rest = b""
        self._without_a_word: Progress = {"outcome": "error", "error": "the repro was ended from outside"}
        self._pipe, writer = os.pipe()
        os.set_blocking(self._pipe, False)
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        try:
            self._pid = os.fork()
        except OSError as error:
            raise CannotCapture(f"no process for the repro: {error.strerror}") from error
        if not self._pid:
            _be_the_child(plan, writer, parent)
        os.close(writer)

    def fileno(self) -> int:
        """Give the descriptor that is readable when there is something to read."""
        return self._pipe

    def read(self) -> bool:
        """Take in what the child has sent; whether more can come."""
        while True:
            try:
                data = os.read(self._pipe, 1 << 16)
            except BlockingIOError:
                return True
            if not data:
                if "outcome" not in self.progress:
                    self.progress |= self._without_a_word
                return False
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                self.progress.update(json.loads(line))

    def stop(self) -> None:
        """End the child, if it has not ended, and take in its last words. Takes 0.3 s where it does not listen."""
        if self._pid:
            self._without_a_word = {"outcome": "stopped"}
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGTERM)
            deadline = time.monotonic() + 0.3
            while self.read() and (left := deadline - time.monotonic()) > 0:
                select.select([self._pipe], [], [], left)
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = 0
            self.read()
            os.close(self._pipe)


def _be_the_child(plan: Plan, writer: int, parent: int) -> NoReturn:
    """Run the repro and never return."""
    status = 1
    try:
        signal.set_wakeup_fd(-1)
        for one in (signal.SIGINT, signal.SIGHUP):  # the terminal sends them to everybody; the parent decides
            signal.signal(one, signal.SIG_IGN)
        die_with(parent, signal.SIGKILL)
        os.closerange(3, writer)
        os.closerange(writer + 1, os.sysconf("SC_OPEN_MAX"))

        def send(news: Progress) -> None:
            os.write(writer, json.dumps(news).encode() + b"\n")

        try:
            run(plan, send)
        except OSError as error:
            send({"outcome": "error", "error": f"the repro failed: {error}"})
        status = 0
    except BrokenPipeError:
        pass
    finally:
        os._exit(status)


def run(plan: Plan, send: Callable[[Progress], None]) -> None:
    """Try until the socket connects to itself or a limit is reached; *send* what happens. SIGTERM ends it early."""
    target = plan.outlook.target
    progress: Progress = {"attempts": 0, "seconds": 0.0}
    connected = _connect(plan, progress, send)
    if connected is None:
        send(progress)
        return
    with connected:
        connected.settimeout(_PATIENCE)
        local, peer = connected.getsockname()[:2], connected.getpeername()[:2]
        progress |= {"local": local, "peer": peer, "outcome": "hit" if local == peer else "server"}
        if line := netlink.to_itself(target):
            progress["socket"] = {
                "state": line.state,
                "inode": line.inode,
                "uid": line.uid,
                "user": sockets.user(line.uid),
                "pid": os.getpid(),
                "process": sockets.own_name(),
            }
        send(progress)
        if local != peer:
            return
        progress |= {"echo": _talk(connected), "server": _serve("connected", target)}
        send(progress)
        if plan.way.prepare in (_bind_any, _bind_target) or not plan.outlook.renewable:
            # No connect() gets past this TIME-WAIT. Let it at least share the port, or the next run waits for a minute.
            connected.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        _close(connected, reset=plan.reset)
    progress |= {"close": "RST" if plan.reset else "FIN", "server": progress["server"] + _serve("closed", target)}
    left = netlink.to_itself(target)
    progress["time_wait"] = left.seconds if left else 0.0
    send(progress)


def _connect(plan: Plan, progress: Progress, send: Callable[[Progress], None]) -> socket.socket | None:
    """Connect until it is not refused any more: the connected socket, or None and the outcome in *progress*."""
    stopped: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: stopped.append(number))
    target = plan.outlook.target
    address, family, prepare = (target.address, target.port), addresses.family(target), plan.way.prepare
    started = report = time.monotonic()
    end = started + plan.seconds
    outlook = plan.outlook
    if outlook.left and not outlook.gives_way and prepare in (None, _bind_any, _bind_address):
        # A walk would only walk past it.
        while netlink.to_itself(target) and not stopped and time.monotonic() < end:
            time.sleep(_SECONDS_A_REPORT)
    while True:
        refused, answer, sock = _try(min(_A_LOOK, plan.attempts - progress["attempts"]), family, prepare, address)
        now = time.monotonic()
        progress["attempts"] += refused
        progress["seconds"] = round(now - started, 6)
        if not answer:
            return sock
        if now >= report:
            report = now + _SECONDS_A_REPORT
            progress["source_port"] = sock.getsockname()[1]
            send(progress)
        sock.close()
        if answer in _TAKEN and outlook.left:
            time.sleep(_SECONDS_A_WAIT)
        elif answer != errno.ECONNREFUSED:
            progress |= {"outcome": "error", "error": _failure(answer, target)}
            return None
        if stopped or progress["attempts"] >= plan.attempts or now >= end:
            progress["outcome"] = "stopped" if stopped else "limit"
            return None


def _try(
    times: int, family: socket.AddressFamily, prepare: Prepare | None, address: tuple[str, int]
) -> tuple[int, int, socket.socket]:
    """Connect so many times, or until it is not refused.

    Gives how often it was refused, the errno of the last answer (0: connected), and the last socket, open.
    Everything waits for this loop: three system calls an attempt, and nothing kept.
    """
    new, refused = socket.socket, errno.ECONNREFUSED
    for count in range(times):
        sock = new(family, socket.SOCK_STREAM)
        try:
            if prepare:
                prepare(sock, address)
        except OSError as error:
            return count, error.errno or errno.EIO, sock
        answer = sock.connect_ex(address)
        if answer != refused:
            return count, answer, sock
        if count < times - 1:
            sock.close()
    return times, refused, sock


def _failure(code: int, target: Endpoint) -> str:
    name = errno.errorcode.get(code, str(code))
    return f"{name} ({os.strerror(code)}) on the way to {target}{_HINTS.get(code, '')}"


def _talk(sock: socket.socket) -> str:
    """Send a greeting and read what comes back."""
    sock.sendall(GREETING)
    heard = b""
    with contextlib.suppress(TimeoutError):
        while len(heard) < len(GREETING) and (more := sock.recv(len(GREETING))):
            heard += more
    return heard.decode("ascii", "backslashreplace")


def _serve(when: str, target: Endpoint) -> list[Server]:
    """Try to have the port as a server would, without SO_REUSEADDR and with it."""
    codes = ((reuse, addresses.server_error(target, reuse=reuse)) for reuse in (False, True))
    return [{"when": when, "reuse": reuse, "error": errno.errorcode[code] if code else None} for reuse, code in codes]


def _close(sock: socket.socket, *, reset: bool) -> None:
    if reset:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    else:
        sock.shutdown(socket.SHUT_WR)
        with contextlib.suppress(TimeoutError):
            while sock.recv(1 << 12):  # to its own FIN
                pass
    sock.close()
