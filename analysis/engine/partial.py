"""The conversation table of one part of a capture.

A part logs what depends on the part before it; the log is worked through when the parts are merged. analysis/partial.py
says what a part is, and how parts are merged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cython

from ..memory import mapping
from ..model import Refusals
from ..verdicts import VERDICTS
from .destinations import chosen

if not cython.compiled:
    from .destinations import packed
    from .interpreted import (
        header_of,
        octets_of,
        remember_header,
        segment_at,
        segment_octets,
        segments_in,
        slot_at,
        u16,
        u32,
    )
    from .layout import (
        ACK,
        ALL,
        CONTROL,
        EARLY,
        ENDED,
        EQUAL,
        FIN,
        FIN_A,
        FIN_B,
        FINS,
        FIRST_IS_B,
        FULL,
        HEAD,
        KEPT,
        LEFT_OUT,
        LOW48,
        LOW64,
        MAX_LOG,
        MID,
        NEAR,
        P_MIDSTREAM,
        P_SELF_CONNECT,
        P_SYN,
        P_SYN_ACKED,
        RST,
        SYN,
        TOUCHED,
        UNTRACKED,
        WALK,
        WALKS,
        Segment,
        Slot,
    )
    from .translations import AllConversations

if TYPE_CHECKING:
    from ..model import Octets
    from .destinations import Attempts
    from .layout import Finished, Kept, Key


class Logged(NamedTuple):
    """What a part cannot decide without what came before it.

    A segment: its frame, time (nanoseconds), 4-tuple, ``data`` octets of payload and ``size`` octets of TCP header;
    ``packet`` ends with that header, and has the IP header before it where the packet may be a copy of an earlier one.
    ``refused_a`` and ``refused_b`` are how many attempts at its two ends the part had seen refused by then. With a
    ``size`` of 0 it is a SYN from which on the 4-tuple is independent, with its number in ``packet``; with -1 it says
    that ``data`` segments which cannot change anything were left out; with -2 that a SYN-ACK or RST, whose header is in
    ``packet``, answers nothing in its own 4-tuple; with -3 that an ICMP error quotes the SYN with the number and the
    sender in ``packet`` (see miss_error). ``duplicate`` says that the part took it for one: 1, or 2 if it counted it.
    """

    frame: int
    time: int
    a_high: int
    a_low: int
    b_high: int
    b_low: int
    a_port: int
    b_port: int
    six: int
    from_a: bool = False
    wired: bool = False
    data: int = 0
    size: int = 0
    packet: bytes = b""
    refused_a: int = 0
    refused_b: int = 0
    place: int = 0
    identification: int = 0
    duplicate: int = 0


class SlotState(NamedTuple):
    """The fields of a Slot except its header, as a value that can be sent to another process."""

    a_high: int
    a_low: int
    b_high: int
    b_low: int
    a_port: int
    b_port: int
    six: int
    phase: int
    before: int
    size: int
    flags: int
    retransmissions: int
    isn: int
    isn_second: int
    next_first: int
    next_second: int
    reach: int
    another: int
    acked_first: int
    acked_second: int
    edge_first: int
    edge_second: int
    scale_first: int
    scale_second: int
    identification: int
    syn_data: int
    syn_data_second: int
    early_isn: int
    early_seq: int
    early_end: int
    early_reach: int
    time: int
    frame: int
    refused: int
    since: int
    early_time: int
    ended_at: int


class Tail(NamedTuple):
    """The state of a 4-tuple at the end of a part, and what is kept of it."""

    state: SlotState
    header: bytes
    kept: list[Kept] | None
    omitted: int
    early: list[Kept] | None
    lent: tuple[int, bytes, int, bool] | None = None
    error: tuple[int, int, bytes, int, int] | None = None
    link: int = 0


def key_of(high: int, low: int, port: int, six: int) -> Key:
    """Return the key of a destination."""
    return high, low, port | (six << 32 if six else 0)


def destination(one: Finished) -> Key:
    """Return the key of an opening's destination."""
    number = int.from_bytes(one.two, "big")
    return key_of(number >> 64, number & LOW64, one.two_port, int(len(one.two) == 16))


