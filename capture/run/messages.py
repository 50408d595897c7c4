"""What a live capture says in words: what it is going to do, what came of it, whose socket it was, what was lost.

Sentences without markup, one a text. What programs and files are called is escaped here.
"""

from __future__ import annotations

import os
import shlex
import signal
import textwrap
from itertools import groupby, zip_longest

from analysis.model import Endpoint
from analysis.states import State
from analysis.text import count, printable
from analysis.views.phrases import span

from ..kernel import sockets
from ..kernel.kernel_states import misplaced

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..kernel.kernel_states import KernelStates
    from ..kernel.socket_owner import SocketOwner
    from .command import Command
    from .report_sections import Comparison
    from .repro import Plan, Progress, Server
    from .run_context import Options, Outcome

#: Sockets that get a sentence each.
_MOST_OWNERS = 5

# -- before it begins ----------------------------------------------------------------------------------------------


def intended(plan: Plan) -> Iterator[str]:
    """Say what the repro is going to do, and where that leads."""
    yield f"{plan.outlook.target} to itself: {plan.way.description}."
    yield from plan.outlook.sentences()
    if plan.why:
        yield plan.why


_THEN = {"stop": "that ends it", "wait": "it may go on to its own end then", "leave": "it is left alone then"}


def to_run(options: Options) -> str:
    """Say what is going to be run, and what ends it."""
    which = f"port {options.port}" if options.port else "any port"
    return (
        f"Running {_named(options.command)} as {_user()} until a socket connects from {which} to itself; "
        f"{_THEN[options.then]}."
    )


# -- what came of it -----------------------------------------------------------------------------------------------


def results(outcome: Outcome) -> Iterator[str]:
    """Tell what the repro saw or the command came to, and what became of the capture."""
    if outcome.command:
        yield from _ran(outcome, outcome.command)
    elif outcome.plan:
        yield from _repeated(outcome.progress, outcome.plan.outlook.target)
    if outcome.sink.name != os.devnull:
        name = "standard output" if outcome.sink.name == "-" else printable(outcome.sink.name)
        only = ": SYN, FIN and RST, and all of what connected to itself" if outcome.context.recorder.ends_only else ""
        yield f"{count(outcome.packets, 'packet')} in {name}, {outcome.context.recorder.dropped:,} lost{only}."


def _repeated(progress: Progress, target: Endpoint) -> Iterator[str]:
    yield _became(progress, target)
    if socket := progress.get("socket"):
        yield (
            f"The kernel has one line for both ends: {target} {target} {socket['state']}, "
            f"inode {socket['inode']}, {printable(str(socket['process']))} (pid {socket['pid']}, "
            f"user {printable(str(socket['user']))})."
        )
    if "echo" in progress:
        yield f"It said 'hello' and read '{progress['echo']}': its own words come back."
    for when, tries in groupby(progress.get("server", []), lambda one: one["when"]):
        yield f"{_WHEN[when]}: bind() {_bound(list(tries))}."
    if progress.get("time_wait"):
        yield f"It closed with FIN: TIME-WAIT keeps the port for {progress['time_wait']:.0f} s."
    elif "close" in progress:
        yield "It closed with RST: nothing is left." if progress["close"] == "RST" else "It closed with FIN."


def _became(progress: Progress, target: Endpoint) -> str:
    """Say in one sentence how the attempts ended."""
    attempts, seconds = progress["attempts"], progress["seconds"]
    rate = f" ({attempts / seconds:,.0f} a second)" if attempts > 1000 and seconds else ""
    refused = f"{attempts:,} attempts were refused in {seconds:.3f} s{rate}"
    match progress["outcome"]:
        case "hit":
            return f"{refused}; then connect() succeeded, though nobody serves {target}."
        case "server":
            return (
                f"{refused}; then a server answered: the socket is {Endpoint.parse(*progress['local'])} and not its "
                "own peer. Nobody may serve the port: stop the server, use another --port, or --private."
            )
        case "limit":
            return f"{refused}, and none hit. That is the limit; raise it with --attempts or --timeout."
        case "stopped":
            return f"{refused}, and none hit before it was stopped."
        case _:
            return f"{refused}; then it failed: {progress['error']}."


_WHEN = {
    "connected": "A server that tries to get the port during the self-connect",
    "closed": "A server that tries to get it afterwards",
}


def _bound(tries: list[Server]) -> str:
    """What bind() gave, without SO_REUSEADDR and with it."""
    plain, reuse = (f"fails with {one['error']}" if one["error"] else "succeeds" for one in tries)
    if plain == reuse:
        return f"{plain}, whether the server sets SO_REUSEADDR or not"
    return f"{plain}; with SO_REUSEADDR it {reuse}"


