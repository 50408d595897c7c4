"""Results that wait in a file are the results that were put there, in any order of asking."""

from __future__ import annotations

import tempfile
from array import array
from typing import TYPE_CHECKING

import pytest
from segments import refused, self_connect

from analysis.model import Attempts, CaptureResult, Endpoint, Verdict
from analysis.report import Report, report
from analysis.result_spill import Shelf
from analysis.views import FORMATS, rendered

if TYPE_CHECKING:
    from collections.abc import Iterator

HERE = Endpoint.parse("127.0.0.1", 50_000)


def result(number: int) -> CaptureResult:
    """A result that has about 300 KB of attempts, and two openings."""
    walk = Attempts(HERE, 30_000, 0, 30_000, array("H", range(30_000)), array("Q", range(30_000)))
    verdicts = {Verdict.SELF_CONNECT: 1, Verdict.REFUSED: 1}
    openings = [self_connect(), refused()]
    return CaptureResult(f"{number}.pcap", packets=number, openings=openings, attempts=[walk], verdicts=verdicts)


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    made = Shelf(1 << 20)
    yield made
    made.close()


RESULTS = [result(number) for number in range(12)]


def test_what_is_past_the_room_comes_back(shelf: Shelf) -> None:
    for one in RESULTS:
        shelf.append(one)
    assert 1 <= len(shelf._near) < 5
    assert len(shelf) == 12
    assert list(shelf) == RESULTS
    assert [shelf[place] for place in (11, 0, 7, -1)] == [RESULTS[place] for place in (11, 0, 7, -1)]
    assert shelf[3:9:2] == RESULTS[3:9:2]
    with pytest.raises(IndexError):
        shelf[12]


@pytest.mark.parametrize("form", [form for form in FORMATS if form != "parquet"])
@pytest.mark.parametrize("verbose", [False, pytest.param(True, marks=pytest.mark.long)])
def test_the_report_is_the_same(shelf: Shelf, form: str, verbose: bool) -> None:
    far = Report(shelf)
    for one in RESULTS:
        far.add(one)
    near = report(RESULTS)
    texts = ["".join(rendered(made, form, color=False, verbose=verbose, quiet=False)) for made in (near, far)]
    assert texts[0] == texts[1]
    assert [entry.capture for entry in far.entries] == [far.entries[number].capture for number in range(24)]
    assert far.entries[22:] == list(far.entries)[22:]


def test_nowhere_to_put_it(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere")
    for one in RESULTS:
        shelf.append(one)
    assert list(shelf) == shelf._near == RESULTS


def test_the_disk_is_full(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    for one in RESULTS[:8]:
        shelf.append(one)
    assert shelf._file
    monkeypatch.setattr(shelf, "_put_away", full)
    for one in RESULTS[8:]:
        shelf.append(one)
    assert list(shelf) == shelf._near == RESULTS


def full(_result: CaptureResult) -> None:
    raise OSError(28, "No space left on device")
