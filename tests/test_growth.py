"""Twice as much takes twice as long, whatever it is twice as much of: operations are counted, not seconds.

What is counted are the lines of Python that run, the engine's own among them, which is interpreted for this.
"""

from __future__ import annotations

import contextlib
import io
import random
import sys
from collections import Counter
from types import ModuleType
from typing import TYPE_CHECKING

import frames
import pytest
import writers
from conftest import ROOT
from segments import START, Talk, packets, self_connect
from test_mutants import interpreted

from analysis import cli, portwalk, reader
from analysis.engine.layout import ALL
from analysis.model import Endpoint, Opening, Verdict
from analysis.replay import replay

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import FrameType

RAW = 101
#: From twice to four times as much, the lines that are added may grow by this; of what is quadratic it would be four.
MOST = 2.6


def lines(work: Callable[[], object]) -> int:
    """How many lines of Python run."""
    count = 0

    def trace(_frame: FrameType, event: str, _argument: object) -> object:
        nonlocal count
        count += event == "line"
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def grows_evenly(work: Callable[[int], Callable[[], object]], least: int) -> None:
    """Whether what *work* makes of so much takes as many lines more for the same more."""
    work(least)()  # what is imported and remembered once
    one, two, four = (lines(work(times * least)) for times in (1, 2, 4))
    assert four - two <= MOST * (two - one), (one, two, four)


# -- captures in every view --------------------------------------------------------------------------------------------


def selves(times: int) -> bytes:
    """Sockets that connect to themselves."""
    ends = (Endpoint.parse("127.0.0.1", 1024 + number) for number in range(times))
    openings = (packets(self_connect(end).segments) for end in ends)
    return writers.pcap(
        [(time + n * 10**7, packet) for n, opening in enumerate(openings) for time, packet in opening], RAW
    )


def refused(times: int, destinations: int, *, jumps: bool = False) -> bytes:
    """Attempts at several destinations, that step on evenly, or jump after a while."""
    chance, records, time = random.Random(1), [], START
    for attempt in range(times):
        port = 32768 + (chance.randrange(28_000) if jumps and attempt > 32 else attempt * 2 % 28_000)
        for number in range(destinations):
            one, other = Endpoint.parse("10.0.0.1", port), Endpoint.parse(f"10.1.{number >> 8}.{number & 255}", 80)
            time += 10**6
            for sender, target, flags, ack in ((one, other, 2, 0), (other, one, 0x14, attempt + 1)):
                segment = frames.tcp(sender.port, target.port, flags, 0 if ack else attempt, ack)
                records.append((time, frames.segment_packet(sender, target, segment)))
    return writers.pcap(records, RAW)


def reused(times: int) -> bytes:
    """Openings of one 4-tuple."""
    records = []
    for number in range(times):
        talk = Talk(isn_a=1000 + number * 100_000, isn_b=7000 + number * 100_000)
        records += packets(talk.a("S").b("S.", 0, 1).a(".", 1, 1).a("R", 1).segments)
    return writers.pcap([(START + place * 10**8, packet) for place, (_, packet) in enumerate(records)], RAW)


def sections(times: int) -> bytes:
    """Sections of a pcapng file, with an interface each."""
    blocks = [writers.section(), writers.interface(RAW)]
    blocks += [writers.enhanced(1000, packet) for _, packet in packets(self_connect().segments)]
    return b"".join(blocks) * times


CAPTURES: dict[str, Callable[[int], bytes]] = {
    "self-connects": selves,
    "a walk": lambda times: refused(times, 1),
    "jumps": lambda times: refused(times, 1, jumps=True),
    "destinations": lambda times: refused(17, times),
    "openings of one 4-tuple": reused,
    "sections": sections,
}


@pytest.fixture(autouse=True)
def _interpreted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "Engine", interpreted().Engine)


def analyzing(*words: str) -> None:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        cli.main([*words, "--jobs", "1"])


@pytest.mark.long
@pytest.mark.parametrize("form", ["table", "json", "markdown", "mermaid", "html"])
@pytest.mark.parametrize("name", CAPTURES)
def test_what_a_capture_holds(name: str, form: str, tmp_path: Path) -> None:
    def work(times: int) -> Callable[[], object]:
        path = tmp_path / f"{times}.pcap"
        path.write_bytes(CAPTURES[name](times))
        return lambda: analyzing("--all", "--format", form, str(path))

    grows_evenly(work, 40)


