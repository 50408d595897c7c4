"""selfconn.pyz, the three commands in one file: on a root file system that holds Python and nothing else.

What it is made of is built here without compiling once more: the engine that this clone has is put in.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import ROOT, missing

from analysis import VERSION
from analysis.engine import COMPILED

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    *(pytest.mark.packaging, pytest.mark.live, pytest.mark.root),
    *(pytest.mark.usefixtures("need_root"), pytest.mark.timeout(300)),
]

#: In namespaces of its own, with nothing but a loopback interface, in a root that is the root of its mount namespace
#: (a process in a mere chroot may make no user namespace), and then as a user of that number.
ENTER = """
mount --bind "$0" "$0"; cd "$0"; mount -t proc proc proc; mount -t tmpfs -o mode=1777 tmpfs tmp; mount --move . /
exec env -i PATH=/usr/bin "$(command -v chroot)" --userspec="$1:$1" . /usr/bin/env -C /tmp "${@:2}"
"""


def built(target: Path, python: str = sys.executable) -> Path:
    """The file, of this clone's source and its compiled engine, if it has one."""
    with tempfile.TemporaryDirectory() as directory:
        environment = os.environ | {"SELFCONN_PURE": "1", "OFFLINE": "1"}
        subprocess.run(
            ["tools/wheel", directory, os.path.relpath(sys.executable, ROOT)],
            cwd=ROOT,
            env=environment,
            check=True,
            timeout=200,
        )
        [wheel] = Path(directory).glob("*.whl")
        with zipfile.ZipFile(wheel, "a") as archive:
            for path in (ROOT / "analysis" / "engine").glob(f"*{sysconfig.get_config_var('EXT_SUFFIX')}"):
                archive.write(path, path.relative_to(ROOT))
        command = [sys.executable, "tools/bundle/make.py", target, f"{wheel}={python}"]
        subprocess.run(command, cwd=ROOT, check=True, timeout=100)
    return target


def needed_by(*files: Path) -> set[Path]:
    """The shared libraries that these programs and modules load."""
    listed = subprocess.run(["ldd", *files], capture_output=True, text=True, check=False, timeout=60).stdout
    return {Path(path) for path in re.findall(r"(/\S+) \(0x", listed)}


@pytest.fixture(scope="module")
def root() -> Iterator[Path]:
    """A root file system: Python, its library, env, two users, the one file and the captures of this clone."""
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        top = Path(directory)
        top.chmod(0o755)
        for name in ("proc", "tmp", "etc", "srv", "usr/bin", "dev"):
            (top / name).mkdir(parents=True)
        python = Path(os.path.realpath(sys.base_prefix + f"/bin/python3.{sys.version_info.minor}"))
        library = Path(sysconfig.get_path("stdlib", vars={"installed_base": sys.base_prefix}))
        if not python.exists() or not library.is_absolute():
            missing("a Python that can be copied")
        unneeded = shutil.ignore_patterns(
            "site-packages", "dist-packages", "test", "__pycache__", "idlelib", "config-*"
        )
        shutil.copytree(library, top / library.relative_to("/"), ignore=unneeded)
        programs = [python, Path("/usr/bin/env"), Path("/usr/bin/cat")]
        for path in {*programs, *needed_by(*programs, *library.glob("lib-dynload/*.so"))}:
            (top / path.relative_to("/")).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, top / path.relative_to("/"))
        (top / "usr/bin/python3").symlink_to(python)
        (top / "etc/passwd").write_text("root:x:0:0::/:\nuser:x:1000:1000::/tmp:\n")
        (top / "dev/null").touch()
        (top / "dev/null").chmod(0o666)
        shutil.copytree(ROOT / "pcaps", top / "srv" / "pcaps", ignore=shutil.ignore_patterns("*.html", "*.py"))
        built(top / "srv" / "selfconn.pyz")
        yield top


