"""The TCP sockets of the network namespace that this process is in, as /proc/net/tcp lists them.

The standard library alone. Who holds them says sockets.py.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

from analysis.model import Endpoint
from analysis.records import NamedTuple
from analysis.states import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_PROC = Path("/proc")

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
