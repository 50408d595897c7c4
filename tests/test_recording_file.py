"""Where a recording may be written and where not, and what is left of it when writing ends early."""

from __future__ import annotations

import os
import pty
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from alone import alone
from conftest import ROOT
from frames import ethernet, ipv4, tcp
from test_pcapng_writer import blocks
from test_recorder import refused

from analysis.errors import CannotCapture, Incomplete
from analysis.formats import pcapng
from capture.packets.recorder import PAGE, Recorder
from capture.run.output import Sink

PORT = 50001
FRAME = ethernet(ipv4(b"\xc0\0\2\1", b"\xc0\0\2\1", tcp(7, 7, 2, 7)))
HEAD = pcapng.section() + pcapng.interface(1, 2048)
VICTIM = "do not touch"


def page() -> bytes:
    """A page of whole blocks."""
    packets = pcapng.packet(0, FRAME, len(FRAME)) * 40
    return packets + pcapng.filler(PAGE - len(packets))


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    path = tmp_path / "elsewhere" / "victim"
    path.parent.mkdir()
    path.write_text(VICTIM)
    return path


def written(path: str) -> None:
    sink = Sink(path)
    sink.write(HEAD)
    sink.close()


# -- what may be written --------------------------------------------------------------------------------------------


def test_a_new_file_is_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "new.pcapng"
    written(str(path))
    assert path.read_bytes() == HEAD
    assert path.stat().st_mode & 0o077 == 0


def test_the_default_name_is_new_every_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("capture.run.output.time.gmtime", lambda: time.struct_time((2026, 11, 22, 13, 5, 7, 6, 326, 0)))
    names = []
    for _ in range(3):
        sink = Sink()
        names.append(sink.name)
        sink.close()
    assert names == [f"selfconn-20261122T130507Z{more}.pcapng" for more in ("", "-2", "-3")]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


def test_ones_own_file_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "own.pcapng"
    path.write_bytes(b"x" * 100_000)
    written(str(path))
    assert path.read_bytes() == HEAD


def test_relative_paths_and_dots_and_ones_own_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "link").symlink_to("a/./b")
    (tmp_path / "absolute").symlink_to(tmp_path / "link")
    for place, path in enumerate(("1", "./2", "a//3", "a/b/../4", "link/5", "absolute/../6", f"{tmp_path}/link/7")):
        written(path)
        assert Path(path).read_bytes() == HEAD, place
    assert {path.name for path in (tmp_path / "a").iterdir()} == {"b", "3", "4", "6"}
    assert {path.name for path in (tmp_path / "a" / "b").iterdir()} == {"5", "7"}


def test_no_file_at_all() -> None:
    written("/dev/null")


def test_standard_output(tmp_path: Path) -> None:
    program = (
        "from capture.run.output import Sink; s = Sink('-'); s.write(b'1' * 5000); s.write(b'2' * 5000); s.close()"
    )
    answer = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, check=True, timeout=30)
    assert answer.stdout == b"1" * 5000 + b"2" * 5000
    behind = tmp_path / "behind"
    behind.write_bytes(b"0")
    with behind.open("ab") as file:
        subprocess.run([sys.executable, "-c", program], cwd=ROOT, stdout=file, check=True, timeout=30)
    assert behind.read_bytes() == b"0" + b"1" * 5000 + b"2" * 5000


def test_a_slow_reader_that_does_not_block_gets_everything() -> None:
    reader, writer = os.pipe2(os.O_NONBLOCK)
    program = "from capture.run.output import Sink; s = Sink('-'); s.write(bytes(1_000_000))"
    with subprocess.Popen([sys.executable, "-c", program], cwd=ROOT, stdout=writer) as process:
        os.close(writer)
        octets = 0
        while select.select([reader], [], [], 30)[0] and (piece := os.read(reader, 1 << 14)):
            octets += len(piece)
    os.close(reader)
    assert (octets, process.returncode) == (1_000_000, 0)


# -- what may not ---------------------------------------------------------------------------------------------------


