"""No name of a file is taken for an option, and nothing of a command line is echoed raw."""

from __future__ import annotations

import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
from conftest import ROOT
from segments import self_connect
from test_analyze_cli import capture, run
from test_untrusted_text import TEXTS, clean

from analysis.cli import parser as of_analyze
from capture.check_cli import parser as of_check
from capture.cli import parser as of_capture

if TYPE_CHECKING:
    from pathlib import Path

PARSERS = pytest.mark.parametrize("made", [of_analyze(), of_capture(), of_check()], ids=["analyze", "capture", "check"])

#: What makes a fitting value of an option, where it is none of its choices.
VALUES = {"--host": "127.0.0.1", "--range": "40000-50000", "--cluster": "local"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the command runs."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@PARSERS
def test_no_file_is_an_option(made, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for action in made._actions:
        for option in action.option_strings:
            value = (
                "" if action.nargs == 0 else str((action.choices or [VALUES.get(action.option_strings[-1], "42")])[0])
            )
            name = option + ("=" if value and option.startswith("--") else "") + value
            (folder / name).touch()
            for words in ([name], ["-n", name], [name, "-n"]):
                with pytest.raises(SystemExit) as ended:
                    made.parsed(words)
                assert ended.value.code == 2
                assert f"./{name}" in capsys.readouterr().err
            (folder / name).unlink()


def test_all_files_of_a_folder_may_be_named_by_a_pattern(folder: Path) -> None:
    (folder / "a.pcap").write_bytes(capture(self_connect()))
    (folder / ".notes").write_text("mine")
    here = {"cwd": folder, "env": os.environ | {"PYTHONPATH": str(ROOT)}}
    for name in ("-o.notes", "--cluster=127.0.0.1:1", "--help", "-"):
        (folder / name).write_bytes(capture(self_connect()))
        names = ["a.pcap", name]
        ended = run(*names, **here)
        assert (ended.returncode, ended.stdout) == (2, "")
        assert (folder / ".notes").read_text() == "mine"
        for safe in (("--", *names), [f"./{name}" for name in names]):
            if name == "-" and safe[0] == "--":
                continue  # standard input, whatever lies there
            assert run(*safe, **here).stdout.count("\npcap, ") == 2
        (folder / name).unlink()


def test_a_cluster_is_named_in_full() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.1)
        port = server.getsockname()[1]
        ended = run(f"--cluster=127.0.0.1:{port}", "x.pcap")
        assert ended.returncode == 2
        assert "neither local nor an address like tls://HOST:8786" in ended.stderr
        with pytest.raises(TimeoutError):
            server.accept()


@TEXTS
@PARSERS
def test_what_is_wrong_is_said_without_control_characters(made, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    for words in ([f"--{text}"], [f"-n{text}"], [f"--format={text}"], ["--port", text], ["x", f"--host{text}=1"]):
        with suppress(SystemExit):  # what has a space in it may be an operand
            made.parsed(words)
        clean(capsys.readouterr().err)
