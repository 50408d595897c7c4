"""selfconn-check: the command line."""

from __future__ import annotations

import argparse
import os
import sys
from typing import TYPE_CHECKING, NoReturn

from analysis.errors import CannotCapture, Incomplete, SelfconnError
from analysis.output import put
from analysis.text import printable

from .cli import ends_at_once

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from .check.findings import Findings

PROGRAM = "selfconn-check"

_DESCRIPTION = """\
Look at this host: which TCP sockets are connected to themselves now, and whose they are; which ports that can happen
to, how soon, and what to do about it. Nothing is changed, bound or sent. What counts is the network namespace that the
command runs in.
"""

_EPILOG = f"""\
Examples:
  sudo {PROGRAM}                            sockets connected to themselves, and the ports of all servers
  {PROGRAM} --port 6379 --port 50000        and ports whose servers are down; root sees whose sockets they are
  {PROGRAM} --port 50000 --every 0.1        with a client that tries again ten times a second
  {PROGRAM} --port 50000 --measure 10       at the pace at which connect() fails here now
  {PROGRAM} -q || systemctl restart proxy   says nothing where nothing is wrong
  {PROGRAM} --format json | jq '.ports[] | select(.risk == "at risk").port'
  {PROGRAM} --format prometheus -o /var/lib/node_exporter/selfconn.prom
  sudo nsenter --net --target PID {PROGRAM}     in the network namespace of a container

Verdicts:
  at risk           a client that dials the port while nobody listens is given it as its source, sooner or later
  safe only until   it is not, unless something changes that a client may well do
  safe              it is not, unless the settings change

Exit status:
  0  no socket is connected to itself
  1  at least one is
  2  wrong usage
  3  this is not Linux, or the report cannot be written
  4  not all sockets could be seen; of those that could, none is
"""


class _Version(argparse.Action):
    """--version, which alone has to know it."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> NoReturn:
        from analysis.report import VERSION  # noqa: PLC0415 - and all that a report needs

        sys.stdout.write(f"{PROGRAM} {VERSION} (Python {sys.version.split()[0]})\n")
        parser.exit()


def _formatter(prog: str) -> argparse.HelpFormatter:
    """Help of one width: to ask for the terminal's, argparse would import every compressor that Python has."""
    return argparse.RawDescriptionHelpFormatter(prog, width=100)


def _port(text: str) -> int:
    if text.isascii() and text.isdigit() and 0 < int(text) < 1 << 16:
        return int(text)
    raise argparse.ArgumentTypeError(f"'{printable(text)}' is not a TCP port: 1 to 65535")


def _positive(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 1e-9 <= number <= 1e9:
        raise argparse.ArgumentTypeError(f"'{printable(text)}' is not a number above 0")
    return number


def parser() -> argparse.ArgumentParser:
    """Make the parser of the command line; the manual page is made from it as well."""
    made = argparse.ArgumentParser(
        prog=PROGRAM,
        usage="%(prog)s [OPTIONS]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=_formatter,
        allow_abbrev=False,
    )
    add = made.add_argument_group("what to look at").add_argument
    add(
        "--port",
        type=_port,
        action="append",
        metavar="PORT",
        help="a port to judge besides those that somebody listens on; may be repeated",
    )
    pace = made.add_argument_group("how soon").add_mutually_exclusive_group()
    pace.add_argument("--every", type=_positive, metavar="SECONDS", help="from one attempt to the next (default 1)")
    pace.add_argument("--rate", type=_positive, metavar="N", help="the same as attempts a second")
    pace.add_argument(
        "--measure",
        type=_positive,
        metavar="SECONDS",
        help="count for so long how often connect() fails on this host, whatever is dialled, and reckon with that",
    )
    add = made.add_argument_group("what comes out").add_argument
    add("--format", choices=("table", "json", "prometheus"), default="table", help="(default %(default)s)")
    add("-o", "--output", metavar="FILE", help="write there instead; it is put in place when it is whole")
    add(
        "--color", choices=("auto", "always", "never"), default="auto", help="(default %(default)s; NO_COLOR is heeded)"
    )
    add("-q", "--quiet", action="store_true", help="in the table nothing but sockets connected to themselves")
    add("-v", "--verbose", action="store_true", help="in the table every socket with its address and inode")
    add("-n", action="store_true", help="accepted: addresses are never turned into names")
    add("-V", "--version", nargs=0, action=_Version, help="print the version")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; the exit status."""
    with ends_at_once():
        return _run(parser().parse_args(argv))


def _run(options: argparse.Namespace) -> int:
    from .check import findings as check  # noqa: PLC0415 - --help needs none of it
    from .kernel import privilege, sockets  # noqa: PLC0415 - --help needs none of it

    try:
        measured = check.measured(options.measure) if options.measure else None
        # Only root sees whose the sockets of others are; nothing else here needs it.
        owners = sockets.owners()
        privilege.give_up_root()
        every = options.every or 1 / (options.rate or 1.0)
        findings = check.look(options.port or (), every, measured=measured, owners=owners)
        _write("".join(_rendered(findings, options)), options.output)
    except SelfconnError as error:
        _say(str(error))
        return error.status
    if options.quiet and not findings.whole:
        _say("; ".join(findings.missing))
    return findings.status


def _say(text: str) -> None:
    sys.stderr.write(f"{PROGRAM}: {printable(text)}\n")


def _rendered(findings: Findings, options: argparse.Namespace) -> Iterator[str]:
    from .check import views as check_views  # noqa: PLC0415

    if options.format == "json":
        return check_views.as_json(findings)
    if options.format == "prometheus":
        return check_views.prometheus(findings)
    from analysis.views.table import Style  # noqa: PLC0415

    return check_views.table(findings, Style(_colored(options), verbose=options.verbose, quiet=options.quiet))


def _colored(options: argparse.Namespace) -> bool:
    if options.color == "auto":
        terminal = options.output is None and sys.stdout is not None and sys.stdout.isatty()
        return terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    return bool(options.color == "always")


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
