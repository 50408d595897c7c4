"""What a class needs, told by a shell script: here, and where programs are missing or the system is another."""

from __future__ import annotations

import os
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest
from conftest import ROOT

if TYPE_CHECKING:
    from pathlib import Path

PREFLIGHT = ROOT / "scenarios" / "preflight.sh"
#: What the script itself calls.
ITS_OWN = ("sh", "dirname", "uname", "tr", "cat")


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A directory with what the script itself needs, and nothing of what the lessons do."""
    for name in ITS_OWN:
        found = shutil.which(name)
        assert found
        (tmp_path / name).symlink_to(found)
    return tmp_path


def told(path: str) -> tuple[int, dict[str, str]]:
    ended = subprocess.run(
        ["sh", str(PREFLIGHT)],
        env={"PATH": path}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.stderr == ""
    lines = [(line[:7].strip(), line[8:30].strip(), line[31:]) for line in ended.stdout.splitlines()]
    return ended.returncode, {what: f"{word}: {text}" for word, what, text in reversed(lines)}


def pretend(folder: Path, name: str, answer: str) -> None:
    (folder / name).unlink(missing_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{answer}\n")
    (folder / name).chmod(0o755)


def test_this_machine() -> None:
    status, said = told(os.environ["PATH"])
    assert status in {0, 1}
    assert said["system"].startswith("ok: Linux ")
    assert said["python"].startswith("ok: Python 3.")
    assert status == any(line.startswith("lacks") for line in said.values())


def test_what_is_missing_is_named_with_its_package(bare: Path) -> None:
    status, said = told(str(bare))
    assert status == 1
    assert said["private network"] == "lacks: unshare is missing (package util-linux)"
    assert said["ss"] == "lacks: package iproute2"
    assert said["redis-cli"].startswith("lacks: package redis-tools")


def test_where_not_everybody_may_make_a_network(bare: Path) -> None:
    pretend(bare, "unshare", "exit 1")
    status, said = told(str(bare))
    assert status == 1
    assert said["private network"].startswith("lacks: not for everybody here (")
    assert said["private network"].endswith('): sudo unshare --net env PATH="$PATH" bash')


@pytest.mark.parametrize(
    ("system", "release", "status", "what", "words"),
    [
        ("Darwin", "24.1.0", 2, "system", "lacks: macOS refuses self-connects (EINVAL)"),
        ("FreeBSD", "14.1", 2, "system", "lacks: FreeBSD: the lessons are for Linux"),
        (
            "Linux",
            "5.15.153.1-microsoft-standard-WSL2",
            1,
            "system",
            "ok: Linux 5.15.153.1-microsoft-standard-WSL2, WSL",
        ),
        ("Linux", "5.15.0-100-generic", 1, "kernel", "note: before 6.8: the odd port"),
        ("Linux", "6.8.0-40-generic", 1, "kernel", "note: before 6.11: its third segment may be"),
        ("Linux", "6.11.0", 1, "kernel", "ok: 6.11 or later"),
        ("Linux", "7.0-rc1", 1, "kernel", "ok: 6.11 or later"),
    ],
)
def test_another_system(bare: Path, system: str, release: str, status: int, what: str, words: str) -> None:  # noqa: PLR0917
    pretend(bare, "uname", f'[ "$1" = -s ] && echo {system} || echo {release}')
    ended = subprocess.run(
        ["sh", str(PREFLIGHT)], env={"PATH": str(bare)}, capture_output=True, text=True, timeout=60, check=False
    )
    assert ended.returncode == status
    lines = [" ".join(line.split()) for line in ended.stdout.splitlines()]
    word, _, text = words.partition(": ")
    assert any(line.startswith(f"{word} {what} {text}") for line in lines), ended.stdout
    assert any(line.startswith("ok browser ") for line in lines)
