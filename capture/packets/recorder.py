"""The recorder: what the taps take in, as one stream of pcapng bytes.

The stream is ready to be written to a file as it comes; the same bytes are what the analysis reads.
"""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Self

from analysis.formats import pcapng

from . import filters
from .capture_rings import RING_OCTETS, Taps

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .ring import Packet
    from .self_connect import SelfConnect

#: What the files say they were written by.
APPLICATION = "selfconn-capture"

#: The stream is cut into pages of this size, and no block lies across two of them. The kernel writes a page to a file
#: wholly or not at all, even for a process that is being killed; so a file always ends at the end of a block.
PAGE = 4096


class Recorder:
    """Records the TCP segments of *port* (None: of all ports) on *interface* ("any": on all), and the proof.

    It is armed when the constructor returns. Then call poll() whenever a descriptor of filenos() is ready and at least
    every 50 ms, then finish(), then close(). *ends_only* leaves out of the context what neither begins nor ends a
    connection. *ring_octets* is the memory for the rings. *comment* goes into the file's header.

    Opening needs CAP_NET_RAW, the rest no privilege at all. Raises CannotCapture with the reason.

    ``packets`` counts what the stream holds so far. A signal handler must not raise while poll() or finish() runs:
    packets would be missing from the stream.
    """

    def __init__(
        self,
        interface: str = "lo",
        port: int | None = None,
        *,
        ends_only: bool = False,
        ring_octets: int = RING_OCTETS,
        comment: str = "",
    ) -> None:
        self.packets = 0
        self.ends_only = ends_only
        self._taps = Taps(interface, port, ends_only=ends_only, ring_octets=ring_octets)
        self._began = time.time_ns()
        self._room = PAGE  # octets left in the page
        machine = os.uname()
        system = f"{machine.sysname} {machine.release}"
        self._head = [
            pcapng.section(hardware=machine.machine, system=system, application=APPLICATION, comment=comment),
            pcapng.interface(
                self._taps.linktype, filters.SNAPLEN, name=interface, passes=self._taps.passes, system=system
            ),
        ]

    @property
    def received(self) -> int:
        """How many packets came into the rings, as the kernel counts them."""
        return self._taps.received

    @property
    def dropped(self) -> int:
        """How many packets found no room in the rings, as the kernel counts them."""
        return self._taps.dropped

    @property
    def trouble(self) -> str | None:
        """What became of the interface, if it went down or away."""
        return self._taps.trouble

    @property
    def self_connects(self) -> list[SelfConnect]:
        """What self-connects passed so far, at once; the first taps.MOST of them."""
        return self._taps.self_connects

    def filenos(self) -> tuple[int, int]:
        """Return the descriptors to wait on; any of them ready to be read means that poll() has work."""
        return self._taps.filenos()

    def poll(self) -> bytes:
        """Return the part of the stream that is settled, in the order of time. Never waits.

        A packet is in it about 30 ms after it passed at the latest.
        """
        return self._laid(self._blocks(self._taps.read()))

    def finish(self) -> bytes:
        """Stop taking in, wait (a second at most) for what the kernel still has, and return the end of the stream.

        Its last block holds the counts of packets received and dropped.
        """
        blocks = self._blocks(self._taps.shut())
        counts = pcapng.statistics(
            time.time_ns(),
            began=self._began,
            received=self.received,
            dropped=self.dropped,
            comment=self._taps.account(),
        )
        return self._laid([*blocks, counts])

    def close(self) -> None:
        """Let go of the rings. Calling it twice does no harm."""
        self._taps.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _blocks(self, packets: list[Packet]) -> list[bytes]:
        head, self._head = self._head, []
        self.packets += len(packets)
        encode = pcapng.packet
        return head + [encode(moment, data, length) for moment, data, length in packets]

    def _laid(self, blocks: Iterable[bytes]) -> bytes:
        """Lay *blocks* into pages, a filler at the end of a page where the next block has no room."""
        stream: list[bytes] = []
        room = self._room
        for block in blocks:
            left = room - len(block)
            if left and left < pcapng.SMALLEST:
                stream.append(pcapng.filler(room))
                left = PAGE - len(block)
            stream.append(block)
            room = left or PAGE
        self._room = room
        return b"".join(stream)
