"""Watching: every self-connect is told as it happens, with whose it was and what came before, and it costs nothing.

The long form of the test under load: SELFCONN_WATCH_SECONDS=60 pytest -s tests/test_watch.py -k load
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from alone import alone, within
from conftest import ROOT
from frames import ethernet, ipv4, ipv6, sll2, tcp, vlan
from test_capture_cli import ENVIRONMENT, capture

from analysis.model import Endpoint, Verdict
from analysis.reader import analyze
from capture.kernel import netlink, socket_table
from capture.kernel.socket_owner import SocketOwner
from capture.packets.ring import LINKTYPE_ETHERNET, LINKTYPE_LINUX_SLL2, LINKTYPE_RAW
from capture.packets.self_connect import SelfConnect, self_connect
from capture.run.watch_line import Seen, fitted, written

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Seconds of load, and refused attempts a second, all clients together.
SECONDS = float(os.environ.get("SELFCONN_WATCH_SECONDS", "6"))
RATE = 50_000

#: It is connected to itself on the port of its first argument until its input ends.
HOLDER = """
import socket, sys
me = socket.socket(socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET)
me.bind((sys.argv[1], int(sys.argv[2])))
me.connect((sys.argv[1], int(sys.argv[2])))
me.sendall(b"hello")
print(me.getsockname() == me.getpeername(), flush=True)
sys.stdin.read()
"""

#: Refused attempts at port 7, so many a second for so many seconds, and no more to make up for a delay.
FLOOD = """
import socket, sys, time
rate, seconds = float(sys.argv[1]), float(sys.argv[2])
count, due = 0, time.monotonic()
end = due + seconds
while (now := time.monotonic()) < end:
    if now < due:
        time.sleep(0.001)
        continue
    due = max(due, now - 0.005) + 50 / rate
    for _ in range(50):
        client = socket.socket()
        client.connect_ex(("127.0.0.1", 7))
        client.close()
    count += 50
print(count / seconds, flush=True)
"""


class Told(NamedTuple):
    """A line of JSON, and when it came."""

    when: float
    line: dict[str, Any]


class Watching:
    """selfconn-capture --watch in *cwd*, from the moment when it watches."""

    def __init__(
        self, cwd: Path, *arguments: str, environment: dict[str, str] | None = None, python: str = sys.executable
    ) -> None:
        self.told: list[Told] = []
        # No attempt at these ports gets one of them by chance: it would be connected to itself, and the port be taken.
        Path("/proc/sys/net/ipv4/ip_local_reserved_ports").write_text("40000-40002")
        # The machine has other network namespaces, in which other tests run.
        which = () if "--netns" in arguments else ("--netns", "self")
        self.process = subprocess.Popen(
            [python, "-m", "capture.cli", "--watch", *which, *arguments],
            cwd=cwd, env=environment or ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert self.process.stderr
        self.said = self.process.stderr.readline()
        assert self.said.startswith("Watching lo for sockets that connect from "), self.said
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            if line.startswith("{"):  # a table is for people
                self.told.append(Told(time.time(), json.loads(line)))

    def until(self, count: int) -> list[dict[str, Any]]:
        """Wait until so many are told."""
        deadline = time.monotonic() + 30
        while len(self.told) < count:
            assert time.monotonic() < deadline, self.told
            assert self.process.poll() is None, self.process.stderr
            time.sleep(0.01)
        return [told.line for told in self.told]

    def counted(self, kind: str) -> int:
        """How many self-connects the lines of this kind are of."""
        return sum(told.line.get("count", 1) for told in self.told if told.line["type"] == kind)

    def memory(self) -> int:
        """Pages in use."""
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1])

    def end(self) -> int:
        """Stop it; the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.wait()

    def wait(self) -> int:
        assert self.process.stderr
        self.said += self.process.stderr.read()
        self._reader.join(30)
        return self.process.wait(30)


