"""Live capture on Linux: sockets, namespaces, the repro. Imports analysis, never the reverse."""

import os
import sys

# Whoever does not own the source leaves no compiled copy beside it: root least of all, in a user's clone.
sys.dont_write_bytecode = sys.dont_write_bytecode or os.stat(__file__).st_uid != os.geteuid()  # noqa: PTH116 - quicker than pathlib
