"""The views: one file for each way to show a report. Each is imported when it is asked for."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ..report import Report

#: Names as users give them: table for people, json and jsonl for programs, the others for documents.
FORMATS = ("table", "json", "jsonl", "markdown", "mermaid", "html")


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
