"""The second witness: what Wireshark says of our captures, and that nobody's settings have a say in it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import writers
from conftest import ROOT
from frames import LINKS
from segments import SELF, SELF6, Talk, packets, refused, self_connect, three_way

from analysis.cli import main
from analysis.errors import NotACapture, UsageError
from analysis.model import Endpoint, Verdict
from analysis.reader import analyze
from analysis.report import report
from analysis.views import FORMATS, rendered
from analysis.wireshark import REMARKS, Difference, Evidence, Tshark, Witness

CAPTURES = sorted((ROOT / "pcaps").glob("*.pcapng"))
SELF_CONNECT = ROOT / "pcaps" / "self-connect-v4.pcapng"


@pytest.fixture(scope="module")
def tshark(need_tshark: str) -> Tshark:
    assert need_tshark
    return Tshark()


def ask(tshark: Tshark, capture: Path) -> dict[int, Witness]:
    openings = analyze(str(capture), collect=frozenset(Verdict)).openings
    return tshark.ask(str(capture), [segment for opening in openings for segment in opening.segments])


@pytest.mark.parametrize("capture", CAPTURES, ids=lambda path: path.stem)
def test_no_field_is_read_differently(tshark: Tshark, capture: Path) -> None:
    said = ask(tshark, capture)
    assert len(said) == analyze(str(capture)).segments
    assert [witness for witness in said.values() if witness.differences] == []


def test_what_it_makes_of_an_open_without_a_server(tshark: Tshark) -> None:
    said = {frame: witness.says for frame, witness in ask(tshark, SELF_CONNECT).items() if witness.says}
    assert said == {2: ("TCP Retransmission",), 3: ("TCP Window Update",)}


def test_no_field_is_read_differently_whatever_the_link(tshark: Tshark, tmp_path: Path) -> None:
    """One file with an interface for each link type, and a conversation with many options on each."""
    blocks = [writers.section(), *(writers.interface(link.number) for link in LINKS)]
    for number, link in enumerate(LINKS):
        end = Endpoint(SELF.packed if 4 in link.versions else SELF6.packed, 40_000 + number)
        blocks += [
            writers.enhanced(time // 1000, link.wrap(packet), number=number)
            for time, packet in packets(self_connect(end).segments)
        ]
    path = tmp_path / "links.pcapng"
    path.write_bytes(b"".join(blocks))
    said = ask(tshark, path)
    assert len(said) == 7 * len(LINKS)
    assert [witness for witness in said.values() if witness.differences] == []


def test_the_remarks_are_worded_as_in_the_info_column(tshark: Tshark, need_tshark: str, tmp_path: Path) -> None:
    talk = Talk().a("S").b("S.", 0, 1).a(".", 1, 1)
    for seq in (1, 11, 31, 21, 1):  # a gap, what fills it, something old
        talk.a(".", seq, 1, 10)
    talk.b(".", 1, 11).b(".", 1, 11).b(".", 1, 11).a(".", 11, 1, 10).b(".", 1, 500).a(".", 0, 1).b(".", 1, 41)
    path = tmp_path / "a.pcap"
    path.write_bytes(writers.pcap(packets(talk.segments), 101, kind="nano"))
    for capture in (path, ROOT / "pcaps" / "self-connect-doubles.pcapng"):
        command = [need_tshark, "-n", "-r", str(capture), "-T", "fields", "-e", "frame.number", "-e", "_ws.col.Info"]
        environment = {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
        shown = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
        info = dict(line.split("\t") for line in shown.stdout.splitlines())
        known = "|".join(map(re.escape, REMARKS.values()))
        for frame, witness in ask(tshark, capture).items():
            in_brackets = re.findall(r"\[(TCP [^]]+)\]", info[str(frame)])
            assert sorted(witness.says) == sorted(in_brackets)
            assert all(re.match(known, remark) for remark in witness.says)


def test_a_difference_is_found_and_told(tshark: Tshark) -> None:
    result = analyze(str(SELF_CONNECT))
    opening = result.openings[0]
    first, second, third, *rest = opening.segments
    ours = [first._replace(window=1), second._replace(seq=second.seq + 1), third, *rest]
    ours[2] = third._replace(options=third.options._replace(sack=(), mss=536))
    said = tshark.ask(str(SELF_CONNECT), ours)
    assert said[1].differences == (Difference("window", "1", str(first.window)),)
    assert [difference.field for difference in said[2].differences] == ["seq"]
    assert [difference.field for difference in said[3].differences] == ["mss", "sack"]
    whole = report([result])
    whole.witness = Evidence(tshark.version, {(0, frame): witness for frame, witness in said.items()})
    assert whole.witness.differences == 4
    for form in FORMATS:
        shown = "".join(rendered(whole, form))
        assert form == "mermaid" or ("window" in shown and str(first.window) in shown), form
    table = " ".join("".join(rendered(whole, "table")).split())
    assert f"Frame 1: selfconn reads window 1, Wireshark {tshark.version} reads {first.window}." in table


def test_a_frame_that_wireshark_lacks_is_a_difference(tshark: Tshark, tmp_path: Path) -> None:
    short = tmp_path / "short.pcap"
    short.write_bytes(writers.pcap(packets(three_way().segments[:2]), 101, kind="nano"))
    said = tshark.ask(str(short), three_way().segments[:3])
    assert [witness.differences for witness in said.values()] == [(), (), (Difference("frame", "there", "None"),)]


def test_the_report_shows_both_readings(tshark: Tshark, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--witness", "--format", "json", str(SELF_CONNECT)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["witness"] == {"tshark": tshark.version, "frames": 7, "differences": 0}
    said = told["openings"][0]["witness"]
    assert said[1] == {"frame": 2, "says": ["TCP Retransmission"], "differences": []}
    documented = set(re.findall(r"`([a-z_]+)`", (ROOT / "docs" / "json.md").read_text()))
    assert {*told["witness"], *said[0], *Difference._fields} <= documented


def test_the_views_show_both_readings() -> None:
    whole = report([analyze(str(SELF_CONNECT))])
    assert "itness" not in "".join(rendered(whole, "json"))
    said = {(0, frame): Witness(frame, ("TCP Retransmission",) * (frame == 2), ()) for frame in range(1, 8)}
    whole.witness = Evidence("4.0.17", said)
    table = "".join(rendered(whole, "table"))
    assert re.search(r"2  A > A SYN-ACK  answers its own SYN \(3\.5\) +TCP Retransmission\n", table)
    assert "reads the same ports, numbers, flags, window and sound options in 7 frames." in table
    row = "| 2 | A > A SYN-ACK | answers its own SYN (3.5) | TCP Retransmission |"
    assert row in "".join(rendered(whole, "markdown"))


def test_nobodys_settings_count(tshark: Tshark, tmp_path: Path) -> None:
    """Neither a config.ini here, nor another tshark in PATH, nor the user's preferences, scripts and profiles."""
    assert tshark
    trace = tmp_path / "trace"
    trap = tmp_path / "tshark"
    trap.write_text(f"#!/bin/sh\necho ran >>{trace}\n")
    trap.chmod(0o755)
    (tmp_path / "config.ini").write_text(f"[tshark]\ntshark_path = {trap}\n")
    settings = tmp_path / ".config" / "wireshark"
    (settings / "plugins").mkdir(parents=True)
    script = f"local f = io.open('{trace}', 'a'); f:write('lua'); f:close()\n"
    for place in (settings / "init.lua", settings / "plugins" / "trap.lua"):
        place.write_text(script)
    (settings / "preferences").write_text("tcp.analyze_sequence_numbers: FALSE\n")
    (settings / "disabled_protos").write_text("tcp\n")
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "WIRESHARK_CONFIG_DIR": str(settings),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-W", "error", "-m", "analysis.cli", "--witness", "--format", "json", str(SELF_CONNECT)]
    answer = subprocess.run(
        command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert (answer.returncode, answer.stderr) == (0, "")
    assert json.loads(answer.stdout)["openings"][0]["witness"][1]["says"] == ["TCP Retransmission"]
    assert not trace.exists()


def children() -> set[str]:
    """The processes that this one has started and not waited for, the dead among them."""
    return {child for task in Path("/proc/self/task").iterdir() for child in (task / "children").read_text().split()}


def test_nothing_is_left_behind(tshark: Tshark) -> None:
    before = dict(os.environ), children()
    assert ask(tshark, SELF_CONNECT)
    assert (dict(os.environ), children()) == before


def test_what_tshark_cannot_read(tshark: Tshark, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lzma = pytest.importorskip("lzma")
    path = tmp_path / "a.pcapng.xz"
    path.write_bytes(lzma.compress(SELF_CONNECT.read_bytes()))
    with pytest.raises(NotACapture, match="reads none of the frames"):
        ask(tshark, path)
    assert main(["--witness", str(path)]) == 3
    captured = capsys.readouterr()
    assert "self-connect" in captured.out
    assert captured.err.count("\n") == 1


def test_a_damaged_capture(tshark: Tshark, tmp_path: Path) -> None:
    path = tmp_path / "cut.pcapng"
    path.write_bytes(SELF_CONNECT.read_bytes()[:700])
    assert sorted(ask(tshark, path)) == [1, 2]


def test_nothing_to_ask_about(tshark: Tshark) -> None:
    assert tshark.ask(str(SELF_CONNECT), []) == {}


def test_standard_input_cannot_be_read_twice(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--witness", "-"]) == 2
    assert "a second time" in capsys.readouterr().err


def test_without_wireshark(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis.wireshark._PATH", "/nowhere")
    with pytest.raises(UsageError, match="needs Wireshark's tshark"):
        Tshark()


def test_openings_that_were_not_asked_about(tshark: Tshark) -> None:
    result = analyze(str(SELF_CONNECT))
    whole = report([result])
    whole.witness = Evidence(tshark.version)
    assert "it was not asked about this opening" in " ".join("".join(rendered(whole, "table")).split())


@pytest.mark.usefixtures("need_tshark")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_tshark_and_shows_what_there_is(tmp_path: Path, number: signal.Signals) -> None:
    pipe, path = tmp_path / "ready", tmp_path / "a.pcap"
    os.mkfifo(pipe)
    many = packets(refused().segments) * 100_000  # some seconds of work
    path.write_bytes(writers.pcap([*packets(self_connect().segments), *many], 101, kind="nano"))
    program = (
        "import pyshark, sys; from analysis.cli import main\n"
        "started = pyshark.FileCapture._created_new_process\n"
        "def tell(*them, **more): started(*them, **more); open(sys.argv[1], 'w').close()\n"
        "pyshark.FileCapture._created_new_process = tell\n"
        "sys.exit(main(['--witness', sys.argv[2]]))"
    )
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", program, pipe, path],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        pipe.read_bytes()
        process.send_signal(number)
        shown, said = process.communicate(timeout=60)
    assert (process.returncode, said) == (128 + number, "")
    assert "it was not asked about this opening" in " ".join(shown.split())
    with pytest.raises(ProcessLookupError):
        os.killpg(process.pid, 0)


@pytest.mark.usefixtures("need_tshark")
@pytest.mark.parametrize("after", range(5))
def test_a_signal_between_the_making_of_a_coroutine_and_its_first_step(after: int) -> None:
    program = (
        "import asyncio, itertools, os, signal, sys; from analysis.cli import main\n"
        "calls, run = itertools.count(), asyncio.BaseEventLoop.run_until_complete\n"
        "def late(loop, coroutine):\n"
        "    next(calls) == int(sys.argv[1]) and os.kill(os.getpid(), signal.SIGINT)\n"
        "    return run(loop, coroutine)\n"
        "asyncio.BaseEventLoop.run_until_complete = late\n"
        "sys.exit(main(['--witness', sys.argv[2]]))"
    )
    ended = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, str(after), SELF_CONNECT],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (130, "")
    assert "self-connect" in ended.stdout
