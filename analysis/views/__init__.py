"""The views: one file for each way to show a report. Each is imported when it is asked for.

Nothing in here reads a capture or judges an opening: a view is given a report, and gives text.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..model import CaptureResult
    from ..report import Report

#: Names as users give them: table for people, json and jsonl for programs, the others for documents.
FORMATS = ("table", "json", "jsonl", "markdown", "mermaid", "html")


def drawing(
    form: str, *, color: bool = False, verbose: bool = False, quiet: bool = False
) -> Callable[[CaptureResult], object] | None:
    """What may be done to each result long before rendered(), by whoever reads the capture: the port walks drawn.

    Of many captures they are most of the work. None where a view leaves it all to rendered().
    """
    from ..portwalk import look, overlook  # noqa: PLC0415 -- here and below: what a run does not need takes time

    match form:
        case "json" | "jsonl":
            from . import json  # noqa: PLC0415

            return partial(_draw, text=json.walks)
        case "table" if not quiet:
            from . import table  # noqa: PLC0415

            return partial(_draw, text=partial(table.walks, style=table.Style(color, verbose)))
        case "html":
            return look
        case "table" | "parquet":  # they show none
            return overlook
    return None


def _draw(result: CaptureResult, text: Callable[[CaptureResult], str]) -> None:
    """Keep the *text* of the port walks instead of what they are found from. Where it is kept already, that stays."""
    from ..portwalk import overlook  # noqa: PLC0415

    if result.drawn is None:
        result.drawn = text(result)
    overlook(result)


def rendered(
    report: Report, form: str, *, color: bool = False, verbose: bool = False, quiet: bool = False
) -> Iterator[str]:
    """The report in the format *form*, one of FORMATS, in pieces of text; *color* and *quiet* are the table's."""
    match form:
        case "json" | "jsonl":
            from . import json  # noqa: PLC0415 -- here and below: one view a run

            return json.render(report) if form == "json" else json.render_lines(report)
        case "markdown":
            from . import markdown  # noqa: PLC0415

            return markdown.render(report, verbose=verbose)
        case "html":
            from . import html  # noqa: PLC0415

            return html.render(report, verbose=verbose)
        case "mermaid":
            from . import mermaid  # noqa: PLC0415

            return mermaid.render(report, verbose=verbose)
        case _:
            from . import table  # noqa: PLC0415

            return table.render(report, table.Style(color, verbose, quiet))
