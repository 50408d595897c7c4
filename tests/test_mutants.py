"""Any octets give segments, a counted reason or a sentence, never another exception; compiled and interpreted alike."""

from __future__ import annotations

import gzip
import importlib
import random
import re
import struct
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import frames
import pytest
import writers
from conftest import ROOT, SourceOnly
from test_pcapng_writer import blocks

from analysis import engine, reader
from analysis.errors import NotACapture
from analysis.model import REMARKABLE, Endpoint, Verdict
from analysis.replay import replay

if TYPE_CHECKING:
    from pathlib import Path
    from types import ModuleType

MUTANTS = 400
WORDS = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x0d\0\0\0", b"\xfc\xff\xff\xff", b"\0\0\1\0")


def interpreted() -> ModuleType:
    """The engine's source as a package of its own, whatever form is installed."""
    name = "analysis.engine_as_written"
    finder = SourceOnly(name)
    sys.meta_path.insert(0, finder)
    try:
        return importlib.import_module(name)
    finally:
        sys.meta_path.remove(finder)


def mutant(octets: bytes, chance: random.Random) -> bytes:
    """A copy with some octets flipped, set, cut out, pushed in, or missing from the end."""
    made = bytearray(octets)
    for _ in range(chance.choice((1, 1, 2, 4, 16))):
        at = chance.randrange(len(made) or 1)
        match chance.randrange(6):
            case 0 if made:
                made[at] ^= 1 << chance.randrange(8)
            case 1 if made:
                made[at] = chance.choice((0, 1, 127, 128, 255))
            case 2:
                del made[at:]
            case 3:
                made[at : at + 4] = chance.choice(WORDS)
            case 4:
                del made[at : at + chance.randrange(1, 40)]
            case 5:
                made[at:at] = chance.randbytes(chance.randrange(1, 20))
    return bytes(made)


def captures() -> list[bytes]:
    """The repository's captures: each as it is, as pcap, and both compressed."""
    made = []
    for path in sorted((ROOT / "pcaps").glob("*.pcapng")):
        octets = path.read_bytes()
        link, records = 1, []
        order = "<" if octets[8:12] == b"\x4d\x3c\x2b\x1a" else ">"
        for kind, body in blocks(octets):
            if kind == 1:
                (link,) = struct.unpack_from(f"{order}H", body)
            elif kind == 6:
                _, high, low, length = struct.unpack_from(f"{order}IIII", body)
                records.append((high << 32 | low, body[20 : 20 + length]))
        plain = writers.pcap(records, link, kind="nano")
        made += [octets, plain, gzip.compress(octets, mtime=0), gzip.compress(plain, mtime=0)]
    return made


def analysed(octets: bytes, portion: int, *, everything: bool, table: int) -> object:
    """All that the analysis of *octets* says, fed in portions; a sentence where they are no capture."""
    analysis = reader.Analysis("mutant", collect=Verdict if everything else REMARKABLE, table=table)
    try:
        for start in range(0, len(octets), portion):
            analysis.feed(octets[start : start + portion])
        result = analysis.finish()
    except NotACapture as error:
        return str(error)
    for opening in result.openings:
        assert replay(opening).steps or not opening.segments
    return result


