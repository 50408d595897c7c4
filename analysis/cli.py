"""selfconn-analyze: the command."""

# ruff: noqa: PLC0415 -- each run imports what it needs: --help no engine
# ruff: noqa: PTH100, PTH110, PTH112, PTH120, PTH121, PTH122 -- pathlib takes longer to import than a small capture to read

from __future__ import annotations

import os
import re
import sys

from . import user
from .commandline import (
    Failing,
    Parser,
    Stop,
    Unfit,
    add_color,
    add_version,
    colored,
    ending_by_pipe,
    name_of,
    say,
    whole,
)
from .errors import SelfconnError, UsageError
from .formats.remote import shown
from .model import MOST, Endpoint, Verdict
from .text import printable
from .views import ENDINGS, FORMATS, LANGUAGES, ROWS

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence
    from typing import TypeVar

    from .expected import Count, Path
    from .inputs import Input
    from .run import Wanted

    T = TypeVar("T")

PROGRAM = "selfconn-analyze"

_VERDICTS = [verdict.value for verdict in Verdict]

_EPILOG = f"""\
examples:
  {PROGRAM} night.pcap                       counts, then each unusual opening step by step
  {PROGRAM} --only self-connect captures/    of a folder, these alone
  {PROGRAM} --expect self-connect a.pcap     exit 0 if there is one, 1 if there is none
  {PROGRAM} --port 51966 --expect 'self-connect>=1' --expect-states 'ESTABLISHED>FIN-WAIT-1>CLOSING' a.pcap
                                                    so many, at this port, and one that went this way
  {PROGRAM} --all --port 6379 lo.pcapng      every opening to or from port 6379, the ordinary ones too
  {PROGRAM} --format json lo.pcapng          for programs; jsonl has a line an opening
  {PROGRAM} -o openings.csv captures/        a row for every opening, for a spreadsheet
  {PROGRAM} --rotated ring/                  the files that tcpdump -G or dumpcap -b made: one capture
  zcat huge.pcap.gz | {PROGRAM} -            standard input (compressed files are read as they are, too)
  tcpdump -U --immediate-mode -i lo -w - | {PROGRAM} --format jsonl -
                                                    a line for each opening as soon as it is decided, and at its end
  {PROGRAM} --follow lo.pcap                 a file that grows: until Ctrl-C, then the report

verdicts:
  self-connect         both ends equal, and the socket acknowledges what it sent itself
  self-syn             both ends equal, never acknowledged (LAND-like, or cut off)
  simultaneous-open    crossed SYNs, a SYN-ACK from each end
  one-sided-crossing   crossed SYNs, a SYN-ACK from one end only
  split-handshake      one-sided, with a bare ACK from the responder before its SYN
  crossed-unanswered   crossed SYNs, no SYN-ACK
  three-way            SYN, SYN-ACK, ACK that fit each other
  half-open            SYN, SYN-ACK, but no ACK that fits
  refused              SYN, RST from the other end or an ICMP error, no SYN-ACK
  aborted              SYN, RST from the end that sent it
  unanswered           SYN, nothing from the other end
  odd                  SYN answered by something else

exit status:
  0  all captures were read to their end; with --expect and --expect-states: all of it holds (a message says what was
     not seen)
  1  --expect or --expect-states was given, and does not hold
  2  the command line asks for something that is not possible
  3  something is not a capture, or cannot be read (the other captures are analysed)
  4  a capture is not complete (damaged, cut, packets lost, or frames that could not be looked into), or the output
     could not be written; what was read is shown. With --expect, --expect-states: what was not seen decides it
  70 the program failed, which is an error in it, or it ran out of memory: -v, or SELFCONN_TRACEBACK in the
     environment, shows where
  128 + N after signal N (INT, TERM, HUP): what was read until then is analysed and printed first
"""


_CLUSTER = """\
have a Dask cluster read the captures; ADDRESS is that of its scheduler, tls://HOST:8786, which can run any code on this
machine (tcp://HOST:8786: anybody on the network between can do so, too; local: processes of this machine, as with
--jobs); the captures must be URLs, or paths that mean the same on the cluster's machines""".replace("\n", " ")


def _engine() -> str:
    """Whether the engine is compiled. It is imported only for this."""
    from .engine import COMPILED

    return "engine " + (
        "compiled"
        if COMPILED
        else "interpreted: slower, with the same answers; install with a C compiler to compile it"
    )


