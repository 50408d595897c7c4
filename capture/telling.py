"""What selfconn-capture tells: before it begins, while it walks, and at the end.

Standard error takes what is said on the way, standard output (or -o) the report. With the capture itself on standard
output the report, too, goes to standard error.
"""

from __future__ import annotations

import os
import pwd
import shlex
import signal
import sys
import textwrap
import time
from itertools import groupby, zip_longest
from typing import TYPE_CHECKING, Literal, NamedTuple

from analysis.report import report, seconds
from analysis.states import State
from analysis.text import printable
from analysis.words import Endpoint

from .output import Sink
from .witness import compare

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from typing import Any, Self, TextIO

    from analysis.replay import Replay
    from analysis.report import Entry, Json, Report

    from .command import Command
    from .holders import Holder
    from .repro import Account, Plan, Server
    from .session import Options, Outcome
    from .tracepoint import StateChange
    from .witness import Witness

_WIDTH = 100
#: A repro that is over by then needs no bar.
_SECONDS_BEFORE_A_BAR = 0.2


class Teller:
    """Says what there is to say, as *options* want it; *plan* is the repro's, if there is one."""

    def __init__(self, options: Options, plan: Plan | None = None) -> None:
        self._options, self._plan = options, plan
        self._bar: Any = None
        self._shown = 0  # attempts
        self._file: Sink | None = None
        self._shows_bar = not options.quiet and sys.stderr.isatty()
        self._began = time.monotonic()

    def __enter__(self) -> Self:
        """Open the file for the report: if that cannot be, then before the repro and not after it."""
        if self._options.output is not None:
            self._file = Sink(self._options.output)
        return self

    def __exit__(self, *_: object) -> None:
        if self._file:
            self._file.close()

    def before(self, notes: list[str]) -> None:
        """Say what is going to be done, where that leads, and why."""
        if self._options.quiet:
            return
        for line in (*notes, *(_intended(self._plan) if self._plan else _to_run(self._options))):
            _say("\n".join(textwrap.wrap(line, _WIDTH, subsequent_indent="  ", break_on_hyphens=False)))

    def progress(self, account: Account | None) -> None:
        """Show how far the walk has come; None: it is over."""
        if account is None or "outcome" in account:
            if self._bar is not None:
                self._bar.close()
            self._bar, self._shows_bar = None, False
            return
        attempts, seconds = account["attempts"], account["seconds"]
        late = time.monotonic() - self._began > _SECONDS_BEFORE_A_BAR
        if self._shows_bar and late and attempts != self._shown:
            self._shown = attempts
            if self._bar is None:
                from analysis.progress import bar  # noqa: PLC0415 - only who sees it waits for it

                layout = "{desc} |{bar:20}| odds so far {percentage:2.0f} %"
                self._bar = bar(1.0, bar_format=layout)
            rate, port = attempts / seconds if seconds else 0, account.get("source_port", 0)
            self._bar.n = self._plan.outlook.odds.probability(attempts) if self._plan else 0
            self._bar.set_description_str(f"{attempts:,} attempts, {rate:,.0f}/s, now at port {port}")

    def after(self, outcome: Outcome) -> None:
        """Show the report; on standard error what was lost, if anything was."""
        whole = report([outcome.result])
        beside = comparisons(whole, outcome)
        whole.live, whole.kernel = live(outcome), kernel(outcome, beside)
        self._write("".join(self._rendered(whole, outcome, beside)))
        for line in _shortcomings(outcome):
            _say(f"selfconn-capture: {line}")

    def _rendered(self, whole: Report, outcome: Outcome, beside: Sequence[Comparison]) -> Iterator[str]:
        options = self._options
        if options.format in (None, "table"):
            from analysis.views import table  # noqa: PLC0415 - one view a run

            style = table.Style(color=self._colored(), verbose=options.verbose, quiet=options.quiet)
            yield from table.render(whole, style)
            if not options.quiet:
                yield "\n" + style.paint("title", "The command" if outcome.command else "The repro") + "\n"
                yield from _bullets(told(outcome))
                yield from _bullets(_unheard(outcome, beside))
                for one in beside:
                    if one.changes:
                        yield "\n" + style.paint("title", "What the kernel says") + "\n"
                        yield _side_by_side(one) + "\n"
                        yield from _bullets(_agreement(one))
        else:
            from analysis.views import rendered  # noqa: PLC0415

            yield from rendered(whole, options.format, verbose=options.verbose)

    def _colored(self) -> bool:
        if self._options.color == "auto":
            terminal = self._options.output is None and self._stream().isatty()
            return terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
        return self._options.color == "always"

    def _stream(self) -> TextIO:
        return sys.stderr if self._options.write == "-" else sys.stdout

    def _write(self, text: str) -> None:
        encoded = text.encode("utf-8", "backslashreplace")
        if self._file:
            self._file.write(encoded)
        else:
            self._stream().flush()
            self._stream().buffer.write(encoded)
            self._stream().flush()


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def _intended(plan: Plan) -> Iterator[str]:
    """Say what the repro is going to do, and where that leads."""
    yield f"{plan.outlook.target} to itself: {plan.way.told}."
    yield from plan.outlook.sentences()
    if plan.why:
        yield plan.why


