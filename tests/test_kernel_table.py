"""docs/kernels.md is what was measured on other kernels, and every cell of it is right."""

from __future__ import annotations

import json
import sys

import pytest
from conftest import ROOT

from capture.kernel.port_rules import identified

sys.path.append(str(ROOT / "tools" / "kernels"))
import table  # it is found by the line above

MEASURED = json.loads(table.MEASURED.read_text())


def test_the_page_is_that_of_the_measurements() -> None:
    assert table.PAGE.read_text() == table.page(MEASURED)


@pytest.mark.parametrize("name", MEASURED)
def test_every_cell_is_right(name: str) -> None:
    assert table.wrong(MEASURED[name]) == []


@pytest.mark.parametrize("name", MEASURED)
def test_the_third_packet_is_that_of_the_release(name: str) -> None:
    """ "tcp: Don't drop SYN+ACK for simultaneous connect()" is in 6.11, 6.10.10 and 6.1.110."""
    release = identified(MEASURED[name]["upstream"]).release
    fixed = release >= (6, 10, 10) or (release[:2] == (6, 1) and release >= (6, 1, 110))
    assert {one["third"] for one in MEASURED[name]["runs"].values()} == {"D-SACK" if fixed else "plain"}


@pytest.mark.parametrize(
    ("cell", "worse"),
    [("rule", {"measured": "moving on by 1"}), ("forecast", {"errors": 4.2}), ("check", {"check": 1})],
)
def test_a_wrong_cell_is_seen(cell: str, worse: dict[str, object]) -> None:
    assert table.wrong(next(iter(MEASURED.values())) | worse) == [cell]


def test_a_run_that_failed_has_a_row() -> None:
    first = next(iter(MEASURED.values()))
    failed = first | {"runs": {"v4": {"status": 70, "error": "TypeError"}}}
    assert "| no capture (status 70) |" in table.page({"one": failed})
    assert table.wrong(failed) == ["verdict", "agrees"]


def test_a_wrong_set_up_is_seen() -> None:
    assert table.wrong(next(iter(MEASURED.values())) | {"setups": [True, False]}) == ["setups"]


def test_a_test_that_failed_there_is_seen() -> None:
    assert table.wrong(next(iter(MEASURED.values())) | {"tests": {"passed": 1, "skipped": 0, "failed": 1}}) == ["tests"]
