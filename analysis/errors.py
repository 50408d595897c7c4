"""The few errors that users meet. Each carries the sentence that they read."""

from __future__ import annotations


class SelfconnError(Exception):
    """Something that ends the run: ``str(error)`` is the one line to print, ``status`` the exit status of the command."""

    status = 3


class UsageError(SelfconnError):
    """The command line asks for something that cannot be."""

    status = 2


class NotACapture(SelfconnError):
    """The file is no capture that selfconn can read, or cannot be read at all."""


class CannotCapture(SelfconnError):
    """No privilege, no such interface, no namespace; the text names the command that would work."""


class Incomplete(SelfconnError):
    """Packets were lost or the file could not be written whole; what there is, is kept."""

    status = 4
