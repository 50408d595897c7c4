"""The captures read by a cluster of processes, some of which are killed: the report of one process, if any is left."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING

import frames
import pytest
from conftest import ROOT, ordinary_user
from segments import refused, self_connect, three_way
from sequences import ALPHABETS
from test_analyze_cli import COMMAND, capture, run
from test_partial import pcap, traffic
from test_remote import bucket, served

from analysis.model import Endpoint
from analysis.parallel import LARGE

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.long  # clusters start slowly

CAPTURES = 300

#: A scheduler and two workers: its address is printed, and the process numbers of the workers and of the scheduler.
CLUSTER = """
import os, sys
from distributed import LocalCluster
if __name__ == "__main__":
    with LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, host="127.0.0.1", dashboard_address=None, silence_logs=50
    ) as cluster:
        workers = [nanny.pid for nanny in cluster.workers.values()]
        print(cluster.scheduler_address, *workers, os.getpid(), flush=True)
        sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def _what_dask_warns_of_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONWARNINGS", raising=False)


@contextmanager
def cluster(**environment: str) -> Iterator[tuple[str, list[int]]]:
    command = [sys.executable, "-c", CLUSTER]
    with subprocess.Popen(
        command, cwd=ROOT, env=os.environ | environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True,
    ) as process:  # fmt: skip
        assert process.stdout
        assert process.stdin
        address, *pids = process.stdout.readline().split()
        yield address, [int(pid) for pid in pids]
        process.stdin.close()
        process.wait(60)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """One of which nothing is killed, for many tests."""
    with cluster(PYTHONWARNINGS="") as (address, _):
        yield address


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Captures, one of them cut and one that is none."""
    made = tmp_path_factory.mktemp("captures")
    whole = capture(refused(), self_connect(), three_way())
    for number in range(CAPTURES):
        data = whole[:-5] if number == 100 else b"no capture" if number == 200 else whole
        (made / f"{number:03}.pcap").write_bytes(data)
    return made


def killing(pid: int, answered: list[int]) -> None:
    """Kill one of a cluster's processes once a few captures are read."""
    while len(answered) < CAPTURES // 3:
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)


def test_over_http_and_a_worker_dies(folder: Path) -> None:
    answered: list[int] = []
    with served(folder, answered=answered) as url, cluster() as (address, workers):
        names = [f"{url}/{number:03}.pcap" for number in range(CAPTURES)]
        killer = threading.Thread(target=killing, args=(workers[0], answered), daemon=True)
        killer.start()
        there = run("--format", "json", "--cluster", address, *names)
        killer.join(10)
        assert not killer.is_alive()
        here = run("--format", "json", "--jobs", "1", *names)
    assert (there.returncode, there.stdout) == (here.returncode, here.stdout)
    assert sorted(there.stderr.splitlines()) == sorted(here.stderr.splitlines())
    assert here.stdout.count('"verdict": "self-connect"') == CAPTURES - 1


def test_the_scheduler_is_lost(folder: Path) -> None:
    """What was read until then is reported, and that there was more."""
    answered: list[int] = []
    names = sorted(folder.iterdir())
    with served(folder, answered=answered) as url, cluster() as (address, pids):
        killer = threading.Thread(target=killing, args=(pids[-1], answered), daemon=True)
        killer.start()
        there = run("--format", "json", "--cluster", address, *[f"{url}/{name.name}" for name in names])
        killer.join(10)
    assert there.returncode == 3
    assert "connection to the cluster was lost" in there.stderr.splitlines()[-1]
    read = [one["name"] for one in json.loads(there.stdout)["captures"]]
    assert 0 < len(read) < CAPTURES - 1
    assert read == [f"{url}/{name.name}" for name in names][: len(read)]


#: Its scheduler is killed just before it is asked for versions.
LOSES = """
import os, signal, sys
from distributed import Client
from analysis.cli import main
asked = Client.get_versions
def lose(self, **how):
    os.kill(int(sys.argv.pop()), signal.SIGKILL)
    return asked(self, **how)
Client.get_versions = lose
sys.exit(main(sys.argv[1:-1]))
"""


