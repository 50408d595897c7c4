"""Offline analysis of captures: bytes to segments, openings, TCP states, reports. No root, no live socket, no scapy."""

import os
import sys


def user() -> int:
    """Return the number of the user with whose rights this runs. Pyodide (Python in a browser) has one user only."""
    return os.geteuid() if hasattr(os, "geteuid") else os.getuid()


# A user who does not own the source leaves no compiled copy beside it; above all not root in a user's clone.
sys.dont_write_bytecode = sys.dont_write_bytecode or os.stat(__file__).st_uid != user()  # noqa: PTH116 - quicker than pathlib

#: The version of this program. It stands here alone: the project file takes it from here.
VERSION = "0.2.0"
