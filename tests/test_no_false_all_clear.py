"""Captures with a self-connect, damaged as captures get damaged: it is found, or the report says what was not seen.

Never is "none" all that is said.
"""

from __future__ import annotations

import random
import re
import struct
from typing import TYPE_CHECKING

import pytest
import writers
from conftest import ROOT
from frames import LINKS, Link
from scenes import ETHERNET, MICROSECOND, MILLISECOND, OTHER_MAC, Scene, handshakes
from test_pcapng_writer import blocks

from analysis.model import NANOSECONDS, CaptureResult, Verdict
from analysis.reader import Analysis
from analysis.report import report
from analysis.views import table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Time, IP packet, and the octets of the frame before it.
Packet = tuple[int, bytes, bytes]

#: A report that says no more than that there is nothing.
BARE = re.compile(r"\S+\npcap(ng)?, \d+ packets?, \d+ TCP segments?\n\n?No opening of a TCP connection\.\s*")
#: A self-connect with its ends.
SHOWN = re.compile(r"self-connect( since before frame \d+)?: \S+ > \S+")
#: What a report says that looks at less than there was.
SAID = re.compile(
    r"itself|equal ends|self-syn|not decoded|not looked into|cut short|selfconn cannot read|dropped|damaged",
    re.IGNORECASE,
)


def _stored(name: str) -> tuple[int, list[Packet]]:
    """A capture of the repository: its link type, and its packets."""
    link, found = 1, []
    for kind, body in blocks((ROOT / "pcaps" / name).read_bytes()):
        if kind == 1:
            link = int.from_bytes(body[:2], "little")
        elif kind == 6:
            _, high, low, length = struct.unpack_from("<IIII", body)
            start = {1: 14, 276: 20}[link]
            frame = body[20 : 20 + length]
            found.append((high << 32 | low, frame[start:], frame[:start]))
    return link, found


def _made(scene: Scene) -> tuple[int, list[Packet]]:
    return scene.link.number, [
        (NANOSECONDS + taken.time, taken.packet, taken.frame[: len(taken.frame) - len(taken.packet)])
        for taken in scene.taken
    ]


def _generated() -> dict[str, Callable[[], tuple[int, list[Packet]]]]:
    """Whole self-connects, and some of which one or two packets are lost already."""
    whole = [scene for scene in handshakes() if scene.expected and scene.expected[0] not in {"nothing", "self-syn"}]
    chosen = [scene for scene in whole if scene.link.wrap(b"\x45") == ETHERNET.wrap(b"\x45") or "lost=()" in scene.name]
    return {scene.name: lambda scene=scene: _made(scene) for scene in chosen}


STORED = (
    "self-connect-after-time-wait",
    "self-connect-doubles",
    "self-connect-own-address",
    "self-connect-rst",
    "self-connect-sll2",
    "self-connect-v4",
    "self-connect-v6",
    "self-connect-walk",
    "server-cannot-bind",
)
SOURCES: dict[str, Callable[[], tuple[int, list[Packet]]]] = {
    **{name: lambda name=name: _stored(f"{name}.pcapng") for name in STORED},
    **_generated(),
}


# -- damage -----------------------------------------------------------------------------------------------------------

Damages = "Iterator[tuple[str, bytes]]"


def _file(link: int, packets: list[Packet], snaplen: int = 1 << 16) -> bytes:
    data = writers.pcap_header(link, kind="nano", snaplen=snaplen)
    for time, packet, before in packets:
        frame = before + packet
        data += writers.pcap_record(time, frame[:snaplen], kind="nano", original=len(frame))
    return data


def dropped(link: int, packets: list[Packet]) -> Damages:
    """Each single packet is lost."""
    for place in range(len(packets)):
        yield f"without packet {place + 1}", _file(link, packets[:place] + packets[place + 1 :])


def sampled(link: int, packets: list[Packet]) -> Damages:
    """Every second packet is lost."""
    for first in (0, 1):
        yield f"every second from {first + 1}", _file(link, packets[first::2])


def cut(link: int, packets: list[Packet]) -> Damages:
    """The snap length is 40 to 96 octets."""
    for snaplen in range(40, 97):
        yield f"snap length {snaplen}", _file(link, packets, snaplen)


def reordered(link: int, packets: list[Packet]) -> Damages:
    """Packets are captured up to a second late; with the time when they were, or with the time when they were sent."""
    for seed in range(6):
        chance = random.Random(seed)
        late = sorted((time + chance.randrange(NANOSECONDS), place) for place, (time, _, _) in enumerate(packets))
        yield f"late {seed}", _file(link, [(time, *packets[place][1:]) for time, place in late])
        yield f"out of order {seed}", _file(link, [packets[place] for _, place in late])


