"""The rebuilt states against the kernel's own: every conversation of pcaps/ whose segments all show in the capture.

The kernel is asked twice, by two mechanisms that share nothing but the tracepoint: a tracefs instance of our own,
whose text the kernel writes, and capture.kernel.tracepoint, whose rings we decode.
"""

from __future__ import annotations

import ctypes
import os
import re
import socket
import struct
import sys
import time
from collections import Counter, defaultdict
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, NamedTuple

import pytest
from conftest import ROOT, missing

from analysis.errors import CannotCapture
from analysis.model import Endpoint, Verdict
from analysis.reader import analyze
from analysis.replay import replay
from analysis.states import State
from capture.kernel import tracepoint
from capture.kernel.kernel_states import KernelStates, compare
from capture.kernel.tracepoint import KERNEL_SHOWS, RFC_NAMES, StateChange, StateTrace, tracefs

sys.path.append(str(ROOT / "pcaps"))
import make  # these are found by the line above
from recipes import refused
from topology import Namespace

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.live, pytest.mark.root, pytest.mark.usefixtures("need_root", "need_tracepoint")]

#: Captures that do not show all that the sockets did, so that no reading of them could equal the kernel's account,
#: or of sockets on more ports than the kernel is asked about here.
NOT_ALL_THERE = {
    "hole-punch-right": "the SYN that the left socket sent was lost before it came here",
    "crossed-unanswered": "the SYN-ACKs were lost before they came here",
    "half-open": "the server never made a socket of the request, and the client's segments came from none",
    "port-walk": "refused attempts from 128 ports, of which another capture shows one",
    "land": "no socket of the kernel's sent or took it",
    "split-handshake": "made by hand: no kernel took part",
}


class Life(NamedTuple):
    """What one socket went through."""

    source: Endpoint
    destination: Endpoint
    states: tuple[State, ...]


def lives_of_the_kernel(changes: list[StateChange]) -> list[Life]:
    """Each socket's states, from CLOSED to CLOSED, the listening sockets' own aside."""
    told: defaultdict[int, list[list[StateChange]]] = defaultdict(list)
    for change in changes:
        of_socket = told[change.socket]
        begins = change.old is State.CLOSED or (change.old is State.LISTEN and change.new is not State.CLOSED)
        if begins:
            of_socket.append([])
        of_socket[-1].append(change)
    lives = []
    for life in (life for lives_of_one in told.values() for life in lives_of_one):
        assert all(earlier.new is later.old for earlier, later in pairwise(life)), life
        states = (life[0].old, *(change.new for change in life))
        if states[:2] == (State.CLOSED, State.LISTEN):
            continue
        # What a listening socket accepts begins in LISTEN; the listening socket came from CLOSED.
        states = (State.CLOSED, *states) if states[0] is State.LISTEN else states
        if life[-1].source.port:  # without a port there was no segment
            lives.append(Life(life[-1].source, life[-1].destination, states))
    return sorted(lives)


def lives_rebuilt(capture: Path) -> list[Life]:
    """The same from a capture."""
    lives = []
    for opening in analyze(str(capture), collect=frozenset(Verdict)).openings:
        account = replay(opening)
        for endpoint in account.sockets:
            other = opening.source if endpoint == opening.destination else opening.destination
            path = account.state_path(endpoint)
            if State.TIME_WAIT in path:  # the kernel does not show how it ends: by a RST, if a FIN came once more
                path = path[: path.index(State.TIME_WAIT) + 1]
            if len(path) > 1:  # there was a socket
                lives.append(Life(endpoint, other, tuple(KERNEL_SHOWS.get(state, state) for state in path)))
    return sorted(lives)


class Told(NamedTuple):
    """A change in the kernel's own text."""

    ports: tuple[int, int]
    old: State
    new: State


@contextmanager
def instance(expression: str) -> Iterator[Path]:
    """A tracefs instance of our own that listens to the tracepoint; removed afterwards."""
    with tracefs() as tracing:
        mine = tracing / "instances" / f"selfconn-test-{os.getpid()}"
        mine.mkdir()
        event = mine / "events/sock/inet_sock_set_state"
        try:
            (mine / "trace_clock").write_text("mono")
            (event / "filter").write_text(expression)
            (event / "enable").write_text("1")
            yield mine / "trace"
        finally:
            (event / "enable").write_text("0")
            mine.rmdir()


