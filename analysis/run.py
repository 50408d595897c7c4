"""One run of selfconn-analyze, from the captures to the report: what it is to do, and what became of it."""

# ruff: noqa: PLC0415 -- each run imports what it needs: --help no engine, json no tabulate, a short run no tqdm

from __future__ import annotations

import os
import sys
from contextlib import closing, contextmanager, suppress

from .errors import CannotCapture, NotACapture
from .model import MOST, REMARKABLE, Verdict
from .records import NamedTuple
from .views import LANGUAGES, ROWS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence
    from typing import TextIO

    from .commandline import Stop
    from .expected import Count, Path, Ways
    from .inputs import Input
    from .model import CaptureResult, Damage
    from .parallel import Found
    from .progress import Progress
    from .reader import Asked, Each
    from .report import Report
    from .views import Prepared
    from .wireshark import Tshark

    #: Says something to the user, apart from the report.
    Say = Callable[[str], None]


class Wanted(NamedTuple):
    """What a run is to do: the options of the command line, settled (see there)."""

    form: str  # one of views.FORMATS or ROWS
    output: str | None = None
    color: bool = False
    quiet: bool = False
    verbose: bool = False
    language: str = LANGUAGES[0]
    step: bool = False
    annotate: str | None = None
    witness: bool = False
    all: bool = False
    only: frozenset[Verdict] = frozenset()
    host: bytes = b""
    port: int = 0
    expect: tuple[Count, ...] = ()
    expect_states: tuple[Path, ...] = ()
    rotated: bool = False
    table: int | None = None
    jobs: int | None = None
    cluster: str | None = None
    live: bool = False  # some of the captures are read as they come
    follow: bool = False
    streamed: bool = False  # each opening is written as its turn comes, and none is held

    @property
    def rows(self) -> bool:
        """Whether a row is written for each opening, and no report."""
        return self.form in ROWS

    @property
    def lines(self) -> bool:
        """Whether a line is written for each opening as it comes, and then the captures."""
        return self.form == "jsonl" and (self.live or self.streamed)

    @property
    def collect(self) -> Collection[Verdict]:
        """The verdicts whose openings are wanted with their segments."""
        if self.all or self.only or self.rows or self.annotate or self.expect_states:
            return frozenset(Verdict)
        return () if self.quiet and self.form == "table" and not self.step else REMARKABLE

    def asked(self, each: Each | None) -> Asked:
        """What that asks of an analysis; *each* takes the rows."""
        from .reader import ALL, TABLE

        return {
            "collect": self.collect,
            "most": ALL if self.all or each else MOST,
            "each": each,
            "only": self.only,
            "table": self.table or TABLE,
            "port": self.port,
            "host": self.host,
        }


class Outcome(NamedTuple):
    """What became of a run.

    ``unread``: something was no capture or could not be read. ``shortcomings``: what was not seen of which capture, a
    sentence each. ``matched``: whether all was as expected, None where nothing was expected, or where what was not seen
    decides it.
    ``signalled``: the exit status after a signal, 0 without.
    """

    unread: bool = False
    shortcomings: tuple[str, ...] = ()
    matched: bool | None = None
    signalled: int = 0

    @property
    def status(self) -> int:
        """The exit status. Where what was expected is there, what else was not seen does not matter."""
        if self.signalled or self.unread:
            return self.signalled or 3
        if self.matched is not None:
            return 0 if self.matched else 1
        return 4 if self.shortcomings else 0


class Refusal(NamedTuple):
    """Something that is no capture, or cannot be read; ``why`` may be empty, where that was said before.

    In a directory what is no capture is ``passed_over``, which is no failure.
    """

    why: str
    passed_over: bool = False


