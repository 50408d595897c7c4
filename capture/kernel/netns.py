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

from analysis.errors import CannotCapture

TYPE_CHECKING = False
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

#: Settings, each with the value with which nobody, or nobody but root, may make a namespace (two are Debian's and
#: Ubuntu's own), or with which lo gets no IPv6 address.
_FORBIDDING = {
    "user/max_user_namespaces": "0",
    "user/max_net_namespaces": "0",
    "kernel/unprivileged_userns_clone": "0",
    "kernel/apparmor_restrict_unprivileged_userns": "1",
    "net/ipv6/conf/all/disable_ipv6": "1",
}


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
        _set_ports(*ports, target=endpoint.port)
    except OSError as error:
        raise CannotCapture(f"cannot make a private network namespace: {_reason(error)}") from error


def _reason(error: OSError) -> str:
    """Why there is none, with the settings of this system that forbid it."""
    if error.errno == errno.EAFNOSUPPORT:
        return "this kernel has no IPv6; give an IPv4 address"
    why = error.strerror or str(error)
    if error.errno == errno.ENOSPC:  # what unshare(2) says of a limit
        why = "there are as many namespaces as this system allows"
    if error.errno not in (errno.ENOSPC, errno.EPERM, errno.EACCES):
        return why
    set_so = [f"{name.replace('/', '.')}={value}" for name, value in _FORBIDDING.items() if _setting(name) == value]
    return f"{why} ({', '.join(set_so)})" if set_so else why


def _setting(name: str) -> str:
    try:
        return Path("/proc/sys", name).read_text(encoding="ascii").strip()
    except OSError:
        return ""


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
    try:
        _unshared(what)
    except OSError as error:
        if error.errno == errno.EINVAL:  # of these flags the kernel knows none that it was made without
            kinds = "network namespaces" if what == _CLONE_NEWNET else "user or network namespaces"
            raise OSError(errno.EINVAL, f"this kernel has no {kinds}") from error
        raise


def _unshared(what: int) -> None:
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


def _set_ports(low: int, high: int, target: int) -> None:
    # The kernel keeps the ephemeral range out of the privileged ports, and whoever is not root from binding them.
    unprivileged, first = _SETTINGS / "ip_unprivileged_port_start", min(low, target)
    if unprivileged.exists() and int(unprivileged.read_text(encoding="ascii")) > first:
        unprivileged.write_text(str(first), encoding="ascii")
    (_SETTINGS / "ip_local_port_range").write_text(f"{low} {high}", encoding="ascii")
