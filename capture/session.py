"""One run of selfconn-capture, from the first socket to the exit status.

The order is that of privilege. First, with the standard library alone: the namespace and the recorder's sockets. Then
privilege is given up. Only then comes everything else: a look at the host, the file, the repro, the analysis, the
report. The recorder is armed before the repro begins.

One process records and coordinates, a child does the repro. What the recorder gives goes to the file and, the very
same bytes, into the analysis; so whatever ends the run, there is a whole file and the analysis of what is in it.
"""

from __future__ import annotations

import os
import selectors
import shlex
import signal
import struct
import sys
import time
from collections import deque
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from analysis import pcapng
from analysis.errors import CannotCapture, Incomplete, SelfconnError, UsageError
from analysis.words import Verdict

from . import host, namespace, privilege
from .output import Sink
from .recorder import Recorder
from .repro import Plan, Repro, plan

if TYPE_CHECKING:
    from collections.abc import Iterator

    from analysis.reader import Analysis
    from analysis.words import CaptureResult, Endpoint

    from .telling import Teller

#: Seconds between two looks at the rings when nothing happens.
_TICK = 0.05
#: Seconds that the analysis may take before the rings are looked at again, and the octets it takes at once.
_TURN, _PORTION = 0.005, 1 << 16
#: Seconds after its own limit when the repro is ended for it.
_GRACE = 2.0
#: Seconds after a signal when the process ends whatever it is doing.
_HANGS = 10

