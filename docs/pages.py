"""Write what the documents show of the program: manual pages, shell completion, the text of pictures.

``make docs`` runs it; a test compares. The pages come from the very parsers that answer --help: description, groups
of options, and the epilog, where an unindented line that ends in a colon starts a section of its own. In
docs/uses.md stands the golden text of the capture that the README's still (still.py) shows.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import shtab
import still

import analysis.cli
import capture.check_cli
import capture.cli
import selfconn.__main__
import tools

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))  # the tables that the tests hold the code to
import storeys  # noqa: E402 -- found by the line above

#: Each command's parser, and what it is good for in half a line (what ``apropos`` shows).
COMMANDS = {
    "selfconn-analyze": (analysis.cli.parser, "find TCP sockets connected to themselves in saved captures"),
    "selfconn-check": (capture.check_cli.parser, "is a TCP socket connected to itself, can it happen, and what to do"),
    "selfconn-capture": (capture.cli.parser, "catch a TCP socket connecting to itself, and show how"),
}


def plain(text: str) -> str:
    """*text* so that roff prints it as it stands."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\n".join("\\&" + line if line.startswith((".", "'")) else line for line in text.split("\n"))


def usage(parser: argparse.ArgumentParser) -> str:
    """Say how the command is called, options summed up."""
    if parser.usage:
        return parser.usage.replace("%(prog)s", parser.prog)
    operands = []
    for action in parser._get_positional_actions():
        name = action.metavar or action.dest.upper()
        operands.append(f"{name}..." if action.nargs in {"+", "*", argparse.REMAINDER} else str(name))
    return " ".join((parser.prog, "[OPTIONS]", *operands))


def option(action: argparse.Action, formatter: argparse.HelpFormatter) -> Iterator[str]:
    """One option or operand: a tagged paragraph."""
    value = ""
    if action.nargs != 0:
        value = str(action.metavar or ("|".join(map(str, action.choices)) if action.choices else action.dest.upper()))
    if action.option_strings:
        names = ", ".join(f"\\fB{plain(name)}\\fR" for name in action.option_strings)
        yield f".TP\n{names} \\fI{plain(value)}\\fR" if value else f".TP\n{names}"
    else:
        yield f".TP\n\\fI{plain(value)}\\fR"
    yield plain(formatter._expand_help(action) if action.help else "")


def epilog(text: str) -> Iterator[str]:
    """Lay out the epilog's sections, lines kept as they are."""
    open_block = False
    for line in text.strip().split("\n"):
        if line.endswith(":") and not line.startswith(" "):
            yield (".fi\n" if open_block else "") + f".SH {plain(line[:-1].upper())}\n.nf"
            open_block = True
        elif open_block:
            yield plain(line.removeprefix("  "))
        else:
            yield plain(line)
    if open_block:
        yield ".fi"


def page(name: str) -> str:
    """Return the manual page of one command."""
    make_parser, purpose = COMMANDS[name]
    parser = make_parser()
    parser.prog = name
    formatter = parser._get_formatter()
    lines = [
        f'.TH {name.upper()} 1 "" "selfconn {analysis.VERSION}" "User Commands"',
        f".SH NAME\n{name} \\- {purpose}",
        f".SH SYNOPSIS\n.B {plain(usage(parser))}",
        f".SH DESCRIPTION\n{plain(parser.description or '')}",
    ]
    lines.append(".SH OPTIONS")
    operands, others = parser._positionals, parser._optionals
    titled = [group for group in parser._action_groups if group not in (operands, others)]
    others.title = "other" if titled else None
    for group in (operands, *titled, others):
        actions = [action for action in group._group_actions if action.help != argparse.SUPPRESS]
        if actions:
            lines.extend([f".SS {plain(group.title.capitalize())}"] if group.title and group is not operands else [])
            for action in actions:
                lines.extend(option(action, formatter))
    lines.extend(epilog(parser.epilog or ""))
    kin = sorted(COMMANDS.keys() - {name})
    lines.append(
        ".SH SEE ALSO\n" + ",\n".join(f".BR {other} (1)" for other in kin) + ",\n.BR tcpdump (8),\n.BR tshark (1)"
    )
    return "\n".join(line for line in lines if line) + "\n"


