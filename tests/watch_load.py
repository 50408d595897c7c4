"""A load for a watch: a user who connects to themselves a thousand times a second, and others who do it once.

tests/test_watch_flood.py has it for seconds, bench/watching.py for a minute.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ROOT = Path(__file__).resolve().parent.parent
#: Users of nobody: who floods, and whose self-connects must not be drowned.
FLOODER, VICTIM = 60_001, 60_002

#: As a user, so many self-connects a second for so many seconds: always the same, on another port each, or each from a
#: process of its own. Says when it is ready, begins at a line, and says how many there were.
FLOOD = """
import os, socket, sys, time
kind, uid, rate, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), float(sys.argv[4])
os.setgroups([]), os.setgid(uid), os.setuid(uid)
print("ready", flush=True)
sys.stdin.readline()
def once(port):
    with socket.socket() as one:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\\1\\0\\0\\0\\0\\0\\0\\0")
        one.bind(("127.0.0.1", port))
        one.connect(("127.0.0.1", port))
done, began = 0, time.monotonic()
while (now := time.monotonic()) < began + seconds:
    if done >= (now - began) * rate:
        time.sleep(0.0005)
        continue
    port = 20000 + (done % 10000 if kind == "ports" else 0)
    if kind == "forks":
        if not (child := os.fork()):
            once(20000 + done % 10000)
            os._exit(0)
        os.waitpid(child, 0)
    else:
        once(port)
    done += 1
print(done, flush=True)
"""

#: As a user, at a line: three refused attempts, then connected to itself until its input ends. Says when it was (a line
#: before says that it is ready).
ONE = """
import os, socket, sys, time
uid, port = int(sys.argv[1]), int(sys.argv[2])
if uid:
    os.setgroups([]), os.setgid(uid), os.setuid(uid)
print(os.stat("/proc/self/ns/net").st_ino, flush=True)
sys.stdin.readline()
for _ in range(3):
    with socket.socket() as one:
        one.connect_ex(("127.0.0.1", port))
with socket.socket() as one:
    one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\\1\\0\\0\\0\\0\\0\\0\\0")
    one.bind(("127.0.0.1", port))
    moment = time.time()
    one.connect(("127.0.0.1", port))
    print(moment, flush=True)
    sys.stdin.readline()
"""

#: Refused attempts, so many a second for so many seconds. Says how many there were.
REFUSED = """
import socket, sys, time
rate, seconds = float(sys.argv[1]), float(sys.argv[2])
done, began = 0, time.monotonic()
while (now := time.monotonic()) < began + seconds:
    if done >= (now - began) * rate:
        time.sleep(0.001)
        continue
    for _ in range(20):
        with socket.socket() as one:
            one.connect_ex(("127.0.0.1", 7))
    done += 20
