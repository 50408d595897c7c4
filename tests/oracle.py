"""A second opinion on verdicts: what a capture's openings are, straight from the definitions in the documentation.

It is slow and plain on purpose, shares no code with the engine (only the words: Endpoint, Verdict, sequence numbers)
and looks at whole lists where the engine must decide in one pass. ``judge()`` takes the facts of each segment;
``facts()`` asks Wireshark's dissectors for them.

Where the definitions leave room, the most literal reading was taken. Those decisions, numbered for reference:

 1. RST, from either end and whatever its numbers, ends an opening; so do FINs of both ends (one FIN where both
    ends are one). What follows an end changes no verdict; a bare SYN then starts the next opening.
 2. Each end of an opening has one ISN. A bare SYN with the ISN of its end is a retransmission, also after the SYN-ACK
    and also in a crossing; the first bare SYN of the other end crosses, unless a fitting SYN-ACK came before; a third
    ISN is "any other bare SYN".
 3. A SYN-ACK fits a SYN when it comes from the other end (from the same, where both are one), acknowledges ISN+1 up
    to ISN+1+payload of the SYN, and, where its own end sent a SYN in this opening, repeats that SYN's sequence
    number: with a foreign number it is not the opening's own. One that does not fit is "something else".
 4. A SYN-ACK captured up to one second (included) before the SYN it fits belongs to it when it does not fit the
    opening in whose time it was captured, which it then leaves; and when nothing but ACKs (no SYN, RST, FIN) of the
    conversation lies between. Those ACKs come along, unless they belong to such an opening. None of them is midstream.
    The opener's SYN-ACK for a SYN that crosses only later is in its opening from the start, whenever that SYN comes;
    of several that repeat its SYN's number the first.
 5. The third ACK comes from the opener after the SYN-ACK (any later segment with ACK will do, FIN and data allowed,
    SYN and RST not), acknowledges ISN+1 of the other end up to what that has sent since (and since the SYN), and
    begins where that may accept it: at ISN+1 or later, and within the SYN-ACK's unscaled window of what the SYN-ACK
    acknowledged. Of several fitting SYN-ACKs any may be the one.
 6. Without a fitting SYN-ACK the first segment from the other end decides: RST is refused, anything else odd. A
    segment from the opener's own end is no answer, whatever its flags.
 7. A bare ACK has ACK and none of SYN, RST, FIN; its number and payload do not matter.
 8. A conversation is a pair of endpoints. It counts once as midstream when it has a segment before its first
    bare SYN (if any) that 4. does not give to that SYN; what follows an ended opening is its tail, never midstream.
    It was connected to itself when both ends are one and the first such segment has the ACK bit.
 9. A duplicate is a packet whose bytes, from the outermost IP header on, equal those of an earlier packet at most one
    millisecond away (the latest such that is no duplicate itself); it is no segment, no retransmission.
"""

from __future__ import annotations

import itertools
import json
import subprocess
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from analysis.model import NANOSECONDS, Endpoint, Flag, SequenceNumber, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: How much later a copy may come, and how much later than its SYN-ACK a SYN may be captured.
DUPLICATE_WITHIN = NANOSECONDS // 1000
EARLY_WITHIN = NANOSECONDS

OPENING_BITS = Flag.SYN | Flag.ACK | Flag.RST | Flag.FIN


@dataclass(frozen=True, eq=False)
class Fact:
    """One TCP segment; ``packet`` is the outermost IP packet that carried it."""

    frame: int
    time: int
    source: Endpoint
    destination: Endpoint
    seq: SequenceNumber
    ack: SequenceNumber
    flags: int
    window: int
    payload: int
    packet: bytes

    @property
    def bare_syn(self) -> bool:
        return self.flags & OPENING_BITS == Flag.SYN

    @property
    def syn_ack(self) -> bool:
        return self.flags & OPENING_BITS == Flag.SYN | Flag.ACK

    @property
    def bare_ack(self) -> bool:
        return self.flags & OPENING_BITS == Flag.ACK

    @property
    def end(self) -> SequenceNumber:
        return self.seq + (self.payload + bool(self.flags & Flag.SYN) + bool(self.flags & Flag.FIN))


