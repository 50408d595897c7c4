"""Make docs/kernels.md of what guest.py measured: ``table.py LOG...``; the answers go to tests/kernels/measured.json.

Each LOG is what a guest said. What is measured again of a kernel replaces what was there.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
MEASURED = ROOT / "tests" / "kernels" / "measured.json"
PAGE = ROOT / "docs" / "kernels.md"

_INTRODUCTION = """\
# What selfconn does on which kernel

Measured by `make kernels`, which boots kernel packages of Debian and Ubuntu in QEMU; tools/kernels/guest.py is what
runs there, and tests/kernels/measured.json what it answered. This page is made of that by tools/kernels/table.py.

- **rule**: how `connect()` goes through its ports, by the release (capture/kernel/port_rules.py has the table, with
  the source of each line), and as `selfconn-check --measure-rule` measures it on that kernel.
- **forecast**: attempts until a self-connect, in a range of 64 ports; beside it the mean of 300 walks, and how many
  standard errors it lies off.
- **third packet**: of four self-connects (IPv4, IPv6, one closed by RST, one by a walk). A kernel with "tcp: Don't
  drop SYN+ACK for simultaneous connect()" (6.11, 6.10.10, 6.1.110) sends a D-SACK and is ESTABLISHED before it, an
  older one a plain ACK.
- **agrees**: whether the kernel's own account (its tracepoint) has each change of state between the same packets.
- **check**: the exit status of `selfconn-check -q` where nothing is wrong.
- **set-ups**: random ones (a range, a target, what holds it, what is in TIME-WAIT) in which the verdict of
  `selfconn-check`, its chance and its conditions were what thousands of attempts then showed
  (tools/kernels/setups.py).
- **tests**: those that belong to the kernel (ports, walks, the tracepoint, netlink, the packet socket), as root in the
  guest. Skipped are those that need a younger kernel, and those that need tcpdump or capinfos, which is not there.

"-": not tried.

"""
_END = """
Where the rules come from, and which kernels were looked for:

- Moving on by 2 is the rule of 4.2 to 5.11, here in Ubuntu's first kernel of 18.04.
- Moving on by 2, seldom by 4 (a double hash) is that of 5.12 to 5.17, here in Ubuntu's first kernel of 22.04. Stable
  kernels had it for a while, 5.10.119 to 5.10.124 for one. None of these is a package any more, neither in Debian's
  suites (bullseye and later, with security and backports) nor in Ubuntu's (18.04 to 24.04, with updates).
- Moving on by 1, whatever the parity, is that of kernels before 4.2. These suites have none: that line of the table in
  capture/kernel/port_rules.py was read, not measured.
"""
_HEAD = (
    "Linux",
    "`uname -r`",
    "rule by release",
    "measured",
    "forecast",
    "300 walks",
    "third packet",
    "agrees",
    "check",
    "set-ups",
    "tests",
)


def main(logs: list[str]) -> int:
    """Take in the answers, and write the page; 1 if a cell is wrong."""
    measured = json.loads(MEASURED.read_text()) if MEASURED.exists() else {}
    for log in logs:
        for line in Path(log).read_text().splitlines():
            if line.startswith("JSON "):
                answer = json.loads(line.removeprefix("JSON "))
                measured.setdefault(answer["upstream"] + " " + answer["machine"], {}).update(answer)
    MEASURED.write_text(json.dumps(measured, indent=1, sort_keys=True) + "\n")
    PAGE.write_text(page(measured))
    return int(any(wrong(answer) for answer in measured.values()))


def page(measured: dict[str, Any]) -> str:
    """The page."""
    rows = [_HEAD, ("---",) * len(_HEAD)]
    order = sorted(measured.values(), key=lambda one: [int(part) for part in one["upstream"].split(".")])
    rows += [_row(answer) for answer in order]
    return _INTRODUCTION + "".join(f"| {' | '.join(row)} |\n" for row in rows) + _END


def _row(answer: dict[str, Any]) -> tuple[str, ...]:
    runs = answer["runs"].values()
    agree = {_agreement(one) for one in runs}
    return (
        answer["upstream"],
        f"{answer['release']} ({answer['machine']})",
        answer["rule"],
        answer["measured"],
        f"{answer['forecast']:.1f}",
        f"{answer['mean']:.1f} ({answer['errors']:+.1f})",
        ", ".join(sorted({one.get("third") or "none" for one in runs})),
        ", ".join(sorted(agree)),
        str(answer["check"]),
        f"{sum(answer['setups'])} of {len(answer['setups'])}" if "setups" in answer else "-",
        ", ".join(f"{count} {outcome}" for outcome, count in answer["tests"].items() if count)
        if "tests" in answer
        else "-",
    )


def _agreement(run: dict[str, Any]) -> str:
    if run["status"]:
        return f"no capture (status {run['status']})"
    return str(run["missing"] or {True: "yes", False: "no", None: "in part"}[run["agrees"]])


def wrong(answer: dict[str, Any]) -> list[str]:
    """The cells that are not as they should be."""
    runs = answer["runs"].values()
    right = {
        "rule": answer["rule"] in (answer["measured"], "not known"),
        "forecast": abs(answer["errors"]) < 4,
        "verdict": all(one.get("verdict") == "self-connect" for one in runs),
        "agrees": all(one.get("agrees") or one.get("missing") for one in runs),
        "check": answer["check"] == 0,
        "setups": all(answer.get("setups", [])),
        "tests": not answer.get("tests", {}).get("failed"),
    }
    return [name for name, holds in right.items() if not holds]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