print(done, flush=True)
"""


@contextmanager
def namespace() -> Iterator[int]:
    """A network namespace with its loopback up, kept by a process; its PID."""
    script = "import os, sys; os.system('ip link set lo up'); print('up', flush=True); sys.stdin.read()"
    with subprocess.Popen(
        ["unshare", "--net", sys.executable, "-IS", "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout
        assert process.stdin
        assert process.stdout.readline() == b"up\n"
        yield process.pid
        process.stdin.close()


class Client:
    """One of the programs above in the namespace of process *pid* (None: in ours), ready to begin."""

    def __init__(self, program: str, *arguments: object, pid: int | None = None) -> None:
        enter = ["nsenter", "--net", "-t", str(pid), "--"] if pid else []
        command = [*enter, "nice", "-n", "5", sys.executable, "-IS", "-c", program, *map(str, arguments)]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.pid = self.process.pid

    def said(self) -> str:
        """Its next line."""
        assert self.process.stdout
        return self.process.stdout.readline().strip()

    def go(self) -> None:
        """Have it begin."""
        assert self.process.stdin
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self) -> None:
        """Have it end."""
        with self.process:  # closes its input
            self.process.kill()


class Told(NamedTuple):
    """A line of JSON, and when it came."""

    when: float
    line: dict[str, Any]


class Watch:
    """selfconn-capture --watch in *cwd*, from the moment when it watches all that there is; and what it takes."""

    def __init__(self, cwd: Path, *arguments: str) -> None:
        self.told: list[Told] = []
        self._err = (cwd / "err").open("w")
        began = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "capture.cli", "--watch", *arguments],
            cwd=cwd, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=self._err, text=True,
        )  # fmt: skip
        while "not watched" not in self.said.lower():  # the last words before it begins
            assert self.process.poll() is None, self.said
            assert time.monotonic() < began + 60, self.said
            time.sleep(0.01)
        self.armed = time.monotonic() - began
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout
        for line in self.process.stdout:
            self.told.append(Told(time.time(), json.loads(line)))

    @property
    def said(self) -> str:
        """What it has said on standard error so far."""
        return Path(self._err.name).read_text()

    def pids(self) -> list[int]:
        """The process and those that it has started."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [self.process.pid, *map(int, children)]

    def processor(self) -> list[float]:
        """Seconds of a processor that each of them has taken so far."""
        tick = os.sysconf("SC_CLK_TCK")
        stats = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in self.pids()]
        return [(int(words[11]) + int(words[12])) / tick for words in stats]

    def memory(self) -> list[float]:
        """MB of memory that each of them has taken at most."""
        texts = [Path(f"/proc/{pid}/status").read_text() for pid in self.pids()]
        return [int(text.partition("VmHWM:")[2].split()[0]) / 1024 for text in texts]

    def kill(self) -> None:
        """End it, whatever it does."""
        if self.process.poll() is None:
            self.end(signal.SIGKILL)

    def end(self, number: int = signal.SIGTERM) -> int:
        """End it; its exit status."""
        self.process.send_signal(number)
        status = self.process.wait(30)
        self._reader.join(30)
        self._err.close()
        self.process.stdout.close()  # type: ignore[union-attr]
        return status


class Heard(NamedTuple):
    """What came of a load: how long after each self-connect of the others it was told rightly, None where it was not.

    Of all that the flood ``made``: how many were ``told``, ``again`` and ``untold``. ``processor`` is a share of one,
    ``memory`` in MB, of the watch and the process that opens rings for it.
    """

    delays: list[float | None]
    made: int
    told: int
    again: int
    untold: int
    status: int
    processor: list[float]
    memory: list[float]
    said: str


class Place(NamedTuple):
    """Where a client is: in the namespace of this process (None: in ours), as this user."""

    pid: int | None = None
    uid: int = VICTIM


def clients(ending: ExitStack, places: Sequence[Place], number: int) -> list[tuple[Client, int]]:
    """Clients that are ready to connect to themselves, on a port each, and the numbers of their namespaces."""
    made = []
    for each in range(number):
        place = places[each % len(places)]
        one = Client(ONE, place.uid, 40_000 + 2 * each, pid=place.pid)
        ending.callback(one.end)
        made.append(one)
    return [(one, int(one.said())) for one in made]


def flood(
    cwd: Path,
    kind: str,
    *,
    seconds: float,
    rate: float = 1000,
    arguments: Sequence[str] = ("--netns", "self"),
    where: int | None = None,
    others: Sequence[Place] = (Place(),) * 8,
) -> Heard:
    """Flood a watch in the namespace of process *where*, while *others* connect to themselves."""
    with ExitStack() as ending:
        victims = clients(ending, others, len(others))
        flooder = Client(FLOOD, kind, FLOODER, rate, seconds, pid=where)
        ending.callback(flooder.end)
        assert flooder.said() == "ready"
        watch = Watch(cwd, *arguments)
        ending.callback(watch.kill)
        before, began = watch.processor(), time.monotonic()
        flooder.go()
        moments = one_by_one([one for one, _ in victims], seconds)
        made = int(flooder.said())
        took = time.monotonic() - began
        processor = [(after - then) / took for after, then in zip(watch.processor(), before, strict=True)]
        memory = watch.memory()
        time.sleep(5)  # the last that wait are given up
        status = watch.end()
    pids = {one.pid for one, _ in victims}
    mine = [each.line for each in watch.told if owner(each.line).get("pid") not in pids]
    counts = [sum(line.get("count", 1) for line in mine if line["type"] == kind) for kind in KINDS]
    delays = delayed(watch, victims, moments, [place.uid for place in others])
    return Heard(delays, made, *counts, status, processor, memory, watch.said)