def run(root: Path, user: int, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command there as the *user* of that number."""
    spaces = ["unshare", "--mount", "--net", "--pid", "--fork", "bash", "-ec", ENTER]
    command = [*spaces, str(root), str(user), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)


USERS = pytest.mark.parametrize("user", [0, 1000], ids=["root", "user"])


@USERS
def test_it_runs_the_main_job(root: Path, user: int) -> None:
    script = """
import subprocess, sys
subprocess.run(["/srv/selfconn.pyz", "capture", "--private", "-q", "-w", "made.pcapng"], check=True)
subprocess.run(["/srv/selfconn.pyz", "analyze", "made.pcapng"], check=True)
"""
    ended = run(root, user, "/usr/bin/python3", "-Ic", script)
    assert ended.returncode == 0, ended.stderr
    assert len(re.findall(r"^self-connect +1$", ended.stdout, re.MULTILINE)) == 2, ended.stdout


@USERS
def test_it_analyses_captures(root: Path, user: int) -> None:
    """The same words as the golden texts', by several processes, too."""
    name = "/srv/pcaps/self-connect-walk.pcapng"
    ended = run(root, user, "/srv/selfconn.pyz", "analyze", name)
    assert ended.returncode == 0, ended.stderr
    golden = (ROOT / "pcaps" / "self-connect-walk.txt").read_text().partition("\n")[2]
    assert ended.stdout.partition("\n")[2] == golden
    ended = run(root, user, "/srv/selfconn.pyz", "analyze", "--jobs", "2", "--format", "json", "/srv/pcaps")
    assert ended.returncode == 0, ended.stderr
    captures = json.loads(ended.stdout)["captures"]
    assert len(captures) == len(list((ROOT / "pcaps").glob("*.pcapng")))
    for form, begins in (("html", "<!"), ("markdown", "#"), ("mermaid", ""), ("csv", "")):
        ended = run(root, user, "/srv/selfconn.pyz", "analyze", "--format", form, name)
        assert ended.returncode == 0, ended.stderr
        assert ended.stdout.startswith(begins)


@USERS
def test_it_checks_the_host(root: Path, user: int) -> None:
    ended = run(root, user, "/srv/selfconn.pyz", "check", "--netns", "self", "--port", "50000")
    assert ended.returncode == 0, ended.stderr
    assert "No socket is connected to itself." in ended.stdout


def test_it_is_the_engine_of_this_clone(root: Path) -> None:
    form = "compiled" if COMPILED else "interpreted"
    for user in (0, 1000):
        ended = run(root, user, "/srv/selfconn.pyz", "analyze", "--version")
        assert ended.stdout.startswith(f"selfconn-analyze {VERSION} (engine {form}"), ended.stderr


def test_nothing_is_written_and_nothing_of_the_directory_imported(root: Path) -> None:
    """As root in a directory where somebody put modules; TMPDIR and PYTHONPATH lead there, too."""
    script = """
import os, pathlib, subprocess
for name in ("argparse", "analysis", "tabulate", "sitecustomize", "bundled", "encodings"):
    pathlib.Path(name + ".py").write_text("raise SystemExit('taken')")
before = sorted(os.listdir("."))
environment = dict(os.environ, PYTHONPATH="/tmp", PYTHONSTARTUP="/tmp/analysis.py", TMPDIR="/tmp")
subprocess.run(["/srv/selfconn.pyz", "check", "--netns", "self"], env=environment, check=True)
subprocess.run(["/srv/selfconn.pyz", "analyze", "-q", "/srv/pcaps"], env=environment, check=True)
assert sorted(os.listdir(".")) == before, os.listdir(".")
"""
    before = sorted(root.rglob("*"))
    ended = run(root, 0, "/usr/bin/python3", "-IBc", script)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert sorted(root.rglob("*")) == before


def test_a_file_that_is_replaced_meanwhile_or_closed_to_the_user_is_no_harm(root: Path) -> None:
    """It is read once, before root is given up: what is imported later comes from memory."""
    shutil.copy(root / "srv/selfconn.pyz", root / "srv/roots.pyz")
    (root / "srv/roots.pyz").chmod(0o700)
    environment = ("/usr/bin/env", "SUDO_UID=1000", "SUDO_GID=1000")
    ended = run(root, 0, *environment, "/srv/roots.pyz", "capture", "--private", "-w", "/tmp/x.pcapng")
    assert ended.returncode == 0, ended.stderr
    (root / "srv/roots.pyz").unlink()


def test_where_the_linker_loads_nothing_from_memory_the_source_runs(root: Path) -> None:
    """All of it, or nothing: the first that is refused decides."""
    script = """
import os, runpy, sys
del os.memfd_create
sys.argv = ["/srv/selfconn.pyz", "analyze", "--version"]
def memfd_create(name):
    raise OSError("not here")
os.memfd_create = memfd_create
runpy.run_path("/srv/selfconn.pyz", run_name="__main__")
"""
    ended = run(root, 1000, "/usr/bin/python3", "-ISBc", script)
    assert "engine interpreted" in ended.stdout, ended.stdout + ended.stderr


def test_another_python_runs_the_source(root: Path, tmp_path: Path) -> None:
    """Nothing was prepared for it: neither byte code nor the engine."""
    target = tmp_path / "other.pyz"
    with zipfile.ZipFile(root / "srv/selfconn.pyz") as ours, zipfile.ZipFile(target, "w") as other:
        for entry in ours.infolist():
            if not entry.filename.startswith(("code.", "compiled.")):
                other.writestr(entry, ours.read(entry))
    command = [sys.executable, "-ISB", target, "analyze", "--version"]
    assert "engine interpreted" in subprocess.check_output(command, text=True, timeout=60)
    command[-1:] = ["--only", "self-connect", ROOT / "pcaps" / "self-connect-v6.pcapng"]
    assert "1. self-connect" in subprocess.check_output(command, text=True, timeout=60)


def test_a_python_that_is_too_old_is_told_so_in_one_line(tmp_path: Path) -> None:
    script = f"""
import os, runpy, sys
sys.version_info = (3, 9, 2, "final", 0)
os.environ["PATH"] = {str(tmp_path)!r}
sys.argv = ["x"]
runpy.run_path({str(ROOT / "tools/bundle/__main__.py")!r}, run_name="__main__")
"""
    ended = subprocess.run([sys.executable, "-ISBc", script], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stdout) == (70, "")
    assert ended.stderr == f"selfconn needs Python 3.11 or newer: {sys.executable} is 3.9.2\n"


def test_the_file_holds_what_the_commands_need_and_no_more(root: Path) -> None:
    path = root / "srv/selfconn.pyz"
    assert path.stat().st_size < 8 << 20
    with zipfile.ZipFile(path) as archive:
        names = archive.namelist()
    tops = {name.split("/")[0] for name in names if not name.startswith(("code.", "compiled."))}
    ours = {"analysis", "capture", "selfconn", "__main__.py", "bundled.py", "data", "licenses"}
    assert tops == ours | {"cython.py", "jinja2", "markupsafe", "tabulate", "tqdm"}
    licences = {Path(name).name.split("-")[0] for name in names if name.startswith("licenses/")}
    assert licences >= {"selfconn", "Jinja2", "MarkupSafe", "tabulate", "tqdm"}
