"""The ladder of one opening: time runs downwards, a lifeline a socket.

Every segment leaves one lifeline and arrives at one, in the order of the replay: arrows cross where segments crossed.
Where both ends are one socket there is one lifeline, and what leaves it comes back to it in an arc. Distances are not
to scale: an instant is a row.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import groupby

from ...model import Flag, spoken
from ...records import NamedTuple
from ..phrases import Fold, names, segment_details, span
from .shapes import Curve, Point, number, straight
from .shapes import head as arrow_head

TYPE_CHECKING = False
if TYPE_CHECKING:
    from ...model import Endpoint, Segment
    from ...replay import Replay, Step

#: As wide as the text beside the one lifeline, or between the two, needs.
_WIDTHS = (392, 420)

#: Where the lifelines stand: the one, or the two. Frame and time are at their left.
_ALONE, _APART = (106.0,), (106.0, 368.0)

#: How high the head is: letters, addresses and ports; and how much a second line of addresses adds to it.
HEAD, _LINE = 36, 14

#: So many characters of two addresses have room beside each other.
_BESIDE = 50

#: A state's label, and the way from an instant down to it.
_TO_PILL, _PILL = 22, 21

#: From where a segment may leave next down to a state that the program chose before it.
_BEFORE = -2

#: Rows: the first instant; after a send, after an arrival, the end; a fold.
_TOP, _SEND, _ARRIVE, _BOTTOM, _FOLD = 80, 38, 28, 16, 34

#: After an arrival where the next label stands over its arrow: it keeps off the state before it.
_ARRIVE_APART = _ARRIVE + 4

#: How far an arc reaches, and how much further for each segment on its way at the same time.
_REACH, _FURTHER = 156.0, 44.0

#: How high over its arrow a label stands where another segment is under way.
_OVER = 9

#: Addresses up to this length are centred on their lifeline.
_SHORT = 17


class Pill(NamedTuple):
    """A state's name on a lifeline, reached by step number ``step`` (0: the state at the start)."""

    at: Point
    state: str
    step: int
    inferred: bool = False


class Lifeline(NamedTuple):
    """One socket: its letter, address and port, where it stands and how the text above it is set."""

    letter: str
    address: str
    port: int
    x: float
    text_x: float
    anchor: str
    port_x: float
    letter_x: float
    address_y: int = 12


class Lane(NamedTuple):
    """A folded part: its text and its middle."""

    text: str
    y: float


@dataclass(slots=True)
class Arrow:
    """A segment on its way.

    ``out`` and ``into`` are the halves of its path; ``sent`` and ``arrived`` are the steps' numbers. ``inferred``: no
    packet proves the arrival; ``lost``: no arrival is known. ``label`` is bold in its first line.
    """

    frame: int
    time: str
    flags: str
    label: list[str]
    label_at: Point
    anchor: str
    at: Point
    sent: int
    arrived: int = 0
    out: str = ""
    into: str = ""
    head: str = ""
    middle: Point | None = None
    inferred: bool = False
    lost: bool = False
    finding: bool = False


@dataclass(slots=True)
class Ladder:
    """The drawing: sizes and shapes, in the units of its own coordinates."""

    to_itself: bool
    lifelines: list[Lifeline]
    width: int
    head: int = HEAD
    height: float = 0
    arrows: list[Arrow] = field(default_factory=list)
    pills: list[Pill] = field(default_factory=list)
    folds: list[Lane] = field(default_factory=list)


class _Instant(NamedTuple):
    """A segment leaves, or arrives: the steps that this is, numbered."""

    segment: Segment
    steps: list[tuple[int, Step]]

    @property
    def sends(self) -> bool:
        return self.steps[0][1].sends


def ladder(replayed: Replay, shown: list[Step], folds: list[Fold]) -> Ladder:
    """Draw *replayed*. *shown* are its steps without those of the *folds*; they count from 1."""
    return _Drawing(replayed).draw(_instants(replayed, shown), folds)


def _instants(replayed: Replay, shown: list[Step]) -> list[_Instant]:
    segments = {segment.frame: segment for segment in replayed.segments}
    groups = groupby(enumerate(shown, 1), key=lambda item: (item[1].frame, item[1].by_itself, item[1].sends))
    return [_Instant(segments[frame], list(steps)) for (frame, *_), steps in groups]


