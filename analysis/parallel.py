"""Captures on several processors: many captures, each by one of them; or one capture in parts, put together again.

**Many captures** come in the order asked for, whatever is ready first, with a bounded number under way. Each worker is
a process: most of the time goes by in Python (the port walks, the openings), where threads would wait for each other,
and a capture that ends its reader (for want of memory, say) does no harm to the others.

**Parts of one capture** are ranges of its file, or groups of the files that it was cut into. They are read by the same
processes, or by threads, since the compiled engine needs nothing of Python meanwhile. This process reads the first
part, and adds the others to it. A part that cannot be added (its table was too small, say) it reads itself. On a
cluster (cluster.py) others read the first part, too, and one of them adds them up.

Only the main thread of the process that the user started receives Ctrl-C (see deaf()); it tells the others to stop.
"""

# ruff: noqa: PTH113 -- pathlib takes longer to import than a small capture to read

from __future__ import annotations

import os
import signal
from collections import deque
from collections.abc import Callable
from contextlib import contextmanager
from functools import partial
from itertools import accumulate

from .engine import COMPILED, NEAR
from .errors import NotACapture
from .formats.remote import is_remote, shown
from .model import REMARKABLE, Damage
from .ranges import Range, file_size, groups, octets, ranges
from .reader import Analysis, analyze, equal_ends, read_file
from .records import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from concurrent.futures import Future, ProcessPoolExecutor
    from multiprocessing.context import ForkContext, SpawnContext
    from multiprocessing.synchronize import Event
    from queue import SimpleQueue
    from threading import Thread
    from typing import Any, Protocol, Unpack

    from .model import CaptureResult, Piece
    from .partial import Part
    from .reader import Asked

    #: What the process that read a capture makes of its result: a function that pickle finds by its name.
    Finish = Callable[[CaptureResult], Any]
    #: What Finish returns, or the result itself where there is no Finish; or why there is none.
    Found = Any | NotACapture
    Progress = Callable[[int], None]

    class Crew(Protocol):
        """What does the work: processes, or a cluster."""

        @property
        def size(self) -> int:
            """How many tasks they can do at a time."""

        def start(self, task: Any) -> Any:  # noqa: ANN401 - each has tasks and futures of its own
            """Have a worker begin with *task* as soon as one is free; return what result() waits for."""

        def result(self, path: str, future: Any) -> Found | None:  # noqa: ANN401 - as above
            """Wait for the result of the capture at *path*; None where its task was cancelled."""

        def stop(self) -> None:
            """Tell all workers to stop at once."""

        def close(self) -> None:
            """Wait until all workers have stopped."""


#: From so many octets on, a process or a thread of their own is worth while.
LARGE = 16 << 20

#: How many captures a worker are under way, or done and waiting for their turn.
AHEAD = 4

#: To see whether a large file will fill the conversation table, HEAD octets of it are looked at first, one in SHARE at
#: most; less than BLOCK tell nothing.
HEAD, SHARE, BLOCK = 16 << 20, 16, 1 << 20

#: The packets in the last octets of a range, so many at least, are remembered: copies may come in the next one.
ENDS = 4 << 20

# -- workers ---------------------------------------------------------------------------------------------------------


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def start_method() -> ForkContext | SpawnContext:
    """Return how to start processes: by fork, which is quick, but only while there are no other threads."""
    import multiprocessing  # noqa: PLC0415 - seldom needed

    try:
        alone = len(os.listdir("/proc/self/task")) == 1  # noqa: PTH208 - counts all threads, not only Python's
    except OSError:
        alone = False
    return multiprocessing.get_context("fork") if alone else multiprocessing.get_context("spawn")


#: The signals that end a run. A terminal sends them to all its processes, and only the first is to react.
SIGNALS = (signal.SIGINT, signal.SIGHUP, signal.SIGTERM)


