"""Network namespaces: finding, naming and entering them, and selfconn-check over all of them."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import ROOT

from analysis.errors import UsageError
from capture import check_cli
from capture.kernel import namespaces
from capture.kernel.containers import Home
from capture.kernel.namespaces import Namespace, Refused, Scan

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("need_root", "need_private_namespace")]

#: In a network namespace of its own: says its number, does what the test wants, and waits to be ended.
HOLDER = """
import os, socket, sys
from pathlib import Path
ranges, reserved, *ports = sys.argv[1:]
os.system("ip link set lo up")
Path("/proc/sys/net/ipv4/ip_local_port_range").write_text(ranges)
Path("/proc/sys/net/ipv4/ip_local_reserved_ports").write_text(reserved)
held = []
for port in ports:
    one = socket.socket()
    one.bind(("127.0.0.1", int(port)))
    one.connect(("127.0.0.1", int(port)))
    held.append(one)
print(os.stat("/proc/self/ns/net").st_ino, flush=True)
sys.stdin.read()
"""


class Room:
    """A network namespace with a process in it: ``pid``, ``inode``."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.inode = int(process.stdout.readline())
        self.pid = process.pid


@contextmanager
def room(*ports: int, ranges: str = "32768 60999", reserved: str = "", flags: tuple[str, ...] = ()) -> Iterator[Room]:
    """Run HOLDER in namespaces of its own, connected to itself on *ports*; it ends with the context."""
    command = ["unshare", "--net", *flags, sys.executable, "-c", HOLDER, ranges, reserved, *map(str, ports)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        yield Room(process)


def check(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "capture.check_cli", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def found(*arguments: str) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(check("--format", "json", *arguments).stdout)
    return answer


def pasted(page: str) -> str:
    """A page as a shell reads it: a line that ends in a backslash goes on in the next one."""
    return re.sub(r"\\\n *", "", page)


def of(document: dict[str, Any], inode: int) -> dict[str, Any]:
    [one] = [one for one in document["namespaces"] if one["inode"] == inode]
    return one


# -- finding and naming ----------------------------------------------------------------------------------------------


def test_a_namespace_is_found_by_its_process() -> None:
    with room() as one:
        space = Scan().processes().found[one.inode]
        assert (space.pids, space.path, space.own) == ([one.pid], f"/proc/{one.pid}/ns/net", False)
        [named] = namespaces.chosen(Scan().processes(), str(one.pid))
        assert re.fullmatch(rf"python[\d.]* \({one.pid}\)", named.name)
        assert named.prefix == ["nsenter", "-n", "-t", str(one.pid), "--"]


def test_a_namespace_keeps_its_name_when_its_processes_have_ended() -> None:
    with room() as one:
        [space] = namespaces.chosen(Scan().processes(), str(one.pid))
        name = space.name
    namespaces.named([space])
    assert f"({one.pid})" in space.name == name


THREADED = """
import os, sys, threading, ctypes
def apart():
    ctypes.CDLL(None).unshare(0x40000000)
    print(os.stat("/proc/thread-self/ns/net").st_ino, flush=True)
    sys.stdin.read()
threading.Thread(target=apart).start()
"""
LEADERLESS = f"{THREADED}ctypes.CDLL(None).pthread_exit(None)"
OPENED = """
import os, sys, ctypes
back = os.open("/proc/self/ns/net", os.O_RDONLY)
ctypes.CDLL(None).unshare(0x40000000)
held = os.open("/proc/self/ns/net", os.O_RDONLY)
print(os.fstat(held).st_ino, flush=True)
ctypes.CDLL(None).setns(back, 0)
sys.stdin.read()
"""


@pytest.mark.parametrize("program", [THREADED, LEADERLESS, OPENED], ids=["thread", "only thread", "descriptor"])
def test_a_namespace_is_found_that_no_process_is_in(program: str) -> None:
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        inode = int(process.stdout.readline())
        time.sleep(0.1)
        one = of(found(), inode)
        assert one["entered"]


MOUNTED = """
import os, subprocess, sys
from pathlib import Path
subprocess.run(["mount", "--make-rprivate", "/"], check=True)
subprocess.run(["mount", "-t", "tmpfs", "none", "/run"], check=True)
subprocess.run(["ip", "netns", "add", "blue"], check=True)
subprocess.run(["ip", "-n", "blue", "link", "set", "lo", "up"], check=True)
print(os.stat("/run/netns/blue").st_ino, flush=True)
said = subprocess.run([sys.executable, "-m", *sys.argv[1:]], capture_output=True, text=True)
print(said.stdout, end="", flush=True)
sys.exit(said.returncode not in (0, 1))  # other namespaces of the machine are not ours
"""


def netns(*arguments: str, program: str = "capture.check_cli", cwd: Path = ROOT) -> tuple[int, str]:
    """The number of a namespace that ip-netns(8) made, and what a command (selfconn-check) says beside it."""
    command = ["unshare", "--mount", sys.executable, "-c", MOUNTED, program, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    said = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert said.returncode in (0, 1), said.stderr  # 1: something else of this host is connected to itself just now
    inode, _, text = said.stdout.partition("\n")
    return int(inode), text


@pytest.mark.parametrize("which", [(), ("--netns", "blue"), ("--netns", "/run/netns/blue")])
def test_a_namespace_of_ip_netns_has_its_name_there(which: tuple[str, ...]) -> None:
    inode, text = netns("--format", "json", *which)
    document = json.loads(text)
    one = of(document, inode)
    assert (one["name"], one["pids"], one["entered"]) == ("blue", [], True)
    assert (len(document["namespaces"]) > 1) is not bool(which)


def test_what_no_namespace_is_called_is_wrong_usage() -> None:
    said = check("--netns", "no such one")
    assert (said.returncode, said.stdout) == (2, "")
    assert "no network namespace is called 'no such one'" in said.stderr
    said = check("--netns", "/dev/null")
    assert said.returncode == 2


def test_nothing_but_a_namespace_is_ever_opened(tmp_path: Path) -> None:
    """A container may put a pipe where a namespace was mounted: to open that would hang."""
    os.mkfifo(tmp_path / "pipe")
    scan = Scan()
    device = Path("/proc/self/ns/net").stat().st_dev
    for path in (tmp_path / "pipe", Path("/dev/null"), tmp_path):
        with pytest.raises(FileNotFoundError):
            namespaces._opened(str(path), device)
    with pytest.raises(FileNotFoundError):
        namespaces._opened("/proc/self/ns/net", device, 1)
    with pytest.raises(UsageError):
        namespaces.chosen(scan, str(tmp_path / "pipe"))


def test_namespaces_that_end_meanwhile_are_no_failure() -> None:
    with room() as one:
        scan = Scan().processes()
        spaces = namespaces.chosen(scan, "all")
        os.kill(one.pid, signal.SIGKILL)
        one.process.wait()
    before = Path("/proc/self/ns/net").readlink()
    inside, refused = namespaces.look_inside(scan, spaces)
    for seen in inside:
        seen.close()
    assert one.inode not in {seen.namespace.inode for seen in inside}
    assert refused == []
    assert Path("/proc/self/ns/net").readlink() == before


#: An ordinary user's: a network namespace that is mounted in a mount namespace, where another mount hides it; in the
#: network namespace a process that is connected to itself, or nobody.
COVERED = """
import ctypes, os, socket, sys
libc = ctypes.CDLL(None)
keeps, place = sys.argv[1] == "process", sys.argv[2].encode()
def mount(source, target, kind, flags): assert libc.mount(source, target, kind, flags, None) == 0
mount(b"none", b"/", None, 1 << 18 | 1 << 14)  # MS_PRIVATE, MS_REC
mount(b"a", place, b"tmpfs", 0)
os.mkdir(place + b"/$(touch x)")
open(place + b"/$(touch x)/net", "w").close()
os.system("ip link set lo up")
one = socket.socket()
one.bind(("127.0.0.1", 40000))
one.connect(("127.0.0.1", 40000))
mount(b"/proc/self/ns/net", place + b"/$(touch x)/net", None, 4096)  # MS_BIND
mount(b"b", place, b"tmpfs", 0)
inode = os.stat("/proc/self/ns/net").st_ino
pid = os.fork() if keeps else 1
if pid:
    assert libc.unshare(0x40000000) == 0
    one.close()
    print(inode, flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("keeps", ["process", "mount"])
def test_nothing_is_hidden_by_a_mount_over_a_mount(keeps: str, tmp_path: Path) -> None:
    command = ["unshare", "-r", "-n", "-m", sys.executable, "-c", COVERED, keeps, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        inode = Room(process).inode
        said = check("--format", "json")
        process.stdin.close()
    document = json.loads(said.stdout)
    space = of(document, inode)
    assert space["entered"] == (keeps == "process")
    if keeps == "process":
        assert space["name"] in {one["namespace"] for one in document["self_connected"]}
    else:
        assert said.returncode in (1, 4)
        [words] = [words for words in document["missing"] if str(inode) in words]
        assert words.endswith("could not be entered (none of the places tried leads to it)")


def test_what_a_container_mounts_is_quoted_where_it_is_to_be_pasted() -> None:
    path = "/proc/7/root/$(touch x)/net"
    refused = Refused(Namespace(9, path=path, name="a"), "forbidden", forbidden=True)
    [words] = check_cli._unseen([refused], 0, contained=False)
    command = words.partition("): ")[2].partition(",")[0]
    assert shlex.split(command) == ["nsenter", f"--net={path}", "selfconn-check", "--netns", "self"]


def test_two_containers_of_one_name_are_not_mixed_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """One can have itself called what another is: a command for the one would run in the other."""
    number = "ab" * 32
    monkeypatch.setattr(
        namespaces, "home_of", lambda pid: None if pid == "self" else Home("docker", number, number[:12])
    )
    with room() as one, room() as other:
        scan = Scan().processes()
        for name in (number, number[:12]):
            with pytest.raises(UsageError, match=f"{one.inode}"):
                namespaces.chosen(scan, name)
        [space] = namespaces.chosen(scan, str(other.inode))
        assert space.pids == [other.pid]


def test_threads_do_not_make_it_look_through_all_processes() -> None:
    """A user may have thousands of both."""

    class Unsearched(list[int]):
        def __contains__(self, one: object) -> bool:
            raise AssertionError

    with subprocess.Popen(
        [sys.executable, "-c", THREADED], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        inode = Room(process).inode
        scan = Scan()
        scan.found[inode] = Namespace(inode, pids=Unsearched())
        assert scan.processes().found[inode].pids == [process.pid]
        process.stdin.close()


# -- the check -------------------------------------------------------------------------------------------------------


def test_a_self_connect_in_another_namespace_is_told() -> None:
    with room(50000) as one, room(), room(7777, ranges="40000 40063", reserved="40001") as other:
        said = check("--format", "json")
        document = json.loads(said.stdout)
        assert said.returncode == 1
        selves = {space["namespace"]: space for space in document["self_connected"]}
        name = of(document, one.inode)["name"]
        assert selves[name]["endpoint"] == {"address": "127.0.0.1", "port": 50000}
        assert [holder["pid"] for holder in selves[name]["processes"]] == [one.pid]
        assert of(document, other.inode)["range"] == [40000, 40063]
        assert of(document, other.inode)["reserved"] == [40001]
        risks = {(port["namespace"], port["port"]): port["risk"] for port in document["ports"]}
        assert risks[name, 50000] == "at risk"
        assert risks[of(document, other.inode)["name"], 7777] == "safe only until"
        page = check().stdout
        assert "Ports, where source ports come from 40000-40063" in page
        assert max(map(len, page.splitlines())) <= 100 or "for p in" in page


def test_the_remedy_works_where_it_is_pasted_and_nowhere_else() -> None:
    mine = Path("/proc/sys/net/ipv4/ip_local_reserved_ports").read_text()
    with room(50000, reserved="8080") as one:
        document = found("--netns", str(one.pid))
        [space] = document["namespaces"]
        assert space["remedy"].startswith(f"nsenter -n -t {one.pid} -- sysctl -w ")
        subprocess.run(shlex.split(space["remedy"]), check=True, capture_output=True)
        [after] = found("--netns", str(one.pid))["namespaces"]
        assert after["reserved"] == [8080, 50000]
        page = check("--netns", str(one.pid)).stdout
        free = re.search(r"    (nsenter .* -- ss -tK .*)", page)
        assert free is not None
        subprocess.run(shlex.split(free[1]), check=True, capture_output=True)
        assert check("--netns", str(one.pid)).returncode == 0
    assert Path("/proc/sys/net/ipv4/ip_local_reserved_ports").read_text() == mine


def test_many_sockets_are_freed_by_one_command_as_it_stands() -> None:
    """The command takes several lines of the page, and is pasted with the line ends in it."""
    with room(*range(50000, 50016, 2)) as one:
        page = check("--netns", str(one.pid)).stdout
        [command] = re.findall(r"^    (nsenter .* ss -tK (?:.*\\\n)+.*)$", page, re.MULTILINE)
        assert "\\\n" in command
        subprocess.run(["sh", "-c", command], check=True, capture_output=True)
        assert check("--netns", str(one.pid)).returncode == 0


def test_alike_ones_are_told_together() -> None:
    with ExitStack() as stack:
        pids = [stack.enter_context(room(50000)).pid for _ in range(4)]
        page = check().stdout
    page = pasted(page)
    for command in (r"sysctl -w \S+=50000", r"ss -tK src 127\.0\.0\.1:50000 dst 127\.0\.0\.1:50000"):
        [loop] = re.findall(rf"for p in ([\d ]+); do nsenter -n -t \$p -- {command}; done", page)
        assert set(pids) <= set(map(int, loop.split()))
    assert page.count("Ports, where source ports come from 32768-60999") == 1


@pytest.mark.parametrize("flags", [("--pid", "--fork", "--mount-proc"), ("--user", "--map-root-user"), ("--mount",)])
def test_namespaces_of_other_kinds_are_entered(flags: tuple[str, ...]) -> None:
    with room(50000, flags=flags) as one:
        document = found()
        assert of(document, one.inode)["entered"]
        assert of(document, one.inode)["name"] in {space["namespace"] for space in document["self_connected"]}


def test_one_that_cannot_be_entered_is_named() -> None:
    """Root without CAP_SYS_ADMIN, as in a container, that asks for all."""
    with room(50000) as one:
        command = ["setpriv", "--bounding-set=-sys_admin", sys.executable, "-m", "capture.check_cli", "--netns"]
        run = {"cwd": ROOT, "capture_output": True, "text": True, "timeout": 60}
        said = subprocess.run([*command, "all"], check=False, **run)
        assert said.returncode == 4
        assert f"({one.inode}) could not be entered" in " ".join(said.stdout.split())
        assert f"nsenter --net=/proc/{one.pid}/ns/net selfconn-check" in " ".join(said.stdout.split())
        said = subprocess.run([*command, str(one.pid)], check=False, **run)
        assert said.returncode == 3
        assert "cannot enter the network namespace" in said.stderr
        said = subprocess.run(command[:-1], check=False, **run)
        assert said.returncode in (0, 1)
        assert "other network namespaces than this one" in said.stdout


def test_who_has_the_port(tmp_path: Path) -> None:
    """A connection has it as its source port, and a server wants it."""
    program = tmp_path / "taken.py"
    program.write_text(
        "import os, socket, sys\nos.system('ip link set lo up')\n"
        "l = socket.create_server(('127.0.0.2', 2379)); s = socket.socket(); s.bind(('127.0.0.1', 10254))\n"
        "s.connect(('127.0.0.2', 2379)); print(1, flush=True); sys.stdin.read()\n"
    )
    command = ["unshare", "--net", sys.executable, str(program)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        page = " ".join(check("--netns", str(process.pid), "--port", "10254").stdout.split())
    assert "Who has the port" in page
    assert f"is the source port of 127.0.0.1:10254 > 127.0.0.2:2379 (python3 ({process.pid})" in page.replace(
        Path(sys.executable).name, "python3"
    )


@pytest.mark.parametrize("reuse", [False, True])
@pytest.mark.parametrize("seen", [False, True])
def test_what_is_said_of_a_servers_bind_is_true(seen: bool, reuse: bool) -> None:
    """As root it is known what the other socket has set; else it is said as a condition."""
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
        one.connect(("127.0.0.1", port))
        with socket.socket() as wants:
            wants.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                wants.bind(("127.0.0.1", port))
            except OSError:
                assert not reuse
            else:
                assert reuse
        blind = () if seen else ("setpriv", "--bounding-set=-sys_ptrace,-sys_admin,-dac_read_search,-dac_override")
        others = () if seen else ("--reuid=65534", "--clear-groups")
        said = subprocess.run(
            [*blind, *others, sys.executable, "-m", "capture.check_cli", "--netns", "self", "-q"],
            cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
    page = " ".join(said.stdout.split())
    assert f"bind() to port {port} (at 127.0.0.1, or to all IPv4 addresses) fails with EADDRINUSE" in page, said.stderr
    known = "unless it sets SO_REUSEADDR (as the other" if reuse else "also with SO_REUSEADDR or SO_REUSEPORT."
    assert ("unless both sockets set SO_REUSEADDR or both set SO_REUSEPORT and are of one user." in page) is not seen
    assert (known in page) is seen


#: Two hundred network namespaces: each has a process, a range of its own, and a socket that is connected to itself.
MANY = """
import ctypes, os, signal, socket, sys
from pathlib import Path
for number in range(200):
    told, tell = os.pipe()
    if not (pid := os.fork()):
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
        ctypes.CDLL(None).unshare(1 << 30)
        os.system("ip link set lo up")
        Path("/proc/sys/net/ipv4/ip_local_port_range").write_text(f"{20000 + 2 * number} 50999")
        with socket.socket() as one:
            one.bind(("127.0.0.1", 50000 + number))
            one.connect(("127.0.0.1", 50000 + number))
            os.write(tell, b"1")
            signal.pause()
    os.read(told, 1)
    os.close(told)
    os.close(tell)
    print(number, pid, os.stat(f"/proc/{pid}/ns/net").st_ino)
print(flush=True)
sys.stdin.read()
"""


def test_two_hundred_namespaces_are_told_each_with_its_own() -> None:
    command = [sys.executable, "-c", MANY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        lines = iter(process.stdout.readline, "\n")
        made = {inode: (number, pid) for number, pid, inode in (map(int, line.split()) for line in lines)}
        said = check("--format", "json")
        process.stdin.close()
    assert len(made) == 200
    assert said.returncode == 1
    document = json.loads(said.stdout)
    assert all(one["entered"] for one in document["namespaces"] if one["inode"] in made)
    spaces = {one["name"]: one for one in document["namespaces"] if one["inode"] in made}
    assert len(spaces) == 200
    selves = {one["namespace"]: one for one in document["self_connected"] if one["namespace"] in spaces}
    assert len(selves) == 200
    for name, space in spaces.items():
        number, pid = made[space["inode"]]
        assert space["range"] == [20000 + 2 * number, 50999]
        assert selves[name]["endpoint"] == {"address": "127.0.0.1", "port": 50000 + number}
        assert [holder["pid"] for holder in selves[name]["processes"]] == [pid]
        # Of the odd ports no connect() without bind() comes by: the range begins with an even one.
        assert space["remedy"].startswith(f"nsenter -n -t {pid} -- ") if number % 2 == 0 else not space["remedy"]


# -- capturing in one ------------------------------------------------------------------------------------------------


def capture(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "capture.cli", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_capture_in_a_namespace(tmp_path: Path) -> None:
    with room(ranges="50000 50007") as one:
        said = capture("--netns", str(one.pid), "--format", "json", "-q", "-w", "a.pcapng", cwd=tmp_path)
    assert (said.returncode, said.stderr) == (0, "")
    made = json.loads(said.stdout)
    assert f"({one.pid})" in made["live"]["namespace"]
    assert made["kernel"]["range"] == [50000, 50007]
    assert made["openings"][-1]["verdict"] == "self-connect"


@pytest.mark.parametrize("which", ["blue", "/run/netns/blue"])
def test_a_capture_in_a_namespace_of_ip_netns(which: str, tmp_path: Path) -> None:
    options = ("--netns", which, "--repro", "bind", "--format", "json", "-q", "-w", "a.pcapng")
    _, text = netns(*options, program="capture.cli", cwd=tmp_path)
    made = json.loads(text)
    assert (made["live"]["namespace"], made["live"]["outcome"]) == ("blue", "hit")
    assert made["kernel"]["agrees"]


#: Says in which namespaces it is, who it is, and what it was given besides the standard streams; connects to itself.
CLIENT = """
import json, os, socket
kinds = ("net", "mnt", "pid", "user", "ipc", "uts", "cgroup")
spaces = {name: os.stat(f"/proc/self/ns/{name}").st_ino for name in kinds}
given = [fd for fd in range(3, 1024) if os.path.lexists(f"/proc/self/fd/{fd}")]
print(json.dumps([spaces, os.getresuid(), given]))
s = socket.socket(); s.bind(("127.0.0.1", 50000)); s.connect(("127.0.0.1", 50000))
"""


def test_a_command_in_a_namespace_has_its_network_and_nothing_else(tmp_path: Path) -> None:
    """No descriptor reaches it, so none of another namespace's; and of its namespaces it is the network's alone."""
    with room() as one:
        client = [sys.executable, "-c", CLIENT]
        said = capture("--netns", str(one.pid), "--format", "json", "-q", "-w", "a.pcapng", "--", *client, cwd=tmp_path)
    assert said.returncode == 0, said.stderr
    spaces, users, given = json.loads(said.stderr.splitlines()[0])
    assert spaces.pop("net") == one.inode
    assert spaces == {name: Path(f"/proc/self/ns/{name}").stat().st_ino for name in spaces}
    assert users == list(os.getresuid())
    assert given == []
    made = json.loads(said.stdout)
    assert [line["process"] for line in made["kernel"]["sockets"]] == [Path(sys.executable).name[:15]]
    assert made["kernel"]["agrees"]


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("--netns", "no such one"), 2, "no network namespace is called 'no such one'"),
        (("--netns", "all"), 2, "--netns all is for --watch"),
        (("--netns", "self", "--private"), 2, "leave one of them out"),
    ],
)
def test_captures_elsewhere_that_cannot_be(arguments: tuple[str, ...], status: int, words: str, tmp_path: Path) -> None:
    said = capture(*arguments, cwd=tmp_path)
    assert said.returncode == status
    assert words in said.stderr
    assert not list(tmp_path.iterdir())
