"""A short share of each fuzzer, always the same; and what fuzzers and attackers found, with the right answers.

tests/found/ has the captures. A kind of fault that needs more than a file has a test of its own below.
"""

from __future__ import annotations

import itertools
import os
import random
import re
import signal
import struct
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import frames
import fuzz
import pytest
import writers
from conftest import ROOT
from segments import SELF, packets, self_connect
from test_partial import reference, tree

from analysis import engine, parallel, partial, reader
from analysis.engine import NEAR, layout
from analysis.formats.compression import unpacked
from analysis.model import Flag, Verdict
from analysis.verdicts import VERDICTS, Phase

if TYPE_CHECKING:
    from pathlib import Path

SHARES = {"mutants": 100, "structured": 60, "oracle": 20, "parts": 40, "ranges": 40, "views": 12}


@pytest.mark.parametrize("name", fuzz.FUZZERS)
def test_a_share_of_each(name: str) -> None:
    assert fuzz.fuzz(name, fuzz.Run("always the same", float("inf"), SHARES[name])) == []


@pytest.mark.long
@pytest.mark.timeout(300)
def test_parts_with_small_limits(tmp_path: Path) -> None:
    """As ``make fuzz`` tries them, but interpreted: nothing is compiled for this."""
    for folder in ("analysis", "tests", "pcaps"):
        (tmp_path / folder).mkdir()
        subprocess.run(["cp", "-R", ROOT / folder, tmp_path], check=True)
    for made in (tmp_path / "analysis" / "engine").glob("*.so"):
        made.unlink()
    names = re.findall(r"^copy small (.*)$", (ROOT / "tools" / "fuzz").read_text(), re.MULTILINE)[0].split()
    path = tmp_path / "analysis" / "engine" / "layout.py"
    text = path.read_text()
    for name, value in (pair.split("=") for pair in names):
        text, replaced = re.subn(rf"^{name} = [0-9_]+", f"{name} = {value}", text, flags=re.MULTILINE)
        assert replaced == 1
    path.write_text(text)
    command = [sys.executable, "tests/fuzz.py", "--only", "parts", "--only", "ranges", "--count", "12"]
    ended = subprocess.run(
        command,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert re.fullmatch(r"(\w+: 12 cases in \d+ s, 0 findings \(.*\)\n){2}", ended.stdout)


def test_a_finding_is_written_and_can_be_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(case: fuzz.Case) -> str:
        case.trying(b"what was tried")
        assert case.chance.randrange(4), "one of four"
        return "fine"

    monkeypatch.setitem(fuzz.FUZZERS, "oracle", fails)
    arguments = ["fuzz.py", "--only", "oracle", "--found", str(tmp_path), "--count", "30"]
    monkeypatch.setattr(sys, "argv", arguments)
    assert fuzz.main() == 1
    line = capsys.readouterr().out
    found = sorted(tmp_path.glob("*.txt"))
    assert re.fullmatch(rf"oracle: 30 cases in \d+ s, {len(found)} findings \(.*\)\n", line)
    assert found[0].with_suffix(".bin").read_bytes() == b"what was tried"
    first, *_ = found[0].read_text().splitlines()
    monkeypatch.setattr(sys, "argv", ["fuzz.py", *first.split()[2:], "--found", str(tmp_path / "again")])
    assert fuzz.main() == 1
    assert "one of four" in capsys.readouterr().out


def test_ctrl_c_ends_it(tmp_path: Path) -> None:
    command = [sys.executable, "tests/fuzz.py", "--only", "mutants", "--seconds", "60", "--found", str(tmp_path)]
    run = subprocess.Popen(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": "."}, stdout=subprocess.PIPE, text=True)
    time.sleep(8)
    run.send_signal(signal.SIGINT)
    out, _ = run.communicate(timeout=60)
    assert (run.returncode, out.splitlines()[-1:]) in ((130, ["stopped"]), (-signal.SIGINT, []))  # [] while it imports


# -- what was found ----------------------------------------------------------------------------------------------------

#: What each holds: openings by verdict, segments, duplicates, translated connections.
ANSWERS = {
    "error-first.pcap": ({"unanswered": 1}, 1, 0, 0),
    "misdirected.pcap": ({"unanswered": 2}, 4, 0, 0),
    "misdirected-before-the-end.pcap.gz": ({"unanswered": 3}, 5, 0, 0),
    "other-side.pcap": ({"unanswered": 1, "self-syn": 2}, 4, 0, 1),
    "padded.pcap.xz": ({"self-connect": 1}, 3, 0, 0),
    "reach-overflow.pcap": ({"three-way": 1}, 3, 0, 0),
    "reach-wrap.pcap": ({"three-way": 1}, 3, 0, 0),
    "reset-after-data.pcap": ({"three-way": 1}, 6, 0, 0),
    "skippable-first.pcap.zst": ({"self-connect": 1}, 3, 0, 0),
    "skippable.pcap.lz4": ({"self-connect": 1}, 3, 0, 0),
    "skippable.pcap.zst": ({"self-connect": 1}, 3, 0, 0),
    "three-copies.pcap.gz": ({"unanswered": 1}, 2, 1, 0),
    "twin-backwards.pcap": ({"unanswered": 1}, 2, 1, 0),
    "two-comments.pcap": ({"three-way": 1, "unanswered": 1}, 4, 0, 0),
}
each_form = pytest.mark.parametrize("form", fuzz.forms())


def plain(name: str) -> bytes:
    """What is in the file, unpacked."""
    return b"".join(map(bytes, unpacked(name, iter([(fuzz.FOUND / name).read_bytes()]))))


def test_every_capture_has_its_answer() -> None:
    assert {path.name for path in fuzz.FOUND.iterdir()} == set(ANSWERS)
    assert sum(path.stat().st_size for path in fuzz.FOUND.iterdir()) < 50_000


@each_form
@pytest.mark.parametrize("asked", [{"collect": frozenset(Verdict)}, {}], ids=["all", "remarkable"])
@pytest.mark.parametrize("name", ANSWERS)
def test_found_once(name: str, form: str, asked: dict) -> None:
    """Whole; the verdicts are counted alike, whatever is collected."""
    verdicts, segments, duplicates, translated = ANSWERS[name]
    with fuzz.using(fuzz.forms()[form]):
        result = reader.analyze(str(fuzz.FOUND / name), **asked)
    assert {verdict: count for verdict, count in result.verdicts.items() if count} == verdicts
    assert (result.segments, result.duplicates, result.translated) == (segments, duplicates, translated)
    assert result.damage is None


def records(octets: bytes) -> list[bytes]:
    """The file's header, then its records (all of tests/found/ are little-endian)."""
    made, at = [octets[:24]], 24
    while at < len(octets):
        size = 16 + struct.unpack_from("<I", octets, at + 8)[0]
        made.append(octets[at : at + size])
        at += size
    return made


@pytest.mark.parametrize("name", ANSWERS)
def test_found_in_parts(name: str) -> None:
    """In three parts, cut anywhere and merged in any order: as the whole, or unsure."""
    header, *body = records(plain(name))
    chance = random.Random(name)
    places = range(len(body) + 1) if len(body) < 20 else [0, 1, 2, 1001, 1002, 1003, len(body) - 1, len(body)]
    asked = {"collect": frozenset(Verdict)}
    for one, two in itertools.combinations_with_replacement(places, 2):
        files = [header + b"".join(piece) for piece in (body[:one], body[one:two], body[two:])]
        expected = reference(files, asked)
        merged = partial.result(tree([partial.part([octets], **asked) for octets in files], chance))
        assert merged.unsure or merged == expected


@pytest.mark.parametrize("name", ANSWERS)
def test_found_in_every_view(name: str, tmp_path: Path) -> None:
    path = tmp_path / "it.pcap"
    path.write_bytes((fuzz.FOUND / name).read_bytes())
    for form in (*fuzz.FORMATS, "csv"):
        for more in ((), ("--all", "-v")):
            status, text = fuzz._command(*more, "--format", form, str(path))
            assert status == (4 if name == "three-copies.pcap.gz" else 0)  # frames without octets
            assert text


@pytest.mark.parametrize("name", ["two-comments.pcap", "twin-backwards.pcap"])
def test_found_is_annotated(name: str, tmp_path: Path) -> None:
    """Frame 2 of two-comments has something to say of two openings: one comment each, no 'has changed'."""
    annotated = tmp_path / "annotated.pcapng"
    assert fuzz._command("--all", "--annotate", str(annotated), str(fuzz.FOUND / name))[0] == 0
    assert annotated.read_bytes()[:4] == b"\x0a\x0d\x0d\x0a"


def test_what_waits_is_logged_before_its_place_is_taken() -> None:
    """Ranges of a file: a self-connect among the first NEAR frames of the second, and others NEAR frames after it.

    Its segments once waited in a queue while those NEAR frames later took their places in the ring to log from.
    """
    filler = frames.ipv4(SELF.packed, SELF.packed, bytes(20), frames.UDP)
    total = 3 * NEAR
    size = 16 + 14 + len(filler) + 30
    found = packets(self_connect(close=False).segments[:3])
    others = [
        frames.segment_packet(end, end, frames.tcp(end.port, end.port, Flag.ACK, number, 5), identification=number)
        for number, end in enumerate([SELF._replace(port=60_000)] * 3)
    ]
    for jobs, begin in itertools.product((2, 3), (1, 100, NEAR - 4)):
        start = (24 + total * size) * 9 // (8 * jobs + 1)  # where the second range is looked for
        first = -(-(start - 24) // size) + begin
        special = {first + place: packet for place, (_, packet) in enumerate(found)}
        special |= {first + NEAR + place: packet for place, packet in enumerate(others)}
        made = [(10**18 + number * 10**6, frames.ethernet(special.get(number, filler))) for number in range(total)]
        octets = writers.pcap((when, frame.ljust(size - 16, b"\0")) for when, frame in made)
        asked = {"only": frozenset({Verdict.SELF_CONNECT})}
        with fuzz._small_ranges(), fuzz.tempfile.NamedTemporaryFile() as file:
            file.write(octets)
            file.flush()
            result = parallel.analyze_parts([file.name], jobs, **asked)
            assert result is not None
            assert result == reader.analyze(file.name, **asked)
        assert result.verdicts[Verdict.SELF_CONNECT] == 1


@each_form
@pytest.mark.parametrize("link", [1, 101])
@pytest.mark.parametrize(
    ("later", "copies"),
    [(1, 1), (NEAR - 1, 1), (NEAR, 0), *((near + (1 << bits), 0) for bits in (16, 24, 31) for near in (-1, 0, 1))],
)
def test_numbers_of_frames_do_not_wrap(form: str, link: int, later: int, copies: int) -> None:
    """A packet that was captured so many frames ago is a duplicate, or no more; a frame's number has 32 bits."""
    ((_, packet),) = packets(self_connect(close=False).segments[:1])
    octets = writers.pcap([(10**18, frames.ethernet(packet) if link == 1 else packet)], link)
    with fuzz.using(fuzz.forms()[form]):
        analysis = reader.Analysis("it")
    analysis.feed(octets)
    analysis.engine.packets += later - 1
    analysis.feed(octets[24:])
    assert analysis.finish().duplicates == copies


@each_form
@pytest.mark.parametrize("link", [1, 101])
@pytest.mark.parametrize(("apart", "copies"), [(-1_000_000, 1), (-1_000_001, 0), (1_000_000, 1), (1_000_001, 0)])
def test_time_that_goes_back(form: str, link: int, apart: int, copies: int) -> None:
    ((_, packet),) = packets(self_connect(close=False).segments[:1])
    frame = frames.ethernet(packet) if link == 1 else packet
    octets = writers.pcap([(10**18, frame), (10**18 + apart, frame)], link, kind="nano")
    with fuzz.using(fuzz.forms()[form]):
        analysis = reader.Analysis("it")
    analysis.feed(octets)
    assert analysis.finish().duplicates == copies


def test_the_same_capture_gives_the_same_counts() -> None:
    """Whatever keys the run drew: which packet a full set of the search for copies forgets follows from the packets."""
    chance = random.Random(2047)
    packet = frames.ipv4(bytes((10, 0, 0, 1)), bytes((10, 0, 0, 2)), frames.tcp(40_000, 80, 2, 0))
    octets, now = [writers.pcap_header(101, kind="nano")], 10**18
    for _ in range(60 if engine.COMPILED else 1):
        once = [packet[:24] + chance.randbytes(4) + packet[28:] for _ in range(NEAR - 48)]
        octets += [writers.pcap_record(now + 100 * place, one, kind="nano") for place, one in enumerate(once + once)]
        now += 10**9
    whole = b"".join(octets)
    first, *others = (fuzz.said(whole, [len(whole)]) for _ in range(8))
    assert others == [first] * 7


def test_what_is_shifted_fits_its_field() -> None:
    """Every shift of the engine against the range of what it shifts: the compiled form has 64 bits, or what is said."""
    bits = layout.LOW64.bit_length()
    assert len(Phase) < bits  # masks of phases: 1 << phase
    assert len(VERDICTS) < bits - 1  # masks of verdicts
    flags = [value for name, value in vars(layout).items() if name in FLAGS]
    assert len(flags) == len(FLAGS)
    assert max(flags).bit_length() <= 32  # uint32_t flags
    assert len({*flags}) == len(flags)
    assert layout.KINDS.bit_length() + 12 <= bits  # links.py: a kind << 12
    assert (60).bit_length() + 16 <= 24  # duplicates.py: a header's size << 16, then 32 bits of length << 24
    assert bits >= 32 + 24
    assert (layout.IN_USE | 1 << 32 | 0xFFFF).bit_length() + 3 <= bits  # destinations.py: * 7
    assert layout.LOW48.bit_length() + 16 <= bits  # destinations.py: a time << 16 | port; 78 hours
    assert layout.LAST_SECOND * layout.SECOND + 10**9 < 1 << 63  # int64_t times
    assert 0xFFFF << 14 < 1 << 32  # resets.py: a window << its scale, of which more than 14 counts as 14
    assert layout.MAX_RECORD < 1 << 32
    assert NEAR < 1 << 32  # a frame's number in the search for duplicates


FLAGS = {
    *("FIRST_IS_B", "ENDED", "FIN_A", "FIN_B", "TOUCHED", "KEPT", "COUNTED", "MID", "EQUAL", "EARLY", "EARLY_FROM_A"),
    *("EARLY_ACKED", "ANOTHER", "OWN", "WIRED", "HEAD", "LENT", "LENT_RST", "LENT_ACKED", "UNREACHED", "LENDER"),
    *("ACKED_FIRST", "ACKED_SECOND", "UNTRACKED", "LEFT_OUT", "PAST", "CANDIDATE", "MID_ITSELF", "MID_COUNTED"),
    "SETTLED",
}
