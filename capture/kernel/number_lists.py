"""Lists of numbers as the kernel writes and takes them, of ports or processors: ``8080,9148-9150``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def parsed(text: str) -> frozenset[int]:
    """The numbers in such a list; an empty one has none."""
    ranges = [[int(end) for end in one.split("-")] for one in text.split(",") if one]
    return frozenset(number for first, *last in ranges for number in range(first, (last or [first])[0] + 1))


def spans(numbers: Iterable[int]) -> str:
    """The list of these numbers, as ip_local_reserved_ports takes it."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and runs[-1][-1] == number - 1:
            runs[-1][1:] = [number]
        else:
            runs.append([number])
    return ",".join("-".join(map(str, run)) for run in runs)
