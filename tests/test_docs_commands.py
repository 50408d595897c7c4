"""Every command in the documents is run, and what they show of its output is what comes out (documents.py says how)."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import documents
import pytest
from alone import within
from conftest import ROOT, missing, program

PAGES = documents.documents()
BLOCKS = [(page, block) for page in PAGES for block in documents.blocks(page)]

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


@pytest.mark.live
@pytest.mark.timeout(300)
@pytest.mark.usefixtures("need_private_namespace")
@each_page
def test_what_a_document_shows_is_what_comes_out(page: Path) -> None:
    runs = [block for block in documents.blocks(page) if block.runs]
    here = [block for block in runs if _why_not(page, block) is None]
    if here:
        found = within(280, documents.faults, page, here)
        assert not found, "\n\n".join(found)
    for block in runs:
        if block not in here:
            _miss(page, block)


def _why_not(page: Path, block: documents.Block) -> str | None:
    try:
        _miss(page, block)
    except (pytest.skip.Exception, pytest.fail.Exception) as missed:
        return str(missed)
    return None


def _miss(page: Path, block: documents.Block) -> None:
    if block.needs_root and os.geteuid() != 0:
        missing("root")
    if block.needs_root and documents.is_lesson(page):
        program("sudo", "sudo")
    for name, package in block.needs:
        program(name, package)


def test_nearly_all_blocks_are_run_and_the_others_say_why_not() -> None:
    """So that a change to how blocks are found cannot make this file test nothing."""
    commands = [command for _, block in BLOCKS for command in block.commands]
    assert len(commands) >= 80
    assert sum(block.shows and block.runs for _, block in BLOCKS) >= 40
    assert sum(not block.runs and not block.said("in") for _, block in BLOCKS) <= 42
    for page, block in BLOCKS:
        where = f"{page.relative_to(ROOT)}:{block.line}"
        assert all(len(reason.split()) > 2 for reason in block.said("not run")), where
        assert block.commands or not block.runs, where
        for test in block.said("in"):
            assert page.name in (ROOT / test).read_text(), where


@pytest.mark.parametrize(
    ("page", "block"),
    [pytest.param(page, block, id=f"{page.name}:{block.line}") for page, block in BLOCKS if block.said("file")],
)
def test_what_a_document_shows_of_a_file_stands_in_it(page: Path, block: documents.Block) -> None:
    assert not documents.differs_from_file(block), page


TRANSLATED = sorted((ROOT / "docs" / "lessons" / "zh").glob("*.md"))


@pytest.mark.parametrize("page", TRANSLATED, ids=lambda page: page.name)
def test_a_translation_shows_what_its_original_shows(page: Path) -> None:
    """The same blocks, links and headings: what is added to a lesson is missed in its translation."""
    original = page.parent.parent / page.name
    assert [(one.comments, one.lines) for one in documents.blocks(page)] == [
        (one.comments, one.lines) for one in documents.blocks(original)
    ]
    questions = [re.findall("<details><summary>", one.read_text()) for one in (page, original)]
    assert len(questions[0]) == len(questions[1])
    captures = [sorted(re.findall(r"pcaps/([\w.-]+)\)", one.read_text())) for one in (page, original)]
    assert captures[0] == captures[1]


# -- the runner itself -------------------------------------------------------------------------------------------------


PAGE = """\
Text, and

    not a block's second line

<!-- first: echo 7 > seven -->

    $ cat seven
    7
    $ for i in 1 2 3; do
    >     echo $i
    > done
    1
    ...
    $ false; echo $?
    1

<!-- varies: ab+c -->

    $ echo "abbbc    in 12.5 us, 3 times"
    abc in 0.1 us,
    3   times

```
    $ fenced
```

<!-- not run: it would be wrong here -->

    $ rm -rf /nowhere
"""


def checked(tmp_path: Path, text: str) -> list[str]:
    page = tmp_path / "page.md"
    page.write_text(text)
    wanted = [block for block in documents.blocks(page) if block.runs]
    return [fault.split("$ ", 1)[1].split("\n")[0] for fault in documents.faults(page, wanted)]


def test_the_runner_finds_and_runs_blocks(tmp_path: Path) -> None:
    text = PAGE.replace("    not a block's second line", "    echo a; echo b >&2")
    assert checked(tmp_path, text) == []
    commands = [command for block in documents.blocks(tmp_path / "page.md") for command, _ in block.commands]
    assert len(commands) == 5


LESSON = """\
    $ cd /; seven=7
    $ sleep 100 &
    $ exec 3<>/dev/null

Later:

    $ pwd; echo $seven; kill %1
    /
    7
    $ sleep 0.1; echo x >&3
"""


def test_a_lesson_is_typed_into_one_shell_and_other_documents_are_not(tmp_path: Path) -> None:
    (tmp_path / "docs" / "lessons").mkdir(parents=True)
    assert checked(tmp_path / "docs" / "lessons", LESSON) == []
    assert checked(tmp_path, LESSON) == ["pwd; echo $seven; kill %1", "sleep 0.1; echo x >&3"]


@pytest.mark.live
@pytest.mark.root
@pytest.mark.usefixtures("need_root")
def test_the_private_shell_through_sudo_has_the_readers_path(tmp_path: Path) -> None:
    program("sudo", "sudo")
    (tmp_path / "docs" / "lessons").mkdir(parents=True)
    (shell,) = re.findall(r"`(sudo unshare .* bash)`", (ROOT / "docs" / "lessons" / "README.md").read_text())
    found = "-c 'type -t selfconn-analyze; ip -br link'"
    text = f"    $ {shell} {found}\n    file\n    lo {'':15} DOWN {'':10} 00:00:00:00:00:00 <LOOPBACK>\n"
    assert checked(tmp_path / "docs" / "lessons", f"<!-- varies: -->\n\n{text}") == []


def test_sudo_in_a_lesson_is_sudo(tmp_path: Path) -> None:
    (tmp_path / "docs" / "lessons").mkdir(parents=True)
    text = "    $ type -t sudo\n    file\n"
    if not shutil.which("sudo"):
        text = "    $ type -t sudo; echo $?\n    1\n"
    assert checked(tmp_path / "docs" / "lessons", text) == []


@pytest.mark.parametrize(
    ("right", "wrong", "command"),
    [
        ("    7\n", "    8\n", "cat seven"),
        ("    7\n", "", "cat seven"),
        ("    1\n    ...", "    2\n    ...", "for i in 1 2 3; do"),
        ("    1\n    ...", "    1", "for i in 1 2 3; do"),
        ("false; echo $?\n    1", "false", "false"),
        ("3   times", "4 times", 'echo "abbbc    in 12.5 us, 3 times"'),
        ("    abc in", "    in", 'echo "abbbc    in 12.5 us, 3 times"'),
        ("not a block's second line", "false", "false"),
    ],
)
def test_the_runner_sees_what_is_wrong(right: str, wrong: str, command: str, tmp_path: Path) -> None:
    assert right in PAGE
    text = PAGE.replace(right, wrong).replace("    not a block's second line", "    true")
    assert checked(tmp_path, text) == [command]
