"""Many captures on all cores: in the order asked for, whatever is ready first, with a bounded number under way.

Each worker is a process: most of the time goes by in Python (the port walks, the openings), where threads would wait
for each other, and what a capture does to its reader (damage, an end for want of memory) is that capture's own affair.
"""

# ruff: noqa: PTH113, PTH202 -- pathlib takes longer to import than a small capture to read

from __future__ import annotations

import os
import signal
from collections import deque
from typing import TYPE_CHECKING, Any, Protocol

from .errors import NotACapture
from .formats.remote import is_remote
from .parallel_parts import LARGE, deaf, end_with_employer, start_method
from .reader import analyze

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence
    from concurrent.futures import Future, ProcessPoolExecutor
    from multiprocessing.synchronize import Event
    from typing import Unpack

    from .model import CaptureResult
    from .reader import Asked

    Found = CaptureResult | NotACapture

    #: What is done to each result by whoever read the capture: a function that pickle knows by its name.
    Finish = Callable[[CaptureResult], object]

#: Captures for each worker that are under way, or done and waiting for their turn.
AHEAD = 4


def cores() -> int:
    """How many processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def fitting(paths: Sequence[str]) -> int:
    """How many jobs these captures deserve: what is read in a tenth of a second is not worth a process."""
    large = any(map(is_remote, paths)) or sum(map(os.path.getsize, filter(os.path.isfile, paths))) >= LARGE
    return cores() if large else 1


def analyze_many(
    paths: Sequence[str],
    jobs: int,
    progress: Callable[[int], None] | None = None,
    finish: Finish | None = None,
    **asked: Unpack[Asked],
) -> Iterator[CaptureResult | NotACapture]:
    """Analyse each of these captures, *jobs* at a time; *asked* is what analyze() takes besides.

    Yields the result of each in their order, or why it is none. *progress* is called with the octets that were read.
    KeyboardInterrupt ends the reading: what was under way is yielded as far as it got, and noted as damage, and then it
    is raised again. Where any of them is no regular file, they are read one after the other: whoever waits for a pipe
    cannot be told to stop.
    """
    jobs = min(jobs, len(paths)) if all(is_remote(path) or os.path.isfile(path) for path in paths) else 1
    if jobs <= 1:
        return (attempt(path, asked, progress, finish) for path in paths)
    return in_order(Processes(jobs, asked, finish), paths, progress)


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


def in_order(crew: Crew, paths: Iterable[str], progress: Callable[[int], None] | None = None) -> Iterator[Found]:
    """What *crew* finds in each of these captures, in their order; see analyze_many(). It is dismissed afterwards.

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


def tell(progress: Callable[[int], None] | None, path: str) -> None:
    """Call *progress* with the size of the capture at *path*, if that is known."""
    if progress and os.path.isfile(path):
        progress(os.path.getsize(path))


def attempt(path: str, asked: Asked, progress: Callable[[int], None] | None, finish: Finish | None = None) -> Found:
    """Analyse one capture, and *finish* the result; what keeps it from that is returned, not raised."""
    try:
        result = analyze(path, progress=progress, **asked)
    except NotACapture as error:
        return error
    except MemoryError:
        return NotACapture(f"cannot read {path}: there is not enough memory for it")
    if finish:
        try:
            finish(result)
        except KeyboardInterrupt:
            finish(result)  # what was read is kept, and this takes no longer than a moment
    return result


class Processes:
    """A crew on this machine. It shares nothing: one that dies (for want of memory, say) takes but its capture."""

    def __init__(self, jobs: int, asked: Asked, finish: Finish | None) -> None:
        self.size = jobs
        self._work = (asked, finish)
        self._stopped: list[Event] = []
        self._executor = self._hired(jobs)

    def _hired(self, jobs: int) -> ProcessPoolExecutor:
        from concurrent.futures import ProcessPoolExecutor  # noqa: PLC0415 - one capture needs none of it

        context = start_method()
        self._stopped.append(context.Event())
        return ProcessPoolExecutor(jobs, context, _employ, (self._stopped[-1],))

    def start(self, path: str) -> Future[Found]:
        """Have somebody begin with it as soon as may be."""
        from concurrent.futures import BrokenExecutor  # noqa: PLC0415 - as above

        with deaf():  # it may start a process
            try:
                return self._executor.submit(_employed, path, *self._work)
            except BrokenExecutor:
                self._executor = self._hired(self.size)
                return self._executor.submit(_employed, path, *self._work)

    def result(self, path: str, future: Future[Found]) -> Found | None:
        """Wait for what comes of it; None where it was not begun."""
        from concurrent.futures import BrokenExecutor  # noqa: PLC0415 - as above

        try:
            return None if future.cancelled() else future.result()
        except BrokenExecutor:  # all that were under way get to hear this; whose fault it was, shows where it is alone
            try:
                with self._hired(1) as alone:
                    with deaf():
                        again = alone.submit(_employed, path, *self._work)
                    return again.result()
            except BrokenExecutor:
                return NotACapture(f"cannot read {path}: the process that read it died")

    def stop(self) -> None:
        """Have everybody end where they are."""
        for event in self._stopped:
            event.set()

    def close(self) -> None:
        """Wait until they have."""
        self._executor.shutdown(cancel_futures=True)


_stopped: Event


def _employ(stopped: Event) -> None:
    """A worker begins. It ends when it is told to, or when its employer is gone.

    It hears no signals, see deaf(), but its employer's SIGTERM: where one of them died, the executor sends it to the
    others and waits for them to end (from Python 3.12 on they are not asked in another way).
    """
    import threading  # noqa: PLC0415 - as above

    global _stopped  # noqa: PLW0603 - that is how executors hand things to their workers
    _stopped = stopped
    employer = end_with_employer()

    def dismissed() -> None:
        while signal.sigwaitinfo({signal.SIGTERM}).si_pid != employer:
            pass
        os._exit(1)

    threading.Thread(target=dismissed, daemon=True).start()


def _employed(path: str, asked: Asked, finish: Finish | None) -> Found:
    return attempt(path, asked, _heed, finish)


def _heed(_octets: int) -> None:
    if _stopped.is_set():
        raise KeyboardInterrupt  # analyze() notes it
