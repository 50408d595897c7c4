"""The Markdown report: what a forge makes of it, and that nothing foreign in it is markup."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import npm
import pytest
from conftest import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st
from segments import START, Endpoint, Talk, counted, refused, self_connect, three_way

from analysis.cli import main
from analysis.model import CaptureResult, Damage, Opening, Verdict
from analysis.report import report
from analysis.text import printable
from analysis.views.markdown import code, escape, render

if TYPE_CHECKING:
    from typing import Any

#: The packages may have to be fetched first.
pytestmark = [pytest.mark.browser, pytest.mark.timeout(400)]

#: What a forge would show: the tags, the texts of headings and code, the cells of each row of each table, the links.
SHOW = """
const { marked } = await import('marked');
answer = given.map((text) => {
    const page = new JSDOM(marked.parse(text, { gfm: true })).window.document;
    const texts = (what) => [...page.querySelectorAll(what)].map((one) => one.textContent);
    return {
        tags: [...new Set([...page.body.querySelectorAll('*')].map((one) => one.localName))].sort(),
        headings: texts('h2, h3'),
        code: texts('code:not(pre code)'),
        diagrams: texts('pre code.language-mermaid'),
        rows: [...page.querySelectorAll('tr')].map((row) => row.cells.length),
        text: page.body.textContent,
    };
});
"""

TAGS = {"br", "code", "h2", "h3", "li", "p", "pre", "strong", "table", "tbody", "td", "th", "thead", "tr", "ul"}

SELF_CONNECT = """\
## `a.pcap`

- pcap, 7 packets, 7 TCP segments

| verdict | openings |
| --- | --: |
| self-connect | 1 |

### 1. self-connect: `127.0.0.1:50000` > `127.0.0.1:50000`

A is `127.0.0.1:50000`, one socket: both ends of the connection are the same. Handshake frames 1, 2, 3 in 2.0 us.

| frame | time | segment | the sending socket | the receiving socket |
| --: | --: | --- | --- | --- |
| 1 | 0.0 us | A > A SYN<br>seq 0 | A **CLOSED > SYN-SENT**<br>active open (3.10.1) |"""


def markdown(*openings: Opening, verbose: bool = False, **more: object) -> str:
    result = CaptureResult(**{"name": "a.pcap", "packets": 7, "segments": 7, "openings": list(openings), **more})
    return "".join(render(report([counted(result)]), verbose=verbose))


def shown(*texts: str) -> list[dict[str, Any]]:
    pages: list[dict[str, Any]] = npm.run(SHOW, list(texts))
    assert all(set(page["tags"]) <= TAGS for page in pages)
    return pages


def test_the_text_of_a_self_connect() -> None:
    assert markdown(self_connect()).startswith(SELF_CONNECT)


def test_a_forge_shows_every_capture_as_tables_and_diagrams(capsys: pytest.CaptureFixture[str]) -> None:
    texts = []
    for capture in sorted((ROOT / "pcaps").glob("*.pcapng")):
        assert main(["--format", "markdown", "--all", "-v", str(capture)]) == 0
        texts.append(capsys.readouterr().out)
    for page in shown(*texts):
        openings = [heading for heading in page["headings"] if re.match(r"\d+\. ", heading)]
        assert len(page["diagrams"]) == len(openings) > 0
        assert all(text.startswith("sequenceDiagram\n") for text in page["diagrams"])
        assert set(page["rows"]) == {2, 5}


NASTY = (
    "`", "``a`", " `a` ", "a|b", "<img src=x>", "[a](http://b)", "![a](b)", "@team #1 :tada:", "http://a.example",
    "www.a.example", "***", "a\n# b", "\x1b[2J", "\u202e", "\\", "$a$", "~~a~~", "&lt;", "- a", "", "  ",
)  # fmt: skip


def test_a_name_is_shown_as_it_is() -> None:
    pages = shown(*(markdown(name=name) for name in NASTY))
    for name, page in zip(NASTY, pages, strict=True):
        assert page["code"][0].strip() == printable(name).strip()
        assert page["headings"][0].strip() == printable(name).strip()


@settings(max_examples=4)
@given(st.lists(st.text(st.sampled_from("`|\\<>[]()!@#*_~$&: \n\x1bab"), max_size=12), min_size=40, max_size=60))
def test_any_text_is_shown_as_it_is(texts: list[str]) -> None:
    cells = [f"| a | b |\n| --- | --- |\n| {escape(text)} | x |\n" for text in texts]
    pages = shown(*(f"x {code(text)} y" for text in texts), *(f"x {escape(text)} y" for text in texts), *cells)
    for place, text in enumerate(texts):
        squeezed = " ".join(printable(text).split())
        assert " ".join(pages[place]["code"][0].split()) == squeezed
        assert " ".join(pages[place + len(texts)]["text"].split()) == f"x {squeezed} y".replace("  ", " ")
        cell = pages[place + 2 * len(texts)]
        assert cell["rows"] == [2, 2]
        assert squeezed in " ".join(cell["text"].split())


def test_addresses_are_code_and_no_emoji() -> None:
    end = Endpoint.parse("2001:db8:a:b::1", 443)
    (page,) = shown(markdown(self_connect(end)))
    assert set(page["code"]) == {"a.pcap", str(end)}
    assert str(end) not in re.sub(r"`[^`]*`|```mermaid.*?```", "", markdown(self_connect(end)), flags=re.DOTALL)


def test_one_address_that_begins_like_the_other() -> None:
    text = markdown(
        Talk(Endpoint.parse("127.0.0.1", 5000), Endpoint.parse("127.0.0.1", 50000)).a("S").opening(Verdict.UNANSWERED)
    )
    assert "A is `127.0.0.1:5000`, B is `127.0.0.1:50000`." in text


def test_damage_folds_and_findings() -> None:
    talk = Talk().a("S").b("S.", 0, 1).a(".", 1, 1)
    for n in range(40):
        talk.a(".", 1 + 1000 * n, 1, 1000).b(".", 1, 1001 + 1000 * n)
    odd = Talk().a("S").b(".", 0, 1).b("S").a("S.", 0, 1).b(".", 1, 1).opening(Verdict.SPLIT_HANDSHAKE)
    text = markdown(
        talk.opening(Verdict.THREE_WAY, omitted=1000),
        odd,
        damage=Damage(4711, "a block claims 1 octet"),
        undecoded={"link type 147 is not supported": 3},
        duplicates=2,
    )
    assert "- **Ends early, at byte 4,711: a block claims 1 octet. The part before it is analysed.**\n" in text
    assert "- 3 frames not decoded: link type 147 is not supported\n" in text
    assert "| ... |  | 1,072 segments, 36,000 octets and more |  |  |\n" in text
    assert "**an ACK where a SYN-ACK belongs: a split handshake begins**" in text
    assert shown(text)[0]["rows"].count(5) > 10


def test_few_openings_in_full_unless_more_are_asked_for() -> None:
    openings = [self_connect(frame=1 + 10 * n, refused_before=3, refused_since=START) for n in range(10)]
    text = markdown(*openings, refused(), three_way())
    assert text.count("```mermaid") == 8
    assert "\n4 more openings (`-v` shows each in full):\n" in text
    assert "| 11. | refused | 1 | `192.0.2.1:40000` | `198.51.100.2:443` |\n" in text
    assert markdown(*openings, verbose=True).count("```mermaid") == 10


def test_nothing_found() -> None:
    assert markdown().endswith("\nNo opening of a TCP connection.\n")
