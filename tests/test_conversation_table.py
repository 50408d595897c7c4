"""The bounded table: a flood pushes openings out, and that is counted; a socket's connection to itself stays."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

import frames
import pytest
import writers
from oracle import judge
from sequences import ALPHABETS, capture, some
from test_conversations import as_pcap, judgement

from analysis.model import REMARKABLE, CaptureResult, Endpoint, Flag, Verdict
from analysis.reader import Analysis

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

EPOCH = 1_700_000_000 * 10**9
FLOOD = 20_000
HERE = Endpoint.parse("10.9.9.9", 50_000)


def flood(count: int, start: int = 0) -> Iterator[bytes]:
    """SYNs from *count* addresses."""
    for number in range(start, start + count):
        syn = frames.tcp(40_000, 80, Flag.SYN, 1000 + number)
        yield frames.ipv4(struct.pack(">I", 0x0B00_0000 + number), b"\xc0\0\2\1", syn, identification=number)


def itself(flags: int, seq: int, ack: int = 0) -> bytes:
    return frames.segment_packet(HERE, HERE, frames.tcp(HERE.port, HERE.port, flags, seq, ack), identification=seq)


def told(
    packets: list[bytes], *, table: int, only: Collection[Verdict] = (), collect: Collection[Verdict] = REMARKABLE
) -> CaptureResult:
    analysis = Analysis("flood", table=table, only=only, collect=collect)
    analysis.feed(writers.pcap([(EPOCH + 1000 * place, packet) for place, packet in enumerate(packets)], 101))
    return analysis.finish()


def slowly() -> list[bytes]:
    """A self-connect before, in the middle of and after a flood, and one whose SYN-ACK comes only after it."""
    step = [*flood(FLOOD)]
    syn, answer = itself(Flag.SYN, 1), itself(Flag.SYN | Flag.ACK, 1, 2)
    reset = itself(Flag.RST, 2)
    middle = [itself(Flag.SYN, 100), itself(Flag.SYN | Flag.ACK, 100, 101), itself(Flag.RST, 101)]
    last = [itself(Flag.SYN, 200), itself(Flag.SYN | Flag.ACK, 200, 201)]
    return [syn, *step[: FLOOD // 2], answer, reset, *middle, *step[FLOOD // 2 :], *last]


@pytest.mark.parametrize("only", [(), (Verdict.SELF_CONNECT,)], ids=["all verdicts", "only self-connect"])
@pytest.mark.parametrize("table", [16, 1 << 10])
def test_a_flood_pushes_no_self_connect_out(table: int, only: Collection[Verdict]) -> None:
    result = told(slowly(), table=table, only=only)
    assert result.verdicts[Verdict.SELF_CONNECT] == 3
    assert [opening.first_frame for opening in result.openings] == [1, FLOOD // 2 + 4, FLOOD + 7]


def test_what_is_pushed_out_is_counted_under_the_verdict_it_had() -> None:
    result = told([*flood(FLOOD)], table=1 << 10)
    assert result.verdicts[Verdict.UNANSWERED] == FLOOD
    assert FLOOD - (1 << 10) <= result.evicted < FLOOD


def test_nothing_is_pushed_out_of_a_table_that_is_large_enough() -> None:
    result = told([*flood(FLOOD)], table=1 << 16)
    assert (result.verdicts[Verdict.UNANSWERED], result.evicted) == (FLOOD, 0)


@pytest.mark.parametrize("alphabet", ALPHABETS, ids=str)
def test_conversations_one_after_the_other_need_but_a_small_table(alphabet) -> None:
    facts = capture(alphabet, some(alphabet, 500))
    analysis = Analysis("small", table=1 << 10, collect=frozenset(Verdict))
    analysis.feed(as_pcap((fact.time, fact.packet) for fact in facts))
    assert judgement(analysis.finish()) == judge(facts)


@pytest.mark.parametrize("alphabet", ALPHABETS, ids=str)
@pytest.mark.parametrize("verdict", Verdict)
def test_only_one_verdict_counts_the_same_and_nothing_else(alphabet, verdict: Verdict) -> None:
    facts = capture(alphabet, some(alphabet, 300))
    analysis = Analysis("only", only=(verdict,), collect=frozenset(Verdict))
    analysis.feed(as_pcap((fact.time, fact.packet) for fact in facts))
    result = analysis.finish()
    expected = [ruling for ruling in judge(facts).openings if ruling.verdict is verdict]
    assert judgement(result).openings == expected
    assert result.verdicts == {verdict: len(expected)}


def test_what_is_collected_changes_no_count() -> None:
    facts = capture(ALPHABETS[0], some(ALPHABETS[0], 300))
    data = as_pcap((fact.time, fact.packet) for fact in facts)
    results = []
    for collect in (frozenset(Verdict), REMARKABLE, frozenset[Verdict]()):
        analysis = Analysis("collect", collect=collect)
        analysis.feed(data)
        result = analysis.finish()
        assert {opening.verdict for opening in result.openings} <= collect
        results.append((result.verdicts, result.segments, result.duplicates, result.midstream))
    assert results[0] == results[1] == results[2]


def syns(count: int) -> list[bytes]:
    """A SYN to itself from each of so many ports."""
    ends = (Endpoint.parse("127.0.0.1", port) for port in range(1, count + 1))
    return [frames.segment_packet(end, end, frames.tcp(end.port, end.port, Flag.SYN, end.port)) for end in ends]


@pytest.mark.parametrize("collect", [REMARKABLE, frozenset(Verdict)], ids=["remarkable", "all"])
def test_of_many_alike_the_first_are_kept_and_all_are_counted(collect: Collection[Verdict]) -> None:
    flooded = [*syns(300), itself(Flag.SYN, 1), itself(Flag.SYN | Flag.ACK, 1, 2)]
    capture = writers.pcap([(EPOCH + 1000 * place, packet) for place, packet in enumerate(flooded)], 101)
    analysis = Analysis("flood", collect=collect, most=20)
    analysis.feed(capture)
    result = analysis.finish()
    assert (result.verdicts[Verdict.SELF_SYN], result.verdicts[Verdict.SELF_CONNECT]) == (300, 1)
    assert [opening.first_frame for opening in result.openings] == [*range(1, 21), 301]
    assert result.left_out == 280


@pytest.mark.parametrize("size", range(20, 61, 4))
def test_the_header_of_a_first_syn_is_remembered_whole(size: int) -> None:
    header = frames.tcp(40_000, 80, Flag.SYN, 1000, options=bytes(range(100, 100 + size - 20)))
    analysis = Analysis("one", collect={Verdict.UNANSWERED})
    analysis.feed(writers.pcap([(EPOCH, frames.ipv4(b"\n\0\0\1", b"\n\0\0\2", header))], 101))
    analysis.engine.finish()
    [one] = analysis.engine.table.finished
    assert [kept[3] for kept in one.kept] == [header]
