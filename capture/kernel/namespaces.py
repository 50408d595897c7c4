"""The network namespaces of this host: which there are, what people call them, and what is asked inside of them.

A namespace is found by the links of processes and threads (/proc/PID/ns/net), by what is mounted to keep it (ip netns,
and what runtimes mount), and by descriptors that processes have open. What nothing but a socket keeps, or a descriptor
on its way in a message, has no name in /proc and is not found: ``NOT_FOUND``.

Scan and look_inside() need privilege and run before it is given up; with the standard library alone. Nothing is
interpreted meanwhile but names of files and the kernel's own lines of mounts. Containers are strangers: whatever path
they name is opened as a place (O_PATH) first, and again for real only if it is the namespace that was looked for.
namespaces(7), network_namespaces(7), setns(2), proc(5).
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
from contextlib import contextmanager, suppress
from itertools import chain
from pathlib import Path

from analysis.errors import CannotCapture, UsageError
from analysis.records import NamedTuple

from . import container_names, port_choice
from .containers import Home, home
from .netlink import LISTEN, Routes, SockDiag

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator, Mapping

    from .port_rules import Rule

_PROC = Path("/proc")
_CLONE_NEWNET = 0x40000000  # <linux/sched.h>
_CAP_SYS_ADMIN = 21
#: The first user and PID namespace have fixed numbers (<linux/proc_ns.h>).
_INITIAL_USER, _INITIAL_PID = 0xEFFFFFFD, 0xEFFFFFFC
#: Where ip-netns(8) mounts namespaces. What container runtimes mount there has names that nobody knows it by.
_IP_NETNS = ("/run/netns/", "/var/run/netns/")
_NAMED_BY_PROGRAMS = re.compile(r"(?:cni|netns|cnitest)-[0-9a-f]{8}-")
_LINK = re.compile(r"net:\[(\d+)\]")
_HELD = re.compile(r"/proc/(\d+)/fd/\d+")
_ESCAPED = re.compile(r"\\([0-7]{3})")

#: How many mounts and descriptors are remembered of a namespace.
_PLACES = 8

#: Kinds that are not found.
NOT_FOUND = (
    "network namespaces that nothing but an open socket keeps: without process, mount or descriptor they are not found"
)

_libc = ctypes.CDLL(None, use_errno=True)


class Namespace:
    """A network namespace.

    ``path`` is where it can be opened. ``places`` are where else: mounts and descriptors, at most ``_PLACES`` of them;
    ``mounted`` is a process that sees it mounted. ``pids`` are its processes, the oldest first; ``netns`` is its name
    for ip-netns(8). ``name`` is what a person calls it; ``runtime``, ``id`` and ``pod`` are those of the container, if
    its processes run in one, ``container`` is how its owner named that (a pod's namespace and name, where it is one's).
    ``own``: this process is in it; ``host``: it is the first one, that of the machine.
    """

    mounted: str | None = None
    own = False
    runtime: str | None = None
    id: str | None = None
    pod: str | None = None
    container: str | None = None

    def __init__(  # noqa: PLR0913 - what may be known of it beforehand
        self,
        inode: int,
        *,
        path: str = "",
        pids: list[int] | None = None,
        netns: str | None = None,
        host: bool = False,
        name: str = "",
    ) -> None:
        self.inode = inode
        self.path = path
        self.places: list[str] = []
        self.pids = [] if pids is None else pids
        self.netns = netns
        self.host = host
        self.name = name

    @property
    def prefix(self) -> list[str]:
        """The words that go before a command to run it in there; none where it is our own."""
        if self.own:
            return []
        if self.netns:
            return ["ip", "netns", "exec", self.netns]
        by = ["-n", "-t", str(self.pids[0])] if self.pids else [f"--net={self.path}"]
        return ["nsenter", *by, "--"]


class Inside(NamedTuple):
    """What is asked in a namespace: its sockets and routes, for as long as they are open, and its settings.

    The two are None where the kernel does not answer, and ``why`` says so; ``tables`` are the texts of /proc/net/tcp
    then. ``rule`` is how the kernel chooses ports, if that was measured.
    """

    namespace: Namespace
    diag: SockDiag | None
    routes: Routes | None
    settings: dict[str, str]
    tables: list[str] = []  # noqa: RUF012 - nobody adds to it
    why: str = ""
    rule: Rule | None = None

    def asked(self) -> SockDiag:
        """Return whom to ask for sockets. Raises OSError where the kernel does not answer."""
        if self.diag is None:
            raise OSError(errno.EPROTONOSUPPORT, self.why)
        return self.diag

    def close(self) -> None:
        """Let go of the namespace."""
        for one in (self.diag, self.routes):
            if one:
                one.close()


class Refused(NamedTuple):
    """A namespace that could not be entered, and why; ``forbidden``: somebody with more rights could."""

    namespace: Namespace
    why: str
    forbidden: bool = False


# -- finding ---------------------------------------------------------------------------------------------------------


class Scan:
    """Which network namespaces there are, and the ``pids`` of the processes that were looked at.

    ``unread`` counts the processes whose namespace could not be read.
    """

    def __init__(self) -> None:
        self.found: dict[int, Namespace] = {}
        self.pids: set[str] = set()
        self.unread = 0
        self._mounts: set[str] = set()
        # Kernel threads are in the first network namespace; an init may not be looked into, by root either.
        self._first = "" if in_a_container() else "2"
        own = (_PROC / "self/ns/net").stat()
        self._device = own.st_dev
        one = self._add(own.st_ino, "/proc/self/ns/net")
        one.own = True
        one.host = _in_the_first()

    def processes(self, seen: Container[str] = ()) -> Scan:
        """Go through the processes and their threads, and the mounts of each mount namespace.

        Of those that were *seen* before (their PIDs) the process alone, which is a quarter of the work.
        """
        try:
            self._mounted("self")
        except OSError:
            self.unread += 1
        for entry in os.listdir(_PROC):  # noqa: PTH208 - for every process of the machine
            if entry.isdecimal():
                self.pids.add(entry)
                with suppress(OSError):  # it has ended
                    self._process(entry, seen=entry in seen)
        return self

    def _process(self, pid: str, *, seen: bool) -> None:
        directory, inode = f"/proc/{pid}", 0
        try:
            inode = _number(os.readlink(f"{directory}/ns/net"))  # noqa: PTH115 - see above; so below
        except FileNotFoundError:  # its first thread has ended, and others may live
            pass
        except PermissionError:
            self.unread += pid != "1" or not self._first
            return
        if inode:
            one = self._add(inode, f"{directory}/ns/net")
            one.pids.append(int(pid))
            one.host |= pid == self._first
        if seen:
            return
        # A directory's links are itself, its name, and one for each that lies in it.
        if os.stat(f"{directory}/task").st_nlink > 3:  # noqa: PTH116
            for thread in os.listdir(f"{directory}/task"):  # noqa: PTH208
                path = f"{directory}/task/{thread}/ns/net"
                with suppress(OSError):
                    other = _number(os.readlink(path))  # noqa: PTH115
                    if other and other != inode:
                        one = self._add(other, path)
                        if one.pids[-1:] != [int(pid)]:  # processes come one after the other
                            one.pids.append(int(pid))
        with suppress(OSError):  # EINVAL of one that is about to end
            self._mounted(pid)

    def _mounted(self, pid: str) -> None:
        """Look for namespaces that are mounted, once in each mount namespace."""
        space = os.readlink(f"{_PROC}/{pid}/ns/mnt")  # noqa: PTH115
        if space in self._mounts:
            return
        self._mounts.add(space)
        for inode, point in _mounts(pid):
            root = "" if pid == "self" else f"{_PROC}/{pid}/root"
            one = self._add(inode, root + point, kept=True)
            one.mounted = one.mounted or pid
            top, slash, name = point.rpartition("/")
            if not root and top + slash in _IP_NETNS:
                one.netns = one.netns or name

    def descriptors(self, held: dict[int, str]) -> Scan:
        """Add those that processes have open: the path of a descriptor for each number."""
        for inode, path in held.items():
            self._add(inode, path, kept=True)
        return self

    def _add(self, inode: int, path: str, *, kept: bool = False) -> Namespace:
        """Note it; *kept*: by something else than a process in it, of which ``pids`` tells."""
        one = self.found.setdefault(inode, Namespace(inode))
        one.path = one.path or path
        if kept and len(one.places) < _PLACES:
            one.places.append(path)
        return one

    def open(self, one: Namespace) -> int:
        """Open a namespace that was found, wherever it can be, whatever a stranger has put in its place meanwhile.

        Raises FileNotFoundError where it has ended, another OSError where it has not.
        """
        why = None
        for path in chain([one.path], (f"{_PROC}/{pid}/ns/net" for pid in one.pids), one.places):
            try:
                return _opened(path, self._device, one.inode)
            except FileNotFoundError:
                continue
            except OSError as error:
                why = why or error
        with suppress(OSError):
            if not why and one.mounted and any(inode == one.inode for inode, _ in _mounts(one.mounted)):
                why = OSError(errno.EBUSY, "none of the places tried leads to it")
        raise why or FileNotFoundError(errno.ENOENT, "it is gone")


def _mounts(pid: str) -> Iterator[tuple[int, str]]:
    """Yield the network namespaces that a process sees mounted, and where. Raises OSError.

    Line by line: anybody may have a hundred thousand mounts (of user namespaces), each with a path of 4,096 octets.
    """
    with (_PROC / pid / "mountinfo").open("rb") as lines:
        for line in lines:
            if b" - nsfs " not in line:
                continue
            words = line.decode(errors="surrogateescape").split(" ")
            if inode := _number(words[3]):
                yield inode, _ESCAPED.sub(lambda octal: chr(int(octal[1], 8)), words[4])


def _opened(path: str, device: int, inode: int | None = None) -> int:
    """Open the network namespace at *path*; nothing else is ever opened there, no device and no pipe."""
    place = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        found = os.fstat(place)
        if found.st_dev != device or inode not in (None, found.st_ino):
            raise FileNotFoundError(errno.ENOENT, "it is gone")
        return os.open(f"/proc/self/fd/{place}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(place)


def open_descriptors() -> dict[int, str]:
    """Find the network namespaces that processes have open: the path of a descriptor for each number."""
    found: dict[int, str] = {}
    for entry in os.listdir(_PROC):  # noqa: PTH208 - for every open file of the machine
        if not entry.isdecimal():
            continue
        with suppress(OSError):
            for descriptor in os.scandir(f"{_PROC}/{entry}/fd"):
                with suppress(OSError):
                    if inode := _number(os.readlink(descriptor.path)):  # noqa: PTH115
                        found.setdefault(inode, descriptor.path)
    return found


def _number(link: str) -> int:
    found = _LINK.fullmatch(link)
    return int(found[1]) if found else 0


def _age(pid: int) -> float:
    """When it was started, in the kernel's ticks."""
    try:
        return int((_PROC / str(pid) / "stat").read_bytes().rpartition(b")")[2].split()[19])
    except (OSError, IndexError, ValueError):
        return float("inf")


