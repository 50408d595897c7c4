"""Octets out of files, pipes and compressed files, in blocks, with little memory."""

# ruff: noqa: PLC0415 -- few captures are compressed: what unpacks them is imported for those

from __future__ import annotations

import os
import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager, suppress
from functools import cache
from itertools import chain, islice

from ..errors import NotACapture, get
from ..memory import mapping
from ..model import Octets

TYPE_CHECKING = False
if TYPE_CHECKING:
    import zlib
    from queue import SimpleQueue
    from types import ModuleType
    from typing import Protocol

    class _Decompressor(Protocol):
        """What bz2, lzma, compression.zstd and lz4.frame have in common."""

        @property
        def eof(self) -> bool: ...
        @property
        def needs_input(self) -> bool: ...
        @property
        def unused_data(self) -> bytes: ...
        def decompress(self, data: bytes, max_length: int) -> bytes: ...

    #: What members unpack to, in order; None in place of the first that is not as it says, and the last one then.
    _Unpacked = list[bytes | None]
    #: Members, and where to put what they unpack to.
    _Task = tuple[list[bytes], SimpleQueue[_Unpacked]]


#: How many octets are unpacked at a time, at most.
BLOCK = 1 << 20

#: Octets fed to a decompressor at a time.
PORTION = 1 << 16

#: The same for decompressors that cannot be copied beforehand: damage costs all that is unpacked with it.
STEP = 1 << 16

#: Octets read at a time: together with what the engine looks up they fit the caches of a processor.
READ = 1 << 20

#: Octets of a gzip member that states its size, as bgzip's do, at most: packed, and unpacked (SAM specification, 4.1).
MEMBER = 1 << 16

#: Members that are unpacked in one go.
GROUP = 8

#: Octets of members after which threads begin to unpack: less is unpacked before they would be there.
ALONE = 1 << 20

#: Processors that unpack at one time, at most: what more of them unpack waits for the analysis.
MOST = 16

#: Compressed input that unpacks to more than this many octets, and more than RATIO times its own size, is a bomb.
FREE = 32 << 20
RATIO = 200


class Cut(Exception):  # noqa: N818 - it names what happened
    """The input ends or breaks before its end; the text says how. What was read before it is good."""


#: What unpacks gzip: the first that is installed. Both have the same names; zlib-ng takes six tenths of the time.
_ZLIBS = ("zlib_ng.zlib_ng", "zlib")


@cache
def _zlib() -> ModuleType:
    from importlib import import_module

    with suppress(ImportError):
        return import_module(_ZLIBS[0])
    return import_module(_ZLIBS[1])


class _Gzip:
    """zlib's decompressor with the interface of bz2's."""

    def __init__(self, inner: zlib._Decompress | None = None, rest: bytes = b"") -> None:
        self._inner: zlib._Decompress = inner or _zlib().decompressobj(wbits=31)
        self.rest = rest  # fed, and not unpacked yet

    def copy(self) -> _Gzip:
        """Return a copy in the same state (40 KB)."""
        return _Gzip(self._inner.copy(), self.rest)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    @property
    def needs_input(self) -> bool:
        return not self.rest and not self._inner.eof

    def decompress(self, data: bytes, max_length: int) -> bytes:
        out = self._inner.decompress(self.rest + data, max_length)
        self.rest = self._inner.unconsumed_tail
        return out


#: First octets -> what it is, modules that unpack it (the first found is taken), the class in it, a tool to pipe to.
_PACKED: dict[bytes, tuple[str, tuple[str, ...], str, str]] = {
    b"\x1f\x8b": ("gzip", (__name__,), "_Gzip", "gzip -dc"),
    b"\xfd7zXZ\0": ("xz", ("lzma",), "LZMADecompressor", "xz -dc"),
    b"BZh": ("bzip2", ("bz2",), "BZ2Decompressor", "bzip2 -dc"),
    b"\x28\xb5\x2f\xfd": ("zstd", ("compression.zstd", "backports.zstd"), "ZstdDecompressor", "zstd -dc"),
    b"\x04\x22\x4d\x18": ("lz4", ("lz4.frame",), "LZ4FrameDecompressor", "lz4 -dc"),
}

#: How many octets tell the kind of compression; how many the head of a skippable frame (zstd, lz4) has: magic, size;
#: how many the header of a gzip member has up to the length of its extra fields, if it has any.
_MAGIC, _SKIPPABLE, _HEADER = 6, 8, 12


