"""The progress bar on standard error: the only file that imports tqdm."""

from __future__ import annotations

import os
import sys
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from tqdm import tqdm

#: Seconds of reading before a progress bar appears.
PATIENCE = 1.0

#: Seconds, at least, between two looks at what was found.
REFRESH = 0.2


def bar(total: float | None, **how: Any) -> tqdm[Any]:  # noqa: ANN401 - tqdm's own
    """Make a bar that is gone when it is closed. *how* goes to tqdm as it is."""
    from tqdm import tqdm  # noqa: PLC0415 - only those who see a bar wait for it

    tqdm.monitor_interval = 0  # no second thread
    return tqdm(total=total, file=sys.stderr, leave=False, dynamic_ncols=True, **how)


class Progress:
    """A bar with octets, rate and time left, for reading the files *names* if that takes longer than PATIENCE.

    Where they are *live*, their length is not known, and it says what was found so far instead of the time left. Then
    call it every moment, also when nothing came.
    """

    def __init__(self, names: Sequence[str], *, live: bool = False) -> None:
        self.names = names
        self.live = live
        self.so_far: Callable[[], str] = str
        self.start = time.monotonic()
        self.octets = 0
        self.bar: Any = None  # a tqdm, once there is one
        self.shown = 0.0  # when it last told what was found

    def __call__(self, octets: int) -> None:
        """Note that so many octets more were read."""
        self.octets += octets
        if self.bar is not None:
            self.bar.update(octets)
            if self.live and time.monotonic() - self.shown >= REFRESH:
                self._tell()
        elif time.monotonic() - self.start > PATIENCE:
            self._show()

    def _show(self) -> None:
        # pathlib takes longer to import than a small capture to read
        sizes = [os.stat(name).st_size for name in self.names if os.path.isfile(name)]  # noqa: PTH113, PTH116
        known = len(sizes) == len(self.names) and not self.live
        self.bar = bar(sum(sizes) if known else None, unit="B", unit_scale=True)
        self.bar.start_t -= time.monotonic() - self.start
        self.bar.update(self.octets)
        self._tell()

    def _tell(self) -> None:
        self.shown = time.monotonic()
        if self.live:
            self.bar.set_postfix_str(self.so_far(), refresh=False)
        self.bar.refresh()

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.close()
