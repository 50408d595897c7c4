"""As it happens: what is told of a capture while it is still being made (a pipe, or a file that grows)."""

from __future__ import annotations

from .errors import NotACapture
from .formats.live import growing
from .parallel import finished
from .reader import Analysis, read_file
from .report import Entry
from .views import json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TextIO

    from .model import Opening
    from .parallel import Finish, Found
    from .reader import Asked
    from .report import Report


class Lines:
    """A JSON line for each opening, and then for each capture.

    *report* is the one that the captures are added to as they end: how many it has is the place of the one under way.
    """

    def __init__(self, stream: TextIO, report: Report) -> None:
        self._stream = stream
        self._report = report

    def close(self) -> None:
        """Write what comes last: the captures."""
        self._stream.writelines(json.render_lines(self._report))


class LinesInOrder(Lines):
    """A JSON line for each opening of captures that are complete, in the order of their first frames."""

    #: See reader.Asked.
    in_order = True

    def __call__(self, _name: str, opening: Opening) -> None:
        """Write an opening. Raises OSError where it cannot be written."""
        entry = Entry(len(self._report.captures), opening)
        self._stream.write(json.line("opening", json.entry_as_text(entry)))


class LiveLines(Lines):
    """A JSON line for each opening when it is decided, and one when it has ended, at once; see reader.Asked."""

    def __call__(self, _name: str, opening: Opening) -> None:
        """Write an opening that has ended. Raises OSError where it cannot be written."""
        self._put(opening, final=True)

    def decided(self, _name: str, opening: Opening) -> None:
        """Write an opening whose verdict is certain now. Raises OSError where it cannot be written."""
        self._put(opening, final=False)

    def _put(self, opening: Opening, *, final: bool) -> None:
        text = json.entry_as_text(Entry(len(self._report.captures), opening))
        self._stream.write(json.line("opening", f'{{"final": {str(final).lower()}, {text[1:]}'))
        self._stream.flush()


def follow(path: str, asked: Asked, progress: Callable[[int], None] | None, finish: Finish) -> Found:
    """Analyse the capture at *path* as it grows, until KeyboardInterrupt or until nothing more can come.

    As parallel.attempt() does with one that is complete.
    """
    analysis = Analysis("", **asked)
    try:
        read_file(analysis, path, progress, growing(path))
        result = analysis.finish()
    except NotACapture as error:
        return error
    return finished(result, finish)
