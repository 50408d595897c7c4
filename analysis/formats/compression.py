"""Octets out of files, pipes and compressed files, in blocks, with little memory."""

# ruff: noqa: PLC0415 -- few captures are compressed: what unpacks them is imported for those

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import suppress
from functools import cache
from itertools import chain

from ..errors import NotACapture, get
from ..memory import mapping
from ..model import Octets

TYPE_CHECKING = False
if TYPE_CHECKING:
    import zlib
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


#: How many octets are unpacked at a time, at most.
BLOCK = 1 << 20

#: Octets fed to a decompressor at a time.
PORTION = 1 << 16

#: The same for decompressors that cannot be copied beforehand: damage costs all that is unpacked with it.
STEP = 1 << 16

#: Octets read at a time: together with what the engine looks up they fit the caches of a processor.
READ = 1 << 20

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

#: How many octets tell the kind of compression; how many the head of a skippable frame (zstd, lz4) has: magic, size.
_MAGIC, _SKIPPABLE = 6, 8


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


def unpacked(name: str, blocks: Iterator[Octets]) -> Iterator[Octets]:
    """Yield the blocks as they are, or unpacked where their first octets are those of a compressed file.

    Raises Cut where compressed input ends early, is damaged or is a bomb, NotACapture where it cannot be unpacked.
    """
    head = b""
    for block in blocks:  # a pipe may deliver octet by octet
        head += block
        if len(head) >= _MAGIC:
            break
    if head.startswith(tuple(_PACKED)) or _skippable(head):
        yield from _unpack(name, _Packed(head, blocks))
        return
    if head:
        yield head
    yield from blocks


class _Packed:
    """Compressed input in small portions: of a portion with damage in it a decompressor returns nothing."""

    def __init__(self, head: bytes, blocks: Iterator[Octets]) -> None:
        self.octets = 0  # taken or passed over so far
        self._held, self._at = b"", 0  # a portion, and what is next in it
        self._portions = _portions(chain((head,), blocks))

    def more(self) -> bytes:
        """Return the next portion; nothing at the end."""
        portion = self._held[self._at :] or next(self._portions, b"")
        self._held, self._at = b"", 0
        self.octets += len(portion)
        return portion

    def put_back(self, octets: bytes) -> None:
        """Let these octets come once more."""
        self.octets -= len(octets)
        self._held, self._at = octets, 0

    def ahead(self, octets: int) -> bytes:
        """Return the next octets without taking them; fewer at the end."""
        while len(self._held) - self._at < octets and (more := next(self._portions, b"")):
            self._held, self._at = self._held[self._at :] + more, 0
        return self._held[self._at : self._at + octets]

    def passed(self, octets: int) -> bool:
        """Pass over so many octets; return whether there were so many."""
        while (here := len(self._held) - self._at) < octets:
            octets -= here
            self.octets += here
            self._held, self._at = next(self._portions, b""), 0
            if not self._held:
                return False
        self._at += octets
        self.octets += octets
        return True

    def pass_zeros(self) -> None:
        """Pass over all octets that are zero."""
        while portion := self.more():
            if rest := portion.lstrip(b"\0"):
                self.put_back(rest)
                return


def _portions(blocks: Iterable[Octets]) -> Iterator[bytes]:
    for block in blocks:
        view = memoryview(block)
        for start in range(0, len(view), PORTION):
            yield bytes(view[start : start + PORTION])


def _skippable(head: bytes) -> bool:
    """Whether a frame begins there that zstd and lz4 pass over (RFC 8878, 3.1.2)."""
    return head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50


def _unpack(name: str, packed: _Packed) -> Iterator[bytes]:
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
            total = yield from _stream(name, *_PACKED[magic], packed, total)
        else:
            raise Cut("after a compressed stream come octets that are neither another stream nor padding")


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
            total += len(out)
            if total > FREE and total > RATIO * packed.octets:
                raise Cut(f"unpacks to more than {RATIO} times its size so far: stopped after {total} octets")
            yield out
        if decompressor.needs_input and not decompressor.eof:
            data = packed.more()
            if not data:
                raise Cut(f"the {kind} stream is cut short")
    packed.put_back(decompressor.unused_data or b"")  # lz4 says None
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
