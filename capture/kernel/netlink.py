"""What the kernel says over netlink of the sockets and addresses of one network namespace: that of the opening.

A netlink socket goes on to ask in the namespace in which it was opened, wherever its process goes, and needs no
privilege. The standard library alone. sock_diag(7), rtnetlink(7), <linux/inet_diag.h>, <linux/rtnetlink.h>.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import sys

from analysis.model import Endpoint

from .socket_table import STATES, TcpSocket, tcp_sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from typing import Self

_NETLINK_ROUTE, _NETLINK_SOCK_DIAG = 0, 4
_MESSAGE = struct.Struct("=IHHII")  # length, type, flags, sequence number, port
_ERROR, _DONE = 2, 3
_REQUEST, _DUMP = 1, 0x300

_SOCK_DIAG_BY_FAMILY = 20
# inet_diag_req_v2: family, protocol, wanted extensions, states; ports, addresses, interface, cookie (all ones: any).
_ASK = struct.Struct("=BBBxI 2s2s16s16sI8s")
# The older request (inet_diag_req) is for both families at once: the kernel goes through its table once, not twice.
_TCPDIAG_GETSOCK = 18
_ASK_ALL = struct.Struct("=B51xI4x")  # family (0: both), states
# inet_diag_msg: family, state, ports, addresses; milliseconds to the timer's end, queues, user, inode.
_TELL = struct.Struct("=BBxx 2s2s16s16s12x I8xII")
#: Bits of a request's states; a socket that is bound and no more has one of its own (Linux 6.8).
LISTEN, BOUND, ALL = 1 << 10, 1 << 13, 0xFFFFFFFF
_CLOSED_OR_LISTEN = (7, 10)
_INFO = 2  # INET_DIAG_INFO: struct tcp_info
_LAST_SENT, _LAST_ACKED = 44, 56  # milliseconds since, in it

_GET_ROUTE, _NEW_ROUTE = 26, 24
_ROUTE = struct.Struct("=BBBBBBBBI")  # struct rtmsg
_DESTINATION, _PREFERRED_SOURCE = 1, 7  # RTA_DST, RTA_PREFSRC
_ATTRIBUTE = struct.Struct("=HH")  # length, type


class _Netlink:
    """A netlink socket. Raises OSError where the kernel has no such protocol; ``strerror`` is for people."""

    #: What the kernel lacks if it says no at once, and if it does so at the end of a list.
    _parts = ("netlink", "netlink")

    def __init__(self, protocol: int, name: str, given: socket.socket | None = None) -> None:
        try:
            self._socket = given or socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        except OSError as error:
            raise _refused(error.errno or 0, f"netlink's {name}") from error
        # Connected to the kernel it hears nobody else.
        self._socket.connect((0, 0))
        self._socket.settimeout(10)
        self._number = 0

    def ask(self, kind: int, body: bytes, *, dump: bool) -> Iterator[bytes]:
        """Ask, and return what the messages of the answer carry. Raises OSError."""
        self._number += 1
        flags = _REQUEST | (_DUMP if dump else 0)
        self._socket.send(_MESSAGE.pack(_MESSAGE.size + len(body), kind, flags, self._number, 0) + body)
        while True:
            data = self._socket.recv(1 << 17)
            at = 0
            while at + _MESSAGE.size <= len(data):
                length, kind, _, number, _ = _MESSAGE.unpack_from(data, at)
                content = data[at + _MESSAGE.size : at + length]
                at += max(_MESSAGE.size, length + 3 & ~3)
                if number != self._number:  # of a question before, whose answer nobody read to its end
                    continue
                # DONE carries an error, too.
                failed = -int.from_bytes(content[:4], sys.byteorder, signed=True)
                if kind in (_ERROR, _DONE):
                    if failed > 0:
                        raise _refused(failed, self._parts[kind == _DONE])
                    return
                yield content
                if not dump:
                    return

    def fileno(self) -> int:
        """Return its descriptor."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close it. Calling it twice does no harm."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _refused(code: int, part: str) -> OSError:
    missing = code in (errno.ENOENT, errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT)
    return OSError(code, f"this kernel has no {part}" if missing else f"no answer from {part}: {os.strerror(code)}")


