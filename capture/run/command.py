"""A program of the user's, running while the recorder records: ``selfconn-capture -- COMMAND``.

It runs as the user and not as root, because privilege was given up before, in a process group of its own. Processes
that it leaves behind become our children (prctl(2), PR_SET_CHILD_SUBREAPER), so that we can find and end them: none
goes on after the run unless the user asked for it.

Job control: COMMAND starts as a background job of the terminal. It may write to the terminal. When it reads, the
kernel stops it (SIGTTIN), and we make it the foreground job. So Ctrl-C goes to us until COMMAND reads from the
terminal, and to COMMAND afterwards; Ctrl-Z stops both.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import time
from pathlib import Path

from analysis.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36  # <linux/prctl.h>
#: Seconds to end in after SIGTERM, and to be gone in after SIGKILL; between two looks in between. With all that is
#: left to do, a signal to us is obeyed within two seconds.
_POLITE, _PATIENCE, _LOOK = 0.7, 0.8, 0.01


class Command:
    """COMMAND, started when the constructor returns.

    *output* is the descriptor for its standard output (None: ours). *outlives*: it may go on when we are gone. Raises
    UsageError where it cannot be run.

    Call poll() now and then, at the end stop() or leave(). ``status`` is the exit status, ``signal`` the number of
    the signal that ended it; both None while it runs. ``stopped``: whether we ended it.
    """

    def __init__(self, argv: Sequence[str], *, output: int | None = None, outlives: bool = False) -> None:
        self.argv = tuple(argv)
        self.status: int | None = None
        self.signal: int | None = None
        self.stopped = self._left = False
        self._terminal = _terminal()
        self._handed_over = False
        self._began = time.monotonic()
        self._ended: float | None = None
        _prctl(_PR_SET_CHILD_SUBREAPER, 1)
        ours = os.getpid()

        def before_exec() -> None:
            signal.set_wakeup_fd(-1)
            if not outlives:
                die_with(ours, signal.SIGTERM)

        try:
            self._process = subprocess.Popen(  # noqa: S603 - it is what the user asked for, with the user's rights
                self.argv,
                stdout=output,
                process_group=0,
                preexec_fn=before_exec,  # noqa: PLW1509 - there is one thread
            )
        except (OSError, ValueError) as error:
            raise UsageError(f"cannot run {argv[0]!r}: {getattr(error, 'strerror', None) or error}") from error
        self.pid = self._process.pid

    @property
    def running(self) -> bool:
        """Whether COMMAND itself has not ended, as far as poll() knows."""
        return self._ended is None

    @property
    def seconds(self) -> float:
        """How long it ran, or runs so far."""
        return (self._ended or time.monotonic()) - self._began

    def poll(self) -> bool:
        """See what became of it and of what it left to us; whether COMMAND itself still runs."""
        while news := _news():
            pid, state = news
            if pid != self.pid:
                continue
            if os.WIFSTOPPED(state):
                self._was_stopped(os.WSTOPSIG(state))
            else:
                self._ended = time.monotonic()
                code = os.waitstatus_to_exitcode(state)
                self._process.returncode = code  # or subprocess would go on to ask for it
                self.status, self.signal = (code, None) if code >= 0 else (None, -code)
        return self.running

    def stop(self, meanwhile: Callable[[], object]) -> bool:
        """End COMMAND and all that it started and left: SIGTERM, and after a moment SIGKILL. False: something stayed.

        *meanwhile* is called all the while: what they do at the end belongs to the recording.
        """
        if self._left:
            return True
        self.stopped |= self.poll()
        began = time.monotonic()
        signalled: set[int] = set()
        while _has_children() and (passed := time.monotonic() - began) < _POLITE + _PATIENCE:
            for pid in _descendants(os.getpid()):  # again and again: a process may have made another since
                if pid not in signalled or passed > _POLITE:
                    signalled.add(pid)
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, signal.SIGTERM if passed < _POLITE else signal.SIGKILL)
                        os.kill(pid, signal.SIGCONT)
            meanwhile()
            time.sleep(_LOOK)
            self.poll()
        self._take_back()
        return not _has_children()

    def leave(self) -> None:
        """End our part, and let COMMAND run on."""
        self._process.returncode = 0  # or subprocess would complain that nobody waits for it
        self._left = True
        self._take_back()

    # -- the terminal --

    def _was_stopped(self, number: int) -> None:
        """COMMAND was stopped: it needs the terminal, or the user pressed Ctrl-Z. After a SIGSTOP nothing is done."""
        if number not in (signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU):
            return
        if number == signal.SIGTSTP or not self._hand_over():
            had = self._handed_over
            self._take_back()
            os.killpg(0, number)  # stop ourselves, too, until the user's shell continues us
            if had or number != signal.SIGTSTP:
                self._hand_over()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGCONT)

    def _hand_over(self) -> bool:
        """Make COMMAND the foreground job, if we are that now; return whether it was done."""
        with contextlib.suppress(OSError):
            if self._terminal is not None and os.tcgetpgrp(self._terminal) == os.getpgrp():
                _put_in_foreground(self._terminal, self.pid)
                self._handed_over = True
                return True
        return False

    def _take_back(self) -> None:
        if self._handed_over and self._terminal is not None:
            self._handed_over = False
            with contextlib.suppress(OSError):
                _put_in_foreground(self._terminal, os.getpgrp())


def _terminal() -> int | None:
    """Open the controlling terminal, if there is one."""
    with contextlib.suppress(OSError):
        return os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    return None


def _put_in_foreground(terminal: int, group: int) -> None:
    # From the background this would stop us by SIGTTOU.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTTOU])
    try:
        os.tcsetpgrp(terminal, group)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def die_with(parent: int, number: signal.Signals) -> None:
    """Have the kernel send this process a signal when its parent ends; end at once if *parent* has ended already."""
    _prctl(_PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os._exit(1)


def _prctl(option: int, argument: int) -> None:
    ctypes.CDLL(None).prctl(option, ctypes.c_ulong(argument))


def _news() -> tuple[int, int] | None:
    """Return the process and the status of a child that ended or was stopped (waitpid(2)); None: there is none."""
    try:
        pid, state = os.waitpid(-1, os.WNOHANG | os.WUNTRACED)
    except ChildProcessError:
        return None
    return (pid, state) if pid else None


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _descendants(ancestor: int) -> Iterator[int]:
    """Find the processes below *ancestor*, by what proc(5) says of parents."""
    children: dict[int, list[int]] = {}
    for entry in os.scandir("/proc"):
        if entry.name.isdecimal():
            with contextlib.suppress(OSError):
                stat = Path(entry.path, "stat").read_bytes()
                parent = int(stat.rpartition(b")")[2].split()[1])
                children.setdefault(parent, []).append(int(entry.name))
    below = children.get(ancestor, [])
    for pid in below:  # grows while we go through it
        below.extend(children.get(pid, []))
        yield pid
