"""Stepping through a timeline with the keyboard, in the terminal: one step of the replay at a time.

A step is a segment that leaves a socket, or one that reaches a socket: what it did there stands below, and the state of
each socket above. It uses the alternate screen, and always leaves it at the end, even after an error or a signal.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import termios
import textwrap
from contextlib import contextmanager, suppress

from ..commandline import status_after, waking
from ..errors import UsageError
from ..records import NamedTuple
from ..states import State
from ..text import count, printable
from .phrases import before, close, everything_seen, kind, names, segment_lines, span, why

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

    from ..model import Segment
    from ..replay import Step
    from ..report import Account, Entry, Report

#: What a key does. Terminals send several octets for some keys: ESC [ C or, in another mode, ESC O C.
_KEYS = {
    **dict.fromkeys((b"\x1b[C", b"\x1bOC", b"\x1b[B", b"\x1bOB", b" ", b"\r", b"\n", b"l", b"j", b"n"), "next"),
    **dict.fromkeys((b"\x1b[D", b"\x1bOD", b"\x1b[A", b"\x1bOA", b"\x7f", b"\x08", b"h", b"k", b"p"), "back"),
    **dict.fromkeys((b"\x1b[H", b"\x1bOH", b"\x1b[1~", b"g"), "first"),
    **dict.fromkeys((b"\x1b[F", b"\x1bOF", b"\x1b[4~", b"G"), "last"),
    **dict.fromkeys((b"\x1b[6~", b"\t", b"]"), "next opening"),
    **dict.fromkeys((b"\x1b[5~", b"\x1b[Z", b"["), "opening before"),
    **dict.fromkeys((b"q", b"Q", b"\x1b", b"\x04"), "quit"),
    b"\x03": "interrupt",
    b"\x1a": "suspend",
    b"\x0c": "draw",
}
#: Octets that may be the Esc key, or the beginning of another key; seconds to wait for its rest.
_BEGUN, _PATIENCE = (b"\x1b", b"\x1b[", b"\x1bO"), 0.05
_HELP = "arrows or space: step   Home, End   PgUp, PgDn: opening   q: quit"

#: Alternate screen, cursor and line wrapping: what is turned on, and what is left behind.
_ENTER, _LEAVE = "\x1b[?1049h\x1b[?25l\x1b[?7l", "\x1b[?7h\x1b[?25h\x1b[?1049l"
_HOME, _CLEAR_LINE = "\x1b[H", "\x1b[K"
#: Bold, dim, reverse, green, yellow, red.
_BOLD, _DIM, _REVERSE, _CHANGE, _INFERRED, _FINDING = "1", "2", "7", "32", "33", "31"


def check() -> None:
    """Raise UsageError where standard output is no terminal."""
    if not (sys.stdout and sys.stdout.isatty()):
        raise UsageError("--step needs a terminal, and standard output is none: do not redirect it")


def step_through(report: Report, *, color: bool = True) -> None:
    """Step through the openings of *report* until the user has seen enough.

    Raises UsageError where there is no terminal or nothing to step through, KeyboardInterrupt for Ctrl-C.
    """
    check()
    if not report.entries:
        seen = "" if everything_seen(report) else " in what was seen, which is not everything (see the table)"
        raise UsageError(
            f"--step: there is no opening to walk through{seen}; ordinary ones are shown only with --all or --only"
        )
    with _terminal() as terminal:
        _Stepping(report, terminal, color=color).run()


# -- the terminal --------------------------------------------------------------------------------------------------


class _Terminal:
    """A terminal: keys in, screens out."""

    def __init__(self, keys: int, screen: int) -> None:
        self._keys, self._screen = keys, screen
        self._waiting = b""
        self._before = termios.tcgetattr(keys)

    def enter(self) -> None:
        """Take keys one by one, unseen, and turn to the alternate screen."""
        mode = termios.tcgetattr(self._keys)
        mode[0] &= ~(termios.ICRNL | termios.IXON)
        mode[3] &= ~(termios.ICANON | termios.ECHO | termios.ISIG | termios.IEXTEN)
        mode[6][termios.VMIN], mode[6][termios.VTIME] = 1, 0
        termios.tcsetattr(self._keys, termios.TCSAFLUSH, mode)
        self.write(_ENTER)

    def leave(self) -> None:
        """Restore the terminal, if it is still there."""
        with suppress(OSError, termios.error):
            self.write(_LEAVE)
        with suppress(OSError, termios.error):
            termios.tcsetattr(self._keys, termios.TCSAFLUSH, self._before)

    def write(self, text: str) -> None:
        rest = text.encode("utf-8", "backslashreplace")
        while rest:
            rest = rest[os.write(self._screen, rest) :]

    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        with suppress(OSError):
            size = os.get_terminal_size(self._screen)
            if size.columns and size.lines:
                return size
        return shutil.get_terminal_size()

    def key(self, wake: int) -> str:
        """What the next key means, "" for nothing; "draw" as well where something can be read from *wake*."""
        if not self._waiting:
            ready, _, _ = select.select([self._keys, wake], [], [])
            if wake in ready:
                os.read(wake, 512)
                return "draw"
            self._waiting = os.read(self._keys, 512)
            if not self._waiting:
                return "quit"  # the terminal is gone
            while self._waiting in _BEGUN and select.select([self._keys], [], [], _PATIENCE)[0]:
                self._waiting += os.read(self._keys, 512)
        found = max((key for key in _KEYS if self._waiting.startswith(key)), key=len, default=self._waiting[:1])
        if found == b"\x1b" and len(self._waiting) > 1:  # a key that we do not know
            self._waiting = b""
            return ""
        self._waiting = self._waiting[len(found) :]
        return _KEYS.get(found, "")


@contextmanager
def _terminal() -> Iterator[_Terminal]:
    """The terminal on standard output, and the keyboard that belongs to it; left as it was, whatever happens."""
    opened = None
    try:
        keys = 0 if os.isatty(0) else (opened := os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        raise UsageError("--step reads keys from a terminal, and there is none: start it in a terminal") from error
    sys.stdout.flush()
    try:
        terminal = _Terminal(keys, sys.stdout.fileno())
        try:
            terminal.enter()
            yield terminal
        finally:
            terminal.leave()
    finally:
        if opened is not None:
            os.close(opened)


def _signals() -> AbstractContextManager[int]:
    """A file descriptor that can be read when a signal came, as when the terminal has another size.

    SIGQUIT ends the stepping in order; INT, TERM and HUP are the caller's.
    """

    def leave(number: int, _: object) -> None:
        sys.exit(status_after(number))

    return waking({signal.SIGWINCH: lambda *_: None, signal.SIGQUIT: leave})


# -- stepping -----------------------------------------------------------------------------------------------------


class _Place(NamedTuple):
    """Where in an opening we are: nothing has happened before step 1."""

    entry: Entry
    account: Account
    step: int

    @property
    def steps(self) -> list[Step]:
        return self.account.replay.steps


class _Stepping:
    """The stepping: which opening, which step, and what that looks like."""

    def __init__(self, report: Report, terminal: _Terminal, *, color: bool) -> None:
        self._report, self._terminal, self._color = report, terminal, color
        self._opening = 0
        self._place = self._enter(0)

    def _enter(self, number: int) -> _Place:
        entry = self._report.entries[number]
        return _Place(entry, entry.account(), 1)

    def run(self) -> None:
        """Draw, and do what the keys say, until one of them ends it."""
        with _signals() as wake, suppress(OSError):  # the terminal may go away
            key = "draw"
            while key != "quit":
                if key:
                    self._do(key)
                    self._terminal.write(self.screen(*self._terminal.size()))
                key = self._terminal.key(wake)

    def _do(self, key: str) -> None:
        place, last = self._place, max(len(self._place.steps), 1)
        match key:
            case "next":
                self._place = place._replace(step=min(place.step + 1, last))
            case "back":
                self._place = place._replace(step=max(place.step - 1, 1))
            case "first":
                self._place = place._replace(step=1)
            case "last":
                self._place = place._replace(step=last)
            case "next opening" | "opening before":
                number = self._opening + (1 if key == "next opening" else -1)
                if 0 <= number < len(self._report.entries):
                    self._opening, self._place = number, self._enter(number)
            case "interrupt":
                raise KeyboardInterrupt
            case "suspend":
                self._terminal.leave()
                os.killpg(0, signal.SIGTSTP)  # and here it goes on, when the shell says so
                self._terminal.enter()

    # -- what it looks like ------------------------------------------------------------------------------------

    def screen(self, columns: int, lines: int) -> str:
        """The screen as it is now, with what draws it."""
        head, below = self._head(columns), self._below(columns)
        room = max(lines - len(head) - len(below) - 1, 1)
        text = [*head, *self._timeline(columns, room), *below][: max(lines - 1, 1)]
        text += [""] * (lines - 1 - len(text)) + [self._paint(_DIM, _HELP[:columns])]
        # Each line is cleared before it is written: after its last column the cursor still stands on that column.
        return _HOME + "\r\n".join(_CLEAR_LINE + line for line in text[-lines:]) + _HOME

    def _paint(self, style: str, text: str) -> str:
        # Which line it is must be seen without colour, too.
        return f"\x1b[{style}m{text}\x1b[0m" if text and (self._color or style in {_BOLD, _REVERSE}) else text

    def _head(self, columns: int) -> list[str]:
        """Which opening, and in which state each of its sockets is."""
        report, entry = self._report, self._place.entry
        opening = entry.opening
        which = f"{self._opening + 1} of {count(len(report.entries), 'opening')}"
        title = f"{kind(opening)}: {opening.source} > {opening.destination}"
        name = printable(report.captures[entry.capture].name)
        lines = [self._paint(_BOLD, title[:columns]), self._paint(_DIM, f"{which}, {name}"[:columns]), ""]
        account = self._place.account
        lines += textwrap.wrap(before(account.replay, account.duration), columns, break_on_hyphens=False)
        lines.append("")
        now = self._place.steps[: self._place.step]
        letters = names(account.replay)
        for endpoint in account.replay.sockets:
            letter = letters[endpoint]
            path = [State.CLOSED, *(step.after for step in now if step.endpoint == endpoint and step.changes)]
            passed = " > ".join(path[:-1])
            room = max(columns - len(path[-1]) - len(letter) - 6, 0)
            passed = passed if len(passed) <= room else "..." + passed[len(passed) - max(room - 3, 0) :]
            lines.append(
                f"{letter}  {self._paint(_DIM, passed + ' > ' if passed else '')}{self._paint(_BOLD, path[-1])}"
            )
        return [*lines, ""]

    def _timeline(self, columns: int, room: int) -> list[str]:
        """The segments around the one of the step, as far as there is room."""
        replayed = self._place.account.replay
        step = self._step()
        frames = [segment.frame for segment in replayed.segments]
        here = frames.index(step.frame) if step else 0
        first = max(min(here - room // 2, len(frames) - room), 0)
        return [
            self._segment(segment, columns, here=place == here, past=place < here)
            for place, segment in enumerate(replayed.segments[first : first + room], first)
        ]

    def _segment(self, segment: Segment, columns: int, *, here: bool, past: bool) -> str:
        replayed = self._place.account.replay
        time = span(segment.time - replayed.opening.time)
        words = f"{'>' if here else ' '} {segment.frame:>6}  {time:>9}  {'  '.join(segment_lines(segment, replayed))}"
        text = words[:columns]
        return self._paint(_REVERSE, text.ljust(columns)) if here else text if past else self._paint(_DIM, text)

    def _step(self) -> Step | None:
        steps = self._place.steps
        return steps[self._place.step - 1] if steps else None

    def _below(self, columns: int) -> list[str]:
        """What the step did, and why; after the last one, how it ended."""
        step = self._step()
        if step is None:
            return []
        replayed, notes, _ = self._place.account
        letter = names(replayed)[step.endpoint]
        what = "before it reaches" if step.by_itself else "leaves" if step.sends else "reaches"
        number = f"step {self._place.step} of {len(self._place.steps)}"
        lines = ["", f"{number}: frame {step.frame} {what} {letter} ({step.event})"]
        if step.changes:
            mark = " (inferred)" if step.inferred else ""
            style = _INFERRED if step.inferred else _CHANGE
            lines.append(self._paint(style, f"{letter} {step.before} > {step.after}{mark}"[:columns]))
        else:
            lines.append(f"{letter} stays {step.before}"[:columns])
        style = _FINDING if step.finding else ""
        reason = textwrap.wrap(why(step), columns, break_on_hyphens=False)
        lines += [self._paint(style, line) if style else line for line in reason]
        said = self._report.said(self._place.entry) or {}
        if (witness := said.get(step.frame)) and witness.says:
            lines.append(self._paint(_DIM, f"Wireshark: {', '.join(witness.says)}"[:columns]))
        if self._place.step == len(self._place.steps):
            for text in (*close(replayed), *notes):
                lines += textwrap.wrap(text, columns, initial_indent="- ", subsequent_indent="  ")
        return lines
