"""The views: one file for each way to show a report. Each is imported when it is asked for.

Nothing in here reads a capture or judges an opening: a view is given a report, and gives text.
"""

from __future__ import annotations

from functools import partial

from ..records import NamedTuple
from ..text import Style

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..model import CaptureResult
    from ..report import Report
    from ..result_spill import Walks

#: Names as users give them: table for people, json and jsonl for programs, the others for documents.
FORMATS = ("table", "json", "jsonl", "markdown", "mermaid", "html")

#: Formats that are no reports: a row for every opening, written as the openings end.
ROWS = ("csv", "parquet")

#: The languages of the HTML page's own words.
LANGUAGES = ("en", "zh")

#: The ending of a file's name, and the format that it asks for.
ENDINGS = {
    ".json": "json",
    ".jsonl": "jsonl",
    ".html": "html",
    ".md": "markdown",
    ".csv": "csv",
    ".parquet": "parquet",
}


class Prepared(NamedTuple):
    """A capture, and its port walks as the view wants them (None: the view finds them itself); see Report.add()."""

    result: CaptureResult
    walks: Walks = None


def preparing(
    form: str, *, color: bool = False, verbose: bool = False, quiet: bool = False
) -> Callable[[CaptureResult], Prepared]:
    """Return what prepares a result for the view: the process that reads the capture calls it, before rendered().

    Of many captures, finding and writing the port walks is most of the work. Where a view does not need the attempts
    any more from which they are found, these are left out of the result.
    """
    match form:
        case "json" | "jsonl":
            from . import json  # noqa: PLC0415 -- here and below: what a run does not need takes time

            return partial(_written, text=json.walks)
        case "table" if not quiet:
            from . import table  # noqa: PLC0415

            return partial(_written, text=partial(table.walks, style=Style(color, verbose)))
        case "html":
            return _found
        case "table" | "csv" | "parquet":  # they show none
            return partial(_written, text=_nothing)
    return Prepared


def _written(result: CaptureResult, text: Callable[[CaptureResult], str]) -> Prepared:
    """Keep the *text* of the port walks instead of what they are found from."""
    return Prepared(result._replace(attempts=()), text(result))


def _found(result: CaptureResult) -> Prepared:
    """Find the port walks; the pictures are drawn from the attempts as well."""
    from ..portwalk import look  # noqa: PLC0415

    return Prepared(result, look(result))


def _nothing(_result: CaptureResult) -> str:
    return ""


def rendered(  # noqa: PLR0913 -- all that any view can be told
    report: Report,
    form: str,
    *,
    color: bool = False,
    verbose: bool = False,
    quiet: bool = False,
    language: str = LANGUAGES[0],
) -> Iterator[str]:
    """The report in the format *form*, one of FORMATS, in pieces of text.

    *color* and *quiet* are the table's, *language* (one of LANGUAGES) is the page's.
    """
    match form:
        case "json" | "jsonl":
            from . import json  # noqa: PLC0415 -- here and below: one view a run

            return json.render(report) if form == "json" else json.render_lines(report)
        case "markdown":
            from . import markdown  # noqa: PLC0415

            return markdown.render(report, verbose=verbose)
        case "html":
            from . import html  # noqa: PLC0415

            return html.render(report, verbose=verbose, language=language)
        case "mermaid":
            from . import mermaid  # noqa: PLC0415

            return mermaid.render(report, verbose=verbose)
        case _:
            from . import table  # noqa: PLC0415

            return table.render(report, Style(color, verbose, quiet))
