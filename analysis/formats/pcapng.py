"""The blocks of a pcapng file, as bytes (draft-ietf-opsawg-pcapng).

What is written is little-endian, with one interface and nanoseconds; what is read may be in either byte order.

Writing a packet is one call of struct: a recorder does it a hundred thousand times a second.
"""

from __future__ import annotations

import struct

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SECTION_HEADER, INTERFACE_DESCRIPTION, INTERFACE_STATISTICS, ENHANCED_PACKET = 0x0A0D0D0A, 1, 5, 6
OBSOLETE_PACKET, SIMPLE_PACKET = 2, 3
#: What Wireshark counts as frames.
PACKETS = frozenset({ENHANCED_PACKET, SIMPLE_PACKET, OBSOLETE_PACKET})

#: The first octets of a file, and of every section in it: they read alike in both byte orders.
SECTION = b"\x0a\x0d\x0d\x0a"
#: Octets 8 to 11 of a section, by its byte order as struct names it.
_MARKS = {b"\x4d\x3c\x2b\x1a": "<", b"\x1a\x2b\x3c\x4d": ">"}
BYTE_ORDERS = _MARKS.keys()
#: Octets of a block before its body; together with the next four they tell a section's byte order.
HEAD = 8
#: Octets of a packet block (not of a simple one) before its data, and where among them the length of the data stands.
_BEFORE_DATA, _LENGTH = 28, 20

#: Block types with the highest bit set are for local use; readers skip them (section 10.1).
FILLER = 0x8000_0000
#: The smallest block there is: type, length, no body, length.
SMALLEST = 12

#: How many blocks must follow each other before a place is taken for the beginning of a block.
_CHAIN = 16

#: Longer texts are cut, so that no block gets long.
LONGEST = 900

COMMENT = 1
_SHB_HARDWARE, _SHB_OS, _SHB_USERAPPL = 2, 3, 4
_IF_NAME, _IF_TSRESOL, _IF_FILTER, _IF_OS, _IF_FCSLEN = 2, 9, 11, 12, 13
_ISB_STARTTIME, _ISB_ENDTIME, _ISB_IFRECV, _ISB_IFDROP, _ISB_FILTERACCEPT, _ISB_OSDROP, _ISB_USRDELIV = range(2, 9)


def _block(number: int, body: bytes) -> bytes:
    length = SMALLEST + len(body)
    return struct.pack("<II", number, length) + body + struct.pack("<I", length)


def _options(options: Iterable[tuple[int, bytes | str]]) -> bytes:
    """Encode the options that are not empty, and an end mark if there is any."""
    encoded = b""
    for code, value in options:
        octets = _cut(value) if isinstance(value, str) else value
        if octets:
            encoded += struct.pack("<HH", code, len(octets)) + octets + bytes(-len(octets) % 4)
    return encoded and encoded + bytes(4)


def _cut(text: str) -> bytes:
    """Encode *text*, LONGEST octets of it at most, and no half characters."""
    return text.encode(errors="replace")[:LONGEST].decode(errors="ignore").encode()


def _time(nanoseconds: int) -> bytes:
    return struct.pack("<II", nanoseconds >> 32, nanoseconds & 0xFFFF_FFFF)


def section(*, hardware: str = "", system: str = "", application: str = "", comment: str = "") -> bytes:
    """Begin a file: who wrote it, on what, and a comment on the whole. Empty texts are left out."""
    options = ((COMMENT, comment), (_SHB_HARDWARE, hardware), (_SHB_OS, system), (_SHB_USERAPPL, application))
    return _block(SECTION_HEADER, struct.pack("<IHHq", 0x1A2B3C4D, 1, 0, -1) + _options(options))


def interface(  # noqa: PLR0913 -- an argument an option
    linktype: int, snaplen: int, *, name: str = "", passes: str = "", system: str = "", checked: int = 0
) -> bytes:
    """Describe the interface that the packets come from.

    *passes* is its filter in libpcap's language; *checked* is how many bits of each packet are its frame check
    sequence.
    """
    what = b"\0" + passes.encode() if passes else b""  # 0: a libpcap string
    check = bytes((checked,)) if checked else b""
    options = ((_IF_NAME, name), (_IF_TSRESOL, b"\x09"), (_IF_FILTER, what), (_IF_OS, system), (_IF_FCSLEN, check))
    return _block(INTERFACE_DESCRIPTION, struct.pack("<HHI", linktype, 0, snaplen) + _options(options))


