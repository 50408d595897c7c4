"""gzip members that state their size: what comes out, and what is said, is the same on any number of processors.

What unpacks streams without looking at sizes (no processors) is the second opinion.
"""

from __future__ import annotations

import bz2
import gzip
import os
import random
import signal
import threading
from typing import TYPE_CHECKING

import pytest
import writers
from segments import refused, self_connect
from test_analyze_cli import capture
from test_linktypes import EPOCH, MILLISECOND

from analysis import parallel, reader
from analysis.cli import main
from analysis.formats import compression
from analysis.formats.compression import Cut, unpacked
from analysis.model import Octets, Verdict
from analysis.reader import analyze

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

CHANCE = random.Random(1)
TEXT = b"".join(b"%d " % CHANCE.randrange(3000) for _ in range(400_000))


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    before = set(threading.enumerate())
    yield
    assert not set(threading.enumerate()) - before


@pytest.fixture
def threads_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads begin with the second group of members, and groups are small."""
    monkeypatch.setattr(compression, "ALONE", 0)
    monkeypatch.setattr(compression, "GROUP", 2)


def told(packed: bytes, jobs: int, portion: int = 1 << 20) -> tuple[bytes, str]:
    """What comes out, and what is said at the end."""
    out = bytearray()
    blocks = iter([packed[start : start + portion] for start in range(0, len(packed), portion)])
    try:
        for block in unpacked("it", blocks, jobs):
            out += block
    except Cut as cut:
        return bytes(out), str(cut)
    return bytes(out), ""


def same(packed: bytes, *portions: int) -> tuple[bytes, str]:
    """What is told, which is the same of streams and of members, on one processor and on several."""
    expected = told(packed, 0)
    for portion in portions or (1 << 20,):
        for jobs in (1, 3):
            assert told(packed, jobs, portion) == expected
    return expected


#: Members that state their size, and what may lie between them. What it unpacks to.
MIXED = (
    writers.bgzf(TEXT[:900], 200)
    + gzip.compress(TEXT[900:1000], mtime=0)
    + bytes(7)
    + writers.member(TEXT[1000:1100], before=b"XY\3\0abc")
    + writers.member(TEXT[1100:1200], before=b"BC\1\0a")
    + bz2.compress(b"", 1)
    + writers.bgzf(TEXT[1200:1500], 100)
)


@pytest.mark.usefixtures("threads_soon")
def test_whole_cut_anywhere_and_with_any_octet_damaged() -> None:
    assert same(MIXED, 1, 7, 100, len(MIXED)) == (TEXT[:1500], "")
    for place in range(6, len(MIXED)):  # fewer octets do not tell how they are compressed
        assert TEXT.startswith(same(MIXED[:place])[0])
        same(MIXED[:place] + bytes([MIXED[place] ^ CHANCE.choice((1, 4, 0x10, 0xFF))]) + MIXED[place + 1 :])


@pytest.mark.usefixtures("threads_soon")
@pytest.mark.parametrize("stated", [0, 1, 11, 17, 25, 26, 100, 400, 5000, 0xFFFF])
def test_a_size_that_is_not_so(stated: int) -> None:
    packed = writers.bgzf(TEXT[:1000], 100) + writers.member(TEXT[1000:1500], stated=stated)
    assert same(packed + writers.bgzf(TEXT[1500:2500], 100)) == (TEXT[:2500], "")
    assert same(packed) == (TEXT[:1500], "")


@pytest.mark.usefixtures("threads_soon")
def test_a_member_that_unpacks_to_more_than_it_may() -> None:
    most = compression.MEMBER
    for size in (most, most + 1, 4 * most):
        packed = writers.bgzf(TEXT[:1000]) + writers.member(bytes(size)) + writers.bgzf(TEXT[:1000])
        assert same(packed) == (TEXT[:1000] + bytes(size) + TEXT[:1000], "")


@pytest.mark.usefixtures("threads_soon")
def test_a_large_file_whole_and_damaged() -> None:
    packed = writers.bgzf(TEXT)
    assert same(packed, 1000, 65_536, len(packed)) == (TEXT, "")
    for place in (*CHANCE.sample(range(len(packed)), 8), len(packed) - 1):
        damaged = packed[:place] + bytes([packed[place] ^ 0x10]) + packed[place + 1 :]
        assert TEXT.startswith(same(damaged)[0][: place // 2])
        same(packed[:place])


def test_a_bomb_is_stopped_at_one_place() -> None:
    packed = writers.member(bytes(compression.MEMBER)) * 1000
    one = told(packed, 1)
    assert told(packed, 4) == one
    assert "unpacks to more than 200 times its size" in one[1]
    assert 31 << 20 < len(one[0]) < 34 << 20


@pytest.mark.usefixtures("threads_soon")
@pytest.mark.parametrize("jobs", [0, 1, 3])
def test_what_came_before_reading_failed_is_unpacked(jobs: int) -> None:
    packed = writers.bgzf(TEXT)[:-2000]

    def failing() -> Iterator[bytes]:
        yield packed[:50_000]
        yield packed[50_000:]
        raise OSError(5, "Input/output error")

    out: list[bytes] = []
    blocks = unpacked("it", failing(), jobs)
    with pytest.raises(OSError, match="Input/output"):
        out.extend(map(bytes, blocks))
    assert b"".join(out) == told(packed, 0)[0]


# -- threads ----------------------------------------------------------------------------------------------------------


class Watched:
    """What unpacks groups of members, and who calls it; the main thread waits until another one did."""

    def __init__(self) -> None:
        self.whole = compression._whole
        self.names: list[str] = []
        self.helped = threading.Event()
        self.others = set(threading.enumerate())  # servers of other tests, say

    def __call__(self, members: list[bytes]) -> list[bytes | None]:
        main_thread = threading.current_thread() is threading.main_thread()
        if not main_thread:
            self.helped.set()
        elif set(threading.enumerate()) - self.others:
            assert self.helped.wait(30)
        self.names.append("main" if main_thread else "another")
        return self.whole(members)


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    made = Watched()
    monkeypatch.setattr(compression, "_whole", made)
    return made


LARGE = writers.bgzf(random.Random(2).randbytes(4 << 20))


def test_threads_unpack_a_large_file(watched: Watched) -> None:
    assert told(LARGE, 2)[1] == ""
    assert set(watched.names) == {"main", "another"}


@pytest.mark.parametrize(
    ("packed", "jobs"), [(LARGE, 1), (writers.bgzf(TEXT), 8)], ids=["one processor", "a small file"]
)
def test_no_thread_begins(packed: bytes, jobs: int, watched: Watched) -> None:
    assert told(packed, jobs)[1] == ""
    assert set(watched.names) == {"main"}


def test_streams_are_not_looked_at_twice(watched: Watched) -> None:
    """Once a member is not as it says, nothing is read ahead any more."""
    assert told(writers.member(TEXT[:500], stated=60) * 100, 3) == (TEXT[:500] * 100, "")
    assert len(watched.names) == 1


def test_fewer_threads_than_asked_for_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_more(_self: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    expected = told(LARGE, 1)
    monkeypatch.setattr(threading.Thread, "start", no_more)
    assert told(LARGE, 4) == expected


def test_a_thread_that_lacks_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its group is unpacked without it, and nobody waits for it for ever."""
    zlib = compression._zlib()
    lacked = threading.Event()
    others = set(threading.enumerate())

    class Lacking:
        @staticmethod
        def decompressobj(wbits: int) -> object:
            if threading.current_thread() is not threading.main_thread():
                lacked.set()
                raise MemoryError
            if set(threading.enumerate()) - others:
                assert lacked.wait(30)
            return zlib.decompressobj(wbits=wbits)

    expected = told(LARGE, 1)
    monkeypatch.setattr(compression, "_zlib", lambda: Lacking)
    assert told(LARGE, 4) == expected
    assert lacked.is_set()


