"""The socket table and who holds what: against sockets and processes that the test made."""

from __future__ import annotations

import errno
import os
import signal
import socket
import struct
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest
from alone import alone
from conftest import need_linux

from analysis.states import State
from capture.kernel import bound_sockets, netlink, port_choice, socket_table, sockets
from capture.kernel.port_rules import BOUND_LISTED

if TYPE_CHECKING:
    pass

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("need_private_namespace")]

RESET = struct.pack("ii", 1, 0)


def to_itself(port: int, address: str = "127.0.0.1") -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    made.bind((address, port))
    made.connect((address, port))
    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    return made


def seen(**cut: object) -> tuple[sockets.Table, sockets.Table]:
    """The table of a namespace with one socket of each kind; and with the cut of what can be asked."""
    with (
        to_itself(50000),
        to_itself(50002, "::1"),
        to_itself(50004, "::ffff:127.0.0.1"),
        socket.create_server(("127.0.0.1", 2000)),
        socket.create_connection(("127.0.0.1", 2000)),
        socket.socket() as bound,
    ):
        bound.bind(("127.0.0.1", 2002))
        whole = sockets.table()
        for name, value in cut.items():
            setattr(sockets, name, value)
        return whole, sockets.table()


def names(some: list[socket_table.TcpSocket]) -> set[str]:
    return {f"{one.local} {one.state}" for one in some}


KINDS = {
    "127.0.0.1:50000 ESTABLISHED",
    "[::1]:50002 ESTABLISHED",
    "127.0.0.1:50004 ESTABLISHED",
    "127.0.0.1:2000 LISTEN",
}


def refuse(*_: object, **__: object) -> None:
    raise PermissionError(13, "Permission denied")


@pytest.mark.usefixtures("need_ipv6")
def test_every_kind_of_socket_is_in_the_table() -> None:
    found, _ = alone(seen)
    assert names(found.sockets) == KINDS
    assert found.whole
    listed = port_choice.kernel().has(BOUND_LISTED)
    assert found.bound_told == listed
    assert len(found.missing) == (not listed)
    assert names(found.bound) == ({"127.0.0.1:2002 CLOSED"} if listed else set())


@pytest.mark.usefixtures("need_ipv6")
def test_netlink_tells_the_same_as_proc() -> None:
    by_proc, by_netlink = alone(seen, tcp_sockets=refuse)
    assert sorted(by_proc.sockets) == sorted(by_netlink.sockets)
    assert (by_netlink.missing, by_netlink.whole) == (by_proc.missing, True)


@pytest.mark.usefixtures("need_ipv6")
def test_without_netlink_the_sockets_are_seen_all_the_same() -> None:
    _, found = alone(seen, _netlink=refuse)
    assert names(found.sockets) == KINDS
    assert found.bound == []
    assert not found.whole
    assert found.missing == [
        "ports that are bound though nobody listens, so that no client is given them: Permission denied"
    ]


def bound_only() -> tuple[list[socket_table.TcpSocket], sockets.Table]:
    """What netlink lists as bound; and the table of a kernel that lists none, with what the sockets say themselves."""
    with ExitStack() as opened:
        for family, address, port in ((socket.AF_INET, "127.0.0.1", 2002), (socket.AF_INET6, "::1", 2004)):
            opened.enter_context(socket.socket(family)).bind((address, port))
        opened.enter_context(to_itself(50000))
        opened.enter_context(socket.create_server(("127.0.0.1", 2000)))
        opened.enter_context(socket.create_connection(("127.0.0.1", 2000)))
        opened.enter_context(socket.socket())
        opened.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)).bind(("127.0.0.1", 2006))
        listed = sockets.table()
        unlisted = listed._replace(bound=[], missing=[f"{sockets.UNSEEN_BOUND}: for this test"], bound_told=False)
        return listed.bound, asked(unlisted)


def asked(unlisted: sockets.Table) -> sockets.Table:
    """Ask the sockets of this process."""
    descriptors: dict[int, str] = {}
    sockets.owners(None, None, descriptors)
    own = {inode: path for inode, path in descriptors.items() if path.startswith(f"/proc/{os.getpid()}/")}
    [found] = bound_sockets.completed([(unlisted, Path("/proc/self/ns/net").stat().st_ino)], own)
    return found