def test_not_a_link_at_the_end(tmp_path: Path, victim: Path) -> None:
    link = tmp_path / "link.pcapng"
    link.symlink_to(victim)
    with pytest.raises(CannotCapture, match="symbolic link"):
        Sink(str(link))
    assert victim.read_text() == VICTIM


def test_not_a_link_to_nowhere(tmp_path: Path) -> None:
    link = tmp_path / "link.pcapng"
    link.symlink_to(tmp_path / "made")
    with pytest.raises(CannotCapture, match="symbolic link"):
        Sink(str(link))
    assert not (tmp_path / "made").exists()


def test_not_a_file_with_another_name(tmp_path: Path, victim: Path) -> None:
    (tmp_path / "hard.pcapng").hardlink_to(victim)
    with pytest.raises(CannotCapture, match="or a regular file of yours"):
        Sink(str(tmp_path / "hard.pcapng"))
    assert victim.read_text() == VICTIM


@pytest.mark.parametrize("listening", [False, True])
def test_not_a_fifo(tmp_path: Path, *, listening: bool) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK) if listening else None
    with pytest.raises(CannotCapture, match=r"FIFO|or a regular file"):
        Sink(str(path))
    if reader is not None:
        os.close(reader)


def test_not_a_directory_or_a_file_as_one(tmp_path: Path, victim: Path) -> None:
    for path in (tmp_path, f"{tmp_path}/", f"{tmp_path}/..", f"{victim}/x", "", "."):
        with pytest.raises(CannotCapture):
            Sink(str(path) if path else "")


def test_not_where_there_is_no_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CannotCapture, match="No such file or directory"):
        Sink(str(tmp_path / "gone" / "x.pcapng"))
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    (tmp_path / "here").rmdir()
    with pytest.raises(CannotCapture, match="No such file or directory"):
        Sink()


def test_not_round_in_circles(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    with pytest.raises(CannotCapture):
        Sink(str(tmp_path / "a" / "x.pcapng"))


@pytest.mark.usefixtures("need_root")
def test_not_somebody_elses_file(tmp_path: Path) -> None:
    path = tmp_path / "theirs.pcapng"
    path.write_text(VICTIM)
    os.chown(path, 12345, 12345)
    with pytest.raises(CannotCapture, match="or a regular file of yours"):
        Sink(str(path))
    assert path.read_text() == VICTIM


@pytest.mark.usefixtures("need_root")
def test_not_along_somebody_elses_link(tmp_path: Path, victim: Path) -> None:
    link = tmp_path / "swapped"
    link.symlink_to(victim.parent)
    os.chown(link, 12345, 12345, follow_symlinks=False)
    for name in ("victim", "new"):
        with pytest.raises(CannotCapture, match="another user"):
            Sink(str(link / name))
    assert victim.read_text() == VICTIM
    assert [path.name for path in victim.parent.iterdir()] == ["victim"]


@pytest.mark.usefixtures("need_ordinary_user")
def test_not_where_one_may_not_write(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(CannotCapture, match="Permission denied"):
        Sink(str(tmp_path / "x.pcapng"))
    tmp_path.chmod(0o700)


def test_not_on_a_terminal() -> None:
    ours, theirs = pty.openpty()
    program = "from capture.run.output import Sink; Sink('-')"
    answer = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        stdout=theirs,
        stderr=subprocess.PIPE,
        text=True,
        timeout=30,
        check=False,
    )
    os.close(theirs)
    os.close(ours)
    assert "a capture is not text" in answer.stderr


def test_not_where_standard_output_is_closed() -> None:
    program = "import os; from capture.run.output import Sink; os.close(1); Sink('-')"
    answer = subprocess.run([sys.executable, "-c", program], cwd=ROOT, stderr=subprocess.PIPE, timeout=30, check=False)
    assert b"CannotCapture: cannot write '-': Bad file descriptor" in answer.stderr


def test_a_name_is_not_shown_raw() -> None:
    with pytest.raises(CannotCapture) as caught:
        Sink("/nowhere\x1b[2J\u202e/x")
    assert str(caught.value).isprintable()


# -- the end comes early --------------------------------------------------------------------------------------------


def test_a_full_disk_leaves_whole_blocks(tmp_path: Path) -> None:
    path = tmp_path / "full.pcapng"
    sink = Sink(str(path))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10 * PAGE + 1000, limits[1]))  # in the middle of a page
    try:
        with pytest.raises(Incomplete, match=f"File too large; the first {10 * PAGE} octets are written"):
            sink.write(page() * 20)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    sink.close()
    assert path.read_bytes() == page() * 10


