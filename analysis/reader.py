"""Capture files and streams: feed the engine with their octets, hand its openings on.

Formats (formats/): pcap with micro- or nanoseconds in either byte order, and its "modified" kind with longer record
headers; pcapng in either byte order; compressed or not.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Sequence

from .engine import MANY, REASONS, Engine, Finished
from .errors import NotACapture
from .formats import pcap, pcapng
from .formats.compression import Cut, kind_of, read, unpacked
from .formats.live import arriving
from .formats.recognise import ENOUGH, not_a_capture, recognised
from .formats.remote import blocks as remote_blocks
from .formats.remote import is_remote, shown
from .in_order import InOrder
from .model import (
    EVIDENCE,
    REMARKABLE,
    Attempts,
    CaptureResult,
    Damage,
    Endpoint,
    Misdirected,
    Octets,
    Opening,
    Piece,
    Unreachable,
    Verdict,
)
from .progress import Progress
from .records import TypedDict
from .segments import decode
from .verdicts import VERDICTS, keep_from

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Unpack

#: Conversations remembered at one time, unless asked otherwise: 34 MB when all are in use, which a processor's cache
#: may hold. (Twice as many cost a sixth of the speed in a flood.)
TABLE = 1 << 17

#: Octets that a frame with a TCP segment takes in a file, at least: a record's header, one of IP and one of TCP.
LEAST_FRAME = 54

#: Endpoints connected to themselves that are remembered of openings that were handed on.
_HITS = 1 << 16

#: No limit.
ALL = (1 << 64) - 1

#: Takes the name of a capture, and an opening in it.
Each = Callable[[str, "Opening"], None]


class Asked(TypedDict, total=False):
    """What may be asked of an analysis.

    ``collect`` names the verdicts whose openings come back with their segments (the remarkable ones), the first
    ``most`` of each; ``only`` the verdicts to count (all, where empty); ``table`` bounds the conversations remembered
    at one time; ``host`` (packed address) and ``port`` restrict the analysis to openings with such an end. With
    ``each`` the openings are not collected: as one ends, it is called with the capture's name and the opening (of an
    unremarkable one, no more than its SYN). Where it has a method ``decided``, that is called likewise before, when the
    verdict of an opening has become certain, with the segments so far; then the segments of all are kept. So they are
    where its attribute ``in_order`` is true: then it is called with the openings in the order of their first frames.
    """

    collect: Collection[Verdict]
    most: int
    only: Collection[Verdict]
    table: int
    port: int
    host: bytes
    each: Each | None


def equal_ends(only: Collection[Verdict]) -> bool:
    """Whether the segments whose two endpoints are equal suffice to tell these verdicts."""
    return bool(only) and frozenset(only) == {Verdict.SELF_CONNECT}


class Analysis:
    """The analysis of one capture, fed with its octets in order and in any portions. What may be asked: see Asked.

    Of how many *octets* the capture is, if that is known: the memory for few is smaller, and the result the same.
    Raises NotACapture from :meth:`feed` or :meth:`finish` where the octets are no capture.
    """

    def __init__(  # noqa: PLR0913 - each is an option of its own
        self,
        name: str,
        *,
        collect: Collection[Verdict] = REMARKABLE,
        most: int = ALL,
        only: Collection[Verdict] = (),
        table: int = TABLE,
        port: int = 0,
        host: bytes = b"",
        each: Each | None = None,
        octets: int | None = None,
    ) -> None:
        self.name = name
        self.only = frozenset(only)
        wanted = frozenset(collect) & self.only if only else frozenset(collect)
        self._wanted = wanted
        self._each = each
        self._decided: Each | None = getattr(each, "decided", None)
        self._gone = 0  # openings that it was called with
        self._order = InOrder() if getattr(each, "in_order", False) else None
        self._hits: set[Endpoint] = set()
        # Twice as many as fit into the file: it may grow while it is read.
        frames = MANY if octets is None else 2 * octets // LEAST_FRAME + 2
        self.engine = Engine(
            max(min(table, frames), 16),
            sum(1 << VERDICTS.index(verdict) for verdict in wanted),
            most,
            keep_from(wanted & REMARKABLE if each and not (self._decided or self._order) else wanted),
            equal_ends(only),
            port,
            host,
            frames,
        )
        if self._decided:
            self.engine.table.announce = True
        self.format = "pcap"  # of the last file
        self._before = 0  # packets in the files before this one
        self._begin_file()

    @property
    def verdicts(self) -> dict[Verdict, int]:
        """How many openings have which verdict so far; the undecided ones are not counted yet."""
        counts = self.engine.table.counted
        return {verdict: counts[place] for place, verdict in enumerate(VERDICTS)}

    @property
    def so_far(self) -> str:
        """What was found so far, in a line: packets, decided openings, and the unusual ones of each kind."""
        counts = self.verdicts
        unusual = "".join(f", {verdict}: {n:,}" for verdict, n in counts.items() if n and verdict in REMARKABLE)
        return f"packets: {self.packets:,}, openings: {sum(counts.values()):,}{unusual}"

    @property
    def packets(self) -> int:
        """Packets so far."""
        return int(self.engine.packets)

    @property
    def damaged(self) -> bool:
        """Whether the capture broke; what comes after that is not read."""
        return self._damage is not None

    def next_file(self) -> Piece:
        """End this file: the capture goes on in another one, of any format. Return what the file held.

        Frame numbers continue, and openings under way stay so. What the file lacks at its end is a gap.
        """
        self._check_end()
        piece = Piece(self.name, self.packets - self._before, self._damage)
        self._before = self.packets
        self.engine.next_file()
        self._begin_file()
        return piece

    def _begin_file(self) -> None:
        self._read: Callable[[Octets, int, int], None] | None = None
        self._tail = bytearray()
        self._need = ENOUGH
        self._offset = 0  # of the first octet that is not read yet
        self._damage: Damage | None = None

    def damage(self, reason: str) -> None:
        """Note that the octets fed so far are all that could be had."""
        if self._damage is None:
            self._damage = Damage(self._offset + len(self._tail), reason)

    def feed(self, data: Octets) -> None:
        """Read the next octets of the capture."""
        start, end = 0, len(data)
        # The rest of the last portion is completed with as many octets as it needs, and no more.
        while self._tail or self._read is None:
            taken = min(max(self._need - len(self._tail), 0), end - start)
            self._tail += data[start : start + taken]
            start += taken
            if len(self._tail) < self._need or self._damage:
                return
            if self._read is None:
                self._begin()
            else:
                tail = self._tail
                self._take(tail, 0, len(tail))
                self._tail = tail[self.engine.position :]
        if start < end and not self._damage:
            self._take(data, start, end)
            if self._damage is None:
                self._tail += data[self.engine.position : end]

    def _begin(self) -> None:
        """Recognise the file by its first octets."""
        header = recognised(self.name, bytes(self._tail))
        if header is None:
            self.format = "pcapng"
            self._read = self.engine.pcapng
            self._need = pcapng.SMALLEST
            return
        self.format = "pcap"
        self.engine.begin_pcap(header.order == "big", header.record, header.scale, header.link, header.lengths)
        self._read = self.engine.pcap
        self._need = header.record
        self._offset = pcap.LENGTH
        self._tail.clear()

    def _take(self, data: Octets, start: int, end: int) -> None:
        """Read what is whole in data[start:end]."""
        assert self._read is not None  # noqa: S101 - for the type checker
        self._read(data, start, end)
        self._need = self.engine.need
        self._offset += self.engine.position - start
        self._hand_on()
        if self.engine.damage:
            self._damage = Damage(self._offset, self.engine.damage)

    def _hand_on(self) -> None:
        if self._decided:
            for one in _taken(self.engine.table.decided):
                if VERDICTS[one.verdict] in self._wanted:
                    self._decided(self.name, _opening(one))
        if self._each:
            finished = _taken(self.engine.table.finished)
            self._gone += len(finished)
            turn = self._order.sorted(finished, self.engine.table.oldest_opening) if self._order else finished
            self._hand_out(turn)

    def _hand_out(self, turn: Iterable[Finished]) -> None:
        assert self._each  # noqa: S101 - for the type checker
        for one in turn:
            opening = _opening(one)
            if opening.verdict is Verdict.SELF_CONNECT and len(self._hits) < _HITS:
                self._hits.add(opening.source)
            self._each(self.name, opening)

    def _check_end(self) -> None:
        """Note damage if the file must not end here; raise NotACapture if it was no capture."""
        if self._read is None:
            if self._damage:
                raise NotACapture(f"{self.name} breaks before its first packet: {self._damage.reason}")
            if not self._tail:
                raise NotACapture(f"{self.name} is not a capture: it is empty")
            raise NotACapture(not_a_capture(self.name, bytes(self._tail)))
        if self._tail and self._damage is None:
            missing = self._need - len(self._tail)
            what = "record" if self.format == "pcap" else "block"
            self._damage = Damage(self._offset, f"cut short: the last {what} lacks at least {missing} octets")

    def finish(self, *, opened: bool = True) -> CaptureResult:
        """End the capture: every opening gets its verdict. Return the result.

        *opened*: with the openings, which takes longer than all the rest where there are hundreds; else :meth:`opening`
        returns one of them afterwards.
        """
        self._check_end()
        return self._result(opened=opened)

    def opening(self, source: Endpoint, isn: int) -> Opening | None:
        """Return the opening that began with this SYN, if it is one of those that were to be collected."""
        for one in self.engine.table.finished:
            if (one.isn, one.one_port, one.one) == (isn, source.port, source.packed):
                return _opening(one)
        return None

    def whole(self, pieces: Sequence[Piece]) -> CaptureResult:
        """End a capture of several files, after the last :meth:`next_file`; *pieces* are what that returned."""
        first, last = pieces[0].name, pieces[-1].name
        self.name = f"{first} ... {last} ({len(pieces)} files)" if len(pieces) > 1 else first
        return self._result()._replace(parts=tuple(pieces))

    def forget_file(self) -> None:
        """Forget the file that was fed last: it was no capture. The next file follows those before."""
        self._begin_file()

    def pass_over(self, packets: int) -> None:
        """Count packets that were read elsewhere; the next file follows them."""
        self.engine.packets += packets
        self._before = self.packets

    def _result(self, *, opened: bool = True) -> CaptureResult:
        engine = self.engine
        engine.finish()
        table = engine.table
        self._hand_on()
        if self._order:
            self._hand_out(self._order.rest())
        undecoded = {reason: engine.reasons[place] for place, reason in enumerate(REASONS) if engine.reasons[place]}
        openings = [_opening(finished) for finished in table.finished] if opened else []
        openings.sort(key=lambda opening: opening.first_frame)
        return CaptureResult(
            name=self.name,
            format=self.format,
            packets=engine.packets,
            segments=engine.segments,
            duplicates=table.duplicates,
            undecoded=undecoded,
            damage=self._damage,
            verdicts={v: n for v, n in self.verdicts.items() if not self.only or v in self.only},
            midstream=table.midstream,
            midstream_to_itself=table.midstream_to_itself,
            evicted=table.evicted,
            translated=table.answers.translated,
            other=dict(engine.other),
            unknown=dict(engine.unknown),
            recorded_drops=engine.interfaces.recorded_drops if engine.interfaces.recorded_drops >= 0 else None,
            filters=tuple(engine.interfaces.filters),
            cut_to_itself=engine.cut_to_itself,
            needed_snaplen=engine.needed_snaplen,
            unsure=bool(getattr(table, "unsure", False)),
            openings=openings,
            hits=frozenset(self._hits),
            left_out=sum(self.verdicts[verdict] for verdict in self._wanted) - len(table.finished) - self._gone,
            attempts=sorted(
                (
                    Attempts(
                        Endpoint(packed, port),
                        count,
                        first,
                        last,
                        ports,
                        times,
                    )
                    for packed, port, count, first, last, ports, times in table.walks()
                ),
                key=lambda attempts: (-attempts.count, attempts.destination),
            ),
        )


def _taken(items: list[Finished]) -> list[Finished]:
    """Take all items from a list."""
    taken = items[:]
    items.clear()
    return taken


def _misdirected(one: tuple[int, bytes, int, int]) -> Misdirected:
    frame, address, port, sent_to = one
    return Misdirected(frame, Endpoint(address, port), sent_to)


def _opening(one: Finished) -> Opening:
    """Return the engine's opening as an Opening."""
    source, destination = Endpoint(one.one, one.one_port), Endpoint(one.two, one.two_port)
    return Opening(
        verdict=VERDICTS[one.verdict],
        source=source,
        destination=destination,
        isn=None if one.isn < 0 else one.isn,
        first_frame=one.frame,
        time=one.time,
        segments=[
            decode(number, when, *((source, destination) if first else (destination, source)), header, data)
            for number, when, first, header, data in one.kept
        ],
        syn_retransmissions=one.retransmissions,
        omitted=one.omitted,
        over_a_link=one.wired,
        refused_before=one.refused,
        refused_since=one.since if one.refused else None,
        evidence=None if one.evidence < 0 else EVIDENCE[one.evidence],
        answered_by=Endpoint(one.other, one.other_port) if one.answer else None,
        answered_in=one.answer or None,
        translated_with=one.translated or None,
        refused_by=Unreachable(*one.error) if one.error else None,
        misdirected=_misdirected(one.misdirected) if one.misdirected else None,
    )


