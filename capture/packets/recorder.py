"""The recorder: what the two rings take in, as one stream of pcapng bytes.

The stream is ready to be written to a file as it comes; the same bytes are what the analysis reads.
"""

from __future__ import annotations

import os
import time

from analysis.formats import pcapng

from . import filters
from .capture_rings import RING_OCTETS, CaptureRings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from .ring import Packet

#: What the files say they were written by.
APPLICATION = "selfconn-capture"

#: The stream is cut into pages of this size, and no block lies across two of them. The kernel writes a page to a file
#: wholly or not at all, even for a process that is being killed; so a file always ends at the end of a block.
PAGE = 4096


def head(interface: str, linktype: int, passes: str, *, comment: str = "") -> list[bytes]:
    """The blocks that a file begins with: who wrote it where, and the interface with what its filter *passes*."""
    machine = os.uname()
    system = f"{machine.sysname} {machine.release}"
    return [
        pcapng.section(hardware=machine.machine, system=system, application=APPLICATION, comment=comment),
        pcapng.interface(linktype, filters.SNAPLEN, name=interface, passes=passes, system=system),
    ]


class Recorder(CaptureRings):
    """Records the TCP segments of *port* (None: of all ports) on *interface* ("any": on all), and the proof.

    It is armed when the constructor returns. Then call poll() whenever a descriptor of filenos() is ready and at least
    every 50 ms, then finish(), then close(). *comment* goes into the file's header; for the rest see CaptureRings.

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
        super().__init__(interface, port, ends_only=ends_only, ring_octets=ring_octets)
        self._began = time.time_ns()
        self._room = PAGE  # octets left in the page
        self._head = head(interface, self.linktype, self.passes, comment=comment)

    def poll(self) -> bytes:
        """Return the part of the stream that is settled, in the order of time. Never waits.

        A packet is in it about 30 ms after it passed at the latest.
        """
        return self._laid(self._blocks(self.read()))

    def finish(self) -> bytes:
        """Stop taking in, wait (a second at most) for what the kernel still has, and return the end of the stream.

        Its last block holds the counts of packets received and dropped.
        """
        blocks = self._blocks(self.shut())
        counts = pcapng.statistics(
            time.time_ns(),
            began=self._began,
            received=self.received,
            dropped=self.dropped,
            comment=self.counts(),
        )
        return self._laid([*blocks, counts])

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
