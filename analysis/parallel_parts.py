"""Parts of one capture on several processors: cut the capture, have each part analysed, put the parts together."""

from __future__ import annotations

import mmap
import os
import signal
import struct
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import TYPE_CHECKING

from .engine import COMPILED
from .errors import NotACapture
from .formats.compression import read
from .model import Damage
from .partial import Part, absorb, exported, table_of
from .reader import ORDERS, PCAP, Analysis, equal_ends, read_file

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from multiprocessing.connection import Connection
    from multiprocessing.context import ForkContext, SpawnContext
    from threading import Thread
    from typing import Unpack

    from .model import CaptureResult, Octets, Piece
    from .reader import Asked

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
    return exported(analysis, asked, pieces) if pieces else None, errors, stopped


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
            absorb(analysis, found)
            pieces += found.pieces
        if progress and not one_file:
            progress(size)
    if stopped and not pieces:
        raise KeyboardInterrupt
    if stopped and not pieces[-1].damage:
        _, start, end = tasks[len(pieces) - 1][0] if one_file else ("", 0, None)
        pieces[-1] = pieces[-1]._replace(damage=Damage((end or 0) - max(start - 24, 0), "interrupted"))
    if not pieces or (table_of(analysis).unsure and not stopped):
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
