"""One run of selfconn-capture, from the first socket to the exit status.

The order is that of privilege. First, with the standard library alone: the namespace, the recorder's sockets and the
kernel's tracepoint. Then privilege is given up. Only then comes everything else: a look at the host, the file, the
repro or the user's own command, the analysis, the report. The recorder is armed before any of it begins.

One process records and coordinates, a child does what is recorded.
"""

from __future__ import annotations

import math
import os
import shlex
import shutil
import signal
import sys
import time
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from analysis import privilege
from analysis.commandline import ending, waking, words_for
from analysis.errors import CannotCapture, SelfconnError, UsageError
from analysis.model import Verdict
from analysis.text import printable

from ..kernel import addresses, namespaces, netns, port_choice, port_outlook
from ..kernel.kernel_states import KernelStates
from ..kernel.socket_owner import SocketOwner, find_owner
from ..packets.recorder import Recorder
from .command import Command
from .output import Sink
from .recording import Recording
from .repro import Plan, Progress, Repro, plan
from .run_context import PORT, Options, Outcome, RunContext

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from analysis.model import Endpoint

    from .console import Console

#: Seconds that a repro may take unless asked otherwise.
SECONDS = 90.0
#: Seconds after its own limit when the repro is ended for it.
_GRACE = 2.0
#: Seconds after a signal when the process ends whatever it is doing.
_HANGS = 10

_CAP_NET_RAW = 13


def run(options: Options) -> int:
    """Do what *options* ask for; the exit status. Raises SelfconnError where there is nothing to show."""
    target = addresses.target(options.host, options.port or PORT)
    _check(options)
    notes: list[str] = []
    recorder, kernel_states, namespace = _privileged(options, target, notes)
    with recorder, kernel_states:
        from .console import Console  # noqa: PLC0415 - whatever it needs is imported without privilege

        chosen = None if options.command else _plan(options, target)
        if chosen and namespace != "private" and chosen.repro == "walk":
            where = "this host" if namespace == "host" else f"the network namespace {printable(namespace)}"
            notes.append(
                f"This dials {target} in the network of {where} as fast as it can, tens of thousands of times a "
                "second, until a socket has connected to itself; --private has a network of its own, and --watch dials "
                "nothing."
            )
        console = Console(options, chosen)
        console.before(notes)
        with signals() as signalled, console:
            context = RunContext(options, recorder, kernel_states, namespace, signalled)
            outcome = _repro(context, chosen, console) if chosen else _command(context)
            console.after(outcome)
    return outcome.status


def _check(options: Options) -> None:
    """Raise UsageError where two options do not go together."""
    names = [os.path.join(_here(), name) for name in (options.output, options.write) if name]  # noqa: PTH118 - or a . stays
    if len(names) == 2 and os.path.normpath(names[0]) == os.path.normpath(names[1]):
        raise UsageError("-o (the report) and -w (the packets) name the same file; name two")
    if options.netns and (options.private or options.range):
        raise UsageError("--netns names a network namespace, and --private makes one; leave one of them out")
    if options.command and options.repro != "auto":
        raise UsageError("--repro makes attempts itself, and COMMAND makes its own; leave one of them out")


def _here() -> str:
    """Return the current directory; nothing where it was removed."""
    try:
        return os.getcwd()  # noqa: PTH109 - as above
    except OSError:
        return ""


def _plan(options: Options, target: Endpoint) -> Plan:
    addresses.check_own(target)
    return plan(
        port_outlook.outlook(target),
        options.repro,
        attempts=options.attempts,
        seconds=options.timeout or SECONDS,
        reset=options.close == "rst",
    )


def _privileged(options: Options, target: Endpoint, notes: list[str]) -> tuple[Recorder, KernelStates, str]:
    """Open all that needs privilege, then give it up: the recorder, the kernel's states, the namespace's name."""
    asked = options.private or options.range is not None
    # An interface of the host's is not in a namespace of our own: then the recorder says what is missing.
    private = asked or (options.netns is None and options.interface in ("lo", "any") and not _may_capture())
    if private and not asked:
        who = f"Not root (on the host's own network: {sudo(options)})" if os.geteuid() else "No CAP_NET_RAW"
        notes.append(f"{who}: in a private network namespace instead.")
    namespace = "private" if private else "host"
    try:
        if options.netns:
            namespace = namespaces.go_into(options.netns).name
        if private:
            netns.enter(target, options.range or netns.ephemeral_range(target.port))
        privilege.keep_to_itself()
        port = options.only_port
        # Of a whole host's traffic only what begins and ends connections is of interest here.
        recorder = Recorder(options.interface, port, ends_only=port is None and not private)
    except CannotCapture as error:
        raise with_sudo(error, options) from error
    kernel_states = KernelStates(port)
    try:
        privilege.give_up_root()
    except SelfconnError:
        recorder.close()
        kernel_states.close()
        raise
    return recorder, kernel_states, namespace


