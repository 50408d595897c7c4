"""How people are told the findings of selfconn-check: a page of text, no wider than the terminal.

What matters first: sockets that are connected to themselves, who has the ports that were asked for, the ports at risk.
What is alike is told once. What processes and containers call themselves is anybody's text, and passes ``printable``.
"""

from __future__ import annotations

import math
import textwrap

from analysis.records import NamedTuple
from analysis.states import State
from analysis.text import duration, printable

from ..kernel.namespaces import NOT_FOUND
from . import remedies
from .findings import HORIZONS, Risk, caveat
from .grid import grid

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from analysis.text import Style

    from ..kernel.socket_options import Bind
    from ..kernel.sockets import Process
    from .findings import Findings, Held, Measured, Port, Survey

#: The width where nobody says another.
WIDTH = 100
#: Processes of one socket that are named, and namespaces and processes of one row.
_NAMED = 3
#: Ports that get a row each; of more, those with the same verdict for the same reason share a row, unless -v is given.
_SINGLY = 30
#: Ports of a row that are listed, and commands under one sentence, unless -v is given.
_LISTED, _COMMANDS = 24, 12


class _Page(NamedTuple):
    """What is told, how, and how wide."""

    survey: Survey
    style: Style
    width: int

    def text(self, text: str, bullet: str = "") -> Iterator[str]:
        """Break a sentence into lines."""
        for line in textwrap.wrap(
            text,
            self.width,
            initial_indent=bullet,
            subsequent_indent=" " * len(bullet),
            break_on_hyphens=False,
        ):
            yield line + "\n"

    def title(self, text: str) -> str:
        """Return the line above a part."""
        return "".join(self.style.paint("title", line.rstrip("\n")) + "\n" for line in self.text(text))

    def where(self, found: Findings) -> str:
        """Say which network namespace it is in, if that has to be said."""
        return f" in {printable(found.name)}" if self.survey.named else ""


def table(survey: Survey, style: Style, width: int = WIDTH) -> Iterator[str]:
    """The findings in pieces of text, each ending in a newline."""
    page = _Page(survey, style, width)
    yield from _selves(page)
    if style.quiet:
        return
    for part in (_holders, _ports, _soon, _remedies, _unseen):
        if text := "".join(part(page)):
            yield "\n" + text


# -- sockets ---------------------------------------------------------------------------------------------------------


def _selves(page: _Page) -> Iterator[str]:
    survey = page.survey
    selves = [(found, one) for found in survey.each for one in found.selves]
    if selves:
        yield page.title("Connected to themselves now")
        rows = [
            (
                *([printable(found.name)] if survey.named else []),
                str(one.socket.local),
                one.socket.state.value,
                _whose(one),
                printable(one.user),
                _age(one) + (f" inode {one.socket.inode}" if page.style.verbose else ""),
            )
            for found, one in selves
        ]
        headers = (*(["namespace"] if survey.named else []), "socket", "state", "process", "user", "age")
        yield grid(headers, rows, page.width)
        ports = {one.socket.local.port for _, one in selves}
        every = [(found, port) for found in survey.each for port in found.ports if port.port in ports]
        yield from _outcomes(page, [(found, port) for found, port in every if _met(port)])
        yield from page.text("What these processes read there is what they wrote themselves.")
    elif not page.style.quiet:
        where = f" in any of the {len(survey.each):,} network namespaces" if len(survey.each) > 1 else ""
        where = where or (f" in {printable(survey.each[0].name)}" if survey.named else "")
        seen = "" if survey.complete else " that could be seen"
        yield from page.text(f"No socket{seen} is connected to itself{where}.")
    for found in survey.each if not page.style.quiet else ():
        for left in found.left:
            yield from page.text(
                f"{left.local}{page.where(found)} was connected to itself and is in TIME-WAIT: for "
                f"{math.ceil(left.seconds)} s more a server can have the port only if that socket and its own set "
                "SO_REUSEADDR (or both SO_REUSEPORT)."
            )


def _met(port: Port) -> bool:
    """Whether a socket is connected to itself on it now."""
    return any(one.socket.to_itself and one.socket.state not in (State.TIME_WAIT, State.CLOSED) for one in port.others)


