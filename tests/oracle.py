"""A second opinion on verdicts: what a capture's openings are, straight from the definitions in the documentation.

It is slow and plain on purpose, shares no code with the engine (only the words: Endpoint, Verdict, sequence numbers)
and looks at whole lists where the engine must decide in one pass. ``judge()`` takes the facts of each segment and of
each ICMP error; ``fact()`` has them from a packet, tests/dissected.py from Wireshark's dissectors.

Where the definitions leave room, the most literal reading was taken. Those decisions, numbered for reference:

 1. FINs of both ends (one FIN where both ends are one) end an opening, and so does a RST by decisions 10 to 12. What
    follows an end changes no verdict; a bare SYN then starts the next opening.
 2. Each end of an opening has one ISN. A bare SYN with the ISN of its end is a retransmission, also after the SYN-ACK
    and also in a crossing; the first bare SYN of the other end crosses, unless a fitting SYN-ACK came before; a third
    ISN is "any other bare SYN".
 3. A SYN-ACK fits a SYN when it comes from the other end (from the same, where both are one), acknowledges ISN+1 up
    to ISN+1+payload of the SYN, and, where its own end sent a SYN in this opening, repeats that SYN's sequence
    number: with a foreign number it is not the opening's own. One that does not fit is "something else".
 4. A SYN-ACK captured up to one second (included) before the SYN it fits belongs to it when it does not fit the
    opening in whose time it was captured, which it then leaves; and when no SYN and no RST of the conversation lies
    between. What has ACK and lies between comes along, unless it belongs to such an opening. None of it is midstream.
    The opener's SYN-ACK for a SYN that crosses only later is in its opening from the start, whenever that SYN comes;
    of several that repeat its SYN's number the first.
 5. The third ACK comes from the opener after the SYN-ACK (any later segment with ACK will do, FIN and data allowed,
    SYN and RST not), acknowledges ISN+1 of the other end up to what that has sent since (and since the SYN), and
    begins where that may accept it: at ISN+1 or later, and within the SYN-ACK's unscaled window of what the SYN-ACK
    acknowledged. Of several fitting SYN-ACKs any may be the one.
 6. Without a fitting SYN-ACK the first segment from the other end decides: a RST that ends is refused, anything else
    odd. A segment from the opener's own end is no answer, whatever its flags; a RST of its that ends is aborted.
 7. A bare ACK has ACK and none of SYN, RST, FIN; its number and payload do not matter.
 8. A conversation is a pair of endpoints. It counts once as midstream when it has a segment before its first
    opening that 4. does not give to that one, unless that opening is a standing one or all that was captured of the
    conversation answers another 4-tuple (17.); what follows an ended opening is its tail, never midstream.
    It was connected to itself when both ends are one and the first such segment has ACK and no RST.
 9. A duplicate is a packet whose bytes, from the outermost IP header on, equal those of an earlier packet at most one
    millisecond away; or one with the same addresses, ports, TCP header (its checksum aside) and payload length at most
    20 milliseconds away, captured at another place, if not both have an IPv4 identification and these differ. Both are
    at most 2,047 frames apart, and the earlier is no duplicate itself. It is no segment, no retransmission.
10. RST before any SYN-ACK (and in a self-connect before any proof): one ends that has ACK and acknowledges the SYN of
    the end that it goes to, ISN+1 up to ISN+1+payload; and one from an end that sent a SYN, whose SEQ lies from ISN+1
    up to what that end sent next, unless it equals an ACK field that the other end sent before (RFC 9293, figure 9).
    After crossed SYNs, when the other end may be in SYN-RECEIVED, also one that ends by 11; what acknowledges a SYN
    ends nothing then at an end that acknowledged the other's.
11. RST after that: it ends unless it is provably outside: its SEQ lies before the highest ACK field of the end that it
    goes to (the other's ISN+1 at least), or behind both what its sender sent and every window that this end offered. An
    end that acknowledged nothing takes by 10. what acknowledges its SYN, too. Nothing is provable of an end that
    was not captured; nothing is behind where octets are missing that were sent or acknowledged before.
12. Windows of segments with SYN are never scaled, later ones if the SYNs of both ends had the option; where both ends
    are one, if its SYN had it (or its SYN-ACK, which has it only then). The right edge is outside.
13. Equal ends: a SYN-ACK with ACK = SEQ+1 whose number is not that of the opening that lives, nor of the one that
    ended last, starts one: its SYN was not captured. A SYN of that number joins it: while it lives at any time, up to
    one second (included) after a FIN, never where a RST ended it. The opening then begins with that SYN.
14. Equal ends: a segment with ACK, without SYN and RST, whose SEQ = ACK lies from ISN+1 up to the end of the octets
    captured from there without a gap, acknowledges the SYN.
15. Standing: among what belongs to no opening, two segments with ACK, without SYN and RST: one that ends at E by data
    or FIN, or has SEQ = E-1, ACK = E and no payload; a later one with SEQ = ACK = E, E not 0. The first that ends at E
    and the first that then acknowledges it. From the former on all belongs to the opening, to its FIN or RST.
    What lies in the sequence range of the opening that ended last is its tail and proves nothing.
16. ICMP: the first error that quotes a SYN of an opening, after it was captured and before the next opening of its
    4-tuple began, makes ``refused`` of what else would be ``unanswered`` or ``self-syn``.
17. Translated: of an opening that else would be ``unanswered`` or ``self-syn``, any SYN-ACK, or RST with ACK, from
    another endpoint to the opener that acknowledges ISN+1 up to ISN+1+payload and fits no opening of its own 4-tuple
    is an answer (of several such openings of the last one before it), the first of them decides. An ACK of the opener,
    in the SYN's 4-tuple, of what that endpoint sent makes it three-way. Linked are openings of one opener and ISN with
    different destinations whose SYNs are at most 20 milliseconds apart, and have no two IPv4 identifications.
"""

