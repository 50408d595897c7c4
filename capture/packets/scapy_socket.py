"""The two rings as a socket for scapy: ``sniff(opened_socket=SelfconnSocket("lo", 50000), prn=...)``.

The kernel's filters, rings and counters stand behind it: scapy gets every packet once and in order, and where it is
too slow the counters say so. Packets are what scapy makes of the link type, with ``time`` and ``wirelen`` set.

This is the only file that imports scapy. It makes scapy look for its cache and configuration in a place where nothing
can be, so that nothing in a home directory is read, run or written.
"""

from __future__ import annotations

import os
from collections import deque
from contextlib import contextmanager
from importlib import metadata
from select import epoll

from .capture_rings import RING_OCTETS, CaptureRings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, NoReturn

    from scapy.packet import Packet

    from .ring import Packet as RawPacket


@contextmanager
def _without_user_files() -> Iterator[None]:
    """Name directories below a device in the environment: they are not there, and cannot be made."""
    names = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME")
    saved = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, f"{os.devnull}/none"))
    try:
        yield
    finally:
        for name, value in saved.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _check_version() -> None:
    """Raise ImportError for a scapy that unpickles files of the home directory when it is imported: 2.6 and 2.7 do."""
    version = metadata.version("scapy")
    if tuple(int(part) for part in version.split(".")[:2]) < (2, 8):
        raise ImportError(f"scapy {version} runs files of a home directory when it is imported: 2.8 or later is needed")


_check_version()
with _without_user_files():
    from scapy.config import conf
    from scapy.error import Scapy_Exception
    from scapy.layers import inet, inet6  # noqa: F401 - importing them teaches scapy what is in a frame
    from scapy.supersocket import SuperSocket
    from scapy.utils import EDecimal

#: Seconds after which waiting looks at the packets held back, although no descriptor is ready.
_PAUSE = 0.02


class SelfconnSocket(SuperSocket):
    """A scapy socket that receives the TCP segments of *port* (None: all) on *iface* ("any": all), and the proof.

    It receives from the moment it is made, it cannot send, and ``recv()`` never waits. Needs CAP_NET_RAW. Raises
    CannotCapture with the reason. ``rings`` has the kernel's counts of packets received and dropped.
    """

    desc = "the TCP segments of one port, and every connection to itself, from two rings of the kernel"
    outs = None

    def __init__(self, iface: str = "lo", port: int | None = None, *, ring_octets: int = RING_OCTETS) -> None:
        self.closed = True
        self.iface = iface
        self.rings = CaptureRings(iface, port, ring_octets=ring_octets)
        self._class = conf.l2types.num2layer.get(self.rings.linktype, conf.raw_layer)
        self._waiting: deque[RawPacket] = deque()
        # scapy waits on one descriptor; this one is ready when a ring is.
        self._both = epoll()
        for number in self.rings.filenos():
            self._both.register(number)
        self.closed = False

    def fileno(self) -> int:
        """Return the descriptor to wait on."""
        return self._both.fileno()

    def fetch(self) -> bool:
        """Whether there is a packet for recv()."""
        if not self._waiting:
            self._waiting.extend(self.rings.read())
        return bool(self._waiting)

    def recv(self, x: int = 0, **kwargs: Any) -> Packet | None:  # noqa: ANN401, ARG002 - scapy's signature
        """Return the next packet dissected, None where there is none."""
        if not self.fetch():
            return None
        moment, data, length = self._waiting.popleft()
        try:
            packet: Packet = self._class(data, **kwargs)
        except Exception:  # noqa: BLE001 - a dissector may raise anything on bytes from strangers
            packet = conf.raw_layer(data)
        packet.time = EDecimal(moment) / 1_000_000_000
        packet.wirelen = length
        return packet

    def send(self, x: Packet) -> NoReturn:  # noqa: ARG002 - scapy's signature
        """Refuse: this socket only listens."""
        raise Scapy_Exception(f"{type(self).__name__} only listens")

    @staticmethod
    def select(sockets: list[SuperSocket], remain: float | None = None) -> list[SuperSocket]:
        """Return those of *sockets* that have something, after *remain* seconds at most."""
        ours = [one for one in sockets if isinstance(one, SelfconnSocket)]
        ready: list[SuperSocket] = [one for one in ours if one.fetch()]
        pause = 0 if ready else _PAUSE if remain is None else min(remain, _PAUSE)
        ready += [one for one in SuperSocket.select(sockets, pause) if one not in ready]
        return [one for one in ready if not isinstance(one, SelfconnSocket) or one.fetch()]

    def close(self) -> None:
        """Let go of the rings. Calling it twice does no harm."""
        if not self.closed:
            self.closed = True
            self._both.close()
            self.rings.close()
