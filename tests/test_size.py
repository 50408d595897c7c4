"""How large a function, a class or a module may become, and how often the engine may be exempted from a check.

The limits are a feeling that was turned into a check. Do not cut by the ruler: where something is better in one piece,
give it a row in ``EXCEPTIONS`` with the reason. A row that is needed no longer fails a test, too.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

from conftest import ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

#: The most of each. ``self`` and ``cls`` are no parameters; lines are counted with docstring and comments.
PARAMETERS = 8
FUNCTION_LINES = 100
CLASS_LINES = 500
MODULE_LINES = 800
#: How many times ``noqa`` or ``type: ignore`` may stand in the engine, all its files together.
EXEMPTIONS = 5

#: What is larger all the same, and why: "FILE NAME: what is counted", or "FILE: lines" of a module.
EXCEPTIONS: dict[str, str] = {
    "analysis/reader.py Analysis.__init__: parameters": "all that may be asked, and how many octets",
}

FILES = sorted(path for top in ("analysis", "capture") for path in (ROOT / top).rglob("*.py"))
ENGINE = [path for path in FILES if str(path.relative_to(ROOT)).startswith(("analysis/engine.", "analysis/engine/"))]

_EXEMPTION = re.compile(r"# (?:noqa|type: ignore)\b")
#: One or two of them at the end of a line, and then some words that say why.
_WITH_REASON = re.compile(r"(?:# (?:noqa: [A-Z0-9, ]+|type: ignore\[[\w, -]+\])\s*)+(?:-+|#|:)\s*\w+")


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """How many parameters a function takes, the object of a method left out."""
    taken = function.args
    names = [one.arg for one in (*taken.posonlyargs, *taken.args)]
    own = names[:1] in (["self"], ["cls"])
    return len(names) - own + len(taken.kwonlyargs) + bool(taken.vararg) + bool(taken.kwarg)


def too_large(name: str, text: str) -> Iterator[tuple[str, int]]:
    """What is larger in a module than it may be, and how large it is."""
    if (lines := len(text.splitlines())) > MODULE_LINES:
        yield f"{name}: lines", lines
    waiting = [("", node) for node in ast.parse(text).body]
    while waiting:
        outer, node = waiting.pop()
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            outer = f"{outer}.{node.name}".strip(".")
            lines = (node.end_lineno or 0) - node.lineno + 1
            if lines > (CLASS_LINES if isinstance(node, ast.ClassDef) else FUNCTION_LINES):
                yield f"{name} {outer}: lines", lines
            if not isinstance(node, ast.ClassDef) and parameters(node) > PARAMETERS:
                yield f"{name} {outer}: parameters", parameters(node)
        waiting += [(outer, inner) for inner in ast.iter_child_nodes(node)]


def exemptions(path: Path) -> list[str]:
    """The lines of a file with a ``noqa`` or a ``type: ignore``."""
    return [line.strip() for line in path.read_text().splitlines() if _EXEMPTION.search(line)]


def measured() -> dict[str, int]:
    """All that is larger than it may be."""
    found = {what: size for path in FILES for what, size in too_large(str(path.relative_to(ROOT)), path.read_text())}
    count = sum(len(exemptions(path)) for path in ENGINE)
    return found | ({"analysis/engine: exemptions": count} if count > EXEMPTIONS else {})


def test_nothing_is_larger_than_it_may_be() -> None:
    assert {what: size for what, size in measured().items() if what not in EXCEPTIONS} == {}


def test_no_exception_is_stale() -> None:
    assert EXCEPTIONS.keys() - measured().keys() == set()


def test_every_exception_has_a_reason() -> None:
    assert [what for what, why in EXCEPTIONS.items() if len(why.split()) < 3] == []


def test_every_exemption_of_the_engine_has_a_reason() -> None:
    silent = [line for path in ENGINE for line in exemptions(path) if not _WITH_REASON.search(line)]
    assert silent == [] or "analysis/engine: exemptions" in EXCEPTIONS


def test_the_counting() -> None:
    """A limit is allowed, one more is told; nested and asynchronous functions count, ``self`` does not."""
    assert parameters(ast.parse("def f(self, a, b, /, c, *d, e, **g): ...").body[0]) == 6
    assert parameters(ast.parse("async def f(a, *, b): ...").body[0]) == 2
    body = "        x = 1\n" * (FUNCTION_LINES - 1)
    for more, told in (("", []), ("        x = 1\n", ["it.py A.f: lines"])):
        assert [what for what, _ in too_large("it.py", f"class A:\n    def f(self):\n{body}{more}")] == told