@contextmanager
def deaf() -> Iterator[None]:
    """Block SIGNALS in here: no start is interrupted half-way, and a process started in here keeps them blocked."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Processes:
    """A crew on this machine: *jobs* processes that call ``work(task, *more)``.

    They share nothing: if one dies (for want of memory, say) only its task is lost. Raises OSError where the system has
    no more processes, or open files for them.
    """

    def __init__(self, jobs: int, work: Callable[..., Any], *more: Any) -> None:  # noqa: ANN401 - what work() takes
        self.size = jobs
        self._work, self._more = work, more
        self._stopped: list[Event] = []
        self._executor = self._new_executor(jobs)

    def _new_executor(self, jobs: int) -> ProcessPoolExecutor:
        from concurrent.futures import ProcessPoolExecutor  # noqa: PLC0415 - one capture needs none of it
        from multiprocessing import active_children  # noqa: PLC0415 - as above

        context = start_method()
        before = active_children()
        try:
            self._stopped.append(context.Event())
            executor = ProcessPoolExecutor(jobs, context, _begin_worker, (self._stopped[-1],))
            with deaf():
                executor.submit(os.getpid)  # begins them
        except OSError:
            for child in set(active_children()).difference(before):  # else they would wait for ever, and we for them
                child.terminate()
                child.join()
            raise
        return executor

    def start(self, task: Any) -> Future[Any]:  # noqa: ANN401 - as above
        """Have a worker begin with *task* as soon as one is free."""
        from concurrent.futures import BrokenExecutor  # noqa: PLC0415 - as above

        with deaf():  # it may start a process
            try:
                return self._executor.submit(self._work, task, *self._more)
            except BrokenExecutor:
                self._executor = self._new_executor(self.size)
                return self._executor.submit(self._work, task, *self._more)

    def result(self, path: str, future: Future[Found]) -> Found | None:
        """Wait for the result of the capture at *path*; None where its task was cancelled."""
        from concurrent.futures import BrokenExecutor  # noqa: PLC0415 - as above

        try:
            return None if future.cancelled() else future.result()
        except BrokenExecutor:  # every task under way fails; each is tried again alone, to see whose fault it was
            try:
                with self._new_executor(1) as alone:
                    with deaf():
                        again = alone.submit(self._work, path, *self._more)
                    return again.result()
            except BrokenExecutor:
                return NotACapture(f"cannot read {shown(path)}: the process that read it died")

    def stop(self) -> None:
        """Tell all workers to stop at once."""
        for event in self._stopped:
            event.set()

    def close(self) -> None:
        """Wait until all workers have stopped."""
        self._executor.shutdown(cancel_futures=True)


_stopped: Event


def _begin_worker(stopped: Event) -> None:
    """Prepare a new worker: it ends when it is told to, or when its parent is gone.

    It receives no signals (see deaf()) except its parent's SIGTERM: if a worker died, the executor sends it to the
    others and waits for them to end (from Python 3.12 on it has no other way).
    """
    import multiprocessing  # noqa: PLC0415 - one capture needs none of it
    import threading  # noqa: PLC0415

    global _stopped  # noqa: PLW0603 - executors pass things to their workers in this way
    _stopped = stopped
    parent = multiprocessing.parent_process()
    assert parent  # noqa: S101 - for the type checker

    def end_with_parent() -> None:
        parent.join()
        os._exit(1)

    def end_on_request() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != parent.pid:
            pass
        os._exit(1)

    for target in (end_with_parent, end_on_request):
        threading.Thread(target=target, daemon=True).start()


# -- many captures ---------------------------------------------------------------------------------------------------


def fitting(paths: Sequence[str]) -> int:
    """Return how many jobs these captures are worth: one, if they are read in a tenth of a second."""
    return cores() if is_large(paths) else 1


def is_large(paths: Sequence[str]) -> bool:
    """Whether these captures are large together, or may be."""
    return any(map(is_remote, paths)) or sum(map(file_size, paths)) >= LARGE


def analyze_many(
    paths: Sequence[str],
    jobs: int,
    progress: Progress | None = None,
    finish: Finish | None = None,
    **asked: Unpack[Asked],
) -> Iterator[CaptureResult | NotACapture]:
    """Analyse each of these captures, on *jobs* processors; *asked* is what analyze() takes besides.

    Yields the result of each in their order, or why there is none. *progress* is called with the octets that were read.
    KeyboardInterrupt ends the reading: what was under way is yielded as far as it got, and noted as damage, and then it
    is raised again. Where any of them is no regular file, they are read one after the other: a process that waits for a
    pipe cannot be told to stop. So they are with ``each``: what it writes has one writer.
    """
    one_by_one = (attempt(path, asked, progress, finish, jobs) for path in paths)
    together = min(jobs, len(paths))
    if together <= 1 or asked.get("each") or not all(is_remote(path) or os.path.isfile(path) for path in paths):
        return one_by_one
    try:
        crew = Processes(together, _analyze_in_worker, asked, finish, jobs // together)
    except OSError:
        return one_by_one
    return in_order(crew, paths, progress)


def in_order(crew: Crew, paths: Iterable[str], progress: Progress | None = None) -> Iterator[Found]:
    """Yield what *crew* finds in each of these captures, in order (see analyze_many()); at the end, close it.

    *progress* is called with the size of each that is read, if it is known.
    """
    waiting = iter(paths)
    under_way: deque[tuple[str, Any]] = deque()
    interrupted = False
    try:
        while True:
            try:
                while not interrupted and len(under_way) < AHEAD * crew.size:
                    if (begun := next(waiting, None)) is None:
                        break
                    under_way.append((begun, crew.start(begun)))
                if not under_way:
                    break
                result = crew.result(*under_way[0])
            except KeyboardInterrupt:
                interrupted = True
                crew.stop()
                for _, future in under_way:
                    future.cancel()
                continue
            path, _ = under_way.popleft()
            if result is not None:
                tell(progress, path)
                yield result
        if interrupted:
            raise KeyboardInterrupt
    finally:
        crew.stop()
        crew.close()


def tell(progress: Progress | None, path: str) -> None:
    """Call *progress* with the size of the capture at *path*, if that is known."""
    if progress and (size := file_size(path)):
        progress(size)


def attempt(path: str, asked: Asked, progress: Progress | None, finish: Finish | None = None, jobs: int = 1) -> Found:
    """Analyse one capture, and *finish* the result; return why there is none instead of raising it."""
    try:
        result = analyze(path, progress=progress, jobs=jobs, **asked)
    except NotACapture as error:
        return error
    except MemoryError:
        return NotACapture(f"cannot read {shown(path)}: there is not enough memory for it")
    return finished(result, finish)


def finished(result: CaptureResult, finish: Finish | None) -> Any:  # noqa: ANN401 - what finish() returns
    """Return what *finish* makes of a result, which it must not change."""
    if finish is None:
        return result
    try:
        return finish(result)
    except KeyboardInterrupt:
        return finish(result)  # what was read is kept, and this takes no longer than a moment


def _analyze_in_worker(path: str, asked: Asked, finish: Finish | None, jobs: int) -> Found:
    """What a worker does with a capture."""
    return attempt(path, asked, _stop_if_told, finish, jobs)


def _stop_if_told(_octets: int) -> None:
    if _stopped.is_set():
        raise KeyboardInterrupt  # analyze() notes it


# -- parts of one capture --------------------------------------------------------------------------------------------

#: Ranges that are read one behind the other: one of a file, or whole files.
Task = list[Range]
#: What a task finds (None: no file was a capture), which files were none and why, whether Ctrl-C ended it.
Findings = tuple["Part | None", list[tuple[NotACapture, str]], bool]


class _Ask(NamedTuple):
    """``findings`` waits for what another worker finds (and raises EOFError where it died), ``over`` does not wait."""

    findings: Callable[[], Findings]
    over: Callable[[], bool]


def analyze_parts(
    paths: Sequence[str],
    jobs: int,
    *,
    progress: Progress | None = None,
    refused: Callable[[NotACapture, str], None] | None = None,
    **asked: Unpack[Asked],
) -> CaptureResult | None:
    """Analyse one capture, in one file or cut into several, on *jobs* processors: in as many processes or threads.

    As analyze() does with one path, and analyze_set() with several. None where that is not worth while (where ordinary
    openings are to be returned, the compiled engine waits for Python), or where the parts may give another result than
    the whole: read it in one go then.
    """
    if any(map(is_remote, paths)):  # one connection is what its network gives, and what its server expects
        return None
    tasks = cut(paths, jobs, asked)
    if len(tasks) < 2:
        return None
    try:
        with (_threads if COMPILED else _processes)(tasks[1:], asked) as others:
            return _put_together(tasks, [_Ask(lambda: _UNFIT, lambda: True), *others], progress, refused, asked)
    except (OSError, MemoryError, _Unfit):  # reading in one go will show what is wrong, and what can be read
        return None


def cut(paths: Sequence[str], jobs: int, asked: Asked) -> list[Task]:
    """Cut one capture, in one file or in several, into *jobs* tasks; none where it is to be read in one go."""
    collect, only = asked.get("collect", REMARKABLE), asked.get("only", ())
    wanted = frozenset(collect) & frozenset(only) if only else frozenset(collect)
    if jobs < 2 or (COMPILED and wanted - REMARKABLE):
        return []
    try:
        if not all(is_remote(path) or os.path.isfile(path) for path in paths):
            return []
        if paths[1:]:
            whole = sum(map(file_size, paths))
            return groups(paths, min(jobs, whole // max(LARGE, 1) + 1)) if whole >= LARGE else []
        found = ranges(paths[0], jobs, LARGE)
        return [] if len(found) < 2 or _fills_table(found, asked) else [[one] for one in found]
    except (OSError, MemoryError, NotACapture):  # reading in one go will show what is wrong, and what can be read
        return []


def _fills_table(found: list[Range], asked: Asked) -> bool:
    """Whether a capture fills the conversation table, at the pace of its beginning: then all would be read again.

    A part would have to put conversations out, or who puts the parts together, and neither can tell which ones go when
    all is read in one go. A client that walks through its ports begins with new conversations alone, and soon has none:
    then the second half of what is looked at has far fewer than the first. Interpreted, to look takes longer than what
    it saves.
    """
    size = found[-1].end or 0
    look = min(HEAD, size // SHARE)
    if not COMPILED or equal_ends(asked.get("only", ())) or look < BLOCK:
        return False
    asked = {**asked, "each": None}
    analysis = Analysis(found[0].path, **asked)
    table = analysis.engine.table
    read = half = 0
    for block in octets(found[0]):
        analysis.feed(block)
        read += len(block)
        if 2 * read <= look:
            half = table.used
        if table.used == table.capacity:
            return True
        if read > found[0].header and 2 * table.used * size // read < table.capacity:
            return False
        if read >= look:
            break
    return 2 * (table.used - half) >= half and table.used * size // read >= table.capacity


class _Unwanted(BaseException):
    """Ends a worker's task whose result is no longer wanted."""


