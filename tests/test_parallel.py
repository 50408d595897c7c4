"""Many captures at a time: the report of one after the other, whatever becomes of some of them."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING

import pytest
from conftest import ROOT
from segments import SELF6, refused, self_connect, three_way
from test_analyze_cli import capture, run
from test_command import left

from analysis import parallel as many
from analysis.cli import main
from analysis.errors import NotACapture
from analysis.views import json, preparing

if TYPE_CHECKING:
    from concurrent.futures import Future
    from pathlib import Path

    from analysis.model import CaptureResult
    from analysis.report import Json


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Sound captures, some that are cut, some that are none."""
    whole = capture(refused(), self_connect(), three_way(), self_connect(SELF6))
    for number in range(40):
        kinds = (whole, whole * (number == 1) or capture(refused()), whole[:-7], b"no capture")
        (tmp_path / f"{number:02}.pcap").write_bytes(kinds[number % 4])
    return tmp_path


@pytest.mark.parametrize("form", ["table", "json", "jsonl", "markdown"])
def test_the_report_is_the_same(folder: Path, form: str) -> None:
    one, two, default = (run("--format", form, *jobs, folder) for jobs in (("--jobs", "1"), ("--jobs", "2"), ()))
    assert (one.returncode, one.stdout, one.stderr) == (two.returncode, two.stdout, two.stderr)
    assert (one.returncode, one.stdout, one.stderr) == (default.returncode, default.stdout, default.stderr)
    assert one.returncode == 4
    assert one.stderr.count("ends early") == 10


def slow_first(path: str, asked: dict[str, object], finish: many.Finish | None, jobs: int) -> many.Found:
    """The first capture takes longest."""
    if path.endswith("00.pcap"):
        time.sleep(0.3)
    return many.attempt(path, asked, None, finish, jobs)


@pytest.mark.long
def test_whatever_is_ready_first_the_order_is_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "_analyze_in_worker", slow_first)
    paths = [str(folder / name) for name in ("00.pcap", "01.pcap", "04.pcap")]
    assert [result.name for result in many.analyze_many(paths, 2) if not isinstance(result, NotACapture)] == paths


def test_processes_find_what_one_finds(folder: Path) -> None:
    paths = sorted(map(str, folder.iterdir()))[:12]
    octets: list[int] = []

    def results(jobs: int) -> list[object]:
        found = many.analyze_many(paths, jobs, octets.append, preparing("html"))
        return [str(one) if isinstance(one, NotACapture) else (one.result, len(one.walks)) for one in found]

    assert results(1) == results(2)
    assert sum(octets) == 2 * sum((folder / path).stat().st_size for path in paths)


def test_a_few_small_captures_get_no_processes(folder: Path) -> None:
    paths = [str(path) for path in folder.iterdir()]
    assert many.fitting(paths) == 1
    (folder / "large.pcap").touch()
    os.truncate(folder / "large.pcap", 1 << 30)
    assert many.fitting([*paths, str(folder / "large.pcap")]) == many.cores()
    assert many.fitting(["https://example.org/a.pcap"]) == many.cores()


def dying(path: str, asked: dict[str, object], finish: many.Finish | None, jobs: int) -> many.Found:
    """What a worker does whose second capture is too much for it."""
    if path.endswith("04.pcap"):
        os._exit(9)
    return many.attempt(path, asked, None, finish, jobs)


@pytest.mark.long
def test_a_worker_that_dies_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "_analyze_in_worker", dying)
    paths = [str(folder / name) for name in ("00.pcap", "04.pcap", "08.pcap", "12.pcap")]
    first, second, *others = many.analyze_many(paths, 2)
    assert str(second) == f"cannot read {paths[1]}: the process that read it died"
    assert [result.name for result in (first, *others)] == [paths[0], *paths[2:]]


def test_without_other_threads_workers_are_forked() -> None:
    ask = "from analysis.parallel import start_method; print(start_method().get_start_method())"
    assert subprocess.check_output([sys.executable, "-c", ask], text=True) == "fork\n"


