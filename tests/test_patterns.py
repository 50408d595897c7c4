"""Openings as JSON: written by their patterns, as if each had been replayed and explained for itself."""

from __future__ import annotations

import json
import random
import struct
from typing import TYPE_CHECKING

import generated
import pytest
from hypothesis import given
from hypothesis import strategies as st
from segments import SELF, SELF6, START, A, B, any_openings, refused, self_connect, simultaneous_open, three_way
from test_conversations import CAPTURES, CONVERSATIONS, analysed, as_pcap

from analysis import patterns
from analysis.model import Endpoint, Evidence, Flag, Misdirected, Opening, Unreachable, Verdict
from analysis.reader import analyze
from analysis.report import Entry
from analysis.segments import options
from analysis.views.json import entry_as_json, entry_as_text

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

#: A capture of so many openings may have them written in few patterns.
SEEDS = range(60)
DNAT = Endpoint.parse("203.0.113.9", 8080)


def check(openings: Iterable[Opening]) -> None:
    """Compare what is written with what the account of each says."""
    for opening in openings:
        entry = Entry(3, opening)
        assert entry_as_text(entry) == json.dumps(entry_as_json(entry)), opening


@pytest.mark.parametrize("conversation", CONVERSATIONS, ids=str)
def test_conversations(conversation: object) -> None:
    check(analysed(as_pcap(conversation.packets)).openings)  # type: ignore[attr-defined]


@pytest.mark.parametrize("path", CAPTURES, ids=lambda path: path.name)
def test_captures(path: Path) -> None:
    check(analyze(str(path), collect=frozenset(Verdict)).openings)


@pytest.mark.parametrize("seed", SEEDS)
def test_generated_traffic(seed: int) -> None:
    chance = random.Random(seed)
    check(analysed(generated.as_file(chance, generated.traffic(chance, 8))).openings)


@given(
    any_openings,
    st.fixed_dictionaries(
        {
            "verdict": st.sampled_from(Verdict),
            "evidence": st.sampled_from([None, *Evidence]),
            "isn": st.sampled_from([None, 0, 4_294_967_294]),
            "refused_before": st.integers(0, 2),
            "refused_since": st.sampled_from([None, START - 10, START, START + 10]),
            "omitted": st.sampled_from([0, 1, 1000]),
            "over_a_link": st.booleans(),
            "answered_by": st.sampled_from([None, A, B, DNAT]),
            "answered_in": st.sampled_from([None, 1, 3, 99]),
            "translated_with": st.sampled_from([None, 2, 100]),
            "refused_by": st.sampled_from([None, Unreachable(5, START, DNAT.packed, 3, 1)]),
            "misdirected": st.sampled_from([None, Misdirected(4, B, 40001)]),
        }
    ),
    st.lists(st.sampled_from([0, 1, 900_000_000, -900_000_000, -1_100_000_000]), min_size=13, max_size=13),
)
def test_any_opening(opening: Opening, fields: dict[str, object], later: list[int]) -> None:
    segments = [one._replace(time=one.time + by) for one, by in zip(opening.segments, later, strict=False)]
    check([opening._replace(segments=segments, **fields)])


def moved(opening: Opening, *, frames: int, time: int, ends: dict[Endpoint, Endpoint], isn: int) -> Opening:
    """The same with other numbers."""
    segments = [
        one._replace(
            frame=2 * one.frame + frames,
            time=one.time + time,
            source=ends[one.source],
            destination=ends[one.destination],
            seq=one.seq + isn,
            ack=one.ack + isn if one.flags & Flag.ACK else one.ack,
            options=one.options._replace(sack=tuple((left + isn, right + isn) for left, right in one.options.sack)),
        )
        for one in opening.segments
    ]
    return opening._replace(
        source=ends[opening.source],
        destination=ends[opening.destination],
        isn=(opening.isn or 0) + isn,
        first_frame=2 * opening.first_frame + frames,
        time=opening.time + time,
        segments=segments,
    )


@pytest.mark.parametrize(
    "made", [three_way, refused, self_connect, lambda: self_connect(A), lambda: self_connect(SELF6)]
)
def test_numbers_make_no_other_pattern(made: Callable[[], Opening]) -> None:
    opening = made()
    ends = {A: Endpoint.parse("10.1.2.3", 5), B: Endpoint.parse("10.1.2.4", 1), SELF: SELF._replace(port=4)}
    other = moved(opening, frames=1000, time=10**10, ends={**ends, SELF6: SELF6._replace(port=6)}, isn=77)
    assert patterns.pattern(other)[0] == patterns.pattern(opening)[0]
    check([opening, other])


def test_sequence_numbers_of_both_directions_may_be_compared() -> None:
    """Where both SYNs have one number they may be one SYN, which came back: that is not told by one direction alone."""
    one, same = simultaneous_open(), simultaneous_open(isn_b=1000)
    assert patterns.pattern(one)[0] != patterns.pattern(same)[0]


def test_options_are_the_same_with_other_time_stamps() -> None:
    stamp = b"\x08\x0a"
    layouts = (
        b"\2\4\5\xb4\4\2" + stamp + b"%b\1\3\3\7",
        b"\1\1" + stamp + b"%b",
        b"\x22\x04" + stamp + b"\1\1" + stamp + b"%b",  # a cookie that looks like the beginning of a time stamp
        stamp + bytes(8) + stamp + b"%b",
        b"\5\x0a" + stamp + bytes(6) + stamp + b"%b",
    )
    for layout in layouts:
        for numbers in ((1, 2), (0x080A0000, 0x080A), (0, 0)):
            found = options(layout % struct.pack(">II", *numbers))
            assert (found.tsval, found.tsecr, found.damage) == (*numbers, None)
    assert options(stamp + b"1234567").damage == "option 8 claims 10 octets, 9 are left"
