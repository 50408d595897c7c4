"""Openings come out in the order of their first frames, whatever the order in which they end; few of them are held."""

from __future__ import annotations

import json
import random
import subprocess
import sys
from functools import partial
from typing import TYPE_CHECKING

import frames
import pytest
import writers
from conftest import ROOT
from sequences import ALPHABETS, Alphabet, capture, some
from test_conversations import as_pcap

from analysis import reader
from analysis.in_order import ROOM, InOrder
from analysis.model import Flag, Verdict
from analysis.reader import Analysis

if TYPE_CHECKING:
    from pathlib import Path

    from oracle import Fact

    from analysis.model import Opening


def octets_of(facts: list[Fact]) -> bytes:
    return as_pcap((fact.time, fact.packet) for fact in facts)


class Each:
    """Takes the openings as they are called out."""

    in_order = True

    def __init__(self) -> None:
        self.openings: list[Opening] = []

    def __call__(self, _name: str, opening: Opening) -> None:
        self.openings.append(opening)


@pytest.mark.parametrize("room", [1, 16, ROOM])
@pytest.mark.parametrize("table", [16, 1 << 10])
@pytest.mark.parametrize("alphabet", ALPHABETS, ids=str)
def test_as_they_are_when_all_are_held(
    alphabet: Alphabet, table: int, room: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    octets = octets_of(capture(alphabet, some(alphabet, 100), interleaved=True))
    held = Analysis("capture", collect=frozenset(Verdict), table=table)
    held.feed(octets)
    expected = held.finish()
    monkeypatch.setattr(reader, "InOrder", partial(InOrder, room))
    each = Each()
    analysis = Analysis("capture", collect=frozenset(Verdict), table=table, each=each)
    chance = random.Random(table * room)
    while octets:
        size = chance.randint(1, 2000)
        analysis.feed(octets[:size])
        octets = octets[size:]
    result = analysis.finish()
    assert each.openings == expected.openings
    own = {opening.source for opening in expected.openings if opening.verdict is Verdict.SELF_CONNECT}
    assert result == expected._replace(openings=[], hits=own)


def refused(count: int, first: int = 0) -> list[bytes]:
    """So many attempts, each refused."""
    found = []
    for number in range(first, first + count):
        port = 1024 + number % 60_000
        found += [
            frames.ipv4(b"\x0a\0\0\1", b"\x0a\0\0\2", frames.tcp(port, 80, Flag.SYN, number), identification=1),
            frames.ipv4(b"\x0a\0\0\2", b"\x0a\0\0\1", frames.tcp(80, port, Flag.RST | Flag.ACK, 0, number + 1)),
        ]
    return found


def fed(analysis: Analysis, packets: list[bytes], portion: int) -> int:
    """Feed it in portions; return how many openings it held at the most."""
    most = 0
    analysis.feed(writers.pcap_header(101))
    for start in range(0, len(packets), portion):
        records = [
            writers.pcap_record(10**9 + at, packets[at]) for at in range(start, min(start + portion, len(packets)))
        ]
        analysis.feed(b"".join(records))
        assert analysis._order is not None
        most = max(most, len(analysis._order._waiting))
    return most


@pytest.mark.parametrize("lasting", [False, True])
def test_few_are_held(lasting: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first opening lasts to the end of the capture: all others wait for it, in the file."""
    monkeypatch.setattr(reader, "InOrder", partial(InOrder, 64))
    syn = frames.ipv4(b"\x0a\0\0\3", b"\x0a\0\0\2", frames.tcp(999, 80, Flag.SYN, 1))
    each = Each()
    analysis = Analysis("capture", collect=frozenset(Verdict), each=each)
    assert fed(analysis, [*([syn] if lasting else []), *refused(1000)], 20) < 64 + 20
    assert (len(each.openings) == 0) is lasting
    assert analysis.finish().left_out == 0
    assert len(each.openings) == 1000 + lasting
    assert [one.first_frame for one in each.openings] == sorted(one.first_frame for one in each.openings)


def test_lines_of_a_file_are_those_of_the_report(tmp_path: Path) -> None:
    """The streamed lines and those of a run that holds everything (with a witness or several processes it does)."""
    octets = octets_of(capture(ALPHABETS[0], some(ALPHABETS[0], 300), interleaved=True))
    for name in "ab":
        (tmp_path / f"{name}.pcap").write_bytes(octets)
    (tmp_path / "walk.pcap").write_bytes(writers.pcap([(10**9 + at, one) for at, one in enumerate(refused(40))], 101))
    told = [
        subprocess.run(
            [sys.executable, "-m", "analysis.cli", "--all", "--format", form, "--jobs", jobs, tmp_path],
            cwd=ROOT, stdout=subprocess.PIPE, check=True, timeout=100,
        ).stdout
        for form, jobs in (("jsonl", "1"), ("jsonl", "2"), ("json", "1"))
    ]  # fmt: skip
    assert told[0] == told[1]
    lines = [json.loads(line) for line in told[0].splitlines()]
    whole = json.loads(told[2])
    for line in lines:
        del line["schema"], line["version"]
    openings = [line for line in lines if line.pop("type", "opening") == "opening"]
    captures = lines[len(openings) :]
    assert openings == whole["openings"]
    assert captures == whole["captures"]
    assert lines[-1]["walks"]


@pytest.mark.parametrize("alphabet", ALPHABETS, ids=str)
def test_small_tables_give_the_same(alphabet: Alphabet) -> None:
    """Of a small file the tables are as small; nothing else of the result may depend on that."""
    octets = octets_of(capture(alphabet, some(alphabet, 200), interleaved=True))
    results = []
    for size in (None, len(octets)):
        analysis = Analysis("capture", collect=frozenset(Verdict), octets=size)
        analysis.feed(octets)
        results.append(analysis.finish())
    assert results[0] == results[1]


def test_a_file_that_grows_while_it_is_read_finds_room() -> None:
    """It was empty but for its head when its size was asked: what came since is more than fits the tables."""
    analysis = Analysis("capture", octets=24)
    analysis.feed(writers.pcap([(10**9 + at, one) for at, one in enumerate(refused(3000))], 101))
    result = analysis.finish()
    assert result.verdicts[Verdict.REFUSED] == 3000
    (tried,) = result.attempts
    assert tried.count == 3000
    assert len(tried.ports) == len(tried.times) <= 3000
