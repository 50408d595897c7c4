"""make install: what it refuses, what becomes of an installation that fails, and that nothing else is touched.

It installs a clone in small, which is built in no time: the commands print their version. tests/test_sudo.py installs
this one.
"""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import tempfile
import zipfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from conftest import ROOT, ordinary_user

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [
    *(pytest.mark.packaging, pytest.mark.root, pytest.mark.long),
    *(pytest.mark.usefixtures("need_root"), pytest.mark.timeout(600)),
]

PYPROJECT = """
[build-system]
requires = []
build-backend = "backend"
backend-path = ["analysis"]
"""

#: Makes the wheel of it. Its commands print VERSION of the environment; with FAILS they, or this, end with 1. From
#: 0.2.0 on there is the command selfconn.
BACKEND = """
import os, zipfile

def build_wheel(directory, *_):
    fails = os.environ.get("FAILS")
    files = {
        f"{path}.py": f"def main():\\n    print({os.environ['VERSION']!r})\\n    return {int(fails == 'run')}\\n"
        for path in ("analysis/cli", "capture/cli", "capture/check_cli", "selfconn/__main__")
    }
    scripts = "selfconn-analyze = analysis.cli:main\\nselfconn-capture = capture.cli:main\\n"
    if os.environ["VERSION"] != "0.1.0":
        scripts += "selfconn = selfconn.__main__:main\\n"
    about = "selfconn-1.dist-info"
    files[f"{about}/entry_points.txt"] = f"[console_scripts]\\n{scripts}selfconn-check = capture.check_cli:main\\n"
    needs = "".join(f"Requires-Dist: {name}\\n" for name in os.environ.get("NEEDS", "").split())
    files[f"{about}/METADATA"] = f"Metadata-Version: 2.1\\nName: selfconn\\nVersion: 1\\n{needs}"
    files[f"{about}/WHEEL"] = "Wheel-Version: 1.0\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n"
    files[f"{about}/RECORD"] = "".join(f"{path},,\\n" for path in files)
    name = "selfconn-1-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(directory, name), "w") as wheel:
        for path, text in files.items():
            wheel.writestr(path, text)
    return name
"""


#: What is for systemd.
UNITS = sorted(path.name for kind in ("service", "timer") for path in (ROOT / "docs").glob(f"*.{kind}"))


class Place:
    """A directory that every user may enter, with the clone in it, and whoever installs that."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.clone = path / "clone"
        (self.clone / "analysis").mkdir(parents=True)
        (self.clone / "capture").mkdir()
        (self.clone / "selfconn").mkdir()
        for name in ("setup.py", "MANIFEST.in", "README.md", "LICENSE"):
            (self.clone / name).touch()
        (self.clone / "pyproject.toml").write_text(PYPROJECT)
        (self.clone / "analysis" / "backend.py").write_text(BACKEND)
        for name in ("tools", "docs/man", "docs/completion"):
            shutil.copytree(ROOT / name, self.clone / name)
        for name in (*UNITS, "selfconn-alerts.yml"):
            shutil.copy(ROOT / "docs" / name, self.clone / "docs")

    def make(
        self, what: str, *places: str, before: tuple[str, ...] = (), **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run tools/install or tools/uninstall, behind the words *before*; places are below ``path``."""
        given = [f"{self.path}/{place}" for place in places or ("opt", "bin", "share/man/man1")]
        ours = {name: value for name, value in os.environ.items() if name != "PYTHON"}
        return subprocess.run(
            [*before, self.clone / "tools" / what, *given], cwd=self.clone, env=ours | {"VERSION": "1"} | environment,
            capture_output=True, text=True, timeout=280, check=False,
        )  # fmt: skip

    def version(self) -> str:
        """What the installed command prints."""
        command = [self.path / "bin" / "selfconn-analyze"]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=True).stdout

    def files(self, below: str = "") -> dict[str, str]:
        """What is there, besides the clone, and what it leads to or holds."""
        found = [path for path in (self.path / below).rglob("*") if not path.is_relative_to(self.clone)]
        links = {path: str(path.readlink()) for path in found if path.is_symlink()}
        held = {path: path.read_text(errors="replace") for path in found if path.is_file() and path not in links}
        return {str(path.relative_to(self.path)): text for path, text in (links | held).items()}


@pytest.fixture
def place() -> Iterator[Place]:
    with tempfile.TemporaryDirectory(dir="/tmp") as directory:
        Path(directory).chmod(0o755)
        yield Place(Path(directory))


