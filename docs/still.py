"""Draw the README's still: what the terminal shows when a capture is analysed, in its colours, as SVG.

``make docs`` writes a light and a dark one. Nothing is fetched, no font either: every run of text is told where it
begins and how wide it is, so that columns stay columns in whatever font the reader has. A test reads the text back.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

from analysis.reader import analyze
from analysis.report import report
from analysis.views import rendered

ROOT = Path(__file__).resolve().parent.parent

#: The capture that the story is about, as a reader in the repository names it.
CAPTURE = "pcaps/self-connect-walk.pcapng"
COMMAND = f"selfconn-analyze {CAPTURE}"


class Theme(NamedTuple):
    """Colours: of the window, its edge, plain text, and of what the terminal prints dim, green, yellow and red."""

    window: str
    edge: str
    ink: str
    dim: str
    green: str
    yellow: str
    red: str


THEMES = {
    "light": Theme("#fbfaf7", "#d8d4ca", "#24292f", "#5f6670", "#0f6b34", "#875000", "#b3261e"),
    "dark": Theme("#14171c", "#343a43", "#e4e7eb", "#9aa3ae", "#7fd99a", "#e6b450", "#ff8f85"),
}

#: What an escape sequence (SGR) means: attributes of the text, a colour by its name in the theme.
_SGR = {
    "1": {"font-weight": "bold"},
    "2": {"fill": "dim"},
    "31": {"fill": "red"},
    "32": {"fill": "green"},
    "33": {"fill": "yellow"},
}
_PAINTED = re.compile(r"\x1b\[(\d+)m(.*?)\x1b\[0m|([^\x1b]+)")
#: Words a space apart; more space is left by where the next ones begin.
_RUN = re.compile(r"\S+(?: \S+)*")

#: Columns of the window; pixels of a column, of a line, around the text; the size of the letters.
_COLUMNS, WIDE, _HIGH, AROUND, _SIZE = 100, 8, 18, 18, 13.3


def output(*, color: bool) -> str:
    """What the command prints on a terminal, or without colour."""
    found = analyze(str(ROOT / CAPTURE))._replace(name=CAPTURE)
    return "".join(rendered(report([found]), "table", color=color))


def still(name: str) -> str:
    """Return the picture in one of THEMES."""
    theme = THEMES[name]
    lines = [f"$ \x1b[1m{COMMAND}\x1b[0m", *output(color=True).splitlines()]
    width, height = _COLUMNS * WIDE + 2 * AROUND, len(lines) * _HIGH + 2 * AROUND
    size = {"width": str(width), "height": str(height), "viewBox": f"0 0 {width} {height}"}
    svg = ET.Element("svg", {"xmlns": "http://www.w3.org/2000/svg", **size, "role": "img"})
    svg.text = "\n"
    _part(svg, "title", {}, f"In a terminal: {COMMAND}, and what it prints")
    frame = {"x": "0.5", "y": "0.5", "width": str(width - 1), "height": str(height - 1), "rx": "8"}
    _part(svg, "rect", {**frame, "fill": theme.window, "stroke": theme.edge})
    font = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace"
    text = _part(svg, "g", {"font-family": font, "font-size": str(_SIZE), "fill": theme.ink})
    text.text = "\n"
    for number, line in enumerate(lines):
        row = _part(text, "text", {"y": str(AROUND + number * _HIGH + 13)})
        column = 0
        for code, painted, plain in _PAINTED.findall(line):
            style = {key: theme._asdict().get(value, value) for key, value in _SGR.get(code, {}).items()}
            for run in _RUN.finditer(painted or plain):
                x, length = AROUND + (column + run.start()) * WIDE, len(run[0]) * WIDE
                ET.SubElement(row, "tspan", {"x": str(x), "textLength": str(length), **style}).text = run[0]
            column += len(painted or plain)
    return ET.tostring(svg, encoding="unicode") + "\n"


def _part(of: ET.Element, tag: str, attributes: dict[str, str], text: str = "") -> ET.Element:
    """Return a new part of the drawing, on a line of its own."""
    part = ET.SubElement(of, tag, attributes)
    part.text, part.tail = text or None, "\n"
    return part