def may_enter_all() -> bool:
    """Whether this is root of the host: CAP_SYS_ADMIN in the first user namespace."""
    try:
        status = (_PROC / "self/status").read_text(encoding="utf-8", errors="replace")
        effective = next(line for line in status.splitlines() if line.startswith("CapEff:"))
        able = bool(int(effective.split()[1], 16) >> _CAP_SYS_ADMIN & 1)
        return able and (_PROC / "self/ns/user").stat().st_ino == _INITIAL_USER
    except (OSError, StopIteration, ValueError):
        return False


def _in_the_first() -> bool:
    """Whether we are in the first network namespace: this setting is nowhere else (net_core_table)."""
    return (_PROC / "sys/net/core/dev_weight").exists()


def in_a_container() -> bool:
    """Whether processes may exist that are not seen from here: this is not the first PID namespace."""
    try:
        return (_PROC / "self/ns/pid").stat().st_ino != _INITIAL_PID
    except OSError:
        return False


# -- naming ----------------------------------------------------------------------------------------------------------


def named(found: Iterable[Namespace]) -> list[Namespace]:
    """Name them all, ours first, then the host's, then by name; no two have the same name."""
    ours = home_of("self")
    spaces = list(found)
    lives: dict[int, Home] = {}
    for one in spaces:
        one.pids.sort(key=_age)
        # What we run in ourselves does not tell one namespace from another.
        homes = (home_of(pid) for pid in one.pids[:3])
        if home := next((home for home in homes if home and home != ours), None):
            lives[one.inode] = home
    known = container_names.names([lives[one.inode] for one in spaces if one.inode in lives and not one.host])
    for one in spaces:
        _name(one, lives.get(one.inode), known)
    seen: dict[str, int] = {}
    for one in spaces:
        seen[one.name] = seen.get(one.name, 0) + 1
    for one in spaces:
        if seen[one.name] > 1:
            one.name += f" [{one.inode}]"
    return sorted(spaces, key=lambda one: (not one.own, not one.host, one.name))


