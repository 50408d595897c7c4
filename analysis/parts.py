"""Parts of a capture, analysed apart and merged: ``part()``, ``merge()``, ``result()``, plain functions to map.

    result(merge(merge(part(x), part(y)), part(z)))  ==  analyze_set([x, y, z])

A part holds what is decided whatever came before it or comes after it (counts, openings, refused attempts), the state
of the 4-tuples at its end, and a log of the segments at its head that nobody can judge who does not know what came
before: those of each 4-tuple up to a SYN that begins an opening in any case (``Engine.head()``), and all of the
first 2,047 frames, which may be copies of frames of the part before. Merging steps through the log of the second part
with the state of the first. So merging is associative, and any way of cutting gives the report of the whole.

What is exact only within bounds. Where ``unsure`` is set in it, the result may differ from that of the whole, and only
reading in one go tells: a part or a merge had more conversations than ``--table`` holds, or more than 524,288 segments
to log, or of more than 64 segments in a row without SYN, FIN or RST at the head of a part (which logs 64 of them) one
may have mattered. Without a sign: three copies of one packet on both sides of a cut, within 2 ms but 2,048 frames
apart; more than 65,536 openings kept at one time.

Parts can be pickled, do not depend on the form of the engine, and take some 150 octets for each 4-tuple and for each
logged segment.
"""

from __future__ import annotations

import mmap
import os
import signal
import struct
from bisect import bisect_left
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

from .engine import COMPILED, NUMBERS, Finished, Kept, Undecided, destination
from .errors import NotACapture
from .reader import ORDERS, PCAP, Analysis, equal_ends, read_file
from .unpack import read
from .words import Damage, Refusals

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkContext, SpawnContext
    from threading import Thread
    from typing import Unpack

    from .reader import Asked
    from .words import CaptureResult, Octets, Piece

#: A destination among the refusals, see destination().
_Key = tuple[int, int, int]

_WORDS = struct.Struct("=16Q").unpack
_NEAR, _WALK, _STATE, _FRAME, _REFUSED, _SINCE, _KEPT, _FIRST_IS_B = NUMBERS


@dataclass(slots=True)
class Part:
    """A part of a capture, analysed (see the module). ``asked`` are the options of Analysis."""

    asked: Asked
    pieces: list[Piece] = field(default_factory=list)
    format: str = "pcap"
    packets: int = 0
    segments: int = 0
    duplicates: int = 0
    unsure: bool = False
    counts: tuple[int, ...] = ()
    reasons: tuple[int, ...] = ()
    unknown_links: dict[int, int] = field(default_factory=dict)
    finished: list[Finished] = field(default_factory=list)
    finished_at: list[int] = field(default_factory=list)
    log: list[Undecided] = field(default_factory=list)
    tails: list[tuple[bytes, bytes, list[Kept] | None, int, list[Kept] | None]] = field(default_factory=list)
    ring: list[tuple[int, int, bytes]] = field(default_factory=list)
    refusals: dict[tuple[int, int, int], Refusals] = field(default_factory=dict)


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
    return _exported(analysis, asked, pieces)


def merge(one: Part, other: Part) -> Part:
    """The two parts as one; *other* follows *one*. Neither is changed."""
    analysis = Analysis("", **one.asked)
    analysis.engine.begin_part(True)
    _absorb(analysis, one)
    _absorb(analysis, other)
    return _exported(analysis, one.asked, one.pieces + other.pieces)


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
        return bool(self._analysis.engine.unsure)

    def add(self, following: Part) -> None:
        """Append a part."""
        _absorb(self._analysis, following)
        self._pieces += following.pieces

    def result(self) -> CaptureResult:
        """The capture is over."""
        return self._analysis.whole(self._pieces)


