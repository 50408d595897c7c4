"""Runs the commands in a document and compares what it shows of their output.

A block is what Markdown shows as code because four spaces stand before it, with blank lines around it. (A fenced
block, ```` ``` ````, is not a block: it is code to read, or a diagram.) In a block with lines that begin with ``$ ``,
those are the commands, and what follows each is its output: it must be what comes out, line by line. In a block
without any, every line is a command, and only has to succeed.

- A line ``...`` stands for any number of lines, also none.
- A command that a shell finds unfinished (a loop, a here-document, a ``\\`` at the end) goes on in the next line, with
  or without ``> `` before it.
- A command has to end with status 0; ``; echo $?`` shows another.

The blocks of a document are run in their order, in a directory of the document's own where everything in the repository
is found by its name, and in a network namespace whose ``lo`` is all there is and whose ephemeral range is the kernel's
default. Lines are 100 columns wide. A *lesson* (docs/lessons/) is run as a person does it: all its blocks in one bash,
and ``sudo`` is sudo, which has a PATH of its own. Each block of another document has a bash of its own, and ``sudo`` in
it needs root, and adds nothing.

HTML comments right before a block, one a line, say what is special about it:

    <!-- not run: REASON -->    it is not run, and why
    <!-- in: TEST -->           it is run by that file, which makes what it needs (blocks_in())
    <!-- first: COMMANDS -->    what a reader has done before; must succeed, its output is not looked at
    <!-- needs: PROGRAM... -->  programs that a system package brings: NAME, or NAME:PACKAGE where these differ
    <!-- varies: REGEX -->      its output is new each time. It is then compared word by word, so that neither the
                                widths of columns nor where lines break matter; what VOLATILE or REGEX match may be
                                anything of that kind. REGEX may be empty; several such comments add up. Words are one
                                space apart when it is applied.
    <!-- file: PATH -->         not commands: the lines of that file in the repository, ``...`` as above

``python tests/documents.py PAGE...`` runs pages, and prints every command and what came out.
"""

from __future__ import annotations

import contextlib
import difflib
import os
import re
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from itertools import islice, pairwise
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent

#: What is never the same twice, in a block that varies.
VOLATILE = (
    r"-?\b\d[\d,.]* (?:us|ms|s|min|h)\b",
    r"\d{8}T\d{6}Z(?:-\d+)?",
    r"\bpid[ =]\d+",
    r"\bfd=\d+",
    r"\binode \d+",
    r"\b(?:as|user) [\w-]+(?=[ ,;.)]|$)",
)
_COMMENT = re.compile(r"<!-- (not run|in|first|needs|varies|file): ?(.*?) ?-->")
_SECONDS = 60  # that a block may take
_AT_MOST = 240  # that a lesson may take


@dataclass
class Block:
    """A block of a document: where it begins, its comments, and its commands, each with the lines shown below it."""

    line: int
    comments: list[tuple[str, str]]
    lines: list[str]
    commands: list[tuple[str, list[str]]] = field(default_factory=list)
    shows: bool = False

    def said(self, kind: str) -> list[str]:
        """What the comments of one kind say."""
        return [words for of_kind, words in self.comments if of_kind == kind]

    @property
    def runs(self) -> bool:
        """Whether its commands are run."""
        return not (self.said("not run") or self.said("file") or self.said("in"))

    @property
    def needs(self) -> list[tuple[str, str]]:
        """The programs that it needs, each with its package."""
        return [(name, package or name) for name, _, package in
                (word.partition(":") for words in self.said("needs") for word in words.split())]  # fmt: skip

    @property
    def needs_root(self) -> bool:
        """Whether one of its commands is for root."""
        return any(re.search(r"\bsudo\b", command) for command, _ in self.commands)


