"""How long the site takes to a first result, in the system's Chromium: the best of five, each in a new profile.

    make site; .venv/bin/python bench/site.py

Of a capture with 10,000 packets, half of them of self-connects: from choosing it in a page that was only opened to its
page in the frame, and, Python being there, its table; then the same of 100,000.
"""

from __future__ import annotations

import shutil
import sys
import threading
import time
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
import frames  # noqa: E402 -- these are found by the line above
import writers  # noqa: E402
from browser import running  # noqa: E402
from test_linktypes import EPOCH, packets  # noqa: E402

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROUNDS = 5
SITE = ROOT / "dist" / "site"


class _Quiet(SimpleHTTPRequestHandler):
    """Python's own server of files, without its log."""

    def log_message(self, *_words: object) -> None:
        """Nothing."""


def capture(path: Path, wanted: int) -> Path:
    """Write a capture of so many packets."""
    made: list[bytes] = []
    port = 10_000
    while len(made) < wanted:
        made += map(frames.ethernet, packets(4, port))
        port += 1
    path.write_bytes(writers.pcap([(EPOCH + 100_000 * n, frame) for n, frame in enumerate(made[:wanted])]))
    return path


def visit(browser: Browser, url: str, captures: list[Path]) -> list[float]:
    """Seconds to the page of the first capture, its table, and the page of the next."""
    context = browser.new_context()
    page = context.new_page()
    page.goto(url)
    page.evaluate("navigator.serviceWorker.ready.then(() => 0)")  # all is kept: no more of the network in it
    times = []
    begun = time.monotonic()
    for number, path in enumerate(captures):
        page.set_input_files("#files", [path])
        page.locator("#result-title", has_text=path.name).wait_for()
        page.frame_locator("#view iframe").locator("h1", has_text="openings").wait_for()
        times.append(time.monotonic() - begun)
        begun = time.monotonic()
        if not number:
            page.click("#tab-table")
            page.locator("#view pre").wait_for()
            times.append(time.monotonic() - begun)
            page.click("#tab-html")
            begun = time.monotonic()
    context.close()
    return times


def main() -> None:
    """Measure, and print a line each."""
    size = sum(path.stat().st_size for path in SITE.rglob("*") if path.is_file())
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=SITE))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with TemporaryDirectory() as folder, running(shutil.which("chromium") or "chromium") as browser:
        captures = [capture(Path(folder) / f"{wanted}.pcap", wanted) for wanted in (10_000, 100_000)]
        rounds = [visit(browser, f"http://127.0.0.1:{server.server_port}/", captures) for _ in range(ROUNDS)]
    best = [min(times) for times in zip(*rounds, strict=True)]
    what = ("10,000 packets, Python not begun: page", "10,000 packets: table", "100,000 packets: page")
    sys.stdout.write(f"{size / 1e6:.1f} MB\n")
    sys.stdout.writelines(f"{name}: {seconds:.1f} s\n" for name, seconds in zip(what, best, strict=True))


if __name__ == "__main__":
    main()
