"""How the findings of selfconn-check are shown: a page for people, JSON, and metrics for Prometheus.

What processes call themselves is anybody's text: it passes ``printable`` before a person or Prometheus sees it.
"""

from __future__ import annotations

import json
import math
import textwrap
import time
from typing import TYPE_CHECKING

from analysis import VERSION
from analysis.states import State
from analysis.text import duration, printable
from analysis.views.json import SCHEMA

from ..kernel.namespaces import NOT_FOUND
from . import remedies
from .findings import HORIZONS, Risk, caveat

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from analysis.model import Endpoint
    from analysis.report import Json
    from analysis.views.table import Style

    from ..kernel.namespaces import Namespace
    from ..kernel.sockets import Process
    from .findings import Findings, Held, Measured, Port, Survey

_WIDTH = 100
#: Processes of one socket that are named, and namespaces of one row.
_NAMED = 3
#: Ports that get a row each; of more, those that are safe for one reason share a row.
_SINGLY = 30
#: Other sockets of a port that are listed for programs.
_MOST_HOLDERS = 100


# -- for people ------------------------------------------------------------------------------------------------------


def table(survey: Survey, style: Style) -> Iterator[str]:
    """The findings in pieces of text, each ending in a newline."""
    yield from _selves(survey, style)
    if style.quiet:
        return
    for part in (_ports, _holders, _soon, _remedies, _unseen):
        if text := "".join(part(survey, style)):
            yield "\n" + text


def _selves(survey: Survey, style: Style) -> Iterator[str]:
    from analysis.views.table import grid  # noqa: PLC0415 - it brings tabulate; so for the others below

    selves = [(found, one) for found in survey.each for one in found.selves]
    if selves:
        yield style.paint("finding", "Connected to themselves now") + "\n"
        rows = [
            (
                *_where(survey, found, 22),
                str(one.socket.local),
                one.socket.state.value,
                "\n".join(_wrap(_whose(one), 24 if survey.named else 34)),
                printable(one.user),
                _age(one) + (f"\ninode {one.socket.inode}" if style.verbose else ""),
            )
            for found, one in selves
        ]
        headers = (*_where_header(survey), "socket", "state", "process", "user", "age")
        yield grid(rows, headers, ("left",) * len(headers)) + "\n"
        ports = _listed(str(port) for port in sorted({one.socket.local.port for _, one in selves}))
        yield from _text(
            f"No server can have port {ports} meanwhile, unless both sockets set SO_REUSEADDR (or both SO_REUSEPORT): "
            "bind() fails with EADDRINUSE. What the process reads there is what it wrote itself."
        )
    elif not style.quiet:
        where = f" in any of the {len(survey.each):,} network namespaces" if len(survey.each) > 1 else ""
        where = where or (f" in {printable(survey.each[0].name)}" if survey.named else "")
        yield f"No socket{'' if survey.complete else ' that could be seen'} is connected to itself{where}.\n"
    for found in survey.each if not style.quiet else ():
        for left in found.left:
            yield from _text(
                f"{left.local}{_of(survey, found)} was connected to itself and is in TIME-WAIT: for "
                f"{math.ceil(left.seconds)} s more a server can have the port only if both set SO_REUSEADDR."
            )


def _where(survey: Survey, found: Findings, width: int) -> tuple[str, ...]:
    """The cell that names the network namespace, if that has to be said."""
    return ("\n".join(textwrap.wrap(printable(found.name), width)),) if survey.named else ()


def _where_header(survey: Survey) -> tuple[str, ...]:
    return ("namespace",) if survey.named else ()


def _of(survey: Survey, found: Findings) -> str:
    return f" in {printable(found.name)}" if survey.named else ""


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


def _ports(survey: Survey, style: Style) -> Iterator[str]:
    """The ports, namespaces of one range together; what is at risk comes first."""
    from analysis.views.table import grid  # noqa: PLC0415

    ranges: dict[tuple[int, int], list[Findings]] = {}
    for found in survey.each:
        if found.ports:
            ranges.setdefault((found.kernel.low, found.kernel.high), []).append(found)
    many = sum(len(found.ports) for found in survey.each) > _SINGLY
    blank = ""
    for (low, high), some in ranges.items():
        of = f" in {_some(printable(one.name) for one in some)}" if len(ranges) > 1 else ""
        yield blank + style.paint("title", f"Ports, where source ports come from {low}-{high}")
        yield "".join(_text(f"{of} (Linux {printable(some[0].kernel.release)})".removeprefix(" "), " "))
        headers = ("port", *_where_header(survey), "who listens", "verdict", "why")
        alignment = ("right", *("left",) * (len(headers) - 1))
        yield grid(list(_port_rows(survey, some, style, together=many)), headers, alignment) + "\n"
        blank = "\n"


