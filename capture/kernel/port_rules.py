"""Which Linux chooses source ports by which rule: the table of changes, and which release a running kernel is.

Stable kernels take up changes of later releases, and distributions stable kernels under a number of their own. So
a rule goes by series and patch level, and where neither uname(2) nor the kernel's own words have them it is assumed;
measured_rule.py measures it.
"""

from __future__ import annotations

import math
import re

from analysis.odds import LINUX_2_6, LINUX_5_12, LINUX_5_18, Selection
from analysis.records import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

#: Major and minor number, and the patch level of the stable series.
Release = tuple[int, int, int]


class Change(NamedTuple):
    """What Linux does from a release on: ``since``, and in older series from the patch level that ``stable`` has.

    ``source`` is where that was read: commits of Linux, and for the stable series the announcement or a changelog.
    """

    since: tuple[int, int]
    source: str
    stable: Mapping[tuple[int, int], int] = {}

    def is_in(self, release: Release) -> bool:
        """Whether this release has it."""
        return release[:2] >= self.since or release[2] >= self.stable.get(release[:2], math.inf)


#: connect() keeps to the ports of the parity of the range's low end while one is free, bind() to port 0 to the others.
HALVES = Change((4, 2), "07f4c90062f8")
#: Two hash functions decide where it begins; 1 candidate in 17 is left out.
DOUBLE_HASH = Change((5, 12), "190cc82489f4, c579bd1b4021; ChangeLog-5.10.119", {(5, 10): 119})
#: It begins somewhere else every 10 s.
SALT = Change(
    (5, 18),
    "4dfa9b438ee3; Debian's changelogs of linux 5.10 and 6.1; stable review of 5.15.41 (2022-05-16)",
    {(5, 17): 9, (5, 15): 41, (5, 10): 117},
)
#: It moves on by 1 to 8 candidates, drawn by lot (CVE-2022-1012).
RANDOM_STEPS = Change(
    (5, 18),
    "ca7af0402550; Debian's changelogs of linux 5.10 and 6.1; stable reviews of 5.15.41 (2022-05-16) and of 5.4.201, "
    "4.19.249, 4.14.285 and 4.9.320 (2022-06-23)",
    {(5, 17): 9, (5, 15): 41, (5, 10): 125, (5, 4): 201, (4, 19): 249, (4, 14): 285, (4, 9): 320},
)
#: A socket can have a range of its own: setsockopt(IP_LOCAL_PORT_RANGE).
OWN_RANGE = Change((6, 3), "91d0b78c5177")
#: sock_diag lists sockets that are bound and no more.
BOUND_LISTED = Change((6, 8), "91051f003948")


class Rule(NamedTuple):
    """How connect() chooses a source port.

    ``halves``: it takes only ports of the parity of the range's low end while one is free, and bind() to port 0 takes
    only the others. ``selection``: how it goes on from one attempt to the next; ``description`` is the middle of
    a sentence about that.
    """

    halves: bool
    selection: Selection
    description: str


#: The newest first, each with the change that brought it. The code is __inet_hash_connect() in
#: net/ipv4/inet_hashtables.c and, for bind() to port 0, inet_csk_find_open_port().
RULES = (
    (RANDOM_STEPS, Rule(True, LINUX_5_18, "moving on by 2 to 16 at random")),
    (DOUBLE_HASH, Rule(True, LINUX_5_12, "moving on by 2, seldom by 4")),
    (HALVES, Rule(True, LINUX_2_6, "moving on by 2")),
    (Change((0, 0), "1da177e4c3f4"), Rule(False, LINUX_2_6, "moving on by 1")),
)


def rule_of(release: Release) -> Rule:
    """The rule by which this release chooses."""
    rule = next(rule for change, rule in RULES if change.is_in(release))
    if SALT.is_in(release) and rule.selection.salted == math.inf:
        rule = rule._replace(selection=rule.selection._replace(salted=LINUX_5_18.salted))
    return rule


class Identity(NamedTuple):
    """Which Linux a kernel is: ``release`` in numbers, and whether it is ``certain`` that it chooses as that one does.

    It is not where a distribution's number stands in the place of the patch level, or may hide what was taken up.
    """

    release: Release
    certain: bool

    @property
    def rule(self) -> Rule:
        """The rule that it has, or is assumed to have: what distributions look after has the newest (CVE-2022-1012)."""
        looked_after = self.release[:2] >= min(RANDOM_STEPS.stable)
        return RULES[0][1] if looked_after and not self.certain else rule_of(self.release)


def identified(release: str, build: str = "") -> Identity:
    """Which Linux this is: *release* is what ``uname -r`` says, *build* ``uname -v`` and /proc/version_signature.

    Debian has ``5.10.0-30-amd64`` and ``#1 SMP Debian 5.10.218-1 (2024-06-01)``; Ubuntu ``5.4.0-100-generic``,
    ``#113-Ubuntu SMP``, and the signature ``Ubuntu 5.4.0-100.113-generic 5.4.166``.
    """
    found = re.match(r"(\d+)\.(\d+)(?:\.(\d+))?(-\d)?", release)
    if not found:
        return Identity((0, 0, 0), certain=False)
    numbers = int(found[1]), int(found[2]), int(found[3] or 0)
    told = re.search(rf"\bDebian {found[1]}\.{found[2]}\.(\d+)|\bUbuntu \S+ {found[1]}\.{found[2]}\.(\d+)", build)
    if told:
        numbers = *numbers[:2], int(told[1] or told[2])
    return Identity(numbers, certain=bool(told) or not found[4] or RANDOM_STEPS.is_in(numbers))
