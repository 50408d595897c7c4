"""The storeys of analysis/: each module imports from below itself only."""

from __future__ import annotations

import ast

import pytest
from conftest import ROOT

#: From the ground up; what stands in one line does not know each other.
STOREYS = (
    ("model", "errors", "text", "progress", "memory", "formats.pcap", "formats.pcapng"),
    ("commandline", "output", "formats.recognise", "formats.remote"),
    ("odds", "states", "verdicts", "segments", "formats.compression", "inputs"),
    ("engine", "replay", "wireshark", "portwalk"),
    ("notes", "result_spill"),
    ("reader", "report"),
    ("partial",),
    ("parallel",),
    ("cluster",),
    ("views.phrases",),
    ("views.mermaid", "views.page.shapes"),
    ("views.page.ladder", "views.page.machine", "views.page.walk"),
    ("views.table", "views.json", "views.markdown", "views.annotated", "views.parquet", "views.step", "views.html"),
    ("run",),
    ("cli",),
)
HEIGHT = {module: height for height, modules in enumerate(STOREYS) for module in modules}
ANALYSIS = ROOT / "analysis"


def imported(module: str) -> set[str]:
    """The modules of analysis that a module imports, wherever in its text and for whatever reason."""
    tree = ast.parse((ANALYSIS / f"{module.replace('.', '/')}.py").read_text())
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            package = module.split(".")[: -node.level]
            base = [*package, *(node.module.split(".") if node.module else [])]
            found |= {".".join(base)} if node.module else set()
            found |= {".".join([*base, alias.name]) for alias in node.names}
    return found & HEIGHT.keys()


def test_every_module_has_its_storey():
    there = {".".join(path.relative_to(ANALYSIS).with_suffix("").parts) for path in ANALYSIS.rglob("*.py")}
    assert {module for module in there if not module.endswith("__init__")} == HEIGHT.keys()


@pytest.mark.parametrize("module", HEIGHT)
def test_imports_go_downwards(module):
    assert [name for name in imported(module) if HEIGHT[name] >= HEIGHT[module]] == []
