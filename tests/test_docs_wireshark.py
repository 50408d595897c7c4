"""What docs/wireshark.md tells Wireshark's users to type, typed."""

from __future__ import annotations

import csv
import re
import shutil
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
    others = [line for line in LINES if line.startswith(("selfconn-analyze ", "mkdir ", "tshark "))]
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


# -- the profile -----------------------------------------------------------------------------------------------------

PROFILE = ROOT / "docs" / "wireshark" / "selfconn"
#: The buttons in their order, and the filter of the page that each of them has.
BUTTONS = {
    "Equal ports": "tcp.srcport == tcp.dstport",
    "To itself": FILTERS[0],
    "Self-connects": FILTERS[1],
    "Standing": FILTERS[2],
    "Simultaneous opens": FILTERS[3],
    "Refused": FILTERS[4].removeprefix("tcp.srcport == 50000 && "),
}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Wireshark's settings, with the profile as the page has it copied."""
    shutil.copytree(PROFILE, tmp_path / "profiles" / "selfconn")
    return tmp_path


def test_the_profile_has_its_columns(need_tshark: str, home: Path) -> None:
    lines = tshark(need_tshark, home, "-C", "selfconn", "-r", ROOT / "pcaps" / "self-connect-v4.pcapng")
    first, second = (" ".join(line.split()) for line in lines[:2])
    assert re.match(r"1 0\.0+ 127\.0\.0\.1 50000 127\.0\.0\.1 50000 \W*S\W* 1980674165 0 50000 ", first)
    assert re.match(r"2 0\.0+15042 127\.0\.0\.1 50000 127\.0\.0\.1 50000 \W*A\W*S\W* 1980674165 1980674166 ", second)


def test_the_profile_colors(need_tshark: str, home: Path) -> None:
    def colors(name: str) -> list[str]:
        file = ROOT / "pcaps" / f"{name}.pcapng"
        return tshark(need_tshark, home, "-C", "selfconn", "--color", "-r", file, "-T", "fields",
                      "-e", "frame.coloring_rule.name")  # fmt: skip

    own, answer = "A segment to itself", "A socket answers itself"
    assert colors("self-connect-walk") == ["", "Connection refused"] * 9 + [own, answer, own, own]
    assert colors("simultaneous-open-middle")[2:4] == ["A SYN-ACK of a simultaneous open, or one sent again"] * 2
    assert set(colors("three-way")) == {""}
    assert [rule for rule in (PROFILE / "colorfilters").read_text().splitlines() if rule in RULES] == RULES


def test_the_buttons_of_the_profile_are_the_filters_of_the_page() -> None:
    rows = [row for row in csv.reader((PROFILE / "dfilter_buttons").read_text().splitlines()) if row]
    assert {label: words for _, label, words, _ in rows} == BUTTONS
    assert all(enabled == "TRUE" for enabled, *_ in rows)
    assert re.findall(r"^\| ([A-Z][\w -]+?) \| [^|]+ \|$", PAGE, re.MULTILINE) == list(BUTTONS)


def test_a_button_that_wireshark_cannot_read_would_be_seen(need_tshark: str, home: Path) -> None:
    """tshark reads the buttons, too, and says what is wrong with them: of ours nothing."""
    command = [need_tshark, "-C", "selfconn", "-r", str(ROOT / "pcaps" / "land.pcapng")]
    environment = {"HOME": str(home), "WIRESHARK_CONFIG_DIR": str(home), "PATH": "/usr/bin:/bin"}

    def complaints() -> str:
        said = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True).stderr
        return "".join(line for line in said.splitlines() if "dangerous" not in line)

    assert complaints() == ""
    with (home / "profiles" / "selfconn" / "dfilter_buttons").open("a") as file:
        file.write('"MAYBE,"broken\n')
    assert "dfilter_buttons" in complaints()


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
