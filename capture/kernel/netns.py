"""A private network namespace: it has its own loopback interface and ephemeral range, and the host is not changed.

Root can make one at once. Other users have to make a user namespace first, which gives them the right; most systems
let every user do so. Standard library only, because it runs before privilege is given up.
"""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
import time
from pathlib import Path
from typing import TYPE_CHECKING

from analysis.errors import CannotCapture

if TYPE_CHECKING:
    from analysis.model import Endpoint

_CLONE_NEWUSER, _CLONE_NEWNET = 0x10000000, 0x40000000  # <linux/sched.h>
_SIOCGIFFLAGS, _SIOCSIFFLAGS, _SIOCSIFADDR, _SIOCSIFNETMASK = 0x8913, 0x8914, 0x8916, 0x891C  # <linux/sockios.h>
_IFF_UP = 1
_LOOPBACK = b"lo"
_LOOPBACK_INDEX = 1  # in every new namespace

#: How many ports the range of a private namespace has unless the user says otherwise: a hit takes a few attempts.
PORTS = 8

_SETTINGS = Path("/proc/sys/net/ipv4")


def ephemeral_range(port: int) -> tuple[int, int]:
    """The ephemeral range around *port* for a private namespace: both ends are included; the low one is even, or 1."""
    low = max(port - port % PORTS, 1)
    return low, low + PORTS - 1


def enter(endpoint: Endpoint, ports: tuple[int, int]) -> None:
    """Move this process into a new network namespace: *endpoint*'s address is its own, *ports* are the ephemeral range.

    The process must have one thread. It keeps its user and group. Raises CannotCapture with the reason where the system
    does not allow it; the process may then already be in a namespace in which it has no rights.
    """
    try:
        _unshare()
        _loopback_up()
        if endpoint.packed[0] != 127 or len(endpoint.packed) != 4:  # 127.0.0.0/8 and ::1 come with the interface
            _add_address(endpoint)
        _set_ports(*ports)
    except OSError as error:
        raise CannotCapture(f"cannot make a private network namespace: {error.strerror or error}") from error


def _unshare() -> None:
    try:
        _leave(_CLONE_NEWNET)
    except PermissionError:
        uid, gid = os.geteuid(), os.getegid()
        _leave(_CLONE_NEWUSER | _CLONE_NEWNET)
        # user_namespaces(7): only who gives up setgroups() may map a group; only oneself can be mapped.
        Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
        Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1", encoding="ascii")
        Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1", encoding="ascii")


def _leave(what: int) -> None:
    """unshare(2): the standard library has it from Python 3.12 on."""
    if hasattr(os, "unshare"):
        os.unshare(what)
        return
    import ctypes  # noqa: PLC0415 - Python 3.11 alone needs it

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(what):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _loopback_up() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        request = struct.pack("16sh14x", _LOOPBACK, 0)
        (flags,) = struct.unpack_from("h", fcntl.ioctl(control, _SIOCGIFFLAGS, request), 16)
        fcntl.ioctl(control, _SIOCSIFFLAGS, struct.pack("16sh14x", _LOOPBACK, flags | _IFF_UP))


def _add_address(endpoint: Endpoint) -> None:
    """Give lo one more address, with a netmask of its whole length (netdevice(7))."""
    family = socket.AF_INET if len(endpoint.packed) == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as control:
        try:
            if family == socket.AF_INET6:
                fcntl.ioctl(control, _SIOCSIFADDR, struct.pack("16sIi", endpoint.packed, 128, _LOOPBACK_INDEX))
                _await_address(endpoint)
                return
            for command, address in ((_SIOCSIFADDR, endpoint.packed), (_SIOCSIFNETMASK, b"\xff" * 4)):
                # A second IPv4 address of an interface goes by a label.
                fcntl.ioctl(control, command, struct.pack("16sHH4s8x", _LOOPBACK + b":1", family, 0, address))
        except OSError as error:
            if error.errno != errno.EEXIST:  # ::1
                raise


def _await_address(endpoint: Endpoint) -> None:
    """Wait until a new IPv6 address may be used: it is tentative (RFC 4862 5.4) until a kernel worker gets to it."""
    deadline = time.monotonic() + 2
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as probe:
        while True:
            try:
                probe.bind((endpoint.address, 0))
            except OSError as error:
                if error.errno != errno.EADDRNOTAVAIL or time.monotonic() > deadline:
                    raise
                time.sleep(0.001)
            else:
                return


def _set_ports(low: int, high: int) -> None:
    # The kernel keeps the ephemeral range out of the privileged ports.
    unprivileged = _SETTINGS / "ip_unprivileged_port_start"
    if unprivileged.exists() and int(unprivileged.read_text(encoding="ascii")) > low:
        unprivileged.write_text(str(low), encoding="ascii")
    (_SETTINGS / "ip_local_port_range").write_text(f"{low} {high}", encoding="ascii")
