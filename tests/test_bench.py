"""The benchmark's captures hold what they are said to hold, and its runner tells who took part. Nothing is timed."""

from __future__ import annotations

import subprocess
import sys
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import pytest
from conftest import ROOT

from analysis.model import CaptureResult, Verdict
from analysis.reader import analyze

sys.path.insert(0, str(ROOT / "bench"))
import captures  # a script, found by the line above

if TYPE_CHECKING:
    from pathlib import Path

# More than one portion of rows, and the last one not full.
PACKETS = {"storm": 120_000, "bulk": 2_500, "flood": 2_001, "web": 6_000}


class Made(NamedTuple):
    name: str
    path: Path
    result: CaptureResult


pytestmark = pytest.mark.long  # makes captures


@pytest.fixture(scope="module", params=PACKETS)
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Made:
    path = captures.made(tmp_path_factory.mktemp("bench"), request.param, PACKETS[request.param])
    return Made(request.param, path, analyze(str(path), collect=frozenset(Verdict)))


def test_it_holds_what_was_put_into_it(made: Made) -> None:
    found = {verdict.value: count for verdict, count in made.result.verdicts.items() if count}
    assert found == captures.CAPTURES[made.name].verdicts(PACKETS[made.name])
    assert made.result.damage is None
    assert not made.result.duplicates
    assert not made.result.undecoded
    assert not made.result.midstream


def test_it_has_about_as_many_packets_and_octets_as_asked(made: Made) -> None:
    assert PACKETS[made.name] * 0.99 < made.result.packets < PACKETS[made.name] + 100
    size = captures.CAPTURES[made.name].octets * PACKETS[made.name]
    assert 0.95 < made.path.stat().st_size / size < 1.05


def test_time_moves_on_and_tuples_differ(made: Made) -> None:
    openings = made.result.openings
    assert all(one.time < next_.time for one, next_ in pairwise(openings))
    ports = {opening.source.port for opening in openings}
    assert len(ports) > min(len(openings), 10_000) / 2
    if made.name == "flood":
        assert len({(opening.source, opening.destination) for opening in openings}) == len(openings)


def test_the_same_again_is_the_same_file(made: Made, tmp_path: Path) -> None:
    again = captures.made(tmp_path, made.name, PACKETS[made.name])
    assert again.read_bytes() == made.path.read_bytes()


def test_what_is_there_is_not_made_again(made: Made) -> None:
    before = made.path.stat().st_mtime_ns
    assert captures.made(made.path.parent, made.name, PACKETS[made.name]) == made.path
    assert made.path.stat().st_mtime_ns == before
    assert [path.name for path in made.path.parent.iterdir()] == [made.path.name]


def test_where_there_is_no_room_it_says_so(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="has room for"):
        captures.made(tmp_path, "bulk", 10**12)
    assert not list(tmp_path.iterdir())


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, ROOT / "bench" / "run.py", *arguments],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def test_the_runner_tells_who_took_part_and_who_could_not(tmp_path: Path) -> None:
    answer = run("--dir", tmp_path, "--scale", "0.001", "--rounds", "1", "--discard", "small")
    assert answer.returncode == 0, answer.stderr
    for name in ("selfconn-analyze", "dpkt, equal endpoints", "scapy, equal endpoints"):
        assert f"\n| {name} | " in answer.stdout or f"Not measured: {name}. " in answer.stdout
    assert not list(tmp_path.iterdir())


def test_the_runner_refuses_what_it_does_not_know() -> None:
    answer = run("strom")
    assert answer.returncode == 2
    assert "there is no strom" in answer.stderr