class _Unfit(BaseException):
    """Ends a task whose result would not do."""


#: What is found where something has to be read by who puts it together.
_UNFIT: Findings = (None, [], False)


@contextmanager
def _processes(tasks: Sequence[Task], asked: Asked) -> Iterator[list[_Ask]]:
    """Have the tasks done in processes; each function that it yields waits for one of them."""
    crew = Processes(len(tasks), _findings_apart, asked)
    try:
        futures = [crew.start((task, task is tasks[-1])) for task in tasks]
        yield [_Ask(partial(_answer, future), future.done) for future in futures]
    finally:
        crew.stop()
        crew.close()


def _findings_apart(what: tuple[Task, bool], asked: Asked) -> Findings:
    """What a worker does with a task, which may be the last one."""

    def watch(_octets: int) -> None:
        if _stopped.is_set():
            raise _Unwanted

    return find(*what, asked, watch)


def _answer(future: Future[Findings]) -> Findings:
    from concurrent.futures import BrokenExecutor  # noqa: PLC0415 - seldom needed

    try:
        return future.result()
    except BrokenExecutor as error:
        raise EOFError from error


@contextmanager
def _threads(tasks: Sequence[Task], asked: Asked) -> Iterator[list[_Ask]]:
    """Have the tasks done in threads; the compiled engine lets others run meanwhile."""
    from queue import SimpleQueue  # noqa: PLC0415 - seldom needed
    from threading import Thread  # noqa: PLC0415

    over = False

    def work(task: Task, found: SimpleQueue[Findings | None]) -> None:
        findings = None
        try:
            findings = find(task, task is tasks[-1], asked, watch)
        finally:
            found.put(findings)

    def watch(_octets: int) -> None:
        if over:
            raise KeyboardInterrupt

    def ask(found: SimpleQueue[Findings | None]) -> Findings:
        nonlocal over
        try:
            findings = found.get()
        except KeyboardInterrupt:
            over = True
            findings = found.get()
        if findings is None:
            raise EOFError
        return findings[0], findings[1], over

    queues: list[SimpleQueue[Findings | None]] = [SimpleQueue() for _ in tasks]
    crew = [Thread(target=work, args=pair) for pair in zip(tasks, queues, strict=True)]
    try:
        _start(crew)
        yield [_Ask(partial(ask, found), partial(_is_filled, found)) for found in queues]
    finally:
        over = True
        for thread in crew:
            if thread.ident is not None:
                thread.join()


