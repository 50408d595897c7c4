"""Capture files for the tests, byte by byte: pcap in its variants, pcapng block by block.

Sources: draft-ietf-opsawg-pcap, draft-ietf-opsawg-pcapng (the obsolete Packet Block is in its appendix); the
"modified" pcap of old Linux distributions as Wireshark's wiretap describes it.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

Order = Literal["<", ">"]
Kind = Literal["micro", "nano", "modified"]
Record = tuple[int, bytes]  # nanoseconds since the epoch, frame

MAGIC: dict[Kind, int] = {"micro": 0xA1B2C3D4, "nano": 0xA1B23C4D, "modified": 0xA1B2CD34}
SNAPLEN = 262_144


def pcap_header(link: int = 1, *, order: Order = "<", kind: Kind = "micro", snaplen: int = SNAPLEN) -> bytes:
    return struct.pack(f"{order}IHHiIII", MAGIC[kind], 2, 4, 0, 0, snaplen, link)


def pcap_record(
    time: int, frame: bytes, *, order: Order = "<", kind: Kind = "micro", original: int | None = None
) -> bytes:
    seconds, nanoseconds = divmod(time, 10**9)
    fraction = nanoseconds if kind == "nano" else nanoseconds // 1000
    whole = len(frame) if original is None else original
    header = struct.pack(f"{order}IIII", seconds, fraction, len(frame), whole)
    if kind == "modified":
        header += struct.pack(f"{order}IHBB", 1, 0x0800, 0, 0)
    return header + frame


def pcap(records: Iterable[Record], link: int = 1, *, order: Order = "<", kind: Kind = "micro") -> bytes:
    """A whole pcap file."""
    return pcap_header(link, order=order, kind=kind) + b"".join(
        pcap_record(time, frame, order=order, kind=kind) for time, frame in records
    )


def block(number: int, body: bytes, *, order: Order = "<") -> bytes:
    """One pcapng block: type, length, body padded to four octets, length."""
    body += b"\0" * (-len(body) % 4)
    length = struct.pack(f"{order}I", 12 + len(body))
    return struct.pack(f"{order}I", number) + length + body + length


def option(code: int, value: bytes, *, order: Order = "<") -> bytes:
    return struct.pack(f"{order}HH", code, len(value)) + value + b"\0" * (-len(value) % 4)


def section(*, order: Order = "<", length: int = -1, options: bytes = b"") -> bytes:
    """The section header block."""
    return block(0x0A0D0D0A, struct.pack(f"{order}IHHq", 0x1A2B3C4D, 1, 0, length) + options, order=order)


def interface(
    link: int = 1,
    *,
    order: Order = "<",
    snaplen: int = SNAPLEN,
    resolution: int | None = None,
    offset: int | None = None,
) -> bytes:
    """An interface description; *resolution* is the if_tsresol octet, *offset* if_tsoffset in seconds."""
    options = b""
    if resolution is not None:
        options += option(9, bytes((resolution,)), order=order)
    if offset is not None:
        options += option(14, struct.pack(f"{order}q", offset), order=order)
    if options:
        options += option(0, b"", order=order)
    return block(1, struct.pack(f"{order}HHI", link, 0, snaplen) + options, order=order)


def enhanced(
    units: int,
    frame: bytes,
    *,
    order: Order = "<",
    number: int = 0,
    original: int | None = None,
    options: bytes = b"",
) -> bytes:
    """An enhanced packet block; *units* is the time in the interface's resolution."""
    whole = len(frame) if original is None else original
    padded = frame + b"\0" * (-len(frame) % 4)
    head = struct.pack(f"{order}IIIII", number, units >> 32, units & 0xFFFF_FFFF, len(frame), whole)
    return block(6, head + padded + options, order=order)


def simple(frame: bytes, *, order: Order = "<", original: int | None = None) -> bytes:
    """A simple packet block: interface 0, no time."""
    whole = len(frame) if original is None else original
    return block(3, struct.pack(f"{order}I", whole) + frame, order=order)


def obsolete(units: int, frame: bytes, *, order: Order = "<", number: int = 0) -> bytes:
    """The obsolete packet block."""
    head = struct.pack(f"{order}HHIIII", number, 0, units >> 32, units & 0xFFFF_FFFF, len(frame), len(frame))
    return block(2, head + frame, order=order)


def pcapng(records: Iterable[Record], link: int = 1, *, order: Order = "<") -> bytes:
    """A whole pcapng file of one section and one interface, in nanoseconds."""
    return (
        section(order=order)
        + interface(link, order=order, resolution=9)
        + b"".join(enhanced(time, frame, order=order) for time, frame in records)
    )


def zstd(data: bytes) -> bytes:
    """A Zstandard frame of raw blocks (RFC 8878): what any decoder reads, with no compressor at hand."""
    frame = struct.pack("<IBB", 0xFD2FB528, 0x00, 0x58)  # no single segment, window of 2 MiB
    pieces = [data[start : start + 100_000] for start in range(0, len(data), 100_000)] or [b""]
    for place, piece in enumerate(pieces):
        head = len(piece) << 3 | (place == len(pieces) - 1)
        frame += struct.pack("<I", head)[:3] + piece
    return frame


def member(data: bytes, *, before: bytes = b"", stated: int | None = None) -> bytes:
    """A gzip member that states its size as bgzip's do (SAM specification, 4.1), or *stated* octets less one.

    *before* are other extra fields in front of that.
    """
    packer = zlib.compressobj(wbits=-15)
    packed = packer.compress(data) + packer.flush()
    size = 12 + len(before) + 6 + len(packed) + 8
    extra = before + b"BC" + struct.pack("<HH", 2, size - 1 if stated is None else stated)
    head = b"\x1f\x8b\x08\x04" + bytes(6) + struct.pack("<H", len(extra)) + extra
    return head + packed + struct.pack("<II", zlib.crc32(data), len(data))


def bgzf(data: bytes, size: int = 0xFF00) -> bytes:
    """What bgzip writes: members of so many octets, and an empty one at the end."""
    return b"".join(member(data[start : start + size]) for start in range(0, len(data), size)) + member(b"")


def lz4(data: bytes) -> bytes:
    """An LZ4 frame of stored blocks (LZ4 frame format 1.6): version 1, independent blocks of up to 64 KiB."""
    descriptor = b"\x60\x40"
    frame = struct.pack("<I", 0x184D2204) + descriptor + bytes((_xxh32(descriptor) >> 8 & 0xFF,))
    for start in range(0, len(data), 60_000):
        piece = data[start : start + 60_000]
        frame += struct.pack("<I", 0x8000_0000 | len(piece)) + piece
    return frame + bytes(4)


def _xxh32(data: bytes) -> int:
    """xxHash-32 with seed 0 of fewer than 16 octets, as the LZ4 frame descriptor has (xxHash specification)."""
    mask = 0xFFFF_FFFF
    p1, p2, p3, p4, p5 = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D, 0x27D4EB2F, 0x165667B1
    value = p5 + len(data)
    words, rest = divmod(len(data), 4)
    for place in range(words):
        value = value + struct.unpack_from("<I", data, 4 * place)[0] * p3 & mask
        value = (value << 17 | value >> 15) & mask
        value = value * p4 & mask
    for octet in data[len(data) - rest :]:
        value = value + octet * p5 & mask
        value = (value << 11 | value >> 21) & mask
        value = value * p1 & mask
    value ^= value >> 15
    value = value * p2 & mask
    value ^= value >> 13
    value = value * p3 & mask
    return value ^ value >> 16