@dataclass(frozen=True)
class Ruling:
    """What one opening was."""

    verdict: Verdict
    first_frame: int
    source: Endpoint
    destination: Endpoint
    syn_retransmissions: int


@dataclass
class Judgement:
    """What a capture held, openings in the order of their first SYN."""

    openings: list[Ruling] = field(default_factory=list)
    segments: int = 0
    duplicates: int = 0
    midstream: int = 0
    midstream_to_itself: int = 0


@dataclass(eq=False)
class _Opening:
    """The segments of one opening: its SYNs by end, and the others in capture order."""

    syns: dict[Endpoint, list[Fact]]
    others: list[Fact] = field(default_factory=list)
    #: SYN-ACKs that were captured before their SYN (decision 4).
    early: list[Fact] = field(default_factory=list)
    ended: bool = False

    @property
    def first(self) -> Fact:
        return next(iter(self.syns.values()))[0]

    def add(self, fact: Fact) -> None:
        """Take in a segment that is no SYN; see whether it ends the opening (decision 1)."""
        self.others.append(fact)
        if fact.flags & Flag.RST:
            self.ended = True
        elif fact.flags & Flag.FIN:
            closing = {other.source for other in self.others if other.flags & Flag.FIN}
            self.ended = closing == {fact.source, fact.destination}

    def fits(self, answer: Fact) -> bool:
        """Whether *answer* is a SYN-ACK for a SYN of this opening (decision 3)."""
        if not answer.syn_ack or answer.destination not in self.syns:
            return False
        syn = self.syns[answer.destination][0]
        own = self.syns.get(answer.source)
        if answer.frame < syn.frame and answer not in self.early:
            return False
        return 1 <= answer.ack - syn.seq <= 1 + syn.payload and (own is None or answer.seq == own[0].seq)

    def answers(self) -> list[Fact]:
        return [fact for fact in self.others if self.fits(fact)]

    def completes(self, third: Fact, answer: Fact) -> bool:
        """Whether *third* is the ACK that the sender of the SYN-ACK *answer* waits for (decision 5)."""
        syn = self.first
        if third.source != syn.source or third.frame < answer.frame:
            return False
        if not third.flags & Flag.ACK or third.flags & (Flag.SYN | Flag.RST):
            return False
        its = [fact for fact in self.others if fact.source == answer.source and not fact.flags & Flag.SYN]
        since = [answer, *(fact for fact in its if max(answer.frame, syn.frame) < fact.frame < third.frame)]
        acknowledged = 1 <= third.ack - answer.seq <= max(fact.end - answer.seq for fact in since)
        room = answer.ack - syn.seq + max(1, answer.window)
        return acknowledged and 1 <= third.seq - syn.seq < room

    def verdict(self) -> Verdict:
        syn = self.first
        answers = self.answers()
        if syn.source == syn.destination:
            return Verdict.SELF_CONNECT if answers else Verdict.SELF_SYN
        if len(self.syns) == 2:
            return self._crossed(answers)
        if answers:
            complete = any(self.completes(third, answer) for answer in answers for third in self.others)
            return Verdict.THREE_WAY if complete else Verdict.HALF_OPEN
        replies = [fact for fact in self.others if fact.source == syn.destination]
        if replies:
            return Verdict.REFUSED if replies[0].flags & Flag.RST else Verdict.ODD
        reset = any(fact.flags & Flag.RST for fact in self.others)
        return Verdict.ABORTED if reset else Verdict.UNANSWERED

    def _crossed(self, answers: list[Fact]) -> Verdict:
        answering = {answer.source for answer in answers}
        if not answering:
            return Verdict.CROSSED_UNANSWERED
        if len(answering) == 2:
            return Verdict.SIMULTANEOUS_OPEN
        responder = self.first.destination
        its_syn = self.syns[responder][0].frame
        acknowledged = any(f.bare_ack and f.source == responder and f.frame < its_syn for f in self.others)
        return Verdict.SPLIT_HANDSHAKE if acknowledged else Verdict.ONE_SIDED_CROSSING

    def ruling(self) -> Ruling:
        syn = self.first
        again = sum(len(syns) - 1 for syns in self.syns.values())
        return Ruling(self.verdict(), syn.frame, syn.source, syn.destination, again)


