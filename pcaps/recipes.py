"""The conversations in pcaps/: real sockets on a real kernel, wherever a kernel can be had to say it.

Each recipe is told in what studio to work and under what names to record. Everything happens in private network
namespaces (tests/topology.py) that end with the process.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from topology import LEFT, LEFT_MAC, RIGHT, RIGHT_MAC, Crossing, Namespace

from analysis.formats import pcapng
from analysis.model import Flag
from capture.packets.recorder import Recorder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Address = tuple[str, int]

WRITER = "selfconn pcaps/make.py"

_IP_LOCAL_PORT_RANGE = 51  # <linux/in.h>, since Linux 6.3
_SO_TIMESTAMPNS = 35
_ETH_P_ALL = 0x0003
_ETHERNET, _IPV4 = 14, 20  # octets of the headers
_ABORT = struct.pack("ii", 1, 0)  # SO_LINGER: close() sends RST, and nothing is left


class Studio:
    """What a recipe works with: the *folder* for its captures, and the ports from *port* to *port* + 31."""

    def __init__(self, folder: Path, port: int = 50000) -> None:
        self.folder, self.port = folder, port
        self._namespaces: list[Namespace] = []

    @contextmanager
    def alone(self, *, ports: int = 32) -> Iterator[Namespace]:
        """Step into a namespace with nothing but ``lo``, that takes source ports from the first *ports* of ours."""
        with Namespace() as here, here.entered():
            here.sysctl("net.ipv4.ip_local_port_range", f"{self.port} {self.port + ports - 1}")
            self._namespaces = [here]
            yield here

    @contextmanager
    def crossing(
        self,
        loses: Callable[[bytes, bool], bool] = lambda _frame, _from_left: False,
        seen: Callable[[int, bytes, bool], object] = lambda _time, _frame, _from_left: None,
    ) -> Iterator[Crossing]:
        """Give two hosts, 100 ms there and back."""
        with Crossing(loses=loses, seen=seen) as path:
            self._namespaces = [path.left, path.right]
            yield path

    @contextmanager
    def record(self, name: str, device: str = "lo") -> Iterator[None]:
        """Record the TCP segments on a device of the namespace that we are in, until all is said."""
        with Recorder(device, ring_octets=1 << 20, comment=WRITER) as recorder:
            yield
            self.settle()
            (self.folder / f"{name}.pcapng").write_bytes(recorder.finish())
            assert not recorder.dropped, recorder.dropped  # noqa: S101 -- a handful of packets

    def write(self, name: str, packets: list[tuple[int, bytes]], comment: str = "", device: str = "lo") -> None:
        """Write a capture of whole Ethernet frames."""
        blocks = [
            pcapng.section(application=WRITER, comment=comment),
            pcapng.interface(1, 0, name=device),
            *(pcapng.packet(when, frame, len(frame)) for when, frame in packets),
        ]
        (self.folder / f"{name}.pcapng").write_bytes(b"".join(blocks))

    def settle(self) -> None:
        """Wait until no TCP socket is left but those in LISTEN and TIME-WAIT: nothing more will be said."""
        deadline = time.monotonic() + 20
        for namespace in self._namespaces:
            with namespace.entered():
                while _open_sockets():
                    if time.monotonic() > deadline:
                        raise TimeoutError("a socket does not come to its end")
                    time.sleep(0.002)


def _open_sockets() -> bool:
    tables = [Path(f"/proc/thread-self/net/{table}").read_text(encoding="ascii") for table in ("tcp", "tcp6")]
    states = {line.split()[3] for table in tables for line in table.splitlines()[1:]}
    return bool(states - {"0A", "06"})  # LISTEN, TIME_WAIT: include/net/tcp_states.h


def drained(tap: socket.socket) -> list[tuple[int, bytes]]:
    """Take out of a packet socket what has come: time in nanoseconds, frame."""
    tap.setblocking(False)
    packets: list[tuple[int, bytes]] = []
    while True:
        try:
            frame, [(_, _, stamp)], _, _ = tap.recvmsg(1 << 16, 64)
        except BlockingIOError:
            return packets
        seconds, nanoseconds = struct.unpack("=qq", stamp)
        packets.append((seconds * 10**9 + nanoseconds, frame))


def tcp_socket(address: str, port: int = 0) -> socket.socket:
    """Make a TCP socket, bound to *port* if there is one, whose close() may follow any other on the same port."""
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    made.settimeout(20)
    if port:
        made.bind((address, port))
    return made


def talk(one: socket.socket, other: socket.socket) -> None:
    """Say hello: a few octets leave *one* and reach *other*, which may be the same socket."""
    one.sendall(b"hello")
    heard = other.recv(5, socket.MSG_WAITALL)
    assert heard == b"hello", heard  # noqa: S101 -- the recipe itself would be wrong


def hang_up(one: socket.socket, *, abort: bool = False) -> None:
    """Close gracefully and wait for the other end's FIN; or abort."""
    if abort:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
    else:
        one.shutdown(socket.SHUT_WR)
        one.recv(1)
    one.close()


