"""Make the site: a folder of files that any web server serves, and that asks nobody else for anything.

    PYTHON tools/site/build.py FOLDER PYODIDE

PYTHON is that of the project's environment, PYODIDE the folder of that package of npm, which tools/site/fetch fetches.
The folder has the captures with their pages, the documents, and the analysis itself, which Pyodide runs in the reader's
browser. docs/site.md says what is in it, and how it is given to a class.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import zipfile
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path[:0] = [str(ROOT), str(HERE), str(ROOT / "pcaps")]

from documents import Document, Documents  # noqa: E402 -- these are found by the line above
from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: E402
from markupsafe import Markup  # noqa: E402
from pictures import picture  # noqa: E402

from analysis import VERSION  # noqa: E402
from analysis.model import Verdict  # noqa: E402
from analysis.reader import analyze  # noqa: E402
from analysis.report import report  # noqa: E402
from analysis.views import rendered  # noqa: E402
from analysis.views.html import hashed  # noqa: E402
from analysis.views.page import machine  # noqa: E402
from selfconn.__main__ import COMMANDS  # noqa: E402

if TYPE_CHECKING:
    from types import ModuleType

    from analysis.model import CaptureResult

#: What a reader begins with; what these lead to comes along.
DOCUMENTS = ["README.md", "README.zh.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/README.md", "pcaps/README.md"]

#: The groups of the captures: a heading, and the first verdict or the beginning of the name of those in it.
GROUPS = {
    "A socket meets itself": ("self-connect", "self-syn"),
    "Two sockets call each other": (
        "simultaneous-open",
        "one-sided-crossing",
        "split-handshake",
        "crossed-unanswered",
        "hole-punch",
    ),
    "A client, a server, or nobody": ("three-way", "half-open", "refused"),
    "Other kernels": ("linux-",),
}

#: Two captures whose openings are stepped through together.
SIDE_BY_SIDE = ("self-connect-v4", "simultaneous-open-middle")

#: What of Pyodide's package is needed to run.
PYODIDE = ("pyodide.mjs", "pyodide.asm.mjs", "pyodide.asm.wasm", "python_stdlib.zip")

#: The beginning of the style of a capture's page is that of the site, up to this line.
_OWN_STYLE = "/* the stage */"

_MOMENT = (1980, 1, 1, 0, 0, 0)  # of all files in an archive: the same source gives the same octets


class Shown(NamedTuple):
    """A capture in the index."""

    name: str
    verdicts: str
    packets: int
    look: str
    picture: Markup


def script(path: Path) -> ModuleType:
    """Import a script by its path: several are called make.py."""
    spec = spec_from_file_location(f"{path.parent.name}_{path.stem}", path)
    assert spec  # noqa: S101 -- for the type checker
    assert spec.loader  # noqa: S101
    made = module_from_spec(spec)
    sys.modules[spec.name] = made  # dataclasses look for it there
    spec.loader.exec_module(made)
    return made


CORPUS = script(ROOT / "pcaps" / "make.py")
BUNDLE = script(ROOT / "tools" / "bundle" / "make.py")


class Site:
    """The folder *target*, as it is being made."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.templates = Environment(
            loader=FileSystemLoader([HERE / "templates", ROOT / "analysis" / "views" / "page"]),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        page = (ROOT / "analysis" / "views" / "page" / "page.css").read_text(encoding="utf-8")
        shared, found, _ = page.partition(_OWN_STYLE)
        if not found:
            raise SystemExit(f"page.css has no line {_OWN_STYLE} any more: where does what is common to all pages end?")
        self.style = shared + (HERE / "templates" / "site.css").read_text(encoding="utf-8")

    def write(self, name: str, text: str) -> None:
        """Write a file of the site."""
        path = self.target / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def shown(self, template: str, **values: object) -> str:
        """A page of the site, with its style in it."""
        about = {"style": Markup(self.style), "style_hash": hashed(self.style), "version": VERSION}  # noqa: S704
        return self.templates.get_template(template).render(**about, **values)

    def captures(self) -> None:
        """The pages of the captures, made by the program."""
        for name in CORPUS.CAPTURES:
            self.write(f"pcaps/{name}.html", CORPUS.page(name))
            shutil.copyfile(ROOT / "pcaps" / f"{name}.pcapng", self.target / "pcaps" / f"{name}.pcapng")

        results = [named(name) for name in SIDE_BY_SIDE]
        self.write("pcaps/side-by-side.html", "".join(rendered(report(results), "html")))
        self.write("pcaps/self-connect-v4.zh.html", "".join(rendered(report(results[:1]), "html", language="zh")))

    def documents(self) -> None:
        """The documents, and what they lead to."""
        drawing = self.templates.get_template("machine.html").render(machine=machine, stretch=1, page=None)
        drawing = drawing.replace(
            'role="img"', 'role="img" aria-label="State diagram; the table says the same in words"'
        )
        figure = f'<figure class="machine">{" ".join(drawing.split())}</figure>'
        states = (ROOT / "docs" / "states.md").read_text(encoding="utf-8")
        texts = {
            "docs/states.md": re.sub(r"```mermaid\n.*?\n```", lambda _: figure, states, flags=re.DOTALL),
            # Here every capture has its page, which in the repository only some have.
            "pcaps/README.md": CORPUS.index(CORPUS.CAPTURES),
        }

        def frame(document: Document) -> str:
            return self.shown("document.html", document=document, top=document.top)

        Documents(ROOT, self.target, frame, helped, texts).make(DOCUMENTS)

    def index(self) -> None:
        """The first page."""
        lessons = sorted((ROOT / "docs" / "lessons").glob("[0-9]*.md"))
        titles = {path.stem: path.read_text(encoding="utf-8").partition("\n")[0].lstrip("# ") for path in lessons}
        pages = "".join(
            path.read_text(encoding="utf-8") for path in (self.target / "pcaps").glob("self-connect-v4.*html")
        )
        groups = grouped()
        text = self.shown(
            "index.html",
            top="",
            groups=groups,
            captures=[one for group in groups.values() for one in group],
            first=picture(analyze(str(ROOT / "pcaps" / "self-connect-v4.pcapng"))),
            lessons=[(stem, *title.split(". ", 1)) for stem, title in titles.items()],
            inline=" ".join({hashed(part) for part in re.findall(r"<script>(.*?)</script>", pages, re.DOTALL)}),
            inline_style=" ".join({hashed(part) for part in re.findall(r"<style>(.*?)</style>", pages, re.DOTALL)}),
            megabytes=round(sum(path.stat().st_size for path in self.target.rglob("*") if path.is_file()) / 1e6),
        )
        self.write("index.html", text)

    def program(self, pyodide: Path) -> None:
        """Pyodide, the analysis as an archive, and what runs it in the page."""
        (self.target / "pyodide").mkdir()
        for name in PYODIDE:
            shutil.copyfile(pyodide / name, self.target / "pyodide" / name)
        lock = json.loads((pyodide / "pyodide-lock.json").read_text(encoding="utf-8"))
        # Its packages lie elsewhere, and none is needed.
        self.write("pyodide/pyodide-lock.json", json.dumps({**lock, "packages": {}}))
        for name in ("site.mjs", "analysis.mjs", "worker.mjs", "icon.svg"):
            shutil.copyfile(HERE / "templates" / name, self.target / name)
        with TemporaryDirectory() as directory:
            top = Path(directory)
            BUNDLE.others(top)
            shutil.copytree(ROOT / "analysis", top / "analysis", ignore=_not_source)
            for path in (*(HERE / "python").glob("*.py"), ROOT / "tools" / "bundle" / "cython.py"):
                shutil.copyfile(path, top / path.name)
            shutil.rmtree(top / "tqdm")  # python/tqdm.py stands for it
            licences = self.target / "licenses"
            shutil.copytree(top / "licenses", licences)
            shutil.copyfile(ROOT / "LICENSE", licences / "selfconn-LICENSE")
            archived(top, top / "sources.zip")
            command = ["node", HERE / "compile.mjs", pyodide, top / "sources.zip", self.target]
            subprocess.run(command, check=True)  # noqa: S603 -- ours

    def worker(self) -> None:
        """What keeps the folder for when there is no network: the list of all files, and its version."""
        paths = sorted(path for path in self.target.rglob("*") if path.is_file())
        names = [path.relative_to(self.target).as_posix() for path in paths]
        state = hashlib.sha256()
        for name, path in zip(names, paths, strict=True):
            state.update(f"{name}\n".encode() + hashlib.sha256(path.read_bytes()).digest())
        template = (HERE / "templates" / "sw.js").read_text(encoding="utf-8")
        files = json.dumps(["./", *names], ensure_ascii=False)
        self.write("sw.js", template.replace("{{ version }}", state.hexdigest()[:16]).replace("{{ files }}", files))


