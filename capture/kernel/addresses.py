"""What the kernel lets a socket do with an address: dial it, dial it from itself, bind it.

It asks by means of sockets, which it closes again; nothing is sent.
"""

from __future__ import annotations

import errno
import socket

from analysis.errors import UsageError
from analysis.model import Endpoint


def target(host: str, port: int) -> Endpoint:
    """The endpoint to connect to itself. Raises UsageError unless *host* is a unicast address and *port* a TCP port."""
    if not 1 <= port <= 65535:
        raise UsageError(f"{port} is not a TCP port; give a number from 1 to 65535")
    try:
        endpoint = Endpoint.parse(host.removeprefix("::ffff:") if "." in host else host, port)
    except (OSError, ValueError):
        raise UsageError(f"{host!r} is not an IP address, and names are not resolved; try 127.0.0.1 or ::1") from None
    first, wildcard = endpoint.packed[0], not any(endpoint.packed)
    if wildcard or first == 0xFF or (len(endpoint.packed) == 4 and first >= 224):
        raise UsageError(f"{host} is not a unicast address; try 127.0.0.1, ::1 or an address of this machine")
    return endpoint


def dialled_from_itself(endpoint: Endpoint) -> bool:
    """Whether connect() to this address of ours takes it for the source as well; 127.0.0.2 is dialled from 127.0.0.1.

    A datagram socket is given its source in connect(), and nothing is sent. A wildcard, dialled, means loopback.
    """
    try:
        with socket.socket(family(endpoint), socket.SOCK_DGRAM) as probe:
            probe.connect((endpoint.address, 9))
            return not any(endpoint.packed) or probe.getsockname()[0] == endpoint.address
    except OSError:  # of a link, or gone meanwhile: nothing speaks against it
        return True


def family(endpoint: Endpoint) -> socket.AddressFamily:
    """AF_INET or AF_INET6."""
    return socket.AF_INET if len(endpoint.packed) == 4 else socket.AF_INET6


def check_own(endpoint: Endpoint) -> None:
    """Raise UsageError unless the address is one of this machine's (of this network namespace's)."""
    try:
        with socket.socket(family(endpoint), socket.SOCK_STREAM) as probe:
            probe.bind((endpoint.address, 0))
    except OSError as error:
        if error.errno == errno.EADDRINUSE:  # the address is there, but no port is free
            return
        if error.errno == errno.EAFNOSUPPORT:
            raise UsageError(
                f"{endpoint.address} is an IPv6 address, and this kernel has no IPv6; give one of IPv4"
            ) from None
        raise UsageError(
            f"{endpoint.address} is not an address of this machine, so no socket can connect to itself there: "
            "`ip address` lists those that are, --private makes one up"
        ) from None


def server_error(endpoint: Endpoint, *, reuse: bool = False) -> int:
    """Bind a socket as a server would, and close it; return 0, or the errno of bind(). *reuse*: with SO_REUSEADDR."""
    with socket.socket(family(endpoint), socket.SOCK_STREAM) as server:
        if reuse:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            server.bind((endpoint.address, endpoint.port))
        except OSError as error:
            return error.errno or errno.EIO
    return 0