def _may_capture() -> bool:
    """Whether this process has CAP_NET_RAW (capabilities(7))."""
    status = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
    effective = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective.split()[1], 16) >> _CAP_NET_RAW & 1)


def with_sudo(error: CannotCapture, options: Options) -> CannotCapture:
    """Add to *error*, where it is for want of privilege, the command line that has it."""
    if os.geteuid() == 0 or not isinstance(error.__cause__, PermissionError):
        return error
    return CannotCapture(f"{error}. Run it as root: {sudo(options)}")


def sudo(options: Options) -> str:
    """The command line that does the same as root: sudo does not look for programs where the user does."""
    first, *rest = words_for("selfconn-capture")
    # -I: nothing in the current directory or named by the environment is imported as root; -B: nothing is left there.
    program = [sys.executable, "-IBm", "capture.cli"] if first.endswith(".py") else [first, *rest]
    return shlex.join(["sudo", *program, *options.argv])


@contextmanager
def signals() -> Iterator[int]:
    """Let INT, TERM and HUP end the run in order: a descriptor that becomes readable."""
    # What is left to do takes a moment; should it hang, on a pager that takes no more, say, it ends all the same.
    with waking(dict.fromkeys(ending(), lambda *_: signal.alarm(_HANGS) and None)) as reader:
        try:
            yield reader
        finally:
            signal.alarm(0)


def _repro(context: RunContext, chosen: Plan, console: Console) -> Outcome:
    """Record until the repro ends, a signal comes, the file cannot be written or a limit is reached."""
    with ExitStack() as opened:
        sink = opened.enter_context(closing(Sink(context.options.write)))
        repro = Repro(chosen)
        opened.callback(repro.stop)
        recording = opened.enter_context(Recording(context, sink, repro.fileno()))
        deadline = time.monotonic() + chosen.seconds + _GRACE
        while _goes_on(recording, deadline) and repro.read():
            console.show_progress(repro.progress)
        console.show_progress(None)
        repro.stop()
        return Outcome(
            context=context,
            sink=sink,
            result=recording.finish(),
            packets=recording.packets,
            trouble=recording.trouble,
            kernel=chosen.outlook.kernel,
            progress=repro.progress,
            plan=chosen,
        )


def _command(context: RunContext) -> Outcome:
    """Record until COMMAND has connected to itself or ended, or as above."""
    options, recorder = context.options, context.recorder
    kernel = port_choice.kernel()
    if shutil.which(options.command[0]) is None:
        raise UsageError(f"cannot run {options.command[0]!r}: there is no such program; check its name and PATH")
    owners: list[SocketOwner] = []
    seen = 0

    def look() -> None:
        nonlocal seen
        new = recorder.self_connects[seen:]
        seen += len(new)
        mine = (hit for hit in new if options.only_port in (None, hit.endpoint.port))
        owners.extend(find_owner(hit.endpoint, hit.time, context.kernel_states) for hit in mine)

    with ExitStack() as opened:
        sink = opened.enter_context(closing(Sink(options.write)))
        command = Command(options.command, output=_output(options), outlives=options.then == "leave")
        opened.callback(command.stop, lambda: None)  # whatever happens from here on, nothing of it stays
        recording = opened.enter_context(Recording(context, sink))
        opened.callback(command.stop, recording.take)
        deadline = time.monotonic() + (options.timeout or math.inf)
        outcome = "limit"
        while _goes_on(recording, deadline):
            look()
            if owners and options.then != "wait":
                break
            if not command.poll():
                outcome = "ended"
                break
            if recording.refused >= (options.attempts or math.inf):
                break
        else:
            outcome = "stopped" if recording.interrupted else "limit"
        if owners and options.then == "leave" and command.running:
            command.leave()
        elif not command.stop(recording.take):
            recording.trouble = recording.trouble or "something that COMMAND started could not be ended"
        result = recording.finish()
        look()
        progress: Progress = {
            "attempts": result.verdicts[Verdict.REFUSED],
            "seconds": command.seconds,
            "outcome": "hit" if owners else outcome,
        }
        return Outcome(
            context=context,
            sink=sink,
            result=result,
            packets=recording.packets,
            trouble=recording.trouble,
            kernel=kernel,
            progress=progress,
            command=command,
            owners=owners,
        )


def _output(options: Options) -> int | None:
    """Where COMMAND prints to: not where packets go, or a report for programs (None: to standard output)."""
    apart = options.write == "-" or (options.output is None and options.format not in (None, "table"))
    return 2 if apart else None


def _goes_on(recording: Recording, deadline: float) -> bool:
    """Record what comes next; whether there may be more."""
    recording.turn()
    return not (recording.over or recording.interrupted or time.monotonic() > deadline)