def _maker(name: str, kind: str, modules: tuple[str, ...], attribute: str, tool: str) -> Callable[[], _Decompressor]:
    """Return what makes a decompressor; raises NotACapture, which says what to install, where no module is."""
    import importlib

    for module in modules:
        try:
            found: Callable[[], _Decompressor] = getattr(importlib.import_module(module), attribute)
        except ImportError:
            continue
        return found
    package = {"zstd": "backports.zstd", "lz4": "lz4"}.get(kind)  # the others are Python's own
    raise NotACapture(
        f"{name} is compressed with {kind}, which this Python cannot unpack: "
        f"{f'{get(package)}, or ' if package else ''}{tool} FILE | selfconn-analyze -"
    )


def kind_of(path: str) -> str | None:
    """Return how the file at *path* is compressed; None where it is not, or cannot be read."""
    with suppress(OSError), open(path, "rb") as file:  # noqa: PTH123 - pathlib takes longer to import
        head = file.read(_MAGIC)
        if _skippable(head):
            return "zstd or lz4"
        return next((kind for magic, (kind, *_) in _PACKED.items() if head.startswith(magic)), None)
    return None


def unpacked(name: str, blocks: Iterator[Octets], jobs: int = 0) -> Generator[Octets, None, None]:
    """Yield the blocks as they are, or unpacked where their first octets are those of a compressed file.

    Members of a gzip file that state their size are unpacked on *jobs* processors, for which some MB of *blocks* are
    read ahead. With 0 *jobs* nothing is: what has come does not wait for what is to come. Close it to end the threads.

    Raises Cut where compressed input ends early, is damaged or is a bomb, NotACapture where it cannot be unpacked.
    """
    head = b""
    for block in blocks:  # a pipe may deliver octet by octet
        head += block
        if len(head) >= _MAGIC:
            break
    if head.startswith(tuple(_PACKED)) or _skippable(head):
        yield from _unpack(name, _Packed(head, blocks), jobs)
        return
    if head:
        yield head
    yield from blocks


class _Packed:
    """Compressed input, in portions or in members that state their size."""

    def __init__(self, head: bytes, blocks: Iterator[Octets]) -> None:
        self.octets = 0  # taken or passed over so far
        self._held, self._at = b"", 0  # a block, and what is next in it
        self._blocks = filter(None, map(bytes, chain((head,), blocks)))
        self._failure: OSError | None = None  # it ended the blocks
        self._lent: deque[bytes] = deque()  # members of which it is not clear yet whether they are as they say

    def more(self) -> bytes:
        """Return the next portion, a small one: of one with damage in it a decompressor returns nothing.

        Nothing at the end.
        """
        if self._at == len(self._held):
            self._held, self._at = self._next(), 0
        portion = self._held[self._at : self._at + PORTION]
        self._at += len(portion)
        self.octets += len(portion)
        return portion

    def put_back(self, octets: int) -> None:
        """Let the last octets of a portion come once more."""
        self.octets -= octets
        self._at -= octets

    def ahead(self, octets: int) -> bytes:
        """Return the next octets without taking them; fewer at the end."""
        self._fill(octets)
        return self._held[self._at : self._at + octets]

    def passed(self, octets: int) -> bool:
        """Pass over so many octets; return whether there were so many."""
        while (here := len(self._held) - self._at) < octets:
            octets -= here
            self.octets += here
            self._held, self._at = self._next(), 0
            if not self._held:
                return False
        self._at += octets
        self.octets += octets
        return True

    def pass_zeros(self) -> None:
        """Pass over all octets that are zero."""
        while portion := self.more():
            if rest := portion.lstrip(b"\0"):
                self.put_back(len(rest))
                return

    def members(self) -> Iterator[list[bytes]]:
        """Lend the gzip members that follow, in groups, as far as they state their size and are there as a whole.

        take() each that is as it says, or give_back() all from it on.
        """
        while group := list(islice(iter(self._member, b""), GROUP)):
            self._lent += group
            yield group

    def take(self) -> None:
        """Take the next of the members that are lent."""
        self.octets += len(self._lent.popleft())

    def give_back(self) -> None:
        """Let all members that are lent come once more, in portions."""
        self._held, self._at = b"".join((*self._lent, self._held[self._at :])), 0
        self._lent.clear()

    def _member(self) -> bytes:
        """Return the next member; nothing where it does not state its size, or is not there as a whole."""
        try:
            self._fill(_MAGIC)
            if not _has_extra_fields(self._held[self._at : self._at + _MAGIC]):
                return b""
            self._fill(MEMBER)
        except OSError as error:  # what came before it has its turn first
            self._failure = error
        start = self._at
        size = _stated_size(self._held, start)
        if size > len(self._held) - start:
            return b""
        self._at += size
        return self._held[start : self._at]

    def _fill(self, octets: int) -> None:
        """Hold so many octets, or all that are left."""
        missing = octets - (len(self._held) - self._at)
        if missing <= 0:
            return
        pieces = [self._held[self._at :]]
        try:
            while missing > 0 and (more := self._next()):
                pieces.append(more)
                missing -= len(more)
        finally:
            self._held, self._at = b"".join(pieces), 0

    def _next(self) -> bytes:
        """Return the next block; nothing at the end. Raises OSError."""
        if self._failure:
            raise self._failure
        return next(self._blocks, b"")