def _address(text: str) -> bytes:
    try:
        return Endpoint.parse(text, 0).packed
    except (OSError, ValueError):
        reason = f"'{printable(text)}' is not an IP address; names are never resolved"
        raise Unfit(reason) from None


def _count(text: str) -> Count:
    from .expected import Count

    return _read(Count.parse, text)


def _path(text: str) -> Path:
    from .expected import Path

    return _read(Path.parse, text)


def _read(parse: Callable[[str], T], text: str) -> T:
    try:
        return parse(text)
    except ValueError as error:
        raise Unfit(f"'{printable(text)}' {error}") from None


def _cluster(text: str) -> str:
    if text == "local" or re.fullmatch(r"[a-z]+://[^/]+:[0-9]+", text):
        return text
    raise Unfit(f"'{printable(text)}' is neither local nor an address like tls://HOST:8786")


def _add_expected(what: argparse._ArgumentGroup) -> None:
    what.add_argument(
        "--expect",
        metavar="VERDICT",
        action="append",
        type=_count,
        help="exit 1 if no opening has this verdict; with a number, 'self-connect>=2', 'refused=9' or 'odd<1', if "
        "there are not so many; may be repeated: all must hold",
    )
    what.add_argument(
        "--expect-states",
        metavar="PATH",
        action="append",
        type=_path,
        help="exit 1 if no socket of an opening goes this way; 'SYN-SENT>SYN-RECEIVED>ESTABLISHED', for one; may "
        "be repeated; --only, --host and --port say which openings",
    )


def parser() -> Parser:
    """Make the command's parser; the manual page is made from it as well."""
    made = Parser(
        prog=PROGRAM,
        usage="%(prog)s [OPTIONS] CAPTURE...",
        description="Find TCP sockets connected to themselves, and every other kind of opening, in saved captures; "
        "rebuild the TCP states at both ends, segment by segment, by RFC 9293.",
        epilog=_EPILOG,
    )
    made.add_argument(
        "captures",
        metavar="CAPTURE",
        nargs="+",
        help="a pcap or pcapng file, compressed or not; - is standard input; a directory stands for its captures; "
        "a URL (http, s3 ...) is read from there, and one that ends in / or has a * stands for all that fit; a word "
        "that begins with - is an option, and refused if it is also the name of a file: write ./-NAME, or -- before "
        "the files",
    )
    what = made.add_argument_group("what to look at")
    what.add_argument(
        "--all",
        action="store_true",
        help=f"show every opening; not only the unusual ones, and of those the first {MOST:,} of a kind",
    )
    what.add_argument(
        "--only",
        metavar="VERDICT",
        action="append",
        choices=_VERDICTS,
        help="count and show only openings with this verdict; may be repeated",
    )
    what.add_argument("--host", metavar="ADDR", type=_address, help="only openings from or to this IP address")
    what.add_argument(
        "--port",
        type=whole(1, 65535, "{} is not a port: give a number from 1 to 65535"),
        default=0,
        help="only openings from or to this port",
    )
    _add_expected(what)
    what.add_argument(
        "--rotated",
        action="store_true",
        help="the files are one capture that was cut; as tcpdump -G, -C and dumpcap -b do: name them in order; "
        "the files of a directory are sorted by name, with the numbers in it by value",
    )
    what.add_argument(
        "--follow",
        action="store_true",
        help="read on as the capture grows (one file, not compressed), until Ctrl-C; a terminal shows what was found "
        "so far; --format jsonl prints each opening when it is decided, and again when it has ended, as for a pipe",
    )
    what.add_argument(
        "--table",
        metavar="N",
        type=whole(16, 1 << 26, f"{{}} is not a number from 16 to {1 << 26}"),
        help="conversations to remember at one time (default 131072); openings forgotten while undecided are counted",
    )
    what.add_argument(
        "--jobs",
        metavar="N",
        type=whole(1, 1024, "{} is not a number from 1 to 1024"),
        help="captures, or parts of one, to read at the same time (default: one for each processor); members of one "
        "that bgzip compressed are such parts; the report is the same",
    )
    what.add_argument("--cluster", metavar="ADDRESS", type=_cluster, help=_CLUSTER)
    what.add_argument(
        "--witness",
        action="store_true",
        help="ask Wireshark's dissectors (tshark) about the same frames, and show what they say beside it",
    )
    _add_views(made)
    add_version(made, "print the version and which engine is in use", _engine)
    return made


