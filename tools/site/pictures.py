"""The small picture of a capture: its opening's ladder without the words, or the walk through the ports.

The shapes are those of the capture's own page (analysis/views/page/), so that the picture cannot say something else.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from markupsafe import Markup, escape

from analysis.model import REMARKABLE
from analysis.replay import replay
from analysis.views.page import walk
from analysis.views.page.ladder import ladder
from analysis.views.phrases import Fold, timeline

if TYPE_CHECKING:
    from analysis.model import Attempts, CaptureResult, Opening
    from analysis.views.page.ladder import Ladder

#: Width and height, in the units of the ladder; what is lower is cut off.
WIDTH, HEIGHT = 470, 360

#: Where the ladder's first instant is, and how much room there is above it.
_TOP = 50


def picture(result: CaptureResult) -> Markup:
    """Draw what a capture is remarkable for, else its walk, else its first opening; nothing, where it has none."""
    remarkable = [opening for opening in result.openings if opening.verdict in REMARKABLE]
    if not remarkable and result.attempts and len(result.attempts[0].ports) > 2:
        return _walk(result.attempts[0])
    found = remarkable or result.openings
    return _opening(found[0]) if found else Markup()


def _svg(box: str, shapes: list[str]) -> Markup:
    shown = "".join(shapes)  # numbers, and names of flags
    head = f'<svg class="small" viewBox="{box}" preserveAspectRatio="xMidYMin slice" aria-hidden="true">'
    return Markup(f"{head}{shown}</svg>")  # noqa: S704 -- our own shapes


def _opening(opening: Opening) -> Markup:
    replayed = replay(opening)
    folds = [row for row in timeline(replayed) if isinstance(row, Fold)]
    hidden = {frame for fold in folds for frame in fold.frames}
    drawn = ladder(replayed, [step for step in replayed.steps if step.frame not in hidden], folds)
    return _svg(f"{_left(drawn)} {_TOP} {WIDTH} {HEIGHT}", [*_lifelines(drawn), *_arrows(drawn)])


def _left(drawn: Ladder) -> float:
    """Where the picture begins: it has the two lifelines in its middle, or the one at a fifth."""
    places = [line.x for line in drawn.lifelines]
    return places[0] - WIDTH / 5 if drawn.to_itself else sum(places) / 2 - WIDTH / 2


def _lifelines(drawn: Ladder) -> list[str]:
    return [
        f'<path class="line {line.letter.lower()}" d="M{line.x} {_TOP}V{drawn.height}"/>' for line in drawn.lifelines
    ]


def _arrows(drawn: Ladder) -> list[str]:
    shapes = []
    for arrow in drawn.arrows:
        kind = "arrow" + " lost" * arrow.lost + " finding" * arrow.finding + " syn" * arrow.flags.startswith("SYN")
        whole = "" if arrow.lost else f'<path d="{arrow.into}"/><path class="head" d="{arrow.head}"/>'
        shapes.append(f'<g class="{kind}"><path d="{arrow.out}"/>{whole}</g>')
    # Where there are two lifelines, words would lie on other arrows.
    if not drawn.to_itself:
        return shapes
    return shapes + [
        f'<text x="{arrow.label_at.x + 14}" y="{arrow.label_at.y + 8}">{escape(arrow.flags)}</text>'
        for arrow in drawn.arrows
    ]


def _walk(attempts: Attempts) -> Markup:
    drawn = walk.ports(attempts.ports, attempts.count, attempts.destination.port, hit=False)
    dots = "".join(
        f'<path class="dots {name}" d="{path}"/>' for name, path in (("even", drawn.even), ("odd", drawn.odd)) if path
    )
    target = f'<path class="target" d="M{walk.LEFT} {drawn.target_y}H{walk.RIGHT}"/>'
    return _svg(f"{walk.LEFT - 14} 0 {walk.RIGHT - walk.LEFT + 28} {walk.BOTTOM + 14}", [dots, target])
