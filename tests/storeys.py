"""The storeys of analysis/ and capture/, as tables: each module imports from below itself only.

tests/test_architecture.py holds the code to these tables, and docs/architecture.md is drawn from them.
"""

from __future__ import annotations

import ast
import functools
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

#: From the ground up; what stands in one line does not know each other.
STOREYS = (
    ("records", "unneeded"),
    ("model", "errors", "text", "progress", "memory", "formats.pcap", "formats.pcapng"),
    ("commandline", "output", "patterns", "privilege", "resets", "formats.recognise", "formats.remote"),
    ("arrivals", "odds", "states", "verdicts", "segments", "formats.compression", "inputs"),
    ("engine.layout", "formats.live", "replay", "wireshark", "portwalk"),
    ("engine.interpreted", "engine.protocols", "notes", "expected", "in_order", "result_spill"),
    ("engine.links",),
    ("engine.tunnels",),
    ("engine.answers", "engine.destinations", "engine.duplicates", "engine.index"),
    ("engine.headers", "engine.interfaces", "engine.refusals"),
    ("engine.kept", "engine.resets"),
    ("engine.conversations",),
    ("engine.self_connects",),
    ("engine.translations",),
    ("engine.head_log",),
    ("engine.partial",),
    ("engine.wire",),
    ("engine.interpreted_engine",),
    ("reader", "report"),
    ("partial", "ranges"),
    ("parallel",),
    ("cluster",),
    ("views.phrases",),
    ("views.mermaid", "views.page.shapes", "views.page.words", "views.rows"),
    ("views.page.ladder", "views.page.machine", "views.page.walk"),
    (
        "views.table",
        "views.json",
        "views.markdown",
        "views.annotated",
        "views.csv",
        "views.parquet",
        "views.step",
        "views.html",
    ),
    ("streaming",),
    ("run",),
    ("cli",),
)

#: The same for capture/, whose modules may import analysis/ besides.
CAPTURE_STOREYS = (
    (
        "check.grid",
        "kernel.addresses",
        "kernel.containers",
        "kernel.netns",
        "kernel.number_lists",
        "kernel.port_rules",
        "kernel.socket_options",
        "kernel.socket_table",
    ),
    (
        "kernel.container_names",
        "kernel.netlink",
        "kernel.port_choice",
        "kernel.tracepoint",
        "packets.filters",
        "run.command",
        "run.fair_queue",
    ),
    (
        "kernel.kernel_states",
        "kernel.measured_rule",
        "kernel.namespaces",
        "kernel.port_outlook",
        "packets.ring",
        "run.privileged_process",
    ),
    ("kernel.sockets",),
    (
        "kernel.bound_sockets",
        "kernel.socket_owner",
        "packets.self_connect",
        "check.findings",
        "run.repro",
        "run.process_finder",
    ),
    ("packets.capture_rings", "check.remedies", "run.watch_line"),
    ("check.page", "check.views"),
    ("packets.recorder", "packets.scapy_socket"),
    ("packets.watch_rings", "run.output"),
    ("run.namespace_opener",),
    ("run.watched",),
    ("run.run_context",),
    ("run.recording", "run.report_sections"),
    ("run.messages", "run.watch_counts"),
    ("run.console", "run.watch_intake"),
    ("run.session",),
    ("run.watch",),
    ("cli",),
    ("check_cli",),
)

BUILDINGS = {"analysis": STOREYS, "capture": CAPTURE_STOREYS}


@functools.cache
def modules(folder: str) -> set[str]:
    """The modules that lie in a folder, packages' own files left out."""
    top = ROOT / folder
    return {
        ".".join(path.relative_to(top).with_suffix("").parts) for path in top.rglob("*.py") if path.stem != "__init__"
    }


def imported(folder: str, module: str) -> set[str]:
    """What a module imports of its own folder, wherever in its text and for whatever reason."""
    tree = ast.parse((ROOT / folder / f"{module.replace('.', '/')}.py").read_text())
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.level:
            package = module.split(".")[: -node.level]
            base = [*package, *(node.module.split(".") if node.module else [])]
            found |= {".".join(base)} if node.module else set()
            found |= {".".join([*base, alias.name]) for alias in node.names}
    return found & modules(folder)


def rooms(folder: str) -> dict[str, str]:
    """The packages that lie in a folder, each with its docstring."""
    top = ROOT / folder
    found = sorted(path for path in top.glob("*/**/__init__.py"))
    return {
        str(path.parent.relative_to(ROOT)): " ".join((ast.get_docstring(ast.parse(path.read_text())) or "").split())
        for path in found
    }