@pytest.mark.long
@pytest.mark.parametrize("words", [("--format", "table"), ("--format", "json"), ("--rotated",)])
def test_what_a_folder_holds(words: tuple[str, ...], tmp_path: Path) -> None:
    def work(times: int) -> Callable[[], object]:
        folder = tmp_path / str(times)
        folder.mkdir(exist_ok=True)
        for number in range(times):
            records = [(time + number * 10**10, packet) for time, packet in packets(self_connect().segments)]
            (folder / f"{number:05}.pcap").write_bytes(writers.pcap(records, RAW))
        return lambda: analyzing(*words, str(folder))

    grows_evenly(work, 10)


# -- what is chosen to be slow -----------------------------------------------------------------------------------------


def test_jumps_of_a_walk_by_no_clock() -> None:
    def work(jumps: int) -> Callable[[], object]:
        times = [number * 0.002 for number in range(jumps)]
        return lambda: portwalk._salted(times, range(1, jumps))

    grows_evenly(work, 250)


def test_no_addresses_share_a_place_of_the_index() -> None:
    """Of IPv6 addresses that differ in their upper bits alone, and of others, as many places as of random ones."""
    package = interpreted()
    path = ROOT / "analysis" / "engine" / "index.py"
    index_as_written = ModuleType(f"{package.__name__}.index")
    index_as_written.__package__ = package.__name__
    exec(compile(path.read_text(), path, "exec"), index_as_written.__dict__)
    segment = package.layout.Segment()
    chance = random.Random(1)
    for make in (
        lambda number: (number << 51, 0),
        lambda number: (0, number << 51),
        lambda number: (number << 32, number),
        lambda number: (number << 51, number << 51),
        lambda _: (chance.getrandbits(64), chance.getrandbits(64)),
    ):
        for end in ("a", "b"):
            index = index_as_written.Index(16_384)
            places: Counter[int] = Counter()
            for number in range(1, 4097):
                segment.six, segment.a_high, segment.a_low, segment.b_high, segment.b_low = 1, 0, 1, 0, 2
                segment.a_port, segment.b_port = 40_000, 80
                high, low = make(number)
                setattr(segment, f"{end}_high", high)
                setattr(segment, f"{end}_low", low)
                places[index.digest_tuple(segment) >> 32 & 0xFFFF] += 1
            assert len(places) > 3700  # of random ones 3,970 on average
            assert max(places.values()) < 12


# -- one opening -------------------------------------------------------------------------------------------------------


def sent_by_turns(*kinds: str, verdict: Verdict) -> Callable[[int], Opening]:
    """Openings of so many segments, by both ends in turns, each with numbers of its own where they are to differ."""

    def made(count: int) -> Opening:
        talk = Talk()
        talk.a("S").b("S").a("S.", 0, 1)
        for number in range(count):
            kind = kinds[number % len(kinds)]
            (talk.a if number % 2 else talk.b)(kind, 0 if "S" in kind else number, 1)
        return talk.opening(verdict)

    return made


def rivals(count: int) -> Opening:
    """One SYN, and SYN-ACKs that all differ."""
    talk = Talk().a("S")
    for number in range(count):
        talk.b("S.", 1000 * number, 1)
    return talk.opening(Verdict.HALF_OPEN)


@pytest.mark.parametrize(
    "made",
    [
        sent_by_turns("S", verdict=Verdict.CROSSED_UNANSWERED),
        sent_by_turns("F.", verdict=Verdict.THREE_WAY),
        sent_by_turns("S", "S.", "F.", ".", "SF", verdict=Verdict.ODD),
        sent_by_turns("R", verdict=Verdict.THREE_WAY),
        rivals,
    ],
    ids=["SYNs", "FINs", "all kinds", "RSTs", "rivals"],
)
def test_the_segments_of_one_opening(made: Callable[[int], Opening]) -> None:
    """At most ALL are kept, and some have to be compared with each other: 6,000 lines for each, and no more."""
    assert lines(lambda: replay(made(ALL - 4))) < 6000 * ALL