@contextlib.contextmanager
def connected_to_itself(
    port: int, address: str = "127.0.0.1", *, command: tuple[str, ...] = (sys.executable, "-I", "-S")
) -> Iterator[int]:
    """A process whose socket is; its pid."""
    with subprocess.Popen(
        [*command, "-c", HOLDER, address, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=ENVIRONMENT
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == b"True\n"
        yield holder.pid
        holder.stdin.close()  # type: ignore[union-attr]


def is_told(line: dict[str, Any], port: int, pid: int, *, address: str = "127.0.0.1") -> None:
    """Whether *line* says all that there is to say."""
    assert (line["schema"], line["type"], line["verdict"]) == ("selfconn/1", "opening", "self-connect")
    assert line["source"] == line["destination"] == {"address": address, "port": port}
    assert len(line["frames"]) == 3
    assert line["established"] is True
    (holder,) = line["kernel"]["sockets"]
    assert (holder["pid"], holder["state"]) == (pid, "ESTABLISHED")
    assert holder["process"].startswith("python")
    states = ["SYN-SENT", "SYN-RECEIVED", "ESTABLISHED"]
    assert [one["to"] for one in line["transitions"]] == states
    assert [one["to"] for one in line["kernel"]["transitions"]][:3] == states
    assert line["kernel"]["agrees"] is True


def watch_three(cwd: Path) -> None:
    watching = Watching(cwd)
    pids = {}
    for port, address in ((40000, "127.0.0.1"), (40001, "127.0.0.1"), (40000, "::1")):
        for _ in range(7):
            with socket.socket() as client:
                assert client.connect_ex(("127.0.0.1", port))
        with connected_to_itself(port, address) as pids[port, address]:
            watching.until(len(pids))
    lines = watching.until(3)
    assert watching.end() == 0
    for line, ((port, address), pid) in zip(lines, pids.items(), strict=True):
        is_told(line, port, pid, address=address)
        assert line["live"]["dropped"] == 0
        saved = analyze(str(cwd / line["live"]["file"]), collect=frozenset(Verdict))
        assert saved.packets == line["live"]["packets"]
        assert saved.damage is None
        (mine,) = (one for one in saved.openings if one.first_frame == line["first_frame"])
        assert (mine.verdict, mine.source) == (Verdict.SELF_CONNECT, Endpoint.parse(address, port))
        dialled = [one for one in saved.openings if one.verdict is Verdict.REFUSED and one.destination.port == port]
        assert len(dialled) >= 7
    assert [line["live"]["attempts"] for line in lines] == [7, 7, 0]
    assert "3 self-connects in " in watching.said


@pytest.mark.live
@pytest.mark.root
@pytest.mark.usefixtures("need_root", "need_ipv6")
def test_each_is_told_with_its_process_and_what_came_before(tmp_path: Path) -> None:
    alone(watch_three, tmp_path)


def watch_without_its_program(cwd: Path) -> None:
    """What it needs is there once it watches: another version may have taken the place of this one."""
    for form in ("json", "table"):
        copy = cwd / "installed"
        for name in ("analysis", "capture"):
            shutil.copytree(ROOT / name, copy / name)
        watching = Watching(cwd, "--format", form, "-c", "1", environment=os.environ | {"PYTHONPATH": str(copy)})
        shutil.rmtree(copy)
        for _ in range(300):  # a walk through the ports is looked at, too
            with socket.socket() as client:
                client.connect_ex(("127.0.0.1", 40000))
        with connected_to_itself(40000) as pid:
            assert watching.wait() == 0, watching.said
        if form == "json":
            (told,) = watching.told
            is_told(told.line, 40000, pid)


@pytest.mark.live
@pytest.mark.root
@pytest.mark.usefixtures("need_root")
def test_it_goes_on_after_an_upgrade(tmp_path: Path) -> None:
    alone(watch_without_its_program, tmp_path)


def watch_one_port(cwd: Path) -> None:
    watching = Watching(cwd, "--port", "40001", "-c", "1", "-w", os.devnull)
    with connected_to_itself(40000), connected_to_itself(40001) as pid:
        assert watching.wait() == 0
    (told,) = watching.told
    is_told(told.line, 40001, pid)
    assert told.line["live"]["file"] is None
    assert not list(cwd.iterdir())


@pytest.mark.live
@pytest.mark.root
@pytest.mark.usefixtures("need_root")
def test_one_port_and_a_count(tmp_path: Path) -> None:
    alone(watch_one_port, tmp_path)


def watch_more_than_it_can_hear(cwd: Path) -> None:
    watching = Watching(cwd, "--port", "40000", "-w", os.devnull)
    with connected_to_itself(40000) as pid:
        is_told(watching.until(1)[0], 40000, pid)
    assert watching.told[0].line["kernel"]["lost_events"] == 0
    watching.process.send_signal(signal.SIGSTOP)  # nobody reads what the kernel says
    os.waitid(os.P_PID, watching.process.pid, os.WSTOPPED)  # a signal takes a moment
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})  # each processor has a buffer of its own: fill one
    for _ in range(1000):
        with socket.socket() as me:
            me.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            me.bind(("127.0.0.1", 40000))
            me.connect(("127.0.0.1", 40000))
    watching.process.send_signal(signal.SIGCONT)
    last = watching.until(2)[-1]
    lost = last["kernel"]["lost_events"]
    assert lost > 0
    assert last["kernel"]["agrees"] is None
    watching.end()
    assert f", 0 segments lost, {lost:,} events of the kernel's own account lost." in " ".join(watching.said.split())


