"""Conversations in, verdicts out: the engine against what each file expects, and against the oracle.

tests/conversation.py has the language, tests/oracle.py the second opinion, tests/sequences.py all short sequences.

For more captures than ours: SELFCONN_CAPTURES=FOLDER pytest tests/test_conversations.py -k every_capture
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import writers
from conversation import Conversation, conversations
from dissected import facts
from oracle import Judgement, Ruling, judge
from sequences import ALPHABETS, Alphabet, Sequence, capture, every, some

from analysis.errors import NotACapture
from analysis.model import CaptureResult, Verdict
from analysis.reader import Analysis, analyze
from analysis.replay import replay

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from analysis.model import Endpoint, Opening
    from analysis.states import State

CONVERSATIONS = conversations()
CAPTURES = sorted((Path(__file__).parent.parent / "pcaps").glob("*.pcap*"))
if MORE := os.environ.get("SELFCONN_CAPTURES"):
    CAPTURES += sorted(path for path in Path(MORE).rglob("*") if path.is_file())
RAW = 101


def as_pcap(packets: Iterable[tuple[int, bytes]]) -> bytes:
    return writers.pcap(packets, RAW, kind="nano")


def analysed(data: bytes, *, step: int | None = None) -> CaptureResult:
    analysis = Analysis("conversation", collect=frozenset(Verdict))
    for start in range(0, len(data), step or len(data)):
        analysis.feed(data[start : start + (step or len(data))])
    return analysis.finish()


def judgement(result: CaptureResult) -> Judgement:
    """What the engine says, in the oracle's words."""
    openings = [
        Ruling(
            *(o.verdict, o.first_frame, o.source, o.destination, o.syn_retransmissions, o.isn),
            *(o.evidence, o.answered_by, o.translated_with, o.refused_by),
        )
        for o in result.openings
    ]
    counts = (result.segments, result.duplicates, result.midstream, result.midstream_to_itself)
    return Judgement(openings, *counts)


def told(conversation: Conversation) -> Judgement:
    """What the file says must come of a conversation."""
    unique = len(conversation.facts) - conversation.duplicates
    itself = judge(conversation.seen()).midstream_to_itself
    return Judgement(conversation.openings, unique, conversation.duplicates, conversation.midstream, itself)


each = pytest.mark.parametrize("conversation", CONVERSATIONS, ids=str)


@each
def test_oracle_says_what_the_file_says(conversation: Conversation) -> None:
    assert judge(conversation.seen()) == told(conversation)


@each
def test_engine_says_what_the_file_says(conversation: Conversation) -> None:
    result = analysed(as_pcap(conversation.packets))
    assert judgement(result) == told(conversation)
    assert result.packets == len(conversation.packets)
    counted = {verdict: count for verdict, count in result.verdicts.items() if count}
    expected = [ruling.verdict for ruling in conversation.openings]
    assert counted == {verdict: expected.count(verdict) for verdict in expected}


@each
@pytest.mark.parametrize("step", [1, 7])
def test_engine_says_the_same_of_the_file_in_pieces(conversation: Conversation, step: int) -> None:
    data = as_pcap(conversation.packets)
    assert analysed(data, step=step) == analysed(data)


def states_after(opening: Opening, frame: int) -> dict[Endpoint, State]:
    return {step.endpoint: step.after for step in replay(opening).steps if step.frame <= frame}


@pytest.mark.parametrize("conversation", [c for c in CONVERSATIONS if c.states], ids=str)
def test_replay_reaches_the_states_in_the_file(conversation: Conversation) -> None:
    openings = analysed(as_pcap(conversation.packets)).openings
    for frame, expected in conversation.states.items():
        opening = [opening for opening in openings if opening.first_frame <= frame][-1]
        states = {str(endpoint): str(state) for endpoint, state in states_after(opening, frame).items()}
        for name, state in expected.items():
            assert (frame, name, states[str(conversation.endpoints[name])]) == (frame, name, state)


def test_there_are_enough_conversations() -> None:
    assert len(CONVERSATIONS) >= 200
    assert {ruling.verdict for conversation in CONVERSATIONS for ruling in conversation.openings} == set(Verdict)


def test_titles_are_unique() -> None:
    titles = [str(conversation) for conversation in CONVERSATIONS]
    assert len(titles) == len(set(titles))


def differences(
    alphabet: Alphabet, sequences: Iterable[Sequence], *, interleaved: bool = False
) -> Iterator[tuple[Sequence, list[str], list[str]]]:
    """The sequences of which engine and oracle think differently: what the oracle said, what the engine said."""
    kept = list(sequences)
    segments = capture(alphabet, kept, interleaved=interleaved)
    expected = judge(segments)
    got = judgement(analysed(as_pcap((fact.time, fact.packet) for fact in segments)))
    if got == expected:
        return
    for sequence in kept:
        alone = capture(alphabet, [sequence])
        one = judge(alone)
        other = judgement(analysed(as_pcap((fact.time, fact.packet) for fact in alone)))
        if one != other:
            yield sequence, spoken(one), spoken(other)
    if interleaved:
        yield ("interleaved",), spoken(expected)[-3:], spoken(got)[-3:]


def spoken(said: Judgement) -> list[str]:
    openings = [_in_words(ruling) for ruling in said.openings]
    counts = f"segments {said.segments} duplicates {said.duplicates} midstream {said.midstream}"
    return [*openings, counts, f"to itself {said.midstream_to_itself}"]


def _in_words(ruling: Ruling) -> str:
    words = f"{ruling.verdict} at {ruling.first_frame} again {ruling.syn_retransmissions}"
    for name in ("evidence", "answered_by", "translated_with", "refused_by"):
        if (value := getattr(ruling, name)) is not None:
            words += f" {name} {value}"
    return words


@pytest.mark.parametrize("length", [1, 2, 3, pytest.param(4, marks=pytest.mark.long)])
@pytest.mark.parametrize("alphabet", ALPHABETS, ids=str)
def test_every_short_sequence(alphabet: Alphabet, length: int) -> None:
    assert list(differences(alphabet, every(alphabet, length))) == []


@pytest.mark.parametrize("number", [500, pytest.param(2000, marks=pytest.mark.long)])
@pytest.mark.parametrize("alphabet", ALPHABETS, ids=str)
def test_some_long_sequences(alphabet: Alphabet, number: int) -> None:
    assert list(differences(alphabet, some(alphabet, number))) == []


@pytest.mark.parametrize("alphabet", ALPHABETS, ids=str)
def test_conversations_that_interleave(alphabet: Alphabet) -> None:
    assert list(differences(alphabet, some(alphabet, 1000), interleaved=True)) == []


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.name)
def test_engine_agrees_with_the_oracle_on_every_capture(path: Path, need_tshark: str) -> None:
    try:
        said = judgement(analyze(str(path), collect=frozenset(Verdict)))
    except NotACapture:
        said = Judgement()  # nor is it one for Wireshark, then
    assert said == judge(facts(need_tshark, str(path)))
