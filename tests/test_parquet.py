"""Openings as data: what the file holds, asked of the programs that read such files."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import duckdb
import pytest
from conftest import ROOT
from pyarrow import parquet
from test_analyze_cli import run

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.long  # pandas and duckdb take their time

PCAPS = ROOT / "pcaps"


def test_a_row_for_each_opening(tmp_path: Path) -> None:
    written = tmp_path / "openings.parquet"
    ended = run("-o", written, PCAPS)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    report = json.loads(run("--format", "json", "--all", PCAPS).stdout)
    counted = {
        (capture["name"], verdict): count
        for capture in report["captures"]
        for verdict, count in capture["verdicts"].items()
        if count
    }
    asked = "SELECT capture, verdict, count(*) FROM read_parquet(?) GROUP BY ALL"
    rows = duckdb.execute(asked, [str(written)]).fetchall()
    assert {(capture, verdict): count for capture, verdict, count in rows} == counted
    assert parquet.ParquetFile(written).metadata.num_rows == sum(counted.values())


def test_a_row_says_what_the_report_says(tmp_path: Path) -> None:
    written = tmp_path / "openings.parquet"
    capture = PCAPS / "self-connect-walk.pcapng"
    assert run("--format", "parquet", "-o", written, "--only", "self-connect", capture).returncode == 0
    [row] = parquet.read_table(written).to_pylist()
    [opening] = json.loads(run("--format", "json", "--only", "self-connect", capture).stdout)["openings"]
    assert row["source_address"] == row["destination_address"] == opening["source"]["address"]
    assert row["source_port"] == row["destination_port"] == opening["source"]["port"]
    for name in (
        "verdict",
        "isn",
        "first_frame",
        "syn_retransmissions",
        "refused_before",
        "established",
        "frames",
        "notes",
    ):
        assert row[name] == opening[name], name
    assert row["duration_ns"] == round(opening["duration_us"] * 1000)
    assert f"{row['time'].value / 10**9:.6f}" == f"{float(opening['time']):.6f}"


def test_every_column_is_documented(tmp_path: Path) -> None:
    written = tmp_path / "openings.parquet"
    run("-o", written, PCAPS / "refused.pcapng")
    documented = re.findall(r"`(\w+)`(?=[^|]*\|[^|]*\|)", (ROOT / "docs" / "data.md").read_text())
    assert documented == parquet.read_schema(written).names


def test_the_notebook_s_lines_run(tmp_path: Path) -> None:
    run("-o", tmp_path / "openings.parquet", PCAPS)
    [lines] = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "data.md").read_text(), re.DOTALL)
    pytest.importorskip("pandas")
    ended = subprocess.run(
        [sys.executable, "-c", lines], cwd=tmp_path, env={"MPLBACKEND": "agg", "HOME": str(tmp_path)},
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    assert "self-connect" in ended.stdout
    assert (tmp_path / "walk.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--format", "parquet"), "cannot be written to standard output: name a file with -o"),
        (("-o", "x.parquet", "--format", "json"), "-o x.parquet names a Parquet file"),
        (("-o", "x.parquet", "--step"), "leave out"),
    ],
)
def test_what_does_not_go_together(arguments: tuple[str, ...], words: str) -> None:
    ended = run(*arguments, PCAPS / "refused.pcapng")
    assert ended.returncode == 2
    assert words in ended.stderr