@pytest.mark.live
@pytest.mark.root
@pytest.mark.usefixtures("need_root")
def test_lost_kernel_events_are_said(tmp_path: Path) -> None:
    alone(watch_more_than_it_can_hear, tmp_path)


def watch_a_flood(cwd: Path) -> None:
    watching = Watching(cwd, "--port", "40000", "-w", os.devnull)
    watching.process.send_signal(signal.SIGSTOP)
    for _ in range(2000):
        with socket.socket() as me:
            me.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            me.bind(("127.0.0.1", 40000))
            me.connect(("127.0.0.1", 40000))
    watching.process.send_signal(signal.SIGCONT)
    time.sleep(0.5)
    began = time.monotonic()
    assert watching.end() in (0, 4)
    assert time.monotonic() - began < 2
    counts = [watching.counted(kind) for kind in ("opening", "again", "untold")]
    assert sum(counts) == 2000
    assert counts[0] < 200
    more = f", {counts[1]:,} more like those" if counts[1] else ""
    more += f", {counts[2]:,} that came too fast to be told" if counts[2] else ""
    assert f"{counts[0]:,} self-connect{'s' * (counts[0] > 1)}{more} in " in " ".join(watching.said.split())


@pytest.mark.live
@pytest.mark.root
@pytest.mark.usefixtures("need_root")
def test_a_flood_is_counted_and_ends_when_it_is_told_to(tmp_path: Path) -> None:
    alone(watch_a_flood, tmp_path)


def ask_for_one(_cwd: Path) -> None:
    for family, address in (
        (socket.AF_INET, "127.0.0.1"),
        (socket.AF_INET6, "::1"),
        (socket.AF_INET6, "::ffff:127.0.0.2"),
    ):
        end = Endpoint.parse(address.removeprefix("::ffff:"), 40000)
        with socket.create_server((str(end.address), 40000), family=family if ":" in end.address else socket.AF_INET):
            assert netlink.to_itself(end) is None  # one that listens is another
        with socket.socket(family) as me:
            me.bind((address, 40000))
            me.connect((address, 40000))
            for _ in range(2):
                (line,) = [one for one in socket_table.tcp_sockets(40000) if one.to_itself and one.local == end]
                found = netlink.to_itself(end)
                assert found is not None
                assert found._replace(seconds=0) == line._replace(seconds=0)
                me.close()  # TIME-WAIT is found, too


@pytest.mark.live
@pytest.mark.root
@pytest.mark.usefixtures("need_root", "need_ipv6")
def test_the_kernel_tells_of_one_socket_what_its_table_says(tmp_path: Path) -> None:
    alone(ask_for_one, tmp_path)


def watch_nothing(cwd: Path) -> subprocess.CompletedProcess[str]:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()):
        server.accept()[0].close()
        return capture("--watch", "--netns", "self", "--timeout", "0.5", cwd=cwd)


@pytest.mark.live
@pytest.mark.root
@pytest.mark.usefixtures("need_root")
def test_nothing_happens(tmp_path: Path) -> None:
    ended = alone(watch_nothing, tmp_path)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert "0 self-connects in 0." in ended.stderr
    assert not list(tmp_path.iterdir())