def _add_views(made: Parser) -> None:
    how = made.add_argument_group("how to show it")
    how.add_argument(
        "--format",
        choices=(*FORMATS, *ROWS),
        help=f"(default table) of the report: {', '.join(FORMATS)}; or a row for every opening: csv, "
        "or parquet with -o",
    )
    how.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        help=f"write there instead of to standard output; a name that ends in {', '.join(ENDINGS)} names the format",
    )
    how.add_argument(
        "--language",
        choices=LANGUAGES,
        help="of the page (--format html): its own words in Chinese; what it says of packets stays English",
    )
    how.add_argument(
        "--step", action="store_true", help="walk through the timelines with the keyboard; in the terminal"
    )
    how.add_argument(
        "--annotate",
        metavar="FILE.pcapng",
        help="the capture once more, with comments; for Wireshark, on every packet of a handshake",
    )
    how.add_argument("-q", "--quiet", action="store_true", help="only the counts of the table, and no progress bar")
    how.add_argument(
        "-v", "--verbose", action="store_true", help="every opening in full; and which files were passed over"
    )
    how.add_argument("-n", action="store_true", help="accepted, and without effect: names are never resolved")
    add_color(how, "colours (auto: on a terminal)")


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with these arguments (those of the process, if None); return its exit status."""
    with Failing(PROGRAM) as failing:
        gave_up = _give_up_root()
        options = parser().parsed(argv)
        failing.verbose = options.verbose
        return _run(options, gave_up=gave_up)


def _run(options: argparse.Namespace, *, gave_up: bool) -> int:
    from .inputs import inputs
    from .run import run

    stop = Stop()
    with stop.listening(), ending_by_pipe():
        try:
            captures = list(inputs(options.captures, rotated=options.rotated))
            outcome = run(_wanted(options, captures), captures, stop, _say)
        except SelfconnError as error:
            _say(str(error))
            return error.status
        except KeyboardInterrupt:
            return stop.status
        for shortcoming in outcome.shortcomings:
            _say(shortcoming)
        if outcome.unread and gave_up:
            again = name_of(PROGRAM)
            _say(f"{PROGRAM} gives up root before it opens a file; to read one of root's: sudo cat FILE | {again} -")
        return outcome.status


def _give_up_root() -> bool:
    """Become the user who called sudo, before anything is read; return whether there was one."""
    if user() or os.environ.get("SUDO_UID", "0") == "0":
        return False
    from .privilege import give_up_root

    return give_up_root().uid != 0


def _say(text: str) -> None:
    say(PROGRAM, text)


# -- from options to what is wanted ----------------------------------------------------------------------------------


def _wanted(options: argparse.Namespace, captures: Sequence[Input]) -> Wanted:
    """Return what the options ask for. Raises UsageError where that is not possible, before anything is read."""
    from .inputs import STANDARD_INPUT
    from .run import Wanted

    for count in options.expect or () if options.only else ():
        if count.verdict.value not in options.only:
            raise UsageError(f"--expect {count} says nothing, since --only leaves that verdict out: add it to --only")
    if options.rotated and (options.annotate or options.witness):
        raise UsageError("--annotate and --witness need a capture in one file: join the files with mergecap -a")
    form = _form(options)
    if options.cluster and (form in ROWS or STANDARD_INPUT in options.captures):
        raise UsageError(
            f"--cluster reads no standard input (-) and writes no {' and no '.join(ROWS)}: leave out one of them"
        )
    _check_output(options.output, captures)
    _check_annotated(options, captures)
    _check_follow(options, captures)
    _check_step(options, form)
    if options.witness:
        _check_files("--witness", captures)
    if options.cluster == "local":
        from .parallel import cores

        options.cluster, options.jobs = None, options.jobs or cores()
    return Wanted(
        form=form,
        output=options.output,
        color=colored(options.color, None if options.output else sys.stdout),
        quiet=options.quiet,
        verbose=options.verbose,
        language=options.language or LANGUAGES[0],
        step=options.step,
        annotate=options.annotate,
        witness=options.witness,
        all=options.all,
        only=frozenset(map(Verdict, options.only or ())),
        host=options.host or b"",
        port=options.port,
        expect=tuple(options.expect or ()),
        expect_states=tuple(options.expect_states or ()),
        rotated=options.rotated,
        table=options.table,
        jobs=options.jobs,
        cluster=options.cluster,
        live=options.follow or any(capture.live for capture in captures),
        follow=options.follow,
    )


def _form(options: argparse.Namespace) -> str:
    """Return the format, by --format or the ending of -o; raise UsageError for what does not go with rows."""
    named = ENDINGS.get(os.path.splitext(options.output or "")[1])
    form: str = options.format or named or "table"
    if named == "parquet" != form:
        raise UsageError(f"-o {options.output} names a Parquet file, and --format is {form}: choose another name")
    if form == "parquet" and not options.output:
        raise UsageError("--format parquet cannot be written to standard output: name a file with -o")
    if options.expect_states and (form in ROWS or form == "jsonl"):
        raise UsageError(
            f"--expect-states looks at timelines, which --format {form} does not keep: leave out one of them"
        )
    if form in ROWS and (options.step or options.annotate or options.witness):
        raise UsageError(f"--format {form} writes rows without timelines: leave out --step, --annotate and --witness")
    if options.language and form != "html":
        raise UsageError(f"--language is that of the page, and --format is {form}: leave it out, or add --format html")
    return form


def _check_output(output: str | None, captures: Sequence[Input]) -> None:
    """Raise UsageError early if *output* cannot be written, or is one of the captures."""
    if output is None:
        return
    from .output import whose_rights

    if not os.path.exists(output):
        if not os.access(os.path.dirname(output) or ".", os.W_OK):
            why = f"there is no such directory, or it may not be written to{whose_rights()}"
            raise UsageError(f"cannot write {output}: {why}")
        return
    if os.path.isdir(output) or not os.access(output, os.W_OK):
        raise UsageError(f"cannot write {output}: it is a directory, or may not be written to{whose_rights()}")
    from .inputs import STANDARD_INPUT

    for name, _ in captures:
        if name != STANDARD_INPUT and os.path.exists(name) and os.path.samefile(output, name):
            raise UsageError(f"{output} is one of the captures: name another file to write to")


def _check_files(option: str, captures: Sequence[Input]) -> None:
    """Raise UsageError for a capture that can be read only once: *option* reads it again."""
    for capture in captures:
        if capture.read_once:
            what = _spoken(capture)
            raise UsageError(f"{option} reads the capture a second time: save {what} in a file, and name that file")


def _spoken(capture: Input) -> str:
    from .inputs import STANDARD_INPUT

    return "standard input" if capture.name == STANDARD_INPUT else shown(capture.name)


def _check_annotated(options: argparse.Namespace, captures: Sequence[Input]) -> None:
    if options.annotate is None:
        return
    _check_files("--annotate", captures)
    if len(captures) != 1:
        raise UsageError(f"--annotate needs one capture, and there are {len(captures)}: name one")
    if options.output and os.path.abspath(options.output) == os.path.abspath(options.annotate):
        raise UsageError("-o and --annotate name the same file: choose another name for one of them")
    _check_output(options.annotate, captures)


#: Options that do something after the reading, or elsewhere: not for a file that is read until a signal comes.
_NOT_FOLLOWING = ("step", "annotate", "witness", "rotated", "cluster")


def _check_follow(options: argparse.Namespace, captures: Sequence[Input]) -> None:
    if not options.follow:
        return
    for name in _NOT_FOLLOWING:
        if getattr(options, name):
            raise UsageError(
                f"--follow reads on until a signal ends it, and --{name} needs all of the capture: leave out --{name}"
            )
    if len(captures) != 1:
        raise UsageError(f"--follow needs one file that grows, and there are {len(captures)} captures: name one")
    if captures[0].read_once:
        raise UsageError(
            f"--follow needs a file, which {_spoken(captures[0])} is not; a pipe is read as it comes without it"
        )
    from .formats.compression import kind_of

    if kind := kind_of(captures[0].name):
        raise UsageError(f"--follow needs a file that is not compressed: {captures[0].name} is compressed with {kind}")


def _check_step(options: argparse.Namespace, form: str) -> None:
    if not options.step:
        return
    if form != "table" or options.output:
        raise UsageError("--step shows the openings in the terminal: leave out --format and -o")
    from .views.step import check

    check()


if __name__ == "__main__":
    sys.exit(main())
