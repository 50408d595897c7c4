"""What systemd makes of the units: a systemd of the test's own runs them, installed as `make install` does it.

It is process 1 of PID, network, mount and cgroup namespaces of its own, and has nothing to start but its journal and
these units; what it writes lies in memory that goes with it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import ROOT, missing, program
from test_install import UNITS
from test_privilege import fields, held

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

DOCS = ROOT / "docs"
#: In CapEff: CAP_DAC_READ_SEARCH, CAP_NET_RAW, CAP_SYS_PTRACE, CAP_SYS_ADMIN.
OPENS = 1 << 2 | 1 << 13 | 1 << 19 | 1 << 21


# -- what systemd says of the files ------------------------------------------------------------------------------------


def verified(directory: Path, unit: str) -> str:
    verify = program("systemd-analyze", "systemd")
    ended = subprocess.run(
        [verify, "verify", directory / unit], capture_output=True, text=True, timeout=60, check=False
    )
    said = "\n".join(line for line in ended.stderr.splitlines() if "selfconn" in line or "man " in line)
    assert bool(said) == bool(ended.returncode) or not ended.returncode, ended.stderr
    return said


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_understands_the_unit(unit: str, tmp_path: Path) -> None:
    for name in UNITS:
        text = (DOCS / name).read_text()
        assert len(re.findall(r"^Documentation=man:selfconn-(?:capture|check)\(1\)$", text, re.MULTILINE)) == (
            name.endswith(".service")
        )
        # The programs and their pages are not installed here.
        text = re.sub(
            r"^ExecStart=/usr/local/bin/selfconn-\w+ ", f"ExecStart={shutil.which('true')} ", text, flags=re.MULTILINE
        )
        (tmp_path / name).write_text(text.replace("man:", "https://"))
    assert verified(tmp_path, unit) == ""
    (section,) = re.findall(r"^\[(?:Service|Timer)\]$", (tmp_path / unit).read_text(), re.MULTILINE)
    (tmp_path / unit).write_text((tmp_path / unit).read_text().replace(section, f"{section}\nNoSuchThing=yes"))
    assert "NoSuchThing" in verified(tmp_path, unit)


# -- a systemd of one's own ------------------------------------------------------------------------------------------

#: $1 is the directory with the units; what stands in the way of process 1 is hidden from it.
BOOT = """
set -e
mount --make-rprivate /
mkdir -p "$1/none"
for at in /run /etc/systemd/system /var/lib /var/log /usr/lib/systemd/system-generators /usr/lib/systemd/system; do
    [ "$at" != /usr/lib/systemd/system ] || cp /usr/lib/systemd/system/systemd-journald.s* "$1/none"
    mount -t tmpfs -o mode=755 tmpfs "$at"