def page_of_all() -> str:
    """Return the manual page of selfconn(1), which only names the three."""
    about = "one command for selfconn-capture, selfconn-analyze and selfconn-check"
    three = "".join(
        f".TP\n.B selfconn {word}\n{plain(purpose)}; the same as\n.BR selfconn-{word} (1)\n"
        for word, (_, purpose) in selfconn.__main__.COMMANDS.items()
    )
    return (
        f'.TH SELFCONN 1 "" "selfconn {analysis.VERSION}" "User Commands"\n.SH NAME\nselfconn \\- {about}\n'
        ".SH SYNOPSIS\n.B selfconn capture|analyze|check [OPTIONS] ...\n.SH DESCRIPTION\n"
        f"{three}.SH EXIT STATUS\nThat of the command; 2 where the first word names none of them.\n"
    )


#: Options and operands that are names of files.
FILES = {"annotate", "captures", "output", "write"}

#: Each shell, and what a file that completes a command is called there.
COMPLETED = {"bash": "{}", "zsh": "_{}", "fish": "{}.fish"}


def completed(name: str) -> argparse.ArgumentParser:
    """Return a parser of the command's options which says what of them are files."""
    parser = COMMANDS[name][0]()
    for action in parser._actions:
        if action.dest in FILES:
            action.complete = shtab.FILE  # type: ignore[attr-defined]  # where shtab looks for it
    return parser


def completed_of_all() -> argparse.ArgumentParser:
    """Return a parser of selfconn(1), whose first word names one of the three."""
    parser = argparse.ArgumentParser("selfconn")
    parser.add_argument("-V", "--version", action="version")
    three = parser.add_subparsers()
    for word, (_, purpose) in selfconn.__main__.COMMANDS.items():
        three.add_parser(word, parents=[completed(f"selfconn-{word}")], add_help=False, help=purpose)
    return parser


#: The command line above the picture, and the lines of the picture: all are indented.
PICTURE = re.compile(r"(?<=^ {4}\$ selfconn-analyze pcaps/)(\S+)\.pcapng\n(?: {4}.*\n|\n)+", re.MULTILINE)


def picture(shown: re.Match[str]) -> str:
    """Return the picture anew: what the golden text says below its counts."""
    _, _, opening = (ROOT / "pcaps" / f"{shown[1]}.txt").read_text().partition("\n1. ")
    lines = f"1. {opening}".splitlines()
    return f"{shown[1]}.pcapng\n    ...\n" + "".join(f"    {line}".rstrip() + "\n" for line in lines) + "\n"


#: The table of what other programs say.
SAYINGS = re.compile(r"(?<=<!-- docs/tools\.py -->\n\n)(?:\|.*\n)*")


#: The rooms and the storeys in docs/architecture.md, up to the next heading.
ROOMS = re.compile(r"(?<=<!-- docs/pages\.py: rooms -->\n\n)(?:(?!## ).*\n)*")
STOREYS = re.compile(r"(?<=<!-- docs/pages\.py: storeys -->\n\n)(?:(?!## ).*\n)*")


def rooms() -> str:
    """Return the list of the packages, each with what its docstring says."""
    said = {room: text for folder in storeys.BUILDINGS for room, text in storeys.rooms(folder).items()}
    return "".join(f"- `{room}/` {text}\n" for room, text in said.items()) + "\n"


def floors() -> str:
    """Return the storeys of both folders as tables, the top first."""
    tables = []
    for folder, lines in storeys.BUILDINGS.items():
        rows = "".join(f"| {', '.join(f'`{module}`' for module in line)} |\n" for line in reversed(lines))
        tables.append(f"| {folder}/, from the top down |\n|---|\n{rows}\n")
    return "".join(tables)


def made() -> dict[Path, str]:
    """Return the text of every document that is made, by its path."""
    manual = {ROOT / "docs" / "man" / f"{name}.1": page(name) for name in COMMANDS}
    manual[ROOT / "docs" / "man" / "selfconn.1"] = page_of_all()
    completions = {
        ROOT / "docs" / "completion" / shell / called.format(parser.prog): str(shtab.complete(parser, shell))
        for shell, called in COMPLETED.items()
        for parser in (completed_of_all(), *map(completed, COMMANDS))
    }
    stills = {ROOT / "docs" / f"still-{name}.svg": still.still(name) for name in still.THEMES}
    uses, others = ROOT / "docs" / "uses.md", ROOT / "docs" / "other-tools.md"
    shown = PICTURE.sub(picture, uses.read_text())
    said = SAYINGS.sub(lambda _: tools.table(), others.read_text())
    architecture = ROOT / "docs" / "architecture.md"
    drawn = STOREYS.sub(lambda _: floors(), ROOMS.sub(lambda _: rooms(), architecture.read_text()))
    return manual | completions | stills | {uses: shown, others: said, architecture: drawn}


def main() -> None:
    """Write them all."""
    for path, text in made().items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


if __name__ == "__main__":
    main()