def text_of(trace: Path) -> list[Told]:
    line = re.compile(r"sport=(\d+) dport=(\d+) .* oldstate=TCP_(\w+) newstate=TCP_(\w+)$", re.MULTILINE)
    return [
        Told((int(sport), int(dport)), RFC_NAMES[old], RFC_NAMES[new])
        for sport, dport, old, new in line.findall(trace.read_text())
        if old != new
    ]


def told(changes: list[StateChange]) -> list[Told]:
    return [Told((change.source.port, change.destination.port), change.old, change.new) for change in changes]


@pytest.fixture
def port() -> int:
    """The first of 32 ports that no test run beside this one uses: the tracepoint sees all namespaces."""
    return 20_000 + os.getpid() % 375 * 32


def everything_about(port: int) -> str:
    return f"(sport >= {port} && sport < {port + 32}) || (dport >= {port} && dport < {port + 32})"


def read_to_the_end(trace: StateTrace) -> list[StateChange]:
    """All changes, once every socket is closed."""
    changes: list[StateChange] = []
    deadline = time.monotonic() + 20
    while not changes or set({change.socket: change.new for change in changes}.values()) != {State.CLOSED}:
        assert time.monotonic() < deadline, changes
        changes += trace.read()
    return changes


SEEN_WHOLE = [
    (recipe, capture.name)
    for recipe in make.RECIPES
    for capture in recipe.captures
    if capture.name not in NOT_ALL_THERE
]


@pytest.mark.parametrize(("recipe", "name"), SEEN_WHOLE, ids=[name for _, name in SEEN_WHOLE])
def test_rebuilt_states_equal_the_kernels(recipe, name, tmp_path, port):
    if name == "self-connect-after-time-wait" and not Path("/proc/sys/net/ipv4/tcp_tw_reuse_delay").exists():
        missing("Linux 6.14 (net.ipv4.tcp_tw_reuse_delay)")
    with instance(everything_about(port)) as text, StateTrace(everything_about(port)) as trace:
        recipe.make(make.Studio(tmp_path, port))
        changes = read_to_the_end(trace)
        assert trace.lost == 0
        assert Counter(told(changes)) == Counter(text_of(text))
    assert lives_rebuilt(tmp_path / f"{name}.pcapng") == lives_of_the_kernel(changes)


def test_the_kernels_times_and_the_packets_are_of_one_clock(tmp_path, port):
    with StateTrace(everything_about(port)) as trace:
        make.RECIPES[0].make(make.Studio(tmp_path, port))
        changes = read_to_the_end(trace)
    [opening] = analyze(str(tmp_path / "self-connect-v4.pcapng")).openings
    told = sorted([(c.time, str(c.new)) for c in changes] + [(s.time, s.frame) for s in opening.segments])
    # Each segment of the handshake is sent after one change and arrives before the next. A kernel that drops the
    # SYN-ACK is ESTABLISHED by the ACK with which it answers it, which is plain.
    last = ["ESTABLISHED", 3] if opening.segments[2].dsack else [3, "ESTABLISHED"]
    assert [what for _, what in told][:6] == ["SYN-SENT", 1, "SYN-RECEIVED", 2, *last]


def connect_to_itself(port: int, *, reset: bool = False, stay: float = 0) -> int:
    """Do it, and stay so for some seconds; a moment at the end of them, at which it is connected."""
    with socket.socket() as me:
        if reset:
            me.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        me.bind(("127.0.0.1", port))
        me.connect(("127.0.0.1", port))
        time.sleep(stay)
        return time.time_ns()


def in_a_child(work: Callable[[], object]) -> bool:
    """Whether *work* in a process of its own, which may give up what it likes, comes to a true end."""
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if work() else 1)
        finally:
            os._exit(2)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@pytest.fixture
def namespace() -> Iterator[Namespace]:
    with Namespace() as made, made.entered():
        yield made


def test_the_step_before_there_was_a_port_comes_from_the_flight_recorder(namespace, port):
    # A range of 8 ports, 4 of the right parity, and the target among them once the loop has filled the recorder twice.
    namespace.sysctl("net.ipv4.ip_local_port_range", f"{port} {port + 7}")
    with StateTrace.to_itself(port + 2) as trace:
        namespace.sysctl("net.ipv4.ip_local_reserved_ports", str(port + 2))
        for _ in range(3000):
            assert refused(("127.0.0.1", port + 2))
        assert trace.read() == []
        namespace.sysctl("net.ipv4.ip_local_reserved_ports", "\n")
        while refused(("127.0.0.1", port + 2)):
            pass
        changes = trace.read()
        assert trace.lost == 0
    assert [(change.old, change.new) for change in changes] == [
        (State.CLOSED, State.SYN_SENT),
        (State.SYN_SENT, State.SYN_RECEIVED),
        (State.SYN_RECEIVED, State.ESTABLISHED),
        (State.ESTABLISHED, State.CLOSED),
    ]
    assert [change.source.port for change in changes] == [0, port + 2, port + 2, port + 2]
    assert {change.destination for change in changes} == {Endpoint.parse("127.0.0.1", port + 2)}
    assert changes[0].process == os.getpid()