def test_the_scheduler_is_lost_at_once(folder: Path) -> None:
    with cluster() as (address, pids):
        command = [sys.executable, "-c", LOSES, "--cluster", address, str(folder / "000.pcap"), str(pids[-1])]
        there = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert there.returncode == 3
    assert "connection to the cluster was lost" in there.stderr
    assert "versions" not in there.stderr


def test_from_a_bucket(folder: Path, tmp_path: Path) -> None:
    for number in (*range(90, 110), 200):  # the cut one is among them, and the one that is none
        (tmp_path / f"{number:03}.pcap").hardlink_to(folder / f"{number:03}.pcap")
    with bucket(tmp_path) as (url, environment), cluster(**environment) as (address, _):
        there = run("--cluster", address, url, env=os.environ | environment)
        here = run("--jobs", "1", url, env=os.environ | environment)
    assert (there.returncode, there.stdout) == (here.returncode, here.stdout)


def test_local_is_processes_of_this_machine(folder: Path) -> None:
    names = [folder / f"{number:03}.pcap" for number in range(98, 103)]
    there, here = run("--cluster", "local", *names), run("--jobs", "1", *names)
    assert (there.returncode, there.stdout, there.stderr) == (here.returncode, here.stdout, here.stderr)
    assert there.returncode == 4


#: Start a command; as another user try every TCP port on which it listens, and print those that answer.
OTHER = """
import encodings.idna, os, socket, subprocess, sys
command = subprocess.Popen(sys.argv[2:], stdout=subprocess.DEVNULL)
os.setgroups([])
os.setgid(int(sys.argv[1]))
os.setuid(int(sys.argv[1]))
known = set()
while command.poll() is None:
    with open("/proc/net/tcp") as four, open("/proc/net/tcp6") as six:
        rows = [line.split() for line in (*four, *six)]
    for port in {int(row[1].rpartition(":")[2], 16) for row in rows if row[3] == "0A"} - known:
        known.add(port)
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            continue
        print(port)
sys.exit(command.returncode)
"""


