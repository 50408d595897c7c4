"""The main job, end to end: the command catches a real socket connecting to itself, and nothing is lost or left."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

import pytest
from alone import alone
from test_capture_cli import ENVIRONMENT, capture

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("need_private_namespace")]

#: Never comes to an end by itself: no attempt can hit.
ENDLESS = (
    *("--private", "--port", "60000", "--range", "50000-50007"),
    *("--repro", "walk", "--attempts", "1000000000", "--timeout", "60", "--format", "json", "-q"),
)
HANDSHAKE = ["send SYN", "receive SYN", "receive SYN-ACK"]


def report(*arguments: str, cwd: Path, status: int = 0) -> dict[str, Any]:
    ended = capture("--format", "json", "-q", "-w", "made.pcapng", *arguments, cwd=cwd)
    assert (ended.returncode, ended.stderr) == (status, "")
    made: dict[str, Any] = json.loads(ended.stdout)
    return made


def frames(tshark: str, file: Path, which: str) -> int:
    answer = subprocess.run(
        [tshark, "-r", str(file), "-Y", which, "-T", "fields", "-e", "frame.number"],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return len(answer.stdout.split())


def holds_a_self_connect(made: dict[str, Any], address: str, port: int) -> None:
    """What every catch must have: the verdict, SYN, SYN-ACK and ACK, the states, nothing lost."""
    (opening,) = (one for one in made["openings"] if one["verdict"] == "self-connect")
    end = {"address": address, "port": port}
    assert opening["source"] == opening["destination"] == end
    assert len(opening["frames"]) == 3
    assert opening["established"]
    assert opening["refused_before"] == made["live"]["attempts"]
    assert [one["event"] for one in opening["transitions"]][:3] == HANDSHAKE
    states = [opening["transitions"][0]["from"], *(one["to"] for one in opening["transitions"])]
    assert states[:4] == ["CLOSED", "SYN-SENT", "SYN-RECEIVED", "ESTABLISHED"]
    live = made["live"]
    assert live | {"dropped": 0, "outcome": "hit", "local": end, "peer": end, "echo": "hello"} == live
    assert (
        live["packets"] == made["captures"][0]["packets"] == 2 * live["attempts"] + len(opening_frames(made, opening))
    )
    assert made["kernel"]["sockets"][0]["local"] == made["kernel"]["sockets"][0]["peer"] == end
    the_kernel_agrees(made["kernel"], states)


def the_kernel_agrees(kernel: dict[str, Any], states: list[str]) -> None:
    """As root the kernel is asked, and tells the same; anybody else is told why not."""
    if os.geteuid():
        assert (kernel["transitions"], kernel["agrees"]) == ([], None)
        assert "root only" in kernel["missing"]
        return
    told = [kernel["transitions"][0]["from"], *(one["to"] for one in kernel["transitions"])]
    assert told == [state.replace("TIME-WAIT", "CLOSED") for state in states]
    assert kernel["agrees"] is True
    assert {one["opening"] for one in kernel["transitions"]} == {0}
    times = [one["time"] for one in kernel["transitions"]]
    assert times == sorted(times)


def opening_frames(made: dict[str, Any], opening: dict[str, Any]) -> range:
    """The connection's frames: the last ones of the capture."""
    return range(opening["first_frame"], made["captures"][0]["packets"] + 1)


@pytest.mark.usefixtures("need_ipv6")
@pytest.mark.parametrize(
    ("address", "port"),
    [("127.0.0.1", 50000), ("127.0.0.1", 50001), ("::1", 50000), ("::1", 50001), ("192.0.2.1", 50000), ("::1", 443)],
)
def test_it_is_caught_and_rebuilt(
    address: str, port: int, tmp_path: Path, need_tshark: str, need_capinfos: str
) -> None:
    made = report("--private", "--host", address, "--port", str(port), cwd=tmp_path)
    holds_a_self_connect(made, address, port)
    assert made["live"]["namespace"] == "private"
    states = [one["to"] for one in made["openings"][0]["transitions"]]
    assert states[-3:] == ["FIN-WAIT-1", "CLOSING", "TIME-WAIT"]
    saved = tmp_path / "made.pcapng"
    subprocess.run([need_capinfos, saved], stdout=subprocess.DEVNULL, timeout=60, check=True)
    assert frames(need_tshark, saved, "tcp") == made["live"]["packets"]
    assert frames(need_tshark, saved, "tcp.srcport != tcp.dstport") == 2 * made["live"]["attempts"]


@pytest.mark.parametrize("way", ["bind", "range"])
def test_the_short_ways(way: str, tmp_path: Path) -> None:
    made = report("--private", "--repro", way, cwd=tmp_path)
    holds_a_self_connect(made, "127.0.0.1", 50000)
    assert (made["live"]["repro"], made["live"]["attempts"]) == (way, 0)