def judge(capture: Iterable[Fact]) -> Judgement:
    """What the segments of a capture, in capture order, amount to."""
    result = Judgement()
    conversations: dict[frozenset[Endpoint], list[Fact]] = {}
    latest: dict[bytes, int] = {}
    for fact in capture:
        earlier = latest.get(fact.packet)
        if earlier is not None and abs(fact.time - earlier) <= DUPLICATE_WITHIN:
            result.duplicates += 1
            continue
        latest[fact.packet] = fact.time
        result.segments += 1
        conversations.setdefault(frozenset((fact.source, fact.destination)), []).append(fact)
    for ends, segments in conversations.items():
        openings, strays = _openings(segments)
        first_syn = openings[0].first.frame if openings else float("inf")
        before = [stray for stray in strays if stray.frame < first_syn]
        result.midstream += bool(before)
        result.midstream_to_itself += len(ends) == 1 and any(stray.flags & Flag.ACK for stray in before[:1])
        result.openings += [opening.ruling() for opening in openings]
    result.openings.sort(key=lambda ruling: ruling.first_frame)
    return result


def _openings(conversation: list[Fact]) -> tuple[list[_Opening], list[Fact]]:
    """The openings of one conversation, and the segments that belong to none."""
    openings: list[_Opening] = []
    strays: list[Fact] = []
    for place, fact in enumerate(conversation):
        live = openings[-1] if openings and not openings[-1].ended else None
        if not fact.bare_syn:
            if live:
                live.add(fact)
            else:
                strays.append(fact)
        elif live and fact.source in live.syns and live.syns[fact.source][0].seq == fact.seq:
            live.syns[fact.source].append(fact)
        elif live and fact.source not in live.syns and not live.answers():
            live.syns[fact.source] = [fact]
            own = [other for other in live.others if other.syn_ack and other.destination == fact.source]
            live.early = [other for other in own if other.seq == live.first.seq][:1]
        else:
            new = _Opening({fact.source: [fact]})
            _claim(new, conversation[:place], strays, live)
            openings.append(new)
    return openings, strays


def _claim(new: _Opening, before: list[Fact], strays: list[Fact], live: _Opening | None) -> None:
    """Give a new opening the SYN-ACK that was captured before its SYN, and the ACKs since (decision 4)."""
    acks = list(itertools.takewhile(lambda fact: fact.bare_ack, reversed(before)))
    early = before[-len(acks) - 1] if len(acks) < len(before) else None
    if early is None or new.first.time - early.time > EARLY_WITHIN or (live and live.fits(early)):
        return
    new.early = [early]
    if not new.fits(early):
        new.early = []
    elif live:
        live.others.remove(early)
        new.add(early)
    else:
        for fact in [early, *reversed(acks)]:
            strays.remove(fact)
            new.add(fact)


# -- facts from Wireshark ---------------------------------------------------------------------------------------

#: What may stand around TCP for it to be a segment of ours; anything else (ICMP above all) carries none.
_LINKS = ("eth", "ethertype", "chdlc", "vlan", "ieee8021ad", "mpls", "pppoes", "ppp", "null", "raw", "sll")
_PACKETS = ("ip", "ipv6", "gre", "ah", "ipv6.hopopts", "ipv6.dstopts", "ipv6.routing", "ipv6.fraghdr")
_OVER_UDP = ("udp", "vxlan", "geneve", "gtp", "teredo")
CARRIERS = frozenset((*_LINKS, *_PACKETS, *_OVER_UDP))

_PREFERENCES = (
    "tcp.relative_sequence_numbers:FALSE",
    "tcp.desegment_tcp_streams:FALSE",
    "ip.defragment:FALSE",
    "ipv6.defragment:FALSE",
)

