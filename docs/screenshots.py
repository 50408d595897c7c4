"""Take the pictures of the HTML page in docs/screenshots: ``make screenshots``, where Chromium and its driver are.

The self-connect is caught for them, in a private network namespace; the simultaneous open is the one in pcaps/.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Thread
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "tests"))
from browser import running  # noqa: E402 -- found by the line above


class Picture(NamedTuple):
    """One picture: of which page, how wide and high, after which keys and how many steps, scrolled to what."""

    page: str
    width: int
    height: int
    scheme: str
    steps: int = 0
    to: str = ""
    keys: str = ""


PICTURES = {
    "self-connect": Picture("live", 1280, 940, "light", 4),
    "simultaneous-open": Picture("simultaneous-open-middle", 1280, 800, "dark", 7),
    "phone": Picture("live", 390, 844, "light", 3),
    "lecture": Picture("self-connect-v4", 1920, 1080, "light", 2, keys="l"),
    "predict": Picture("self-connect-v4", 1280, 760, "light", keys="p23"),
    "side": Picture("self-connect-v4 simultaneous-open-middle", 1920, 1000, "dark", 5, keys="s"),
    "walk": Picture("live", 390, 844, "dark", to=".figures"),
    "site": Picture("site", 1280, 1080, "light"),
}


def page(name: str, folder: Path) -> Path:
    """Make a page: of captures in pcaps/, or of one made now."""
    made = folder / f"{name}.html"
    how = ["--format", "html", "-o", str(made)]
    if name == "live":
        walk = ["--private", "--range", "50000-51999", "--port", "50800", "-q", "-w", "selfconn.pcapng"]
        command = [sys.executable, "-m", "capture.cli", *walk, *how]
    else:
        captures = [f"{one}.pcapng" for one in name.split()]
        for one in captures:
            shutil.copy(ROOT / "pcaps" / one, folder)
        command = [sys.executable, "-m", "analysis.cli", *captures, *how]
    subprocess.run(command, check=True, cwd=folder, env={"PYTHONPATH": str(ROOT)}, timeout=120)  # noqa: S603 -- ours
    return made


def site(folder: Path) -> str:
    """Make the site and serve it, for as long as this runs; its address."""
    cache = ROOT / ".cache" / "site"
    subprocess.run([ROOT / "tools" / "site" / "fetch", cache], check=True)  # noqa: S603 -- ours
    build = [sys.executable, ROOT / "tools" / "site" / "build.py", folder / "site", cache / "node_modules" / "pyodide"]
    subprocess.run(build, check=True)  # noqa: S603 -- ours
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=folder / "site"))
    Thread(target=server.serve_forever, daemon=True).start()
    return f"http://127.0.0.1:{server.server_port}/"


def main() -> None:
    """Take them all."""
    with TemporaryDirectory() as folder, running(shutil.which("chromium") or "chromium") as browser:
        names = {picture.page for picture in PICTURES.values()} - {"site"}
        pages = {name: page(name, Path(folder)).as_uri() for name in names} | {"site": site(Path(folder))}
        for name, picture in PICTURES.items():
            context = browser.new_context(
                viewport={"width": picture.width, "height": picture.height},
                color_scheme=picture.scheme,
                reduced_motion="reduce",
            )
            shown = context.new_page()
            shown.goto(pages[picture.page])
            for key in picture.keys:
                shown.keyboard.press(key)
            for _ in range(picture.steps):
                shown.keyboard.press("ArrowRight")
            if picture.to:
                shown.locator(picture.to).first.evaluate("one => one.scrollIntoView()")
            elif picture.width > 1000 and not picture.keys:
                shown.evaluate("scrollTo(0, 0)")
            shown.screenshot(path=ROOT / "docs" / "screenshots" / f"{name}.png")
            context.close()


if __name__ == "__main__":
    main()
