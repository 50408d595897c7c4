"""selfconn-analyze: the command."""

# ruff: noqa: PLC0415 -- each run imports what it needs: --help no engine, json no tabulate, a short run no tqdm
# ruff: noqa: PTH100, PTH110, PTH112, PTH113, PTH116, PTH120, PTH121, PTH123 -- pathlib takes longer to import than a small capture to read

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypedDict

from .commandline import Formatter, Stop, add_color, add_version, colored, ending_by_pipe, say, whole
from .errors import Incomplete, NotACapture, SelfconnError, UsageError
from .formats.remote import expanded, is_remote
from .model import REMARKABLE, Endpoint, Verdict
from .text import printable
from .views import FORMATS

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Sequence

    from .model import CaptureResult, Damage, Opening
    from .reader import Asked
    from .report import Report
    from .wireshark import Tshark

PROGRAM = "selfconn-analyze"

#: Seconds of reading before a progress bar appears.
PATIENCE = 1.0

#: Openings of each verdict in a capture that come into the report, unless --all asks for every one.
MOST = 1000

_VERDICTS = [verdict.value for verdict in Verdict]

_EPILOG = f"""\
examples:
  {PROGRAM} night.pcap                       counts, then each unusual opening step by step
  {PROGRAM} --only self-connect captures/    nothing but sockets connected to themselves, in a folder
  {PROGRAM} --expect self-connect a.pcap     exit 0 if there is one, 1 if there is none
  {PROGRAM} --all --port 6379 lo.pcapng      every opening to or from port 6379, the ordinary ones too
  {PROGRAM} --format json lo.pcapng          for programs; jsonl has a line an opening
  {PROGRAM} --rotated ring/                  the files that tcpdump -G or dumpcap -b made: one capture
  zcat huge.pcap.gz | {PROGRAM} -            standard input (compressed files are read as they are, too)

verdicts:
  self-connect         both ends equal, and its own SYN-ACK acknowledges its own SYN
  self-syn             both ends equal, never acknowledged (LAND-like, or cut off)
  simultaneous-open    crossed SYNs, a SYN-ACK from each end
  one-sided-crossing   crossed SYNs, a SYN-ACK from one end only
  split-handshake      as above, with a bare ACK from the responder before its SYN
  crossed-unanswered   crossed SYNs, no SYN-ACK
  three-way            SYN, SYN-ACK, ACK that fit each other
  half-open            SYN, SYN-ACK, but no ACK that fits
  refused              SYN, RST from the other end, no SYN-ACK
  aborted              SYN, RST from its own end
  unanswered           SYN, nothing from the other end
  odd                  SYN answered by something else

exit status:
  0  all captures were read to their end
  1  --expect was given, and nothing matched
  2  the command line cannot be
  3  not a capture, or not readable (the others are analysed all the same)
  4  damaged or cut short: the part before is analysed, the byte offset is named
  128 + N after signal N (INT, TERM, HUP): what was read until then is analysed and printed first
"""


def _engine() -> str:
    """Whether the engine is compiled. It is imported only for this."""
    from .engine import COMPILED

    return "engine " + (
        "compiled" if COMPILED else "interpreted: slower, the same answers; a C compiler at installation helps"
    )


def _address(text: str) -> bytes:
    try:
        return Endpoint.parse(text, 0).packed
    except (OSError, ValueError):
        reason = f"'{printable(text)}' is not an IP address; names are never resolved"
        raise argparse.ArgumentTypeError(reason) from None


