"""Two rings for a watch of days, which costs next to nothing whatever the traffic.

One takes a single segment of each self-connect, the SYN-ACK by which the socket answers itself: nothing else wakes the
process. The other is a flight recorder for what comes before: the SYN, FIN and RST segments of the host, or of one
port. Nobody reads it; its oldest blocks go back to the kernel unread. When there was a self-connect, its end is read.
"""

from __future__ import annotations

import time
from collections import deque
from operator import itemgetter

from analysis.formats import pcapng

from . import filters, recorder
from .ring import ANY, RETIRE, FlightRecorder, Ring
from .self_connect import SelfConnect, self_connect

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from typing import Self

    from .ring import Packet

#: Octets of the ring for the SYN-ACKs by which self-connects are recognised, and how many of them are remembered.
_OCTETS, _ANSWERS = 1 << 21, 1000
#: Both in each network namespace but the first; there the octets of the flight recorder, and the most packets it keeps.
_SMALL_OCTETS, _SMALL_ANSWERS, _SMALL_BEFORE, _SMALL_PACKETS = 1 << 16, 100, 1 << 18, 1000
#: Milliseconds after which the kernel hands over a block of the first there: sixteen last for more than half a second.
_SMALL_RETIRE = 40


class WatchRings:
    """The two rings. Opening them needs CAP_NET_RAW, nothing else does. Raises CannotCapture with the reason.

    *packets* is how many the flight recorder remembers, *port* the only one of interest (None: all). *small*: with
    little memory, for one of many network namespaces, on loopback whether it is up or not. *given* are the sockets of
    such rings that another process has made.
    """

    def __init__(
        self,
        interface: str,
        port: int | None,
        *,
        packets: int,
        small: bool = False,
        given: Sequence[socket.socket] | None = None,
    ) -> None:
        self.interface = interface
        self.passes = filters.watch_text(port)
        where = ANY if small else interface
        octets, most = (_SMALL_OCTETS, min(packets, _SMALL_PACKETS)) if small else (_OCTETS, packets)
        retire = _SMALL_RETIRE if small else RETIRE
        answers, before = given or (None, None)
        answer = filters.answer(port, loopback=small)
        # Small blocks: where little passes, the kernel hands one over for a packet or two.
        self._answers = Ring(where, answer, octets=octets, block=1 << 12, retire=retire, given=answers)
        try:
            self._before = FlightRecorder(
                where,
                filters.before(port, loopback=small),
                packets=most,
                octets=_SMALL_BEFORE if small else None,
                given=before,
            )
        except BaseException:
            self._answers.close()
            raise
        #: Whether much passed between the last two calls of look(): to be called sooner then.
        self.busy = False
        self._seen: deque[Packet] = deque(maxlen=_SMALL_ANSWERS if small else _ANSWERS)

    def filenos(self) -> tuple[int, int]:
        """Return the descriptors of both sockets, for another process to have."""
        return self._answers.fileno(), self._before.fileno()

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when something has connected to itself."""
        return self._answers.fileno()

    def look(self, *, hold: bool = False) -> list[SelfConnect]:
        """Return the self-connects since the last call. Never waits. Call it ten times a second.

        Frees the packets that are no longer needed; with *hold* it keeps them, because an earlier self-connect still
        has to be saved with them.
        """
        answers = self._answers.read()
        self._seen.extend(answers)
        hits = [hit for packet in answers if (hit := self_connect(self._answers.linktype, packet))]
        if not hits and not hold:
            self.busy = self._before.keep() > 1
        return hits

    def stirred(self) -> bool:
        """Whether look() has something to do. Costs next to nothing."""
        return self.busy or self._before.stirred()

    def waits_for(self, moment: int) -> bool:
        """Whether packets of that *moment* (nanoseconds since the epoch) may still be with the kernel."""
        pending = self._before.pending()
        return pending is not None and pending <= moment

    def kept(self, until: int) -> list[Packet]:
        """Return the packets up to a time (nanoseconds since the epoch), in the order in which they passed.

        Frees afterwards what look() held for this.
        """
        packets = self._before.last(until)
        self._before.keep()
        since = packets[0][0] if packets else 0
        return sorted([*packets, *(one for one in self._seen if since <= one[0] <= until)], key=itemgetter(0))

    def settled(self) -> int:
        """Return a moment (nanoseconds since the epoch): the kernel has handed over all that passed before it."""
        now = time.time_ns()
        pending = self._before.pending()
        return now if pending is None else pending

    @property
    def missed(self) -> int:
        """How many SYN-ACKs of sockets to themselves the kernel has dropped so far because a ring was full."""
        return self._answers.statistics()[1]

    @property
    def dropped(self) -> int:
        """How many packets the kernel has dropped so far because a ring was full."""
        return self._answers.statistics()[1] + self._before.statistics()[1]

    def trouble(self) -> str | None:
        """Say what became of the interface since the last call; None: nothing."""
        return self._answers.trouble() or self._before.trouble()

    def pcapng(self, packets: list[Packet]) -> bytes:
        """Make a file of *packets*, of which a flood may have left none."""
        now = time.time_ns()
        began = packets[0][0] if packets else now
        counts = pcapng.statistics(now, began=began, received=len(packets), dropped=self.dropped)
        first = recorder.head(self.interface, self._answers.linktype, self.passes)
        return b"".join([*first, *(pcapng.packet(*packet[:2], packet[2]) for packet in packets), counts])

    def close(self) -> None:
        """Let go of the rings."""
        self._answers.close()
        self._before.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
