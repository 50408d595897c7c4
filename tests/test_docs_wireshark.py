"""What docs/wireshark.md tells Wireshark's users to type, typed."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

import pytest
from conftest import ROOT

from analysis.cli import main

if TYPE_CHECKING:
    from pathlib import Path

PAGE = (ROOT / "docs" / "wireshark.md").read_text()
LINES = re.findall(r"^ {4}(.+)$", PAGE, re.MULTILINE)
FILTERS = [line for line in LINES if re.match(r"(tcp|frame)\.", line)]
RULES = [line for line in LINES if line.startswith("@")]
CAPTURE_FILTERS = [line for line in LINES if line.startswith("(ip and")]
#: The filters for comments, and what they leave of the walk: refused attempts come first.
COMMENTED = dict(zip(FILTERS[-2:], (range(1, 22), range(19, 22)), strict=True))

#: For each filter of the page, in its order, the frames that it leaves of some captures.
LEFT = (
    {
        "self-connect-v4": "1 2 3 4 5 6 7",
        "self-connect-v6": "1 2 3 4 5 6 7",
        "self-connect-walk": "19 20 21 22",
        "three-way": "",
    },
    {"self-connect-v4": "2", "self-connect-v6": "2", "self-connect-walk": "20", "land": ""},
    {"self-connect-v4": "3 4 5 6 7", "self-connect-rst": "3 4 5", "land": "", "three-way": ""},
    {"self-connect-v4": "2", "simultaneous-open-middle": "3 4", "three-way": ""},
    {"refused": "2", "server-cannot-bind": "7 11", "three-way": ""},
)


def tshark(program: str, home: Path, *arguments: str | Path) -> list[str]:
    environment = {"HOME": str(home), "WIRESHARK_CONFIG_DIR": str(home), "PATH": "/usr/bin:/bin"}
    answer = subprocess.run(
        [program, "-n", *map(str, arguments)], env=environment, capture_output=True, text=True, timeout=60, check=True
    )
    return answer.stdout.splitlines()


def test_the_page_is_all_tested() -> None:
    others = [line for line in LINES if line.startswith("selfconn-analyze ")]
    assert len(FILTERS) == len(LEFT) + len(COMMENTED)
    assert sorted([*FILTERS, *RULES, *CAPTURE_FILTERS, *others]) == sorted(LINES)


@pytest.mark.parametrize("place", range(len(LEFT)))
def test_a_display_filter_leaves_what_it_says(place: int, need_tshark: str, tmp_path: Path) -> None:
    for capture, frames in LEFT[place].items():
        file = ROOT / "pcaps" / f"{capture}.pcapng"
        left = tshark(need_tshark, tmp_path, "-r", file, "-Y", FILTERS[place], "-T", "fields", "-e", "frame.number")
        assert left == frames.split(), capture


def test_the_comments_can_be_filtered(need_tshark: str, tmp_path: Path) -> None:
    explained = tmp_path / "explained.pcapng"
    assert main(["-q", "--annotate", str(explained), str(ROOT / "pcaps" / "self-connect-walk.pcapng")]) == 0
    for words, frames in COMMENTED.items():
        left = tshark(need_tshark, tmp_path, "-r", explained, "-Y", words, "-T", "fields", "-e", "frame.number")
        assert left == [str(frame) for frame in frames]


def test_the_table_is_what_wireshark_says(need_tshark: str, tmp_path: Path) -> None:
    """Each frame's words, and the conversation's count of frames in either direction, from the program itself."""
    file = ROOT / "pcaps" / "self-connect-v4.pcapng"
    rows = dict(re.findall(r"^\| (\w+) \|.*\| (.+) \|$", PAGE, re.MULTILINE))
    lines = tshark(need_tshark, tmp_path, "-r", file)
    for frame in "123":
        quoted = rows[frame].strip("`")
        assert quoted in lines[int(frame) - 1], frame
    statistics = " ".join(tshark(need_tshark, tmp_path, "-q", "-z", "conv,tcp", "-r", file))
    one, other = re.findall(r"(\d+) frames? in one direction and (\d+) in the other", rows["all"])[0]
    assert re.search(rf"127\.0\.0\.1:50000 +<-> 127\.0\.0\.1:50000 +{one} +0 bytes +{other} ", statistics)


def test_the_coloring_rules_color(need_tshark: str, tmp_path: Path) -> None:
    (tmp_path / "colorfilters").write_text("\n".join(RULES) + "\n")
    file = ROOT / "pcaps" / "self-connect-walk.pcapng"
    fields = ("-T", "fields", "-e", "frame.coloring_rule.name")
    colors = tshark(need_tshark, tmp_path, "--color", "-r", file, *fields)
    own, answer = "A segment to itself", "A socket answers itself"
    assert colors[18:] == [own, answer, own, own]
    assert {own, answer}.isdisjoint(colors[:18])


def test_the_capture_filter_keeps_equal_ports(need_tcpdump: str) -> None:
    def kept(name: str) -> int:
        file = str(ROOT / "pcaps" / f"{name}.pcapng")
        command = [need_tcpdump, "-n", "-r", file, CAPTURE_FILTERS[0]]
        answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
        return len(answer.stdout.splitlines())

    assert [kept(name) for name in ("self-connect-v4", "self-connect-v6", "self-connect-walk", "three-way")] == [
        7,
        7,
        4,
        0,
    ]
