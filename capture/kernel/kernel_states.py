"""The kernel as a witness: what it says of the sockets that connected to themselves, beside what was rebuilt.

Its account is the tracepoint's. It is of all network namespaces, so a life of a socket there is matched with an
opening here by address, port and time.
"""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from typing import TYPE_CHECKING, Self

from analysis.errors import CannotCapture
from analysis.model import NANOSECONDS
from analysis.states import State

from .tracepoint import KERNEL_SHOWS, StateTrace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from analysis.model import Endpoint
    from analysis.replay import Replay

    from .tracepoint import StateChange

#: Changes that are remembered: a self-connect makes six.
_MEMORY = 6000
#: Nanoseconds that the SYN and the kernel's step to SYN-RECEIVED may lie apart.
_APART = NANOSECONDS


class Witness:
    """Hears the kernel on the sockets that connect from *port* (None: from any port) to themselves.

    Opening it needs root; where that is lacking, ``missing`` says so, and there is no testimony. Call hear() now and
    then, and once more at the end.
    """

    def __init__(self, port: int | None) -> None:
        self.missing: str | None = None
        self._trace: StateTrace | None = None
        self._heard: deque[StateChange] = deque(maxlen=_MEMORY)
        try:
            self._trace = StateTrace.simultaneous() if port is None else StateTrace.to_itself(port)
        except CannotCapture as error:
            self.missing = str(error)

    def hear(self, *, end: bool = False) -> None:
        """Take in what the kernel has told since the last time. *end*: and what became of all that it told of."""
        if self._trace:
            self._heard += self._trace.read(whole=end)

    def life(self, endpoint: Endpoint, time: int) -> list[StateChange]:
        """Find what the kernel told of the socket that connected to itself then: its changes, in order.

        *time* is that of its SYN or SYN-ACK, in nanoseconds since the epoch. The list is empty where the kernel told
        nothing; it may lack the first changes, where the kernel's memory was full, and end before the socket does.
        """
        lives: dict[int, list[list[StateChange]]] = {}
        for change in self._heard:
            of_socket = lives.setdefault(change.socket, [[]])
            if of_socket[-1] and (change.old is State.CLOSED or of_socket[-1][-1].new is State.CLOSED):
                of_socket.append([])
            of_socket[-1].append(change)
        found = [
            (abs(change.time - time), life)
            for of_socket in lives.values()
            for life in of_socket
            for change in life
            if change.new is State.SYN_RECEIVED and change.source == change.destination == endpoint
        ]
        apart, life = min(found, key=lambda one: one[0], default=(_APART, []))
        return life if apart < _APART else []

    def caller(self, endpoint: Endpoint, time: int) -> int | None:
        """Find the process that called connect() for it; None where the kernel has not told."""
        first = next(iter(self.life(endpoint, time)), None)
        return first.process if first and first.old is State.CLOSED and first.process else None

    def close(self) -> None:
        """Stop listening."""
        if self._trace:
            self._trace.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def compare(told: Sequence[StateChange], rebuilt: Replay) -> bool | None:
    """Whether the kernel's account equals the rebuilt one, as far as both go and at least to ESTABLISHED.

    None where the kernel's is not whole. One difference is none: see KERNEL_SHOWS.
    """
    whole = told and told[0].old is State.CLOSED and all(one.new is other.old for one, other in pairwise(told))
    if not whole:
        return None
    (endpoint,) = rebuilt.sockets
    ours = [KERNEL_SHOWS.get(state, state) for state in rebuilt.state_path(endpoint)]
    theirs = [told[0].old, *(change.new for change in told)]
    both = min(len(ours), len(theirs))
    return ours[:both] == theirs[:both] and State.ESTABLISHED in ours[:both]