def _ran(outcome: Outcome, command: Command) -> Iterator[str]:
    name, refused = _named(command.argv), outcome.progress["attempts"]
    yield f"{name} ran for {command.seconds:.3f} s as {_user()}; {count(refused, 'refused attempt')} meanwhile."
    for one in outcome.owners[:_MOST_OWNERS]:
        yield whose_socket(one)
    if more := outcome.owners[_MOST_OWNERS:]:
        yield f"And {len(more):,} more."
    if outcome.progress["outcome"] == "limit":
        yield "Nothing connected to itself within the limit; raise it with --attempts, --timeout or -c."
    how = f"by {signal.Signals(command.signal).name}" if command.signal else f"with exit status {command.status}"
    if command.running:
        yield f"{name} goes on, as process {command.pid}."
    elif command.stopped:
        yield f"Then it was stopped, and ended {how}."
    else:
        yield f"It ended by itself, {how}."


def _named(argv: Sequence[str]) -> str:
    """COMMAND in a few words."""
    return textwrap.shorten(printable(shlex.join(argv)), 60, placeholder=" ...")


def _user() -> str:
    return printable(sockets.user(os.getuid()))


def whose_socket(one: SocketOwner) -> str:
    """Say whose socket it was that connected to itself."""
    if one.process:
        who = f"{printable(one.process)} (pid {one.pid}, user {one.user})"
    elif one.pid:
        who = f"Process {one.pid}, which has ended since,"
    else:
        who = f"A process that could not be seen{f' (user {one.user})' if one.user else ''}"
    if one.inode == 0:
        line = f"the socket is an orphan in {one.state}: no process has it any more"
    elif one.state is None:
        line = "nothing was left of the socket when it was looked for"
    elif one.inode:
        line = f"the kernel had one line for both ends, {one.endpoint} {one.endpoint} {one.state}, inode {one.inode}"
    else:
        line = f"what was left is {one.state}"
    return f"{who} was connected to itself at {one.endpoint}: {line}."


def shortcomings(outcome: Outcome) -> Iterator[str]:
    """Say what keeps a run from being a success, or its report from being whole, a sentence each."""
    if outcome.trouble:
        yield printable(outcome.trouble)
    if outcome.context.recorder.dropped:
        yield f"{outcome.context.recorder.dropped:,} packets were lost: the kernel had no room for them"
    yield from lost_events(outcome.context.kernel_states)
    interface = outcome.context.options.interface
    if outcome.progress["outcome"] == "hit" and not outcome.openings and interface not in ("lo", "any"):
        yield (
            f"the socket was connected to itself, but nothing of that passed {printable(interface)}: "
            "it goes by way of lo, whatever the address"
        )


# -- the kernel's account of the states ----------------------------------------------------------------------------

_AGREES = {True: "The kernel agrees", False: "The kernel says otherwise", None: "The kernel reported only"}


def agreement(one: Comparison) -> Iterator[str]:
    """Say which states the kernel reported of a self-connect, and whether they are the rebuilt ones."""
    path = " > ".join([one.changes[0].old, *(change.new for change in one.changes)])
    yield f"{_AGREES[one.agrees]}: {path}."
    for step, change, after in misplaced(one.changes, one.rebuilt) if one.agrees is False else ():
        where = f"after frame {after}" if after else "before the first frame"
        yield f"{change.new} is rebuilt at frame {step.frame}; by the kernel's clock it came {where}."
    if State.TIME_WAIT in one.rebuilt.state_path(one.entry.opening.source):
        yield "In TIME-WAIT the kernel keeps a smaller object in place of the socket, which itself is CLOSED to it."


def kernel_gaps(compared: Sequence[Comparison], kernel_states: KernelStates) -> Iterator[str]:
    """Say why the kernel's states of a self-connect are missing or incomplete."""
    if kernel_states.missing and compared:
        yield f"The kernel's own account of the states is missing: {kernel_states.missing}."
    elif silent := sum(not one.changes for one in compared):
        yield f"The kernel reported nothing about {count(silent, 'self-connect')}."
    for line in lost_events(kernel_states):
        yield f"{line[0].upper()}{line[1:]}."


def lost_events(kernel_states: KernelStates) -> Iterator[str]:
    """Say how many of the kernel's state changes were lost; say nothing where none was, or none was asked for."""
    if kernel_states.lost:
        yield (
            f"the kernel's own account of the states is incomplete: {count(kernel_states.lost, 'event')} lost, because "
            "they came faster than they were read"
        )


def side_by_side(one: Comparison) -> str:
    """Lay out the two accounts as a table, times as the timeline counts them."""
    from analysis.views.table import grid  # noqa: PLC0415 - brings tabulate

    start = one.entry.opening.time
    times = {segment.frame: segment.time - start for segment in one.rebuilt.segments}
    rows = [
        (
            *((step.after, str(step.frame), span(times[step.frame])) if step else ("", "", "")),
            *((change.new, span(change.time - start)) if change else ("", "")),
        )
        for step, change in zip_longest(one.rebuilt.transitions, one.changes)
    ]
    headers = ("rebuilt", "frame", "time", "the kernel", "time")
    return grid(rows, headers, ("left", "right", "right", "left", "right"))