def _is_filled(found: SimpleQueue[Findings | None]) -> bool:
    return not found.empty()


def _start(crew: Iterable[Thread]) -> None:
    """Start these threads; Ctrl-C waits until they are. Raises OSError where no more are to be had."""
    with deaf():
        for thread in crew:
            try:
                thread.start()
            except RuntimeError as error:
                raise OSError(str(error)) from error


def find(task: Task, last: bool, asked: Asked, progress: Progress | None = None) -> Findings:
    """Analyse what a task names as a part; end as soon as it is clear that it has to be read in one go."""
    from .partial import exported, table_of  # noqa: PLC0415 - few captures are read in parts

    analysis = Analysis("", **asked)
    analysis.engine.begin_part(True)
    table = table_of(analysis)
    table.remembers = not last

    def watch(octets: int) -> None:
        if progress:
            progress(octets)
        if table.unsure:
            raise _Unfit

    try:
        pieces, errors, stopped = _read(analysis, task, last, watch)
        return exported(analysis, asked, pieces, last) if pieces else None, errors, stopped
    except (OSError, MemoryError, _Unfit):
        return _UNFIT


def merged(
    tasks: list[Task],
    found: list[Findings],
    refused: Callable[[NotACapture, str], None] | None = None,
    **asked: Unpack[Asked],
) -> CaptureResult | None:
    """Put together what find() found of each task; as analyze_parts()."""
    try:
        return _put_together(tasks, [_Ask(partial(_itself, one), lambda: True) for one in found], None, refused, asked)
    except (OSError, MemoryError, _Unfit):  # as there
        return None


