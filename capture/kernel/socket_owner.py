"""Whose socket it is that has connected to itself: the kernel's line for it, and its process."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from analysis.states import State

from . import netlink, sockets

if TYPE_CHECKING:
    from analysis.model import Endpoint

    from .kernel_states import KernelStates
    from .netlink import SockDiag
    from .socket_table import TcpSocket


class SocketOwner(NamedTuple):
    """A socket that has connected to itself, and whose it is. None is what could not be seen, or not any more.

    ``time`` is when it happened, in nanoseconds since the epoch. ``process`` is its name for itself: anything at all,
    escape it before showing it.
    """

    time: int
    endpoint: Endpoint
    state: State | None = None
    inode: int | None = None
    uid: int | None = None
    user: str | None = None
    pid: int | None = None
    process: str | None = None


def find_owner(
    endpoint: Endpoint, moment: int, kernel_states: KernelStates, diag: SockDiag | None = None
) -> SocketOwner:
    """Look for the socket that connected from *endpoint* to itself at this *moment* (nanoseconds since the epoch).

    It is looked for in the kernel's table, its process by the tracepoint's word as well. *diag* asks in the network
    namespace of the socket; None: it is ours.

    The table shows only its own user's processes to a process without privilege; what the tracepoint reported does not
    depend on that.
    """
    found = SocketOwner(moment, endpoint)
    line = _line(endpoint, diag)
    processes = []
    if line:
        found = found._replace(state=line.state)
    if line and line.inode:  # a socket: TIME-WAIT is none, and nobody's
        found = found._replace(inode=line.inode, uid=line.uid, user=sockets.user(line.uid))
        processes = sockets.owners([line.inode])[0].get(line.inode, [])
    if not processes and (pid := kernel_states.caller(endpoint, moment)):
        found = found._replace(pid=pid)
        processes = [process for process in [sockets.process(pid)] if process]
    if processes:
        found = found._replace(pid=processes[0].pid, process=processes[0].name, user=found.user or processes[0].user)
    return found


def _line(endpoint: Endpoint, diag: SockDiag | None) -> TcpSocket | None:
    if diag is None:
        return netlink.to_itself(endpoint)
    try:
        return diag.to_itself(endpoint)
    except OSError:
        return None