def documents() -> list[Path]:
    """The documents that are run."""
    return [ROOT / "README.md", ROOT / "README.zh.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> list[Block]:
    """The blocks of a document."""
    found: list[Block] = []
    comments: list[tuple[str, str]] = []
    fence = ""
    fresh = True  # after a blank line: here a block may begin
    open_block = False
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), 1):
        if mark := re.match(r" *(`{3,})", line):
            fence = "" if fence and mark[1].startswith(fence) else fence or mark[1]
        if fence or mark:
            open_block = fresh = False
        elif not line.strip():
            fresh = True
            if open_block:
                found[-1].lines.append("")
        elif line.startswith("    ") and (open_block or fresh):
            if not open_block:
                found.append(Block(number, comments, []))
                comments, open_block = [], True
            found[-1].lines.append(line[4:])
        else:
            open_block = fresh = False
            comments = [*comments, *_COMMENT.findall(line)] if line.startswith("<!-- ") else []
            fresh = bool(comments)
    for block in found:
        _understand(block)
    return found


def blocks_in(test: str, page: Path) -> list[Block]:
    """The blocks of a document that the file *test* runs."""
    return [block for block in blocks(page) if test in block.said("in")]


def _understand(block: Block) -> None:
    while not block.lines[-1]:
        block.lines.pop()
    block.shows = any(line.startswith("$ ") for line in block.lines)
    if block.runs or block.said("in"):
        block.commands = _commands(block)


def _commands(block: Block) -> list[tuple[str, list[str]]]:
    found: list[tuple[str, list[str]]] = []
    unfinished = False
    for line in block.lines:
        if unfinished:
            command = f"{found[-1][0]}\n{line.removeprefix('> ')}"
            found[-1] = (command, [])
        elif line.startswith("$ ") or (not block.shows and line.strip() and not line.startswith("#")):
            command = line.removeprefix("$ ")
            found.append((command, []))
        else:
            if found:
                found[-1][1].append(line)
            continue
        asked = subprocess.run(["bash", "-n", "-c", command], capture_output=True, text=True, timeout=20, check=False)
        unfinished = bool(asked.stderr) or command.endswith("\\")
    for _, shown in found:
        while shown and not shown[-1]:
            shown.pop()
    return found


# -- running ----------------------------------------------------------------------------------------------------------


def run(page: Path, wanted: list[Block]) -> list[list[tuple[int | None, str]]]:
    """Run blocks of one document: for each of its commands the exit status (None: it did not end) and the output.

    Everything that a block has started and left behind is ended after it.
    """
    with tempfile.TemporaryDirectory(prefix="selfconn-document-") as folder:
        for entry in ROOT.iterdir():
            (Path(folder) / entry.name).symlink_to(entry)
        if not (ROOT / ".venv").exists():
            (Path(folder) / ".venv").symlink_to(sys.prefix)
        if is_lesson(page):
            return _run(wanted, folder, page.name, ["exec 2>&1"])
        start = ["exec 2>&1", 'sudo() { "$@"; }']
        return [_run([block], folder, f"{page.name}:{block.line}", start)[0] for block in wanted]


def is_lesson(page: Path) -> bool:
    """Whether its blocks are typed into one shell, one after the other."""
    return ("docs", "lessons") in pairwise(page.parts)


#: What a bash that is not interactive says when a job of it was ended; one that is says so before its next prompt.
_JOB_ENDED = re.compile(r"^bash: line \d+: +\d+ (Terminated|Killed) .*\n", re.MULTILINE)