@pytest.mark.usefixtures("need_ipv6", "need_pidfd_getfd")
def test_who_only_binds_is_found_where_the_kernel_does_not_list_it() -> None:
    listed, found = alone(bound_only)
    assert names(found.bound) == {"127.0.0.1:2002 CLOSED", "[::1]:2004 CLOSED"}
    assert (found.missing, found.bound_told) == ([], True)
    if port_choice.kernel().has(BOUND_LISTED):
        assert sorted(found.bound) == sorted(listed)


@pytest.mark.usefixtures("need_pidfd_getfd")
@pytest.mark.parametrize("bind", [True, False])
def test_who_failed_to_connect_may_hold_its_port(bind: bool) -> None:
    """It says the port that it had, whether bind() or connect() gave it that one."""

    def refused() -> sockets.Table:
        with socket.socket() as one:
            if bind:
                one.bind(("127.0.0.1", 2002))
            assert one.connect_ex(("127.0.0.1", 2000)) == errno.ECONNREFUSED
            assert one.getsockname()[1]
            return asked(sockets.Table([], [], [f"{sockets.UNSEEN_BOUND}: for this test"], True, False))

    found = alone(refused)
    assert found.bound == []
    assert not found.bound_told
    assert len(found.missing) == 1


def test_sockets_that_may_not_be_asked_are_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    def refusing(*_: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(bound_sockets, "copied", refusing)
    assert bound_sockets.bound({1: "/proc/1/fd/1"}, {1}).told(0)
    assert not bound_sockets.bound({1: "/proc/1/fd/1"}, ()).told(0)


def test_where_nothing_can_be_read_it_says_so() -> None:
    _, found = alone(seen, _netlink=refuse, tcp_sockets=refuse)
    assert (found.sockets, found.whole) == ([], False)
    assert "sockets: no answer over netlink" in found.missing[1]


#: What Linux 5.10.218 answered: without the module tcp_diag, without inet_diag; and that there is no socket.
NO_TCP_DIAG = "14000000030002000100000057000000feffffff"
NO_INET_DIAG = "5c00000002000000010000005f000000feffffff4800000014000103010000000000000002060000ffffffff" + 48 * "00"
NOTHING = "1400000003000200010000005200000000000000"


@pytest.mark.skipif(sys.byteorder != "little", reason="recorded on a little-endian machine")
@pytest.mark.parametrize(("told", "part"), [(NO_TCP_DIAG, "tcp_diag"), (NO_INET_DIAG, "inet_diag")])
def test_a_missing_part_of_the_kernel_is_named(told: str, part: str) -> None:
    with pytest.raises(OSError, match=f"this kernel has no {part}"):
        answered(told).sockets()
    assert list(answered(NOTHING).ask(20, b"", dump=True)) == []


def answered(told: str) -> netlink.SockDiag:
    """A netlink socket that hears this."""
    made = netlink.SockDiag()
    made.close()
    made._socket = SimpleNamespace(send=lambda _: None, recv=lambda _: bytes.fromhex(told))
    return made


def test_a_kernel_without_sock_diag_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*_: object) -> None:
        raise OSError(errno.EPROTONOSUPPORT, os.strerror(errno.EPROTONOSUPPORT))

    monkeypatch.setattr(socket, "socket", none)
    with pytest.raises(OSError, match="this kernel has no netlink's sock_diag"):
        netlink.SockDiag()


def old_kernel() -> list[str]:
    port_choice.os.uname = lambda: SimpleNamespace(release="6.1.0-47-cloud-amd64", version="#1 SMP Debian 6.1.170-1")
    return sockets.table().missing


def test_a_kernel_that_does_not_list_bound_ports_is_said() -> None:
    [missing] = alone(old_kernel)
    assert missing.endswith("Linux does not tell before 6.8, and this is 6.1.0-47-cloud-amd64")


def with_port() -> list[socket_table.TcpSocket]:
    with socket.create_server(("127.0.0.1", 2000)) as server, socket.create_connection(server.getsockname()):
        return sockets.table([2000]).sockets


def test_sockets_with_an_asked_port_are_in_it_whatever_their_state() -> None:
    assert {str(one.state) for one in alone(with_port)} == {"LISTEN", "ESTABLISHED"}


def left() -> socket_table.TcpSocket:
    with to_itself(50000) as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 0, 0))
    return next(one for one in sockets.table().sockets if one.local == one.remote)


def test_what_a_self_connect_leaves_is_seen_with_the_time_it_has() -> None:
    one = alone(left)
    assert (one.state, one.local.port, one.inode) == (State.TIME_WAIT, 50000, 0)
    assert 50 < one.seconds <= 60


