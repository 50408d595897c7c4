"""The documents of the project as pages of the site, each where it stands in the repository.

A link from one to another is followed: what is Markdown becomes a page, what a browser shows is copied, a program or a
table becomes a page with its text. A link that leads nowhere ends the build. This is the only file that imports
markdown-it.
"""

from __future__ import annotations

import functools
import os
import re
import shutil
from html import escape
from itertools import pairwise
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, NamedTuple

from markdown_it import MarkdownIt
from markupsafe import Markup

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from markdown_it.token import Token

#: What a browser shows or saves by itself: copied.
_COPIED = {".html", ".png", ".svg", ".pcapng"}

#: Pages that name each other as the one before and the one after, in this order.
_SERIES = ("docs/lessons/[0-9]*.md", "docs/lessons/zh/[0-9]*.md")

_IN_HTML = re.compile(r'\b(src|srcset|href)="([^"]+)"')


class Document(NamedTuple):
    """A document as the template shows it; links are relative to its own place."""

    title: str
    language: str
    top: str  # from here to the top of the site
    body: Markup
    headings: list[tuple[str, str]]  # anchor and words of those of the second rank
    before: tuple[str, str] | None = None  # in a series: link and title
    after: tuple[str, str] | None = None


class Documents:
    """Makes pages below *target* out of documents below *root*.

    *frame* makes a page of a document, *helped* gives the text of a manual page; *texts* are those of documents that
    are other ones here than in the repository.
    """

    def __init__(
        self,
        root: Path,
        target: Path,
        frame: Callable[[Document], str],
        helped: Callable[[str], str],
        texts: dict[str, str],
    ) -> None:
        self.root, self.target, self.frame, self.helped, self.texts = root, target, frame, helped, texts
        self.waiting: list[str] = []
        self.known: set[str] = set()
        self.markdown = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])

    def make(self, names: list[str]) -> None:
        """Make the pages of these documents, and of all that they lead to."""
        for name in names:
            self._want(name)
        while self.waiting:
            name = self.waiting.pop()
            source, page = self.root / name, self.target / self._place(name)
            page.parent.mkdir(parents=True, exist_ok=True)
            if source.suffix in _COPIED:
                if not page.exists():  # the pages of captures are made by the program
                    shutil.copyfile(source, page)
            else:
                page.write_text(self.frame(self._document(name)), encoding="utf-8")

    def _place(self, name: str) -> str:
        """Where a file or folder of the repository is in the site."""
        path = PurePosixPath(name)
        if path.suffix in _COPIED:
            return name
        if (self.root / name).is_dir():
            return f"{name}/index.html"
        return str(path.with_suffix(".html")) if path.suffix == ".md" else f"{name}.html"

    def _want(self, name: str) -> None:
        if name not in self.known:
            self.known.add(name)
            self.waiting.append(name)

    def _document(self, name: str) -> Document:
        top = "../" * self._place(name).count("/")
        if (self.root / name).is_dir():
            files = [path.name for path in sorted((self.root / name).iterdir()) if path.is_file()]
            items = [Markup('<li><a href="{}">{}</a></li>').format(self._link(f"{name}/", one), one) for one in files]
            return Document(name, "en", top, Markup("<h1>{}</h1><ul>{}</ul>").format(name, Markup("").join(items)), [])
        if not name.endswith(".md"):
            manual = name.endswith(".1")
            text = self.helped(PurePosixPath(name).stem) if manual else (self.root / name).read_text(encoding="utf-8")
            body = Markup("<h1>{}</h1>\n<pre tabindex=0><code>{}</code></pre>\n").format(
                f"{PurePosixPath(name).stem} --help-all" if manual else name, text
            )
            return Document(name, "en", top, body, [])
        tokens = self.markdown.parse(self.texts.get(name) or (self.root / name).read_text(encoding="utf-8"))
        headings = list(_anchored(tokens))
        self._rewrite(name, tokens)
        body = self.markdown.renderer.render(tokens, self.markdown.options, {})
        return Document(
            next((words for rank, _, words in headings if rank == "h1"), name),
            "zh" if name.endswith(".zh.md") or "/zh/" in name else "en",
            top,
            Markup(body),  # noqa: S704 -- documents of ours
            [(anchor, words) for rank, anchor, words in headings if rank == "h2"],
            *self._neighbours(name),
        )

    def _neighbours(self, name: str) -> tuple[tuple[str, str] | None, tuple[str, str] | None]:
        for pattern in _SERIES:
            series = sorted(path.relative_to(self.root).as_posix() for path in self.root.glob(pattern))
            if name in series:
                at = series.index(name)
                before, after = series[:at][-1:], series[at + 1 : at + 2]
                return self._named(name, before), self._named(name, after)
        return None, None

    def _named(self, name: str, others: list[str]) -> tuple[str, str] | None:
        for other in others:
            title = (self.root / other).read_text(encoding="utf-8").partition("\n")[0]
            return self._link(name, os.path.relpath(other, PurePosixPath(name).parent)), title.lstrip("# ")
        return None

    def _rewrite(self, name: str, tokens: list[Token]) -> None:
        """Change links and what a page cannot show as it is, in place."""
        for token in tokens:
            for attribute in ("href", "src"):
                if found := token.attrGet(attribute):
                    token.attrSet(attribute, self._link(name, str(found)))
                    if "://" in str(found):
                        token.attrSet("rel", "noreferrer")
            if token.type in {"html_block", "html_inline"}:
                token.content = _IN_HTML.sub(
                    lambda found: f'{found[1]}="{escape(self._link(name, found[2]))}"', token.content
                )
            elif token.type in {"fence", "code_block"}:
                _becomes(token, f"<pre tabindex=0><code>{escape(token.content)}</code></pre>\n")
            else:
                _in_tables(token)
            self._rewrite(name, token.children or [])

    def _link(self, name: str, href: str) -> str:
        """A link in a document as it is in the site."""
        if "://" in href or href.startswith(("#", "mailto:")):
            return href
        path, _, anchor = href.partition("#")
        here = os.path.dirname(name)  # noqa: PTH120 -- of a folder, whose name ends in /, it is the folder
        there = os.path.normpath(f"{here or '.'}/{path}")
        if (self.root / there / "README.md").is_file():
            there = f"{there}/README.md"
        if there.startswith("..") or not any((top / there).exists() for top in (self.root, self.target)):
            raise SystemExit(f"{name} leads to {href}, and there is no {there}")
        if (self.root / there).exists():
            self._want(there)
        return os.path.relpath(self._place(there), here or ".") + (f"#{anchor}" if anchor else "")


