"""The annotated capture: comments where they belong, and everything else as it was, octet for octet."""

from __future__ import annotations

import gzip
import json
import os
import struct
import subprocess
from itertools import chain
from pathlib import Path

import pytest
import writers
from conftest import ROOT
from segments import SELF6, Talk, packets, refused, self_connect, simultaneous_open, three_way
from test_pcapng_writer import whole_blocks

from analysis.cli import main
from analysis.errors import Incomplete
from analysis.model import CaptureResult, Opening, Verdict
from analysis.reader import analyze
from analysis.report import report
from analysis.run import MOST
from analysis.views.annotated import _Copy, _Stream, annotate, comments

CAPTURES = sorted((ROOT / "pcaps").glob("*.pcapng"))
RAW = 101
COMMENT = 1

#: What tshark prints of each frame: all that must not change.
FIELDS = ("frame.number", "frame.time_epoch", "frame.len", "frame.cap_len", "frame.interface_id", "frame.encap_type")


def records(*openings: Opening) -> list[tuple[int, bytes]]:
    """The packets of openings, a second between one and the next."""
    return [
        (time + number * 10**9, packet)
        for number, opening in enumerate(openings)
        for time, packet in packets(opening.segments)
    ]


def annotated(capture: Path, output: Path, *options: str) -> int:
    return main(["-q", "--annotate", str(output), *options, str(capture)])


def handshakes(capture: Path) -> list[int]:
    """The frames of every handshake, as the JSON report has them."""
    made = report([analyze(str(capture), collect=frozenset(Verdict))])
    return sorted(chain.from_iterable(entry.account().replay.handshake for entry in made.entries))


def tshark(program: str, capture: Path, *fields: str) -> list[tuple[str, ...]]:
    """The fields of each frame, and the octets of the frame."""
    command = [program, "-n", "-r", str(capture), "-T", "json", "-x", "--no-duplicate-keys", "-J", "frame"]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    frames = [packet["_source"]["layers"] for packet in json.loads(answer.stdout)]
    return [(*(str(frame["frame"].get(field)) for field in fields), frame["frame_raw"][0]) for frame in frames]


