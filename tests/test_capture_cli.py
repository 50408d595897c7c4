"""The command line of selfconn-capture: what it takes, what it refuses, and what it says then."""

from __future__ import annotations

import json
import os
import shlex
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from alone import alone
from conftest import program

from analysis.errors import CannotCapture
from capture import cli
from capture.kernel import netns
from capture.run import session
from capture.run.run_context import Options

ROOT = Path(__file__).resolve().parent.parent
#: Where a program finds our packages when it does not run here.
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT)}


def capture(*arguments: str, cwd: Path, **how: object) -> subprocess.CompletedProcess[str]:
    """Run the command as a user would, from a directory that is not ours."""
    command = [sys.executable, "-m", "capture.cli", *arguments]
    return subprocess.run(  # type: ignore[call-overload,no-any-return]
        command, cwd=cwd, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False, **how
    )


# -- arguments -------------------------------------------------------------------------------------------------------


def test_every_argument_has_its_option() -> None:
    arguments = vars(cli.parser().parse_args([]))
    assert arguments.keys() - {"n", "version"} == set(Options.__slots__) - {"argv"}
    defaults = Options()
    assert all(value == getattr(defaults, name) for name, value in arguments.items() if name not in {"n", "version"})


@pytest.mark.parametrize(
    "line",
    [
        "--port 0",
        "--port 65536",
        "--port 5_0",
        "--port ٣",
        "--port -1",
        "--port http",
        "--range 5-4",
        "--range 0-5",
        "--range a-b",
        "--attempts 0",
        "--attempts many",
        "-c 0",
        "--timeout 0",
        "--timeout nan",
        "--timeout soon",
        "--repro magic",
        "--format pdf",
        "--close gently",
        "--por 50000",
        "somewhere",
        "somewhere -- else",
        "--private --",
        "--then never -- true",
    ],
)
def test_what_cannot_be_is_usage(line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(line.split())
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") <= 3


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    for argument, words in (("--version", "selfconn-capture 0."), ("-h", "--private")):
        with pytest.raises(SystemExit) as ended:
            cli.main([argument])
        assert ended.value.code == 0
        assert words in capsys.readouterr().out


# -- what ends it before it begins -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "status", "words"),
    [
        ("--host localhost", 2, "'localhost' is not an IP address"),
        ("--host 0.0.0.0", 2, "0.0.0.0 is not a unicast address"),
        ("--private --port 60000 --range 50000-50007 --repro walk", 2, "never port 60000"),
        ("--private -i nosuch", 3, "there is no interface 'nosuch'; choose one of any, lo"),
        ("--private -w nowhere/x.pcapng", 3, "cannot write 'nowhere/x.pcapng'"),
        ("--private -w .", 3, "cannot write '.'"),
        ("--private -o nowhere/report", 3, "cannot write 'nowhere/report'"),
        ("--private -w same -o ./same", 2, "name the same file"),
    ],
)
@pytest.mark.live
@pytest.mark.usefixtures("need_private_namespace")
def test_bad_input_gets_one_line_and_leaves_nothing(line: str, status: int, words: str, tmp_path: Path) -> None:
    ended = capture("-q", *line.split(), cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (status, "")
    assert words in ended.stderr
    assert ended.stderr.startswith("selfconn-capture: ")
    assert ended.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.usefixtures("need_root")
@pytest.mark.root
def test_an_address_of_somebody_else(tmp_path: Path) -> None:
    ended = capture("--host", "203.0.113.7", cwd=tmp_path)
    assert ended.returncode == 2
    assert "203.0.113.7 is not an address of this machine" in ended.stderr
    assert not list(tmp_path.iterdir())


@pytest.mark.live
@pytest.mark.usefixtures("need_private_namespace")
@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    ended = capture("--private", "-q", cwd=tmp_path)
    assert ended.returncode == 3
    assert "Permission denied" in ended.stderr


def test_nothing_raw_reaches_the_terminal(tmp_path: Path) -> None:
    ended = capture("--host", "\x1b[31mred\u202e", cwd=tmp_path)
    assert ended.returncode == 2
    assert "\x1b" not in ended.stderr
    assert "\u202e" not in ended.stderr


# -- without privilege -----------------------------------------------------------------------------------------------


@pytest.fixture
def ordinary(monkeypatch: pytest.MonkeyPatch) -> None:
    """An ordinary user, as far as the program can tell."""
    monkeypatch.setattr(session, "_may_capture", lambda: False)
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(sys, "argv", ["/opt/my tools/selfconn-capture", "--port", "50000", "-o", "it's"])


def refuse(*_: object) -> None:
    raise CannotCapture("cannot make a private network namespace: Operation not permitted") from PermissionError()


@pytest.mark.usefixtures("ordinary")
def test_without_a_namespace_it_names_the_command_that_works(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(netns, "enter", refuse)
    assert cli.main() == 3
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    command = error.partition("Run it as root: ")[2].strip()
    assert shlex.split(command) == ["sudo", *sys.argv]


@pytest.mark.usefixtures("ordinary")
def test_an_interface_of_the_host_s_is_not_looked_for_in_a_namespace(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def no_recorder(*_: object, **__: object) -> None:
        raise CannotCapture("capturing packets needs root or CAP_NET_RAW") from PermissionError()

    monkeypatch.setattr(session, "Recorder", no_recorder)
    monkeypatch.setattr(netns, "enter", lambda *_: pytest.fail("a namespace"))
    assert cli.main(["-i", "eth0"]) == 3
    assert "Run it as root: sudo '/opt/my tools/selfconn-capture' -i eth0" in capsys.readouterr().err


def test_the_sudo_line_of_a_module_names_the_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["capture/cli.py"])
    words = shlex.split(session.sudo(Options(argv=("-i", "eth0"))))
    assert words == ["sudo", sys.executable, "-IBm", "capture.cli", "-i", "eth0"]


@pytest.mark.live
@pytest.mark.usefixtures("need_private_namespace")
@pytest.mark.skipif(os.geteuid() == 0, reason="needs an ordinary user")
def test_an_ordinary_user_gets_a_namespace_and_is_told(tmp_path: Path) -> None:
    ended = capture("--format", "json", cwd=tmp_path)
    assert ended.returncode == 0
    said = " ".join(ended.stderr.split())
    assert "Not root (on the host's own network: sudo " in said
    assert "): in a private network namespace instead." in said
    assert json.loads(ended.stdout)["live"]["namespace"] == "private"


def where_loopback_is_down(*options: str) -> subprocess.CompletedProcess[str]:
    subprocess.run([program("ip", "iproute2"), "link", "set", "lo", "down"], check=True, timeout=20)
    return capture(*options, "-w", os.devnull, cwd=ROOT)


@pytest.mark.live
@pytest.mark.usefixtures("need_private_namespace", "need_root")
def test_loopback_that_is_down_is_said_and_a_private_one_is_not() -> None:
    ended = alone(where_loopback_is_down)
    assert ended.returncode == 3
    said = " ".join(ended.stderr.split())
    assert "interface 'lo' is down; bring it up: ip link set lo up; or take a private one" in said
    assert alone(where_loopback_is_down, "--private").returncode == 0


WALK = ("--repro", "walk", "--attempts", "1", "-w", os.devnull)


def first_line(*options: str) -> str:
    return capture(*WALK, *options, cwd=ROOT).stderr.splitlines()[0]


@pytest.mark.live
@pytest.mark.usefixtures("need_private_namespace", "need_root")
def test_the_first_line_says_what_a_walk_does_to_the_host() -> None:
    said = alone(first_line)
    assert said.startswith("This dials 127.0.0.1:50000 in the network of this host as fast as it can, tens of ")
    assert alone(first_line, "--private").startswith("127.0.0.1:50000 to itself: connect() again and again")


# -- where it goes ---------------------------------------------------------------------------------------------------


@pytest.mark.live
@pytest.mark.usefixtures("need_private_namespace")
class TestOutput:
    def test_the_table_tells_it_step_by_step(self, tmp_path: Path) -> None:
        ended = capture("--private", cwd=tmp_path)
        assert ended.returncode == 0
        for words in ("SYN-SENT > SYN-RECEIVED", "> ESTABLISHED", "CLOSING", "The repro", "read 'hello'", "0 lost."):
            assert words in ended.stdout
        assert "connect() takes its source port from the 4 even ports of 50000-50007" in ended.stderr
        assert max(map(len, ended.stdout.splitlines())) <= 100
        assert "\x1b" not in ended.stdout + ended.stderr

    def test_quiet_is_quiet(self, tmp_path: Path) -> None:
        ended = capture("--private", "-q", cwd=tmp_path)
        assert (ended.returncode, ended.stderr) == (0, "")
        assert "self-connect" in ended.stdout
        assert "SYN-SENT" not in ended.stdout

    def test_color_when_asked_for(self, tmp_path: Path) -> None:
        assert "\x1b[" in capture("--private", "--color", "always", cwd=tmp_path).stdout

    def test_packets_go_to_a_file_named_after_the_time(self, tmp_path: Path) -> None:
        ended = capture("--private", "--format", "json", cwd=tmp_path)
        (saved,) = tmp_path.iterdir()
        assert saved.name == json.loads(ended.stdout)["live"]["file"]
        assert saved.match("selfconn-*Z.pcapng")
        assert stat.S_IMODE(saved.stat().st_mode) == 0o600

    def test_the_report_can_go_to_a_file(self, tmp_path: Path) -> None:
        ended = capture("--private", "-q", "-o", "report", "-w", os.devnull, cwd=tmp_path)
        assert (ended.returncode, ended.stdout) == (0, "")
        assert "self-connect" in (tmp_path / "report").read_text()

    def test_jsonl(self, tmp_path: Path) -> None:
        ended = capture("--private", "--format", "jsonl", "-w", os.devnull, cwd=tmp_path)
        kinds = [json.loads(line)["type"] for line in ended.stdout.splitlines()]
        assert kinds == ["opening", "capture", "live", "kernel"]

    def test_packets_on_standard_output_leave_the_report_to_standard_error(self, tmp_path: Path) -> None:
        command = [sys.executable, "-m", "capture.cli", "--private", "-w", "-"]
        ended = subprocess.run(command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, timeout=60, check=False)
        assert ended.returncode == 0
        assert ended.stdout[:4] == b"\n\r\r\n"
        assert b"SYN-SENT > SYN-RECEIVED" in ended.stderr
        read = subprocess.run(
            [sys.executable, "-m", "analysis.cli", "--expect", "self-connect", "-"],
            cwd=tmp_path, env=ENVIRONMENT, input=ended.stdout, capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        assert read.returncode == 0
        assert not list(tmp_path.iterdir())

    def test_a_reader_who_goes_away_ends_it_without_a_word(self, tmp_path: Path) -> None:
        command = shlex.join([sys.executable, "-m", "capture.cli", "--private", "-q", "--repro", "walk"])
        ended = subprocess.run(
            ["bash", "-c", f"{command} --port 60000 --attempts 100000000 -w - | head -c 4 >{os.devnull}"],
            cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert (ended.stdout, ended.stderr) == ("", "")

    @pytest.mark.parametrize("count", [1, 2, 5])
    def test_count_is_exact(self, count: int, tmp_path: Path) -> None:
        arguments = ("--private", "--port", "60000", "--range", "50000-50007", "--repro", "walk", "--attempts", "5000")
        ended = capture(*arguments, "--format", "json", "-c", str(count), cwd=tmp_path)
        report = json.loads(ended.stdout)
        assert ended.returncode == 1
        assert report["live"]["packets"] == report["captures"][0]["packets"] == count
        assert report["captures"][0]["damage"] is None

    def test_none_within_the_limits(self, tmp_path: Path) -> None:
        arguments = ("--private", "--port", "60000", "--range", "50000-50007", "--repro", "walk", "--attempts", "50")
        ended = capture(*arguments, cwd=tmp_path)
        assert ended.returncode == 1
        assert "50 attempts were refused" in ended.stdout
        assert "That is the limit" in ended.stdout

    def test_closed_standard_streams_are_not_taken_for_files(self, tmp_path: Path) -> None:
        command = shlex.join([sys.executable, "-m", "capture.cli", "--private", "-w", "made.pcapng"])
        ended = subprocess.run(
            ["bash", "-c", f"{command} <&- >&- 2>&-"], cwd=tmp_path, env=ENVIRONMENT, timeout=60, check=False
        )
        assert ended.returncode == 0
        read = subprocess.run(
            [sys.executable, "-m", "analysis.cli", "--expect", "self-connect", "made.pcapng"],
            cwd=tmp_path, env=ENVIRONMENT, capture_output=True, timeout=60, check=False,
        )  # fmt: skip
        assert (read.returncode, read.stderr) == (0, b"")

    @pytest.mark.parametrize("write", ["/dev/null", "-"])
    def test_a_report_that_nobody_keeps_is_no_error_of_the_program(self, write: str, tmp_path: Path) -> None:
        """The report goes to standard output, with -w - to standard error; the disk is full."""
        command = shlex.join([sys.executable, "-m", "capture.cli", "-q", "--private", "-w", write])
        streams = ">/dev/full" if write != "-" else ">/dev/null 2>/dev/full"
        ended = subprocess.run(
            ["bash", "-c", f"{command} {streams}"],
            cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert ended.returncode == 4
        full = "selfconn-capture: cannot write standard output: No space left on device\n"
        assert ended.stderr == (full if write != "-" else "")

    @pytest.mark.parametrize(
        ("before", "status"),
        [("trap '' CHLD", 0), ("mkdir gone; cd gone; rmdir ../gone", 3)],
        ids=["SIGCHLD is ignored", "the directory is gone"],
    )
    def test_what_it_is_started_in_is_no_error_of_the_program(self, before: str, status: int, tmp_path: Path) -> None:
        words = ("-q", "--private", "-w", os.devnull if status == 0 else "packets", "-o", "report")
        command = shlex.join([sys.executable, "-m", "capture.cli", *words])
        ended = subprocess.run(
            ["bash", "-c", f"{before}; exec {command}"],
            cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert ended.returncode == status, ended.stderr