def _port_rows(survey: Survey, some: list[Findings], style: Style, *, together: bool) -> Iterator[tuple[str, ...]]:
    """A row for each port; *together*: one for all that are safe for the same reason, unless -v asks for each."""
    order = list(Risk)
    ports = [(found, one) for found in some for one in found.ports]
    ports.sort(key=lambda pair: (order.index(pair[1].risk), pair[1].port))
    alike: dict[tuple[object, ...], list[tuple[Findings, Port]]] = {}
    for at, (found, one) in enumerate(ports):
        single = one.risk is Risk.AT_RISK or one.asked or not together or style.verbose
        alike.setdefault((at,) if single else (one.risk, one.reason, one.until), []).append((found, one))
    for group in alike.values():
        found, one = group[0]
        why = printable(f"{one.until} ({one.reason})" if one.until else one.reason)
        verdict = style.paint("finding" if one.risk is Risk.AT_RISK else "dim", one.risk.value)
        if len(group) == 1:
            who = "\n".join(_listeners(one, verbose=style.verbose)) or "nobody listens"
            where = _where(survey, found, 22)
            number = str(one.port)
        else:
            names = dict.fromkeys(_who(held.processes) for _, port in group for held in port.listening)
            who = "\n".join(_wrap(_some(names), 23))
            spaces = dict.fromkeys(printable(found.name) for found, _ in group)
            where = ("\n".join(_wrap(_some(spaces), 22)),) if survey.named else ()
            number = "\n".join(_wrap(_listed(dict.fromkeys(str(port.port) for _, port in group)), 12))
        yield number, *where, who, verdict, "\n".join(_wrap(why, 32 if survey.named else 50))


def _some(names: Iterable[str]) -> str:
    """Name some, and count the others."""
    known = list(names)
    more = [f"{len(known) - _NAMED:,} more"] if len(known) > _NAMED else []
    return ", ".join([*known[:_NAMED], *more])


def _listeners(port: Port, *, verbose: bool) -> list[str]:
    """Who listens on the port, each process once; *verbose*: each socket, with its address and inode."""
    if verbose:
        text = [f"{one.socket.local} {_who(one.processes)} inode {one.socket.inode}" for one in port.listening]
    else:
        text = list(dict.fromkeys(_who(one.processes) for one in port.listening))
    return [line for one in text for line in _wrap(one, 23)]


def _holders(survey: Survey, style: Style) -> Iterator[str]:
    """What keeps a server from a port that nobody listens on: connections that have it as their source port."""
    lines = []
    for found in survey.each:
        for port in found.ports:
            if port.listening or not port.others:
                continue
            for one in port.others[:_NAMED]:
                state = one.socket.state
                left = f" for {math.ceil(one.socket.seconds)} s more" if state is State.TIME_WAIT else ""
                who = state.value if state is State.TIME_WAIT else f"{_whose(one)}, {state.value}"
                lines.append(
                    f"Port {port.port}{_of(survey, found)} is the source port of {one.socket.local} > "
                    f"{one.socket.remote} ({who}){left}."
                )
            if len(port.others) > _NAMED:
                lines.append(f"Port {port.port}: {len(port.others) - _NAMED:,} more connections have it.")
    if lines:
        yield style.paint("title", "Who has the port") + "\n"
        for line in lines:
            yield from _text(line, "- ")
        yield from _text(
            "A server's bind() to that address, or to all, fails with EADDRINUSE meanwhile, unless both sockets set "
            "SO_REUSEADDR (or both SO_REUSEPORT); in TIME-WAIT no more than SO_REUSEADDR of both helps."
        )