def without_comment(block: bytes, order: str = "<") -> bytes:
    """A packet block as it was before our comment was put in front of its options."""
    start = 28 + -(-struct.unpack_from(f"{order}I", block, 20)[0] // 4) * 4
    code, length = struct.unpack_from(f"{order}HH", block, start)
    assert code == COMMENT
    assert block[start + 4 : start + 4 + length].startswith(b"selfconn: ")
    rest = block[start + 4 + -(-length // 4) * 4 : -4]
    body = block[8:start] + (b"" if rest == bytes(4) else rest)
    size = struct.pack(f"{order}I", len(body) + 12)
    return block[:4] + size + body + size


# -- pcapng --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("capture", CAPTURES, ids=lambda path: path.stem)
def test_comments_on_every_handshake_packet_and_nothing_else_changed(capture: Path, tmp_path: Path) -> None:
    output = tmp_path / "out.pcapng"
    assert annotated(capture, output) == 0
    order = ">" if capture.read_bytes()[8:12] == bytes.fromhex("1a2b3c4d") else "<"
    before, after = (whole_blocks(path.read_bytes(), order) for path in (capture, output))
    assert len(before) == len(after)
    commented, frame = [], 0
    for (kind, was), (_, block) in zip(before, after, strict=True):
        frame += kind == 6
        if block != was:
            assert without_comment(block, order) == was
            commented.append(frame)
    assert commented == handshakes(capture) != []


@pytest.mark.parametrize("capture", CAPTURES, ids=lambda path: path.stem)
def test_wireshark_shows_the_comments_and_the_same_packets(capture: Path, need_tshark: str, tmp_path: Path) -> None:
    output = tmp_path / "out.pcapng"
    assert annotated(capture, output) == 0
    fields = (*FIELDS, "tcp.seq_raw", "tcp.flags", "tcp.analysis.flags", "frame.comment")
    command = [need_tshark, "-n", "-T", "fields", *chain.from_iterable(("-e", field) for field in fields), "-r"]
    before, after = (
        subprocess.run([*command, str(path)], capture_output=True, text=True, timeout=60, check=True).stdout
        for path in (capture, output)
    )
    was, shown = ([line.rpartition("\t") for line in text.splitlines()] for text in (before, after))
    assert [rest for rest, _, _ in shown] == [rest for rest, _, _ in was]
    assert not any(comment for _, _, comment in was)
    assert [number for number, (_, _, comment) in enumerate(shown, 1) if comment] == handshakes(capture)
    assert all(comment.startswith("selfconn: ") for _, _, comment in shown if comment)


def test_every_handshake_has_comments_and_the_report_is_what_it_is_without(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Refused attempts and ordinary connections are explained, too; the report shows no more for that."""
    capture, output = ROOT / "pcaps" / "server-cannot-bind.pcapng", tmp_path / "out.pcapng"
    for options in ([], ["--format", "json"], ["--all"]):
        assert main([*options, str(capture)]) == 0
        plain = capsys.readouterr()
        assert main([*options, "--annotate", str(output), str(capture)]) == 0
        assert capsys.readouterr() == plain
    chosen = ["--only", "self-connect", "--annotate", str(output)]
    assert main([*chosen, str(capture)]) == 0
    kinds = [kind for kind, block in whole_blocks(output.read_bytes()) if b"selfconn: " in block]
    assert len(kinds) == 3


def test_of_a_storm_the_first_of_a_kind_have_comments_and_that_is_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    openings = [refused() for _ in range(MOST + 5)] + [self_connect()]
    capture, output = tmp_path / "in.pcapng", tmp_path / "out.pcapng"
    capture.write_bytes(writers.pcapng(records(*openings), RAW))
    for options, commented, said in (([], MOST, "5 openings have no comments"), (["--all"], MOST + 5, "")):
        assert annotated(capture, output, *options) == 0
        assert said in capsys.readouterr().err
        assert output.read_bytes().count(b"selfconn: refused, 1 of 2") == commented
        assert output.read_bytes().count(b"selfconn: self-connect, 1 of 3") == 1


def test_what_a_comment_says() -> None:
    (first, *_, last) = comments(report([CaptureResult("a", openings=[self_connect()])]).entries)
    assert first[0] == 1
    why = "its own SYN arrives in SYN-SENT: simultaneous open (MUST-10) (RFC 9293 3.10.7.3)"
    assert first[1].splitlines() == [
        "selfconn: self-connect, 1 of 3",
        "sends SYN: CLOSED > SYN-SENT, active open (RFC 9293 3.10.1)",
        f"receives SYN: SYN-SENT > SYN-RECEIVED, {why}",
    ]
    assert last[1].splitlines()[1].startswith("sends ACK: stays ESTABLISHED, its own SYN-ACK repeats a SYN")
    (_, second, *_) = comments(report([CaptureResult("a", openings=[simultaneous_open()])]).entries)
    assert "198.51.100.2:443 sends SYN: CLOSED > SYN-SENT" in second[1]


def test_comments_come_in_the_order_of_frames() -> None:
    openings = [self_connect(frame=1 + 2 * number) for number in range(5)] + [self_connect(frame=100)]
    said = list(comments(report([CaptureResult("a", openings=openings)]).entries))
    frames = [frame for frame, _ in said]
    assert frames == [*range(1, 12), 100, 101, 102]  # frames 3, 5, 7 and 9 belong to two openings each
    assert sum(text.count("selfconn: ") for _, text in said) == 18


def test_a_packet_of_two_handshakes_has_both_comments(tmp_path: Path) -> None:
    """A SYN-ACK that answers a SYN that is captured after it."""
    talk = Talk(isn_a=500, isn_b=900).a("S", -400).b("S.", 0, 1).a("S").a(".", 1, 1)
    capture, output = tmp_path / "in.pcap", tmp_path / "out.pcapng"
    capture.write_bytes(writers.pcap(packets(talk.segments), RAW))
    assert annotated(capture, output) == 0
    comments = [block.count(b"selfconn: ") for kind, block in whole_blocks(output.read_bytes()) if kind == 6]
    assert comments == [1, 2, 1, 1]


@pytest.mark.parametrize("order", ["<", ">"])
def test_all_kinds_of_blocks(order: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two sections, one tells its length; two interfaces; options, unknown blocks, packet blocks of every kind."""
    (_, syn), (_, syn_ack), (_, ack), *_ = packets(self_connect().segments)
    unknown = writers.block(0x0BAD, b"anything!", order=order)
    name = writers.option(2, b"lo", order=order) + writers.option(COMMENT, b"somebody's own", order=order)
    inner = [
        writers.interface(RAW, order=order, resolution=9, offset=5),
        writers.interface(1, order=order),
        unknown,
        writers.enhanced(1000, syn, order=order, options=name),
        writers.obsolete(2000, syn_ack, order=order),
        writers.simple(ack, order=order),
        writers.block(5, bytes(12), order=order),
    ]
    first = writers.section(order=order, length=len(b"".join(inner)))
    second = [writers.section(order=order, length=400), writers.interface(RAW, order=order), unknown]
    capture, output = tmp_path / "in.pcapng", tmp_path / "out.pcapng"
    capture.write_bytes(b"".join([first, *inner, *second]))
    assert annotated(capture, output) == 0
    assert "1 packets have no comment" in capsys.readouterr().err
    after = [block for _, block in whole_blocks(output.read_bytes(), order)]
    assert after[0] == writers.section(order=order)
    assert [after[place] for place in (1, 2, 3, 6, 7, 8, 9, 10)] == [*inner[:3], *inner[5:], *second]
    for place, was in ((4, inner[3]), (5, inner[4])):
        assert without_comment(after[place], order) == was
    assert analyze(str(output)).openings == analyze(str(capture)).openings


def test_annotated_twice_is_annotated_once(tmp_path: Path) -> None:
    once, twice = tmp_path / "1.pcapng", tmp_path / "2.pcapng"
    assert annotated(ROOT / "pcaps" / "split-handshake.pcapng", once) == 0
    assert annotated(once, twice) == 0
    assert once.read_bytes() == twice.read_bytes()


# -- pcap ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", ["micro", "nano", "modified"])
def test_pcap_becomes_pcapng(kind: str, order: str, need_tshark: str, tmp_path: Path) -> None:
    capture, output = tmp_path / "in.pcap", tmp_path / "out.pcapng"
    cut = records(refused(), self_connect(SELF6), three_way())
    data = writers.pcap_header(RAW, order=order, kind=kind, snaplen=96)
    data += b"".join(
        writers.pcap_record(time, packet[:90], order=order, kind=kind, original=len(packet)) for time, packet in cut
    )
    capture.write_bytes(data)
    assert annotated(capture, output) == 0
    assert handshakes(output) == handshakes(capture)
    result, copy = analyze(str(capture)), analyze(str(output))
    assert (copy.openings, copy.packets, copy.format) == (result.openings, result.packets, "pcapng")
    same = tuple(field for field in FIELDS if field != "frame.interface_id")
    if kind == "nano" or order == "<":  # three runs of tshark tell as much as six
        assert tshark(need_tshark, output, *same) == tshark(need_tshark, capture, *same)


def test_the_frame_check_sequence_stays_one(need_tshark: str, tmp_path: Path) -> None:
    """A pcap file says in the upper bits of the link type that packets end in so many octets of check sequence."""
    capture, output = tmp_path / "in.pcap", tmp_path / "out.pcapng"
    frames = [
        (time, b"\2\0\0\0\0\2\2\0\0\0\0\1\x08\0" + packet + b"\1\2\3\4") for time, packet in records(self_connect())
    ]
    capture.write_bytes(writers.pcap(frames, 1 | 0x0400_0000 | 2 << 28))
    assert annotated(capture, output) == 0
    command = [need_tshark, "-n", "-T", "fields", "-e", "eth.fcs", "-r"]
    of = [
        subprocess.run([*command, str(path)], capture_output=True, text=True, timeout=60, check=True).stdout
        for path in (capture, output)
    ]
    assert of[0] == of[1] == "0x01020304\n" * 7


# -- reading, writing, and what can go wrong ---------------------------------------------------------------------------


def test_compressed_and_damaged(tmp_path: Path) -> None:
    whole = writers.pcapng(records(self_connect(), self_connect(SELF6)), RAW)
    capture, output = tmp_path / "in.pcapng.gz", tmp_path / "out.pcapng"
    capture.write_bytes(gzip.compress(whole))
    assert annotated(capture, output) == 0
    assert analyze(str(output)).packets == 14
    capture.write_bytes(gzip.compress(whole[:-100] + b"no block at all" * 100))
    assert annotated(capture, output) == 4
    assert [kind for kind, _ in whole_blocks(output.read_bytes())].count(6) == analyze(str(output)).packets == 12


def test_little_memory_and_in_portions() -> None:
    """What is at the beginning is written before the end is read."""
    data = writers.pcapng(records(*[self_connect()] * 50), RAW)
    result = CaptureResult("a", openings=[self_connect()])
    given = []

    def portions():
        for at in range(0, len(data), 7):
            given.append(at)
            yield memoryview(data)[at : at + 7]

    pieces = _Copy(comments(report([result]).entries)).pieces(_Stream(portions(), result))
    for _ in range(6):
        next(pieces)
    assert len(given) * 7 < 1000
    assert sum(map(len, pieces)) > len(data) - 1000


def test_the_file_is_for_those_of_the_capture_and_nothing_else_is_touched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capture, output = tmp_path / "in.pcap", tmp_path / "out.pcapng"
    capture.write_bytes(writers.pcap(records(self_connect()), RAW))
    capture.chmod(0o600)
    assert annotated(capture, output) == 0
    assert output.stat().st_mode & 0o077 == 0
    link = tmp_path / "link.pcapng"
    link.symlink_to(tmp_path / "victim")
    hard = tmp_path / "hard.pcapng"
    hard.hardlink_to(output)
    was = capture.read_bytes()
    for path in (capture, link, hard, tmp_path, tmp_path / "no" / "where"):
        capsys.readouterr()
        assert annotated(capture, path) == 2
        assert capsys.readouterr().err.count("\n") == 1
    assert capture.read_bytes() == was
    assert not (tmp_path / "victim").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["-"], "a second time"),
        (["fifo"], "a second time"),
        (["a", "a"], "there are 2: name one"),
        (["-o", "out.pcapng", "a"], "the same file"),
    ],
)
def test_what_cannot_be_annotated(arguments, says, tmp_path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    os.mkfifo("fifo")
    Path("a").write_bytes(CAPTURES[0].read_bytes())
    assert main(["--annotate", "out.pcapng", *arguments]) == 2
    assert says in capsys.readouterr().err
    assert not Path("out.pcapng").exists()


def test_no_capture_no_file(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("no capture")
    assert annotated(tmp_path / "text", tmp_path / "out.pcapng") == 3
    assert not (tmp_path / "out.pcapng").exists()


def test_a_capture_that_changes_meanwhile(tmp_path: Path) -> None:
    capture = tmp_path / "in.pcap"
    capture.write_bytes(writers.pcap(records(self_connect()), RAW))
    made = report([analyze(str(capture))])
    capture.write_bytes(writers.pcap(records(refused())[:1], RAW))
    with pytest.raises(Incomplete, match="has changed since"):
        annotate(str(capture), made.captures[0], made.entries, str(tmp_path / "out.pcapng"))
    capture.unlink()
    with pytest.raises(Incomplete, match=r"cannot read .* again"):
        annotate(str(capture), made.captures[0], made.entries, str(tmp_path / "out.pcapng"))


def test_a_full_disk_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("needs /dev/full")
    capture = tmp_path / "in.pcap"
    capture.write_bytes(writers.pcap(records(self_connect()), RAW))
    made = report([analyze(str(capture))])
    monkeypatch.setattr("analysis.views.annotated.opened", lambda *_, **_how: os.open("/dev/full", os.O_WRONLY))
    with pytest.raises(Incomplete, match="is not complete: No space left"):
        annotate(str(capture), made.captures[0], made.entries, str(tmp_path / "out.pcapng"))
