"""Two rings, one ordered sequence of packets.

One ring takes the proof, segments whose two endpoints are equal; the other takes the context, everything else of the
port. Their filters exclude each other, so every packet comes once, and a flood that overflows the context leaves the
proof alone.
"""

from __future__ import annotations

import select
import time
from bisect import bisect_left
from operator import itemgetter

from . import filters
from .ring import Ring
from .self_connect import SelfConnect, self_connect

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

    from .ring import Packet

#: Octets of ring memory, for both rings together.
RING_OCTETS = 16 << 20

#: Self-connects that are noted one by one.
MOST = 1000

#: Nanoseconds that a packet may be on its way from being stamped to being visible in its ring.
_ON_ITS_WAY = 1_000_000

#: Seconds for which shut() goes on to take in what was sent just before, and the longest that it then waits for
#: the kernel to hand over the last blocks.
_LAST_CALL, _PATIENCE = 0.02, 1.0

_by_time = itemgetter(0)


class CaptureRings:
    """Takes in the TCP segments of *port* (None: of all ports) on *interface* ("any": on all), and the proof.

    Armed when the constructor returns. *ends_only* leaves out of the context what neither begins nor ends a
    connection. *ring_octets* is the memory for both rings. Opening needs CAP_NET_RAW, the rest no privilege at all.
    Raises CannotCapture with the reason.

    ``received`` and ``dropped`` are the kernel's own counts; dropped packets found the ring full. ``trouble`` says
    what became of the interface, if it went down or away. ``self_connects`` are those that passed so far, at most
    MOST of them.
    """

    def __init__(
        self,
        interface: str,
        port: int | None,
        *,
        ends_only: bool = False,
        ring_octets: int = RING_OCTETS,
    ) -> None:
        self.received = self.dropped = 0
        self.trouble: str | None = None
        self.self_connects: list[SelfConnect] = []
        #: What is taken in, in libpcap's language.
        self.passes = filters.both_text(port, ends_only=ends_only)
        # The proof is little traffic in small blocks: the ring then lasts a second even at a packet every RETIRE.
        self._proof = Ring(interface, filters.proof(), octets=ring_octets // 8, block=1 << 14)
        try:
            context = filters.context(port, ends_only=ends_only)
            self._context = Ring(interface, context, octets=ring_octets * 7 // 8, block=1 << 16)
        except BaseException:
            self._proof.close()
            raise
        self.linktype = self._proof.linktype
        self._rings = (self._context, self._proof)
        self._held: list[Packet] = []  # read, but an older one may come
        self._clock = time.time_ns() - time.monotonic_ns()

    def filenos(self) -> tuple[int, int]:
        """Return the descriptors to wait on; any of them ready to be read means that read() has work."""
        return self._context.fileno(), self._proof.fileno()

    def read(self) -> list[Packet]:
        """Read the rings, and return the packets, oldest first, of which no older one can come any more. Never waits.

        The others are returned by a later call, after 30 ms or so.
        """
        now = time.time_ns()
        clock = now - time.monotonic_ns()
        stepped = abs(clock - self._clock) > _ON_ITS_WAY  # somebody set the clock: old and new times do not compare
        self._clock = clock
        self._take()
        # Look after all reading: what is not visible then is younger than everything that was read.
        unread = [pending for ring in self._rings if (pending := ring.pending()) is not None]
        before = min([now - _ON_ITS_WAY, *unread])
        count = len(self._held) if stepped else bisect_left(self._held, before, key=_by_time)
        settled = self._held[:count]
        del self._held[:count]
        return settled

    def shut(self) -> list[Packet]:
        """End the capture: wait, a second at most, until the kernel has handed over every packet, and return them."""
        packets = self._read_until(time.monotonic() + _LAST_CALL)
        for ring in self._rings:
            ring.replace(filters.NOTHING)
        deadline = time.monotonic() + _PATIENCE
        while True:
            packets += self._read_until(time.monotonic() + 0.001)
            if time.monotonic() > deadline or not any(ring.pending() for ring in self._rings):
                break
        self._take()
        packets += self._held
        self._held.clear()
        return packets

    def counts(self) -> str:
        """Say ring by ring how many packets there were and how many were lost."""
        names = ("context", "proof (equal endpoints)")
        counts = zip(names, (ring.statistics() for ring in self._rings), strict=True)
        return "; ".join(f"{name}: {received} received, {dropped} dropped" for name, (received, dropped) in counts)

    def close(self) -> None:
        """Close the rings. Calling it twice does no harm."""
        for ring in self._rings:
            ring.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take(self) -> None:
        """Move everything that the kernel has handed over into _held, and its counts into ours."""
        for ring in self._rings:
            packets = ring.read()
            if ring is self._proof and len(self.self_connects) < MOST:
                signs = (self_connect(self.linktype, packet) for packet in packets)
                self.self_connects += filter(None, signs)
            self._held += packets
            self.trouble = self.trouble or ring.trouble()
        self._held.sort(key=_by_time)
        counts = [ring.statistics() for ring in self._rings]
        self.received, self.dropped = (sum(column) for column in zip(*counts, strict=True))

    def _read_until(self, end: float) -> list[Packet]:
        """Read until *end* on the monotonic clock, and once at least."""
        packets: list[Packet] = []
        while True:
            packets += self.read()
            left = end - time.monotonic()
            if left <= 0:
                return packets
            select.select(self.filenos(), [], [], left)
