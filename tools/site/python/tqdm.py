"""Stands in the page's worker for tqdm: how far the reading has come goes to the page, which draws the bar."""

from __future__ import annotations

from selfconn_host import progress  # the worker's own functions: worker.mjs


class tqdm:  # noqa: N801 -- tqdm's own name
    """As much of tqdm's bar as analysis/progress.py uses; lengths are in octets."""

    monitor_interval = 0

    def __init__(self, total: float | None = None, **_how: object) -> None:
        self.total = total
        self.octets = 0
        self.start_t = 0.0

    def update(self, octets: int) -> None:
        """Note that so many octets more were read."""
        self.octets += octets
        self.refresh()

    def refresh(self) -> None:
        """Tell the page."""
        progress(self.octets, self.total or 0)

    def set_postfix_str(self, text: str, *, refresh: bool = True) -> None:
        """A text beside the bar, which only a capture that is still being made has."""

    def close(self) -> None:
        """There is nothing to take away: the page does so when the run has ended."""
