"""Parts of a capture, merged: the report of the whole, however it is cut and in whatever order it is merged."""

from __future__ import annotations

import pickle
import random
import signal
import struct
import subprocess
import sys
import threading
import time
from functools import reduce
from typing import TYPE_CHECKING, Any

import frames
import pytest
import segments
import writers
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from sequences import ALPHABETS, capture

from analysis import engine, partial, ranges
from analysis import parallel as parts
from analysis.cli import main
from analysis.engine import layout
from analysis.formats import compression as unpack
from analysis.model import REMARKABLE, Damage, Verdict
from analysis.reader import Analysis, analyze, analyze_set

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from sequences import Alphabet

    from analysis.model import CaptureResult, Octets

RAW = 101
NEAR = engine.NEAR

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


def tree(made: list[partial.Part], chance: random.Random) -> partial.Part:
    """The parts merged in an order of chance; each has been to another process and back."""
    while len(made) > 1:
        at = chance.randrange(len(made) - 1)
        made[at : at + 2] = [pickle.loads(pickle.dumps(partial.merge(made[at], made[at + 1])))]
    return made[0]


def traffic(chance: random.Random, conversations: int, alphabets: Sequence[Alphabet] | None = None) -> list[Record]:
    """Conversations of all alphabets, interleaved, on few addresses: tuples come again, ports are refused."""
    facts = []
    for alphabet in alphabets or chance.sample(ALPHABETS, 2):
        names = list(alphabet.events)
        sequences = [tuple(chance.choices(names, k=chance.randint(1, 9))) for _ in range(conversations)]
        facts += capture(alphabet, sequences, interleaved=chance.random() < 0.7)
    facts.sort(key=lambda fact: fact.time)
    return [(fact.time, fact.packet) for fact in facts]


def compare(files: list[bytes], asked: dict[str, Any], chance: random.Random) -> bool:
    """Whether the parts were sure of the result, which is that of the whole then."""
    expected = reference(files, asked)
    made = [partial.part([data], **asked) for data in files]
    merged = tree(list(made), chance)
    result = partial.result(merged)
    assert result.unsure or result == expected
    whole = partial.Whole(**asked)
    for one in made:
        whole.add(one)
    assert whole.unsure or whole.result() == expected
    return not result.unsure and not whole.unsure


@pytest.mark.long
@settings(max_examples=500)
@given(seed=st.integers(0, 2**32), conversations=st.integers(1, 6), cuts=st.lists(st.floats(0, 1), max_size=5))
def test_any_cut_and_any_order_of_merging(seed, conversations, cuts):
    cut_and_merge(seed, conversations, cuts)


@pytest.mark.long
def test_parts_are_hardly_ever_unsure():
    chance = random.Random(9293)
    sure = [cut_and_merge(seed, chance.randint(1, 4), [chance.random() for _ in range(3)]) for seed in range(200)]
    assert sure.count(False) <= 10


def cut_and_merge(seed: int, conversations: int, cuts: Sequence[float]) -> bool:
    """Cut the traffic of a seed, and compare; whether the parts were sure."""
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
    return compare(files, chance.choice(ASKED), chance)


