"""Where the recorded stream goes: to a file, and never into one of another user's, or to standard output.

Open it after privilege was given up (see analysis.privilege): then the kernel's own checks are those of the user.
"""

from __future__ import annotations

import os
import select
import time
from contextlib import suppress

from analysis.errors import CannotCapture, Incomplete
from analysis.output import CAPTURE, opened

from ..packets.recorder import PAGE


class Sink:
    """Takes the bytes of a recording to *path*: "-" is standard output, None a new file in *directory* (here if "").

    What may be replaced, and what is not followed, see analysis.output. Raises CannotCapture with the reason.

    ``name`` is the path as given or made (as it is: escape it before showing it), ``octets`` what was written.
    """

    def __init__(self, path: str | None = None, *, directory: str = "") -> None:
        self.octets = 0
        self._ours = path not in {"-", os.devnull}  # a regular file that we opened, and may cut
        self.name, self._fd = _made(directory) if path is None else _opened(path)

    def write(self, stream: bytes) -> None:
        """Write a piece of the stream. Raises Incomplete where that fails; whole blocks that were written stay."""
        rest = memoryview(stream)
        try:
            if self._ours and not os.fstat(self._fd).st_nlink:
                raise Incomplete(f"{self.name!r} was removed while it was being written; its packets are lost")
            while rest:
                piece = rest[: PAGE - self.octets % PAGE]  # of whole blocks, see recorder.PAGE
                self._write_all(piece)
                self.octets += len(piece)
                rest = rest[len(piece) :]
        except OSError as error:
            if self._ours:
                with suppress(OSError):
                    os.ftruncate(self._fd, self.octets)
            raise self._incomplete(error) from error

    def _write_all(self, piece: memoryview) -> None:
        while piece:
            try:
                piece = piece[os.write(self._fd, piece) :]
            except BlockingIOError:
                select.select([], [self._fd], [])

    def close(self) -> None:
        """Close the file. Raises Incomplete where the system reports only now that it did not keep what was written."""
        if self._fd < 0:
            return
        fd, self._fd = self._fd, -1
        try:
            os.close(fd)
        except OSError as error:
            raise self._incomplete(error) from error

    def _incomplete(self, error: OSError) -> Incomplete:
        where = "standard output" if self.name == "-" else repr(self.name)
        return Incomplete(f"{where}: {error.strerror}; the first {self.octets} octets are written")


def _made(directory: str) -> tuple[str, int]:
    """Create a file named after the time."""
    stem = time.strftime("selfconn-%Y%m%dT%H%M%SZ", time.gmtime())
    where = repr(directory) if directory else "the current directory"
    for number in range(1, 100):
        name = f"{stem}-{number}.pcapng" if number > 1 else f"{stem}.pcapng"
        path = os.path.join(directory, name)  # noqa: PTH118 - it is shown as it is
        try:
            return path, opened(path, new=True, mode=CAPTURE)
        except FileExistsError:
            continue
        except OSError as error:
            raise CannotCapture(f"cannot write {name} in {where}: {error.strerror}") from error
    raise CannotCapture(f"cannot write {stem}.pcapng in {where}: it and 99 such names exist; name a file with -w")


def _opened(path: str) -> tuple[str, int]:
    try:
        return path, _standard_output() if path == "-" else opened(path, mode=CAPTURE)
    except OSError as error:
        raise CannotCapture(f"cannot write {path!r}: {error.strerror}") from error


def _standard_output() -> int:
    fd = os.dup(1)
    if os.isatty(fd):
        os.close(fd)
        raise CannotCapture("standard output is a terminal, and a capture is not text; redirect it, or use -w FILE")
    return fd