KINDS = ("opening", "again", "untold")


def one_by_one(some: Sequence[Client], seconds: float) -> list[float]:
    """Have them connect to themselves, spread over so many seconds; when each did."""
    moments = []
    for one in some:
        time.sleep(seconds / (len(some) + 1))
        one.go()
        moments.append(float(one.said()))
    return moments


def delayed(
    watch: Watch, some: Sequence[tuple[Client, int]], moments: Sequence[float], users: Sequence[int]
) -> list[float | None]:
    """How long after its moment each was told, with its process, user and namespace; None where it was not."""
    delays: list[float | None] = []
    for (one, inode), moment, uid in zip(some, moments, users, strict=True):
        right = [
            each.when - moment
            for each in watch.told
            if each.line["type"] == "opening"
            and (owner(each.line)["pid"], owner(each.line)["uid"], each.line["live"]["inode"]) == (one.pid, uid, inode)
            and owner(each.line)["process"].startswith("python")
        ]
        delays.append(right[0] if right else None)
    return delays


def owner(line: dict[str, Any]) -> dict[str, Any]:
    """Whose socket a line is of."""
    sockets = line.get("kernel", {}).get("sockets", [])
    return dict(sockets[0]) if sockets else line


class Calm(NamedTuple):
    """A watch of many namespaces: seconds until it was there; its share of a processor, and MB of memory, as above."""

    armed: float
    processor: list[float]
    memory: list[float]


def many(cwd: Path, namespaces: int, *, idle: float, storm: float, others: int, rate: float) -> tuple[Calm, Heard]:
    """Watch so many namespaces: for *idle* seconds nothing happens; for *storm* seconds *others* connect to themselves.

    Those are in random ones of them, while refused attempts are made in others, *rate* a second all together.
    """
    with ExitStack() as ending:
        pids = [ending.enter_context(namespace()) for _ in range(namespaces)]
        chance = random.Random(namespaces)
        places = [Place(pid, 0) for pid in chance.choices(pids, k=others)]
        watch = Watch(cwd, "--netns", "all", "-w", os.devnull)
        ending.callback(watch.kill)
        before = watch.processor()
        time.sleep(idle)
        processor = [(after - then) / idle for after, then in zip(watch.processor(), before, strict=True)]
        calm = Calm(watch.armed, processor, watch.memory())
        some = clients(ending, places, others)
        load = [Client(REFUSED, rate / 2, storm, pid=pid) for pid in chance.sample(pids, 2)]
        for one in load:
            ending.callback(one.end)
        before, began = watch.processor(), time.monotonic()
        moments = one_by_one([one for one, _ in some], storm)
        made = sum(int(one.said()) for one in load)
        took = time.monotonic() - began
        processor = [(after - then) / took for after, then in zip(watch.processor(), before, strict=True)]
        memory = watch.memory()
        time.sleep(1)
        status = watch.end()
    delays = delayed(watch, some, moments, [0] * others)
    counts = [sum(each.line.get("count", 1) for each in watch.told if each.line["type"] == kind) for kind in KINDS]
    return calm, Heard(delays, made, *counts, status, processor, memory, watch.said)


def left_behind() -> tuple[int, int, int]:
    """How many network namespaces there are, packet sockets in ours, and mounts."""
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                found.add((entry / "ns/net").readlink())
    mounts = Path("/proc/self/mountinfo").read_text().count("\n")
    return len(found), Path("/proc/net/packet").read_text().count("\n"), mounts
