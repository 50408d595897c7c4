"""Evidence, RST, translated answers, ICMP errors and copies: the engine against the oracle, in hundreds of scenes."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import pytest
from oracle import Ruling, judge
from scenes import ALL, Scene, Take
from test_conversations import analysed, judgement, spoken

from analysis.model import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

every = pytest.mark.parametrize("group", ALL)


@cache
def scenes(group: str) -> list[Scene]:
    return list(ALL[group]())


def differences(found: Sequence[Scene], *, interleaved: bool = False) -> Iterator[tuple[str, list[str], list[str]]]:
    """The scenes of which engine and oracle think differently: name, what the oracle says, what the engine says."""
    take = Take(found, interleaved=interleaved)
    if judgement(analysed(take.octets)) == judge(take.seen):
        return
    for scene in found:
        alone = Take([scene])
        said, got = judge(alone.seen), judgement(analysed(alone.octets))
        if said != got:
            yield scene.name, spoken(said), spoken(got)
    if interleaved:
        yield "interleaved", spoken(judge(take.seen))[-2:], spoken(judgement(analysed(take.octets)))[-2:]


@every
def test_engine_agrees_with_the_oracle(group: str) -> None:
    assert list(differences(scenes(group))) == []


@every
def test_engine_agrees_with_the_oracle_when_scenes_interleave(group: str) -> None:
    assert list(differences(scenes(group), interleaved=True)) == []


@every
def test_oracle_says_what_the_generator_knows(group: str) -> None:
    for scene in scenes(group):
        if scene.expected is not None:
            openings = judge(Take([scene]).seen).openings
            named = [_name(ruling) for ruling in openings] or (["nothing"] if scene.expected else [])
            assert (scene.name, named) == (scene.name, list(scene.expected))


def _name(ruling: Ruling) -> str:
    return str(ruling.evidence or ruling.verdict)


def test_there_are_enough_scenes() -> None:
    assert sum(len(scenes(group)) for group in ALL) >= 2000
    names = [scene.name for group in ALL for scene in scenes(group)]
    assert len(names) == len(set(names))
    rulings = [ruling for group in ALL for ruling in judge(Take(scenes(group)).seen).openings]
    assert {ruling.verdict for ruling in rulings} >= set(Verdict) - {Verdict.SPLIT_HANDSHAKE}