def test_beside_other_threads_workers_begin_anew(folder: Path) -> None:
    """They are not copied together with what another thread may be in the middle of."""
    paths = [str(folder / name) for name in ("00.pcap", "04.pcap", "08.pcap")]
    alone = list(many.analyze_many(paths, 2))
    end = threading.Event()
    other = threading.Thread(target=end.wait)
    other.start()
    try:
        assert many.start_method().get_start_method() == "spawn"
        assert list(many.analyze_many(paths, 2)) == alone
    finally:
        end.set()
        other.join()


@pytest.mark.long
def test_the_command_outlives_a_worker(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Writing to the one that died must not be taken for a reader of the report who left."""
    monkeypatch.setattr(many, "_analyze_in_worker", dying)
    seen = []
    original = many.Processes.result

    def noted(self: many.Processes, path: str, future: Future[many.Found]) -> many.Found | None:
        seen.append(signal.getsignal(signal.SIGPIPE))
        return original(self, path, future)

    monkeypatch.setattr(many.Processes, "result", noted)
    assert main(["--jobs", "2", *(str(folder / name) for name in ("00.pcap", "04.pcap", "08.pcap"))]) == 3
    assert "04.pcap: the process that read it died" in capfd.readouterr().err
    assert seen == [signal.SIG_IGN] * 3


def test_ctrl_c_ends_it_with_what_there_is(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    paths = sorted(map(str, folder.glob("*[02468].pcap")))
    found = []
    original = many.Processes.result

    def interrupted(self: many.Processes, path: str, future: Future[many.Found]) -> many.Found | None:
        if path == paths[2] and not found[2:]:
            found.append("signal")
            raise KeyboardInterrupt
        return original(self, path, future)

    monkeypatch.setattr(many.Processes, "result", interrupted)
    with pytest.raises(KeyboardInterrupt):
        found.extend(many.analyze_many(paths, 2))
    assert found[2] == "signal"
    assert [result.name for result in found[:2]] == paths[:2]
    assert multiprocessing.active_children() == []


def test_ctrl_c_while_the_walks_are_drawn_loses_no_capture(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = str(folder / "04.pcap")
    assert main(["--format", "json", path]) == 0
    whole = capsys.readouterr().out
    original, interrupts = json.walks_as_json, iter([signal.SIGINT])

    def interrupted(result: CaptureResult) -> list[Json]:
        for number in interrupts:
            os.kill(os.getpid(), number)
        return original(result)

    monkeypatch.setattr(json, "walks_as_json", interrupted)
    assert main(["--format", "json", path]) == 130
    assert capsys.readouterr().out == whole


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_process_stays_behind(tmp_path: Path, number: signal.Signals) -> None:
    """Whoever sends it: to one process, as kill does, or to all of them, as a terminal does with Ctrl-C."""
    whole = capture(*[refused() for _ in range(200)])
    (tmp_path / "0.pcap").write_bytes(whole[:24] + whole[24:] * 1000)
    for copy in range(1, 400):
        os.link(tmp_path / "0.pcap", tmp_path / f"{copy}.pcap")
    mark = f"SELFCONN_TEST_{os.getpid()}_{time.monotonic_ns()}"
    started = subprocess.Popen(
        [sys.executable, "-m", "analysis.cli", "--jobs", "2", tmp_path], cwd=ROOT, start_new_session=True,
        env=os.environ | {mark: "1"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 20
        while len(left(mark)) < 3:  # the command and two workers
            assert time.monotonic() < deadline
            time.sleep(0.02)
        time.sleep(0.3)
        (os.killpg if number == signal.SIGINT else os.kill)(started.pid, number)
        _, errors = started.communicate(timeout=20)
        assert started.returncode == (-number if number == signal.SIGKILL else 128 + number)
        assert "Traceback" not in errors
        while stays := left(mark):
            assert time.monotonic() < deadline, stays
            time.sleep(0.02)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)


def test_one_capture_starts_no_crew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(many, "Processes", None)
    [result] = many.analyze_many([str(ROOT / "pcaps" / "refused.pcapng")], 8)
    assert not isinstance(result, NotACapture)