@pytest.mark.parametrize("seed", range(4))
def test_damaged_captures(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    forms = [engine.Engine, interpreted().Engine] if engine.COMPILED else [engine.Engine]
    chance = random.Random(seed)
    sources = [octets for octets in captures() if octets[:2] != b"\x1f\x8b"]
    for number in range(MUTANTS):
        octets = mutant(chance.choice(sources), chance)
        portion = chance.choice((7, 100, 5000, len(octets) or 1))
        table = chance.choice((16, 1024))
        said = []
        for form in forms:
            monkeypatch.setattr(reader, "Engine", form)
            said.append(analysed(octets, portion, everything=number % 2 == 0, table=table))
        assert said.count(said[0]) == len(said), octets.hex()


# -- beside Wireshark ------------------------------------------------------------------------------------------------


def wireshark(directory: Path) -> dict[str, tuple[int, str]]:
    """How many packets capinfos reads of each file, and why not more."""
    names = sorted(path.name for path in directory.iterdir())
    command = ["capinfos", "-c", "-M", "-T", "-r", *names]
    told = subprocess.run(command, cwd=directory, capture_output=True, text=True, errors="replace", check=False)
    found = {name: (int(count), "") for name, count in (line.split("\t") for line in told.stdout.splitlines())}
    name = ""
    for line in told.stderr.splitlines():
        if read := re.match(r'capinfos: An error occurred after reading (\d+) packets from "(.*)"', line):
            found[read[2]] = (int(read[1]), "")
        elif said := re.match(r'capinfos: The file "(.*?)" (.*)', line):
            name = said[1]
            found[name] = (found.get(name, (0,))[0], said[2])
        elif line.startswith("(") and name:
            found[name] = (found[name][0], f"{found[name][1]} {line}")
    return found


def libpcap(path: Path) -> int:
    """How many packets tcpdump reads of a file; of what gzip makes of it, where it is compressed."""
    plain = subprocess.run(["gzip", "-dcf", path], capture_output=True, check=False).stdout
    told = subprocess.run(["tcpdump", "--count", "-r", "-"], input=plain, capture_output=True, check=False)
    counted = re.match(rb"(\d+) packet", told.stdout)
    return int(counted[1]) if counted else 0


def beside(directory: Path, number: int, chance: random.Random) -> dict[str, list[str]]:
    """So many mutants in files, and as whom we read each: that, how long it took and what was read, if as nobody."""
    sources = captures()
    for place in range(number):
        (directory / f"{place:05}").write_bytes(mutant(chance.choice(sources), chance))
    told = wireshark(directory)
    found: dict[str, list[str]] = {}
    for path in sorted(directory.iterdir()):
        began = time.perf_counter()
        try:
            result = reader.analyze(str(path), collect=frozenset(Verdict))
        except NotACapture:
            packets, damage = 0, ""
        else:
            packets, damage = result.packets, result.damage.reason if result.damage else ""
        if time.perf_counter() - began > 0.5 + 0.5 * path.stat().st_size / 1e6:
            found.setdefault("slow", []).append(path.name)
        theirs, why = told.get(path.name, (0, ""))
        if packets == theirs:
            who = "Wireshark"
        elif packets == libpcap(path):
            who = "libpcap"  # Wireshark takes some for another format, and minds options that we do not read
        elif "stream" in damage and packets > theirs:
            who = "damaged compression"
        elif "network type" in why:
            who = "unknown link"  # whose packets we count
        else:
            who = "nobody"
        found.setdefault(who, []).append(f"{path.name}: {packets}, not {theirs} ({damage}; {why})")
    return found


@pytest.mark.usefixtures("need_capinfos", "need_tcpdump")
def test_as_many_packets_as_wireshark_or_libpcap(tmp_path: Path) -> None:
    """A part of what bench/reliability.py tries at length."""
    found = beside(tmp_path, 1000, random.Random(1))
    assert "nobody" not in found
    assert len(found["Wireshark"]) > 900


def test_packets_that_differ_in_one_octet_are_no_doubles() -> None:
    """The digest's keys are random: whatever they are, no two packets may pass for one."""
    segment = frames.tcp(4000, 80, 2, 1000, 0, options=frames.mss(1460) + frames.timestamps(7, 0) + bytes(2))
    packet = frames.segment_packet(Endpoint.parse("192.0.2.1", 4000), Endpoint.parse("192.0.2.2", 80), segment)
    header = {0, 2, 3, 6, 7, 9, 32}  # what must stay, for it to be this packet still
    header |= {8}  # with another TTL it was seen at another place, and is a copy
    changed = [
        packet[:place] + bytes([packet[place] ^ change]) + packet[place + 1 :]
        for place in range(len(packet))
        if place not in header
        for change in (1, 16, 64, 128, 255)
    ]
    capture = writers.pcap([(1_700_000_000_000_000_000, frames.ethernet(one)) for one in [packet, *changed]])
    for _ in range(300):
        analysis = reader.Analysis("one octet", collect=(), table=64)
        analysis.feed(capture)
        assert analysis.finish().duplicates == 0
