"""What is lost, left behind or late: the long form of what the tests try shortly. Needs root, tcpdump and dumpcap.

.venv/bin/python bench/reliability.py loss       20 storms of 5 s: are all packets there?
.venv/bin/python bench/reliability.py kill       kill -9 at several rates, ours beside tcpdump and dumpcap
.venv/bin/python bench/reliability.py ends       50 signals at random moments
.venv/bin/python bench/reliability.py first      50 commands: is their first SYN there?
"""

# ruff: noqa: S311, S603, S607 -- chance need not be secret here, and the programs are named above

from __future__ import annotations

import json
import os
import random
import select
import signal
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from alone import within  # noqa: E402
from test_command import left  # noqa: E402
from test_recorder import Child, storm  # noqa: E402

from capture.output import Sink  # noqa: E402
from capture.recorder import Recorder  # noqa: E402

PORT = 50001
CAPTURE = [sys.executable, "-Im", "capture.cli"]
#: Attempts at an even pace; how many so far is in the file that is named first.
SENDER = """
import mmap, socket, struct, sys, time
with open(sys.argv[1], "r+b") as file:
    count = mmap.mmap(file.fileno(), 8)
began, done, pace = time.monotonic(), 0, float(sys.argv[2])
while True:
    while done < (time.monotonic() - began) * pace:
        with socket.socket() as client:
            client.connect_ex(("127.0.0.1", 50001))
        done += 1
        struct.pack_into("q", count, 0, done)
    time.sleep(0.0005)
"""


def say(text: str) -> None:
    """Print a line at once."""
    print(text, flush=True)  # noqa: T201 - its report


def packets(path: Path) -> int:
    """How many packets Wireshark's capinfos counts; -1 where it does not take the file."""
    answer = subprocess.run(["capinfos", "-TrMc", path], capture_output=True, text=True, check=False)
    return -1 if answer.returncode else int(answer.stdout.split()[-1])


def loss() -> None:
    """Full speed for 5 s."""

    def once() -> tuple[int, int, int, int]:
        with tempfile.NamedTemporaryFile(dir="/dev/shm") as file, Recorder("lo", PORT) as recorder:
            sink = Sink(file.name)
            child = Child(lambda: storm(5))
            while child not in select.select([*recorder.filenos(), child], [], [], 0.05)[0]:
                sink.write(recorder.poll())
            attempts = child.answer()
            sink.write(recorder.finish())
            sink.close()
            return attempts, recorder.received, recorder.dropped, packets(Path(file.name))

    runs = [within(60, once) for _ in range(20)]
    good = sum(2 * attempts == received == saved and not dropped for attempts, received, dropped, saved in runs)
    rates = sorted(attempts / 5 for attempts, *_ in runs)
    say(f"loss: {good} of {len(runs)} exact; {rates[0]:,.0f} to {rates[-1]:,.0f} attempts/s; "
        f"dropped {sum(run[2] for run in runs)}")  # fmt: skip


def kill() -> None:
    """Kill -9 a second and a half into an even stream of packets."""
    ways = {
        "selfconn-capture": [*CAPTURE, "-q", "--port", str(PORT), "-w", "FILE", "--", "sleep", "60"],
        "tcpdump -w": ["tcpdump", "-i", "lo", "-w", "FILE", f"tcp port {PORT}"],
        "tcpdump -U -w": ["tcpdump", "-U", "-i", "lo", "-w", "FILE", f"tcp port {PORT}"],
        "dumpcap": ["dumpcap", "-q", "-i", "lo", "-f", f"tcp port {PORT}", "-w", "FILE"],
    }

    def once(command: list[str], rate: int) -> tuple[int, int]:
        with tempfile.TemporaryDirectory(dir="/tmp") as name:
            directory = Path(name)
            directory.chmod(0o777)
            count, file = directory / "count", directory / "made"
            count.write_bytes(bytes(8))
            command = [str(file) if word == "FILE" else word for word in command]
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            tool = subprocess.Popen(command, cwd=directory, **quiet)
            time.sleep(1.5)
            sender = subprocess.Popen([sys.executable, "-ISc", SENDER, count, str(rate / 2)], **quiet)
            time.sleep(1.5 + random.random() / 2)
            (sent,) = struct.unpack("q", count.read_bytes())
            tool.kill()
            sender.kill()
            tool.wait()
            sender.wait()
            return 2 * sent, packets(file)

    for rate in (100, 1000, 20_000):
        for name, command in ways.items():
            runs = [within(60, once, command, rate) for _ in range(3)]
            missing = [
                f"{max(0, sent - saved) / rate * 1000:.0f}" if saved >= 0 else "unreadable" for sent, saved in runs
            ]
            say(f"kill -9 at {rate} packets/s, {name}: missing {', '.join(missing)} ms of "
                f"{', '.join(f'{sent / rate:.1f}' for sent, _ in runs)} s")  # fmt: skip


def ends() -> None:
    """Signals at random moments, once or twice, to a repro and to a COMMAND that is deaf to SIGTERM."""
    endless = ["--port", "60000", "--range", "50000-50999", "--repro", "walk", "--attempts", "100000000"]
    deaf = ["--", "sh", "-c", 'trap "" TERM INT HUP; while :; do sleep 0.1; done']
    good, slowest, before, faults = 0, 0.0, 0, []
    for run in range(50):
        mark = f"SELFCONN_BENCH_{os.getpid()}_{run}"
        number = random.choice([signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
        with tempfile.TemporaryDirectory(dir="/tmp") as name:
            command = [*CAPTURE, "--private", "--format", "json", "-q", "-w", "made", *(deaf if run % 2 else endless)]
            shell = ["sh", "-c", 'trap "" INT; exec "$@"', "sh"] if run % 3 == 0 else []
            process = subprocess.Popen([*shell, *command], cwd=name, env=os.environ | {mark: "1"},
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE)  # fmt: skip
            delay = random.uniform(0.1, 1.2)
            time.sleep(delay)
            began = time.monotonic()
            for _ in range(1 + run % 2):
                process.send_signal(number)
            output, _ = process.communicate(timeout=30)
            took = time.monotonic() - began
            slowest = max(slowest, took)
            made = Path(name, "made")
            whole = packets(made) >= 0 and bool(output) and json.loads(output) is not None if made.exists() else True
            before += not made.exists()
            stays = left(mark)
            if whole and not stays and took <= 2:
                good += 1
            else:
                faults.append(f"{run}: {number.name} at {delay:.2f} s took {took:.2f} s, whole {whole}, left {stays}")
    say(f"ends: {good} of 50, slowest {slowest:.2f} s, {before} before there was a file")
    for fault in faults:
        say(f"  {fault}")


def first() -> None:
    """The first SYN of a COMMAND that does nothing else."""
    once = "import socket; socket.socket().connect_ex(('127.0.0.1', 7))"
    found = 0
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        for _ in range(50):
            command = [*CAPTURE, "--private", "--format", "json", "-q", "-w", os.devnull, "--"]
            answer = subprocess.run(
                [*command, sys.executable, "-ISc", once], cwd=name, capture_output=True, check=False
            )
            found += json.loads(answer.stdout)["captures"][0]["verdicts"]["refused"] == 1
    say(f"first: {found} of 50")


if __name__ == "__main__":
    for part in sys.argv[1:] or ["loss", "kill", "ends", "first"]:
        {"loss": loss, "kill": kill, "ends": ends, "first": first}[part]()
