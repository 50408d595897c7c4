"""--watch over every network namespace: those that are there, that come and that go; and who watches them."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from test_capture_cli import ENVIRONMENT
from test_namespaces import room

from analysis.model import Verdict
from analysis.reader import analyze

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [
    pytest.mark.live,
    pytest.mark.root,
    pytest.mark.usefixtures("need_root", "need_private_namespace"),
]

#: In a network namespace: waits for a line, dials a port that nobody serves, then connects to itself; and waits again.
CLIENT = """
import os, socket, sys
port = int(sys.argv[1])
os.system("ip link set lo up")
with open("/proc/sys/net/ipv4/ip_local_reserved_ports", "w") as reserved:
    reserved.write(str(port))  # no attempt at it gets it by chance
print(os.stat("/proc/self/ns/net").st_ino, flush=True)
sys.stdin.readline()
for _ in range(5):
    with socket.socket() as one:
        assert one.connect_ex(("127.0.0.1", port))
with socket.socket() as one:
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\\1\\0\\0\\0\\0\\0\\0\\0")
    one.bind(("127.0.0.1", port))
    one.connect(("127.0.0.1", port))
    print("connected", flush=True)
    sys.stdin.readline()
"""


class Client:
    """A process in a namespace of its own that connects to itself when it is told to."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process, self.pid = process, process.pid
        self.inode = int(process.stdout.readline())

    def go(self) -> None:
        """Have it connect to itself."""
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "connected\n"


