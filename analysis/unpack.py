"""Octets out of files, pipes and compressed files, in blocks, with little memory."""

from __future__ import annotations

import fcntl
import importlib
import mmap
import os
import signal
import sys
import zlib
from collections.abc import Callable, Generator, Iterator
from typing import Protocol

from .errors import NotACapture

#: Octets read, and at most unpacked, at a time.
BLOCK = 1 << 20

#: Compressed input that unpacks to more than this many octets, and more than RATIO times its own size, is a bomb.
FREE = 32 << 20
RATIO = 200

#: Octets of a large file that are mapped at a time; a whole number of pages.
WINDOW = 8 << 20

_MADV_POPULATE_READ = 22  # Linux 5.14; Python has no name for it


class Cut(Exception):  # noqa: N818 - it names what happened
    """The input ends or breaks before its end; the text says how. What was read before it is good."""


class _Decompressor(Protocol):
    """What bz2, lzma, compression.zstd and lz4.frame have in common."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Gzip:
    """zlib's decompressor in the manner of bz2's."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    @property
    def needs_input(self) -> bool:
        return not self._inner.unconsumed_tail and not self._inner.eof

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._inner.decompress(self._inner.unconsumed_tail + data, max_length)


#: First octets -> what it is, modules that unpack it (the first found is taken), the class in it, a tool to pipe to.
_PACKED: dict[bytes, tuple[str, tuple[str, ...], str, str]] = {
    b"\x1f\x8b": ("gzip", (__name__,), "_Gzip", "gzip -dc"),
    b"\xfd7zXZ\0": ("xz", ("lzma",), "LZMADecompressor", "xz -dc"),
    b"BZh": ("bzip2", ("bz2",), "BZ2Decompressor", "bzip2 -dc"),
    b"\x28\xb5\x2f\xfd": ("zstd", ("compression.zstd", "backports.zstd"), "ZstdDecompressor", "zstd -dc"),
    b"\x04\x22\x4d\x18": ("lz4", ("lz4.frame",), "LZ4FrameDecompressor", "lz4 -dc"),
}


def _maker(name: str, kind: str, modules: tuple[str, ...], attribute: str, tool: str) -> Callable[[], _Decompressor]:
    """Whatever makes a decompressor; raises NotACapture with a way out where no module of the kind is installed."""
    for module in modules:
        try:
            found: Callable[[], _Decompressor] = getattr(importlib.import_module(module), attribute)
        except ImportError:
            continue
        return found
    raise NotACapture(
        f"{name} is compressed with {kind}, which this Python cannot unpack: "
        f"pip install 'selfconn[compression]', or {tool} FILE | selfconn-analyze -"
    )


def unpacked(name: str, blocks: Iterator[memoryview]) -> Iterator[memoryview | bytes]:
    """The blocks as they are, or what they unpack to; recognised by the first octets.

    Raises Cut where compressed input ends early, is damaged or is a bomb, NotACapture where it cannot be unpacked.
    """
    head = b""
    for block in blocks:  # a pipe may deliver octet by octet
        head += block
        if len(head) >= 6:
            break
    for magic, (kind, modules, attribute, tool) in _PACKED.items():
        if head.startswith(magic):
            yield from _unpack(kind, _maker(name, kind, modules, attribute, tool), head, blocks)
            return
    if head:
        yield head
    yield from blocks


def _unpack(kind: str, make: Callable[[], _Decompressor], data: bytes, blocks: Iterator[memoryview]) -> Iterator[bytes]:
    decompressor = make()
    packed, total = len(data), 0
    while True:
        try:
            out = decompressor.decompress(data, BLOCK)
        except _errors() as error:
            raise Cut(f"the {kind} stream is damaged ({error})") from error
        data = b""
        if out:
            total += len(out)
            if total > FREE and total > RATIO * packed:
                raise Cut(f"unpacks to more than {RATIO} times its size: stopped after {total} octets")
            yield out
        if decompressor.eof:  # another stream may follow; anything else is padding
            data = decompressor.unused_data or bytes(next(blocks, b""))
            if not any(data.startswith(magic) for magic in _PACKED):
                return
            decompressor = make()
        elif decompressor.needs_input:
            data = bytes(next(blocks, b""))
            if not data:
                raise Cut(f"the {kind} stream is cut short")
            packed += len(data)


def _errors() -> tuple[type[Exception], ...]:
    """What decompressors raise: Python's own errors, and theirs as far as they are loaded."""
    classes = (
        ("zlib", "error"),
        ("lzma", "LZMAError"),
        ("compression.zstd", "ZstdError"),
        ("backports.zstd", "ZstdError"),
    )
    theirs = (getattr(sys.modules[module], name) for module, name in classes if module in sys.modules)
    return (OSError, EOFError, ValueError, RuntimeError, *theirs)


def read(fd: int, size: int | None) -> Generator[memoryview, None, None]:
    """The octets of an open file from where it stands, in blocks that stay valid until the next one is asked for.

    *size* in octets, None where it is not known (a pipe is read as it comes). Raises OSError.
    """
    if size is not None and size > 2 * WINDOW and _leased(fd):
        yield from _mapped(fd, size)
    buffer = memoryview(bytearray(min(BLOCK, size + 1) if size else 1 << 16))
    while got := os.readv(fd, [buffer]):
        yield buffer[:got]


def _leased(fd: int) -> bool:
    """Whether the kernel gave a read lease: nobody can shorten the file without asking (fcntl(2), F_SETLEASE)."""
    try:
        # The question comes as SIGURG, which does nothing: _mapped() looks for itself.
        fcntl.fcntl(fd, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError:  # somebody else's file, one open for writing, a file system without leases
        return False
    return True


def _mapped(fd: int, size: int) -> Iterator[memoryview]:
    """The file by windows onto the page cache: nothing is copied, and what nobody looks at is not even touched.

    A mapped file that shrinks ends the process with SIGBUS, hence the lease; where somebody asks for it, or where a
    window cannot be filled, this ends early and leaves the file where read() goes on.
    """
    at = os.lseek(fd, 0, os.SEEK_CUR)
    try:
        while at < size and fcntl.fcntl(fd, fcntl.F_GETLEASE) == fcntl.F_RDLCK:
            start = at - at % mmap.ALLOCATIONGRANULARITY
            end = min(start + WINDOW, size)
            try:
                window = mmap.mmap(fd, end - start, mmap.MAP_SHARED, mmap.PROT_READ, offset=start)
                window.madvise(_MADV_POPULATE_READ)
            except OSError:  # an older kernel, or a disk that fails: read() will say
                return
            with window, memoryview(window) as view, view[at - start :] as block:
                yield block
            at = end
    finally:
        os.lseek(fd, at, os.SEEK_SET)
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)
