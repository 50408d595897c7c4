"""The words of a run: what was asked for, what is there, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass

from analysis.errors import Incomplete
from analysis.model import Verdict
from analysis.records import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from analysis.model import CaptureResult, Opening

    from ..kernel.kernel_states import KernelStates
    from ..kernel.port_choice import Kernel
    from ..kernel.socket_owner import SocketOwner
    from ..packets.recorder import Recorder
    from .command import Command
    from .output import Sink
    from .repro import Plan, Progress

#: The port to dial unless another one is asked for.
PORT = 50000


@dataclass(frozen=True, slots=True)
class Options:
    """What the command line asks for; cli.py says what each means. ``argv`` is the command line itself."""

    host: str = "127.0.0.1"
    port: int | None = None
    repro: str = "auto"
    attempts: int | None = None
    timeout: float | None = None
    close: str = "fin"
    then: str = "stop"
    watch: bool = False
    before: int = 10_000
    keep: int = 1000
    private: bool = False
    netns: str | None = None
    range: tuple[int, int] | None = None
    interface: str = "lo"
    write: str | None = None
    count: int | None = None
    quiet: bool = False
    verbose: bool = False
    format: str | None = None
    output: str | None = None
    color: str = "auto"
    command: tuple[str, ...] = ()
    argv: tuple[str, ...] = ()

    @property
    def only_port(self) -> int | None:
        """The port that a self-connect must have to count; None: any."""
        return self.port if self.command else self.port or PORT


class RunContext(NamedTuple):
    """What is there when privilege has been given up. ``signalled`` becomes readable at a signal to end the run.

    ``namespace`` is what the network namespace is called: host, private, or the name of the one that was asked for.
    """

    options: Options
    recorder: Recorder
    kernel_states: KernelStates
    namespace: str
    signalled: int


@dataclass(slots=True)
class Outcome:
    """What a run came to. ``trouble`` says what is missing from it.

    ``plan`` is the repro's, ``command`` what ran instead of one; the progress is of either. ``owners`` are the sockets
    that were connected to themselves.
    """

    context: RunContext
    sink: Sink
    result: CaptureResult
    packets: int
    trouble: str | None
    kernel: Kernel
    progress: Progress
    plan: Plan | None = None
    command: Command | None = None
    owners: Sequence[SocketOwner] = ()

    @property
    def openings(self) -> list[Opening]:
        """The self-connects in the capture that count."""
        port = self.context.options.only_port
        return [
            opening
            for opening in self.result.openings
            if opening.verdict is Verdict.SELF_CONNECT
            and (opening.source == self.plan.outlook.target if self.plan else port in (None, opening.source.port))
        ]

    @property
    def status(self) -> int:
        """The exit status."""
        if self.trouble or self.context.recorder.dropped:
            return Incomplete.status
        return 0 if self.openings else 1
