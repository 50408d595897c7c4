"""selfconn-capture: the command line."""

from __future__ import annotations

import math
import os
import sys

from analysis.commandline import Failing, Parser, Unfit, add_color, add_version, ended_at_once, positive, say, whole
from analysis.errors import SelfconnError
from analysis.views import FORMATS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_DESCRIPTION = """\
Make a TCP socket connect to itself, capture it, and show from the packets how it could: segment by segment, with the
state of the socket before and after. Nobody may serve the port; a client that keeps connecting to it is then given,
sooner or later, the very same port as its source.

Without options it dials 127.0.0.1:50000 of this host as fast as it can, tens of thousands of times a second, until a
socket has connected to itself. --private does that in a network of its own. --watch dials nothing: it looks on, and
tells of the sockets of others.
"""

_EPILOG = """\
Examples:
  sudo selfconn-capture                     on this host's loopback: 127.0.0.1:50000
  selfconn-capture --private                no root: in a network namespace of its own
  sudo selfconn-capture --host ::1 --port 50001 -w self.pcapng
  sudo selfconn-capture --repro bind        at once, without walking through the ports
  selfconn-capture --private -- ./loop.sh   your own program instead of a repro
  sudo selfconn-capture --netns web1 -- ./client      in the network of a container
  sudo selfconn-capture --watch             makes none, and reports every self-connect on this host
  selfconn-capture --private --format json | jq .openings
  selfconn-capture --private -w - | tshark -r -

Exit status:
  0  a self-connect was captured and rebuilt
  1  none happened within the limits, or a server answered
  2  wrong usage
  3  cannot capture; the message names the command that would
  4  packets were lost or the file is not whole; what there is, is kept and shown
  70 the program failed, which is an error in it: -v, or SELFCONN_TRACEBACK in the environment, shows where
"""


def parser() -> Parser:
    """Make the parser of the command line."""
    made = Parser(
        prog="selfconn-capture",
        usage="%(prog)s [OPTIONS] [-- COMMAND [ARG...]]",
        description=_DESCRIPTION,
        epilog=_EPILOG,
    )
    add = made.add_argument_group("what connects to itself").add_argument
    add("--host", default="127.0.0.1", metavar="ADDR", help="an address of this machine (default %(default)s)")
    add(
        "--port",
        type=_port,
        metavar="PORT",
        help="a port that nobody serves (default 50000); with COMMAND, the only port that counts (default any)",
    )
    add(
        "--repro",
        choices=("auto", "walk", "bind", "range"),
        default="auto",
        help="how; walk: connect() again and again, as a client does whose server is down; bind: take the port with "
        "bind() first; range: a port range of one, for one socket (Linux 6.3). auto (default) walks wherever that "
        "gets there",
    )
    add("--attempts", type=_count, metavar="N", help="give up after N refused attempts (default: 20 times the mean)")
    add("--timeout", type=_seconds, metavar="SECONDS", help="give up then (default 90; none for COMMAND or --watch)")
    add("--close", choices=("fin", "rst"), default="fin", help="how to close; rst leaves no TIME-WAIT (default fin)")
    add = made.add_argument_group("instead of a repro").add_argument
    add(
        "command",
        nargs="*",
        default=(),
        metavar="COMMAND",
        help="after --: a program and its arguments; run as the user and not as root while its sockets are captured",
    )
    add(
        "--then",
        choices=("stop", "wait", "leave"),
        default="stop",
        help="what to do with COMMAND then; when a socket has connected to itself: stop it (default), wait until it "
        "ends, or leave it running",
    )
    add(
        "--watch",
        action="store_true",
        help="watch this host, and make nothing; for days if need be: print a line of JSON and save a capture for every"
        " socket that connects to itself (-w names the directory of the captures, -c ends the watch after so many;"
        " --format table is a line for people)",
    )
    add(
        "--before",
        type=_count,
        default=10_000,
        metavar="N",
        help="with --watch: N earlier segments in each capture; those with SYN, FIN or RST (default %(default)s)",
    )
    add(
        "--keep",
        type=_count,
        default=1000,
        metavar="N",
        help="with --watch: save no more than N captures; however many sockets connect to themselves (default "
        "%(default)s); the others are reported without a capture",
    )
    add = made.add_argument_group("where").add_argument
    add("-i", "--interface", default="lo", metavar="IF", help="capture on IF; 'any' is all (default %(default)s)")
    add(
        "--private",
        action="store_true",
        help="in a network namespace of its own, without root; with a small ephemeral range",
    )
    add(
        "--netns",
        metavar="WHICH",
        help="in that network namespace: a PID, a name or a path; a name of ip-netns(8), or a container's ID; as root: "
        "recorder, repro and COMMAND; only the network changes, users, files and processes stay the host's. With "
        "--watch also self (this one) and all (as root the default)",
    )
    add("--range", type=_range, metavar="LOW-HIGH", help="--private, and this ephemeral range there")
    output = made.add_argument_group("what comes out")
    add = output.add_argument
    add(
        "-w",
        "--write",
        metavar="FILE",
        help="save the packets there, - is standard output (default selfconn-TIME.pcapng)",
    )
    add("-c", "--count", type=_count, metavar="COUNT", help="stop after COUNT packets")
    add("--format", choices=FORMATS, help="(of the report; default table)")
    add("-o", "--output", metavar="FILE", help="write the report there instead of standard output")
    add_color(output, "colours (default %(default)s; NO_COLOR is heeded)")
    add("-q", "--quiet", action="store_true", help="say nothing on the way, and only counts in the table")
    add("-v", "--verbose", action="store_true", help="every opening in full")
    add("-n", action="store_true", help="accepted: addresses are never turned into names")
    add_version(output, "print the version")
    return made


