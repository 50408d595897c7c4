"""As it happens: from a pipe, and from a file that grows; what is told at once, and what when a signal ends it."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import random
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
import zlib
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest
import writers
from alone import alone
from conftest import ROOT
from segments import SELF, Talk, packets, refused, self_connect, simultaneous_open, three_way
from test_analyze_cli import COMMAND, RAW, capture, on_a_terminal, run

from analysis.engine import Finished
from analysis.formats import live
from analysis.formats.compression import Cut
from analysis.model import Opening, Verdict
from analysis.reader import Analysis
from analysis.verdicts import VERDICTS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

#: Seconds within which a line is there.
AT_ONCE = 0.5
#: Seconds after which a line that did not come will not come, however slow the machine is.
NEVER = 30

HEADER = writers.pcap_header(RAW, kind="nano")


def records(number: int = 0) -> list[bytes]:
    """A self-connect, record by record, the RST that ends it last; the *number*-th of them, each a second later."""
    talk = Talk(SELF, isn_a=1000 * number).a("S").a("S.", 0, 1).a(".", 1, 1).a("P.", 1, 1, 5).a("R.", 6, 6)
    return [writers.pcap_record(time + number * 10**9, packet, kind="nano") for time, packet in packets(talk.segments)]


*ONE_BY_ONE, RESET = records()


def announces() -> bool:
    """Whether this engine says that an opening is decided before it has ended."""
    return hasattr(Analysis("").engine.table, "announce")


class Lines:
    """The lines that a program writes, as they come."""

    def __init__(self, fd: int) -> None:
        self.fd, self.rest = fd, b""

    def next(self, within: float = NEVER) -> dict[str, Any]:
        """The next line; AssertionError where none comes in so many seconds."""
        until = time.monotonic() + within
        while b"\n" not in self.rest:
            ready, _, _ = select.select([self.fd], [], [], max(until - time.monotonic(), 0))
            assert ready, f"no line within {within} s"
            got = os.read(self.fd, 65536)
            assert got, "it has ended"
            self.rest += got
        line, _, self.rest = self.rest.partition(b"\n")
        return json.loads(line)


@contextmanager
def analysing(*arguments: str | Path, **more: Any) -> Iterator[tuple[subprocess.Popen[bytes], Lines]]:
    options = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": ROOT, **more}
    with subprocess.Popen([*COMMAND, *map(str, arguments)], **options) as process:
        try:
            yield process, Lines(process.stdout.fileno())
        finally:
            process.kill()


def put(process: subprocess.Popen[bytes], *octets: bytes) -> None:
    process.stdin.write(b"".join(octets))
    process.stdin.flush()


# -- what an analysis hands on -----------------------------------------------------------------------------------------


class Taker:
    """Notes what it is called with."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Verdict, int, int]] = []

    def __call__(self, _name: str, opening: Opening) -> None:
        self.told.append(("ended", opening.verdict, opening.first_frame, len(opening.segments)))

    def decided(self, _name: str, opening: Opening) -> None:
        self.told.append(("decided", opening.verdict, opening.first_frame, len(opening.segments)))


class Announcing:
    """A conversation table that announces what it is told to, and is otherwise the one that it stands for."""

    def __init__(self, table: Any) -> None:
        self.table, self.decided, self.announce = table, [], True

    def __getattr__(self, name: str) -> Any:
        return getattr(self.table, name)


class Double:
    """An engine with that table."""

    def __init__(self, engine: Any) -> None:
        self.engine, self.table = engine, Announcing(engine.table)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)


def as_finished(opening: Opening) -> Finished:
    ends = (opening.source.packed, opening.source.port, opening.destination.packed, opening.destination.port)
    more = (opening.isn, opening.first_frame, opening.time, 0, 0, 0, 0, False, [])
    return Finished(VERDICTS.index(opening.verdict), *ends, *more)