def _exported(analysis: Analysis, asked: Asked, pieces: list[Piece]) -> Part:
    engine = analysis.engine
    tails = engine.tails()
    return Part(
        asked=asked,
        pieces=pieces,
        format=analysis.format,
        packets=engine.packets,
        segments=engine.segments,
        duplicates=engine.duplicates,
        unsure=bool(engine.unsure),
        counts=tuple(engine.counts),
        reasons=tuple(engine.reasons),
        unknown_links=dict(engine.unknown_links),
        finished=list(engine.finished),
        finished_at=list(engine.finished_at),
        log=list(engine.log),
        tails=tails,
        ring=sorted(entry for entry in engine.ring.values() if engine.packets - entry[0] < _NEAR),
        refusals=dict(engine.refusals),
    )


def _absorb(analysis: Analysis, following: Part) -> None:  # noqa: C901 - a loop for each thing that a part holds
    """Let *analysis* go on with a part instead of with octets."""
    engine = analysis.engine
    base = engine.packets
    engine.fresh = {}
    for one in following.log:
        engine.again(one, base)
    before = _Refused(engine.refusals, engine.fresh)
    engine.fresh = None
    for words, header, kept, omitted, early in following.tails:
        values = list(_WORDS(words))
        values[_FRAME] += base
        if values[_STATE] & _KEPT and values[_SINCE]:
            at_a = values[_STATE] & _FIRST_IS_B
            high, low, port = (values[0], values[1], values[4] >> 16) if at_a else (values[2], values[3], values[4])
            key = (high, low, port & 0xFFFF | values[4] >> 32 << 32)
            values[_SINCE] += base
            values[_REFUSED] += before(key, values[_SINCE])
        engine.take_tail(tuple(values), header, _shifted(kept, base), omitted, _shifted(early, base))
    for opening, at in zip(following.finished, following.finished_at, strict=True):
        refused, since = opening[9], opening[10]
        if since:
            since += base
            refused += before(destination(opening), since)
        segments = _shifted(opening[13], base) or []
        engine.finished.append(
            (*opening[:6], opening[6] + base, *opening[7:9], refused, since, *opening[11:13], segments)
        )
        engine.finished_at.append(at + base)
    for number, time, octets in following.ring:
        if number >= _NEAR:
            engine.take_packet(base + number, time, octets)
    for key, more in following.refusals.items():
        known = engine.refusals.setdefault(key, Refusals())
        known.count += more.count
        known.frame, known.time = max((known.frame, known.time), (more.frame + base, more.time))
        known.first += ((at + base, then, port) for at, then, port in more.first)
        known.first = sorted(known.first)[:_WALK]
    engine.packets += following.packets
    engine.segments += following.segments
    engine.duplicates += following.duplicates
    engine.unsure = engine.unsure or following.unsure
    for place, count in enumerate(following.counts):
        engine.counts[place] += count
    for place, count in enumerate(following.reasons):
        engine.reasons[place] += count
    for link, count in following.unknown_links.items():
        engine.unknown_links[link] = engine.unknown_links.get(link, 0) + count
    analysis.format = following.format


class _Refused:
    """How many attempts at a destination were refused before a frame, besides those that the part knew itself."""

    def __init__(self, refusals: dict[_Key, Refusals], fresh: dict[_Key, list[tuple[int, int, int]]]) -> None:
        self._fresh = {key: [frame for frame, _, _ in ones] for key, ones in fresh.items()}
        self._refusals = refusals

    def __call__(self, key: _Key, frame: int) -> int:
        fresh = self._fresh.get(key, [])
        known = self._refusals.get(key)
        return (known.count if known else 0) - len(fresh) + bisect_left(fresh, frame)


def _shifted(kept: list[Kept] | None, base: int) -> list[Kept] | None:
    return None if kept is None else [(one[0] + base, *one[1:]) for one in kept]


# -- on several processors -----------------------------------------------------------------------------------------

#: Octets that are worth a process or a thread of their own.
LARGE = 16 << 20
#: Octets in which the beginning of a record is looked for.
_BLOCK = 1 << 20