def _becomes(token: Token, markup: str) -> None:
    token.type, token.content = "html_block", markup


def _in_tables(token: Token) -> None:
    """Let a wide table scroll, and keep styles out of it, which a policy forbids beside the page's own."""
    if token.type == "table_open":
        _becomes(token, '<div class="wide" tabindex=0><table>\n')
    elif token.type == "table_close":
        _becomes(token, "</table></div>\n")
    elif token.type in {"th_open", "td_open"}:
        if token.attrs.pop("style", "") == "text-align:right":
            token.attrSet("class", "number")
        if token.type == "th_open":
            token.attrSet("scope", "col")


def _anchored(tokens: list[Token]) -> Iterator[tuple[str, str, str]]:
    """Give headings the anchors that forges give them; rank, anchor and words of each."""
    taken: dict[str, int] = {}
    for token, inside in pairwise(tokens):
        if token.type != "heading_open":
            continue
        words = "".join(child.content for child in inside.children or [])
        anchor = anchored(words)
        again = taken[anchor] = taken.get(anchor, -1) + 1
        token.attrSet("id", f"{anchor}-{again}" if again else anchor)
        yield token.tag, str(token.attrGet("id")), words


@functools.cache
def anchored(words: str) -> str:
    """The anchor of a heading: letters, digits, hyphens, and hyphens for spaces."""
    return re.sub(r"[^\w\- ]", "", words.lower()).strip().replace(" ", "-")
