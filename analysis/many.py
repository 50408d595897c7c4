"""Many captures on all cores: in the order asked for, whatever is ready first, with a bounded number under way.

The compiled engine reads without the interpreter's lock, so threads are enough for it, and they start at once. The
interpreted one gets processes. What one capture does (damage, no capture at all, a worker that dies) is its own affair.
"""

# ruff: noqa: PTH113, PTH202 -- pathlib takes longer to import than a small capture to read

from __future__ import annotations

import os
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from .engine import COMPILED
from .errors import NotACapture
from .reader import analyze
from .remote import is_remote

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Executor, Future
    from multiprocessing.context import SpawnContext

    from .words import CaptureResult

    Found = CaptureResult | NotACapture

#: Captures for each worker that are under way, or done and waiting for their turn.
AHEAD = 4


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def analyze_many(
    paths: Sequence[str],
    jobs: int,
    progress: Callable[[int], None] | None = None,
    **asked: Any,  # noqa: ANN401 - what analyze() takes
) -> Iterator[CaptureResult | NotACapture]:
    """Analyse each of these captures, *jobs* at a time; *asked* is what analyze() takes besides.

    Yields the result of each in their order, or why it is none. *progress* is called with the octets that were read, by
    one thread at a time. KeyboardInterrupt ends the reading: what was under way is yielded as far as it got, and noted
    as damage, and then it is raised again. Where any of them is no regular file, they are read one after the other:
    whoever waits for a pipe cannot be told to stop.
    """
    jobs = min(jobs, len(paths)) if all(is_remote(path) or os.path.isfile(path) for path in paths) else 1
    if jobs <= 1:
        return (attempt(path, asked, progress) for path in paths)
    return in_order((_Threads if COMPILED else _Processes)(jobs, asked, progress), paths)


class Bell(Protocol):
    """What is rung for everybody to stop: an Event, of threads or of processes."""

    def set(self) -> None:
        """Ring."""

    def is_set(self) -> bool:
        """Whether it was rung."""


class Crew(Protocol):
    """Those who do the work."""

    @property
    def size(self) -> int:
        """How many captures they can read at a time."""

    def start(self, path: str) -> Any:  # noqa: ANN401 - each has futures of its own
        """Have somebody begin with it as soon as may be; what can be waited for."""

    def result(self, path: str, future: Any) -> Found | None:  # noqa: ANN401 - as above
        """Wait for what comes of it; None where it was taken back."""

    def stop(self) -> None:
        """Have everybody end where they are."""

    def close(self) -> None:
        """Wait until they have."""


def in_order(crew: Crew, paths: Iterable[str]) -> Iterator[Found]:
    """What *crew* finds in each of these captures, in their order; see analyze_many(). It is dismissed afterwards."""
    waiting = iter(paths)
    under_way: deque[tuple[str, Any]] = deque()
    interrupted = False
    try:
        while True:
            while not interrupted and len(under_way) < AHEAD * crew.size and (begun := next(waiting, None)) is not None:
                under_way.append((begun, crew.start(begun)))
            if not under_way:
                break
            try:
                result = crew.result(*under_way[0])
            except KeyboardInterrupt:
                interrupted = True
                crew.stop()
                for _, future in under_way:
                    future.cancel()
                continue
            under_way.popleft()
            if result is not None:
                yield result
        if interrupted:
            raise KeyboardInterrupt
    finally:
        crew.stop()
        crew.close()


def attempt(path: str, asked: dict[str, Any], progress: Callable[[int], None] | None) -> Found:
    """Analyse one capture; what keeps it from that is returned, not raised."""
    try:
        return analyze(path, progress=progress, **asked)
    except NotACapture as error:
        return error
    except MemoryError:
        return NotACapture(f"cannot read {path}: there is not enough memory for it")


class _Threads:
    """Workers in this process."""

    def __init__(self, jobs: int, asked: dict[str, Any], progress: Callable[[int], None] | None) -> None:
        import threading  # noqa: PLC0415 - one capture needs none of it

        self.size, self._asked, self._progress = jobs, asked, progress
        self._lock = threading.Lock()
        self._stopped = self._bell()
        self.executor = self._hired(jobs)

    def _bell(self) -> Bell:
        import threading  # noqa: PLC0415 - as above

        return threading.Event()

    def _hired(self, jobs: int) -> Executor:
        from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - one capture needs none of it

        return ThreadPoolExecutor(jobs)

    def start(self, path: str) -> Future[Found]:
        """Have somebody begin with it as soon as may be."""
        return self.executor.submit(attempt, path, self._asked, self._read)

    def _read(self, octets: int) -> None:
        if self._stopped.is_set():
            raise KeyboardInterrupt  # analyze() notes it
        if self._progress:
            with self._lock:
                self._progress(octets)

    def result(self, _path: str, future: Future[Found]) -> Found | None:
        """Wait for what comes of it; None where it was not begun."""
        return None if future.cancelled() else future.result()

    def stop(self) -> None:
        """Have everybody end where they are."""
        self._stopped.set()

    def close(self) -> None:
        """Wait until they have."""
        self.executor.shutdown(cancel_futures=True)


class _Processes(_Threads):
    """Workers of their own: they share nothing, and one that dies (for want of memory, say) takes but its capture."""

    def _bell(self) -> Bell:
        return self._context().Event()

    def _context(self) -> SpawnContext:
        import multiprocessing  # noqa: PLC0415 - only the interpreted engine needs it

        return multiprocessing.get_context("spawn")

    def _hired(self, jobs: int) -> Executor:
        from concurrent.futures import ProcessPoolExecutor  # noqa: PLC0415

        return ProcessPoolExecutor(jobs, self._context(), _employ, (self._stopped,))

    def start(self, path: str) -> Future[Found]:
        from concurrent.futures import BrokenExecutor  # noqa: PLC0415

        try:
            return self.executor.submit(_employed, path, self._asked)
        except BrokenExecutor:
            self.executor = self._hired(self.size)
            return self.executor.submit(_employed, path, self._asked)

    def result(self, path: str, future: Future[Found]) -> Found | None:
        from concurrent.futures import BrokenExecutor  # noqa: PLC0415

        try:
            found = super().result(path, future)
        except BrokenExecutor:  # all that were under way get to hear this; whose fault it was, shows where it is alone
            try:
                with self._hired(1) as alone:
                    found = alone.submit(_employed, path, self._asked).result()
            except BrokenExecutor:
                return NotACapture(f"cannot read {path}: the process that read it died")
        if found is not None and self._progress and os.path.isfile(path):
            self._progress(os.path.getsize(path))
        return found


_stopped: Bell


def _employ(stopped: Bell) -> None:
    """A worker begins."""
    global _stopped  # noqa: PLW0603 - that is how executors hand things to their workers
    _stopped = stopped


def _employed(path: str, asked: dict[str, Any]) -> Found:
    return attempt(path, asked, _heed)


def _heed(_octets: int) -> None:
    if _stopped.is_set():
        raise KeyboardInterrupt