def test_it_is_installed_again_and_removed(place: Place) -> None:
    for version in ("1", "2"):
        ended = place.make("install", "opt/", "bin/", "share//man/man1", VERSION=version)
        assert ended.returncode == 0, ended.stderr
        assert place.version() == f"{version}\n"
        assert sorted(path.name for path in place.path.iterdir()) == ["bin", "clone", "lib", "opt", "share"]
    names = {"selfconn", "selfconn-analyze", "selfconn-capture", "selfconn-check"}
    assert {path.name for path in (place.path / "opt/bin").iterdir() if not path.name.startswith("python")} == names
    for name in names:
        assert (place.path / "opt/bin" / name).read_text().startswith(f"#!{place.path}/opt/bin/python -ISB\n")
        # A process that reads captures for another begins like that.
        runpy.run_path(str(place.path / "opt/bin" / name), run_name="__mp_main__")
    files = place.files("share") | place.files("lib")
    units = {name.removeprefix("lib/systemd/system/"): text for name, text in files.items() if name.startswith("lib/")}
    assert sorted(units) == UNITS
    started = [line for text in units.values() for line in text.splitlines() if line.startswith("ExecStart=")]
    assert len(started) == 3
    assert all(line.startswith(f"ExecStart={place.path}/bin/selfconn-") for line in started)
    assert f"ExecStart={place.path}/bin/selfconn-capture --watch -q\n" in units["selfconn-watch.service"]
    assert "share/selfconn/selfconn-alerts.yml" in files
    shells = ("bash-completion/completions/{}", "zsh/site-functions/_{}", "fish/vendor_completions.d/{}.fish")
    assert {f"share/man/man1/{name}.1" for name in names} <= files.keys()
    assert {f"share/{path.format(name)}" for name in names for path in shells} <= files.keys()
    (place.path / "bin" / "other").touch()
    assert place.make("uninstall").returncode == 0
    assert place.files() == {"bin/other": ""}


def test_an_older_version_is_replaced_and_what_is_new_removed_with_it(place: Place) -> None:
    """0.1.0 had three commands, and no mark; one that fails to come in its place leaves these three."""
    assert place.make("install", VERSION="0.1.0").returncode == 0
    (place.path / "opt/.selfconn").unlink()
    for path in (place.path / "opt/bin").glob("selfconn-*"):
        _, _, rest = path.read_text().partition("\n")
        path.write_text(f"#!{place.path}/opt/bin/python3.11 -IB\n{rest}")
    assert not (place.path / "bin/selfconn").exists()
    before = place.files()
    assert place.make("install", VERSION="0.2.0", FAILS="run").returncode != 0
    assert place.files() == before
    assert place.make("install", VERSION="0.2.0").returncode == 0
    assert place.version() == "0.2.0\n"
    assert subprocess.check_output([place.path / "bin/selfconn"], text=True, timeout=60) == "0.2.0\n"
    assert sorted(path.name for path in place.path.iterdir()) == ["bin", "clone", "lib", "opt", "share"]
    assert place.make("uninstall").returncode == 0
    assert not place.files()


def test_commands_may_lie_where_they_are_linked_from(place: Place) -> None:
    places = ("x", "x/bin", "x/share/man/man1")
    for _ in range(2):
        assert place.make("install", *places).returncode == 0
        assert subprocess.check_output([place.path / "x/bin/selfconn-check"], text=True) == "1\n"
        assert (place.path / "x/share/man/man1/selfconn-check.1").exists()
    assert place.make("uninstall", *places).returncode == 0
    assert not place.files()


def test_a_package_is_made_in_a_directory_of_its_own(place: Place) -> None:
    target = place.path / "made here"
    for what, there in (("install", True), ("uninstall", False)):
        command = [place.clone / "tools" / what, "/opt/of-a-test", "/usr/bin", "/usr/share/man/man1"]
        environment = os.environ | {"VERSION": "1", "DESTDIR": str(target)}
        environment.pop("PYTHON", None)  # tools/check has one, of another directory
        ended = subprocess.run(command, cwd=place.clone, env=environment, capture_output=True, text=True, timeout=280)  # noqa: PLW1510
        assert ended.returncode == 0, ended.stderr
        assert os.path.lexists(target / "usr/bin/selfconn-check") is there
        assert (target / "opt/of-a-test/bin/selfconn-check").exists() is there
        units = target / "usr/lib/systemd/system"
        assert sorted(path.name for path in units.iterdir()) == (UNITS if there else [])
    assert not os.path.lexists("/opt/of-a-test")
    assert not place.files()


def test_one_that_fails_leaves_what_was_there(place: Place) -> None:
    assert place.make("install", FAILS="run").returncode != 0
    assert not place.files()
    assert place.make("install").returncode == 0
    before = place.files()
    assert place.make("install", VERSION="2", FAILS="run").returncode != 0
    assert place.files() == before
    (place.path / "share/zsh").rename(place.path / "aside")
    (place.path / "share/zsh").touch()  # in the way of what is put in place last
    ended = place.make("install", VERSION="2")
    assert ended.returncode != 0
    assert "is there again" in ended.stderr
    (place.path / "share/zsh").unlink()
    (place.path / "aside").rename(place.path / "share/zsh")
    assert place.files() == before
    assert place.version() == "1\n"


