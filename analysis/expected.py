"""What --expect and --expect-states ask of the captures, and whether they have it: for tests, and to mark exercises.

Where a capture is not complete, an opening may be missing: then more than was seen may have been there, never less. So
``at least`` can be sure of a yes, ``at most`` of a no, and what is not sure is None.
"""

from __future__ import annotations

import operator
import re

from .model import MOST, Verdict
from .records import NamedTuple
from .replay import replay
from .states import State

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .model import CaptureResult

_RELATIONS: dict[str, Callable[[int, int], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    "=": operator.eq,
    ">": operator.gt,
    "<": operator.lt,
}
_COUNT = r"([a-z-]+)(?:(>=|<=|=|>|<)([0-9]{1,12}))?"


class Count(NamedTuple):
    """So many openings with a verdict: ``self-connect`` (at least one), ``refused>=2``, ``refused=9``, ``odd<2``."""

    verdict: Verdict
    relation: str = ">="
    number: int = 1

    @classmethod
    def parse(cls, text: str) -> Count:
        """Read one. Raises ValueError."""
        found = re.fullmatch(_COUNT, text, re.ASCII)
        verdicts = [verdict.value for verdict in Verdict]
        if not found:
            raise ValueError("is not a verdict, or a verdict with >=, <=, =, > or < and a number")
        if found[1] not in verdicts:
            raise ValueError(f"names no verdict; verdicts are {', '.join(verdicts)}")
        return cls(Verdict(found[1]), found[2], int(found[3])) if found[2] else cls(Verdict(found[1]))

    def __str__(self) -> str:
        """As it is written on the command line."""
        return self.verdict.value if self[1:] == (">=", 1) else f"{self.verdict}{self.relation}{self.number}"

    def holds(self, count: int, *, complete: bool) -> bool | None:
        """Whether *count* openings are as expected; None where that cannot be known, since not all were seen."""
        now = _RELATIONS[self.relation](count, self.number)
        if complete:
            return now
        if self.relation in {">=", ">"}:
            return now or None
        beyond = count > self.number or (count == self.number and self.relation == "<")
        return False if beyond else None


class Path(NamedTuple):
    """A way through the states that some socket of an opening takes, one state right after the other."""

    states: tuple[State, ...]

    @classmethod
    def parse(cls, text: str) -> Path:
        """Read ``SYN-SENT>SYN-RECEIVED>ESTABLISHED``. Raises ValueError."""
        known = {state.value: state for state in State}
        words = [word.strip().upper() for word in text.split(">")]
        for word in words:
            if word not in known:
                raise ValueError(f"is not states with > between them; states are {', '.join(known)}")
        return cls(tuple(known[word] for word in words))

    def __str__(self) -> str:
        """As it is written on the command line."""
        return ">".join(self.states)

    def holds(self, taken: Iterable[list[State]], *, complete: bool) -> bool | None:
        """Whether one of the ways *taken* has it; None where that cannot be known, since not all were seen."""
        size, states = len(self.states), list(self.states)
        found = any(way[at : at + size] == states for way in taken for at in range(len(way) - size + 1))
        return found or (False if complete else None)


class Ways:
    """Which of the expected ways through the states were seen; ``missed``: a sentence where not all was looked at."""

    def __init__(self, expected: Sequence[Path]) -> None:
        self._open = list(expected)
        self.missed: list[str] = []

    def look(self, result: CaptureResult) -> None:
        """Replay the openings of a capture, until all are found."""
        for opening in result.openings if self._open else ():
            replayed = replay(opening)
            taken = [replayed.state_path(endpoint) for endpoint in replayed.sockets]
            self._open = [path for path in self._open if not path.holds(taken, complete=True)]
        if self._open and result.left_out:
            self.missed.append(
                f"{result.name}: --expect-states looked at the first {MOST:,} openings of each kind: try --all, --only"
            )

    def holds(self, *, complete: bool) -> bool | None:
        """Whether all were seen; None where what was not seen decides it."""
        return True if not self._open else False if complete else None


def together(answers: Iterable[bool | None]) -> bool | None:
    """Whether all hold: no where one does not, None where one cannot be known and the others hold."""
    told = list(answers)
    return False if False in told else None if None in told else True
