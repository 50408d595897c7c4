"""What the commands do where they fail themselves: an exit status that no result has, and a word on why."""

from __future__ import annotations

from importlib import import_module

import pytest

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
