"""The commands under each newer Python that is on the machine, every warning an error.

Only a first look, on the source as it is, with the pure Python packages of the environment that runs the tests:
``make test-versions`` runs everything, in environments of their own.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from typing import TYPE_CHECKING

import pytest
from conftest import ROOT, missing

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.long  # starts other Pythons

#: Warnings are errors; nothing is written; first our source, then what is installed here.
START = (
    f"import sys; sys.path[:0] = [{str(ROOT)!r}, {sysconfig.get_path('purelib')!r}]; "
    "from {module} import main; sys.exit(main(sys.argv[1:]))"
)


def newer(version: str) -> str:
    """A Python of that version, the path; on PATH, or where pyenv keeps them."""
    name = f"python{version}"
    if found := shutil.which(name):
        tried = subprocess.run([found, "-c", ""], capture_output=True, check=False)  # pyenv's may be an empty shell
        if tried.returncode == 0:
            return found
    if pyenv := shutil.which("pyenv"):
        told = subprocess.run([pyenv, "whence", "--path", name], capture_output=True, text=True, check=False).stdout
        if told.strip():
            return told.splitlines()[-1]
    return missing(f"Python {version}")


@pytest.fixture(scope="module", params=["3.12", "3.13", "3.14"])
def python(request: pytest.FixtureRequest) -> str:
    return newer(request.param)


def run(python: str, module: str, *words: str) -> subprocess.CompletedProcess[str]:
    command = [python, "-I", "-B", "-W", "error", "-c", START.format(module=module), *words]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("form", ["table", "json", "jsonl", "markdown", "mermaid"])
def test_the_same_reports(python: str, form: str) -> None:
    captures = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "pcaps").glob("*.pcapng"))
    here, there = (run(one, "analysis.cli", "--all", "--format", form, *captures) for one in (sys.executable, python))
    assert (there.returncode, there.stderr) == (0, "")
    assert there.stdout == here.stdout


@pytest.mark.live
@pytest.mark.usefixtures("need_private_namespace")
def test_a_self_connect_is_caught(python: str, tmp_path: Path) -> None:
    made = tmp_path / "made.pcapng"
    ended = run(python, "capture.cli", "--private", "-w", str(made), "--repro", "bind", "-q")
    assert ended.returncode == 0, ended.stderr


def test_the_host_is_looked_at(python: str) -> None:
    ended = run(python, "capture.check_cli", "--port", "50000", "--format", "json")
    assert ended.returncode in {0, 1, 4}, ended.stderr
    assert '"port": 50000' in ended.stdout
