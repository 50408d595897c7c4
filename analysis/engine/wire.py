"""From the octets of a capture to segments: reads pcap records and pcapng blocks, and the common frame in one step.

record or block -> frame -> innermost IP packet -> TCP segment -> a batch -> the conversation table
"""

from __future__ import annotations

import cython

from ..memory import mapping, sparse
from .layout import DAMAGES, REASONS
from .protocols import accounted

if not cython.compiled:
    from .headers import Headers
    from .interfaces import Interfaces
    from .interpreted import (
        cursor_in,
        cursor_octets,
        l16,
        l32,
        octets_of,
        place_of,
        segment_at,
        segment_octets,
        segments_in,
        u16,
        u32,
        u64_at,
        words_in,
    )
    from .layout import (
        BATCH,
        D_BLOCK,
        D_INTERFACE,
        D_INTERFACES,
        D_LENGTHS,
        D_ORDER,
        D_PACKET,
        D_PACKET_HEADER,
        D_RECORD,
        D_UNKNOWN_INTERFACE,
        D_VERSION,
        FOUND,
        IP_PROTOCOL,
        IPV4_OF_20_OCTETS,
        KINDS,
        LOW16,
        LOW32,
        LOW64,
        MANY,
        MAX_BLOCK,
        MAX_INTERFACES,
        MAX_RECORD,
        MIX1,
        MIX2,
        OTHER,
        QUOTED,
        R_TCP_BAD,
        R_TCP_CUT,
        SECOND,
        WORDS_OF_INTERFACE,
        Cursor,
        Segment,
    )
    from .translations import AllConversations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ..model import Octets

#: Whether this is the compiled engine.
COMPILED: bool = cython.compiled


def is_common(d: Octets, p: int) -> bool:
    """Whether the Ethernet frame at *p*, of 54 octets or more, holds TCP in IPv4 without options."""
    head = u64_at(d, p + 16)  # total length, identification, fragment, TTL, protocol
    size = d[p + 46] >> 4 << 2
    return (
        u32(d, p + 12) >> 8 == IPV4_OF_20_OCTETS and head & 0x1FFF00FF == 6 and size >= 20 and head >> 48 >= 20 + size
    )


def read_common(d: Octets, p: int, end: int, where: int, one: Segment) -> None:
    """Read the common frame d[p:end] (see is_common()) into *one*, all but its time and its number."""
    head, ends, ports, numbers = u64_at(d, p + 16), u64_at(d, p + 26), u32(d, p + 34), u64_at(d, p + 38)
    size = d[p + 46] >> 4 << 2
    source = ends >> 32 << 16 | ports >> 16
    target = (ends & LOW32) << 16 | (ports & LOW16)
    from_a = source <= target
    low, high = (source, target) if from_a else (target, source)
    one.a_high = one.b_high = one.six = 0
    one.a_low, one.a_port, one.b_low, one.b_port = low >> 16, low & LOW16, high >> 16, high & LOW16
    one.from_a = from_a
    one.equal = source == target
    one.size = min(size, end - p - 34)
    one.data = (head >> 48) - 20 - size
    one.identification = head >> 32 & LOW16
    one.wired = one.equal and (u32(d, p) | u64_at(d, p + 4)) != 0  # loopback leaves the link addresses zero
    one.place = place_of(d, p, where)
    one.ip, one.at = p + 14, p + 34
    one.seq, one.ack = numbers >> 32, numbers & LOW32
    one.flags, one.window = d[p + 47], u16(d, p + 48)