def _age(one: Held) -> str:
    least = None if one.idle is None else duration(one.idle)
    most = None if one.oldest is None else duration(one.oldest)
    if least and most:
        return f"{least} to {most}" if least != most else least
    return f"{least} at least" if least else f"{most} at most" if most else "not known"


def _whose(one: Held) -> str:
    """Who holds a socket; one without an inode has no process any more, and waits for its end."""
    return _who(one.processes) if one.socket.inode else "orphaned: no process has it any more"


def _who(processes: Iterable[Process]) -> str:
    names = [f"{printable(one.name)} ({one.pid})" for one in processes]
    more = [f"{len(names) - _NAMED} more"] if len(names) > _NAMED else []
    return ", ".join([*names[:_NAMED], *more]) or "not seen"


# -- who has a port --------------------------------------------------------------------------------------------------


def _holders(page: _Page) -> Iterator[str]:
    """What keeps a server from a port that was asked for, or that nobody listens on."""
    held = [
        (found, port)
        for found in page.survey.each
        for port in found.ports
        if (port.others or port.listening) and (port.asked or not (port.listening or _met(port)))
    ]
    if not held:
        return
    # What is not plain first: what the table of the ports does not show.
    held.sort(key=lambda one: not one[1].others)
    yield page.title("Who has the port")
    lines = []
    for found, port in held:
        every = [*port.others, *port.listening]
        shown = every if page.style.verbose else every[:_NAMED]
        lines += [f"Port {port.port}{page.where(found)} {_has(one)}." for one in shown]
        if len(every) > len(shown):
            lines.append(f"Port {port.port}{page.where(found)}: {len(every) - len(shown):,} more have it.")
    shown_lines = lines if page.style.verbose else lines[:_LISTED]
    for line in shown_lines:
        yield from page.text(line, "- ")
    if len(lines) > len(shown_lines):
        yield from page.text(f"({len(lines) - len(shown_lines):,} more lines; -v shows them, and --format json.)", "  ")
    yield from _outcomes(page, [(found, port) for found, port in held if not _met(port)])


def _has(one: Held) -> str:
    """The middle of a sentence: how a socket has its port, and whose it is."""
    socket = one.socket
    if socket.state is State.LISTEN:
        return f"is listened on at {socket.local} by {_whose(one)}"
    if socket.state is State.CLOSED:
        return f"is bound at {socket.local} by a socket of {_whose(one)} that does not listen"
    ends = f"{socket.local} > {socket.remote}"
    if socket.state is State.TIME_WAIT:
        return f"is the source port of {ends}, in TIME-WAIT for {math.ceil(socket.seconds)} s more"
    itself = ", connected to itself" if socket.to_itself else ""
    return f"is the source port of {ends} ({_whose(one)}, {socket.state.value}{itself})"


def _outcomes(page: _Page, ports: Sequence[tuple[Findings, Port]]) -> Iterator[str]:
    """Say what a server's bind() gets; ports of which the same is to be said in one sentence."""
    alike: dict[str, dict[int, None]] = {}
    for _, port in ports:
        alike.setdefault(_outcome(port), {})[port.port] = None
    for text, numbers in alike.items():
        which = f"port{'s' if len(numbers) > 1 else ''} {_listed(page, numbers)}"
        yield from page.text(f"A server's bind() to {which} {text}")


def _outcome(port: Port) -> str:
    """What bind() gets to all addresses, or to the one that the sockets have."""
    sockets = [one.socket for one in (*port.listening, *port.others)]
    sizes = {len(one.local.packed) for one in sockets}
    of = "all addresses" if len(sizes) > 1 else f"all IPv{4 if sizes == {4} else 6} addresses"
    places = {one.local.address for one in sockets if any(one.local.packed)}
    if len(places) == 1 and len(sizes) == 1:
        of = f"{places.pop()}, or to {of},"
    users = {one.user for one in (*port.listening, *port.others) if one.socket.inode}
    ways = _ways(port.bind, printable(users.pop()) if len(users) == 1 else "them")
    until = "" if all(one.state is not State.TIME_WAIT for one in sockets) else " until TIME-WAIT is over"
    if not ways:
        return f"(at {of.rstrip(',')}) fails with EADDRINUSE{until}, also with SO_REUSEADDR or SO_REUSEPORT."
    return f"(at {of.rstrip(',')}) fails with EADDRINUSE{until}, unless {ways}."


