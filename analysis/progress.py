"""The progress bar on standard error: the only file that imports tqdm."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm


def bar(total: float | None, **how: Any) -> tqdm[Any]:  # noqa: ANN401 - tqdm's own
    """Make a bar that is gone when it is closed. *how* goes to tqdm as it is."""
    from tqdm import tqdm  # noqa: PLC0415 - only those who see a bar wait for it

    tqdm.monitor_interval = 0  # no second thread
    return tqdm(total=total, file=sys.stderr, leave=False, dynamic_ncols=True, **how)
