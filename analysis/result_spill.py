"""Keeps the results of thousands of captures in bounded memory: what is too much waits in a temporary file.

A report shows its captures one after the other, some views more than once; none needs them all at a time. Most of what
a result weighs is the source ports and times of refused attempts, up to 330 KB for each destination.
"""

from __future__ import annotations

from collections.abc import Sequence

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import IO, overload

    from .model import CaptureResult
    from .portwalk import Walk

    #: The port walks of a capture as a view wants them: text, or what they are; None where no view has prepared them.
    Walks = str | list[Walk] | None

#: Octets of results that stay in memory, estimated, where there may be thousands.
ROOM = 32 << 20
#: No bound: more octets than there will ever be.
NO_BOUND = 1 << 62

_ATTEMPT, _SEGMENT, _RESULT = 10, 500, 2000  # octets


class Shelf(Sequence["CaptureResult"]):
    """Results in the order in which they are added. Those past *room* are read back whenever they are asked for.

    What a view has prepared of the port walks of each waits beside it: walks().

    The file has no name, in the directory that Python's tempfile chooses (TMPDIR). Where it cannot be written, the
    results stay in memory. To be closed.
    """

    def __init__(self, room: int = NO_BOUND) -> None:
        self._room = room
        self._near: list[CaptureResult] = []
        self._walks: list[Walks] = []  # of those
        self._file: IO[bytes] | None = None
        self._places: list[int] = []  # where in the file each of the others begins
        self._last: tuple[int, tuple[CaptureResult, Walks]] | None = None  # views ask for one several times

    def append(self, result: CaptureResult, walks: Walks = None) -> None:
        """Take in one more."""
        self._room -= _weight(result, walks)
        if self._places or self._room < 0:
            try:
                self._put_away((result, walks))
            except OSError:  # no such directory, or a full one
                if self._places:
                    self._take_back()
            else:
                return
        self._near.append(result)
        self._walks.append(walks)

    def walks(self, place: int) -> Walks:
        """What was prepared of the port walks of the result at *place*."""
        return self._walks[place] if place < len(self._near) else self._read(place)[1]

    def _put_away(self, both: tuple[CaptureResult, Walks]) -> None:
        import pickle  # noqa: PLC0415 - most runs need none of it; nobody else can write to the file
        import tempfile  # noqa: PLC0415

        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - close() does
        place = self._file.seek(0, 2)
        pickle.dump(both, self._file, pickle.HIGHEST_PROTOCOL)
        self._file.flush()
        self._places.append(place)

    def _take_back(self) -> None:
        """Read all results of the file back into memory, and give the file up."""
        for result, walks in [self._read(place) for place in range(len(self._near), len(self))]:
            self._near.append(result)
            self._walks.append(walks)
        self._places.clear()
        self._room = NO_BOUND
        self.close()

    def close(self) -> None:
        """Give up the file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __len__(self) -> int:
        return len(self._near) + len(self._places)

    if TYPE_CHECKING:

        @overload
        def __getitem__(self, place: int) -> CaptureResult: ...
        @overload
        def __getitem__(self, place: slice) -> list[CaptureResult]: ...

    def __getitem__(self, place: int | slice) -> CaptureResult | list[CaptureResult]:
        if isinstance(place, slice):
            return [self[one] for one in range(*place.indices(len(self)))]
        place = range(len(self))[place]
        return self._near[place] if place < len(self._near) else self._read(place)[0]

    def _read(self, place: int) -> tuple[CaptureResult, Walks]:
        """The one at *place* in the file."""
        if self._last is None or self._last[0] != place:
            import pickle  # noqa: PLC0415 - as above

            assert self._file is not None  # noqa: S101 - for the type checker
            self._file.seek(self._places[place - len(self._near)])
            self._last = place, pickle.load(self._file)  # noqa: S301 - as above
        return self._last[1]


def _weight(result: CaptureResult, walks: Walks) -> int:
    """About how many octets it takes."""
    attempts = sum(len(one.ports) for one in result.attempts)
    segments = sum(1 + len(opening.segments) for opening in result.openings)
    return _RESULT + _ATTEMPT * attempts + _SEGMENT * segments + (len(walks) if isinstance(walks, str) else 0)
