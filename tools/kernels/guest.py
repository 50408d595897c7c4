"""What a kernel does, measured on it, as one JSON object: ``guest.py [PART...]``, as root in a guest of boot.sh."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from analysis.errors import SelfconnError
from analysis.model import Endpoint
from analysis.reader import analyze
from capture.kernel import netns, port_choice
from capture.kernel.measured_rule import measured_rule

sys.path.append(str(Path(__file__).parent))
from setups import experiments  # it is found by the line above

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from setups import Outcome, Setup

#: Ways to make one socket connect to itself, by name.
RUNS = {
    "v4": ("--repro", "bind", "--port", "50010"),
    "v6": ("--repro", "bind", "--host", "::1", "--port", "50030"),
    "rst": ("--repro", "bind", "--port", "50014", "--close", "rst"),
    "walk": ("--private",),
}
_WALKS = 300
_RANGE = (50000, 50063)
_SEED, _SETUPS = 11, 20

#: The tests that belong to the kernel: ports, walks, the tracepoint, netlink, the packet socket.
_TESTS = ("kernel_truth", "sockets", "socket_options", "netns", "portwalk", "repro", "filters", "recorder")


def main(parts: list[str]) -> None:
    """Measure these parts, or all, and print them."""
    kernel = port_choice.kernel()
    found: dict[str, Any] = {
        "release": kernel.release,
        "upstream": ".".join(map(str, kernel.identity.release)),
        "machine": os.uname().machine,
        "byteorder": sys.byteorder,
        "rule": kernel.rule.description if kernel.certain else "not known",
    }
    for part in parts or PARTS:
        found |= PARTS[part]()
    print("JSON", json.dumps(found))


def _runs() -> dict[str, Any]:
    check = subprocess.run([sys.executable, "-m", "capture.check_cli", "-q"], check=False)
    return {"runs": {name: _run(name, arguments) for name, arguments in RUNS.items()}, "check": check.returncode}


def _rule() -> dict[str, str]:
    try:
        return {"measured": measured_rule(port_choice.kernel().rule).description}
    except SelfconnError as error:
        return {"measured": str(error)}


def _setups() -> dict[str, list[bool]]:
    return {"setups": [outcome.right for _, outcome in _said(experiments(_SEED, _SETUPS))]}


def _run(name: str, arguments: tuple[str, ...]) -> dict[str, Any]:
    """One self-connect: what it was called, whether the kernel agrees, and what its third packet was."""
    path = Path(f"self-connect-{name}.pcapng")
    command = [sys.executable, "-m", "capture.cli", *arguments, "--format", "json", "-w", str(path)]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    if said.returncode:
        return {"status": said.returncode, "error": said.stderr.strip()}
    report = json.loads(said.stdout)
    (opening,) = [one for one in analyze(str(path)).openings if one.to_itself]
    third = opening.segments[2] if len(opening.segments) > 2 else None
    return {
        "status": 0,
        "verdict": opening.verdict.value,
        "agrees": report["kernel"]["agrees"],
        "missing": report["kernel"].get("missing"),
        "third": None if third is None else "D-SACK" if third.dsack else "plain",
    }


def _said(tried: Iterable[tuple[Setup, Outcome]]) -> Iterator[tuple[Setup, Outcome]]:
    """The log has each."""
    for setup, outcome in tried:
        print("right" if outcome.right else "WRONG", setup, outcome, flush=True)
        yield setup, outcome


def _tests() -> dict[str, dict[str, int]]:
    """How many of the tests passed, were skipped and failed; the log has which and why."""
    report = Path("tests.xml").absolute()
    asked = [f"tests/test_{name}.py" for name in _TESTS]
    options = ("-q", "-p", "no:cacheprovider", "-p", "pytest_timeout", "-m", "live or root", "-o", "timeout=900")
    command = [sys.executable, "-m", "pytest", *options, f"--junit-xml={report}", *asked]
    alone = {**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}  # the distribution's packages bring their own
    subprocess.run(command, cwd=Path(__file__).parents[2], env=alone, check=False)
    [suite] = ElementTree.parse(report).getroot()  # noqa: S314 - what pytest wrote
    told = {name: int(suite.get(name, 0)) for name in ("tests", "skipped", "failures", "errors")}
    failed = told["failures"] + told["errors"]
    passed = told["tests"] - told["skipped"] - failed
    return {"tests": {"passed": passed, "skipped": told["skipped"], "failed": failed}}


def _forecast() -> dict[str, float]:
    """The mean that is forecast for walks through a small range, and that of so many, in standard errors from it."""
    netns.enter(Endpoint.parse("127.0.0.1", _RANGE[0]), _RANGE)
    kernel = port_choice.kernel()
    target = _RANGE[0] + 20
    mean = kernel.odds(target, kernel.windows()).mean
    counts = [_walk(f"127.1.{n // 250}.{n % 250 + 1}", target) for n in range(_WALKS)]
    error = statistics.stdev(counts) / _WALKS**0.5
    return {"forecast": mean, "mean": statistics.mean(counts), "errors": (statistics.mean(counts) - mean) / error}


def _walk(address: str, target: int) -> int:
    """How many attempts it takes until one is given the port that it dials."""
    import socket  # noqa: PLC0415

    count = 0
    while True:
        count += 1
        with socket.socket() as one:
            one.connect_ex((address, target))
            if one.getsockname()[1] == target:
                return count


#: In their order: the last one steps into a network namespace, and stays there.
PARTS = {"runs": _runs, "rule": _rule, "setups": _setups, "tests": _tests, "forecast": _forecast}

main(sys.argv[1:])
