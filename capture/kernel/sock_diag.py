"""The TCP sockets of this network namespace as netlink has them (NETLINK_SOCK_DIAG, <linux/inet_diag.h>).

It says what /proc/net/tcp does not: which ports are bound though nobody listens (Linux 6.8), and when a socket last
sent or received. Needs no root. A kernel may lack a part of it; then ``Unanswered`` has that part's name.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys
from typing import TYPE_CHECKING, NamedTuple

from analysis.model import Endpoint

from .socket_table import STATES, TcpSocket

if TYPE_CHECKING:
    from collections.abc import Iterator

_NETLINK_SOCK_DIAG, _SOCK_DIAG_BY_FAMILY = 4, 20
_REQUEST, _DUMP = 0x1, 0x300  # flags: NLM_F_REQUEST, NLM_F_DUMP
_ERROR, _DONE = 2, 3  # kinds of message
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr
_ASKED = struct.Struct("=BBBxI2H")  # struct inet_diag_req_v2 up to the ports, which are in network order
_ASKED_SIZE = 56
_TOLD = struct.Struct("=4B4s16s16s12x5I")  # struct inet_diag_msg
_ATTRIBUTE = struct.Struct("=HH")
_INFO = 2  # INET_DIAG_INFO, a struct tcp_info
_LAST_SENT, _LAST_ACK = 44, 56  # of it: tcpi_last_data_sent and tcpi_last_ack_recv, milliseconds

ALL = 0xFFFFFFFF
#: A state as a bit of a request: bound, and no more. A kernel before 6.8 does not know it, and says nothing of it.
BOUND_INACTIVE = 1 << 13


class Row(NamedTuple):
    """A socket, and the seconds since it last sent data or was acknowledged (None where that was not asked)."""

    socket: TcpSocket
    idle: float | None


class Unanswered(OSError):  # noqa: N818 - it reads as what the user is told
    """Netlink does not answer: ``strerror`` names the part of the kernel that is missing, or what it said."""


def rows(states: int, source: int = 0, destination: int = 0, *, info: bool = False) -> Iterator[Row]:
    """Ask for the TCP sockets in these *states*, all or those with these ports. *info*: also how long they were idle.

    Raises Unanswered.
    """
    try:
        diag = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG)
    except OSError as error:
        raise Unanswered(error.errno, _why(error.errno or 0, "netlink's sock_diag")) from error
    with diag:
        for family in (socket.AF_INET, socket.AF_INET6):
            ports = socket.htons(source), socket.htons(destination)
            body = _ASKED.pack(family, socket.IPPROTO_TCP, info << _INFO - 1, states, *ports).ljust(_ASKED_SIZE, b"\0")
            diag.send(_HEADER.pack(_HEADER.size + len(body), _SOCK_DIAG_BY_FAMILY, _REQUEST | _DUMP, 1, 0) + body)
            done = False
            while not done:
                found, done = answered(diag.recv(1 << 16))
                yield from found


def answered(data: bytes) -> tuple[list[Row], bool]:
    """What one answer says, and whether it is the last of a request. Raises Unanswered where it says no."""
    found: list[Row] = []
    while len(data) >= _HEADER.size:
        size, kind, *_ = _HEADER.unpack_from(data)
        body, data = data[_HEADER.size : size], data[size + 3 & ~3 :]
        if kind in (_ERROR, _DONE):
            # No handler for the family is an error at once; none for TCP shows in the end only (inet_diag_dump()).
            code = -struct.unpack_from("=i", body)[0] if len(body) >= 4 else 0
            if code:
                raise Unanswered(code, _why(code, "inet_diag" if kind == _ERROR else "tcp_diag"))
            return found, True
        found.append(_row(body))
    return found, False


def _why(code: int, part: str) -> str:
    missing = code in (errno.ENOENT, errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT)
    return f"this kernel has no {part}" if missing else f"no answer from {part}: {os.strerror(code)}"


def _row(body: bytes) -> Row:
    family, state, _, _, ports, source, destination, expires, _, _, uid, inode = _TOLD.unpack_from(body)
    source_port, destination_port = struct.unpack(">2H", ports)
    one = TcpSocket(
        _endpoint(family, source, source_port),
        _endpoint(family, destination, destination_port),
        STATES[state],
        expires / 1000,
        uid,
        inode,
    )
    return Row(one, _idle(body[_TOLD.size :]))


def _endpoint(family: int, octets: bytes, port: int) -> Endpoint:
    """The endpoint; of an IPv4 connection of an IPv6 socket it is the IPv4 one."""
    if family == socket.AF_INET:
        return Endpoint(octets[:4], port)
    return Endpoint(octets.removeprefix(bytes(10) + b"\xff\xff"), port)


def _idle(attributes: bytes) -> float | None:
    while len(attributes) >= _ATTRIBUTE.size:
        size, kind = _ATTRIBUTE.unpack_from(attributes)
        if kind == _INFO and size >= _ATTRIBUTE.size + _LAST_ACK + 4:
            last = [attributes[_ATTRIBUTE.size + at :][:4] for at in (_LAST_SENT, _LAST_ACK)]
            return max(int.from_bytes(word, sys.byteorder) for word in last) / 1000
        attributes = attributes[max(size, _ATTRIBUTE.size) + 3 & ~3 :]
    return None