class SockDiag(_Netlink):
    """The TCP sockets of the network namespace in which this is opened, or in which the *given* socket was."""

    # That nobody looks after the family is said at once, that nobody does after TCP at the end (inet_diag_dump()).
    _parts = ("inet_diag", "tcp_diag")

    def __init__(self, given: socket.socket | None = None) -> None:
        super().__init__(_NETLINK_SOCK_DIAG, "sock_diag", given)

    def sockets(self, states: int = ALL, ports: Collection[int] | None = None) -> list[TcpSocket]:
        """List the sockets in these *states*; *ports* leaves out those that are of no interest.

        Those are of interest then that listen or are bound and no more, that are their own peer, or have one of the
        local *ports*. Raises OSError where the kernel does not answer.
        """
        wanted = None if ports is None else {port.to_bytes(2, "big") for port in ports}
        return [
            _tcp_socket(row)
            for row in self.ask(_TCPDIAG_GETSOCK, _ASK_ALL.pack(0, states), dump=True)
            # Of 100,000 connections most end here.
            if wanted is None
            or (row[4:6] == row[6:8] and row[8:24] == row[24:40])
            or row[1] in _CLOSED_OR_LISTEN
            or row[4:6] in wanted
        ]

    def idle(self, one: TcpSocket) -> float | None:
        """How many seconds ago a connected socket last sent data or was acknowledged: it is at least that old.

        None where the kernel does not say.
        """
        for row in self._exactly(one.local, one.remote, _INFO):
            if _tcp_socket(row).inode != one.inode:
                continue
            for kind, data in _attributes(row, _TELL.size):
                if kind == _INFO and len(data) >= _LAST_ACKED + 4:
                    times = (struct.unpack_from("=I", data, at)[0] for at in (_LAST_SENT, _LAST_ACKED))
                    return float(max(times)) / 1000
        return None

    def to_itself(self, endpoint: Endpoint) -> TcpSocket | None:
        """Ask for the socket that is connected from *endpoint* to itself, or what is left of it in TIME-WAIT.

        The kernel is asked for this one, which takes as long however many there are. Raises OSError.
        """
        # Else it is one that listens on that port.
        rows = map(_tcp_socket, self._exactly(endpoint, endpoint, 0))
        return next((one for one in rows if one.to_itself and one.local == endpoint), None)

    def _exactly(self, local: Endpoint, remote: Endpoint, wanted: int) -> Iterator[bytes]:
        """Ask for the sockets with this 4-tuple: bound to no device, then to loopback. Raises OSError."""
        family = socket.AF_INET if len(local.packed) == 4 else socket.AF_INET6
        extensions = 1 << wanted - 1 if wanted else 0
        ends = local.port.to_bytes(2, "big"), remote.port.to_bytes(2, "big"), local.packed, remote.packed
        for device in (0, 1):
            body = _ASK.pack(family, socket.IPPROTO_TCP, extensions, ALL, *ends, device, b"\xff" * 8)
            try:
                yield from self.ask(_SOCK_DIAG_BY_FAMILY, body, dump=False)
            except OSError as error:
                if error.errno != errno.ENOENT:
                    raise


def own_diag() -> SockDiag | None:
    """Open what asks in our own network namespace; None where the kernel does not answer: to_itself() does then."""
    diag = None
    try:
        diag = SockDiag()
        diag.to_itself(Endpoint(b"\x7f\0\0\1", 1))
    except OSError:
        if diag:
            diag.close()
        return None
    return diag


def to_itself(endpoint: Endpoint) -> TcpSocket | None:
    """Look for that socket in our network namespace; where the kernel does not answer, in its table."""
    try:
        with SockDiag() as diag:
            return diag.to_itself(endpoint)
    except OSError:
        return next((one for one in tcp_sockets(endpoint.port) if one.to_itself and one.local == endpoint), None)


class Routes(_Netlink):
    """The routes of the network namespace in which this is opened."""

    def __init__(self) -> None:
        super().__init__(_NETLINK_ROUTE, "routes")

    def dialled_from_itself(self, endpoint: Endpoint) -> bool:
        """Whether connect() to this address of ours takes it for the source as well.

        127.0.0.2 is dialled from 127.0.0.1. A wildcard, dialled, means loopback.
        """
        if not any(endpoint.packed):
            return True
        octets = endpoint.packed
        family = socket.AF_INET if len(octets) == 4 else socket.AF_INET6
        body = _ROUTE.pack(family, 8 * len(octets), *(0,) * 7)
        body += _ATTRIBUTE.pack(_ATTRIBUTE.size + len(octets), _DESTINATION) + octets
        try:
            for row in self.ask(_GET_ROUTE, body, dump=False):
                for kind, data in _attributes(row, _ROUTE.size):
                    if kind == _PREFERRED_SOURCE:
                        return data == octets
        except OSError:  # of a link, or gone meanwhile: nothing speaks against it
            pass
        return True


def _attributes(row: bytes, at: int) -> Iterator[tuple[int, bytes]]:
    while at + _ATTRIBUTE.size <= len(row):
        length, kind = _ATTRIBUTE.unpack_from(row, at)
        yield kind & 0x3FFF, row[at + _ATTRIBUTE.size : at + length]
        at += max(_ATTRIBUTE.size, length + 3 & ~3)


def _tcp_socket(row: bytes) -> TcpSocket:
    family, state, source, destination, own, peer, expires, uid, inode = _TELL.unpack_from(row)
    return TcpSocket(
        _endpoint(family, own, source), _endpoint(family, peer, destination), STATES[state], expires / 1000, uid, inode
    )


def _endpoint(family: int, address: bytes, port: bytes) -> Endpoint:
    """The endpoint; of an IPv4 connection of an IPv6 socket it is the IPv4 one."""
    if family == socket.AF_INET:
        address = address[:4]
    elif address[:12] == b"\0" * 10 + b"\xff\xff":
        address = address[12:]
    return Endpoint(address, int.from_bytes(port, "big"))