from __future__ import annotations

import itertools
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from analysis.model import NANOSECONDS, Endpoint, Evidence, Flag, SequenceNumber, Unreachable, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

#: How much later a copy may come, one from another place, and how much later than its SYN-ACK a SYN may be captured.
DUPLICATE_WITHIN = NANOSECONDS // 1000
SEEN_AGAIN_WITHIN = 20 * NANOSECONDS // 1000
FRAMES_BETWEEN = 2047
EARLY_WITHIN = NANOSECONDS
#: How far apart the SYNs on both sides of a translation may be.
TRANSLATED_WITHIN = 20 * NANOSECONDS // 1000

OPENING_BITS = Flag.SYN | Flag.ACK | Flag.RST | Flag.FIN

#: Without an answer of its own an opening may have one from elsewhere.
_NO_ANSWER = (Verdict.UNANSWERED, Verdict.SELF_SYN)


@dataclass(frozen=True, eq=False)
class Fact:
    """One TCP segment; ``packet`` is the outermost IP packet that carried it.

    ``header`` is the TCP header, ``scale`` its window scale option, ``place`` whatever tells where it was captured, and
    ``identification`` that of the IPv4 header before it, 0 where there is none.
    """

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
    header: bytes = b""
    scale: int | None = None
    place: object = None
    identification: int = 0

    @property
    def bare_syn(self) -> bool:
        return self.flags & OPENING_BITS == Flag.SYN

    @property
    def syn_ack(self) -> bool:
        return self.flags & OPENING_BITS == Flag.SYN | Flag.ACK

    @property
    def end(self) -> SequenceNumber:
        return self.seq + (self.payload + bool(self.flags & Flag.SYN) + bool(self.flags & Flag.FIN))

    @property
    def plain(self) -> bool:
        """Whether it is one of an established connection: ACK, and neither SYN nor RST."""
        return self.flags & (Flag.ACK | Flag.SYN | Flag.RST) == Flag.ACK


@dataclass(frozen=True, eq=False)
class Quote:
    """An ICMP error, and of the SYN that it quotes the ends and the number."""

    error: Unreachable
    source: Endpoint
    destination: Endpoint
    seq: SequenceNumber


