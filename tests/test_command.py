"""A program of the user's under capture: who it is, what ends it, and that nothing of it is left."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import pwd
import select
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from test_capture_cli import ENVIRONMENT, capture

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("need_private_namespace")]

#: A client as in the story, quicker. Its argument says what it does when it is connected.
CLIENT = """
import socket, sys, time
while True:
    with socket.socket() as client:
        if not client.connect_ex(("127.0.0.1", 50000)):
            exec(sys.argv[1])
"""
STAY = "time.sleep(1000)"


def client(then: str = STAY) -> tuple[str, ...]:
    return (sys.executable, "-I", "-c", CLIENT, then)


def run(cwd: Path, *arguments: str, status: int = 0, **how: Any) -> dict[str, Any]:
    """What a run reports, as an object, when its exit status is right and nothing of it is left."""
    mark = f"SELFCONN_TEST_{os.getpid()}_{time.monotonic_ns()}"
    how["env"] = how.pop("env", ENVIRONMENT) | {mark: "1"}
    command = ["-m", "capture.cli", "--private", "--format", "json", "-q", "-w", "made.pcapng", *arguments]
    ended = subprocess.run(
        [how.pop("python", sys.executable), *command],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **how,
    )
    assert ended.returncode == status, ended.stderr
    assert left(mark) == []
    assert ended.stdout, ended.stderr
    made: dict[str, Any] = json.loads(ended.stdout)
    made["errors"] = ended.stderr
    return made


def left(mark: str) -> list[str]:
    """The processes that have *mark* in their environment."""
    found = []
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if mark.encode() in environment.read_bytes():
                found.append((environment.parent / "cmdline").read_text())
    return found


def test_its_self_connect_is_caught_and_it_is_stopped(tmp_path: Path) -> None:
    made = run(tmp_path, "--", *client())
    assert made["live"] | {"repro": "command", "outcome": "hit", "target": None, "dropped": 0} == made["live"]
    assert (
        made["live"]["command"] | {"argv": [*client()], "status": None, "signal": "SIGTERM", "stopped": True}
        == (made["live"]["command"])
    )
    (opening,) = made["openings"]
    assert opening["verdict"] == "self-connect"
    assert opening["source"]["port"] == 50000
    assert opening["refused_before"] == made["live"]["attempts"] == made["captures"][0]["verdicts"]["refused"]
    assert opening["transitions"][-1]["to"] == "TIME-WAIT"  # its end is in the capture, too
    (socket,) = made["kernel"]["sockets"]
    assert socket["local"] == socket["peer"] == opening["source"]
    assert socket | {"state": "ESTABLISHED", "uid": os.getuid(), "pid": made["live"]["command"]["pid"]} == socket
    assert socket["process"].startswith("python")
    assert socket["user"] == pwd.getpwuid(os.getuid()).pw_name


#: Connects to itself again and again, while its parent cannot read what the kernel says of that.
STORM = """
import os, signal, socket, struct
os.kill(os.getppid(), signal.SIGSTOP)
for _ in range(950):
    with socket.socket() as me:
        me.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        me.bind(("127.0.0.1", 50000))
        me.connect(("127.0.0.1", 50000))