_FIELDS = (
    *("frame.number", "frame.time_epoch", "frame.protocols"),
    *("ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "tcp.srcport", "tcp.dstport"),
    *("tcp.seq_raw", "tcp.ack_raw", "tcp.flags", "tcp.window_size_value", "tcp.len"),
    *("tcp.checksum", "ip.flags.mf", "ipv6.fraghdr.more"),
)


def _tshark(program: str, capture: str, *arguments: str) -> subprocess.Popen[str]:
    command = [program, "-n", "-r", capture, *arguments]
    for preference in _PREFERENCES:
        command += ["-o", preference]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def facts(program: str, capture: str) -> Iterator[Fact]:
    """The segments of a capture file as Wireshark dissects them: the innermost TCP header of each frame.

    *program* is tshark. Of a damaged file it gives the intact part, of what is no capture nothing.
    """
    fields = [word for name in _FIELDS for word in ("-e", name)]
    # Asked for a protocol that no frame has, jsonraw still gives each frame's bytes, and where each protocol begins.
    # Both run at the same time: most of it is tshark's start.
    runs = (
        _tshark(program, capture, "-T", "fields", "-E", "occurrence=a", *fields),
        _tshark(program, capture, "-T", "jsonraw", "-j", "none"),
    )
    text, raw = (run.communicate(timeout=100)[0] for run in runs)
    lines = text.splitlines()
    frames = json.loads(raw, object_pairs_hook=list) if raw.strip() else []
    for line, frame in zip(lines, frames, strict=True):
        column = dict(zip(_FIELDS, line.split("\t"), strict=True))
        protocols = column["frame.protocols"].split(":")
        # A TCP header that is cut short has no checksum; a malformed one has no length, but a first fragment neither.
        fragment = "1" in (column["ip.flags.mf"] + column["ipv6.fraghdr.more"])
        if "tcp" not in protocols or not column["tcp.checksum"] or not (column["tcp.len"] or fragment):
            continue
        carriers = protocols[: protocols.index("tcp")]
        if not CARRIERS.issuperset(carriers):
            continue
        seconds, _, nanoseconds = column["frame.time_epoch"].partition(".")
        yield Fact(
            int(column["frame.number"]),
            int(seconds) * NANOSECONDS + int(nanoseconds),
            _end(column, carriers, "src"),
            _end(column, carriers, "dst"),
            SequenceNumber(_first(column["tcp.seq_raw"])),
            SequenceNumber(_first(column["tcp.ack_raw"])),
            _first(column["tcp.flags"]),
            _first(column["tcp.window_size_value"]),
            _first(column["tcp.len"] or "0"),
            _outermost_packet(dict(dict(frame)["_source"])["layers"]),
        )


def _end(column: dict[str, str], carriers: list[str], which: str) -> Endpoint:
    """Source or destination in the IP header that carries TCP: the innermost of those before it."""
    version = next(name for name in reversed(carriers) if name in {"ip", "ipv6"})
    address = column[f"{version}.{which}"].split(",")[carriers.count(version) - 1]
    return Endpoint.parse(address, _first(column[f"tcp.{which}port"]))


def _first(numbers: str) -> int:
    return int(numbers.partition(",")[0], 0)


def _outermost_packet(layers: list[tuple[str, Any]]) -> bytes:
    """The bytes of the outermost IP packet, without what the link added behind it."""
    headers = [value for name, value in layers if name in {"ip_raw", "ipv6_raw", "tcp_raw"}]
    try:
        frame = bytes.fromhex(dict(layers)["frame_raw"][0])
    except ValueError:  # jsonraw gives up on a frame that says it holds more than is there
        return bytes.fromhex("".join(header[0] for header in headers))
    start = headers[0][1]
    packet = frame[start:]
    if packet[0] >> 4 == 4:
        return packet[: int.from_bytes(packet[2:4], "big") or None]
    return packet[: 40 + int.from_bytes(packet[4:6], "big")]
