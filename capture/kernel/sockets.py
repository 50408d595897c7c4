"""Who is who among the TCP sockets of a network namespace: which processes hold a socket, and since when.

Needs no root for its own user's processes. The table comes over netlink (netlink.py), with the ports that are bound
though nobody listens (Linux 6.8); where the kernel does not answer there, from /proc/net.
"""

from __future__ import annotations

import os
import pwd
import re
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

from analysis.records import NamedTuple
from analysis.states import State

from . import port_choice
from .netlink import SockDiag
from .port_rules import BOUND_LISTED
from .socket_table import TcpSocket, tcp_sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

    from .namespaces import Inside

_PROC = Path("/proc")
_EFFECTIVE = re.compile(rb"^Uid:\t\d+\t(\d+)", re.MULTILINE)

#: What netlink alone knows.
UNSEEN_BOUND = "ports that are bound though nobody listens, so that no client is given them"


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

    ``missing`` says what could not be seen; ``whole`` is False where that includes sockets of the first kind, or
    the kernel lacks a part that it was to be asked through; ``bound_told`` where it does not tell who only binds.
    """

    sockets: list[TcpSocket]
    bound: list[TcpSocket]
    missing: list[str]
    whole: bool
    bound_told: bool = True

    @property
    def to_be_asked(self) -> bool:
        """Whether those that are bound and no more are known to their processes alone."""
        return self.whole and not self.bound_told


def table(ports: Collection[int] = (), of: Inside | None = None) -> Table:
    """Look at the sockets of a network namespace (None: of ours); with *ports*, also at all that have one of these."""
    missing = []
    try:
        found = (of.asked().sockets if of else _netlink)(ports=ports)
    except OSError as error:
        missing.append(f"{UNSEEN_BOUND}: {error.strerror}")
    else:
        bound = [one for one in found if one.state is State.CLOSED]
        told = bool(bound) or BOUND_LISTED.is_in(port_choice.identity().release)
        if not told:
            missing.append(f"{UNSEEN_BOUND}: Linux does not tell before 6.8, and this is {os.uname().release}")
        return Table([one for one in found if one.state is not State.CLOSED], bound, missing, True, told)
    try:
        return Table(tcp_sockets(*ports, tables=of.tables if of else None), [], missing, False, False)
    except OSError as error:
        missing.append(f"sockets: no answer over netlink, and /proc/net/tcp cannot be read ({error.strerror})")
        return Table([], [], missing, False, False)


def idle(one: TcpSocket, of: Inside | None = None) -> float | None:
    """How many seconds ago a connected socket last sent data or was acknowledged: it is at least that old.

    None where the kernel does not say. *of* is the network namespace that it is in; None: it is ours.
    """
    try:
        if of:
            return of.diag.idle(one) if of.diag else None
        with SockDiag() as diag:
            return diag.idle(one)
    except OSError:
        return None


def _netlink(*, ports: Collection[int]) -> list[TcpSocket]:
    """Ask the kernel over netlink for the sockets of our network namespace that are of interest."""
    with SockDiag() as diag:
        return diag.sockets(ports=ports)


def owners(
    inodes: Collection[int] | None = None,
    namespaces: dict[int, str] | None = None,
    descriptors: dict[int, str] | None = None,
) -> tuple[dict[int, list[Process]], int]:
    """Which processes hold the sockets with these inodes (all, if None); how many processes may not be looked into.

    Descriptors of network namespaces are added to *namespaces* on the way, and those of sockets to *descriptors*: a
    path (/proc/PID/fd/N) for each number. Of a process whose first thread has ended its sockets cannot be asked.
    """
    found: dict[int, list[Process]] = defaultdict(list)
    wanted = None if inodes is None else {inode for inode in inodes if inode}
    closed = 0
    for directory in _PROC.iterdir() if wanted is None or wanted else ():
        if not directory.name.isdigit():
            continue
        try:
            paths = _opened(directory, namespaces)
            threads = _opened_by_threads(directory, namespaces) if paths is None else {}
        except PermissionError:
            closed += 1
            continue
        except (FileNotFoundError, ProcessLookupError):  # it has ended
            continue
        paths = paths or {}
        held = paths.keys() | threads.keys()
        if wanted is not None:
            held &= wanted
        if descriptors is not None:
            descriptors.update(paths)
        if held and (process := _process(directory)):
            for inode in held:
                found[inode].append(process)
    return found, closed


def _opened(directory: Path, namespaces: dict[int, str] | None) -> dict[int, str] | None:
    """The sockets that a process or a thread has open, and where; None: it has nothing open. Raises OSError."""
    with os.scandir(directory / "fd") as descriptors:
        opened = list(descriptors)
    return {inode: one.path for one in opened if (inode := _inode(one.path, namespaces))} if opened else None


def _opened_by_threads(directory: Path, namespaces: dict[int, str] | None) -> dict[int, str]:
    """The same of the other threads. Where the first one of a process has ended, it has nothing open, and they have."""
    threads = directory / "task"
    if threads.stat().st_nlink <= 3:  # a directory's links are itself, its name, and one for each that lies in it
        return {}
    for thread in threads.iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended, too
            if found := _opened(thread, namespaces):
                return found
    return {}


def _inode(descriptor: str, namespaces: dict[int, str] | None) -> int:
    """The inode of a socket that is open under this name in /proc; 0 where it is something else."""
    try:
        link = os.readlink(descriptor)  # noqa: PTH115 - for every open file of the machine
    except OSError:  # closed meanwhile
        return 0
    if namespaces is not None and link.startswith("net:["):
        namespaces.setdefault(int(link[5:-1]), descriptor)
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
        # Whom the directory belongs to is no answer: it is root's where the process lets nobody look into it.
        owner = int(_EFFECTIVE.search((directory / "status").read_bytes())[1])  # type: ignore[index]
    except (FileNotFoundError, ProcessLookupError):
        return None
    return Process(int(directory.name), name, user(owner), started)


def user(uid: int) -> str:
    """The name of a user, its number where it has none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