def _to_run(options: Options) -> Iterator[str]:
    """Say what is going to be run, and what ends it."""
    which = f"port {options.port}" if options.port else "any port"
    then = {"stop": "that ends it", "wait": "it goes on to its end", "leave": "it is left alone then"}[options.then]
    yield f"Running {_named(options.command)} as {_user()} until a socket of {which} connects to itself; {then}."


def _bullets(lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        yield "- " + "\n  ".join(textwrap.wrap(line, _WIDTH - 2, break_on_hyphens=False)) + "\n"


def _became(account: Account, target: Endpoint) -> str:
    """Tell in one sentence what became of the attempts."""
    attempts, seconds = account["attempts"], account["seconds"]
    rate = f" ({attempts / seconds:,.0f} a second)" if attempts > 1000 and seconds else ""
    refused = f"{attempts:,} attempts were refused in {seconds:.3f} s{rate}"
    match account["outcome"]:
        case "hit":
            return f"{refused}; then connect() succeeded, though nobody serves {target}."
        case "server":
            return (
                f"{refused}; then a server answered: the socket is {Endpoint.parse(*account['local'])} and not its own "
                "peer. Nobody may serve the port: stop the server, use another --port, or --private."
            )
        case "limit":
            return f"{refused}, and none hit. That is the limit: --attempts and --timeout raise it."
        case "stopped":
            return f"{refused}, and none hit before it was stopped."
        case _:
            return f"{refused}; then it failed: {account['error']}."


def told(outcome: Outcome) -> Iterator[str]:
    """Tell what the repro saw or the command came to, and what became of the capture."""
    if outcome.command:
        yield from _ran(outcome, outcome.command)
    elif outcome.plan:
        yield from _repeated(outcome.account, outcome.plan.outlook.target)
    if outcome.sink.name != os.devnull:
        name = "standard output" if outcome.sink.name == "-" else printable(outcome.sink.name)
        yield f"{outcome.packets:,} packets in {name}, {outcome.scene.recorder.dropped:,} lost."


def _repeated(account: Account, target: Endpoint) -> Iterator[str]:
    yield _became(account, target)
    if socket := account.get("socket"):
        yield (
            f"The kernel has one line for both ends: {target} {target} {socket['state']}, "
            f"inode {socket['inode']}, user {socket['uid']}."
        )
    if "echo" in account:
        yield f"It said 'hello' and read '{account['echo']}': its own words come back."
    for when, tries in groupby(account.get("server", []), lambda one: one["when"]):
        yield f"{_WHEN[when]}: bind() {_bound(list(tries))}."
    if account.get("time_wait"):
        yield f"It closed with FIN: TIME-WAIT keeps the port for {account['time_wait']:.0f} s."
    elif "close" in account:
        yield "It closed with RST: nothing is left." if account["close"] == "RST" else "It closed with FIN."


def _ran(outcome: Outcome, command: Command) -> Iterator[str]:
    name, user = _named(command.argv), _user()
    refused = outcome.account["attempts"]
    attempts = f"{refused:,} attempts were refused meanwhile" if refused else "no attempt was refused meanwhile"
    yield f"{name} ran for {command.seconds:.3f} s as {user}; {attempts}."
    for one in outcome.holders[:_MOST_HOLDERS]:
        yield held(one)
    if more := outcome.holders[_MOST_HOLDERS:]:
        yield f"And {len(more):,} more were connected to themselves."
    if outcome.account["outcome"] == "limit":
        yield f"No socket {'connected to itself'} within the limit: --attempts, --timeout or -c set it."
    end = _ended(command)
    if command.running:
        yield f"{name} goes on, as process {command.pid}."
    elif command.stopped:
        yield f"It was told to end then, and so it did: {end}."
    else:
        yield f"It ended by itself: {end}."


def held(one: Holder) -> str:
    """Say whose socket it was that connected to itself."""
    if one.process:
        who = f"{printable(one.process)} (pid {one.pid}, user {one.user})"
    elif one.pid:
        who = f"Process {one.pid}, which has ended since,"
    else:
        who = f"A process that could not be seen{f' (user {one.user})' if one.user else ''}"
    if one.state is None:
        line = "nothing of the socket was left when it was looked for"
    elif one.inode:
        line = f"the kernel had one line for both ends, {one.endpoint} {one.endpoint} {one.state}, inode {one.inode}"
    else:
        line = f"what it left was {one.state}"
    return f"{who} was connected to itself at {one.endpoint}: {line}."


def _ended(command: Command) -> str:
    if command.signal:
        return f"by {signal.Signals(command.signal).name}"
    return f"with exit status {command.status}"


def _named(argv: Sequence[str]) -> str:
    """COMMAND in a few words."""
    return textwrap.shorten(printable(shlex.join(argv)), 60, placeholder=" ...")


def _user() -> str:
    try:
        return printable(pwd.getpwuid(os.getuid()).pw_name)
    except KeyError:
        return str(os.getuid())


#: Sockets that get a sentence each.
_MOST_HOLDERS = 5

_WHEN = {
    "connected": "A server that wants the port while it is connected to itself",
    "closed": "A server that wants it afterwards",
}


def _bound(tries: list[Server]) -> str:
    """What bind() gave, without SO_REUSEADDR and with it."""
    plain, reuse = (f"fails with {one['error']}" if one["error"] else "succeeds" for one in tries)
    return f"{plain}, with SO_REUSEADDR or without" if plain == reuse else f"{plain}; with SO_REUSEADDR it {reuse}"


def _shortcomings(outcome: Outcome) -> Iterator[str]:
    """What keeps a run from being a success, a line each."""
    if outcome.trouble:
        yield printable(outcome.trouble)
    if outcome.scene.recorder.dropped:
        yield f"{outcome.scene.recorder.dropped:,} packets were lost: the kernel had no room for them"
    interface = outcome.scene.options.interface
    if outcome.account["outcome"] == "hit" and not outcome.openings and interface not in ("lo", "any"):
        yield (
            f"the socket was connected to itself, but nothing of that passed {printable(interface)}: "
            "it goes by way of lo, whatever the address"
        )


_ENDS: tuple[Literal["local", "peer"], ...] = ("local", "peer")
_TOLD: tuple[Literal["error", "echo", "server", "close", "time_wait"], ...] = (
    "error",
    "echo",
    "server",
    "close",
    "time_wait",
)


def live(outcome: Outcome) -> dict[str, Json]:
    """Make the report's section on the run."""
    account, options = outcome.account, outcome.scene.options
    target = outcome.plan.outlook.target if outcome.plan else None
    section: dict[str, Json] = {
        "interface": options.interface,
        "namespace": "private" if outcome.scene.private else "host",
        "repro": outcome.plan.repro if outcome.plan else "command",
        "attempts": account["attempts"],
        "seconds": round(account["seconds"], 6),
        "packets": outcome.packets,
        "dropped": outcome.scene.recorder.dropped,
        "file": outcome.sink.name,
        "target": target and _endpoint(target),
        "outcome": account["outcome"],
        **{end: _endpoint(Endpoint.parse(*account[end])) for end in _ENDS if end in account},
        **{key: account[key] for key in _TOLD if key in account},
    }
    if command := outcome.command:
        section["command"] = {
            "argv": list(command.argv),
            "pid": command.pid,
            "user": _user(),
            "status": command.status,
            "signal": command.signal and signal.Signals(command.signal).name,
            "stopped": command.stopped,
        }
    return section


def kernel(outcome: Outcome, beside: Sequence[Comparison]) -> dict[str, Json]:
    """Make the report's section on the kernel: its rules before the run, its sockets and their states during it."""
    asked = outcome.kernel
    section: dict[str, Json] = {
        "release": asked.release,
        "range": [asked.low, asked.high],
        "reserved": sorted(asked.reserved),
        "sockets": [holder_as_json(one) for one in outcome.holders],
        "tcp_tw_reuse": asked.tw_reuse,
        "ip_local_port_step_width": asked.step_width,
        **account_as_json(beside),
    }
    if outcome.scene.witness.missing:
        section["missing"] = outcome.scene.witness.missing
    if outcome.plan:
        outlook = outcome.plan.outlook
        if line := outcome.account.get("socket"):
            end = _endpoint(outlook.target)
            section["sockets"] = [{"local": end, "peer": end, **line}]
        section["bound_first"] = outlook.bound_first
        section["chance"] = outlook.odds.chance
        section["mean_attempts"] = outlook.odds.mean if outlook.odds.catch else None
    return section


def holder_as_json(one: Holder) -> dict[str, Json]:
    """Make an entry of ``sockets``."""
    end = _endpoint(one.endpoint)
    found = {"state": one.state, "inode": one.inode, "uid": one.uid, "user": one.user}
    return {"local": end, "peer": end, **found, "pid": one.pid, "process": one.process}


def _endpoint(endpoint: Endpoint) -> dict[str, Json]:
    return {"address": endpoint.address, "port": endpoint.port}


# -- the kernel's account of the states, beside the rebuilt one ----------------------------------------------------


class Comparison(NamedTuple):
    """A self-connect as it was rebuilt, and what the kernel told of it (nothing, perhaps).

    ``place`` is the opening's in the report, ``agrees`` as compare() says.
    """

    place: int
    entry: Entry
    rebuilt: Replay
    changes: list[StateChange]
    agrees: bool | None


def comparisons(whole: Report, outcome: Outcome) -> list[Comparison]:
    """Put the two accounts of each self-connect side by side."""
    wanted = {id(opening) for opening in outcome.openings}
    return [
        beside(place, entry, outcome.scene.witness)
        for place, entry in enumerate(whole.entries)
        if id(entry.opening) in wanted
    ]


def beside(place: int, entry: Entry, witness: Witness) -> Comparison:
    """Put the two accounts of one self-connect side by side."""
    changes = witness.life(entry.opening.source, entry.opening.time)
    rebuilt = entry.account().replay
    return Comparison(place, entry, rebuilt, changes, compare(changes, rebuilt) if changes else None)


def account_as_json(beside: Sequence[Comparison]) -> dict[str, Json]:
    """Make the fields ``transitions`` and ``agrees``."""
    known = [one.agrees for one in beside if one.agrees is not None]
    transitions = [
        {"from": change.old.value, "to": change.new.value, "time": seconds(change.time), "opening": one.place}
        for one in beside
        for change in one.changes
    ]
    return {"transitions": transitions, "agrees": all(known) if known else None}


def _unheard(outcome: Outcome, beside: Sequence[Comparison]) -> Iterator[str]:
    """Say why the kernel's account is not there, where there is something that it could be of."""
    if outcome.scene.witness.missing and beside:
        yield f"Not asked: {outcome.scene.witness.missing}. It would stand beside the rebuilt states."
    elif unheard := sum(not one.changes for one in beside):
        yield f"Of {unheard:,} of the self-connects the kernel told nothing."


_AGREES = {True: "The kernel agrees", False: "The kernel says otherwise", None: "The kernel told this much"}


def _agreement(one: Comparison) -> Iterator[str]:
    path = " > ".join([one.changes[0].old, *(change.new for change in one.changes)])
    word = {True: "The kernel agrees", False: "The kernel says otherwise", None: "The kernel told this much"}[
        one.agrees
    ]
    yield f"{word}: {path}."
    if State.TIME_WAIT in one.rebuilt.state_path(one.entry.opening.source):
        yield "In TIME-WAIT the kernel keeps a smaller object in place of the socket, which itself is CLOSED to it."


def _side_by_side(one: Comparison) -> str:
    """Show the two accounts in a table, times as the timeline counts them."""
    from analysis.views.table import grid  # noqa: PLC0415 - brings tabulate
    from analysis.views.wording import span  # noqa: PLC0415

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
