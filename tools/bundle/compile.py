"""Write the byte code of all modules below a directory for the Python that runs this.

    PYTHON -ISB tools/bundle/compile.py DIRECTORY FILE

FILE becomes a marshalled dict: the path of a source, and its code, marshalled as well. It imports nothing but Python's
own library, for another Python than that of the project's environment may run it.
"""

from __future__ import annotations

import marshal
import sys
from pathlib import Path


def main() -> None:
    """Write it."""
    top, target = Path(sys.argv[1]), Path(sys.argv[2])
    code = {}
    for path in sorted(top.rglob("*.py")):
        name = path.relative_to(top).as_posix()
        code[name] = marshal.dumps(compile(path.read_bytes(), name, "exec", dont_inherit=True))
    target.write_bytes(marshal.dumps(code))


if __name__ == "__main__":
    main()
