"""selfconn-analyze as it is used: its options, its exit status, and what bad input gets."""

from __future__ import annotations

import fcntl
import gzip
import json
import os
import pty
import shlex
import signal
import struct
import subprocess
import sys
import termios
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import writers
from conftest import ROOT
from segments import SELF, SELF6, Talk, packets, refused, self_connect, simultaneous_open, three_way
from test_conversation_table import syns

from analysis.cli import main
from analysis.model import Verdict

if TYPE_CHECKING:
    from analysis.model import Opening

RAW = 101
COMMAND = [sys.executable, "-m", "analysis.cli"]


def capture(*openings: Opening) -> bytes:
    """The openings in one pcap file, one second between them."""
    records = []
    for number, opening in enumerate(openings):
        records += [(time + number * 10**9, packet) for time, packet in packets(opening.segments)]
    return writers.pcap(records, RAW, kind="nano")


@pytest.fixture
def pcap(tmp_path: Path) -> Path:
    path = tmp_path / "a.pcap"
    path.write_bytes(capture(refused(), self_connect(), three_way(), self_connect(SELF6)))
    return path


def run(*arguments: str | Path, **more: object) -> subprocess.CompletedProcess[str]:
    options = {"cwd": ROOT, "capture_output": True, "text": True, "timeout": 100, **more}
    return subprocess.run([*COMMAND, *map(str, arguments)], check=False, **options)


