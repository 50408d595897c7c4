"""The engine: capture records in, verdicts out. One pass, one decoder, bounded memory.

    record -> frame -> innermost IP packet -> TCP segment -> the opening of its 4-tuple -> next phase

These modules are ordinary Python and run as they are. Where a C compiler is found, Cython compiles them with the C
types in the .pxd file beside each: the same statements, some fifty times faster. What the two forms cannot share (how
they load an integer from memory; a hash table or a dict) stands in modules of their own: octets.pxd, index.py and
duplicates.py are the compiled form, interpreted.py and interpreted_engine.py the other one.

verdicts.py says what the phases mean; the engine knows how to find a segment in a frame, and an opening in a table.
This module is the door: modules outside of the engine import from here, and from engine/partial.py to merge parts.
Nothing in here opens a file, decides what a report shows, or names a verdict.
"""

from __future__ import annotations

from .layout import DAMAGES, MANY, NEAR, REASONS, WALK, Finished, Kept, Key
from .wire import COMPILED

if COMPILED:
    from .wire import Engine
else:
    from .interpreted_engine import Engine

__all__ = ["COMPILED", "DAMAGES", "MANY", "NEAR", "REASONS", "WALK", "Engine", "Finished", "Kept", "Key"]
