"""A real runtime: podman makes the containers, without an image; what is told of them, and what the remedies do."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import documents
import pytest
from conftest import ROOT, missing, program
from test_capture_cli import ENVIRONMENT

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.live, pytest.mark.root, pytest.mark.usefixtures("need_root")]

HOLD = """
import os, socket, time
while not os.path.exists("/shared/go"):
    time.sleep(0.02)
for _ in range(3):
    with socket.socket() as one:
        one.connect_ex(("127.0.0.1", 50000))
one = socket.socket()
one.bind(("127.0.0.1", 50000))
one.connect(("127.0.0.1", 50000))
time.sleep(60)
"""
NAME = f"selfconn-test-{os.getpid()}"
#: A client whose server is down: it dials, again and again, until it is connected, and then as soon as it is not.
DIAL = """
import socket, time
while True:
    with socket.socket() as one:
        if one.connect_ex(("127.0.0.1", 50000)) == 0:
            try:
                one.recv(1)
            except OSError:
                pass
    time.sleep(0.05)
"""
NODE = Path("/proc/sys/net/ipv4/ip_local_reserved_ports")


def podman(*arguments: str) -> list[str]:
    runtime = ["--runtime", "runc"] if shutil.which("runc") else []
    return [program("podman", "podman"), *runtime, "--cgroup-manager", "cgroupfs", *arguments]


class Container:
    """``id`` in full, and ``pid``."""

    def __init__(self, number: str) -> None:
        self.id = number
        said = subprocess.run(podman("inspect", "--format", "{{.State.Pid}}", number), capture_output=True, check=True)
        self.pid = int(said.stdout)


@contextlib.contextmanager
def running(tmp_path: Path, program: str, *options: str) -> Iterator[Container]:
    """Run a container whose process 1 is *program*; it sees tmp_path as /shared."""
    root = tmp_path / "root"
    for name in ("usr", "lib", "lib64", "bin", "tmp", "proc", "dev", "sys", "etc", "run", "shared"):
        (root / name).mkdir(parents=True, exist_ok=True)
    (root / "app.py").write_text(program)
    limits = [word for one in ("nofile", "nproc") for word in ("--ulimit", f"{one}=1024:1024")]
    mounts = [
        word for one in ("usr", "lib", "lib64") for word in ("-v", f"/{one}:/{one}:ro") if Path("/", one).exists()
    ]
    mounts += ["-v", f"{ROOT}:/selfconn:ro", "-e", "PYTHONPATH=/selfconn"]
    command = ["run", "-d", "--name", NAME, "--network", "none", *limits, *mounts, "-v", f"{tmp_path}:/shared:ro"]
    said = subprocess.run(
        podman(*command, *options, "--rootfs", str(root), "/usr/bin/python3", "/app.py"),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    if said.returncode:
        missing(f"podman that can run a container here ({said.stderr.strip()[-200:]})")
    try:
        yield Container(said.stdout.split()[-1])
    finally:
        subprocess.run(podman("rm", "-f", "-t", "0", said.stdout.split()[-1]), capture_output=True, check=True)


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    """A container that connects to itself as soon as there is a file named go in tmp_path."""
    with running(tmp_path, HOLD) as made:
        yield made


def check(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "capture.check_cli", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


def connected(tmp_path: Path, container: Container) -> dict[str, Any]:
    """Have it connect to itself; what is said of its socket then."""
    (tmp_path / "go").touch()
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        document = json.loads(check("--format", "json", "--netns", container.id[:12]).stdout)
        for one in document["self_connected"]:
            return {**one, **document["namespaces"][0]}
    pytest.fail("it did not connect to itself")


def test_the_container_is_named_and_the_remedies_work_in_it_alone(container: Container, tmp_path: Path) -> None:
    node = NODE.read_text()
    told = connected(tmp_path, container)
    called = f"podman {container.id[:12]} ({NAME})"
    assert (told["namespace"], told["runtime"], told["id"]) == (called, "podman", container.id)
    assert told["container_name"] == NAME
    assert [one["pid"] for one in told["processes"]] == [container.pid]
    everything = check("-q")
    assert everything.returncode == 1
    assert f"podman {container.id[:12]}" in everything.stdout
    assert NAME in everything.stdout
    page = check("--netns", NAME).stdout
    assert "podman run --sysctl 'net.ipv4.ip_local_reserved_ports=50000'" in " ".join(page.split())
    commands = re.findall(r"^    (nsenter .*)$", page, re.MULTILINE)
    assert [re.search(r"-- (\w+)", one)[1] for one in commands] == ["sysctl", "ss"]
    for command in commands:
        subprocess.run(["sh", "-c", command], capture_output=True, check=True)
    after = json.loads(check("--format", "json", "--netns", container.id).stdout)
    assert (after["self_connected"], after["namespaces"][0]["reserved"]) == ([], [50000])
    assert NODE.read_text() == node


@pytest.mark.parametrize("user", ["0", "65534"])
def test_what_is_seen_from_inside_of_a_container(container: Container, tmp_path: Path, user: str) -> None:
    """Its own network, with owners as far as the user may see; what is not seen is said, and what would see it."""

    def inside(*arguments: str) -> tuple[int, str]:
        said = subprocess.run(
            podman("exec", "-u", user, container.id, "/usr/bin/python3", "-m", "capture.check_cli", *arguments),
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        return said.returncode, " ".join((said.stdout + said.stderr).split())

    status, page = inside("--port", "50000")
    assert (status, "No socket is connected to itself." in page) == (0, True)
    assert "what is outside of this container; sudo selfconn-check on the host looks at that, too" in page
    status, page = inside("--netns", "all")
    assert (status, "No socket that could be seen is connected to itself" in page) == (4, True)
    assert "what runs outside of this PID namespace: sudo selfconn-check on the host looks at that, too" in page
    connected(tmp_path, container)
    status, page = inside()
    assert status == 1
    assert "python3 (1)" in page if user == "0" else "not seen" in page
    assert "can be done from the host: sudo selfconn-check there has the commands." in page


def test_the_watch_tells_of_it_with_the_containers_id(container: Container, tmp_path: Path) -> None:
    out, err = tmp_path / "out", tmp_path / "err"
    with out.open("w") as to, err.open("w") as errors:
        watch = subprocess.Popen(
            [sys.executable, "-m", "capture.cli", "--watch", "-w", str(tmp_path)],
            cwd=tmp_path, env=ENVIRONMENT, stdout=to, stderr=errors,
        )  # fmt: skip
    try:
        deadline = time.monotonic() + 15
        while "Not watched" not in err.read_text() and time.monotonic() < deadline:
            time.sleep(0.05)
        (tmp_path / "go").touch()
        while time.monotonic() < deadline:
            lines = [json.loads(one) for one in out.read_text().splitlines(keepends=True) if one.endswith("\n")]
            if mine := [one for one in lines if one["live"]["id"] == container.id]:
                break
            time.sleep(0.05)
        [line] = mine
        assert (line["live"]["runtime"], line["live"]["attempts"]) == ("podman", 3)
        assert line["live"]["namespace"] == f"podman {container.id[:12]} ({NAME})"
        assert [one["pid"] for one in line["kernel"]["sockets"]] == [container.pid]
        assert Path(tmp_path, line["live"]["file"]).exists()
    finally:
        watch.send_signal(signal.SIGTERM)
        watch.wait(10)


def document(tmp_path: Path, container: Container) -> Path:
    """docs/containers.md as somebody would read it who has this container."""
    text = (ROOT / "docs/containers.md").read_text().replace("4f5e2c1b8a9d", container.id[:12])
    text = re.sub(r"(?<=\()cache(?=\))|(?<= )cache$", NAME, text, flags=re.MULTILINE)
    page = tmp_path / "containers.md"
    page.write_text(re.sub(r"(?<=-t )471\b", str(container.pid), text))
    return page


def test_what_docs_containers_md_shows_is_what_comes_out(tmp_path: Path) -> None:
    """From the question to the remedy, on a container that dials a dead port; the node's own settings stay."""
    for needed in (("jq", "jq"), ("ss", "iproute2"), ("sysctl", "procps")):
        program(*needed)
    node = NODE.read_text()
    with running(tmp_path, DIAL, "--sysctl", "net.ipv4.ip_local_port_range=50000 50007") as one:
        page = document(tmp_path, one)
        blocks = documents.blocks_in("tests/test_podman.py", page)
        watched = [block for block in blocks if "--watch" in block.lines[0]]
        steps = [block for block in blocks if block not in watched]
        assert (len(watched), len(steps)) == (1, 5)
        again = ["nsenter", "-n", "-t", str(one.pid), "--", "ss", "-tK", "sport", "=", "50000"]
        free = subprocess.Popen(["sh", "-c", f"while sleep 1; do {shlex.join(again)}; done"], stdout=subprocess.DEVNULL)
        try:
            assert documents.faults(page, watched) == []
        finally:
            free.kill()
            free.wait()
        time.sleep(2)  # it is connected to itself again
        assert documents.faults(page, steps) == []
    assert NODE.read_text() == node


def test_what_lasts_is_there_from_the_start(tmp_path: Path) -> None:
    options = ("--sysctl", "net.ipv4.ip_local_port_range=50000 50007")
    with running(tmp_path, DIAL, *options, "--sysctl", "net.ipv4.ip_local_reserved_ports=50000") as one:
        time.sleep(2)
        found = json.loads(check("--format", "json", "--netns", one.id, "--port", "50000").stdout)
    assert (found["self_connected"], found["namespaces"][0]["reserved"]) == ([], [50000])
    assert [port["risk"] for port in found["ports"]] == ["safe"]
