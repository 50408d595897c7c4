"""Whether bind() has a port: what is said against what the kernel does, and the options of other processes' sockets."""

from __future__ import annotations

import itertools
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from alone import alone
from conftest import need_linux

from analysis.states import State
from capture.kernel import socket_options, sockets
from capture.kernel.socket_options import Bind, Options, bind

if TYPE_CHECKING:
    from collections.abc import Callable

live = pytest.mark.live(pytest.mark.usefixtures("need_private_namespace"))

PORT, ELSEWHERE = 50000, 2000


def made(options: Options, family: int = socket.AF_INET) -> socket.socket:
    one = socket.socket(family)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, options.reuse_address)
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, options.reuse_port)
    return one


def bound(options: Options, stack: ExitStack) -> State:
    stack.enter_context(made(options)).bind(("127.0.0.1", PORT))
    return State.CLOSED


def listening(options: Options, stack: ExitStack) -> State:
    one = stack.enter_context(made(options))
    one.bind(("127.0.0.1", PORT))
    one.listen()
    return State.LISTEN


def to_itself(options: Options, stack: ExitStack) -> State:
    one = stack.enter_context(made(options))
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    one.bind(("127.0.0.1", PORT))
    one.connect(("127.0.0.1", PORT))
    return State.ESTABLISHED


def client(options: Options, stack: ExitStack) -> State:
    """A client that was given the port by connect() alone: the range is that port."""
    stack.enter_context(socket.create_server(("127.0.0.1", ELSEWHERE)))
    Path("/proc/sys/net/ipv4/ip_local_port_range").write_text(f"{PORT} {PORT}")
    one = stack.enter_context(made(options))
    one.connect(("127.0.0.1", ELSEWHERE))
    assert one.getsockname()[1] == PORT
    return State.ESTABLISHED


def in_time_wait(options: Options, stack: ExitStack) -> State:
    server = stack.enter_context(socket.create_server(("127.0.0.1", ELSEWHERE)))
    one = made(options)
    one.bind(("127.0.0.1", PORT))
    one.connect(("127.0.0.1", ELSEWHERE))
    accepted, _ = server.accept()
    one.close()
    accepted.close()
    [left] = [one for one in sockets.table([PORT]).sockets if one.local.port == PORT]
    assert left.state is State.TIME_WAIT
    return left.state


HOLDERS = (bound, listening, to_itself, client, in_time_wait)
ALL = [Options(*both) for both in itertools.product((False, True), repeat=2)]


def has_it(options: Options, address: str, family: int = socket.AF_INET) -> bool:
    with made(options, family) as server:
        try:
            server.bind((address, PORT))
        except OSError:
            return False
        return True


def what_happens(holder: Callable[[Options, ExitStack], State], options: Options) -> tuple[State, list[Bind]]:
    with ExitStack() as stack:
        state = holder(options, stack)
        places = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::"))
        return state, [Bind(*(has_it(one, at, family) for one in ALL[:1] + ALL[2:0:-1])) for family, at in places]


@live
@pytest.mark.parametrize("options", ALL)
@pytest.mark.parametrize("holder", HOLDERS)
def test_what_is_said_of_bind_is_what_the_kernel_does(
    holder: Callable[[Options, ExitStack], State], options: Options
) -> None:
    if holder is in_time_wait and all(options):
        need_linux(4, 16, "4.15 refuses SO_REUSEPORT beside a TIME-WAIT that has SO_REUSEADDR, too")
    state, happened = alone(what_happens, holder, options)
    assert happened == [bind([(state, options)])] * 3
    unknown = bind([(state, None)])
    for said, was in zip(unknown, happened[0], strict=True):
        assert said in (was, None)


def test_several_sockets() -> None:
    both, neither = Options(reuse_address=True, reuse_port=True), Options(reuse_address=False, reuse_port=False)
    assert bind([]) == socket_options.FREE
    assert bind([(State.ESTABLISHED, both), (State.TIME_WAIT, None)]) == Bind(False, None, None)
    assert bind([(State.ESTABLISHED, neither), (State.TIME_WAIT, None)]) == Bind(False, False, False)
    assert bind([(State.LISTEN, both), (State.ESTABLISHED, both)]) == Bind(False, False, True)


OTHER = """
import os, socket, sys
one = socket.socket()
one.setsockopt(socket.SOL_SOCKET, getattr(socket, sys.argv[1]), 1)
one.bind(("127.0.0.1", 0))
print(os.fstat(one.fileno()).st_ino, one.fileno(), flush=True)
sys.stdin.read()
"""


def descriptors() -> set[str]:
    return {one.name for one in Path("/proc/self/fd").iterdir()}


@live
@pytest.mark.root
@pytest.mark.usefixtures("need_pidfd_getfd")
@pytest.mark.parametrize("name", ["SO_REUSEADDR", "SO_REUSEPORT"])
def test_the_options_of_another_process(name: str) -> None:
    command = [sys.executable, "-c", OTHER, name]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        inode, number = map(int, process.stdout.readline().split())
        before = descriptors()
        path = f"/proc/{process.pid}/fd/{number}"
        assert socket_options.options([inode, 7], {inode: path}) == {
            inode: Options(name == "SO_REUSEADDR", name == "SO_REUSEPORT")
        }
        # Another descriptor by now, one that is none, a process that has gone.
        for there, what in ((inode + 1, path), (inode, path + "9"), (inode, "/proc/999999999/fd/1"), (inode, "x")):
            assert socket_options.options([there], {there: what}) == {}
        assert descriptors() == before
