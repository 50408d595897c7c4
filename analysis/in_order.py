"""Puts openings into the order of their first frames, although they end in another one, in bounded memory.

An opening is handed out once no opening that is under way began before it. Where one lasts, too many wait for it: they
wait sorted in a temporary file, to be merged at the end.
"""

from __future__ import annotations

from heapq import merge
from operator import attrgetter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import IO

    from .engine import Finished

#: Openings that wait in memory at one time, about; some 700 octets each.
ROOM = 1 << 14
#: How many are read back from the file at a time, of each portion that was put away.
_CHUNK = 1 << 8

_FRAME = attrgetter("frame")


class InOrder:
    """Openings that have ended, and wait for their turn."""

    def __init__(self, room: int = ROOM) -> None:
        self._room = room
        self._waiting: list[Finished] = []  # the latest first, once it is sorted
        self._file: IO[bytes] | None = None
        self._runs: list[list[int]] = []  # of each portion that was put away, where its chunks begin in the file

    def sorted(self, ended: Sequence[Finished], oldest: Callable[[], int]) -> Iterator[Finished]:
        """Take in those that ended; yield those whose turn it is.

        *oldest* returns the least first frame of the openings that are under way. Raises OSError where there is no
        room in the directory for temporary files.
        """
        self._waiting += ended
        if len(self._waiting) < self._room:
            return
        self._waiting.sort(key=_FRAME, reverse=True)
        if not self._runs:
            least = oldest()
            while self._waiting and self._waiting[-1].frame < least:
                yield self._waiting.pop()
        if 2 * len(self._waiting) > self._room:
            self._put_away()

    def rest(self) -> Iterator[Finished]:
        """Yield all that are left: nothing is under way any more."""
        self._waiting.sort(key=_FRAME, reverse=True)
        runs = [self._run(chunks) for chunks in self._runs]
        yield from merge(*runs, self._popped(), key=_FRAME)
        if self._file:
            self._file.close()

    def _popped(self) -> Iterator[Finished]:
        while self._waiting:
            yield self._waiting.pop()

    def _put_away(self) -> None:
        import pickle  # noqa: PLC0415 - most runs need none of it; nobody else can write to the file
        import tempfile  # noqa: PLC0415

        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - rest() closes it
        chunks = []
        while self._waiting:
            chunks.append(self._file.tell())
            first = self._waiting[: -_CHUNK - 1 : -1]
            pickle.dump(first, self._file, pickle.HIGHEST_PROTOCOL)
            del self._waiting[-_CHUNK:]
        self._runs.append(chunks)

    def _run(self, chunks: list[int]) -> Iterator[Finished]:
        import pickle  # noqa: PLC0415 - as above

        assert self._file  # noqa: S101 - for the type checker
        for place in chunks:
            self._file.seek(place)
            yield from pickle.load(self._file)  # noqa: S301 - as above