def _name(one: Namespace, lives: Home | None, known: Mapping[str, str]) -> None:
    """Name it by what its processes live in, the containers as they are *known*. If they have ended its name stays."""
    if one.name and not lives and not (one.pids and _command(one.pids[0])):
        return
    if lives and not one.host:
        one.runtime, one.id, one.pod, one.container = lives.runtime, lives.id, lives.pod, known.get(lives.id)
    if one.host or (one.own and not one.pids):
        one.name = "host" if one.host else "self"
    elif one.netns and not (lives and _NAMED_BY_PROGRAMS.match(one.netns)):
        one.name = one.netns
    elif lives:
        one.name = f"{lives.runtime} {lives.name}" if lives.runtime != "systemd" else lives.name
        one.name += f" ({one.container})" if one.container else ""
    elif one.pids and (command := _command(one.pids[0])):
        one.name = f"{command} ({one.pids[0]})"
    elif held := _HELD.fullmatch(one.path):
        one.name = f"held by {_command(int(held[1]))} ({held[1]})"
    else:
        one.name = f"net:[{one.inode}]" if one.pids else one.path


def home_of(pid: int | str) -> Home | None:
    """Say what a process runs in; None where its cgroup names nothing, or it has ended."""
    try:
        return home((_PROC / str(pid) / "cgroup").read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None


def _command(pid: int) -> str:
    try:
        return (_PROC / str(pid) / "comm").read_bytes().removesuffix(b"\n").decode(errors="backslashreplace")
    except OSError:  # it has ended
        return ""


# -- choosing --------------------------------------------------------------------------------------------------------


def chosen(scan: Scan, what: str) -> list[Namespace]:
    """Those that ``--netns`` asks for: self, all, a PID, a name or a path. Raises UsageError where there is none."""
    everything = named(scan.found.values())
    if what == "all":
        return everything
    if what == "self":
        return [one for one in everything if one.own]
    inode = _asked(scan, what)
    meant = [one for one in everything if one.inode == inode or (inode is None and what in _called(one))]
    if len(meant) > 1:  # a container can have itself called what another is
        which = ", ".join(f"{one.name} ({one.inode})" for one in meant[:8])
        raise UsageError(f"{len(meant):,} network namespaces are called {what!r}; give the number of one: {which}")
    if meant:
        return meant
    names = ", ".join(one.name for one in everything[:8])
    raise UsageError(f"no network namespace is called {what!r}; give a PID, a path, or a name such as {names}")


def _called(one: Namespace) -> set[str | None]:
    plain = one.name.removesuffix(f" ({one.container})")
    short = {plain, plain.partition(" ")[2]} if one.runtime else set()
    return {one.name, one.netns, one.id, one.container, *short, str(one.inode)} - {None, ""}


def _asked(scan: Scan, what: str) -> int | None:
    """The number of the namespace that a PID or a path means; it is found from now on. None: it is a name."""
    for path in (f"{_PROC}/{what}/ns/net" if what.isdecimal() else what, *(top + what for top in _IP_NETNS)):
        if "/" not in path or ("/" in what and path != what):
            continue
        try:
            place = _opened(path, scan._device)  # noqa: SLF001 - the same module
        except FileNotFoundError:
            continue
        except OSError as error:
            raise CannotCapture(f"cannot open the network namespace of {what!r}: {error.strerror}") from error
        try:
            inode = os.fstat(place).st_ino
        finally:
            os.close(place)
        scan.descriptors({inode: path})
        return inode
    return None


def go_into(what: str) -> Namespace:
    """Move this process into the network namespace that *what* means, for good; return what was found of that.

    There must be one thread. Users, mounts and processes stay those of before. Raises UsageError where there is no
    such namespace, CannotCapture where it may not be entered.
    """
    scan = Scan()
    if what != "self":
        scan.processes()
    if what == "all":
        raise UsageError("--netns all is for --watch; name one: a PID, a name or a path")
    [one] = chosen(scan, what)
    if not one.own:
        try:
            namespace = scan.open(one)
            try:
                setns(namespace)
            finally:
                os.close(namespace)
        except OSError as error:
            why = error.strerror or str(error)
            raise CannotCapture(f"cannot enter the network namespace of {what!r}: {why}") from error
    return one


# -- entering --------------------------------------------------------------------------------------------------------


@contextmanager
def inside(namespace: int) -> Iterator[None]:
    """Have this thread be in the network namespace of this descriptor for a while. Raises OSError."""
    back = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        setns(namespace)
        try:
            yield
        finally:
            setns(back)
    finally:
        os.close(back)


def setns(namespace: int) -> None:
    """Enter a network namespace for good (the standard library has this from Python 3.12 on). Raises OSError."""
    if _libc.setns(namespace, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def look_inside(scan: Scan, spaces: Iterable[Namespace]) -> tuple[list[Inside], list[Refused]]:
    """Open in each of the *spaces* what is asked there later, without privilege."""
    seen, refused = [], []
    unanswered = _unanswered()
    for one in spaces:
        try:
            if one.own:
                seen.append(_look(one, unanswered))
                continue
            namespace = scan.open(one)
            try:
                with inside(namespace):
                    seen.append(_look(one, unanswered))
            finally:
                os.close(namespace)
        except FileNotFoundError:  # gone meanwhile, as containers do
            continue
        except OSError as error:
            refused.append(Refused(one, error.strerror or str(error), isinstance(error, PermissionError)))
    return seen, refused


def _look(one: Namespace, unanswered: str | None) -> Inside:
    settings = dict(port_choice.settings())
    if unanswered is None:
        return Inside(one, SockDiag(), Routes(), settings)
    tables = []
    for name in ("tcp", "tcp6"):
        with suppress(FileNotFoundError):
            tables.append((_PROC / "thread-self/net" / name).read_text(encoding="ascii"))
    return Inside(one, None, None, settings, tables, unanswered)


def _unanswered() -> str | None:
    """Why this kernel does not answer over sock_diag, None if it does."""
    try:
        with SockDiag() as diag:
            diag.sockets(LISTEN)
    except OSError as error:
        return error.strerror
    return None