@dataclass(frozen=True)
class Ruling:
    """What one opening was."""

    verdict: Verdict
    first_frame: int
    source: Endpoint
    destination: Endpoint
    syn_retransmissions: int
    isn: int | None = None
    evidence: Evidence | None = None
    answered_by: Endpoint | None = None
    translated_with: int | None = None
    refused_by: Unreachable | None = None


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
    #: SYN-ACKs that were captured before their SYN (decisions 4 and 13).
    early: list[Fact] = field(default_factory=list)
    #: What ended it.
    ended: Fact | None = None
    standing: bool = False
    quotes: list[Quote] = field(default_factory=list)
    #: Answers from other 4-tuples, and all that those endpoints sent to the opener (decision 17).
    lent: list[Fact] = field(default_factory=list)
    elsewhere: list[Fact] = field(default_factory=list)
    translated_with: int | None = None

    @property
    def first(self) -> Fact:
        """Its first SYN, or what proves that there was one."""
        return next(iter(self.syns.values()))[0] if self.syns else self.others[0]

    @property
    def to_itself(self) -> bool:
        return self.first.source == self.first.destination

    @property
    def isn(self) -> SequenceNumber | None:
        return None if self.standing else self.first.seq

    def segments(self) -> list[Fact]:
        """All of them, in capture order."""
        every = itertools.chain(self.others, *self.syns.values())
        return sorted(every, key=lambda fact: fact.frame)

    def add(self, fact: Fact) -> None:
        """Take in a segment that is no SYN; see whether it ends the opening (decision 1)."""
        ends = bool(fact.flags & Flag.RST) and self.ends(fact)
        self.others.append(fact)
        if fact.flags & Flag.FIN and not fact.flags & Flag.RST:
            closing = {other.source for other in self.others if other.flags & Flag.FIN and not other.flags & Flag.RST}
            ends = closing == {fact.source, fact.destination}
        if ends and not self.ended:
            self.ended = fact

    # -- RST ----------------------------------------------------------------------------------------------------------

    def ends(self, rst: Fact) -> bool:
        """Whether a RST that comes now ends the opening (decisions 10 and 11)."""
        if self.standing or not self.syns or self.answers() or (self.to_itself and self.acknowledged()):
            return not self.provably_outside(rst)
        if len(self.syns) == 2:
            acked = any(fact.source == rst.destination and fact.flags & Flag.ACK for fact in self.others)
            return not self.provably_outside(rst) or self.aborts(rst) or (not acked and self.refuses(rst))
        return self.refuses(rst) or self.aborts(rst)

    def refuses(self, rst: Fact) -> bool:
        """Whether it acknowledges the SYN of the end that it goes to."""
        if rst.destination not in self.syns or not rst.flags & Flag.ACK:
            return False
        syn = self.syns[rst.destination][0]
        return 1 <= rst.ack - syn.seq <= 1 + syn.payload

    def aborts(self, rst: Fact) -> bool:
        """Whether an end that sent a SYN takes it back, and refuses nothing that the other sent."""
        if rst.source not in self.syns:
            return False
        isn = self.syns[rst.source][0].seq
        sent = [f for f in self.segments() if f.source == rst.source and not f.flags & Flag.RST]
        theirs = [f for f in self.others if f.source == rst.destination and f.flags & (Flag.ACK | Flag.RST) == Flag.ACK]
        refused = any(f.ack == rst.seq for f in theirs)
        return 1 <= rst.seq - isn <= max(f.end - isn for f in sent) and not refused

    def provably_outside(self, rst: Fact) -> bool:
        """Whether the end that it goes to cannot accept it, whatever was not captured."""
        known = [f for f in self.segments() if not f.flags & Flag.RST]
        theirs = [f for f in known if f.source == rst.destination]
        if not theirs:
            return False
        sent = [f for f in known if f.source == rst.source]
        acking = [f for f in theirs if f.flags & Flag.ACK]
        began = [f.seq + 1 for f in sent if f.flags & Flag.SYN]
        if not acking and (not began or self.refuses(rst)):
            return False
        expected = began[0] if began else acking[0].ack
        for f in acking:
            expected = max(expected, f.ack, key=lambda ack, base=expected: ack - base)
        if rst.seq < expected:
            return True
        if self._gaps(known):
            return False
        edges = [(f.ack if f.flags & Flag.ACK else expected) + self._window(f, known) for f in theirs]
        beyond_sent = all(rst.seq > f.end for f in sent)
        return beyond_sent and all(rst.seq >= edge for edge in edges)

    def _window(self, fact: Fact, known: list[Fact]) -> int:
        """The window that a segment offers (decision 12)."""
        if fact.flags & Flag.SYN:
            return fact.window
        scales = {f.source: f.scale for f in known if f.flags & Flag.SYN}
        both = {fact.source, fact.destination} == {end for end, scale in scales.items() if scale is not None}
        if self.standing:
            return fact.window << 14
        return fact.window << (scales[fact.source] or 0) if both else fact.window

    @staticmethod
    def _gaps(known: list[Fact]) -> bool:
        """Whether octets are missing that one of the ends sent."""
        following: dict[Endpoint, SequenceNumber] = {}
        for f in known:
            expected = following.get(f.source)
            if expected is not None and f.seq > expected:
                return True
            if expected is None or f.end > expected:
                following[f.source] = f.end
            sent = following.get(f.destination)
            if f.flags & Flag.ACK and sent is not None and f.ack > sent:
                return True
        return False

    # -- answers ------------------------------------------------------------------------------------------------------

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

    def acknowledged(self) -> bool:
        """Whether a socket acknowledges its own SYN other than by SYN-ACK (decision 14)."""
        isn = self.first.seq
        there = isn + (1 + self.first.payload)
        for fact in self.others:
            if fact.plain and fact.seq == fact.ack and 1 <= fact.ack - isn <= there - isn:
                return True
            if not fact.flags & (Flag.RST | Flag.SYN) and isn < fact.seq <= there < fact.end:
                there = fact.end
        return False

    def completes(self, third: Fact, answer: Fact, its: list[Fact]) -> bool:
        """Whether *third* is the ACK that the sender of the SYN-ACK *answer* waits for (decision 5); *its* segments."""
        syn = self.first
        if third.source != syn.source or third.frame < answer.frame or not third.plain:
            return False
        since = [answer, *(f for f in its if max(answer.frame, syn.frame) < f.frame < third.frame)]
        acknowledged = 1 <= third.ack - answer.seq <= max(f.end - answer.seq for f in since if not f.flags & Flag.RST)
        room = answer.ack - syn.seq + max(1, answer.window)
        return acknowledged and 1 <= third.seq - syn.seq < room

    # -- verdicts -----------------------------------------------------------------------------------------------------

    def evidence(self) -> Evidence | None:
        if not self.to_itself:
            return None
        if self.standing:
            return Evidence.STANDING
        if not self.syns:
            return Evidence.SYN_ACK
        if self.answers():
            return Evidence.HANDSHAKE
        return Evidence.ACKNOWLEDGED if self.acknowledged() else None

    def own_verdict(self) -> Verdict:
        """The verdict by what was captured of its own 4-tuple, ICMP aside."""
        if self.to_itself:
            return Verdict.SELF_CONNECT if self.evidence() else Verdict.SELF_SYN
        syn = self.first
        answers = self.answers()
        if len(self.syns) == 2:
            return self._crossed(answers)
        if answers:
            return self._answered(answers, [f for f in self.others if f.source == syn.destination])
        replies = [fact for fact in self.others if fact.source == syn.destination]
        if replies:
            return Verdict.REFUSED if replies[0] is self.ended and replies[0].flags & Flag.RST else Verdict.ODD
        return Verdict.ABORTED if self.ended and self.ended.flags & Flag.RST else Verdict.UNANSWERED

    def _answered(self, answers: list[Fact], their: list[Fact]) -> Verdict:
        its = [fact for fact in their if not fact.flags & Flag.SYN]
        complete = any(self.completes(third, answer, its) for answer in answers for third in self.others)
        return Verdict.THREE_WAY if complete else Verdict.HALF_OPEN

    def _crossed(self, answers: list[Fact]) -> Verdict:
        answering = {answer.source for answer in answers}
        if not answering:
            return Verdict.CROSSED_UNANSWERED
        if len(answering) == 2:
            return Verdict.SIMULTANEOUS_OPEN
        responder = self.first.destination
        its_syn = self.syns[responder][0].frame
        bare = [fact for fact in self.others if fact.flags & OPENING_BITS == Flag.ACK and fact.source == responder]
        acknowledged = any(fact.frame < its_syn for fact in bare)
        return Verdict.SPLIT_HANDSHAKE if acknowledged else Verdict.ONE_SIDED_CROSSING

    def ruling(self) -> Ruling:
        first = self.first
        verdict = self.own_verdict()
        answered_by = refused_by = None
        if verdict in _NO_ANSWER and self.lent:
            answered_by = self.lent[0].source
            if self.lent[0].flags & Flag.RST:
                verdict = Verdict.REFUSED
            else:
                answers = [f for f in self.lent if f.syn_ack]
                verdict = self._answered(answers, [f for f in self.elsewhere if f.source == answered_by])
        elif verdict in _NO_ANSWER and self.quotes:
            verdict, refused_by = Verdict.REFUSED, self.quotes[0].error
        again = sum(len(syns) - 1 for syns in self.syns.values())
        isn = None if self.isn is None else int(self.isn)
        ends = (first.frame, first.source, first.destination)
        return Ruling(verdict, *ends, again, isn, self.evidence(), answered_by, self.translated_with, refused_by)


