"""Memory straight from the system: zero, page-aligned, and used only where it is touched."""

from __future__ import annotations

import contextlib
import mmap

#: From so many octets on, huge pages are asked for.
HUGE = 2 << 20

#: Up to so many octets Python's own memory is as good: it is used again by the next capture, where the pages of a new
#: mapping cost one to two microseconds each.
SMALL = 1 << 17

#: What is larger than SMALL is written to all over soon: all its pages at once cost less than one after the other.
_AT_ONCE = getattr(mmap, "MAP_POPULATE", 0)  # Linux


def mapping(octets: int) -> mmap.mmap | bytearray:
    """Map so many octets, in huge pages where the system has them and they are filled; if they are few, no mapping.

    From HUGE octets on, zero pages cost nothing until they are written to. The kernel copies 1.5 times as fast into
    page-aligned memory, and with huge pages the processor searches less for the page.
    """
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
    if octets <= SMALL:
        return bytearray(octets)
    if octets < HUGE:
        return mmap.mmap(-1, octets, flags=flags | _AT_ONCE)
    made = mmap.mmap(-1, octets, flags=flags)
    with contextlib.suppress(OSError):
        made.madvise(mmap.MADV_HUGEPAGE)
    return made


def growing(octets: int) -> mmap.mmap | bytearray:
    """Map so many octets that are used from the first on, as far as it takes."""
    return mapping(octets) if octets <= SMALL or octets >= HUGE else sparse(octets)


def sparse(octets: int) -> mmap.mmap:
    """Map so many octets of which few are ever written to, here and there."""
    return mmap.mmap(-1, octets, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
