"""selfconn-check: the command line."""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack

from analysis.commandline import (
    Failing,
    Parser,
    add_color,
    add_version,
    colored,
    ended_at_once,
    name_of,
    positive,
    say,
    whole,
)
from analysis.errors import CannotCapture, Incomplete, SelfconnError
from analysis.output import put
from analysis.text import Style, count

TYPE_CHECKING = False
if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence
    from typing import TextIO

    from .check.findings import Measured, Survey
    from .kernel.namespaces import Inside, Refused

PROGRAM = "selfconn-check"
#: Columns of a page.
_NARROWEST, _WIDEST = 40, 100

_DESCRIPTION = """\
Look at this host: which TCP sockets are connected to themselves now, and which processes hold them; to which ports
this can happen, how soon, and what to do against it. Nothing is changed, bound or sent here. As root the command looks
into every network namespace of the host, those of containers and units; otherwise into the one in which it runs.
"""

_EPILOG = f"""\
Examples:
  sudo {PROGRAM}                            sockets connected to themselves, and all servers' ports
  {PROGRAM} --port 6379 --port 50000        and ports whose servers are down
  {PROGRAM} --port 50000 --every 0.1        with a client that tries again ten times a second
  {PROGRAM} --port 50000 --measure 10       at the pace at which connect() fails here now
  {PROGRAM} --port 50000 --measure-rule     by the rule that this kernel is seen to have, whatever its number
  {PROGRAM} -q; [ $? -ne 1 ] || systemctl restart proxy     says nothing where nothing is wrong
  {PROGRAM} --format json | jq '.ports[] | select(.risk == "at risk").port'
  {PROGRAM} --format prometheus -o /var/lib/node_exporter/selfconn.prom
  sudo {PROGRAM} --netns web1               in one network namespace: ip-netns(8)'s name, a container's ID, a PID

Verdicts:
  at risk           a client that dials the port while nobody listens gets it as its source port, sooner or later
  safe only until   a client does not get it now, but does after something that programs often do
  safe              a client does not get it from connect() as long as the settings stay
                    (one that calls bind() with the port that it dials meets itself, whatever the port)

Exit status:
  0  no socket is connected to itself
  1  at least one is
  2  wrong usage
  3  this is not Linux, or the report cannot be written
  4  not all could be seen: the kernel lacks a part that tells it, or root could not enter a network namespace;
     of what could be seen nothing is connected to itself
  70 the program failed, which is an error in it: -v, or SELFCONN_TRACEBACK in the environment, shows where
"""


_positive = positive("{} is not a number above 0; give one such as 0.5 or 10")


