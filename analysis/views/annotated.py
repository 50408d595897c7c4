"""Writes the capture once more, as pcapng, with a comment on every packet of a handshake: what it did, by which rule.

Wireshark shows the comments as "Packet comments". Everything else stays as it is, octet for octet: in a pcapng file all
other blocks, and all that was in the blocks of those packets; the packets of a pcap file are put into blocks with their
times, lengths and link type. One exception: in a pcapng section header the length of the section becomes "unknown".

The capture is read a second time in blocks, and comments are made as it comes to their packets: however large it is,
this takes little memory.
"""

from __future__ import annotations

import heapq
import os
import struct
from itertools import groupby

from ..errors import Incomplete, UsageError
from ..formats import pcap, pcapng
from ..formats.compression import BLOCK, Cut, read, unpacked
from ..model import NANOSECONDS, Evidence, Flag, spoken
from ..output import CAPTURE, opened
from .phrases import kind, proof, unreachable, why

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..model import CaptureResult, Octets, Opening
    from ..report import Entry


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
        with open(_opened(output, source), "wb", buffering=BLOCK) as target:
            stream = _Stream(unpacked(path, read(source, os.fstat(source).st_size), jobs=1), result)
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


def _opened(output: str, source: int) -> int:
    """As cp(1): who may read the capture may read its copy, as far as the umask lets them."""
    try:
        return opened(output, mode=CAPTURE | os.fstat(source).st_mode & 0o666)
    except OSError as error:
        raise UsageError(f"cannot write {output}: {error.strerror}") from error


def comments(entries: Iterable[Entry]) -> Iterator[tuple[int, str]]:
    """Yield frames with comments, in order: those of a handshake or a proof, and ICMP errors that refuse an opening.

    A frame that belongs to two openings, which are the two sides of a translation, has one comment on both.
    """
    for frame, told in groupby(_comments(entries), key=lambda comment: comment[0]):
        yield frame, "\n".join(text for _, text in told)


def _comments(entries: Iterable[Entry]) -> Iterator[tuple[int, str]]:
    waiting: list[tuple[int, str]] = []
    for first, entry in sorted(((_first(entry.opening), entry) for entry in entries), key=lambda item: item[0]):
        while waiting and waiting[0][0] < first:
            yield heapq.heappop(waiting)
        for comment in (*_handshake(entry), *_refusal(entry.opening)):
            heapq.heappush(waiting, comment)
    while waiting:
        yield heapq.heappop(waiting)


def _first(opening: Opening) -> int:
    """The first frame that has to do with an opening."""
    error = [opening.refused_by.frame] if opening.refused_by else []
    return min([*error, *(segment.frame for segment in opening.segments)])


def _refusal(opening: Opening) -> Iterator[tuple[int, str]]:
    """The comment on the ICMP error that refused an opening."""
    if error := opening.refused_by:
        yield error.frame, f"selfconn: {opening.verdict}, the SYN of frame {opening.first_frame} ({unreachable(error)})"


def _handshake(entry: Entry) -> Iterator[tuple[int, str]]:
    """The comments on one opening; short, because Wireshark's packet details cut at 240 characters."""
    replayed = entry.account().replay
    opening = replayed.opening
    flags = {segment.frame: spoken(segment.flags & ~Flag.PSH) for segment in replayed.segments}
    standing = opening.evidence is Evidence.STANDING
    frames = proof(opening) if standing else replayed.handshake
    for place, frame in enumerate(frames, 1):
        lines = [f"selfconn: {kind(opening)}, {'proof ' if standing else ''}{place} of {len(frames)}"]
        for step in replayed.steps:
            if step.frame == frame:
                who = "" if opening.to_itself else f"{step.endpoint} "
                what = f"{'sends' if step.sends else 'receives'} {flags[frame]}"
                what = f"{who}{step.event if step.by_itself else what}"
                states = f"{step.before} > {step.after}" if step.changes else f"stays {step.before}"
                told = why(step._replace(section=step.section and f"RFC 9293 {step.section}"))
                lines.append(f"{what}: {states}{' (inferred)' if step.inferred else ''}, {told}")
        yield frame, "\n".join(lines)


class _Stream:
    """The octets of a capture in pieces of any size, up to the place where the analysis found it damaged."""

    def __init__(self, blocks: Iterator[Octets], result: CaptureResult) -> None:
        self._blocks = blocks
        self._left = result.damage.offset if result.damage else 1 << 63
        self._held = b""
        self._at = 0

    def take(self, octets: int) -> bytes:
        """Return so many octets; fewer at the end."""
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
        if magic == pcapng.SECTION:
            yield from self._pcapng(magic, stream)
        elif header := pcap.file_header(magic + stream.take(pcap.LENGTH - 4)):
            yield from self._pcap(header, stream)

    def _pcap(self, header: pcap.FileHeader, stream: _Stream) -> Iterator[bytes]:
        """Packets of a pcap file."""
        yield pcapng.section(application="selfconn-analyze")
        yield pcapng.interface(header.link, header.snaplen, checked=header.checked)
        record = pcap.record_header(header.order)
        frame = 0
        while len(head := stream.take(header.record)) == header.record:
            seconds, ticks, *lengths = record.unpack_from(head)
            size, length = header.ordered(*lengths)
            data = stream.take(size)
            if len(data) < size:
                return
            frame += 1
            comment = self._text if frame == self.due else ""
            yield pcapng.packet(seconds * NANOSECONDS + ticks * header.scale, data, length, comment)
            if comment:
                self._next()

    def _pcapng(self, magic: bytes, stream: _Stream) -> Iterator[bytes]:
        order = "<"
        frame = 0
        head = magic + stream.take(8)
        while self.due:
            order = pcapng.byte_order(head, order)
            kind, size = struct.unpack_from(f"{order}II", head)
            block = head + stream.take(size - len(head))
            if len(block) < size:
                return
            if kind == pcapng.SECTION_HEADER:
                block = pcapng.without_length(block)
            elif kind in pcapng.PACKETS:
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
        """A packet block with the comment that is due."""
        made = pcapng.commented(order, block, self._text)
        self._next()
        self.refused += made is None
        return block if made is None else made
