"""The command selfconn: its first word names one of the three commands, the rest is that command's own."""

from __future__ import annotations

import sys
from importlib import import_module

from analysis import VERSION
from analysis.commandline import FAILED, call_it, say, to_standard_error

#: Each word, where the command is, and what it is for.
COMMANDS = {
    "capture": ("capture.cli", "sniff while a TCP socket connects to itself, and show how"),
    "analyze": ("analysis.cli", "find self-connects, and every unusual opening, in saved captures"),
    "check": ("capture.check_cli", "this host: who is connected to itself, which ports are at risk, what to do"),
}

USAGE = "usage: selfconn " + "|".join(COMMANDS) + " [OPTIONS] ...\n"


def main() -> int:
    """Run the command that the first word names; return its exit status (2: there is no such command)."""
    word = sys.argv[1] if len(sys.argv) > 1 else ""
    if word in COMMANDS:
        call_it(f"selfconn-{word}", [sys.argv[0], word])
        del sys.argv[1]
        return _run(word)
    if word in {"-V", "--version"}:
        _print(f"selfconn {VERSION} (Python {sys.version.split()[0]})\n")
    elif word in {"-h", "--help"}:
        _print(USAGE + "\n" + "".join(f"  {name:10}{purpose}\n" for name, (_, purpose) in COMMANDS.items()))
        _print("\nselfconn COMMAND --help has its options; -V prints the version.\n")
    else:
        to_standard_error(USAGE)
        say("selfconn", f"there is no command '{word}'" if word else "which of the three?")
        return 2
    return 0


def _run(word: str) -> int:
    try:
        module = import_module(COMMANDS[word][0])
    except Exception as error:  # noqa: BLE001 - Python would end with 1, which is a result of the command
        say(f"selfconn-{word}", f"cannot start: {error}")
        return FAILED
    status: int = module.main()
    return status


def _print(text: str) -> None:
    if sys.stdout:
        sys.stdout.write(text)


if __name__ == "__main__":
    sys.exit(main())