def test_what_is_decided_comes_before_what_has_ended() -> None:
    """By a double, whatever the engine announces; it is asked for nothing but what is wanted, and once."""
    taker = Taker()
    analysis = Analysis("x", each=taker)
    analysis.engine = Double(analysis.engine)
    analysis.feed(HEADER + ONE_BY_ONE[0])
    analysis.engine.table.decided += [as_finished(self_connect()), as_finished(three_way())]
    analysis.feed(ONE_BY_ONE[1] + ONE_BY_ONE[2])
    assert taker.told == [("decided", Verdict.SELF_CONNECT, 1, 0)]
    analysis.feed(ONE_BY_ONE[3] + RESET)
    assert taker.told[1:] == [("ended", Verdict.SELF_CONNECT, 1, 5)]
    assert analysis.finish().left_out == 0
    assert len(taker.told) == 2


def test_of_the_ordinary_ones_all_segments_are_kept_as_well() -> None:
    taker = Taker()
    analysis = Analysis("x", collect=frozenset(Verdict), each=taker)
    analysis.feed(capture(three_way()))
    analysis.finish()
    assert taker.told[-1] == ("ended", Verdict.THREE_WAY, 1, 9)


@pytest.mark.skipif(not announces(), reason="this engine announces nothing")
def test_the_engine_announces() -> None:
    taker = Taker()
    analysis = Analysis("x", collect=frozenset(Verdict), each=taker)
    analysis.feed(capture(self_connect(), three_way(), simultaneous_open(), refused()))
    analysis.finish()
    told = Counter((what, verdict) for what, verdict, *_ in taker.told)
    verdicts = (Verdict.SELF_CONNECT, Verdict.THREE_WAY, Verdict.SIMULTANEOUS_OPEN, Verdict.REFUSED)
    assert told == Counter((what, verdict) for what in ("decided", "ended") for verdict in verdicts)


# -- from a pipe -------------------------------------------------------------------------------------------------------


def test_a_line_is_there_before_the_pipe_is_closed() -> None:
    with analysing("--format", "jsonl", "-") as (process, lines):
        put(process, HEADER, *ONE_BY_ONE)
        if announces():
            first = lines.next()
            assert first["final"] is False
        put(process, RESET)
        last = lines.next()
        assert last["final"] is True
        assert last["transitions"][-1]["to"] == "CLOSED"
        if announces():
            assert [first[name] for name in ("capture", "first_frame", "verdict")] == [0, 1, "self-connect"]
        assert [last[name] for name in ("capture", "first_frame", "verdict")] == [0, 1, "self-connect"]
        assert process.poll() is None
        process.stdin.close()
        assert lines.next()["type"] == "capture"
        assert process.wait(timeout=NEVER) == 0


