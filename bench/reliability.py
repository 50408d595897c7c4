"""What is lost, left behind or late: the long form of what the tests try shortly. Needs root, tcpdump and dumpcap.

.venv/bin/python bench/reliability.py loss       20 storms of 5 s: are all packets there?
.venv/bin/python bench/reliability.py kill       kill -9 at several rates, ours beside tcpdump and dumpcap
.venv/bin/python bench/reliability.py ends       200 signals at random moments
.venv/bin/python bench/reliability.py first      50 commands: is their first SYN there?
.venv/bin/python bench/reliability.py selfconnect 100 self-connects each of IPv4 and IPv6: are SYN and SYN-ACK there?
.venv/bin/python bench/reliability.py overflow   the same while the ring overflows: and is every packet accounted for?
.venv/bin/python bench/reliability.py mutants    10,000 damaged captures: as many packets as others read?
.venv/bin/python bench/reliability.py floods     bombs and floods: time, memory and output
.venv/bin/python bench/reliability.py faults     a full disk and the like: how soon does it end, what does it say?
"""

# ruff: noqa: S311, S603, S607 -- chance need not be secret here, and the programs are named above

from __future__ import annotations

import bz2
import ctypes
import json
import lzma
import os
import random
import signal
import struct
import subprocess
import sys
import tempfile
import time
import zlib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import frames  # noqa: E402
import writers  # noqa: E402
from alone import within  # noqa: E402
from test_command import left  # noqa: E402
from test_mutants import beside  # noqa: E402
from test_pcapng_writer import blocks  # noqa: E402

from analysis.formats import pcapng  # noqa: E402
from analysis.model import Endpoint  # noqa: E402

PORT = 50001
ENDLESS = ["--port", "60000", "--range", "50000-50999", "--repro", "walk", "--attempts", "100000000"]
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
    """The whole command at full speed for 5 s, dialling a port that it is never given."""
    good, dropped, rates = 0, 0, []
    for _ in range(20):
        with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
            command = [*CAPTURE, "--private", *ENDLESS, "--timeout", "5", "--format", "json", "-q", "-w", "made"]
            ended = subprocess.run(command, cwd=name, capture_output=True, check=False)
            run = json.loads(ended.stdout)["live"]
            good += 2 * run["attempts"] == run["packets"] == packets(Path(name, "made")) and not run["dropped"]
            dropped += run["dropped"]
            rates.append(run["attempts"] / run["seconds"])
    say(f"loss: {good} of 20 exact; {min(rates):,.0f} to {max(rates):,.0f} attempts/s; dropped {dropped}")


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
            runs = [within(60, once, command, rate) for _ in range(10 if name == "selfconn-capture" else 3)]
            missing = [
                f"{max(0, sent - saved) / rate * 1000:.0f}" if saved >= 0 else "unreadable" for sent, saved in runs
            ]
            say(f"kill -9 at {rate} packets/s, {name}: missing {', '.join(missing)} ms of "
                f"{', '.join(f'{sent / rate:.1f}' for sent, _ in runs)} s")  # fmt: skip


DEAF = ["--", "sh", "-c", 'trap "" TERM INT HUP; while :; do sleep 0.1; done']
#: What is ended: what is put before the command, and its arguments.
ENDED = {
    "a repro": ([], ["--private", *ENDLESS]),
    "a COMMAND that is deaf to it": ([], ["--private", *DEAF]),
    "a watch": (["unshare", "--net", "sh", "-c", 'ip link set lo up; exec "$@"', "sh"], ["--watch"]),
    "a repro, started in the background": (["sh", "-c", 'trap "" INT; exec "$@"', "sh"], ["--private", *ENDLESS]),
}


#: Lists the instances of the kernel's tracing, wherever tracefs is mounted, or is not.
INSTANCES = ["unshare", "--mount", "sh", "-c", "mount -t tracefs none /mnt && ls /mnt/instances"]


def around() -> tuple[int, list[str]]:
    """How many namespaces are kept by a mount, and which instances of the kernel's tracing there are."""
    spaces = Path("/proc/self/mountinfo").read_text().count(" nsfs ")
    return spaces, subprocess.run(INSTANCES, capture_output=True, text=True, check=True).stdout.split()