class Engine:
    """Reads the octets of one capture, and steps the conversation table with its segments.

    *capacity*, *collect*, *most*, *keep* and *frames* are those of Conversations. With *equal_only* it passes over all
    segments but those whose two endpoints are equal; with *port* and *host* (a packed address) all but those from or to
    there.
    """

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
        self.of_table = (capacity, collect, most, keep, not equal_only)
        self.table = AllConversations(*self.of_table, frames)
        self.equal_only = equal_only
        self.port = port
        self.host_set = len(host) > 0
        self.picky = equal_only or port != 0 or self.host_set
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
        #: Frames that carry no TCP, and frames that this program cannot read, by kind; the kinds in the order of their
        #: first frame.
        self.account_memory = memoryview(sparse(8 * KINDS)).cast("Q")
        self.account = words_in(self.account_memory)
        self.kinds: list[int] = []
        #: Frames from a socket to itself that are cut before the TCP flags, and the snap length that would keep them.
        self.cut_to_itself = self.needed_snaplen = 0
        #: Frames so far; and segments that were passed over because they are not among those that were asked for.
        self.packets = self.passed_over = 0
        # Where the last call of pcap() or pcapng() stopped, how many octets it needs from there, and what is broken
        # there.
        self.position = self.need = 0
        self.broken = self.claimed = 0
        # The shape of the file.
        self.big = False
        self.record_header = 16
        self.scale = 1000
        self.link = 1
        self.lengths = 0
        self.interfaces = Interfaces()
        self.where = MIX2  # the interface of the current frame: the hash of its place begins with it

    def begin_part(self, heads: bool) -> None:
        """Prepare to analyse one part of a capture, or (without *heads*) to merge the parts of one."""
        from .partial import PartialConversations  # noqa: PLC0415 - seldom needed, and the largest of all

        table = PartialConversations(*self.of_table)
        table.begin(heads)
        self.table = table

    @property
    def segments(self) -> int:
        """TCP segments so far."""
        return int(self.passed_over + self.table.segments)

    @property
    def accounted(self) -> dict[int, int]:
        """Frames that carry no TCP, and frames that this program cannot read, by kind (layout.py)."""
        return {kind: self.account_memory[kind] for kind in sorted(self.kinds)}

    @property
    def other(self) -> dict[str, int]:
        """Frames that carry no TCP, by name, most of them first."""
        return accounted(self.accounted, unknown=False)

    @property
    def unknown(self) -> dict[str, int]:
        """Frames that this program cannot read, and that may carry TCP, by name, most of them first."""
        return accounted(self.accounted, unknown=True)

    @property
    def damage(self) -> str:
        """What is broken in the file where the last reading stopped; empty if nothing is."""
        return DAMAGES[self.broken].format(self.claimed)

    def finish(self) -> None:
        """End every opening: the capture is over."""
        self.table.frame = self.packets
        self.table.finish()

    # -- pcap ----------------------------------------------------------------------------------------------------------

    def next_file(self) -> None:
        """Prepare for the beginning of another file."""
        self.broken = self.interfaces.broken = 0
        self.interfaces.count = 0

    def begin_pcap(self, big: bool, header: int, scale: int, link: int, lengths: int) -> None:
        """Expect pcap records: byte order, octets of a record header, nanoseconds per tick, link type.

        *lengths* says in which order the two lengths of a record stand (formats/pcap.py).
        """
        self.big = big
        self.record_header = header
        self.scale = scale
        self.link = link
        self.lengths = lengths
        self.where = MIX2

    def pcap(self, octets: Octets, i: int, end: int) -> None:
        """Read the whole pcap records in octets[i:end], which is not empty."""
        d = octets_of(octets)
        with cython.nogil:
            if self.lengths:
                self.records(d, i, end, self.lengths)
            else:
                self.read_records(d, i, end)
            self.hand_over(d)

    def read_records(self, d: Octets, i: int, end: int) -> None:
        """Read pcap records whose two lengths stand in the right order."""
        self.records(d, i, end, 0)

    def records(self, d: Octets, i: int, end: int, lengths: int) -> None:
        """Read pcap records; the interpreter's lock is not held, so other threads run meanwhile."""
        header = self.record_header
        link = self.link
        self.need = header
        plain = link == 1 and lengths == 0
        while True:
            if plain:
                i = self.pass_over(d, i, end) if self.equal_only else self.common_records(d, i, end)
            if end - i < header:
                break
            if self.big:
                seconds, ticks, size, wire = u32(d, i), u32(d, i + 4), u32(d, i + 8), u32(d, i + 12)
            else:
                seconds, ticks, size, wire = l32(d, i), l32(d, i + 4), l32(d, i + 8), l32(d, i + 12)
            if lengths == 2 or (lengths == 1 and size > wire):
                size, wire = wire, size
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

    def common_records(self, d: Octets, i: int, end: int) -> int:
        """Take records in a row whose frames are common and whole; return where the first one begins that is none.

        Only where they are little-endian, and all segments are asked for: what is the same for all is looked up once.
        """
        if self.big or self.picky:
            return i
        header, scale, where, batch, room = self.record_header, self.scale, self.where, self.batch, self.room
        packets, waiting = self.packets, self.waiting
        last = end - header - 54
        while i <= last:
            p, size = i + header, l32(d, i + 8)
            if size < 54 or size > MAX_RECORD or size > end - p or not is_common(d, p):
                break
            one = segment_at(batch, waiting)
            read_common(d, p, p + size, where, one)
            packets, waiting = packets + 1, waiting + 1
            one.time, one.frame = l32(d, i) * SECOND + l32(d, i + 4) * scale, packets
            i = p + size
            if waiting == room:
                self.packets, self.waiting = packets, waiting
                self.hand_over(d)
                waiting = 0
        self.packets, self.waiting = packets, waiting
        return i

    def pass_over(self, d: Octets, i: int, end: int) -> int:
        """Pass over records whose segments have unequal ports; return where the first one begins that is none of them.

        They are common frames (see frame()), whole and of no damage.
        """
        packets = 0
        header = self.record_header
        big = self.big
        last = end - header - 54
        while i <= last:
            p = i + header
            size = u32(d, i + 8) if big else l32(d, i + 8)
            if size < 54 or size > MAX_RECORD or size > end - p or not is_common(d, p):
                break
            ports = u32(d, p + 34)
            if ports >> 16 == ports & LOW16:
                break
            i = p + size
            packets += 1
        self.packets += packets
        self.passed_over += packets
        return i

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
            if self.interfaces.count and self.interfaces.words[1]:
                size = min(size, self.interfaces.words[1])
        else:
            return self.other_block(d, kind, p, end)
        if which >= self.interfaces.count:
            self.broken = D_UNKNOWN_INTERFACE
            self.claimed = which
            return False
        if size > end - p or size > MAX_RECORD:
            self.broken = D_PACKET
            self.claimed = size
            return False
        self.where = MIX2 ^ which
        which *= WORDS_OF_INTERFACE
        if kind == 6 and end - p - size >= 8:
            self.interfaces.big = self.big
            self.where ^= self.interfaces.packet_options(d, p + ((size + 3) & ~3), end, which) * MIX1
        elif kind == 2 and 0 < self.order16(d, p - 18) < 0xFFFF:
            self.interfaces.dropped(which, 5, self.interfaces.words[which + 5] + self.order16(d, p - 18))
        time = (
            0
            if kind == 3
            else self.interfaces.clock(ticks, self.interfaces.words[which + 2], self.interfaces.words[which + 3])
        )
        self.frame(d, p, p + size, p + wire, self.interfaces.words[which], time)
        return True

    def other_block(self, d: Octets, kind: int, p: int, end: int) -> bool:
        """Read a pcapng block that holds no packet."""
        self.interfaces.big = self.big
        if kind == 0x0A0D0D0A:
            self.interfaces.count = 0
            if end - p < 16 or self.order16(d, p + 4) != 1 or self.order16(d, p + 6) & 0xFFFD:
                self.broken = D_VERSION
                return False
        elif kind == 1:
            if end - p < 8:
                self.broken = D_INTERFACE
                return False
            if self.interfaces.count == MAX_INTERFACES:
                self.broken = D_INTERFACES
                return False
            self.interfaces.describe(d, p, end)
            self.broken, self.claimed = self.interfaces.broken, self.interfaces.claimed
        elif kind == 5 and end - p >= 12 and self.order32(d, p) < self.interfaces.count:
            self.interfaces.statistics(d, p + 12, end, self.order32(d, p) * WORDS_OF_INTERFACE)
        return self.broken == 0

    # -- frames --------------------------------------------------------------------------------------------------------

    def frame(self, d: Octets, p: int, end: int, stop: int, link: int, time: int) -> int:
        """Take one frame: captured as d[p:end], *stop* - p octets long on the wire, *time* in nanoseconds.

        The most common frame (whole Ethernet, IPv4 and TCP) is read without a search.
        """
        self.packets += 1
        if link == 1 and end - p >= 54 and is_common(d, p):
            if self.equal_only:
                ports = u32(d, p + 34)
                if ports >> 16 != ports & LOW16:
                    self.passed_over += 1
                    return 0
            return self.common_frame(d, p, end, time)
        return self.odd_frame(d, p, end, stop, link, time)

    def common_frame(self, d: Octets, p: int, end: int, time: int) -> int:
        """Take a frame that is whole Ethernet, IPv4 and TCP."""
        one = segment_at(self.batch, self.waiting)
        read_common(d, p, end, self.where, one)
        if self.picky and not self.is_asked_for(one):
            self.passed_over += 1
            return 0
        one.time = time
        return self.put(d, one)

    def odd_frame(self, d: Octets, p: int, end: int, stop: int, link: int, time: int) -> int:
        """Take a frame of any other kind: header after header."""
        c = self.cursor
        c.p, c.end, c.stop, c.place = p, end, max(stop, end), self.where
        found = self.headers.find(d, c, link)
        if found == FOUND:
            found = self.odd_segment(d, c, p, link, time)
        elif found == QUOTED:
            self.quoted(d, c, time)
            found = OTHER
        if found >= 0:
            self.counted_reasons[found] += 1
        elif found == OTHER:
            if not self.account[c.kind]:
                self.note_kind(c.kind)
            self.account[c.kind] += 1
        return 0

    def odd_segment(self, d: Octets, c: Cursor, p: int, link: int, time: int) -> int:
        """Take the TCP segment at *c*, of the frame that begins at *p*; return FOUND, or the reason why it is none.

        A first fragment need not hold more of the TCP header than its fixed 20 octets.
        """
        if c.end - c.p < 20:
            if c.end - c.p >= 4 and c.stop - c.p >= 20 and self.is_to_itself(d, c):
                self.cut_to_itself += 1
                self.needed_snaplen = max(self.needed_snaplen, c.p + 20 - p)
            return R_TCP_CUT
        size = (d[c.p + 12] >> 4) * 4
        if size < 20 or (c.stop - c.p < size and not (c.fragment and c.stop - c.p >= 20)):
            return R_TCP_BAD
        one = segment_at(self.batch, self.waiting)
        one.size = min(size, c.end - c.p)
        one.data = max(c.stop - c.p - size, 0)
        one.time = time
        one.wired = link == 1 and (u32(d, p) | u32(d, p + 4) | u32(d, p + 8)) != 0
        one.place = c.place & LOW32
        one.six = c.six
        self.segment(d, one, c.ip, c.source, c.target, c.p)
        return FOUND

    def is_to_itself(self, d: Octets, c: Cursor) -> bool:
        """Whether the two endpoints of the cut TCP header at *c* are equal, and segments from there were asked for."""
        one = segment_at(self.batch, self.waiting)
        one.six = c.six
        return self.ends(d, one, c.source, c.target, c.p) and one.equal

    def quoted(self, d: Octets, c: Cursor, time: int) -> int:
        """Handle the ICMP error at *c*, if it quotes at least the ports and the sequence number of a TCP header.

        Afterwards ``c.kind`` is ICMP again; the other fields of *c* are those of the quoted packet.
        """
        sender, outer, kind, code = c.source, c.six, d[c.p], d[c.p + 1]
        if self.headers.quoted(d, c) == FOUND:
            self.hand_over(d)
            one = segment_at(self.batch, 0)
            one.six = c.six
            if self.ends(d, one, c.source, c.target, c.p):
                one.time = time
                one.frame = self.packets
                one.seq = u32(d, c.p + 4)
                self.refused(d, one, sender, sender + (16 if outer else 4), kind, code)
        c.kind = IP_PROTOCOL + (58 if outer else 1)
        return 0

    def refused(self, d: Octets, one: Segment, sender: int, after: int, kind: int, code: int) -> None:
        """Tell the table of an ICMP error from d[sender:after]."""
        self.table.unreachable(one, bytes(d[sender:after]), kind, code)

    def note_kind(self, kind: int) -> None:
        """Note the first frame of a kind."""
        self.kinds.append(kind)

    def add_accounted(self, kind: int, count: int) -> None:
        """Count frames of a kind that another part of the capture had."""
        if not self.account_memory[kind]:
            self.kinds.append(kind)
        self.account_memory[kind] += count

    def ends(self, d: Octets, one: Segment, source: int, target: int, p: int) -> bool:
        """Read the addresses at *source* and *target*, and the ports at *p*; return whether the segment is asked for.

        A becomes the lower endpoint, whichever of them sent it.
        """
        if one.six:
            one.a_high = u32(d, source) << 32 | u32(d, source + 4)
            one.a_low = u32(d, source + 8) << 32 | u32(d, source + 12)
            one.b_high = u32(d, target) << 32 | u32(d, target + 4)
            one.b_low = u32(d, target + 8) << 32 | u32(d, target + 12)
        else:
            one.a_high = one.b_high = 0
            one.a_low = u32(d, source)
            one.b_low = u32(d, target)
        one.a_port, one.b_port = u16(d, p), u16(d, p + 2)
        one.equal = one.a_low == one.b_low and one.a_port == one.b_port and one.a_high == one.b_high
        if self.picky and not self.is_asked_for(one):
            return False
        one.from_a = one.a_high < one.b_high or (
            one.a_high == one.b_high
            and (one.a_low < one.b_low or (one.a_low == one.b_low and one.a_port <= one.b_port))
        )
        if not one.from_a:
            one.a_high, one.b_high = one.b_high, one.a_high
            one.a_low, one.b_low = one.b_low, one.a_low
            one.a_port, one.b_port = one.b_port, one.a_port
        return True

    def segment(self, d: Octets, one: Segment, ip: int, source: int, target: int, p: int) -> int:
        """Put a segment into the batch, if it was asked for: TCP header at *p*, addresses at *source* and *target*.

        *ip* is where its IP header begins; *one* has its version, time, sizes and place already.
        """
        if not self.ends(d, one, source, target, p):
            self.passed_over += 1
            return 0
        one.identification = 0 if one.six else u16(d, ip + 4)
        one.wired = one.wired and one.equal
        one.ip = ip
        one.at = p
        one.seq, one.ack = u32(d, p + 4), u32(d, p + 8)
        one.flags, one.window = d[p + 13], u16(d, p + 14)
        return self.put(d, one)

    def is_asked_for(self, one: Segment) -> bool:
        """Whether segments between the endpoints of *one* were asked for."""
        if self.equal_only and not one.equal:
            return False
        if self.port and self.port not in (one.a_port, one.b_port):
            return False
        return not self.host_set or (
            (one.a_high == self.host_high and one.a_low == self.host_low)
            or (one.b_high == self.host_high and one.b_low == self.host_low)
        )

    def put(self, d: Octets, one: Segment) -> int:
        """Put a segment of the current frame into the batch, and step the table with a full batch."""
        one.frame = self.packets
        self.waiting += 1
        if self.waiting == self.room:
            self.hand_over(d)
        return 0

    def hand_over(self, d: Octets) -> None:
        """Step the table with the waiting segments. Their octets are in *d*, only while this runs."""
        count = self.waiting
        if count:
            self.waiting = 0
            self.table.take_batch(d, self.batch, count)
