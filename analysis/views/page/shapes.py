"""The little geometry that the drawings share: numbers, arrow heads, curves. Coordinates are those of SVG."""

from __future__ import annotations

import math

from ...records import NamedTuple

#: Length of an arrow's head, and half its width.
_LENGTH, _HALF = 8.0, 3.4


class Point(NamedTuple):
    """A place in a drawing: x to the right, y downwards."""

    x: float
    y: float

    def __str__(self) -> str:
        return f"{number(self.x)} {number(self.y)}"

    def wider(self, times: float) -> Point:
        """The place in a drawing that is so many times as wide."""
        return Point(self.x * times, self.y)


def number(value: float) -> str:
    """A coordinate, to a tenth: ``12``, ``12.5``."""
    return f"{value:.1f}".removesuffix(".0")


def head(tip: Point, towards: Point) -> str:
    """The path of an arrow's head at *tip*, which came from the direction of *towards*."""
    angle = math.atan2(tip.y - towards.y, tip.x - towards.x)
    along = Point(math.cos(angle), math.sin(angle))
    back = Point(tip.x - _LENGTH * along.x, tip.y - _LENGTH * along.y)
    left = Point(back.x - _HALF * along.y, back.y + _HALF * along.x)
    right = Point(back.x + _HALF * along.y, back.y - _HALF * along.x)
    return f"M{tip}L{left}L{right}Z"


def lines(*points: Point) -> str:
    """The path from point to point in straight lines."""
    return "M" + "L".join(map(str, points))


def between(one: Point, other: Point, share: float) -> Point:
    """The point that lies so far on the way from *one* to *other* (0 to 1)."""
    return Point(one.x + share * (other.x - one.x), one.y + share * (other.y - one.y))


class Curve(NamedTuple):
    """A cubic Bezier curve."""

    start: Point
    first: Point
    second: Point
    end: Point

    def __str__(self) -> str:
        return f"M{self.start}C{self.first} {self.second} {self.end}"

    def halves(self) -> tuple[Curve, Curve]:
        """The curve cut in the middle (de Casteljau)."""
        middle = between(self.first, self.second, 0.5)
        one, other = between(self.start, self.first, 0.5), between(self.second, self.end, 0.5)
        before, after = between(one, middle, 0.5), between(middle, other, 0.5)
        cut = between(before, after, 0.5)
        return Curve(self.start, one, before, cut), Curve(cut, after, other, self.end)


def straight(start: Point, end: Point) -> Curve:
    """A straight line, as a curve."""
    return Curve(start, between(start, end, 1 / 3), between(start, end, 2 / 3), end)