def test_a_reset(tmp_path: Path) -> None:
    made = report("--private", "--close", "rst", cwd=tmp_path)
    holds_a_self_connect(made, "127.0.0.1", 50000)
    assert made["openings"][0]["transitions"][-1]["to"] == "CLOSED"
    assert [one["error"] for one in made["live"]["server"]] == ["EADDRINUSE", "EADDRINUSE", None, None]


def test_the_saved_file_gives_the_same_analysis(tmp_path: Path) -> None:
    made = report("--private", "--range", "50000-50199", cwd=tmp_path)
    command = [sys.executable, "-m", "analysis.cli", "--format", "json", "made.pcapng"]
    again = subprocess.run(
        command, cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=True
    )
    assert json.loads(again.stdout) == {name: part for name, part in made.items() if name not in {"live", "kernel"}}


# -- a walk through a whole range, in the host's own way -------------------------------------------------------------


def whole_range(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return capture("--format", "json", "-q", "-w", "made.pcapng", *arguments, cwd=cwd)


@pytest.mark.root
@pytest.mark.usefixtures("need_root")
@pytest.mark.parametrize(("address", "port"), [("127.0.0.1", 50000), ("127.0.0.1", 50001), ("::1", 50000)])
def test_a_walk_through_28232_ports_loses_nothing(address: str, port: int, tmp_path: Path, need_tshark: str) -> None:
    ended = alone(whole_range, tmp_path, "--host", address, "--port", str(port))
    assert (ended.returncode, ended.stderr) == (0, "")
    made = json.loads(ended.stdout)
    holds_a_self_connect(made, address, port)
    assert made["live"] | {"namespace": "host", "repro": "walk"} == made["live"]
    refused = "tcp.srcport != tcp.dstport"
    assert frames(need_tshark, tmp_path / "made.pcapng", refused) == 2 * made["live"]["attempts"]


@pytest.mark.root
@pytest.mark.usefixtures("need_root")
def test_on_the_host_s_own_loopback(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as somebody:
        port = somebody.getsockname()[1]  # is free in a moment
    made = report("--port", str(port), "--repro", "bind", "--close", "rst", cwd=tmp_path)
    holds_a_self_connect(made, "127.0.0.1", port)
    assert made["live"]["namespace"] == "host"


def served(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    with socket.create_server(("127.0.0.1", 50000)):
        return whole_range(cwd, *arguments)


@pytest.mark.root
@pytest.mark.usefixtures("need_root")
def test_a_server_that_listens_is_named_and_nothing_is_claimed(tmp_path: Path) -> None:
    ended = alone(served, tmp_path)
    assert ended.returncode == 1
    made = json.loads(ended.stdout)
    assert made["live"]["outcome"] == "server"
    assert made["captures"][0]["verdicts"]["three-way"] == 1
    assert made["captures"][0]["verdicts"]["self-connect"] == 0
    table = alone(served, tmp_path, "--format", "table")
    assert table.returncode == 1
    words = alone(in_words, tmp_path)
    assert "a server answered" in words.stdout
    assert "A server (uid 0) listens on 127.0.0.1:50000: connect() will reach it." in words.stderr


def in_words(cwd: Path) -> subprocess.CompletedProcess[str]:
    with socket.create_server(("127.0.0.1", 50000)):
        return capture("-w", os.devnull, cwd=cwd)


def through_another_interface(cwd: Path) -> subprocess.CompletedProcess[str]:
    subprocess.run(["ip", "link", "add", "veth-a", "type", "veth", "peer", "veth-b"], timeout=20, check=True)
    subprocess.run(["ip", "link", "set", "veth-a", "up"], timeout=20, check=True)
    return capture("--repro", "bind", "-i", "veth-a", "-q", cwd=cwd)


@pytest.mark.root
@pytest.mark.usefixtures("need_root")
def test_the_wrong_interface_sees_nothing_and_says_why(tmp_path: Path) -> None:
    ended = alone(through_another_interface, tmp_path)
    assert ended.returncode == 1
    assert "nothing of that passed veth-a: it goes by way of lo" in ended.stderr


# -- how it ends -----------------------------------------------------------------------------------------------------


def started(cwd: Path, *arguments: str, ignoring: bool = False) -> subprocess.Popen[str]:
    """An endless run that has written packets. *ignoring*: as a script starts it in the background."""
    ignore = ("sh", "-c", 'trap "" INT; exec "$@"', "sh") if ignoring else ()
    process = subprocess.Popen(
        [*ignore, sys.executable, "-m", "capture.cli", *ENDLESS, "-w", "made.pcapng", *arguments],
        cwd=cwd, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 30
    while not (saved := cwd / "made.pcapng").exists() or saved.stat().st_size < 1 << 16:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return process


def session_of(process: subprocess.Popen[str]) -> list[str]:
    """The processes of the run's session that are still there."""
    members = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = stat.read_bytes().rpartition(b")")[2].split()  # the name before it is anything at all
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(words[3]) == process.pid and words[0] != b"Z":
            members.append(stat.parent.name)
    return members


def is_whole(made: dict[str, Any], file: Path, capinfos: str) -> None:
    subprocess.run([capinfos, file], stdout=subprocess.DEVNULL, timeout=60, check=True)
    (one,) = made["captures"]
    assert one["damage"] is None
    assert made["live"]["outcome"] == "stopped"
    assert made["live"]["dropped"] == 0
    assert one["packets"] == 2 * made["live"]["attempts"] > 0
    assert one["verdicts"]["refused"] == made["live"]["attempts"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("times", [1, 2])
def test_a_signal_ends_it_with_a_whole_file_and_the_analysis(
    number: signal.Signals, times: int, tmp_path: Path, need_capinfos: str
) -> None:
    process = started(tmp_path)
    for _ in range(times):
        process.send_signal(number)
    output, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (1, "")
    is_whole(json.loads(output), tmp_path / "made.pcapng", need_capinfos)
    assert not session_of(process)


def test_ctrl_c_reaches_the_whole_foreground(tmp_path: Path, need_capinfos: str) -> None:
    process = started(tmp_path)
    os.killpg(process.pid, signal.SIGINT)
    output, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (1, "")
    is_whole(json.loads(output), tmp_path / "made.pcapng", need_capinfos)


def test_sigint_counts_in_the_background_too(tmp_path: Path, need_capinfos: str) -> None:
    process = started(tmp_path, ignoring=True)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=30)
    is_whole(json.loads(output), tmp_path / "made.pcapng", need_capinfos)


def test_killed_it_leaves_no_process_and_a_file_that_can_be_read(tmp_path: Path, need_capinfos: str) -> None:
    process = started(tmp_path)
    process.kill()
    process.communicate(timeout=30)
    deadline = time.monotonic() + 10
    while session_of(process) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not session_of(process)
    subprocess.run([need_capinfos, tmp_path / "made.pcapng"], stdout=subprocess.DEVNULL, timeout=60, check=True)


def refused_so_far(process: subprocess.Popen[str]) -> int:
    """The attempts that failed in the network of a run, as the kernel counts them (RFC 2012: tcpAttemptFails)."""
    lines = Path(f"/proc/{process.pid}/net/snmp").read_text().splitlines()
    names, values = (line.split() for line in lines if line.startswith("Tcp:"))
    return int(values[names.index("AttemptFails")])


def test_packets_that_were_lost_are_counted_and_said(tmp_path: Path) -> None:
    process = started(tmp_path)
    process.send_signal(signal.SIGSTOP)  # nobody empties the rings
    start = refused_so_far(process)
    while refused_so_far(process) < start + 80_000:
        time.sleep(0.01)
    process.send_signal(signal.SIGCONT)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 4
    made = json.loads(output)
    assert made["live"]["dropped"] > 0
    assert made["live"]["packets"] + made["live"]["dropped"] == 2 * made["live"]["attempts"]
    assert made["captures"][0]["packets"] == made["live"]["packets"]
    assert (
        errors == f"selfconn-capture: {made['live']['dropped']:,} packets were lost: the kernel had no room for them\n"
    )


def test_a_file_that_is_removed_meanwhile_is_missed(tmp_path: Path) -> None:
    process = started(tmp_path)
    (tmp_path / "made.pcapng").unlink()
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 4
    assert "was removed while it was being written" in errors
    assert json.loads(output)["live"]["attempts"] > 0
    assert not session_of(process)


@pytest.mark.root
@pytest.mark.usefixtures("need_root")
def test_a_full_disk(tmp_path: Path, need_capinfos: str) -> None:
    script = (
        'mount -t tmpfs -o size=64k none "$PWD" && cd "$PWD" && "$@"; status=$?;'
        f"{need_capinfos} made.pcapng >/dev/null && exit $status"
    )
    command = ["unshare", "--mount", "sh", "-c", script, "sh", sys.executable, "-m", "capture.cli", *ENDLESS]
    ended = subprocess.run(
        [*command, "-w", "made.pcapng"],
        cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 4, ended.stderr
    assert "No space left on device" in ended.stderr
    assert json.loads(ended.stdout)["captures"][0]["verdicts"]["refused"] > 0


def on_a_terminal(command: list[str], cwd: Path) -> tuple[int, str]:
    """Run *command* on a terminal of 100 columns: exit status, what the terminal got."""
    child, terminal = pty.fork()
    if not child:
        os.chdir(cwd)
        os.execve(command[0], command, ENVIRONMENT | {"TERM": "xterm", "NO_COLOR": ""})
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("4H", 40, 100, 0, 0))
    shown = b""
    with contextlib.suppress(OSError):  # EIO: the last process has closed it
        while piece := os.read(terminal, 1 << 16):
            shown += piece
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), shown.decode()


def test_a_terminal_gets_a_bar_and_colour(tmp_path: Path) -> None:
    arguments = ("--private", "--port", "60000", "--range", "50000-50999", "--repro", "walk", "--attempts", "40000")
    status, shown = on_a_terminal([sys.executable, "-m", "capture.cli", *arguments], tmp_path)
    assert status == 1
    assert "odds so far" in shown
    assert "now at port 50" in shown
    assert "\x1b[1mselfconn-" in shown
