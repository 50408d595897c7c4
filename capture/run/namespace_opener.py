"""The process of a watch that stays privileged as long as that: it opens rings in network namespaces, later ones, too.

It takes no input but "look again", and hands over sockets: of each network namespace that it has not shown yet the
two packet sockets of its rings and one to ask for its sockets (netlink.py). It parses nothing that passes a network;
of the capabilities it keeps those that this takes (``_CAPABILITIES``). For the rest see privileged_process.py.

Namespaces are opened as namespaces.py has it. A packet socket keeps its namespace alive, so each answer ends with the
list of those that live without us: the watch lets go of the others.
"""

from __future__ import annotations

import array
import json
import os
import re
import resource
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial

from analysis.errors import CannotCapture
from analysis.records import NamedTuple

from ..kernel.namespaces import Namespace, Scan, inside, open_descriptors
from ..kernel.netlink import SockDiag
from ..packets.watch_rings import WatchRings
from .privileged_process import LARGEST, PrivilegedProcess

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


#: CAP_NET_RAW (rings), CAP_SYS_ADMIN (setns), CAP_SYS_PTRACE and CAP_DAC_READ_SEARCH (links of others in /proc).
_CAPABILITIES = (13, 21, 19, 2)
_LOOK = b"?"
#: Seconds from one look at all threads, mounts and open descriptors of the host to the next, and how much longer than
#: such a look that is at least. Those between are at processes, and at all of a process that is new.
_SELDOM, _REST = 8.0, 100
_OF_A_PROCESS = re.compile(r"/proc/\w+/ns/net")
#: Namespaces that have rings at the same time: a user who makes more and more of them fills no memory. Descriptors
#: for each, and for all else.
_MOST, _EACH, _ELSE = 1000, 4, 100
#: Namespaces that are opened at the same time: the kernel takes some milliseconds for each, however many there are.
_AT_ONCE = 16


class Shown(NamedTuple):
    """A network namespace that was entered, with its rings and whom to ask; or ``why`` it could not be."""

    namespace: Namespace
    rings: WatchRings | None
    diag: SockDiag | None
    why: str | None = None


class Alive(NamedTuple):
    """The end of an answer: the numbers of the network namespaces that there are, and for how many there is no room."""

    inodes: frozenset[int]
    too_many: int


class NamespaceOpener(PrivilegedProcess):
    """The process, from the side of the watch. There must be one thread. Raises OSError."""

    def __init__(self, port: int | None, *, packets: int) -> None:
        self._port, self._packets = port, packets
        self.waiting = False  # for the end of an answer
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        most = _MOST if hard == resource.RLIM_INFINITY else min(_MOST, (hard - _ELSE) // _EACH)
        super().__init__(partial(_serve, port=port, packets=packets, most=most), _CAPABILITIES)

    def ask(self) -> None:
        """Have it look again, unless it is about to."""
        if not self.waiting:
            with suppress(OSError):
                self._socket.send(_LOOK)
                self.waiting = True

    def receive(self) -> Shown | Alive | None:
        """Take one message. Waits for it; None: the process has ended."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self._socket, LARGEST, 3)
        except OSError:
            data, descriptors = b"", []
        if not data:
            return None
        said: dict[str, Any] = json.loads(data)
        if "alive" in said:
            self.waiting = False
            return Alive(frozenset(said["alive"]), said["too_many"])
        space = Namespace(said["inode"], path=said["path"], pids=said["pids"], netns=said["netns"], host=said["host"])
        if not descriptors:
            return Shown(space, None, None, said["why"])
        answers, before = (socket.socket(fileno=one) for one in descriptors[:2])
        rings = WatchRings("lo", self._port, packets=self._packets, small=True, given=(answers, before))
        return Shown(space, rings, SockDiag(socket.socket(fileno=descriptors[2])))


# -- from here on: in the process ------------------------------------------------------------------------------------


def _serve(theirs: socket.socket, *, port: int | None, packets: int, most: int) -> None:
    """Look as often as it is asked to, and have rings in *most* namespaces at a time."""
    shown: set[int] = set()
    rare: dict[int, str] = {}
    seen: set[str] = set()
    next_whole = 0.0
    pool = ThreadPoolExecutor(_AT_ONCE)
    while theirs.recv(1) == _LOOK:
        began = time.monotonic()
        if began > next_whole:
            scan = Scan().processes().descriptors(open_descriptors())
            next_whole = began + max(_SELDOM, _REST * (time.monotonic() - began))
            rare = {one.inode: one.path for one in scan.found.values() if not _OF_A_PROCESS.fullmatch(one.path)}
        else:
            scan = Scan().processes(seen).descriptors(rare)
        seen = scan.pids
        shown &= scan.found.keys()
        new = [one for one in scan.found.values() if not one.own and one.inode not in shown]
        room = max(0, most - len(shown))
        new, left = new[:room], new[room:]
        for at in range(0, len(new), _AT_ONCE):
            some = new[at : at + _AT_ONCE]
            for one, opened_there in zip(some, pool.map(partial(_open, scan, port, packets), some), strict=True):
                if not opened_there:
                    rare.pop(one.inode, None)  # it has ended, and the next one may get its number
                    continue
                shown.add(one.inode)
                _show(theirs, one, opened_there)
        theirs.send(json.dumps({"alive": list(scan.found), "too_many": len(left)}).encode())


def _open(scan: Scan, port: int | None, packets: int, one: Namespace) -> tuple[WatchRings, SockDiag] | str | None:
    """Open what is handed over of a namespace; say why not; None where it has ended. In a thread of its own."""
    try:
        namespace = scan.open(one)
        try:
            with inside(namespace):
                return WatchRings("lo", port, packets=packets, small=True), SockDiag()
        finally:
            os.close(namespace)
    except FileNotFoundError:
        return None
    except (OSError, CannotCapture) as error:
        return getattr(error, "strerror", None) or str(error)


def _show(theirs: socket.socket, one: Namespace, opened: tuple[WatchRings, SockDiag] | str) -> None:
    """Hand it over, and keep nothing of it."""
    said = {"inode": one.inode, "path": one.path, "pids": one.pids[:4], "netns": one.netns, "host": one.host}
    if isinstance(opened, str):
        theirs.send(json.dumps({**said, "why": opened}).encode())
        return
    rings, diag = opened
    with rings, diag:
        descriptors = array.array("i", [*rings.filenos(), diag.fileno()])
        theirs.sendmsg([json.dumps(said).encode()], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, descriptors)])
