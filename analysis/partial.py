"""Parts of a capture, analysed apart and merged: ``part()``, ``merge()``, ``result()``, plain functions to map.

    result(merge(merge(part(x), part(y)), part(z)))  ==  analyze_set([x, y, z])

A part holds what is decided whatever came before it or comes after it (counts, openings, refused attempts), the state
of the 4-tuples at its end, and a log of the segments at its head that can be judged only with what came before: those
of each 4-tuple up to a SYN that begins an opening in any case (``LoggedConversations.head()``), and all of the first
2,047 frames, which may be copies of frames of the part before. After 65,536 entries a 4-tuple that comes for the first
time, with a SYN, counts as new: ``fits()`` tells whether it is. Merging steps through the log of the second part with
the state of the first. So merging is associative, and any way of cutting gives the report of the whole.

The result is exact only within bounds. Where ``unsure`` is set in it, it may differ from that of the whole, and only
reading in one go decides: a part had more conversations than ``--table`` holds (of a merge, too, unless it is with the
first part: then it puts out the same ones as one go does, or is unsure which), more than 524,288 segments to log, or
more than 4,194,304 refused attempts; a part does not fit; of more than 64 segments in a row without SYN, FIN or RST at
the head of a part (which logs 64 of them) one may have mattered; the other side of an opening, after a translation, may
be in the part before; an opening has another side, or an answer from elsewhere, and the whole may have forgotten its
client (engine/answers.py); a third copy of a packet came NEAR frames after the first one; so many openings were kept at
one time that the whole might have kept fewer (65,536, or 4,096 if any was kept only because its SYN was repeated); or
so many had another side, an ICMP error or an answer from elsewhere (65,536).

Parts can be pickled, do not depend on the form of the engine, and take some 250 octets for each 4-tuple and 192 for
each logged segment.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable
from dataclasses import dataclass, field

from .engine import NEAR
from .engine.head_log import destination
from .engine.layout import ENTRY_OCTETS, MAX_FILTERS
from .engine.partial import Held, PartialConversations
from .reader import Analysis, read_file

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Unpack

    from .engine import Finished, Kept
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
    log: bytes = b""
    tails: bytes = b""
    origins: array[int] = field(default_factory=lambda: array("Q"))
    held: dict[int, Held] = field(default_factory=dict)
    most_kept: int = 0
    most_answers: int = 0
    retried: bool = False
    ring: bytes = b""
    destinations: bytes = b""
    attempts: bytes = b""

    @property
    def logged(self) -> int:
        """How many entries the log has."""
        return len(self.log) // ENTRY_OCTETS


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
    analysis = Analysis("blocks", **asked)
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


def exported(analysis: Analysis, asked: Asked, pieces: list[Piece], last: bool = False) -> Part:
    """Take out of *analysis* what it found as a part: *pieces* are the files that it read.

    Nothing may be merged after the *last* part: the packets in it are not remembered.
    """
    engine, table = analysis.engine, table_of(analysis)
    tails, held, origins = table.tails()
    forgotten = not last and (not table.remembers or table.ring_from > max(engine.packets - NEAR, 0) + 1)
    return Part(
        asked=asked,
        pieces=pieces,
        format=analysis.format,
        packets=engine.packets,
        segments=engine.segments,
        duplicates=table.duplicates,
        translated=table.answers.translated,
        unsure=bool(table.unsure) or bool(table.answers.doubtful) or forgotten,
        counts=tuple(table.counted),
        reasons=tuple(engine.reasons),
        accounted=engine.accounted,
        recorded_drops=engine.interfaces.recorded_drops,
        filters=list(engine.interfaces.filters),
        cut_to_itself=engine.cut_to_itself,
        needed_snaplen=engine.needed_snaplen,
        finished=list(table.finished),
        finished_at=list(table.finished_at),
        log=table.log_octets(),
        tails=tails,
        origins=origins,
        held=held,
        most_kept=table.kept.most,
        most_answers=table.answers.most,
        retried=bool(table.kept.retried),
        ring=b"" if last else table.ring_octets(engine.packets),
        destinations=table.refused.destinations.octets(),
        attempts=table.refused.attempts.octets(),
    )


def fits(analysis: Analysis, following: Part) -> bool:
    """Whether *analysis* can continue with a part: it was sure, and none of its conversations began before it."""
    return not following.unsure and table_of(analysis).fits(following.log)


def absorb(analysis: Analysis, following: Part) -> None:
    """Let *analysis* continue with a part, as if it read the octets of that part."""
    engine, table = analysis.engine, table_of(analysis)
    base = engine.packets
    kept, answers = table.kept.begin_merge(), table.answers.begin_merge()
    misdirected = table.work_through(following.log, base, following.finished, following.finished_at)
    too_many = table.kept.end_merge(kept, following.most_kept, following.retried)
    too_many = table.answers.end_merge(answers, following.most_answers) or too_many
    held = {number: _shifted_held(one, base) for number, one in following.held.items()}
    table.take_tails(following.tails, held, following.origins, base)
    for opening, at, astray in zip(following.finished, following.finished_at, misdirected, strict=True):
        refused, since = opening.refused, opening.since
        if since:
            since += base
            refused += table.refused.before(destination(opening), since)
        shifted = _shifted_opening(opening, base)
        table.finished.append(shifted._replace(refused=refused, since=since, misdirected=astray))
        table.finished_at.append(at + base)
    table.take_ring(following.ring, base)
    table.refused.take(following.destinations, following.attempts, base)
    table.unsure = table.unsure or following.unsure or bool(table.refused.full) or too_many
    analysis.pass_over(following.packets)
    engine.passed_over += following.segments
    table.duplicates += following.duplicates
    table.answers.translated += following.translated
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


def _shifted_held(held: Held, base: int) -> Held:
    """What is held of a slot, with its frames counted from the beginning of the capture."""
    return held._replace(
        kept=_shifted(held.kept, base),
        early=_shifted(held.early, base),
        lent=held.lent and (held.lent[0] + base, *held.lent[1:]),
        error=held.error and (held.error[0] + base, *held.error[1:]),
        link=held.link and held.link + base,
    )


def _shifted_opening(one: Finished, base: int) -> Finished:
    """An opening with its frames counted from the beginning of the capture; ``misdirected`` is work_through()'s."""
    return one._replace(
        frame=one.frame + base,
        kept=_shifted(one.kept, base) or [],
        answer=one.answer and one.answer + base,
        translated=one.translated and one.translated + base,
        error=one.error and (one.error[0] + base, *one.error[1:]),
    )


def _shifted(kept: list[Kept] | None, base: int) -> list[Kept] | None:
    return None if kept is None else [(one[0] + base, *one[1:]) for one in kept]