@contextmanager
def client(port: int) -> Iterator[Client]:
    command = ["unshare", "--net", sys.executable, "-c", CLIENT, str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Client(process)
        finally:
            process.kill()


def until(true: Callable[[], Any], seconds: float = 30) -> Any:
    """Wait for it; what it was."""
    deadline = time.monotonic() + seconds
    while not (answer := true()):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return answer


class Watch:
    """selfconn-capture --watch in *cwd*, from the moment when it watches all that there is."""

    def __init__(self, cwd: Path, *arguments: str) -> None:
        self.out, self.err = cwd / "out", cwd / "err"
        with self.out.open("w") as out, self.err.open("w") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "capture.cli", "--watch", "--netns", "all", *arguments],
                cwd=cwd, env=ENVIRONMENT, stdout=out, stderr=err,
            )  # fmt: skip
        until(lambda: "Not watched: " in self.said)

    @property
    def said(self) -> str:
        return " ".join(self.err.read_text().split())

    def of(self, pid: int) -> list[dict[str, Any]]:
        """What was told of this process: the machine has others."""
        lines = [json.loads(line) for line in self.out.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return [one for one in lines if [holder["pid"] for holder in one["kernel"]["sockets"]] == [pid]]

    def watches(self, inode: int) -> bool:
        """Whether it has sockets in that namespace: they keep it alive."""
        return str(inode) in self.said

    def helper(self) -> int:
        """The process that stays privileged."""
        [one] = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(one)

    def end(self, number: int = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        return self.process.wait(60)


@contextmanager
def watching(cwd: Path, *arguments: str) -> Iterator[Watch]:
    made = Watch(cwd, *arguments)
    try:
        yield made
    finally:
        if made.process.poll() is None:
            made.end()


def test_what_was_there_and_what_comes_later_is_told(tmp_path: Path) -> None:
    with client(41000) as before, watching(tmp_path) as watch:
        before.go()
        with client(41000) as later:
            until(lambda: f"({later.pid})" in watch.said)
            later.go()
            for one in (before, later):
                [line] = until(lambda one=one: watch.of(one.pid))
                assert line["live"]["inode"] == one.inode
                assert line["live"]["namespace"] == f"{line['kernel']['sockets'][0]['process']} ({one.pid})"
                assert line["live"]["attempts"] == 5
                saved = analyze(str(tmp_path / line["live"]["file"]), collect=frozenset(Verdict))
                assert saved.verdicts[Verdict.REFUSED] == 5
                assert saved.verdicts[Verdict.SELF_CONNECT] == 1


def test_what_happens_before_it_is_watched_the_tracepoint_tells(tmp_path: Path) -> None:
    with watching(tmp_path) as watch, client(41002) as one:
        one.go()
        [line] = until(lambda: watch.of(one.pid))
    if line["live"]["packets"] == 0:
        assert (line["isn"], line["evidence"], line["live"]["file"]) == (None, None, None)
        assert "was not watched yet" in line["notes"][0]
    assert line["source"] == line["destination"] == {"address": "127.0.0.1", "port": 41002}
    assert f"({one.pid})" in line["live"]["namespace"]


def test_which_sockets_are_connected_to_themselves_already_is_said_at_the_start(tmp_path: Path) -> None:
    with room(41004) as one, watching(tmp_path) as watch:
        until(lambda: re.search(rf"Connected to itself already: 127\.0\.0\.1:41004 in \S+ \({one.pid}\)", watch.said))


def test_a_namespace_that_ends_is_let_go(tmp_path: Path) -> None:
    """Its virtual Ethernet device goes with it: nobody keeps it."""
    name = f"sc{os.getpid() % 100000}"
    with watching(tmp_path) as watch:
        with room() as one:
            subprocess.run(
                ["ip", "link", "add", name, "type", "veth", "peer", "eth7", "netns", str(one.pid)], check=True
            )
            until(lambda: f"({one.pid})" in watch.said)
        until(lambda: not Path("/sys/class/net", name).exists())
        until(lambda: "Gone: the network namespace" in watch.said)


#: In a network namespace: connects to itself, and ends a moment later.
BRIEF = """
import os, socket, sys, time
os.system("ip link set lo up")
with socket.socket() as one:
    one.bind(("127.0.0.1", int(sys.argv[1])))
    one.connect(("127.0.0.1", int(sys.argv[1])))
    time.sleep(0.4)
"""


def test_namespaces_that_end_at_once_are_told_each_once(tmp_path: Path) -> None:
    """Any user can make such ones, and ended the watch with them: of one that was gone something waited to be told."""
    ports = range(42000, 42030)
    with watching(tmp_path) as watch:
        for start in ports[::10]:
            command = ["unshare", "--net", sys.executable, "-c", BRIEF]
            ones = [subprocess.Popen([*command, str(start + number)]) for number in range(10)]
            assert not any(one.wait() for one in ones)
        time.sleep(1)
        status = watch.end()
    told = Counter(json.loads(line)["source"]["port"] for line in watch.out.read_text().splitlines())
    assert {port: told[port] for port in ports if told[port] > 1} == {}
    # 4: something else on this host connects to itself faster than can be told.
    assert status == 4 or [port for port in ports if not told[port]] == []
    assert status in (0, 4)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_nothing_is_left_however_it_ends(number: int, tmp_path: Path) -> None:
    with room() as one, watching(tmp_path) as watch:
        helper = watch.helper()
        began = time.monotonic()
        watch.end(number)
        # Of one that is killed the kernel closes the rings one by one, however many namespaces the host has.
        assert time.monotonic() - began < 30 or number == signal.SIGKILL
        until(
            lambda: not Path(f"/proc/{helper}").exists() or "Z" in Path(f"/proc/{helper}/stat").read_text().split()[2]
        )
        assert one.inode


def test_what_stays_privileged_is_little(tmp_path: Path) -> None:
    with watching(tmp_path) as watch:

        def status(pid: int) -> dict[str, str]:
            lines = Path(f"/proc/{pid}/status").read_text().splitlines()
            return dict(line.split(":\t", 1) for line in lines if ":\t" in line)

        both = watch.helper(), watch.process.pid
        # CAP_DAC_READ_SEARCH, CAP_NET_RAW, CAP_SYS_PTRACE, CAP_SYS_ADMIN
        helper = status(watch.helper())
        assert int(helper["CapEff"], 16) == 1 << 2 | 1 << 13 | 1 << 19 | 1 << 21
        assert (helper["NoNewPrivs"], int(helper["CapInh"], 16)) == ("1", 0)
        assert int(status(watch.process.pid)["CapPrm"], 16) == 0
        links, ours = ([str(one.readlink()) for one in Path(f"/proc/{pid}/fd").iterdir()] for pid in both)
        assert not [one for one in links if one.startswith(("net:", "pipe:", str(tmp_path)))]
        assert not [one for one in ours if one.startswith("net:")]


def test_without_it_the_watch_goes_on_and_says_so(tmp_path: Path) -> None:
    with watching(tmp_path) as watch:
        os.kill(watch.helper(), signal.SIGKILL)
        until(lambda: "later ones are not watched" in watch.said)
        assert watch.end() == 4


def processor_seconds(pid: int) -> float:
    spent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return sum(map(int, spent)) / os.sysconf("SC_CLK_TCK")


def test_a_process_that_ended_and_that_nobody_waits_for_does_not_keep_the_watch_busy(tmp_path: Path) -> None:
    with watching(tmp_path) as watch, client(41006) as one:
        until(lambda: f"({one.pid})" in watch.said)
        os.kill(watch.helper(), signal.SIGSTOP)  # it would say that the namespace is gone
        try:
            one.process.kill()
            time.sleep(0.2)
            before = processor_seconds(watch.process.pid)
            time.sleep(2)
            assert processor_seconds(watch.process.pid) - before < 1
        finally:
            os.kill(watch.helper(), signal.SIGCONT)
        until(lambda: "Gone: the network namespace" in watch.said)
