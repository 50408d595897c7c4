"""The TCP sockets of a network namespace, as /proc/net/tcp has them: that of the process.

The standard library alone, and cheap however many sockets there are. Who holds them says sockets.py.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from analysis.model import Endpoint
from analysis.states import State

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_PROC = Path("/proc")

# <linux/netlink.h>, <linux/sock_diag.h>
_SOCK_DIAG, _BY_FAMILY, _REQUEST = 4, 20, 1

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

    @property
    def to_itself(self) -> bool:
        """Whether it is its own peer: an ordinary connection on loopback has two lines, one for each end."""
        return self.local == self.remote


def tcp_sockets(*ports: int, tables: Iterable[str] | None = None) -> list[TcpSocket]:
    """List the TCP sockets of this network namespace that listen, are their own peer, or have one of the local *ports*.

    A socket that is bound but neither listening nor connected is not among them, see sockets.py. Raises OSError where
    the kernel's table cannot be read. *tables* are the texts of /proc/net/tcp, where they were read before.
    """
    found = []
    ends = tuple(f":{port:04X}" for port in ports)
    for text in _tables() if tables is None else tables:
        rows = (line.split() for line in text.splitlines()[1:])
        found += [_tcp_socket(row) for row in rows if row[3] == "0A" or row[1] == row[2] or row[1].endswith(ends)]
    return found


def _tables() -> Iterator[str]:
    for name in ("tcp", "tcp6"):
        table = _PROC / "net" / name
        if name == "tcp" or table.exists():  # or there is no IPv6 in this kernel
            yield table.read_text(encoding="ascii")


def to_itself(endpoint: Endpoint) -> TcpSocket | None:
    """Look for the socket that is connected from *endpoint* to itself, or what is left of one in TIME-WAIT.

    The kernel is asked for this one over netlink (sock_diag(7)), which takes as long however many there are; where it
    does not answer, its table is read.
    """
    try:
        return _one(endpoint)
    except OSError:
        return next((one for one in tcp_sockets(endpoint.port) if one.to_itself and one.local == endpoint), None)


def _one(endpoint: Endpoint) -> TcpSocket | None:
    """Ask for the socket whose ends are both *endpoint*: bound to no device, or to loopback."""
    family = socket.AF_INET if len(endpoint.packed) == 4 else socket.AF_INET6
    ends = struct.pack(">HH", endpoint.port, endpoint.port) + endpoint.packed.ljust(16, b"\0") * 2
    with socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC, _SOCK_DIAG) as netlink:
        netlink.settimeout(1)
        for device in (0, 1):
            asked = struct.pack("=BBxxI", family, socket.IPPROTO_TCP, 0xFFFF_FFFF) + ends
            asked += struct.pack("=III", device, 0xFFFF_FFFF, 0xFFFF_FFFF)  # whatever its cookie is
            netlink.send(struct.pack("=IHHII", 16 + len(asked), _BY_FAMILY, _REQUEST, 0, 0) + asked)
            answer = netlink.recv(4096)
            kind = int.from_bytes(answer[4:6], sys.byteorder)
            if kind != _BY_FAMILY:
                (error,) = struct.unpack_from("=i", answer, 16)
                if error != -errno.ENOENT:
                    raise OSError(-error, os.strerror(-error))
                continue
            state, source, target = answer[17], answer[20:22], answer[22:24]
            expires, _, _, uid, inode = struct.unpack_from("=IIIII", answer, 16 + 4 + 48)
            if source == target:  # else it is one that listens on that port
                return TcpSocket(endpoint, endpoint, STATES[state], expires / 1000, uid, inode)
    return None


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