def _has_extra_fields(head: bytes) -> bool:
    """Whether the header of a gzip member begins there that has extra fields (RFC 1952, 2.3.1: FEXTRA)."""
    return head.startswith(b"\x1f\x8b\x08") and len(head) == _MAGIC and bool(head[3] & 4)


def _stated_size(octets: bytes, start: int) -> int:
    """Return how many octets the gzip member with extra fields has that begins there, if it says so; else 0.

    It does in the field "BC" (RFC 1952, 2.3.1.1; SAM specification, 4.1).
    """
    at = start + _HEADER
    end = at + int.from_bytes(octets[at - 2 : at], "little")
    while at + 6 <= end:
        if octets[at : at + 4] == b"BC\2\0":
            return int.from_bytes(octets[at + 4 : at + 6], "little") + 1
        at += 4 + int.from_bytes(octets[at + 2 : at + 4], "little")
    return 0


def _skippable(head: bytes) -> bool:
    """Whether a frame begins there that zstd and lz4 pass over (RFC 8878, 3.1.2)."""
    return head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50


def _unpack(name: str, packed: _Packed, jobs: int) -> Iterator[bytes]:
    """Unpack a file, stream after stream; between them there may be padding and skippable frames."""
    total = 0
    while head := packed.ahead(_MAGIC):
        if not head[0]:
            packed.pass_zeros()
        elif _skippable(head):
            head = packed.ahead(_SKIPPABLE)
            if not packed.passed(_SKIPPABLE + int.from_bytes(head[4:], "little")):
                raise Cut("a skippable frame is cut short")
        elif magic := next((magic for magic in _PACKED if head.startswith(magic)), None):
            before = packed.octets
            if jobs:
                total, jobs = yield from _members(packed, jobs, total)
            if packed.octets == before:
                total = yield from _stream(name, *_PACKED[magic], packed, total)
        else:
            raise Cut("after a compressed stream come octets that are neither another stream nor padding")


def _grown(total: int, out: bytes, packed: _Packed) -> int:
    """Return how many octets came out, *out* among them; raises Cut where they are too many for what was *packed*."""
    total += len(out)
    if total > FREE and total > RATIO * packed.octets:
        raise Cut(f"unpacks to more than {RATIO} times its size so far: stopped after {total} octets")
    return total


def _members(packed: _Packed, jobs: int, total: int) -> Generator[bytes, None, tuple[int, int]]:
    """Yield what members that state their size unpack to, on *jobs* processors and after *total* octets.

    Return the new total, and how many processors are to unpack what follows them. None is, once a member was not as it
    says: _stream() gives as much of it as there is, and of all after it. No program writes such a file, and who makes
    one might have us read ahead in vain, again and again.
    """
    with closing(_in_order(packed.members(), min(jobs, MOST))) as groups:
        for out in chain.from_iterable(groups):
            if out is None:
                packed.give_back()
                return total, 0
            packed.take()
            total = _grown(total, out, packed)
            if out:
                yield out
    return total, jobs


def _in_order(groups: Iterator[list[bytes]], jobs: int) -> Generator[_Unpacked, None, None]:
    """Yield what the members of each group unpack to, on *jobs* processors."""
    octets = 0
    for group in groups:
        yield _whole(group)
        octets += sum(map(len, group))
        if jobs > 1 and octets > ALONE:
            yield from _side_by_side(groups, jobs)


def _side_by_side(groups: Iterator[list[bytes]], jobs: int) -> Generator[_Unpacked, None, None]:
    """Yield what the members of each group unpack to; *jobs* threads unpack groups ahead, and this is one of them."""
    from queue import Empty, SimpleQueue

    ahead: deque[SimpleQueue[_Unpacked]] = deque()
    with _crew(jobs - 1) as tasks:
        while True:
            for group in islice(groups, 2 * jobs - len(ahead)):
                ahead.append(SimpleQueue())
                tasks.put((group, ahead[-1]))
            if not ahead:
                return
            first = ahead.popleft()
            with suppress(Empty):
                while first.empty():
                    _do(tasks.get_nowait())
            yield first.get()


