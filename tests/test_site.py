"""The site: it says what the command says, asks nobody for anything, works offline, and leads nowhere that is not."""

from __future__ import annotations

import contextlib
import functools
import http.server
import io
import json
import re
import shutil
import subprocess
import sys
import threading
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import unquote, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from browser import running
from conftest import ROOT, missing, not_quick, program
from damaged import DAMAGED

from analysis.cli import main

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser, BrowserContext, Page

pytestmark = [pytest.mark.browser, pytest.mark.long, pytest.mark.timeout(120)]

PCAPS = sorted((ROOT / "pcaps").glob("*.pcapng"))
CACHE = ROOT / ".cache" / "site"
PYODIDE = CACHE / "node_modules" / "pyodide"
EVIL = "<img src=x onerror=alert(1)>'\"&{{7*7}}.pcapng"
AXE = {"runOnly": {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]}}


# -- the folder, a server, a browser ----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pyodide() -> Path:
    """Pyodide, as the lock file names it."""
    not_quick("npm")
    for name in ("node", "npm"):
        if shutil.which(name) is None:
            missing(name)
    fetched = subprocess.run(
        [ROOT / "tools" / "site" / "fetch", CACHE], capture_output=True, text=True, timeout=200, check=False
    )
    if fetched.returncode:
        missing(f"Pyodide from npm ({fetched.stderr.strip().splitlines()[-1:]})")
    return PYODIDE