@pytest.mark.usefixtures("need_root")
def test_local_answers_nobody(folder: Path) -> None:
    ours = [sys.executable, "-c", OTHER, str(ordinary_user().pw_uid), *COMMAND, "--cluster", "local"]
    alone = ["unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$@"', "sh", *ours, *sorted(folder.iterdir())]
    ended = subprocess.run(alone, cwd=ROOT, check=False, stdout=subprocess.PIPE, text=True, timeout=60)
    assert (ended.returncode, ended.stdout) == (3, "")


@pytest.mark.parametrize("table", [(), ("--table", "16")], ids=["in parts", "in one go"])
def test_a_rotated_set_is_put_together(tmp_path: Path, address: str, table: tuple[str, ...]) -> None:
    """Openings lie in two files; one is none, one cut, one missing. A small table is seen, and all read anew."""
    head, *records = apart(capture(*([three_way(), self_connect(), refused()] * 30)))
    names = []
    for number in range(11):
        names.append(tmp_path / f"{number:03}.pcap")
        piece = head + b"".join(records[number * 20 : number * 20 + 20])
        names[-1].write_bytes(b"no capture" if number == 4 else piece[:-5] if number == 7 else piece)
    names.insert(6, tmp_path / "missing.pcap")
    there = run("--format", "json", "--rotated", "--cluster", address, *table, *names)
    here = run("--format", "json", "--rotated", "--jobs", "1", *table, *names)
    assert (there.returncode, there.stdout) == (here.returncode, here.stdout)
    assert sorted(there.stderr.splitlines()) == sorted(here.stderr.splitlines())
    assert there.returncode == 3


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A capture that is large enough to be cut, and whose end is cut off."""
    records = traffic(random.Random(2), 400, [one for one in ALPHABETS if one.name in ("self", "pair")])
    filler = frames.ipv4(bytes(4), bytes(4), bytes(20_000), frames.UDP)
    made = tmp_path_factory.mktemp("large") / "large.pcap"
    made.write_bytes(pcap([one for record in records for one in (record, (record[0], filler))])[:-1000])
    assert made.stat().st_size > LARGE
    return made


@pytest.mark.parametrize(
    "how",
    [("ranges", "json"), ("ranges", "table"), ("none", "json"), ("path", "json"), ("bucket", "json")],
    ids=" ".join,
)
def test_a_large_capture_is_read_in_ranges(large: Path, address: str, how: tuple[str, str]) -> None:
    """From a server, a store or a path; a server that knows no ranges is asked for all of it, by one worker."""
    where, form = how
    answered: list[int] = []
    environment: dict[str, str] = {}
    with ExitStack() as stack:
        if where == "bucket":
            url, environment = stack.enter_context(bucket(large.parent))
            name = f"{url}{large.name}"
            address, _ = stack.enter_context(cluster(**environment))
        elif where == "path":
            name = str(large)
        else:
            url = stack.enter_context(served(large.parent, answered=answered, ranges=where == "ranges"))
            name = f"{url.replace('//', '//user:secret@')}/{large.name}"
        there = run("--format", form, "--cluster", address, name, env=os.environ | environment)
        asked_for = len(answered)
        here = run("--format", form, "--jobs", "1", name, env=os.environ | environment)
    assert (there.returncode, there.stdout, there.stderr) == (here.returncode, here.stdout, here.stderr)
    assert there.returncode == 4
    assert "secret" not in there.stdout + there.stderr
    assert "cut short" in there.stdout + there.stderr
    # Two places in the middle: where to cut, and where the second range begins.
    assert where != "ranges" or len({at for at in answered[:asked_for] if at > LARGE}) == 2, answered
    assert where != "none" or not any(answered)


def test_a_set_from_a_server_is_read_in_groups(tmp_path: Path, address: str) -> None:
    """Of URLs no sizes are known: each group has about as many files. No text names the password."""
    head, *records = apart(capture(*([three_way(), self_connect(), refused()] * 30)))
    for number in range(11):
        (tmp_path / f"{number:03}.pcap").write_bytes(head + b"".join(records[number * 20 : number * 20 + 20]))
    with served(tmp_path) as url:
        names = [f"{url.replace('//', '//user:secret@')}/{number:03}.pcap" for number in range(12)]
        there = run("--format", "json", "--rotated", "--cluster", address, *names)
        here = run("--format", "json", "--rotated", "--jobs", "1", *names)
    assert (there.returncode, there.stdout, there.stderr) == (here.returncode, here.stdout, here.stderr)
    assert there.returncode == 3
    assert "secret" not in there.stdout + there.stderr


def test_a_pipe_in_a_set_is_read_once(tmp_path: Path, address: str) -> None:
    """With more conversations than the table holds no part is sure, and a file would be read again."""
    ends = [Endpoint.parse("127.0.0.1", port) for port in range(40000, 40090)]
    head, *records = apart(capture(*[self_connect(end) for end in ends]))
    third = len(records) // 3
    names = [tmp_path / f"{number}.pcap" for number in range(3)]
    names[0].write_bytes(head + b"".join(records[:third]))
    os.mkfifo(names[1])
    names[2].write_bytes(head + b"".join(records[2 * third :]))
    middle = head + b"".join(records[third : 2 * third])
    said = []
    for how in (("--cluster", address), ("--jobs", "1")):
        writer = threading.Thread(target=names[1].write_bytes, args=(middle,), daemon=True)
        writer.start()
        there = run("--format", "json", "--table", "16", "--rotated", *how, *names)
        writer.join(10)
        said.append((there.returncode, there.stdout, there.stderr))
    assert said[0] == said[1]
    assert json.loads(said[0][1])["captures"][0]["verdicts"]["self-connect"] == len(ends)


def apart(octets: bytes) -> list[bytes]:
    """The header of a pcap file and each of its records."""
    pieces, place = [octets[:24]], 24
    while place < len(octets):
        end = place + 16 + int.from_bytes(octets[place + 8 : place + 12], "little")
        pieces.append(octets[place:end])
        place = end
    return pieces


def test_what_is_no_cluster(folder: Path) -> None:
    ended = run("--cluster", "tcp://127.0.0.1:1", folder / "000.pcap", timeout=100)
    assert ended.returncode == 3
    assert "no cluster answers at tcp://127.0.0.1:1" in ended.stderr.splitlines()[-1]
    assert run("--cluster", "local", "-").returncode == 2
