"""How the findings of selfconn-check are shown: a page for people, JSON, and metrics for Prometheus.

What processes call themselves is anybody's text: it passes ``printable`` before a person or Prometheus sees it.
"""

from __future__ import annotations

import json
import math
import os
import textwrap
import time
from typing import TYPE_CHECKING

from analysis import VERSION
from analysis.portwalk import duration
from analysis.text import printable
from analysis.views.json import SCHEMA

from .findings import HORIZONS, Risk, caveat

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from analysis.model import Endpoint
    from analysis.report import Json
    from analysis.views.table import Style

    from ..kernel.sockets import Process
    from .findings import Findings, Held, Measured, Port

_WIDTH = 100
#: Processes of one socket that are named.
_NAMED = 3


# -- for people ------------------------------------------------------------------------------------------------------


def table(findings: Findings, style: Style) -> Iterator[str]:
    """The findings in pieces of text, each ending in a newline."""
    yield from _selves(findings, style)
    if style.quiet:
        return
    for part in (_ports, _soon, _remedies, _unseen):
        if text := "".join(part(findings, style)):
            yield "\n" + text


def _selves(findings: Findings, style: Style) -> Iterator[str]:
    from analysis.views.table import grid  # noqa: PLC0415 - it brings tabulate; so for the others below

    if findings.selves:
        yield style.paint("finding", "Connected to themselves now") + "\n"
        rows = [
            (
                str(one.socket.local),
                one.socket.state.value,
                "\n".join(_wrap(_who(one.processes), 34)),
                printable(one.user),
                _age(one) + (f"\ninode {one.socket.inode}" if style.verbose else ""),
            )
            for one in findings.selves
        ]
        yield grid(rows, ("socket", "state", "process", "user", "age"), ("left",) * 5) + "\n"
        ports = _listed(str(port) for port in sorted({one.socket.local.port for one in findings.selves}))
        yield from _text(
            f"No server can have port {ports} meanwhile: bind() fails with EADDRINUSE, SO_REUSEADDR or not. What the "
            "process reads there is what it wrote itself."
        )
    elif not style.quiet:
        yield f"No socket{'' if findings.whole else ' that could be seen'} is connected to itself.\n"
    for one in findings.left if not style.quiet else ():
        yield from _text(
            f"{one.local} was connected to itself and is in TIME-WAIT: for {math.ceil(one.seconds)} s "
            "more a server can have the port only if both set SO_REUSEADDR."
        )


def _age(one: Held) -> str:
    least = None if one.idle is None else duration(one.idle)
    most = None if one.oldest is None else duration(one.oldest)
    if least and most:
        return f"{least} to {most}" if least != most else least
    return f"{least} at least" if least else f"{most} at most" if most else "not known"


def _who(processes: Iterable[Process]) -> str:
    names = [f"{printable(one.name)} ({one.pid})" for one in processes]
    more = [f"{len(names) - _NAMED} more"] if len(names) > _NAMED else []
    return ", ".join([*names[:_NAMED], *more]) or "not seen"


def _ports(findings: Findings, style: Style) -> Iterator[str]:
    from analysis.views.table import grid  # noqa: PLC0415

    if not findings.ports:
        return
    kernel = findings.kernel
    yield style.paint("title", f"Ports, where source ports come from {kernel.low}-{kernel.high}")
    yield f" (Linux {printable(kernel.release)})\n"
    order = list(Risk)
    rows = []
    for one in sorted(findings.ports, key=lambda port: (order.index(port.risk), port.port)):
        who = "\n".join(_listeners(one, verbose=style.verbose)) or "nobody listens"
        why = printable(f"{one.until} ({one.reason})" if one.until else one.reason)
        verdict = style.paint("finding" if one.risk is Risk.AT_RISK else "dim", one.risk.value)
        rows.append((str(one.port), who, verdict, "\n".join(_wrap(why, 50))))
    yield grid(rows, ("port", "who listens", "verdict", "why"), ("right", "left", "left", "left")) + "\n"


def _listeners(port: Port, *, verbose: bool) -> list[str]:
    """Who listens on the port, each process once; *verbose*: each socket, with its address and inode."""
    if verbose:
        text = [f"{one.socket.local} {_who(one.processes)} inode {one.socket.inode}" for one in port.listening]
    else:
        text = list(dict.fromkeys(_who(one.processes) for one in port.listening))
    return [line for one in text for line in _wrap(one, 23)]


def _soon(findings: Findings, style: Style) -> Iterator[str]:
    from analysis.views.table import grid  # noqa: PLC0415

    at_risk = [one for one in findings.ports if one.risk is Risk.AT_RISK]
    if not at_risk:
        return
    alike: dict[tuple[str, ...], list[str]] = {}
    for one in at_risk:
        average, half = (duration(count * findings.every) for count in (one.odds.mean, one.odds.attempts(0.5)))
        chances = [_percent(one.odds.probability(int(time / findings.every))) for time in HORIZONS]
        alike.setdefault((average, half, *chances), []).append(str(one.port))
    every = duration(findings.every)
    yield style.paint("title", f"How soon, with an attempt every {every} while nobody listens") + "\n"
    yield from _text(_pace(findings.measured)) if findings.measured else ()
    rows = [("\n".join(_wrap(_listed(ports), 20)), *cells) for cells, ports in alike.items()]
    headers = ("port", "on average", "half by", *(f"in {duration(time)}" for time in HORIZONS))
    yield grid(rows, headers, ("left",) + ("right",) * (len(headers) - 1)) + "\n"
    if doubt := caveat(findings.kernel):
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