class _Drawing:
    """Goes down the instants, a row each."""

    def __init__(self, replayed: Replay) -> None:
        letters = names(replayed)
        self.replayed = replayed
        alone = replayed.opening.to_itself
        places = dict(zip("AB", _ALONE if alone else _APART, strict=False))
        self.x = {endpoint: places[letter] for endpoint, letter in letters.items()}
        self.made = Ladder(alone, [self._lifeline(end, letters[end]) for end in replayed.sockets], _WIDTHS[not alone])
        if sum(len(line.address) for line in self.made.lifelines) > _BESIDE and not alone:
            self.made.lifelines[1] = self.made.lifelines[1]._replace(address_y=12 + _LINE)
            self.made.head += _LINE
        self.under_way: dict[int, Arrow] = {}  # by frame
        self.y: float = _TOP

    def _lifeline(self, endpoint: Endpoint, letter: str) -> Lifeline:
        x = self.x[endpoint]
        if len(endpoint.address) <= _SHORT:
            return Lifeline(letter, endpoint.address, endpoint.port, x, x, "middle", x + 8, x - 38)
        if letter == "A":
            return Lifeline(letter, endpoint.address, endpoint.port, x, 2, "start", 26, 11)
        right = _WIDTHS[1] - 2
        return Lifeline(letter, endpoint.address, endpoint.port, x, right, "end", right, right - 76)

    def draw(self, instants: list[_Instant], folds: list[Fold]) -> Ladder:
        """Place everything."""
        for x in self.x.values():
            self.made.pills.append(Pill(Point(x, self.y - _TO_PILL - 4), "CLOSED", 0))
        waiting = list(folds)
        for instant in instants:
            while waiting and waiting[0].frames[0] < instant.segment.frame:
                self._fold(waiting.pop(0))
            if instant.steps[0][1].by_itself:  # no segment does it: it is so before the next one
                self.y -= _TO_PILL - _BEFORE
                self._pills(instant, self.x[instant.steps[0][1].endpoint])
                self.y += _TO_PILL
            else:
                (self._send if instant.sends else self._arrive)(instant)
        for fold in waiting:
            self._fold(fold)
        self.made.height = self.y + _BOTTOM
        return self.made

    def _fold(self, fold: Fold) -> None:
        self.made.folds.append(Lane(fold.text, self.y + 2))
        self.y += _FOLD

    def _send(self, instant: _Instant) -> None:
        segment = instant.segment
        (sent, step), *_ = instant.steps
        x, alone = self.x[segment.source], self.made.to_itself
        rightward = alone or x == min(self.x.values())
        over = _OVER if self.under_way else 5  # what is on its way passes below
        label_at = (
            Point(x + _REACH * 0.86, self.y + 12) if alone else Point(x + (8 if rightward else -8), self.y - over)
        )
        arrow = Arrow(
            segment.frame,
            span(segment.time - self.replayed.opening.time),
            spoken(segment.flags & ~Flag.PSH),
            segment_details(segment, self.replayed),
            label_at,
            "start" if rightward else "end",
            Point(x, self.y),
            sent,
            finding=step.finding,
        )
        self.under_way[segment.frame] = arrow
        self.made.arrows.append(arrow)
        self._pills(instant, x)
        self.y += _SEND

    def _arrive(self, instant: _Instant) -> None:
        segment, steps = instant.segment, [step for _, step in instant.steps]
        arrow = self.under_way.pop(segment.frame)
        x = self.x[segment.destination]
        arrow.arrived = instant.steps[0][0]
        arrow.inferred = any(step.inferred for step in steps)
        arrow.lost = not steps[0].section and not steps[0].finding
        arrow.finding = arrow.finding or any(step.finding for step in steps)
        tip = Point(x, self.y)
        if self.made.to_itself:
            reach = _REACH + _FURTHER * len(self.under_way)
            curve = Curve(arrow.at, Point(x + reach, arrow.at.y), Point(x + reach, tip.y), tip)
        else:
            curve = straight(arrow.at, tip)
        out, into = curve.halves()
        arrow.out, arrow.into = str(out), str(into)
        arrow.head, arrow.middle = arrow_head(tip, into.second), out.end
        self._pills(instant, x)
        self.y += _ARRIVE if self.made.to_itself else _ARRIVE_APART

    def _pills(self, instant: _Instant, x: float) -> None:
        """The states that the socket comes to, one below the other."""
        changes = [(place, step) for place, step in instant.steps if step.changes]
        for row, (place, step) in enumerate(changes):
            at = Point(x, self.y + _TO_PILL + row * _PILL)
            self.made.pills.append(Pill(at, step.after.value, place, step.inferred))
        self.y += _PILL * len(changes) - (_PILL - 8 if changes and instant.sends else 0)


def head(made: Ladder) -> str:
    """The viewBox of the drawing's head, which names the sockets and stays in sight."""
    return f"0 0 {made.width} {made.head}"


def body(made: Ladder) -> str:
    """The viewBox of what is below the head."""
    return f"0 {HEAD} {made.width} {number(made.height - HEAD)}"
