"""Parts of a capture, analysed apart and merged: ``part()``, ``merge()``, ``result()``, plain functions to map.

    result(merge(merge(part(x), part(y)), part(z)))  ==  analyze_set([x, y, z])

A part holds what is decided whatever came before it or comes after it (counts, openings, refused attempts), the state
of the 4-tuples at its end, and a log of the segments at its head that can be judged only with what came before: those
of each 4-tuple up to a SYN that begins an opening in any case (``PartialConversations.head()``), and all of the first
2,047 frames, which may be copies of frames of the part before. Merging steps through the log of the second part with
the state of the first. So merging is associative, and any way of cutting gives the report of the whole.

The result is exact only within bounds. Where ``unsure`` is set in it, it may differ from that of the whole, and only
reading in one go decides: a part or a merge had more conversations than ``--table`` holds, or more than 524,288
segments to log, of more than 64 segments in a row without SYN, FIN or RST at the head of a part (which logs 64 of
them) one may have mattered, or a packet was captured three times, the last one 2,048 frames or more than a copy may be
late after the first. Not marked as ``unsure``: more than 65,536 openings kept at one time.

Parts can be pickled, do not depend on the form of the engine, and take some 150 octets for each 4-tuple and for each
logged segment.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from .engine import NEAR, WALK
from .engine.layout import FIRST_IS_B, KEPT, MAX_FILTERS
from .engine.partial import PartialConversations, destination, key_of
from .model import Refusals
from .reader import Analysis, read_file

if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Unpack

    from .engine import Finished, Kept, Key
    from .engine.partial import Logged, Tail
    from .model import CaptureResult, Octets, Piece
    from .reader import Asked


@dataclass(slots=True)
class Part:
    """A part of a capture, analysed (see the module). ``asked`` are the options of Analysis."""

    asked: Asked
    pieces: list[Piece] = field(default_factory=list)
    format: str = "pcap"
    packets: int = 0
    segments: int = 0
    duplicates: int = 0
    translated: int = 0
    unsure: bool = False
    counts: tuple[int, ...] = ()
    reasons: tuple[int, ...] = ()
    accounted: dict[int, int] = field(default_factory=dict)
    recorded_drops: int = -1
    filters: list[str] = field(default_factory=list)
    cut_to_itself: int = 0
    needed_snaplen: int = 0
    finished: list[Finished] = field(default_factory=list)
    finished_at: list[int] = field(default_factory=list)
    log: list[Logged] = field(default_factory=list)
    tails: list[Tail] = field(default_factory=list)
    ring: list[Logged] = field(default_factory=list)
    refusals: dict[Key, Refusals] = field(default_factory=dict)


def part(
    source: str | Iterable[Octets],
    *,
    progress: Callable[[int], None] | None = None,
    **asked: Unpack[Asked],
) -> Part:
    """Analyse a part of a capture: the file at a path (compressed or not), or a file's octets in blocks.

    *asked* are the options of :class:`~analysis.reader.Analysis`; all parts of a capture need the same. Raises
    NotACapture as :func:`~analysis.reader.analyze` does.
    """
    analysis = Analysis(source if isinstance(source, str) else "blocks", **asked)
    analysis.engine.begin_part(True)
    if isinstance(source, str):
        read_file(analysis, source, progress)
    else:
        for block in source:
            analysis.feed(block)
            if analysis.damaged:
                break
    pieces = [analysis.next_file()]
    return exported(analysis, asked, pieces)


def merge(one: Part, other: Part) -> Part:
    """The two parts as one; *other* follows *one*. Neither is changed."""
    analysis = Analysis("", **one.asked)
    analysis.engine.begin_part(True)
    absorb(analysis, one)
    absorb(analysis, other)
    return exported(analysis, one.asked, one.pieces + other.pieces)


def result(whole: Part) -> CaptureResult:
    """The report on a capture whose parts are all merged."""
    made = Whole(**whole.asked)
    made.add(whole)
    return made.result()


class Whole:
    """A capture that is put together from its parts, first to last; the same as merging them, and quicker."""

    def __init__(self, **asked: Unpack[Asked]) -> None:
        self._analysis = Analysis("", **asked)
        self._analysis.engine.begin_part(False)
        self._pieces: list[Piece] = []

    @property
    def unsure(self) -> bool:
        """Whether the result may differ from that of the capture read in one go (see the module)."""
        return table_of(self._analysis).unsure

    def add(self, following: Part) -> None:
        """Append a part."""
        absorb(self._analysis, following)
        self._pieces += following.pieces

    def result(self) -> CaptureResult:
        """End the capture, and return the report on it."""
        return self._analysis.whole(self._pieces)


def table_of(analysis: Analysis) -> PartialConversations:
    """Return the conversation table of an analysis of parts."""
    table = analysis.engine.table
    assert isinstance(table, PartialConversations)  # noqa: S101 - begin_part() made it
    return table


def exported(analysis: Analysis, asked: Asked, pieces: list[Piece]) -> Part:
    """Take out of *analysis* what it found as a part: *pieces* are the files that it read."""
    engine, table = analysis.engine, table_of(analysis)
    tails = table.tails()
    return Part(
        asked=asked,
        pieces=pieces,
        format=analysis.format,
        packets=engine.packets,
        segments=engine.segments,
        duplicates=table.duplicates,
        translated=table.answers.translated,
        unsure=bool(table.unsure),
        counts=tuple(table.counted),
        reasons=tuple(engine.reasons),
        accounted=engine.accounted,
        recorded_drops=engine.interfaces.recorded_drops,
        filters=list(engine.interfaces.filters),
        cut_to_itself=engine.cut_to_itself,
        needed_snaplen=engine.needed_snaplen,
        finished=list(table.finished),
        finished_at=list(table.finished_at),
        log=list(table.log),
        tails=tails,
        ring=sorted(entry for entry in table.ring.values() if engine.packets - entry.frame < NEAR),
        refusals=dict(table.refusals),
    )


def absorb(analysis: Analysis, following: Part) -> None:  # noqa: C901 - a loop for each thing that a part holds
    """Let *analysis* continue with a part, as if it read the octets of that part."""
    engine, table = analysis.engine, table_of(analysis)
    base = engine.packets
    table.fresh = {}
    for one in following.log:
        table.again(one, base)
    refused_before = _Refused(table.refusals, table.fresh)
    table.fresh = None
    for tail in following.tails:
        table.take_tail(_shifted_tail(tail, base, refused_before))
    for opening, at in zip(following.finished, following.finished_at, strict=True):
        refused, since = opening.refused, opening.since
        if since:
            since += base
            refused += refused_before(destination(opening), since)
        table.finished.append(_shifted_opening(opening, base)._replace(refused=refused, since=since))
        table.finished_at.append(at + base)
    for packet in following.ring:
        if packet.frame >= NEAR:
            table.take_packet(packet, base)
    for key, more in following.refusals.items():
        known = table.refusals.setdefault(key, Refusals())
        known.count += more.count
        known.frame, known.time = max((known.frame, known.time), (more.frame + base, more.time))
        known.first += ((at + base, then, port) for at, then, port in more.first)
        known.first = sorted(known.first)[:WALK]
    engine.packets += following.packets
    engine.passed_over += following.segments
    table.duplicates += following.duplicates
    table.answers.translated += following.translated
    table.unsure = table.unsure or following.unsure
    for place, count in enumerate(following.counts):
        table.counted[place] += count
    for place, count in enumerate(following.reasons):
        engine.reasons[place] += count
    for kind, count in following.accounted.items():
        engine.add_accounted(kind, count)
    told = engine.interfaces
    if following.recorded_drops >= 0:
        told.recorded_drops = max(told.recorded_drops, 0) + following.recorded_drops
    told.filters = sorted({*told.filters, *following.filters})[:MAX_FILTERS]
    engine.cut_to_itself += following.cut_to_itself
    engine.needed_snaplen = max(engine.needed_snaplen, following.needed_snaplen)
    analysis.format = following.format


def _shifted_tail(tail: Tail, base: int, refused_before: _Refused) -> Tail:
    """A tail with its frames counted from the beginning of the capture, and with what was refused in earlier parts."""
    state = tail.state._replace(frame=tail.state.frame + base)
    if state.flags & KEPT and state.since:
        if state.flags & FIRST_IS_B:
            key = key_of(state.a_high, state.a_low, state.a_port, state.six)
        else:
            key = key_of(state.b_high, state.b_low, state.b_port, state.six)
        since = state.since + base
        state = state._replace(since=since, refused=state.refused + refused_before(key, since))
    return tail._replace(
        state=state,
        kept=_shifted(tail.kept, base),
        early=_shifted(tail.early, base),
        lent=tail.lent and (tail.lent[0] + base, *tail.lent[1:]),
        error=tail.error and (tail.error[0] + base, *tail.error[1:]),
        link=tail.link and tail.link + base,
    )


def _shifted_opening(one: Finished, base: int) -> Finished:
    """An opening with its frames counted from the beginning of the capture."""
    return one._replace(
        frame=one.frame + base,
        kept=_shifted(one.kept, base) or [],
        answer=one.answer and one.answer + base,
        translated=one.translated and one.translated + base,
        error=one.error and (one.error[0] + base, *one.error[1:]),
        misdirected=one.misdirected and (one.misdirected[0] + base, *one.misdirected[1:]),
    )


class _Refused:
    """How many attempts at a destination were refused before a frame, besides those that the part knew itself."""

    def __init__(self, refusals: dict[Key, Refusals], fresh: dict[Key, list[tuple[int, int, int]]]) -> None:
        self._fresh = {key: [frame for frame, _, _ in ones] for key, ones in fresh.items()}
        self._refusals = refusals

    def __call__(self, key: Key, frame: int) -> int:
        fresh = self._fresh.get(key, [])
        known = self._refusals.get(key)
        return (known.count if known else 0) - len(fresh) + bisect_left(fresh, frame)


def _shifted(kept: list[Kept] | None, base: int) -> list[Kept] | None:
    return None if kept is None else [(one[0] + base, *one[1:]) for one in kept]
