"""The headers of a pcap file, as tcpdump writes it (draft-ietf-opsawg-pcap), and of its "modified" kind.

A file header of LENGTH octets, then records: a header (seconds, ticks, captured octets, octets on the wire), then data.
"""

from __future__ import annotations

import struct

from ..records import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Literal

    Order = Literal["big", "little"]

ORDERS: tuple[Order, ...] = ("big", "little")

#: Octets of the file header, and of a record header (the modified kind has 8 more).
LENGTH, RECORD = 24, 16

#: First four octets of a file -> (octets of a record header, nanoseconds per tick).
MAGIC = {0xA1B2C3D4: (RECORD, 1000), 0xA1B23C4D: (RECORD, 1), 0xA1B2CD34: (RECORD + 8, 1000)}
#: The order of the two lengths of a record: captured octets first; in doubt, the smaller one is the captured octets;
#: octets on the wire first.
IN_ORDER, IN_DOUBT, SWAPPED = range(3)
#: Versions, and the order of their lengths, as in libpcap (sf-pcap.c); DG/UX wrote 543.0.
_VERSIONS = {(2, 0): SWAPPED, (2, 1): SWAPPED, (2, 2): SWAPPED, (2, 3): IN_DOUBT, (2, 4): IN_ORDER, (543, 0): SWAPPED}
#: Bits of the last word of the file header that are zero in every version there is.
_RESERVED = 0x03FF_0000

#: How many records must follow each other before a place is taken for the beginning of a record.
_CHAIN = 32
#: How many octets may be before the first of them, and how many one of them may have.
_FAR = _LONG = 1 << 18
#: Seconds at most between the file's first record and one that is taken for a record of the same file.
_MONTH = 31 * 86_400


class FileHeader(NamedTuple):
    """What a file header says.

    ``record``: octets of a record header; ``scale``: nanoseconds per tick; ``checked``: how many bits of each packet
    are its frame check sequence; ``known``: whether the version is known; ``lengths``: the order of the two lengths of
    a record (IN_ORDER, IN_DOUBT or SWAPPED).
    """

    order: Order
    record: int
    scale: int
    snaplen: int
    link: int
    checked: int
    known: bool
    lengths: int

    def ordered(self, first: int, second: int) -> tuple[int, int]:
        """Return the two lengths of a record in this order: captured octets, octets on the wire."""
        swapped = self.lengths == SWAPPED or (self.lengths == IN_DOUBT and first > second)
        return (second, first) if swapped else (first, second)


def byte_order(magic: bytes) -> Order | None:
    """The byte order of the file that begins with these four octets; None where it is no pcap file."""
    return next((order for order in ORDERS if int.from_bytes(magic, order) in MAGIC), None)


def file_header(head: bytes) -> FileHeader | None:
    """Read the first LENGTH octets of a file; None where it is no pcap file."""
    order = byte_order(head[:4])
    if order is None:
        return None
    magic, major, minor, _, _, snaplen, link = struct.unpack(f"{_sign(order)}IHHIIII", head[:LENGTH])
    record, scale = MAGIC[magic]
    lengths = _VERSIONS.get((major, minor), IN_ORDER)
    known = (major, minor) in _VERSIONS and not link & _RESERVED
    # The upper bits of the link type's word may tell the length of the frame check sequence, in words of 16 bits.
    checked = (link >> 28) * 16 if link & 0x0400_0000 else 0
    return FileHeader(order, record, scale, snaplen, link & 0xFFFF, checked, known, lengths)


def record_header(order: Order) -> struct.Struct:
    """The layout of a record header: seconds, ticks, captured octets, octets on the wire."""
    return struct.Struct(f"{_sign(order)}IIII")


def _sign(order: Order) -> str:
    return ">" if order == "big" else "<"


def first_record(data: bytes, record: struct.Struct, day: int) -> int:
    """Return where in *data*, octets from the middle of a file, a record most probably begins; -1 where none does.

    It is where a chain of records begins, all within a month of the file's first, which was at *day* (in seconds).
    """
    for start in range(min(len(data) - RECORD, _FAR)):
        i = start
        for _ in range(_CHAIN):
            if i + RECORD > len(data):
                break
            seconds, ticks, size, wire = record.unpack_from(data, i)
            if abs(seconds - day) > _MONTH or ticks >= 1_000_000_000 or not 0 < size <= min(wire, _LONG):
                break
            i += RECORD + size
        else:
            return start
    return -1
