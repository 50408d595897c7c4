"""The capture once more, as pcapng, with a comment on every packet of a handshake: what it did, and by which rule.

Wireshark shows the comments as "Packet comments". Everything else stays as it is, octet for octet: in a pcapng file
all other blocks, and all that was in the blocks of those packets; the packets of a pcap file are put into blocks with
their times, lengths and link type. One exception: a pcapng section that says how long it is says so no longer.

The capture is read a second time in blocks, and comments are made as it comes to their packets: however large it is,
this takes little memory.
"""

from __future__ import annotations

import heapq
import os
import struct
from typing import TYPE_CHECKING

from ..errors import Incomplete, UsageError
from ..formats import pcapng
from ..formats.compression import BLOCK, Cut, read, unpacked
from ..model import Flag, spoken
from ..output import opened
from ..reader import ORDERS, PCAP
from .phrases import why

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..model import CaptureResult, Octets
    from ..report import Entry

_SECTION = b"\x0a\x0d\x0d\x0a"
#: Of a pcapng section that begins in little-endian order.
_LITTLE = b"\x4d\x3c\x2b\x1a"
#: Enhanced, simple and obsolete packet blocks: what Wireshark counts as frames.
_PACKETS = (pcapng.ENHANCED_PACKET, 3, 2)
_SIMPLE = 3
#: Octets of a packet block before its data, and where among them the length of the data stands.
_BEFORE_DATA, _LENGTH = 28, 20


def annotate(path: str, result: CaptureResult, entries: Iterable[Entry], output: str) -> int:
    """Write the capture at *path*, whose analysis gave *result*, to *output*, with comments on these openings.

    What is damaged is left out. Returns how many packets could not be given their comment, because they stand in simple
    packet blocks, which hold none. Raises UsageError where *output* must not be written (see output.opened), and
    Incomplete where writing fails, or the capture is not what it was.
    """
    try:
        source = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise Incomplete(f"cannot read {path} again: {error.strerror}") from error
    copy = _Copy(comments(entries))
    try:
        with open(_opened(output), "wb", buffering=BLOCK) as target:
            stream = _Stream(unpacked(path, read(source, os.fstat(source).st_size)), result)
            target.writelines(copy.pieces(stream))
    except OSError as error:
        raise Incomplete(f"{output} is not complete: {error.strerror}") from error
    except struct.error as error:
        raise Incomplete(f"{path} has changed since it was analysed: {output} is not complete") from error
    finally:
        os.close(source)
    if copy.due:
        raise Incomplete(f"{path} has changed since it was analysed: {output} lacks comments")
    return copy.refused


def _opened(output: str) -> int:
    try:
        return opened(output)
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror}") from error


def comments(entries: Iterable[Entry]) -> Iterator[tuple[int, str]]:
    """What to say of which frame, in the order of the frames: of every frame of a handshake, and of no other."""
    waiting: list[tuple[int, str]] = []
    begun = ((min(segment.frame for segment in entry.opening.segments), entry) for entry in entries)
    for first, entry in sorted(begun, key=lambda item: item[0]):
        while waiting and waiting[0][0] < first:
            yield heapq.heappop(waiting)
        for comment in _handshake(entry):
            heapq.heappush(waiting, comment)
    while waiting:
        yield heapq.heappop(waiting)


def _handshake(entry: Entry) -> Iterator[tuple[int, str]]:
    """The comments on one opening; short, because Wireshark's packet details cut at 240 characters."""
    account = entry.account().replay
    opening = account.opening
    flags = {segment.frame: spoken(segment.flags & ~Flag.PSH) for segment in account.segments}
    for place, frame in enumerate(account.handshake, 1):
        lines = [f"selfconn: {opening.verdict}, {place} of {len(account.handshake)}"]
        for step in account.steps:
            if step.frame == frame:
                who = "" if opening.to_itself else f"{step.endpoint} "
                what = f"{who}{'sends' if step.sends else 'receives'} {flags[frame]}"
                states = f"{step.before} > {step.after}" if step.changes else f"stays {step.before}"
                told = why(step._replace(section=step.section and f"RFC 9293 {step.section}"))
                lines.append(f"{what}: {states}{' (inferred)' if step.inferred else ''}, {told}")
        yield frame, "\n".join(lines)


