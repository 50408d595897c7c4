"""Giving up root, as the kernel sees it: /proc/PID/status of the process, its threads and its children."""

from __future__ import annotations

import ctypes
import json
import os
import pwd
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from conftest import ROOT, missing, ordinary_user

from analysis import privilege
from analysis.errors import CannotCapture

if TYPE_CHECKING:
    from collections.abc import Callable

PR_GET_DUMPABLE = 3
SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")


def fields(text: str) -> dict[str, list[str]]:
    return {name: value.split() for name, _, value in (line.partition(":") for line in text.splitlines())}


def status(task: str) -> dict[str, list[str]]:
    return fields(Path(f"/proc/{task}/status").read_text())


def held(of: dict[str, list[str]], sets: tuple[str, ...] = SETS) -> list[str]:
    """The capability sets that are not empty."""
    return [name for name in sets if int(of[name][0], 16)]


def in_child(work: Callable[[], Any], **environment: str | None) -> Any:
    """What *work* returns in a child with this environment (None: not set); an error comes back as its text."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        for name, value in environment.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
        try:
            answer = work()
        except BaseException as error:  # noqa: BLE001 - the parent looks at it
            answer = f"{type(error).__name__}: {error}"
        os.write(writer, json.dumps(answer).encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        answer = json.load(pipe)
    os.waitpid(child, 0)
    return answer


def after() -> dict[str, Any]:
    """Give up root and describe what is left."""
    user = privilege.give_up_root()
    found: dict[str, Any] = {"user": user._asdict(), "self": status("self")}
    threads = threading.Thread(target=lambda: found.update(thread=status("thread-self")))
    threads.start()
    threads.join()
    text = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True, check=True, timeout=30).stdout
    found["child"] = fields(text)
    found["home"] = os.environ["HOME"]
    found["regained"] = []
    for name, act in (
        ("setuid", lambda: os.setuid(0)),
        ("setresuid", lambda: os.setresuid(0, 0, 0)),
        ("setgid", lambda: os.setgid(0)),
        ("setgroups", lambda: os.setgroups([0])),
        ("chroot", lambda: os.chroot("/")),
    ):
        try:
            act()
        except OSError:
            continue
        found["regained"].append(name)
    found["dumpable"] = ctypes.CDLL(None).prctl(PR_GET_DUMPABLE, 0, 0, 0, 0)
    return found


@pytest.fixture
def somebody(need_root: None) -> pwd.struct_passwd:  # noqa: ARG001 - only root can become somebody
    """An ordinary user of this machine; nobody if there is no other."""
    return ordinary_user()


def sudo(user: pwd.struct_passwd) -> dict[str, str | None]:
    return {"SUDO_UID": str(user.pw_uid), "SUDO_GID": str(user.pw_gid), "SUDO_USER": user.pw_name}


def test_under_sudo_one_is_the_user_and_nothing_more(somebody: pwd.struct_passwd) -> None:
    found = in_child(after, **sudo(somebody))
    assert found["user"] == {
        "name": somebody.pw_name,
        "uid": somebody.pw_uid,
        "gid": somebody.pw_gid,
        "home": somebody.pw_dir,
    }
    for who in ("self", "thread", "child"):
        assert found[who]["Uid"] == [str(somebody.pw_uid)] * 4
        assert found[who]["Gid"] == [str(somebody.pw_gid)] * 4
        groups = os.getgrouplist(somebody.pw_name, somebody.pw_gid)
        assert sorted(map(int, found[who]["Groups"])) == sorted(groups)
        assert found[who]["NoNewPrivs"] == ["1"]
        assert held(found[who]) == []
    assert found["regained"] == []
    assert found["home"] == somebody.pw_dir
    assert found["dumpable"] == 0, "the user's other programs could reach into this one"


@pytest.mark.usefixtures("need_root")
@pytest.mark.parametrize("environment", [{"SUDO_UID": None}, {"SUDO_UID": "0", "SUDO_GID": "0"}])
def test_root_without_sudo_keeps_its_number_but_no_capability(environment: dict[str, str | None]) -> None:
    found = in_child(after, **environment)
    for who in ("self", "thread", "child"):
        assert found[who]["Uid"] == ["0"] * 4
        assert found[who]["NoNewPrivs"] == ["1"]
        assert held(found[who]) == []
    # To become oneself is no gain.
    assert found["regained"] == ["setuid", "setresuid", "setgid"]


def test_a_set_user_id_program_gives_nothing_back(somebody: pwd.struct_passwd) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        Path(directory).chmod(0o755)
        program = Path(directory, "id")
        program.write_bytes(Path("/usr/bin/id").read_bytes())
        program.chmod(0o4755)

        def run(become: Callable[[], object]) -> str:
            become()
            return subprocess.run(
                [program, "-u"], capture_output=True, text=True, check=True, timeout=30
            ).stdout.strip()

        if in_child(lambda: run(lambda: os.setuid(somebody.pw_uid))) != "0":
            missing("a /tmp where set-user-ID programs work")
        assert in_child(lambda: run(privilege.give_up_root), **sudo(somebody)) == str(somebody.pw_uid)


@pytest.mark.usefixtures("need_root")
@pytest.mark.parametrize("number", ["-1", "4294967295", "99999999999", "1 ", " 1", "0x1", "\u0661", "1\n", "", "root"])
def test_a_number_that_sudo_would_not_set(number: str) -> None:
    answer = in_child(privilege.give_up_root, SUDO_UID=number, SUDO_GID="1")
    assert answer.startswith("CannotCapture: SUDO_UID is ")
    assert answer.isprintable()
    assert in_child(privilege.give_up_root, SUDO_UID="1", SUDO_GID=number).startswith("CannotCapture: SUDO_GID is ")


@pytest.mark.usefixtures("need_root")
def test_a_number_that_is_nobodys() -> None:
    free = next(number for number in range(60_000, 65_000) if number not in {user.pw_uid for user in pwd.getpwall()})
    answer = in_child(privilege.give_up_root, SUDO_UID=str(free), SUDO_GID="1")
    assert answer == f"CannotCapture: SUDO_UID is {free}, and there is no such user"


def test_a_group_that_is_not_the_users_is_not_taken(somebody: pwd.struct_passwd) -> None:
    found = in_child(after, **sudo(somebody) | {"SUDO_GID": "0"})
    assert found["self"]["Gid"] == [str(somebody.pw_gid)] * 4
    assert "0" not in found["self"]["Groups"]


def test_not_with_a_second_thread() -> None:
    def run() -> str:
        done = threading.Event()
        other = threading.Thread(target=done.wait)
        other.start()
        try:
            privilege.give_up_root()
        finally:
            done.set()
            other.join()
        return "given up"

    assert "one thread" in in_child(run)


def test_twice_does_no_harm(somebody: pwd.struct_passwd) -> None:
    def run() -> bool:
        return privilege.give_up_root() == privilege.give_up_root()

    assert in_child(run, **sudo(somebody)) is True


@pytest.mark.usefixtures("need_private_namespace")
@pytest.mark.parametrize("environment", [{"SUDO_UID": None}, {"SUDO_UID": "4000000000", "SUDO_GID": "4000000000"}])
def test_the_root_of_a_user_namespace(environment: dict[str, str | None]) -> None:
    """Who is root in there is somebody outside, and SUDO_UID may name a user who is not known inside."""
    program = "import json, test_privilege as t; print(json.dumps(t.after()))"
    answer = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--net", sys.executable, "-c", program],
        env={name: value for name, value in (os.environ | environment).items() if value is not None}
        | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests"), *sys.path))},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    if "unshare failed" in answer.stderr:
        missing(f"user namespaces ({answer.stderr.strip()})")
    assert answer.stderr == ""
    found = json.loads(answer.stdout)
    for who in ("self", "thread", "child"):
        assert held(found[who]) == []
        assert found[who]["NoNewPrivs"] == ["1"]


#: Take what the parent has open, as long as that is allowed; print what could be taken.
TAKES = """
import ctypes, os
call = ctypes.CDLL(None, use_errno=True).syscall
parent = call(434, os.getppid(), 0)  # pidfd_open
print([number for number in range(3, 30) if call(438, parent, number, 0) >= 0])  # pidfd_getfd
"""


@pytest.mark.live
@pytest.mark.usefixtures("need_private_namespace")
def test_a_command_cannot_take_the_packet_sockets(tmp_path: Path) -> None:
    options = ("--private", "-q", "--format", "json", "-o", "report")
    ended = subprocess.run(
        [sys.executable, "-m", "capture.cli", *options, "--", sys.executable, "-c", TAKES],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "[]\n" in (ended.stdout, ended.stderr)


@pytest.mark.usefixtures("need_ordinary_user")
def test_an_ordinary_user_has_nothing_to_give_up_but_the_future() -> None:
    found = in_child(after)
    assert found["user"]["uid"] == os.getuid()
    for who in ("self", "thread", "child"):
        assert held(found[who], ("CapInh", "CapPrm", "CapEff", "CapAmb")) == []
        assert found[who]["NoNewPrivs"] == ["1"]
    assert found["regained"] == []


@pytest.mark.usefixtures("need_root")
def test_what_stays_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> None:
        monkeypatch.setattr(privilege, "_clear_capabilities", lambda: None)
        with pytest.raises(CannotCapture, match="CapPrm, CapEff stayed"):
            privilege.give_up_root()

    assert in_child(run, SUDO_UID=None) is None
