"""What the three commands have in common: one name, --help of one screen, and who may read what they write."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from conftest import ROOT

import analysis.cli
import capture.check_cli
import capture.cli
from analysis import VERSION

if TYPE_CHECKING:
    from pathlib import Path

MODULES = {"analyze": analysis.cli, "capture": capture.cli, "check": capture.check_cli}


def run(*words: str | Path, umask: int = 0o022) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "selfconn", *words]
    return subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60, umask=umask,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def test_it_says_which_commands_there_are() -> None:
    said = run("--help").stdout
    assert all(f"  {word} " in said for word in MODULES)
    assert run("--version").stdout.startswith(f"selfconn {VERSION} ")


@pytest.mark.parametrize("words", [(), ("sniff",), ("\x1b[31mred",)])
def test_another_word_is_wrong_usage(words: tuple[str, ...]) -> None:
    ended = run(*words)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert ended.stderr.startswith("usage: selfconn capture|analyze|check")
    assert "\x1b" not in ended.stderr


@pytest.mark.parametrize("word", MODULES)
def test_a_word_is_the_command_of_that_name(word: str) -> None:
    assert run(word, "--version").stdout.startswith(f"selfconn-{word} {VERSION} ")


def test_its_exit_status_is_that_of_the_command() -> None:
    words = ("analyze", "-q", "--expect", "self-connect")
    assert run(*words, "pcaps/self-connect-v4.pcapng").returncode == 0
    assert run(*words, "pcaps/three-way.pcapng").returncode == 1
    assert run(*words, "README.md").returncode == 3


def test_what_cannot_start_has_no_result() -> None:
    """Python itself would end with 1, which means something."""
    script = """
import sys
sys.modules["analysis.cli"] = None
sys.argv = ["selfconn", "analyze"]
from selfconn.__main__ import main
sys.exit(main())
"""
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=False, timeout=60
    )
    assert ended.returncode == 70
    assert ended.stderr.startswith("selfconn-analyze: cannot start: ")


@pytest.mark.parametrize("word", MODULES)
def test_help_is_one_screen_that_names_every_option(word: str) -> None:
    ended = run(word, "--help")
    lines = ended.stdout.splitlines()
    assert (ended.returncode, ended.stderr) == (0, "")
    assert max(map(len, lines)) <= 80
    assert len(lines) <= 46
    assert "..." not in ended.stdout.removeprefix(lines[0])  # nothing is cut
    for action in MODULES[word].parser()._actions:
        for option in action.option_strings:
            assert re.search(rf"(?<![\w-]){option}(?![\w-])", ended.stdout), option
    everything = run(word, "--help-all").stdout
    assert re.search("^exit status:$", everything, re.MULTILINE | re.IGNORECASE)
    assert re.search("^examples:$", everything, re.MULTILINE | re.IGNORECASE)


@pytest.mark.parametrize(("umask", "mode"), [(0o022, 0o644), (0o027, 0o640), (0o077, 0o600)])
def test_a_report_is_as_the_umask_has_it(tmp_path: Path, umask: int, mode: int) -> None:
    for name in ("report.html", "report.json", "rows.csv", "report"):
        ended = run("analyze", "-o", tmp_path / name, "pcaps/self-connect-v4.pcapng", umask=umask)
        assert ended.returncode == 0, ended.stderr
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == mode


@pytest.mark.parametrize(("source", "umask", "mode"), [(0o644, 0o022, 0o644), (0o640, 0o022, 0o640), (0o600, 0, 0o600)])
def test_a_commented_copy_is_for_those_who_may_read_the_capture(
    tmp_path: Path, source: int, umask: int, mode: int
) -> None:
    shutil.copy(ROOT / "pcaps" / "self-connect-v4.pcapng", tmp_path / "in.pcapng")
    (tmp_path / "in.pcapng").chmod(source)
    ended = run("analyze", "-q", "--annotate", tmp_path / "out.pcapng", tmp_path / "in.pcapng", umask=umask)
    assert ended.returncode == 0, ended.stderr
    assert stat.S_IMODE((tmp_path / "out.pcapng").stat().st_mode) == mode


@pytest.mark.parametrize(
    ("module", "words", "package"),
    [
        ("pyarrow", ("-o", "/dev/null/x.parquet"), "pyarrow"),
        ("fsspec", ("https://localhost/a.pcap",), "'fsspec[http]'"),
        ("fsspec", ("s3://there/a.pcap",), "s3fs"),
        ("distributed", ("--cluster", "tls://localhost:1"), "distributed"),
    ],
)
def test_what_is_missing_is_named_with_a_command_that_gets_it(
    module: str, words: tuple[str, ...], package: str, tmp_path: Path
) -> None:
    """selfconn is not on the index: extras of its name get nothing there."""
    words = tuple(word.replace("/dev/null", str(tmp_path)) for word in words)
    capture = () if any("://" in word and "tls" not in word for word in words) else ("pcaps/self-connect-v4.pcapng",)
    script = f"""
import sys
sys.modules[{module!r}] = None
sys.argv = {["selfconn-analyze", *words, *capture]!r}
from analysis.cli import main
sys.exit(main())
"""
    command = [sys.executable, "-c", script]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)
    assert ended.returncode in {2, 3}
    assert f"{sys.executable} -m pip install {package}" in ended.stderr
