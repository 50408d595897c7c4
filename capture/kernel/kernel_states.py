"""The state changes of sockets that connected to themselves, as the kernel reports them, beside the rebuilt ones.

They come from the kernel's tracepoint (tracepoint.py), which reports the sockets of all network namespaces. So the
state changes of a socket are matched with an opening of the capture by address, port and time.
"""

from __future__ import annotations

import time
from collections import deque
from itertools import pairwise

from analysis.errors import CannotCapture
from analysis.model import NANOSECONDS
from analysis.records import NamedTuple
from analysis.states import Event, State

from .tracepoint import KERNEL_SHOWS, StateTrace

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Self

    from analysis.model import Endpoint
    from analysis.replay import Replay, Step

    from .tracepoint import StateChange

#: Changes that are remembered: a self-connect makes six.
_MEMORY = 6000
#: Self-connects that wait for connected(): what the kernel's buffers hold, however many processors there are.
_CONNECTED = 50_000
#: Nanoseconds that the SYN and the kernel's step to SYN-RECEIVED may lie apart.
_APART = NANOSECONDS
#: Nanoseconds that the times of packets and of events may differ by: events come with another clock's time, which is
#: converted (tracepoint.py).
_CLOCKS = 500
_RESETS = frozenset({Event.SEND_RST, Event.ANSWER_RST})


class Connected(NamedTuple):
    """The kernel's word that a socket connected to itself: when, which endpoint, and the process that called connect().

    ``process`` is None where the kernel did not report it.
    """

    time: int
    endpoint: Endpoint
    process: int | None


class KernelStates:
    """Collects the state changes of the sockets that connect from *port* (None: from any port) to themselves.

    Opening it takes what the tracepoint takes (tracepoint.py), which root has. Without that nothing is collected, and
    ``missing`` says why. Call read() now and then, and once more at the end.

    ``lost`` counts the events that the kernel dropped up to the last read(), because its buffer was full; it is None
    where nothing is collected.
    """

    def __init__(self, port: int | None) -> None:
        self.missing: str | None = None
        self._trace: StateTrace | None = None
        self.lost: int | None = None
        self._last_loss: int | None = None  # when read() last found that more were lost, nanoseconds since the epoch
        self._changes: deque[StateChange] = deque(maxlen=_MEMORY)
        self._connected: deque[Connected] = deque(maxlen=_CONNECTED)
        try:
            self._trace = StateTrace.simultaneous() if port is None else StateTrace.to_itself(port)
            self.lost = 0
        except CannotCapture as error:
            self.missing = str(error)

    def read(self, *, end: bool = False, of: tuple[Endpoint, int] | None = None) -> None:
        """Read the state changes since the last call. *end*: also the later ones of sockets that were read before.

        *of*: of these alone the socket that connected from this endpoint to itself at this moment.
        """
        if self._trace is None:
            return
        changes = self._trace.read(whole=end, of={one.socket for one in self._met(*of)} if of else None)
        self._changes += changes
        began: dict[int, int] = {}  # who called connect() for a socket, or for the last one of its number
        for one in changes:
            if one.old is State.CLOSED:
                began[one.socket] = one.process
            elif one.new is State.SYN_RECEIVED and one.source == one.destination:
                self._connected.append(Connected(one.time, one.source, began.pop(one.socket, 0) or None))
        if self._trace.lost != self.lost:
            self.lost, self._last_loss = self._trace.lost, time.time_ns()

    def connected(self) -> list[Connected]:
        """Return the sockets of any network namespace that connected to themselves, since the last call."""
        found = list(self._connected)
        self._connected.clear()
        return found

    def lost_since(self, moment: int) -> bool:
        """Whether events of any socket may have been lost after *moment* (nanoseconds since the epoch)."""
        return self._last_loss is not None and self._last_loss > moment - _APART

    def life(self, endpoint: Endpoint, moment: int) -> list[StateChange]:
        """Find the state changes of the socket that connected to itself at *moment*, in order.

        *moment* is the time of its SYN or SYN-ACK, in nanoseconds since the epoch. The list is empty where the kernel
        reported nothing. The first changes are missing where the kernel's buffer had been overwritten, the last ones
        where the socket is still open, and any where events were lost.
        """
        sockets = {change.socket for change in self._met(endpoint, moment)}
        found = [
            (not life[0].time - _CLOCKS <= moment <= life[-1].time + _CLOCKS, abs(change.time - moment), life)
            for life in _lives(change for change in self._changes if change.socket in sockets)
            for change in life
            if change.new is State.SYN_RECEIVED and change.source == change.destination == endpoint
        ]
        # First the life in which the moment lies: on a busy machine the next socket's step may be nearer in time.
        outside, apart, life = min(found, key=lambda one: one[:2], default=(True, _APART, []))
        if apart >= _APART or (outside and self.lost_since(moment)):
            return []  # the nearest may be another socket's, just before or after, if the steps of this one were lost
        return life

    def _met(self, endpoint: Endpoint, moment: int) -> Iterator[StateChange]:
        """Find the steps by which sockets connected from *endpoint* to itself at about that moment."""
        for one in self._changes:
            met = one.new is State.SYN_RECEIVED and one.source == one.destination == endpoint
            if met and abs(one.time - moment) < _APART:
                yield one

    def caller(self, endpoint: Endpoint, moment: int) -> int | None:
        """Find the process that called connect() for that socket; None where the kernel did not report it."""
        first = next(iter(self.life(endpoint, moment)), None)
        return first.process if first and first.old is State.CLOSED and first.process else None

    def close(self) -> None:
        """Stop listening."""
        if self._trace:
            self._trace.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _lives(heard: Iterable[StateChange]) -> Iterator[list[StateChange]]:
    """Sort state changes by socket, and those of a socket into its uses: each from CLOSED to CLOSED, where seen."""
    of_sockets: dict[int, list[list[StateChange]]] = {}
    for change in heard:
        lives = of_sockets.setdefault(change.socket, [[]])
        if lives[-1] and (change.old is State.CLOSED or lives[-1][-1].new is State.CLOSED):
            lives.append([])
        lives[-1].append(change)
    for lives in of_sockets.values():
        yield from lives


