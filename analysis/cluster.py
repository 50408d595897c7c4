"""Captures on a cluster: Dask distributes them, and we only ask for the results in order.

Each capture is a task. Where the cluster can do two tasks or more for each capture, a large one is cut into ranges of
its octets; and captures that are one, cut into files, are read in groups. Then each range or group is a task, whose
result is a part, and one more task puts the parts together, and reads what cannot be added: the client gets the report.

The workers open the captures themselves, so these have to be URLs, or paths that mean the same on every machine. What
fails is tried again; what a lost worker had, Dask gives to another. Where the scheduler is lost, the run ends with what
was reported until then. Needs Dask (distributed) here and on the workers.

The machine that answers at the scheduler's address can run code here, since results come as pickles. With tls:// it
needs a certificate; with tcp:// it can be any machine that takes the address over, or changes the traffic.
"""

from __future__ import annotations

from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from pathlib import Path

from .errors import CannotCapture, NotACapture, UsageError, get
from .formats.remote import is_remote, shown
from .parallel import attempt, cut, find, finished, merged, tell
from .ranges import groups
from .reader import analyze_set

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import Any

    from .model import CaptureResult
    from .parallel import Findings, Finish, Found, Task
    from .reader import Asked

#: How often a task is tried anew, and how many workers may die with a capture before it is given up.
RETRIES = 3

#: Groups of the files of a set for each task that the cluster can do at a time: they take unequally long, and what a
#: lost worker had is read again.
PARTS = 4