def run(wanted: Wanted, captures: Sequence[Input], stop: Stop, say: Say) -> Outcome:
    """Read the captures, show the report, say what else there is to say. Raises SelfconnError if it cannot.

    A signal (*stop*) ends the reading early; what was read until then is shown.
    """
    from .report import Report
    from .result_spill import ROOM, Shelf

    wanted = wanted._replace(streamed=_streamed(wanted, captures))
    tshark = _tshark(wanted)
    unread = False
    shortcomings: list[str] = []
    whole: CaptureResult | None = None
    ways = _ways(wanted)
    with closing(Shelf(ROOM)) as shelf:
        made = Report(shelf)
        with _at_once(wanted, made) as each, suppress(KeyboardInterrupt):
            for found in (_rotated if wanted.rotated else _separate)(wanted, captures, each, stop):
                if isinstance(found, Refusal):
                    unread |= not found.passed_over
                    _tell(found, wanted, say)
                    continue
                result, walks = found
                if wanted.annotate:
                    whole = result
                if ways:
                    ways.look(result)
                made.add(_shown(result, wanted), walks)  # what was added before a signal comes is kept
                shortcomings += _shortcomings(result)
        if tshark:
            with suppress(KeyboardInterrupt):
                unread |= not _question(tshark, made, say)
        if shelf:
            _show(made, wanted, stop)
    if whole and not stop:
        _annotate(whole, wanted, say)
    if stop:
        return Outcome(signalled=stop.status)
    shortcomings += ways.missed if ways else ()
    return Outcome(unread, tuple(shortcomings), _as_expected(wanted, made, ways, complete=not shortcomings))


def _tshark(wanted: Wanted) -> Tshark | None:
    if not wanted.witness:
        return None
    from .wireshark import Tshark

    return Tshark()


def _ways(wanted: Wanted) -> Ways | None:
    if not wanted.expect_states:
        return None
    from .expected import Ways

    return Ways(wanted.expect_states)


def _as_expected(wanted: Wanted, made: Report, ways: Ways | None, *, complete: bool) -> bool | None:
    """Whether everything expected holds; None where nothing is, or what was not seen decides it."""
    if not (wanted.expect or ways):
        return None
    from .expected import together

    counts = [count.holds(made.count(count.verdict), complete=complete) for count in wanted.expect]
    return together([*counts, *([ways.holds(complete=complete)] if ways else ())])


def _streamed(wanted: Wanted, captures: Sequence[Input]) -> bool:
    """Whether the lines of all openings are written as the captures are read: where there may be too many to hold.

    By one process: of several captures, none of them large, several processes are quicker.
    """
    if wanted.form != "jsonl" or not wanted.all or wanted.witness or wanted.annotate or wanted.cluster:
        return False
    from .parallel import cores, is_large

    one_process = len(captures) == 1 or wanted.rotated or (wanted.jobs or cores()) == 1
    return one_process or any(is_large([one.name]) for one in captures)


def _tell(refusal: Refusal, wanted: Wanted, say: Say) -> None:
    if refusal.why and (wanted.verbose or not refusal.passed_over):
        say(refusal.why)


def _shortcomings(result: CaptureResult) -> Iterator[str]:
    """Say where a capture, or the files that it was cut into, break off, and what else of it was not seen."""
    if result.complete:
        return
    from .views.phrases import unseen

    reasons = [f"{_early(result.damage)}; the part before is analysed"] if result.damage else []
    if others := "; ".join(unseen(result)):
        reasons.append(f"is not complete: {others}")
    if reasons:
        yield f"{result.name} {', and '.join(reasons)}"
    for part in result.parts:
        if part.damage:
            yield f"{part.name} {_early(part.damage)}; what comes after it is a gap"


def _early(damage: Damage) -> str:
    return f"ends early at byte offset {damage.offset}: {damage.reason}"


# -- reading -------------------------------------------------------------------------------------------------------


