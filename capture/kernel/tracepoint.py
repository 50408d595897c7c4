"""The kernel's own account of socket states: the tracepoint ``sock:inet_sock_set_state``.

The events are read through perf_event_open(2): a ring buffer per processor in memory that is ours, so
nothing is left behind whatever becomes of us, and the rings stay readable after privilege is given up.
It sees the sockets of all network namespaces. Opening it needs root: CAP_PERFMON for the event, and for its
description in tracefs either CAP_SYS_ADMIN or the right to read it where it is mounted.

What the kernel does not say the RFC's way:

- It names a state before it names a port: ``CLOSE > SYN_SENT`` of a connect() without bind() carries
  source port 0, because the port is chosen just after. It is the same socket, so the step can be found.
- A socket that reaches TIME-WAIT is replaced by a smaller object, and itself shown as ``CLOSE`` (KERNEL_SHOWS).
- A passive open lives in a request object until its ACK arrives: only then the child of the listening
  socket appears, as ``LISTEN > SYN_RECV``, and at once goes to ``ESTABLISHED``.
- close() after shutdown() sets the state that the socket is in already. That is no change, and is not reported here.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import re
import struct
import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from analysis.errors import CannotCapture
from analysis.model import Endpoint
from analysis.records import NamedTuple
from analysis.states import State

from .number_lists import parsed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from typing import Self

#: What the kernel calls the states (include/net/tcp_states.h), and what RFC 9293 3.3.2 calls them.
#: NEW_SYN_RECV is the request object of a passive open, in SYN-RECEIVED before there is a socket.
RFC_NAMES = {
    "LISTEN": State.LISTEN,
    "SYN_SENT": State.SYN_SENT,
    "SYN_RECV": State.SYN_RECEIVED,
    "NEW_SYN_RECV": State.SYN_RECEIVED,
    "ESTABLISHED": State.ESTABLISHED,
    "FIN_WAIT1": State.FIN_WAIT_1,
    "FIN_WAIT2": State.FIN_WAIT_2,
    "CLOSE_WAIT": State.CLOSE_WAIT,
    "CLOSING": State.CLOSING,
    "LAST_ACK": State.LAST_ACK,
    "TIME_WAIT": State.TIME_WAIT,
    "CLOSE": State.CLOSED,
}

#: The one difference in what is seen, once RFC_NAMES has translated the words: a socket that reaches TIME-WAIT is
#: replaced by a smaller object, for which there is no tracepoint, and itself shown as closed.
KERNEL_SHOWS = {State.TIME_WAIT: State.CLOSED}

#: A filter that passes nothing but simultaneous opens: SYN_SENT (2) to SYN_RECV (3). With it the whole machine
#: can be watched for self-connects: the kernel drops every other event itself.
SIMULTANEOUS_OPEN = "oldstate == 2 && newstate == 3"

#: Every step but what SYN_SENT leads to: that is SIMULTANEOUS_OPEN, or of no interest (refused, or an ordinary open).
_NOT_FROM_SYN_SENT = "oldstate != 2"

_SYS, _STAT = Path("/sys"), Path("/proc/stat")
_MOUNTED = _SYS / "kernel/tracing"
_EVENT = "events/sock/inet_sock_set_state"

_libc = ctypes.CDLL(None, use_errno=True)

# System calls that the C library does not wrap; the first one's number is the architecture's.
_PERF_EVENT_OPEN = {"x86_64": 298, "aarch64": 241, "riscv64": 241, "loongarch64": 241, "s390x": 331} | {
    "i686": 336,
    "armv7l": 364,
    "ppc64le": 319,
    "ppc64": 319,
}
_FSOPEN, _FSCONFIG, _FSMOUNT, _CLOEXEC, _CMD_CREATE = 430, 431, 432, 1, 6

# <linux/perf_event.h>
_ATTRIBUTES = struct.Struct("=IIQQQQQIIQQQQIi")  # perf_event_attr up to clockid
_TYPE_TRACEPOINT, _FLAG_FD_CLOEXEC = 2, 1 << 3
_SAMPLE_TID, _SAMPLE_TIME, _SAMPLE_RAW = 1 << 1, 1 << 2, 1 << 10
_DISABLED, _USE_CLOCKID, _WRITE_BACKWARD = 0, 25, 27  # of the bit fields, which begin at the other end on big-endian
_ENABLE, _SET_FILTER = 0x2400, 0x40082406
_LOCKED = "memory for event rings"  # what mmap(2) of a perf event takes, of RLIMIT_MEMLOCK
_PARANOID = 2  # the highest kernel.perf_event_paranoid of the kernel's own; Debian's patch has 3
_RECORD = struct.Struct("=IHH")  # type, misc, size of the whole record
_RECORD_SAMPLE = 9
_SAMPLE = struct.Struct("=IIQI")  # process, thread, time, size of the event's data
_DATA_HEAD, _DATA_TAIL = 1024 // 8, 1032 // 8  # in 64-bit words from the start of the mapping
_PAGES = 32  # of data in a ring; pages of 4 KiB hold about 1,200 events
_NEAR = 1 << 16  # octets of a flight recorder that are looked through at least
_MANY = 4  # sockets that are looked for one by one
_OPEN = 1000  # sockets that are followed to their end, where that takes the flight recorder
_FLIGHT_PAGES = 2048  # in all flight recorders together, as far as that gives each _PAGES to _FLIGHT_MOST ...
_FLIGHT_MOST = 512  # ... which are the last 20,000 steps of a processor, most of a second of a retry storm

_FIELD = re.compile(r"field:.*?(\w+)(?:\[\d+\])?;\s*offset:(\d+);\s*size:(\d+);")
_STATE = re.compile(r'\{ (\d+), "TCP_(\w+)" \}')
_AF_INET6 = 10
_MAPPED = bytes(10) + b"\xff\xff"  # how an IPv6 socket writes an IPv4 address (RFC 4291 2.5.5.2)


@dataclass(frozen=True, slots=True)
class StateChange:
    """A socket went from one state to another, as the kernel reports it.

    ``time`` is in nanoseconds since the epoch, as a segment's. ``socket`` is a number for each socket; the kernel may
    reuse a socket for a later connection. ``process`` is the one that was running: for CLOSED -> SYN-SENT the one that
    called connect(); for a change that an arriving segment caused any process, or 0. ``source`` is the socket's own
    end; its port is 0 as long as none is chosen.
    """

    time: int
    socket: int
    process: int
    source: Endpoint
    destination: Endpoint
    old: State
    new: State


class StateTrace:
    """The state changes of TCP sockets from now on; a context manager.

    *wanted* is an expression in the kernel's filter language (Documentation/trace/events.rst) over the event's
    fields; the empty one means every socket of the machine. *around* is another such expression. The kernel keeps
    its events in a flight recorder (the newest event overwrites the oldest, and reading costs nothing until it is
    needed). When *wanted* shows a socket, the steps of that socket which *wanted* cannot describe (CLOSED to SYN-SENT,
    when the port is not chosen yet) are taken from there.

    Raises CannotCapture without privilege, or where the kernel has no such tracepoint.
    """

    def __init__(self, wanted: str = "", *, around: str = "") -> None:
        with ExitStack() as opened:
            try:
                with tracefs() as tracing, _part("tracepoint sock:inet_sock_set_state"):
                    event = int((tracing / _EVENT / "id").read_text())
                    description = (tracing / _EVENT / "format").read_text()
                cpus = _processors()
                self._rings = [_Ring(opened, event, cpu, wanted) for cpu in cpus]
                pages = _power_of_two(min(max(_FLIGHT_PAGES // len(cpus), _PAGES), _FLIGHT_MOST))
                self._flight = [_Ring(opened, event, cpu, around, flight=pages) for cpu in cpus if around]
            except OSError as error:
                raise CannotCapture(_reason(error)) from error
            self._fields = {name: slice(int(at), int(at) + int(size)) for name, at, size in _FIELD.findall(description)}
            self._states = {
                int(number): RFC_NAMES[name] for number, name in _STATE.findall(description) if name in RFC_NAMES
            }
            # The kernel's address of a socket -> our number for it: addresses are not for showing.
            self._sockets: dict[bytes, int] = {}
            self._numbers = count(1)
            self._last: dict[int, StateChange] = {}  # the last change of each socket that is still open
            self._opened = opened.pop_all()

    @classmethod
    def to_itself(cls, port: int) -> Self:
        """Every step of the sockets that connect from *port* to the same port."""
        return cls(f"sport == {port} && dport == {port}", around=f"newstate == 2 && sport == 0 && dport == {port}")

    @classmethod
    def simultaneous(cls) -> Self:
        """Every step of the sockets whose open is simultaneous, whatever their ports: as far back as memory goes."""
        return cls(SIMULTANEOUS_OPEN, around=_NOT_FROM_SYN_SENT)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Stop reading: the kernel ends the trace."""
        self._opened.close()

    @property
    def lost(self) -> int:
        """How many wanted events the kernel dropped up to the last read(), because a ring was full."""
        return sum(ring.lost for ring in self._rings)

    def read(self, *, whole: bool = False, of: Collection[int] | None = None) -> list[StateChange]:
        """Return the changes since the last call, in order of time. Never waits.

        *whole*: also those of the flight recorder, of sockets that earlier calls returned and that are still open;
        *of* these alone, by their numbers (None: of all, which takes a millisecond or two for each).
        """
        changes = self._changes(self._rings)
        if self._flight:
            before = [one for one in self._last if of is None or one in of] if whole else []
            shown = {one: [self._last[one]] for one in before}
            for change in changes:
                shown.setdefault(change.socket, []).append(change)
            if shown:
                changes = list(self._around(shown, far=bool(before)))
            for change in changes:
                self._last[change.socket] = change
                if change.new is State.CLOSED or len(self._last) > _OPEN:
                    self._last.pop(change.socket if change.new is State.CLOSED else next(iter(self._last)), None)
            if len(self._sockets) > 2 * _OPEN:
                self._sockets = {address: one for address, one in self._sockets.items() if one in self._last}
        # One event is of one time as long as that is the kernel's own: the difference to ours is measured each time.
        epoch = _epoch() if changes else 0
        return [replace(change, time=epoch + change.time) for change in sorted(changes, key=_time)]

    def _around(self, shown: dict[int, list[StateChange]], *, far: bool) -> Iterator[StateChange]:
        """Add to the changes *shown* those of the same sockets in the flight recorder that no call has returned.

        Those come just before what is shown, so only what is new is looked through, unless they may lie *far* back.
        """
        address = self._fields["skaddr"]
        addresses = {number: address for address, number in self._sockets.items() if number in shown}
        recorded = [_Recorded(ring.snapshot(far=far), address, many=len(shown) > _MANY) for ring in self._flight]
        for number, changes in shown.items():
            last = self._last.get(number)
            steps = {*changes, *([last] if last else [])}
            known = {id(change) for change in changes}  # of equal ones the first stays in the set
            first, newest = min(change.time for change in steps), max(change.time for change in steps)
            end = sys.maxsize
            for one in recorded:
                for sample in one.of(addresses[number]):
                    begins = self._states[self._number(sample, "oldstate")] is State.CLOSED
                    if begins and sample.time > newest:
                        end = min(end, sample.time)  # by then it was another's; a retry storm has thousands of those
                        continue
                    steps.add(self._change(sample))
                    if begins and sample.time <= first:
                        break  # what is older is of another life
            for life in _lives({change for change in steps if change.old is not change.new and change.time < end}):
                if last in life:
                    yield from life[life.index(last) + 1 :]
                elif any(id(change) in known for change in life):
                    yield from life

    def _changes(self, rings: list[_Ring]) -> list[StateChange]:
        changes = (self._change(sample) for ring in rings for sample in ring.read())
        return [change for change in changes if change.old is not change.new]

    def _change(self, sample: _Sample) -> StateChange:
        data = sample.data

        def endpoint(address: str, port: str) -> Endpoint:
            if self._number(sample, "family") != _AF_INET6:
                return Endpoint(data[self._fields[address]], self._number(sample, port))
            return Endpoint(data[self._fields[address + "_v6"]].removeprefix(_MAPPED), self._number(sample, port))

        return StateChange(
            time=sample.time,
            socket=self._socket(data[self._fields["skaddr"]]),
            process=sample.process,
            source=endpoint("saddr", "sport"),
            destination=endpoint("daddr", "dport"),
            old=self._states[self._number(sample, "oldstate")],
            new=self._states[self._number(sample, "newstate")],
        )

    def _socket(self, address: bytes) -> int:
        number = self._sockets.get(address)
        if number is None:
            number = self._sockets[address] = next(self._numbers)
        return number

    def _number(self, sample: _Sample, field: str) -> int:
        return int.from_bytes(sample.data[self._fields[field]], sys.byteorder)