def parser() -> argparse.ArgumentParser:
    """Make the command's parser; the manual page is made from it as well."""
    made = argparse.ArgumentParser(
        prog=PROGRAM,
        usage="%(prog)s [OPTIONS] CAPTURE...",
        description="Find TCP sockets connected to themselves, and every other kind of opening, in saved captures; "
        "rebuild the TCP states at both ends, segment by segment, by RFC 9293.",
        epilog=_EPILOG,
        formatter_class=Formatter,
        allow_abbrev=False,
    )
    made.add_argument(
        "captures",
        metavar="CAPTURE",
        nargs="+",
        help="a pcap or pcapng file, compressed or not; - is standard input; a directory means the captures in it; a "
        "URL is read from there (http, s3 ...; one that ends in / or has a * means all that fit)",
    )
    what = made.add_argument_group("what to look at")
    what.add_argument(
        "--all",
        action="store_true",
        help=f"show every opening, not only the unusual ones, and of those the first {MOST:,} of a kind",
    )
    what.add_argument(
        "--only",
        metavar="VERDICT",
        action="append",
        choices=_VERDICTS,
        help="count and show nothing but openings with this verdict; may be repeated",
    )
    what.add_argument("--host", metavar="ADDR", type=_address, help="nothing but openings from or to this IP address")
    what.add_argument(
        "--port",
        type=whole(1, 65535, "{} is not a port: a number from 1 to 65535 is"),
        default=0,
        help="nothing but openings from or to this port",
    )
    what.add_argument("--expect", metavar="VERDICT", choices=_VERDICTS, help="exit 1 if no opening has this verdict")
    what.add_argument(
        "--rotated",
        action="store_true",
        help="the files are one capture that was cut, as tcpdump -G, -C and dumpcap -b do: name them in order; "
        "those of a directory are taken by name, numbers by value",
    )
    what.add_argument(
        "--table",
        metavar="N",
        type=whole(16, 1 << 26, f"{{}} is not a number from 16 to {1 << 26}"),
        help="undecided openings to remember at one time (default 131072); what has to be forgotten is counted",
    )
    what.add_argument(
        "--jobs",
        metavar="N",
        type=whole(1, 1024, "{} is not a number from 1 to 1024"),
        help="captures, or parts of a large one, to read at the same time (default: one for each processor); the "
        "report is the same",
    )
    what.add_argument(
        "--cluster",
        metavar="ADDRESS",
        help="have the captures read by a Dask cluster, by its scheduler's address (tcp://HOST:8786) or local; they "
        "have to be URLs, or paths that mean the same on its machines",
    )
    what.add_argument(
        "--witness",
        action="store_true",
        help="ask Wireshark's dissectors (tshark) about the same frames, and show what they say beside it",
    )
    how = made.add_argument_group("how to show it")
    how.add_argument(
        "--format",
        choices=(*FORMATS, "parquet"),
        help=f"table (default), {', '.join(FORMATS[1:])}, or parquet: a row for every opening, with -o",
    )
    how.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help="write there instead of to standard output; a name that ends in .parquet means --format parquet",
    )
    how.add_argument(
        "--step", action="store_true", help="walk through the timelines with the keyboard, in the terminal"
    )
    how.add_argument(
        "--annotate",
        metavar="FILE.pcapng",
        help="write the capture there once more, with a comment on every packet of a handshake that Wireshark shows",
    )
    how.add_argument("-q", "--quiet", action="store_true", help="the table's counts alone, and no progress bar")
    how.add_argument(
        "-v", "--verbose", action="store_true", help="every opening in full, and which files were passed over"
    )
    how.add_argument("-n", action="store_true", help="accepted, and without effect: names are never resolved")
    add_color(how, "auto: on a terminal")
    add_version(made, "print the version and which engine is in use", _engine)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with these arguments (those of the process, if None); return its exit status."""
    options = parser().parse_args(argv)
    stop = Stop()
    with stop.listening(), ending_by_pipe():
        try:
            return _run(options, stop)
        except SelfconnError as error:
            _say(str(error))
            return error.status
        except KeyboardInterrupt:
            return stop.status


def _run(options: argparse.Namespace, stop: Stop) -> int:
    from .report import Report
    from .result_spill import Shelf

    paths = list(_paths(options.captures, options.rotated))
    _check(options, paths)
    tshark = _witness(paths) if options.witness else None
    statuses = {0}
    damages: list[str] = []
    whole: CaptureResult | None = None
    with closing(Shelf()) as shelf:
        made = Report(shelf)
        with _rows(options) as options.each, suppress(KeyboardInterrupt):
            for result in (_rotated if options.rotated else _results)(paths, options, stop, statuses):
                if options.annotate:
                    whole = result
                made.add(_shown(result, options))  # what there is when a signal comes is kept
                damages += _damages(result)
        if tshark:
            with suppress(KeyboardInterrupt):
                _question(tshark, made, statuses)
        if shelf:
            _show(made, options, stop)
    if whole and not stop:
        _annotate(whole, options.annotate)
    if stop:
        return stop.status
    if damages:
        statuses.add(4)
        for damage in damages:
            _say(damage)
    if options.expect and not made.count(Verdict(options.expect)):
        statuses.add(1)
    return next(status for status in (3, 4, 1, 0) if status in statuses)


def _damages(result: CaptureResult) -> Iterator[str]:
    """Say where a capture, or the files that it was cut into, break off."""
    if result.damage:
        yield f"{result.name} {_early(result.damage)}; the part before is analysed"
    for part in result.parts:
        if part.damage:
            yield f"{part.name} {_early(part.damage)}; what comes after it is a gap"


def _early(damage: Damage) -> str:
    return f"ends early at byte offset {damage.offset}: {damage.reason}"


@contextmanager
def _rows(options: argparse.Namespace) -> Iterator[Callable[[str, Opening], None] | None]:
    """What writes a row for each opening, where that is asked for."""
    if options.format != "parquet":
        yield None
        return
    from .views.parquet import Rows

    with _writing(options.output), Rows(options.output) as rows:
        yield rows.add


def _check(options: argparse.Namespace, paths: Sequence[_Path]) -> None:
    """Refuse what cannot be before anything is read."""
    if options.expect and options.only and options.expect not in options.only:
        raise UsageError(f"--expect {options.expect} can never match while --only leaves it out")
    if options.rotated and (options.annotate or options.witness):
        raise UsageError("--annotate and --witness read a capture of one file: join them with mergecap -a for that")
    _check_format(options)
    if options.cluster and (options.format == "parquet" or "-" in options.captures):
        raise UsageError("--cluster reads captures where its machines see them: no - and no parquet")
    _check_output(options.output, paths)
    _check_annotated(options, paths)
    _check_step(options)


def _check_format(options: argparse.Namespace) -> None:
    """Settle the format, and refuse what does not go with a file of rows."""
    if options.output and options.output.endswith(".parquet"):
        if options.format not in (None, "parquet"):
            raise UsageError(f"-o {options.output} is a Parquet file: another --format wants another name")
        options.format = "parquet"
    options.format = options.format or "table"
    if options.format != "parquet":
        return
    if not options.output:
        raise UsageError("--format parquet is no text: name a file with -o")
    if options.step or options.annotate or options.witness:
        raise UsageError("--format parquet keeps rows, no timelines: leave out --step, --annotate and --witness")


def _show(report: Report, options: argparse.Namespace, stop: Stop) -> None:
    """Show the report as it was asked for."""
    if options.each:
        return  # the rows are written
    if not options.step:
        _write(report, options)
    elif not stop:
        from .views.step import walk

        walk(report, color=colored(options.color, sys.stdout))


# -- the captures -------------------------------------------------------------------------------------------------


class _Path(NamedTuple):
    """A file to read, and the directory that it was found in (where what is no capture is passed over)."""

    name: str
    directory: str | None = None


def _paths(given: Sequence[str], rotated: bool) -> Iterator[_Path]:
    """The files to read; in a directory by name, numbers in names of rotated files by value."""
    for name in given:
        if name == "-" or not os.path.isdir(name):
            yield from map(_Path, _meant(name))
            continue
        try:
            with os.scandir(name) as entries:
                files = sorted(
                    (entry.path for entry in entries if entry.is_file() and entry.name[0] != "."),
                    key=_by_number if rotated else None,
                )
        except OSError as error:
            raise NotACapture(f"cannot read {name}: {error.strerror}") from error
        if not files:
            from shlex import quote

            below = quote(f"{name.rstrip('/')}/**/*.pcap*")
            raise NotACapture(f"no capture in {name}: no file lies directly in it; {below} finds those further down")
        yield from (_Path(path, name) for path in files)


def _meant(name: str) -> list[str]:
    """The captures that a name means which is no directory: a URL and a pattern may mean several."""
    if is_remote(name):
        return expanded(name)
    if any(letter in name for letter in "*?[") and not os.path.exists(name):
        from glob import glob

        found = glob(name, recursive=True)  # noqa: PTH207 - as above
        return sorted(path for path in found if not os.path.isdir(path)) or [name]
    return [name]


def _by_number(path: str) -> list[tuple[int, str]]:
    """A key by which capture.pcap, capture.pcap2 and capture.pcap10 come in this order."""
    return [(int(number or 0), text) for text, number in re.findall(r"(\D*)(\d*)", path)]


def _check_output(output: str | None, paths: Sequence[_Path]) -> None:
    """Refuse early what could not be written, or would be written over one of the captures."""
    if output is None:
        return
    if not os.path.exists(output):
        if not os.access(os.path.dirname(output) or ".", os.W_OK):
            raise UsageError(f"cannot write {output}: there is no such directory, or it may not be written to")
        return
    if os.path.isdir(output) or not os.access(output, os.W_OK):
        raise UsageError(f"cannot write {output}: it is a directory, or may not be written to")
    for name, _ in paths:
        if name != "-" and os.path.exists(name) and os.path.samefile(output, name):
            raise UsageError(f"{output} is one of the captures: name another file to write to")


def _read(
    names: Sequence[str], options: argparse.Namespace, progress: _Progress | None
) -> Iterator[CaptureResult | NotACapture]:
    """Have the captures read by whom the options name."""
    from .views import drawing

    finish = drawing(options.format, **_manner(options))
    if options.cluster:
        from .cluster import Cluster
        from .parallel import in_order

        return in_order(Cluster(options.cluster, _asked(options), finish), names, progress)
    from .parallel import analyze_many, fitting

    jobs = 1 if options.each else options.jobs or fitting(names)  # rows have one writer
    if len(names) == 1 and jobs > 1:
        from .parallel_parts import analyze_parts

        if one := analyze_parts(names, jobs, progress=progress, **_asked(options)):
            return iter([one])
    return analyze_many(names, jobs, progress, finish, **_asked(options))


def _results(
    paths: Sequence[_Path], options: argparse.Namespace, stop: Stop, statuses: set[int]
) -> Iterator[CaptureResult]:
    """Read one capture after the other; what is none is said on standard error, and noted in *statuses*."""
    progress = _Progress(paths) if not options.quiet and sys.stderr and sys.stderr.isatty() else None
    barren: dict[str | None, None] = dict.fromkeys(path.directory for path in paths if path.directory)
    results = _read([path.name for path in paths], options, progress)
    for (name, directory), result in zip(paths, results, strict=False):
        if isinstance(result, NotACapture):
            if stop:  # what was read is too little to be anything
                break
            _refuse(result, _Path(name, directory), options, statuses)
            continue
        barren.pop(directory, None)
        yield result
        if stop:
            break
    else:
        for directory in barren:
            _say(f"no capture in {directory}")
            statuses.add(3)
    if progress:
        progress.close()


def _rotated(
    paths: Sequence[_Path], options: argparse.Namespace, stop: Stop, statuses: set[int]
) -> Iterator[CaptureResult]:
    """The same for --rotated: all files are one capture."""
    from .parallel import cores
    from .parallel_parts import analyze_parts
    from .reader import analyze_set

    progress = _Progress(paths) if not options.quiet and sys.stderr and sys.stderr.isatty() else None
    given = {path.name: path for path in paths}

    def refuse(error: NotACapture, name: str) -> None:
        if not stop:
            _refuse(error, given[name], options, statuses)

    try:
        names = [path.name for path in paths]
        if options.cluster:
            yield _rotated_there(names, options, progress, refuse)
            return
        jobs = 1 if options.each else options.jobs or cores()  # rows have one writer
        found = analyze_parts(names, jobs, progress=progress, refused=refuse, **_asked(options)) if names[1:] else None
        yield found or analyze_set(names, **_asked(options), progress=progress, refused=refuse)
    except NotACapture:
        statuses.add(3)
        if not stop and all(path.directory for path in paths):
            for directory in dict.fromkeys(path.directory for path in paths):
                _say(f"no capture in {directory}")
    if progress:
        progress.close()


def _rotated_there(
    names: Sequence[str],
    options: argparse.Namespace,
    progress: _Progress | None,
    refuse: Callable[[NotACapture, str], None],
) -> CaptureResult:
    from .cluster import Cluster

    with closing(Cluster(options.cluster, _asked(options))) as cluster:
        return cluster.rotated(names, refuse, progress)


def _refuse(error: NotACapture, path: _Path, options: argparse.Namespace, statuses: set[int]) -> None:
    """Say that a file is no capture or cannot be read; in a directory what is none is passed over."""
    passed_over = path.directory and os.access(path.name, os.R_OK)
    if not passed_over:
        statuses.add(3)
    if not passed_over or options.verbose:
        _say(str(error))


def _asked(options: argparse.Namespace) -> Asked:
    """What the command line asks of an analysis."""
    from .reader import ALL, TABLE

    return {
        "collect": _collect(options),
        "most": ALL if options.all or options.each else MOST,
        "each": options.each,
        "only": frozenset(map(Verdict, options.only or ())),
        "table": options.table or TABLE,
        "port": options.port,
        "host": options.host or b"",
    }


def _collect(options: argparse.Namespace) -> Collection[Verdict]:
    """The verdicts whose openings are wanted with their segments."""
    if options.all or options.only or options.each or options.annotate:
        return frozenset(Verdict)
    return () if options.quiet and options.format == "table" and not options.step else REMARKABLE


def _shown(result: CaptureResult, options: argparse.Namespace) -> CaptureResult:
    """A capture as the report shows it: where packets are annotated, more openings are wanted than are shown."""
    if not options.annotate or options.all or options.only:
        return result
    shown = [opening for opening in result.openings if opening.verdict in REMARKABLE]
    left_out = sum(times for verdict, times in result.verdicts.items() if verdict in REMARKABLE) - len(shown)
    return replace(result, openings=shown, left_out=left_out)


def _check_files(option: str, paths: Sequence[_Path]) -> None:
    """Refuse what can be read only once, where *option* reads the capture again."""
    for name, _ in paths:
        if name == "-" or is_remote(name) or (os.path.exists(name) and not os.path.isfile(name)):
            what = "standard input" if name == "-" else name
            raise UsageError(f"{option} reads the capture a second time: save {what} in a file, and name that")


# -- the annotated capture -----------------------------------------------------------------------------------------


def _check_annotated(options: argparse.Namespace, paths: Sequence[_Path]) -> None:
    if options.annotate is None:
        return
    _check_files("--annotate", paths)
    if len(paths) != 1:
        raise UsageError(f"--annotate writes one capture once more: name one, not {len(paths)}")
    if options.output and os.path.abspath(options.output) == os.path.abspath(options.annotate):
        raise UsageError("-o and --annotate name the same file")
    _check_output(options.annotate, paths)


def _annotate(result: CaptureResult, output: str) -> None:
    from .report import entries
    from .views.annotated import annotate

    refused = annotate(result.name, result, entries(0, result), output)
    if refused:
        _say(f"{refused} packets have no comment in {output}: they stand in simple packet blocks, which hold none")
    if result.left_out:
        _say(f"{result.left_out:,} openings have no comments in {output}, the first {MOST:,} of a kind have: try --all")


# -- the walk in the terminal --------------------------------------------------------------------------------------


def _check_step(options: argparse.Namespace) -> None:
    if not options.step:
        return
    if options.format != "table" or options.output:
        raise UsageError("--step shows the openings in the terminal: leave out --format and -o")
    from .views.step import check

    check()


# -- the second witness --------------------------------------------------------------------------------------------


def _witness(paths: Sequence[_Path]) -> Tshark:
    """Raise UsageError early where there is none, or where it could not read what we read."""
    _check_files("--witness", paths)
    from .wireshark import Tshark

    return Tshark()


def _question(tshark: Tshark, report: Report, statuses: set[int]) -> None:
    """Ask about the frames of all openings in the report; say what is read differently, and what was not asked."""
    from .wireshark import FRAMES, Evidence

    report.witness = Evidence(tshark.version)
    for place, result in enumerate(report.captures):
        segments = [segment for opening in result.openings for segment in opening.segments]
        try:
            answers = tshark.ask(result.name, segments)
        except NotACapture as error:
            statuses.add(3)
            _say(str(error))
            continue
        report.witness.frames.update(((place, frame), witness) for frame, witness in answers.items())
        if len(segments) > FRAMES:
            _say(f"{result.name}: Wireshark was asked about the first {FRAMES:,} of {len(segments):,} frames")
    if report.witness.differences:
        _say(f"Wireshark reads {report.witness.differences} fields differently, which is an error: see the report")


# -- the report ----------------------------------------------------------------------------------------------------


def _write(report: Report, options: argparse.Namespace) -> None:
    if options.output is not None:
        from .output import opened

        with _writing(options.output), open(opened(options.output), "w", encoding="utf-8", errors=_ESCAPE) as stream:
            _print(_rendered(report, options), stream)
    elif sys.stdout is None:
        raise UsageError("standard output is closed: name a file with -o")
    else:
        if hasattr(sys.stdout, "reconfigure"):
            sys.stdout.reconfigure(errors=_ESCAPE)
        with _writing(_STANDARD_OUTPUT):
            _print(_rendered(report, options), sys.stdout)


#: What the encoding of a stream cannot say is escaped.
_ESCAPE = "backslashreplace"

_STANDARD_OUTPUT = "standard output"


@contextmanager
def _writing(name: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if name == _STANDARD_OUTPUT and isinstance(error, BrokenPipeError):
            raise
        if name == _STANDARD_OUTPUT:  # or Python would try again at exit, and complain in its own words
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise Incomplete(f"cannot write {name}: {error.strerror}") from error


def _rendered(report: Report, options: argparse.Namespace) -> Iterator[str]:
    from .views import rendered

    return rendered(report, options.format, **_manner(options))


class _Manner(TypedDict):
    """What the views take besides a report and a format."""

    color: bool
    verbose: bool
    quiet: bool


def _manner(options: argparse.Namespace) -> _Manner:
    color = options.format == "table" and colored(options.color, None if options.output else sys.stdout)
    return {"color": color, "verbose": options.verbose, "quiet": options.quiet}


def _print(pieces: Iterator[str], stream: IO[str]) -> None:
    for piece in pieces:
        stream.write(piece)
    stream.flush()


def _say(text: str) -> None:
    say(PROGRAM, text)


# -- progress ------------------------------------------------------------------------------------------------------


class _Progress:
    """A bar on standard error with octets, rate and time left, for what takes longer than PATIENCE."""

    def __init__(self, paths: Sequence[_Path]) -> None:
        self.paths = paths
        self.start = time.monotonic()
        self.octets = 0
        self.bar: Any = None  # a tqdm, once there is one

    def __call__(self, octets: int) -> None:
        """Note that so many octets more were read."""
        self.octets += octets
        if self.bar is not None:
            self.bar.update(octets)
        elif time.monotonic() - self.start > PATIENCE:
            self._show()

    def _show(self) -> None:
        from .progress import bar

        sizes = [os.stat(name).st_size for name, _ in self.paths if os.path.isfile(name)]
        self.bar = bar(sum(sizes) if len(sizes) == len(self.paths) else None, unit="B", unit_scale=True)
        self.bar.start_t -= time.monotonic() - self.start
        self.bar.update(self.octets)
        self.bar.refresh()

    def close(self) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.close()


if __name__ == "__main__":
    sys.exit(main())