def test_little_is_read_ahead() -> None:
    taken = 0

    def blocks() -> Iterator[bytes]:
        nonlocal taken
        for start in range(0, len(LARGE), 65_536):
            taken += 65_536
            yield LARGE[start : start + 65_536]

    out = 0
    for block in unpacked("it", blocks(), 2):
        out += len(block)
        assert taken - out < 5 * compression.GROUP * compression.MEMBER


# -- where the octets come from ---------------------------------------------------------------------------------------

RECORDS = [(EPOCH + number * MILLISECOND, os.urandom(1000)) for number in range(20_000)]


@pytest.mark.usefixtures("threads_soon")
def test_ctrl_c_while_a_thread_unpacks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "it"
    path.write_bytes(writers.bgzf(writers.pcap(RECORDS)))
    whole = compression._whole
    calls = 0

    def interrupting(members: list[bytes]) -> list[bytes | None]:
        nonlocal calls
        if threading.current_thread() is not threading.main_thread():
            calls += 1
            if calls == 5:
                os.kill(os.getpid(), signal.SIGINT)
        return whole(members)

    monkeypatch.setattr(compression, "_whole", interrupting)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        result = analyze(str(path), jobs=3)
    finally:
        signal.signal(signal.SIGINT, before)
    assert result.damage
    assert result.damage.reason == "interrupted"
    assert 0 < result.packets < len(RECORDS)


