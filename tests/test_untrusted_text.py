"""Nothing that a stranger wrote reaches a terminal, a page or a report raw: every text, in every place, in every form.

The places: names of files, the options and comments of a pcapng file, payloads, names of processes, words of a COMMAND.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
import socket
import struct
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING

import frames
import npm
import pytest
import writers
from conftest import ROOT
from pyarrow import parquet
from segments import SELF, Talk, packets, self_connect, simultaneous_open

from analysis.model import CaptureResult, Damage, Verdict
from analysis.report import report
from analysis.text import Style, printable
from analysis.views import rendered
from capture.check import findings, page, views
from capture.check.findings import Survey
from capture.kernel import sockets
from capture.kernel.namespaces import Namespace, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence


#: What each of them tries -> the text. None has the two characters that a file name cannot have.
NASTY = {
    "C0": "".join(map(chr, range(1, 32))) + "\x7f",
    "C1": "".join(map(chr, range(0x80, 0xA0))),
    "clears the screen": "\x1b[2J\x1b[H\x1b[31m",
    "sets the title": "\x1b]0;owned\x07\x1b]52;c;b3duZWQ=\x1b\\",
    "links": "\x1b]8;;http:evil.example\x1b\\click\x1b]8;;\x1b\\",
    "CSI in one octet": "\x9b2J\x9d0;owned\x9c",
    "runs backwards": "\u202egpj.exe\u202c\u2066x\u2069\u200f\u061c",
    "breaks the line": "a\u2028b\u2029c\r\nd\x0be\x0cf\x85g",
    "unseen": "a\u200bb\u2060c\ufeffd\U000e0041e",
    "an element": "<script>alert(1)<script>",
    "out of an attribute": "\"><img src=x onerror=alert(1)>' onload='x",
    "out of a comment": "--><b>x<!--",
    "an entity": "&lt;b&gt;&#60;i&#62;&amp",
    "Markdown": "`a` ``b`` [x](javascript:1) ![y](z) **c** | d | <http:e> \\| # f",
    "Mermaid": "a;b#59;c:d%%e{f}->>end",
    "a formula": "=cmd|'C calc'!A0",
    "a template": "{{7*7}}{%x%}${7*7}$(id)`id`",
    "no UTF-8": "a\udcff\udc9bb",
}
TEXTS = pytest.mark.parametrize("text", NASTY.values(), ids=NASTY)
FORMS = ("table", "json", "jsonl", "markdown", "mermaid", "html")
PLAIN = "plain"


def clean(text: str, colored: bool = False) -> None:
    """Everything in *text* stands where it is and says what it is; colours are ours."""
    if colored:
        text = re.sub(r"\x1b\[[0-9;]*m", "", text)
    raw = {character for character in text if not character.isprintable() and character != "\n"}
    assert not raw, ascii(raw)


class Elements(HTMLParser):
    """The elements of a page with the names of their attributes, and what is in none of them."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[tuple[str, ...]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: Sequence[tuple[str, str | None]]) -> None:
        self.found.append((tag, *(name for name, _ in attrs)))

    def handle_comment(self, data: str) -> None:
        self.found.append(("comment", data))

    def unknown_decl(self, data: str) -> None:
        self.found.append(("declaration", data))


def capture(text: str) -> bytes:
    """A pcapng file with *text* wherever it has room for a text, and in the payload."""
    octets = text.encode(errors="surrogateescape")
    comment = writers.option(1, octets)
    head = writers.block(1, b"\x65\0\0\0\0\0\4\0" + comment + writers.option(2, octets) + writers.option(3, octets))
    names = writers.block(4, b"\1\0" + (4 + len(octets) + 1).to_bytes(2, "little") + SELF.packed + octets + b"\0")
    statistics = writers.block(5, bytes(12) + comment)
    bodies = [frame for _, frame in packets(self_connect().segments)]
    bodies.append(frames.segment_packet(SELF, SELF, frames.tcp(50000, 50000, 24, 1001, 1001, payload=octets)))
    records = [writers.enhanced(1000 * place, frame, options=comment) for place, frame in enumerate(bodies)]
    options = comment + b"".join(writers.option(code, octets) for code in (2, 3, 4))
    return writers.section(options=options) + head + names + b"".join(records) + statistics


def run(*words: str | Path, check: int | None = None) -> tuple[str, str]:
    """Run selfconn-analyze as its user does; what it wrote to both streams."""
    ended = subprocess.run(
        [sys.executable, "-m", "analysis.cli", *words], cwd=ROOT, capture_output=True, timeout=60, check=False
    )
    assert check is None or ended.returncode == check, ended.stderr
    return ended.stdout.decode(), ended.stderr.decode()


