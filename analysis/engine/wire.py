"""From the octets of a capture to segments: the records of pcap and the blocks of pcapng, and the common frame at once.

record or block -> frame -> innermost IP packet -> TCP segment -> a batch -> the conversation table
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import cython

from ..memory import mapping
from .layout import DAMAGES, REASONS

if not cython.compiled:
    from .headers import Headers
    from .interpreted import (
        cursor_in,
        cursor_octets,
        l16,
        l32,
        octets_of,
        segment_at,
        segment_octets,
        segments_in,
        signed_words_in,
        u16,
        u32,
        words_in,
    )
    from .layout import (
        BATCH,
        D_BLOCK,
        D_INTERFACE,
        D_INTERFACES,
        D_LENGTHS,
        D_OPTION,
        D_ORDER,
        D_PACKET,
        D_PACKET_HEADER,
        D_RECORD,
        D_UNKNOWN_INTERFACE,
        D_VERSION,
        FOUND,
        IPV4,
        LAST_SECOND,
        LOW32,
        LOW64,
        MAX_BLOCK,
        MAX_INTERFACES,
        MAX_LINKS,
        MAX_RECORD,
        MIX1,
        R_TCP_BAD,
        R_TCP_CUT,
        SECOND,
        UNKNOWN_LINK,
        WORDS_OF_INTERFACE,
    )
    from .translations import AllConversations

if TYPE_CHECKING:
    from ..model import Octets

#: Whether this is the compiled engine.
COMPILED: bool = cython.compiled


class Engine:
    """Reads the octets of one capture, and steps the conversation table with its segments.

    *capacity*, *collect*, *most* and *keep* are those of Conversations. With *equal_only* nothing but segments whose
    two endpoints are equal is looked at; with *port* and *host* (a packed address) nothing but segments to or from
    there.
    """

    def __init__(
        self, capacity: int, collect: int, most: int, keep: int, equal_only: bool, port: int, host: bytes
    ) -> None:
        self.of_table = (capacity, collect, most, keep, not equal_only)
        self.table = AllConversations(*self.of_table)
        self.equal_only = equal_only
        self.port = port
        self.host_set = len(host) > 0
        number = int.from_bytes(host, "big")
        self.host_low = number & LOW64
        self.host_high = number >> 64
        self.headers = Headers()
        self.cursor_memory = memoryview(mapping(max(cursor_octets(), 1)))
        self.cursor = cursor_in(self.cursor_memory)
        self.batch_memory = memoryview(mapping(max(BATCH * segment_octets(), 1)))
        self.batch = segments_in(self.batch_memory)
        self.room = BATCH if cython.compiled else 1
        self.waiting = 0
        #: Frames without a segment, by the place of the reason in REASONS.
        self.reasons = memoryview(bytearray(8 * len(REASONS))).cast("Q")
        self.counted_reasons = words_in(self.reasons)
        self.unknown_links: dict[int, int] = {}
        #: Frames that carry no TCP, and frames of which nobody here knows what they carry, by name.
        self.other: dict[str, int] = {}
        self.unknown: dict[str, int] = {}
        #: Packets that the recorder dropped, -1 where the file does not say; the capture filters that it names.
        self.recorded_drops = -1
        self.filters: list[str] = []
        #: Frames from a socket to itself that are cut before the TCP flags, and the snap length that would keep them.
        self.cut_to_itself = self.needed_snaplen = 0
        #: Frames so far, and segments that were passed over since they are not from or to where they were asked for.
        self.packets = self.passed_over = 0
        # Where the last walk stopped, how many octets it wants from there, and what broke there.
        self.position = self.need = 0
        self.broken = self.claimed = 0
        # The shape of the file.
        self.big = False
        self.record_header = 16
        self.scale = 1000
        self.link = 1
        self.interface_memory = memoryview(bytearray(8 * WORDS_OF_INTERFACE)).cast("q")
        self.interfaces = signed_words_in(self.interface_memory)
        self.interface_count = 0
        self.interface_room = 1

    def begin_part(self, heads: bool) -> None:
        """What is analysed is a part of a capture, or (without *heads*) a whole that is absorbed part by part."""
        from .partial import PartialConversations  # noqa: PLC0415 - seldom needed, and the largest of all

        table = PartialConversations(*self.of_table)
        table.begin(heads)
        self.table = table

    @property
    def segments(self) -> int:
        """TCP segments so far."""
        return int(self.passed_over + self.table.segments)

    @property
    def damage(self) -> str:
        """What broke the file where the last walk stopped; empty where nothing did."""
        return DAMAGES[self.broken].format(self.claimed)

    def finish(self) -> None:
        """The capture is over, and with it every opening."""
        self.table.frame = self.packets
        self.table.finish()

    # -- pcap ----------------------------------------------------------------------------------------------------------

    def next_file(self) -> None:
        """What comes next is the beginning of another file."""
        self.broken = 0
        self.interface_count = 0

    def begin_pcap(self, big: bool, header: int, scale: int, link: int) -> None:
        """Expect pcap records: byte order, octets of a record header, nanoseconds to a tick, link type."""
        self.big = big
        self.record_header = header
        self.scale = scale
        self.link = link

    def pcap(self, octets: Octets, i: int, end: int) -> None:
        """Read the whole pcap records in octets[i:end], which is not empty."""
        d = octets_of(octets)
        with cython.nogil:
            self.read_records(d, i, end)
            self.hand_over(d)

    def read_records(self, d: Octets, i: int, end: int) -> None:
        """Read pcap records; the interpreter's lock is not held, so other threads run meanwhile."""
        header = self.record_header
        link = self.link
        self.need = header
        while end - i >= header:
            if self.big:
                seconds, ticks, size, wire = u32(d, i), u32(d, i + 4), u32(d, i + 8), u32(d, i + 12)
            else:
                seconds, ticks, size, wire = l32(d, i), l32(d, i + 4), l32(d, i + 8), l32(d, i + 12)
            if size > MAX_RECORD:
                self.broken = D_RECORD
                self.claimed = size
                break
            p = i + header
            if end - p < size:
                self.need = header + size
                break
            i = p + size
            self.frame(d, p, i, p + wire, link, seconds * SECOND + ticks * self.scale)
        self.position = i

    # -- pcapng --------------------------------------------------------------------------------------------------------

    def pcapng(self, octets: Octets, i: int, end: int) -> None:
        """Read the whole pcapng blocks in octets[i:end], which is not empty."""
        d = octets_of(octets)
        with cython.nogil:
            self.read_blocks(d, i, end)
            self.hand_over(d)

    def read_blocks(self, d: Octets, i: int, end: int) -> None:
        """Read pcapng blocks; the interpreter's lock is not held, so other threads run meanwhile."""
        while True:
            self.need = 12
            if end - i < 12:
                break
            kind = self.order32(d, i)
            if kind == 0x0A0D0D0A:
                if u32(d, i + 8) == 0x1A2B3C4D:
                    self.big = True
                elif l32(d, i + 8) == 0x1A2B3C4D:
                    self.big = False
                else:
                    self.broken = D_ORDER
                    break
            size = self.order32(d, i + 4)
            if size < 12 or size % 4 or size > MAX_BLOCK:
                self.broken = D_BLOCK
                self.claimed = size
                break
            if end - i < size:
                self.need = size
                break
            if self.order32(d, i + size - 4) != size:
                self.broken = D_LENGTHS
                break
            if not self.block(d, kind, i + 8, i + size - 4):
                break
            i += size
        self.position = i

    def order16(self, d: Octets, i: int) -> int:
        """Return the 16-bit integer at *i* in the section's byte order."""
        return u16(d, i) if self.big else l16(d, i)

    def order32(self, d: Octets, i: int) -> int:
        """Return the 32-bit integer at *i* in the section's byte order."""
        return u32(d, i) if self.big else l32(d, i)

    def block(self, d: Octets, kind: int, p: int, end: int) -> bool:
        """Read one pcapng block with the body d[p:end]; False where it is damaged."""
        if kind in (6, 2):  # enhanced; the obsolete one differs in its first field only
            if end - p < 20:
                self.broken = D_PACKET_HEADER
                return False
            which = self.order32(d, p) if kind == 6 else self.order16(d, p)
            size = self.order32(d, p + 12)
            wire = self.order32(d, p + 16)
            ticks = self.order32(d, p + 4) << 32 | self.order32(d, p + 8)
            p += 20
        elif kind == 3:
            if end - p < 4:
                self.broken = D_PACKET_HEADER
                return False
            which = 0
            wire = self.order32(d, p)
            ticks = 0
            p += 4
            size = min(wire, end - p)
            if self.interface_count and self.interfaces[1]:
                size = min(size, self.interfaces[1])
        else:
            return self.other_block(d, kind, p, end)
        if which >= self.interface_count:
            self.broken = D_UNKNOWN_INTERFACE
            self.claimed = which
            return False
        if size > end - p or size > MAX_RECORD:
            self.broken = D_PACKET
            self.claimed = size
            return False
        which *= WORDS_OF_INTERFACE
        time = 0 if kind == 3 else self.clock(ticks, self.interfaces[which + 2], self.interfaces[which + 3])
        self.frame(d, p, p + size, p + wire, self.interfaces[which], time)
        return True

    def other_block(self, d: Octets, kind: int, p: int, end: int) -> bool:
        """Read a pcapng block that holds no packet."""
        if kind == 0x0A0D0D0A:
            self.interface_count = 0
            if end - p < 16 or self.order16(d, p + 4) != 1 or self.order16(d, p + 6) & 0xFFFD:
                self.broken = D_VERSION
                return False
        elif kind == 1:
            if end - p < 8:
                self.broken = D_INTERFACE
                return False
            if self.interface_count == MAX_INTERFACES:
                self.broken = D_INTERFACES
                return False
            self.describe(d, p, end)
        return self.broken == 0

    def clock(self, ticks: int, resolution: int, offset: int) -> int:
        """Return a pcapng time in nanoseconds, of 1970 to 2255; *resolution* as if_tsresol has it."""
        if resolution & 0x80:
            bits = resolution & 0x7F
            seconds = ticks >> bits if bits < 64 else 0
            rest = ticks - (seconds << bits) if bits < 64 else ticks
            if bits > 34:  # so that rest * 10**9 fits 64 bits
                rest = rest >> (bits - 34) if bits < 98 else 0
                bits = 34
            rest = rest * SECOND >> bits
        else:
            unit = 1
            bits = min(resolution, 19)
            while bits:
                unit *= 10
                bits -= 1
            seconds = ticks // unit if resolution < 20 else 0
            rest = ticks - seconds * unit if resolution < 20 else 0
            if unit <= SECOND:
                rest *= SECOND // unit
            else:
                rest //= unit // SECOND
        whole = min(seconds, LAST_SECOND)
        whole += offset
        return whole * SECOND + rest if 0 <= whole <= LAST_SECOND else 0

    def describe(self, d: Octets, p: int, end: int) -> None:
        """Read an interface description block: link type, snap length, if_tsresol, if_tsoffset."""
        base = self.interface_count * WORDS_OF_INTERFACE
        if self.interface_count == self.interface_room:
            self.make_room()
        self.interface_count += 1
        self.interfaces[base] = self.order16(d, p)
        self.interfaces[base + 1] = self.order32(d, p + 4)
        self.interfaces[base + 2] = 6
        self.interfaces[base + 3] = 0
        p += 8
        while end - p >= 4:
            code = self.order16(d, p)
            size = self.order16(d, p + 2)
            p += 4
            if size > end - p:
                self.broken = D_OPTION
                self.claimed = size
                break
            if code == 0:
                break
            if code == 9 and size == 1:
                self.interfaces[base + 2] = d[p]
            elif code == 14 and size == 8:
                high = self.order32(d, p) if self.big else self.order32(d, p + 4)
                low = self.order32(d, p + 4) if self.big else self.order32(d, p)
                # A signed number of seconds; one that no clock can show is nonsense, and counts for none.
                if high <= 2:
                    self.interfaces[base + 3] = high << 32 | low
                elif high >= LOW32 - 2:
                    self.interfaces[base + 3] = low - ((LOW32 + 1 - high) << 32)
            p += (size + 3) & ~3

    def make_room(self) -> None:
        """Make room for twice as many interfaces."""
        used = WORDS_OF_INTERFACE * self.interface_room
        grown = memoryview(bytearray(2 * 8 * used)).cast("q")
        grown[:used] = self.interface_memory
        self.interface_memory = grown
        self.interfaces = signed_words_in(grown)
        self.interface_room *= 2

    # -- frames --------------------------------------------------------------------------------------------------------

    def frame(self, d: Octets, p: int, end: int, stop: int, link: int, time: int) -> int:
        """Take one frame: captured as d[p:end], *stop* - p octets long on the wire, *time* in nanoseconds.

        What most captures are full of (Ethernet, IPv4, TCP, whole) needs no search.
        """
        self.packets += 1
        if (
            link == 1
            and end - p >= 54
            and u16(d, p + 12) == IPV4
            and d[p + 14] == 0x45
            and d[p + 23] == 6
            and not u16(d, p + 20) & 0x1FFF
            and d[p + 46] >= 0x50
            and u16(d, p + 16) >= 20 + (d[p + 46] >> 4) * 4
        ):
            if self.equal_only and u16(d, p + 34) != u16(d, p + 36):
                self.passed_over += 1
                return 0
            return self.common_frame(d, p, end, time)
        return self.odd_frame(d, p, end, stop, link, time)

    def common_frame(self, d: Octets, p: int, end: int, time: int) -> int:
        """Take a frame that is whole Ethernet, IPv4 and TCP."""
        size = (d[p + 46] >> 4) * 4
        total = u16(d, p + 16)
        end = min(end, p + 14 + total)
        wired = u32(d, p) | u32(d, p + 4) | u32(d, p + 8)  # loopback leaves the addresses zero
        place = (u32(d, p) ^ u32(d, p + 4) * 3 ^ u32(d, p + 8) * 5 ^ d[p + 22] * MIX1) >> 8
        return self.segment(d, p + 14, 0, p + 34, min(size, end - p - 34), total - 20 - size, time, wired != 0, place)

    def odd_frame(self, d: Octets, p: int, end: int, stop: int, link: int, time: int) -> int:
        """Take a frame of any other kind: header after header."""
        c = self.cursor
        c.p, c.end, c.stop, c.place = p, end, stop, 0
        found = self.headers.find(d, c, link)
        if found == FOUND:
            if c.end - c.p < 20:
                found = R_TCP_CUT
            else:
                size = (d[c.p + 12] >> 4) * 4
                if size < 20 or c.stop - c.p < size:
                    found = R_TCP_BAD
                else:
                    wired = link == 1 and (u32(d, p) | u32(d, p + 4) | u32(d, p + 8)) != 0
                    data = c.stop - c.p - size
                    self.segment(d, c.ip, c.six, c.p, min(size, c.end - c.p), data, time, wired, c.place)
        if found >= 0:
            self.counted_reasons[found] += 1
        elif found == UNKNOWN_LINK:
            self.note_link(link)
        return 0

    def note_link(self, link: int) -> None:
        """Count a frame of a link type that is not known here; from MAX_LINKS of them on, all others as -1."""
        if len(self.unknown_links) >= MAX_LINKS and link not in self.unknown_links:
            link = -1
        self.unknown_links[link] = self.unknown_links.get(link, 0) + 1

    def segment(
        self, d: Octets, ip: int, six: int, p: int, size: int, data: int, time: int, wired: bool, place: int
    ) -> int:
        """Put the segment with the TCP header d[p:p+size] into the batch, if it was asked for.

        *ip* is where its IP header begins, *data* the octets of its payload, *place* where the packet was seen (see
        layout.Segment). A is the lower endpoint, whoever sent it.
        """
        one = segment_at(self.batch, self.waiting)
        if six:
            one.a_high = u32(d, ip + 8) << 32 | u32(d, ip + 12)
            one.a_low = u32(d, ip + 16) << 32 | u32(d, ip + 20)
            one.b_high = u32(d, ip + 24) << 32 | u32(d, ip + 28)
            one.b_low = u32(d, ip + 32) << 32 | u32(d, ip + 36)
        else:
            one.a_high = one.b_high = 0
            one.a_low = u32(d, ip + 12)
            one.b_low = u32(d, ip + 16)
        one.a_port, one.b_port = u16(d, p), u16(d, p + 2)
        one.equal = one.a_low == one.b_low and one.a_port == one.b_port and one.a_high == one.b_high
        if (
            (self.equal_only and not one.equal)
            or (self.port and self.port not in (one.a_port, one.b_port))
            or (
                self.host_set
                and (one.a_high != self.host_high or one.a_low != self.host_low)
                and (one.b_high != self.host_high or one.b_low != self.host_low)
            )
        ):
            self.passed_over += 1
            return 0
        one.from_a = one.a_high < one.b_high or (
            one.a_high == one.b_high
            and (one.a_low < one.b_low or (one.a_low == one.b_low and one.a_port <= one.b_port))
        )
        if not one.from_a:
            one.a_high, one.b_high = one.b_high, one.a_high
            one.a_low, one.b_low = one.b_low, one.a_low
            one.a_port, one.b_port = one.b_port, one.a_port
        one.six = six
        one.place = place & LOW32
        one.identification = 0 if six else u16(d, ip + 4)
        one.wired = wired and one.equal
        one.ip = ip
        one.at = p
        one.size = size
        one.data = data
        one.time = time
        one.frame = self.packets
        one.seq, one.ack = u32(d, p + 4), u32(d, p + 8)
        one.flags, one.window = d[p + 13], u16(d, p + 14)
        self.waiting += 1
        if self.waiting == self.room:
            self.hand_over(d)
        return 0

    def hand_over(self, d: Octets) -> None:
        """Step with the segments that wait: what they refer to lies in *d*, which is there only for now."""
        count = self.waiting
        if count:
            self.waiting = 0
            self.table.take_batch(d, self.batch, count)
