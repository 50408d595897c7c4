"""What a live capture adds to a report: the sections ``live`` and ``kernel``. docs/json.md has their fields."""

from __future__ import annotations

import json
import os
import signal

from analysis import VERSION
from analysis.model import Endpoint, Evidence, Verdict
from analysis.records import NamedTuple
from analysis.views.json import SCHEMA, entry_as_json, seconds, sections

from ..kernel import sockets
from ..kernel.kernel_states import compare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from typing import Literal

    from analysis.model import Opening
    from analysis.replay import Replay
    from analysis.report import Entry, Json, Report

    from ..kernel.kernel_states import KernelStates
    from ..kernel.port_choice import Kernel
    from ..kernel.socket_owner import SocketOwner
    from ..kernel.tracepoint import StateChange
    from ..packets.self_connect import SelfConnect
    from .command import Command
    from .run_context import Outcome

_ENDS: tuple[Literal["local", "peer"], ...] = ("local", "peer")
_REPRO_FIELDS: tuple[Literal["error", "echo", "server", "close", "time_wait"], ...] = (
    "error",
    "echo",
    "server",
    "close",
    "time_wait",
)


class Comparison(NamedTuple):
    """A self-connect as it was rebuilt, and what the kernel reported of it (perhaps nothing).

    ``place`` is the opening's in the report, ``agrees`` as kernel_states.compare() says.
    """

    place: int
    entry: Entry
    rebuilt: Replay
    changes: list[StateChange]
    agrees: bool | None


def comparisons(whole: Report, openings: Collection[Opening], kernel_states: KernelStates) -> list[Comparison]:
    """Put the two accounts of each of these self-connects side by side."""
    wanted = {id(opening) for opening in openings}
    made = []
    for place, entry in enumerate(whole.entries):
        if id(entry.opening) in wanted:
            changes = kernel_states.life(entry.opening.source, entry.opening.time)
            rebuilt = entry.account().replay
            agrees = compare(changes, rebuilt, lost=kernel_states.lost_since(entry.opening.time))
            made.append(Comparison(place, entry, rebuilt, changes, agrees))
    return made


def live(outcome: Outcome) -> dict[str, Json]:
    """Make the section on the run."""
    progress, options = outcome.progress, outcome.context.options
    section: dict[str, Json] = {
        "interface": options.interface,
        "namespace": outcome.context.namespace,
        "repro": outcome.plan.repro if outcome.plan else "command",
        "attempts": progress["attempts"],
        "seconds": round(progress["seconds"], 6),
        "packets": outcome.packets,
        "dropped": outcome.context.recorder.dropped,
        "file": outcome.sink.name,
        "target": outcome.plan and endpoint_as_json(outcome.plan.outlook.target),
        "outcome": progress["outcome"],
        **{end: endpoint_as_json(Endpoint.parse(*progress[end])) for end in _ENDS if end in progress},
        **{key: progress[key] for key in _REPRO_FIELDS if key in progress},
    }
    if outcome.command:
        section["command"] = _command(outcome.command)
    return section


def _command(command: Command) -> dict[str, Json]:
    return {
        "argv": list(command.argv),
        "pid": command.pid,
        "user": sockets.user(os.getuid()),
        "status": command.status,
        "signal": command.signal and signal.Signals(command.signal).name,
        "stopped": command.stopped,
    }


def kernel(outcome: Outcome, compared: Sequence[Comparison]) -> dict[str, Json]:
    """Make the section on the kernel: its rules before the run, its sockets and their states during it."""
    section = of_kernel(outcome.kernel, outcome.owners, compared, outcome.context.kernel_states)
    if outcome.plan:
        outlook = outcome.plan.outlook
        if line := outcome.progress.get("socket"):
            end = endpoint_as_json(outlook.target)
            section["sockets"] = [{"local": end, "peer": end, **line}]
        section["bound_first"] = outlook.bound_first
        section["chance"] = outlook.odds.chance
        section["mean_attempts"] = outlook.odds.mean if outlook.odds.catch else None
    return section


def of_kernel(
    asked: Kernel, owners: Sequence[SocketOwner], compared: Sequence[Comparison], kernel_states: KernelStates
) -> dict[str, Json]:
    """Make the part of that section that every kind of run has."""
    section: dict[str, Json] = {
        "release": asked.release,
        "range": [asked.low, asked.high],
        "reserved": sorted(asked.reserved),
        "sockets": [socket_as_json(one) for one in owners],
        "transitions": [
            {"from": change.old.value, "to": change.new.value, "time": seconds(change.time), "opening": one.place}
            for one in compared
            for change in one.changes
        ],
        "agrees": _all_agree([one.agrees for one in compared]),
        "lost_events": kernel_states.lost,
        "tcp_tw_reuse": asked.tw_reuse,
        "ip_local_port_step_width": asked.step_width,
    }
    if kernel_states.missing:
        section["missing"] = kernel_states.missing
    return section


def _all_agree(each: Sequence[bool | None]) -> bool | None:
    """Whether the kernel agrees on every one of them; None: on none does it disagree, but not all could be compared."""
    if False in each:
        return False
    return True if each and None not in each else None


#: Of a self-connect that no ring has.
UNWATCHED = (
    "No packet of it was captured: its network namespace was not watched yet, and the kernel's tracepoint told of it."
)


def one_line(whole: Report, hit: SelfConnect) -> str:
    """Make one line of JSON of a report on one self-connect.

    Where its SYN is not among the packets, it says what its SYN-ACK said; where no packet is, what the tracepoint said.
    """
    seen = hit.isn is not None
    lone = {
        "verdict": Verdict.SELF_CONNECT.value,
        "source": endpoint_as_json(hit.endpoint),
        "destination": endpoint_as_json(hit.endpoint),
        "evidence": Evidence.SYN_ACK.value if seen else None,
        "isn": hit.isn,
        "time": seconds(hit.time),
        "notes": ["Its SYN is not among the packets that were kept." if seen else UNWATCHED],
    }
    fields = entry_as_json(whole.entries[0]) if whole.entries else lone
    return json.dumps({"schema": SCHEMA, "version": VERSION, "type": "opening", **fields, **sections(whole)}) + "\n"


def socket_as_json(one: SocketOwner) -> dict[str, Json]:
    """Say for a report whose socket it is."""
    end = endpoint_as_json(one.endpoint)
    found = {"state": one.state, "inode": one.inode, "uid": one.uid, "user": one.user}
    return {"local": end, "peer": end, **found, "pid": one.pid, "process": one.process}


def endpoint_as_json(endpoint: Endpoint) -> dict[str, Json]:
    """Write an endpoint as JSON has it."""
    return {"address": endpoint.address, "port": endpoint.port}
