# The first thing that runs of selfconn.pyz. Old Pythons read it, too: no syntax that is newer than 3.4.
import os
import sys


def newer():
    """The path of a Python that is new enough; None where there is none on PATH."""
    for directory in os.environ.get("PATH", os.defpath).split(os.pathsep):
        for minor in range(20, 10, -1):
            path = os.path.join(directory or ".", "python3.%d" % minor)
            if os.path.isabs(path) and os.access(path, os.X_OK):
                return path
    return None


def start():
    """Run selfconn, with this Python or a newer one; end with 70 (no result has it) where there is none."""
    here = os.path.abspath(__file__.rpartition(os.sep)[0])
    old = sys.version_info < (3, 11)
    flags = sys.flags
    if old or not (flags.isolated and flags.no_site and flags.dont_write_bytecode):
        # Nothing of the current directory, the environment or the user's packages is imported, nothing written.
        python = newer() if old else sys.executable
        if python:
            os.execv(python, [python, "-ISB", here] + sys.argv[1:])
        version = "%d.%d.%d" % sys.version_info[:3]
        sys.stderr.write("selfconn needs Python 3.11 or newer: %s is %s\n" % (sys.executable, version))
        return 70
    from bundled import main

    return main(here)


sys.exit(start())
