"""Real sockets that connect to themselves, each in a network of its own; and what keeps them from it."""

from __future__ import annotations

import errno
import os
import select
import signal
import socket
import time
from pathlib import Path

import pytest
from alone import alone
from conftest import need_linux

from analysis.errors import CannotCapture, UsageError
from analysis.model import Endpoint
from analysis.odds import Odds
from analysis.states import State
from capture.kernel import netns, port_choice, port_outlook, socket_table, sockets
from capture.kernel.port_choice import Kernel
from capture.kernel.port_outlook import Outlook
from capture.kernel.port_rules import OWN_RANGE
from capture.run import repro
from capture.run.repro import Progress, Repro

# -- the choice of a way ---------------------------------------------------------------------------------------------


def outlook(port: int = 50000, **facts: object) -> Outlook:
    kernel = Kernel("6.18.0", 32768, 60999, reserved=frozenset({50004}))
    plain, bound = kernel.windows(), kernel.windows(bound_first=True)
    bound_first = port not in plain and port in bound
    odds = kernel.odds(port, bound if bound_first else plain, bound_first=bound_first)
    known = {"bound_first": bound_first, "odds": odds, "sockets": (), "bind_error": 0, **facts}
    return Outlook(target=Endpoint.parse("127.0.0.1", port), kernel=kernel, **known)  # type: ignore[arg-type]


def test_auto_walks_where_walking_works() -> None:
    chosen = repro.plan(outlook(50000))
    assert (chosen.repro, chosen.way, chosen.why) == ("walk", repro.WAYS["walk"], None)
    chosen = repro.plan(outlook(50001))
    assert (chosen.repro, chosen.way) == ("walk", repro.WAYS["walk, bound"])


@pytest.mark.parametrize("port", [2000, 50004, 61000])
def test_auto_binds_where_no_walk_leads_and_says_so(port: int) -> None:
    chosen = repro.plan(outlook(port))
    assert chosen.repro == "bind"
    assert "A walk never gets this port" in (chosen.why or "")


def test_without_a_limit_a_walk_gets_twenty_times_the_mean() -> None:
    assert repro.plan(outlook()).attempts == int(20 * outlook().odds.mean)
    assert repro.plan(outlook(), attempts=5).attempts == 5