def on_a_terminal(command: list[str], **more: object) -> bytes:
    """What a program shows on a terminal of 100 columns, as its standard error and, unless said, its output."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 40, 100, 0, 0))
    with subprocess.Popen(command, **{"stdout": theirs, "stderr": theirs, "cwd": ROOT, **more}) as process:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # how a terminal says that nobody is at the other end
            while block := os.read(ours, 65536):
                shown += block
        os.close(ours)
        assert process.wait(timeout=60) == 0
    return shown


@pytest.fixture
def told(capsys):
    """Run the command here: its exit status, what it printed, and what it complained of."""

    def tell(*arguments: str | Path) -> tuple[int, str, str]:
        try:
            status = main([str(argument) for argument in arguments])
        except SystemExit as end:
            status = end.code
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return status, captured.out, captured.err

    return tell


# -- what it shows ----------------------------------------------------------------------------------------------------


def test_table(told, pcap):
    status, out, err = told(pcap)
    assert (status, err) == (0, "")
    assert out.startswith(f"{pcap}\npcap, 25 packets, 25 TCP segments\n\nverdict")
    assert out.count("1. self-connect: 127.0.0.1:50000 > 127.0.0.1:50000") == 1
    assert out.count("2. self-connect: [::1]:50000 > [::1]:50000") == 1
    assert "the sending socket" in out
    assert "three-way: " not in out


def test_json(told, pcap):
    _, out, _ = told("--format", "json", pcap)
    report = json.loads(out)
    assert report["captures"][0]["verdicts"] == {
        verdict: {"self-connect": 2, "three-way": 1, "refused": 1}.get(verdict, 0) for verdict in Verdict
    }
    assert [opening["verdict"] for opening in report["openings"]] == ["self-connect"] * 2
    path = [transition["to"] for transition in report["openings"][0]["transitions"]]
    assert " ".join(path) == "SYN-SENT SYN-RECEIVED ESTABLISHED FIN-WAIT-1 CLOSING TIME-WAIT"


def test_json_lines(told, pcap):
    _, out, _ = told("--format", "jsonl", pcap)
    assert [json.loads(line)["type"] for line in out.splitlines()] == ["opening", "opening", "capture"]


def test_all_shows_the_ordinary_openings(told, pcap):
    _, out, _ = told("--all", "--format", "json", pcap)
    verdicts = [opening["verdict"] for opening in json.loads(out)["openings"]]
    assert verdicts == ["refused", "self-connect", "three-way", "self-connect"]


def test_only_counts_and_shows_what_was_asked_for(told, pcap):
    _, out, _ = told("--only", "refused", "--only", "three-way", "--format", "json", pcap)
    report = json.loads(out)
    assert [opening["verdict"] for opening in report["openings"]] == ["refused", "three-way"]
    assert report["captures"][0]["verdicts"] == {"three-way": 1, "refused": 1}


def test_quiet_is_counts_alone(told, pcap):
    _, out, _ = told("-q", pcap)
    assert out == (
        f"{pcap}\npcap, 25 packets, 25 TCP segments\n\n"
        "verdict         openings\n------------  ----------\nself-connect           2\n"
        "three-way              1\nrefused                1\n"
    )


def test_host_and_port(told, pcap):
    def verdicts(*arguments: str) -> dict[str, int]:
        _, out, _ = told(*arguments, "--format", "json", pcap)
        counts = json.loads(out)["captures"][0]["verdicts"]
        return {verdict: count for verdict, count in counts.items() if count}

    assert verdicts("--host", "::1") == {"self-connect": 1}
    assert verdicts("--host", "192.0.2.1") == {"three-way": 1, "refused": 1}
    assert verdicts("--port", "443") == {"three-way": 1, "refused": 1}
    assert verdicts("--port", "50000", "--host", "127.0.0.1") == {"self-connect": 1}
    _, out, _ = told("--host", "192.0.2.1", "--format", "json", pcap)
    assert json.loads(out)["openings"] == []


def test_several_captures_number_their_openings_through(told, pcap, tmp_path):
    other = tmp_path / "b.pcap"
    other.write_bytes(capture(simultaneous_open()))
    _, out, _ = told(pcap, other)
    assert "3. simultaneous-open" in out
    _, out, _ = told("--format", "json", other, pcap)
    assert [opening["capture"] for opening in json.loads(out)["openings"]] == [0, 1, 1]


def test_directory_means_the_captures_in_it(told, pcap, tmp_path):
    (tmp_path / "notes.txt").write_text("not a capture\n")
    (tmp_path / ".hidden").write_bytes(pcap.read_bytes())
    (tmp_path / "0.pcap").write_bytes(capture(simultaneous_open()))
    (tmp_path / "sub").mkdir()
    status, out, err = told("--format", "json", tmp_path)
    assert (status, err) == (0, "")
    assert [entry["name"] for entry in json.loads(out)["captures"]] == [str(tmp_path / "0.pcap"), str(pcap)]
    _, _, err = told("-v", tmp_path)
    assert "notes.txt is not a capture: it is text" in err


@pytest.mark.usefixtures("pcap")
def test_a_bad_link_is_named_and_hides_nothing(told, tmp_path):
    links = [tmp_path / "itself", tmp_path / "nowhere"]
    links[0].symlink_to("itself")
    links[1].symlink_to("not here")
    for rotated in ((), ("--rotated",)):
        status, out, err = told(*rotated, tmp_path)
        assert status == 3
        assert "self-connect" in out
        assert all(f"cannot read {link}: " in err for link in links)


def test_directory_of_directories_names_what_finds_the_captures(told, pcap, tmp_path):
    (tmp_path / "our captures" / "monday").mkdir(parents=True)
    pcap.rename(tmp_path / "our captures" / "monday" / "0.pcap")
    status, out, err = told(tmp_path / "our captures")
    assert (status, out) == (3, "")
    (pattern,) = [word for word in shlex.split(err) if "**" in word]
    assert told(pattern)[0] == 0


def test_standard_input_plain_and_compressed(pcap):
    for data in (pcap.read_bytes(), gzip.compress(pcap.read_bytes())):
        ended = run("-", "--format", "json", input=data, text=False)
        report = json.loads(ended.stdout)
        assert (ended.returncode, report["captures"][0]["name"]) == (0, "standard input")
        assert report["captures"][0]["verdicts"]["self-connect"] == 2


def test_output_file(told, pcap, tmp_path):
    target = tmp_path / "report.txt"
    assert told("-o", target, pcap) == (0, "", "")
    _, out, _ = told(pcap)
    assert target.read_text() == out


def test_color(told, pcap):
    assert "\x1b[" in told("--color", "always", pcap)[1]
    for arguments in (["--color", "never"], []):
        assert "\x1b[" not in told(*arguments, pcap)[1]


@pytest.mark.parametrize(("variable", "colored"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_color_on_a_terminal(pcap, variable, colored):
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    environment |= {"TERM": "xterm", **variable}
    shown = on_a_terminal([*COMMAND, str(pcap)], env=environment)
    assert b"self-connect" in shown
    assert (b"\x1b[" in shown) is colored


def test_version_says_which_engine(told):
    status, out, _ = told("--version")
    assert status == 0
    assert out.startswith("selfconn-analyze ")
    assert "engine compiled" in out or "engine interpreted" in out


def test_n_is_accepted(told, pcap):
    assert told("-n", pcap) == told(pcap)


# -- exit status -----------------------------------------------------------------------------------------------------


def test_expect(told, pcap):
    assert told("--expect", "self-connect", pcap)[0] == 0
    assert told("--expect", "split-handshake", pcap)[0] == 1
    assert told("--expect", "refused", "-q", pcap)[0] == 0


SELF_PATH = "CLOSED>SYN-SENT>SYN-RECEIVED>ESTABLISHED"


@pytest.mark.parametrize(
    ("expected", "status"),
    [
        (["--expect", "self-connect>=2"], 0),
        (["--expect", "self-connect=2", "--expect", "split-handshake<1"], 0),
        (["--expect", "self-connect>2"], 1),
        (["--expect", "self-connect", "--expect", "self-connect<2"], 1),
        (["--expect", "self-connect>=2", "--port", "50001"], 1),
        (["--expect-states", SELF_PATH], 0),
        (["--expect-states", SELF_PATH, "-q"], 0),
        (["--expect-states", "syn-sent > closed", "--only", "refused"], 0),
        (["--expect-states", "SYN-SENT>CLOSED", "--only", "self-connect"], 1),
        (["--expect-states", SELF_PATH, "--expect-states", "LISTEN>ESTABLISHED"], 1),
        (["--expect-states", SELF_PATH, "--expect", "self-connect=3"], 1),
        (["--expect-states", SELF_PATH, "--port", "1"], 1),
    ],
)
def test_expected_counts_and_states(told, pcap, expected, status):
    assert told(*expected, pcap)[0] == status


def test_expecting_states_shows_no_more_openings(told, pcap):
    assert told("--expect-states", SELF_PATH, pcap)[1] == told(pcap)[1]


@pytest.mark.parametrize(
    ("expected", "status"),
    [
        (["--expect", "self-connect>=2"], 0),
        (["--expect", "self-connect>=3"], 4),
        (["--expect", "self-connect=2"], 4),
        (["--expect", "self-connect<=2"], 4),
        (["--expect", "self-connect<=1"], 1),
        (["--expect", "self-connect=1"], 1),
        (["--expect", "self-connect<2"], 1),
        (["--expect", "self-connect>=3", "--expect", "self-connect<2"], 1),
        (["--expect-states", SELF_PATH], 0),
        (["--expect-states", "LISTEN>ESTABLISHED"], 4),
    ],
)
def test_what_an_incomplete_capture_cannot_decide_is_not_decided(told, pcap, expected, status):
    pcap.write_bytes(pcap.read_bytes()[:-10])
    assert told(*expected, pcap)[0] == status


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--port", "0", "x"], "'0' is not a port: give a number from 1 to 65535"),
        (["--port", "http", "x"], "'http' is not a port"),
        (["--port", "٣", "x"], "is not a port"),
        (["--host", "localhost", "x"], "'localhost' is not an IP address; names are never resolved"),
        (["--host", "\0", "x"], r"'\x00' is not an IP address"),
        (["--only", "selfconnect", "x"], "invalid choice: 'selfconnect'"),
        (["--table", "3", "x"], "'3' is not a number from 16"),
        (["--format", "xml", "x"], "invalid choice: 'xml'"),
        (["--expect", "odd", "--only", "refused", "x"], "--expect odd says nothing, since --only"),
        (["--expect", "odd>=1", "--expect", "odd<0x1", "x"], "'odd<0x1' is not a verdict, or a verdict with >="),
        (["--expect", "selfconnect=1", "x"], "'selfconnect=1' names no verdict; verdicts are self-connect, "),
        (["--expect-states", "SYN-SENT,CLOSED", "x"], "is not states with > between them; states are LISTEN, SYN-SENT"),
        (["--expect-states", "CLOSED", "--format", "csv", "x"], "--expect-states looks at timelines"),
        ([], "required: CAPTURE"),
        (["-o", "/nonexistent/report", "x"], "cannot write /nonexistent/report"),
    ],
)
def test_impossible_command_lines(told, arguments, complaint):
    status, out, err = told(*arguments)
    assert (status, out) == (2, "")
    assert complaint in err


def test_a_report_never_overwrites_a_capture(told, pcap, tmp_path):
    before = pcap.read_bytes()
    (tmp_path / "link").symlink_to(pcap)
    for name in (pcap, tmp_path / "link"):
        status, _, err = told("-o", name, pcap)
        assert status == 2
        assert "is one of the captures" in err
    assert told("-o", tmp_path, pcap)[0] == 2
    assert pcap.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "it is empty"),
        (b"Hello, this is no capture at all.\n" * 3, "it is text"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "is not a capture"),
        (bytes.fromhex("d4c3b2a1 0200"), "cut off inside the file header"),
    ],
)
def test_what_is_no_capture(told, tmp_path, content, complaint):
    path = tmp_path / "x"
    path.write_bytes(content)
    status, out, err = told(path)
    assert (status, out) == (3, "")
    assert complaint in err
    assert err.count("\n") == 1


def test_what_cannot_be_read(told, tmp_path, pcap):
    assert told(tmp_path / "missing")[::2] == (
        3,
        f"selfconn-analyze: cannot read {tmp_path / 'missing'}: No such file or directory\n",
    )
    empty = tmp_path / "empty"
    empty.mkdir()
    assert told(empty)[0] == 3
    (empty / "text").write_text("no capture")
    assert told(empty)[::2] == (3, f"selfconn-analyze: no capture in {empty}\n")
    status, out, _ = told(tmp_path / "missing", pcap)
    assert status == 3
    assert "self-connect" in out


@pytest.mark.usefixtures("need_ordinary_user", "pcap")
def test_unreadable_file_in_a_directory_is_not_passed_over(told, tmp_path):
    (tmp_path / "secret.pcap").write_bytes(b"x")
    (tmp_path / "secret.pcap").chmod(0)
    status, _, err = told(tmp_path)
    assert status == 3
    assert "secret.pcap" in err


def test_cut_capture(told, pcap):
    data = pcap.read_bytes()
    pcap.write_bytes(data[:-10])
    status, out, err = told(pcap)
    assert status == 4
    assert f"byte offset {len(data) - 76}" in err
    assert "self-connect           2" in out
    status, _, err = told("--expect", "self-connect", pcap)
    assert status == 0
    assert "byte offset" in err
    assert told("--expect", "split-handshake", pcap)[0] == 4


@pytest.mark.parametrize("quiet", [(), ("-q",)])
def test_what_could_not_be_looked_into_is_never_an_all_clear(told, tmp_path, quiet):
    path = tmp_path / "usb.pcap"
    path.write_bytes(writers.pcap([(0, bytes(64))] * 3, 220))
    (tmp_path / "b.pcap").write_bytes(writers.pcap([], RAW))
    for where in (path, tmp_path):
        status, out, err = told(*quiet, where)
        assert status == 4
        assert f"{path} is not complete: 3 of 3 frames could not be looked into" in err
        assert "3 of 3 frames could not be looked into" in " ".join(out.split())
        assert "No opening" not in out
    assert told(*quiet, "--expect", "self-connect", path)[0] == 4
    assert told(*quiet, "--only", "self-connect", path)[0] == 4


def test_what_is_expected_counts_although_not_everything_was_seen(told, pcap):
    pcap.write_bytes(pcap.read_bytes() + writers.pcap([(0, b"\x45" + bytes(5))], RAW)[24:])
    status, _, err = told("--expect", "self-connect", pcap)
    assert status == 0
    assert "1 of 26 frames could not be looked into (1 IPv4 header cut short)" in err
    assert told("--expect", "self-syn", pcap)[0] == 4
    assert told(pcap)[0] == 4


def test_capture_without_tcp(told, pcap):
    pcap.write_bytes(writers.pcap([(0, b"\x45" + bytes(8) + b"\x11" + bytes(10))], RAW))
    status, out, err = told(pcap)
    assert (status, err) == (0, "")
    assert "No opening of a TCP connection." in out


def test_names_are_escaped(told, tmp_path):
    path = tmp_path / "a\x1b[2J\u202e\udcff.pcap"
    path.write_bytes(capture(self_connect()))
    _, out, _ = told(path)
    assert out.split("\n")[0].endswith(r"a\x1b[2J\u202e\udcff.pcap")
    path.write_bytes(b"text")
    _, _, err = told(path)
    assert r"a\x1b[2J\u202e\udcff.pcap is not a capture" in err


def test_an_ascii_terminal_gets_ascii(tmp_path):
    path = tmp_path / "größe.pcap"
    path.write_bytes(capture(self_connect()))
    ended = run(path, env={**os.environ, "PYTHONIOENCODING": "ascii"}, text=False)
    assert ended.returncode == 0
    assert rb"gr\xf6\xdfe.pcap" in ended.stdout


# -- the world outside -------------------------------------------------------------------------------------------------


def test_closed_pipe_ends_quietly(tmp_path):
    path = tmp_path / "a.pcap"
    path.write_bytes(capture(*[self_connect() for _ in range(300)]))
    ours, theirs = os.pipe()
    os.close(ours)
    ended = run("-v", path, capture_output=False, stdout=theirs, stderr=subprocess.PIPE)
    os.close(theirs)
    assert (ended.returncode, ended.stderr) == (-signal.SIGPIPE, "")


def test_full_disk_is_said(pcap):
    with Path("/dev/full").open("w") as full:
        ended = run(pcap, capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert ended.returncode == 4
    assert ended.stderr == "selfconn-analyze: cannot write standard output: No space left on device\n"
    assert run("-o", "/dev/full", pcap).returncode == 4


def test_closed_standard_output_is_said(pcap):
    ended = run(pcap, capture_output=False, stderr=subprocess.PIPE, preexec_fn=lambda: os.close(1))
    assert (ended.returncode, ended.stderr) == (
        2,
        "selfconn-analyze: standard output is closed: name a file with -o\n",
    )


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_shows_the_analysis_so_far(number):
    command = [*COMMAND, "--format", "json", "-"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT
    ) as process:
        process.stdin.write(capture(self_connect()))
        process.stdin.flush()
        # It has read all there is once it sleeps in read() with the pipe empty.
        wait_until_it_waits_for_more(process)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    report = json.loads(out)
    assert report["captures"][0]["damage"]["reason"] == "interrupted"
    assert report["openings"][0]["verdict"] == "self-connect"
    assert err == b""


def wait_until_it_waits_for_more(process: subprocess.Popen[bytes]) -> None:
    """Return when the pipe to the process is empty and the analysis has had it: after that, octets one by one."""

    def left() -> int:
        return struct.unpack("i", fcntl.ioctl(process.stdin, termios.FIONREAD, bytes(4)))[0]

    header = bytes.fromhex("00000000 00000000 00000000 00000000")  # an empty record
    for _ in range(50):
        process.stdin.write(header)
        process.stdin.flush()
        while left():
            os.sched_yield()


def test_progress_bar_for_what_takes_long(pcap):
    program = "import sys; from analysis import cli, progress; progress.PATIENCE = -1; sys.exit(cli.main(sys.argv[1:]))"
    for arguments, wanted in (([], True), (["-q"], False)):
        command = [sys.executable, "-c", program, *arguments, str(pcap)]
        shown = on_a_terminal(command, stdout=subprocess.DEVNULL)
        assert (b"100%" in shown and b"B/s" in shown) is wanted


def test_a_short_run_needs_no_tqdm(pcap):
    program = "import sys, analysis.cli; analysis.cli.main(sys.argv[1:]); print(*sys.modules, file=sys.stderr)"
    ended = subprocess.run(
        [sys.executable, "-c", program, str(pcap)], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    loaded = set(ended.stderr.split())
    assert "tabulate" in loaded
    assert not loaded & {"tqdm", "scapy", "pyshark", "importlib.metadata", "pathlib", "asyncio"}


def test_many_openings_of_one_socket(told, tmp_path):
    path = tmp_path / "many.pcap"
    talks = [Talk(SELF, isn_a=1000 * n).a("S").a("S.", 0, 1).a(".", 1, 1).a("R.", 1, 1) for n in range(50)]
    path.write_bytes(capture(*[talk.opening(Verdict.SELF_CONNECT) for talk in talks]))
    _, out, _ = told(path)
    assert "self-connect          50" in out
    assert "42 more openings (-v shows each in full)" in out


@pytest.mark.long
def test_nobody_elses_file_is_touched(tmp_path: Path, pcap: Path) -> None:
    victim, link, dangling, other, fifo = (tmp_path / name for name in ("victim", "link", "dangling", "other", "fifo"))
    victim.write_text("do not touch")
    link.symlink_to(victim)
    dangling.symlink_to(tmp_path / "nothing")
    other.hardlink_to(victim)
    os.mkfifo(fifo)
    for path in (link, dangling, other, fifo):
        ended = run("-o", path, pcap)
        assert (ended.returncode, ended.stdout) == (4, "")
        assert ended.stderr.startswith(f"selfconn-analyze: cannot write {path}: ")
    assert victim.read_text() == "do not touch"
    assert not (tmp_path / "nothing").exists()
    assert run("-o", "/dev/null", pcap).returncode == 0


def ignores(process: int, number: signal.Signals) -> bool:
    status = Path(f"/proc/{process}/status").read_text()
    return bool(int(status.partition("SigIgn:")[2].split()[0], 16) >> (number - 1) & 1)


def test_in_the_background_of_a_script_ctrl_c_counts(tmp_path: Path) -> None:
    command = f"{shlex.join(COMMAND)} - < fifo & echo $!; wait $!; echo $?"
    os.mkfifo(tmp_path / "fifo")
    there = {"cwd": tmp_path, "env": os.environ | {"PYTHONPATH": str(ROOT)}, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(["sh", "-c", command], **there) as script, (tmp_path / "fifo").open("wb") as fifo:
        assert script.stdout
        number = int(script.stdout.readline())
        fifo.write(capture(self_connect()))
        fifo.flush()
        while ignores(number, signal.SIGINT):  # until the command is there
            time.sleep(0.02)
        os.kill(number, signal.SIGINT)
        said = script.stdout.read()
    assert said.splitlines()[-1] == str(128 + signal.SIGINT)


@pytest.mark.long
def test_many_alike_make_no_endless_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    flood = tmp_path / "flood.pcap"
    flood.write_bytes(writers.pcap([(1000 * place, packet) for place, packet in enumerate(syns(1500))], 101))
    assert main(["--format", "json", str(flood)]) == 0
    made = json.loads(capsys.readouterr().out)
    assert (len(made["openings"]), made["captures"][0]["left_out"]) == (1000, 500)
    assert made["captures"][0]["verdicts"]["self-syn"] == 1500
    assert main(["--format", "json", "--all", str(flood)]) == 0
    assert len(json.loads(capsys.readouterr().out)["openings"]) == 1500
    assert main([str(flood)]) == 0
    assert "500 more openings only counted, not shown: --all shows every one" in capsys.readouterr().out
