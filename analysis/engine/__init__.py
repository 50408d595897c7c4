"""The engine: capture records in, verdicts out. One pass, one decoder, bounded memory.

    record -> frame -> innermost IP packet -> TCP segment -> the opening of its 4-tuple -> next phase

These modules are ordinary Python and run as they are. Where a C compiler is found, Cython compiles them with the C types
that stand in the .pxd file beside each: the same statements, some fifty times faster. What the compiler cannot share
with Python (loading integers out of memory, a hash table, a dict) stands in modules of its own: octets.pxd, index.py
and duplicates.py are the compiled form, interpreted.py and interpreted_engine.py the other one.

What the phases mean stands in verdicts.py; the engine knows how to find a segment in a frame, and an opening in a table.
"""

from __future__ import annotations

from .layout import DAMAGES, NEAR, REASONS, WALK, Finished, Kept
from .partial import Logged, Tail, destination, key_of
from .wire import COMPILED

if COMPILED:
    from .wire import Engine
else:
    from .interpreted_engine import Engine

__all__ = [
    "COMPILED",
    "DAMAGES",
    "NEAR",
    "REASONS",
    "WALK",
    "Engine",
    "Finished",
    "Kept",
    "Logged",
    "Tail",
    "destination",
    "key_of",
]