def routed(link: int, packets: list[Packet]) -> Damages:
    """A router's copies, 50 microseconds later; in order, and after all others that are no later than 15 ms."""
    copies = []
    for time, packet, before in packets:
        copied = bytearray(packet)
        copied[8 if packet[0] >> 4 == 4 else 7] -= 1
        other = OTHER_MAC.wrap(packet)[:14] if len(before) == 14 else before
        copies.append((time + 50 * MICROSECOND, bytes(copied), other))
    both = [packet for pair in zip(packets, copies, strict=True) for packet in pair]
    yield "each packet, and its copy", _file(link, both)
    yield "by time", _file(link, sorted(both))
    late = [(time + 15 * MILLISECOND, packet, before) for time, packet, before in copies]
    yield "copies 15 ms late", _file(link, sorted([*packets, *late]))


def carried(_link: int, packets: list[Packet]) -> Damages:
    """Every carrier that the tests know, and some that nobody does."""
    version = packets[0][1][0] >> 4
    strange = (
        Link("unknown EtherType", 1, lambda p: b"\2" * 12 + b"\x88\xb5" + p),
        Link("unknown link type", 147, bytes),
    )
    for link in (*LINKS, *strange):
        if version in link.versions:
            wrapped = [(time, b"", link.wrap(packet)) for time, packet, _ in packets]
            yield str(link), _file(link.number, wrapped)


def stepped_back(link: int, packets: list[Packet]) -> Damages:
    """The clock is set back by two hours in the middle, or forth."""
    for place in range(len(packets)):
        for hours in (-2, 2):
            step = hours * 3600 * NANOSECONDS
            start = 10 * 3600 * NANOSECONDS - packets[0][0]
            times = [time + start + (step if number >= place else 0) for number, (time, *_) in enumerate(packets)]
            moved = [(time, *packet[1:]) for time, packet in zip(times, packets, strict=True)]
            yield f"{hours} h from packet {place + 1}", _file(link, moved)


def in_pieces(link: int, packets: list[Packet]) -> Damages:
    """The file ends in the middle of a packet."""
    whole = _file(link, packets)
    for place in range(1, 4):
        yield f"cut {place}", whole[: len(whole) * place // 4 + 1]


WAYS = (dropped, sampled, cut, reordered, routed, carried, stepped_back, in_pieces)


# -- what is said -----------------------------------------------------------------------------------------------------


def analysed(octets: bytes) -> CaptureResult:
    analysis = Analysis("a.pcap", table=1024)
    analysis.feed(octets)
    return analysis.finish()


def says(result: CaptureResult) -> bool:
    """Whether the result has something that tells of less than the whole, or of a socket's segments to itself."""
    counted = (result.midstream_to_itself, result.cut_to_itself, result.verdicts[Verdict.SELF_SYN])
    return bool(any(counted) or result.undecoded or result.unknown or result.damage)


def wrong(octets: bytes) -> str:
    """What is wrong with the report of a capture that had a self-connect in it; empty where nothing is."""
    result = analysed(octets)
    text = "".join(table.render(report([result])))
    if BARE.fullmatch(text):
        return "a bare none"
    if result.verdicts[Verdict.SELF_CONNECT]:
        return "" if SHOWN.search(text) else "found, and not shown"
    if not says(result):
        return f"missed: {result}"
    return "" if SAID.search(text) else f"not said: {text}"


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@pytest.mark.parametrize("name", STORED)
def test_stored_captures(name: str, way: Callable[[int, list[Packet]], Iterator[tuple[str, bytes]]]) -> None:
    assert {what: told for what, octets in way(*SOURCES[name]()) if (told := wrong(octets))} == {}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_generated_captures(way: Callable[[int, list[Packet]], Iterator[tuple[str, bytes]]]) -> None:
    found = {}
    for name, source in SOURCES.items():
        if name not in STORED:
            link, packets = source()
            found |= {f"{name}: {what}": told for what, octets in way(link, packets) if (told := wrong(octets))}
    assert found == {}


@pytest.mark.parametrize("name", SOURCES)
def test_the_captures_have_a_self_connect(name: str) -> None:
    assert analysed(_file(*SOURCES[name]())).verdicts[Verdict.SELF_CONNECT]


@pytest.mark.parametrize("way", [dropped, sampled, reordered, routed, carried, stepped_back])
def test_whole_handshakes_are_found_whatever_happens(
    way: Callable[[int, list[Packet]], Iterator[tuple[str, bytes]]],
) -> None:
    """Where enough is left there is no excuse: the self-connect is found."""
    link, packets = SOURCES["self-connect-v4"]()
    missed = [what for what, octets in way(link, packets) if not analysed(octets).verdicts[Verdict.SELF_CONNECT]]
    assert missed == (["unknown EtherType", "unknown link type"] if way is carried else [])