def test_within_half_a_second_record_by_record() -> None:
    """The median of some, so that a machine with too much to do does not count."""
    took = []
    with analysing("--format", "jsonl", "-") as (process, lines):
        put(process, HEADER)
        for number in range(9):
            *shaken, reset = records(number)
            for record in shaken:
                put(process, record)
            if announces():
                began = time.monotonic()
                assert lines.next()["final"] is False
                took.append(time.monotonic() - began)
            began = time.monotonic()
            for place in range(0, len(reset), 7):  # a record may come in pieces
                put(process, reset[place : place + 7])
            assert lines.next()["final"] is True
            took.append(time.monotonic() - began)
    assert sorted(took)[len(took) // 2] < AT_ONCE


def test_what_is_never_decided_comes_at_its_end() -> None:
    with analysing("--format", "jsonl", "-") as (process, lines):
        put(process, HEADER, ONE_BY_ONE[0])
        process.stdin.close()
        line = lines.next()
        assert (line["verdict"], line["final"]) == ("self-syn", True)


def test_of_files_there_is_one_line_as_ever(tmp_path: Path) -> None:
    path = tmp_path / "a.pcap"
    path.write_bytes(capture(self_connect()))
    with path.open("rb") as file:
        for out in (run("--format", "jsonl", path).stdout, run("--format", "jsonl", "-", stdin=file).stdout):
            opening, ended = map(json.loads, out.splitlines())
            assert (opening["type"], ended["type"]) == ("opening", "capture")
            assert "final" not in opening


@pytest.mark.parametrize("asked", [("--all",), ("--only", "three-way"), ()])
def test_the_lines_say_what_the_report_on_the_file_says(tmp_path: Path, asked: Sequence[str]) -> None:
    path = tmp_path / "a.pcap"
    path.write_bytes(capture(self_connect(), refused(), three_way(), simultaneous_open()))
    report = json.loads(run("--format", "json", *asked, path).stdout)
    with analysing("--format", "jsonl", *asked, "-") as (process, _):
        out, err = process.communicate(path.read_bytes(), timeout=60)
    assert err == b""
    *lines, last = map(json.loads, out.splitlines())
    ended = sorted((line for line in lines if line["final"]), key=lambda line: line["first_frame"])
    assert [{name: line[name] for name in report["openings"][0]} for line in ended] == report["openings"]
    assert {name: last[name] for name in report["captures"][0]} == report["captures"][0] | {"name": "standard input"}


def test_a_place_among_several_captures(tmp_path: Path) -> None:
    path, none = tmp_path / "a.pcap", tmp_path / "b.pcap"
    path.write_bytes(capture(self_connect()))
    none.write_bytes(b"no capture")
    with analysing("--format", "jsonl", path, none, "-") as (process, _):
        out, err = process.communicate(path.read_bytes(), timeout=60)
    lines = list(map(json.loads, out.splitlines()))
    assert [line["capture"] for line in lines if line["type"] == "opening" and line["final"]] == [0, 1]
    assert [line["name"] for line in lines if line["type"] == "capture"] == [str(path), "standard input"]
    assert b"is not a capture" in err
    assert process.returncode == 3


def test_into_a_file(tmp_path: Path) -> None:
    out = tmp_path / "out.jsonl"
    with analysing("-o", out, "-") as (process, _):
        put(process, HEADER, *ONE_BY_ONE, RESET)
        until = time.monotonic() + NEVER
        while not (out.exists() and out.read_text()):
            assert time.monotonic() < until
            time.sleep(0.05)
        assert json.loads(out.read_text().splitlines()[-1])["verdict"] == "self-connect"
        process.stdin.close()
        process.wait(timeout=60)
    assert [json.loads(line)["type"] for line in out.read_text().splitlines()][-1] == "capture"


def test_rows_come_at_once_as_well() -> None:
    with analysing("--format", "csv", "-") as (process, _):
        assert process.stdout.readline().startswith(b"capture,")
        put(process, HEADER, *ONE_BY_ONE, RESET)
        assert b",self-connect," in process.stdout.readline()


def test_compressed_octets_as_they_come() -> None:
    packer = zlib.compressobj(wbits=31)
    with analysing("--format", "jsonl", "-") as (process, lines):
        put(process, packer.compress(HEADER + b"".join(ONE_BY_ONE) + RESET) + packer.flush(zlib.Z_SYNC_FLUSH))
        assert lines.next()["verdict"] == "self-connect"


def test_nobody_reads_on() -> None:
    """It ends with the next line that it has to say, without a word."""
    with analysing("--format", "jsonl", "-") as (process, lines):
        put(process, HEADER, *ONE_BY_ONE, RESET)
        assert lines.next()["verdict"] == "self-connect"
        process.stdout.close()
        os.write(process.stdin.fileno(), b"".join(records(1)))
        assert process.wait(timeout=NEVER) == -signal.SIGPIPE
        assert process.stderr.read() == b""


def test_a_full_disk_is_no_error_of_reading() -> None:
    with open("/dev/full", "wb") as full:  # noqa: PTH123 - as short
        ended = subprocess.run(
            [*COMMAND, "--format", "jsonl", "-"],
            input=capture(self_connect()), stdout=full, stderr=subprocess.PIPE, cwd=ROOT, check=False, timeout=60,
        )  # fmt: skip
    assert ended.returncode == 4
    assert b"cannot write standard output: No space left on device" in ended.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("form", ["jsonl", "csv", "table"])
def test_a_signal_while_it_waits(number: int, form: str) -> None:
    with analysing("--format", form, "-") as (process, _):
        put(process, HEADER, *ONE_BY_ONE)
        time.sleep(1)
        process.send_signal(number)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (128 + number, b"")
    assert out.count(b"self-connect") >= 1
    if form == "jsonl":
        *_, opening, last = map(json.loads, out.splitlines())
        assert (opening["final"], last["damage"]["reason"]) == (True, "interrupted")


@pytest.mark.parametrize("seed", range(4))
def test_a_signal_in_the_midst_loses_nothing_and_says_nothing_twice(seed: int) -> None:
    """Openings come without a pause while the signal does: a final line for each that is counted, no more."""
    chance = random.Random(seed)
    some = [b"".join(records(number)) for number in range(5000)]
    with analysing("--format", "jsonl", "-") as (process, _):
        if os.fork() == 0:
            try:
                put(process, HEADER, *some)
            finally:
                os._exit(0)
        process.stdin.close()
        process.stdin = None
        got = process.stdout.readline()  # it is at it
        sent = False
        while block := process.stdout.read1(chance.randrange(1, 1 << 16)):
            got += block
            if not sent and chance.random() < 0.1:
                process.send_signal(signal.SIGINT)
                sent = True
        assert process.wait(timeout=60) == 128 + signal.SIGINT
        os.wait()
    *lines, last = map(json.loads, got.splitlines())
    ended = [line["first_frame"] for line in lines if line["final"]]
    assert len(ended) == len(set(ended)) == last["verdicts"]["self-connect"]


#: The command, with a progress bar from the beginning.
IMPATIENT = "import sys; from analysis import cli, progress; progress.PATIENCE = -1; sys.exit(cli.main(sys.argv[1:]))"


def test_a_terminal_is_told_what_was_found_so_far() -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("4H", 40, 150, 0, 0))
    process = subprocess.Popen(
        [sys.executable, "-c", IMPATIENT, "-"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=theirs, cwd=ROOT,
    )  # fmt: skip
    with process:
        os.close(theirs)
        put(process, HEADER, *ONE_BY_ONE)
        shown = b""
        until = time.monotonic() + NEVER
        while b"packets: 4, openings: 1, self-connect: 1" not in shown:
            assert select.select([ours], [], [], max(until - time.monotonic(), 0))[0], shown
            shown += os.read(ours, 65536)
        assert process.poll() is None
        process.stdin.close()
        assert b"1. self-connect" in process.stdout.read()
    os.close(ours)
    assert process.returncode == 0


def beside_tcpdump(tcpdump: str) -> tuple[list[dict[str, Any]], float]:
    """A socket connects to itself and is reset; the lines, and how long the last of them took."""
    command = [tcpdump, "-Z", "root", "-U", "--immediate-mode", "-i", "lo", "-w", "-", "tcp"]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as recorder,
        analysing("--format", "jsonl", "-", stdin=recorder.stdout) as (process, lines),
        socket.socket() as one,
    ):
        assert b"listening on lo" in recorder.stderr.readline()
        one.bind(("127.0.0.1", 50000))
        one.connect(("127.0.0.1", 50000))
        told = [lines.next()] if announces() else []
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        began = time.monotonic()
        one.close()
        told.append(lines.next())
        took = time.monotonic() - began
        recorder.terminate()
        told.append(lines.next())
        process.wait(timeout=NEVER)
    return told, took