#: A question for which the compiled engine reads a file in threads.
TO_ITSELF = {"only": frozenset({Verdict.SELF_CONNECT})}


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Small files, too, are worth processes of their own (or threads, for who says COMPILED), and have many blocks."""
    monkeypatch.setattr(unpack, "READ", 4096)
    monkeypatch.setattr(parts, "LARGE", 0)
    monkeypatch.setattr(parts, "COMPILED", False)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("jobs", [2, 3])
@pytest.mark.parametrize(("threads", "asked"), [(False, {"collect": frozenset(Verdict)}), (True, TO_ITSELF)])
def test_a_file_in_ranges(tmp_path, monkeypatch, jobs, threads, asked):
    monkeypatch.setattr(parts, "COMPILED", threads)
    records = traffic(random.Random(jobs), 400, [one for one in ALPHABETS if one.name in ("self", "pair")])
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap(records) + b"cut")
    octets: list[int] = []
    found = parts.analyze_parts([str(path)], jobs, progress=octets.append, **asked)
    assert found
    assert found == analyze(str(path), **asked)  # type: ignore[arg-type]  # of two kinds
    assert found.verdicts[Verdict.SELF_CONNECT]
    assert found.damage
    assert path.stat().st_size - 50 < sum(octets) <= path.stat().st_size
    assert parts.analyze_parts([str(path)], 1, **asked) is None


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("unread", [(), (0,), (2,), (1, 3), (0, 1, 2, 3)], ids=str)
def test_what_others_found_is_put_together(tmp_path, unread):
    """As a cluster does it: what a worker found travels; where it could not, who puts it together reads it."""
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap(traffic(random.Random(2), 2000, [one for one in ALPHABETS if one.name == "self"])))
    asked: dict[str, Any] = {"collect": REMARKABLE}
    tasks = parts.cut([str(path)], 4, asked)
    assert len(tasks) == 4
    found = [
        parts._UNFIT if number in unread else parts.find(task, number == 3, asked) for number, task in enumerate(tasks)
    ]
    assert parts.merged(tasks, pickle.loads(pickle.dumps(found)), **asked) == analyze(str(path), **asked)
    path.unlink()
    assert (parts.merged(tasks, found, **asked) is None) == bool(unread)
    assert parts.cut([str(path)], 4, asked) == []
    if unread:
        assert parts.find(tasks[1], False, asked) == parts._UNFIT


@pytest.mark.usefixtures("small")
def test_what_was_found_does_not_fit_the_memory(tmp_path, monkeypatch):
    """Then it is to be read by who puts the parts together."""
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap(traffic(random.Random(2), 40)))
    tasks = parts.cut([str(path)], 2, {})
    assert parts.find(tasks[1], True, {})[0]

    def lacking(*_: object) -> partial.Part:
        raise MemoryError

    monkeypatch.setattr(partial, "exported", lacking)
    assert parts.find(tasks[1], True, {}) == parts._UNFIT


@pytest.mark.usefixtures("small")
def test_a_thread_that_ends_early(tmp_path, monkeypatch):
    """Ctrl-C in the first part ends the others, too; where one died the capture is to be read in one go."""
    monkeypatch.setattr(parts, "COMPILED", True)
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap(traffic(random.Random(7), 400)))
    blocks: list[int] = []
    others = set(threading.enumerate())

    def interrupt(octets: int) -> None:
        blocks.append(octets)
        if len(blocks) == 2:
            raise KeyboardInterrupt

    found = parts.analyze_parts([str(path)], 2, progress=interrupt, **TO_ITSELF)
    assert found
    assert found.damage == Damage(found.damage.offset, "interrupted")
    assert len(blocks) == 2
    assert not set(threading.enumerate()) - others


def test_the_command_reads_a_large_file_in_ranges(tmp_path, capsys, monkeypatch):
    """Or in one go, with --jobs 1; what it says is the same."""
    records = traffic(random.Random(2), 400, [one for one in ALPHABETS if one.name in ("self", "pair")])
    path = tmp_path / "a.pcap"
    filler = frames.ipv4(bytes(4), bytes(4), bytes(20_000), frames.UDP)
    filled = [one for record in records for one in (record, (record[0], filler))]
    path.write_bytes(pcap(filled))
    assert path.stat().st_size > parts.LARGE
    used: list[bool] = []
    original = parts._put_together

    def put_together(*what: Any) -> CaptureResult | None:
        used.append(True)
        return original(*what)

    monkeypatch.setattr(parts, "_put_together", put_together)
    said = []
    for jobs in ("1", "2", "3"):
        assert main(["--only", "self-connect", "--jobs", jobs, str(path)]) == 0
        said.append(capsys.readouterr().out)
    assert used == [True, True]
    assert said[1:] == said[:1] * 2


@pytest.mark.usefixtures("small")
def test_ctrl_c_while_others_are_waited_for(tmp_path, monkeypatch):
    """What they have read is kept, and follows the first range without a gap."""
    monkeypatch.setattr(parts, "COMPILED", True)
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap(traffic(random.Random(7), 400)))
    first = threading.get_ident()
    original = parts.octets

    def waiting(past: int) -> int:
        """The line, beyond *past*, at which the first thread waits in ask()."""
        last = 0
        for _ in range(500):
            frame = sys._current_frames()[first]
            line = frame.f_lineno if frame.f_code.co_name == "ask" else 0
            if line == last > past:
                return line
            last = line
            time.sleep(0.02)
        raise TimeoutError

    def slow(one: ranges.Range) -> Iterator[Octets]:
        blocks = original(one)
        if threading.get_ident() != first:
            for _ in range(4):
                yield next(blocks)
            line = waiting(0)
            signal.pthread_kill(first, signal.SIGALRM)
            waiting(line + 2)  # it has heard, and waits once more
        yield from blocks

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(parts, "octets", slow)
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        found = parts.analyze_parts([str(path)], 2, **TO_ITSELF)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert found
    assert found.damage
    assert found.damage.reason == "interrupted"
    assert ranges.ranges(str(path), 2)[1].start < found.damage.offset < path.stat().st_size
    whole = reference([path.read_bytes()[: found.damage.offset]], TO_ITSELF)
    assert (found.packets, found.verdicts, found.openings) == (whole.packets, whole.verdicts, whole.openings)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("threads", [False, True])
@pytest.mark.parametrize("where", ["beginnings", "first", "second"])
def test_what_cannot_be_read_is_left_to_one_go(tmp_path, monkeypatch, capfd, threads, where):
    monkeypatch.setattr(parts, "COMPILED", threads)
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap(traffic(random.Random(7), 400)))
    original = parts.octets

    def failing(one: ranges.Range) -> Iterator[Octets]:
        yield next(original(one))
        if (where == "second") == (one.start > one.header):
            raise OSError
        yield from original(one)

    def closed(*_: object) -> None:
        raise PermissionError

    monkeypatch.setattr(parts, *(("ranges", closed) if where == "beginnings" else ("octets", failing)))
    assert parts.analyze_parts([str(path)], 2, **TO_ITSELF) is None
    if threads:  # a process that dies says so
        assert capfd.readouterr().err == ""


@pytest.mark.long
def test_what_a_file_can_have_logged_is_bounded():
    """SYNs of one 4-tuple with one ISN: what each of them is depends on what came before the part."""
    ((time, octets),) = segments.packets(segments.self_connect().segments[:1])
    frame = octets[14:] if octets[12:14] == b"\x08\x00" else octets
    step = 2_000_000  # too long after each other for copies
    records = [(time + step * number, frame) for number in range((1 << 19) + 10)]
    found = partial.part([pcap(records)], **TO_ITSELF)
    assert found.logged == 1 << 19
    assert found.unsure


@pytest.mark.usefixtures("small")
def test_a_set_in_groups(tmp_path):
    records = traffic(random.Random(3), 400)
    names = [str(tmp_path / f"{number}.pcap") for number in range(5)]
    for number, name in enumerate(names):
        data = pcap(records[number * len(records) // 5 : (number + 1) * len(records) // 5])
        with open(name, "wb") as file:  # noqa: PTH123
            file.write(b"none" if number == 3 else data[:-1] if number == 1 else data)
    told: list[tuple[list[str], object]] = []
    for function, more in ((parts.analyze_parts, (3,)), (analyze_set, ())):
        refused: list[str] = []
        result = function(names, *more, refused=lambda error, _path, to=refused: to.append(str(error)))
        told.append((refused, result))
    assert told[0] == told[1]
    assert len(told[0][0]) == 1


def test_groups_of_about_one_size(tmp_path):
    """Where the size of a file is not known, it counts as the average of the others."""
    there = tmp_path / "there"
    there.write_bytes(bytes(1000))
    for path in ("http://127.0.0.1/a", str(tmp_path / "missing"), str(there)):
        assert list(map(len, ranges.groups([path] * 6, 3))) == [2, 2, 2], path
    mixed = ["http://127.0.0.1/a"] * 5 + [str(there)]
    assert list(map(len, ranges.groups(mixed, 3))) == [2, 2, 2]
    assert ranges.groups([str(tmp_path / "missing")], 2) == [[ranges.Range(str(tmp_path / "missing"))]]


@pytest.mark.usefixtures("small")
def test_a_part_is_named_as_it_may_be_shown(tmp_path):
    path = tmp_path / "a#b.pcap"
    path.write_bytes(pcap(traffic(random.Random(3), 40)))
    (piece,) = partial.part(path.as_uri().replace("%23", "#")).pieces
    assert piece.name == f"file://{tmp_path}/a#..."


@pytest.mark.usefixtures("small")
def test_a_false_beginning_is_noticed(tmp_path):
    """A capture of captures: what follows the cut looks like records, and lies inside one."""
    inner = pcap([(10**18 + number, b"E" * 60) for number in range(800)])[24:]
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap([(10**18, inner), (10**18, b"E" * 60)]))
    assert len(ranges.ranges(str(path), 2)) == 2
    assert parts.analyze_parts([str(path)], 2) is None


KILLED = """
import os, signal, sys
from analysis import parallel as parts
parts.LARGE, parts.COMPILED = 0, False
def begun(octets):  # by the first process; the other's findings do not fit a pipe, and nobody will read them
    os.kill(os.getpid(), signal.SIGKILL)
