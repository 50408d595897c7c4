"""The few errors that users meet. Each carries the sentence that they read."""

from __future__ import annotations

import sys


class SelfconnError(Exception):
    """Something that ends the run: ``str(error)`` is the one line to print, ``status`` the exit status."""

    status = 3


class UsageError(SelfconnError):
    """The command line asks for something that is not possible."""

    status = 2


class NotACapture(SelfconnError):  # noqa: N818 - it reads as what the user is told
    """The file is no capture that selfconn can read, or cannot be read at all."""


class CannotCapture(SelfconnError):  # noqa: N818 - it reads as what the user is told
    """No privilege, no such interface, no namespace; the text names the command that would work."""


class Incomplete(SelfconnError):  # noqa: N818 - it reads as what the user is told
    """Packets were lost, or the output could not be written to its end; what was written is kept."""

    status = 4


def get(*packages: str) -> str:
    """Say how to get *packages* of other projects for the program that runs, which has not got them."""
    if "bundled" in sys.modules:
        return "this file does not have it; selfconn installed by make install can get it (docs/start.md)"
    quoted = (f"'{name}'" if "[" in name else name for name in packages)
    return f"{sys.executable} -m pip install {' '.join(quoted)}"
