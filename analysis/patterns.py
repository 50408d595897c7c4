"""An opening without its numbers: openings that differ in nothing else are replayed, explained and written once.

A storm's openings, or a busy server's, are of few patterns. What an account of an opening says depends on the order of
its frames, on which ends are equal, and on how far apart the sequence numbers of one direction lie. Frame numbers,
addresses, ports, times and initial sequence numbers themselves are only told. A pattern keeps the former; ``plain()``
makes an opening of it, in whose account a mark stands for each number that is only told.

Whatever else may decide something is kept in the pattern as it is: times where the clock went back, and sequence
numbers where those of one direction may be compared with those of the other (crossed SYNs, translated addresses).
"""

from __future__ import annotations

from functools import lru_cache
from operator import itemgetter

from .model import (
    NANOSECONDS,
    SEQUENCE_SPACE,
    Endpoint,
    Evidence,
    Flag,
    Misdirected,
    Opening,
    Options,
    Segment,
    SequenceNumber,
    Unreachable,
    Verdict,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    #: What an account of an opening depends on, hashable; plain() takes it apart.
    Pattern = tuple[Any, ...]

_MASK = SEQUENCE_SPACE - 1
_SYN, _RST, _ACK, _CONTROL = Flag.SYN, Flag.RST, Flag.ACK, Flag.SYN | Flag.ACK | Flag.RST | Flag.FIN

#: The first marks are for what a view writes in its own way; the rest are those of pattern(): two for
#: each end, from _ENDS on, and then the frames in order.
CAPTURE, TIME, DURATION, SINCE = range(4)
_ISN, _BEFORE, _ASTRAY, _ENDS = range(4, 8)
#: The mark of a number is an integer with more digits than any in a capture, the last ones are the number's own; that
#: of an address is one that no connection has, the last octet is the number's.
_DIGITS = 7
_MARK = 10**17
_BEGINS = str(_MARK)[:-_DIGITS]


def pattern(opening: Opening) -> tuple[Pattern, list[object]]:
    """The pattern of *opening*, and its numbers in the order of their marks; a view puts the first of them in."""
    verdict, source, destination, isn, first_frame, begun, segments, again, omitted, before, since, *_ = opening
    error, astray, translated_with = opening.refused_by, opening.misdirected, opening.translated_with
    evidence, answered_by, answered_in = opening.evidence, opening.answered_by, opening.answered_in
    ends = {source: 0}
    ends.setdefault(destination, 1)
    order = sorted({first_frame, *[one.frame for one in segments]})
    if answered_by or answered_in or translated_with or error or astray:
        others = (answered_by, astray and astray.source, error and Endpoint(error.sender, 0))
        for end in filter(None, others):
            ends.setdefault(end, len(ends))
        frames = (answered_in, translated_with, error and error.frame, astray and astray.frame)
        order = sorted({*order, *filter(None, frames)})
    rank = {frame: place for place, frame in enumerate(order)}
    rows = _rows(opening, ends, rank)
    times: tuple[int, ...] | None = None
    if evidence is Evidence.STANDING or (since is not None and since > begun) or _goes_back(segments):
        times = tuple([one.time - begun for one in segments])
    found = (
        *(verdict, evidence, isn is not None, ends[destination], rank[first_frame], rows, times),
        *(again, omitted, opening.over_a_link, since if since is None else 0 if times is None else since - begun),
        answered_by and ends[answered_by],
        answered_in and rank[answered_in],
        translated_with and rank[translated_with],
        error and (rank[error.frame], ends[Endpoint(error.sender, 0)], error.type, error.code),
        astray and (rank[astray.frame], ends[astray.source]),
    )
    told: list[object] = [None, None, None, None, isn, before, astray and astray.port]
    kinds = []
    for packed, port in ends:
        kind, text = _address(packed)
        kinds.append(kind)
        told += (text, port)
    return (tuple(kinds), *found), told + order


@lru_cache(maxsize=1 << 10)
def _address(packed: bytes) -> tuple[bytes | int, str]:
    """What a pattern has of an address (how long it is, and all of a loopback one), and the address as text."""
    end = Endpoint(packed, 0)
    return packed if end.is_loopback else len(packed), end.address


def _goes_back(segments: Sequence[Segment]) -> bool:
    """Whether the clock does (Replay.clock_went_back), or it is not told as simply as by their order."""
    then, before = 0, 0
    for frame, time, *_ in segments:
        if then - time > NANOSECONDS or frame <= before:
            return True
        then, before = time, frame
    return False


def _rows(opening: Opening, ends: dict[Endpoint, int], rank: dict[int, int]) -> tuple[tuple[Any, ...], ...]:
    """The segments, with sequence numbers relative to the first one of each direction; new ends are added to *ends*."""
    rows = []
    relative = _relative(opening)
    windows = any(one.flags & _RST for one in opening.segments)
    first: dict[int, int] = {}
    for frame, _, source, destination, seq, ack, flags, window, payload, options in opening.segments:
        mss, scale, permitted, sack, tsval, tsecr, cookie, damage = options
        sender, receiver = ends.setdefault(source, len(ends)), ends.setdefault(destination, len(ends))
        sent, acknowledged, begin, since = seq & _MASK, ack & _MASK, 0, 0  # plain integers
        if relative:
            begin = first.setdefault(sender, sent)
            since = first.setdefault(receiver, acknowledged) if flags & _ACK else 0
        rows.append(
            (
                *(rank[frame], sender, receiver, sent - begin & _MASK, acknowledged - since & _MASK),
                *(flags, window if windows or flags & _SYN else 0, payload, mss, scale, permitted),
                sack and tuple([(left - since & _MASK, right - since & _MASK) for left, right in sack]),
                tsval and tsval * (not relative),
                tsecr and tsecr * (not relative or flags & _CONTROL == _SYN),
                *(cookie, damage),
            )
        )
    return tuple(rows)


def _relative(opening: Opening) -> bool:
    """Whether only sequence numbers of one and the same direction are compared with each other.

    So it is where a socket speaks to itself, and where one end alone sends SYNs, the first segment among them, and the
    other one alone SYN-ACKs.
    """
    source, destination, segments = opening.source, opening.destination, opening.segments
    if opening.answered_by or opening.verdict is Verdict.SIMULTANEOUS_OPEN:
        return False
    if source == destination:
        return all(one.source == one.destination == source for one in segments)
    ends = (source, destination)
    for one in segments:
        if one.source not in ends or one.destination not in ends or one.source == one.destination:
            return False
        if one.flags & _SYN and one.source != ends[bool(one.flags & _ACK)]:
            return False
    return not segments or (segments[0].bare_syn and segments[0].source == source)


def plain(found: Pattern) -> Opening:
    """An opening of this pattern, in whose account a mark stands for each number; not so for times."""
    kinds, verdict, evidence, has_isn, destination, first_frame, rows, times, again, omitted, *more = found
    over_a_link, since, answered_by, answered_in, translated_with, error, astray = more
    ends = []
    for place, kind in enumerate(kinds):
        number = _ENDS + 2 * place
        ends.append(_marked(kind, number))
    frame = mark(_ENDS + 2 * len(ends))
    segments = []
    for row, time in zip(rows, times or [NANOSECONDS] * len(rows), strict=True):
        rank, sender, receiver, seq, ack, flags, window, payload, *options = row
        numbers = SequenceNumber(seq), SequenceNumber(ack)
        of = (ends[sender], ends[receiver])
        segments.append(Segment(frame + rank, time, *of, *numbers, flags, window, payload, Options(*options)))
    return Opening(
        verdict=verdict,
        source=ends[0],
        destination=ends[destination],
        isn=mark(_ISN) if has_isn else None,
        first_frame=frame + first_frame,
        time=0,
        segments=segments,
        syn_retransmissions=again,
        omitted=omitted,
        refused_before=mark(_BEFORE),
        refused_since=since,
        over_a_link=over_a_link,
        evidence=evidence,
        answered_by=None if answered_by is None else ends[answered_by],
        answered_in=None if answered_in is None else frame + answered_in,
        translated_with=None if translated_with is None else frame + translated_with,
        refused_by=error and Unreachable(frame + error[0], 0, ends[error[1]].packed, *error[2:]),
        misdirected=astray and Misdirected(frame + astray[0], ends[astray[1]], mark(_ASTRAY)),
    )


def _marked(kind: bytes | int, number: int) -> Endpoint:
    """The end whose address has this number, and whose port the next one; a loopback address is itself."""
    packed = kind if isinstance(kind, bytes) else b"\xff" * (kind - 1) + bytes([number])
    return Endpoint(packed, mark(number + 1))


def mark(number: int) -> int:
    """What stands for that number."""
    return _MARK + number


def template(text: str, found: Pattern) -> tuple[str, Callable[[list[object]], tuple[object, ...]]]:
    """Of *text* from an opening of the pattern *found*: a format of the operator %, and what picks the numbers for it.

    It picks them out of the list that pattern() returns.
    """
    for place, kind in enumerate(found[0]):
        if not isinstance(kind, bytes):
            number = _ENDS + 2 * place
            text = text.replace(_marked(kind, number).address, str(mark(number)))
    before, *pieces = text.replace("%", "%%").split(_BEGINS)
    numbers = [int(piece[:_DIGITS]) for piece in pieces]
    return before + "".join([f"%s{piece[_DIGITS:]}" for piece in pieces]), itemgetter(*numbers)