parts.analyze_parts(sys.argv[1:], 2, progress=begun)
"""


@pytest.mark.long
def test_who_works_for_nobody_ends(tmp_path):
    """Standard output is at its end when all who hold it have ended."""
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap(traffic(random.Random(7), 4000)))
    run = subprocess.run([sys.executable, "-c", KILLED, str(path)], stdout=subprocess.PIPE, timeout=20, check=False)
    assert run.returncode == -signal.SIGKILL


PADDING = [(10**18, b"\x00")] * NEAR


def test_a_full_table_is_unsure():
    records = PADDING + traffic(random.Random(5), 40)
    assert partial.part([pcap(records)], table=16).unsure
    assert not partial.part([pcap(records)]).unsure


@pytest.mark.parametrize(("third", "unsure"), [("ACK", False), ("their ACK", True)])
@pytest.mark.parametrize("collect", [REMARKABLE, frozenset(Verdict)])
def test_of_many_plain_segments_few_are_logged(third, unsure, collect):
    """They are counted; where the ACK that completes a handshake may be among them, that is said."""
    (pair,) = (alphabet for alphabet in ALPHABETS if alphabet.name == "pair")
    names = ("SYN", "SYN-ACK", third, *["their ACK"] * 200, "ACK", "FIN", "their FIN", "SYN", "their RST")
    records = [(fact.time, fact.packet) for fact in capture(pair, [names])]
    files = [pcap(records[:2]), pcap(PADDING + records[2:100]), pcap(PADDING + records[100:])]
    asked = {"collect": collect}
    made = [partial.part([data], **asked) for data in files]
    assert made[1].logged < 70
    for merged in (partial.merge(partial.merge(*made[:2]), made[2]), partial.merge(made[0], partial.merge(*made[1:]))):
        found = partial.result(merged)
        assert found.unsure is unsure
        if not unsure:
            assert found == reference(files, asked)


def pcapng(records: list[Record], *more: bytes) -> bytes:
    """A pcapng file of one section; *more* are blocks at its end."""
    return writers.pcapng(records, RAW) + b"".join(more)


def dropped(count: int) -> bytes:
    """An interface statistics block."""
    return writers.block(5, struct.pack("<III", 0, 0, 0) + writers.option(5, struct.pack("<Q", count)))


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("threads", [False, True])
@pytest.mark.parametrize("jobs", [2, 3])
def test_a_pcapng_file_in_ranges(tmp_path, monkeypatch, threads, jobs):
    """All verdicts of it; what the recorder dropped stands at its end."""
    monkeypatch.setattr(parts, "COMPILED", threads)
    records = traffic(random.Random(jobs), 400, [one for one in ALPHABETS if one.name in ("self", "pair")])
    path = tmp_path / "a.pcapng"
    path.write_bytes(pcapng(records, dropped(7)) + b"cut")
    assert len(ranges.ranges(str(path), jobs)) == jobs
    found = parts.analyze_parts([str(path)], jobs)
    assert found
    assert found == analyze(str(path))
    assert (found.recorded_drops, found.verdicts[Verdict.SELF_CONNECT] > 0) == (7, True)
    assert found.damage
    assert found.damage.offset == path.stat().st_size - 3


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("between", ["a section", "an interface", "an empty section", "drops"])
def test_what_a_pcapng_file_says_in_its_middle(tmp_path, between):
    """Ranges after it cannot be read by themselves: nobody knows then what they follow."""
    records = traffic(random.Random(4), 200)
    middle = {
        "a section": writers.section() + writers.interface(RAW, resolution=9),
        "an interface": writers.interface(RAW, resolution=9),
        "an empty section": writers.section(),
        "drops": dropped(3),
    }[between]
    third = len(records) // 3
    header = writers.section() + writers.interface(RAW, resolution=9)
    octets = [writers.enhanced(time, frame) for time, frame in records]
    path = tmp_path / "a.pcapng"
    path.write_bytes(header + b"".join((*octets[:third], middle, *octets[third:], dropped(5))))
    assert len(ranges.ranges(str(path), 2)) == 2
    assert parts.analyze_parts([str(path)], 2) is None
    assert analyze(str(path)).packets == len(records) if between != "an empty section" else True


def handshakes(numbers: Sequence[int], then: Sequence[str] = ("FIN", "their FIN")) -> list[Record]:
    """Conversations, one after the other, each of which ends."""
    (pair,) = (alphabet for alphabet in ALPHABETS if alphabet.name == "pair")
    sequences = [("SYN", "SYN-ACK", "ACK", *then) if number in numbers else () for number in range(max(numbers) + 1)]
    return [(fact.time, fact.packet) for fact in capture(pair, sequences)]


@pytest.mark.parametrize("again", [(), (3, 4), (70,)])
def test_more_conversations_than_the_table_holds(again):
    """Each part holds them, both together do not: merging puts out the same ones as one go does."""
    records = handshakes(range(100))
    late = handshakes(again, ("ACK",)) if again else []
    moved = [(time + 4000 * 10**9, frame) for time, frame in late]
    files = [pcap(records[:250]), pcap([(records[250][0], b"\0")] * NEAR + records[250:] + moved)]
    asked = {"table": 60}
    expected = reference(files, asked)
    whole = partial.Whole(**asked)
    for data in files:
        whole.add(partial.part([data], **asked))
    assert not whole.unsure
    assert whole.result() == expected
    assert expected.verdicts[Verdict.THREE_WAY] == 100 + len(again)
    assert partial.result(partial.merge(*(partial.part([data], **asked) for data in files))).unsure


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("threads", [False, True])
def test_what_a_part_cannot_hold_is_read_by_the_first_process(tmp_path, monkeypatch, threads):
    """A flood fills the table of every part. No octet of it is read by the first process twice."""
    monkeypatch.setattr(parts, "COMPILED", threads)
    path = tmp_path / "a.pcap"
    (pair,) = (alphabet for alphabet in ALPHABETS if alphabet.name == "pair")
    path.write_bytes(pcap([(fact.time, fact.packet) for fact in capture(pair, [("SYN",)] * 1200)]))
    octets: list[int] = []
    found = parts.analyze_parts([str(path)], 3, progress=octets.append, table=32)
    assert found
    assert found == analyze(str(path), table=32)
    assert found.evicted
    assert path.stat().st_size - 50 < sum(octets) <= path.stat().st_size


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(("asked", "flood"), [({"table": 32}, True), ({"table": 4096}, False), (TO_ITSELF, False)])
def test_a_flood_is_not_read_in_parts(tmp_path, monkeypatch, asked, flood):
    """Its beginning fills the table: each part would have one of its own, and be read again."""
    monkeypatch.setattr(parts, "COMPILED", True)
    monkeypatch.setattr(parts, "BLOCK", 1024)
    path = tmp_path / "a.pcap"
    (pair,) = (alphabet for alphabet in ALPHABETS if alphabet.name == "pair")
    path.write_bytes(pcap([(fact.time, fact.packet) for fact in capture(pair, [("SYN",)] * 1200)]))
    found = parts.analyze_parts([str(path)], 2, **asked)
    assert (found is None) is flood
    assert flood or found == analyze(str(path), **asked)


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize(
    ("ports", "table", "filled"),
    [
        (range(4000), 4200, False),
        (range(4000), 3900, True),
        ([port for port in range(4000) for _ in range(5)], 3500, True),  # ordinary traffic, for long enough
        ([port % 60 for port in range(4000)], 100, False),  # a walk that begins with new ports alone
    ],
    ids=["it has room", "it has not", "in the end", "at first"],
)
def test_whether_the_table_will_be_filled_is_told_by_the_beginning(tmp_path, monkeypatch, ports, table, filled):
    monkeypatch.setattr(parts, "COMPILED", True)
    monkeypatch.setattr(parts, "BLOCK", 1024)
    path = tmp_path / "a.pcap"
    path.write_bytes(pcap(handshakes(ports, ())))
    assert parts._fills_table(ranges.ranges(str(path), 2), {"table": table}) is filled


@pytest.mark.long
@pytest.mark.parametrize("retried", [False, True])
def test_conversations_that_begin_in_a_part_are_not_logged(tmp_path, monkeypatch, retried):
    """After 65,536 entries. A SYN that is repeated there belongs to the part before: the part does not fit."""
    sure = 1 << 16
    records = handshakes(range(40_000), ["ACK"] * 3)
    first = handshakes([50_000], ())[:1]
    late = [(records[-1][0], first[0][1])] if retried else []
    files = [pcap(first), pcap([(records[0][0], b"\0")] * NEAR + records + late)]
    made = [partial.part([data]) for data in files]
    assert sure + 20_000 < made[1].logged < sure + 40_000
    whole = partial.Whole()
    whole.add(made[0])
    analysis = Analysis("")
    analysis.engine.begin_part(False)
    partial.absorb(analysis, made[0])
    assert partial.fits(analysis, made[1]) is not retried
    whole.add(made[1])
    assert whole.unsure is retried
    if not retried:
        assert whole.result() == reference(files, {})
    monkeypatch.setattr(parts, "LARGE", 0)
    monkeypatch.setattr(parts, "groups", lambda paths, _: [[ranges.Range(path)] for path in paths])
    paths = [str(tmp_path / f"{number}.pcap") for number in range(2)]
    for path, data in zip(paths, files, strict=True):
        with open(path, "wb") as file:  # noqa: PTH123
            file.write(data)
    assert parts.analyze_parts(paths, 2) == analyze_set(paths)


@pytest.mark.parametrize("isn", [7, 8])
def test_the_other_side_of_a_translation_is_in_the_part_before(isn):
    """It is over before its own part is, so that only its SYN in the log tells."""

    def packet(server: int, flags: int, seq: int) -> bytes:
        ends = bytes((10, 0, 0, 1)), bytes((10, 0, 0, server))
        if flags & 4:
            return frames.ipv4(*ends[::-1], frames.tcp(80, 40_000, flags, 0, seq + 1))
        return frames.ipv4(*ends, frames.tcp(40_000, 80, flags, seq))

    start = 10**18
    first = [(start, packet(2, 2, 7))]
    later = [packet(3, 2, number) for number in (1, 2, isn)] + [packet(3, 0x14, isn)]
    second = [(start, b"\0")] * NEAR + [(start + 1000 * number, one) for number, one in enumerate(later, 1)]
    files = [pcap(first), pcap([]), pcap(second)]
    expected = reference(files, {})
    assert expected.translated == (isn == 7)
    one, nothing, other = (partial.part([data]) for data in files)
    whole = partial.Whole()
    for made in (one, nothing, other):
        whole.add(made)
    assert whole.unsure is (isn == 7)
    assert whole.unsure or whole.result() == expected
    merged = partial.result(partial.merge(one, partial.merge(nothing, other)))
    assert merged.unsure is (isn == 7)
    assert merged.unsure or merged == expected


def between(client: int, server: int, flags: int, seq: int, ack: int = 0) -> bytes:
    """A segment between port *client* of 10.0.0.1 and port 80 of 10.0.0.*server*, which sends it if it has an ACK."""
    ends = bytes((10, 0, 0, 1)), bytes((10, 0, 0, server))
    if flags & 0x10:
        return frames.ipv4(*ends[::-1], frames.tcp(80, client, flags, seq, ack))
    return frames.ipv4(*ends, frames.tcp(client, 80, flags, seq))


def after_padding(packets: Iterable[bytes]) -> bytes:
    """A file with these packets, a microsecond apart, after all those that may be copies of what came before."""
    return pcap(PADDING + [(10**18 + 1000 * number, packet) for number, packet in enumerate(packets, 1)])


def in_any_order(files: list[bytes], asked: dict[str, Any]) -> Iterator[CaptureResult]:
    """The result of three parts, merged first to last, and last to first."""
    one, two, three = (partial.part([data], **asked) for data in files)
    yield partial.result(partial.merge(partial.merge(one, two), three))
    yield partial.result(partial.merge(one, partial.merge(two, three)))


@pytest.mark.parametrize("before", [0, 1])
@pytest.mark.parametrize("astray", [(), (3,), (4,), (5,), (3, 4, 5), (4, 4, 5), (1, 5)])
def test_what_went_to_another_port_before_an_opening_ended(astray, before):
    """An opening begins and ends in a part that cannot know that a segment to another port of its client is no answer.

    *astray* are the places among the SYNs of one 4-tuple before which such a segment comes, *before* how many of the
    first part. The SYN at place 3 ends an opening, and begins the one that the one at place 5 ends.
    """
    made = []
    for place, isn in enumerate((1, 2, 3, 7, 7, 8)):
        made += [between(40_001, 2, 0x12, 100 + place, 8) for each in astray if each == place]
        made.append(between(40_000, 2, 2, isn))
    first = [(10**18, between(40_001, 2, 2, 50))] * before
    files = [pcap(first), after_padding(()), after_padding(made)]
    asked = {"collect": frozenset(Verdict)}
    expected = reference(files, asked)
    frame = 2 * NEAR + before
    (opening,) = (one for one in expected.openings if one.isn == 7)
    assert opening.first_frame == frame + 4 + sum(each <= 3 for each in astray)
    told = [frame + place + number for number, place in enumerate(astray, 1) if place > 3]
    assert (opening.misdirected and opening.misdirected.frame) == (told[-1] if told else None)
    for result in in_any_order(files, asked):
        assert not result.unsure
        assert result == expected


def of_one_set(count: int) -> list[int]:
    """Ports of 10.0.0.1 whose openings share a set of two places in the search for answers (answers.py)."""
    ports: dict[int, list[int]] = {}
    for port in range(1024, 65_536):
        h = ((0x0A000001 ^ layout.MIX2) * layout.MIX1) & layout.LOW64
        h = ((h ^ h >> 32 ^ port) * layout.MIX2) & layout.LOW64
        alike = ports.setdefault(h & (layout.ORIGINS - 1), [])
        alike.append(port)
        if len(alike) == count:
            return alike
    raise LookupError


@pytest.mark.parametrize("apart", [False, True])
@pytest.mark.parametrize("order", ["abc", "acb", "cab"])
@pytest.mark.parametrize("again", [False, True])
@pytest.mark.parametrize(
    ("fourth", "answered"), [("no", "bc"), ("new", "cd"), ("repeated", "bc"), ("repeated between", "bc")]
)
def test_of_the_openings_in_a_set_the_last_two_are_answered_from_elsewhere(apart, order, again, fourth, answered):
    """Which these are does not go by which 4-tuple came first in the part, nor by a SYN that begins no opening."""
    clients = dict(zip("abcd", of_one_set(4), strict=True))
    fresh = [between(clients[name], 2, 2, isn) for isn in (1, 7) for name in order]
    fresh += [between(clients[name], 2, 2, 8) for name in "cb" if again]
    *syns, last = (between(clients[name], 2, 2, 9) for name in "abc")
    other = [between(clients["d"], 2, 2, 9)] * (fourth != "no")
    syns += [*other, last] if fourth == "repeated between" else [last, *other]
    first = other if fourth.startswith("repeated") else []
    answers = [between(clients[name], 3, 0x12, 100, 10) for name in "abcd"]
    middle = [fresh, syns] if apart else [fresh + syns]
    files = [pcap([(10**18, one) for one in first]), *map(after_padding, middle), after_padding(answers)]
    asked = {"collect": frozenset(Verdict)}
    expected = reference(files, asked)
    ports = {one.source.port for one in expected.openings if one.answered_by}
    assert {name for name, port in clients.items() if port in ports} == set(answered)
    one, *others, answered_in = (partial.part([data], **asked) for data in files)
    whole = partial.Whole(**asked)
    for made in (one, reduce(partial.merge, others), answered_in):
        whole.add(made)
    assert not whole.unsure
    assert whole.result() == expected


@pytest.mark.long
@pytest.mark.parametrize("each", [1000, 33_000])
def test_more_icmp_errors_than_are_remembered_at_one_time(each):
    """65,536: fewer than that in each part, and more in both together."""
    router = bytes((10, 0, 0, 9))
    files = []
    for server in (2, 3):
        syns = [
            [between(port, server, 2, isn) for isn in (server, server + 7)] for port in range(20_000, 20_000 + each)
        ]
        made = [one for pair in syns for one in pair]
        made += [frames.unreachable(router, bytes((10, 0, 0, 1)), quoted) for _, quoted in syns]
        files.append(after_padding(made))
    expected = reference(files, {})
    assert expected.verdicts[Verdict.REFUSED] == min(2 * each, 65_536)
    whole = partial.Whole()
    for data in files:
        whole.add(partial.part([data]))
    assert whole.unsure is (each > 1000)
    assert (whole.result() == expected) is not whole.unsure


@pytest.mark.long
@pytest.mark.parametrize("each", [1000, 33_000])
def test_more_openings_than_are_kept_at_one_time(each):
    """65,536: fewer than that in each part, and more in both together."""
    start, server = 10**18, bytes((10, 200, 0, 1))
    clients = [struct.pack(">BBH", 10, number >> 16, number & 0xFFFF) for number in range(2 * each)]
    syns = [frames.ipv4(one, server, frames.tcp(40_000, 80, 2, 7)) for one in clients]
    answers = [frames.ipv4(server, one, frames.tcp(80, 40_000, 0x12, 9, 8)) for one in clients]
    records = [(start + 1000 * number, packet) for number, packet in enumerate(syns + answers)]
    files = [pcap(records[:each]), pcap([(start, b"\0")] * NEAR + records[each:])]
    asked = {"collect": frozenset(Verdict), "most": 2 * each}
    expected = reference(files, asked)
    whole = partial.Whole(**asked)
    for data in files:
        whole.add(partial.part([data], **asked))
    assert whole.unsure is (each > 1000)
    assert (whole.result() == expected) is not whole.unsure


def test_a_part_is_the_same_octets_in_both_forms():
    """So parts can be merged where the engine has another form than where they were made."""
    assert (layout.SLOT.size, layout.ENTRY.size) == (layout.SLOT_OCTETS, layout.ENTRY_OCTETS)
    records = traffic(random.Random(11), 20)
    half = len(records) // 2
    files = [pcap(records[:half]), pcap([(records[half][0], b"\0")] * NEAR + records[half:])]
    asked = {"collect": frozenset(Verdict)}
    script = "import pickle, sys; from analysis import partial, engine; files, asked = pickle.load(sys.stdin.buffer)\n"
    script += "sys.stdout.buffer.write(pickle.dumps((engine.COMPILED, [partial.part([f], **asked) for f in files])))"
    blocked = f"import sys; sys.path[:0] = {[str(ROOT), str(ROOT / 'tests')]!r}\n"
    blocked += "import conftest; sys.meta_path.insert(0, conftest.SourceOnly('analysis.engine'))\n"
    run = subprocess.run(
        [sys.executable, "-c", blocked + script],
        input=pickle.dumps((files, asked)),
        capture_output=True,
        check=True,
        timeout=60,
    )
    compiled, made = pickle.loads(run.stdout)
    assert not compiled
    for one, data in zip(made, files, strict=True):
        mine = partial.part([data], **asked)
        assert (one.log, one.ring, one.attempts) == (mine.log, mine.ring, mine.attempts)
    merged = partial.result(partial.merge(*made))
    assert merged.unsure or merged == reference(files, asked)
