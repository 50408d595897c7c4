"""Whose socket it is that has connected to itself: the kernel's line for it, and its process."""

from __future__ import annotations

from analysis.records import NamedTuple
from analysis.states import State

from . import netlink, sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from analysis.model import Endpoint

    from .kernel_states import KernelStates
    from .netlink import SockDiag
    from .socket_table import TcpSocket


class SocketOwner(NamedTuple):
    """A socket that has connected to itself, and whose it is. None is what could not be seen, or not any more.

    ``time`` is when it happened, in nanoseconds since the epoch. ``process`` is its name for itself: anything at all,
    escape it before showing it. ``inode`` is 0 of an orphan: no process has the socket any more.
    """

    time: int
    endpoint: Endpoint
    state: State | None = None
    inode: int | None = None
    uid: int | None = None
    user: str | None = None
    pid: int | None = None
    process: str | None = None


def find_owner(endpoint: Endpoint, moment: int, kernel_states: KernelStates) -> SocketOwner:
    """Look for the socket that connected from *endpoint* to itself at this *moment* (nanoseconds since the epoch).

    It is looked for in the kernel's table of our network namespace, its process by the tracepoint's word as well.

    The table shows only its own user's processes to a process without privilege; what the tracepoint reported does not
    depend on that.
    """
    found = with_line(SocketOwner(moment, endpoint))
    if found.inode:
        found = with_process(found, sockets.owners([found.inode])[0])
    if not found.process and (pid := kernel_states.caller(endpoint, moment)):
        found = of_process(found, pid, sockets.process(pid))
    return found


def with_line(found: SocketOwner, diag: SockDiag | None = None) -> SocketOwner:
    """Add what the kernel's table has of the socket. *diag* asks in its network namespace; None: it is ours.

    TIME-WAIT is no socket, and nobody's: the table has neither inode nor user of it. An inode of 0 in another state:
    no process has it any more.
    """
    line = _line(found.endpoint, diag)
    if line is None:
        return found
    if line.state is State.TIME_WAIT:
        return found._replace(state=line.state)
    if not line.inode:  # the table says 0 for the user, too
        return found._replace(state=line.state, inode=0)
    return found._replace(state=line.state, inode=line.inode, uid=line.uid, user=sockets.user(line.uid))


def with_process(found: SocketOwner, holders: Mapping[int, Sequence[sockets.Process]]) -> SocketOwner:
    """Add the process, if it is one of the *holders*, by inode."""
    processes = holders.get(found.inode or 0)
    return of_process(found, processes[0].pid, processes[0]) if processes else found


def of_process(found: SocketOwner, pid: int, process: sockets.Process | None) -> SocketOwner:
    """Add the process; None: it has ended."""
    if process is None:
        return found._replace(pid=pid)
    return found._replace(pid=pid, process=process.name, user=found.user or process.user)


def _line(endpoint: Endpoint, diag: SockDiag | None) -> TcpSocket | None:
    if diag is None:
        return netlink.to_itself(endpoint)
    try:
        return diag.to_itself(endpoint)
    except OSError:
        return None