def watch_in_words(cwd: Path) -> tuple[str, int]:
    with subprocess.Popen(
        [sys.executable, "-m", "capture.cli", "--watch", "--netns", "self", "--format", "table", "-c", "2", "-w", "."],
        cwd=cwd, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stderr
        process.stderr.readline()
        with connected_to_itself(40000) as pid:
            with socket.socket() as client:
                assert client.connect_ex(("127.0.0.1", 40002))
            with connected_to_itself(40002):
                return process.communicate(timeout=30)[0], pid


@pytest.mark.live
@pytest.mark.root
@pytest.mark.usefixtures("need_root")
def test_in_words(tmp_path: Path) -> None:
    said, pid = alone(watch_in_words, tmp_path)
    heading, first, second = said.splitlines()
    assert heading.split() == ["TIME", "PID", "COMM", "CONTAINER", "ADDR:PORT"]
    assert re.fullmatch(rf"\d\d:\d\d:\d\d +{pid} +python\S* +\S+ +127\.0\.0\.1:40000 +at once", first)
    assert re.search(r" 127\.0\.0\.1:40002 +after 1 attempt in [0-9.]+ \w+$", second)


@pytest.mark.parametrize("width", [40, 60, 80, 120, None])
def test_a_line_is_no_wider_than_the_terminal(width: int | None) -> None:
    found = SocketOwner(1, Endpoint.parse("2001:db8:1234:5678:9abc:def0:1234:5678", 40000), pid=1, process="\x1b[2J")
    words = written(Seen(found, "containerd 4f5e2c1b8a9d7 and a long name of it", None))
    line = fitted(words, width)
    assert len(line) <= (width or 200)
    assert line.isprintable()
    assert (words[4] in line) == (width is None or width >= 90)


def watch_and_fail_to_save(cwd: Path) -> None:
    (cwd / "gone").mkdir()
    watching = Watching(cwd, "-w", "gone")
    (cwd / "gone").rmdir()
    with connected_to_itself(40000) as pid:
        (line,) = watching.until(1)
    is_told(line, 40000, pid)
    assert line["live"]["file"] is None
    assert watching.end() == 4
    assert "in 'gone': No such file or directory" in watching.said


@pytest.mark.live
@pytest.mark.root
@pytest.mark.usefixtures("need_root")
def test_what_cannot_be_saved_is_told_all_the_same(tmp_path: Path) -> None:
    alone(watch_and_fail_to_save, tmp_path)


def watch_more_than_is_kept(cwd: Path) -> None:
    watching = Watching(cwd, "--keep", "1")
    for port in (40000, 40001, 40002):
        with connected_to_itself(port):
            watching.until(port - 39999)
    assert watching.end() == 0
    files = [told.line["live"]["file"] for told in watching.told]
    assert files[1:] == [None, None]
    assert [path.name for path in cwd.iterdir()] == [files[0]]
    assert watching.said.count("as many as --keep allows") == 1


@pytest.mark.live
@pytest.mark.root
@pytest.mark.usefixtures("need_root")
def test_it_fills_no_disk(tmp_path: Path) -> None:
    alone(watch_more_than_is_kept, tmp_path)


def watch_a_talker(cwd: Path) -> None:
    watching = Watching(cwd, "-w", os.devnull)
    with socket.socket() as me:
        me.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        me.bind(("127.0.0.1", 40000))
        me.connect(("127.0.0.1", 40000))
        for _ in range(20_000):  # a program that goes on talking to itself
            me.sendall(b"x")
            me.recv(1)
    (line,) = watching.until(1)
    assert line["frames"] == [1, 2, 3]
    assert watching.end() == 0


@pytest.mark.live
@pytest.mark.root
@pytest.mark.usefixtures("need_root")
def test_one_that_talks_to_itself_without_end_is_told_once(tmp_path: Path) -> None:
    alone(watch_a_talker, tmp_path)


def watch_under_load(cwd: Path) -> str:
    watching = Watching(cwd)
    floods = [
        subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", FLOOD, str(RATE / 2), str(SECONDS)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    pids = []
    with contextlib.ExitStack() as holding:
        for port in (40000, 40001, 40002):
            time.sleep(SECONDS / 5)
            if port == 40001:
                before = watching.memory()
            pids.append(holding.enter_context(connected_to_itself(port)))
            watching.until(len(pids))
        rate = sum(float(flood.communicate(timeout=SECONDS + 30)[0]) for flood in floods)
        grown = watching.memory() - before
        assert watching.end() == 0
    delays = [told.when - float(told.line["time"]) for told in watching.told]
    for told, port, pid in zip(watching.told, (40000, 40001, 40002), pids, strict=True):
        is_told(told.line, port, pid)
        assert told.line["live"]["dropped"] == 0
        saved = analyze(str(cwd / told.line["live"]["file"]))
        assert told.line["live"]["packets"] > 9000
        assert saved.verdicts[Verdict.REFUSED] > 4000
    assert grown < 2000, "pages since the first was told"
    assert max(delays) < 10, delays
    return (
        f"{rate:,.0f} attempts/s for {SECONDS:.0f} s; told after {', '.join(f'{one:.3f}' for one in delays)} s; "
        f"{grown} pages more than after the first. {watching.said.splitlines()[-1]}\n"
    )


@pytest.mark.live
@pytest.mark.root
@pytest.mark.usefixtures("need_root")
@pytest.mark.timeout(120 + 3 * SECONDS)
def test_under_load_it_tells_of_each_and_what_came_before(tmp_path: Path) -> None:
    sys.stderr.write(within(60 + 2 * SECONDS, watch_under_load, tmp_path))


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--watch -- true", "goes with neither COMMAND"),
        ("--watch --private", "nor --private"),
        ("--watch --format html", "use --format table, json or jsonl"),
        ("--watch -w nowhere", "-w 'nowhere' is not a directory"),
        ("--watch -w -", "is not a directory"),
    ],
)
def test_what_does_not_go_together(line: str, words: str, tmp_path: Path) -> None:
    ended = capture(*line.split(), cwd=tmp_path)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert words in ended.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="needs an ordinary user")
