"""The page to look at and to teach with: one HTML file that is complete, and loads nothing.

Without its script it is a list of every step, each with its reasons; with it the steps are walked through one by one.
Whatever comes from a capture or a file name reaches the page through ``printable`` and the template engine's escaping.
This is the only file that imports Jinja2.
"""

from __future__ import annotations

import base64
import functools
import hashlib
import itertools
import json
import shlex
from datetime import UTC, datetime
from pkgutil import get_data

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from .. import VERSION
from ..model import NANOSECONDS, Evidence, Flag, Verdict, spoken
from ..odds import Odds
from ..portwalk import look
from ..records import NamedTuple
from ..report import entries
from ..states import TABLE, State
from ..text import count, printable
from .page import ladder as ladders
from .page import machine, walk
from .page.ladder import ladder
from .page.words import Words, words
from .phrases import (
    TIMELINES,
    Fold,
    Remark,
    agreement,
    before,
    close,
    damage,
    everything_seen,
    facts,
    incomplete,
    kind,
    names,
    nothing,
    refused_earlier,
    relative,
    remark,
    remarks,
    segment_details,
    span,
    timeline,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from ..model import Attempts, CaptureResult, Endpoint, Opening, Segment
    from ..portwalk import Walk
    from ..replay import Replay, Step
    from ..report import Entry, Report
    from ..wireshark import Witness
    from .page.ladder import Ladder

#: After so many octets of the page no opening is shown in full any more, and no walk; so many get a line instead.
_OCTETS, _LINES = 600_000, 500

#: The page's style and its script, in these files of page/.
_STYLES = ("page.css", "modes.css", "print.css")
_SCRIPTS = ("page.js", "modes.js", "predict.js", "side.js", "start.js")

#: How many walks of a capture get a picture.
_WALKS = 3

#: Refused attempts that are listed, of the first and of the last.
_FIRST, _LAST = 12, 6


class Shown(NamedTuple):
    """One step, as the page shows it. ``at`` are the boxes of the state diagram where the sockets are after it."""

    number: int
    letter: str
    sends: bool
    flags: str
    title: str
    event: str
    before: State
    after: State
    reason: str
    section: str
    known: list[tuple[str, str]]
    fields: list[tuple[str, str]]
    wireshark: tuple[str, ...]
    edge: str
    at: str


class Refused(NamedTuple):
    """The refused attempts before an opening: how many, and the first and last of them (number, time, source port)."""

    text: str
    first: list[tuple[str, str, int]]
    last: list[tuple[str, str, int]]
    hidden: str


class Page(NamedTuple):
    """One opening in full."""

    number: int
    only: bool
    capture: str
    verdict: Verdict
    headline: str
    why: str
    before: str
    letters: list[tuple[str, str]]
    to_itself: bool
    ladder: Ladder
    some_lost: bool
    steps: list[Shown]
    walked: dict[str, str]
    visited: frozenset[str]
    notes: list[str]
    agreement: list[str]
    remarks: list[Remark]
    refused: Refused | None


class Walked(NamedTuple):
    """A walk through the ports, with its pictures."""

    destination: str
    text: list[str]
    ports: walk.Ports
    chances: walk.Chances | None
    target: int


class Capture(NamedTuple):
    """One capture: what it held, its openings in full (number, headline, markup) and in a line, and its walks."""

    name: str
    facts: list[str]
    shortcomings: list[str]
    verdicts: list[tuple[str, int]]
    nothing: str
    pages: list[tuple[int, str, Markup]]
    rest: list[tuple[int, Opening]]
    unlisted: int
    walks: list[Markup]


def render(report: Report, *, verbose: bool = False, language: str = "en") -> Iterator[str]:
    """The page in pieces of text: the first few openings of each capture in full, all of them where *verbose*.

    *language* is one of words.LANGUAGES. A report of two captures offers their openings side by side.
    """
    w, environment = words(language), _environment(language)
    template = environment.get_template("page.html")
    captures = list(_captures(report, environment, w, verbose=verbose))
    style, script = ("".join(map(_asset, names)) for names in (_STYLES, _SCRIPTS))
    yield from template.generate(
        title=_title(report, w),
        verdict=report.entries[0].opening.verdict.value if len(report.entries) == 1 else "",
        version=VERSION,
        captures=captures,
        remark=remark(report),
        live=_live(report),
        style=Markup(style),  # noqa: S704 -- our own file
        script=Markup(script),  # noqa: S704 -- our own file
        data=Markup(_data(w)),  # noqa: S704 -- our own words, and no "<" in them
        policy=f"default-src 'none'; style-src {hashed(style)}; script-src {hashed(script)}; "
        "base-uri 'none'; form-action 'none'",
    )


@functools.cache
def _environment(language: str) -> Environment:
    made = Environment(
        loader=FunctionLoader(_asset),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    made.globals.update(kind=kind, ladder=ladders, machine=machine, walk=walk, w=words(language))
    return made


def _data(w: Words) -> str:
    """What the script has to know, as JSON within the page: its words, and the rules that lead somewhere."""
    rules = [
        (state, event, row.to, row.sent, row.section)
        for (state, event), row in TABLE.items()
        if row.sent or row.to is not state
    ]
    told = {"words": w.spoken, "events": w.events, "states": list(State), "rules": rules}
    return json.dumps(told, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def _asset(name: str) -> str:
    """A file of page/; get_data() finds it in selfconn.pyz, too."""
    return (get_data("analysis.views.page", name) or b"").decode()


def hashed(text: str) -> str:
    """Return the source of a style or a script as a policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _title(report: Report, w: Words) -> str:
    if len(report.entries) == 1:
        return _headline(report.entries[0].opening, w)
    if report.entries:
        return str(w.title_many.format(n=f"{len(report.entries):,}"))
    if refused := report.count(Verdict.REFUSED):
        return str(w.title_refused_one if refused == 1 else w.title_refused.format(n=f"{refused:,}"))
    return str(w.title_none if everything_seen(report) else w.title_unsure)


def _headline(opening: Opening, w: Words) -> str:
    if opening.evidence is Evidence.STANDING:
        return str(w.standing.format(source=opening.source, frame=opening.first_frame))
    if error := opening.refused_by:
        ends = {"source": opening.source, "destination": opening.destination}
        return str(w.icmp_refused.format(sender=error.address, **ends))
    return w.headlines[opening.verdict].format(opening.source, opening.destination)


def _why(opening: Opening, w: Words) -> str:
    return str(w.standing_why if opening.evidence is Evidence.STANDING else w.whys[opening.verdict])


# -- captures ------------------------------------------------------------------------------------------------------


class _Room:
    """How much room the page has left: it stays small enough to be mailed, no matter how large the captures are."""

    def __init__(self, *, verbose: bool) -> None:
        self.verbose = verbose
        self.octets, self.lines = _OCTETS, _LINES

    def take(self, markup: str) -> Markup:
        """Note that so much is on the page."""
        self.octets -= len(markup)
        return Markup(markup)  # noqa: S704 -- a template of ours made it

    def for_another(self, shown: int) -> bool:
        """Whether there is room for one opening more in full, *shown* being so already of the same capture."""
        return self.verbose or (shown < TIMELINES and self.octets > 0)


def _captures(report: Report, environment: Environment, w: Words, *, verbose: bool) -> Iterator[Capture]:
    article, figures = environment.get_template("opening.html"), environment.get_template("walk.html")
    room = _Room(verbose=verbose)
    numbers = itertools.count(1)
    for place, result in enumerate(report.captures):
        pages: list[tuple[int, str, Markup]] = []
        rest: list[tuple[int, Opening]] = []
        for entry, number in zip(entries(place, result), numbers, strict=False):
            if room.for_another(len(pages)):
                markup = room.take(article.render(page=_page(number, entry, report, w)))
                pages.append((number, _headline(entry.opening, w), markup))
            else:
                rest.append((number, entry.opening))
        listed, room.lines = rest[: room.lines], max(0, room.lines - len(rest))
        prepared = report.captures.walks(place)
        told = {one.destination: one for one in (prepared if isinstance(prepared, list) else look(result))}
        tried = [one for one in result.attempts if len(one.ports) > 2][:_WALKS] if room.octets > 0 else []
        verdicts = [(verdict.value, times) for verdict, times in result.verdicts.items() if times]
        yield Capture(
            result.name,
            list(facts(result)),
            [text for text in (damage(result), incomplete(result) if verdicts else "") if text],
            verdicts,
            "" if verdicts else nothing(result),
            pages,
            listed,
            len(rest) - len(listed),
            [room.take(figures.render(it=_walked(one, told.get(one.destination), result, report))) for one in tried],
        )


# -- an opening ----------------------------------------------------------------------------------------------------


def _page(number: int, entry: Entry, report: Report, w: Words) -> Page:
    replayed, notes, duration = entry.account()
    said = report.said(entry)
    opening = entry.opening
    rows = list(timeline(replayed))
    folds = [row for row in rows if isinstance(row, Fold)]
    hidden = {frame for fold in folds for frame in fold.frames}
    steps = [step for step in replayed.steps if step.frame not in hidden]
    letters = names(replayed)
    walked: dict[str, list[str]] = {}
    for place, step in enumerate(steps, 1):
        if step.changes:
            walked.setdefault(machine.edge_key(step.before, step.after), []).append(str(place))
    tried = report.captures[entry.capture].attempts
    attempts = next((one for one in tried if one.destination == opening.destination), None)
    shown = list(_steps(replayed, steps, said or {}, _confirmed(replayed, number - 1, report), w))
    drawn = ladder(replayed, steps, folds)
    return Page(
        number,
        len(report.entries) == 1,
        report.captures[entry.capture].name if len(report.captures) > 1 else "",
        opening.verdict,
        _headline(opening, w),
        _why(opening, w),
        before(replayed, duration),
        [(letters[endpoint], str(endpoint)) for endpoint in replayed.sockets],
        opening.to_itself,
        drawn,
        any(arrow.lost for arrow in drawn.arrows),
        shown,
        {edge: ", ".join(places) for edge, places in walked.items()},
        frozenset(key for step in shown for key in step.at.split()) | {State.CLOSED},
        [*close(replayed), *notes],
        [] if said is None or report.witness is None else agreement(said, report.witness.version),
        remarks(replayed, said or {}),
        _refused(opening, attempts, w),
    )


def _steps(
    replayed: Replay, steps: list[Step], said: dict[int, Witness], confirmed: set[int], w: Words
) -> Iterator[Shown]:
    segments = {segment.frame: segment for segment in replayed.segments}
    letters = names(replayed)
    at: dict[Endpoint, str] = dict.fromkeys(replayed.sockets, State.CLOSED)
    for number, step in enumerate(steps, 1):
        segment = segments[step.frame]
        if step.changes:
            at[step.endpoint] = machine.END if step.after is State.CLOSED else step.after
        yield Shown(
            number,
            letters[step.endpoint],
            step.sends,
            "" if step.by_itself else spoken(segment.flags & ~Flag.PSH),
            _step_title(step, segment, letters[step.endpoint], w),
            step.event,
            step.before,
            step.after,
            _sentence(step, w),
            step.section,
            list(_known(step, w, confirmed=id(step) in confirmed)),
            list(_fields(segment, replayed, w)),
            (said[step.frame].says or (str(w.nothing_of_note),)) if step.frame in said else (),
            machine.edge_key(step.before, step.after) if step.changes else "",
            " ".join(at.values()),
        )


def _step_title(step: Step, segment: Segment, letter: str, w: Words) -> str:
    if step.by_itself:
        return f"{letter}: {step.event}"
    known = step.section or step.finding
    how = w.leaves if step.sends else w.arrives if known else w.on_its_way
    return str(how.format(flags=spoken(segment.flags & ~Flag.PSH), letter=letter))


def _sentence(step: Step, w: Words) -> str:
    text = f"{step.reason[:1].upper()}{step.reason[1:]}."
    return f"{text} {w.crossed.format(frame=step.after_frame)}" if step.after_frame else text


def _known(step: Step, w: Words, *, confirmed: bool) -> Iterator[tuple[str, str]]:
    """How a step was seen: each as a class of the style, and in words."""
    if step.finding:
        yield "finding", w.finding
    elif not step.sends and not step.section and not step.by_itself:
        yield "unknown", w.unknown
        return
    if step.inferred:
        yield "inferred", w.inferred
    elif not step.finding:
        yield ("captured", w.captured.format(frame=step.frame)) if step.sends else ("shown", w.shown)
    if confirmed:
        yield "kernel", w.kernel


def _fields(segment: Segment, replayed: Replay, w: Words) -> Iterator[tuple[str, str]]:
    """The segment's header, field by field."""
    isn, options = replayed.isn, segment.options
    after = _micro(span(segment.time - replayed.opening.time))
    yield w.field_frame, w.after_first.format(frame=segment.frame, time=after)
    yield w.field_captured, _clock(segment.time)
    yield w.field_ends, w.ends_of.format(source=segment.source, destination=segment.destination)
    yield w.field_flags, spoken(segment.flags)
    yield w.field_seq, _number(relative(segment.seq, isn.get(segment.source)), int(segment.seq))
    if segment.flags & Flag.ACK:
        yield w.field_ack, _number(relative(segment.ack, isn.get(segment.destination)), int(segment.ack))
    yield w.field_window, f"{segment.window:,}"
    if segment.payload:
        yield w.field_data, count(segment.payload, "octet")
    told = []
    if options.mss is not None:
        told.append(f"MSS {options.mss:,}")
    if options.sack_permitted:
        told.append("SACK permitted")
    if options.window_scale is not None:
        told.append(f"window scale {options.window_scale}")
    if options.tsval is not None:
        told.append(f"timestamps {options.tsval}, {options.tsecr}")
    told += [text for text in segment_details(segment, replayed)[1:] if "SACK" in text or text == "Fast Open"]
    if options.damage:
        told.append(options.damage)
    if told:
        yield w.field_options, ", ".join(told)


def _number(near: str, absolute: int) -> str:
    return near if near.startswith(str(absolute)) else f"{near} (absolute {absolute})"


def _micro(text: str) -> str:
    return text.replace(" us", " µs")


def _clock(nanoseconds: int) -> str:
    whole, rest = divmod(nanoseconds, NANOSECONDS)
    try:
        return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%d %H:%M:%S}.{rest:09d} UTC"
    except (OverflowError, ValueError, OSError):
        return f"{whole}.{rest:09d} s"


def _confirmed(replayed: Replay, place: int, report: Report) -> set[int]:
    """Return the steps (their identities) that the kernel reported, too, up to the first on which the two differ.

    *place* is the opening's in the report.
    """
    transitions = (report.kernel or {}).get("transitions") or []
    told = [theirs for theirs in transitions if theirs["opening"] == place]
    confirmed = set()
    for step, theirs in zip(replayed.transitions, told, strict=False):
        # The kernel keeps no socket for TIME-WAIT, and shows the one it had as closed.
        after = {step.after.value, State.CLOSED.value} if step.after is State.TIME_WAIT else {step.after.value}
        if theirs["from"] != step.before.value or theirs["to"] not in after:
            break
        confirmed.add(id(step))
    return confirmed


# -- what came before ----------------------------------------------------------------------------------------------


def _refused(opening: Opening, attempts: Attempts | None, w: Words) -> Refused | None:
    if not opening.refused_before:
        return None
    sentence = w.refused_before_one if opening.refused_before == 1 else w.refused_before
    earlier = refused_earlier(opening)
    since = w.first.format(span=_micro(earlier)) if earlier else ""
    text = str(sentence.format(n=f"{opening.refused_before:,}", first=since))
    known = min(opening.refused_before, len(attempts.ports)) if attempts else 0
    some = list(range(known)) if known <= _FIRST + _LAST else [*range(_FIRST), *range(known - _LAST, known)]
    lines = [
        (f"{place + 1:,}", _micro(span(attempts.times[place])), attempts.ports[place]) for place in some if attempts
    ]
    hidden = opening.refused_before - len(lines)
    first = lines[:_FIRST] if hidden else lines
    return Refused(
        text,
        first,
        lines[len(first) :],
        str(w.more.format(n=f"{hidden:,}")) if hidden else "",
    )


def _walked(attempts: Attempts, told: Walk | None, result: CaptureResult, report: Report) -> Walked:
    """The walk to one destination: *told* is what is known of it, where there was enough of it."""
    hit = any(
        opening.verdict is Verdict.SELF_CONNECT
        and opening.destination == attempts.destination
        and opening.refused_before == attempts.count
        for opening in result.openings
    )
    odds = _odds(attempts.destination, report) or (told.odds if told and told.odds.catch else None)
    took = "" if attempts.took is None else f" in {_micro(span(attempts.took))}"
    refused = f"{count(attempts.count, 'attempt')} refused{took}."
    return Walked(
        str(attempts.destination),
        told.sentences() if told else [refused],
        walk.ports(attempts.ports, attempts.count, attempts.destination.port, hit=hit),
        walk.chances(odds, attempts.count + hit) if odds else None,
        attempts.destination.port,
    )


def _odds(target: Endpoint, report: Report) -> Odds | None:
    """Return the odds by the settings of the kernel that the walk ran on, if it could be asked; else None."""
    kernel, live = report.kernel or {}, report.live or {}
    chance, mean = kernel.get("chance"), kernel.get("mean_attempts")
    if not chance or not mean or live.get("target") != {"address": target.address, "port": target.port}:
        return None
    lap = max(1.0, 2 * (1 / chance - mean) + 1)
    return Odds(min(1.0, chance * lap), lap)


# -- a live capture ------------------------------------------------------------------------------------------------


_AGREES: dict[object, str] = {True: "agrees with the rebuilt one", False: "differs from the rebuilt one"}


def _live(report: Report) -> list[tuple[str, str]]:
    """What a live capture adds, as rows of a table."""
    live, kernel = report.live, report.kernel or {}
    if not live:
        return []
    rows: list[tuple[str, Any]] = [
        ("Interface", f"{live['interface']} ({live['namespace']} network namespace)"),
        ("Repro", f"{live['repro']}: {live['outcome']}"),
        ("Attempts refused", f"{live['attempts']:,}"),
        ("The run took", f"{live['seconds']:.3f} s"),
        ("Packets", f"{live['packets']:,} written, {live['dropped']:,} lost"),
        ("It read back", live.get("echo")),
        ("TIME-WAIT", f"{live['time_wait']:.0f} s" if live.get("time_wait") else None),
        ("Kernel", kernel.get("release")),
        ("Ephemeral ports", "-".join(map(str, kernel.get("range", []))) or None),
        ("The kernel's account of the states", _AGREES.get(kernel.get("agrees"))),
    ]
    if command := live.get("command"):
        rows.insert(1, ("Command", f"{shlex.join(command['argv'])}, as {command['user']}"))
    for one in kernel.get("sockets", []):
        holder = f", held by {one['process']} (process {one['pid']})" if one.get("process") else ""
        rows.append(("The kernel's one line for both ends", f"{one['state']}, inode {one['inode']}{holder}"))
    for tried in live.get("server", []):
        when = "while connected to itself" if tried["when"] == "connected" else "afterwards"
        how = " with SO_REUSEADDR" if tried["reuse"] else ""
        rows.append((f"A server's bind(){how}, {when}", tried["error"] or "succeeds"))
    return [(name, str(value)) for name, value in rows if value is not None]
