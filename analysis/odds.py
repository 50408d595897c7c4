"""How long it takes until a client that keeps connecting is given the very port that it dials."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence


class Odds(NamedTuple):
    """Of *lap* attempts in a row at most one hits, with the chance *catch*; each of them is alike likely.

    A lap is one way round the candidate ports, for a kernel that goes on from where it was; it is one attempt for a
    kernel that chooses anew each time. No lap depends on the one before. ``catch`` is 0 where no attempt can hit.
    """

    catch: float
    lap: float = 1.0

    @property
    def chance(self) -> float:
        """That of one attempt, over many."""
        return self.catch / self.lap

    @property
    def mean(self) -> float:
        """The attempts that it takes on average; infinite where none can hit."""
        if not self.catch:
            return math.inf
        return self.lap * (1 - self.catch) / self.catch + (self.lap + 1) / 2

    def probability(self, attempts: float) -> float:
        """The chance that one of so many attempts hits."""
        laps, rest = divmod(attempts, self.lap)
        return 1 - math.pow(1 - self.catch, laps) * (1 - self.chance * rest)

    def attempts(self, probability: float) -> float:
        """The attempts after which it has happened with this probability (below 1)."""
        if not self.catch:
            return math.inf
        laps = math.floor(math.log(1 - probability) / math.log(1 - self.catch)) if self.catch < 1 else 0
        missed = (1 - probability) / (1 - self.catch) ** laps
        return math.ceil(laps * self.lap + (1 - missed) / self.chance - 1e-9)


def caught(steps: Sequence[float], window: int = 1) -> float:
    """The chance that a walk does not step over *window* neighbouring ports.

    ``steps[n]`` is the share of steps n + 1 ports wide. It is the renewal theorem's answer, for a walk from afar.
    """
    over = sum(share * max(0, wide - window) for wide, share in enumerate(steps, start=1))
    return 1 - over / sum(share * wide for wide, share in enumerate(steps, start=1))