def adopt() -> None:
    """Have every process that those we start leave behind become our child (PR_SET_CHILD_SUBREAPER), not init's."""
    if ctypes.CDLL(None, use_errno=True).prctl(36, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


def buried(deadline: float) -> bool:
    """Bury what has ended, as init would, until we have no child, alive or dead; False where one stays."""
    while time.monotonic() < deadline:
        try:
            if not os.waitpid(-1, os.WNOHANG)[0]:
                time.sleep(0.005)
        except ChildProcessError:
            return True
    return False


def ends() -> None:
    """Signals at random moments, in the first tenth of a second too, once or twice."""
    good, slowest, before, faults = 0, 0.0, 0, []
    adopt()
    for run in range(200):
        what, (prefix, arguments) = list(ENDED.items())[run % 4]
        mark = f"SELFCONN_BENCH_{os.getpid()}_{run}"
        # In the background SIGINT is ignored, and lost, until the program has begun.
        early = run % 3 == 0
        number = random.choice([signal.SIGINT, signal.SIGTERM, signal.SIGHUP][early and "background" in what :])
        clean = around()
        with tempfile.TemporaryDirectory(dir="/tmp") as name:
            command = [*prefix, *CAPTURE, "--format", "json", "-q", "-w", "made", *arguments]
            process = subprocess.Popen(
                command, cwd=name, env=os.environ | {mark: "1"}, stdout=subprocess.PIPE, stderr=subprocess.PIPE
            )
            delay = random.uniform(0.0, 0.1) if early else random.uniform(0.15, 1.2)
            time.sleep(delay)
            began = time.monotonic()
            for _ in range(1 + run % 2):
                process.send_signal(number)
            output, _ = process.communicate(timeout=30)
            stays = left(mark)
            gone = buried(began + 2)
            took = time.monotonic() - began
            slowest = max(slowest, took)
            made = Path(name, "made")
            reported = what == "a watch" or bool(output and json.loads(output))
            whole = packets(made) >= 0 and reported if made.exists() else True
            before += not made.exists() and what != "a watch"
            after = around()
            if whole and not stays and gone and took <= 2 and after == clean:
                good += 1
            else:
                faults.append(f"{what}: {number.name} at {delay:.2f} s took {took:.2f} s, whole {whole}, left {stays}, "
                              f"all buried {gone}, {after} after {clean}")  # fmt: skip
    say(f"ends: {good} of 200, slowest {slowest:.2f} s, {before} without a file yet")
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


#: A range of 64,512 ports, so that the walk takes a while; and the whole command with a ring that holds 2 ms of it.
WIDE = ["--range", "1024-65535"]
TINY = """
import functools, sys
from capture.packets import recorder
recorder.Recorder = functools.partial(recorder.Recorder, ring_octets=1 << 17)
from capture.cli import main
sys.exit(main())
"""


def equal_ends(path: Path) -> list[int]:
    """The flags (SYN 2, ACK 16) of each packet whose ends are equal, as tshark has them."""
    command = ["tshark", "-n", "-r", path, "-Y", "tcp.srcport == tcp.dstport", "-T", "fields", "-e", "tcp.flags"]
    answer = subprocess.run(command, capture_output=True, text=True, check=True)
    return [int(flags, 16) for flags in answer.stdout.split()]


def dropped(path: Path) -> int:
    """How many packets the file itself says were dropped: option 5 of its interface statistics block."""
    kind, body = blocks(path.read_bytes())[-1]
    found, at = -1, 12
    while kind == pcapng.INTERFACE_STATISTICS and at < len(body):
        code, length = struct.unpack_from("<HH", body, at)
        if code == 5:
            (found,) = struct.unpack_from("<Q", body, at + 4)
        at += 4 + length + -length % 4
    return found


#: In a mount namespace of its own: prepare, start the program, bring the fault about, wait; the times and the status.
FAULT = """
cd "$PLACE"; {prepare}
"$@" {output} & program=$!
{fault}
date +%s.%N >"$TOLD"; wait $program; echo $? >>"$TOLD"; date +%s.%N >>"$TOLD"
cp made "$KEPT" 2>/dev/null
"""
SMALL = 'mount -t tmpfs -o size=64k none "$PLACE"; cd "$PLACE"'
#: What fails -> how it is prepared, where the program writes, and how it is brought about while the program writes.
FAULTS = {
    "a disk of 64 KB fills up": (
        SMALL,
        "made",
        "while [ $(stat -c %s made 2>/dev/null || echo 0) -lt 57344 ] && kill -0 $program; do :; done 2>/dev/null",
    ),
    "a disk that may not be written to": (f'{SMALL}; mount -o remount,ro "$PLACE"', "made", ""),
    "a directory that is gone": ('mkdir gone; cd gone; rmdir "$PLACE/gone"', "made", ""),
    "a directory that goes meanwhile": (
        "mkdir goes",
        "goes/made",
        "until [ -s goes/made ] || ! kill -0 $program; do sleep 0.01; done; sleep 0.2; rm -r goes",
    ),
    "a pipe that nobody reads any more": ("mkfifo pipe", "-", "head -c 98304 <pipe >made"),
}


#: The others record what SENDER sends, and are killed after 5 s: not all of them end.
STOPPED = ["timeout", "--signal=KILL", "5"]
WRITERS = {
    "selfconn-capture": [*CAPTURE, "--private", "-q", "-w", "FILE", *ENDLESS],
    "tcpdump -U": [*STOPPED, "tcpdump", "-Z", "root", "-U", "-i", "lo", "-w", "FILE", f"tcp port {PORT}"],
    "dumpcap": [*STOPPED, "dumpcap", "-q", "-i", "lo", "-f", f"tcp port {PORT}", "-w", "FILE"],
}


def faults() -> None:
    """Where the packets go fails: how long after that it ends, with what words, and what can still be read."""
    for name in FAULTS:
        fault(name, "selfconn-capture", 5)
    with tempfile.NamedTemporaryFile(dir="/dev/shm") as count:
        count.write(bytes(8))
        count.flush()
        sender = subprocess.Popen([sys.executable, "-ISc", SENDER, count.name, "5000"])
        try:
            for name in FAULTS:
                for writer in ("tcpdump -U", "dumpcap"):
                    fault(name, writer, 3)
        finally:
            sender.kill()
            sender.wait()


def fault(name: str, writer: str, runs: int) -> None:
    """One of them, so many times."""
    prepare, file, how = FAULTS[name]
    took, statuses, words, kept = [], set(), "", []
    for _ in range(runs):
        with tempfile.TemporaryDirectory(dir="/tmp") as place, tempfile.TemporaryDirectory(dir="/tmp") as other:
            told, saved = Path(other, "told"), Path(other, "saved")
            output = ">pipe" if file == "-" else ">/dev/null"
            script = FAULT.format(prepare=prepare, output=output, fault=how)
            command = [file if word == "FILE" else word for word in WRITERS[writer]]
            ended = subprocess.run(
                ["unshare", "--mount", "bash", "-c", script, "bash", *command],
                cwd=place, env=os.environ | {"PLACE": place, "TOLD": str(told), "KEPT": str(saved)},
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=60, check=False,
            )  # fmt: skip
            began, status, end = told.read_text().split()
            took.append(float(end) - float(began))
            statuses.add(int(status))
            words = " / ".join(ended.stderr.splitlines()[-3:])
            kept.append(packets(saved) if saved.exists() else 0)
    say(f"faults: {name}: {writer}: exit status {statuses}, within {max(took):.2f} s, {min(kept):,} packets to read; "
        f"{words}")  # fmt: skip


def selfconnect() -> None:
    """The main job, again and again."""
    for host in ("127.0.0.1", "::1"):
        seen = exact = 0
        with tempfile.TemporaryDirectory(dir="/tmp") as name:
            made = Path(name, "made")
            for _ in range(100):
                made.unlink(missing_ok=True)
                command = [*CAPTURE, "--private", "--host", host, "--format", "json", "-q", "-w", "made"]
                ended = subprocess.run(command, cwd=name, capture_output=True, check=False)
                run, flags = json.loads(ended.stdout)["live"], equal_ends(made)
                seen += ended.returncode == 0 and {2, 18} <= set(flags)
                exact += run["packets"] == 2 * run["attempts"] + len(flags) == packets(made) and not run["dropped"]
        say(f"selfconnect: {host}: SYN and SYN-ACK in {seen} of 100; all packets in {exact} of 100")


def overflow() -> None:
    """The ring too small, and the process that reads it stopped for a second."""
    for host in ("127.0.0.1", "::1"):
        seen = exact = said = runs = 0
        lost = []
        with tempfile.TemporaryDirectory(dir="/tmp") as name:
            made = Path(name, "made")
            while runs < 100:
                made.unlink(missing_ok=True)
                arguments = ["--private", "--host", host, *WIDE, "--format", "json", "-q", "-w", "made"]
                tool = subprocess.Popen(
                    [sys.executable, "-c", TINY, *arguments], cwd=name, env=os.environ | {"PYTHONPATH": str(ROOT)},
                    stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                )  # fmt: skip
                while not (made.exists() and made.stat().st_size > 8192) and tool.poll() is None:
                    time.sleep(0.001)
                tool.send_signal(signal.SIGSTOP)
                time.sleep(1)
                tool.send_signal(signal.SIGCONT)
                output, _ = tool.communicate(timeout=60)
                run, flags = json.loads(output)["live"], equal_ends(made)
                if not run["dropped"]:
                    continue  # it was there before the second began
                runs += 1
                lost.append(run["dropped"])
                seen += tool.returncode == 4 and {2, 18} <= set(flags)
                exact += run["packets"] + run["dropped"] == 2 * run["attempts"] + len(flags)
                said += dropped(made) == run["dropped"]
        say(f"overflow: {host}: SYN, SYN-ACK and exit status 4 in {seen} of {runs}; received + dropped exact in "
            f"{exact}, said in the file in {said}; {min(lost):,} to {max(lost):,} dropped")  # fmt: skip


def mutants() -> None:
    """Ten thousand copies of our captures with octets flipped, set, cut out, pushed in or missing."""
    found: dict[str, list[str]] = {}
    for seed in range(10):
        with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
            for who, which in beside(Path(name), 1000, random.Random(seed)).items():
                found.setdefault(who, []).extend(which)
    say("mutants: as many packets as " + "; ".join(f"{who}: {len(which):,}" for who, which in sorted(found.items())))
    for one in found.get("nobody", []) + found.get("slow", []):
        say(f"  {one}")


#: Runs a command and says what it took: the memory of a process counts from the one that started it.
SCALE = """
import os, resource, subprocess, sys, time
began = time.monotonic()
status = subprocess.run(sys.argv[1:]).returncode
print(status, time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
"""


def taken(*words: str | Path) -> str:
    """Run selfconn-analyze: its exit status, seconds, MB of memory at most, and octets of output."""
    command = [sys.executable, "-ISc", SCALE, sys.executable, "-m", "analysis.cli", *words]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    status, seconds, memory = done.stderr.split()[-3:]
    return (f"exit status {int(status)}, {float(seconds):.2f} s, {int(memory) / 1000:.0f} MB, "
            f"{len(done.stdout):,} octets of output")  # fmt: skip


def floods() -> None:
    """Bombs of each kind, and captures of nothing but what has to be remembered."""
    import lz4.frame  # noqa: PLC0415
    from backports import zstd  # noqa: PLC0415

    tiny = (bytes(8) + b"\1\0\0\0\1\0\0\0\0" + bytes(16)) * (1 << 16)
    kinds = {
        "gzip": lambda: zlib.compressobj(9, wbits=31),
        "zstd": zstd.ZstdCompressor,
        "lz4": lz4.frame.LZ4FrameCompressor,
        "xz": lzma.LZMACompressor,
        "bzip2": bz2.BZ2Compressor,
    }
    with tempfile.TemporaryDirectory(dir="/dev/shm") as name:
        path = Path(name, "it")
        for kind, make in kinds.items():
            with path.open("wb") as file:
                maker = make()
                if kind == "lz4":
                    file.write(maker.begin())
                file.write(maker.compress(writers.pcap_header()))
                for _ in range((1 << 30) // len(tiny)):
                    file.write(maker.compress(tiny))
                file.write(maker.flush())
            say(f"floods: {kind} of {path.stat().st_size:,} octets that unpack to 1 GiB: {taken(path)}")
        here = Endpoint.parse("127.0.0.1", 0)
        with path.open("wb") as file:
            file.write(writers.pcap_header(101))
            for port in range(1, 65_536):
                end = here._replace(port=port)
                syn = frames.segment_packet(end, end, frames.tcp(port, port, 2, port))
                file.write(writers.pcap_record(2_000_000 * port, syn))
        for form in ("table", "json", "html"):
            say(f"floods: 65,535 SYNs to themselves, {form}: {taken('--format', form, path)}")
        storm = ROOT / ".cache" / "bench" / "flood-10000000.pcap"
        if storm.exists():
            for form in ("table", "json", "html"):
                say(f"floods: SYNs of 10,000,000 4-tuples, {form}: {taken('--format', form, storm)}")


if __name__ == "__main__":
    parts = {one.__name__: one for one in (loss, kill, ends, first, selfconnect, overflow, mutants, floods, faults)}
    for part in sys.argv[1:] or parts:
        parts[part]()
