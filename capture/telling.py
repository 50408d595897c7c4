"""What selfconn-capture tells: before it begins, while it walks, and at the end.

Standard error takes what is said on the way, standard output (or -o) the report. With the capture itself on standard
output the report, too, goes to standard error.
"""

from __future__ import annotations

import os
import sys
import textwrap
import time
from itertools import groupby
from typing import TYPE_CHECKING, Literal

from analysis.report import report
from analysis.text import printable
from analysis.words import Endpoint

from .output import Sink

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, Self, TextIO

    from analysis.report import Json, Report

    from .host import Kernel
    from .repro import Account, Plan, Server
    from .session import Options, Outcome

_WIDTH = 100
#: A repro that is over by then needs no bar.
_SECONDS_BEFORE_A_BAR = 0.2


class Teller:
    """Says what there is to say, as *options* want it."""

    def __init__(self, options: Options, plan: Plan) -> None:
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
        plan, target = self._plan, self._plan.outlook.target
        lines = [*notes, f"{target} to itself: {plan.way.told}.", *plan.outlook.sentences(), *filter(None, [plan.why])]
        for line in lines:
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
            self._bar.n = self._plan.outlook.odds.probability(attempts)
            self._bar.set_description_str(f"{attempts:,} attempts, {rate:,.0f}/s, now at port {port}")

    def after(self, outcome: Outcome) -> None:
        """Show the report; on standard error what was lost, if anything was."""
        whole = report([outcome.result])
        whole.live, whole.kernel = live(outcome), kernel(outcome)
        self._write("".join(self._rendered(whole, outcome)))
        for line in _shortcomings(outcome):
            _say(f"selfconn-capture: {line}")

    def _rendered(self, whole: Report, outcome: Outcome) -> Iterator[str]:
        options = self._options
        if options.format == "table":
            from analysis.views import table  # noqa: PLC0415 - one view a run

            style = table.Style(color=self._colored(), verbose=options.verbose, quiet=options.quiet)
            yield from table.render(whole, style)
            if not options.quiet:
                yield "\n" + style.paint("title", "The repro") + "\n"
                for line in told(outcome):
                    wrapped = textwrap.wrap(line, _WIDTH - 2, break_on_hyphens=False)
                    yield "- " + "\n  ".join(wrapped) + "\n"
        else:
            from analysis.views import json  # noqa: PLC0415

            yield from (json.render if options.format == "json" else json.render_lines)(whole)

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
    """Tell what the repro saw, and what became of the capture."""
    account, target = outcome.repro.account, outcome.plan.outlook.target
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
    if outcome.sink.name != os.devnull:
        name = "standard output" if outcome.sink.name == "-" else printable(outcome.sink.name)
        yield f"{outcome.packets:,} packets in {name}, {outcome.recorder.dropped:,} lost."


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
    if outcome.recorder.dropped:
        yield f"{outcome.recorder.dropped:,} packets were lost: the kernel had no room for them"
    if outcome.repro.account["outcome"] == "hit" and not outcome.rebuilt and outcome.interface not in ("lo", "any"):
        yield (
            f"the socket was connected to itself, but nothing of that passed {printable(outcome.interface)}: "
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
    account = outcome.repro.account
    return {
        "interface": outcome.interface,
        "namespace": "private" if outcome.private else "host",
        "repro": outcome.plan.repro,
        "attempts": account["attempts"],
        "seconds": account["seconds"],
        "packets": outcome.packets,
        "dropped": outcome.recorder.dropped,
        "file": outcome.sink.name,
        "target": _endpoint(outcome.plan.outlook.target.address, outcome.plan.outlook.target.port),
        "outcome": account["outcome"],
        **{end: _endpoint(*account[end]) for end in _ENDS if end in account},
        **{key: account[key] for key in _TOLD if key in account},
    }


def kernel(outcome: Outcome) -> dict[str, Json]:
    """Make the report's section on the kernel: its rules before the run, its socket table during it."""
    outlook = outcome.plan.outlook
    asked: Kernel = outlook.kernel
    sockets = []
    if line := outcome.repro.account.get("socket"):
        end = _endpoint(outlook.target.address, outlook.target.port)
        sockets.append({"local": end, "peer": end, **line})
    return {
        "release": asked.release,
        "range": [asked.low, asked.high],
        "reserved": sorted(asked.reserved),
        "sockets": sockets,
        "tcp_tw_reuse": asked.tw_reuse,
        "ip_local_port_step_width": asked.step_width,
        "bound_first": outlook.bound_first,
        "chance": outlook.odds.chance,
        "mean_attempts": outlook.odds.mean if outlook.odds.catch else None,
    }


def _endpoint(address: str, port: int) -> dict[str, Json]:
    return {"address": address, "port": port}
