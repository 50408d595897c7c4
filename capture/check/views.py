"""How programs are told the findings of selfconn-check: JSON, and metrics for Prometheus. page.py is for people.

What processes and containers call themselves is anybody's text: JSON escapes it, Prometheus gets it ``printable``.
"""

from __future__ import annotations

import json
import time

from analysis import VERSION
from analysis.states import State
from analysis.text import printable
from analysis.views.json import SCHEMA

from . import remedies
from .findings import HORIZONS, MOST_HOLDERS, Risk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from analysis.model import Endpoint
    from analysis.report import Json

    from ..kernel.namespaces import Namespace
    from .findings import Findings, Held, Port, Survey


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
        "container_name": one.container,
        "pids": list(one.pids),
        "inode": one.inode,
        "range": [found.kernel.low, found.kernel.high] if found else None,
        "reserved": sorted(found.kernel.reserved) if found else None,
        "entered": found is not None,
        "why": why,
        "remedy": remedies.command(found, found.remedy) if found else None,
    }


def _holder(one: Held) -> dict[str, Json]:
    """A socket that has a port and does not listen; one that is bound and no more has no peer."""
    state = one.socket.state
    return {
        **_held(one),
        "peer": None if state is State.CLOSED else _endpoint(one.socket.remote),
        "state": state.value,
        "seconds": one.socket.seconds if state is State.TIME_WAIT else None,
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
        "options": one.options and one.options._asdict(),
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
        "held_by": [_holder(other) for other in one.others[:MOST_HOLDERS]],
        "bind": one.bind._asdict(),
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