def refused(destination: tuple[str, int], source_port: int = 0) -> bool:
    """Try to connect; tell whether it was refused. Where it was not, it is aborted."""
    with tcp_socket(destination[0], source_port) as one:
        try:
            one.connect(destination)
        except ConnectionRefusedError:
            return True
        hang_up(one, abort=True)
        return False


def crafted(source: Address, destination: Address, flags: str, seq: int, ack: int = 0) -> bytes:
    """Make an Ethernet frame with a TCP segment by hand, checksums and all. What is LEFT's own comes from the right."""
    from scapy.layers.inet import IP, TCP  # noqa: PLC0415 -- half a second that most recipes can do without
    from scapy.layers.l2 import Ether  # noqa: PLC0415

    link = Ether(src=RIGHT_MAC, dst=LEFT_MAC) if destination[0] == LEFT else Ether(src=LEFT_MAC, dst=RIGHT_MAC)
    packet = IP(src=source[0], dst=destination[0])
    return bytes(link / packet / TCP(sport=source[1], dport=destination[1], flags=flags, seq=seq, ack=ack))


# -- recipes: each one a conversation, under one or more names ----------------------------------------------------


def to_itself(
    studio: Studio, name: str, *, address: str = "127.0.0.1", device: str = "lo", abort: bool = False
) -> None:
    """One socket, bound to a port, connects to the same port, says hello to itself, and closes."""
    with studio.alone() as here:
        if address == LEFT:  # an address of the host that is not loopback's
            here.ip("link add veth0 type veth peer name veth1")
            here.ip(f"addr add {LEFT}/24 dev veth0")
            here.ip("link set veth0 up")
        with studio.record(name, device), tcp_socket(address, studio.port) as me:
            me.connect((address, studio.port))
            talk(me, me)
            hang_up(me, abort=abort)


def walk(studio: Studio, name: str) -> None:
    """A retry loop connects to a dead port until the kernel picks that very port to connect from."""
    target = ("127.0.0.1", studio.port + 10)
    with studio.alone(ports=16), studio.record(name):
        while refused(target):
            pass


def port_walk(studio: Studio, name: str) -> None:
    """A retry loop connects to a dead port that the kernel never gives away: it lies outside of the range."""
    with studio.alone(ports=256), studio.record(name):
        for _ in range(150):
            refused(("127.0.0.1", studio.port - 1))


def after_time_wait(studio: Studio, name: str) -> None:
    """A socket connects to itself and closes; another one does the same while the first is in TIME-WAIT."""
    target = ("127.0.0.1", studio.port)
    with studio.alone() as here, studio.record(name):
        here.sysctl("net.ipv4.tcp_tw_reuse_delay", "1")
        for abort in (False, True):
            with tcp_socket(target[0]) as me:
                me.setsockopt(socket.IPPROTO_IP, _IP_LOCAL_PORT_RANGE, struct.pack("=HH", studio.port, studio.port))
                while error := me.connect_ex(target):
                    assert error == errno.EADDRNOTAVAIL, os.strerror(error)  # noqa: S101 -- TIME-WAIT is too young
                    time.sleep(0.001)
                talk(me, me)
                hang_up(me, abort=abort)


def doubles(studio: Studio, name: str) -> None:
    """A socket connects to itself under the eyes of a plain packet socket, which sees all leave and arrive."""
    with studio.alone(), socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as tap:
        tap.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        tap.bind(("lo", _ETH_P_ALL))
        with tcp_socket("127.0.0.1", studio.port) as me:
            me.connect(("127.0.0.1", studio.port))
            talk(me, me)
            hang_up(me)
        studio.settle()
        studio.write(name, drained(tap))


def refused_once(studio: Studio, name: str) -> None:
    """A client connects to a port where nobody listens."""
    with studio.alone(), studio.record(name):
        refused(("127.0.0.1", studio.port), studio.port + 1)


def three_way(studio: Studio, name: str) -> None:
    """A server, a client, a few octets, and the client closes first."""
    server_at = ("127.0.0.1", studio.port)
    with (
        studio.alone(),
        studio.record(name),
        socket.create_server(server_at) as server,
        tcp_socket(server_at[0], studio.port + 1) as client,
    ):
        client.connect(server_at)
        served, _ = server.accept()
        talk(client, served)
        client.shutdown(socket.SHUT_WR)
        served.recv(1)
        hang_up(served)


def half_open(studio: Studio, name: str) -> None:
    """A SYN made with scapy is sent to a listening socket; the kernel knows of no socket that could have sent it."""
    syn = crafted(("127.0.0.1", studio.port + 1), ("127.0.0.1", studio.port), flags="S", seq=1000)
    with (
        studio.alone(),
        studio.record(name),
        socket.create_server(("127.0.0.1", studio.port)),
        socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_RAW) as raw,
    ):
        raw.sendto(syn[_ETHERNET:], ("127.0.0.1", 0))


