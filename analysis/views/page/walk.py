"""The walk through the source ports as pictures: which port each attempt had, and how the odds grew.

A picture stays small however long the walk was: of many attempts it shows evenly spaced ones.
"""

from __future__ import annotations

import math

from ...records import NamedTuple
from ...text import percent
from .shapes import number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from ...odds import Odds

WIDTH, HEIGHT = 440, 250

#: The plot's own edges.
LEFT, RIGHT, TOP, BOTTOM = 50, 424, 20, 208

#: Attempts that are drawn at most, and points of a curve.
_DOTS, _POINTS = 1_500, 96


class Tick(NamedTuple):
    """A number at an axis."""

    at: str
    text: str


class Ports(NamedTuple):
    """Source ports over attempts. ``even`` and ``odd`` are paths of dots; ``hit_x`` is where the attempt succeeded.

    ``beyond_x`` is where the attempts begin that were counted but not remembered one by one.
    """

    even: str
    odd: str
    target_y: str
    hit_x: str
    beyond_x: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]


class Chances(NamedTuple):
    """The odds over attempts: the curve, and where this walk left it."""

    curve: str
    area: str
    now_x: str
    now_y: str
    now: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]


class _Scale(NamedTuple):
    """From values to places in a drawing."""

    low: float
    high: float
    at_low: float
    at_high: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return self.at_low + share * (self.at_high - self.at_low)


def sample(count: int, wanted: int) -> list[int]:
    """Evenly spaced places out of *count*, the first and the last among them; all, where they are not too many."""
    if count <= wanted:
        return list(range(count))
    return sorted({round(step * (count - 1) / (wanted - 1)) for step in range(wanted)})


def ports(walked: Sequence[int], attempts: int, target: int, *, hit: bool) -> Ports:
    """Draw the source ports *walked*, of so many *attempts* at port *target*; *hit*: the next one succeeded."""
    last = attempts + (1 if hit else 0)
    low, high = min(target, *walked), max(target, *walked)
    margin = max(1, (high - low) * 0.04)
    across = _Scale(0.5 if last < 2 else 1, max(last, 1.5), LEFT + 8, RIGHT - 8)
    up = _Scale(low - margin, high + margin, BOTTOM, TOP)
    dots: tuple[list[str], list[str]] = ([], [])
    for place in sample(len(walked), _DOTS):
        port = walked[place]
        dots[port % 2].append(f"M{number(across(place + 1))} {number(up(port))}h0")
    marks = {low: str(low), high: str(high), target: str(target)}
    near = 12  # units between two numbers at the axis
    shown = [port for port in marks if port == target or abs(up(port) - up(target)) > near]
    return Ports(
        "".join(dots[0]),
        "".join(dots[1]),
        number(up(target)),
        number(across(last)) if hit else "",
        number(across(len(walked))) if attempts > len(walked) else "",
        _counts(across, 1, max(last, 1)),
        [Tick(number(up(port)), marks[port]) for port in shown],
    )


def chances(odds: Odds, attempts: int) -> Chances:
    """Draw the chance that one of so many attempts hits, up to where it is all but sure, and mark *attempts* in it."""
    end = max(attempts * 1.15, odds.attempts(0.97), 2.0)
    across, up = _Scale(0, end, LEFT, RIGHT), _Scale(0, 1, BOTTOM, TOP)
    points = [end * step / (_POINTS - 1) for step in range(_POINTS)]
    curve = "M" + "L".join(f"{number(across(x))} {number(up(min(1.0, odds.probability(x))))}" for x in points)
    now = min(1.0, odds.probability(attempts))
    return Chances(
        curve,
        f"{curve}V{BOTTOM}H{LEFT}Z",
        number(across(attempts)),
        number(up(now)),
        percent(now),
        _counts(across, 0, math.ceil(end)),
        [Tick(number(up(share)), percent(share)) for share in (0.0, 0.5, 0.99)],
    )


def _counts(across: _Scale, low: int, high: int) -> list[Tick]:
    """Numbers of attempts along the bottom: the first and the last, and round ones between."""
    step = _round_step((high - low) / 3)
    inner = [value for value in range(0, high, step) if low + step * 0.4 < value < high - step * 0.5]
    return [Tick(number(across(value)), f"{value:,}") for value in dict.fromkeys((low, *inner, high))]


def _round_step(rough: float) -> int:
    size = int(10 ** math.floor(math.log10(max(rough, 1))))
    return next(size * factor for factor in (1, 2, 5, 10) if size * factor >= rough)
