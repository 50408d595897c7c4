"""Writes a report to standard output or to a file, and never touches a file of another user.

That holds no matter who owns the directories on the path of the file.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections import deque
from contextlib import ExitStack, contextmanager, suppress

from . import user
from .errors import Incomplete, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from typing import TextIO

#: O_NONBLOCK: the open() of a FIFO without a reader fails instead of waiting for one.
_FLAGS = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
#: Permissions of a new file, less the umask: a report has those of other programs' files; captures hold what people
#: sent, and only the user may read them.
_REPORT, CAPTURE = 0o666, 0o600
#: As many symbolic links on the way as the kernel follows (path_resolution(7)).
_LINKS = 40

_REASONS = {
    errno.ELOOP: "it is a symbolic link, or its path leads over another user's symbolic link; name the file itself",
    errno.ENXIO: "it is a FIFO or a socket; write to standard output, and redirect that",
    errno.EEXIST: "it exists, and must be new, or a regular file of yours without a second name; choose another",
}

#: Why a file may not be written that root might have written, and what to do.
_NOT_AS_ROOT = (
    "files are written with the rights of the user who called sudo, not with root's; choose another place, or have "
    "root write what comes out: ... | sudo tee FILE >/dev/null"
)
_NO_CAPABILITY = (
    "root writes without capabilities here, so only where the permissions of the directory let root; choose a "
    "directory of root's, or call it through sudo, as the directory's owner"
)

#: What the encoding of a stream cannot say is escaped.
_ESCAPE = "backslashreplace"


@contextmanager
def streaming(path: str | None) -> Iterator[TextIO]:
    """A stream of text to the file *path* (see opened()) or, where that is None, to standard output.

    Raises UsageError where there is no standard output, Incomplete where writing fails, and BrokenPipeError where
    nobody reads standard output any more.
    """
    if path is not None:
        # pathlib takes longer to import than a small capture to read
        with writing(path), open(opened(path), "w", encoding="utf-8", errors=_ESCAPE) as stream:
            yield stream
    elif sys.stdout is None:
        raise UsageError("standard output is closed: name a file with -o")
    else:
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors=_ESCAPE)
        with writing(sys.stdout):
            yield sys.stdout
            sys.stdout.flush()


def write(pieces: Iterable[str], path: str | None) -> None:
    """Write text to where streaming() writes."""
    with streaming(path) as stream:
        stream.writelines(pieces)


@contextmanager
def writing(to: str | TextIO) -> Iterator[None]:
    """Turn an OSError in here into Incomplete: *to*, a file's name or a standard stream, cannot be written.

    A BrokenPipeError of a standard stream stays what it is.
    """
    try:
        yield
    except OSError as error:
        if isinstance(to, str):
            raise Incomplete(f"cannot write {to}: {error.strerror}") from error
        if isinstance(error, BrokenPipeError):
            raise
        # Or Python would try again at exit, and complain in its own words.
        os.dup2(os.open(os.devnull, os.O_WRONLY), to.fileno())
        name = "standard error" if to is sys.stderr else "standard output"
        raise Incomplete(f"cannot write {name}: {error.strerror}") from error


def opened(path: str, *, new: bool = False, mode: int = _REPORT) -> int:
    """Create the file *path*, or empty it where it is ours (but not if it is to be *new*); the file descriptor.

    A file of that name is replaced only if it is a regular file of this user with no other name. A symbolic link is
    not followed at the end of the path, and on the way only if it belongs to root or this user. A new file has the
    permissions *mode*, less the umask. Raises OSError, ``strerror`` is the reason in words.
    """
    if path == os.devnull:
        return os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        directory, name = _directory(path)
        try:
            return os.open(name, _FLAGS | os.O_CREAT | os.O_EXCL, mode, dir_fd=directory)
        except FileExistsError:
            if new:
                raise
            return _emptied(name, directory)
        finally:
            os.close(directory)
    except OSError as error:
        raise OSError(error.errno, _reason(error)) from error


def put(path: str, data: bytes) -> None:
    """Replace the file *path* by *data* in one step: who reads it meanwhile gets either the old one or the new one.

    What may be replaced, and on which path, is as with opened(); the umask says who may read it. Raises OSError.
    """
    if path == os.devnull:
        return
    try:
        directory, name = _directory(path)
        try:
            with suppress(FileNotFoundError):
                os.close(_ours(name, directory))
            _replace(name, directory, data)
        finally:
            os.close(directory)
    except OSError as error:
        raise OSError(error.errno, _reason(error)) from error


def _reason(error: OSError) -> str:
    """Why the file cannot be written, and what would help, where something is known to."""
    why = _REASONS.get(error.errno or 0, error.strerror or str(error))
    return why + whose_rights() if error.errno in (errno.EACCES, errno.EPERM) else why


def whose_rights() -> str:
    """What to add where a file may not be written: with whose rights files are written, if that may surprise."""
    us = user()
    if us == 0 and _without_capabilities():
        return f": {_NO_CAPABILITY}"
    return f": {_NOT_AS_ROOT}" if os.environ.get("SUDO_UID") == str(us) else ""


def _without_capabilities() -> bool:
    """Whether capabilities(7) were given up; False where the system has none."""
    try:
        with open("/proc/self/status", encoding="utf-8", errors="replace") as status:  # noqa: PTH123 - as above
            return any(line.startswith("CapEff:") and not int(line.split()[1], 16) for line in status)
    except OSError:
        return False


def _replace(name: str, directory: int, data: bytes) -> None:
    beside = f".{name}-{os.getpid()}"
    # The umask counts: this is for others to read.
    fd = os.open(beside, _FLAGS | os.O_CREAT | os.O_EXCL, _REPORT, dir_fd=directory)
    try:
        try:
            while data:
                data = data[os.write(fd, data) :]
        finally:
            os.close(fd)
        os.rename(beside, name, src_dir_fd=directory, dst_dir_fd=directory)
    except BaseException:
        with suppress(OSError):
            os.unlink(beside, dir_fd=directory)
        raise


def _emptied(name: str, directory: int) -> int:
    fd = _ours(name, directory)
    os.ftruncate(fd, 0)
    return fd


def _ours(name: str, directory: int) -> int:
    """Open a regular file of this user with no other name. Raises FileExistsError where it is anything else."""
    fd = os.open(name, _FLAGS, dir_fd=directory)
    found = os.fstat(fd)
    if not stat.S_ISREG(found.st_mode) or found.st_uid != user() or found.st_nlink != 1:
        os.close(fd)
        raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
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
            if links > _LINKS or found.st_uid not in {0, user()}:
                raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
            target = os.readlink("", dir_fd=there)
            here = step("/") if target.startswith("/") else here
            ahead.extendleft(reversed(target.split("/")))
        return os.dup(here), last
