"""What the page's worker calls: the command line, as it stands, with what it writes caught.

In the browser this module and those beside it lie before everything else on the path of Python's modules.
"""

from __future__ import annotations

import gc
import importlib
import io
import os
from contextlib import redirect_stderr, redirect_stdout


class _Terminal(io.StringIO):
    """Standard error that shows progress."""

    def isatty(self) -> bool:
        """Yes: else there would be no progress bar, which tqdm.py draws on the page."""
        return True


#: What a run imports when it needs it.
_MODULES = ("cli", "parallel", "report", "result_spill", "views.annotated", "views.html", "views.json", "views.table")


def prepare() -> None:
    """Import what a run needs, while the site is made: the reader's Python begins with all of it in memory."""
    for name in _MODULES:
        importlib.import_module(f"analysis.{name}")


def run(words: list[str], folder: str) -> tuple[int, str, str]:
    """Run ``selfconn-analyze WORDS`` in the *folder*; return its exit status, its output and its messages."""
    from analysis.cli import main  # noqa: PLC0415 -- where this module is found, that one may not be yet

    os.environ["NO_COLOR"] = "1"
    os.chdir(folder)
    with redirect_stdout(io.StringIO()) as out, redirect_stderr(_Terminal()) as messages:
        try:
            status = main(words)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else 1
    gc.unfreeze()  # a command ends after its run, and Python does not: see commandline.Failing
    gc.collect()
    return status, out.getvalue(), messages.getvalue()
