"""--rotated: the files of one capture point are one capture."""

from __future__ import annotations

import ctypes
import json
import re
import signal
import socket
import struct
import subprocess
import time
from typing import TYPE_CHECKING

import pytest
import writers
from alone import alone
from conftest import ROOT, program
from segments import packets, refused, self_connect, three_way
from test_analyze_cli import RAW, run

if TYPE_CHECKING:
    from pathlib import Path

RECORDS = [
    (when + number * 10**9, packet)
    for number, opening in enumerate((refused(), self_connect(), three_way()))
    for when, packet in packets(opening.segments)
]


def written(folder: Path, *cuts: int) -> list[Path]:
    """RECORDS in files that end at *cuts*, by turns pcap and pcapng; their names count 9, 10 ..."""
    files = []
    for number, (start, end) in enumerate(zip((0, *cuts), (*cuts, len(RECORDS)), strict=True), 9):
        kind = writers.pcap if number % 2 else writers.pcapng
        extra = {"kind": "nano"} if number % 2 else {}
        files.append(folder / f"ring.pcap{number}")
        files[-1].write_bytes(kind(RECORDS[start:end], RAW, **extra))
    return files


def told(*arguments: str | Path, status: int = 0) -> dict:
    done = run("--all", "--format", "json", *arguments)
    assert done.returncode == status, done.stderr
    return json.loads(done.stdout)


@pytest.mark.long
def test_the_files_are_one_capture(tmp_path):
    whole = tmp_path / "whole"
    whole.write_bytes(writers.pcap(RECORDS, RAW, kind="nano"))
    expected = told(whole)
    for first in range(len(RECORDS) + 1):
        folder = tmp_path / str(first)
        folder.mkdir()
        files = written(folder, first, min(first + 3, len(RECORDS)))
        found = told("--rotated", folder)
        (capture,) = found["captures"]
        parts = capture.pop("parts")
        assert [part["name"] for part in parts] == list(map(str, files))
        assert sum(part["packets"] for part in parts) == len(RECORDS)
        assert capture["name"] == f"{files[0]} ... {files[-1]} (3 files)"
        assert {**capture, "name": ""} == {**expected["captures"][0], "name": ""}
        assert found["openings"] == expected["openings"]
        assert told("--rotated", *files) == {**found, "captures": [{**capture, "parts": parts}]}


def test_a_damaged_file_is_a_gap(tmp_path):
    first, second, third = written(tmp_path, 2, 7)
    second.write_bytes(second.read_bytes()[:-7])
    done = run("--rotated", "--format", "json", first, second, third)
    (capture,) = json.loads(done.stdout)["captures"]
    assert done.returncode == 4
    assert f"{second} ends early at byte offset" in done.stderr
    assert "gap" in done.stderr
    assert [bool(part["damage"]) for part in capture["parts"]] == [False, True, False]
    assert capture["damage"] is None
    assert capture["packets"] == len(RECORDS) - 1
    assert capture["verdicts"]["three-way"] == 1
    assert "a gap: " in run("--rotated", first, second, third).stdout


def test_what_is_no_capture_is_named_and_passed_over(tmp_path):
    first, second = written(tmp_path, 4)
    text = tmp_path / "text"
    text.write_text("no capture")
    done = run("--rotated", "--format", "json", first, text, tmp_path / "none", second)
    (capture,) = json.loads(done.stdout)["captures"]
    assert done.returncode == 3
    assert f"{text} is not a capture" in done.stderr
    assert "none" in done.stderr
    assert [part["name"] for part in capture["parts"]] == [str(first), str(second)]
    assert capture["packets"] == len(RECORDS)
    assert run("--rotated", text).returncode == 3


@pytest.mark.parametrize("option", ["--witness", "--annotate=x.pcapng"])
def test_what_reads_one_file_again_is_refused(tmp_path, option):
    done = run("--rotated", option, *written(tmp_path, 4), cwd=ROOT)
    assert done.returncode == 2
    assert "mergecap" in done.stderr


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_ushort), ("jt", ctypes.c_ubyte), ("jf", ctypes.c_ubyte), ("k", ctypes.c_uint32))


def slowly_to_itself(command: list[str]) -> None:
    """While *command* captures, connect a socket to itself whose first SYN gets lost; the second comes a second later.

    SO_ATTACH_FILTER with a program that drops all keeps the SYN from its own socket.
    """
    nothing = (_Instruction * 1)(_Instruction(6, 0, 0, 0))
    program = struct.pack("@HP", 1, ctypes.addressof(nothing))
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as sniffer:
        while not re.search("listening on|File:", sniffer.stderr.readline()):
            assert sniffer.poll() is None
        time.sleep(0.3)  # dumpcap says so a moment before
        with socket.socket() as one:
            one.settimeout(10)
            one.bind(("127.0.0.1", 50000))
            one.setsockopt(socket.SOL_SOCKET, 26, program)
            one.setblocking(False)
            one.connect_ex(("127.0.0.1", 50000))
            time.sleep(0.3)
            one.setsockopt(socket.SOL_SOCKET, 27, struct.pack("i", 0))
            one.settimeout(10)
            one.sendall(b"hi") if _connected(one) else None
            one.recv(9)
            time.sleep(1.1)
        time.sleep(0.3)
        sniffer.send_signal(signal.SIGTERM)
        sniffer.stderr.read()


def _connected(one: socket.socket) -> bool:
    for _ in range(100):
        try:
            if one.getpeername() == one.getsockname():
                return True
        except OSError:
            time.sleep(0.05)
    return False


@pytest.mark.usefixtures("need_private_namespace")
@pytest.mark.parametrize("tool", ["tcpdump", "dumpcap"])
def test_a_set_that_was_really_rotated(tmp_path, tool):
    """The SYN is in one file, the SYN-ACK in another: no file alone has the self-connect."""
    if tool == "tcpdump":
        command = [
            program("tcpdump", "tcpdump"),
            "-i",
            "lo",
            "-U",
            "-Z",
            "root",
            "-G",
            "1",
            "-w",
            f"{tmp_path}/%s.pcap",
        ]
    else:
        dumpcap = program("dumpcap", "wireshark-common")
        command = [dumpcap, "-i", "lo", "-b", "packets:2", "-w", f"{tmp_path}/ring.pcapng"]
    alone(slowly_to_itself, [*command, "tcp"])
    files = sorted(tmp_path.iterdir())
    assert len(files) > 1
    found = told("--rotated", tmp_path)
    (capture,) = found["captures"]
    assert [part["name"] for part in capture["parts"]] == list(map(str, files))
    assert capture["verdicts"]["self-connect"] == 1
    assert sum(capture["verdicts"].values()) == 1
    assert capture["midstream"] == 0
    (opening,) = found["openings"]
    assert opening["syn_retransmissions"] == 1
    ends = [sum(part["packets"] for part in capture["parts"][:count]) for count in range(len(files))]
    homes = {max(end for end in ends if end < frame) for frame in [opening["first_frame"], *opening["frames"]]}
    assert len(homes) > 1
    alone_told = told(*files)
    first = next(number for number, part in enumerate(capture["parts"]) if part["packets"])
    assert alone_told["captures"][first]["verdicts"]["self-connect"] == 0
