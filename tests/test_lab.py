"""The experiments of lesson 9: each run as a student runs it, and what it must show on a kernel of ours."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, program

sys.path.insert(0, str(ROOT / "scenarios"))

import lab

LAB = ROOT / "scenarios" / "lab.py"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
HITS = r"([1-9]\d*) of 400 connected to themselves"
NONE = "0 of 400 connected to themselves"
SELF = "CLOSED > SYN-SENT > SYN-RECEIVED > ESTABLISHED"

#: What each experiment must show, a pattern for each of its lines; of some kernels only.
SHOWS = {
    "parity": [f"dial 50000 {HITS}", f"dial 50001 {NONE}", f"0, dial 50001 {HITS}", f"0, dial 50000 {NONE}"],
    "range": [f"50000-50007 {HITS}", f"50000-50031 {HITS}", f"50001-50008 {NONE}", f"50008-50015 {NONE}"],
    "own-range": [f"dial 50001 {NONE}", f"50000-50007, dial 50001 {HITS}", "50001-50001, dial 50001 400 of 400"],
    "127.0.0.2": [f"dial 127.0.0.1 {HITS}", f"dial 127.0.0.2 {NONE}", f"dial 127.0.0.1 {NONE}", f"127.0.0.2 {HITS}"],
    "listener": [f"nobody is there {HITS}", f"not listen {NONE}", f"listens on it {NONE}"],
    "lost-syn": [
        r"connect\(\) connected to itself after 1\.\d s",
        r"frame 1, 0\.000 s SYN frame 2, 1\.0\d\d s SYN frame 3, 1\.0\d\d s SYN-ACK frame 4",
        "verdict self-connect",
        SELF,
    ],
    "lost-syn-ack": [
        r"connect\(\) connected to itself after 1\.\d s",
        r"frame 1, 0\.000 s SYN frame 2, 0\.0\d\d s SYN-ACK frame 3, 1\.0\d\d s SYN-ACK frame 4",
        "verdict self-connect",
        SELF,
    ],
    "delay": [
        r"192\.0\.2\.1: connect\(\) connected 192\.0\.2\.2: connect\(\) connected",
        r"frame 1, 0\.000 s SYN frame 2, 0\.\d+ s SYN frame 3",
        "verdict simultaneous-open",
        rf"states of A \([\d.:]+\) {SELF} states of B \([\d.:]+\) {SELF}",
    ],
    "reuse": [
        r"tcp_tw_reuse=2, tcp_timestamps=1, 127\.0\.0\.1 connected to itself",
        r"tcp_tw_reuse=0, tcp_timestamps=1, 127\.0\.0\.1 EADDRNOTAVAIL",
        r"tcp_tw_reuse=2, tcp_timestamps=0, 127\.0\.0\.1 EADDRNOTAVAIL",
        r"tcp_tw_reuse=2, tcp_timestamps=1, 192\.0\.2\.1 EADDRNOTAVAIL",
        r"tcp_tw_reuse=1, tcp_timestamps=1, 192\.0\.2\.1 connected to itself",
    ],
    "kernel": [
        r"Linux 5\.10\.251 third segment: plain ACK; ESTABLISHED by segment 3",
        r"Linux 6\.1\.170 third segment: ACK with D-SACK; ESTABLISHED by segment 2",
        r"Linux this one \(.*\) third segment",
    ],
}


def conduct(*words: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(LAB), *words],
        cwd=cwd, env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_every_experiment_is_tested_and_stands_in_the_lesson() -> None:
    assert list(SHOWS) == list(lab.EXPERIMENTS)
    lesson = (ROOT / "docs" / "lessons" / "9-the-lab.md").read_text()
    rows = re.findall(r"^\| `([^`]+)` \| (.*?) \|", lesson, re.MULTILINE)
    assert [name for name, _ in rows] == list(lab.EXPERIMENTS)


@pytest.mark.live
@pytest.mark.usefixtures("need_private_namespace")
@pytest.mark.parametrize("name", SHOWS)
def test_an_experiment_shows_what_the_lesson_says(name: str, tmp_path: Path) -> None:
    release = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2]))
    if name == "own-range" and release < (6, 8):
        pytest.skip("Linux 6.8 and later")
    for needed in ("unshare", "ip"):
        program(needed, {"unshare": "util-linux", "ip": "iproute2"}[needed])
    before = Path("/proc/self/ns/net").readlink()
    ended = conduct("--yes", name, cwd=tmp_path)
    assert (ended.returncode, ended.stderr) == (0, "")
    said = " ".join(ended.stdout.split())
    place = 0
    for pattern in SHOWS[name]:
        found = re.compile(pattern).search(said, place)
        assert found, f"{pattern} in {said[place:]}"
        place = found.end()
    assert Path("/proc/self/ns/net").readlink() == before
    assert {path.name for path in tmp_path.iterdir()} <= {f"lab-{name}.pcap"}


def test_without_a_name_they_are_listed_and_an_unknown_one_is_refused(tmp_path: Path) -> None:
    listed = conduct(cwd=tmp_path)
    assert listed.returncode == 0
    assert all(f"  {name} " in listed.stdout for name in lab.EXPERIMENTS)
    assert conduct("nonsense", cwd=tmp_path).returncode == 2