def judge(capture: Iterable[Fact | Quote]) -> Judgement:
    """What the segments of a capture, in capture order, amount to."""
    result = Judgement()
    seen = list(capture)
    segments = _unique([item for item in seen if isinstance(item, Fact)])
    quotes = [item for item in seen if isinstance(item, Quote)]
    result.duplicates = len(seen) - len(quotes) - len(segments)
    result.segments = len(segments)
    conversations: dict[frozenset[Endpoint], list[Fact]] = {}
    for fact in segments:
        conversations.setdefault(frozenset((fact.source, fact.destination)), []).append(fact)
    found = {ends: _Conversation(theirs) for ends, theirs in conversations.items()}
    openings = [opening for conversation in found.values() for opening in conversation.openings]
    openings.sort(key=lambda opening: opening.first.frame)
    _quoted(openings, quotes)
    lent = _lend(openings, found)
    _link(openings)
    for conversation in found.values():
        before = conversation.before()
        if before and not lent.issuperset(conversation.segments):
            result.midstream += 1
            first = before[0]
            acking = first.flags & (Flag.ACK | Flag.RST) == Flag.ACK
            result.midstream_to_itself += first.source == first.destination and acking
    result.openings = [opening.ruling() for opening in openings]
    return result


def _unique(capture: list[Fact]) -> list[Fact]:
    """The segments without what was captured twice (decision 9)."""
    kept: list[Fact] = []
    same: dict[bytes, Fact] = {}
    alike: dict[tuple[object, ...], list[Fact]] = {}
    for fact in capture:
        words = fact.header[:16] + fact.header[18:]
        key = (fact.source, fact.destination, words, fact.payload)
        others = alike.setdefault(key, []) if words else []
        before = same.get(fact.packet)
        if before and _near(before, fact, DUPLICATE_WITHIN):
            continue
        if any(_near(other, fact, SEEN_AGAIN_WITHIN) and _elsewhere(other, fact) for other in others):
            continue
        same[fact.packet] = fact
        others.append(fact)
        kept.append(fact)
    return kept


