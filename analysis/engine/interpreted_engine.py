"""The engine of wire.py when it runs interpreted: it reads a common frame with one call of struct.unpack."""

from __future__ import annotations

import struct

from .interpreted import name_ends, place_of
from .layout import (
    ACK,
    CONTROL,
    D_RECORD,
    EARLY,
    ENDED,
    FIN,
    FIRST_IS_B,
    HEAD,
    KEPT,
    MAX_RECORD,
    P_SYN,
    P_THREE_WAY,
    RST,
    SECOND,
    SYN,
    TOUCHED,
)
from .resets import track
from .wire import Engine as EngineAsWritten

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..model import Octets

_RECORD = {False: struct.Struct("<4I").unpack_from, True: struct.Struct(">4I").unpack_from}
#: EtherType, IP version and header length; total length; identification; fragment, TTL, protocol; both addresses and
#: ports; the TCP header from the sequence number to the window.
_COMMON = struct.Struct(">12x3sxHHI2x12sIIBBH").unpack_from
#: Of these: both addresses, both ports.
_ENDS = struct.Struct(">IIHH").unpack
#: What the index's dict gives for a conversation that is not known yet; the bit of one whose endpoints are equal.
NEW, EQUAL_ENDS = -4, 2
#: How many octets of data there are, in a key of the search for copies.
NO_DATA = bytes(4)


class Engine(EngineAsWritten):
    """Reads pcap records, and the common frame (Ethernet, IPv4, TCP) of a conversation that is known, more quickly."""

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

    def frame(  # noqa: PLR0911 - what is quickly done ends early
        self, d: Octets, p: int, end: int, stop: int, link: int, time: int
    ) -> int:
        """Take one frame."""
        if link != 1 or end - p < 54:
            self.packets += 1
            self.odd_frame(d, p, end, stop, link, time)
            return 0
        kind, total, number_of, protocol, there, seq, ack, size, flags, window = _COMMON(d, p)
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
        key = b"".join((d[p + 26 : p + 50], d[p + 52 : p + 34 + size], data.to_bytes(4, "big") if data else NO_DATA))
        if table.duplicates_seen.is_copy(key, (number, time, bytes(d[p : p + 52]), self.where)):
            table.duplicates += 1
            return 0
        slot = way >> 2
        one = self.batch[0]
        if way != NEW and not table.remembers:
            s = table.slots[slot]
            if not flags & (SYN | RST | FIN):
                if s.phase == P_THREE_WAY and not s.flags & (KEPT | EARLY | ENDED | HEAD):
                    s.flags |= TOUCHED  # the bulk of all traffic: what step() does with it
                    one.seq, one.ack, one.flags, one.window, one.data = seq, ack, flags, window, data
                    track(s, one, (way & 1 != 0) != (s.flags & FIRST_IS_B != 0))
                    table.segments += 1
                    return 0
            elif s.phase == P_SYN and flags & CONTROL == RST | ACK:  # and that of a storm
                one.ack = ack
                if table.refuse_plainly(s, slot, one, (way & 1 != 0) != (s.flags & FIRST_IS_B != 0)):
                    table.segments += 1
                    return 0
        one.place, one.identification = place_of(d, p, self.where) if table.remembers else 0, number_of
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
            name_ends(one, table.slots[slot])
            one.equal = False
        if table.remembers:
            table.remember_packet(one, d)
        table.segments += 1
        table.step(table.claim(one) if way == NEW else slot, one, d)
        return 0
