"""What was found, in the one structure that every view reads."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence

from .notes import notes
from .records import NamedTuple
from .replay import Replay, replay
from .result_spill import Shelf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import Any, overload

    from .model import CaptureResult, Opening, Verdict
    from .result_spill import Walks
    from .wireshark import Evidence, Witness

    #: A JSON value, as json.dumps takes it.
    Json = Any


class Entry(NamedTuple):
    """One opening of a report, and the place in the report of its capture."""

    capture: int
    opening: Opening

    def account(self) -> Account:
        """Replay the opening. It is done anew each time: there may be many openings, and an account is large."""
        replayed = replay(self.opening)
        frames = set(replayed.handshake)
        last = max((segment.time for segment in replayed.segments if segment.frame in frames), default=0)
        duration = last - self.opening.time
        unknown = self.opening.isn is None or len(frames) < 2 or replayed.clock_went_back
        return Account(replayed, notes(replayed), None if unknown or duration <= 0 else duration)


class Account(NamedTuple):
    """What became of an opening.

    ``duration`` is in nanoseconds, from the first SYN to the last frame of the handshake; None for a SYN alone,
    and for a connection that stood before the capture began.
    """

    replay: Replay
    notes: list[str]
    duration: int | None


class Entries(Sequence[Entry]):
    """The openings of all captures of a report, in order."""

    def __init__(self, captures: Sequence[CaptureResult], ends: Sequence[int]) -> None:
        self._captures, self._ends = captures, ends  # how many openings there are up to the end of each capture

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    if TYPE_CHECKING:

        @overload
        def __getitem__(self, number: int) -> Entry: ...
        @overload
        def __getitem__(self, number: slice) -> list[Entry]: ...

    def __getitem__(self, number: int | slice) -> Entry | list[Entry]:
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        number = range(len(self))[number]
        place = bisect_right(self._ends, number)
        before = self._ends[place - 1] if place else 0
        return Entry(place, self._captures[place].openings[number - before])

    def __iter__(self) -> Iterator[Entry]:
        for place, result in enumerate(self._captures):
            yield from entries(place, result)


def entries(place: int, result: CaptureResult) -> list[Entry]:
    """The openings of the capture at this place of a report."""
    return [Entry(place, opening) for opening in result.openings]


class Report:
    """Everything that a run found.

    ``captures`` is for add() alone to lengthen; a Shelf that is to hold thousands of captures is made with a bound.
    ``live`` and ``kernel`` are the sections that a live capture adds; ``witness`` is what Wireshark says of the same
    frames, None where it was not asked. ``packets``, ``verdicts`` and ``other`` are those of all captures together.
    """

    def __init__(self, captures: Shelf | None = None) -> None:
        self.captures = Shelf() if captures is None else captures
        self.live: dict[str, Json] | None = None
        self.kernel: dict[str, Json] | None = None
        self.witness: Evidence | None = None
        self.packets = 0
        self.verdicts: Counter[Verdict] = Counter()
        self.other: Counter[str] = Counter()
        self._ends: list[int] = []

    @property
    def entries(self) -> Entries:
        """The openings of all captures, in order."""
        return Entries(self.captures, self._ends)

    def add(self, result: CaptureResult, walks: Walks = None) -> None:
        """Take in one capture; *walks* are its port walks, where a view has prepared them (views.preparing())."""
        self.captures.append(result, walks)
        self.packets += result.packets
        self.verdicts.update(result.verdicts)
        self.other.update(result.other)
        self._ends.append(len(self.entries) + len(result.openings))

    def count(self, verdict: Verdict) -> int:
        """How many openings have this verdict, in all captures."""
        return self.verdicts[verdict]

    def said(self, entry: Entry) -> dict[int, Witness] | None:
        """What Wireshark says of the frames of an opening, by frame; None where it was not asked."""
        if self.witness is None:
            return None
        frames = self.witness.frames
        places = ((entry.capture, segment.frame) for segment in entry.opening.segments)
        return {place[1]: frames[place] for place in places if place in frames}


def report(results: Iterable[CaptureResult]) -> Report:
    """A report on these captures, in this order."""
    made = Report()
    for result in results:
        made.add(result)
    return made
