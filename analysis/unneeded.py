"""Imports without what they would import in their turn and do not need here, to start sooner."""

from __future__ import annotations

import sys
from contextlib import contextmanager

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping


@contextmanager
def without(unneeded: Mapping[str, Mapping[str, object]]) -> Iterator[None]:
    """Keep these modules out, unless they are there already; what is imported meanwhile finds these names in them."""
    module = type(sys)
    stubs = {name: module(name) for name in unneeded if name not in sys.modules}
    for name, stub in stubs.items():
        vars(stub).update(unneeded[name])
    sys.modules.update(stubs)
    try:
        yield
    finally:
        for name in stubs:
            del sys.modules[name]