class PartialConversations(AllConversations):
    """The table of one part, or (without *heads*) the table into which the parts are merged one after the other.

    ``unsure`` says that the result may differ from that of the whole read in one go. ``ring`` has the last NEAR
    packets, by frame, as log entries: a copy of one may come in the next part. ``refusals`` are the refused attempts by
    destination, ``fresh`` those that were added since analysis/partial.py asked for them.
    """

    def __init__(self, capacity: int, collect: int, most: int, keep: int, count_refusals: bool) -> None:
        AllConversations.__init__(self, capacity, collect, most, keep, count_refusals)
        self.unsure = False
        self.mark_a = self.mark_b = 0
        self.log: list[Logged] = []
        self.ring: dict[int, Logged] = {}
        self.refusals: dict[Key, Refusals] = {}
        self.fresh: dict[Key, list[tuple[int, int, int]]] | None = None
        self.finished_at: list[int] = []
        self.again_memory = memoryview(mapping(max(segment_octets(), 1)))
        self.again_batch = segments_in(self.again_memory)

    def begin(self, heads: bool) -> None:
        """Say whether something comes before this part."""
        self.heads = heads
        self.zone = NEAR if heads else 0

    # -- what a part does otherwise than a whole -----------------------------------------------------------------------

    def remember_packet(self, segment: Segment, d: Octets) -> int:
        """Remember a packet: a copy of it may come in the next part."""
        octets = bytes(d[segment.ip : segment.at + segment.size])
        self.ring[segment.frame % NEAR] = self.entry(segment, octets, segment.size)
        return 0

    def log_possible_copy(self, segment: Segment, d: Octets) -> int:
        """Log a segment of the first NEAR frames: it may be a copy of a packet in the part before.

        Or a copy of one of those: if that is a copy itself, this one may come too late after the first of them.
        """
        packet = bytes(d[segment.ip : segment.at + segment.size])
        taken = 0 if not segment.duplicate else 1 if segment.frame < self.zone else 2
        self.write_log(self.entry(segment, packet, segment.size)._replace(duplicate=taken))
        return 0

    def entry(self, segment: Segment, packet: bytes, size: int) -> Logged:
        """Return a log entry about a segment, with the octets that will be needed to step with it."""
        return Logged(
            segment.frame,
            segment.time,
            segment.a_high,
            segment.a_low,
            segment.b_high,
            segment.b_low,
            segment.a_port,
            segment.b_port,
            segment.six,
            segment.from_a,
            segment.wired,
            segment.data,
            size,
            packet,
            place=segment.place,
            identification=segment.identification,
        )

    def log_of_slot(self, s: Slot, time: int, data: int, size: int) -> Logged:
        """Return a log entry about the 4-tuple of a slot that is no segment."""
        return Logged(
            self.frame, time, s.a_high, s.a_low, s.b_high, s.b_low, s.a_port, s.b_port, s.six, data=data, size=size
        )

    def head(self, slot: int, segment: Segment, d: Octets) -> bool:
        """Whether this segment depends on what came before the part; it is logged then, and steps nothing.

        A 4-tuple becomes independent at a bare SYN that begins an opening in every state: one after FINs of both ends,
        or one right after another SYN of the same end with another ISN. (Right after: no SYN of the other end between,
        which might have crossed. In both cases no SYN-ACK, which might be early. An RST makes none independent, since
        it may end nothing.) Until then ``refused`` counts the segments without SYN, RST or FIN since the last one that
        has one, and ``since`` those of them that are not logged.
        """
        s = slot_at(self.slots, slot)
        control = segment.flags & CONTROL
        self.doubt_answers(slot, segment, control)
        if control == SYN:
            side = 0 if segment.from_a else FIRST_IS_B
            another = s.flags & MID and s.flags & FIRST_IS_B == side and s.isn != segment.seq
            if another or (s.flags & ENDED and not s.flags & EARLY):
                self.log_independent(slot, segment)
                s.flags = (s.flags & EQUAL) | TOUCHED
                s.phase = P_MIDSTREAM
                return False
            s.flags = (s.flags & (EQUAL | HEAD)) | TOUCHED | MID | side
            s.isn = segment.seq
            s.time, s.identification = segment.time, segment.identification
        elif control == SYN | ACK:
            s.flags = (s.flags & (EQUAL | HEAD)) | TOUCHED | EARLY
        else:
            # The SYN of a socket to itself may come after its FIN.
            if control & FIN and not control & RST and not s.flags & EQUAL:
                s.flags |= FIN_A if segment.from_a else FIN_B
                if s.flags & FINS == FINS:
                    s.flags |= ENDED
            if control & ~FIN != ACK:
                s.flags &= ~EARLY
            s.flags |= TOUCHED
        self.segments -= 1
        if control & (SYN | RST | FIN):
            s.refused = 0
        else:
            s.refused += 1
            if s.refused > FULL:
                s.since += 1
                return True
        self.flush(slot)
        self.write_log(self.entry(segment, bytes(d[segment.at : segment.at + segment.size]), segment.size))
        return True

    def doubt_answers(self, slot: int, segment: Segment, control: int) -> int:
        """Become unsure if a logged segment may answer from elsewhere what this part decides, or be its other side."""
        if not self.count_refusals:
            return 0
        if control == SYN:
            twin = self.answers.enter(self.slots, slot, segment)
            if twin >= 0 and not slot_at(self.slots, twin).flags & HEAD:
                self.unsure = True
        elif control & ACK and control & (SYN | RST) and self.answers.find(self.slots, segment) >= 0:
            self.unsure = True
        return 0

    def link(self, slot: int, twin: int) -> int:
        """Note that the openings in these two slots are the two sides of one translated connection."""
        if slot_at(self.slots, twin).flags & HEAD:
            self.unsure = True
            return 0
        return AllConversations.link(self, slot, twin)

    def miss(self, slot: int, segment: Segment, d: Octets) -> int:
        """Log a SYN-ACK or RST that answers nothing here: it may answer a SYN in the part before."""
        AllConversations.miss(self, slot, segment, d)
        if self.heads:
            self.write_log(self.entry(segment, bytes(d[segment.at : segment.at + 20]), -2))
        return 0

    def miss_error(self, quoted: Segment, sender: bytes, kind: int, code: int) -> int:
        """Log an ICMP error: the SYN that it quotes may be in the part before."""
        if self.heads:
            packet = int(quoted.seq).to_bytes(4, "big") + bytes((kind, code)) + sender
            self.write_log(self.entry(quoted, packet, -3))
        return 0

    def log_independent(self, slot: int, segment: Segment) -> None:
        """Log that from this SYN on the 4-tuple is independent."""
        self.flush(slot)
        self.write_log(self.entry(segment, int(segment.seq).to_bytes(4, "big"), 0))

    def flush(self, slot: int) -> None:
        """Log how many segments were left out of the log of *slot* since its last one."""
        s = slot_at(self.slots, slot)
        if s.flags & HEAD and s.since:
            self.log.append(self.log_of_slot(s, 0, s.since, -1))
            s.since = 0

    def write_log(self, entry: Logged) -> None:
        """Write to the log, while there is room, and how many attempts were refused by then."""
        if len(self.log) >= MAX_LOG:
            self.unsure = True
        else:
            at_a = self.refused_at(key_of(entry.a_high, entry.a_low, entry.a_port, entry.six)) + self.mark_a
            at_b = self.refused_at(key_of(entry.b_high, entry.b_low, entry.b_port, entry.six)) + self.mark_b
            self.log.append(entry._replace(refused_a=at_a, refused_b=at_b))

    def hand_on(self, slot: int, verdict: int) -> None:
        """Put the opening in *slot* on the list of the finished, and remember when it ended."""
        self.finished_at.append(self.frame)
        AllConversations.hand_on(self, slot, verdict)

    def make_room(self) -> int:
        """Put the oldest conversation out; become unsure: read in one go, another one might be the oldest."""
        self.unsure = True
        return AllConversations.make_room(self)

    def refused_at(self, key: Key) -> int:
        """Return how many attempts at a destination were refused so far, in what is decided."""
        known = self.refusals.get(key)
        return known.count if known else 0

    def recall(self, s: Slot) -> None:
        """Note in this slot how many attempts at its destination were refused so far, and the current frame.

        Those count, too, that the part being merged had by then.
        """
        if s.flags & FIRST_IS_B:
            s.refused = self.refused_at(key_of(s.a_high, s.a_low, s.a_port, s.six)) + self.mark_a
        else:
            s.refused = self.refused_at(key_of(s.b_high, s.b_low, s.b_port, s.six)) + self.mark_b
        s.since = self.frame

    def refuse(self, s: Slot) -> None:
        """Note the opening in this slot as a refused attempt."""
        if s.flags & FIRST_IS_B:
            key, port = key_of(s.a_high, s.a_low, s.a_port, s.six), s.b_port
        else:
            key, port = key_of(s.b_high, s.b_low, s.b_port, s.six), s.a_port
        known = self.refusals.get(key)
        if known is None:
            known = self.refusals[key] = Refusals()
        known.count += 1
        known.frame = self.frame
        known.time = s.time
        if known.count <= WALK:
            known.first.append((self.frame, known.time, port))
        if self.fresh is not None:
            self.fresh.setdefault(key, []).append((self.frame, known.time, port))

    def walks(self) -> list[Attempts]:
        """Return the refused attempts by destination, of all parts."""
        from array import array  # noqa: PLC0415 - seldom needed

        found = []
        for key, _ in zip(self.chosen_destinations(), range(WALKS), strict=False):
            known = self.refusals[key]
            start = known.first[0][1]
            ports = array("H", [port for _, _, port in known.first])
            times = array("Q", [(then - start) & LOW48 for _, then, _ in known.first])
            address = packed(key[0], key[1], key[2] >> 32)
            found.append((address, key[2] & 0xFFFF, known.count, start, known.time, ports, times))
        return found

    def chosen_destinations(self) -> list[Key]:
        """Return the destinations that find a place, in the order of their first refusal."""
        return chosen(sorted(self.refusals, key=lambda key: self.refusals[key].first[0][0]))

    def finish(self) -> None:
        """Sort the openings of all parts by when they ended, and note how many attempts were refused before each."""
        AllConversations.finish(self)
        order = sorted(range(len(self.finished)), key=self.finished_at.__getitem__)
        with_place = set(self.chosen_destinations())
        seen = [0] * len(VERDICTS)
        found = []
        for at in order:
            one = self.finished[at]
            seen[one.verdict] += 1
            if seen[one.verdict] > self.most:
                continue
            key = destination(one)
            count = one.refused if key in with_place else 0
            since = self.refusals[key].first[0][1] if count else 0
            found.append(one._replace(refused=count, since=since))
        self.finished = found

    # -- merging -------------------------------------------------------------------------------------------------------

    def put_in_hand(self, one: Logged, base: int) -> int:
        """Make a log entry the current segment; *base* is the number of frames before its part."""
        segment = segment_at(self.again_batch, 0)
        segment.frame = base + one.frame
        segment.time = one.time
        segment.a_high, segment.a_low, segment.b_high, segment.b_low = one.a_high, one.a_low, one.b_high, one.b_low
        segment.a_port, segment.b_port, segment.six = one.a_port, one.b_port, one.six
        segment.equal = one.a_high == one.b_high and one.a_low == one.b_low and one.a_port == one.b_port
        segment.from_a, segment.wired = one.from_a, one.wired
        segment.data, segment.place, segment.identification = one.data, one.place, one.identification
        segment.ip = segment.at = segment.size = 0
        self.frame = segment.frame
        return 0

    def read_header(self, d: Octets, at: int, size: int) -> int:
        """Read the TCP header d[at:at+size] into the segment in hand; an IP header is before it if *at* is not 0."""
        segment = segment_at(self.again_batch, 0)
        segment.at, segment.size = at, size
        segment.seq, segment.ack = u32(d, at + 4), u32(d, at + 8)
        segment.flags, segment.window = d[at + 13], u16(d, at + 14)
        return 0

    def again(self, one: Logged, base: int) -> None:
        """Work through one log entry, now that what came before its part is known: *base* frames."""
        self.put_in_hand(one, base)
        self.mark_a, self.mark_b = one.refused_a, one.refused_b
        size = one.size
        if size > 0:
            self.again_segment(one, len(one.packet) - size)
        elif size == -3:
            self.again_error(one.packet)
        else:
            self.index.digest_batch(self.again_batch, 1)
            slot = self.index.find(segment_at(self.again_batch, 0), self.slots)
            if size == -2:
                self.again_answer(one, slot)
            elif slot < 0:
                self.unsure = True
            elif size == 0:
                self.independent(slot, one)
            else:
                self.left_out(slot, one.data)
        self.mark_a = self.mark_b = 0

    def again_segment(self, one: Logged, at: int) -> int:
        """Step with a logged segment whose TCP header begins at *at*; where that is not 0, look for copies first."""
        segment = segment_at(self.again_batch, 0)
        d = octets_of(one.packet)
        self.read_header(d, at, one.size)
        self.index.digest_batch(self.again_batch, 1)
        slot = self.index.find(segment, self.slots)
        if slot >= 0 and segment.flags & RST and slot_at(self.slots, slot).flags & LEFT_OUT:
            self.unsure = True  # the segments that were left out might decide whether it ends the opening
        if one.duplicate:
            self.again_copy(one, d)
            return 0
        if at:
            self.take_batch(d, self.again_batch, 1)
            return 0
        self.segments += 1
        if slot < 0:
            slot = self.claim(segment)
        self.step(slot, segment, d)
        return 0

    def again_copy(self, one: Logged, d: Octets) -> int:
        """Handle a logged segment that the part took for a duplicate."""
        segment = segment_at(self.again_batch, 0)
        self.index.digest_batch(self.again_batch, 1)
        self.duplicates_seen.digest_batch(d, self.again_batch, 1)
        self.duplicates_seen.mark(d, self.again_batch, 1)
        self.unsure = self.unsure or not segment.duplicate
        if segment.frame >= self.zone:
            self.duplicates += one.duplicate == 1
        if segment.frame - segment.duplicate < self.zone:
            self.log_possible_copy(segment, d)
        return 0

    def again_error(self, packet: bytes) -> int:
        """Handle a logged ICMP error."""
        segment = segment_at(self.again_batch, 0)
        segment.seq = int.from_bytes(packet[:4], "big")
        self.unreachable(segment, packet[6:], packet[4], packet[5])
        return 0

    def again_answer(self, one: Logged, slot: int) -> int:
        """Handle a logged segment that answers nothing in its own 4-tuple, which *slot* has."""
        d = octets_of(one.packet)
        segment = segment_at(self.again_batch, 0)
        self.read_header(d, 0, 20)
        if self.answers.find(self.slots, segment) < 0:
            self.miss(slot, segment, d)
        else:  # the part has decided already what its own conversation counts as
            self.unsure = True
        return 0

    def independent(self, slot: int, one: Logged) -> None:
        """Handle the SYN with which the conversation in *slot* became independent in the part."""
        s = slot_at(self.slots, slot)
        segment = segment_at(self.again_batch, 0)
        segment.seq = int.from_bytes(one.packet, "big")
        if s.flags & HEAD:
            self.log_independent(slot, segment)
        elif s.phase >= P_SYN:
            self.close(slot)
        s.flags = (s.flags & EQUAL) | TOUCHED
        s.phase = P_MIDSTREAM
        s.before = 0
        s.retransmissions = 0
        if self.count_refusals and self.answers.enter(self.slots, slot, segment) >= 0:
            self.unsure = True  # the opening that it begins is the other side of one that came before the part

    def left_out(self, slot: int, count: int) -> None:
        """Count segments without SYN, RST or FIN that the part did not log; become unsure where they could matter."""
        s = slot_at(self.slots, slot)
        phase = s.phase
        if s.flags & HEAD:
            s.refused += count
            s.since += count
            count = 0
            phase = 0
        self.segments += count
        if s.flags & KEPT:
            kept = len(self.kept.segments[slot])
            if kept < FULL or (kept < ALL and s.flags & FINS):
                self.unsure = True
            self.kept.omitted[slot] = self.kept.omitted.get(slot, 0) + count
        s.flags |= UNTRACKED | (LEFT_OUT if phase else 0)
        if s.flags & EQUAL and count and (phase != P_SELF_CONNECT or s.flags & ENDED):
            self.unsure = True
        if (s.flags & EARLY and not s.flags & HEAD) or (P_SYN <= phase <= P_SYN_ACKED and not s.flags & ENDED):
            self.unsure = True

    def tails(self) -> list[Tail]:
        """Return the state of each 4-tuple that is independent, and what is kept of it."""
        found = []
        for slot in range(self.used):
            s = slot_at(self.slots, slot)
            self.flush(slot)
            if not s.flags & HEAD:
                state = SlotState(
                    s.a_high,
                    s.a_low,
                    s.b_high,
                    s.b_low,
                    s.a_port,
                    s.b_port,
                    s.six,
                    s.phase,
                    s.before,
                    s.size,
                    s.flags,
                    s.retransmissions,
                    s.isn,
                    s.isn_second,
                    s.next_first,
                    s.next_second,
                    s.reach,
                    s.another,
                    s.acked_first,
                    s.acked_second,
                    s.edge_first,
                    s.edge_second,
                    s.scale_first,
                    s.scale_second,
                    s.identification,
                    s.syn_data,
                    s.syn_data_second,
                    s.early_isn,
                    s.early_seq,
                    s.early_end,
                    s.early_reach,
                    s.time,
                    s.frame,
                    s.refused,
                    s.since,
                    s.early_time,
                    s.ended_at,
                )
                kept, answers = self.kept, self.answers
                found.append(
                    Tail(
                        state,
                        header_of(s),
                        kept.segments.get(slot),
                        kept.omitted.get(slot, 0),
                        kept.early.get(slot),
                        answers.lent.get(slot),
                        answers.errors.get(slot),
                        answers.links.get(slot, 0),
                    )
                )
        return found

    def take_tail(self, tail: Tail) -> None:
        """Take over the state of a 4-tuple in a part, with frames counted as they are here."""
        state = tail.state
        segment = segment_at(self.again_batch, 0)
        segment.a_high, segment.a_low, segment.b_high, segment.b_low, segment.a_port, segment.b_port = state[:6]
        segment.six = state.six
        segment.equal = state.flags & EQUAL != 0
        self.index.digest_batch(self.again_batch, 1)
        slot = self.index.find(segment, self.slots)
        if slot < 0:
            self.unsure = True
            slot = self.claim(segment)
        s = slot_at(self.slots, slot)
        s.phase, s.before, s.size, s.flags, s.retransmissions = state[7:12]
        s.isn, s.isn_second, s.next_first, s.next_second, s.reach, s.another = state[12:18]
        s.acked_first, s.acked_second, s.edge_first, s.edge_second, s.scale_first, s.scale_second = state[18:24]
        s.identification = state.identification
        s.syn_data, s.syn_data_second, s.early_isn, s.early_seq, s.early_end, s.early_reach = state[25:31]
        s.time, s.frame, s.refused, s.since, s.early_time, s.ended_at = state[31:]
        remember_header(s, octets_of(tail.header), 0, len(tail.header))
        self.kept.put(slot, tail.kept, tail.omitted, tail.early)
        self.take_answers(slot, tail, segment)

    def take_answers(self, slot: int, tail: Tail, segment: Segment) -> int:
        """Take over what answered an opening from elsewhere, and enter it under its client."""
        answers = self.answers
        answers.forget(slot)
        if tail.lent:
            answers.lent[slot] = tail.lent
        if tail.error:
            answers.errors[slot] = tail.error
        if tail.link:
            answers.links[slot] = tail.link
        if tail.lent or tail.error or tail.link:
            answers.any = True
        state = tail.state
        if state.phase >= P_SYN and self.count_refusals:
            segment.from_a = not state.flags & FIRST_IS_B
            segment.seq = state.isn
            segment.time = state.time
            segment.identification = state.identification
            twin = answers.enter(self.slots, slot, segment)
            if twin >= 0 and not tail.link:
                self.unsure = True
        return 0

    def take_packet(self, one: Logged, base: int) -> None:
        """Take a packet of a part into the search for copies."""
        self.put_in_hand(one, base)
        d = octets_of(one.packet)
        self.read_header(d, len(one.packet) - one.size, one.size)
        self.index.digest_batch(self.again_batch, 1)
        self.duplicates_seen.digest_batch(d, self.again_batch, 1)
        self.duplicates_seen.mark(d, self.again_batch, 1)
        self.ring[(base + one.frame) % NEAR] = one._replace(frame=base + one.frame)
