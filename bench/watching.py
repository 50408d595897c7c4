"""A watch under attack, and over many network namespaces: the long form of tests/test_watch_flood.py. Needs root.

.venv/bin/python bench/watching.py flood        1,000 self-connects a second of one user, eight of another; 60 s each
.venv/bin/python bench/watching.py containers   the same, the flood in one namespace, the others in eight
.venv/bin/python bench/watching.py many         200 namespaces: at rest, and 100 self-connects among refused attempts
.venv/bin/python bench/watching.py ends         INT, TERM and kill -9 with 200 namespaces: is anything left?

SECONDS=10 makes each part that long instead of a minute.
"""

# ruff: noqa: S606 -- the program is named above

from __future__ import annotations

import os
import signal
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "tests")]

from alone import within  # noqa: E402
from watch_load import Heard, Place, Watch, flood, left_behind, many, namespace  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

SECONDS = float(os.environ.get("SECONDS", "60"))
SPACES = int(os.environ.get("SPACES", "200"))


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)  # noqa: T201 - its report


def heard(what: str, one: Heard) -> None:
    """Say what came of a load."""
    told = [delay for delay in one.delays if delay is not None]
    say(
        f"{what}: {len(told)} of {len(one.delays)} told, after {max(told, default=0):.3f} s at most "
        f"({sum(delay <= 1 for delay in told)} within a second); {one.made:,} made by the load: {one.told:,} told, "
        f"{one.again:,} counted as alike, {one.untold:,} as not told; exit status {one.status}; {cost(one)}"
    )


def cost(one: Heard) -> str:
    """Say what it took: the watch first."""
    return (
        f"{' + '.join(f'{share:.1%}' for share in one.processor)} of a processor, "
        f"{' + '.join(f'{size:.0f}' for size in one.memory)} MB; load average {os.getloadavg()[0]:.1f}"
    )


@contextmanager
def directory() -> Iterator[Path]:
    """A directory for what a watch says."""
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        yield Path(name)


def _flood(kind: str) -> Heard:
    with directory() as cwd:
        return flood(cwd, kind, seconds=SECONDS, arguments=("--netns", "self", "-w", os.devnull))


def floods() -> None:
    """One user floods, in the same network namespace as the others."""
    for kind in ("same", "ports", "forks"):
        heard(f"flood, {kind}", within(SECONDS + 60, _flood, kind))


def containers() -> None:
    """One user floods in a network namespace; of the others seven are in their own, and one in that."""
    for kind in ("same", "ports", "forks"):
        with directory() as cwd, ExitStack() as ending:
            pids = [ending.enter_context(namespace()) for _ in range(8)]
            others = [Place(pid) for pid in pids]
            arguments = ("--netns", "all", "-w", os.devnull)
            heard(
                f"containers, {kind}",
                flood(cwd, kind, seconds=SECONDS, arguments=arguments, where=pids[0], others=others),
            )


def spaces() -> None:
    """Many namespaces: at rest, and under a load."""
    with directory() as cwd:
        calm, busy = many(cwd, SPACES, idle=SECONDS, storm=SECONDS, others=100, rate=20_000)
    say(
        f"{SPACES} namespaces: watched {calm.armed:.2f} s after the start; at rest "
        f"{' + '.join(f'{share:.2%}' for share in calm.processor)} of a processor, "
        f"{' + '.join(f'{size:.0f}' for size in calm.memory)} MB"
    )
    heard("many", busy)


def ends() -> None:
    """However it ends: namespaces, sockets and mounts are those of before."""
    with ExitStack() as ending:
        for _ in range(SPACES):
            ending.enter_context(namespace())
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
            before = left_behind()
            with directory() as cwd:
                watch = Watch(cwd, "--netns", "all", "-w", os.devnull)
                helper = watch.pids()[1]
                began = time.monotonic()
                watch.end(number)
                took = time.monotonic() - began
            while Path(f"/proc/{helper}").exists() and time.monotonic() < began + 10:
                time.sleep(0.01)
            gone = time.monotonic() - began
            say(f"ends: {number.name}: {took:.2f} s, its other process {gone:.2f} s; namespaces, packet sockets and "
                f"mounts {before} before, {left_behind()} after")  # fmt: skip


def alone() -> None:
    """Go on in a PID namespace of our own: the namespaces of other programs are not found there, so not watched."""
    if "ALONE" not in os.environ:
        command = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child", sys.executable, *sys.argv]
        os.execvpe(command[0], command, os.environ | {"ALONE": "1"})


if __name__ == "__main__":
    alone()
    parts = {"flood": floods, "containers": containers, "many": spaces, "ends": ends}
    for part in sys.argv[1:] or parts:
        parts[part]()
