"""Any octets give segments, a counted reason or a sentence, never another exception; compiled and interpreted alike."""

from __future__ import annotations

import importlib.util
import random
from typing import TYPE_CHECKING

import frames
import pytest
import writers
from conftest import ROOT

from analysis import engine, reader
from analysis.errors import NotACapture
from analysis.replay import replay
from analysis.words import REMARKABLE, Endpoint, Verdict

if TYPE_CHECKING:
    from types import ModuleType

MUTANTS = 400
WORDS = (b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x0d\0\0\0", b"\xfc\xff\xff\xff", b"\0\0\1\0")


def interpreted() -> ModuleType:
    """The engine's source as a module of its own, whatever form is installed."""
    spec = importlib.util.spec_from_file_location("analysis.engine_as_written", ROOT / "analysis" / "engine.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
    captures = [path.read_bytes() for path in sorted((ROOT / "pcaps").glob("*.pcapng"))]
    for number in range(MUTANTS):
        octets = mutant(chance.choice(captures), chance)
        portion = chance.choice((7, 100, 5000, len(octets) or 1))
        table = chance.choice((16, 1024))
        said = []
        for form in forms:
            monkeypatch.setattr(reader, "Engine", form)
            said.append(analysed(octets, portion, everything=number % 2 == 0, table=table))
        assert said.count(said[0]) == len(said), octets.hex()


def test_packets_that_differ_in_one_octet_are_no_doubles() -> None:
    """The digest's keys are random: whatever they are, no two packets may pass for one."""
    segment = frames.tcp(4000, 80, 2, 1000, 0, options=frames.mss(1460) + frames.timestamps(7, 0) + bytes(2))
    packet = frames.segment_packet(Endpoint.parse("192.0.2.1", 4000), Endpoint.parse("192.0.2.2", 80), segment)
    header = {0, 2, 3, 6, 7, 9, 32}  # what must stay, for it to be this packet still
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
