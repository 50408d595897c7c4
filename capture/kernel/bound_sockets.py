"""TCP sockets that are bound and no more, on kernels that do not list them (before Linux 6.8): asked one by one.

Each socket that a process has open is duplicated (socket_options.copied), asked, and closed at once: as root, before
privilege is given up. With the standard library alone.
"""

from __future__ import annotations

import fcntl
import os
import socket
import struct
from collections import defaultdict

from analysis.model import Endpoint
from analysis.records import NamedTuple
from analysis.states import State

from .socket_options import copied
from .socket_table import STATES, TcpSocket
from .sockets import UNSEEN_BOUND, Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

_SIOCGSKNS = 0x894C  # <linux/sockios.h>: a descriptor of a socket's network namespace, since Linux 4.10
_PATH_MTU = 60  # where tcpi_pmtu is in struct tcp_info of <linux/tcp.h>: 0 as long as a socket never tried to connect


def completed(tables: Sequence[tuple[Table, int]], descriptors: Mapping[int, str]) -> list[Table]:
    """Add to each table who only binds in its network namespace (whose inode is beside it), if the kernel did not.

    *descriptors* has a path in /proc (/proc/PID/fd/N) for the inode of each socket that a process has open.
    """
    if not any(table.to_be_asked for table, _ in tables):
        return [table for table, _ in tables]
    found = bound(descriptors, {one.inode for table, _ in tables for one in table.sockets})
    return [_completed(table, found, namespace) if table.to_be_asked else table for table, namespace in tables]


def _completed(table: Table, found: Bound, namespace: int) -> Table:
    told = found.told(namespace)
    missing = [one for one in table.missing if not (told and one.startswith(UNSEEN_BOUND))]
    return table._replace(bound=found.sockets.get(namespace, []), missing=missing, bound_told=told)


class Bound(NamedTuple):
    """Sockets that are bound and no more, by the inode of their network namespace.

    ``unsure`` are the namespaces with a socket of which it stays open whether it holds its port; ``whole``: every
    socket could be asked.
    """

    sockets: Mapping[int, list[TcpSocket]]
    unsure: Container[int]
    whole: bool

    def told(self, namespace: int) -> bool:
        """Whether there is no other in this namespace."""
        return self.whole and namespace not in self.unsure


def bound(descriptors: Mapping[int, str], listed: Container[int]) -> Bound:
    """Ask the sockets that processes have open: *descriptors* has a path in /proc for each inode.

    Those *listed* elsewhere are left out. A socket that failed to connect says its last port still, and does not tell
    whether bind() gave it that one, which it holds then, or connect(): such ones are left out, too.
    """
    found: dict[int, list[TcpSocket]] = defaultdict(list)
    unsure, whole = set(), True
    for inode, path in descriptors.items():
        if inode in listed:
            continue
        try:
            with copied(path, inode) as one:
                told = _unconnected(one, inode)
                if told is None:
                    continue
                if _has_dialled(one):
                    unsure.add(_namespace(one))
                else:
                    found[_namespace(one)].append(told)
        except (FileNotFoundError, ProcessLookupError):  # it has ended, or closed it
            continue
        except OSError:
            whole = False
    return Bound(found, unsure, whole)


def _unconnected(one: socket.socket, inode: int) -> TcpSocket | None:
    """The TCP socket, if it has a port and is neither listening nor connected."""
    if one.family not in (socket.AF_INET, socket.AF_INET6) or one.proto != socket.IPPROTO_TCP:
        return None
    address, port, *_ = one.getsockname()
    if not port or STATES[one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0]] is not State.CLOSED:
        return None
    nowhere = Endpoint.parse("0.0.0.0" if one.family == socket.AF_INET else "::", 0)  # noqa: S104 - nothing is bound
    uid = os.fstat(one.fileno()).st_uid
    return TcpSocket(Endpoint.parse(address, port), nowhere, State.CLOSED, 0.0, uid, inode)


def _has_dialled(one: socket.socket) -> bool:
    """Whether it ever tried to connect."""
    told = one.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _PATH_MTU + 4)
    return len(told) < _PATH_MTU + 4 or struct.unpack_from("=I", told, _PATH_MTU)[0] > 0


def _namespace(one: socket.socket) -> int:
    """The inode of its network namespace."""
    opened = fcntl.ioctl(one.fileno(), _SIOCGSKNS)
    try:
        return os.fstat(opened).st_ino
    finally:
        os.close(opened)