os.kill(os.getppid(), signal.SIGCONT)
"""


@pytest.mark.root
@pytest.mark.usefixtures("need_root")
def test_lost_kernel_events_are_said(tmp_path: Path) -> None:
    storm = ("--port", "50000", "--then", "wait", "--", sys.executable, "-I", "-c", STORM)
    made = run(tmp_path, *storm)
    lost, told = made["kernel"]["lost_events"], made["kernel"]["transitions"]
    assert lost > 0
    assert told
    assert made["kernel"]["agrees"] is None
    said = f"the kernel's own account of the states is incomplete: {lost:,} events lost, because they came faster"
    assert made["errors"] == f"selfconn-capture: {said} than they were read\n"
    table = capture("--private", "-w", os.devnull, *storm, cwd=tmp_path)
    assert table.returncode == 0
    assert "- The kernel's own account of the states is incomplete: " in table.stdout
    assert "- The kernel reported nothing about " in table.stdout


@pytest.mark.parametrize(
    ("command", "status"), [(("true",), 0), (("sh", "-c", "exit 7"), 7), (("sh", "-c", "kill -9 $$"), None)]
)
def test_one_that_ends_at_once(command: tuple[str, ...], status: int | None, tmp_path: Path) -> None:
    made = run(tmp_path, "--", *command, status=1)
    assert made["live"]["outcome"] == "ended"
    ran = made["live"]["command"]
    assert (ran["status"], ran["signal"], ran["stopped"]) == (status, None if status is not None else "SIGKILL", False)


def test_one_that_cannot_be_run(tmp_path: Path) -> None:
    ended = capture("--private", "-q", "--", "./nowhere", "-x", cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    why = "there is no such program; check its name and PATH"
    assert ended.stderr == f"selfconn-capture: cannot run './nowhere': {why}\n"
    assert not list(tmp_path.iterdir())


def test_one_that_ignores_sigterm_is_killed(tmp_path: Path) -> None:
    made = run(tmp_path, "--", "sh", "-c", 'trap "" TERM HUP INT; "$@"; sleep 1000', "sh", *client())
    assert made["live"]["command"]["signal"] == "SIGKILL"
    assert made["live"]["command"]["stopped"] is True


def test_what_it_leaves_behind_is_ended_with_it(tmp_path: Path) -> None:
    # In a session of its own, by way of a parent that has ended, and deaf to SIGTERM.
    daemon = "setsid sh -c 'trap \"\" TERM; sleep 1000' & sleep 1000 & sleep 0.1"
    made = run(tmp_path, "--", "sh", "-c", daemon, status=1)
    assert made["live"]["command"] | {"status": 0, "stopped": False} == made["live"]["command"]


def test_a_child_of_its_child_counts(tmp_path: Path) -> None:
    made = run(tmp_path, "--", "sh", "-c", '"$@" & wait', "sh", *client())
    (socket,) = made["kernel"]["sockets"]
    assert socket["pid"] != made["live"]["command"]["pid"]
    assert socket["process"].startswith("python")


def test_it_can_be_waited_for(tmp_path: Path) -> None:
    made = run(
        tmp_path, "--then", "wait", "--", *client("client.sendall(b'hello'); sys.exit(client.recv(9) != b'hello')")
    )
    assert made["live"]["outcome"] == "hit"
    assert made["live"]["command"] | {"status": 0, "signal": None, "stopped": False} == made["live"]["command"]
    assert made["openings"][0]["transitions"][-1]["to"] == "TIME-WAIT"


def test_it_does_not_outlive_us_when_we_fail(tmp_path: Path) -> None:
    """Deaf to the SIGTERM that the kernel sends it when we are gone, it has to be ended before."""
    mark = f"SELFCONN_TEST_{os.getpid()}_{time.monotonic_ns()}"
    broken = "import analysis.reader, sys; del analysis.reader.Analysis; from capture.cli import main; main()"
    command = [sys.executable, "-c", broken, "--private", "-q", "--", "sh", "-c", 'trap "" TERM; sleep 1000; true']
    ended = subprocess.run(
        command, cwd=tmp_path, env=ENVIRONMENT | {mark: "1"}, stderr=subprocess.PIPE, text=True, timeout=60, check=False
    )
    assert "ImportError" in ended.stderr
    assert left(mark) == []


def test_it_can_be_left_alone(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "capture.cli", "--private", "--format", "json", "-w", "made.pcapng"]
    ended = subprocess.run(
        [*command, "--then", "leave", "--", *client()],
        cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, timeout=60, check=True,
    )  # fmt: skip
    ran = json.loads(ended.stdout)["live"]["command"]
    assert (ran["status"], ran["signal"], ran["stopped"]) == (None, None, False)
    os.kill(ran["pid"], signal.SIGKILL)


@pytest.mark.parametrize(("limit", "outcome"), [(("--attempts", "200"), "limit"), (("--timeout", "0.5"), "limit")])
def test_a_limit_ends_it(limit: tuple[str, ...], outcome: str, tmp_path: Path) -> None:
    made = run(tmp_path, *limit, "--range", "40000-40007", "--", *client(), status=1)
    assert made["live"]["outcome"] == outcome
    assert made["live"]["attempts"] >= 200
    assert made["live"]["command"]["signal"] == "SIGTERM"


def test_only_the_asked_port_counts(tmp_path: Path) -> None:
    made = run(tmp_path, "--port", "50002", "--then", "wait", "--", *client("break"), status=1)
    assert made["live"]["outcome"] == "ended"
    assert made["kernel"]["sockets"] == []
    # It is captured all the same: what is connected to itself always is.
    assert made["captures"][0]["verdicts"]["self-connect"] == 1


def test_the_first_segment_is_captured(tmp_path: Path) -> None:
    once = "import socket; socket.socket().connect_ex(('127.0.0.1', 7))"
    for _ in range(3):
        made = run(tmp_path, "--", sys.executable, "-I", "-S", "-c", once, status=1)
        assert made["captures"][0]["verdicts"]["refused"] == 1


def test_what_it_prints_does_not_get_into_a_report_for_programs(tmp_path: Path) -> None:
    made = run(tmp_path, "--", "sh", "-c", "echo from the command", status=1)
    assert made["errors"] == "from the command\n"
    table = capture("--private", "-q", "-w", os.devnull, "--", "sh", "-c", "echo from the command", cwd=tmp_path)
    assert table.stdout.startswith("from the command\n")


def test_the_table_tells_of_it(tmp_path: Path) -> None:
    ended = capture("--private", "-w", os.devnull, "--", "sh", "-c", 'exec "$@" \x1b', "sh", *client(), cwd=tmp_path)
    assert ended.returncode == 0
    for words in ("The command", "was connected to itself", "Then it was stopped, and ended by SIGTERM."):
        assert words in ended.stdout
    if os.geteuid() == 0:
        lines = [line.split() for line in ended.stdout.splitlines()]
        beside = [(line[0], line[4]) for line in lines if len(line) > 5 and line[0] == line[4]]
        assert beside[:3] == [(state, state) for state in ("SYN-SENT", "SYN-RECEIVED", "ESTABLISHED")]
        assert "- The kernel agrees: CLOSED > SYN-SENT > SYN-RECEIVED > ESTABLISHED" in ended.stdout
    else:
        assert "The kernel's own account of the states is missing" in ended.stdout
    assert "until a socket connects from any port to itself; that ends it." in " ".join(ended.stderr.split())
    assert "\x1b" not in ended.stdout + ended.stderr


def test_a_signal_ends_both(tmp_path: Path) -> None:
    command = ("sh", "-c", "trap 'exit 9' TERM; echo begun >&2; while :; do sleep 0.05; done")
    process = subprocess.Popen(
        [sys.executable, "-m", "capture.cli", "--private", "--format", "json", "-w", "made.pcapng", "--", *command],
        cwd=tmp_path, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stderr
    while process.stderr.readline() != "begun\n":
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    assert process.returncode == 1
    live = json.loads(output)["live"]
    assert live["outcome"] == "stopped"
    assert live["command"] | {"status": 9, "signal": None, "stopped": True} == live["command"]


# -- on a terminal ---------------------------------------------------------------------------------------------------


CAPTURE = (sys.executable, "-m", "capture.cli", "--private", "-w", "made.pcapng")


class Terminal:
    """A terminal on which a program runs, ours unless it is another; what it shows so far."""

    def __init__(self, cwd: Path, *arguments: str, program: tuple[str, ...] = CAPTURE) -> None:
        self.pid, self._fd = pty.fork()
        if not self.pid:
            os.chdir(cwd)
            os.execvpe(program[0], [*program, *arguments], ENVIRONMENT | {"TERM": "dumb", "PS1": "ready> "})
        self.shown = ""

    def until(self, words: str) -> None:
        """Read until it shows *words*."""
        deadline = time.monotonic() + 30
        while words not in self.shown:
            assert select.select([self._fd], [], [], max(0.0, deadline - time.monotonic()))[0], self.shown
            self.shown += os.read(self._fd, 1 << 16).decode()

    def type(self, text: str) -> None:
        os.write(self._fd, text.encode())

    def status(self) -> int:
        """Read to the end; the exit status."""
        with contextlib.suppress(OSError):  # EIO: the last process has closed it
            while True:
                assert select.select([self._fd], [], [], 30)[0], f"goes on after {self.shown!r}"
                self.shown += os.read(self._fd, 1 << 16).decode()
        os.close(self._fd)
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def test_it_may_read_from_the_terminal(tmp_path: Path) -> None:
    terminal = Terminal(tmp_path, "--", "sh", "-c", "echo who?; read name; echo hello $name; read name; echo hi $name")
    terminal.until("who?")
    terminal.type("you\n")
    terminal.until("hello you")
    terminal.type("me\n")
    assert terminal.status() == 1
    assert "hi me" in terminal.shown
    assert "It ended by itself, with exit status 0." in terminal.shown


@pytest.mark.parametrize("then", ["time.sleep(1000)", "input(); print('read'); input()"], ids=["works", "reads"])
def test_ctrl_c_ends_both_whoever_has_the_terminal(then: str, tmp_path: Path) -> None:
    # The kernel ends it: Python's own handler loses a signal that comes just before it begins to read.
    default = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_DFL)"
    program = f"{default}; print('beg' + 'un', flush=True); {then}; print('nev' + 'er')"
    terminal = Terminal(tmp_path, "--", sys.executable, "-I", "-c", program)
    terminal.until("begun")
    if "read" in then:
        terminal.type("\n")
        terminal.until("read\r\n")
    terminal.type("\x03")
    assert terminal.status() == 1
    assert "never" not in terminal.shown
    assert "packets in" in terminal.shown


def test_ctrl_z_stops_both_and_fg_goes_on(tmp_path: Path) -> None:
    asks = "echo 'be'gun; read one; echo $one is 'o'ne; read two; echo $two is 't'wo"
    terminal = Terminal(tmp_path, "--norc", "-i", program=("bash",))
    terminal.until("ready> ")
    terminal.type(f"{shlex.join(CAPTURE)} -- sh -c {shlex.quote(asks)}\n")
    terminal.until("begun")
    terminal.type("this\n")
    terminal.until("this is one")  # by now it waits for the next
    terminal.type("\x1a")
    terminal.until("Stopped")
    terminal.type("fg\n")
    terminal.type("that\n")
    terminal.until("that is two")
    terminal.until("It ended by itself, with exit status 0.")
    terminal.type("exit\n")
    terminal.status()
