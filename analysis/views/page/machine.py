"""The state diagram (RFC 9293 3.3.2 figure 5, and what the figure leaves out), drawn from the transition table.

What is here is where things stand. Which lines there are, and what they are called, the table alone says.
CLOSED stands twice, as in the figure: where a connection begins, and where it ends.
"""

from __future__ import annotations

from ...records import NamedTuple
from ...states import Event, State, edges
from .shapes import Point, between, head, lines

WIDTH, HEIGHT = 400, 600

#: The boxes around the states' names.
BOX_WIDTH, BOX_HEIGHT = 106, 30

#: Where CLOSED stands the second time: the key of that box.
END = "END"

_S = State
_LEFT, _MIDDLE, _RIGHT = 70.0, 200.0, 330.0

#: The middle of each box.
PLACES: dict[str, Point] = {
    _S.CLOSED: Point(_MIDDLE, 22),
    _S.LISTEN: Point(_LEFT, 92),
    _S.SYN_RECEIVED: Point(_LEFT, 190),
    _S.SYN_SENT: Point(_RIGHT, 190),
    _S.ESTABLISHED: Point(_MIDDLE, 284),
    _S.FIN_WAIT_1: Point(_LEFT, 376),
    _S.CLOSE_WAIT: Point(_RIGHT, 376),
    _S.FIN_WAIT_2: Point(_LEFT, 466),
    _S.CLOSING: Point(_MIDDLE, 466),
    _S.LAST_ACK: Point(_RIGHT, 466),
    _S.TIME_WAIT: Point(_MIDDLE, 550),
    END: Point(_RIGHT, 550),
}

#: Resets run down the two margins, and below everything to CLOSED.
_LEFT_RAIL, _RIGHT_RAIL, _BOTTOM = 5.0, 395.0, 592.0

_RESETS = frozenset({Event.SEND_RST, Event.RECEIVE_RST, Event.DELETE})


class Node(NamedTuple):
    """A box. ``key`` is the state's name, or END."""

    key: str
    state: State
    at: Point


class Edge(NamedTuple):
    """A line with its arrow head.

    ``label`` are the lines of its label, their middle at ``label_at``; ``reset`` marks what only ends a connection
    early. ``title`` names all its events. ``badge_at`` is where the numbers of steps go.
    """

    key: str
    title: str
    path: str
    head: str
    label: tuple[Event, ...]
    label_at: Point
    anchor: str
    badge_at: Point
    reset: bool


class _Route(NamedTuple):
    """Where a line runs that is not straight from box to box, and where its label stands."""

    points: tuple[Point, ...]
    label_at: Point | None = None
    anchor: str = "middle"


def _down(column: float, above: State, below: State) -> tuple[Point, Point]:
    half = BOX_HEIGHT / 2
    return Point(column, PLACES[above].y + half), Point(column, PLACES[below].y - half)


def _by_left_rail(state: State) -> _Route:
    at, end = PLACES[state], PLACES[END]
    return _Route(
        (
            Point(at.x - BOX_WIDTH / 2, at.y),
            Point(_LEFT_RAIL, at.y),
            Point(_LEFT_RAIL, _BOTTOM),
            Point(end.x, _BOTTOM),
            Point(end.x, end.y + BOX_HEIGHT / 2),
        )
    )


def _by_right_rail(state: State) -> _Route:
    at, end = PLACES[state], PLACES[END]
    return _Route(
        (
            Point(at.x + BOX_WIDTH / 2, at.y),
            Point(_RIGHT_RAIL, at.y),
            Point(_RIGHT_RAIL, end.y),
            Point(end.x + BOX_WIDTH / 2, end.y),
        )
    )