@pytest.mark.usefixtures("need_root")
def test_a_full_small_disk(tmp_path: Path) -> None:
    program = (
        "import sys; from capture.run.output import Sink; from test_recording_file import *\n"
        "sink = Sink(sys.argv[1])\n"
        "try:\n    sink.write(page() * 20)\n"
        "except Incomplete as error:\n    print(error, end='')\n"
        "print(Path(sys.argv[1]).read_bytes() == page() * 16)"
    )
    script = f'mount -t tmpfs -o size=64k none {tmp_path} && exec "$0" -c "$1" {tmp_path}/x.pcapng'
    answer = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, sys.executable, program],
        env=os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests"), *sys.path))},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    expected = f"'{tmp_path}/x.pcapng': No space left on device; the first 65536 octets are writtenTrue\n"
    assert (answer.stdout, answer.stderr) == (expected, "")


@pytest.mark.parametrize(("target", "reason"), [("closed", "Broken pipe"), ("/dev/full", "No space left on device")])
def test_standard_output_that_takes_no_more(target: str, reason: str) -> None:
    if target == "closed":
        reader, writer = os.pipe()
        os.close(reader)
    else:
        writer = os.open(target, os.O_WRONLY)
    program = "from capture.run.output import Sink; Sink('-').write(b'x')"
    answer = subprocess.run(
        [sys.executable, "-c", program],
        cwd=ROOT,
        stdout=writer,
        stderr=subprocess.PIPE,
        text=True,
        timeout=30,
        check=False,
    )
    os.close(writer)
    assert f"Incomplete: standard output: {reason}; the first 0 octets are written" in answer.stderr


def test_a_file_that_vanishes_is_told(tmp_path: Path) -> None:
    path = tmp_path / "x.pcapng"
    sink = Sink(str(path))
    sink.write(HEAD)
    path.unlink()
    with pytest.raises(Incomplete, match="was removed"):
        sink.write(page())
    sink.close()


@pytest.mark.live
@pytest.mark.usefixtures("need_private_namespace")
def test_killed_at_any_moment_the_file_is_whole(tmp_path: Path, need_capinfos: str) -> None:
    """Ten recorders at full speed, each killed after another amount of data."""

    def run() -> None:
        for round_ in range(10):
            path = tmp_path / f"{round_}.pcapng"
            path.touch()
            ready, go = os.pipe()
            recording = os.fork()
            if recording == 0:
                with Recorder("lo", PORT) as recorder:
                    sink = Sink(str(path))
                    os.write(go, b".")
                    while True:
                        sink.write(recorder.poll())
                        select.select(recorder.filenos(), [], [], 0.05)
            os.read(ready, 1)
            while path.stat().st_size < 30_000 * round_ + 1:
                refused(10)
            os.kill(recording, signal.SIGKILL)
            os.waitpid(recording, 0)

    alone(run)
    for path in tmp_path.iterdir():
        assert len(blocks(path.read_bytes())) >= 2
        subprocess.run([need_capinfos, path], stdout=subprocess.DEVNULL, timeout=60, check=True)


@pytest.mark.live
@pytest.mark.usefixtures("need_private_namespace")
def test_what_was_seen_is_in_the_file_soon(tmp_path: Path) -> None:
    """Without an end: a packet is in the file after a few looks at the rings."""
    path = tmp_path / "x.pcapng"

    def run() -> int:
        with Recorder("lo", PORT) as recorder, socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
            sink = Sink(str(path))
            sender.bind(("lo", 0))
            sender.send(FRAME)
            looks = 0
            while FRAME not in path.read_bytes():
                select.select(recorder.filenos(), [], [], 0.05)
                sink.write(recorder.poll())
                looks += 1
            sink.close()
            return looks

    assert alone(run) <= 4