def _run(blocks: list[Block], folder: str, name: str, start: list[str]) -> list[list[tuple[int | None, str]]]:
    """Run blocks in one bash, which begins with *start*."""
    script = [*start]
    path = os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
    unwanted = ("SUDO_", "SELFCONN_", "PYTHONWARNINGS")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(unwanted)}
    environment |= {"PATH": path, "COLUMNS": "100", "LC_ALL": "C.UTF-8", "TERM": "dumb"}
    mark = f"--- {os.getpid()} {name} ---"
    for block in blocks:
        script += [f"{{ {command}\n}} >/dev/null || {{ echo 'what comes first fails'; exit 1; }}"
                   for command in block.said("first")]  # fmt: skip
        for command, _ in block.commands:
            script += [f"echo '{mark}'", command, f"echo '{mark}' $?"]
    seconds = min(_SECONDS * len(blocks), _AT_MOST)
    with subprocess.Popen(
        ["bash", "-c", "\n".join(script)],
        cwd=folder, env=environment, text=True, start_new_session=True,
        # An open pipe: at an end of the input telnet would hang up.
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", errors="replace",
    ) as process:  # fmt: skip
        watch = subprocess.Popen(["sh", "-c", f"sleep {seconds}; kill -9 -{process.pid}"], start_new_session=True)
        try:
            assert process.stdout
            lines = iter(process.stdout.readline, "")
            said = iter(_outputs(lines, mark, sum(len(block.commands) for block in blocks)))
        finally:
            for pid in (watch.pid, process.pid):
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(pid, signal.SIGKILL)
            watch.wait()
    return [[(status, _JOB_ENDED.sub("", text)) for status, text in islice(said, len(block.commands))]
            for block in blocks]  # fmt: skip


def _outputs(lines: Iterator[str], mark: str, count: int) -> list[tuple[int | None, str]]:
    """Take the output apart at the marks, until the last command has ended."""
    said: list[tuple[int | None, str]] = []
    text: list[str] = []
    for line in lines:
        before, found, status = line.partition(mark)
        if not found:
            text.append(line)
        elif not status.strip():
            text = []
        else:
            said.append((int(status), "".join([*text, before])))
            text = []
            if len(said) == count:
                return said
    return [*said, (None, "".join(text))]


# -- comparing --------------------------------------------------------------------------------------------------------


def difference(block: Block, shown: list[str], text: str) -> str:
    """How what a document shows differs from what came out: nothing, or lines to read."""
    lines = text.split("\n")
    if block.said("varies"):
        shown, lines = _words(block, shown), _words(block, lines)
    while lines and not lines[-1].strip():
        lines.pop()
    pattern = "".join("(?:.*\n)*?" if line == "..." else re.escape(line.rstrip() + "\n") for line in shown)
    if re.fullmatch(pattern, "".join(line.rstrip() + "\n" for line in lines)):
        return ""
    return "\n".join(difflib.unified_diff(shown, lines, "shown", "comes out", n=1, lineterm=""))


def _words(block: Block, lines: list[str]) -> list[str]:
    text = " ".join(" ".join(lines).split())
    text = re.sub("-{3,}", "---", text)
    for pattern in (*filter(None, block.said("varies")), *VOLATILE):
        text = re.sub(pattern, "~", text)
    return text.split()


def faults(page: Path, wanted: list[Block]) -> list[str]:
    """Run blocks of one document, and say what does not hold."""
    found = []
    for block, outputs in zip(wanted, run(page, wanted), strict=True):
        for (command, shown), (status, text) in zip(block.commands, outputs, strict=False):
            what = "did not end" if status is None else f"ended with {status}" if status else ""
            if block.shows and not what:
                what = difference(block, shown, text)
            elif what:
                what += f":\n{text}"
            if what:
                found.append(f"{page.name}:{block.line}: $ {command}\n{what}")
        if len(outputs) < len(block.commands):
            found.append(f"{page.name}:{block.line}: not all commands were run")
    return found


def differs_from_file(block: Block) -> str:
    """How a block that shows a file differs from it."""
    (name,) = block.said("file")
    return difference(block, block.lines, (ROOT / name).read_text(encoding="utf-8"))


def main(pages: list[str]) -> None:
    """Run pages here (in this network), and print what came out."""
    for name in pages:
        page = Path(name).resolve()
        wanted = [block for block in blocks(page) if block.runs]
        for block, outputs in zip(wanted, run(page, wanted), strict=True):
            for (command, _), (status, text) in zip(block.commands, outputs, strict=False):
                sys.stdout.write(f"{name}:{block.line}: $ {command}\n{text}[{status}]\n\n")


if __name__ == "__main__":
    from alone import within  # the pages' own network

    within(600, main, sys.argv[1:])