class Cluster:
    """A crew for parallel.in_order(): the cluster whose scheduler is at *address*, for so many *captures*.

    Raises UsageError where Dask is not installed or the versions do not fit, CannotCapture where nobody answers. Each
    method raises CannotCapture, too, where the scheduler is lost.
    """

    def __init__(self, address: str, asked: Asked, captures: int, finish: Finish | None = None) -> None:
        import logging  # noqa: PLC0415

        try:
            from distributed import Client, KilledWorker  # noqa: PLC0415 - it takes a second
            from distributed.comm import CommClosedError  # noqa: PLC0415 - as above
        except ImportError as error:
            raise UsageError(f"--cluster needs Dask ({error}): {get('distributed')}") from error
        # What Dask mends by itself (a lost worker, say) is of no interest to our user. It sets these levels on import.
        for name in ("distributed", "distributed.client"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._asked, self._finish = asked, finish
        self._died, self._lost = KilledWorker, (CancelledError, CommClosedError)
        self._stopped = False
        try:
            self._client = Client(address, timeout=10)
        except (OSError, ValueError, TimeoutError) as error:
            raise CannotCapture(f"no cluster answers at {address}: {error}") from error
        try:
            self._check()
            self._pieces = self.size // captures
        except BaseException:
            self.close()
            raise

    def _check(self) -> None:
        """Refuse a cluster of another version: its reports would be of another kind."""
        from . import VERSION  # noqa: PLC0415

        try:
            with self._connected():
                self._client.get_versions(check=True)
                theirs = self._client.run(_version)
        except CannotCapture:
            raise
        except Exception as error:  # its machines may have other versions of our modules
            raise UsageError(f"the cluster's versions do not fit: {error}") from error
        others = {version for version in theirs.values() if version != VERSION}
        if others:
            raise UsageError(f"the cluster has selfconn {', '.join(sorted(others))}, this is {VERSION}")

    @property
    def size(self) -> int:
        """How many tasks the cluster can do at a time."""
        with self._connected():
            threads: dict[str, int] = self._client.nthreads()
        return max(1, sum(threads.values()))

    def start(self, path: str) -> Any:  # noqa: ANN401 - Dask has no types
        """Have workers begin with the capture at *path* as soon as they are free."""
        tasks: list[Task] = []
        if self._pieces > 1:
            with suppress(self._died), self._connected():  # a capture that kills its readers is told below
                tasks = self._submit(cut, [path], self._pieces, self._asked).result()
        if len(tasks) < 2:
            return self._submit(attempt, path, self._asked, None, self._finish)
        return self._submit(_one, path, tasks, self._found(tasks), self._asked, self._finish)

    def result(self, path: str, future: Any) -> Found | None:  # noqa: ANN401 - as above
        """Wait for the result of the capture at *path*; None where its task was cancelled."""
        if self._stopped and future.cancelled():
            return None
        try:
            with self._connected():
                found: Found = future.result()
        except self._died:
            return NotACapture(f"cannot read {shown(path)}: {RETRIES + 1} workers that read it died")
        return found

    def rotated(
        self,
        paths: Sequence[str],
        refused: Callable[[NotACapture, str], None],
        progress: Callable[[int], None] | None = None,
    ) -> CaptureResult:
        """Analyse the captures at *paths* as one that was cut into files; as analyze_set() does, which see."""
        tasks = [] if any(map(_is_read_once, paths)) else groups(paths, PARTS * self.size)
        found = self._found(tasks)
        for task, future in zip(tasks, found, strict=True):
            for one in task:
                future.add_done_callback(lambda _, path=one.path: tell(progress, path))
        try:
            made: tuple[CaptureResult | None, list[tuple[NotACapture, str]]]
            with self._connected():
                made = self._submit(_set, paths, tasks, found, self._asked).result()
        except self._died as error:
            raise NotACapture(
                f"cannot read {shown(paths[0])} ...: {RETRIES + 1} workers that read a part died"
            ) from error
        result, errors = made
        for why, path in errors:
            refused(why, path)
        if result is None:
            raise errors[-1][0]
        return result

    def _submit(self, work: Callable[..., Any], *what: Any) -> Any:  # noqa: ANN401 - as above
        """Have a worker do this once what it takes is there."""
        with self._connected():
            return self._client.submit(work, *what, pure=False, retries=RETRIES)

    def _found(self, tasks: list[Task]) -> list[Any]:
        """Have each task done, as a part."""
        return [self._submit(find, task, task is tasks[-1], self._asked) for task in tasks]

    @contextmanager
    def _connected(self) -> Iterator[None]:
        """Raise CannotCapture where the scheduler is lost: Dask cancels what is under way, even if it comes back."""
        try:
            yield
        except Exception as error:  # of which kind, depends on what the client was at
            if self._client.status == "running" and not isinstance(error, self._lost):
                raise
            raise CannotCapture("the connection to the cluster was lost: what the report lacks was not read") from error

    def stop(self) -> None:
        """Nothing more is begun; what is under way is not waited for. Workers read on to its end, for nobody."""
        self._stopped = True

    def close(self) -> None:
        """Let go of the cluster."""
        self._client.close()


def _is_read_once(path: str) -> bool:
    """Whether this is a pipe or the like: what a part has taken out of it, nobody can read again."""
    return not is_remote(path) and Path(path).exists() and not Path(path).is_file()


# What workers do, besides cut(), find() and attempt().


def _one(path: str, tasks: list[Task], found: list[Findings], asked: Asked, finish: Finish | None) -> Found:
    whole = merged(tasks, found, **asked)
    return finished(whole, finish) if whole else attempt(path, asked, None, finish)


def _set(
    paths: Sequence[str], tasks: list[Task], found: list[Findings], asked: Asked
) -> tuple[CaptureResult | None, list[tuple[NotACapture, str]]]:
    errors: list[tuple[NotACapture, str]] = []

    def refused(error: NotACapture, path: str) -> None:
        errors.append((error, path))

    whole = merged(tasks, found, refused, **asked) if tasks else None
    try:
        return whole or analyze_set(paths, refused=refused, **asked), errors
    except NotACapture:  # the last of the errors
        return None, errors


def _version() -> str:
    from . import VERSION  # noqa: PLC0415

    return VERSION