def _lives(changes: set[StateChange]) -> Iterator[list[StateChange]]:
    """Split the changes of one number into those of one socket each: the kernel reuses the memory of a closed one."""
    life: list[StateChange] = []
    for change in sorted(changes, key=_time):
        if life and (change.old is State.CLOSED or life[-1].new is State.CLOSED):
            yield life
            life = []
        life.append(change)
    if life:
        yield life


class _Sample(NamedTuple):
    process: int
    time: int  # CLOCK_MONOTONIC, nanoseconds
    data: bytes


class _Ring:
    """The event on one processor, and the memory in which the kernel leaves what it saw there (perf_event_open(2))."""

    def __init__(self, opened: ExitStack, event: int, cpu: int, expression: str, *, flight: int = 0) -> None:
        self._size = (flight or _PAGES) * mmap.PAGESIZE
        # Every event is a sample (period 1). The kernel refuses CLOCK_REALTIME here.
        attributes = bytearray(_ATTRIBUTES.size)
        flags = _bit(_DISABLED) | _bit(_USE_CLOCKID) | (_bit(_WRITE_BACKWARD) if flight else 0)
        _ATTRIBUTES.pack_into(
            *(attributes, 0, _TYPE_TRACEPOINT, _ATTRIBUTES.size, event),
            *(1, _SAMPLE_TID | _SAMPLE_TIME | _SAMPLE_RAW, 0, flags, 0, 0, 0, 0, 0, 0, 0, time.CLOCK_MONOTONIC),
        )
        pointer = (ctypes.c_char * len(attributes)).from_buffer(attributes)
        with _part("perf_event_open"):
            self._fd = _call(_perf_event_open(), pointer, -1, cpu, -1, _FLAG_FD_CLOEXEC)
        opened.callback(os.close, self._fd)
        # Where the reader may not write how far it came, the kernel writes the newest over the oldest.
        access = mmap.PROT_READ if flight else mmap.PROT_READ | mmap.PROT_WRITE
        with _part(_LOCKED):
            self._memory = opened.enter_context(mmap.mmap(self._fd, mmap.PAGESIZE + self._size, prot=access))
        self._words = opened.enter_context(memoryview(self._memory).cast("Q"))
        self._taken = self.lost = 0
        self._copied = (1 << 64) + self._size, (1 << 64) + self._size  # where the last two copies began
        full = f"protocol == 6 && ({expression})" if expression else "protocol == 6"
        fcntl.ioctl(self._fd, _SET_FILTER, full.encode() + b"\0")
        fcntl.ioctl(self._fd, _ENABLE)

    def read(self) -> list[_Sample]:
        """Take out the new events."""
        if self._words[_DATA_HEAD] == self._words[_DATA_TAIL]:  # none: the other processors are not asked
            return []
        happened = int.from_bytes(os.read(self._fd, 8), sys.byteorder)
        head, tail = self._words[_DATA_HEAD], self._words[_DATA_TAIL]
        data, at, samples = self._data(tail, head - tail), 0, []
        while at + _RECORD.size <= len(data) and (size := _RECORD.unpack_from(data, at)[2]):
            samples += _sample(data, at)
            at += size
        self._words[_DATA_TAIL] = head
        self._taken += len(samples)
        # What came between the two looks is among those taken and not among those that happened: so never too many.
        self.lost = max(self.lost, happened - self._taken)
        return samples

    def snapshot(self, *, far: bool) -> bytes:
        """Copy what a flight recorder holds, the newest event first; if not *far*, what the last copy but one had not.

        What happened while the last one was made lies on both sides of its end. The kernel is not held up meanwhile:
        it would throw away what happens.
        """
        head = self._words[_DATA_HEAD]  # the kernel counts backwards, and writes before it what comes meanwhile
        length = self._size if far else min(self._size, max(_NEAR, self._copied[0] - head))
        data = self._data(head, length)
        # It has overwritten the oldest, and may be about to go on with that.
        data = data[: max(0, self._size - mmap.PAGESIZE - (head - self._words[_DATA_HEAD]) % (1 << 64))]
        self._copied = self._copied[1], head + (0 if head else 1 << 64)
        return data

    def _data(self, start: int, length: int) -> bytes:
        """Copy *length* bytes from *start* on: the ring goes round."""
        at = start % self._size
        beyond = max(0, at + length - self._size)
        with memoryview(self._memory)[mmap.PAGESIZE :] as ring:
            return b"".join((ring[at : at + length], ring[:beyond]))


