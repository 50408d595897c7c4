"""Network namespaces to make traffic in, and two of them with a slow path between.

A namespace here has no name and no process of its own: it lives as long as a descriptor or a socket of ours does,
so nothing is left behind, however the program ends. The calling thread steps in and out; a socket stays where it
was made. All of it needs root, if only in a user namespace.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import select
import socket
import struct
import subprocess
import threading
import time
from collections import deque
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Where the two ends of a Crossing live: addresses for documentation (RFC 5737, RFC 3849).
LEFT, RIGHT = "192.0.2.1", "192.0.2.2"
LEFT6, RIGHT6 = "2001:db8::1", "2001:db8::2"
LEFT_MAC, RIGHT_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"

_CLONE_NEWNET = 0x40000000
_SIOCETHTOOL, _ETHTOOL_STXCSUM = 0x8946, 0x17
_ETH_P_ALL = 0x0003
_SOL_PACKET, _PACKET_IGNORE_OUTGOING = 263, 23

_libc = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """A network namespace with ``lo`` up."""

    def __init__(self) -> None:
        home = _current()
        try:
            _must(_libc.unshare(_CLONE_NEWNET))
            self._fd = _current()
            _must(_libc.setns(home, _CLONE_NEWNET))
        finally:
            os.close(home)
        #: What ip(8) takes for this namespace.
        self.path = f"/proc/{os.getpid()}/fd/{self._fd}"
        self.ip("link set lo up")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go; it ends with its last socket."""
        os.close(self._fd)

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Put this thread, and the sockets and processes that it makes, into the namespace."""
        home = _current()
        _must(_libc.setns(self._fd, _CLONE_NEWNET))
        try:
            yield
        finally:
            _must(_libc.setns(home, _CLONE_NEWNET))
            os.close(home)

    def ip(self, arguments: str) -> None:
        """Run ip(8) here."""
        with self.entered():
            subprocess.run(["ip", *arguments.split()], check=True, timeout=20)

    def sysctl(self, name: str, value: str) -> None:
        """Set a sysctl of this namespace: ``net.ipv4.ip_local_port_range``."""
        with self.entered():
            Path("/proc/sys", *name.split(".")).write_text(value, encoding="ascii")


class _End(NamedTuple):
    namespace: Namespace
    device: str  # its other end, in the middle
    mac: str
    address: str
    address6: str


class Crossing:
    """The namespaces ``left`` and ``right``, and a ``middle`` that hands every Ethernet frame on after *delay* seconds.

    ``loses(frame, from_left)`` is asked when a frame arrives in the middle, and says whether it is lost there.
    ``seen(time, frame, from_left)`` is told of each that is not; time in nanoseconds since the epoch.
    """

    def __init__(
        self,
        delay: float = 0.05,
        *,
        loses: Callable[[bytes, bool], bool] = lambda _frame, _from_left: False,
        seen: Callable[[int, bytes, bool], object] = lambda _time, _frame, _from_left: None,
    ) -> None:
        self._delay, self._loses, self._seen = delay, loses, seen
        with ExitStack() as opened:
            self.left, self.middle, self.right = (opened.enter_context(Namespace()) for _ in range(3))
            left = _End(self.left, "left", LEFT_MAC, LEFT, LEFT6)
            right = _End(self.right, "right", RIGHT_MAC, RIGHT, RIGHT6)
            self._connect(left, right)
            self._connect(right, left)
            with self.middle.entered():
                self._left, self._right = (opened.enter_context(_frames(name)) for name in ("left", "right"))
            self._waiting: deque[tuple[float, bytes, socket.socket]] = deque()  # when it came, what, where to
            self._changed = threading.Condition()
            self._held = False
            self._released = 0.0
            self._wake, woken = socket.socketpair()
            opened.enter_context(woken)
            thread = threading.Thread(target=self._forward, args=(woken,), name="middle")
            thread.start()
            opened.callback(thread.join)
            opened.enter_context(self._wake)  # closed first: the thread ends
            self._opened = opened.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Cut the path and let go of the namespaces."""
        self._opened.close()

    @contextmanager
    def held(self, frames: int) -> Iterator[None]:
        """Keep what is sent meanwhile in the middle until there are *frames*: they cross, however slow the machine."""
        self._held = True
        yield
        with self._changed:
            if not self._changed.wait_for(lambda: len(self._waiting) >= frames, timeout=20):
                raise TimeoutError(f"{len(self._waiting)} of {frames} frames came to the middle")
        self._released = time.monotonic()
        self._held = False
        self._wake.send(b"!")

    def _connect(self, own: _End, peer: _End) -> None:
        """Lay a veth pair to the middle. The neighbour is told, not asked for: no ARP in the captures."""
        end = own.namespace
        for namespace in (end, self.middle):
            # No link-local address, no duplicate address detection: nothing is sent that nobody asked for.
            namespace.sysctl("net.ipv6.conf.default.addr_gen_mode", "1")
            namespace.sysctl("net.ipv6.conf.default.accept_dad", "0")
        end.ip(f"link add veth0 address {own.mac} type veth peer name {own.device} netns {self.middle.path}")
        self.middle.ip(f"link set {own.device} up")
        end.ip(f"addr add {own.address}/24 dev veth0")
        end.ip(f"addr add {own.address6}/64 dev veth0 nodad")
        end.ip("link set veth0 up")
        end.ip(f"neigh add {peer.address} lladdr {peer.mac} dev veth0 nud permanent")
        end.ip(f"neigh add {peer.address6} lladdr {peer.mac} dev veth0 nud permanent")
        with end.entered(), socket.socket() as any_socket:
            # Checksums are to be right on the wire: left to a device that is none, they stay wrong and are dropped.
            off = ctypes.create_string_buffer(struct.pack("=II", _ETHTOOL_STXCSUM, 0))
            fcntl.ioctl(any_socket, _SIOCETHTOOL, struct.pack("16sP16x", b"veth0", ctypes.addressof(off)))

    def _forward(self, woken: socket.socket) -> None:
        other = {self._left: self._right, self._right: self._left}
        while True:
            wait = None
            if self._waiting and not self._held:
                wait = max(0.0, max(self._waiting[0][0], self._released) + self._delay - time.monotonic())
            ready = select.select([*other, woken], [], [], wait)[0]
            if woken in ready and not woken.recv(1):
                return
            for port, out in other.items():
                if port in ready:
                    self._take(port.recv(1 << 16), port, out)
            while self._waiting and not self._held:
                came, frame, out = self._waiting[0]
                if time.monotonic() < max(came, self._released) + self._delay:
                    break
                self._waiting.popleft()
                out.send(frame)

    def _take(self, frame: bytes, port: socket.socket, out: socket.socket) -> None:
        from_left = port is self._left
        if frame[0] & 1 or self._loses(frame, from_left):  # a multicast: the hosts' own chat, not ours
            return
        self._seen(time.time_ns(), frame, from_left)
        with self._changed:
            self._waiting.append((time.monotonic(), frame, out))
            self._changed.notify_all()


def _frames(device: str) -> socket.socket:
    """Open a socket for the whole frames that come in on a device."""
    port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    port.setsockopt(_SOL_PACKET, _PACKET_IGNORE_OUTGOING, 1)
    port.bind((device, _ETH_P_ALL))
    return port


def _current() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def _must(answer: int) -> None:
    if answer < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
