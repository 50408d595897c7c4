"""Watching in a container, as its root: no tracepoint, no ptrace, and the process is named all the same."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from alone import alone
from test_watch import Watching, connected_to_itself
from test_watch_namespaces import until

from analysis.model import Endpoint
from analysis.states import State
from capture.kernel.socket_owner import SocketOwner, with_line
from capture.run.messages import whose_socket

pytestmark = [pytest.mark.live, pytest.mark.root, pytest.mark.usefixtures("need_root", "need_private_namespace")]

#: What a container's root has as a rule: neither CAP_SYS_ADMIN nor CAP_SYS_PTRACE nor CAP_PERFMON.
AS_IN_A_CONTAINER = """
import ctypes, os, sys
from analysis.privilege import keep_only
keep_only((0, 1, 3, 4, 5, 6, 7, 8, 10, 13, 18, 27, 29, 31))
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
os.execv(sys.argv[1], sys.argv[1:])
"""


def watch_as_in_a_container(cwd: Path) -> None:
    wrapped = cwd / "python"
    wrapped.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{AS_IN_A_CONTAINER}' {sys.executable} \"$@\"\n")
    wrapped.chmod(0o755)
    watching = Watching(cwd, "-w", os.devnull, python=str(wrapped))
    with connected_to_itself(40000, command=(str(wrapped),)) as pid:
        [line] = watching.until(1)
    helper = Path(f"/proc/{watching.process.pid}/task/{watching.process.pid}/children").read_text().split()
    assert watching.end() == 0
    assert "A process is named only while its socket lasts" in " ".join(watching.said.split())
    [holder] = line["kernel"]["sockets"]
    assert (holder["pid"], holder["user"]) == (pid, "root")
    assert holder["process"].startswith("python")
    assert len(helper) == 1
    until(lambda: not Path(f"/proc/{helper[0]}").exists())


def test_the_process_is_named(tmp_path: Path) -> None:
    alone(watch_as_in_a_container, tmp_path)


def orphaned(_cwd: Path) -> tuple[SocketOwner, str]:
    with socket.socket() as me:
        me.bind(("127.0.0.1", 40000))
        me.connect(("127.0.0.1", 40000))
        subprocess.run(["ip", "link", "set", "lo", "down"], check=True)  # its FIN does not arrive any more
    found = with_line(SocketOwner(0, Endpoint.parse("127.0.0.1", 40000)))
    return found, whose_socket(found)


def test_an_orphan_is_called_that(tmp_path: Path) -> None:
    found, said = alone(orphaned, tmp_path)
    assert (found.state, found.inode, found.user) == (State.FIN_WAIT_1, 0, None)
    assert "the socket is an orphan in FIN-WAIT-1: no process has it any more" in said