def test_what_came_out_of_a_pipe_does_not_wait_for_the_rest_of_a_member(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    handed_on = threading.Event()
    there_before_the_rest = False
    whole = capture(refused(), self_connect())
    filler = b"".join(writers.pcap_record(*record, kind="nano") for record in RECORDS[:50])
    octets = writers.member(whole[:24]) + writers.member(whole[24:] + filler)

    def write() -> None:
        nonlocal there_before_the_rest
        with pipe.open("wb", buffering=0) as inlet:
            inlet.write(octets[:-20_000])
            there_before_the_rest = handed_on.wait(30)
            inlet.write(octets[-20_000:])

    writer = threading.Thread(target=write)
    writer.start()
    analyze(str(pipe), jobs=4, each=lambda *_: handed_on.set(), collect=frozenset(Verdict))
    writer.join()
    assert there_before_the_rest


@pytest.mark.parametrize(
    ("arguments", "jobs"),
    [
        (["--jobs", "3", "ONE"], [3]),
        (["--jobs", "3", "-"], [3]),
        (["ONE"], [1]),
        (["--jobs", "3", "--format", "csv", "ONE", "TWO"], [3, 3]),
        (["--jobs", "3", "--rotated", "ONE", "TWO"], [3, 3]),
        (["--jobs", "3", "--format", "csv", "PIPE"], [0]),
    ],
)
def test_on_how_many_processors(
    arguments: list[str], jobs: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def asking(name: str, blocks: Iterator[Octets], jobs: int = 0) -> Generator[Octets, None, None]:
        asked.append(jobs)
        return unpacked(name, blocks, jobs)

    monkeypatch.setattr(reader, "unpacked", asking)
    octets = writers.bgzf(capture(refused()))
    for name in ("ONE", "TWO"):
        (tmp_path / name).write_bytes(octets)
    os.mkfifo(tmp_path / "PIPE")
    writer = threading.Thread(target=lambda: (tmp_path / "PIPE").write_bytes(octets))
    if "PIPE" in arguments:
        writer.start()
    before = os.dup(0)
    with (tmp_path / "ONE").open("rb") as one:
        os.dup2(one.fileno(), 0)
    try:
        assert main([str(tmp_path / one) if one.isupper() else one for one in arguments]) == 0
    finally:
        os.dup2(before, 0)
        os.close(before)
    if "PIPE" in arguments:
        writer.join()
    assert asked == jobs


def test_processes_share_the_processors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = []

    def crew(jobs: int, *more: object) -> parallel.Crew:
        given.append((jobs, more[-1]))
        raise OSError

    monkeypatch.setattr(parallel, "Processes", crew)
    paths = [str(tmp_path / name) for name in ("a", "b", "c")]
    for path in paths:
        (tmp_path / path).write_bytes(writers.bgzf(capture(refused())))
    for jobs in (2, 3, 8):
        parallel.analyze_many(paths, jobs)
    assert given == [(2, 1), (3, 1), (3, 2)]