def test_without_a_network_it_installs_from_a_folder_of_wheels(place: Place) -> None:
    """What is needed comes out of the folder, and nothing is fetched; a folder that lacks something is no harm."""
    wheels = place.path / "wheels"
    wheels.mkdir()
    offline = ("unshare", "--net")
    ended = place.make("install", before=offline, NEEDS="of-a-test", WHEELS=str(wheels))
    assert ended.returncode != 0
    assert "No matching distribution found for of-a-test" in ended.stderr
    assert not place.files()
    files = {
        "of_a_test.py": "",
        "of_a_test-1.dist-info/METADATA": "Metadata-Version: 2.1\nName: of-a-test\nVersion: 1\n",
        "of_a_test-1.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "of_a_test-1.dist-info/RECORD": "",
    }
    with zipfile.ZipFile(wheels / "of_a_test-1-py3-none-any.whl", "w") as wheel:
        for name, text in files.items():
            wheel.writestr(name, text)
    ended = place.make("install", before=offline, NEEDS="of-a-test", WHEELS=str(wheels))
    assert ended.returncode == 0, ended.stderr
    assert place.version() == "1\n"
    assert list(place.path.glob("opt/lib/python*/site-packages/of_a_test.py"))


def test_what_is_somebody_elses_stays(place: Place) -> None:
    (place.path / "opt").mkdir()
    (place.path / "opt/pyvenv.cfg").write_text("another program's")
    before = place.files()
    for what in ("install", "uninstall"):
        ended = place.make(what)
        assert ended.returncode == 1
        assert "nothing done" in ended.stderr
        assert place.files() == before


@pytest.mark.parametrize(
    "places", [("a b", "bin", "man/man1"), ("a|b", "bin", "man/man1"), ("x" * 100, "bin", "man/man1")]
)
def test_what_the_first_line_of_a_program_cannot_name(place: Place, places: tuple[str, ...]) -> None:
    ended = place.make("install", *places)
    assert ended.returncode == 1
    assert "first line of a program" in ended.stderr
    assert not place.files()


@pytest.mark.parametrize(
    "places", [("home/opt", "bin"), ("opt", "home"), ("opt", "home/bin"), ("link", "bin"), ("o", "w")]
)
def test_what_a_user_can_change_is_refused(place: Place, places: tuple[str, ...]) -> None:
    (place.path / "home").mkdir()
    (place.path / "link").symlink_to("home/opt")
    (place.path / "w").mkdir()
    (place.path / "w").chmod(0o777)
    os.chown(place.path / "home", ordinary_user().pw_uid, 0)
    ended = place.make("install", *places, "share/man/man1")
    assert ended.returncode == 1
    assert "is not to be trusted" in ended.stderr
    assert place.files().keys() == {"link"}


@pytest.mark.parametrize("held", ["lib/systemd", "share/zsh", "share/bash-completion/completions"])
def test_so_are_places_for_what_comes_with_the_commands(place: Place, held: str) -> None:
    """Root's systemd and shell run what is there."""
    (place.path / held).mkdir(parents=True)
    os.chown(place.path / held, ordinary_user().pw_uid, 0)
    ended = place.make("install")
    assert ended.returncode == 1
    assert f"{place.path / held}" in ended.stderr
    assert "is not to be trusted" in ended.stderr
    assert not place.files()


def test_a_command_that_cannot_start_has_no_result(place: Place) -> None:
    """Python itself would end with 1: "something is connected to itself"."""
    assert place.make("install").returncode == 0
    [module] = (place.path / "opt").glob("lib/python*/site-packages/capture/check_cli.py")
    module.write_text("raise OSError('no file')")
    ended = subprocess.run([place.path / "bin/selfconn-check"], capture_output=True, text=True, timeout=60, check=False)
    assert (ended.returncode, ended.stderr) == (70, "selfconn-check cannot start: no file\n")


@pytest.mark.parametrize("way", ["python", "link/python", "python-link"])
def test_a_python_that_a_user_can_change_is_not_run(place: Place, way: str) -> None:
    home, mark = place.path / "home", place.path / "run"
    home.mkdir()
    (home / "python").write_text(f'#!/bin/sh\ntouch {mark}\nexec python3 "$@"\n')
    (home / "python").chmod(0o755)
    os.chown(home, ordinary_user().pw_uid, 0)
    (place.path / "link").symlink_to("home")
    (place.path / "python-link").symlink_to(home / "python")
    ended = place.make("install", PYTHON=str(place.path / ("home/python" if way == "python" else way)))
    assert ended.returncode == 1
    assert "is not to be trusted" in ended.stderr
    assert not mark.exists()
