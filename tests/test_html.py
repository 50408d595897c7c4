"""The page: what it holds, that nothing foreign becomes markup, and how it behaves in a real browser."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import running
from conftest import ROOT, program
from hypothesis import given, settings
from hypothesis import strategies as st
from markup import Markup
from segments import (
    SELF,
    SELF6,
    START,
    Talk,
    any_openings,
    counted,
    refused,
    self_connect,
    simultaneous_open,
    three_way,
)

from analysis import wireshark as witness
from analysis.model import REMARKABLE, Attempts, CaptureResult, Damage, Endpoint, Opening, Verdict
from analysis.reader import analyze
from analysis.replay import Replay, replay
from analysis.report import Report, report
from analysis.states import TABLE, Event, State
from analysis.views import LANGUAGES, rendered
from analysis.views.html import render
from analysis.views.page import machine, walk, words
from analysis.views.page.ladder import ladder
from analysis.views.phrases import Fold, timeline

sys.path.insert(0, str(ROOT / "docs"))
sys.path.append(str(ROOT / "pcaps"))
import make  # scripts beside what they make
import screenshots
import still

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from analysis.replay import Step

pytestmark = pytest.mark.browser

PCAPS = sorted((ROOT / "pcaps").glob("*.pcapng"))
#: Attributes that make a browser ask somebody for something.
FETCHING = {"src", "srcset", "data", "poster", "action", "background", "manifest", "ping", "xlink:href"}
EVIL = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&{{7*7}}\x1b[2J\u202e.pcapng"


# -- reports to show ------------------------------------------------------------------------------------------------


def walked(attempts: int, *, step: int = 18) -> Attempts:
    """A walk through the even ports to SELF: every attempt a few ports further, round and round."""
    ports = [32768 + (7232 + step * place) % 28232 for place in range(min(attempts, 32_768))]
    times = tuple(20_000 * place for place in range(len(ports)))
    return Attempts(SELF, attempts, START - 20_000 * attempts, START - 20_000, tuple(ports), times)


def told(*openings: Opening, attempts: int = 0, **more: object) -> Report:
    tried = [walked(attempts)] if attempts else []
    result = CaptureResult(**{"name": "a.pcapng", "openings": list(openings), "attempts": tried, **more})
    return report([counted(result)])


def live(attempts: int = 9_000) -> Report:
    """All that a page can hold: a live capture with its walk, the kernel's account and Wireshark's."""
    opening = self_connect(refused_before=attempts, refused_since=START - 20_000 * attempts)
    made = told(opening, attempts=attempts)
    made.live = {
        "interface": "lo",
        "namespace": "host",
        "repro": "walk",
        "outcome": "hit",
        "target": {"address": SELF.address, "port": SELF.port},
        "file": "a",
        "attempts": attempts,
        "seconds": 0.18,
        "packets": 9,
        "dropped": 0,
        "echo": "hello",
        "time_wait": 60.0,
        "server": [{"when": "connected", "reuse": reuse, "error": "EADDRINUSE"} for reuse in (False, True)],
        "command": {"argv": ["./loop.sh", "a b"], "user": "somebody"},
    }
    changes = [("CLOSED", "SYN-SENT"), ("SYN-SENT", "SYN-RECEIVED"), ("SYN-RECEIVED", "ESTABLISHED")]
    made.kernel = {
        "release": "6.18",
        "range": [32768, 60999],
        "chance": 1 / 14116,
        "mean_attempts": 14116.0,
        "agrees": True,
        "sockets": [{"state": "ESTABLISHED", "inode": 7, "process": "nutcracker", "pid": 12}],
        "transitions": [{"from": before, "to": after, "time": "0.0", "opening": 0} for before, after in changes],
    }
    says = {1: (), 2: ("TCP Retransmission",), 3: ("TCP Window Update",)}
    frames = {(0, frame): witness.Witness(frame, said, ()) for frame, said in says.items()}
    made.witness = witness.Evidence("4.0", frames)
    return made


def html(made: Report, **how: Any) -> str:
    return "".join(render(made, **how))


# -- what is on the page --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", PCAPS, ids=lambda path: path.stem)
def test_every_capture_gives_a_whole_page_that_asks_for_nothing(path: Path) -> None:
    result = analyze(str(path), collect=frozenset(Verdict))
    page = Markup(html(report([result])))
    ids = Counter(found["id"] for _, found in page.elements if "id" in found)
    assert [name for name, times in ids.items() if times > 1] == []
    named = {name for _, found in page.elements for name in found.get("aria-labelledby", "").split()}
    assert named <= ids.keys()
    for _, attributes in page.elements:
        assert not [name for name in attributes if name in FETCHING or name == "style" or name.startswith("on")]
    links = {found["href"] for found in page.all("a")}
    assert not [link for link in links if not re.match(r"#|https://www\.rfc-editor\.org/rfc/rfc9293#section-", link)]
    for opening in result.openings[:8]:
        for step in replay(opening).transitions:
            assert step.reason.lower() in page.text.lower()
            assert f"RFC 9293, {step.section}" in page.text


def test_the_policy_allows_nothing_but_the_style_and_the_script_of_the_page() -> None:
    text = html(told(self_connect()))
    policy = Markup(text).all("meta", http_equiv="Content-Security-Policy")[0]["content"]
    hashes = [
        "'sha256-" + base64.b64encode(hashlib.sha256(part.encode()).digest()).decode() + "'"
        for part in re.findall(r"<(?:style|script)>(.*?)</(?:style|script)>", text, re.DOTALL)
    ]
    rules = (f"style-src {hashes[0]}", f"script-src {hashes[1]}", "base-uri 'none'", "form-action 'none'")
    assert policy == "; ".join(("default-src 'none'", *rules))


def foreign(text: str) -> Report:
    """A report with *text* wherever a capture, a file name or a run can bring along any."""
    told = live()
    made = report([told.captures[0]._replace(name=text, damage=Damage(1, text), undecoded={text: 1})])
    made.live, made.kernel = told.live, told.kernel
    made.live = {name: text if isinstance(value, str) else value for name, value in (made.live or {}).items()}
    made.live["server"] = [{"when": text, "reuse": False, "error": text}]
    made.live["command"] = {"argv": [text], "user": text}
    made.kernel = {**(made.kernel or {}), "release": text}
    made.kernel["sockets"] = [{"state": "ESTABLISHED", "inode": 7, "process": text, "pid": 12}]
    said = witness.Witness(2, (text,), (witness.Difference(text, text, text),))
    made.witness = witness.Evidence(text, {(0, 2): said})
    made.add(CaptureResult(text))
    return made


def test_nothing_foreign_becomes_markup() -> None:
    harmless, page = Markup(html(foreign("x"))), Markup(html(foreign(EVIL)))
    assert page.elements == harmless.elements
    assert page.text.count("<script>alert(1)</script>") >= 10
    assert "{{7*7}}" in page.text
    assert r"\x1b[2J\u202e" in page.text


@settings(max_examples=25)
@given(st.text(min_size=1))
def test_any_name_is_shown_and_nothing_else(name: str) -> None:
    text = html(told(name=name, damage=Damage(1, name)))
    assert Markup(text).elements == Markup(html(told(name="x", damage=Damage(1, "x")))).elements
    assert all(character.isprintable() or character == "\n" for character in text)


@given(any_openings, st.sampled_from(Verdict))
def test_any_segments_give_a_page(opening: Opening, verdict: Verdict) -> None:
    opening = opening._replace(verdict=verdict)
    page = Markup(html(told(opening)))
    shown = page.all("li", data_event="")
    assert len([found for found in page.elements if "data-at" in found[1]]) == len(replay(opening).steps)
    assert shown == []


@pytest.mark.parametrize("attempts", [100, 100_000])
def test_a_page_is_light(attempts: int) -> None:
    assert len(html(live(attempts)).encode()) < 250_000


def test_a_page_is_as_large_as_the_document_says() -> None:
    said = re.search(
        r"A hundred thousand attempts are a page of about (\d+) KB", (ROOT / "docs" / "page.md").read_text()
    )
    assert round(len(html(live(100_000)).encode()), -4) == int(said[1]) * 1000


def test_ten_thousand_openings_are_light_too() -> None:
    openings = [self_connect(frame=10 * n + 1) for n in range(10_000)]
    text = html(told(*openings))
    assert len(text.encode()) < 1_000_000
    assert "10,000 openings of TCP connections" in text
    assert "And 9,492 more." in text
    assert text.count('class="opening"') == 8


def test_verbose_shows_each_in_full() -> None:
    assert "".join(rendered(told(*[self_connect()] * 12), "html", verbose=True)).count('class="opening"') == 12


def test_refused_attempts_are_folded() -> None:
    page = Markup(html(live(9_000)))
    assert "9,000 attempts refused before it, the first 180.00 ms earlier" in page.text
    assert "8,982 more" in page.text
    assert len(page.all("details")) == 1


def test_how_a_step_is_known() -> None:
    page = Markup(html(live())).text
    assert "SYN leaves A A CLOSED → to SYN-SENT Active open. RFC 9293, 3.10.1 Captured: frame 1 Confirmed by" in page
    assert page.count("Confirmed by the kernel") == 3
    assert "Inferred: no packet proves it" in page
    assert "Wireshark says TCP Retransmission" in page
    assert (
        "Does not fit the rules of RFC 9293" in Markup(html(told(Talk().a("S").a(".", 1, 1).opening(Verdict.ODD)))).text
    )


def test_the_kernel_confirms_only_what_it_says() -> None:
    made = live()
    assert made.kernel is not None
    made.kernel["transitions"][1]["to"] = "CLOSED"
    assert html(made).count("Confirmed by the kernel") == 1
    for change in made.kernel["transitions"]:
        change["opening"] = 1
    assert "Confirmed by the kernel" not in html(made)


def test_a_page_without_openings() -> None:
    assert "<h1>No opening to show</h1>" in html(told())
    assert "<h1>1 attempt to connect refused</h1>" in html(told(verdicts={Verdict.REFUSED: 1}))
    assert "No opening of a TCP connection." in html(told())


# -- the page's own words ---------------------------------------------------------------------------------------------

PAGE = ROOT / "analysis" / "views" / "page"


def test_every_text_is_there_in_every_language_with_the_same_gaps() -> None:
    for table in (words.HEADLINES, words.WHY, words.TEXTS, words.SPOKEN, words.EVENTS):
        for name, row in table.items():
            assert len(row) == len(LANGUAGES), name
            assert len({tuple(sorted(re.findall(r"\{\w+\}|<kbd>", text))) for text in row}) == 1 or name == "english", (
                name
            )
    assert words.HEADLINES.keys() == words.WHY.keys() == set(Verdict)


def test_every_text_is_used() -> None:
    source = "".join(
        path.read_text(encoding="utf-8") for path in [*PAGE.iterdir(), PAGE.parent / "html.py"] if path.is_file()
    )
    assert [name for name in words.TEXTS if not re.search(rf"\bw\.{name}\b", source)] == []
    said = "".join(path.read_text(encoding="utf-8") for path in PAGE.glob("*.js"))
    kinds = {f"{text}_{kind}" for text in ("ask", "not_this", "never") for kind in ("state", "segment")}
    assert [name for name in words.SPOKEN if f'"{name}"' not in said and name not in kinds] == []


def test_templates_hold_no_words_of_their_own() -> None:
    """What is between the tags of a template comes from the table, or from the capture."""
    for path in PAGE.glob("*.html"):
        bare = re.sub(r"\{[{%].*?[%}]\}|<[^>]*>", " ", path.read_text(encoding="utf-8"), flags=re.DOTALL)
        assert set(re.findall(r"[A-Za-z]{2,}", bare)) <= {"selfconn", "RFC"}, path.name


def test_a_chinese_page_says_that_it_is_one_and_which_words_are_not() -> None:
    text = html(live(), language="zh")
    page = Markup(text)
    assert '<html lang="zh">' in text
    assert "127.0.0.1:50000 连上了它自己" in page.text
    assert "自己的 SYN 回到了自己这里" in page.text
    assert "关于抓包内容的句子" in page.text
    assert len(page.all("p", lang="en")) > len(replay(self_connect()).steps)
    assert Markup(html(live())).all("p", lang="en") == []
    assert page.elements != Markup(html(live())).elements


def test_the_language_is_an_option_of_the_page(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "analysis.cli", "--language", "zh", str(PCAPS[-1]), "--all"]
    how = {"cwd": tmp_path, "env": {"PYTHONPATH": str(ROOT)}, "capture_output": True, "timeout": 60}
    made = subprocess.run([*command, "-o", "page.html"], **how, check=True)
    assert made.stderr == b""
    assert "连上了" in (tmp_path / "page.html").read_text(encoding="utf-8")
    refused = subprocess.run(command, **how, check=False)
    assert refused.returncode == 2
    assert b"--language is that of the page, and --format is table" in refused.stderr


# -- the drawings -----------------------------------------------------------------------------------------------------


def test_the_diagram_is_the_table() -> None:
    allowed = {
        (state, to) for (state, _), row in TABLE.items() for to in (row.to, row.passive or row.to) if to != state
    }
    assert {edge.key for edge in machine.drawn()} == {f"{state}>{to}" for state, to in allowed}
    assert machine.ROUTES.keys() <= allowed
    assert {node.state for node in machine.nodes()} == set(State)
    named = {event for edge in machine.drawn() for event in edge.title.partition(": ")[2].split(", ")}
    assert named == {event for (state, event), row in TABLE.items() if {row.to, row.passive or row.to} - {state}}


def drawn(opening: Opening) -> tuple[Replay, Any]:
    account = replay(opening)
    folds = [row for row in timeline(account) if isinstance(row, Fold)]
    hidden = {frame for fold in folds for frame in fold.frames}
    return account, ladder(account, [step for step in account.steps if step.frame not in hidden], folds)


def ends(arrow: Any) -> tuple[float, ...]:
    """Where an arrow leaves and where it arrives: x, y, x, y."""
    numbers = [float(number) for number in re.findall(r"-?[\d.]+", arrow.out + arrow.into)]
    return (*numbers[:2], *numbers[-2:])


def cross(one: Any, other: Any) -> bool:
    """Whether two arrows of opposite directions cross: each leaves before the other has arrived."""
    (x, leaves, _, arrives), (other_x, other_leaves, _, other_arrives) = ends(one), ends(other)
    return x != other_x and leaves < other_arrives and other_leaves < arrives


def test_a_socket_that_talks_to_itself_has_one_lifeline() -> None:
    _, made = drawn(self_connect())
    assert len(made.lifelines) == 1
    assert all(ends(arrow)[0] == ends(arrow)[2] == made.lifelines[0].x for arrow in made.arrows)


def test_arrows_cross_where_segments_crossed() -> None:
    _, made = drawn(simultaneous_open())
    pairs = [(0, 1), (2, 3), (6, 7)]  # SYNs, SYN-ACKs, FINs
    assert all(cross(made.arrows[one], made.arrows[other]) for one, other in pairs)
    _, made = drawn(three_way())
    assert not [1 for one in made.arrows for other in made.arrows if cross(one, other)]


def test_the_ladder_has_every_state_and_every_step() -> None:
    for opening in (self_connect(), simultaneous_open(), three_way(), refused()):
        account, made = drawn(opening)
        states = [pill.state for pill in made.pills if pill.step]
        assert sorted(states) == sorted(step.after.value for step in account.transitions)
        places = [arrow.sent for arrow in made.arrows] + [arrow.arrived for arrow in made.arrows]
        assert len(set(places)) == len(places)
        assert all(0 < place.at.y < made.height for place in made.pills)


def test_what_did_not_arrive_does_not_arrive() -> None:
    _, made = drawn(Talk(SELF6).a("S").opening(Verdict.SELF_SYN))
    assert [arrow.lost for arrow in made.arrows] == [True]


def test_a_long_transfer_is_folded() -> None:
    talk = Talk().a("S").b("S.", 0, 1).a(".", 1, 1)
    for n in range(40):
        talk.a(".", 1 + 1000 * n, 1, 1000).b(".", 1, 1001 + 1000 * n)
    _, made = drawn(talk.a("F.", 40001, 1).opening(Verdict.THREE_WAY))
    assert [fold.text for fold in made.folds] == ["72 segments, 36,000 octets"]
    assert len(made.arrows) == 84 - 72


def test_a_walk_is_sampled() -> None:
    attempts = walked(32_768)
    picture = walk.ports(attempts.ports, 40_000, 50_001, hit=True)
    assert picture.even.count("M") == 1_500
    assert picture.odd == ""
    assert picture.beyond_x
    assert walk.sample(5, 10) == [0, 1, 2, 3, 4]
    assert walk.sample(1000, 3) == [0, 500, 999] or walk.sample(1000, 3) == [0, 499, 999]


@pytest.mark.parametrize(
    ("share", "said"),
    [(0, "0 %"), (1 / 14116, "0.007 %"), (0.0123, "1.2 %"), (0.5, "50 %"), (0.9999, "99 %"), (1, "100 %")],
)
def test_percent(share: float, said: str) -> None:
    assert walk.percent(share) == said


def test_the_pictures_in_the_documents_are_there_and_small() -> None:
    pictures = sorted((ROOT / "docs" / "screenshots").glob("*"))
    assert {picture.name for picture in pictures} == {f"{name}.png" for name in screenshots.PICTURES}
    assert all(picture.stat().st_size < 300_000 for picture in pictures)
    documents = "".join((ROOT / "docs" / name).read_text() for name in ("page.md", "site.md"))
    shown = set(re.findall(r"\(screenshots/([^)]+)\)", documents))
    assert shown == {picture.name for picture in pictures}


# -- in a browser -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """A real browser; it ends with this module, whose other users of an event loop it would disturb."""
    with running(program("chromium", "chromium")) as started:
        yield started


class Visit:
    """A page in the browser, and all that it says on the console or asks for."""

    def __init__(self, browser: Browser, path: Path, text: str, *, width: int = 1280, to: str = "", **how: Any) -> None:
        path.write_text(text, encoding="utf-8")
        how = {"viewport": {"width": width, "height": 800}, "reduced_motion": "reduce", **how}
        self.context = browser.new_context(**how)
        self.page: Page = self.context.new_page()
        self.heard: list[str] = []
        self.page.on("console", lambda message: self.heard.append(message.text))
        self.page.on("pageerror", lambda error: self.heard.append(str(error)))
        self.page.on("request", lambda request: self.heard.append(f"request: {request.url}"))
        self.page.goto(path.as_uri() + to)

    def __enter__(self) -> Page:
        return self.page

    def __exit__(self, *_: object) -> None:
        self.context.close()
        assert [one.partition("#")[0] for one in self.heard] == [f"request: {self.page.url.partition('#')[0]}"]


def each_page(browser: Browser, folder: Path, *, few: bool = False, to: str = "", **how: Any) -> Iterator[Any]:
    """The pages of the captures in pcaps/ that show an opening (*few*: one of each kind), in one window: path, page."""
    context = browser.new_context(**{"reduced_motion": "reduce", **how})
    page, heard = context.new_page(), []
    page.on("pageerror", lambda error: heard.append(str(error)))
    for path in PCAPS:
        if shown_in_full(path) and (path.stem in FEW or not few):
            file = folder / f"{path.stem}.html"
            file.write_text(page_of(path), encoding="utf-8")
            page.goto(file.as_uri() + to)
            yield path, page
    context.close()
    assert heard == []


def at(page: Page) -> str | None:
    """The id of the step that is shown."""
    shown = page.locator(".steps > li:visible")
    return shown.get_attribute("id") if shown.count() == 1 else None


#: What an opening shows: the steps (id, text), the line of the state diagram that is marked, the states, the status;
#: which buttons are at an end, and where they are.
SEEN = """(opening) => {
    const all = (selector) => [...opening.querySelectorAll(selector)];
    return {
        steps: all(".steps > li").filter((one) => one.checkVisibility()).map((one) => [one.id, one.innerText]),
        edges: all(".edge.now").map((one) => one.dataset.edge),
        here: all(".node.here").map((one) => one.textContent),
        status: opening.querySelector("[role=status]").textContent,
        ends: all(".back, .next").map((one) => one.getAttribute("aria-disabled")),
        at: all(".back, .next").map((one) => one.getBoundingClientRect()).map(({x, y}) => [x + 9, y + 9]),
    };
}"""


SELF_CONNECT = ROOT / "pcaps" / "self-connect-v4.pcapng"
FEW = ("self-connect-v4", "simultaneous-open-left", "three-way", "land")


@functools.cache
def page_of(path: Path) -> str:
    """The page of a capture in pcaps/."""
    return make.page(path.stem)


@functools.cache
def shown_in_full(path: Path) -> list[tuple[int, list[Step]]]:
    """The openings on the page of a capture: number, steps."""
    options = make.CAPTURES[path.stem].options
    made = report([analyze(str(path), collect=frozenset(Verdict) if options else REMARKABLE)])
    return [(number, entry.account().replay.steps) for number, entry in enumerate(made.entries, 1)]


@pytest.mark.parametrize("path", PCAPS, ids=lambda path: path.stem)
def test_every_step_forward_and_back_by_key_and_click(browser: Browser, tmp_path: Path, path: Path) -> None:
    text, openings = page_of(path), shown_in_full(path)
    assert text.count('<article class="opening') == len(openings)
    with Visit(browser, tmp_path / "page.html", text) as page:
        page.keyboard.press("ArrowRight")  # where there is no opening, nothing happens
        for number, steps in openings:
            opening = page.locator(f"#o{number}")
            opening.locator(".next").focus()
            page.keyboard.press("ArrowLeft")
            keys = [lambda _, key=key: page.keyboard.press(key) for key in ("ArrowLeft", "ArrowRight")]
            clicks = [lambda seen, which=which: page.mouse.click(*seen["at"][which]) for which in (0, 1)]
            for back, forward in (keys, clicks) if path.stem in FEW else (keys,):
                seen, reached = opening.evaluate(SEEN), []
                for place, step in enumerate(steps, 1):
                    forward(seen)
                    seen = opening.evaluate(SEEN)
                    [(name, words)] = seen["steps"]
                    assert name == f"o{number}s{place}"
                    assert step.after.value in words
                    assert step.after.value in seen["here"]
                    assert seen["status"].startswith(f"Step {place} of {len(steps)}. ")
                    reached += seen["edges"]
                assert reached == [f"{step.before}>{step.after}" for step in steps if step.changes]
                forward(seen)
                assert opening.evaluate(SEEN) == {**seen, "ends": ["false", "true"]}
                for place in range(len(steps) - 1, 0, -1):
                    back(seen)
                    seen = opening.evaluate(SEEN)
                    assert [name for name, _ in seen["steps"]] == [f"o{number}s{place}"]
                back(seen)
                assert opening.evaluate(SEEN)["ends"] == ["true", "false"]


def test_slider_swipe_click_and_link(browser: Browser, tmp_path: Path) -> None:
    with Visit(browser, tmp_path / "page.html", html(live()), width=390, has_touch=True) as page:
        page.locator(".controls input").fill("3")
        assert at(page) == "o1s3"
        swipe(page, -120)
        assert at(page) == "o1s4"
        swipe(page, 120)
        assert at(page) == "o1s3"
        swipe(page, 10)
        assert at(page) == "o1s3"
        page.locator(".ladder text.frame").nth(4).click()
        assert at(page) == "o1s9"
        page.evaluate("location.hash = '#o1s5'")
        page.wait_for_function("document.querySelector('[aria-current]').id === 'o1s5'")


def swipe(page: Page, way: int) -> None:
    """A finger goes over the stage by so many pixels."""
    page.locator(".stage").evaluate(
        """(stage, way) => {
            const touch = (x) => new Touch({ identifier: 1, target: stage, clientX: x, clientY: 300 });
            const send = (name, x, more) => stage.dispatchEvent(
                new TouchEvent(name, { bubbles: true, changedTouches: [touch(x)], ...more }));
            send("touchstart", 200, { touches: [touch(200)] });
            send("touchend", 200 + way, {});
        }""",
        way,
    )


def test_the_keys_move_the_opening_that_is_looked_at(browser: Browser, tmp_path: Path) -> None:
    with Visit(browser, tmp_path / "page.html", html(told(self_connect(), three_way()))) as page:
        page.locator("#o2 .next").focus()
        page.keyboard.press("ArrowRight")
        assert at(page) == "o2s1"
        page.keyboard.press("Enter")
        assert at(page) == "o2s2"


def test_without_javascript_every_step_is_readable(browser: Browser, tmp_path: Path) -> None:
    context = browser.new_context(java_script_enabled=False)
    page = context.new_page()
    for path in PCAPS:
        (tmp_path / "page.html").write_text(page_of(path), encoding="utf-8")
        page.goto((tmp_path / "page.html").as_uri())
        for number, steps in shown_in_full(path):
            listed = page.locator(f"#o{number} .steps > li")
            assert listed.count() == len(steps)
            for shown, step in zip(listed.all(), steps, strict=True):
                assert shown.is_visible()
                text = " ".join(shown.inner_text().split())
                assert step.reason.lower() in text.lower()
                assert step.after.value in text
            assert page.locator(f"#o{number} .ladder svg[role]").is_visible()
        assert page.locator(".controls:visible").count() == 0
    context.close()


def test_on_paper_every_step_is_readable(browser: Browser, tmp_path: Path) -> None:
    with Visit(browser, tmp_path / "page.html", html(live())) as page:
        page.keyboard.press("ArrowRight")
        page.emulate_media(media="print")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert page.locator(".steps > li:visible").count() == page.locator(".steps > li").count()
        assert not page.locator(".controls").is_visible()
        assert page.locator(".ladder .ahead").count() == 0
        assert not page.locator(".modes, .steps dl").first.is_visible()
        page.evaluate("dispatchEvent(new Event('afterprint'))")
        page.emulate_media(media="screen")
        assert at(page) == "o1s1"


def damaged(folder: Path) -> str:
    """The page of a capture that breaks off within an opening, named as nobody should name one."""
    path = folder / "cut <off>.pcapng"
    path.write_bytes((ROOT / "pcaps" / "simultaneous-open-middle.pcapng").read_bytes()[:-150])
    made = report([analyze(str(path))])
    assert made.captures[0].damage
    return html(made)


def storm() -> str:
    """A page with more openings than it shows in full, each with refused attempts before it."""
    openings = [self_connect(frame=1000 * n, refused_before=400, refused_since=START - 10**7) for n in range(1, 13)]
    return html(told(*openings, attempts=400, undecoded={"not TCP": 3}))


def several() -> str:
    """A page of several captures: one and two lifelines, lost segments, a walk without an opening, nothing in full."""
    names = ("crossed-unanswered", "port-walk", "self-connect-walk", "split-handshake", "three-way")
    return html(report([analyze(str(ROOT / "pcaps" / f"{name}.pcapng")) for name in names]))


def test_a_handout_has_two_pages_at_most_for_an_opening(browser: Browser, tmp_path: Path) -> None:
    for path, page in each_page(browser, tmp_path):
        sheets = len(re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4")))
        assert 1 <= sheets <= 2 * len(shown_in_full(path)), path.stem


def test_on_paper_nothing_is_said_twice(browser: Browser, tmp_path: Path) -> None:
    with Visit(browser, tmp_path / "page.html", html(live())) as page:
        page.emulate_media(media="print")
        parts = page.locator("h1, h2, h3, .why, .lead, .remarks li, .about li, .walks p, .steps h4, dt")
        said = parts.evaluate_all("(all) => all.filter((one) => one.checkVisibility()).map((one) => one.innerText)")
        seen = Counter(" ".join(text.split()) for text in said if text.strip())
        assert len(seen) > 20
        assert [text for text, times in seen.items() if times > 1] == []


def test_on_paper_nothing_is_told_by_a_ground_alone(browser: Browser, tmp_path: Path) -> None:
    """A browser prints no backgrounds unless it is asked to: letters and badges have ink and an edge of their own."""
    with Visit(browser, tmp_path / "page.html", page_of(PCAPS[-1]), color_scheme="dark") as page:
        page.emulate_media(media="print")
        seen = page.locator(".who, .known li, .verdict").evaluate_all(
            """(all) => all.map((one) => getComputedStyle(one))
                .map((one) => [one.color, one.borderTopStyle, one.borderTopWidth])"""
        )
        assert len(seen) > 20
        for color, edge, width in seen:
            parts = [int(part) for part in re.findall(r"\d+", color)]
            assert contrast("#" + "".join(f"{part:02x}" for part in parts[:3]), "#ffffff") >= 4.5
            assert (edge in ("solid", "dashed"), float(width[:-2]) >= 1) == (True, True)


def test_on_a_phone_the_diagram_comes_first(browser: Browser, tmp_path: Path) -> None:
    for text in (html(live()), page_of(ROOT / "pcaps" / "three-way.pcapng")):
        with Visit(browser, tmp_path / "page.html", text, width=390) as page:
            tops = page.evaluate(
                """[".why", ".ladder svg[role]", ".walkthrough", ".machine svg", ".lead", "details.refused"]
                .map((one) => document.querySelector(one)?.getBoundingClientRect().top)
                .filter((top) => top !== undefined)"""
            )
            assert tops == sorted(tops)
            assert tops[1] < 300


@pytest.mark.parametrize(("width", "height"), [(390, 844), (1280, 720)])
def test_why_is_on_the_first_screen(browser: Browser, tmp_path: Path, width: int, height: int) -> None:
    for path, page in each_page(browser, tmp_path, few=width > 390, viewport={"width": width, "height": height}):
        y, why, verdict = page.evaluate(
            """() => [".why", ".verdict"].map((one) => document.querySelector(one)).flatMap(
                (one, n) => (n ? [one.innerText] : [one.getBoundingClientRect().bottom, one.innerText]))"""
        )
        assert y < height / 2, path.stem
        assert ("Its own SYN came back: simultaneous open" in why) == (verdict == "self-connect"), path.stem


# -- what covers what -------------------------------------------------------------------------------------------------

#: Names in drawings that lie on other names, on a box or a letter that is not their own, or stick out of their box;
#: and names over which the dot flies that stands for a segment.
COVERED = (ROOT / "tests" / "covered.js").read_text(encoding="utf-8")

#: The smallest type of what is seen, in pixels of the screen, and whose it is.
SMALLEST = (ROOT / "tests" / "smallest.js").read_text(encoding="utf-8")


#: The same for all steps of all openings: what is covered, and at which step.
COVERED_SOMEWHERE = f"""() => {{
    const covered = {COVERED}, found = {{}};
    for (const one of selfconn.openings) for (let step = one.steps.length; step >= 0; step -= 1) {{
        one.go(step, true);
        for (const name of covered(step === 0)) found[name] = `${{one.opening.id}}s${{step}}`;
    }}
    return found;
}}"""


@pytest.mark.parametrize(("width", "few"), [(1280, False), (390, True), (1920, True), (3840, True)])
def test_no_name_is_covered(browser: Browser, tmp_path: Path, width: int, *, few: bool) -> None:
    size = {"width": width, "height": 844 if width < 500 else width * 9 // 16}
    for path, page in each_page(browser, tmp_path, few=few, viewport=size):
        assert page.evaluate(COVERED_SOMEWHERE) == {}, path.stem


#: The parts of lecture mode that lie on each other.
PARTS_THAT_MEET = """() => {
    const names = [
        ".modes", "h2", ".why", ".count", ".ladder", ".machine", ".steps li[aria-current]", ".quiz", ".controls"];
    const boxes = names.map((name) => document.querySelector(name === ".modes" ? name : `.shown ${name}`))
        .map((one) => (one && one.checkVisibility() ? one.getBoundingClientRect() : new DOMRect(-9, -9, 0, 0)));
    const meet = (one, other) => one.left + 1 < other.right && other.left + 1 < one.right &&
        one.top + 1 < other.bottom && other.top + 1 < one.bottom;
    return names.flatMap((name, n) => names.slice(n + 1)
        .filter((_, m) => meet(boxes[n], boxes[n + 1 + m])).map((other) => `${name} and ${other}`));
}"""


def far_apart() -> str:
    """The page of two sockets with the longest addresses and ports that there are."""
    ends = [Endpoint.parse(f"2001:db8:1234:5678:9abc:def0:1234:{last}", 65535) for last in ("5678", "9abc")]
    talk = Talk(*ends).a("S").b("S").a("S.", 0, 1).b("S.", 0, 1).a(".", 1, 1).b("P.", 1, 1, 1460).a("F.", 1, 1461)
    return html(told(talk.opening(Verdict.SIMULTANEOUS_OPEN)))


@pytest.mark.parametrize("what", ["far apart", "several", "storm"])
def test_no_name_is_covered_on_other_pages(browser: Browser, tmp_path: Path, what: str) -> None:
    text = {"far apart": far_apart, "several": several, "storm": storm}[what]()
    for mode in ("", "-lecture"):
        with Visit(browser, tmp_path / "page.html", text, to="#o1s0" + mode) as page:
            assert page.evaluate(COVERED_SOMEWHERE) == {}


@pytest.mark.parametrize(
    ("width", "few", "scheme"), [(1920, False, "light"), (3840, True, "dark"), (1280, True, "dark")]
)
def test_lecture_mode_is_read_from_the_last_row(
    browser: Browser, tmp_path: Path, width: int, scheme: str, *, few: bool
) -> None:
    """Full width and height, no type below 24 pixels at 1920 x 1080, and no name covered; with predict mode, too."""
    size = {"width": width, "height": width * 9 // 16}
    for path, page in each_page(browser, tmp_path, few=few, viewport=size, color_scheme=scheme):
        page.keyboard.press("l")
        assert page.evaluate(COVERED_SOMEWHERE) == {}, path.stem
        for key in ("PageDown", "p", "1", "PageDown"):
            page.keyboard.press(key)
            least, text = page.evaluate(SMALLEST)
            assert round(least, 1) >= 24 * width / 1920, (path.stem, text)
            y, width_of_it, height, inside = page.evaluate(
                """() => {
                    const { y, width, height } = document.querySelector(".opening.shown").getBoundingClientRect();
                    return [y, width, height, document.documentElement.scrollHeight];
                }"""
            )
            assert page.evaluate(PARTS_THAT_MEET) == [], path.stem
            assert (y, height) == (0, size["height"])
            assert width_of_it >= 0.97 * width
            assert inside <= size["height"]
        assert page.evaluate(f"({COVERED})(true)") == []


#: In lecture mode: names of the ladder that its window cuts, and whether what happens now is out of it.
CUT = """() => {
    const shown = document.querySelector(".shown"), scroll = shown.querySelector(".scroll");
    const ladder = scroll.querySelector("svg[role]"), box = ladder.getBoundingClientRect();
    const top = scroll.querySelector(".ends").getBoundingClientRect().bottom;
    const whole = ladder.matches(".more") ? box.top + parseFloat(ladder.style.getPropertyValue("--whole")) : Infinity;
    const bottom = Math.min(whole, scroll.getBoundingClientRect().bottom);
    const inner = (one, share) => {
        const { top, bottom, height } = one.getBoundingClientRect();
        return [top + share * height, bottom - share * height, one.textContent || one.parentNode.textContent];
    };
    const names = [...ladder.querySelectorAll("text")].map((one) => inner(one, 0.16))
        .concat([...ladder.querySelectorAll(".pill rect")].map((one) => inner(one, 0)));
    const cut = names.filter(([above, below]) => [top, bottom].some((edge) => above < edge && edge < below));
    const now = [...ladder.querySelectorAll("path.now, .pill.now rect")].map((one) => inner(one, 0));
    return [cut, now.filter(([above, below]) => above < top - 1 || below > bottom + 1)]
        .map((all) => all.map(([, , name]) => name.trim()));
}"""


@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (1280, 720)])
def test_a_lecture_shows_whole_frames(browser: Browser, tmp_path: Path, width: int, height: int) -> None:
    """No name of the ladder is cut, at any step, and what happens now is in sight."""
    for path, page in each_page(browser, tmp_path, few=True, viewport={"width": width, "height": height}):
        page.keyboard.press("l")
        for step in range(len(shown_in_full(path)[0][1])):
            assert page.evaluate(CUT) == [[], []], (path.stem, step)
            page.keyboard.press("PageDown")


@pytest.mark.parametrize(("width", "height"), [(1920, 1080), (1280, 720)])
def test_a_lecture_that_asks_cuts_nothing(browser: Browser, tmp_path: Path, width: int, height: int) -> None:
    """The step has three tenths of the width, all of its text is seen, and so is the question; there is no score."""
    for path, page in each_page(
        browser, tmp_path, few=True, to="#o1s0-lecture-predict", viewport={"width": width, "height": height}
    ):
        assert not page.locator(".shown .legend").is_visible()
        for step in range(1, len(shown_in_full(path)[0][1]) + 1):
            page.keyboard.press("4")
            page.evaluate("step => selfconn.openings[0].here < step && selfconn.openings[0].move(1)", step)
            assert not page.locator(".shown .tally").is_visible()
            share, over = page.evaluate(
                """() => {
                    const all = document.querySelector(".shown .walkthrough");
                    const one = all.querySelector("[aria-current]").getBoundingClientRect();
                    return [one.width / innerWidth, all.scrollHeight - all.clientHeight];
                }"""
            )
            assert share >= 0.28, path.stem
            assert over <= 1, (path.stem, step)


def test_a_heading_that_the_script_focuses_has_no_ring(browser: Browser, tmp_path: Path) -> None:
    with Visit(browser, tmp_path / "page.html", page_of(ROOT / "pcaps" / "self-connect-v4.pcapng")) as page:
        page.keyboard.press("l")
        page.keyboard.press("Escape")
        ring = "[document.activeElement.localName, getComputedStyle(document.activeElement).outlineStyle]"
        assert page.evaluate(ring) == ["h3", "none"]


@pytest.mark.parametrize(("width", "least"), [(1280, 11), (390, 10)])
def test_labels_of_the_diagram_can_be_read(browser: Browser, tmp_path: Path, width: int, least: float) -> None:
    with Visit(
        browser, tmp_path / "page.html", page_of(ROOT / "pcaps" / "self-connect-v4.pcapng"), width=width
    ) as page:
        size = page.locator(".machine svg .edge text").first.evaluate(
            "one => parseFloat(getComputedStyle(one).fontSize) * one.getScreenCTM().a"
        )
        assert size >= least


@pytest.mark.parametrize(
    "path", [path for path in PCAPS if path.stem in (*FEW, "server-cannot-bind")], ids=lambda path: path.stem
)
def test_a_clicker_reaches_every_step_and_the_address_follows(browser: Browser, tmp_path: Path, path: Path) -> None:
    with Visit(browser, tmp_path / "page.html", page_of(path)) as page:
        page.keyboard.press("l")
        seen = [page.evaluate("location.hash")]
        expected = [
            f"#o{number}s{step}-lecture" for number, steps in shown_in_full(path) for step in range(len(steps) + 1)
        ]
        for _ in expected[1:]:
            page.keyboard.press("PageDown")
            seen.append(page.evaluate("location.hash"))
        assert seen == expected
        assert (
            page.locator(".count:visible")
            .inner_text()
            .endswith(f"Step {(n := len(shown_in_full(path)[-1][1]))} of {n}")
        )
        for key in (
            "PageDown",
            "PageUp",
            " ",
            "ArrowUp",
            "ArrowDown",
            "Shift+ ",
            "ArrowLeft",
            "ArrowRight",
            "Home",
            "End",
        ):
            page.keyboard.press(key)
            seen.append(page.evaluate("location.hash"))
        last, before = expected[-1], expected[-2]
        first = f"#o{len(shown_in_full(path))}s0-lecture"
        assert seen[len(expected) :] == [last, before, last, before, last, before, expected[-3], before, first, last]
        page.keyboard.press("Escape")
        assert page.evaluate("location.hash") == last.removesuffix("-lecture")


def test_a_link_opens_the_step_and_the_mode(browser: Browser, tmp_path: Path) -> None:
    text = page_of(ROOT / "pcaps" / "server-cannot-bind.pcapng")
    with Visit(browser, tmp_path / "page.html", text, to="#o2s3-lecture") as page:
        assert page.locator(".opening:visible").get_attribute("id") == "o2"
        assert at(page) == "o2s3"
        assert page.locator("[data-mode=lecture]").get_attribute("aria-pressed") == "true"
        page.evaluate("location.hash = '#o1s1'")
        page.wait_for_function("document.querySelectorAll('.opening')[2].checkVisibility()")
        assert page.locator("#o1 [aria-current]").get_attribute("id") == "o1s1"


def test_the_letter_keys_can_be_turned_off(browser: Browser, tmp_path: Path) -> None:
    """WCAG 2.1.4."""
    with Visit(browser, tmp_path / "page.html", html(live())) as page:
        page.locator(".letters").uncheck()
        page.keyboard.press("l")
        assert page.locator("html.lecture").count() == 0
        page.locator(".letters").check()
        page.keyboard.press("l")
        assert page.locator("html.lecture").count() == 1


# -- predict mode -----------------------------------------------------------------------------------------------------

#: Answers every question of every opening, each choice that is wrong first: step, choices, what was said to each (the
#: last one went on); what can be seen of steps to come before it is answered; and the question.
PREDICT = """() => {
    const found = [];
    for (const one of selfconn.openings) {
        const { opening, steps } = one, said = opening.querySelector(".feedback");
        one.go(0, true);
        one.move(0);
        while (one.here < steps.length) {
            const buttons = () => [...opening.querySelectorAll(".choices button")];
            const from = one.here, given = buttons().map((button) => button.textContent.replace(/^\\d /, ""));
            const ahead = [...opening.querySelectorAll(".ladder [data-step], .machine .badge")].filter((part) =>
                part.checkVisibility({ opacityProperty: true, visibilityProperty: true }) && (part.matches(".badge")
                    ? part.textContent.trim().split(", ").some((one) => Number(one) > from)
                    : Number(part.dataset.step) > from));
            const answers = {}, question = opening.querySelector(".question").textContent;
            while (one.here === from) {
                const button = buttons().find((other) => !other.hasAttribute("aria-disabled"));
                button.click();
                answers[button.textContent.replace(/^\\d /, "")] = said.textContent;
            }
            found.push([opening.id, from + 1, given, answers, ahead.map((part) => part.outerHTML), question]);
        }
    }
    return found;
}"""


def test_predict_mode_asks_and_explains_by_the_table(browser: Browser, tmp_path: Path) -> None:
    asked = 0
    for path, page in each_page(browser, tmp_path, to="#o1s0-predict"):
        openings = dict(shown_in_full(path))
        for name, place, choices, answers, ahead, question in page.evaluate(PREDICT):
            step = openings[int(name[1:])][place - 1]
            assert ahead == []
            if choices == ["Go on"]:
                assert not step.changes
                assert question == f"No question here: {unasked(step)}."
                continue
            asked += 1
            assert len(choices) == len(set(choices)) >= 4
            right = list(answers)[-1]
            assert answers[right].startswith("Right. In ")
            if right in set(State):
                row = TABLE[step.before, step.event]
                assert right == step.after in {row.to, row.passive}
                assert f"(RFC 9293, {row.section})" in answers[right]
            else:
                assert right in {row.sent for row in TABLE.values()}
            for wrong, why in list(answers.items())[:-1]:
                assert explained(wrong, why, step), (wrong, why)
    assert asked > 200


def unasked(step: Step) -> str:
    """Why nothing is asked before a step: only what the program decides is said to be so."""
    if step.finding:
        return "RFC 9293 has no rule for what comes"
    if not step.sends and not step.section:
        return "nobody knows whether it arrived"
    return "the program decides what comes" if step.event == Event.SEND_DATA else "the state stays"


def happens(event: Event) -> str:
    """How predict mode says what may happen to a socket."""
    what = words.EVENTS[event][0]
    return f"{what} comes" if event.is_arrival else f"{{letter}} sends {what}" if event.is_send else what


def explained(wrong: str, why: str, step: Step) -> bool:
    """Whether what is said to a wrong choice is so, by the table."""
    if why.startswith("It does not stay"):
        return wrong == step.before and step.changes and TABLE[step.before, step.event].section in why
    if wrong == "nothing":
        return step.sends and why.startswith(("Here ", "In figure 7 (3.5) nothing follows"))
    assert why.startswith(f"Not {wrong}: ")
    if found := re.search(r": (\S+) becomes that when (.+?) \(RFC 9293, ([\d.]+)\)\. Here ", why):
        rows = {
            event: row for (state, event), row in TABLE.items() if state == found[1] and wrong in (row.to, row.passive)
        }
        named = [event for event in rows if happens(event).replace("{letter}", "A") == found[2].replace("B", "A")]
        assert named[0].is_arrival or not any(event.is_arrival for event in rows.keys() - {step.event})
        return found[3] in {rows[event].section for event in named}
    if found := re.search(r": in (\S+) .+ answers only (.+?) \(RFC 9293, ([\d.]+)\)\. Here ", why):
        rows = {event: row for (state, event), row in TABLE.items() if state == found[1] and row.sent == wrong}
        causes = {words.EVENTS[event][0] for event in rows if event.is_arrival}
        return set(found[2].split(" or ")) == causes
    found = re.search(r"leads from (\S+) to|in (\S+) nothing that comes", why)
    rows = [(event, row) for (state, event), row in TABLE.items() if state == (found[1] or found[2])]
    return all(wrong != row.to and (wrong != row.sent or not event.is_arrival) for event, row in rows)


def test_every_event_has_words_of_its_own() -> None:
    """In every language; nobody says "answers receive SYN"."""
    assert words.EVENTS.keys() == set(Event)
    for event, row in words.EVENTS.items():
        assert len(row) == len(LANGUAGES)
        assert not [text for text in row if event in text and (event.is_send or event.is_arrival)]
        assert len({"{letter}" in text for text in row}) == 1


def test_the_answer_that_figure_7_does_not_show(browser: Browser, tmp_path: Path) -> None:
    """Linux answers the SYN-ACK in SYN-RECEIVED by an ACK: asked is what was captured, told is what the figure has."""
    with Visit(browser, tmp_path / "page.html", page_of(SELF_CONNECT), to="#o1s4-predict") as page:
        said = page.locator(".feedback")
        page.get_by_role("button", name="nothing").click()
        assert said.inner_text().startswith("In figure 7 (3.5) nothing follows, but here something was captured")
        page.get_by_role("button", name="RST", exact=True).click()
        assert said.inner_text() == (
            "Not RST: in SYN-RECEIVED a RST answers only an ACK of what was never sent (RFC 9293, 3.10.7.4). "
            "Here a SYN-ACK came."
        )
        page.get_by_role("button", name="ACK", exact=True).click()
        assert said.inner_text().endswith(
            "Figure 7 (3.5) shows none; an ACK answers a SYN that was there already (RFC 9293, 3.10.7.4)."
        )


def test_predict_mode_does_not_tell_the_end_before_it(browser: Browser, tmp_path: Path) -> None:
    with Visit(browser, tmp_path / "page.html", page_of(SELF_CONNECT)) as page:
        assert page.locator(".why").is_visible()
        for keys, seen in (("p", False), ("End", True), ("Home", False), ("l", False), ("End", True)):
            page.keyboard.press(keys)
            assert page.locator(".why").is_visible() is seen
            assert page.locator("html.lecture").count() or page.locator(".top .verdict").is_visible() is seen


#: How far the page is from where it should be scrolled to, its end or its beginning: waits for it, ten seconds at most.
#: A key that is pressed before is lost at times: the page is still on its way then.
AWAY_FROM = """async (end) => {
    const away = () => Math.abs((end ? document.documentElement.scrollHeight - innerHeight : 0) - scrollY);
    for (const until = Date.now() + 10_000; away() >= 1 && Date.now() < until;)
        await new Promise(requestAnimationFrame);
    return Math.floor(away());
}"""


def test_home_and_end_are_steps_in_each_mode_and_scroll_without_one(browser: Browser, tmp_path: Path) -> None:
    with Visit(browser, tmp_path / "page.html", two("self-connect-v4", "simultaneous-open-middle")) as page:
        page.keyboard.press("End")
        assert page.evaluate("document.documentElement.scrollHeight > innerHeight")
        assert page.evaluate(AWAY_FROM, True) == 0
        assert at(page) is None
        page.keyboard.press("Home")
        assert page.evaluate(AWAY_FROM, False) == 0
        for mode in "pls":
            page.keyboard.press(mode)
            for key, ends in (("End", ["false", "true"]), ("Home", ["true", "false"])):
                page.keyboard.press(key)
                assert page.locator("#o1").evaluate(SEEN)["ends"] == ends, (mode, key)


def test_what_lecture_mode_adds_goes_with_it(browser: Browser, tmp_path: Path) -> None:
    with Visit(browser, tmp_path / "page.html", page_of(SELF_CONNECT)) as page:
        for key in ("l", "Escape", "p", "l", "l"):
            page.keyboard.press(key)
            shown = page.locator(".machine svg:visible")
            assert shown.count() == 1
            assert ("wide" in (shown.get_attribute("class") or "")) == bool(page.locator("html.lecture").count())


def test_what_came_before_stays_in_view(browser: Browser, tmp_path: Path) -> None:
    """Lecture mode, at the SYN-ACK that the lesson compares with the SYN: both are on the screen."""
    with Visit(browser, tmp_path / "page.html", page_of(SELF_CONNECT), to="#o1s5-lecture") as page:
        top, bottom, begins, ends = page.evaluate(
            """() => {
                const box = (one) => document.querySelector(one).getBoundingClientRect();
                const now = [...document.querySelectorAll(".ladder svg[role] .now")]
                    .map((one) => one.getBoundingClientRect());
                const { top, bottom } = box(".scroll");
                return [top + box("svg.ends").height, bottom,
                    box(".ladder .out").top, Math.max(...now.map((one) => one.bottom))];
            }"""
        )
        assert top <= begins < ends <= bottom


def test_the_question_keeps_away_from_the_buttons(browser: Browser, tmp_path: Path) -> None:
    with Visit(browser, tmp_path / "page.html", page_of(SELF_CONNECT), to="#o1s0-lecture-predict") as page:
        for _ in range(14):
            page.keyboard.press("ArrowRight")
            text, buttons = (page.locator(one).bounding_box() for one in (".shown .question", ".shown .controls"))
            assert text["x"] + text["width"] + 32 <= buttons["x"]


def test_predict_mode_by_the_keyboard_alone(browser: Browser, tmp_path: Path) -> None:
    with Visit(browser, tmp_path / "page.html", page_of(ROOT / "pcaps" / "self-connect-v4.pcapng")) as page:
        page.keyboard.press("p")
        assert page.evaluate("document.activeElement.className") == "quiz"
        name = """document.activeElement.getAttribute("aria-labelledby").split(" ")
            .map((id) => document.getElementById(id).textContent).join(" ")"""
        assert "A sent a SYN. A is in CLOSED. Which state comes next?" in page.evaluate(name)
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        assert "A is in SYN-SENT. Which state comes next?" in page.evaluate(name)
        for key in ("3", "2"):
            page.keyboard.press(key)
            if key == "3":
                status = page.locator("[role=status]").text_content()
                assert (
                    "Not ESTABLISHED: SYN-SENT becomes that when a SYN-ACK comes (RFC 9293, 3.10.7.3). Here a SYN came."
                    in status
                )
        assert (
            "Right. In SYN-SENT, when a SYN comes, the state becomes SYN-RECEIVED (RFC 9293, 3.10.7.3)."
            in page.evaluate(name)
        )
        assert "Which segment does it send?" in page.evaluate(name)
        page.keyboard.press("ArrowRight")  # who does not know goes on
        page.locator(".copy").click()
        assert page.locator(".quiz textarea").input_value().splitlines() == [
            "selfconn · 127.0.0.1:50000 connected to itself",
            "1 right at the first try, of 3 asked; 9 in all.",
            "step 1: SYN-SENT, right",
            "step 2: SYN-RECEIVED, right after ESTABLISHED",
            "step 3: SYN-ACK, not answered",
        ]
        # The browser says later whether it has copied.
        said = "document.querySelector('[role=status]').textContent"
        page.wait_for_function(f"/^(Copied|The score is selected)/.test({said})")
        assert page.evaluate("document.activeElement.selectionEnd") > 100


# -- side by side -----------------------------------------------------------------------------------------------------


def two(one: str, other: str, language: str = "en") -> str:
    """The page of two captures in pcaps/."""
    results = [analyze(str(ROOT / "pcaps" / f"{name}.pcapng"), collect=frozenset(Verdict)) for name in (one, other)]
    return "".join(render(report(results), language=language))


PLACES = """() => selfconn.openings.map((one) => [one.here, one.opening.matches(".waits"),
    one.steps.slice(one.here - 1)[0]?.dataset.event, one.opening.getBoundingClientRect().top])"""


def test_two_openings_are_stepped_together(browser: Browser, tmp_path: Path) -> None:
    text = two("self-connect-v4", "simultaneous-open-middle")
    with Visit(browser, tmp_path / "page.html", text) as page:
        page.keyboard.press("s")
        seen = []
        while page.locator(".pair .next").get_attribute("aria-disabled") == "false":
            page.keyboard.press("PageDown")
            seen.append(page.evaluate(PLACES))
            assert page.evaluate("location.hash") == f"#o1-o2-m{len(seen)}-side"
        assert [place for place, *_ in seen[-1]] == [14, 27]
        before = [0, 0]
        for (left, left_waits, event, _), (right, right_waits, other, _) in seen:
            assert (left - before[0], right - before[1]) in ((1, 1), (1, 0), (0, 1))
            assert (left_waits, right_waits) == (left == before[0], right == before[1])
            assert event == other or left_waits or right_waits
            before = [left, right]
        assert sum(not left[1] and not right[1] for left, right in seen) >= 10
        assert seen[0][0][3] == seen[0][1][3]
        page.keyboard.press("Home")
        page.locator("#o2 .ladder text.frame").nth(1).click()  # frame 2 leaves B in step 2
        assert [place for place, *_ in page.evaluate(PLACES)] == [1, 2]
        page.keyboard.press("l")
        assert page.locator("html.side").count() == 0
        assert page.locator(".opening:visible").count() == 1


def test_side_by_side_is_one_below_the_other_on_a_phone(browser: Browser, tmp_path: Path) -> None:
    text = two("three-way", "server-cannot-bind")
    with Visit(browser, tmp_path / "page.html", text, width=390, to="#o1-o3-m4-side") as page:
        tops = [top for place, _, _, top in page.evaluate(PLACES) if place]
        assert tops == sorted(tops)
        assert len(set(tops)) == 2
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.get_by_label("Right").select_option("3")
        assert page.evaluate("location.hash") == "#o1-o4-m0-side"


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark"), (3840, "light")])
def test_side_by_side_nothing_is_covered_and_axe_finds_nothing(
    browser: Browser, tmp_path: Path, width: int, scheme: str
) -> None:
    text = two("self-connect-v4", "simultaneous-open-middle")
    with Visit(browser, tmp_path / "page.html", text, width=width, color_scheme=scheme) as page:
        page.locator("[data-mode=side]").click()
        for _ in range(9):
            page.keyboard.press("ArrowRight")
            assert page.evaluate(f"({COVERED})(false)") == []
        found = Axe().run(page, options=AXE).response["violations"]
        assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []


def test_one_opening_has_nothing_to_be_beside() -> None:
    assert 'data-mode="side"' not in html(told(self_connect()))
    assert 'data-mode="side"' in html(told(self_connect(), three_way()))


def test_a_segment_moves_along_its_arc(browser: Browser, tmp_path: Path) -> None:
    moved = """async () => {
        const dot = document.querySelector(".flying"), seen = [];
        selfconn.openings[0].move(1);
        for (let n = 0; n < 12; n += 1) {
            await new Promise(requestAnimationFrame);
            seen.push([Number(dot.getAttribute("cx")), Number(dot.getAttribute("cy"))]);
        }
        const path = document.querySelector(".out"), length = path.getTotalLength();
        const points = Array.from({ length: 400 }, (_, n) => path.getPointAtLength(length * n / 399));
        const near = ([x, y]) => Math.min(...points.map((one) => Math.hypot(one.x - x, one.y - y)));
        return [new Set(seen.map(String)).size, Math.max(...seen.map(near))];
    }"""
    for wish, moves in (("no-preference", True), ("reduce", False)):
        with Visit(browser, tmp_path / "page.html", html(told(self_connect())), reduced_motion=wish) as page:
            places, away = page.evaluate(moved)
            assert (places > 3) is moves
            assert away < 1


AXE = {
    "runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]},
    "resultTypes": ["violations"],
}


@pytest.mark.parametrize(
    ("what", "width", "scheme_and_keys"),
    [
        *(("live", width, scheme) for width in (1280, 390) for scheme in ("light", "dark")),
        ("damaged", 1280, "dark"),
        ("storm", 390, "dark"),
        ("several", 390, "light"),
        ("live", 1280, "light l"),
        ("several", 1920, "dark l"),
        ("live", 390, "dark p 1"),
        ("several", 1280, "light p 2"),
        ("live", 1920, "light l p 1"),
        ("chinese", 1280, "light p 1"),
    ],
)
def test_axe_finds_no_violation(browser: Browser, tmp_path: Path, what: str, width: int, scheme_and_keys: str) -> None:
    scheme, *keys = scheme_and_keys.split()
    text = {"live": lambda: html(live()), "damaged": lambda: damaged(tmp_path), "storm": storm, "several": several}
    text["chinese"] = lambda: html(live(), language="zh")
    with Visit(browser, tmp_path / "page.html", text[what](), width=width, color_scheme=scheme) as page:
        page.evaluate("document.querySelectorAll('details').forEach((one) => { one.open = true; })")
        for key in keys:
            page.keyboard.press(key)
        for step in (0, 4):
            for _ in range(step):
                page.keyboard.press("ArrowRight")
            found = Axe().run(page, options=AXE).response["violations"]
            assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []


def test_no_text_of_a_drawing_is_too_faint(browser: Browser, tmp_path: Path) -> None:
    """Axe does not look into drawings: the contrast of their colours (WCAG 1.4.3)."""
    for scheme in ("light", "dark"):
        with Visit(browser, tmp_path / "page.html", html(live()), color_scheme=scheme) as page:
            colors = page.evaluate(
                """() => {
                    const style = getComputedStyle(document.documentElement);
                    const names = ["card", "faint", "now-soft", "ink", "soft", "a", "b", "now", "hit", "bad", "on"];
                    return Object.fromEntries(names.map((name) => [name, style.getPropertyValue("--" + name).trim()]));
                }"""
            )
        for name in ("ink", "soft", "now", "hit", "bad", "a", "b"):
            assert contrast(colors[name], colors["card"]) >= 4.5, (scheme, name)
        for one, other in (("soft", "faint"), ("now", "now-soft"), ("ink", "now-soft"), ("on", "a"), ("on", "b")):
            assert contrast(colors[one], colors[other]) >= 4.5, (scheme, one, other)


def test_no_text_of_the_still_is_too_faint() -> None:
    for theme in still.THEMES.values():
        assert min(contrast(color, theme.window) for color in theme[2:]) >= 4.5


def contrast(one: str, other: str) -> float:
    """The ratio of two colours like ``#faf8f3`` (WCAG's definition)."""
    shares = []
    for color in (one, other):
        parts = [int(color[place : place + 2], 16) / 255 for place in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        shares.append(0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2])
    return (max(shares) + 0.05) / (min(shares) + 0.05)