def _soon(survey: Survey, style: Style) -> Iterator[str]:
    from analysis.views.table import grid  # noqa: PLC0415

    at_risk = [(found, one) for found in survey.each for one in found.ports if one.risk is Risk.AT_RISK]
    if not at_risk:
        return
    alike: dict[tuple[str, ...], list[str]] = {}
    every = at_risk[0][0].every
    for found, one in at_risk:
        average, half = (duration(count * found.every) for count in (one.odds.mean, one.odds.attempts(0.5)))
        chances = [_percent(one.odds.probability(int(time / found.every))) for time in HORIZONS]
        ports = alike.setdefault((average, half, *chances), [])
        if str(one.port) not in ports:
            ports.append(str(one.port))
    yield style.paint("title", f"How soon, with an attempt every {duration(every)} while nobody listens") + "\n"
    measured = survey.each[0].measured
    yield from _text(_pace(measured)) if measured else ()
    rows = [("\n".join(_wrap(_listed(ports), 20)), *cells) for cells, ports in alike.items()]
    headers = ("port", "on average", "half by", *(f"in {duration(time)}" for time in HORIZONS))
    yield grid(rows, headers, ("left",) + ("right",) * (len(headers) - 1)) + "\n"
    if doubt := caveat(survey.each[0].kernel):
        yield from _text(doubt)


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


def _remedies(survey: Survey, style: Style) -> Iterator[str]:
    advice = list(remedies.advice(survey))
    if advice:
        yield style.paint("title", "What to do") + "\n"
        for text, commands in (*advice, _GUARD):
            yield from _text(text, "- ")
            yield from (f"    {command}\n" for command in commands)


_GUARD = remedies.Advice(
    "In the client, whatever the port, after connect():",
    (
        "if getsockname(fd) == getpeername(fd):    # connected to itself: nobody is there",
        "    setsockopt(fd, SOL_SOCKET, SO_LINGER, {1, 0}), close(fd)    # a reset leaves no TIME-WAIT",
        "    and go on as after ECONNREFUSED",
    ),
)


def _unseen(survey: Survey, style: Style) -> Iterator[str]:
    missing = list(survey.missing)
    for found in survey.each:
        missing += [one if not survey.named else f"in {found.name}, {one}" for one in found.missing]
    if style.verbose and survey.everywhere:
        missing.append(NOT_FOUND)
    if missing:
        yield style.paint("title", "Not seen") + "\n"
        for one in missing:
            yield from _text(printable(one), "- ")


def _text(text: str, bullet: str = "") -> Iterator[str]:
    for line in textwrap.wrap(
        text, _WIDTH, initial_indent=bullet, subsequent_indent=" " * len(bullet), break_on_hyphens=False
    ):
        yield line + "\n"


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_on_hyphens=False)


def _listed(texts: Iterable[str]) -> str:
    return ", ".join(texts)


# -- for programs ----------------------------------------------------------------------------------------------------


def as_json(survey: Survey) -> Iterator[str]:
    """The findings as one JSON object; docs/json.md has its fields."""
    first = survey.each[0]
    kernel, each = first.kernel, survey.each
    document = {
        "schema": SCHEMA,
        "version": VERSION,
        "kernel": {
            "release": kernel.release,
            "range": [kernel.low, kernel.high],
            "reserved": sorted(kernel.reserved),
            "ip_local_port_step_width": kernel.step_width,
            "algorithm": kernel.rule.selection.algorithm.value,
            "upstream": ".".join(map(str, kernel.identity.release)),
            "rule": "measured" if kernel.measured else "by release" if kernel.certain else "assumed",
        },
        "namespaces": [
            *(_namespace(found.namespace, found) for found in each if found.namespace),
            *(_namespace(one.namespace, None, one.why) for one in survey.refused),
        ],
        "self_connected": [
            {
                **_held(one),
                "namespace": found.name,
                "state": one.socket.state.value,
                "idle_seconds": one.idle,
                "oldest_seconds": one.oldest,
            }
            for found in each
            for one in found.selves
        ],
        "time_wait": [
            {"endpoint": _endpoint(one.local), "namespace": found.name, "seconds": one.seconds}
            for found in each
            for one in found.left
        ],
        "every_seconds": first.every,
        "measured": first.measured and first.measured._asdict(),
        "ports": [_port(one, found) for found in each for one in found.ports],
        "remedy": {"sysctl": first.remedy, "thorough": first.thorough},
        "missing": [*survey.missing, *(one for found in each for one in found.missing)],
        "whole": survey.complete,
    }
    yield json.dumps(document, indent=1) + "\n"