def _separate(wanted: Wanted, captures: Sequence[Input], each: Each | None, stop: Stop) -> Iterator[Prepared | Refusal]:
    """Read one capture after the other."""
    barren: dict[str | None, None] = dict.fromkeys(one.directory for one in captures if one.directory)
    with _progress(wanted, captures) as progress:
        try:
            found = _read([one.name for one in captures], wanted, each, progress)
            for capture, result in zip(captures, found, strict=False):
                if isinstance(result, NotACapture):
                    if stop:  # too little was read to recognise a capture
                        return
                    yield _refusal(result, capture)
                    continue
                barren.pop(capture.directory, None)
                yield result
                if stop:
                    return
        except CannotCapture as error:  # what reads is gone
            yield Refusal(str(error))
            return
        for directory in barren:
            yield Refusal(f"no capture in {directory}")


def _read(names: Sequence[str], wanted: Wanted, each: Each | None, progress: Progress | None) -> Iterator[Found]:
    """Have the captures read as the options say (here, by processes, by a cluster), and prepared for the view."""
    from .parallel import analyze_many, analyze_parts, finished, fitting, in_order
    from .views import preparing

    asked, finish = wanted.asked(each), preparing(wanted.form, **manner(wanted))
    if wanted.follow:
        from .streaming import follow

        return iter([follow(names[0], asked, progress, finish)])
    if wanted.cluster:
        from .cluster import Cluster

        return in_order(Cluster(wanted.cluster, asked, len(names), finish), names, progress)
    jobs = wanted.jobs or fitting(names)
    if len(names) == 1 and not each and (one := analyze_parts(names, jobs, progress=progress, **asked)):
        return iter([finished(one, finish)])
    return analyze_many(names, jobs, progress, finish, **asked)


def _rotated(wanted: Wanted, captures: Sequence[Input], each: Each | None, stop: Stop) -> Iterator[Prepared | Refusal]:
    """Read all captures as one."""
    from .parallel import finished
    from .views import preparing

    given = {one.name: one for one in captures}
    refusals: list[Refusal] = []

    def refuse(error: NotACapture, name: str) -> None:
        if not stop:
            refusals.append(_refusal(error, given[name]))

    with _progress(wanted, captures) as progress:
        result = why = None
        try:
            result = _read_as_one([one.name for one in captures], wanted, each, progress, refuse)
        except NotACapture as error:
            why = error
        yield from refusals
        if result:
            yield finished(result, preparing(wanted.form, **manner(wanted)))
        elif stop or not all(one.directory for one in captures):
            yield Refusal("" if stop or refusals else str(why))
        else:
            for directory in dict.fromkeys(one.directory for one in captures):
                yield Refusal(f"no capture in {directory}")


def _read_as_one(
    names: Sequence[str],
    wanted: Wanted,
    each: Each | None,
    progress: Progress | None,
    refuse: Callable[[NotACapture, str], None],
) -> CaptureResult:
    from .parallel import analyze_parts, cores
    from .reader import analyze_set

    asked = wanted.asked(each)
    if wanted.cluster:
        from .cluster import Cluster

        with closing(Cluster(wanted.cluster, asked, len(names))) as cluster:
            return cluster.rotated(names, refuse, progress)
    jobs = wanted.jobs or cores()
    parts = names[1:] and not each  # rows have one writer
    found = analyze_parts(names, jobs, progress=progress, refused=refuse, **asked) if parts else None
    return found or analyze_set(names, **asked, progress=progress, refused=refuse, jobs=jobs)


def _refusal(error: NotACapture, capture: Input) -> Refusal:
    """Of a file that is no capture or cannot be read; in a directory what can be read is passed over."""
    return Refusal(str(error), passed_over=capture.directory is not None and os.access(capture.name, os.R_OK))


@contextmanager
def _progress(wanted: Wanted, captures: Sequence[Input]) -> Iterator[Progress | None]:
    """Yield a progress bar, if standard error is a terminal."""
    rows = (wanted.lines or wanted.rows) and not wanted.output  # on a terminal the rows show the progress
    if wanted.quiet or not sys.stderr or not sys.stderr.isatty() or (rows and sys.stdout and sys.stdout.isatty()):
        yield None
        return
    from .progress import Progress

    with closing(Progress([one.name for one in captures], live=wanted.live)) as progress:
        yield progress