def server_cannot_bind(studio: Studio, name: str) -> None:
    """A socket connected to itself holds a port; a server wants it, before and after the close; clients knock."""
    here = ("127.0.0.1", studio.port)

    def serve() -> None:
        with socket.socket() as server:
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                server.bind(here)
            except OSError as error:
                if error.errno == errno.EADDRINUSE:
                    return
            raise AssertionError("the server could bind")

    with studio.alone(), studio.record(name), tcp_socket(*here) as me:
        me.connect(here)
        talk(me, me)
        serve()
        refused(here, studio.port + 1)
        hang_up(me)
        serve()
        refused(here, studio.port + 2)


def _both_call(studio: Studio, path: Crossing, arriving: int) -> tuple[socket.socket, socket.socket]:
    """Let LEFT and RIGHT connect to each other at once; *arriving* of their two SYNs come as far as the middle."""
    left_at, right_at = (LEFT, studio.port), (RIGHT, studio.port + 1)
    with path.held(arriving):
        with path.left.entered():
            left = tcp_socket(*left_at)
        with path.right.entered():
            right = tcp_socket(*right_at)
        for one, other_at in ((left, right_at), (right, left_at)):
            one.setblocking(False)
            one.connect_ex(other_at)
            one.settimeout(20)
    return left, right


def _converse(left: socket.socket, right: socket.socket) -> None:
    """Exchange a few octets, and close: left first."""
    with left, right:
        talk(left, right)
        talk(right, left)
        left.shutdown(socket.SHUT_WR)
        right.recv(1)
        hang_up(right)


def simultaneous_open(studio: Studio, *names: str) -> None:
    """Two hosts with 50 ms between them connect to each other at once; recorded at each and half-way."""
    middle: list[tuple[int, bytes]] = []
    with studio.crossing(seen=lambda when, frame, _from_left: middle.append((when, frame))) as path:
        with ExitStack() as recording:
            for name, end in zip(names, (path.left, path.right), strict=False):
                with end.entered():
                    recording.enter_context(studio.record(name, "veth0"))
            _converse(*_both_call(studio, path, arriving=2))
        studio.write(names[2], middle, device="middle")


def hole_punch(studio: Studio, *names: str) -> None:
    """Two hosts connect to each other at once; the left one's SYN is lost, as in a NAT that knows nothing of it yet."""
    lost: list[bytes] = []

    def loses(frame: bytes, from_left: bool) -> bool:
        if from_left and not lost:
            lost.append(frame)
            return True
        return False

    with studio.crossing(loses=loses) as path, ExitStack() as recording:
        for name, end in zip(names, (path.left, path.right), strict=True):
            with end.entered():
                recording.enter_context(studio.record(name, "veth0"))
        _converse(*_both_call(studio, path, arriving=1))


def crossed_unanswered(studio: Studio, name: str) -> None:
    """Two hosts connect to each other at once; half-way, where it is recorded, only SYNs are let through."""
    middle: list[tuple[int, bytes]] = []
    lost: list[bytes] = []

    def loses(frame: bytes, _from_left: bool) -> bool:
        if frame[_ETHERNET + _IPV4 + 13] == Flag.SYN:
            return False
        lost.append(frame)
        return True

    with studio.crossing(loses, lambda when, frame, _from_left: middle.append((when, frame))) as path:
        left, right = _both_call(studio, path, arriving=2)
        while len(lost) < 2:  # both are in SYN-RECEIVED now
            time.sleep(0.002)
        for one in (left, right):
            hang_up(one, abort=True)
        studio.write(name, middle, device="middle")


def land(studio: Studio, name: str) -> None:
    """A SYN made with scapy, its source equal to its destination, comes in from another host."""
    syn = crafted((LEFT, studio.port), (LEFT, studio.port), flags="S", seq=1000)
    with (
        studio.crossing() as path,
        path.left.entered(),
        socket.create_server((LEFT, studio.port)),
        studio.record(name, "veth0"),
        path.middle.entered(),
        socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as wire,
    ):
        wire.bind(("left", 0))
        wire.send(syn)


def split_handshake(studio: Studio, name: str) -> None:
    """Made with scapy, and never sent: no kernel answers like this."""
    client, server = (LEFT, studio.port + 1), (RIGHT, studio.port)
    segments = [
        crafted(client, server, flags="S", seq=1000),
        crafted(server, client, flags="A", seq=0, ack=1001),
        crafted(server, client, flags="S", seq=5000),
        crafted(client, server, flags="SA", seq=1000, ack=5001),
        crafted(server, client, flags="A", seq=5001, ack=1001),
    ]
    start = 1_700_000_000 * 10**9
    packets = [(start + 10_000_000 * place, segment) for place, segment in enumerate(segments)]
    studio.write(name, packets, comment="Made with scapy: no kernel sent this.", device="none")
