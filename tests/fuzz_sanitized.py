"""A target for coverage-guided fuzzing of the compiled engine: ``make fuzz`` runs it, CI does not.

Any octets give a result or NotACapture, the same in one piece and in portions; and the sanitizers have nothing to say.
tools/fuzz builds the engine with them. What it finds becomes a case of test_damaged.py.
"""

from __future__ import annotations

import ctypes
import sys

import atheris

from analysis import engine, reader
from analysis.engine import conversations, destinations, duplicates, index, partial, wire
from analysis.errors import NotACapture
from analysis.model import REMARKABLE, Verdict
from analysis.replay import replay

# Memory that the sanitizer watches: a mapping has no fence around it, and a bytes object one octet too many.
for module in (conversations, destinations, duplicates, index, partial, wire):
    module.mapping = bytearray  # type: ignore[assignment, attr-defined, unused-ignore]


def exact(octets: bytes) -> memoryview:
    """The same octets in a piece of memory that ends where they end."""
    return memoryview((ctypes.c_ubyte * len(octets)).from_buffer_copy(octets))


def analysed(octets: bytes, portion: int, collect: frozenset[Verdict], port: int) -> object:
    """All that the analysis says."""
    analysis = reader.Analysis("fuzz", collect=collect, table=16, port=port)
    try:
        for start in range(0, len(octets), portion):
            analysis.feed(exact(octets[start : start + portion]))
        result = analysis.finish()
    except NotACapture as error:
        return str(error)
    for opening in result.openings[:20]:
        assert replay(opening).steps or not opening.segments
    return result


def target(octets: bytes) -> None:
    """The last octet chooses how the others are looked at."""
    how = octets[-1] if octets else 0
    collect = frozenset(Verdict) if how & 1 else REMARKABLE
    port = 50_000 if how & 2 else 0
    whole = analysed(octets, len(octets) or 1, collect, port)
    assert analysed(octets, 16 * (how >> 2) + 16, collect, port) == whole


if __name__ == "__main__":
    assert engine.COMPILED
    atheris.Setup(sys.argv, target)
    atheris.Fuzz()