def test_without_privilege_it_names_the_command_that_works(tmp_path: Path) -> None:
    ended = capture("--watch", "-c", "1", cwd=tmp_path)
    assert ended.returncode == 3
    assert "Run it as root: sudo " in ended.stderr
    assert ended.stderr.endswith(" --watch -c 1\n")


# -- the one segment that tells --------------------------------------------------------------------------------------


HERE, PORT, ISN = bytes((192, 0, 2, 1)), 50000, 0xFFFFFFFF
HERE6 = b"\x20\1\x0d\xb8" + bytes(11) + b"\1"
SYN_ACK = tcp(PORT, PORT, 0x12, ISN, 0)


@pytest.mark.parametrize(
    ("linktype", "frame", "address"),
    [
        (LINKTYPE_ETHERNET, ethernet(ipv4(HERE, HERE, SYN_ACK)), HERE),
        (LINKTYPE_ETHERNET, ethernet(ipv4(HERE, HERE, SYN_ACK, options=bytes(40))), HERE),
        (LINKTYPE_ETHERNET, ethernet(vlan(ipv6(HERE6, HERE6, SYN_ACK), 0x86DD), 0x8100), HERE6),
        (LINKTYPE_RAW, ipv6(HERE6, HERE6, SYN_ACK), HERE6),
        (LINKTYPE_LINUX_SLL2, sll2(ipv4(HERE, HERE, SYN_ACK)), HERE),
    ],
    ids=["ethernet", "options", "vlan", "raw", "cooked"],
)
def test_the_sign_is_seen(linktype: int, frame: bytes, address: bytes) -> None:
    assert self_connect(linktype, (7, frame, len(frame))) == SelfConnect(7, Endpoint(address, PORT), ISN)
    for size in range(34, len(frame)):  # what is cut off is no sign, and no error
        self_connect(linktype, (7, frame[:size], len(frame)))


@pytest.mark.parametrize(
    "segment",
    [
        tcp(PORT, PORT, 0x02, ISN),
        tcp(PORT, PORT, 0x10, ISN, 0),
        tcp(PORT, PORT, 0x16, ISN, 0),
        tcp(PORT, PORT, 0x12, 7, ISN),
    ],
    ids=["SYN", "ACK", "RST", "from a server that answers a forged SYN"],
)
def test_other_segments_are_no_sign(segment: bytes) -> None:
    frame = ethernet(ipv4(HERE, HERE, segment))
    assert self_connect(LINKTYPE_ETHERNET, (7, frame, len(frame))) is None