def _near(earlier: Fact, later: Fact, within: int) -> bool:
    return abs(later.time - earlier.time) <= within and later.frame - earlier.frame <= FRAMES_BETWEEN


def _elsewhere(earlier: Fact, later: Fact) -> bool:
    """Whether two packets that look alike were captured at two places."""
    ids = {earlier.identification, later.identification}
    return earlier.place != later.place and (0 in ids or len(ids) == 1)


class _Conversation:
    """The openings between two endpoints, and the segments that belong to none (``strays``)."""

    def __init__(self, segments: list[Fact]) -> None:
        self.segments = segments
        self.openings: list[_Opening] = []
        self.strays: list[Fact] = []
        for place, fact in enumerate(segments):
            live = self.openings[-1] if self.openings and not self.openings[-1].ended else None
            if fact.bare_syn:
                self._syn(fact, live, place)
            elif self._lost_its_syn(fact):
                self.openings.append(_Opening({}, [fact]))
            elif live:
                live.add(fact)
            else:
                self.strays.append(fact)
                self._standing(fact)

    def before(self) -> list[Fact]:
        """The segments before the first opening that make it a midstream conversation (decision 8)."""
        if not self.openings:
            return self.strays
        first = self.openings[0]
        if first.standing:
            return []
        begin = first.segments()[0].frame
        return [stray for stray in self.strays if stray.frame < begin]

    def _syn(self, fact: Fact, live: _Opening | None, place: int) -> None:
        last = self.openings[-1] if self.openings else None
        if last and self._joins(fact, last):
            last.early = [other for other in last.others if other.syn_ack and other.seq == fact.seq]
            last.syns[fact.source] = [fact]
        elif live and fact.source in live.syns and live.syns[fact.source][0].seq == fact.seq:
            live.syns[fact.source].append(fact)
        elif live and live.syns and fact.source not in live.syns and not live.answers():
            live.syns[fact.source] = [fact]
            own = [other for other in live.others if other.syn_ack and other.destination == fact.source]
            live.early = [other for other in own if other.seq == live.first.seq][:1]
        else:
            new = _Opening({fact.source: [fact]})
            self._claim(new, self.segments[:place])
            self.openings.append(new)

    @staticmethod
    def _joins(syn: Fact, last: _Opening) -> bool:
        """Whether a SYN is that of an opening that began with its SYN-ACK (decision 13)."""
        if last.syns or last.standing or last.isn != syn.seq:
            return False
        if last.ended is None:
            return True
        return not last.ended.flags & Flag.RST and syn.time - last.ended.time <= EARLY_WITHIN

    def _lost_its_syn(self, fact: Fact) -> bool:
        """Whether it is a SYN-ACK to itself of which no SYN was captured (decision 13)."""
        if fact.source != fact.destination or not fact.syn_ack or fact.ack != fact.seq + 1:
            return False
        return not self.openings or self.openings[-1].isn != fact.seq

    def _standing(self, later: Fact) -> None:
        """See whether a segment of no opening acknowledges another one of the same socket (decision 15)."""
        if later.source != later.destination or not later.plain or later.seq != later.ack or later.ack == 0:
            return
        last = self.openings[-1] if self.openings else None
        own = last.segments() if last else []
        outside = [stray for stray in self.strays if not own or stray.frame > own[-1].frame]
        if own:
            low, high = _range(own)
            outside = [stray for stray in outside if not low <= stray.seq <= high]
        if later not in outside:
            return
        for place, earlier in enumerate(outside[:-1]):
            length = earlier.end - earlier.seq
            keepalive = not length and earlier.ack == later.seq and earlier.seq + 1 == later.seq
            if earlier.plain and (keepalive or (length and earlier.end == later.seq)):
                new = _Opening({}, standing=True)
                for fact in outside[place:]:
                    self.strays.remove(fact)
                    new.add(fact)
                self.openings.append(new)
                return

    def _claim(self, new: _Opening, before: list[Fact]) -> None:
        """Give a new opening the SYN-ACK that was captured before its SYN, and what came since (decision 4)."""
        last = self.openings[-1] if self.openings else None
        since = list(itertools.takewhile(lambda fact: fact.plain, reversed(before)))
        early = before[-len(since) - 1] if len(since) < len(before) else None
        if early is None or new.first.time - early.time > EARLY_WITHIN:
            return
        if last and early in last.others and last.fits(early):
            return
        new.early = [early]
        if not new.fits(early):
            new.early = []
        elif early in self.strays or (last and early in last.others):
            (self.strays if early in self.strays else last.others).remove(early)  # type: ignore[union-attr]
            new.add(early)
            for fact in [stray for stray in reversed(since) if stray in self.strays]:
                self.strays.remove(fact)
                new.add(fact)


