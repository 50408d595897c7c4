"""The walk in the terminal, on a real pseudo-terminal: what keys do, what is drawn, and what is left behind."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import writers
from conftest import ROOT
from segments import SELF6, Talk, packets, refused, self_connect

from analysis.cli import main
from analysis.model import CaptureResult, Verdict
from analysis.report import report
from analysis.views.step import _Stepping, _Terminal

if TYPE_CHECKING:
    from pathlib import Path
    from typing import Self

TWICE = ROOT / "pcaps" / "self-connect-after-time-wait.pcapng"
ENTER, LEAVE = "\x1b[?1049h", "\x1b[?1049l"
LAST = "arrows or space: step"
RIGHT, LEFT, DOWN, UP, END, HOME, PAGE_DOWN, PAGE_UP = (
    "\x1b[C", "\x1bOD", "\x1b[B", "\x1b[A", "\x1b[F", "\x1bOH", "\x1b[6~", "\x1b[5~",
)  # fmt: skip


class Session:
    """The command as the foreground program of a terminal of its own."""

    def __init__(self, *arguments: str | Path, columns: int = 100, lines: int = 30, stdin: int | None = None) -> None:
        self.terminal, theirs = pty.openpty()
        self.resize(columns, lines)
        self.before = termios.tcgetattr(self.terminal)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "analysis.cli", "--step", *map(str, arguments)],
            stdin=theirs if stdin is None else stdin,
            stdout=theirs,
            stderr=theirs,
            cwd=ROOT,
            env={**os.environ, "TERM": "xterm"},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(1, termios.TIOCSCTTY, 0),  # noqa: PLW1509 -- one thread, one call
        )
        os.close(theirs)
        self.shown = ""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self.terminal)

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self.terminal, termios.TIOCSWINSZ, struct.pack("4H", lines, columns, 0, 0))

    def screen(self, expected: str) -> str:
        """The next screen in which *expected* stands, without what paints it."""
        while True:
            whole, found, rest = self.shown.partition("\x1b[H")
            if found:
                self.shown = rest
                text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", whole).replace("\r", "")
                if expected in text:
                    return text
            else:
                self._read(f"no {expected!r}")

    def until(self, expected: str) -> None:
        """Wait for what is written outside of the screens."""
        while expected not in self.shown:
            self._read(f"no {expected!r}")

    def _read(self, otherwise: str) -> None:
        if not select.select([self.terminal], [], [], 30)[0]:
            raise AssertionError(f"{otherwise} in {self.shown!r}")
        try:
            self.shown += os.read(self.terminal, 65536).decode()
        except OSError:  # how a terminal says that nobody is at the other end
            raise AssertionError(f"{otherwise}, and it ended: {self.shown!r}") from None

    def keys(self, *keys: str) -> None:
        os.write(self.terminal, "".join(keys).encode())

    def end(self) -> int:
        """The exit status, or less than 0 for a signal; what was left to read is in ``shown``."""
        with suppress(AssertionError):
            self.until("never written")
        return self.process.wait(timeout=30)

    def is_as_before(self) -> bool:
        """Whether the terminal takes keys as it did, and shows what it showed."""
        return termios.tcgetattr(self.terminal) == self.before and LEAVE in self.shown and "\x1b[?25h" in self.shown


def test_through_all_steps_and_back() -> None:
    with Session(TWICE) as session:
        first = session.screen("step 1 of 14: frame 1 leaves A (send SYN)")
        assert first.splitlines()[0].rstrip() == "self-connect: 127.0.0.1:50000 > 127.0.0.1:50000"
        assert "1 of 2 openings" in first
        assert "\nA  CLOSED > SYN-SENT\n" in first
        assert re.search(r"^> +1 +0\.0 us  A > A SYN  seq 0", first, re.MULTILINE)
        session.keys(RIGHT)
        second = session.screen("step 2 of 14: frame 1 reaches A (receive SYN)")
        assert "A SYN-SENT > SYN-RECEIVED\nits own SYN arrives in SYN-SENT: simultaneous open" in second
        session.keys(" ", DOWN, "\r", "n", LEFT, UP, "p", "\x7f")
        session.screen("step 2 of 14")
        session.keys(END)
        assert "- Close of A: ESTABLISHED > FIN-WAIT-1 > CLOSING > TIME-WAIT." in session.screen("step 14 of 14")
        session.keys(RIGHT, HOME, LEFT)
        session.screen("step 1 of 14")
        session.keys(PAGE_DOWN)
        assert "step 1 of 12: frame 8 leaves A" in session.screen("2 of 2 openings")
        session.keys(PAGE_DOWN, PAGE_UP, "[")
        session.screen("1 of 2 openings")
        session.keys("q")
        assert session.end() == 0
        assert session.is_as_before()


def test_a_finding_and_what_is_inferred(tmp_path: Path) -> None:
    path = tmp_path / "a.pcap"
    talk = Talk().a("S").b(".", 0, 1).b("S").a("S.", 0, 1).b(".", 1, 1)
    path.write_bytes(writers.pcap(packets(talk.segments), 101, kind="nano"))
    with Session("--color", "always", path) as session:
        assert "B CLOSED > LISTEN (inferred)" in session.screen("step 1 of ")
        session.keys(RIGHT, RIGHT, RIGHT)
        session.until("\x1b[31man ACK where a SYN-ACK belongs: a split handshake begins\x1b[0m")
        session.keys("\x1b")
        assert session.end() == 0


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGQUIT, 131)]
)
def test_a_signal_leaves_the_terminal_as_it_was(number: signal.Signals, status: int) -> None:
    with Session(TWICE) as session:
        session.screen(LAST)
        os.kill(session.process.pid, number)
        assert session.end() == status
        assert session.is_as_before()
        assert "Traceback" not in session.shown


def test_control_c() -> None:
    with Session(TWICE) as session:
        session.screen(LAST)
        session.keys("\x03")
        assert session.end() == 130
        assert session.is_as_before()


def test_control_z_and_back() -> None:
    with Session(TWICE) as session:
        session.screen(LAST)
        session.keys(RIGHT)
        session.screen("step 2 of 14")
        os.kill(session.process.pid, signal.SIGCONT)  # without effect while it runs
        session.keys("\x1a")
        session.until(LEAVE)
        # It leads the session of its terminal, and nobody is there to say fg: the kernel lets it go on at once.
        session.until(ENTER)
        session.screen("step 2 of 14")
        session.keys("q")
        assert session.end() == 0
        assert session.is_as_before()


def test_another_size_is_another_screen() -> None:
    with Session(TWICE, columns=60, lines=16) as session:
        small = session.screen(LAST).splitlines()
        assert len(small) == 16
        assert max(map(len, small)) <= 60
        session.resize(120, 50)
        os.kill(session.process.pid, signal.SIGWINCH)
        while len(session.screen(LAST).splitlines()) != 50:
            pass
        session.keys("q")
        assert session.end() == 0


def test_the_terminal_goes_away() -> None:
    with Session(TWICE) as session:
        session.screen(LAST)
        spare = os.open("/dev/null", os.O_RDONLY)
        os.dup2(spare, session.terminal)  # nobody holds the other end of the terminal any more
        os.close(spare)
        assert session.process.wait(timeout=30) in {0, 129}


def test_a_capture_on_standard_input_and_keys_from_the_terminal() -> None:
    reader, writer = os.pipe()
    os.write(writer, TWICE.read_bytes())
    os.close(writer)
    with Session("-", stdin=reader) as session:
        os.close(reader)
        assert "1 of 2 openings, standard input" in session.screen("step 1 of 14")
        session.keys("q")
        assert session.end() == 0
        assert session.is_as_before()


def test_names_cannot_move_the_cursor(tmp_path: Path) -> None:
    path = tmp_path / "\x1b[2Jx\n\u202e.pcap"
    path.write_bytes(writers.pcap(packets(self_connect(SELF6).segments), 101, kind="nano"))
    with Session(path, columns=300) as session:
        assert r"\x1b[2Jx\n\u202e.pcap" in session.screen(LAST)
        session.keys("q")
        assert session.end() == 0


def test_without_anything_to_walk_through(tmp_path: Path) -> None:
    path = tmp_path / "a.pcap"
    path.write_bytes(writers.pcap(packets(refused().segments), 101, kind="nano"))
    with Session(path) as session:
        assert session.end() == 2
        assert "--step: there is no opening to walk through" in session.shown
        assert ENTER not in session.shown


@pytest.mark.parametrize("more", [["--format", "json"], ["-o", "x"], []])
def test_without_a_terminal(more: list[str]) -> None:
    command = [sys.executable, "-m", "analysis.cli", "--step", *more, str(TWICE)]
    answer = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (answer.returncode, answer.stdout) == (2, "")
    assert answer.stderr.count("\n") == 1


def test_every_size_has_a_screen_of_its_size() -> None:
    ours, theirs = pty.openpty()
    try:
        openings = [self_connect(SELF6), Talk().a("S").opening(Verdict.UNANSWERED)]
        whole = report([CaptureResult("a.pcap", openings=openings)])
        walk = _Stepping(whole, _Terminal(theirs, theirs), color=False)
        for number in range(len(openings)):
            walk._do("first" if number == 0 else "next opening")
            for key in ("first", "next", "last"):
                walk._do(key)
                for columns, lines in ((1, 1), (10, 3), (40, 12), (80, 24), (200, 60)):
                    rows = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", walk.screen(columns, lines)).split("\r\n")
                    assert len(rows) == lines
                    assert max(map(len, rows)) <= columns
    finally:
        os.close(ours)
        os.close(theirs)


def test_a_line_that_fills_the_terminal_keeps_its_last_character() -> None:
    """After the last column the cursor stays on it (lines are not wrapped): what clears from there on clears it."""
    ours, theirs = pty.openpty()
    try:
        whole = report([CaptureResult("a.pcap", openings=[self_connect(SELF6)])])
        screen = _Stepping(whole, _Terminal(theirs, theirs), color=True).screen(30, 30)
    finally:
        os.close(ours)
        os.close(theirs)
    full = 0
    for row in screen.split("\r\n"):
        column = 0
        for escape, character in re.findall(r"(\x1b\[[0-9;?]*[A-Za-z])|(.)", row):
            assert not (escape.endswith(("K", "J")) and column == 30), row
            column += bool(character)
        full += column == 30
    assert full > 2


def test_refused_options_are_refused_before_anything_is_read(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--step", "--format", "html", "/nowhere"]) == 2
    assert "leave out --format and -o" in capsys.readouterr().err
