"""The installed commands behind the real sudo: who they are, what they do not run, whose files they do not touch."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from conftest import ROOT, ordinary_user, program
from test_namespaces import room
from test_privilege import SETS, fields, held

from analysis.output import opened

if TYPE_CHECKING:
    from collections.abc import Iterator

#: The installation, which the first of them waits for, fetches and compiles: on a busy machine that takes minutes.
pytestmark = [pytest.mark.live, pytest.mark.root, pytest.mark.usefixtures("need_root"), pytest.mark.timeout(600)]

#: A target that connect() never hits by itself: it goes on until it is told to end.
ENDLESS = ("--private", "--port", "60000", "--range", "50000-50999", "--repro", "walk", "-q", "--attempts", "100000000")
CAPTURE = ROOT / "pcaps" / "self-connect-v4.pcapng"


class Desk(NamedTuple):
    """An ordinary user of this machine in a directory of their own, for whom the commands are installed."""

    user: pwd.struct_passwd
    home: Path
    installed: Path

    def sudo(self, *words: str, **environment: str) -> list[str]:
        """The command line with which the user has a command run by sudo: with *environment*, where none is safe."""
        script = (
            'mount -t tmpfs -o mode=755 none /etc/sudoers.d; echo "$0 ALL=(ALL) NOPASSWD:SETENV: ALL" >/etc/sudoers.d/x'
        )
        script += '; chmod 440 /etc/sudoers.d/x; exec setpriv --reuid "$0" --regid "$1" --init-groups "${@:2}"'
        words = (str(self.installed / "bin" / words[0]), *words[1:])
        assignments = (f"{name}={value}" for name, value in environment.items())
        sudo = ("sudo", "-n", f"HOME={self.home}", *assignments, *words)
        return ["unshare", "--mount", "bash", "-c", script, self.user.pw_name, str(self.user.pw_gid), *sudo]

    def run(self, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run that in the user's directory."""
        command = self.sudo(*words, **environment)
        return subprocess.run(command, cwd=self.home, capture_output=True, text=True, timeout=60, check=False)

    def give(self, *paths: Path) -> None:
        """Make files the user's."""
        for path in paths:
            os.chown(path, self.user.pw_uid, self.user.pw_gid, follow_symlinks=False)

    def roots(self) -> list[Path]:
        """What in the user's directory is root's."""
        return [path for path in self.home.rglob("*") if path.lstat().st_uid == 0]


@pytest.fixture
def desk(installed: Path) -> Iterator[Desk]:
    program("sudo", "sudo")
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        made = Desk(ordinary_user(), Path(directory), installed)
        made.give(made.home)
        yield made


# -- who they are ----------------------------------------------------------------------------------------------------


def marked(mark: str) -> dict[int, dict[str, list[str]]]:
    """What /proc/PID/status says of the processes that have *mark* in their environment and have begun to work."""
    found = {}
    for directory in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if mark.encode() in (directory / "environ").read_bytes():
                found[int(directory.name)] = fields((directory / "status").read_text())
    return found


