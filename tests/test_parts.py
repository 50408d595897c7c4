"""Parts of a capture, merged: the report of the whole, however it is cut and in whatever order it is merged."""

from __future__ import annotations

import pickle
import random
from functools import reduce
from typing import TYPE_CHECKING, Any

import pytest
import writers
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from sequences import ALPHABETS, capture

from analysis import engine, parts
from analysis.reader import Analysis
from analysis.words import REMARKABLE, Verdict

if TYPE_CHECKING:
    from analysis.words import CaptureResult

RAW = 101
NEAR = engine.NUMBERS[0]

Record = tuple[int, bytes]

#: What is asked for: it changes which segments are kept, and so what a part must remember.
ASKED: tuple[dict[str, Any], ...] = (
    {"collect": REMARKABLE},
    {"collect": frozenset(Verdict)},
    {"collect": frozenset(Verdict), "most": 2},
    {"collect": (), "only": (Verdict.SELF_CONNECT, Verdict.SELF_SYN)},
)


def pcap(records: list[Record]) -> bytes:
    return writers.pcap(records, RAW, kind="nano")


def reference(files: list[bytes], asked: dict[str, Any]) -> CaptureResult:
    """The files one after the other, through one engine."""
    analysis = Analysis("", **asked)
    pieces = []
    for data in files:
        analysis.name = "blocks"
        analysis.feed(data)
        pieces.append(analysis.next_file())
    return analysis.whole(pieces)


def tree(made: list[parts.Part], chance: random.Random) -> parts.Part:
    """The parts merged in an order of chance; each has been to another process and back."""
    while len(made) > 1:
        at = chance.randrange(len(made) - 1)
        made[at : at + 2] = [pickle.loads(pickle.dumps(parts.merge(made[at], made[at + 1])))]
    return made[0]


def traffic(chance: random.Random, conversations: int) -> list[Record]:
    """Conversations of all alphabets, interleaved, on few addresses: tuples come again, ports are refused."""
    facts = []
    for alphabet in chance.sample(ALPHABETS, 2):
        names = list(alphabet.events)
        sequences = [tuple(chance.choices(names, k=chance.randint(1, 9))) for _ in range(conversations)]
        facts += capture(alphabet, sequences, interleaved=chance.random() < 0.7)
    facts.sort(key=lambda fact: fact.time)
    return [(fact.time, fact.packet) for fact in facts]


def compare(files: list[bytes], asked: dict[str, Any], chance: random.Random) -> None:
    expected = reference(files, asked)
    made = [parts.part([data], **asked) for data in files]
    merged = tree(list(made), chance)
    assert not merged.unsure
    assert parts.result(merged) == expected
    whole = parts.Whole(**asked)
    for one in made:
        whole.add(one)
    assert whole.result() == expected


@settings(max_examples=500, deadline=None, derandomize=True)
@given(seed=st.integers(0, 2**32), conversations=st.integers(1, 6), cuts=st.lists(st.floats(0, 1), max_size=5))
def test_any_cut_and_any_order_of_merging(seed, conversations, cuts):
    chance = random.Random(seed)
    records = traffic(chance, conversations)
    # Between two cuts may be more frames than those among which copies are looked for: padding without a segment.
    ends = sorted(int(cut * (len(records) + 1)) for cut in cuts)
    files = []
    for start, end in zip([0, *ends], [*ends, len(records)], strict=True):
        piece = records[start:end]
        if chance.random() < 0.5 and piece:
            piece = [(piece[0][0], b"\x00")] * NEAR + piece
        files.append(pcap(piece))
    compare(files, chance.choice(ASKED), chance)