@pytest.mark.usefixtures("namespace")
def test_what_comes_later_at_the_same_address_is_of_other_sockets(port):
    """The kernel gives the memory of a closed socket to the next: here to some of 2,000."""
    with StateTrace.simultaneous() as trace:
        with socket.socket() as me:
            me.bind(("127.0.0.1", port))
            me.connect(("127.0.0.1", port))
            told = trace.read()
        for _ in range(2000):
            refused(("127.0.0.1", port + 1), port + 2)
        later = [change for change in trace.read(whole=True) if change.socket == told[0].socket]
    assert [change.new for change in told] == [State.SYN_SENT, State.SYN_RECEIVED, State.ESTABLISHED]
    assert [change.new for change in later] == [State.FIN_WAIT_1, State.CLOSING, State.CLOSED]


@pytest.mark.usefixtures("namespace")
def test_lost_events_are_counted(port):
    with StateTrace(everything_about(port)) as trace:
        for _ in range(3000):
            refused(("127.0.0.1", port), port + 1)
        assert len(trace.read()) + trace.lost == 6000
        assert trace.lost
        connect_to_itself(port)
        assert len(trace.read()) == 6  # there is room again, from SYN-SENT to CLOSED by way of CLOSING


@pytest.mark.usefixtures("namespace")
def test_of_two_sockets_the_one_is_told_that_was_connected_then(port):
    """Not the next one, whose step to SYN-RECEIVED is nearer in time."""
    with KernelStates(port) as states:
        moments = [connect_to_itself(port, reset=True, stay=0.05) for _ in range(3)]
        states.read(end=True)
        for moment in moments:
            life = states.life(Endpoint.parse("127.0.0.1", port), moment)
            assert len(life) == 4
            assert life[0].time < moment < life[-1].time


@pytest.mark.usefixtures("namespace")
def test_no_agreement_is_claimed_where_events_were_lost(port, monkeypatch):
    """A ring of one page holds some 37 events; a self-connect that is closed by RST makes four."""
    monkeypatch.setattr(tracepoint, "_PAGES", 1)
    end = Endpoint.parse("127.0.0.1", port)
    with KernelStates(port) as states:
        assert states.lost == 0
        times = [connect_to_itself(port, reset=True) for _ in range(20)]
        states.read(end=True)
        first = states.life(end, times[0])
        assert states.life(end, times[-1]) == []  # not that of another, which was just before
        heard = len(states._changes)
        assert states.lost == 20 * 4 - heard > 0
        assert states.lost_since(times[0])
        states.read(end=True)
        assert states.lost == 20 * 4 - heard  # is not counted twice
        assert not states.lost_since(time.time_ns() + 2_000_000_000)
    assert [change.new for change in first][-1] is State.CLOSED
    rebuilt = SimpleNamespace(
        sockets=[end],
        segments=[],
        transitions=[],
        state_path=lambda _: [State.CLOSED, *(change.new for change in first)],
    )
    # What was heard to its end agrees; what stops at some place may go on otherwise.
    assert compare(first, rebuilt, lost=True) is True
    assert compare(first[:3], rebuilt) is True
    assert compare(first[:3], rebuilt, lost=True) is None
    wrong = SimpleNamespace(
        sockets=[end],
        segments=[],
        transitions=[],
        state_path=lambda _: [State.CLOSED, State.SYN_SENT, State.ESTABLISHED],
    )
    assert compare(first[:3], wrong, lost=True) is False


@pytest.mark.usefixtures("namespace")
def test_reading_needs_no_privilege_but_opening_does(port):
    def open_drop_read() -> bool:
        with StateTrace.to_itself(port) as trace:
            os.setresuid(65534, 65534, 65534)
            connect_to_itself(port)
            return State.SYN_RECEIVED in [change.new for change in trace.read()]

    def drop_open() -> bool:
        os.setresuid(65534, 65534, 65534)
        with pytest.raises(CannotCapture, match="root"):
            StateTrace.to_itself(port)
        return True

    assert in_a_child(open_drop_read)
    assert in_a_child(drop_open)