def _remedies(findings: Findings, style: Style) -> Iterator[str]:
    advice = list(_advice(findings))
    if advice:
        yield style.paint("title", "What to do") + "\n"
        for text, *commands in (*advice, _GUARD):
            yield from _text(text, "- ")
            yield from (f"    {command}\n" for command in commands)


def _advice(findings: Findings) -> Iterator[tuple[str, ...]]:
    """What to do on this host: a sentence each, and the commands that do it. They are for the user to run."""
    sudo = "" if os.geteuid() == 0 else "sudo "
    kernel = findings.kernel
    for one in findings.selves:
        end = one.socket.local
        freed = f"Free port {end.port} at once; the process sees ECONNABORTED, and nothing stays in TIME-WAIT:"
        yield freed, f"{sudo}ss -K src '{end}' dst '{end}'"
    if findings.remedy:
        reserved = "with what is reserved already" if kernel.reserved else "in the network namespace of the clients"
        yield f"Reserve the ports at risk, {reserved}:", f"{sudo}sysctl -w {findings.remedy}"
        yield ("The same setting in a file in /etc/sysctl.d/ is there after a restart, too.",)
    if findings.thorough:
        those = "With those that are" if findings.remedy else "Reserve those that are"
        yield f"{those} safe only for now:", f"{sudo}sysctl -w {findings.thorough}"
    if findings.remedy or findings.thorough:
        elsewhere = f"Or move the server to a port outside of {kernel.low}-{kernel.high}, or keep its port bound by a "
        yield (elsewhere + "socket that does not listen. SO_REUSEADDR does not help.",)


_GUARD = (
    "In the client, whatever the port, after connect():",
    "if getsockname(fd) == getpeername(fd):    # connected to itself: nobody is there",
    "    setsockopt(fd, SOL_SOCKET, SO_LINGER, {1, 0}), close(fd)    # a reset leaves no TIME-WAIT",
    "    and go on as after ECONNREFUSED",
)


def _unseen(findings: Findings, style: Style) -> Iterator[str]:
    if findings.missing:
        yield style.paint("title", "Not seen") + "\n"
        for one in findings.missing:
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


def as_json(findings: Findings) -> Iterator[str]:
    """The findings as one JSON object; docs/json.md has its fields."""
    kernel = findings.kernel
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
        "self_connected": [
            {**_held(one), "state": one.socket.state.value, "idle_seconds": one.idle, "oldest_seconds": one.oldest}
            for one in findings.selves
        ],
        "time_wait": [{"endpoint": _endpoint(one.local), "seconds": one.seconds} for one in findings.left],
        "every_seconds": findings.every,
        "measured": findings.measured and findings.measured._asdict(),
        "ports": [_port(one, findings.every) for one in findings.ports],
        "remedy": {"sysctl": findings.remedy, "thorough": findings.thorough},
        "missing": findings.missing,
        "whole": findings.whole,
    }
    yield json.dumps(document, indent=1) + "\n"


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


def _port(one: Port, every: float) -> dict[str, Json]:
    possible = one.risk is Risk.AT_RISK
    return {
        "port": one.port,
        "asked": one.asked,
        "listening": [_held(listener) for listener in one.listening],
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


def prometheus(findings: Findings) -> Iterator[str]:
    """The findings as metrics in the text format, for the textfile collector of node_exporter."""
    at_risk = [(str(one.port), one) for one in findings.ports]
    yield from _metric("sockets", "TCP sockets that are connected to themselves.", [({}, len(findings.selves))])
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
                },
                1,
            )
            for one in findings.selves
        ],
    )
    yield from _metric("time_wait_sockets", "What self-connects left in TIME-WAIT.", [({}, len(findings.left))])
    yield from _metric(
        "port_at_risk",
        "1 if a client that dials the port while nobody listens can be given it as its source port.",
        [({"port": port}, int(one.risk is Risk.AT_RISK)) for port, one in at_risk],
    )
    yield from _metric(
        "port_attempt_probability",
        "The chance that one such attempt connects to itself.",
        [({"port": port}, one.odds.chance) for port, one in at_risk],
    )
    yield from _metric("check_complete", "0 if not all could be seen.", [({}, int(findings.whole))])
    yield from _metric("check_timestamp_seconds", "When this was looked at.", [({}, round(time.time(), 3))])


def _metric(name: str, help_: str, samples: Iterable[tuple[dict[str, str], float]]) -> Iterator[str]:
    yield f"# HELP selfconn_{name} {help_}\n# TYPE selfconn_{name} gauge\n"
    for labels, value in samples:
        text = ",".join(f'{label}="{_label(said)}"' for label, said in labels.items())
        yield f"selfconn_{name}{{{text}}} {value!r}\n" if text else f"selfconn_{name} {value!r}\n"


def _label(text: str) -> str:
    return printable(text).replace("\\", "\\\\").replace('"', '\\"')
