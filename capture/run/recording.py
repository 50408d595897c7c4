"""A recording under way: what the recorder gives goes to the file at once and, the very same bytes, into the analysis.

So whatever ends the run, there is a whole file and the analysis of what is in it.
"""

from __future__ import annotations

import selectors
import time
from collections import deque

from analysis.errors import Incomplete
from analysis.formats import pcapng
from analysis.model import Verdict

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

    from analysis.model import CaptureResult
    from analysis.reader import Analysis

    from .output import Sink
    from .run_context import RunContext

#: Seconds between two looks at the rings when nothing happens.
_TICK = 0.05
#: Seconds that the analysis may take before the rings are looked at again, and the octets it takes at once.
_TURN, _PORTION = 0.005, 1 << 16


#: The verdicts that follow from SYN, FIN and RST alone, where the segments between them were not captured.
TOLD_BY_ENDS = frozenset(Verdict) - {Verdict.THREE_WAY, Verdict.HALF_OPEN, Verdict.SPLIT_HANDSHAKE}


class Recording:
    """Takes the recorder's stream into *sink* and an analysis, and reads what the kernel says of states.

    turn() waits for what comes next, for a signal, or for one of the descriptors *wakes*; call it until there is no
    more to record, then finish(). ``trouble`` says what went wrong with the file or the interface, ``interrupted``
    whether a signal to end the run came in the last turn.
    """

    def __init__(self, context: RunContext, sink: Sink, *wakes: int) -> None:
        from analysis.reader import Analysis  # noqa: PLC0415 - by now the work has begun, and the rings keep it

        self.sink, self._recorder, self._kernel_states = sink, context.recorder, context.kernel_states
        self._signalled, self._count = context.signalled, context.options.count
        name = "standard output" if sink.name == "-" else sink.name
        self.analysis: Analysis = Analysis(name, only=TOLD_BY_ENDS if context.recorder.ends_only else ())
        self.packets = 0
        self.trouble: str | None = None
        self.interrupted = False
        self._noticed = 0  # self-connects
        self._behind: deque[memoryview] = deque()
        self._ready = selectors.DefaultSelector()
        for one in (*context.recorder.filenos(), context.signalled, *wakes):
            self._ready.register(one, selectors.EVENT_READ)

    @property
    def over(self) -> bool:
        """Whether nothing more can be recorded: as many packets as were asked for, or trouble."""
        return self.trouble is not None or (self._count is not None and self.packets >= self._count)

    @property
    def refused(self) -> int:
        """Refused attempts so far, as far as the analysis has come."""
        return self.analysis.verdicts[Verdict.REFUSED]

    def turn(self) -> None:
        """Wait a moment for packets and record those that came."""
        self.interrupted = self._signalled in {key.fd for key, _ in self._ready.select(_TICK)}
        self.take()

    def take(self) -> None:
        """Record what has come. Never waits."""
        self._take(self._recorder.poll())
        if len(self._recorder.self_connects) > self._noticed:  # soon, while the kernel remembers how it began
            self._noticed = len(self._recorder.self_connects)
            self._kernel_states.read()

    def finish(self) -> CaptureResult:
        """Record the rest, close the file and say what was in it."""
        self._take(self._recorder.finish())
        self._kernel_states.read(end=True)
        try:
            self.sink.close()
        except Incomplete as error:
            self.trouble = self.trouble or str(error)
        while self._behind:
            self.analysis.feed(self._behind.popleft())
        return self.analysis.finish()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._ready.close()

    def _take(self, stream: bytes) -> None:
        """Write what comes next, and analyse for a moment."""
        if self._count is None:
            self.packets = self._recorder.packets
        else:
            stream, packets = _first(stream, self._count - self.packets)
            self.packets += packets
        if not self.trouble:
            try:
                self.sink.write(stream)
            except Incomplete as error:
                self.trouble = str(error)
        self.trouble = self.trouble or self._recorder.trouble
        view = memoryview(stream)
        self._behind.extend(view[start : start + _PORTION] for start in range(0, len(view), _PORTION))
        until = time.monotonic() + _TURN
        while self._behind and time.monotonic() < until:
            self.analysis.feed(self._behind.popleft())


def _first(stream: bytes, count: int) -> tuple[bytes, int]:
    """Leave out of whole pcapng blocks all packets after the first *count*: the rest, and how many there are."""
    kept, packets = [], 0
    for kind, block in pcapng.blocks(stream):
        packet = kind == pcapng.ENHANCED_PACKET
        if not packet or packets < count:
            kept.append(block)
            packets += packet
    return b"".join(kept), packets