def _itself(one: Findings) -> Findings:
    return one


def _put_together(  # noqa: C901, PLR0912 - each way in which a task may fail has its line
    tasks: list[Task],
    asks: list[_Ask],
    progress: Progress | None,
    refused: Callable[[NotACapture, str], None] | None,
    asked: Asked,
) -> CaptureResult | None:
    """Add what the tasks find, first to last; or read that here, where what they find is unfit."""
    from .partial import absorb, fits, table_of  # noqa: PLC0415 - few captures are read in parts

    one_file = tasks[0][0].end is not None
    analysis = Analysis("", **asked)
    analysis.engine.begin_part(False)
    told = _Told(progress, tasks, asks)
    pieces: list[Piece] = []
    errors: list[tuple[NotACapture, str]] = []
    stopped = False
    for number, task in enumerate(tasks):
        if one_file and number and (not pieces or pieces[-1].damage):
            return None  # a guess where a record begins was wrong, or the file is damaged
        drops = analysis.engine.interfaces.recorded_drops
        try:
            found, its_errors, stopped = asks[number].findings()
        except EOFError:  # it died
            found, its_errors, stopped = _UNFIT
        except KeyboardInterrupt:
            stopped = True
            break
        if found and (stopped or fits(analysis, found)):
            absorb(analysis, found)
            its_pieces = found.pieces
        elif stopped or (its_errors and not found):
            its_pieces = []  # none of its files is a capture
        else:
            its_pieces, its_errors, stopped = _read(analysis, task, number == len(tasks) - 1, told.read)
        pieces += its_pieces
        errors += its_errors
        if stopped:
            break
        told.put_together(number)
        if one_file and 0 <= drops != analysis.engine.interfaces.recorded_drops:
            return None  # how many they are in all, only one go tells
    if stopped and not pieces:
        raise KeyboardInterrupt
    if not pieces or (table_of(analysis).unsure and not stopped):
        return None
    for error, path in errors:
        if refused:
            refused(error, path)
    return _whole(analysis, pieces, tasks if one_file else [], stopped)


