"""One user floods a watch, and every self-connect of the others is told all the same, with whose it is.

For seconds, where bench/watching.py has a minute; times are figures there, and no test here asks for one.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import socket
import struct
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from alone import within
from test_watch import Watching, connected_to_itself
from test_watch_namespaces import client, until
from test_watch_namespaces import watching as watching_all
from watch_load import FLOODER, ONE, VICTIM, Client, Heard, Place, flood, left_behind, many, namespace

from analysis.model import Endpoint
from capture.kernel import sockets
from capture.kernel.namespaces import Namespace
from capture.kernel.socket_owner import SocketOwner
from capture.run.watch_counts import LOST, Again, Alike, Untold

pytestmark = [pytest.mark.live, pytest.mark.root, pytest.mark.usefixtures("need_root", "need_private_namespace")]

SECONDS, NOWHERE = 3.0, ("-w", os.devnull)


def one_namespace(cwd: Path, kind: str) -> Heard:
    return flood(cwd, kind, seconds=SECONDS, arguments=("--netns", "self", *NOWHERE))


@pytest.mark.parametrize("kind", ["same", "ports", "forks"])
def test_the_others_are_told_and_all_is_counted(kind: str, tmp_path: Path) -> None:
    heard = within(90, one_namespace, tmp_path, kind)
    assert None not in heard.delays, heard
    assert heard.told + heard.again + heard.untold == heard.made, heard
    assert heard.status == (4 if heard.untold else 0)
    assert ("only counted" in heard.said) == bool(heard.untold)
    if kind == "same":
        assert heard.again > heard.made / 2


def test_a_container_that_floods_drowns_no_other(tmp_path: Path) -> None:
    with ExitStack() as ending:
        pids = [ending.enter_context(namespace()) for _ in range(3)]
        others = [Place(pid) for pid in pids]
        heard = flood(
            tmp_path, "ports", seconds=SECONDS, arguments=("--netns", "all", *NOWHERE), where=pids[0], others=others
        )
    assert None not in heard.delays, heard
    assert heard.told + heard.again + heard.untold >= heard.made  # the host has other tests


def test_many_namespaces(tmp_path: Path) -> None:
    before = left_behind()
    calm, heard = many(tmp_path, 20, idle=0.5, storm=3, others=10, rate=2000)
    assert None not in heard.delays, heard
    assert calm.memory[0] < 150
    assert left_behind()[1:] == before[1:]


def to_itself(port: int) -> None:
    with socket.socket() as me:
        me.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        me.bind(("127.0.0.1", port))
        me.connect(("127.0.0.1", port))


def watch_the_same(cwd: Path) -> None:
    watching = Watching(cwd, *NOWHERE)
    for count in (1, 5):
        for _ in range(count):
            to_itself(40000)
        watching.until(1)
    with connected_to_itself(40000):
        watching.until(2)  # the same port, and another process
    until(lambda: watching.counted("again") == 5)
    to_itself(40000)
    assert watching.end() == 0
    first, second = (told.line for told in watching.told if told.line["type"] == "opening")
    again = [told.line for told in watching.told if told.line["type"] == "again"]
    assert first["source"] == second["source"] == again[0]["source"]
    assert sum(line["count"] for line in again) == again[-1]["total"] == 6
    for line in again:
        assert line["pid"] == first["kernel"]["sockets"][0]["pid"] == os.getpid()
        assert (line["user"], line["namespace"]) == (first["kernel"]["sockets"][0]["user"], first["live"]["namespace"])


def test_the_same_again_is_told_once_and_counted(tmp_path: Path) -> None:
    within(60, watch_the_same, tmp_path)


def watch_what_is_lost(cwd: Path) -> None:
    watching = Watching(cwd, *NOWHERE)
    to_itself(40000)
    watching.until(1)
    watching.process.send_signal(signal.SIGSTOP)
    for _ in range(20_000):  # more than a ring holds
        to_itself(40000)
    watching.process.send_signal(signal.SIGCONT)
    until(lambda: watching.counted("untold"))
    assert watching.end() == 4
    assert "of these the kernel had no room for the packet" in " ".join(watching.said.split())
    lost = [told.line for told in watching.told if told.line.get("reason") == LOST]
    assert sum(line["count"] for line in lost) > 0
    assert sum(watching.counted(kind) for kind in ("opening", "again", "untold")) == 20_001


def test_what_the_kernel_loses_is_counted_and_said(tmp_path: Path) -> None:
    within(60, watch_what_is_lost, tmp_path)


def test_one_in_a_container_that_ends_at_once_is_told(tmp_path: Path) -> None:
    with watching_all(tmp_path, *NOWHERE) as watch, client(41010) as one:
        until(lambda: str(one.pid) in watch.said)
        one.go()
        one.process.kill()
        [line] = until(lambda: watch.of(one.pid))
        assert line["live"]["inode"] in (one.inode, None)
        until(lambda: re.search(rf"Gone: the network namespace \S+ \({one.pid}\)", watch.said))
        assert watch.end() == 0


def test_one_whose_first_process_ends_stays_watched(tmp_path: Path) -> None:
    with client(41012) as first, watching_all(tmp_path, *NOWHERE) as watch:
        second = Client(ONE, VICTIM, 41014, pid=first.pid)
        assert int(second.said()) == first.inode
        first.process.kill()
        first.process.wait()
        time.sleep(1.5)  # until it would have been let go
        second.go()
        [line] = until(lambda: watch.of(second.pid))
        second.end()
        assert line["live"]["inode"] == first.inode
        assert line["live"]["attempts"] == 3


def test_whose_a_process_is_does_not_depend_on_what_it_allows() -> None:
    """The directory of a process that is not dumpable is root's."""
    child = os.fork()
    if not child:
        os.setuid(FLOODER)
        ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)  # PR_SET_DUMPABLE
        time.sleep(30)
        os._exit(0)
    try:
        until(lambda: f"\t{FLOODER}\t" in Path(f"/proc/{child}/status").read_text())
        until(lambda: Path(f"/proc/{child}/mem").stat().st_uid == 0)
        found = sockets.process(child)
        assert found
        assert found.user == str(FLOODER)
    finally:
        os.kill(child, 9)
        os.waitpid(child, 0)


def test_those_of_whom_nothing_is_known_are_not_alike() -> None:
    end = Endpoint.parse("127.0.0.1", 40000)
    again = Again()
    for user, pid, known in ((None, None, False), ("a", None, True), (None, 7, True)):
        alike = Alike(1, end, user, pid)
        again.remember(alike, SocketOwner(0, end), Namespace(1), 0)
        assert again.is_known(alike, 1, 0) is known
    assert again.total == 2
    assert again.forget(Alike(1, end, "a", None)) == 1
    assert list(again.words(1e9)) == []  # what is not told itself is not told again
    again.told(Alike(1, end, None, 7), SocketOwner(0, end))
    assert [fields["count"] for fields, _ in again.words(1e9)] == [1]


def test_owners_without_end_are_counted_together() -> None:
    untold = Untold()
    for number in range(1000):
        untold.add(1, f"user {number}", "host")
    words = untold.words()
    assert words
    lines, sentence = words
    assert len(lines) < 60
    assert sum(int(str(line["count"])) for line in lines) == untold.total == 1000
    assert "1,000 so far" in sentence
    assert untold.words() is None
