"""Who may import whom: each module what stands below it, bytes never the kernel, and each library has one door.

tests/storeys.py has the tables that docs/architecture.md is drawn from.
"""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest
import storeys
from conftest import ROOT

FILES = sorted(path for top in ("analysis", "capture") for path in (ROOT / top).rglob("*.py"))
LIBRARIES = ("Cython", "distributed", "fsspec", "jinja2", "pyarrow", "pyshark", "scapy", "tabulate", "tqdm")


@functools.cache
def imports(path: Path) -> set[str]:
    """The modules that a file names in its imports, relative ones in full."""
    here = path.relative_to(ROOT).parent.parts
    named = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            named |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(here[: len(here) - node.level + 1]) if node.level else ""
            named.add(".".join(part for part in (base, node.module) if part))
    return named


STANDS = [(folder, module) for folder, floors in storeys.BUILDINGS.items() for floor in floors for module in floor]


@pytest.mark.parametrize("folder", storeys.BUILDINGS)
def test_every_module_has_its_storey(folder: str) -> None:
    assert {module for top, module in STANDS if top == folder} == storeys.modules(folder)


@pytest.mark.parametrize(("folder", "module"), STANDS)
def test_imports_go_downwards(folder: str, module: str) -> None:
    height = {name: floor for floor, names in enumerate(storeys.BUILDINGS[folder]) for name in names}
    assert [name for name in storeys.imported(folder, module) if height[name] >= height[module]] == []


@pytest.mark.parametrize("folder", storeys.BUILDINGS)
def test_every_room_says_what_may_not_be_in_it(folder: str) -> None:
    """A package below a folder begins with what lives there and ends with what does not: "Nothing in here ..."."""
    silent = [package for package, said in storeys.rooms(folder).items() if "Nothing in here" not in said]
    assert silent == []


@pytest.mark.parametrize(
    "path", [path for path in FILES if path.is_relative_to(ROOT / "analysis")], ids=lambda path: path.stem
)
def test_analysis_looks_at_bytes_only(path: Path) -> None:
    assert not {name for name in imports(path) if name.split(".")[0] in {"capture", "scapy"}}


#: The rooms of capture/ that each of them may import.
MAY_KNOW = {
    "kernel": {"kernel"},
    "packets": {"packets"},
    "check": {"check", "kernel"},
    "run": {"run", "kernel", "packets"},
}


@pytest.mark.parametrize("room", MAY_KNOW)
def test_the_rooms_of_capture_know_few_others(room: str) -> None:
    """Packets know no process and no report; the kernel is asked by those who want to know, and asks nobody."""
    inside = [module for module in storeys.modules("capture") if module.startswith(f"{room}.")]
    assert {known.split(".")[0] for module in inside for known in storeys.imported("capture", module)} <= MAY_KNOW[room]


@pytest.mark.parametrize("library", LIBRARIES)
def test_each_library_has_one_door(library: str) -> None:
    doors = [str(path.relative_to(ROOT)) for path in FILES if library in {name.split(".")[0] for name in imports(path)}]
    assert len(doors) <= 1, doors


@pytest.mark.parametrize("package", ["analysis", "capture"])
def test_a_command_starts_without_any_library(package: str) -> None:
    program = f"import sys, {package}.cli; print(*{{name.split('.')[0] for name in sys.modules}})"
    loaded = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert not set(loaded.stdout.split()) & set(LIBRARIES)
