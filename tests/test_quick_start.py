"""What makes the commands start soon: named tuples made in less time, and imports without what they do not need."""

from __future__ import annotations

import pickle
import subprocess
import sys
import typing

import pytest
from conftest import ROOT

from analysis import records, unneeded
from analysis.engine import COMPILED


class Ours(records.NamedTuple):
    """A text."""

    name: str
    places: tuple[int, ...] = ()
    kept: Nowhere | None = None  # type: ignore[name-defined] # noqa: F821 - nothing asks what it is

    @property
    def twice(self) -> str:
        return self.name * 2

    @classmethod
    def made(cls) -> Ours:
        return cls("made")


class Typings(typing.NamedTuple):
    """A text."""

    name: str
    places: tuple[int, ...] = ()
    kept: int | None = None


def test_a_named_tuple_is_what_typing_makes() -> None:
    for name in ("__doc__", "__module__", "_fields", "_field_defaults", "__match_args__", "__slots__"):
        assert getattr(Ours, name) == getattr(Typings, name)
    assert Ours.__mro__[1:] == Typings.__mro__[1:] == (tuple, object)
    assert Ours.__qualname__ == "Ours"
    assert Ours.made() == Ours("made", ()) == ("made", (), None)
    assert Ours("ab").twice == "abab"
    assert pickle.loads(pickle.dumps(Ours("ab", (1,)))) == Ours("ab")._replace(places=(1,))


def test_a_named_tuple_needs_annotations() -> None:
    with pytest.raises(KeyError):
        type(records.NamedTuple)("Empty", (records.NamedTuple,), {"__module__": __name__})


def test_a_typed_dict_makes_dicts() -> None:
    class Some(records.TypedDict, total=False):
        one: int

    assert type(Some(one=1)) is dict
    assert Some(one=1) == Some({"one": 1}) == {"one": 1}  # type: ignore[misc] # of a dict that is no literal


@pytest.mark.skipif(not COMPILED, reason="interpreted, the engine imports more")
@pytest.mark.parametrize("words", [[], ["-q"], ["--format", "json"], ["--format", "csv"]], ids=" ".join)
def test_no_command_that_reads_a_capture_imports_typing(words: list[str]) -> None:
    """Python's own modules that the commands need do without; to import it takes an eighth of such a run."""
    capture = "pcaps/self-connect-v4.pcapng"
    command = "from analysis.cli import main; status = main(); assert 'typing' not in sys.modules; sys.exit(status)"
    ended = subprocess.run(
        [sys.executable, "-SEc", f"import sys; sys.path += {sys.path!r}; {command}", *words, capture],
        cwd=ROOT, check=False, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "self-connect" in ended.stdout


def test_what_is_kept_out_can_be_imported_afterwards() -> None:
    missing = "turtledemo"
    assert missing not in sys.modules
    with unneeded.without({missing: {"answer": 1}, "sys": {"answer": 2}}):
        assert __import__(missing).answer == 1
        assert sys.modules["sys"] is sys
    assert missing not in sys.modules


#: The modules of Python that a short run of each command does without, since they take long to import.
SLOW = {"dataclasses", "gettext", "importlib.metadata", "inspect", "locale", "zlib"}


@pytest.mark.parametrize("command", ["analysis.cli", "capture.check_cli"])
def test_a_short_run_imports_nothing_slow(command: str) -> None:
    if command == "analysis.cli" and not COMPILED:
        pytest.skip("the interpreted engine imports cython, which imports some of them")
    program = f"import sys, {command} as it; it.main(sys.argv[1:]); print(*sys.modules)"
    words = ["-q", *(["pcaps/self-connect-v4.pcapng"] if command == "analysis.cli" else [])]
    ended = subprocess.run(
        [sys.executable, "-c", program, *words], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    loaded = set(ended.stdout.splitlines()[-1].split())
    assert command in loaded
    assert not SLOW & loaded
