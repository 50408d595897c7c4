"""Who is who among the TCP sockets of this network namespace: which processes hold a socket, and since when.

Needs no root for its own user's processes. The table itself comes from /proc/net, which costs little however many
sockets there are. Netlink (sock_diag, through pyroute2) is asked for the rest: which ports are bound though
nobody listens (Linux 6.8), when a socket last received or sent, and the table where /proc/net cannot be read.
"""

from __future__ import annotations

import os
import pwd
import socket
import time
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from analysis.model import Endpoint
from analysis.states import State

from .socket_table import STATES, TcpSocket, tcp_sockets

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_PROC = Path("/proc")

# <net/tcp_states.h>, as bits of a request
_ALL = 0xFFFFFFFF
_LISTEN, _BOUND_INACTIVE = 1 << 10, 1 << 13
#: <linux/inet_diag.h>: ask for struct tcp_info.
_INFO = 1 << (2 - 1)


class Process(NamedTuple):
    """A process that holds a socket. ``name`` is what it calls itself: anything at all, escape it before showing it.

    ``user`` is its owner, ``started`` when that was, in seconds since the machine was.
    """

    pid: int
    name: str
    user: str
    started: float

    @property
    def seconds(self) -> float:
        """How long it has been running."""
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - self.started)


class Table(NamedTuple):
    """What there is: sockets that listen, are their own peer or have an asked port; those that are bound, no more.

    ``missing`` says what could not be seen; ``whole`` is False where that includes sockets of the first kind.
    """

    sockets: list[TcpSocket]
    bound: list[TcpSocket]
    missing: list[str]
    whole: bool


def table(ports: Collection[int] = ()) -> Table:
    """Look at the sockets of this network namespace; with *ports*, also at all that have one of these."""
    missing = []
    whole = True
    try:
        rows, listed = list(_netlink(_LISTEN | _BOUND_INACTIVE)), True
    except (ImportError, OSError) as error:
        rows, listed = [], False
        missing.append(f"ports that are bound though nobody listens: no answer over netlink ({error})")
    try:
        sockets = tcp_sockets(*ports)
    except OSError as error:
        everything = list(_netlink(_ALL)) if listed else []
        sockets = [
            one
            for one in map(_tcp_socket, everything)
            if one.state is State.LISTEN or one.to_itself or one.local.port in ports
        ]
        if not everything:  # sock_diag says nothing rather than no
            missing.append(f"sockets: no answer over netlink, and /proc/net/tcp cannot be read ({error.strerror})")
            whole = False
    found = map(_tcp_socket, rows)
    return Table(sockets, [one for one in found if one.state is State.CLOSED], missing, whole)


def idle(one: TcpSocket) -> float | None:
    """How many seconds ago a connected socket last sent data or was acknowledged: it is at least that old.

    None where the kernel does not say.
    """
    try:
        rows = list(_netlink(_ALL, one.local.port, one.remote.port, _INFO))
    except (ImportError, OSError):
        return None
    for row in rows:
        info = row.get_attr("INET_DIAG_INFO")
        if row["idiag_inode"] == one.inode and info:
            return float(max(info["tcpi_last_data_sent"], info["tcpi_last_ack_recv"])) / 1000
    return None


def _netlink(states: int, source: int = 0, destination: int = 0, wanted: int = 0) -> Iterator[Any]:
    """Ask the kernel for the TCP sockets in these states, all or those with these ports."""
    from pyroute2 import DiagSocket  # noqa: PLC0415 - it takes 0.3 s

    with DiagSocket() as diag:
        for family in (socket.AF_INET, socket.AF_INET6):
            yield from diag.get_sock_stats(
                family=family, states=states, sport=source, dport=destination, extensions=wanted
            )


def _tcp_socket(row: Any) -> TcpSocket:  # noqa: ANN401 - pyroute2 has no types
    return TcpSocket(
        _endpoint(row["idiag_src"], row["idiag_sport"]),
        _endpoint(row["idiag_dst"], row["idiag_dport"]),
        STATES[row["idiag_state"]],
        row["idiag_expires"] / 1000,
        row["idiag_uid"],
        row["idiag_inode"],
    )


def _endpoint(address: str, port: int) -> Endpoint:
    """The endpoint; of an IPv4 connection of an IPv6 socket it is the IPv4 one."""
    return Endpoint.parse(address.removeprefix("::ffff:") if "." in address else address, port)


def owners(inodes: Collection[int] | None = None) -> tuple[dict[int, list[Process]], int]:
    """Which processes hold the sockets with these inodes (all, if None), and how many could not be looked into."""
    found: dict[int, list[Process]] = defaultdict(list)
    wanted = None if inodes is None else {inode for inode in inodes if inode}
    closed = 0
    for directory in _PROC.iterdir() if wanted is None or wanted else ():
        if not directory.name.isdigit():
            continue
        try:
            with os.scandir(directory / "fd") as descriptors:
                held = {inode for descriptor in descriptors if (inode := _inode(descriptor.path))}
        except PermissionError:
            closed += 1
            continue
        except (FileNotFoundError, ProcessLookupError):  # it has ended
            continue
        held = held if wanted is None else held & wanted
        if held and (process := _process(directory)):
            for inode in held:
                found[inode].append(process)
    return found, closed


def _inode(descriptor: str) -> int:
    """The inode of a socket that is open under this name in /proc; 0 where it is something else."""
    try:
        link = os.readlink(descriptor)  # noqa: PTH115 - for every open file of the machine
    except OSError:  # closed meanwhile
        return 0
    return int(link[8:-1]) if link.startswith("socket:[") else 0


def own_name() -> str:
    """What this process calls itself."""
    found = process(os.getpid())
    return found.name if found else ""


def process(pid: int) -> Process | None:
    """Describe a process; None if it has ended."""
    return _process(_PROC / str(pid))


def _process(directory: Path) -> Process | None:
    """Describe the process; None if it has ended."""
    try:
        name = (directory / "comm").read_bytes().removesuffix(b"\n").decode(errors="backslashreplace")
        # proc_pid_stat(5): the name stands in parentheses, and may have some of its own; starttime is field 22.
        started = int((directory / "stat").read_bytes().rpartition(b")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")
        owner = directory.stat().st_uid
    except (FileNotFoundError, ProcessLookupError):
        return None
    return Process(int(directory.name), name, user(owner), started)


def user(uid: int) -> str:
    """The name of a user, its number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
