"""What the commands do where they fail themselves: an exit status that no result has, and a word on why."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest
from conftest import ROOT

from analysis.commandline import FAILED, TRACEBACK, Failing

#: Each command, and a function that it cannot do without.
COMMANDS = {
    "analysis.cli": ("selfconn-analyze", "analysis.inputs.inputs", ["x.pcap"]),
    "capture.cli": ("selfconn-capture", "capture.run.session.run", []),
    "capture.check_cli": ("selfconn-check", "capture.kernel.sockets.owners", []),
}


@pytest.mark.parametrize("module", COMMANDS)
@pytest.mark.parametrize("more", [(), ("-v",), ("environment",)])
def test_an_error_of_the_program_is_no_result(
    module: str, more: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program, broken, arguments = COMMANDS[module]

    def fail(*_: object, **__: object) -> None:
        raise KeyError("\x1b[2J")

    monkeypatch.setattr(broken, fail)
    if more == ("environment",):
        monkeypatch.setenv(TRACEBACK, "1")
        more = ()
        shown = True
    else:
        shown = bool(more)
    with pytest.raises(SystemExit) as end:
        import_module(module).main([*more, *arguments])
    assert end.value.code == FAILED == 70
    said = capsys.readouterr().err
    assert said.startswith(f"{program}: failed, which is an error in the program")
    assert "KeyError" in said
    assert "\x1b" not in said
    assert ("Traceback" in said) == shown
    assert said.count("\n") == 2 or shown


def test_too_little_memory_is_said_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end, Failing("selfconn-analyze"):
        raise MemoryError
    assert end.value.code == FAILED
    assert capsys.readouterr().err.startswith("selfconn-analyze: out of memory (ulimit -v): ")


def test_what_ends_programs_passes() -> None:
    for kind in (KeyboardInterrupt, SystemExit):
        with pytest.raises(kind), Failing("selfconn-analyze"):
            raise kind


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (("analysis.cli", "no such file"), 3),
        (("capture.cli", "--watch", "--private"), 2),
        (("capture.check_cli", "--netns", "no such one"), 2),
        (("capture.check_cli", "--netns", "self", "-o", "no/such/place"), 3),
    ],
)
def test_a_message_that_nobody_keeps_does_not_change_the_status(words: tuple[str, ...], status: int) -> None:
    """Standard error in a file on a full disk, as that of a job that runs by itself."""
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", *words], cwd=ROOT, stdout=full, stderr=full, timeout=60, check=False
        )
    assert ended.returncode == status


@pytest.mark.parametrize("module", COMMANDS)
@pytest.mark.parametrize("words", ["-V", "-h"])
def test_it_says_its_version_to_nobody(module: str, words: str) -> None:
    command = f"{sys.executable} -m {module} {words} <&- >&- 2>&-"
    assert subprocess.run(["bash", "-c", command], cwd=ROOT, timeout=60, check=False).returncode == 0
