"""A process of a watch that stays privileged when the watch gives its privilege up, for one question that needs it.

What it hears and says passes a socket pair. It writes no file, starts no program, and holds nothing open of the user's.
It ends when nobody listens any more; the kernel kills it when the watch ends, however that ends.
"""

from __future__ import annotations

import os
import signal
import socket
from contextlib import suppress

from analysis import privilege

from .command import die_with

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection

#: Octets of the longest message.
LARGEST = 1 << 20


class PrivilegedProcess:
    """The process, from the side of the watch. There must be one thread. Raises OSError.

    *serve* is what it does with its end of the socket pair; *capabilities* those that it keeps (None: all).
    """

    def __init__(self, serve: Callable[[socket.socket], None], capabilities: Collection[int] | None) -> None:
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for one in (self._socket, theirs):
            one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, LARGEST)
        parent = os.getpid()
        self._pid = os.fork()
        if not self._pid:
            status = 1
            with suppress(BaseException):
                self._socket.close()
                _alone(parent, capabilities)
                serve(theirs)
                status = 0
            os._exit(status)
        theirs.close()

    def fileno(self) -> int:
        """Return the descriptor that becomes readable when there is something to receive."""
        return self._socket.fileno()

    def close(self) -> None:
        """End the process: it does so when nobody listens, and may not be killed by whom we have become."""
        self._socket.close()
        with suppress(ChildProcessError):
            os.waitpid(self._pid, 0)


def _alone(parent: int, capabilities: Collection[int] | None) -> None:
    die_with(parent, signal.SIGKILL)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    nothing = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):  # a pipe of the user's is not held open
        os.dup2(nothing, stream)
    os.close(nothing)
    if capabilities is None:
        privilege.keep_to_itself()
    else:
        privilege.keep_only(capabilities)
    die_with(parent, signal.SIGKILL)  # other rights make the kernel forget it (prctl(2))
