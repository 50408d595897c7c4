"""Compiles analysis/engine/ where a C compiler and Python's headers are found; without them it runs as it is.

SELFCONN_PURE=1 leaves the compiling out. Everything else about the package is in pyproject.toml.
"""

import compileall
import os
import sys
from importlib.machinery import SourceFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext
from setuptools.command.editable_wheel import editable_wheel

#: The engine checks lengths before it loads. SELFCONN_CHECKED=1 has every index checked besides (for fuzzing).
CHECKED = os.environ.get("SELFCONN_CHECKED") == "1"
DIRECTIVES = {
    "language_level": 3,
    "annotation_typing": False,  # the C types stand in the .pxd files
    "boundscheck": CHECKED,
    "cdivision": True,  # no divisor is negative or zero
    "initializedcheck": CHECKED,
    "wraparound": False,
}
#: Without debugging information compiling takes four fifths of the time. What is inline in a .pxd file is longer than
#: GCC would have it, and a tenth faster that way (clang does not know the parameter, and says so). The other two keep
#: GCC from loading octets at once that were just stored one by one, for which a processor waits, and from putting the
#: halves of 128-bit products on the stack.
FAST = ["-O3", "-g0", "-fno-tree-slp-vectorize", "-fno-split-wide-types", "--param", "max-inline-insns-single=2000"]
QUICKLY = ["-O1", "-g0"]


#: What is compiled: what every packet passes, and then what few do, where compiling quickly is worth more.
MODULES = {
    **dict.fromkeys(
        (
            *("answers", "conversations", "destinations", "duplicates", "head_log"),
            *("index", "partial", "refusals", "resets", "wire"),
        ),
        FAST,
    ),
    **dict.fromkeys(
        (
            *("headers", "interfaces", "kept", "links"),
            *("self_connects", "translations", "tunnels"),
        ),
        QUICKLY,
    ),
}
ENGINE = Path(__file__).resolve().parent / "analysis" / "engine"


def write_numbers() -> None:
    """Write the integer constants of layout.py as C's, for layout.pxd to include: a variable costs a load each time."""
    sys.path.insert(0, str(ENGINE.parent.parent))
    spec = spec_from_loader(
        "analysis.engine.layout", SourceFileLoader("analysis.engine.layout", str(ENGINE / "layout.py"))
    )
    assert spec  # noqa: S101 - for the type checker
    assert spec.loader  # noqa: S101
    layout = module_from_spec(spec)
    spec.loader.exec_module(layout)
    numbers = {name: value for name, value in vars(layout).items() if name.isupper() and type(value) is int}
    lines = ["# Written by setup.py out of layout.py.", "cdef extern from * nogil:", '    """']
    lines += [f"    #define SELFCONN_{name} {value}{'ull' if value >= 0 else 'll'}" for name, value in numbers.items()]
    lines += ['    """']
    lines += [f'    {"u64" if value >= 0 else "i64"} {name} "SELFCONN_{name}"' for name, value in numbers.items()]
    (ENGINE / "numbers.pxi").write_text("\n".join(lines) + "\n", encoding="ascii")


def extensions() -> list[Extension]:
    """Name what to compile: the engine, or nothing where that is asked for."""
    if os.environ.get("SELFCONN_PURE") == "1":
        return []
    from Cython.Build import cythonize  # noqa: PLC0415  # needed only where something is compiled

    write_numbers()
    compiled = cythonize(
        [
            Extension(
                f"analysis.engine.{name}",
                [f"analysis/engine/{name}.py"],
                extra_compile_args=["-O3"] if CHECKED else arguments,
            )
            for name, arguments in MODULES.items()
        ],
        compiler_directives=DIRECTIVES,
    )
    for extension in compiled:
        # A failing compiler ends in a warning and a slower program. Said here: cythonize() drops it from its input.
        extension.optional = True
    return compiled


class AllOrNone(build_ext):
    """Compile all of the engine, or leave it interpreted: its modules do not work half and half."""

    def finalize_options(self) -> None:
        """As many compilers side by side as there are processors, if it is not said otherwise."""
        super().finalize_options()
        self.parallel = self.parallel or os.cpu_count()

    def build_extensions(self) -> None:
        """Compile; where one module could not be compiled, take the others away again."""
        super().build_extensions()
        made = [Path(self.get_ext_fullpath(extension.name)) for extension in self.extensions]
        if not all(path.exists() for path in made):
            for path in made:
                path.unlink(missing_ok=True)


class Editable(editable_wheel):
    """Compile the modules to byte code as well, which the commands never write (-B)."""

    def run(self) -> None:
        """Install, then compile."""
        super().run()
        for folder in ("analysis", "capture"):
            compileall.compile_dir(folder, quiet=1)


setup(ext_modules=extensions(), cmdclass={"build_ext": AllOrNone, "editable_wheel": Editable})
