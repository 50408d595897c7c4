"""Openings as comma-separated values: read by Python's own reader and by DuckDB; and the endings that name a format."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

import pytest
from conftest import ROOT
from segments import self_connect
from test_analyze_cli import capture, run

from analysis.views import ENDINGS
from analysis.views.csv import text
from analysis.views.rows import COLUMNS

if TYPE_CHECKING:
    from pathlib import Path

PCAPS = ROOT / "pcaps"


def rows(written: str) -> list[dict[str, str]]:
    """What a strict reader makes of it."""
    lines = written.split("\r\n")
    assert lines.pop() == ""
    assert not any("\r" in line or "\n" in line for line in lines)
    read = list(csv.reader(io.StringIO(written, newline=""), strict=True))
    assert read[0] == list(COLUMNS)
    return [dict(zip(COLUMNS, cells, strict=True)) for cells in read[1:]]


def test_a_row_for_each_opening() -> None:
    ended = run("--format", "csv", PCAPS, text=False)
    assert (ended.returncode, ended.stderr) == (0, b"")
    found = rows(ended.stdout.decode())
    report = json.loads(run("--format", "json", "--all", PCAPS).stdout)
    assert len(found) == sum(sum(one["verdicts"].values()) for one in report["captures"])
    names = [one["name"] for one in report["captures"]]
    ours = {(one["capture"], int(one["first_frame"])): one for one in found}
    for opening in report["openings"]:
        row = ours[names[opening["capture"]], opening["first_frame"]]
        assert row["verdict"] == opening["verdict"]
        assert [row["source_address"], int(row["source_port"])] == list(opening["source"].values())
        assert int(row["isn"]) == opening["isn"]


def test_a_row_says_what_the_report_says(tmp_path: Path) -> None:
    written = tmp_path / "openings.csv"
    asked = ("--only", "self-connect", PCAPS / "self-connect-walk.pcapng")
    assert run("-o", written, *asked).returncode == 0
    [row] = rows(written.read_bytes().decode())
    [opening] = json.loads(run("--format", "json", *asked).stdout)["openings"]
    assert row["frames"] == " ".join(map(str, opening["frames"]))
    assert row["notes"] == " | ".join(opening["notes"])
    assert row["established"] == "true"
    assert row["refused_before"] == str(opening["refused_before"])
    assert int(row["duration_ns"]) == round(opening["duration_us"] * 1000)
    assert row["time"].endswith(f".{opening['time'].partition('.')[2]}Z")


@pytest.mark.long
def test_a_query_engine_reads_the_types(tmp_path: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    written = tmp_path / "openings.csv"
    run("-o", written, PCAPS)
    asked = "SELECT min(epoch_ns(time)), bool_or(established), max(isn) FROM read_csv(?)"
    earliest, established, isn = duckdb.execute(asked, [str(written)]).fetchone()
    assert established is True
    assert isinstance(isn, int)
    times = [json.loads(run("--format", "json", "--all", PCAPS).stdout)["openings"][0]["time"]]
    assert earliest <= int(times[0].replace(".", ""))


@pytest.mark.parametrize(
    ("given", "cell"),
    [
        ("night.pcap", "night.pcap"),
        ("=1+1", '"\'=1+1"'),
        ("+1", '"\'+1"'),
        ("-x.pcap", '"\'-x.pcap"'),
        ("@SUM(A1)", '"\'@SUM(A1)"'),
        ("\uff1d1", '"\'\uff1d1"'),
        (" =1", '"\' =1"'),
        ("a,b", '"a,b"'),
        ('say "x"', '"say ""x"""'),
        ("a;=1", '"a;=1"'),
        ("a\nb", '"a\\nb"'),
        ("\t=1", '"\\t=1"'),
        ("\x1b[2J", '"\\x1b[2J"'),
    ],
)
def test_a_text(given: str, cell: str) -> None:
    assert text(given) == cell


def test_a_name_is_no_formula(tmp_path: Path) -> None:
    (tmp_path / "=cmd|'C calc'!A0.pcap").write_bytes(capture(self_connect()))
    ended = run("--format", "csv", "=cmd|'C calc'!A0.pcap", cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, text=False)
    assert [row["capture"] for row in rows(ended.stdout.decode())] == ["'=cmd|'C calc'!A0.pcap"]


# -- endings -----------------------------------------------------------------------------------------------------------

BEGINS = {
    "table": "=",
    "json": '{"schema"',
    "jsonl": '{"schema"',
    "html": "<!doctype html>",
    "markdown": "## ",
    "csv": "capture,verdict,",
    "parquet": "PAR1",
}


@pytest.mark.parametrize("ending", [*ENDINGS, ".txt", ""])
def test_the_ending_names_the_format(tmp_path: Path, ending: str) -> None:
    written, asked = tmp_path / f"report{ending}", PCAPS / "self-connect-v4.pcapng"
    form = ENDINGS.get(ending, "table")
    if form == "parquet":
        pytest.importorskip("pyarrow")
    assert run("-o", written, asked).returncode == 0
    if form in {"json", "csv", "jsonl", "markdown"}:
        assert written.read_text().splitlines() == run("--format", form, asked).stdout.splitlines()
    begins = str(asked) if form == "table" else BEGINS[form]
    assert written.read_bytes()[: len(begins)].decode().lower() == begins.lower()


def test_an_explicit_format_outranks_the_ending(tmp_path: Path) -> None:
    written = tmp_path / "report.html"
    assert run("--format", "json", "-o", written, PCAPS / "refused.pcapng").returncode == 0
    assert json.loads(written.read_text())["schema"] == "selfconn/1"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--format", "csv", "--step"), "writes rows without timelines"),
        (("-o", "x.csv", "--witness"), "writes rows without timelines"),
        (("-o", "x.csv", "--cluster", "local"), "no csv"),
    ],
)
def test_what_does_not_go_together(arguments: tuple[str, ...], words: str) -> None:
    ended = run(*arguments, PCAPS / "refused.pcapng")
    assert ended.returncode == 2
    assert words in ended.stderr
