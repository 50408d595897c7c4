"""Write the commands of this environment as scripts that start at once; run by the Python of the environment.

    PYTHON -I tools/launchers.py [PREFIX]

*PREFIX* is where the environment will be moved to. Python's options are -I and -B, since they may run as root: nothing
is imported from the environment (PYTHONPATH) or the current directory, and no compiled module is written; and -S: site,
which reads every .pth file, is a fifth of the start. What it adds to the path stands in the script.
"""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

LAUNCHER = """\
#!{python} -ISB
import gc
import sys
sys.path += {added}
if __name__ == "__main__":  # and not in a process that reads captures for another
    gc.disable()  # main() enables it, once everything is imported
    try:
        from {module} import main
    except Exception as error:  # Python would end with 1, which is a result
        try:
            print("{name} cannot start:", error, file=sys.stderr)
        finally:
            sys.exit(70)
    sys.exit(main())
"""


def main() -> None:
    """Write them."""
    prefix = sys.argv[1] if len(sys.argv) > 1 else sys.prefix
    bare = [sys.executable, "-IS", "-c", "import sys; print(*sys.path, sep='\\n')"]
    found = subprocess.run(bare, stdout=subprocess.PIPE, text=True, check=True).stdout.splitlines()  # noqa: S603
    added = [prefix + path.removeprefix(sys.prefix) if path.startswith(sys.prefix + "/") else path for path in sys.path]
    python = f"{prefix}/bin/python"
    if " " in python or len(python) > 100:
        return  # no first line of a script: as pip wrote them
    for command in importlib.metadata.distribution("selfconn").entry_points.select(group="console_scripts"):
        path = Path(sys.prefix, "bin", command.name)
        new = [one for one in added if one not in found]
        path.write_text(LAUNCHER.format(python=python, added=new, module=command.module, name=command.name))
        path.chmod(0o755)


if __name__ == "__main__":
    main()
