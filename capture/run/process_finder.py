"""Which process holds a socket, asked after privilege is given up: a process that stays what the watch was, and looks.

Only where the kernel's tracepoint does not tell: in a container, as a rule. Root of a container may look into the
processes of the container as long as it has the capabilities that they have (ptrace(2)), so this one keeps all of its
own. It takes numbers of sockets and answers with processes; it does nothing but read links in /proc/PID/fd.
"""

from __future__ import annotations

import json
import select
import socket
import struct

from ..kernel import sockets
from .privileged_process import LARGEST, PrivilegedProcess

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection

_INODE = struct.Struct("=Q")
#: Sockets that are asked for at once; seconds that an answer may take.
_MOST, _PATIENCE = 1000, 1.0


class ProcessFinder(PrivilegedProcess):
    """The process, from the side of the watch. Raises OSError."""

    def __init__(self) -> None:
        super().__init__(_serve, None)

    def holders(self, inodes: Collection[int]) -> dict[int, list[sockets.Process]]:
        """Return the processes that hold the sockets with these inodes; none where there is no answer in time."""
        try:
            while select.select([self._socket], [], [], 0)[0] and self._socket.recv(LARGEST):
                pass  # an answer that came too late
            self._socket.send(b"".join(_INODE.pack(one) for one in sorted(inodes)[:_MOST]))
            if not select.select([self._socket], [], [], _PATIENCE)[0]:
                return {}
            found = json.loads(self._socket.recv(LARGEST) or b"{}")
        except OSError:
            return {}
        return {int(inode): [sockets.Process(*one) for one in held] for inode, held in found.items()}


def _serve(theirs: socket.socket) -> None:
    """Look as often as it is asked to."""
    while data := theirs.recv(_MOST * _INODE.size):
        asked = [inode for (inode,) in _INODE.iter_unpack(data)]
        found, _ = sockets.owners(asked)
        theirs.send(json.dumps({inode: held[:1] for inode, held in found.items()}).encode())