@pytest.mark.live
@pytest.mark.usefixtures("need_private_namespace")
def test_beside_tcpdump(need_tcpdump: str) -> None:
    *openings, ended = alone(beside_tcpdump, need_tcpdump)[0]
    assert {line["verdict"] for line in openings} == {"self-connect"}
    assert openings[-1]["final"] is True
    assert ended["packets"] >= 4
    assert min(alone(beside_tcpdump, need_tcpdump)[1] for _ in range(3)) < AT_ONCE


def test_lines_on_a_terminal_have_no_bar_between_them() -> None:
    reader, writer = os.pipe()
    os.write(writer, capture(self_connect()))
    os.close(writer)
    shown = on_a_terminal([sys.executable, "-c", IMPATIENT, "--format", "jsonl", "-"], stdin=reader)
    os.close(reader)
    assert b"B/s" not in shown
    assert all(json.loads(line)["type"] for line in shown.splitlines())


# -- a file that grows -------------------------------------------------------------------------------------------------


def grown(path: Path, *octets: bytes) -> None:
    with path.open("ab") as file:
        file.write(b"".join(octets))


def test_follow(tmp_path: Path) -> None:
    path = tmp_path / "a.pcap"
    path.write_bytes(HEADER[:10])
    with analysing("--follow", "--format", "jsonl", path) as (process, lines):
        grown(path, HEADER[10:], *ONE_BY_ONE, RESET[:20])
        if announces():
            assert lines.next()["final"] is False
        grown(path, RESET[20:])
        assert lines.next()["final"] is True
        grown(path, *records(1)[:-1])
        time.sleep(1)
        process.send_signal(signal.SIGTERM)
        *_, opening = [lines.next() for _ in range(1 + announces())]
        assert (opening["first_frame"], opening["final"]) == (6, True)
        ended = lines.next()
        assert ended["verdicts"]["self-connect"] == 2
        assert ended["damage"] == {"offset": path.stat().st_size, "reason": "interrupted"}
        assert process.wait(timeout=60) == 128 + signal.SIGTERM


