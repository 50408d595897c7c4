"""Captures of kernels old and new: the rebuilt ESTABLISHED stands at the segment at which the kernel says it was so."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.model import Verdict
from analysis.notes import notes
from analysis.reader import analyze
from analysis.replay import Replay, replay
from analysis.states import State

CAPTURES = sorted((Path(__file__).parent / "kernels").glob("*.pcapng"))
#: Kernels that drop the SYN-ACK (RFC 9293 3.10.7.4): ESTABLISHED by the third packet.
DROPS = ("4.15.17", "5.10.46-uml", "5.10.251", "5.15.30", "6.8.1")


def rebuilt(path: Path) -> Replay:
    (opening,) = [one for one in analyze(str(path)).openings if one.verdict is Verdict.SELF_CONNECT]
    return replay(opening)


@pytest.mark.parametrize("path", [path for path in CAPTURES if "no-sack" not in path.name], ids=lambda path: path.stem)
def test_established_where_the_kernel_says(path: Path) -> None:
    account = rebuilt(path)
    kernel = path.name.partition("--")[0]
    (at,) = [step.frame for step in account.transitions if step.after is State.ESTABLISHED]
    assert account.handshake.index(at) == (2 if kernel in DROPS else 1)
    assert not account.findings


@pytest.mark.parametrize("path", [path for path in CAPTURES if "no-sack" in path.name], ids=lambda path: path.stem)
def test_without_sack_nothing_is_said_of_the_kernel(path: Path) -> None:
    account = rebuilt(path)
    assert account.established
    assert [note for note in notes(account) if "it tells nothing about the kernel" in note]
    assert not [note for note in notes(account) if "mark of" in note]


def test_there_are_both_kinds() -> None:
    assert {path.name.partition("--")[0] in DROPS for path in CAPTURES} == {True, False}