@pytest.mark.parametrize(
    ("words", "processes"),
    [
        ((*ENDLESS, "-w", "made.pcapng"), {"selfconn-captur"}),
        (("--private", "-q", "-w", "made.pcapng", "--", "sh", "-c", "sleep 1000; true"), {"sh", "sleep"}),
        (("--netns", "ROOM", "-q", "-w", "made.pcapng", "--", "sh", "-c", "sleep 1000; true"), {"sh", "sleep"}),
        (("--watch", "--netns", "self", "-q", "-w", os.devnull, "--port", "60001"), set()),
    ],
    ids=["repro", "command", "command in a namespace", "watch"],
)
def test_every_process_is_the_user_with_nothing_left(desk: Desk, words: tuple[str, ...], processes: set[str]) -> None:
    mark = f"SELFCONN_TEST_{os.getpid()}_{time.monotonic_ns()}"
    ours = {"selfconn-captur"} | processes
    opened = contextlib.ExitStack()
    words = tuple(str(opened.enter_context(room()).pid) if word == "ROOM" else word for word in words)
    running = subprocess.Popen(
        desk.sudo("selfconn-capture", *words, **{mark: "1"}),
        cwd=desk.home, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 30
        while True:
            assert running.poll() is None, running.communicate()
            found = [one for one in marked(mark).values() if one["Name"][0] != "sudo"]
            names = {one["Name"][0] for one in found}
            enough = len(found) >= (2 if "walk" in words else 1) and names == ours
            if enough and all(one["NoNewPrivs"] == ["1"] for one in found):
                break
            assert time.monotonic() < deadline, found
            time.sleep(0.02)
        for one in found:
            assert one["Uid"] == [str(desk.user.pw_uid)] * 4
            assert one["Gid"] == [str(desk.user.pw_gid)] * 4
            assert sorted(map(int, one["Groups"])) == sorted(os.getgrouplist(desk.user.pw_name, desk.user.pw_gid))
            assert held(one) == []
    finally:
        for pid, one in marked(mark).items():
            if one["Name"][0] == "selfconn-captur" and f"{one['PPid'][0]}" not in map(str, marked(mark)):
                os.kill(pid, signal.SIGTERM)
        running.communicate(timeout=30)
        opened.close()
    assert not marked(mark)
    assert desk.roots() == []


def test_of_a_watch_over_the_host_one_process_stays_privileged(desk: Desk) -> None:
    """It is root's, with four capabilities and no way to more; the other one is the user's."""
    mark = f"SELFCONN_TEST_{os.getpid()}_{time.monotonic_ns()}"
    running = subprocess.Popen(
        desk.sudo("selfconn-capture", "--watch", "-w", os.devnull, "--port", "60001", **{mark: "1"}),
        cwd=desk.home, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert running.stderr is not None
        said = ""
        while "Not watched:" not in said:  # the rings are open, and privilege is given up
            said = running.stderr.readline()
            assert said
        found = {pid: one for pid, one in marked(mark).items() if one["Name"][0] != "sudo"}
        watch, opener = sorted(found.values(), key=lambda one: int(one["CapEff"][0], 16))
        assert (watch["Uid"], held(watch)) == ([str(desk.user.pw_uid)] * 4, [])
        assert sorted(map(int, watch["Groups"])) == sorted(os.getgrouplist(desk.user.pw_name, desk.user.pw_gid))
        four = 1 << 2 | 1 << 13 | 1 << 19 | 1 << 21  # DAC_READ_SEARCH, NET_RAW, SYS_PTRACE, SYS_ADMIN
        assert opener["Uid"] == ["0"] * 4
        assert [int(opener[name][0], 16) for name in SETS] == [0, four, four, four, 0]
        assert watch["NoNewPrivs"] == opener["NoNewPrivs"] == ["1"]
        assert opener["PPid"] == watch["Pid"]
        for pid in found:  # neither has a namespace open, or a file of the user's
            links = [str(path.readlink()) for path in Path(f"/proc/{pid}/fd").iterdir()]
            assert not [link for link in links if link.startswith(("net:", str(desk.home)))]
    finally:
        for pid, one in marked(mark).items():
            if one["Name"][0] == "selfconn-captur" and one["Uid"][0] != "0":
                os.kill(pid, signal.SIGTERM)
        running.communicate(timeout=30)
    assert not marked(mark)


def test_a_look_at_the_host_is_judged_by_the_user(desk: Desk) -> None:
    """Of selfconn-check there is one process, and what it says is written with nothing left of root."""
    mark = f"SELFCONN_TEST_{os.getpid()}_{time.monotonic_ns()}"
    command = desk.sudo("selfconn-check", "--measure", "3", "-o", "report", **{mark: "1"})
    with subprocess.Popen(command, cwd=desk.home, stderr=subprocess.PIPE, text=True) as running:
        names: set[str] = set()
        most = 0
        while running.poll() is None:
            found = [one for one in marked(mark).values() if one["Name"][0] != "sudo"]
            names |= {one["Name"][0] for one in found if one["NoNewPrivs"] == ["1"]}
            most = max(most, len(found))
            time.sleep(0.01)
        assert running.returncode in (0, 1, 4), running.communicate()
    assert most == 1
    assert names <= {"selfconn-check"}
    assert (desk.home / "report").stat().st_uid == desk.user.pw_uid


WHO = """
import json, os, sys
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
capabilities = [name for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb") if int(status[name], 16)]
json.dump([status["Uid"].split(), sorted(os.getgroups()), os.environ["HOME"], os.getcwd(), capabilities,
           os.getpgrp() == os.getpid(), sorted(int(fd) for fd in os.listdir("/proc/self/fd"))], sys.stderr)
"""


def test_analysing_is_the_users_own_from_the_start(desk: Desk) -> None:
    mark = f"SELFCONN_TEST_{os.getpid()}_{time.monotonic_ns()}"
    os.mkfifo(desk.home / "fifo")
    (desk.home / "rooted.pcapng").write_bytes(CAPTURE.read_bytes())
    (desk.home / "rooted.pcapng").chmod(0o600)
    desk.give(desk.home / "fifo")
    command = desk.sudo("selfconn-analyze", "fifo", "rooted.pcapng", **{mark: "1"})
    with subprocess.Popen(command, cwd=desk.home, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as running:
        with (desk.home / "fifo").open("wb") as fifo:  # it is open at the other end, too
            (found,) = [one for one in marked(mark).values() if one["Name"][0] != "sudo"]
            fifo.write(CAPTURE.read_bytes())
        shown, said = running.communicate(timeout=60)
    assert found["Uid"] == [str(desk.user.pw_uid)] * 4
    assert held(found) == []
    assert running.returncode == 3
    assert "self-connect" in shown
    assert "cannot read rooted.pcapng: Permission denied" in said
    assert "sudo cat FILE | selfconn-analyze -" in said


def test_what_the_user_cannot_see_is_not_told(desk: Desk) -> None:
    hidden = desk.installed / "hidden"
    (hidden / "there").mkdir(parents=True, exist_ok=True)
    hidden.chmod(0o700)
    answers = set()
    for name in ("there", "not there"):
        ended = desk.run("selfconn-capture", "--watch", "-w", str(hidden / name))
        answers.add((ended.returncode, ended.stderr.replace(name, "it")))
    assert len(answers) == 1
    assert answers.pop()[0] == 2


def test_a_command_is_the_users_own(desk: Desk) -> None:
    """Its directory, home, groups and terminal are the user's, and it holds nothing of ours."""
    words = ("--private", "--format", "json", "-w", "made.pcapng", "--", "/usr/bin/python3", "-I", "-c", WHO)
    ended = desk.run("selfconn-capture", "-q", *words)
    uids, groups, home, where, capabilities, leads_its_group, descriptors = json.loads(ended.stderr)
    assert uids == [str(desk.user.pw_uid)] * 4
    assert groups == sorted(os.getgrouplist(desk.user.pw_name, desk.user.pw_gid))
    assert home == desk.user.pw_dir
    assert where == str(desk.home)
    assert capabilities == []
    assert leads_its_group
    assert descriptors == [0, 1, 2, 3]  # 3: the directory that it looks into
    assert json.loads(ended.stdout)["live"]["command"]["user"] == desk.user.pw_name
    assert (desk.home / "made.pcapng").stat().st_uid == desk.user.pw_uid


@pytest.mark.parametrize("words", [("--private",), ("--watch", "-w", os.devnull)], ids=["repro", "watch"])
def test_before_root_is_given_up_only_pythons_library_is_imported(desk: Desk, words: tuple[str, ...]) -> None:
    probe = f"""
import sys
before = set(sys.modules)  # the interpreter's own start
from capture import cli
from analysis import privilege
def stop():
    roots = {{name.partition(".")[0] for name in sys.modules.keys() - before}}
    print(*sorted(roots - sys.stdlib_module_names), flush=True)
    raise SystemExit(0)
privilege.give_up_root = stop
cli.main({list(words)!r})
"""
    answer = desk.run("../opt/bin/python", "-IBc", probe)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.split() == ["analysis", "capture"]


def test_nothing_of_roots_is_left_in_a_clone(desk: Desk) -> None:
    """As the user's own environment is made (tools/venv), and then the source changes."""
    clone = desk.home / "clone"
    for name in ("analysis", "capture"):
        shutil.copytree(ROOT / name, clone / name, ignore=shutil.ignore_patterns("__pycache__", "*.so", "*.c"))
    compiled = ["-m", "compileall", "-q", str(clone)]
    subprocess.run([desk.installed / "opt" / "bin" / "python", *compiled], timeout=60, check=True)
    desk.give(clone, *clone.rglob("*"))
    for path in (*clone.glob("*/*.py"), *clone.glob("*/*/*.py")):
        if path.name != "__init__.py":
            os.utime(path, (1, 1))
    start = f"import sys; sys.path.insert(0, {str(clone)!r}); from capture import cli; sys.exit(cli.main(sys.argv[1:]))"
    for words in (("--private", "-q"), ("--private", "-q", "--", "true")):
        answer = desk.run("../opt/bin/python", "-Ic", start, *words)
        assert answer.returncode in (0, 1), answer.stderr
    assert desk.roots() == []
    assert len(list(desk.home.glob("selfconn-*.pcapng"))) == 2


# -- what they do not run --------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("need_tshark")
def test_planted_code_is_not_run(desk: Desk) -> None:
    log = desk.home / "log"
    log.touch()
    log.chmod(0o666)

    class Pickle:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return os.system, (f"id -u >>{log}",)

    python = f"import os\nwith open({str(log)!r}, 'a') as log: log.write(__file__ + ' %d\\n' % os.geteuid())\n"
    shell = f'#!/bin/sh\necho "$0 $(id -u)" >>{log}\n'
    lua = f'local f = io.open("{log}", "a")\nf:write("lua\\n")\nf:close()\n'
    version = "python{}.{}".format(*sys.version_info)
    planted = {
        **dict.fromkeys(("scapy.py", "analysis.py", "capture.py", "pyshark.py", "json.py", "ctypes.py"), python),
        **dict.fromkeys(("path/sitecustomize.py", "path/usercustomize.py", "path/analysis.py", "startup.py"), python),
        f".local/lib/{version}/site-packages/usercustomize.py": python,
        f".local/lib/{version}/site-packages/planted.pth": python.replace("\n", ";").rstrip(";").replace("with", "#"),
        **dict.fromkeys((".config/scapy/prestart.py", ".config/scapy/startup.py"), python),
        **dict.fromkeys((".config/wireshark/init.lua", ".config/wireshark/plugins/x.lua", "init.lua"), lua),
        **dict.fromkeys((".local/lib/wireshark/plugins/x.lua", ".wireshark/init.lua", "plugins/x.lua"), lua),
        **dict.fromkeys(("tshark", "path/tshark", "path/dumpcap", "path/ip", "path/ldconfig"), shell),
        "config.ini": f"[tshark]\ntshark_path = {desk.home}/tshark\n[dumpcap]\ndumpcap_path = {desk.home}/tshark\n",
    }
    for name, text in planted.items():
        path = desk.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)
    cache = desk.home / ".cache" / "scapy"
    cache.mkdir(parents=True)
    for name in ("ethertypes", "protocols", "services", "manufdb"):
        for path in (cache / name, cache / f"{name}.pickle"):
            path.write_bytes(pickle.dumps(Pickle()))
    desk.give(*desk.home.rglob("*"))
    shutil.copy(CAPTURE, desk.home / "shown.pcapng")

    hostile = {
        "PYTHONPATH": f"{desk.home}/path",
        "PYTHONSTARTUP": f"{desk.home}/startup.py",
        "PYTHONINSPECT": "",
        "PATH": f"{desk.home}/path:/usr/sbin:/usr/bin:/sbin:/bin",
    }
    # The traps are armed.
    subprocess.run(["/usr/bin/python3", "-c", ""], cwd=desk.home, env=os.environ | hostile, timeout=30, check=True)
    assert "sitecustomize.py" in log.read_text()
    log.write_text("")

    for words, statuses in (
        (("selfconn-capture", "--private", "-q", "-w", "made.pcapng"), {0}),
        (("selfconn-capture", "--private", "-q", "-w", os.devnull, "--", "true"), {1}),
        (("selfconn-capture", "--watch", "-w", os.devnull, "--timeout", "0.2", "--port", "60001"), {1}),
        (("selfconn-check",), {0, 1}),
        (("selfconn-analyze", "--witness", "shown.pcapng"), {0}),
        (("selfconn-analyze", "--annotate", "noted.pcapng", "shown.pcapng"), {0}),
        (("../opt/bin/python", "-Ic", "import capture.packets.scapy_socket, scapy.sendrecv"), {0}),
    ):
        answer = desk.run(*words, **hostile)
        assert answer.returncode in statuses, (words, answer.stderr)
        assert log.read_text() == "", words


# -- whose files they do not touch -----------------------------------------------------------------------------------

VICTIM = "do not touch"


@pytest.mark.parametrize(
    "door",
    [
        ("selfconn-capture", "--private", "-q", "--repro", "bind", "-w"),
        ("selfconn-capture", "--private", "-q", "--repro", "bind", "-w", os.devnull, "-o"),
        ("selfconn-check", "-o"),
        ("selfconn-analyze", str(CAPTURE), "-o"),
        ("selfconn-analyze", str(CAPTURE), "--annotate"),
    ],
    ids=["capture -w", "capture -o", "check -o", "analyze -o", "analyze --annotate"],
)
def test_nobodys_file_is_touched(desk: Desk, door: tuple[str, ...]) -> None:
    """Another user, 12345, owns the directory into which the user writes. The victims are the user's, and root's."""
    shared, safe = desk.home / "shared", desk.home / "safe"
    for directory in (shared, safe):
        directory.mkdir()
    for owner in ("user", "root"):
        victim = safe / owner
        victim.write_text(VICTIM)
        (shared / f"symlink-{owner}").symlink_to(victim)
        (shared / f"hard-link-{owner}").hardlink_to(victim)
    (shared / "dangling").symlink_to(safe / "made")
    os.mkfifo(shared / "fifo")
    (shared / "theirs").write_text(VICTIM)
    (shared / "swapped").symlink_to(safe)
    (shared / "below").symlink_to(safe / "deeper")
    (safe / "deeper").mkdir()
    for path in (shared, *shared.iterdir()):
        if not path.name.startswith("hard-link"):
            os.chown(path, 12345, 12345, follow_symlinks=False)
    shared.chmod(0o777)
    desk.give(safe, safe / "user", safe / "deeper")
    before = {path: path.lstat() for path in (*safe.rglob("*"), *shared.rglob("*"))}
    capture = shutil.copy(CAPTURE, desk.home / "shown.pcapng")

    names = [path.name for path in shared.iterdir() if path.name not in {"swapped", "below"}]
    for path in (*names, "swapped/user", "swapped/new", "below/../user", "below/../new"):
        words = [capture if word == str(CAPTURE) else word for word in door]
        answer = desk.run(*map(str, words), f"shared/{path}")
        assert answer.returncode not in (0, 1), (path, answer)
        assert answer.stderr.count("\n") == 1, answer.stderr
    after = {path: path.lstat() for path in (*safe.rglob("*"), *shared.rglob("*"))}
    assert after.keys() == before.keys()
    for path, was in before.items():
        now = after[path]
        assert (now.st_ino, now.st_mtime_ns, now.st_size) == (was.st_ino, was.st_mtime_ns, was.st_size), path


@pytest.mark.parametrize(
    "door",
    [
        ("selfconn-capture", "--private", "-q", "--repro", "bind", "-w", os.devnull, "-o"),
        ("selfconn-capture", "--private", "-q", "--repro", "bind", "-w"),
        ("selfconn-analyze", str(CAPTURE), "-o"),
        ("selfconn-check", "--netns", "self", "-o"),
    ],
)
def test_what_is_roots_is_not_written_and_it_is_said_what_would(desk: Desk, door: tuple[str, ...]) -> None:
    """Under sudo the user's rights count; a job of root's own writes where root may without capabilities."""
    desk.home.chmod(0o755)
    roots, theirs = desk.home / "roots", desk.home / "theirs"
    for directory in (roots, theirs):
        directory.mkdir()
    os.chown(theirs, 12345, 12345)
    shown = shutil.copy(CAPTURE, desk.home / "shown.pcapng")
    words = [str(shown) if word == str(CAPTURE) else word for word in door]
    said = desk.run(*words, f"{roots}/report")
    assert said.returncode in (2, 3, 4)
    assert "with the rights of the user who called sudo, not with root's" in said.stderr
    assert said.stderr.rstrip().endswith("| sudo tee FILE >/dev/null")
    command = [str(desk.installed / "bin" / words[0]), *words[1:]]
    ours = {name: value for name, value in os.environ.items() if not name.startswith("SUDO_")}
    kept = door[0] == "selfconn-analyze"  # without sudo it has nobody to become, and gives nothing up
    for directory, status in ((roots, {0, 1}), (theirs, {0} if kept else {3, 4})):
        ended = subprocess.run(
            [*command, f"{directory}/report"], env=ours, cwd=desk.home, capture_output=True, text=True, timeout=60,
            check=False,
        )  # fmt: skip
        assert ended.returncode in status, ended.stderr
        fails = directory == theirs and not kept
        assert (directory / "report").exists() != fails
        assert ("choose a directory of root's" in ended.stderr) == fails


def test_a_directory_that_is_swapped_all_the_while(tmp_path: Path) -> None:
    """The directory on the way is one's own, then a stranger's link to where a victim lies, and so on, thousands of
    times."""
    (tmp_path / "victims").mkdir()
    victim = tmp_path / "victims" / "file"
    victim.write_text(VICTIM)
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("victims")
    os.chown(tmp_path / "link", 12345, 12345, follow_symlinks=False)
    swapper = os.fork()
    if not swapper:
        os.chdir(tmp_path)
        while True:
            for name in ("real", "link"):
                with contextlib.suppress(OSError):
                    Path(name).rename("way")
                    Path("way").rename(name)
    counts = {"written": 0, "refused": 0}
    try:
        for _ in range(5000):
            try:
                os.close(opened(str(tmp_path / "way" / "file")))
                counts["written"] += 1
            except OSError:
                counts["refused"] += 1
    finally:
        os.kill(swapper, signal.SIGKILL)
        os.waitpid(swapper, 0)
    assert victim.read_text() == VICTIM
    assert all(counts.values()), counts