def _ways(bind: Bind, user: str) -> str:
    """With which options it succeeds: what the other has is known, or has to be said as a condition."""
    address = {True: "it sets SO_REUSEADDR", None: "both sockets set SO_REUSEADDR", False: ""}[bind.reuse_address]
    port = {
        True: f"it sets SO_REUSEPORT and runs as {user}",
        None: "both set SO_REUSEPORT and are of one user",
        False: "",
    }[bind.reuse_port]
    known = " (as the other socket did)" if True in (bind.reuse_address, bind.reuse_port) else ""
    return " or ".join(one for one in (address, port) if one) + known


# -- ports -----------------------------------------------------------------------------------------------------------


def _ports(page: _Page) -> Iterator[str]:
    """The ports, namespaces of one range together; what is at risk comes first."""
    survey = page.survey
    ranges: dict[tuple[int, int], list[Findings]] = {}
    for found in survey.each:
        if found.ports:
            ranges.setdefault((found.kernel.low, found.kernel.high), []).append(found)
    many = sum(len(found.ports) for found in survey.each) > _SINGLY and not page.style.verbose
    blank = ""
    for (low, high), some in ranges.items():
        of = f" in {_some(printable(one.name) for one in some)}" if len(ranges) > 1 else ""
        release = printable(some[0].kernel.release)
        yield blank + page.title(f"Ports, where source ports come from {low}-{high}{of} (Linux {release})")
        headers = ("port", *(["namespace"] if survey.named else []), "who listens", "verdict", "why")

        def painted(column: int, cell: str, text: str, at: int = len(headers) - 2) -> str:
            if column != at:
                return text
            return page.style.paint("finding" if cell == Risk.AT_RISK else "dim", text)

        yield grid(headers, list(_port_rows(page, some, together=many)), page.width, right={0}, painted=painted)
        blank = "\n"
    if many:
        yield from page.text("(Ports of one verdict for one reason share a line here; -v has a line for each.)")


def _port_rows(page: _Page, some: list[Findings], *, together: bool) -> Iterator[tuple[str, ...]]:
    """A row for each port, in all namespaces where the same is to be said of it; *together*: for alike ones."""
    order = list(Risk)
    ports = [(found, one) for found in some for one in found.ports]
    ports.sort(key=lambda pair: (order.index(pair[1].risk), not pair[1].asked, pair[1].port))
    alike: dict[tuple[object, ...], list[tuple[Findings, Port]]] = {}
    for found, one in ports:
        key: tuple[object, ...] = (one.risk, one.reason, one.until)
        if one.asked or not together:
            key = (*key, one.port, tuple(_listeners(page, one)))
        alike.setdefault(key, []).append((found, one))
    for group in alike.values():
        one = group[0][1]
        who = dict.fromkeys(line for _, port in group for line in _listeners(page, port))
        spaces = dict.fromkeys(printable(found.name) for found, _ in group)
        yield (
            _listed(page, dict.fromkeys(port.port for _, port in group)),
            *([", ".join(spaces) if page.style.verbose else _some(spaces)] if page.survey.named else []),
            ("\n".join(who) if len(group) == 1 else _some(who)) or "nobody listens",
            one.risk.value,
            printable(f"{one.until} ({one.reason})" if one.until else one.reason),
        )


def _some(names: Iterable[str]) -> str:
    """Name some, and count the others."""
    known = list(names)
    more = [f"{len(known) - _NAMED:,} more"] if len(known) > _NAMED else []
    return ", ".join([*known[:_NAMED], *more])


def _listed(page: _Page, ports: Iterable[int]) -> str:
    """The numbers of ports; of many some, and how many more, unless -v is given."""
    known = sorted(ports)
    shown = known if page.style.verbose else known[:_LISTED]
    more = [f"{len(known) - len(shown):,} more"] if len(known) > len(shown) else []
    return ", ".join([*map(str, shown), *more])


def _listeners(page: _Page, port: Port) -> list[str]:
    """Who listens on the port, each process once; with -v each socket, with its address and inode."""
    if page.style.verbose:
        return [f"{one.socket.local} {_who(one.processes)} inode {one.socket.inode}" for one in port.listening]
    return list(dict.fromkeys(_who(one.processes) for one in port.listening))


