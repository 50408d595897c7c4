"""The engine of wire.py when it runs interpreted: it reads a common frame with one call of struct.unpack."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from .interpreted import name_ends
from .layout import (
    D_RECORD,
    EARLY,
    ENDED,
    FIN,
    FIRST_IS_B,
    HEAD,
    KEPT,
    LOW16,
    MANY,
    MAX_RECORD,
    P_THREE_WAY,
    RST,
    SECOND,
    SYN,
    TOUCHED,
)
from .resets import track
from .wire import Engine as EngineAsWritten
from .wire import place_of

if TYPE_CHECKING:
    from ..model import Octets

_RECORD = {False: struct.Struct("<4I").unpack_from, True: struct.Struct(">4I").unpack_from}
#: Link addresses; EtherType, IP version and header length; traffic class; total length; identification; fragment,
#: TTL, protocol; checksum; both addresses and ports; the TCP header from the sequence number to the checksum.
_COMMON = struct.Struct(">12s3sBHHIH12sIIBBHH").unpack_from
#: Of these: both addresses, both ports.
_ENDS = struct.Struct(">IIHH").unpack
#: What the index's dict gives for a conversation that is not known yet; the bit of one whose endpoints are equal.
NEW, EQUAL_ENDS = -4, 2
#: Places where packets are seen that are remembered: by link addresses, TTL and interface.
MOST_PLACES = 4096


class Engine(EngineAsWritten):
    """Reads pcap records, and the common frame (Ethernet, IPv4, TCP) of a conversation that is known, more quickly."""

    def __init__(
        self,
        capacity: int,
        collect: int,
        most: int,
        keep: int,
        equal_only: bool,
        port: int,
        host: bytes,
        frames: int = MANY,
    ) -> None:
        super().__init__(capacity, collect, most, keep, equal_only, port, host, frames)
        self.places: dict[tuple[bytes, int, int], int] = {}

    def read_records(self, d: Octets, i: int, end: int) -> None:
        """Read pcap records."""
        header, link, scale = self.record_header, self.link, self.scale
        unpack, frame = _RECORD[bool(self.big)], self.frame
        self.need = header
        while end - i >= header:
            seconds, ticks, size, wire = unpack(d, i)
            if size > MAX_RECORD:
                self.broken = D_RECORD
                self.claimed = size
                break
            p = i + header
            if end - p < size:
                self.need = header + size
                break
            i = p + size
            frame(d, p, i, p + wire, link, seconds * SECOND + ticks * scale)
        self.position = i

    def frame(self, d: Octets, p: int, end: int, stop: int, link: int, time: int) -> int:
        """Take one frame."""
        if link != 1 or end - p < 54:
            self.packets += 1
            self.odd_frame(d, p, end, stop, link, time)
            return 0
        macs, kind, traffic, total, number_of, protocol, ip_check, there, seq, ack, size, flags, window, check = (
            _COMMON(d, p)
        )
        size = size >> 4 << 2
        data = total - 20 - size
        # EtherType, IP version and header length; no fragment after the first, TCP.
        if kind != b"\x08\0E" or protocol & 0x1FFF00FF != 6 or size < 20 or data < 0 or end - p < 34 + size:
            self.packets += 1
            self.odd_frame(d, p, end, stop, link, time)
            return 0
        self.packets = number = self.packets + 1
        table = self.table
        way = table.index.ways.get(there, NEW)
        if way == NEW:
            to_itself = there[:4] == there[4:8] and there[8:10] == there[10:]
            odd = to_itself or self.equal_only or self.port or self.host_set
        else:
            odd = way & EQUAL_ENDS
        if odd or number < 2 * table.zone:  # what may be a copy of a packet in the part before, or of such a one
            if self.equal_only and there[8:10] != there[10:]:
                self.passed_over += 1
            else:
                self.common_frame(d, p, end, time)
            return 0
        table.frame = number
        seen = macs, protocol >> 8 & 0xFF, self.where
        place = self.places.get(seen)
        if place is None:
            if len(self.places) == MOST_PLACES:
                self.places.clear()
            place = self.places[seen] = place_of(d, p, self.where)
        key = b"".join((d[p + 26 : p + 50], d[p + 52 : p + 34 + size], data.to_bytes(4, "big")))
        trace = (0x4500 ^ traffic ^ check * 5 ^ (protocol >> 16) * 3 ^ ip_check * 7) & LOW16
        if table.duplicates_seen.is_copy(key, (number, time, place, number_of, trace)):
            table.duplicates += 1
            return 0
        slot = way >> 2
        if way != NEW and not flags & (SYN | RST | FIN) and not table.heads:
            s = table.slots[slot]
            if s.phase == P_THREE_WAY and not s.flags & (KEPT | EARLY | ENDED | HEAD):
                s.flags |= TOUCHED  # the bulk of all traffic: what step() does with it
                one = self.batch[0]
                one.seq, one.ack, one.flags, one.window, one.data = seq, ack, flags, window, data
                track(s, one, (way & 1 != 0) != (s.flags & FIRST_IS_B != 0))
                table.segments += 1
                return 0
        one = self.batch[0]
        one.place, one.identification = place, number_of
        one.frame, one.time, one.ip, one.at, one.size, one.data = number, time, p + 14, p + 34, size, data
        one.seq, one.ack, one.flags, one.window, one.wired = seq, ack, flags, window, False
        one.from_a = way & 1 != 0
        if way == NEW:
            a, b, a_port, b_port = _ENDS(there)
            one.from_a = from_a = a < b or (a == b and a_port < b_port)
            one.a_low, one.b_low, one.a_port, one.b_port = (a, b, a_port, b_port) if from_a else (b, a, b_port, a_port)
            one.a_high = one.b_high = one.six = 0
            one.equal = False
        elif flags & 6 or table.heads:  # SYN or RST: its endpoints are needed to find what it opens or answers
            s = table.slots[slot]
            one.a_high, one.a_low, one.b_high, one.b_low = s.a_high, s.a_low, s.b_high, s.b_low
            one.a_port, one.b_port, one.six, one.equal = s.a_port, s.b_port, s.six, False
        if table.heads:
            if way != NEW:
                name_ends(one, table.slots[slot])
                one.equal = False
            table.remember_packet(one, d)
        table.segments += 1
        table.step(table.claim(one) if way == NEW else slot, one, d)
        return 0