def _namespace(one: Namespace, found: Findings | None, why: str | None = None) -> dict[str, Json]:
    """A network namespace; *found* is None where it could not be entered, *why* says that then."""
    return {
        "name": one.name,
        "runtime": one.runtime,
        "id": one.id,
        "pod": one.pod,
        "pids": list(one.pids),
        "inode": one.inode,
        "range": [found.kernel.low, found.kernel.high] if found else None,
        "reserved": sorted(found.kernel.reserved) if found else None,
        "entered": found is not None,
        "why": why,
        "remedy": remedies.command(found, found.remedy) if found else None,
    }


def _held(one: Held) -> dict[str, Json]:
    return {
        "endpoint": _endpoint(one.socket.local),
        "inode": one.socket.inode,
        "uid": one.socket.uid,
        "user": one.user,
        "processes": [
            {"pid": process.pid, "name": process.name, "user": process.user, "seconds": process.seconds}
            for process in one.processes
        ],
    }


def _endpoint(endpoint: Endpoint) -> dict[str, Json]:
    return {"address": endpoint.address, "port": endpoint.port}


def _port(one: Port, found: Findings) -> dict[str, Json]:
    possible, every = one.risk is Risk.AT_RISK, found.every
    return {
        "port": one.port,
        "namespace": found.name,
        "asked": one.asked,
        "listening": [_held(listener) for listener in one.listening],
        "held_by": [
            {**_held(other), "peer": _endpoint(other.socket.remote), "state": other.socket.state.value}
            for other in one.others[:_MOST_HOLDERS]
        ],
        "risk": one.risk.value,
        "until": one.until,
        "reason": one.reason,
        "chance": one.odds.chance,
        "mean_attempts": one.odds.mean if possible else None,
        "mean_seconds": one.odds.mean * every if possible else None,
        "within": [
            {"seconds": seconds, "probability": one.odds.probability(int(seconds / every)) if possible else 0.0}
            for seconds in HORIZONS
        ],
    }


def prometheus(survey: Survey) -> Iterator[str]:
    """The findings as metrics in the text format, for the textfile collector of node_exporter."""
    each = survey.each
    ports = [({"port": str(one.port), "namespace": found.name}, one) for found in each for one in found.ports]
    count = sum(len(found.selves) for found in each)
    yield from _metric("sockets", "TCP sockets that are connected to themselves.", [({}, count)])
    yield from _metric(
        "socket_info",
        "A socket that is connected to itself.",
        [
            (
                {
                    "address": one.socket.local.address,
                    "port": str(one.socket.local.port),
                    "process": one.processes[0].name if one.processes else "",
                    "pid": str(one.processes[0].pid) if one.processes else "",
                    "user": one.user,
                    **_container(found),
                },
                1,
            )
            for found in each
            for one in found.selves
        ],
    )
    left = sum(len(found.left) for found in each)
    yield from _metric("time_wait_sockets", "What self-connects left in TIME-WAIT.", [({}, left)])
    yield from _metric(
        "port_at_risk",
        "1 if a client that dials the port while nobody listens can be given it as its source port.",
        [(labels, int(one.risk is Risk.AT_RISK)) for labels, one in ports],
    )
    yield from _metric(
        "port_attempt_probability",
        "The chance that one such attempt connects to itself.",
        [(labels, one.odds.chance) for labels, one in ports],
    )
    yield from _metric("namespaces", "Network namespaces that were looked into.", [({}, len(each))])
    refused = len(survey.refused)
    yield from _metric("namespaces_refused", "Network namespaces that could not be entered.", [({}, refused)])
    yield from _metric("check_complete", "0 if not all could be seen.", [({}, int(survey.complete))])
    yield from _metric("check_timestamp_seconds", "When this was looked at.", [({}, round(time.time(), 3))])


def _container(found: Findings) -> dict[str, str]:
    """The labels that name the network namespace, and the container, by which metrics of others are joined."""
    container = found.namespace.id if found.namespace else None
    return {"namespace": found.name, "container": container or ""}


def _metric(name: str, help_: str, samples: Iterable[tuple[dict[str, str], float]]) -> Iterator[str]:
    yield f"# HELP selfconn_{name} {help_}\n# TYPE selfconn_{name} gauge\n"
    for labels, value in samples:
        text = ",".join(f'{label}="{_label(said)}"' for label, said in labels.items())
        yield f"selfconn_{name}{{{text}}} {value!r}\n" if text else f"selfconn_{name} {value!r}\n"


def _label(text: str) -> str:
    return printable(text).replace("\\", "\\\\").replace('"', '\\"')
