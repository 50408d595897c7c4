"""Cases of live hosts that were told wrong once, each a script: what the commands say of them now.

The scripts are run as they stand, by root, with our commands first in PATH; other namespaces of the machine may be told
of, too.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT

CASES = ROOT / "tests" / "live"

pytestmark = [
    pytest.mark.live,
    pytest.mark.root,
    pytest.mark.usefixtures("need_root", "need_private_namespace"),
]


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH on which our commands are those of this tree, and python3 is this one."""
    for name, module in (("selfconn-check", "capture.check_cli"), ("selfconn-capture", "capture.cli")):
        command = tmp_path / name
        command.write_text(f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m {module} "$@"\n')
        command.chmod(0o755)
    (tmp_path / "python3").symlink_to(sys.executable)
    return f"{tmp_path}:{os.environ['PATH']}"


def told(name: str, path: str, *before: str) -> str:
    """What the script prints."""
    process = subprocess.Popen(
        [*before, "sh", str(CASES / name)], env={**os.environ, "PATH": path}, text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        return process.communicate(timeout=60)[0]
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)


def flat(text: str) -> str:
    return " ".join(text.split())


def test_a_container_is_looked_into(path: str) -> None:
    page = told("live-container.sh", path)
    assert "127.0.0.1:50000" in page
    assert "No socket is connected to itself" not in page
    assert "exit status 1\n" in page
    assert re.search(r"nsenter -n -t \d+ -- ss -tK src 127\.0\.0\.1:50000 dst 127\.0\.0\.1:50000", flat(page))


def test_who_has_the_port_that_a_server_cannot_bind(path: str) -> None:
    page = flat(told("live-port-taken.sh", path, "unshare", "-n"))
    assert "server: [Errno 98] Address already in use" in page
    assert re.search(
        r"Port 10254 in \S.*? is the source port of 10\.9\.0\.1:10254 > 10\.9\.0\.2:2379 "
        r"\(python3 \(\d+\), ESTABLISHED\)\.",
        page,
    )
    assert "fails with EADDRINUSE, also with SO_REUSEADDR or SO_REUSEPORT." in page
    assert "another socket has it, too: if by bind(), connect() passes it over meanwhile" in page


def test_a_server_may_have_it_where_both_reuse_the_address(path: str) -> None:
    page = flat(told("live-reuse.sh", path, "unshare", "-n"))
    assert "server: listening" in page
    assert "fails with EADDRINUSE, unless it sets SO_REUSEADDR (as the other socket did)." in page
    assert not re.search(r"port 50000 [^.]*also with SO_REUSEADDR", page)


def test_a_port_is_not_safe_where_one_met_itself(path: str) -> None:
    page = flat(told("live-safe.sh", path, "unshare", "-n"))
    assert "127.0.0.1:7777" in page
    # The row of the port begins with it; so do no others.
    assert re.search(
        r" 7777 \S+ (?:\(\d+\) )?nobody listens safe only until a client calls bind\(\) with the port that it dials,",
        page,
    )


def test_the_watch_tells_of_a_container(path: str) -> None:
    lines = told("live-watch.sh", path).splitlines()
    documents = [json.loads(one) for one in lines if one.startswith("{")]
    mine = [one for one in documents if one["source"] == {"address": "127.0.0.1", "port": 50000}]
    assert any(one["live"]["namespace"] != "host" and one["kernel"]["sockets"][0]["pid"] for one in mine)