def parser() -> Parser:
    """Make the parser of the command line; the manual page is made from it as well."""
    made = Parser(
        prog=PROGRAM,
        usage="%(prog)s [OPTIONS]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    add = made.add_argument_group("what to look at").add_argument
    add(
        "--port",
        type=whole(1, 65535, "{} is not a TCP port; give a number from 1 to 65535"),
        action="append",
        metavar="PORT",
        help="a port to judge besides those that somebody listens on; may be repeated",
    )
    add(
        "--netns",
        metavar="WHICH",
        help="the namespace: self, all, a PID, a name or a path; self is this one, all the default as root, a name "
        "one of ip-netns(8), or a container's ID. One that nothing but an open socket keeps is not found",
    )
    pace = made.add_argument_group("how soon").add_mutually_exclusive_group()
    pace.add_argument("--every", type=_positive, metavar="SECONDS", help="from one attempt to the next (default 1)")
    pace.add_argument("--rate", type=_positive, metavar="N", help="the same as attempts a second")
    pace.add_argument(
        "--measure",
        type=_positive,
        metavar="SECONDS",
        help="measure how often connect() fails here; for so long, to any port, and calculate with that pace",
    )
    add(
        "--measure-rule",
        action="store_true",
        help="measure how this kernel chooses source ports; and calculate with that, instead of going by its "
        "release: 1,000 attempts in a network namespace of their own, within a second",
    )
    output = made.add_argument_group("what comes out")
    add = output.add_argument
    add(
        "--format",
        choices=("table", "json", "prometheus"),
        default="table",
        help="(of the result; default %(default)s)",
    )
    add("-o", "--output", metavar="FILE", help="write there instead; it is put in place when it is whole")
    add_color(output, "colours (default %(default)s; NO_COLOR is heeded)")
    add("-q", "--quiet", action="store_true", help="nothing but sockets connected to themselves; in the table")
    add("-v", "--verbose", action="store_true", help="every socket with its address and inode; in the table")
    add("-n", action="store_true", help="accepted: addresses are never turned into names")
    add_version(output, "print the version")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command with these arguments (those of the process, if None); return its exit status."""
    with ended_at_once(), Failing(PROGRAM) as failing:
        options = parser().parsed(argv)
        failing.verbose = options.verbose
        return _run(options)


def _run(options: argparse.Namespace) -> int:
    from .check.findings import measured  # noqa: PLC0415 - --help needs none of it

    try:
        pace = measured(options.measure) if options.measure else None
        survey = _survey(options, pace)
        _write("".join(_rendered(survey, options)), options.output)
    except SelfconnError as error:
        _say(str(error))
        return error.status
    if options.quiet and not survey.complete:
        for missing in (survey.missing, *(one.missing for one in survey.each)):
            for one in missing:
                _say(one)
    return survey.status


def _survey(options: argparse.Namespace, pace: Measured | None) -> Survey:
    """Look at what is asked for; privilege is given up before anything is interpreted."""
    from analysis import privilege  # noqa: PLC0415 - --help needs none of it

    from .check.findings import Seen, Survey, look, to_ask  # noqa: PLC0415
    from .kernel import bound_sockets, namespaces, port_choice, socket_options, sockets  # noqa: PLC0415

    # Only root sees which processes hold the sockets of other users, and enters network namespaces.
    held: dict[int, str] = {}
    descriptors: dict[int, str] = {}
    owners = sockets.owners(None, held, descriptors)
    ports = options.port or ()
    everything = namespaces.may_enter_all()
    which = options.netns or ("all" if everything else "self")
    try:
        scan = namespaces.Scan()
        if which != "self":
            scan.processes().descriptors(held)
    except FileNotFoundError as error:
        raise CannotCapture(f"this needs Linux with /proc, which cannot be read here: {error.strerror}") from error
    with ExitStack() as opened:
        insides, refused = namespaces.look_inside(scan, namespaces.chosen(scan, which))
        for one in insides:
            opened.callback(one.close)
        looked = [(sockets.table(ports, one), one.namespace.inode) for one in insides]
        tables = bound_sockets.completed(looked, descriptors)
        asked = {inode for one in tables for inode in to_ask(one, ports)}
        set_there = socket_options.options(asked, descriptors)
        rule = None
        if options.measure_rule:
            from .kernel.measured_rule import measured_rule  # noqa: PLC0415

            rule = measured_rule(port_choice.kernel().rule)
        contained = namespaces.in_a_container()
        privilege.give_up_root()
        _check(which, insides, refused)
        every = options.every or 1 / (options.rate or 1.0)
        each = [
            look(ports, every, measured=pace, of=one._replace(rule=rule), seen=Seen(owners, table, set_there))
            for one, table in zip(insides, tables, strict=True)
        ]
    missing = []
    if which == "self" and not options.netns:
        inside = f"what is outside of this container; sudo {name_of(PROGRAM)} on the host looks at that, too"
        outside = f"other network namespaces than this one, as containers have; sudo {name_of(PROGRAM)} looks into all"
        missing.append(inside if contained else outside)
    if which == "all":
        missing += _unseen(refused, scan.unread, contained=contained)
    whole = which != "all" or not (scan.unread or contained)
    return Survey(each, refused, missing, whole, everywhere=which == "all")


def _check(which: str, insides: Sequence[Inside], refused: Sequence[Refused]) -> None:
    """Raise CannotCapture where the one network namespace that was asked for could not be entered."""
    if refused and which not in ("self", "all"):
        [one] = refused
        raise CannotCapture(f"cannot enter the network namespace of {which!r}: {one.why}; {PROGRAM} has to be root")
    if not insides:
        raise CannotCapture(f"the network namespace of {which!r} is gone")


def _unseen(refused: Sequence[Refused], unread: int, *, contained: bool) -> Iterator[str]:
    """Say which network namespaces were not looked into, and what would."""
    from .check.remedies import quoted  # noqa: PLC0415 - --help needs none of it

    for one, why, forbidden in refused:
        of = f" of {one.name}" if one.name != one.path else ""
        # A container chooses where it mounts what: the path is pasted into root's shell.
        would = f": nsenter --net={quoted(one.path)} {name_of(PROGRAM)} --netns self, as root of the host, would"
        yield f"the network namespace{of} ({one.inode}) could not be entered ({why}){would if forbidden else ''}"
    if unread:
        of = count(unread, "process")
        yield f"the network namespaces of {of}, which may not be looked into; root of the host may"
    if contained:
        yield f"what runs outside of this PID namespace: sudo {name_of(PROGRAM)} on the host looks at that, too"


def _say(text: str) -> None:
    say(PROGRAM, text)


def _rendered(survey: Survey, options: argparse.Namespace) -> Iterator[str]:
    if options.format != "table":
        from .check import views  # noqa: PLC0415 - each brings what it needs

        return views.as_json(survey) if options.format == "json" else views.prometheus(survey)
    from .check import page  # noqa: PLC0415

    out = None if options.output else sys.stdout
    style = Style(colored(options.color, out), verbose=options.verbose, quiet=options.quiet)
    return page.table(survey, style, _columns(out))


def _columns(out: TextIO | None) -> int:
    """How wide a page may be: as the terminal, but no wider than is good to read, nor so narrow that it is not."""
    try:
        columns = os.get_terminal_size(out.fileno()).columns if out else _WIDEST
    except (OSError, ValueError):  # no terminal
        columns = _WIDEST
    return max(_NARROWEST, min(_WIDEST, columns or _WIDEST))


def _write(text: str, path: str | None) -> None:
    """Write the report. A file is replaced when the new one is whole: its readers never see half of one."""
    data = text.encode(errors="backslashreplace")
    try:
        if path is None:
            _to_standard_output(data)
        else:
            put(path, data)
    except OSError as error:
        where = "standard output" if path is None else path
        raise (CannotCapture if path else Incomplete)(f"cannot write {where}: {error.strerror}") from error


def _to_standard_output(data: bytes) -> None:
    if sys.stdout is None:
        raise OSError(9, "it is closed; name a file with -o")
    sys.stdout.flush()
    while data:
        data = data[os.write(sys.stdout.fileno(), data) :]


if __name__ == "__main__":
    sys.exit(main())