@pytest.mark.parametrize(
    ("port", "asked", "words"),
    [(2000, "walk", "Use --repro bind, or --private"), (50004, "range", "use --repro bind")],
)
def test_the_hopeless_is_refused_unless_it_is_limited(port: int, asked: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        repro.plan(outlook(port), asked)
    assert repro.plan(outlook(port), asked, attempts=10).repro == asked


def test_an_old_kernel_has_no_range_of_one() -> None:
    old = Outlook(Endpoint.parse("127.0.0.1", 50000), Kernel("5.4.0", 32768, 60999), False, Odds(1 / 14116), (), 0)
    with pytest.raises(UsageError, match=r"needs Linux 6\.3"):
        repro.plan(old, "range")


def test_a_port_that_is_taken() -> None:
    with pytest.raises(UsageError, match=r"bound, though nobody listens.*Use another --port"):
        repro.plan(outlook(bind_error=errno.EADDRINUSE))
    assert repro.plan(outlook(bind_error=errno.EADDRINUSE), attempts=10).repro == "walk"


def test_bind_after_a_walk_waits_for_its_time_wait_and_says_so() -> None:
    end = Endpoint.parse("127.0.0.1", 50000)
    left = socket_table.TcpSocket(end, end, State.TIME_WAIT, 58.2, 0, 0)
    kernel = Kernel("6.18.0", 32768, 60999)
    seen = Outlook(end, kernel, False, Odds(1 / 14116), (left,), errno.EADDRINUSE)
    assert "only when that TIME-WAIT ends, in 59 s" in (repro.plan(seen, "bind").why or "")
    assert repro.plan(seen).why is None


def test_a_port_that_only_root_may_bind() -> None:
    with pytest.raises(CannotCapture, match="add --private"):
        repro.plan(outlook(80, bind_error=errno.EACCES))


# -- real sockets ----------------------------------------------------------------------------------------------------

pytestmark = pytest.mark.usefixtures("need_private_namespace")
live = pytest.mark.live
SMALL = (50000, 50007)


def run(
    address: str = "127.0.0.1",
    port: int = 50000,
    ports: tuple[int, int] = SMALL,
    *,
    ways: tuple[str, ...] = ("auto",),
    attempts: int | None = None,
    seconds: float = 30,
    reset: bool = False,
) -> list[Progress]:
    """The accounts of repros one after the other, in one network."""
    target = Endpoint.parse(address, port)
    netns.enter(target, ports)
    return [followed(target, way, attempts, seconds, reset=reset) for way in ways]


def followed(target: Endpoint, way: str, attempts: int | None, seconds: float, *, reset: bool) -> Progress:
    chosen = repro.plan(port_outlook.outlook(target), way, attempts=attempts, seconds=seconds, reset=reset)
    child = Repro(chosen)
    while child.read():
        select.select([child], [], [], 60)
    child.stop()
    return child.progress


def bound(account: Progress, when: str) -> list[str | None]:
    return [one["error"] for one in account["server"] if one["when"] == when]


@live
@pytest.mark.usefixtures("need_ipv6")
@pytest.mark.parametrize("way", ["walk", "bind", "range"])
@pytest.mark.parametrize(
    ("address", "port", "ports"),
    [
        ("127.0.0.1", 50000, SMALL),
        ("127.0.0.1", 50001, SMALL),
        ("127.0.0.2", 50000, SMALL),
        ("127.0.0.2", 50001, SMALL),
        ("::1", 50000, SMALL),
        ("::1", 50007, SMALL),
        ("192.0.2.1", 50002, SMALL),
        ("2001:db8::1", 50003, SMALL),
        ("127.0.0.1", 443, (440, 447)),
        ("127.0.0.1", 65535, (65535, 65535)),
    ],
)
def test_every_way_leads_there(way: str, address: str, port: int, ports: tuple[int, int]) -> None:
    if way == "range" and not port_choice.kernel().has(OWN_RANGE):
        need_linux(6, 3, "IP_LOCAL_PORT_RANGE")
    (account,) = alone(run, address, port, ports, ways=(way,))
    assert account["outcome"] == "hit"
    assert account["local"] == account["peer"] == [address, port]
    found = dict(account["socket"])
    assert found.pop("inode") > 0
    assert found.pop("pid") != os.getpid()
    assert found.pop("process") == sockets.own_name()
    assert found == {"state": "ESTABLISHED", "uid": os.geteuid(), "user": sockets.user(os.geteuid())}
    assert account["echo"] == "hello"
    assert bound(account, "connected") == ["EADDRINUSE", "EADDRINUSE"]
    assert bound(account, "closed")[0] == "EADDRINUSE"
    assert account["close"] == "FIN"
    assert 55 < account["time_wait"] <= 60
    assert account["attempts"] == 0 or way == "walk"


@live
def test_time_wait_keeps_the_port_from_servers_even_with_reuseaddr() -> None:
    need_linux(4, 19, "tcp_tw_reuse=2: before, a TIME-WAIT that no connect() gets past lets servers share the port")
    (account,) = alone(run)
    assert bound(account, "closed") == ["EADDRINUSE", "EADDRINUSE"]


@live
@pytest.mark.parametrize("port", [50000, 50001])
def test_a_reset_leaves_nothing(port: int) -> None:
    accounts = alone(run, port=port, ways=("auto",) * 5, reset=True)
    assert [account["outcome"] for account in accounts] == ["hit"] * 5
    assert {account["close"] for account in accounts} == {"RST"}
    assert {account["time_wait"] for account in accounts} == {0.0}
    assert [bound(account, "closed") for account in accounts] == [[None, None]] * 5


@live
@pytest.mark.usefixtures("need_ipv6")
@pytest.mark.parametrize(
    ("address", "port"), [("127.0.0.1", 50000), ("::1", 50000), ("127.0.0.1", 50001), ("192.0.2.1", 50000)]
)
def test_auto_can_be_repeated_at_once(address: str, port: int) -> None:
    accounts = alone(run, address, port, ways=("auto",) * 3)
    assert [account["outcome"] for account in accounts] == ["hit"] * 3


@live
def test_a_target_outside_the_range_is_reached_by_bind() -> None:
    (account,) = alone(run, port=60000)
    assert (account["outcome"], account["attempts"]) == ("hit", 0)


@live
@pytest.mark.parametrize("attempts", [1, 63, 64, 65, 1000])
def test_the_limit_of_attempts_is_exact(attempts: int) -> None:
    (account,) = alone(run, port=60000, ways=("walk",), attempts=attempts)
    assert (account["outcome"], account["attempts"]) == ("limit", attempts)


@live
def test_the_limit_of_time_ends_it() -> None:
    (account,) = alone(run, port=60000, ways=("walk",), attempts=10**9, seconds=0.05)
    assert account["outcome"] == "limit"
    assert account["attempts"] > 0


def beside(kind: str, way: str) -> Progress:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 50000))
        if kind == "server":
            one.listen()
        return followed(Endpoint.parse("127.0.0.1", 50000), way, 5000, 30, reset=False)


@live
@pytest.mark.parametrize("way", ["auto", "walk"])
def test_a_server_that_answers_is_no_self_connect(way: str) -> None:
    account = alone(beside, "server", way)
    assert account["outcome"] == "server"
    assert account["peer"] == ["127.0.0.1", 50000] != account["local"]


