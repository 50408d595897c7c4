"""What a shell makes of the first letters of an option, asked of the shell itself."""

from __future__ import annotations

import os
import pty
import select
import subprocess
from typing import TYPE_CHECKING

import pytest
from conftest import ROOT, program

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

COMPLETION = ROOT / "docs" / "completion"

BASH = """
. /usr/share/bash-completion/bash_completion
. "$1"
COMP_LINE=$2 COMP_POINT=${#2} COMP_WORDS=($2) COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
call=$(complete -p "${COMP_WORDS[0]}")
call=${call##*-F }
${call%% *} "${COMP_WORDS[0]}" "${COMP_WORDS[COMP_CWORD]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""

FISH = "source $argv[1]; complete -C $argv[2]"

# A zsh at a terminal of its own that is typed into, as nothing else makes it complete. What it prints to say how far it
# is is written so that the echo of the command does not say it before.
ZSH = """
zmodload zsh/zpty
zpty typed "zsh -f -i"
zpty -w typed "PROMPT= TERM=dumb; fpath=(${1:h} \\$fpath)"
zpty -w typed "told() { zle -R; print AN''SWERED }; zle -N told; bindkey '^T' told"
zpty -w typed "autoload -Uz compinit; compinit -u -D; print REA''DY"
zpty -r typed line "*READY*" || exit 1
zpty -w -n typed "$2"$'\\t\\x14'
zpty -r typed line "*ANSWERED*" || exit 1
print -r -- $line
zpty -d typed
"""


def bash(command: str, line: str) -> str:
    return said(program("bash", "bash"), "--norc", "-c", BASH, "bash", COMPLETION / "bash" / command, line)


def fish(command: str, line: str) -> str:
    return said(program("fish", "fish"), "--no-config", "-c", FISH, COMPLETION / "fish" / f"{command}.fish", line)


def zsh(command: str, line: str) -> str:
    return said(program("zsh", "zsh"), "-f", "-c", ZSH, "zsh", COMPLETION / "zsh" / f"_{command}", line)


def said(*command: object) -> str:
    ended = subprocess.run(
        [str(word) for word in command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return ended.stdout


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("selfconn-analyze --ann", ["--annotate"]),
        ("selfconn-analyze --only self-", ["self-connect", "self-syn"]),
        ("selfconn-capture --ran", ["--range"]),
        ("selfconn-capture --repro b", ["bind"]),
        ("selfconn-check --format prom", ["prometheus"]),
        ("selfconn an", ["analyze"]),
        ("selfconn capture --repro b", ["bind"]),
    ],
)
@pytest.mark.parametrize("shell", [bash, fish, zsh], ids=lambda shell: shell.__name__)
def test_it_completes(shell: Callable[[str, str], str], line: str, words: list[str]) -> None:
    answer = shell(line.split(maxsplit=1)[0], line)
    for word in words:
        assert word in answer
    assert "--host" not in answer


#: Names in which a shell that does not quote them runs something.
NAMES = (
    "a$(touch x)",
    "a`touch x`",
    "a;touch x;",
    "a'$(touch x)'",
    "a\n$(touch x)",
    "a[$(touch x)]",
    "a|touch x",
    "a>x",
)


@pytest.mark.parametrize("line", ["selfconn-analyze a", "selfconn-analyze -o a", "selfconn-capture -w a"])
def test_a_file_that_bash_completes_is_not_run(line: str, tmp_path: Path) -> None:
    """At a terminal: what Tab makes of the only file there is run as a command."""
    command, shell = line.split(maxsplit=1)[0], program("bash", "bash")  # skips here, not in the process forked below
    setup = (
        f". /usr/share/bash-completion/bash_completion; . {COMPLETION}/bash/{command}; {command}() {{ echo GO''T; }}"
    )
    for number, name in enumerate(NAMES):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / name).touch()
        pid, terminal = pty.fork()
        if not pid:
            os.chdir(folder)
            os.execvp(shell, ["bash", "--norc", "-i"])
        os.write(terminal, f"{setup}; echo REA''DY\n".encode())
        shown(terminal, b"READY")
        os.write(terminal, f"{line}\t\n".encode())
        shown(terminal, b"GOT")
        os.write(terminal, b"exit\n")
        shown(terminal, None)
        os.close(terminal)
        os.waitpid(pid, 0)
        assert [path.name for path in folder.iterdir()] == [name]


def shown(terminal: int, until: bytes | None) -> None:
    """Read what a terminal shows, until these octets come; None: to its end."""
    seen = b""
    while until is None or until not in seen:
        ready, _, _ = select.select([terminal], [], [], 30)
        assert ready, seen
        try:
            octets = os.read(terminal, 4096)
        except OSError:  # EIO: the shell has ended
            octets = b""
        if not octets:
            assert until is None, seen
            return
        seen += octets