@TEXTS
def test_a_capture_by_that_name_and_with_that_in_it(tmp_path: Path, text: str) -> None:
    """Whole, damaged and none at all, in one run; all formats with what the name brings along."""
    whole, cut, none = (tmp_path / f"{place}{text}.pcapng" for place in "abc")
    whole.write_bytes(capture(text))
    cut.write_bytes(capture(text)[:-9])
    none.write_bytes(b"no capture")
    out, err = run("-v", "--color", "always", whole, cut, none, tmp_path / f"d{text}", check=3)
    clean(out, colored=True)
    clean(err)
    assert "is not a capture" in err
    assert "ends early" in err


@pytest.fixture(scope="module")
def results() -> dict[str, list[CaptureResult]]:
    """For each text captures that have it in their names, reasons and payloads."""
    made = {}
    for text in (*NASTY.values(), PLAIN):
        talk = Talk(SELF, None).a("S").a("S.", 0, 1).a("P.", 1, 1, 20)
        openings = [talk.opening(Verdict.SELF_CONNECT), simultaneous_open()]
        made[text] = [
            CaptureResult(
                text,
                openings=openings,
                undecoded={text: 1},
                unknown={text: 1},
                filters=(text,),
                damage=Damage(7, text),
                format=text,
            )
            for openings in (openings, [])
        ]
    return made


def told(results: list[CaptureResult], form: str) -> str:
    return "".join(rendered(report(results), form, color=False, verbose=True, quiet=False))


@TEXTS
@pytest.mark.parametrize("form", FORMS)
def test_every_format(results: dict[str, list[CaptureResult]], form: str, text: str) -> None:
    out = told(results[text], form)
    out.encode("ascii" if form.startswith("json") else "utf-8")
    clean(out)
    plain = told(results[PLAIN], form)
    match form:
        case "json":
            assert [one["name"] for one in json.loads(out)["captures"]] == [text] * 2
        case "jsonl":
            lines = list(map(json.loads, out.splitlines()))
            assert [line["name"] for line in lines if line["type"] == "capture"] == [text] * 2
        case "html":
            assert Elements(out).found == Elements(plain).found
        case "mermaid":
            assert out.count("\n") == plain.count("\n")
            first = [line.split()[0] for line in out.splitlines()]
            assert first == [line.split()[0] for line in plain.splitlines()]


#: The elements of each Markdown text as a forge shows it, in order.
ELEMENTS = """
const { marked } = await import('marked');
answer = given.map((text) => {
    const page = new JSDOM(marked.parse(text, { gfm: true })).window.document;
    return [...page.body.querySelectorAll('*')].map((one) => [one.localName, ...one.getAttributeNames()].join(' '));
});
"""


@pytest.mark.timeout(400)  # packages may have to be fetched
def test_no_element_more_in_markdown(results: dict[str, list[CaptureResult]]) -> None:
    found = npm.run(ELEMENTS, [told(each, "markdown") for each in results.values()])
    for text, elements in zip(results, found, strict=True):
        assert elements == found[-1], text


@TEXTS
def test_annotating_keeps_it_where_it_was(tmp_path: Path, text: str) -> None:
    path, copy = tmp_path / f"{text}.pcapng", tmp_path / f"copy of {text}.pcapng"
    path.write_bytes(capture(text))
    out, err = run("--annotate", copy, path, check=0)
    clean(out + err)
    octets = text.encode(errors="surrogateescape")
    assert copy.read_bytes().count(octets) >= path.read_bytes().count(octets)
    clean(run(copy)[0])


@pytest.fixture
def captures(tmp_path: Path) -> dict[str, Path]:
    """For each text a capture that has it in its name and wherever else there is room."""
    made = {text: tmp_path / f"{text}.pcapng" for text in NASTY.values()}
    for text, path in made.items():
        path.write_bytes(capture(text))
    return made


def test_openings_as_rows(captures: dict[str, Path], tmp_path: Path) -> None:
    """A column of strings is UTF-8; what is none in a name is escaped, the rest is as it was."""
    rows = tmp_path / "rows.parquet"
    assert run("-o", rows, *captures.values(), check=0) == ("", "")
    names = [row["capture"] for row in parquet.read_table(rows).to_pylist()]
    assert names == [str(path).encode(errors="backslashreplace").decode() for path in captures.values()]


def test_openings_as_comma_separated_values(captures: dict[str, Path]) -> None:
    """Each name is one cell, whatever is in it, that neither a terminal nor a spreadsheet takes for more."""
    out, err = run("--format", "csv", *captures.values(), check=0)
    clean(out.replace("\r\n", "\n") + err)
    rows = list(csv.DictReader(io.StringIO(out, newline=""), strict=True))
    assert [row["capture"] for row in rows] == [printable(str(path)) for path in captures.values()]
    assert {row["verdict"] for row in rows} == {"self-connect"}


