"""The verdict table: whole, without dead ends, and as the documentation prints it."""

from __future__ import annotations

import itertools

import pytest
from conftest import ROOT

from analysis.model import REMARKABLE, Verdict
from analysis.verdicts import (
    DECIDED,
    LEADS_TO,
    MEANING,
    RULES,
    VERDICT,
    VERDICTS,
    Event,
    Phase,
    compiled_rules,
    compiled_verdicts,
    document,
    keep_from,
)

SELF = {Phase.SELF_SYN, Phase.SELF_CONNECT}


def test_every_verdict_can_be_reached() -> None:
    reached = LEADS_TO[Phase.SYN] | LEADS_TO[Phase.SELF_SYN]
    assert reached == frozenset(Verdict) == frozenset(MEANING)
    assert LEADS_TO[Phase.SELF_SYN] == {Verdict.SELF_SYN, Verdict.SELF_CONNECT}


def test_phases_are_openings_but_two() -> None:
    assert set(Phase) - set(VERDICT) == {Phase.FREE, Phase.MIDSTREAM}
    assert {VERDICT[phase] for phase in DECIDED} == {
        Verdict.THREE_WAY,
        Verdict.SIMULTANEOUS_OPEN,
        Verdict.REFUSED,
        Verdict.ABORTED,
        Verdict.SELF_CONNECT,
    }


@pytest.mark.parametrize(("phase", "event"), list(itertools.product(Phase, Event)))
def test_compiled_as_written(phase: Phase, event: Event) -> None:
    assert compiled_rules()[phase * len(Event) + event] == RULES.get((phase, event), phase)


@pytest.mark.parametrize("phase", list(Phase))
def test_compiled_verdict(phase: Phase) -> None:
    octet = compiled_verdicts()[phase]
    if phase in VERDICT:
        assert VERDICTS[octet & 0x7F] is VERDICT[phase]
        assert bool(octet & 0x80) == (phase in DECIDED)
    else:
        assert octet == 0x7F


def test_one_end_never_mixes_with_two() -> None:
    for (phase, _), after in RULES.items():
        assert (phase in SELF) == (after in SELF)


def test_a_lone_syn_is_kept_only_where_asked_for() -> None:
    assert not keep_from(REMARKABLE) >> Phase.SYN & 1
    assert keep_from(frozenset({Verdict.THREE_WAY})) >> Phase.SYN & 1
    assert keep_from(frozenset()) == 0


def test_documented_as_written() -> None:
    written = (ROOT / "docs" / "verdicts.md").read_text()
    assert written == document(), "run: python -m analysis.verdicts > docs/verdicts.md"