def _range(segments: list[Fact]) -> tuple[SequenceNumber, SequenceNumber]:
    """The sequence numbers of one socket's segments: the lowest, and that after the highest."""
    base = next((f.seq for f in segments if f.flags & Flag.SYN), segments[0].seq)
    sent = [f for f in segments if not f.flags & Flag.RST and f.seq - base >= 0] or segments[:1]
    return base, base + max(f.end - base for f in sent)


def _quoted(openings: list[_Opening], quotes: list[Quote]) -> None:
    """Give each ICMP error to the opening whose SYN it quotes (decision 16)."""
    for quote in quotes:
        for opening in reversed(openings):
            syn = opening.syns.get(quote.source, [None])[0]
            if syn and syn.destination == quote.destination and syn.frame < quote.error.frame:
                if syn.seq == quote.seq:
                    opening.quotes.append(quote)
                break


def _lend(openings: list[_Opening], conversations: dict[frozenset[Endpoint], _Conversation]) -> set[Fact]:
    """Give openings without an answer those of other 4-tuples (decision 17); return what was given."""
    lent: set[Fact] = set()
    waiting: dict[Endpoint, list[_Opening]] = {}
    for opening in openings:
        if opening.own_verdict() in _NO_ANSWER:
            waiting.setdefault(opening.first.source, []).append(opening)
    for conversation in conversations.values():
        for answer in conversation.segments:
            acking_rst = answer.flags & Flag.RST and answer.flags & Flag.ACK
            if not (answer.syn_ack or acking_rst) or any(
                _its_own(opening, answer) for opening in conversation.openings
            ):
                continue
            for opening in reversed(waiting.get(answer.destination, [])):
                syn = opening.first
                elsewhere = syn.destination != answer.source and syn.frame < answer.frame
                if elsewhere and 1 <= answer.ack - syn.seq <= 1 + syn.payload:
                    opening.lent.append(answer)
                    opening.lent.sort(key=lambda fact: fact.frame)
                    opening.elsewhere += [fact for fact in conversation.segments if fact not in opening.elsewhere]
                    lent.add(answer)
                    break
    return lent


