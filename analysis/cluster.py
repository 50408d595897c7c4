"""Many captures on a cluster: Dask distributes them, one task a capture, and we only ask for the results in order.

Captures that are one, cut into files, become parts, one task a file, and the parts are merged as a tree: the client
gets the last of them alone.

The workers open the captures themselves, so these have to be URLs, or paths that mean the same on every machine. What
fails is tried again; what a lost worker had, Dask gives to another. Needs Dask (distributed) here and on the workers.

The machine that answers at the scheduler's address can run code here, since results come as pickles. With tls:// it
needs a certificate; with tcp:// it can be any machine that takes the address over, or changes the traffic.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from .errors import CannotCapture, NotACapture, UsageError, get
from .formats.remote import shown
from .parallel import attempt, tell
from .partial import merge, part, result
from .reader import analyze_set

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .model import CaptureResult
    from .parallel import Finish, Found
    from .partial import Part
    from .reader import Asked

    #: A part, None where no file of it is a capture, and why which is none.
    Branch = tuple[Part | None, list[tuple[NotACapture, str]]]

#: How often a task is tried anew, and how many workers may die with a capture before it is given up.
RETRIES = 3


class Cluster:
    """A crew for parallel.in_order(): the cluster whose scheduler is at *address*.

    Raises UsageError where Dask is not installed or the versions do not fit, CannotCapture where nobody answers.
    """

    def __init__(self, address: str, asked: Asked, finish: Finish | None = None) -> None:
        import logging  # noqa: PLC0415

        try:
            from distributed import Client, KilledWorker  # noqa: PLC0415 - it takes a second
        except ImportError as error:
            raise UsageError(f"--cluster needs Dask ({error}): {get('distributed')}") from error
        # What Dask mends by itself (a lost worker, say) is of no interest to our user. It sets these levels on import.
        for name in ("distributed", "distributed.client"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._work, self._died = (asked, finish), KilledWorker
        try:
            self._client = Client(address, timeout=10)
        except (OSError, ValueError, TimeoutError) as error:
            raise CannotCapture(f"no cluster answers at {address}: {error}") from error
        try:
            self._check()
        except BaseException:
            self.close()
            raise

    def _check(self) -> None:
        """Refuse a cluster of another version: its reports would be of another kind."""
        from . import VERSION  # noqa: PLC0415

        try:
            self._client.get_versions(check=True)
            theirs = self._client.run(_version)
        except Exception as error:  # its machines may have other versions of our modules
            raise UsageError(f"the cluster's versions do not fit: {error}") from error
        others = {version for version in theirs.values() if version != VERSION}
        if others:
            raise UsageError(f"the cluster has selfconn {', '.join(sorted(others))}, this is {VERSION}")

    @property
    def size(self) -> int:
        """How many captures can be read at a time."""
        threads: dict[str, int] = self._client.nthreads()
        return max(1, sum(threads.values()))

    def start(self, path: str) -> Any:  # noqa: ANN401 - Dask has no types
        """Have a worker begin with the capture at *path* as soon as one is free."""
        return self._client.submit(_attempt, path, *self._work, pure=False, retries=RETRIES)

    def result(self, path: str, future: Any) -> Found | None:  # noqa: ANN401 - as above
        """Wait for the result of the capture at *path*; None where its task was cancelled."""
        try:
            found: Found | None = None if future.cancelled() else future.result()
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
        asked = self._work[0]
        branches = [self._client.submit(_part, path, asked, pure=False, retries=RETRIES) for path in paths]
        for path, future in zip(paths, branches, strict=True):
            future.add_done_callback(lambda _, path=path: tell(progress, path))
        while len(branches) > 1:
            pairs = [branches[place : place + 2] for place in range(0, len(branches), 2)]
            branches = [
                self._client.submit(_merge, *pair, pure=False, retries=RETRIES) if len(pair) == 2 else pair[0]
                for pair in pairs
            ]
        try:
            whole, errors = branches[0].result()
            if whole is not None and whole.unsure:  # only reading in one go decides
                found, errors = self._client.submit(_in_one_go, paths, asked, pure=False, retries=RETRIES).result()
            else:
                found = whole and result(whole)
        except self._died as error:
            raise NotACapture(
                f"cannot read {shown(paths[0])} ...: {RETRIES + 1} workers that read a part died"
            ) from error
        for why, path in errors:
            refused(why, path)
        if found is None:
            raise errors[-1][0]
        return cast("CaptureResult", found)

    def stop(self) -> None:
        """Nothing more is begun; what is under way is not waited for."""

    def close(self) -> None:
        """Let go of the cluster."""
        self._client.close()


def _attempt(path: str, asked: Asked, finish: Finish | None) -> Found:
    return attempt(path, asked, None, finish)


def _part(path: str, asked: Asked) -> Branch:
    try:
        return part(path, **asked), []
    except NotACapture as error:
        return None, [(error, path)]


def _merge(one: Branch, other: Branch) -> Branch:
    parts = [part for part, _ in (one, other) if part is not None]
    return merge(*parts) if len(parts) == 2 else next(iter(parts), None), one[1] + other[1]


def _in_one_go(paths: Sequence[str], asked: Asked) -> tuple[CaptureResult, list[tuple[NotACapture, str]]]:
    errors: list[tuple[NotACapture, str]] = []
    return analyze_set(paths, refused=lambda error, path: errors.append((error, path)), **asked), errors


def _version() -> str:
    from . import VERSION  # noqa: PLC0415

    return VERSION
