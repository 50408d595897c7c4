"""The documents against the program: what they name exists, what they show is what comes out."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import pytest
from conftest import ROOT

import analysis.cli
import capture.check_cli
import capture.cli

if TYPE_CHECKING:
    from collections.abc import Iterator


PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("[!.]*/*.md"), *ROOT.glob("docs/*/*.md")])
PARSERS = {
    "selfconn-analyze": analysis.cli.parser,
    "selfconn-capture": capture.cli.parser,
    "selfconn-check": capture.check_cli.parser,
}

sys.path.insert(0, str(ROOT / "docs"))
import pages  # noqa: E402  # scripts beside what they make
import still  # noqa: E402


def command_lines(name: str) -> list[str]:
    """The lines of a page's code blocks that run one of our commands, up to a pipe or the like."""
    blocks = re.findall(r"^ {4}(.+)$", (ROOT / name).read_text(), re.MULTILINE)
    found = (re.search(r"(?<![\w/.-])selfconn-[a-z]+(?: [^|>&#]*)?", line) for line in blocks)
    return [match[0].strip() for match in found if match]


@pytest.mark.parametrize("line", [*command_lines("README.md"), *command_lines("docs/uses.md")])
def test_a_command_line_in_the_first_pages_is_one_that_the_program_takes(line: str) -> None:
    command, *arguments = shlex.split(line)
    PARSERS[command]().parse_args(arguments)


def test_every_command_is_in_the_readme() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert scripts.keys() - {"selfconn"} == PARSERS.keys() == pages.COMMANDS.keys()
    readme = (ROOT / "README.md").read_text()
    assert not [name for name in scripts if name not in readme]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_make_targets_and_links_resolve(page: Path) -> None:
    text = page.read_text()
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^ {4}(?:sudo )?|`(?:sudo )?)make ([a-z-]+)", text, re.MULTILINE))
    assert named <= targets
    links = re.findall(r"\]\(([^)#]+)[^)]*\)", text)
    assert not [link for link in links if "://" not in link and not (page.parent / link).exists()]


@pytest.mark.parametrize("path", pages.made(), ids=lambda path: path.name)
def test_what_is_made_from_the_program_is_current(path: Path) -> None:
    assert path.read_text() == pages.made()[path], "run: make docs"


def test_the_readme_is_one_screen_and_a_half_and_the_picture_is_in_a_page() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 110
    assert len(pages.PICTURE.findall((ROOT / "docs" / "uses.md").read_text())) == 1


def test_every_page_is_in_the_index() -> None:
    index = (ROOT / "docs" / "README.md").read_text()
    assert not [page.name for page in (ROOT / "docs").glob("*.md") if f"({page.name})" not in index + "(README.md)"]


@pytest.mark.parametrize("name", still.THEMES)
def test_the_still_shows_what_the_terminal_shows(name: str) -> None:
    """Its text, put into columns by where it stands, is the command and its output; in both themes, and in colour."""
    svg = "{http://www.w3.org/2000/svg}"
    drawn = ET.fromstring((ROOT / "docs" / f"still-{name}.svg").read_text())
    lines = []
    for row in drawn.iter(f"{svg}text"):
        line = ""
        for run in row.iter(f"{svg}tspan"):
            text, (x, wide) = run.text or "", (int(run.attrib[key]) for key in ("x", "textLength"))
            assert wide == len(text) * still.WIDE
            line = line.ljust((x - still.AROUND) // still.WIDE) + text
        lines.append(line)
    command = [sys.executable, "-m", *still.COMMAND.replace("selfconn-analyze", "analysis.cli").split()]
    said = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout
    assert lines == [f"$ {still.COMMAND}", *said.splitlines()]
    assert {run.attrib["fill"] for run in drawn.iter(f"{svg}tspan") if "fill" in run.attrib} == {
        still.THEMES[name].dim,
        still.THEMES[name].green,
        still.THEMES[name].yellow,
    }
    assert f"docs/still-{name}.svg" in (ROOT / "README.md").read_text()


@pytest.mark.parametrize("lesson", sorted((ROOT / "docs" / "lessons").glob("[1-8]-*.md")), ids=lambda path: path.stem)
def test_a_lesson_is_whole(lesson: Path) -> None:
    """Ten minutes, a capture to step through, questions whose answers are folded away."""
    text = lesson.read_text()
    assert re.match(rf"# {lesson.name[0]}\. .+\n\nTen minutes", text)
    assert re.search(r"\.\./pcaps/[\w-]+\.html\)|--format html", text)
    questions = re.findall(r"<details><summary>[^\n]+\?</summary>\n\n(.+?)\n\n</details>", text, re.DOTALL)
    assert len(questions) == text.count("<details>") >= 3


def fields(value: Any) -> Iterator[str]:
    """Every name of a field in a JSON value; what has verdicts or reasons for names is not looked into."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            if name not in {"verdicts", "undecoded"}:
                yield from fields(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from fields(inner)


def report(*command: str | Path) -> set[str]:
    said = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, capture_output=True, check=False, timeout=60)
    assert said.returncode == 0, said.stderr.decode()
    return set(fields(json.loads(said.stdout)))


def documented() -> set[str]:
    return set(re.findall(r"`([a-z_]+)`", (ROOT / "docs" / "json.md").read_text()))


def test_every_field_of_an_analysis_is_documented() -> None:
    assert not report("analysis.cli", "--format", "json", *sorted((ROOT / "pcaps").glob("*.pcapng"))) - documented()


@pytest.mark.live
@pytest.mark.usefixtures("need_private_namespace")
def test_every_field_of_a_live_capture_is_documented(tmp_path: Path) -> None:
    assert not report("capture.cli", "--private", "--format", "json", "-w", tmp_path / "it.pcapng") - documented()


def test_no_example_takes_a_failure_for_a_result() -> None:
    """What acts on "not 0" acts when the program failed, too: examples compare with the exit status that they mean."""
    files = [*PAGES, *ROOT.glob("docs/man/*.1"), *ROOT.glob("docs/*.service"), *ROOT.glob("*/cli.py")]
    files += ROOT.glob("*/check_cli.py")
    acts = re.compile(r"selfconn-(?:check|analyze|capture)\b[^|;&\n`]*(?:\|\|)|(?:if|while) ! *(?:sudo )?selfconn-")
    found = {path.name: acts.findall(path.read_text(encoding="utf-8")) for path in files}
    assert {name: lines for name, lines in found.items() if lines} == {}
    assert all(acts.search(line) for line in ("selfconn-check -q || page", "if ! sudo selfconn-check; then"))
    assert "-q; [ $? -ne 1 ] || " in capture.check_cli.parser().format_help().replace("\n", "")
