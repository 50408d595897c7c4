"""The guards in scenarios/guards/: in every language none gets through, and without its guard the program is fooled."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from alone import alone
from conftest import ROOT, missing, program

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("need_private_namespace")]

GUARDS = ROOT / "scenarios" / "guards"
PORT, RANGE, TIMES = 50000, "50000 50007", 1000  # 4 candidates: on average every fourth attempt hits


def here(name: str) -> str:
    """The path of a language's own program, which no package of ours brings."""
    return shutil.which(name) or missing(name)


def c(made: Path) -> list[str]:
    strict = ("-Wall", "-Wextra", "-Werror")
    subprocess.run([program("cc", "gcc"), *strict, "-o", made / "guard", GUARDS / "guard.c"], check=True)
    return [str(made / "guard")]


def go(made: Path) -> list[str]:
    # Debian's gccgo is half the size of its golang-go, and does not compile the library first.
    compiler = [shutil.which("go"), "build"] if shutil.which("go") else [program("gccgo", "gccgo")]
    subprocess.run([*compiler, "-o", made / "guard", GUARDS / "guard.go"], check=True)
    return [str(made / "guard")]


def java(made: Path) -> list[str]:
    nothing_in_tmp = "-XX:-UsePerfData"
    subprocess.run([here("javac"), f"-J{nothing_in_tmp}", "-d", made, GUARDS / "Guard.java"], check=True)
    return [here("java"), nothing_in_tmp, "-cp", str(made), "Guard"]


def node(_: Path) -> list[str]:
    return [here("node"), str(GUARDS / "guard.mjs")]


def python(_: Path) -> list[str]:
    return [sys.executable, str(GUARDS / "guard.py")]


def rust(made: Path) -> list[str]:
    subprocess.run([here("rustc"), "-O", "-D", "warnings", "-o", made / "guard", GUARDS / "guard.rs"], check=True)
    return [str(made / "guard")]


LANGUAGES = {
    "guard.c": c,
    "guard.go": go,
    "Guard.java": java,
    "guard.mjs": node,
    "guard.py": python,
    "guard.rs": rust,
}


@pytest.fixture(scope="module", params=LANGUAGES.values(), ids=LANGUAGES.keys())
def guard(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The command of one language's guard, compiled where that is needed."""
    make: Callable[[Path], list[str]] = request.param
    return make(tmp_path_factory.mktemp("guard"))


def dials(command: list[str], *words: str) -> tuple[int, int]:
    """How many connections a guard took for good, and how many it caught."""
    done = subprocess.run([*command, *words], capture_output=True, text=True, timeout=30, check=True)
    connected, caught = map(int, re.fullmatch(r"(\d+) connected, (\d+) caught\n", done.stdout).groups())
    return connected, caught


def few_ports() -> None:
    Path("/proc/sys/net/ipv4/ip_local_port_range").write_text(RANGE)


def to_a_dead_port(command: list[str], host: str, *unguarded: str) -> tuple[int, int]:
    few_ports()
    return dials(command, host, str(PORT), str(TIMES), *unguarded)


def to_a_server(command: list[str]) -> tuple[int, int]:
    few_ports()
    with socket.create_server(("127.0.0.1", PORT + 1)) as server:
        return dials(command, *map(str, (*server.getsockname(), 2)))


def test_there_is_a_test_of_every_guard() -> None:
    assert sorted(LANGUAGES) == sorted(path.name for path in GUARDS.iterdir())


def test_they_are_as_short_as_the_lesson_says() -> None:
    said = re.search(r"(\d+) to (\d+) lines each", (ROOT / "docs" / "lessons" / "8-prevention.md").read_text())
    lines = [len(path.read_text().splitlines()) for path in GUARDS.iterdir()]
    assert [str(min(lines)), str(max(lines))] == list(said.groups())


@pytest.mark.usefixtures("need_ipv6")
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_guard_catches_every_one(guard: list[str], host: str) -> None:
    connected, caught = alone(partial(to_a_dead_port, guard, host))
    assert connected == 0
    # Go's own dialer looks, too, and dials twice more: only a third in a row comes to the guard, one attempt in 64.
    assert caught > 2  # of 250 on average, of 16 in Go


def test_without_its_guard_the_program_is_fooled(guard: list[str]) -> None:
    # Not often: it hangs up with FIN, and for a second the TIME-WAIT keeps the port from being hit again.
    connected, caught = alone(partial(to_a_dead_port, guard, "127.0.0.1", "unguarded"))
    assert connected > 0
    assert caught == 0


def test_a_guard_lets_a_real_server_through(guard: list[str]) -> None:
    assert alone(partial(to_a_server, guard)) == (2, 0)