@pytest.mark.usefixtures("need_tshark")
def test_wireshark_says_nothing_raw_either(captures: dict[str, Path]) -> None:
    asked = [captures[NASTY[what]] for what in ("C0", "sets the title", "an element", "no UTF-8")]
    out, err = run("--witness", *asked, check=0)
    clean(out + err)
    assert out.count("TCP Retransmission") >= len(asked)


#: It calls itself by the octets of its first argument, and is connected to itself until it is ended.
CLIENT = """
import socket, sys, time
with open("/proc/self/comm", "wb") as name:
    name.write(bytes.fromhex(sys.argv[1]))
me = socket.socket()
me.bind(("127.0.0.1", 50000))
me.connect(("127.0.0.1", 50000))
time.sleep(60)
"""
#: The kernel keeps 15 octets of a name.
NAMES = {"a terminal": b"\x1b[2J\n\x7f\x9b31m\xff\xe2\x80\xae", "a page": b"</td><i>'\"`|[x]"}


def lived(cwd: Path, form: str, name: bytes, words: Sequence[str]) -> str:
    """What selfconn-capture tells of a COMMAND with these *words* that calls itself by this name."""
    command = [
        sys.executable,
        "-m",
        "capture.cli",
        "--private",
        "--port",
        "50000",
        "-v",
        "--format",
        form,
        "-w",
        "made",
    ]
    ended = subprocess.run(
        [*command, "--", sys.executable, "-ISc", CLIENT, name.hex(), *words],
        cwd=cwd, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    clean(ended.stderr.decode())
    return ended.stdout.decode()


@pytest.mark.live
@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES)
def test_a_command_that_runs(tmp_path: Path, name: bytes) -> None:
    """The report of a run, with all texts as words of its COMMAND, which calls itself by such a name, too."""
    words = list(NASTY.values())
    for form in FORMS:
        odd = lived(tmp_path, form, name, words)
        clean(odd)
        if form == "json":
            (holder,) = json.loads(odd)["kernel"]["sockets"]
            assert holder["process"] == name.decode(errors="backslashreplace")
        elif form == "html":
            assert Elements(odd).found == Elements(lived(tmp_path, form, b"plain", [PLAIN] * len(words))).found


@TEXTS
def test_a_command_and_its_name(tmp_path: Path, text: str) -> None:
    """What cannot be run is named; selfconn-capture looks no further than that."""
    ended = subprocess.run(
        [sys.executable, "-m", "capture.cli", "--private", "-w", tmp_path / f"{text}.pcapng", "--", f"./{text}"],
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert ended.returncode == 2
    clean((ended.stdout + ended.stderr).decode())


@pytest.fixture
def own() -> Iterator[socket.socket]:
    """A socket of this process that is connected to itself."""
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # no TIME-WAIT stays
        one.bind(("127.0.0.1", 0))
        one.connect(one.getsockname())
        yield one


@TEXTS
def test_a_process_by_that_name(own: socket.socket, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """selfconn-check on a socket that is connected to itself."""
    table_now = sockets.table()  # the machine has others, which come and go
    monkeypatch.setattr(sockets, "table", lambda *_: table_now)

    def looked(name: str) -> Survey:
        process = sockets.Process(os.getpid(), name, f"user {name}", 1.0)
        found = findings.look(seen=findings.Seen(({os.fstat(own.fileno()).st_ino: [process]}, 0), table_now, {}))
        spaces = [Namespace(1, path=name, netns=name, name=called) for called in (name, f"{name} 2")]
        for space in spaces:
            space.runtime = space.id = space.container = name
        each = [found._replace(namespace=space) for space in spaces]
        return Survey(each, [Refused(spaces[0], name)], [name], whole=True)

    odd, plain = looked(text), looked(PLAIN)
    table = "".join(page.table(odd, Style(verbose=True)))
    clean(table)
    assert table.count("\n") >= "".join(page.table(plain, Style(verbose=True))).count("\n")
    told = "".join(views.as_json(odd))
    clean(told)
    assert text in {process["name"] for one in json.loads(told)["self_connected"] for process in one["processes"]}
    metrics = "".join(views.prometheus(odd))
    clean(metrics)
    assert metrics.count("\n") == "".join(views.prometheus(plain)).count("\n")
    sample = r'[a-z_]+(\{[a-z]+="(?:[^"\\]|\\["\\n])*"(?:,[a-z]+="(?:[^"\\]|\\["\\n])*")*\})? [0-9.e+-]+|# .*'
    assert all(re.fullmatch(sample, line) for line in metrics.splitlines())