@contextmanager
def _crew(size: int) -> Iterator[SimpleQueue[_Task]]:
    """Yield a queue of groups that so many threads unpack; fewer where no more are to be had."""
    from queue import Empty, SimpleQueue
    from threading import Thread

    tasks: SimpleQueue[_Task] = SimpleQueue()
    over: _Task = ([], SimpleQueue())

    def work() -> None:
        for task in iter(tasks.get, over):
            _do(task)

    crew = [Thread(target=work, daemon=True) for _ in range(size)]
    try:
        with suppress(RuntimeError):
            for thread in crew:
                thread.start()
        yield tasks
    finally:
        with suppress(Empty):
            while True:
                tasks.get_nowait()
        for _ in crew:
            tasks.put(over)
        for thread in crew:
            if thread.ident is not None:
                thread.join()


def _do(task: _Task) -> None:
    group, found = task
    found.put(_whole(group))


def _whole(members: list[bytes]) -> _Unpacked:
    """Return what these members unpack to, as far as each is as it says, to its last octet."""
    found: _Unpacked = []
    for member in members:
        try:
            inner = _zlib().decompressobj(wbits=31)
            out = inner.decompress(member, MEMBER + 1)
        except Exception:  # noqa: BLE001 - whatever it is, _stream() comes upon it as well, and says it
            return [*found, None]
        if len(out) > MEMBER or not inner.eof or inner.unused_data:
            return [*found, None]
        found.append(out)
    return found


def _stream(  # noqa: PLR0913, PLR0917 - a row of _PACKED, and where it is
    name: str, kind: str, modules: tuple[str, ...], attribute: str, tool: str, packed: _Packed, total: int
) -> Generator[bytes, None, int]:
    """Yield what one stream unpacks to, after *total* octets; return the new total."""
    make = _maker(name, kind, modules, attribute, tool)
    decompressor, data, first = make(), packed.more(), True
    while not decompressor.eof:
        before = decompressor.copy() if isinstance(decompressor, _Gzip) else None
        try:
            out = decompressor.decompress(data, BLOCK if before or first else STEP)
        except _errors() as error:
            # To make one takes longer than to read a short stream, and a file may have very many of these.
            yield from _up_to_damage(before or (make() if first else None), data)
            raise Cut(f"the {kind} stream is damaged ({error})") from error
        data, first = b"", False
        if out:
            total = _grown(total, out, packed)
            yield out
        if decompressor.needs_input and not decompressor.eof:
            data = packed.more()
            if not data:
                raise Cut(f"the {kind} stream is cut short")
    packed.put_back(len(decompressor.unused_data or b""))  # lz4 says None
    return total


def _up_to_damage(decompressor: _Decompressor | None, data: bytes) -> Iterator[bytes]:
    """Yield what *data* unpacks to before its damage; *decompressor* is in the state before *data*, or None."""
    if decompressor is None:
        return
    if isinstance(decompressor, _Gzip):  # a few octets can unpack to very many: first as much as comes out whole
        size = BLOCK
        while (size := size // 2) >= 4096:
            again = decompressor.copy()
            with suppress(*_errors()):
                yield again.decompress(data, size)
                decompressor, data = again, b""
        data, decompressor.rest = decompressor.rest + data, b""
    with suppress(*_errors()):
        for place in range(len(data)):
            yield decompressor.decompress(data[place : place + 1], BLOCK)
            while not decompressor.needs_input and not decompressor.eof:
                yield decompressor.decompress(b"", BLOCK)
            if decompressor.eof:
                break


def _errors() -> tuple[type[Exception], ...]:
    """What decompressors raise: Python's own errors, and theirs as far as they are loaded."""
    classes = (
        *((module, "error") for module in _ZLIBS),
        ("lzma", "LZMAError"),
        ("compression.zstd", "ZstdError"),
        ("backports.zstd", "ZstdError"),
    )
    theirs = (getattr(sys.modules[module], name) for module, name in classes if module in sys.modules)
    return (OSError, EOFError, ValueError, RuntimeError, *theirs)


def read(fd: int, size: int) -> Generator[memoryview, None, None]:
    """Yield the octets of an open file from its current position, in blocks that are valid until the next one.

    *size* in octets. Raises OSError. For pipes and the like see live.arriving().

    The memory is small enough to stay in the processor's cache: with small frames a mapped file, whose pages have to be
    faulted in, is no faster. And a file that shrinks meanwhile only ends early.
    """
    buffer = memoryview(mapping(min(READ, size + 1)))
    while got := os.readv(fd, [buffer]):
        yield buffer[:got]