class Misplaced(NamedTuple):
    """A state change that the kernel's clock puts elsewhere than the replay: not at ``step``'s frame.

    ``after`` is the last frame before it by the kernel's clock, None where there is none.
    """

    step: Step
    change: StateChange
    after: int | None


def misplaced(changes: Sequence[StateChange], rebuilt: Replay) -> list[Misplaced]:
    """Which of the rebuilt changes happened between other packets than the replay has it, by the kernel's clock.

    What a segment does that is sent was done before it passed, but for a RST, which may come first (ss -K). What one
    does that arrives was done after it passed and before the next one; a FIN is acknowledged first (tcp_fin()).
    """
    times = {segment.frame: segment.time for segment in rebuilt.segments}
    order = sorted(times)
    found = []
    for step, change in zip(rebuilt.transitions, changes, strict=False):
        if step.by_itself or step.frame not in times:
            continue
        last = max(step.frame, step.after_frame or 0)
        if step.sends:
            early, late = None, None if step.event in _RESETS else times[step.frame]
        else:
            after = [frame for frame in order if frame > last][step.event == Event.RECEIVE_FIN :]
            early, late = times[last], times[after[0]] if after else None
        if (early and change.time < early - _CLOCKS) or (late and change.time > late + _CLOCKS):
            before = [frame for frame in order if times[frame] <= change.time]
            found.append(Misplaced(step, change, before[-1] if before else None))
    return found


def compare(changes: Sequence[StateChange], rebuilt: Replay, *, lost: bool = False) -> bool | None:
    """Whether the kernel's states equal the rebuilt ones, up to the end of the shorter list and at least ESTABLISHED.

    Its clock must put each of them between the same packets, see misplaced(). States that the kernel names differently
    count as equal: see KERNEL_SHOWS. None where it cannot be said: state changes of the kernel are missing or, where
    events were *lost*, may be missing at the end.
    """
    whole = changes and changes[0].old is State.CLOSED and all(one.new is other.old for one, other in pairwise(changes))
    if not whole:
        return None
    (endpoint,) = rebuilt.sockets
    ours = [KERNEL_SHOWS.get(state, state) for state in rebuilt.state_path(endpoint)]
    theirs = [changes[0].old, *(change.new for change in changes)]
    both = min(len(ours), len(theirs))
    agrees = ours[:both] == theirs[:both] and State.ESTABLISHED in ours[:both] and not misplaced(changes, rebuilt)
    return None if agrees and lost and both < len(ours) else agrees