def shared() -> Progress:
    """Somebody's connection to elsewhere has the port; it is from connect()."""
    target = Endpoint.parse("127.0.0.1", 50000)
    netns.enter(target, (50000, 50001))
    with socket.create_server(("127.0.0.1", 7)) as server, socket.create_connection(server.getsockname()) as one:
        assert one.getsockname() == ("127.0.0.1", 50000)
        seen = port_outlook.outlook(target)
        assert (seen.held, seen.barred) == (True, False)
        return followed(target, "walk", None, 30, reset=False)


@live
def test_a_port_is_shared_with_a_connection_to_elsewhere() -> None:
    assert alone(shared)["outcome"] == "hit"


@live
def test_a_bound_socket_keeps_the_port_from_everybody() -> None:
    assert alone(beside, "bound", "walk")["outcome"] == "limit"
    held = alone(beside, "bound", "bind")
    assert held["outcome"] == "error"
    assert "EADDRINUSE (Address already in use) on the way to 127.0.0.1:50000" in held["error"]


def endless() -> Repro:
    target = Endpoint.parse("127.0.0.1", 60000)
    return Repro(repro.plan(port_outlook.outlook(target), "walk", attempts=10**9))


def refused_by_the_kernel() -> int:
    """The connections that failed, as the kernel counts them (RFC 2012: tcpAttemptFails)."""
    names, values = (
        line.split() for line in Path("/proc/net/snmp").read_text().splitlines() if line.startswith("Tcp:")
    )
    return int(values[names.index("AttemptFails")])


def stopped() -> tuple[Progress, int]:
    netns.enter(Endpoint.parse("127.0.0.1", 60000), SMALL)
    child = endless()
    while not child.progress["attempts"]:
        select.select([child], [], [], 60)
        child.read()
    child.stop()
    child.stop()  # once more does no harm
    with pytest.raises(ChildProcessError):
        os.waitpid(-1, os.WNOHANG)
    return child.progress, refused_by_the_kernel()


@live
def test_stopped_it_has_counted_every_attempt() -> None:
    account, refused = alone(stopped)
    assert account["outcome"] == "stopped"
    assert account["attempts"] == refused > 0


def killed() -> Progress:
    netns.enter(Endpoint.parse("127.0.0.1", 60000), SMALL)
    child = endless()
    os.kill(child._pid, signal.SIGKILL)
    while child.read():
        select.select([child], [], [], 60)
    child.stop()
    return child.progress


@live
def test_ended_from_outside_it_is_no_success() -> None:
    account = alone(killed)
    assert (account["outcome"], account["error"]) == ("error", "the repro was ended from outside")


def halted() -> tuple[Progress, bool]:
    """A repro that does not listen any more is ended all the same."""
    netns.enter(Endpoint.parse("127.0.0.1", 60000), SMALL)
    child = endless()
    pid = child._pid
    os.kill(pid, signal.SIGSTOP)
    child.stop()
    return child.progress, is_running(pid)


@live
def test_it_can_always_be_stopped() -> None:
    account, running = alone(halted)
    assert account["outcome"] == "stopped"
    assert not running


def orphaned() -> bool:
    """Kill a process that has a repro: whether that runs on."""
    reader, writer = os.pipe()
    parent = os.fork()
    if not parent:
        child = endless()
        while not child.progress["attempts"]:
            select.select([child], [], [], 60)
            child.read()
        os.write(writer, str(child._pid).encode())
        signal.pause()
    child = int(os.read(reader, 20))
    os.kill(parent, signal.SIGKILL)
    os.waitpid(parent, 0)
    deadline = time.monotonic() + 10
    while is_running(child) and time.monotonic() < deadline:
        select.select([], [], [], 0.01)
    return is_running(child)


def is_running(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] != "Z"  # nobody may be there to reap it


@live
def test_it_does_not_outlive_its_parent() -> None:
    assert not alone(orphaned)


def interrupted() -> Progress:
    """Ctrl-C in the terminal goes to the repro as well: it is the parent who decides."""
    netns.enter(Endpoint.parse("127.0.0.1", 60000), SMALL)
    child = endless()
    while not child.progress["attempts"]:
        select.select([child], [], [], 60)
        child.read()
    before = child.progress["attempts"]
    os.kill(child._pid, signal.SIGINT)
    os.kill(child._pid, signal.SIGHUP)
    while child.progress["attempts"] == before:
        select.select([child], [], [], 60)
        assert child.read()
    child.stop()
    return child.progress


@live
def test_the_terminal_s_signals_are_the_parent_s() -> None:
    assert alone(interrupted)["outcome"] == "stopped"
