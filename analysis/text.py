"""Making text from elsewhere safe to show: file names, interface names, comments out of captures."""

from __future__ import annotations


def printable(text: str) -> str:
    r"""Escape everything in *text* that could do more to a terminal than stand there.

    Control characters (ESC among them), direction marks, line separators, unassigned and private characters and
    octets that are no UTF-8 come out as ``\x1b``, ``\u202e`` and the like. Ordinary text stays as it is.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