def blocks(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The whole little-endian blocks that *data* consists of: the type of each, and all its octets."""
    at = 0
    while at < len(data):
        kind, length = struct.unpack_from("<II", data, at)
        yield kind, data[at : at + length]
        at += length


def byte_order(head: bytes, before: str) -> str:
    """Return the byte order (as struct names it) of a block that begins with *head*; *before*: of the block before."""
    return _MARKS.get(head[8:12], ">") if head[:4] == SECTION else before


def interfaces_first(head: bytes, order: str) -> tuple[int, int] | None:
    """Return the octets before the first packet block of a file that begins with *head*, and how many interfaces.

    None where that is not in *head*, or where something comes before it that is not the same for all packets.
    """
    at = interfaces = 0
    while at + SMALLEST <= len(head):
        kind, size = struct.unpack_from(f"{order}II", head, at)
        if kind in PACKETS:
            return (at, interfaces) if interfaces else None
        again = kind == SECTION_HEADER and at > 0
        if again or kind == INTERFACE_STATISTICS or size < SMALLEST or size % 4:
            return None
        interfaces += kind == INTERFACE_DESCRIPTION
        at += size
    return None


def first_block(data: bytes, order: str, interfaces: int) -> int:
    """Return where in *data*, octets from the middle of a section, a block most probably begins; -1 where none does.

    *data* begins at a multiple of 4, counted from the beginning of the file. It is where a chain of blocks begins, of
    which one at least holds a packet.
    """
    lengths, packet_head = struct.Struct(f"{order}II"), struct.Struct(f"{order}I8xII")
    last = struct.Struct(f"{order}I")
    for start in range(0, len(data) - SMALLEST, 4):
        at, packets = start, 0
        for _ in range(_CHAIN):
            if at + SMALLEST > len(data):
                break
            kind, size = lengths.unpack_from(data, at)
            if size < SMALLEST or size % 4 or at + size > len(data) or kind == SECTION_HEADER:
                break
            if last.unpack_from(data, at + size - 4)[0] != size:
                break
            if kind == ENHANCED_PACKET:
                if size < _BEFORE_DATA + 4:
                    break
                which, captured, _wire = packet_head.unpack_from(data, at + HEAD)
                if which >= interfaces or captured > size - _BEFORE_DATA - 4:
                    break
                packets += 1
            at += size
        else:
            if packets:
                return start
    return -1


def without_length(section: bytes) -> bytes:
    """A section header that does not say how long the section is."""
    return section[:16] + b"\xff" * 8 + section[24:]


def commented(order: str, block: bytes, text: str) -> bytes | None:
    """Put a comment into a packet block, in front of the options that it has; None where it can hold none.

    A block that holds this comment already stays as it is.
    """
    (kind,) = struct.unpack_from(f"{order}I", block)
    if kind == SIMPLE_PACKET:
        return None
    (octets,) = struct.unpack_from(f"{order}I", block, _LENGTH)
    end = _BEFORE_DATA + octets + -octets % 4
    options = block[end:-4]
    encoded = text.encode()
    comment = struct.pack(f"{order}HH", COMMENT, len(encoded)) + encoded + bytes(-len(encoded) % 4)
    if comment in options:
        return block
    body = block[HEAD:end] + comment + (options or bytes(4))
    size = len(body) + SMALLEST
    return struct.pack(f"{order}II", kind, size) + body + struct.pack(f"{order}I", size)


class _Packers(dict[int, struct.Struct]):
    """The layout of a packet block without options, by the octets it holds."""

    def __missing__(self, octets: int) -> struct.Struct:
        layout = self[octets] = struct.Struct(f"<IIIIIII{octets}s{-octets % 4}xI")
        return layout


_PACKERS = _Packers()


def packet(time: int, data: bytes, length: int, comment: str = "") -> bytes:
    """Record one packet: *time* in nanoseconds since the epoch, *data* is what was captured of its *length* octets."""
    octets = len(data)
    if comment:
        options = _options([(COMMENT, comment)])
        head = struct.pack("<I8sII", 0, _time(time), octets, length)
        return _block(ENHANCED_PACKET, head + data + bytes(-octets % 4) + options)
    layout = _PACKERS[octets]
    size = layout.size
    return layout.pack(ENHANCED_PACKET, size, 0, time >> 32, time & 0xFFFF_FFFF, octets, length, data, size)


def statistics(time: int, *, began: int, received: int, dropped: int, comment: str = "") -> bytes:
    """Count for the interface what was *received* into the file and what was *dropped* since *began*, at *time*.

    Times are in nanoseconds since the epoch. Packets that the filter rejected are in neither number.
    """
    counts = {
        _ISB_IFRECV: received,
        _ISB_IFDROP: dropped,
        _ISB_FILTERACCEPT: received + dropped,
        _ISB_OSDROP: dropped,
        _ISB_USRDELIV: received,
    }
    options: list[tuple[int, bytes | str]] = [(COMMENT, comment)]
    options += ((_ISB_STARTTIME, _time(began)), (_ISB_ENDTIME, _time(time)))
    options += ((code, struct.pack("<Q", count)) for code, count in counts.items())
    return _block(INTERFACE_STATISTICS, struct.pack("<I8s", 0, _time(time)) + _options(options))


def filler(size: int) -> bytes:
    """Take up *size* octets (a multiple of 4, SMALLEST at least) with a block that readers skip."""
    return _block(FILLER, bytes(size - SMALLEST))
