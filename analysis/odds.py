"""How systems choose source ports (RFC 6056), and how long it takes until a client is given the port that it dials."""

from __future__ import annotations

import enum
import math

from .records import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class Odds(NamedTuple):
    """Of *lap* attempts in a row at most one hits: with the chance *catch* one does, each of them equally likely.

    A lap is one way round the candidate ports, for a kernel that goes on from where it was; it is one attempt for a
    kernel that chooses anew each time. No lap depends on the one before. ``catch`` is 0 where no attempt can hit.
    """

    catch: float
    lap: float = 1.0

    @property
    def chance(self) -> float:
        """The chance of one attempt, averaged over many."""
        return self.catch / self.lap

    @property
    def mean(self) -> float:
        """How many attempts it takes on average; infinite where none can hit."""
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

    ``steps[n]`` is the share of steps n + 1 ports wide. This is the limit in the renewal theorem, for a walk that
    begins far away.
    """
    over = sum(share * max(0, wide - window) for wide, share in enumerate(steps, start=1))
    return 1 - over / sum(share * wide for wide, share in enumerate(steps, start=1))


class Algorithm(enum.StrEnum):
    """The algorithms of RFC 6056 3.3, as far as the ports that a client gets tell them apart, and Linux's variants."""

    RANDOM = "random (algorithm 1 or 2)"
    SIMPLE_HASH = "simple hash (algorithm 3)"
    DOUBLE_HASH = "double-hash (algorithm 4)"
    DOUBLE_HASH_STEPS = "double-hash (algorithm 4) with random increments"
    DOUBLE_HASH_LEAPS = "double-hash (algorithm 4) with random increments and ip_local_port_step_width"
    RANDOM_INCREMENTS = "random increments (algorithm 5)"


class Selection(NamedTuple):
    """One way of choosing, attempt after attempt at one destination.

    ``steps``: how far it moves on, the share of steps of one port (of those that it takes), of two, and so on; empty
    where each choice is made anew. ``salted``: after so many seconds it goes on from somewhere else. ``shared``: all
    destinations move it on. ``told`` names the systems that choose so.
    """

    algorithm: Algorithm
    steps: tuple[float, ...]
    told: str
    salted: float = math.inf
    shared: bool = False

    def odds(self, windows: Mapping[int, int], window: int = 1, *, every: float = 0.0) -> Odds:
        """Return the odds of a port with this *window*, with an attempt *every* so many seconds (0: no pause).

        A port's window is the number of ports to start a search at that lead to it: 1, and those just before it that
        are not free. *windows* says how many ports there are of each window.
        """
        anywhere = window / sum(wide * ports for wide, ports in windows.items())
        if not self.steps:
            return Odds(anywhere)
        around = sum(ports * caught(self.steps, wide) for wide, ports in windows.items())
        lap = max(1.0, min(around, self.salted / every if every else math.inf))
        return Odds(min(1.0, anywhere + (lap - 1) * caught(self.steps, window) / around), lap)


#: Linux: __inet_hash_connect() in net/ipv4/inet_hashtables.c, with the commits that made it what it is.
#: From 5.18: ca7af0402550 (increments), 4dfa9b438ee3 (salt). Stable kernels before took them up, too.
LINUX_5_18 = Selection(Algorithm.DOUBLE_HASH_STEPS, (1 / 8,) * 8, "as Linux 5.18 and later", salted=10)
#: From 5.12: 190cc82489f4, c579bd1b4021 (one candidate in 17 is left out).
LINUX_5_12 = Selection(Algorithm.DOUBLE_HASH, (15 / 16, 1 / 16), "as Linux 5.12 to 5.17")
LINUX_2_6 = Selection(Algorithm.SIMPLE_HASH, (1,), "as Linux up to 5.11", shared=True)
#: RFC 6056 3.3.1 to 3.3.4.
RANDOM = Selection(Algorithm.RANDOM, (), "as bind() to port 0 on Linux, and connect() on systems that choose at random")
DOUBLE_HASH = Selection(Algorithm.DOUBLE_HASH, (1,), "as RFC 6056 has it")


def random_increments(most: int) -> Selection:
    """RFC 6056 3.3.5: steps of 1 to *most* ports (it proposes 500), one counter for all destinations."""
    return Selection(Algorithm.RANDOM_INCREMENTS, (1 / most,) * most, f"of up to {most} ports", shared=True)