# -- showing -------------------------------------------------------------------------------------------------------


def manner(wanted: Wanted) -> dict[str, bool]:
    """What the views take besides a report and a format: how it is to look."""
    return {"color": wanted.form == "table" and wanted.color, "verbose": wanted.verbose, "quiet": wanted.quiet}


@contextmanager
def _at_once(wanted: Wanted, report: Report) -> Iterator[Each | None]:
    """What writes a row for each opening as it ends, or a line, where that is asked for."""
    if not (wanted.rows or wanted.lines):
        yield None
        return
    if wanted.lines or wanted.form == "csv":
        from .output import streaming

        with streaming(wanted.output) as stream:
            yield from _written(stream, wanted, report)
        return
    from .output import writing
    from .views.parquet import Rows

    assert wanted.output  # noqa: S101 - for the type checker
    with writing(wanted.output), Rows(wanted.output) as rows:
        yield rows.add


def _written(stream: TextIO, wanted: Wanted, report: Report) -> Iterator[Each]:
    """What writes to *stream*; it is over when the next one is asked for."""
    if wanted.form == "csv":
        from .views.csv import Rows

        yield Rows(stream, at_once=wanted.live).add
        return
    from .streaming import LinesInOrder, LiveLines

    lines = (LiveLines if wanted.live else LinesInOrder)(stream, report)
    yield lines
    lines.close()


def _shown(result: CaptureResult, wanted: Wanted) -> CaptureResult:
    """A capture as the report shows it: --annotate and --expect-states want more openings than are shown."""
    if not (wanted.annotate or wanted.expect_states) or wanted.all or wanted.only:
        return result
    shown = [opening for opening in result.openings if opening.verdict in REMARKABLE]
    left_out = sum(times for verdict, times in result.verdicts.items() if verdict in REMARKABLE) - len(shown)
    return result._replace(openings=shown, left_out=left_out)


def _show(report: Report, wanted: Wanted, stop: Stop) -> None:
    """Show the report as it was asked for."""
    if wanted.rows or wanted.lines:
        return  # they are written
    if not wanted.step:
        from .output import write
        from .views import rendered

        write(rendered(report, wanted.form, language=wanted.language, **manner(wanted)), wanted.output)
    elif not stop:
        from .views.step import step_through

        step_through(report, color=wanted.color)


def _annotate(result: CaptureResult, wanted: Wanted, say: Say) -> None:
    """Write the capture once more, with comments."""
    from .report import entries
    from .views.annotated import annotate

    output = wanted.annotate
    assert output  # noqa: S101 - for the type checker
    refused = annotate(result.name, result, entries(0, result), output)
    if refused:
        say(f"{refused} packets have no comment in {output}: simple packet blocks can hold none")
    if result.left_out:
        say(f"{result.left_out:,} openings have no comments in {output}, only the first {MOST:,} of a kind: try --all")


# -- the second witness --------------------------------------------------------------------------------------------


def _question(tshark: Tshark, report: Report, say: Say) -> bool:
    """Ask about the frames of all openings in the report; say what is read differently, and what was not asked.

    Returns whether it could read all captures.
    """
    from .wireshark import FRAMES, Evidence

    report.witness = Evidence(tshark.version)
    read = True
    for place, result in enumerate(report.captures):
        segments = [segment for opening in result.openings for segment in opening.segments]
        try:
            answers = tshark.ask(result.name, segments)
        except NotACapture as error:
            read = False
            say(str(error))
            continue
        report.witness.frames.update(((place, frame), witness) for frame, witness in answers.items())
        if len(segments) > FRAMES:
            say(f"{result.name}: Wireshark was asked about the first {FRAMES:,} of {len(segments):,} frames")
    if report.witness.differences:
        say(f"Wireshark reads {report.witness.differences} fields differently: one of us is wrong, see the report")
    return read