class _Told:
    """What the user was told of the progress: never more than all octets."""

    def __init__(self, progress: Progress | None, tasks: list[Task], asks: list[_Ask]) -> None:
        self._progress = progress
        self._sizes = [sum(one.size for one in task) for task in tasks]
        self._ends = list(accumulate(self._sizes))
        self._asks = asks
        self._beside = tasks[0][0].end is not None  # ranges of one file are read at about the same speed
        self._told = 0

    def read(self, octets: int) -> None:
        """So many octets were read by this process; the others, as far as they are at it, have read about as many."""
        if self._beside:
            beside = sum(size for size, ask in zip(self._sizes, self._asks, strict=True) if not ask.over())
            octets += octets * beside // self._sizes[0]
        self._tell(self._told + octets)

    def put_together(self, number: int) -> None:
        """The task with this number, and all before it, are put together."""
        self._beside = False
        self._tell(self._ends[number])

    def _tell(self, octets: int) -> None:
        octets = min(octets, self._ends[-1])
        if self._progress and octets > self._told:
            self._progress(octets - self._told)
        self._told = max(self._told, octets)


def _whole(analysis: Analysis, pieces: list[Piece], ranges: list[Task], stopped: bool) -> CaptureResult:
    """The report on what was put together: of one file, whose *ranges* the pieces are, with its name and damage."""
    last = ranges[len(pieces) - 1][0] if ranges else None
    if stopped and not pieces[-1].damage:
        pieces[-1] = pieces[-1]._replace(damage=Damage((last.header + last.size) if last else 0, "interrupted"))
    result = analysis.whole(pieces)
    if last:
        damage = pieces[-1].damage
        damage = damage and damage._replace(offset=last.offset(damage.offset))
        return result._replace(name=pieces[-1].name, parts=(), damage=damage)
    return result


def _read(
    analysis: Analysis, task: Task, last: bool, progress: Progress | None
) -> tuple[list[Piece], list[tuple[NotACapture, str]], bool]:
    """Feed *analysis*; return what each file held, which were none, and whether KeyboardInterrupt ended that.

    Raises _Unfit where a range does not leave the interfaces of its file as they were: what follows the range, if it is
    not the *last* one, cannot be read by itself.
    """
    pieces: list[Piece] = []
    errors: list[tuple[NotACapture, str]] = []
    for one in task:
        stopped = False
        try:
            if one.end is None:
                stopped = read_file(analysis, one.path, progress)
            else:
                analysis.name = shown(one.path)
                try:
                    _read_range(analysis, one, last, progress)
                except KeyboardInterrupt:
                    stopped = True
                    analysis.damage("interrupted")
            pieces.append(analysis.next_file())
        except NotACapture as error:
            analysis.forget_file()
            errors.append((error, one.path))
        if stopped:
            return pieces, errors, True
    return pieces, errors, False


def _read_range(analysis: Analysis, one: Range, last: bool, progress: Progress | None) -> None:
    """Feed *analysis* with a range. If it is not the last one, have the packets at its end remembered (see _read())."""
    from .partial import table_of  # noqa: PLC0415 - few captures are read in parts

    engine, table = analysis.engine, table_of(analysis)
    table.remembers = False
    interfaces = 0
    described = engine.interfaces.described
    frames, left = engine.packets, one.size + one.header
    for block in octets(one):
        if progress:
            progress(len(block))
        analysis.feed(block)
        left -= len(block)
        if left == one.size:
            interfaces = engine.interfaces.count
        elif not last and table.heads and not table.remembers:
            average = (one.size - left) // max(engine.packets - frames, 1)
            if left <= max(one.size // 16, ENDS, 4 * NEAR * average):
                table.remember_from(engine.packets + 1)
    now = engine.interfaces
    if not last and not (interfaces == now.count == now.described - described) and not analysis.damaged:
        raise _Unfit