def _not_source(folder: str, names: list[str]) -> set[str]:
    """What is left out of the package: the compiled engine, which is for another processor, and caches."""
    ours = (".py", ".html", ".css", ".js")
    return {"__pycache__", *(name for name in names if not (Path(folder, name).is_dir() or name.endswith(ours)))}


def named(name: str) -> CaptureResult:
    """What the analysis finds in a capture of the folder."""
    return analyze(str(ROOT / "pcaps" / f"{name}.pcapng"))._replace(name=f"{name}.pcapng")


def archived(top: Path, target: Path) -> None:
    """Write all files below *top* into an archive."""
    paths = sorted(path for path in top.rglob("*") if path.is_file())
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in paths:
            entry = zipfile.ZipInfo(path.relative_to(top).as_posix(), _MOMENT)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, path.read_bytes())


def grouped() -> dict[str, list[Shown]]:
    """The captures of the index by group."""
    groups: dict[str, list[Shown]] = {title: [] for title in GROUPS}
    for capture, _ in CORPUS.MADE:
        result = analyze(str(ROOT / "pcaps" / f"{capture.name}.pcapng"), collect=frozenset(Verdict))
        counts = {str(verdict): times for verdict, times in result.verdicts.items() if times}
        named = [title for title, marks in GROUPS.items() if capture.name.startswith(marks)]
        ruled = [title for title, marks in GROUPS.items() if next(iter(counts)) in marks]
        look = beginning(" ".join(capture.look.split()).replace("`", ""))
        said = ", ".join(
            f"{times} {verdict}" if times > 1 or len(counts) > 1 else verdict for verdict, times in counts.items()
        )
        groups[(named or ruled)[-1]].append(Shown(capture.name, said, result.packets, look, picture(result)))
    return groups


def beginning(text: str) -> str:
    """The first sentence or two of a text."""
    return re.match(r"(.{60}.*?|.*?)(\. |: |$)", text)[1].rstrip(".") + "."


def helped(program: str) -> str:
    """The text of a manual page: that of --help-all."""
    command = COMMANDS.get(program.removeprefix("selfconn-"))
    return import_module(command[0]).parser().format_help() if command else ""


def main() -> None:
    """Make it: beside the old one, which it then replaces."""
    target, pyodide = map(Path, sys.argv[1:])
    made = target.with_name(f"{target.name}.new")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    site = Site(made)
    site.captures()
    site.documents()
    site.program(pyodide)
    site.index()
    site.worker()
    shutil.rmtree(target, ignore_errors=True)
    made.rename(target)
    size = sum(path.stat().st_size for path in target.rglob("*") if path.is_file())
    sys.stdout.write(f"{target}: {size / 1e6:.1f} MB; to look at it: python3 -m http.server --directory {target}\n")


if __name__ == "__main__":
    main()