# -- how soon --------------------------------------------------------------------------------------------------------


def _soon(page: _Page) -> Iterator[str]:
    at_risk = [(found, one) for found in page.survey.each for one in found.ports if one.risk is Risk.AT_RISK]
    measured, kernel = page.survey.each[0].measured, page.survey.each[0].kernel
    if not at_risk:
        yield from page.text(_pace(measured)) if measured else ()
        yield from page.text(str(caveat(kernel))) if kernel.measured else ()
        return
    alike: dict[tuple[str, ...], dict[int, None]] = {}
    every = at_risk[0][0].every
    for found, one in at_risk:
        average, half = (duration(count * found.every) for count in (one.odds.mean, one.odds.attempts(0.5)))
        chances = [_percent(one.odds.probability(int(time / found.every))) for time in HORIZONS]
        alike.setdefault((average, half, *chances), {})[one.port] = None
    yield page.title(f"How soon, with an attempt every {duration(every)} while nobody listens")
    yield from page.text(_pace(measured)) if measured else ()
    rows = [(_listed(page, ports), *cells) for cells, ports in alike.items()]
    headers = ("port", "on average", "half by", *(f"in {duration(time)}" for time in HORIZONS))
    yield grid(headers, rows, page.width, right=set(range(1, len(headers))))
    if doubt := caveat(kernel):
        yield from page.text(doubt)


def _pace(measured: Measured) -> str:
    if not measured.failed:
        return f"(No attempt to connect failed in {duration(measured.seconds)}: the pace is an assumption.)"
    return (
        f"(Measured: {measured.failed:,} attempts to connect failed in {duration(measured.seconds)}. They may have "
        "gone to several ports; then it takes longer for each of them.)"
    )


def _percent(chance: float) -> str:
    if chance > 0.999:
        return "> 99.9 %"
    return f"{chance:.1%}".replace("%", " %") if chance >= 0.001 else "< 0.1 %"


# -- what to do ------------------------------------------------------------------------------------------------------


def _remedies(page: _Page) -> Iterator[str]:
    advice = list(remedies.advice(page.survey))
    if not advice:
        return
    yield page.title("What to do")
    for text, commands in advice:
        yield from page.text(text, "- ")
        shown = commands if page.style.verbose else commands[:_COMMANDS]
        for command in shown:
            yield "".join(f"{line}\n" for line in _folded(command, page.width))
        if len(commands) > len(shown):
            yield from page.text(
                f"({len(commands) - len(shown):,} more commands; -v shows them, and --format json.)", "  "
            )
    yield from page.text("In the client, whatever the port, after connect() (a reset leaves no TIME-WAIT):", "- ")
    yield _GUARD


_GUARD = """\
    if getsockname(fd) == getpeername(fd):
        setsockopt(fd, SOL_SOCKET, SO_LINGER, {1, 0})
        close(fd)
        and go on as after ECONNREFUSED
"""


def _folded(command: str, width: int) -> Iterator[str]:
    """A command as lines that can be pasted into a shell: what is too long goes on after a backslash.

    A word is broken after a comma, and goes on where the line begins; there is no single quote around what is broken.
    """
    line = "    "
    for word in command.split(" "):
        if len(line) + len(word) + 2 > width and line.strip():
            yield line + "\\"
            line = "      "
        rest = word
        while len(line) + len(rest) + 2 > width and (at := rest.rfind(",", 0, max(0, width - len(line) - 2))) > 0:
            yield f"{line}{rest[: at + 1]}\\"
            line, rest = "", rest[at + 1 :]
        line += rest + " "
    yield line.rstrip()


# -- what is missing -------------------------------------------------------------------------------------------------


def _unseen(page: _Page) -> Iterator[str]:
    survey = page.survey
    missing = list(survey.missing)
    for found in survey.each:
        missing += [one if not survey.named else f"in {found.name}, {one}" for one in found.missing]
    if page.style.verbose and survey.everywhere:
        missing.append(NOT_FOUND)
    if missing:
        yield page.title("Not seen")
        for one in missing:
            yield from page.text(printable(one), "- ")
