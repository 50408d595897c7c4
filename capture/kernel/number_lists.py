"""Lists of numbers as the kernel writes and takes them, of ports or processors: ``8080,9148-9150``."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable


def parsed(text: str) -> frozenset[int]:
    """The numbers in such a list; an empty one has none."""
    ranges = [[int(end) for end in one.split("-")] for one in text.split(",") if one]
    return frozenset(number for first, *last in ranges for number in range(first, (last or [first])[0] + 1))


#: Octets of a setting that the kernel takes at once (proc_do_large_bitmap()): of a longer one sysctl(8) sets a part.
LONGEST = 4000


def spans(numbers: Iterable[int], longest: int | None = None) -> str:
    """The list of these numbers, as ip_local_reserved_ports takes it.

    Where that has more than *longest* octets, the numbers between those that lie closest are in it, too.
    """
    known = sorted(set(numbers))
    apart = 1
    while True:
        runs: list[list[int]] = []
        for number in known:
            if runs and runs[-1][-1] >= number - apart:
                runs[-1][1:] = [number]
            else:
                runs.append([number])
        text = ",".join("-".join(map(str, run)) for run in runs)
        if longest is None or len(text) <= longest:
            return text
        apart += 1
