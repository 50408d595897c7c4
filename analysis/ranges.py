"""Where a capture can be cut, so that its parts can be read side by side: ranges of its file, or groups of its files.

Where a record of a pcap file begins, or a block of a pcapng file, can only be guessed from the middle of the file. So
a guess is right if the range before it ends there without damage: who reads the ranges has to look.
"""

# ruff: noqa: PTH123, PTH202 -- pathlib takes longer to import than a small capture to read

from __future__ import annotations

import mmap
import os
from contextlib import contextmanager, suppress
from itertools import pairwise

from .formats import pcap, pcapng, remote
from .formats.compression import read
from .records import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .model import Octets

#: Octets in which the beginning of a record is looked for, and which the header of a pcapng file has at most.
_BLOCK = 1 << 20


class Range(NamedTuple):
    """Octets of a file; all of them where there is no ``end``, and else with the first ``header`` octets before them.

    The header is what the rest of the file cannot be understood without.
    """

    path: str
    start: int = 0
    end: int | None = None
    header: int = 0

    @property
    def size(self) -> int:
        """Octets of it; 0 where only reading tells."""
        return (file_size(self.path) if self.end is None else self.end) - self.start

    def offset(self, read: int) -> int:
        """Return where in the file the octet lies before which so many were read."""
        return max(self.start + read - self.header, 0)


def file_size(path: str) -> int:
    """Return the octets of the file at a path; 0 where this machine does not know it (of a URL, say)."""
    with suppress(OSError, ValueError):
        return 0 if remote.is_remote(path) else os.path.getsize(path)
    return 0


def octets(one: Range) -> Iterator[Octets]:
    """Yield the header, and then the octets of a range that has an end; a block is valid until the next one.

    Raises OSError or NotACapture where they cannot be read: see remote.blocks().
    """
    assert one.end is not None  # noqa: S101 - for the type checker
    if remote.is_remote(one.path):
        yield from remote.blocks(one.path, 0, one.header)
        yield from remote.blocks(one.path, one.start, one.end)
        return
    with open(one.path, "rb", buffering=0) as file:
        yield file.read(one.header)
        before = one.start % mmap.PAGESIZE  # whole pages are copied faster
        file.seek(one.start - before)
        left = one.end - one.start + before
        for block in read(file.fileno(), left):
            yield block[before:left]
            left -= len(block)
            before = max(before - len(block), 0)
            if left <= 0:
                break


def groups(paths: Sequence[str], jobs: int) -> list[list[Range]]:
    """The files in *jobs* groups of about one size; one whose size is not known counts as the average of the others."""
    found: list[list[Range]] = [[] for _ in range(jobs)]
    sizes = list(map(file_size, paths))
    known = list(filter(None, sizes))
    usual = sum(known) // len(known) if known else 2  # so that each has a middle
    sizes = [size or usual for size in sizes]
    before, whole = 0, sum(sizes)
    for path, size in zip(paths, sizes, strict=True):
        found[min((before + size // 2) * jobs // whole, jobs - 1)].append(Range(path))
        before += size
    return [group for group in found if group]


def ranges(path: str, jobs: int, least: int = 0) -> list[Range]:
    """Cut a file into *jobs* ranges, each of which most probably begins with a record; none where that cannot be.

    There are fewer where they would have fewer octets than *least*. Raises OSError or NotACapture where the file cannot
    be read: see remote.blocks().
    """
    with _sampled(path) as (size, sample):
        jobs = min(jobs, size // least + 1) if least else jobs
        head = sample(0, _BLOCK) if jobs > 1 else b""
        if head[:4] == pcapng.SECTION:
            header, begins = _in_pcapng(head)
        else:
            header, begins = _in_pcap(head[: pcap.LENGTH + pcap.RECORD])
        if begins is None:
            return []
        starts = [header]
        for place in range(1, jobs):
            at = size * (16 * place + 1) // (16 * jobs + 1)  # the first logs nothing: it can take a little more
            at -= at % 4  # where the blocks of a pcapng file begin
            found = begins(sample(at, _BLOCK))
            if found >= 0 and at + found > starts[-1]:
                starts.append(at + found)
    return [Range(path, start, end, header) for start, end in pairwise([*starts, size])]


@contextmanager
def _sampled(path: str) -> Iterator[tuple[int, Callable[[int, int], bytes]]]:
    """Yield how long a file is (0: not known), and what returns, from one octet on, so many or as many as there are."""
    if remote.is_remote(path):
        size = remote.size(path) or 0
        yield size, lambda at, most: b"".join(remote.blocks(path, at, min(at + most, size)))
        return
    with open(path, "rb") as file:
        yield os.path.getsize(path), lambda at, most: os.pread(file.fileno(), most, at)


#: How long the header of a file is, and what finds the beginning of a record in octets from its middle.
_Begins = tuple[int, "Callable[[bytes], int] | None"]


def _in_pcap(head: bytes) -> _Begins:
    """Return how to cut a pcap file that begins with these octets."""
    header = pcap.file_header(head) if len(head) == pcap.LENGTH + pcap.RECORD else None
    if header is None or header.record != pcap.RECORD or header.lengths:
        return 0, None
    record = pcap.record_header(header.order)
    day = record.unpack(head[pcap.LENGTH :])[0]
    return pcap.LENGTH, lambda data: pcap.first_record(data, record, day)


def _in_pcapng(head: bytes) -> _Begins:
    """Return how to cut a pcapng file that begins with these octets: one section, whose interfaces come first."""
    order = pcapng.byte_order(head, "")
    found = pcapng.interfaces_first(head, order)
    if found is None:
        return 0, None
    length, interfaces = found
    return length, lambda data: pcapng.first_block(data, order, interfaces)