done
cp "$1/none"/* "$1/base"/* /usr/lib/systemd/system
mkdir -p /run/systemd/system
cp -R "$1/units/." /run/systemd/system
ip link set lo up
mount -t tracefs tracefs /sys/kernel/tracing
umount -l /sys/fs/cgroup
if [ "$2" = 1 ]; then
    mount -t tmpfs -o mode=755 tmpfs /sys/fs/cgroup
    mkdir /sys/fs/cgroup/systemd
    mount -t cgroup -o none,name=systemd cgroup /sys/fs/cgroup/systemd
else
    mount -t cgroup2 cgroup2 /sys/fs/cgroup
fi
exec env -i container=other PATH="$PATH" "$3" --system --unit=booted.target --log-target=journal --show-status=no
"""
BASE = {
    "booted.target": "[Unit]\nDefaultDependencies=no\nWants=systemd-journald.service\nAfter=systemd-journald.service\n",
    **dict.fromkeys(
        ("sysinit.target", "basic.target", "shutdown.target", "multi-user.target", "timers.target"),
        "[Unit]\nDefaultDependencies=no\n",
    ),
}

#: A client that connects to itself again and again, so that one is sure to be watched.
CLIENT = """
import socket, struct, time
while True:
    with socket.socket() as one:
        one.bind(("127.0.0.1", PORT))
        one.connect(("127.0.0.1", PORT))
        time.sleep(0.5)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
"""


class Booted:
    """A systemd, its process number here, and commands that are run where it is."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def run(self, command: str, *, check: bool = True) -> str:
        words = ["nsenter", "-t", str(self.pid), "-m", "-p", "-n", "-C", "bash", "-c", command]
        ended = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
        assert not check or ended.returncode == 0, (command, ended.stdout, ended.stderr)
        return ended.stdout

    def processes(self, unit: str) -> list[dict[str, list[str]]]:
        """What /proc/PID/status says of the unit's processes."""
        found = []
        for directory in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if f"/{unit}.service" in (directory / "cgroup").read_text() and self._ours(directory):
                    found.append(fields((directory / "status").read_text()))
        return found

    def _ours(self, directory: Path) -> bool:
        return (directory / "ns/pid").readlink() == Path(f"/proc/{self.pid}/ns/pid").readlink()


@pytest.fixture(scope="module")
def booted(installed: Path) -> Iterator[Booted]:
    init = shutil.which("systemd", path="/usr/lib/systemd:/lib/systemd") or missing("systemd", package="systemd")
    python = shutil.which("python3", path="/usr/bin") or missing("/usr/bin/python3", package="python3")
    top = Path("/sys/fs/cgroup/systemd")
    first = (top / "cgroup.procs").exists()
    top = top if first else Path("/sys/fs/cgroup")
    if not (top / "cgroup.procs").exists():
        missing("a hierarchy of cgroups for systemd")
    cgroup = top / f"selfconn-test-{os.getpid()}"
    cgroup.mkdir()
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        place = Path(directory)
        shutil.copytree(installed / "lib/systemd/system", place / "units")
        (place / "base").mkdir()
        for name, text in BASE.items():
            (place / "base" / name).write_text(text)
        for name in (one for one in UNITS if one.endswith(".service")):
            (place / f"units/{name}.d").mkdir()  # /tmp is the unit's own
            (place / f"units/{name}.d/here.conf").write_text(f"[Service]\nBindReadOnlyPaths={installed}\n")
        for name, port, more in (("plain", 50000, ""), ("apart", 50002, "PrivateNetwork=yes\n")):
            (place / f"{name}.py").write_text(CLIENT.replace("PORT", str(port)))
            text = f"[Service]\n{more}ExecStart={python} {place}/{name}.py\n"
            (place / f"units/{name}.service").write_text(text)
        unshare = shlex.join(
            ["unshare", "--pid", "--fork", "--kill-child", "--mount", "--ipc", "--uts", "--net", "--cgroup"]
        )
        boot = [str(place), "1" if first else "2", init]
        script = f"echo $$ >{cgroup}/cgroup.procs; exec {unshare} --mount-proc sh -c {shlex.quote(BOOT)} boot "
        process = subprocess.Popen(["sh", "-c", script + shlex.join(boot)], stdout=subprocess.DEVNULL)
        try:
            yield _when_up(process)
        finally:
            process.kill()
            process.wait()
            deadline = time.monotonic() + 10
            for one in sorted((path for path in [cgroup, *cgroup.rglob("*")] if path.is_dir()), reverse=True):
                while time.monotonic() < deadline:
                    with contextlib.suppress(OSError):
                        one.rmdir()
                        break
                    time.sleep(0.02)


def _when_up(process: subprocess.Popen[bytes]) -> Booted:
    deadline = time.monotonic() + 20
    while process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.1)
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        if children:
            here = Booted(int(children[0]))
            if here.run("systemctl is-active booted.target systemd-journald", check=False) == "active\nactive\n":
                return here
    return missing("a systemd that may be process 1 of namespaces of its own")


def until(seconds: float, answer: Callable[[], Any]) -> Any:
    """Wait for something that is true."""
    deadline = time.monotonic() + seconds
    while not (found := answer()):
        assert time.monotonic() < deadline, "it did not come"
        time.sleep(0.2)
    return found


def documented(unit: str) -> list[str]:
    """The commands that a unit's comment gives."""
    return re.findall(r"^#   (.*)$", (DOCS / unit).read_text(), re.MULTILINE)


needs_systemd = [pytest.mark.live, pytest.mark.root, pytest.mark.usefixtures("need_root"), pytest.mark.timeout(600)]


def told(booted: Booted, read: str) -> list[dict[str, Any]]:
    """The lines of the journal, as the documented command reads them."""
    lines = booted.run(f"set -o pipefail; {read.replace(' | jq ', ' --no-pager | jq -c ')}").splitlines()
    return [json.loads(line) for line in lines]


class TestRun:
    pytestmark = needs_systemd

    def test_the_watch_of_all_namespaces(self, booted: Booted) -> None:
        program("jq", "jq")
        *start, read = documented("selfconn-watch.service")
        for command in start:
            booted.run(command)
        booted.run("systemctl start plain apart")
        ports = {50000, 50002}
        until(30, lambda: {one["source"]["port"] for one in told(booted, read)} >= ports)
        lines = {one["source"]["port"]: one for one in told(booted, read)}
        assert lines[50002]["live"]["namespace"] == "apart.service"
        assert [one["process"] for one in lines[50000]["sockets"]] == ["python3"]
        assert Path(f"/proc/{booted.pid}/root/var/lib/private/selfconn", lines[50000]["live"]["file"]).exists()
        # Systemd's own lines are there as well, and nothing else.
        raw = booted.run("journalctl -u selfconn-watch -o cat --no-pager").splitlines()
        others = [line for line in raw if not line.startswith("{")]
        assert [line.split()[0] for line in others] == ["Started"], others
        watch, opener = sorted(booted.processes("selfconn-watch"), key=lambda one: int(one["CapEff"][0], 16))
        for one in (watch, opener):
            assert one["Uid"][0] != "0"
            assert one["NoNewPrivs"] == ["1"]
        assert held(watch, ("CapInh", "CapPrm", "CapEff", "CapAmb")) == []
        assert [int(opener[name][0], 16) for name in ("CapEff", "CapPrm", "CapInh", "CapAmb")] == [OPENS, OPENS, 0, 0]
        booted.run("systemctl stop selfconn-watch")
        assert booted.run("systemctl show -p Result --value selfconn-watch") == "success\n"
        assert booted.processes("selfconn-watch") == []

    def test_the_watch_of_one_namespace(self, booted: Booted) -> None:
        program("jq", "jq")
        *start, read = documented("selfconn-watch-self.service")
        for command in start:
            booted.run(command)
        booted.run("systemctl start plain apart")
        until(30, lambda: told(booted, read))
        assert {one["source"]["port"] for one in told(booted, read)} == {50000}
        (watch,) = booted.processes("selfconn-watch-self")
        assert held(watch, ("CapInh", "CapPrm", "CapEff", "CapAmb")) == []
        booted.run("systemctl stop selfconn-watch-self")

    def test_the_timer_writes_metrics(self, booted: Booted) -> None:
        for command in documented("selfconn-check.service"):
            booted.run(command)
        assert "selfconn-check.timer" in booted.run("systemctl list-timers --no-pager")
        booted.run("systemctl start plain apart")

        def written() -> str:
            booted.run("systemctl reset-failed selfconn-check", check=False)  # of starts it allows five in 10 s
            booted.run("systemctl start selfconn-check", check=False)
            return booted.run("cat /var/lib/node_exporter/selfconn.prom", check=False)

        text = until(30, lambda: text if (text := written()).count("\nselfconn_socket_info{") == 2 else "")
        assert booted.run("systemctl show -p Result --value selfconn-check") == "success\n"
        rows = re.findall(r"^selfconn_socket_info\{(.*)\} 1$", text, re.MULTILINE)
        labels = {row["port"]: row for row in (dict(re.findall(r'(\w+)="([^"]*)"', row)) for row in rows)}
        assert labels["50002"]["namespace"] == "apart.service"
        assert {row["process"] for row in labels.values()} == {"python3"}
        booted.run("systemctl stop selfconn-check.timer")


def test_the_rules_are_about_metrics_and_labels_that_there_are() -> None:
    text = (DOCS / "selfconn-alerts.yml").read_text()
    views = (ROOT / "capture/check/views.py").read_text()
    for metric in re.findall(r"\bselfconn_(\w+)", text):
        assert f'"{metric}"' in views
    for label in re.findall(r"\$labels\.(\w+)", text):
        assert label == "instance" or f'"{label}"' in views
    expressions = re.findall(r"expr: (.*)", text)
    assert len(expressions) == text.count("- alert:") == 3