def test_the_host_does_not_notice():
    def traces() -> tuple[str, int, int]:
        descriptors = sum(1 for _ in Path("/proc/self/fd").iterdir())
        instances = sum(1 for _ in (tracing / "instances").iterdir())
        return Path("/proc/self/mountinfo").read_text(), instances, descriptors

    with tracefs() as tracing:
        before = traces()
        with StateTrace():
            assert traces()[:2] == before[:2]
        assert traces() == before


def test_no_step_is_told_twice(namespace, port):
    namespace.sysctl("net.ipv4.ip_local_port_range", f"{port} {port}")
    with StateTrace.to_itself(port) as trace, socket.socket() as me:
        me.connect(("127.0.0.1", port))
        opened = trace.read()
        me.shutdown(socket.SHUT_WR)
        closed = trace.read(whole=True)
        assert trace.read(whole=True) == []
    assert [change.new for change in opened] == [State.SYN_SENT, State.SYN_RECEIVED, State.ESTABLISHED]
    assert [change.new for change in closed] == [State.FIN_WAIT_1, State.CLOSING, State.CLOSED]


@pytest.mark.usefixtures("namespace")
def test_a_simultaneous_open_is_told_whole_whatever_its_port(port):
    with StateTrace.simultaneous() as trace:
        for _ in range(500):
            assert refused(("127.0.0.1", port), port + 1)
        with socket.create_server(("127.0.0.1", port + 2)) as server, socket.create_connection(server.getsockname()):
            server.accept()[0].close()
        assert about(port, trace.read()) == []
        with socket.socket() as me:
            me.bind(("127.0.0.1", port + 1))
            me.connect(("127.0.0.1", port + 1))
            opened = about(port, trace.read())
            for _ in range(500):
                assert refused(("127.0.0.1", port), port + 3)
        assert about(port, trace.read()) == []
        closed = about(port, trace.read(whole=True))
        assert about(port, trace.read(whole=True)) == []
    assert [change.new for change in opened] == [State.SYN_SENT, State.SYN_RECEIVED, State.ESTABLISHED]
    assert [change.new for change in closed] == [State.FIN_WAIT_1, State.CLOSING, State.CLOSED]
    assert {change.socket for change in (*opened, *closed)} == {opened[0].socket}
    assert opened[0].process == os.getpid()


def about(port: int, changes: list[StateChange]) -> list[StateChange]:
    """Those of this test's ports: the tracepoint sees all namespaces."""
    return [change for change in changes if port <= change.destination.port < port + 32]


@pytest.mark.usefixtures("namespace")
def test_what_is_mounted_will_do_where_nothing_may_be_mounted(port):
    def without_cap_sys_admin() -> bool:
        libc = ctypes.CDLL(None)
        assert libc.unshare(0x20000) == 0  # CLONE_NEWNS: nobody else sees the mount
        assert libc.mount(b"none", b"/", None, 1 << 14 | 1 << 18, None) == 0  # MS_REC | MS_PRIVATE
        assert libc.mount(b"tracefs", b"/sys/kernel/tracing", b"tracefs", 0, None) == 0
        sets = struct.pack("=6I", 0, 0, 0, 1 << 38 - 32, 1 << 38 - 32, 0)  # CAP_PERFMON
        assert libc.capset(struct.pack("=Ii", 0x20080522, 0), sets) == 0
        assert libc.mount(b"tracefs", b"/mnt", b"tracefs", 0, None) != 0
        with StateTrace.to_itself(port) as trace:
            connect_to_itself(port)
            return len(trace.read()) == 6

    if not Path("/sys/kernel/tracing").is_dir():
        missing("a kernel with /sys/kernel/tracing")
    if tracepoint._paranoid() > tracepoint._PARANOID:
        missing(f"kernel.perf_event_paranoid={tracepoint._PARANOID} or less: CAP_PERFMON is not enough")
    assert in_a_child(without_cap_sys_admin)


@pytest.mark.usefixtures("namespace")
def test_the_kernel_tells_although_sys_is_not_mounted(port):
    def without_sys() -> bool:
        libc = ctypes.CDLL(None)
        assert libc.unshare(0x20000) == 0  # CLONE_NEWNS: nobody else misses it
        assert libc.mount(b"none", b"/", None, 1 << 14 | 1 << 18, None) == 0  # MS_REC | MS_PRIVATE
        assert libc.mount(b"tmpfs", b"/sys", b"tmpfs", 0, None) == 0
        with StateTrace.to_itself(port) as trace:
            connect_to_itself(port)
            return len(trace.read()) == 6

    assert in_a_child(without_sys)