class _Recorded:
    """A copy of a flight recorder, in which the events of sockets are looked for: of one, or of *many*."""

    def __init__(self, data: bytes, address: slice, *, many: bool) -> None:
        self._data, self._at = data, _RECORD.size + _SAMPLE.size + address.start
        self._index: dict[bytes, list[int]] | None = None
        if many and data:
            # All of them are of one event, so of one size: one pass is for all sockets.
            self._index = {}
            octets = address.stop - address.start
            size = max(_RECORD.unpack_from(data)[2], self._at + octets)
            record = struct.Struct(f"={self._at}x{octets}s{size - self._at - octets}x")
            for place, (where,) in enumerate(record.iter_unpack(data[: len(data) // size * size])):
                self._index.setdefault(where, []).append(place * size)

    def of(self, address: bytes) -> Iterator[_Sample]:
        """Find the events of the socket at this *address* of the kernel's, the newest first."""
        for place in self._places(address) if self._index is None else self._index.get(address, ()):
            yield from _sample(self._data, place)

    def _places(self, address: bytes) -> Iterator[int]:
        found = self._data.find(address)
        while found >= 0:
            yield found - self._at
            found = self._data.find(address, found + 1)


def _sample(data: bytes, at: int) -> list[_Sample]:
    """Unpack the event whose record begins *at*; nothing where none does, or not a whole one."""
    if at < 0 or at % 8 or at + _RECORD.size + _SAMPLE.size > len(data):
        return []
    kind, _, size = _RECORD.unpack_from(data, at)
    process, _, when, octets = _SAMPLE.unpack_from(data, at + _RECORD.size)
    end = _RECORD.size + _SAMPLE.size + octets
    if kind != _RECORD_SAMPLE or not end <= size < end + 8 or at + size > len(data):
        return []
    return [_Sample(process, when, data[at + _RECORD.size + _SAMPLE.size : at + end])]


@contextmanager
def tracefs() -> Iterator[Path]:
    """Give the kernel's tracing files for a moment: a tracefs mounted nowhere, so nobody sees it.

    Without CAP_SYS_ADMIN they are those that are mounted already, if they may be read. Raises OSError.
    """
    try:
        with _part("tracefs"):
            context = _call(_FSOPEN, b"tracefs", _CLOEXEC)
    except OSError as error:
        if error.errno not in (errno.EPERM, errno.ENOSYS) or not _readable(_MOUNTED / _EVENT / "id"):
            raise
        yield _MOUNTED
        return
    try:
        _call(_FSCONFIG, context, _CMD_CREATE, None, None, 0)
        root = _call(_FSMOUNT, context, _CLOEXEC, 0)
    finally:
        os.close(context)
    try:
        yield Path(f"/proc/self/fd/{root}")
    finally:
        os.close(root)


@contextmanager
def _part(name: str) -> Iterator[None]:
    """Have an OSError say which part of the kernel it is from: its file name."""
    try:
        yield
    except OSError as error:
        error.filename = name
        raise


def _reason(error: OSError) -> str:
    """Say to the user why the kernel does not tell its socket states, and what helps."""
    part = error.filename
    if error.errno in (errno.ENOSYS, errno.ENODEV, errno.ENOENT):  # for the tracepoint and tracefs; no perf events
        helps = f" but where it is mounted (before Linux 5.2): mount -t tracefs tracefs {_MOUNTED}"
        return f"this kernel has no {part}{helps if error.errno == errno.ENOSYS and part == 'tracefs' else ''}"
    if error.errno not in (errno.EPERM, errno.EACCES):
        return f"the kernel refused {part} ({error.strerror})"
    if part == _LOCKED:
        return "its event rings are locked memory: CAP_IPC_LOCK helps, or a higher limit (ulimit -l, LimitMEMLOCK=)"
    if part != "perf_event_open":
        takes = f"may neither mount the kernel's tracing files (CAP_SYS_ADMIN) nor read those in {_MOUNTED}"
        return f"this process {takes}; root of the host can, unless the kernel is locked down"
    if (paranoid := _paranoid()) > _PARANOID:
        return (
            f"with kernel.perf_event_paranoid={paranoid}, as Debian has it, reading socket states takes CAP_SYS_ADMIN, "
            f"and CAP_PERFMON is not enough (it is with kernel.perf_event_paranoid={_PARANOID})"
        )
    return "reading socket states takes CAP_PERFMON; root of the host has it, unless the kernel is locked down"


def _paranoid() -> int:
    try:
        return int(Path("/proc/sys/kernel/perf_event_paranoid").read_text(encoding="ascii"))
    except (OSError, ValueError):
        return 0


def _bit(number: int) -> int:
    """A bit field of one bit, as the compiler lays it out in 64 bits."""
    return 1 << (number if sys.byteorder == "little" else 63 - number)


def _readable(path: Path) -> bool:
    """Whether the file may be read. access(2) would not count the capabilities of a user who is not root."""
    try:
        path.read_bytes()
    except OSError:
        return False
    return True


def _power_of_two(number: int) -> int:
    """The largest power of two that is not above *number*: what perf_event_open(2) wants for a ring's pages."""
    return 1 << number.bit_length() - 1


def _processors() -> list[int]:
    """List the processors in use; from /proc/stat where /sys is not mounted, as in a bare root file system."""
    try:
        return sorted(parsed((_SYS / "devices/system/cpu/online").read_text(encoding="ascii").strip()))
    except FileNotFoundError:
        return [int(number) for number in re.findall(r"^cpu(\d+)", _STAT.read_text(encoding="ascii"), re.MULTILINE)]


def _perf_event_open() -> int:
    number = _PERF_EVENT_OPEN.get(os.uname().machine)
    if number is None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    return number


def _call(number: int, *arguments: object) -> int:
    """Do a system call by its number."""
    words = [ctypes.c_long(argument) if isinstance(argument, int) else argument for argument in arguments]
    answer: int = _libc.syscall(ctypes.c_long(number), *words)
    if answer < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return answer


def _epoch() -> int:
    """Measure what turns CLOCK_MONOTONIC into time since the epoch: the most exact of five tries."""

    def measure() -> tuple[int, int]:
        before, now, after = time.monotonic_ns(), time.time_ns(), time.monotonic_ns()
        return after - before, now - (before + after) // 2

    return min(measure() for _ in range(5))[1]


def _time(change: StateChange) -> int:
    return change.time