def aged() -> tuple[float | None, float | None, float]:
    with to_itself(50000) as one, to_itself(50002):
        began = time.monotonic()
        line = next(line for line in sockets.table().sockets if line.local.port == 50000)
        before = sockets.idle(line)
        while time.monotonic() < began + 0.1:
            pass
        one.sendall(b"x")
        return before, sockets.idle(line), time.monotonic() - began


def test_a_socket_is_as_old_as_it_has_been_idle_at_least() -> None:
    before, after, elapsed = alone(aged)
    assert before is not None
    assert after is not None
    assert max(before, after) <= elapsed + 0.01


# -- owners ----------------------------------------------------------------------------------------------------------


def named(name: bytes) -> tuple[dict[int, list[sockets.Process]], int, int, list[int]]:
    """Who holds a socket that a process of this name shares with its child."""
    with to_itself(50000) as one:
        inode = os.fstat(one.fileno()).st_ino
        Path("/proc/self/comm").write_bytes(name)
        child = os.fork()
        if not child:
            signal.pause()
        try:
            found, closed = sockets.owners([inode, 0])
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
        return found, inode, closed, sorted([os.getpid(), child])


def test_every_process_that_holds_a_socket_is_found() -> None:
    found, inode, closed, processes = alone(named, b"a proxy")
    assert sorted(one.pid for one in found[inode]) == processes
    assert {one.name for one in found[inode]} == {"a proxy"}
    assert all(0 <= one.seconds < 120 for one in found[inode])
    if os.geteuid() == 0:
        assert closed == 0
        assert {one.user for one in found[inode]} == {"root"}


@pytest.mark.parametrize(
    ("raw", "name"), [(b"a) S 1 (b", "a) S 1 (b"), (b"\x1b[2J\n x", "\x1b[2J\n x"), (b"\xff\xfe", "\\xff\\xfe")]
)
def test_a_process_may_call_itself_anything(raw: bytes, name: str) -> None:
    found, inode, *_ = alone(named, raw)
    assert {one.name for one in found[inode]} == {name}


#: Its first thread ends, and another one lives on with the socket.
LEADERLESS = """
import ctypes, os, socket, threading, time
one = socket.create_server(("127.0.0.1", 0))
print(os.fstat(one.fileno()).st_ino, flush=True)
threading.Thread(target=time.sleep, args=(60,)).start()
ctypes.CDLL(None).pthread_exit(None)
"""


def test_a_process_is_found_whose_first_thread_has_ended() -> None:
    with subprocess.Popen([sys.executable, "-c", LEADERLESS], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        inode = int(process.stdout.readline())
        try:
            state = Path(f"/proc/{process.pid}/stat")
            while state.read_text().rpartition(")")[2].split()[0] != "Z":
                time.sleep(0.01)
            found, _ = sockets.owners([inode])
        finally:
            process.kill()
    assert [one.pid for one in found[inode]] == [process.pid]


def test_a_socket_of_nobody_has_no_owner() -> None:
    assert sockets.owners([]) == ({}, 0)
    assert sockets.owners([0]) == ({}, 0)
    assert sockets.owners([2**60])[0] == {}


def as_nobody(descriptor: int) -> tuple[dict[int, list[sockets.Process]], int]:
    inode = os.fstat(descriptor).st_ino
    os.close(descriptor)
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
    return sockets.owners([inode])


@pytest.mark.root
@pytest.mark.usefixtures("need_root")
def test_an_ordinary_user_does_not_see_the_processes_of_others() -> None:
    with socket.socket() as one:
        found, closed = alone(as_nobody, one.fileno())
    assert found == {}
    assert closed > 0


def test_a_user_without_a_name_is_a_number() -> None:
    assert sockets.user(0) == "root"
    assert sockets.user(4_000_000_000) == "4000000000"


# -- a long list -----------------------------------------------------------------------------------------------------


def reserve(ports: range) -> frozenset[int]:
    with Path("/proc/sys/net/ipv4/ip_local_reserved_ports").open("w") as setting:
        setting.write(",".join(map(str, ports)))
    return port_choice.kernel().reserved


def test_a_long_list_of_reserved_ports_is_read_whole() -> None:
    need_linux(4, 16, "4.15 cuts a long list as it takes it in")
    ports = range(32768, 61000, 2)
    assert alone(reserve, ports) == frozenset(ports)
