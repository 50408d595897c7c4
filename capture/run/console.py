"""What selfconn-capture shows: what it is doing, how far the repro has come, and the report.

Standard error takes what is said on the way, standard output (or -o) the report. With the capture itself on standard
output the report, too, goes to standard error.
"""

from __future__ import annotations

import shutil
import sys
import textwrap
import time

from analysis.commandline import colored, say, to_standard_error
from analysis.output import writing
from analysis.report import report
from analysis.views import rendered

from .messages import agreement, intended, kernel_gaps, results, shortcomings, side_by_side, to_run
from .output import Sink
from .report_sections import comparisons, kernel, live
from .watch_line import fitted

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any, Self, TextIO

    from analysis.report import Report

    from .report_sections import Comparison
    from .repro import Plan, Progress
    from .run_context import Options, Outcome

_WIDTH = 100
#: A repro that is over by then needs no bar.
_SECONDS_BEFORE_A_BAR = 0.2


class Console:
    """Says what there is to say, as *options* want it; *plan* is the repro's, if there is one."""

    def __init__(self, options: Options, plan: Plan | None = None) -> None:
        self._options, self._plan = options, plan
        self._bar: Any = None
        self._shown = 0  # attempts
        self._file: Sink | None = None
        self._shows_bar = not options.quiet and sys.stderr.isatty()
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        """Open the file for the report: if that cannot be, then before the repro and not after it."""
        if self._options.output is not None:
            self._file = Sink(self._options.output)
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()

    def before(self, notes: Iterable[str]) -> None:
        """Say what is going to be done, where that leads, and why."""
        self.remark([*notes, *(intended(self._plan) if self._plan else [to_run(self._options)])])

    def remark(self, sentences: Iterable[str]) -> None:
        """Say on the way what is not a part of the report."""
        if not self._options.quiet:
            for line in sentences:
                lines = textwrap.wrap(line, _WIDTH, subsequent_indent="  ", break_on_hyphens=False)
                to_standard_error("\n".join(lines) + "\n")

    def show_progress(self, progress: Progress | None) -> None:
        """Show how far the walk has come; None: it is over."""
        if progress is None or "outcome" in progress:
            if self._bar is not None:
                self._bar.close()
            self._bar, self._shows_bar = None, False
            return
        attempts, seconds = progress["attempts"], progress["seconds"]
        late = time.monotonic() - self._began > _SECONDS_BEFORE_A_BAR
        if self._plan and self._shows_bar and late and attempts != self._shown:
            self._shown = attempts
            if self._bar is None:
                from analysis.progress import bar  # noqa: PLC0415 - only who sees it waits for it

                layout = "{desc} |{bar:20}| odds so far {percentage:2.0f} %"
                self._bar = bar(1.0, bar_format=layout)
            rate, port = attempts / seconds if seconds else 0, progress.get("source_port", 0)
            self._bar.n = self._plan.outlook.odds.probability(attempts)
            self._bar.set_description_str(f"{attempts:,} attempts, {rate:,.0f}/s, now at port {port}")

    def after(self, outcome: Outcome) -> None:
        """Show the report; on standard error what was lost, if anything was."""
        whole = report([outcome.result])
        compared = comparisons(whole, outcome.openings, outcome.context.kernel_states)
        whole.live, whole.kernel = live(outcome), kernel(outcome, compared)
        sentences = [*results(outcome), *kernel_gaps(compared, outcome.context.kernel_states)]
        self.show(whole, "The command" if outcome.command else "The repro", sentences, compared)
        for line in shortcomings(outcome):
            self.complain(line)

    def complain(self, line: str) -> None:
        """Say what went wrong; that is said to the quiet, too."""
        say("selfconn-capture", line)

    def show(self, whole: Report, title: str, sentences: Iterable[str], compared: Sequence[Comparison]) -> None:
        """Show a report in the format that was asked for; the table has *sentences* and the kernel's account below."""
        self.write("".join(self._rendered(whole, title, sentences, compared)))

    def _rendered(
        self, whole: Report, title: str, sentences: Iterable[str], compared: Sequence[Comparison]
    ) -> Iterator[str]:
        options = self._options
        form, color = (
            options.format or "table",
            colored(options.color, None if options.output is not None else self._stream()),
        )
        yield from rendered(whole, form, color=color, verbose=options.verbose, quiet=options.quiet)
        if form != "table" or options.quiet:
            return
        yield "\n" + _title(title, color=color)
        yield from _bullets(sentences)
        for one in compared:
            if one.changes:
                yield "\n" + _title("What the kernel says", color=color) + side_by_side(one) + "\n"
                yield from _bullets(agreement(one))

    def _stream(self) -> TextIO:
        return sys.stderr if self._options.write == "-" else sys.stdout

    def write_columns(self, words: list[str]) -> None:
        """Write a line of a watch, on a terminal no wider than that."""
        stream = self._stream()
        width = shutil.get_terminal_size().columns if self._file is None and stream.isatty() else None
        self.write(fitted(words, width) + "\n")

    def write(self, text: str) -> None:
        """Write a piece of the report. Raises Incomplete where that fails."""
        encoded = text.encode("utf-8", "backslashreplace")
        if self._file:
            self._file.write(encoded)
            return
        stream = self._stream()
        with writing(stream):
            stream.flush()
            stream.buffer.write(encoded)
            stream.flush()


def _title(text: str, *, color: bool) -> str:
    return f"\x1b[1m{text}\x1b[0m\n" if color else f"{text}\n"


def _bullets(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        yield "- " + "\n  ".join(textwrap.wrap(line, _WIDTH - 2, break_on_hyphens=False)) + "\n"