#: The lines that are not straight from box to box. A test holds them against the table.
ROUTES: dict[tuple[State, State], _Route] = {
    **{(state, _S.CLOSED): _by_left_rail(state) for state in (_S.SYN_RECEIVED, _S.FIN_WAIT_1, _S.FIN_WAIT_2)},
    **{(state, _S.CLOSED): _by_right_rail(state) for state in (_S.SYN_SENT, _S.ESTABLISHED, _S.CLOSE_WAIT)},
    (_S.LISTEN, _S.SYN_SENT): _Route((Point(123, 103), Point(277, 178)), Point(234, 157)),
    (_S.LISTEN, _S.SYN_RECEIVED): _Route(_down(50, _S.LISTEN, _S.SYN_RECEIVED)),
    (_S.SYN_RECEIVED, _S.LISTEN): _Route(_down(90, _S.LISTEN, _S.SYN_RECEIVED)[::-1], Point(95, 150), "start"),
    (_S.SYN_RECEIVED, _S.ESTABLISHED): _Route((Point(96, 205), Point(170, 269)), Point(126, 246)),
    (_S.SYN_SENT, _S.ESTABLISHED): _Route((Point(304, 205), Point(230, 269)), Point(268, 238)),
    (_S.SYN_RECEIVED, _S.FIN_WAIT_1): _Route(_down(40, _S.SYN_RECEIVED, _S.FIN_WAIT_1), Point(19, 274), "start"),
    (_S.SYN_RECEIVED, _S.CLOSE_WAIT): _Route(
        (Point(72, 205), Point(72, 344), Point(262, 344), Point(292, 361)), Point(60, 308), "start"
    ),
    (_S.FIN_WAIT_1, _S.CLOSING): _Route((Point(92, 391), Point(178, 451)), Point(146, 429)),
    (_S.FIN_WAIT_2, _S.TIME_WAIT): _Route((Point(93, 481), Point(177, 535)), Point(116, 519), "end"),
    (_S.TIME_WAIT, _S.CLOSED): _Route((Point(253, 550), Point(277, 550)), Point(265, 578)),
}


def nodes(stretch: float = 1) -> list[Node]:
    """The boxes, in the order of the RFC, the second CLOSED last. *stretch* makes the drawing so many times as wide."""
    return [
        Node(key, _S.CLOSED if key == END else State(key), at.wider(stretch))
        for key, at in sorted(PLACES.items(), key=_rank)
    ]


def _rank(item: tuple[str, Point]) -> int:
    return len(State) if item[0] == END else list(State).index(State(item[0]))


def edge_key(before: State, after: State) -> str:
    """The key of a line."""
    return f"{before}>{after}"


def drawn(stretch: float = 1) -> list[Edge]:
    """Every line of the diagram: one for each change of state that the table allows; *stretch* as for nodes()."""
    return [_edge(before, after, events, stretch) for (before, after), events in edges().items()]


def _edge(before: State, after: State, events: list[Event], stretch: float) -> Edge:
    route = ROUTES.get((before, after)) or _Route(_from_box_to_box(PLACES[before], PLACES[_end_key(after)]))
    points = [point.wider(stretch) for point in route.points]
    *_, last, tip = points
    telling = [event for event in events if event not in _RESETS]
    first, second = points[:2]
    return Edge(
        edge_key(before, after),
        f"{before} to {after}: {', '.join(events)}",
        lines(*points),
        head(tip, last),
        tuple(telling or ([] if after is _S.CLOSED else events)),
        route.label_at.wider(stretch) if route.label_at else between(first, second, 0.5),
        route.anchor,
        between(first, second, 0.5 if len(points) > 2 else 0.24),
        not telling,
    )


def _end_key(state: State) -> str:
    return END if state is _S.CLOSED else state


def _from_box_to_box(one: Point, other: Point) -> tuple[Point, Point]:
    return _border(one, other), _border(other, one)


def _border(box: Point, towards: Point) -> Point:
    """Where the line from the middle of *box* towards a point leaves the box."""
    across, down = abs(towards.x - box.x), abs(towards.y - box.y)
    share = min(BOX_WIDTH / 2 / across if across else 1, BOX_HEIGHT / 2 / down if down else 1)
    return between(box, towards, share)
