"""Octets of a capture that is still being made: out of a pipe as they come, or out of a file as it grows.

Ctrl-C and the other signals of commandline.ending() come through only while these functions wait, so that nothing is
interrupted in the middle of a block. A block without octets says that nothing came for a moment.
"""

from __future__ import annotations

import os
import select
import signal
import time

from ..commandline import ending
from ..memory import mapping
from .compression import Cut

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Generator

#: Seconds until the file is looked at again, or until an empty block says that nothing came.
MOMENT = 0.2

#: Octets read at a time: as many as a pipe holds.
ROOM = 1 << 16


def arriving(fd: int) -> Generator[memoryview, None, None]:
    """Yield what comes out of a pipe, a socket or a terminal at once, in blocks that are valid until the next one.

    Raises OSError.
    """
    buffer = memoryview(mapping(ROOM))
    inlet = select.poll()
    inlet.register(fd, select.POLLIN)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    deaf_to = ending()
    # No context manager: one that is interrupted in the middle of its own statements would leave the signals blocked.
    try:
        while True:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            ready = inlet.poll(MOMENT * 1000)
            signal.pthread_sigmask(signal.SIG_BLOCK, deaf_to)
            got = os.readv(fd, [buffer]) if ready else 0
            if ready and not got:
                return
            yield buffer[:got]
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def growing(path: str) -> Generator[memoryview, None, None]:
    """Yield what a file holds, and then what is added to it, without end; blocks are valid until the next one.

    Raises OSError, and Cut where nothing more can come: the file was cut short, another took its place, or it is gone.
    """
    buffer = memoryview(mapping(ROOM))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    deaf_to = ending()
    at = 0
    gone = ""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        while True:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
            signal.pthread_sigmask(signal.SIG_BLOCK, deaf_to)
            got = os.readv(fd, [buffer])
            at += got
            if got or not gone:
                yield buffer[:got]
            if got:
                continue
            if gone:
                raise Cut(gone)
            gone = _gone(fd, path, at)  # if it is gone, what was written until then is still read
            if not gone:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)
                time.sleep(MOMENT)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(fd)


def _gone(fd: int, path: str, at: int) -> str:
    """Return why nothing more can come in this file, of which *at* octets were read; "" where more can come."""
    file = os.fstat(fd)
    if file.st_size < at:
        return f"the file was cut short to {file.st_size} octets after {at} had been read"
    try:
        there = os.stat(path)  # noqa: PTH116 - pathlib takes longer to import than a small capture to read
    except OSError:
        return "the file was moved away or removed while it was followed"
    if not os.path.samestat(file, there):
        return "another file took its place while it was followed"
    return ""