def main(argv: list[str] | None = None) -> int:
    """Run the command; the exit status."""
    _fill_the_first_three()
    with ended_at_once(), Failing("selfconn-capture") as failing:
        words = sys.argv[1:] if argv is None else argv
        arguments = _arguments(words)
        failing.verbose = arguments["verbose"]
        from .run import session  # noqa: PLC0415 - --help needs none of it
        from .run.run_context import Options  # noqa: PLC0415 - nor of this

        try:
            options = Options(**arguments, argv=tuple(words))
            if options.watch:
                from .run import watch  # noqa: PLC0415

                return watch.run(options)
            return session.run(options)
        except SelfconnError as error:
            say("selfconn-capture", str(error))
            return error.status


def _arguments(words: Sequence[str]) -> dict[str, Any]:
    """Read the command line. What comes after -- is COMMAND's, whatever it looks like."""
    made = parser()
    at = words.index("--") if "--" in words else len(words)
    arguments = vars(made.parsed(words[:at]))
    if arguments["command"]:
        made.error(f"{arguments['command'][0]!r} is no option; a command to run comes after --")
    arguments["command"] = tuple(words[at + 1 :])
    if at + 1 == len(words):
        made.error("there is no command after --")
    del arguments["n"], arguments["version"]
    return arguments


def _fill_the_first_three() -> None:
    """Open /dev/null in place of a closed standard stream: else a file of ours would get its number."""
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or os.fdopen(1, "w", closefd=False)
    sys.stderr = sys.stderr or os.fdopen(2, "w", closefd=False)


_port = whole(1, 65535, "{} is not a TCP port; give a number from 1 to 65535")
_count = whole(1, math.inf, "{} is not a count; give a number from 1 on")
_seconds = positive("{} is not a time; give a number of seconds above 0")


def _range(text: str) -> tuple[int, int]:
    low, dash, high = text.partition("-")
    ports = _port(low), _port(high if dash else low)
    if ports[0] > ports[1]:
        raise Unfit(f"{text!r} is not a range of ports; give the low end first, as in 50000-50007")
    return ports


if __name__ == "__main__":
    sys.exit(main())