def size_of(path: str) -> int | None:
    """Return how many octets of a capture the file at *path* holds; None where only reading it tells."""
    with contextlib.suppress(OSError, ValueError):
        status = os.stat(path)  # noqa: PTH116 - pathlib takes longer to import than a small capture to read
        if stat.S_ISREG(status.st_mode) and path != "-" and not is_remote(path) and not kind_of(path):
            return status.st_size
    return None


def analyze(
    path: str, *, progress: Callable[[int], None] | None = None, jobs: int = 1, **asked: Unpack[Asked]
) -> CaptureResult:
    """Analyse the capture at *path* (``-`` is standard input), compressed or not.

    Members of a gzip file that state their size are unpacked on *jobs* processors.
    *progress* is called with the octets of the file as they are read. KeyboardInterrupt ends the reading and is noted
    as damage. Raises NotACapture where the file cannot be read or is no capture.
    """
    analysis = Analysis("", **asked, octets=size_of(path))
    read_file(analysis, path, progress, jobs=jobs)
    return analysis.finish()


def analyze_set(
    paths: Sequence[str],
    *,
    progress: Callable[[int], None] | None = None,
    refused: Callable[[NotACapture, str], None] | None = None,
    jobs: int = 1,
    **asked: Unpack[Asked],
) -> CaptureResult:
    """Analyse the captures at *paths* as one that was cut into files: the same as if they had been concatenated.

    They may differ in format, clock and link type. Where one is damaged or cut short its rest is lost, as a gap, and
    the next one goes on; ``parts`` of the result tells of each. *refused* is called with the exception and the path
    of each that is no capture or cannot be read, which is passed over. Else as :func:`analyze`. Raises NotACapture
    where none is a capture.
    """
    analysis = Analysis("", **asked)
    pieces: list[Piece] = []
    error: NotACapture | None = None
    for path in paths:
        try:
            stopped = read_file(analysis, path, progress, jobs=jobs)
            pieces.append(analysis.next_file())
        except NotACapture as this:
            error = this
            analysis.forget_file()
            if refused:
                refused(this, path)
            continue
        if stopped:
            break
    if not pieces:
        raise error or NotACapture("no capture was named")
    return analysis.whole(pieces)