class _Stream:
    """The octets of a capture in pieces of any size, to where it was found damaged."""

    def __init__(self, blocks: Iterator[Octets], result: CaptureResult) -> None:
        self._blocks = blocks
        self._left = result.damage.offset if result.damage else 1 << 63
        self._held = b""
        self._at = 0

    def take(self, octets: int) -> bytes:
        """So many octets; fewer at the end."""
        while len(self._held) - self._at < octets and (more := self._more()):
            self._held = self._held[self._at :] + more
            self._at = 0
        piece = self._held[self._at : self._at + octets]
        self._at += len(piece)
        return piece

    def rest(self) -> Iterator[bytes]:
        """All that was not taken."""
        yield self._held[self._at :]
        while more := self._more():
            yield more

    def _more(self) -> bytes:
        try:
            block = bytes(next(self._blocks, b""))[: self._left]
        except Cut:  # as the analysis found
            return b""
        self._left -= len(block)
        return block


class _Copy:
    """The capture as pcapng with comments. ``refused`` packets could hold none; ``due`` is the next frame with one."""

    def __init__(self, comments: Iterator[tuple[int, str]]) -> None:
        self._comments = comments
        self.due, self._text = next(comments, (0, ""))
        self.refused = 0

    def _next(self) -> None:
        self.due, self._text = next(self._comments, (0, ""))

    def pieces(self, stream: _Stream) -> Iterator[bytes]:
        """The blocks of the new file."""
        magic = stream.take(4)
        if magic == _SECTION:
            yield from self._pcapng(magic, stream)
            return
        for order in ORDERS:
            kind = PCAP.get(int.from_bytes(magic, order))
            if kind:
                yield from self._pcap(">" if order == "big" else "<", *kind, stream)

    def _pcap(self, order: str, header: int, scale: int, stream: _Stream) -> Iterator[bytes]:
        """Packets of a pcap file; *header* octets before each, *scale* nanoseconds to a tick."""
        head = stream.take(20)
        snaplen, link = struct.unpack_from(f"{order}II", head, 12)
        check = (
            (link >> 28) * 16 if link & 0x0400_0000 else 0
        )  # so many words of 16 bits, if the bit says that there are
        yield pcapng.section(application="selfconn-analyze")
        yield pcapng.interface(link & 0xFFFF, snaplen, checked=check)
        record = struct.Struct(f"{order}IIII")
        frame = 0
        while len(head := stream.take(header)) == header:
            seconds, ticks, size, length = record.unpack_from(head)
            data = stream.take(size)
            if len(data) < size:
                return
            frame += 1
            comment = self._text if frame == self.due else ""
            yield pcapng.packet(seconds * 1_000_000_000 + ticks * scale, data, length, comment)
            if comment:
                self._next()

    def _pcapng(self, magic: bytes, stream: _Stream) -> Iterator[bytes]:
        order = "<"
        frame = 0
        head = magic + stream.take(8)
        while self.due:
            if head[:4] == _SECTION:
                order = "<" if head[8:] == _LITTLE else ">"
            kind, size = struct.unpack_from(f"{order}II", head)
            block = head + stream.take(size - len(head))
            if len(block) < size:
                return
            if kind == pcapng.SECTION_HEADER:
                block = block[:16] + b"\xff" * 8 + block[24:]  # its length: not specified
            elif kind in _PACKETS:
                frame += 1
                if frame == self.due:
                    block = self._commented(order, block)
            yield block
            head = stream.take(12)
            if len(head) < 12:
                return
        yield head
        yield from stream.rest()

    def _commented(self, order: str, block: bytes) -> bytes:
        """A packet block with the comment that is due, in front of the options that it has; there may be several."""
        kind = struct.unpack_from(f"{order}I", block)[0]
        text = self._text.encode()
        self._next()
        if kind == _SIMPLE:
            self.refused += 1
            return block
        (octets,) = struct.unpack_from(f"{order}I", block, _LENGTH)
        end = _BEFORE_DATA + octets + -octets % 4
        options = block[end:-4]
        comment = struct.pack(f"{order}HH", pcapng.COMMENT, len(text)) + text + bytes(-len(text) % 4)
        if comment in options:  # annotated before
            return block
        body = block[8:end] + comment + (options or bytes(4))
        size = len(body) + pcapng.SMALLEST
        return struct.pack(f"{order}II", kind, size) + body + struct.pack(f"{order}I", size)
