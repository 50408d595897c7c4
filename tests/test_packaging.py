"""The package as users get it: source archive -> wheel -> fresh virtual environment -> the commands run.

Nothing is fetched: the build uses the setuptools and Cython of the environment that runs the tests, and the fresh
environment borrows its dependencies.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
from conftest import ROOT, missing

COMMANDS = ("selfconn", "selfconn-analyze", "selfconn-capture", "selfconn-check")
BUILT_FROM = (
    *("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"),
    *("analysis", "capture", "selfconn"),
)

pytestmark = [pytest.mark.packaging, pytest.mark.timeout(700)]


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """What *command* prints; a test failure with its words where it fails."""
    unwanted = {"PYTHONPATH", "PYTHONWARNINGS", "SELFCONN_PURE"}  # what pip warns of is not ours
    inherited = {name: value for name, value in os.environ.items() if name not in unwanted}
    answer = subprocess.run(
        command, cwd=cwd, env=inherited | environment, capture_output=True, text=True, timeout=300, check=False
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    return answer.stdout


def build_wheel(source: Path, into: Path, **environment: str) -> Path:
    pip = ("pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--disable-pip-version-check", "--no-index")
    run(sys.executable, "-m", *pip, "--wheel-dir", into, source, cwd=into, **environment)
    (wheel,) = into.glob("*.whl")
    return wheel


def install(wheel: Path, into: Path) -> Path:
    """A fresh environment with nothing but *wheel* and our dependencies; its folder of commands."""
    venv.create(into, symlinks=True)
    python = into / "bin" / "python"
    pip = ("pip", "--python", python, "install", "--quiet", "--no-deps", "--no-index", "--disable-pip-version-check")
    run(sys.executable, "-m", *pip, wheel, cwd=into.parent)
    (packages,) = into.glob("lib/python*/site-packages")
    # After its own packages in sys.path; the .pth files there (this clone, installed editable) are not followed.
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return into / "bin"


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what the package is built from, so that building leaves nothing in the clone."""
    copy = tmp_path_factory.mktemp("source")
    generated = shutil.ignore_patterns("__pycache__", "*.so", "*.c", "*.pxi")
    for name in BUILT_FROM:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=generated)
        else:
            shutil.copy(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def source_archive(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    into = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "-c", f"from setuptools import build_meta; build_meta.build_sdist({str(into)!r})", cwd=source)
    (archive,) = into.glob("*.tar.gz")
    return archive


@pytest.mark.usefixtures("need_compiler")
def test_source_archive_to_wheel_to_running_commands(source: Path, tmp_path: Path) -> None:
    python = os.path.relpath(sys.executable, ROOT)  # as make wheel names it
    run("tools/wheel", tmp_path / "dist", python, cwd=ROOT, OFFLINE="1")
    assert [path.suffixes[-1] for path in sorted((tmp_path / "dist").iterdir())] == [".whl", ".gz"]
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    assert "manylinux" in wheel.name  # auditwheel has read it
    with zipfile.ZipFile(wheel) as contents:
        names = contents.namelist()
    packaged = {name for name in names if ".dist-info/" not in name and not name.endswith("/")}
    written = {
        str(path.relative_to(source))
        for top in ("analysis", "capture", "selfconn")
        for path in (source / top).rglob("*.*")
    }
    compiled = {name for name in packaged if name.startswith("analysis/engine/") and name.endswith(".so")}
    assert len(compiled) == 17
    assert wheel.stat().st_size < 4 << 20
    assert {name.split("/")[0] for name in packaged} == {"analysis", "capture", "selfconn"}
    assert packaged - compiled == {name for name in written if not name.endswith((".pxd", ".c", ".pxi"))}
    assert [name for name in names if name.endswith("licenses/LICENSE")]

    commands = install(wheel, tmp_path / "fresh")
    for command in COMMANDS:
        assert run(commands / command, "--version", cwd=tmp_path).startswith(f"{command} ")
    assert "engine compiled" in run(commands / "selfconn-analyze", "--version", cwd=tmp_path)
    where = "import analysis.engine, capture; print(analysis.engine.__file__, capture.__file__)"
    for path in run(commands / "python", "-c", where, cwd=tmp_path).split():
        assert path.startswith(str(tmp_path / "fresh")), path


@pytest.mark.parametrize(
    "environment", [{"SELFCONN_PURE": "1"}, {"CC": "/nonexistent/cc"}], ids=["asked", "no compiler"]
)
def test_without_compiling_the_commands_run_all_the_same(
    source: Path, tmp_path: Path, environment: dict[str, str]
) -> None:
    built = shutil.ignore_patterns("build", "*.egg-info", "*.c", "*.pxi")
    shutil.copytree(source, tmp_path / "source", ignore=built)
    wheel = build_wheel(tmp_path / "source", tmp_path, **environment)
    with zipfile.ZipFile(wheel) as contents:
        assert not [name for name in contents.namelist() if name.endswith(".so")]
    commands = install(wheel, tmp_path / "fresh")
    assert "engine interpreted" in run(commands / "selfconn-analyze", "--version", cwd=tmp_path)


def test_the_source_archive_holds_what_it_is_built_from(source_archive: Path) -> None:
    with tarfile.open(source_archive) as contents:
        names = {name.partition("/")[2] for name in contents.getnames()}
    assert names.issuperset(BUILT_FROM)
    assert "analysis/engine/wire.pxd" in names
    assert not [name for name in names if name.startswith("analysis/") and name.endswith((".c", ".pxi"))]


def test_the_file_for_hosted_ci_calls_our_commands_and_nothing_else() -> None:
    """What it would run is what people run; zizmor, which reads such files for weaknesses, finds none."""
    workflows = ROOT / ".github" / "workflows"
    text = "".join(path.read_text() for path in workflows.iterdir())
    runs = re.findall(r"^ +- run: (.+)$", text, re.MULTILINE)
    assert runs
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for line in runs:
        words = line.removeprefix("sudo ").split()
        assert (words[0] == "make" and words[1] in targets) or (ROOT / words[0]).is_file(), line
    if not (Path(sys.executable).parent / "zizmor").exists():
        missing("zizmor")
    run(Path(sys.executable).parent / "zizmor", "--offline", "--quiet", workflows, cwd=ROOT)
