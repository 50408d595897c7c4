"""Where the recorded stream goes: a file opened so that nobody else's is touched, or standard output.

Open it after privilege was given up (see privilege.py): then the kernel's own checks are those of the user.
"""

from __future__ import annotations

import errno
import os
import select
import stat
import time
from collections import deque
from contextlib import ExitStack, suppress

from analysis.errors import CannotCapture, Incomplete

from .recorder import PAGE

#: O_NONBLOCK: the open() of a FIFO without a reader fails instead of waiting for one.
_FLAGS = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
#: Captures hold what people sent: for the user's eyes.
_MODE = 0o600
#: As many symbolic links on the way as the kernel follows (path_resolution(7)).
_LINKS = 40


class Sink:
    """Takes the bytes of a recording to *path*: "-" is standard output, None a new file in the current directory.

    A file of that name is replaced only if it is a regular file of this user with no other name. A symbolic link is
    not followed at the end of the path, and on the way only if it belongs to root or this user. The new file can be
    read by its owner alone. Raises CannotCapture with the reason.

    ``name`` is the path as given or made (as it is: escape it before showing it), ``octets`` what was written.
    """

    def __init__(self, path: str | None = None) -> None:
        self.octets = 0
        self._ours = path not in {"-", os.devnull}  # a regular file that we opened, and may cut
        self.name, self._fd = _made() if path is None else _opened(path)

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
        """Close the file. Raises Incomplete where the system tells only now that it could not keep what was written."""
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


def _made() -> tuple[str, int]:
    """Create a file named after the time."""
    stem = time.strftime("selfconn-%Y%m%dT%H%M%SZ", time.gmtime())
    name = f"{stem}.pcapng"
    for number in range(2, 100):
        try:
            return name, os.open(name, _FLAGS | os.O_CREAT | os.O_EXCL, _MODE)
        except FileExistsError:
            name = f"{stem}-{number}.pcapng"
        except OSError as error:
            raise CannotCapture(f"cannot write {name} in the current directory: {error.strerror}") from error
    raise CannotCapture(f"cannot write {stem}.pcapng in the current directory: it and many like it exist")


def _opened(path: str) -> tuple[str, int]:
    """Create the file *path*, or empty it where it is ours."""
    try:
        if path == "-":
            return path, _standard_output()
        if path == os.devnull:
            return path, os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        directory, name = _directory(path)
        try:
            return path, os.open(name, _FLAGS | os.O_CREAT | os.O_EXCL, _MODE, dir_fd=directory)
        except FileExistsError:
            return path, _emptied(name, directory)
        finally:
            os.close(directory)
    except OSError as error:
        reasons = {
            errno.ELOOP: "it is a symbolic link, or one of somebody else's leads there; name the file itself",
            errno.ENXIO: "it is a FIFO; write to it with -w - > FIFO",
            errno.EEXIST: "it exists and is not a regular file of yours with this one name; choose another",
        }
        reason = reasons.get(error.errno or 0, error.strerror)
        raise CannotCapture(f"cannot write {path!r}: {reason}") from error


def _standard_output() -> int:
    fd = os.dup(1)
    if os.isatty(fd):
        os.close(fd)
        raise CannotCapture("a capture is no text for a terminal: send standard output elsewhere, or use -w FILE")
    return fd


def _emptied(name: str, directory: int) -> int:
    fd = os.open(name, _FLAGS, dir_fd=directory)
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != os.geteuid() or found.st_nlink != 1:
        os.close(fd)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
    os.ftruncate(fd, 0)
    return fd


def _directory(path: str) -> tuple[int, str]:
    """Open the directory in which *path* lies, step by step; return it and the last name.

    open() would follow whatever symbolic link stands on the way at that moment, also one that somebody just put there
    to lead us to a file of ours elsewhere.
    """
    *names, last = path.split("/")
    if last in {"", ".", ".."}:
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    ahead = deque(names)
    links = 0
    with ExitStack() as opened:

        def step(name: str, within: int | None = None) -> int:
            fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=within)
            opened.callback(os.close, fd)
            return fd

        here = step("/" if path.startswith("/") else ".")
        while ahead:
            there = step(ahead.popleft() or ".", here)
            found = os.fstat(there)
            if not stat.S_ISLNK(found.st_mode):
                here = there
                continue
            links += 1
            if links > _LINKS or found.st_uid not in {0, os.geteuid()}:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            target = os.readlink("", dir_fd=there)
            here = step("/") if target.startswith("/") else here
            ahead.extendleft(reversed(target.split("/")))
        return os.dup(here), last