def test_nothing_sticks_out_on_a_phone(browser: Browser, tmp_path: Path) -> None:
    captures = [analyze(str(path), collect=frozenset(Verdict)) for path in PCAPS]
    captures[0] = captures[0]._replace(name="a-rather-long-name-without-any-break/" * 4)
    for text in (html(report(captures)), html(live())):
        for width in (390, 320):
            with Visit(browser, tmp_path / "page.html", text, width=width) as page:
                assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_motion_is_left_out_for_who_wants_none(browser: Browser, tmp_path: Path) -> None:
    for wish, moves in (("reduce", False), ("no-preference", True)):
        with Visit(browser, tmp_path / "page.html", html(told(self_connect())), reduced_motion=wish) as page:
            spans = page.locator(".token").evaluate("token => getComputedStyle(token).transitionDuration")
            assert (spans != "0s") is moves


def test_the_focus_can_be_seen(browser: Browser, tmp_path: Path) -> None:
    with Visit(browser, tmp_path / "page.html", html(live())) as page:
        modes = ("[data-mode=lecture]", "[data-mode=predict]", ".letters")
        for part in (".skip", *modes, ".scroll", ".back", "input", ".next", "summary"):
            page.keyboard.press("Tab")
            focused = page.locator(":focus")
            assert focused.evaluate("(one, part) => one.matches(part)", part)
            assert focused.evaluate("one => getComputedStyle(one).outlineStyle") == "solid"