def test_follow_ends_with_the_table(tmp_path: Path) -> None:
    path = tmp_path / "a.pcap"
    path.write_bytes(HEADER)
    with analysing("--follow", path) as (process, _):
        grown(path, *ONE_BY_ONE)
        time.sleep(1.5)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (128 + signal.SIGINT, b"")
    assert b"1. self-connect: 127.0.0.1:50000" in out


@pytest.mark.parametrize(
    ("what", "said"),
    [("cut", "the file was cut short to 30 octets"), ("replace", "another file took"), ("remove", "or removed")],
)
def test_a_file_that_can_grow_no_more(tmp_path: Path, what: str, said: str) -> None:
    path, other = tmp_path / "a.pcap", tmp_path / "b.pcap"
    path.write_bytes(HEADER + b"".join(ONE_BY_ONE))
    other.write_bytes(HEADER)
    with analysing("--follow", "--format", "jsonl", path) as (process, lines):
        grown(path, RESET)
        while not lines.next()["final"]:
            pass
        match what:
            case "cut":
                os.truncate(path, 30)
            case "replace":
                other.rename(path)
            case "remove":
                path.unlink()
        assert said in lines.next()["damage"]["reason"]
        assert process.wait(timeout=60) == 4
        assert said in process.stderr.read().decode()


def test_what_was_written_until_it_went_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"one")
    monkeypatch.setattr(live, "MOMENT", 0)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    blocks = live.growing(str(path))
    assert bytes(next(blocks)) == b"one"
    assert bytes(next(blocks)) == b""
    with path.open("ab") as file:
        path.unlink()
        file.write(b"two")
    assert bytes(next(blocks)) == b"two"
    with pytest.raises(Cut, match="removed"):
        list(blocks)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--follow", "-"], "standard input is not"),
        (["--follow", "a", "b"], "there are 2 captures: name one"),
        (["--follow", "http://x.example/a.pcap"], "http://x.example/a.pcap is not"),
        (["--follow", "--step", "a"], "leave out --step"),
        (["--follow", "--rotated", "a"], "leave out --rotated"),
        (["--follow", "a.gz"], "a.gz is compressed with gzip"),
    ],
)
def test_what_cannot_be_followed(tmp_path: Path, arguments: list[str], complaint: str) -> None:
    (tmp_path / "a.gz").write_bytes(b"\x1f\x8b\x08\0\0\0\0\0")
    ended = run(*arguments, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)})
    assert (ended.returncode, complaint in ended.stderr) == (2, True), ended.stderr


def test_the_hand_that_listens_is_given_back() -> None:
    """Whatever ends the reading of a pipe, signals are heard as before."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, ())
    reader, writer = os.pipe()
    os.write(writer, b"one")
    blocks = live.arriving(reader)
    assert bytes(next(blocks)) == b"one"
    assert signal.SIGTERM in signal.pthread_sigmask(signal.SIG_BLOCK, ())
    blocks.close()
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    os.close(writer)
    assert list(live.arriving(reader)) == []
    assert signal.pthread_sigmask(signal.SIG_BLOCK, ()) == before
    os.close(reader)