#: Records that must follow each other for one to be taken for the beginning of one.
_CHAIN = 32

#: A file, and which of its octets; all where there is no end.
_Range = tuple[str, int, int | None]
_Task = list[_Range]
#: What one comes to (None where nothing was a capture), what was none and why, and whether Ctrl-C ended it.
_Findings = tuple["Part | None", list[tuple[NotACapture, str]], bool]
#: Waits for that; raises EOFError where whoever was at it died.
_Ask = Callable[[], _Findings]


def analyze_parts(
    paths: Sequence[str],
    jobs: int,
    *,
    progress: Callable[[int], None] | None = None,
    refused: Callable[[NotACapture, str], None] | None = None,
    **asked: Unpack[Asked],
) -> CaptureResult | None:
    """Analyse one capture, in one file or cut into several, on *jobs* processors: in as many processes or threads.

    As analyze() does with one path, and analyze_set() with several. None where that is not worth while (where many
    conversations are to be remembered the compiled engine is quicker by itself), or where the parts may give another
    result than the whole: read it in one go then.
    """
    if jobs < 2 or (COMPILED and not equal_ends(asked.get("only", ()))):
        return None
    try:
        whole = sum(map(os.path.getsize, paths))
        if whole < LARGE or not all(map(os.path.isfile, paths)):
            return None
        jobs = min(jobs, whole // max(LARGE, 1) + 1)
        tasks = _ranges(paths[0], jobs) if len(paths) == 1 else _groups(paths, jobs)
        if len(tasks) < 2:
            return None
        with (_threads if COMPILED else _processes)(tasks[1:], asked) as others:
            return _put_together(tasks, others, progress, refused, asked)
    except (OSError, MemoryError):  # in one go it shows what is wrong, and how far it goes all the same
        return None


@contextmanager
def _processes(tasks: Sequence[_Task], asked: Asked) -> Iterator[list[_Ask]]:
    """Have the tasks done in processes of their own, which are ended from outside; who asks waits for one of them."""
    context = start_method()
    crew = []
    try:
        for task in tasks:
            ours, theirs = context.Pipe(duplex=False)
            with deaf():
                crew.append((context.Process(target=_send, args=(theirs, task, asked), daemon=True), ours))
                crew[-1][0].start()
            theirs.close()
        yield [ours.recv for _, ours in crew]
    finally:
        for process, ours in crew:
            ours.close()
            if process.pid is not None:
                process.kill()  # it hears nothing else
                process.join()


def _send(pipe: Connection, task: _Task, asked: Asked) -> None:
    """What such a process does."""
    end_with_employer()
    pipe.send(_findings(task, asked, None))


@contextmanager
def _threads(tasks: Sequence[_Task], asked: Asked) -> Iterator[list[_Ask]]:
    """Have the tasks done in threads; the compiled engine lets others run meanwhile."""
    from queue import SimpleQueue  # noqa: PLC0415 - seldom needed
    from threading import Thread  # noqa: PLC0415

    over = False

    def work(task: _Task, found: SimpleQueue[_Findings | None]) -> None:
        findings = None
        try:
            findings = _findings(task, asked, watch)
        except (OSError, MemoryError):
            pass  # as if it had died
        finally:
            found.put(findings)

    def watch(_octets: int) -> None:
        if over:
            raise KeyboardInterrupt

    def ask(found: SimpleQueue[_Findings | None]) -> _Findings:
        nonlocal over
        try:
            findings = found.get()
        except KeyboardInterrupt:
            over = True
            findings = found.get()
        if findings is None:
            raise EOFError
        return findings[0], findings[1], over

    queues: list[SimpleQueue[_Findings | None]] = [SimpleQueue() for _ in tasks]
    crew = [Thread(target=work, args=pair) for pair in zip(tasks, queues, strict=True)]
    try:
        _start(crew)
        yield [partial(ask, found) for found in queues]
    finally:
        over = True
        for thread in crew:
            if thread.ident is not None:
                thread.join()


def _start(crew: Iterable[Thread]) -> None:
    """Start these threads; Ctrl-C waits until they are. Raises OSError where no more are to be had."""
    with deaf():
        for thread in crew:
            try:
                thread.start()
            except RuntimeError as error:
                raise OSError(str(error)) from error


def _findings(task: _Task, asked: Asked, progress: Callable[[int], None] | None) -> _Findings:
    """Analyse what a task names as a part."""
    analysis = Analysis("", **asked)
    analysis.engine.begin_part(True)
    pieces, errors, stopped = _read(analysis, task, progress)
    return _exported(analysis, asked, pieces) if pieces else None, errors, stopped


def start_method() -> ForkContext | SpawnContext:
    """How processes are begun: a fork is there at once, but with whatever other threads were in the middle of."""
    import multiprocessing  # noqa: PLC0415 - seldom needed

    try:
        alone = len(os.listdir("/proc/self/task")) == 1  # noqa: PTH208 - counts threads, whoever began them
    except OSError:
        alone = False
    return multiprocessing.get_context("fork") if alone else multiprocessing.get_context("spawn")


def end_with_employer() -> int:
    """Have this process end as soon as the one that began it is gone; return that one's number."""
    import multiprocessing  # noqa: PLC0415 - seldom needed
    import threading  # noqa: PLC0415

    employer = multiprocessing.parent_process()
    assert employer  # noqa: S101 - for the type checker
    assert employer.pid  # noqa: S101

    def outlived() -> None:
        employer.join()
        os._exit(1)

    threading.Thread(target=outlived, daemon=True).start()
    return employer.pid


#: What ends a run. A terminal sends it to all processes in front of it, and only the first of them is to heed it.
SIGNALS = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)


