"""Text for people: shares in percent, spans of time, colour.

Text from elsewhere (file names, comments out of captures) is made safe to show here as well.
"""

from __future__ import annotations

import math
from itertools import pairwise

from .records import NamedTuple


def printable(text: str) -> str:
    r"""Escape everything in *text* that could do more to a terminal than stand there.

    Control characters (ESC among them), direction marks, line separators, unassigned and private characters and
    octets that are no UTF-8 come out as ``\x1b``, ``\u202e`` and the like. Ordinary text stays as it is.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def count(number: int, what: str) -> str:
    """So many of *what*: ``1 packet``, ``2,000 packets``."""
    return f"{number:,} {what}{('es' if what.endswith('s') else 's') * (number != 1)}"


def percent(share: float) -> str:
    """A probability as people say it: ``0.7 %``, ``63 %``, never 100 % where it is not sure."""
    if 0 < share < 0.0995:
        return f"{share * 100:.1g} %" if share < 0.01 else f"{share * 100:.1f} %"
    return f"{math.floor(share * 100 + 1e-9) if share > 0.99 else round(share * 100)} %"


def whole_percent(share: float) -> str:
    """A share of what was counted, rounded towards the half: neither 0 % nor 100 % where it is not all or nothing."""
    return f"{math.floor(share * 100) if share > 0.5 else math.ceil(share * 100)} %"


def duration(seconds: float) -> str:
    """A time as people say it: ``43 s``, ``3 h 55 min``."""
    units = (("years", 31_557_600), ("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))
    if seconds >= 1000 * units[0][1]:
        return "over a thousand years"
    if seconds < 10:
        return f"{seconds:.2g} s" if seconds >= 1 else f"{seconds * 1000:.3g} ms"
    for (unit, size), (smaller, part) in pairwise(units):
        if seconds >= size:
            whole, rest = divmod(round(seconds / part), size // part)
            return f"{whole} {unit}" + (f" {rest} {smaller}" if rest and whole < 10 else "")
    return f"{seconds:.0f} s"


#: Bold, dim, green, yellow, red: what they mark.
_STYLES = {"title": "1", "dim": "2", "change": "32", "inferred": "33", "finding": "31"}


class Style(NamedTuple):
    """How to print: with colour or without, every timeline or the first few, counts only."""

    color: bool = False
    verbose: bool = False
    quiet: bool = False

    def paint(self, style: str, text: str) -> str:
        """*text* in a colour of _STYLES, if there is colour."""
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m" if self.color and style and text else text
