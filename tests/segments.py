"""Builders of segments and openings for the tests: relative numbers in, absolute segments out.

    talk = Talk()
    talk.a("S"); talk.b("S.", 0, 1); talk.a(".", 1, 1)
    opening = talk.opening(Verdict.THREE_WAY)

Flags are tcpdump's letters (S F R P and . for ACK). ``seq`` is relative to the sender's initial sequence number,
``ack`` and SACK blocks to the other end's. Frames count from 1; one microsecond lies between two of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import frames
from hypothesis import strategies as st

from analysis.model import CaptureResult, Endpoint, Flag, Opening, Options, Segment, SequenceNumber, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

A = Endpoint.parse("192.0.2.1", 40000)
B = Endpoint.parse("198.51.100.2", 443)
#: Ends that are one.
SELF = Endpoint.parse("127.0.0.1", 50000)
SELF6 = Endpoint.parse("::1", 50000)

START = 1_795_343_822_661_830_000
LETTERS = {"S": Flag.SYN, "F": Flag.FIN, "R": Flag.RST, "P": Flag.PSH, ".": Flag.ACK}


def counted(result: CaptureResult) -> CaptureResult:
    """The result with its openings counted, too."""
    verdicts = dict(result.verdicts)
    for opening in result.openings:
        verdicts[opening.verdict] = verdicts.get(opening.verdict, 0) + 1
    return result._replace(verdicts=verdicts)


class Talk:
    """A conversation, a segment a call: between A and B; of one endpoint with itself, where only that is given."""

    def __init__(
        self,
        a: Endpoint | None = None,
        b: Endpoint | None = None,
        *,
        isn_a: int = 1000,
        isn_b: int = 7000,
        frame: int = 1,
    ) -> None:
        if a is None:
            a, b = A, B
        self.ends = (a, a if b is None else b)
        self.isn = (isn_a, isn_a if b is None else isn_b)
        self.segments: list[Segment] = []
        self.frame = frame
        self.time = START

    def a(self, flags: str, seq: int = 0, ack: int | None = None, payload: int = 0, **options: object) -> Talk:
        """The first end sends."""
        return self._send(0, flags, seq, ack, payload, options)

    def b(self, flags: str, seq: int = 0, ack: int | None = None, payload: int = 0, **options: object) -> Talk:
        """The second end sends."""
        return self._send(1, flags, seq, ack, payload, options)

    def _send(self, end: int, flags: str, seq: int, ack: int | None, payload: int, options: dict) -> Talk:  # noqa: PLR0917
        if "sack" in options:
            options["sack"] = tuple(
                tuple(int(SequenceNumber(self.isn[1 - end] + edge)) for edge in block) for block in options["sack"]
            )
        self.segments.append(
            Segment(
                self.frame,
                self.time,
                self.ends[end],
                self.ends[1 - end],
                SequenceNumber(self.isn[end] + seq),
                SequenceNumber(0 if ack is None else self.isn[1 - end] + ack),
                sum(LETTERS[letter] for letter in flags),
                65495,
                payload,
                Options(**options),
            )
        )
        self.frame += 1
        self.time += 1000
        return self

    def opening(self, verdict: Verdict, **more: object) -> Opening:
        """Everything so far, as the opening that the first bare SYN began."""
        first = next((segment for segment in self.segments if segment.bare_syn), self.segments[0])
        return Opening(
            verdict, first.source, first.destination, int(first.seq), first.frame, first.time, self.segments, **more
        )


def self_connect(end: Endpoint = SELF, *, isn: int = 1000, close: bool = True, **more: object) -> Opening:
    """A socket that connects to itself, says hello to itself and closes (Linux 6.11 and later)."""
    talk = Talk(end, isn_a=isn, frame=int(more.pop("frame", 1)))
    talk.a("S", mss=65495, sack_permitted=True, tsval=70, tsecr=0)
    talk.a("S.", 0, 1, mss=65495, sack_permitted=True, tsval=70, tsecr=70)
    talk.a(".", 1, 1, sack=((0, 1),), tsval=70, tsecr=70)
    talk.a("P.", 1, 1, 5).a(".", 6, 6)
    if close:
        talk.a("F.", 6, 6).a(".", 7, 7)
    return talk.opening(Verdict.SELF_CONNECT, **more)


def three_way(*, close: bool = True, isn_a: int = 1000, isn_b: int = 7000) -> Opening:
    """The ordinary case (RFC 9293 3.5 figure 6 and 3.6 figure 12)."""
    talk = Talk(isn_a=isn_a, isn_b=isn_b)
    talk.a("S").b("S.", 0, 1).a(".", 1, 1).a("P.", 1, 1, 10).b(".", 1, 11)
    if close:
        talk.a("F.", 11, 1).b(".", 1, 12).b("F.", 1, 12).a(".", 12, 2)
    return talk.opening(Verdict.THREE_WAY)


def simultaneous_open(*, close: bool = True, isn_a: int = 1000, isn_b: int = 7000) -> Opening:
    """Both SYNs cross, then both SYN-ACKs (RFC 9293 3.5 figure 7); at the end both FINs (3.6 figure 13)."""
    talk = Talk(isn_a=isn_a, isn_b=isn_b)
    talk.a("S").b("S").a("S.", 0, 1).b("S.", 0, 1)
    talk.a(".", 1, 1, sack=((0, 1),)).b(".", 1, 1, sack=((0, 1),))
    if close:
        talk.a("F.", 1, 1).b("F.", 1, 1).a(".", 2, 2).b(".", 2, 2)
    return talk.opening(Verdict.SIMULTANEOUS_OPEN)


def refused() -> Opening:
    """A SYN to a port where nobody listens."""
    return Talk().a("S").b("R.", -7000, 1).opening(Verdict.REFUSED)


def packets(segments: Iterable[Segment]) -> list[tuple[int, bytes]]:
    """The segments as raw IP packets (link type 101) with their times, for the writers of capture files."""
    return [(segment.time, _packet(segment)) for segment in segments]


def _packet(segment: Segment) -> bytes:
    options, source, destination = segment.options, segment.source, segment.destination
    encoded = frames.mss(options.mss) if options.mss is not None else b""
    encoded += frames.sack_permitted() if options.sack_permitted else b""
    if options.tsval is not None:
        encoded += frames.timestamps(options.tsval, options.tsecr or 0)
    encoded += frames.sack(*options.sack) if options.sack else b""
    header = frames.tcp(
        source.port,
        destination.port,
        int(segment.flags),
        int(segment.seq),
        int(segment.ack),
        window=segment.window,
        options=encoded,
        payload=bytes(segment.payload),
    )
    if len(source.packed) == 16:
        return frames.ipv6(source.packed, destination.packed, header)
    return frames.ipv4(source.packed, destination.packed, header, identification=segment.frame)


# -- any segments at all, around the wrap of sequence numbers, for hypothesis -----------------------------------------

_near = st.integers(-3, 3).map(SequenceNumber)
_drawn = st.tuples(st.booleans(), st.integers(0, 63), _near, _near, st.integers(0, 3), st.booleans())


def _opening(drawn: list[tuple[bool, int, SequenceNumber, SequenceNumber, int, bool]], to_itself: bool) -> Opening:
    ends = (SELF, SELF) if to_itself else (A, B)
    first = Segment(1, START, *ends, SequenceNumber(-2), SequenceNumber(0), Flag.SYN, 1000)
    rest = []
    for frame, (forth, flags, seq, ack, payload, sacked) in enumerate(drawn, 2):
        way = ends if forth else ends[::-1]
        options = Options(sack=((int(ack + -1), int(ack)),) if sacked else ())
        rest.append(Segment(frame, START + frame, *way, seq, ack, flags, 1000, payload, options))
    return Opening(Verdict.ODD, *ends, int(first.seq), 1, START, [first, *rest])


#: Openings of a SYN and whatever may follow it, allowed or not.
any_openings = st.builds(_opening, st.lists(_drawn, max_size=12), st.booleans())