def _its_own(opening: _Opening, answer: Fact) -> bool:
    """Whether a SYN-ACK or RST belongs to an opening of its own 4-tuple."""
    if answer is opening.ended or opening.fits(answer) or (opening.to_itself and answer in opening.others):
        return True
    syns = opening.syns.get(answer.destination)
    return syns is not None and 1 <= answer.ack - syns[0].seq <= 1 + syns[0].payload


def _link(openings: list[_Opening]) -> None:
    """Tell openings that are the two sides of one translated connection of each other (decision 17)."""
    sides: dict[tuple[Endpoint, int], list[_Opening]] = {}
    for later in openings:
        if not later.syns:
            continue
        two = later.first
        others = sides.setdefault((two.source, two.seq), [])
        for earlier in reversed(others):
            one = earlier.first
            same = one.identification == two.identification or 0 in (one.identification, two.identification)
            if same and one.destination != two.destination and abs(two.time - one.time) <= TRANSLATED_WITHIN:
                later.translated_with, earlier.translated_with = one.frame, two.frame
                break
        others.append(later)


# -- facts from packets -----------------------------------------------------------------------------------------------


def fact(frame: int, time: int, packet: bytes, place: object = None, outer: bytes | None = None) -> Fact:
    """The facts of an IP packet without extension headers that carries a TCP segment; *outer* is what carries it.

    *place* is where it was captured; the TTL is part of it.
    """
    four = packet[0] >> 4 == 4
    start = 4 * (packet[0] & 15) if four else 40
    size = 4 if four else 16
    at = 12 if four else 8
    ports = struct.unpack_from(">HH", packet, start)
    source, destination = (
        Endpoint(packet[at + size * which : at + size * (which + 1)], ports[which]) for which in (0, 1)
    )
    seq, ack, offset, flags, window = struct.unpack_from(">IIBBH", packet, start + 4)
    header = packet[start : start + 4 * (offset >> 4)]
    length = len(packet) - start - len(header)
    numbers = (SequenceNumber(seq), SequenceNumber(ack), flags, window, length)
    identification = int.from_bytes(packet[4:6], "big") if four else 0
    where = (place, packet[8] if four else packet[7])
    return Fact(
        *(frame, time, source, destination, *numbers, outer or packet, header),
        *(_scale(header[20:]), where, identification),
    )


def _scale(options: bytes) -> int | None:
    """The window scale option (RFC 7323)."""
    while options and options[0]:
        if options[0] == 1:
            options = options[1:]
        elif options[0] == 3:
            return options[2]
        else:
            options = options[options[1] :]
    return None