def _shown(path: str) -> str:
    return "standard input" if path == "-" else shown(path)


def read_file(
    analysis: Analysis,
    path: str,
    progress: Callable[[int], None] | None,
    octets: Generator[Octets, None, None] | None = None,
    jobs: int = 1,
) -> bool:
    """Feed *analysis* with the file at *path*, and name it accordingly; say whether KeyboardInterrupt ended that.

    *octets* are those of the file, where they are to be had in another way than at once and to the end. *jobs*: see
    :func:`analyze`.
    """
    name = analysis.name = _shown(path)
    if octets or not (is_remote(path) or os.path.isfile(0 if path == "-" else path)):  # noqa: PTH113 - as above
        jobs = 0  # there may be a pause between any two of them
    if isinstance(progress, Progress):
        progress.so_far = lambda: analysis.so_far
    try:
        with contextlib.closing(octets or _blocks(path, name)) as blocks:
            plain = unpacked(name, _watched(blocks, progress) if progress else blocks, jobs)
            with contextlib.closing(plain):
                for block in _readable(analysis, plain):
                    analysis.feed(block)
                    if analysis.damaged:
                        break
    except KeyboardInterrupt:
        analysis.damage("interrupted")
        return True
    return False


def _readable(analysis: Analysis, blocks: Iterator[Octets]) -> Iterator[Octets]:
    """Yield the blocks as far as they can be read; what ends them early is noted.

    Errors of the caller while it works on a block (a row that cannot be written, say) are not caught here.
    """
    before = analysis.packets
    try:
        yield from blocks
    except OSError as error:
        if analysis.packets == before:
            raise NotACapture(f"cannot read {analysis.name}: {error.strerror}") from error
        analysis.damage(f"reading failed: {error.strerror}")
    except Cut as cut:
        analysis.damage(str(cut))


def _blocks(path: str, name: str) -> Generator[Octets, None, None]:
    """The octets of the file at *path*, of a URL or of standard input."""
    if is_remote(path):
        yield from remote_blocks(path)
        return
    try:
        fd = os.dup(0) if path == "-" else os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except (OSError, ValueError) as error:
        raise NotACapture(f"cannot read {name}: {getattr(error, 'strerror', None) or error}") from error
    try:
        status = os.fstat(fd)
        if stat.S_ISDIR(status.st_mode):
            raise NotACapture(f"cannot read {name}: it is a directory")
        yield from read(fd, status.st_size) if stat.S_ISREG(status.st_mode) else arriving(fd)
    finally:
        os.close(fd)


def _watched(blocks: Iterator[Octets], progress: Callable[[int], None]) -> Iterator[Octets]:
    for block in blocks:
        progress(len(block))
        yield block
