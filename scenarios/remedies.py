#!/usr/bin/env python3
"""What helps against self-connects, and what does not: each tried hard to be broken.

A client keeps dialling 127.0.0.1:50000, where nobody listens, in a network namespace of its own that has 8 ephemeral
ports, 4 of them candidates: on average every fourth attempt connects to itself. Each remedy has to withstand a
thousand attempts.

Run it with the Python of the environment that selfconn is installed in. It needs no root where user namespaces are
allowed.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from analysis.model import Endpoint
from capture.kernel import netns

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST, PORT, RANGE = "127.0.0.1", 50000, (50000, 50007)
#: Another loopback address: clients that dial it come from HOST.
ASIDE = "127.0.0.2"
ATTEMPTS = 1000
_SETTINGS = Path("/proc/sys/net/ipv4")
_IP_BIND_ADDRESS_NO_PORT = 24  # ip(7)


class Tried(NamedTuple):
    """How often a client dialled, how often it came to be connected to itself, and how often its guard saw it."""

    attempts: int
    connected: int
    guarded: int = 0


def dial(
    times: int = ATTEMPTS,
    *,
    to: tuple[str, int] = (HOST, PORT),
    bind: str = "",
    guard: bool = False,
    late: bool = False,
) -> Tried:
    """Dial so many times. With a *guard*, a client that finds itself its own peer hangs up and has not connected.

    *bind*: the client binds to this address and port 0 first, as some do to choose their address; *late*: the kernel
    chooses the port at connect() all the same (IP_BIND_ADDRESS_NO_PORT).
    """
    connected = guarded = 0
    for _ in range(times):
        with socket.socket() as client:
            if late:
                client.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
            if bind:
                client.bind((bind, 0))
            if client.connect_ex(to):
                continue
            # Hang up with RST: a TIME-WAIT would keep the port for a second, and nothing would be tried meanwhile.
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if guard and client.getsockname() == client.getpeername():
                guarded += 1
            else:
                connected += 1
    return Tried(times, connected, guarded)


@contextlib.contextmanager
def reserved(port: int = PORT) -> Iterator[None]:
    """Keep the kernel from giving *port* to anybody who does not ask for it by name."""
    setting = _SETTINGS / "ip_local_reserved_ports"
    setting.write_text(str(port), encoding="ascii")
    try:
        yield
    finally:
        setting.write_text("\n", encoding="ascii")


@contextlib.contextmanager
def held(port: int = PORT) -> Iterator[None]:
    """Hold *port* with a socket that is bound and does not listen: connections to it are refused as before."""
    with socket.socket() as holder:
        holder.bind((HOST, port))
        yield


def serve_with_reuse() -> tuple[str | None, str | None]:
    """Let a server with SO_REUSEADDR want the port of a self-connect: while it stands, and when it has been closed.

    Returns what bind() said: the name of its error, or None. A TIME-WAIT stays behind.
    """
    while True:
        with socket.socket() as client:
            if not client.connect_ex((HOST, PORT)):
                while_it_stands = _bind()
                client.shutdown(socket.SHUT_WR)
                break
    return while_it_stands, _bind()


def _bind() -> str | None:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((HOST, PORT))
        except OSError as error:
            return errno.errorcode[error.errno or 0]
    return None


def main() -> None:
    """Try them all, and print what came of it."""
    netns.enter(Endpoint.parse(HOST, PORT), RANGE)
    show = sys.stdout.write
    show(f"{'':44} attempts  connected to itself\n")

    def row(what: str, tried: Tried) -> None:
        seen = f", {tried.guarded:,} seen by the guard" if tried.guarded else ""
        show(f"{what:44} {tried.attempts:>8,}  {tried.connected:,}{seen}\n")

    row("nothing is done", dial())
    with reserved():
        row("the port is reserved", dial())
    with held():
        row("a socket that does not listen is bound to it", dial())
    row("the client has a guard", dial(guard=True))
    row("the port has the other parity", dial(to=(HOST, PORT + 1)))
    row("... but the client binds to port 0 first", dial(to=(HOST, PORT + 1), bind=HOST))
    row("it dials 127.0.0.2", dial(to=(ASIDE, PORT)))
    row("... but the client binds to that address", dial(to=(ASIDE, PORT), bind=ASIDE, late=True))
    stands, closed = serve_with_reuse()
    show(f"A server with SO_REUSEADDR: bind() while it stands {stands}, after it closed {closed}\n")


if __name__ == "__main__":
    main()
