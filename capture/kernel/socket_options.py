"""Whether a server can bind() a port that another socket has: the kernel's rule, and the other's options.

bind() is never tried: on a live host it would take the port from the server that is about to start. sock_diag does not
tell SO_REUSEADDR and SO_REUSEPORT of a socket, but who may look into its process can ask a duplicate (pidfd_getfd(2),
Linux 5.6): as root before privilege is given up, with the standard library alone.
"""

from __future__ import annotations

import ctypes
import errno
import os
import socket
from contextlib import contextmanager

from analysis.records import NamedTuple
from analysis.states import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

_PIDFD_GETFD = 438  # but on alpha, where the answer is ENOSYS or of another call: the inode is compared
_libc = ctypes.CDLL(None, use_errno=True)


class Options(NamedTuple):
    """What a socket has set."""

    reuse_address: bool
    reuse_port: bool


class Bind(NamedTuple):
    """Whether bind() has the port: with neither option, SO_REUSEADDR, SO_REUSEPORT (as the same user).

    None: only if the other socket has set it, too, which could not be seen.
    """

    plain: bool | None
    reuse_address: bool | None
    reuse_port: bool | None


#: Nothing has the port.
FREE = Bind(plain=True, reuse_address=True, reuse_port=True)


def bind(others: Iterable[tuple[State, Options | None]]) -> Bind:
    """Say what a server gets that binds to an address that these sockets have, or to all addresses.

    inet_bind_conflict() in net/ipv4/inet_connection_sock.c: both have SO_REUSEADDR and the other does not listen, or
    both have SO_REUSEPORT and the other is of the same user or in TIME-WAIT. (An option that was taken back after
    bind() may still count: the kernel remembers what all sockets of a port had then.)
    """
    seen = list(others)
    if not seen:
        return FREE
    address = [False if state is State.LISTEN else options and options.reuse_address for state, options in seen]
    port = [options and options.reuse_port for _, options in seen]
    return Bind(plain=False, reuse_address=_all(address), reuse_port=_all(port))


def _all(each: Iterable[bool | None]) -> bool | None:
    """Whether all say so; False where one does not, whatever the others; None where that is not known."""
    known = list(each)
    return False if False in known else None if None in known else True


def options(inodes: Iterable[int], descriptors: Mapping[int, str]) -> dict[int, Options]:
    """Ask for the options of the sockets with these inodes; *descriptors* has a path in /proc (PID/fd/N) for each.

    Those that cannot be asked (the process may not be looked into, has ended, or has closed it) are left out.
    """
    found = {}
    for inode in inodes:
        if inode in descriptors and (told := _asked(descriptors[inode], inode)):
            found[inode] = told
    return found


@contextmanager
def copied(path: str, inode: int) -> Iterator[socket.socket]:
    """A duplicate of the socket with this inode that a process has open under *path* (/proc/PID/fd/N).

    Raises FileNotFoundError where something else is open there by now, ProcessLookupError where the process has
    ended, and OSError where it may not be looked into, or the kernel cannot (before Linux 5.6).
    """
    pid, _, number = path.removeprefix("/proc/").partition("/fd/")
    process = os.pidfd_open(int(pid))
    try:
        copy = _libc.syscall(_PIDFD_GETFD, process, int(number), 0)
        code = ctypes.get_errno()
    finally:
        os.close(process)
    if copy < 0:
        raise OSError(errno.ENOENT if code == errno.EBADF else code, os.strerror(code), path)
    if os.fstat(copy).st_ino != inode:
        os.close(copy)
        raise FileNotFoundError(errno.ENOENT, "it was closed", path)
    with socket.socket(fileno=copy) as one:
        yield one


def _asked(path: str, inode: int) -> Options | None:
    try:
        with copied(path, inode) as one:
            return Options(*(bool(one.getsockopt(socket.SOL_SOCKET, name)) for name in _OPTIONS))
    except (OSError, ValueError):
        return None


_OPTIONS = (socket.SO_REUSEADDR, socket.SO_REUSEPORT)