@pytest.fixture(scope="module")
def site(pyodide: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built anew."""
    target: Path = tmp_path_factory.mktemp("made") / "site"
    command = [sys.executable, ROOT / "tools" / "site" / "build.py", target, pyodide]
    made = subprocess.run(command, capture_output=True, text=True, timeout=200, check=False)
    assert made.returncode == 0, made.stderr
    return target


class Handler(http.server.SimpleHTTPRequestHandler):
    """Python's own server of files, without its log."""

    def log_message(self, *_words: object) -> None:
        pass


class Served(NamedTuple):
    """A server of a folder: its address, and how to end it."""

    url: str
    end: Any


@contextlib.contextmanager
def serving(folder: Path) -> Iterator[Served]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()

    def end() -> None:
        server.shutdown()
        server.server_close()

    try:
        yield Served(f"http://127.0.0.1:{server.server_port}/", end)
    finally:
        end()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with running(program("chromium", "chromium")) as started:
        yield started


class Visit:
    """A context of the browser at the site, and all that is said on its console or asked for, by workers as well."""

    def __init__(self, browser: Browser, url: str, **how: Any) -> None:
        self.context: BrowserContext = browser.new_context(reduced_motion="reduce", **how)
        self.url, self.heard, self.asked = url, [], []
        self.context.on("request", lambda request: self.asked.append(request.url))
        self.context.on("weberror", lambda error: self.heard.append(str(error.error)))
        self.context.on("console", lambda message: self.heard.append(message.text))
        self.page: Page = self.context.new_page()

    def __enter__(self) -> Visit:
        return self

    def __exit__(self, *_error: object) -> None:
        self.context.close()


@pytest.fixture(scope="module")
def served(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The site at an address; below given/ are the captures that are damaged."""
    folder: Path = tmp_path_factory.mktemp("served")
    for path in site.iterdir():
        (folder / path.name).symlink_to(path)
    (folder / "given").mkdir()
    for name, octets in given().items():
        (folder / "given" / name).write_bytes(octets)
    with serving(folder) as there:
        yield there


@functools.cache
def given() -> dict[str, bytes]:
    """Captures to read: those of the folder, damaged ones, and each of the folder cut short or with a wrong octet."""
    made = {path.name: path.read_bytes() for path in PCAPS}
    for number, (name, one) in enumerate(DAMAGED.items()):
        made[f"{number} {re.sub('[^a-z0-9]+', '-', name.lower())}.pcap"] = one.octets
    for number, path in enumerate(PCAPS):
        octets = path.read_bytes()
        made[f"cut-{path.name}"] = octets[: len(octets) * (number + 1) // (len(PCAPS) + 2)]
        at = 60 + 37 * number % (len(octets) - 60)
        made[f"wrong-{path.name}"] = octets[:at] + bytes([octets[at] ^ 0xFF]) + octets[at + 1 :]
    return made


def told(folder: Path, *words: str) -> dict[str, Any]:
    """What the command says, run in this folder."""
    out, messages = io.StringIO(), io.StringIO()
    with contextlib.chdir(folder), contextlib.redirect_stdout(out), contextlib.redirect_stderr(messages):
        try:
            status = main(words)
        except SystemExit as end:
            status = end.code
    return {"status": status, "out": out.getvalue(), "messages": messages.getvalue()}


#: In the page: run the analysis, in one worker, on captures that the server has.
RUN = """async ([runs, folder]) => {
    const { Analysis, named } = await import("./analysis.mjs");
    const analysis = new Analysis();
    const answers = [];
    for (const [words, names, saves] of runs) {
        const files = await Promise.all(names.map(async (name) =>
            new File([await (await fetch(folder + encodeURIComponent(name))).blob()], name)));
        const { status, out, messages, saved } = await analysis.run(named(files), words, saves);
        answers.push({ status, out, messages, saved: saved && [...saved] });
    }
    analysis.cancel();
    return answers;
}"""


# -- it says what the command says ------------------------------------------------------------------------------------


def test_the_json_is_the_commands_and_so_are_messages_and_status(
    browser: Browser, served: Served, tmp_path: Path
) -> None:
    assert len(given()) >= len(PCAPS) + 100
    for name, octets in given().items():
        (tmp_path / name).write_bytes(octets)
    with Visit(browser, served.url, service_workers="block") as visit:
        visit.page.goto(served.url)
        runs = [(["--format", "json"], [name], "") for name in given()]
        answers = visit.page.evaluate(RUN, [runs, "given/"])
        statuses = set()
        for name, answer in zip(given(), answers, strict=True):
            del answer["saved"]
            assert (name, answer) == (name, told(tmp_path, "--format", "json", name))
            statuses.add(answer["status"])
        assert statuses == {0, 3, 4}
        assert not any("violates" in text for text in visit.heard), visit.heard


def test_every_view_is_the_commands(browser: Browser, served: Served, tmp_path: Path) -> None:
    names = ["self-connect-v6.pcapng", "simultaneous-open-left.pcapng", "port-walk.pcapng"]
    for name in names:
        shutil.copyfile(ROOT / "pcaps" / name, tmp_path / name)
    runs: list[tuple[list[str], list[str], str]] = [
        ([], names, ""),
        (["--format", "html"], names, ""),
        (["--all"], [*names, "not there"][:3], ""),
        (["--rotated", "--format", "json"], names[:2], ""),
        (["--port", "none"], names, ""),
        ([], names[:1], "annotated.pcapng"),
    ]
    with Visit(browser, served.url, service_workers="block") as visit:
        visit.page.goto(served.url)
        answers = visit.page.evaluate(RUN, [runs, "pcaps/"])
    annotated = answers[-1].pop("saved")
    for (words, named, _), answer in zip(runs, answers, strict=True):
        answer.pop("saved", None)
        expected = told(tmp_path, *words, "--", *named)
        assert (words, answer) == (words, expected)
    told(tmp_path, "--annotate", "there.pcapng", names[0])
    assert bytes(annotated) == (tmp_path / "there.pcapng").read_bytes()


# -- the first page ----------------------------------------------------------------------------------------------------


def test_a_capture_is_shown_saved_and_its_name_is_text(browser: Browser, served: Served, tmp_path: Path) -> None:
    capture = tmp_path / EVIL
    shutil.copyfile(ROOT / "pcaps" / "self-connect-v6.pcapng", capture)
    expected = told(tmp_path, "--format", "json", "--", EVIL)
    html = told(tmp_path, "--format", "html", "--", EVIL)["out"]
    with Visit(browser, served.url, service_workers="block", accept_downloads=True) as visit:
        page = visit.page
        page.goto(served.url)
        assert "Nothing is uploaded" in page.inner_text("#own")
        page.set_input_files("#files", [capture])
        frame = page.frame_locator("#view iframe")
        assert "[::1]" in frame.locator("h1").inner_text(timeout=60_000)
        assert page.inner_text("#result-title") == EVIL
        assert page.locator("#own img, #own .messages li").count() == 0
        frame.locator(".next").click()
        assert frame.locator("li[aria-current=step]").count() == 1
        assert saved(page, "Save the page") == html.encode()
        annotated = saved(page, "Save an annotated copy")
        assert annotated[:4] == b"\x0a\x0d\x0d\x0a"
        assert len(annotated) > capture.stat().st_size
        page.click("#tab-json")
        assert page.inner_text("#view pre").strip() == expected["out"].strip()
        assert saved(page, "Save the JSON") == expected["out"].encode()
        page.press("#tab-json", "ArrowLeft")
        page.locator("#view pre", has_text="self-connect").wait_for()
        assert page.get_attribute("#tab-table", "aria-selected") == "true"
        assert page.locator("#own img").count() == 0
        assert not any("violates" in text or "alert" in text for text in visit.heard), visit.heard


def saved(page: Page, words: str) -> bytes:
    with page.expect_download() as download:
        page.get_by_role("button", name=words).click()
    return bytes(download.value.path().read_bytes())


def test_errors_are_said_as_on_the_command_line_and_a_run_can_be_cancelled(
    browser: Browser, served: Served, tmp_path: Path
) -> None:
    (tmp_path / "text.pcap").write_text("no capture\n" * 9)
    whole = (ROOT / "pcaps" / "port-walk.pcapng").read_bytes()
    (tmp_path / "cut.pcapng").write_bytes(whole[:-9])
    (tmp_path / "large.pcapng").write_bytes(whole * 2000)
    with Visit(browser, served.url, service_workers="block") as visit:
        page = visit.page
        page.goto(served.url)
        page.set_input_files("#files", [tmp_path / "text.pcap", tmp_path / "cut.pcapng"])
        page.frame_locator("#view iframe").locator("h1").wait_for(timeout=60_000)
        expected = told(tmp_path, "--format", "html", "text.pcap", "cut.pcapng")
        assert page.locator(".messages li").all_inner_texts() == expected["messages"].splitlines()
        assert f"exit status {expected['status']}" in page.inner_text(".command")
        page.set_input_files("#files", [tmp_path / "text.pcap"])
        page.locator("#result-title", has_text="text.pcap").get_by_text("text.pcap", exact=True).wait_for()
        assert page.locator(".views").is_hidden()
        page.set_input_files("#files", [tmp_path / "large.pcapng"])
        page.locator(".stage-name", has_text="%").wait_for(timeout=60_000)
        assert float(page.get_attribute("progress", "value") or 0) > 0
        page.click(".cancel")
        assert page.locator(".work").is_hidden()
        page.set_input_files("#files", [tmp_path / "cut.pcapng"])
        page.locator("#result-title", has_text="cut.pcapng").wait_for(timeout=60_000)


# -- it asks nobody, and needs nobody ---------------------------------------------------------------------------------


def test_no_request_leaves_the_origin_and_without_the_server_all_of_it_still_works(
    browser: Browser, site: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir()
    with serving(site) as there, serving(other) as elsewhere, Visit(browser, there.url) as visit:
        page = visit.page
        page.goto(there.url)
        page.evaluate("navigator.serviceWorker.ready.then(() => 0)")
        # The policy holds for the page and for workers that it starts in its own way.
        tries = """async (url) => {
            const start = `fetch("${url}", { mode: "no-cors" })
                .then(() => postMessage("sent"), () => postMessage("refused"))`;
            const url_of_it = URL.createObjectURL(new Blob([start], { type: "text/javascript" }));
            const worker = new Worker(url_of_it, { type: "module" });
            const inside = await new Promise((resolve) => (worker.onmessage = ({ data }) => resolve(data)));
            return [inside, await fetch(url, { mode: "no-cors" }).then(() => "sent", () => "refused")];
        }"""
        assert page.evaluate(tries, f"{elsewhere.url}nobody") == ["refused", "refused"]
        there.end()
        page.goto(f"{there.url}index.html")
        page.set_input_files("#files", [ROOT / "pcaps" / "self-connect-v4.pcapng"])
        page.frame_locator("#view iframe").locator("h1").wait_for(timeout=60_000)
        for path in ("pcaps/split-handshake.html", "docs/lessons/4-the-handshake.html", "docs/states.html", ""):
            page.goto(f"{there.url}{path}")
            assert page.locator("h1").count() == 1
        allowed = (there.url, "blob:", "data:")
        assert [url for url in visit.asked if not url.startswith(allowed) and url != f"{elsewhere.url}nobody"] == []


def test_from_a_file_the_pages_work_and_the_first_page_says_what_does_not(browser: Browser, site: Path) -> None:
    with Visit(browser, "") as visit:
        page = visit.page
        page.goto((site / "index.html").as_uri())
        assert page.locator(".unserved").is_visible()
        assert page.locator(".served").is_hidden()
        assert "http.server" in page.inner_text(".unserved")
        with page.expect_navigation():
            page.click("text=See it, step by step")
        page.keyboard.press("ArrowRight")
        assert page.locator("li[aria-current=step]").count() == 1
        page.goto((site / "index.html").as_uri())
        with page.expect_navigation():
            page.click("text=Begin with lesson 1")
        assert page.locator(".series [rel=next]").count() == 1
        assert page.evaluate("getComputedStyle(document.body).maxWidth") != "none"


def test_the_service_worker_has_a_list_of_all_files(site: Path) -> None:
    text = (site / "sw.js").read_text()
    listed = json.loads(re.search(r"^const FILES = (.*);$", text, re.MULTILINE)[1])
    there = {path.relative_to(site).as_posix() for path in site.rglob("*") if path.is_file()}
    assert set(listed) == there - {"sw.js"} | {"./"}


def test_nothing_in_the_folder_names_another_place_to_fetch_from(site: Path) -> None:
    assert json.loads((site / "pyodide" / "pyodide-lock.json").read_text())["packages"] == {}
    for path in site.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        found = re.search(r'Content-Security-Policy" content="([^"]*)"', text)
        policy = unescape(found[1]) if found else ""
        assert policy.startswith("default-src 'none'; "), path
        assert not re.search(r"unsafe-(inline|hashes)|'unsafe-eval'|https?:", policy), path


class Links(HTMLParser):
    """The links of a page, and what they may lead to in it."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = set()
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, _tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for name, value in attributes:
            if name == "id":
                self.anchors.add(value or "")
            elif name in {"href", "src", "srcset"}:
                self.links.append(value or "")


def test_every_link_leads_somewhere(site: Path) -> None:
    pages = {path: Links(path) for path in site.rglob("*.html")}
    assert len(pages) > 60
    broken = []
    for path, found in pages.items():
        for link in found.links:
            parts = urlsplit(link)
            if parts.scheme:
                continue
            there = (path.parent / unquote(parts.path)).resolve() if parts.path else path
            anchor = re.sub(r"^(o\d+)s\d+-[a-z-]+$", r"\1", unquote(parts.fragment))  # a mode of a capture's page
            anchored = not anchor or there not in pages or anchor in pages[there].anchors
            if not there.is_file() or not anchored:
                broken.append((path.relative_to(site), link))
    assert broken == []


@pytest.mark.parametrize(("width", "scheme"), [(390, "light"), (390, "dark"), (1280, "light"), (1280, "dark")])
def test_axe_finds_no_violation(browser: Browser, served: Served, width: int, scheme: str) -> None:
    how: dict[str, Any] = {"viewport": {"width": width, "height": 800}, "color_scheme": scheme}
    with Visit(browser, served.url, service_workers="block", bypass_csp=True, **how) as visit:
        page = visit.page
        for path in ("index.html", "docs/lessons/4-the-handshake.html", "docs/states.html", "README.zh.html"):
            page.goto(served.url + path)
            if path == "index.html":
                page.evaluate(
                    "document.querySelector('.work').hidden = document.querySelector('.result').hidden = false"
                )
            assert Axe().run(page, options=AXE).response["violations"] == []
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path


# -- the Python of the browser -----------------------------------------------------------------------------------------


def test_pure_tests_pass_under_pyodide(pyodide: Path) -> None:
    packages = Path(pytest.__file__).parent.parent
    modules = [f"tests/test_{name}.py" for name in ("model", "verdicts")]
    command = ["node", ROOT / "tests" / "pyodide.mjs", pyodide, ROOT, packages, *modules]
    done = subprocess.run(command, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > 100
