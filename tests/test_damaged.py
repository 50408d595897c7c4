"""Damaged captures: the packets before the damage, as Wireshark reads them; where it breaks, and what is said."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from conftest import ROOT
from damaged import DAMAGED, Damaged
from test_capture_formats import tshark_frames
from test_mutants import interpreted

from analysis import reader
from analysis.errors import NotACapture
from analysis.model import CaptureResult, Verdict
from analysis.reader import Analysis, analyze

if TYPE_CHECKING:
    from pathlib import Path

EACH = pytest.mark.parametrize("damaged", DAMAGED.values(), ids=DAMAGED)


def read(path: Path) -> CaptureResult | str:
    """What we read; a sentence where it is no capture."""
    try:
        return analyze(str(path), collect=frozenset(Verdict))
    except NotACapture as error:
        return str(error)


@pytest.fixture
def path(damaged: Damaged, tmp_path: Path) -> Path:
    made = tmp_path / "it"
    made.write_bytes(damaged.octets)
    return made


@EACH
def test_as_much_as_wireshark_reads(damaged: Damaged, path: Path, need_tshark: str) -> None:
    result = read(path)
    found = 0 if isinstance(result, str) else result.packets
    assert found == damaged.packets
    if damaged.octets[:2] not in {b"BZ", b"\xfd7"}:  # no formats of Wireshark's
        assert tshark_frames(need_tshark, path) == (found if damaged.wireshark is None else damaged.wireshark)


@EACH
def test_what_becomes_of_it(damaged: Damaged, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiled and interpreted, at once and octet by octet."""
    result = read(path)
    assert damaged.status == (3 if isinstance(result, str) else 0 if result.complete else 4)
    monkeypatch.setattr(reader, "Engine", interpreted().Engine)
    assert read(path) == result
    monkeypatch.undo()
    if isinstance(result, str) or len(damaged.octets) > 5000 or damaged.octets[:2] in {b"BZ", b"\xfd7", b"\x1f\x8b"}:
        return
    analysis = Analysis(str(path), collect=frozenset(Verdict))
    for place in range(len(damaged.octets)):
        analysis.feed(damaged.octets[place : place + 1])
    assert analysis.finish() == result


def test_the_command_says_so_in_a_line_each(tmp_path: Path) -> None:
    paths = []
    for place, (name, damaged) in enumerate(DAMAGED.items()):
        paths.append(tmp_path / f"{place:02} {name.replace('/', '-')}.pcap")
        paths[-1].write_bytes(damaged.octets)
    command = [sys.executable, "-m", "analysis.cli", "-v", *paths]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 3
    lines = ended.stderr.splitlines()
    assert len(lines) == sum(damaged.status != 0 for damaged in DAMAGED.values())
    assert all(line.startswith(f"selfconn-analyze: {tmp_path}") or "cannot read" in line for line in lines)
    assert "Traceback" not in ended.stderr


def test_where_nothing_is_left_of_it_it_was_not_empty(tmp_path: Path) -> None:
    path = tmp_path / "it"
    path.write_bytes(DAMAGED["bzip2 cut"].octets)
    assert read(path) == f"{path} breaks before its first packet: the bzip2 stream is cut short"
