"""The captures in pcaps/: what they hold, what is said about them, and that they can be made again."""

from __future__ import annotations

import ipaddress
import re
import shutil
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from conftest import ROOT

from analysis import VERSION
from analysis.model import Verdict
from analysis.reader import analyze
from analysis.replay import replay

sys.path.append(str(ROOT / "pcaps"))
import make  # found by the line above

if TYPE_CHECKING:
    from pathlib import Path

    from analysis.model import CaptureResult

PCAPS = ROOT / "pcaps"

each_capture = pytest.mark.parametrize("name", make.CAPTURES)

#: For documentation: RFC 5737, RFC 3849. And loopback's own.
ADDRESSES = [ipaddress.ip_network(network) for network in ("192.0.2.0/24", "2001:db8::/32", "127.0.0.0/8", "::1/128")]


def committed(name: str, folder: Path = PCAPS) -> CaptureResult:
    return analyze(str(folder / f"{name}.pcapng"), collect=frozenset(Verdict))


def account(result: CaptureResult, varies: frozenset[Verdict]) -> list[tuple[object, ...]]:
    """What happened, without what is new each time: times, numbers, and which host's next segment came first."""
    return [
        (
            opening.verdict,
            {endpoint: replayed.state_path(endpoint) for endpoint in replayed.sockets},
            Counter((step.event, step.endpoint, step.before, step.after) for step in replayed.transitions),
        )
        for opening in result.openings
        if opening.verdict not in varies
        for replayed in (replay(opening),)
    ]


def test_nothing_is_there_that_is_not_in_the_table():
    there = {path.name for path in PCAPS.iterdir() if path.is_file()}
    files = {f"{name}.{kind}" for name in make.CAPTURES for kind in ("pcapng", "txt")}
    files |= {f"{name}.html" for name in make.PAGES}
    assert there == files | {"README.md", "make.py", "recipes.py"}


def test_one_is_of_a_big_endian_machine():
    orders = {name: (PCAPS / f"{name}.pcapng").read_bytes()[8:12] for name in make.CAPTURES}
    assert [name for name, order in orders.items() if order == b"\x1a\x2b\x3c\x4d"] == [
        "linux-6.1.176-s390x-self-connect"
    ]


def test_a_page_is_there_because_a_document_links_to_it():
    documents = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    to_page = re.compile(r"pcaps/([\w.-]+)\.html(?:#[\w-]+)?\)")
    links = {name for one in documents for name in to_page.findall(one.read_text("utf-8"))}
    assert links == set(make.PAGES)


@each_capture
def test_verdicts(name):
    capture, result = make.CAPTURES[name], committed(name)
    found = {verdict: count for verdict, count in result.verdicts.items() if count}
    assert found.keys() == capture.verdicts.keys()
    assert all(found[verdict] == count for verdict, count in capture.verdicts.items() if verdict not in capture.varies)
    assert (result.damage, result.undecoded, result.midstream) == (None, {}, 0)


@each_capture
def test_addresses_are_nobodys(name):
    for opening in committed(name).openings:
        for endpoint in (opening.source, opening.destination):
            assert any(ipaddress.ip_address(endpoint.address) in network for network in ADDRESSES)


@each_capture
def test_golden_text(name):
    assert make.golden(name) == (PCAPS / f"{name}.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize("name", make.PAGES)
def test_page(name):
    assert make.page(name).encode() == (PCAPS / f"{name}.html").read_bytes()


@pytest.mark.parametrize("name", ["self-connect-walk", "three-way"])
def test_a_page_is_what_the_command_writes_wherever_it_runs(name, tmp_path):
    """Another directory, time zone, language and hash seed: only the version is left out of what is committed."""
    shutil.copy(PCAPS / f"{name}.pcapng", tmp_path)
    command = [sys.executable, "-m", "analysis.cli", "--format", "html", *make.CAPTURES[name].options]
    place = {"PYTHONPATH": str(ROOT), "TZ": "Asia/Kathmandu", "LC_ALL": "C", "PYTHONHASHSEED": "7", "COLUMNS": "40"}
    shown = subprocess.run(
        [*command, f"{name}.pcapng"], cwd=tmp_path, env=place, capture_output=True, timeout=60, check=True
    ).stdout.decode()
    assert shown.count(f"selfconn {VERSION}") == 2
    assert shown.replace(f"selfconn {VERSION}", "selfconn") == make.page(name)


def test_index_is_current():
    assert make.index() == (PCAPS / "README.md").read_text(encoding="utf-8")


@each_capture
def test_wireshark_counts_the_same_packets(name, need_tshark, need_capinfos):
    capture, packets = str(PCAPS / f"{name}.pcapng"), committed(name).packets
    frames = [need_tshark, "-n", "-r", capture, "-T", "fields", "-e", "frame.number"]
    read = subprocess.run(frames, capture_output=True, text=True, timeout=60, check=True)
    assert [int(number) for number in read.stdout.split()] == list(range(1, packets + 1))
    counted = subprocess.run([need_capinfos, "-Mrc", capture], capture_output=True, text=True, timeout=60, check=True)
    assert int(counted.stdout.split()[-1]) == packets


def test_a_simultaneous_open_is_the_same_wherever_it_is_captured():
    left, right, middle = (
        replay(committed(f"simultaneous-open-{where}").openings[0]) for where in ("left", "right", "middle")
    )
    for endpoint in left.sockets:
        assert left.state_path(endpoint) == right.state_path(endpoint) == middle.state_path(endpoint)


def test_a_reused_time_wait_shows_in_the_timestamps_of_a_bare_syn():
    syns = [opening.segments[0] for opening in committed("self-connect-after-time-wait").openings]
    assert [bool(syn.options.tsecr) for syn in syns] == [False, True]


@pytest.mark.live
@pytest.mark.root
@pytest.mark.usefixtures("need_root")
@pytest.mark.parametrize("recipe", make.RECIPES, ids=lambda recipe: recipe.captures[0].name)
def test_made_again_it_tells_the_same(recipe, tmp_path):
    """Made up to three times: on a machine that stops for longer than a segment takes, the hosts say other things."""
    before = [account(committed(capture.name), capture.varies) for capture in recipe.captures]
    for _ in range(3):
        recipe.make(make.Studio(tmp_path))
        again = [account(committed(capture.name, tmp_path), capture.varies) for capture in recipe.captures]
        if again == before:
            break
    assert again == before
