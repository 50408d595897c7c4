"""Compiles analysis/engine.py where a C compiler and Python's headers are found; without them it runs as it is.

SELFCONN_PURE=1 leaves the compiling out. Everything else about the package is in pyproject.toml.
"""

import os

from setuptools import Extension, setup

#: The engine checks lengths before it loads. SELFCONN_CHECKED=1 has every index checked besides (for fuzzing).
CHECKED = os.environ.get("SELFCONN_CHECKED") == "1"
DIRECTIVES = {
    "language_level": 3,
    "annotation_typing": False,  # the C types stand in engine.pxd
    "boundscheck": CHECKED,
    "cdivision": True,  # no divisor is negative or zero
    "initializedcheck": CHECKED,
    "wraparound": False,
}


def extensions() -> list[Extension]:
    """Name what to compile: the engine, or nothing where that is asked for."""
    if os.environ.get("SELFCONN_PURE") == "1":
        return []
    from Cython.Build import cythonize  # noqa: PLC0415  # needed only where something is compiled

    compiled = cythonize(
        [Extension("analysis.engine", ["analysis/engine.py"], extra_compile_args=["-O3"])],
        compiler_directives=DIRECTIVES,
    )
    for extension in compiled:
        # A failing compiler ends in a warning and a slower program. Said here: cythonize() drops it from its input.
        extension.optional = True
    return compiled


setup(ext_modules=extensions())