_CAP_NET_RAW = 13


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asks for; cli.py says what each means."""

    host: str = "127.0.0.1"
    port: int = 50000
    repro: str = "auto"
    attempts: int | None = None
    timeout: float = 90.0
    close: str = "fin"
    private: bool = False
    range: tuple[int, int] | None = None
    interface: str = "lo"
    write: str | None = None
    count: int | None = None
    quiet: bool = False
    verbose: bool = False
    format: str = "table"
    output: str | None = None
    color: str = "auto"
    command: tuple[str, ...] = ()


@dataclass(slots=True)
class Outcome:
    """What a run came to. ``trouble`` says what is missing from it."""

    plan: Plan
    repro: Repro
    recorder: Recorder
    sink: Sink
    result: CaptureResult
    interface: str
    private: bool
    packets: int
    trouble: str | None

    @property
    def rebuilt(self) -> bool:
        """Whether a self-connect of the target is in the capture."""
        target = self.plan.outlook.target
        return any(
            opening.verdict is Verdict.SELF_CONNECT and opening.source == target for opening in self.result.openings
        )

    @property
    def status(self) -> int:
        """The exit status."""
        if self.trouble or self.recorder.dropped:
            return Incomplete.status
        return 0 if self.rebuilt else 1


def run(options: Options) -> int:
    """Do what *options* ask for; the exit status. Raises SelfconnError where there is nothing to show."""
    target = host.target(options.host, options.port)
    if options.output and options.write and Path(options.output).absolute() == Path(options.write).absolute():
        raise UsageError("-o and -w name the same file: one is the report, the other the packets")
    notes: list[str] = []
    recorder, private = _privileged(options, target, notes)
    with recorder:
        from .telling import Teller  # noqa: PLC0415 - whatever it needs is imported without privilege

        host.check_own(target)
        outlook = host.outlook(target)
        chosen = plan(
            outlook, options.repro, attempts=options.attempts, seconds=options.timeout, reset=options.close == "rst"
        )
        teller = Teller(options, chosen)
        teller.before(notes)
        with _signals() as signalled, teller:
            outcome = _record(options, chosen, recorder, teller, signalled, private=private)
            teller.after(outcome)
    return outcome.status


def _privileged(options: Options, target: Endpoint, notes: list[str]) -> tuple[Recorder, bool]:
    """Everything that needs privilege, and the end of it: the recorder, and whether it is in a private namespace."""
    asked = options.private or options.range is not None
    # An interface of the host's is not in a namespace of our own: then the recorder says what is missing.
    private = asked or (options.interface in ("lo", "any") and not _may_capture())
    if private and not asked:
        who = f"Not root (on the host's own network: {sudo(options)})" if os.geteuid() else "No CAP_NET_RAW"
        notes.append(f"{who}: in a private network namespace instead.")
    try:
        if private:
            namespace.enter(target, options.range or namespace.ephemeral_range(target.port))
        recorder = Recorder(options.interface, target.port)
    except CannotCapture as error:
        if os.geteuid() == 0 or not isinstance(error.__cause__, PermissionError):
            raise
        raise CannotCapture(f"{error}. As root it works: {sudo(options)}") from error
    try:
        privilege.give_up_root()
    except SelfconnError:
        recorder.close()
        raise
    return recorder, private


def _may_capture() -> bool:
    """Whether this process has CAP_NET_RAW (capabilities(7))."""
    status = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
    effective = next(line for line in status.splitlines() if line.startswith("CapEff:"))
    return bool(int(effective.split()[1], 16) >> _CAP_NET_RAW & 1)


def sudo(options: Options) -> str:
    """The command line that does the same as root: sudo does not look for programs where the user does."""
    path = Path(sys.argv[0]).absolute()
    program = [sys.executable, "-m", "capture.cli"] if path.suffix == ".py" else [str(path)]
    return shlex.join(["sudo", *program, *options.command])


@contextmanager
def _signals() -> Iterator[int]:
    """Let INT, TERM and HUP end the run in order: a descriptor that becomes readable.

    Python ignores SIGINT in a process that a script started in the background; here it counts all the same. A SIGHUP
    that is ignored stays so: that is what nohup(1) is for.
    """
    reader, writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    wanted = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        wanted.remove(signal.SIGHUP)
    wakeup = signal.set_wakeup_fd(writer)  # before the handlers: no signal comes unnoticed
    # What is left to do takes a moment; should it hang, on a pager that takes no more, say, it ends all the same.
    before = {one: signal.signal(one, lambda *_: signal.alarm(_HANGS) and None) for one in wanted}
    try:
        yield reader
    finally:
        signal.alarm(0)
        for one, handler in before.items():
            signal.signal(one, handler)
        signal.set_wakeup_fd(wakeup)
        os.close(reader)
        os.close(writer)


def _record(  # noqa: PLR0913 - everything that is at work during a recording
    options: Options, chosen: Plan, recorder: Recorder, teller: Teller, signalled: int, *, private: bool
) -> Outcome:
    """Record until the repro ends, a signal comes, the file cannot be written or a limit is reached."""
    with ExitStack() as opened:
        sink = Sink(options.write)
        opened.callback(sink.close)
        repro = Repro(chosen)
        opened.callback(repro.stop)
        # The child is at work; the rings keep what it does until these are there.
        from analysis.reader import Analysis  # noqa: PLC0415

        flow = _Flow(recorder, sink, Analysis("standard output" if sink.name == "-" else sink.name), options.count)
        ready = opened.enter_context(selectors.DefaultSelector())
        for one in (*recorder.filenos(), repro.fileno(), signalled):
            ready.register(one, selectors.EVENT_READ)
        deadline = time.monotonic() + chosen.seconds + _GRACE
        stopped = False
        while not (stopped or flow.full or flow.trouble or time.monotonic() > deadline):
            events = {key.fd for key, _ in ready.select(_TICK)}
            flow.take(recorder.poll())
            if repro.fileno() in events and not repro.read():
                break
            stopped = signalled in events
            teller.progress(repro.account)
        teller.progress(None)
        repro.stop()
        flow.take(recorder.finish())
        flow.close()
        return Outcome(
            plan=chosen,
            repro=repro,
            recorder=recorder,
            sink=sink,
            result=flow.analysis.finish(),
            interface=options.interface,
            private=private,
            packets=flow.packets,
            trouble=flow.trouble,
        )


class _Flow:
    """Where the recorder's stream goes: into the file at once, into the analysis when there is time."""

    def __init__(self, recorder: Recorder, sink: Sink, analysis: Analysis, count: int | None) -> None:
        self.analysis = analysis
        self.packets = 0
        self.trouble: str | None = None
        self._recorder, self._sink, self._count = recorder, sink, count
        self._behind: deque[memoryview] = deque()

    @property
    def full(self) -> bool:
        """Whether there are as many packets as were asked for."""
        return self._count is not None and self.packets >= self._count

    def take(self, stream: bytes) -> None:
        """Write what comes next, and analyse for a moment."""
        if self._count is None:
            self.packets = self._recorder.packets
        else:
            stream, packets = _first(stream, self._count - self.packets)
            self.packets += packets
        if not self.trouble:
            try:
                self._sink.write(stream)
            except Incomplete as error:
                self.trouble = str(error)
        self.trouble = self.trouble or self._recorder.trouble
        view = memoryview(stream)
        self._behind.extend(view[start : start + _PORTION] for start in range(0, len(view), _PORTION))
        until = time.monotonic() + _TURN
        while self._behind and time.monotonic() < until:
            self.analysis.feed(self._behind.popleft())

    def close(self) -> None:
        """Close the file and analyse the rest."""
        try:
            self._sink.close()
        except Incomplete as error:
            self.trouble = self.trouble or str(error)
        while self._behind:
            self.analysis.feed(self._behind.popleft())


def _first(stream: bytes, count: int) -> tuple[bytes, int]:
    """Leave out of whole pcapng blocks all packets after the first *count*: the rest, and how many there are."""
    kept, packets, at = [], 0, 0
    while at < len(stream):
        kind, length = struct.unpack_from("<II", stream, at)
        packet = kind == pcapng.ENHANCED_PACKET
        if not packet or packets < count:
            kept.append(stream[at : at + length])
            packets += packet
        at += length
    return b"".join(kept), packets