@contextmanager
def deaf() -> Iterator[None]:
    """Hold these back: a start is not broken off half-way, and a process started in here goes on not hearing them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _put_together(  # noqa: C901, PLR0912 - each way in which it may fail has its line
    tasks: list[_Task],
    others: list[_Ask],
    progress: Callable[[int], None] | None,
    refused: Callable[[NotACapture, str], None] | None,
    asked: Asked,
) -> CaptureResult | None:
    """Read what the first task says, and add what the others find."""
    one_file = tasks[0][0][2] is not None
    sizes = list(map(_size, tasks))

    def so_far(octets: int) -> None:  # the others get on with their ranges as fast, by and large
        if progress:
            progress(octets * sum(sizes) // sizes[0] if one_file else octets)

    analysis = Analysis("", **asked)
    analysis.engine.begin_part(False)
    pieces, errors, stopped = _read(analysis, tasks[0], so_far)
    for ask, size in zip(others, sizes[1:], strict=True):
        if stopped:
            break
        if one_file and (not pieces or pieces[-1].damage):
            return None  # what was taken for the beginning of a record is none, or the file is damaged
        try:
            found, its_errors, stopped = ask()
        except EOFError:  # it died
            return None
        except KeyboardInterrupt:
            stopped = True
            break
        if one_file and found is None and not stopped:
            return None
        errors += its_errors
        if found is not None:
            _absorb(analysis, found)
            pieces += found.pieces
        if progress and not one_file:
            progress(size)
    if stopped and not pieces:
        raise KeyboardInterrupt
    if stopped and not pieces[-1].damage:
        _, start, end = tasks[len(pieces) - 1][0] if one_file else ("", 0, None)
        pieces[-1] = pieces[-1]._replace(damage=Damage((end or 0) - max(start - 24, 0), "interrupted"))
    if not pieces or (analysis.engine.unsure and not stopped):
        return None
    for error, path in errors:
        if refused:
            refused(error, path)
    result = analysis.whole(pieces)
    if one_file:
        last = tasks[len(pieces) - 1][0]
        damage = pieces[-1].damage
        result.name = last[0]
        result.parts = ()
        result.damage = damage and replace(damage, offset=damage.offset + max(last[1] - 24, 0))
    return result


def _read(
    analysis: Analysis, task: _Task, progress: Callable[[int], None] | None
) -> tuple[list[Piece], list[tuple[NotACapture, str]], bool]:
    """Feed *analysis*; return what each file held, which were none, and whether KeyboardInterrupt ended that."""
    pieces: list[Piece] = []
    errors: list[tuple[NotACapture, str]] = []
    for path, start, end in task:
        analysis.name = path
        stopped = False
        try:
            if end is None:
                stopped = read_file(analysis, path, progress)
            else:
                try:
                    for block in _octets(path, start, end):
                        if progress:
                            progress(len(block))
                        analysis.feed(block)
                except KeyboardInterrupt:
                    stopped = True
                    analysis.damage("interrupted")
            pieces.append(analysis.next_file())
        except NotACapture as error:
            analysis.forget_file()
            errors.append((error, path))
        if stopped:
            return pieces, errors, True
    return pieces, errors, False


def _size(task: _Task) -> int:
    """Octets of it."""
    return sum((os.path.getsize(path) if end is None else end) - start for path, start, end in task)  # noqa: PTH202


def _octets(path: str, start: int, end: int) -> Iterator[Octets]:
    """The octets of a range, after the header of the file."""
    with open(path, "rb", buffering=0) as file:  # noqa: PTH123 - names are strings here
        if start:
            yield file.read(24)
        before = start % mmap.PAGESIZE  # whole pages are copied faster
        file.seek(start - before)
        left = end - start + before
        for block in read(file.fileno(), left):
            yield block[before:left]
            left -= len(block)
            before = max(before - len(block), 0)
            if left <= 0:
                break


def _groups(paths: Sequence[str], jobs: int) -> list[_Task]:
    """The files in *jobs* groups of about one size."""
    groups: list[_Task] = [[] for _ in range(jobs)]
    sizes = list(map(os.path.getsize, paths))
    before, whole = 0, sum(sizes)
    for path, size in zip(paths, sizes, strict=True):
        groups[min((before + size // 2) * jobs // whole, jobs - 1)].append((path, 0, None))
        before += size
    return [group for group in groups if group]


def _ranges(path: str, jobs: int) -> list[_Task]:
    """A pcap file in *jobs* ranges, each of which begins with a record, most probably; one where it is none."""
    size = os.path.getsize(path)  # noqa: PTH202
    with open(path, "rb") as file:  # noqa: PTH123
        head = file.read(40)
        order = next((order for order in ORDERS if PCAP.get(int.from_bytes(head[:4], order)) == (16, 1000)), None)
        order = order or next((order for order in ORDERS if PCAP.get(int.from_bytes(head[:4], order)) == (16, 1)), None)
        if order is None or len(head) < 40:
            return []
        record = struct.Struct("<4I" if order == "little" else ">4I")
        day = record.unpack(head[24:40])[0]
        starts = [0]
        for place in range(1, jobs):
            at = size * (8 * place + 1) // (8 * jobs + 1)  # the first logs nothing: it can take a little more
            file.seek(at)
            found = _beginning(file.read(_BLOCK), record, day)
            if found >= 0:
                starts.append(at + found)
    return [[(path, start, end)] for start, end in pairwise([*starts, size])]


def _beginning(data: bytes, record: struct.Struct, day: int) -> int:
    """Where a chain of records begins in *data*, all within a month of the file's first; -1 where none does."""
    for start in range(min(len(data) - 16, 1 << 18)):
        i = start
        for _ in range(_CHAIN):
            if i + 16 > len(data):
                break
            seconds, ticks, size, wire = record.unpack_from(data, i)
            if abs(seconds - day) > 31 * 86_400 or ticks >= 1_000_000_000 or not 0 < size <= min(wire, 1 << 18):
                break
            i += 16 + size
        else:
            return start
    return -1
