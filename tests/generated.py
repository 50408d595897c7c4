"""Captures by chance, with structure: conversations, what they are wrapped in, the file around them, compression.

Whoever asks gives a ``random.Random``; the same one gives the same capture.
"""

from __future__ import annotations

import bz2
import gzip
import itertools
import lzma
import random
import struct
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

import encapsulations
import frames
import scenes
import sequences
import writers

from analysis.model import NANOSECONDS

if TYPE_CHECKING:
    from collections.abc import Sequence

EPOCH = 1_700_000_000 * NANOSECONDS
RAW = 101
#: The last time that pcap can hold, but for a second.
LAST = ((1 << 32) - 1) * NANOSECONDS


class Shot(NamedTuple):
    """A frame as it was captured: nanoseconds since the epoch, its link type, interface and direction."""

    time: int
    frame: bytes
    link: int = RAW
    interface: int = 0
    direction: int = 0


@cache
def _wraps() -> list[encapsulations.Case]:
    return [*encapsulations.single(), *encapsulations.combined()]


@cache
def _scenes() -> list[scenes.Scene]:
    return [scene for generator in scenes.ALL.values() for scene in generator()]


def _wrapped(chance: random.Random, packet: bytes) -> tuple[int, bytes]:
    """An IP packet in something that carries it, by chance: link type and frame."""
    case = chance.choice(_wraps())
    while packet[0] >> 4 not in case.versions:
        case = chance.choice(_wraps())
    return case.number, case.wrap(packet)


def conversations(chance: random.Random, most: int) -> list[Shot]:
    """Conversations of an alphabet by chance, side by side on few addresses: 4-tuples come again, ports are refused."""
    alphabet = chance.choice(sequences.ALPHABETS)
    names = list(alphabet.events)
    made = [tuple(chance.choices(names, k=chance.randint(1, 9))) for _ in range(chance.randint(1, most))]
    facts = sequences.capture(alphabet, made, interleaved=chance.random() < 0.7)
    return [Shot(fact.time, fact.packet) for fact in facts]


def scenery(chance: random.Random, most: int) -> list[Shot]:
    """Some scenes, one after the other or side by side, all on the addresses of a few."""
    shots = []
    for scene in chance.sample(_scenes(), chance.randint(1, most)):
        start = EPOCH + chance.choice((0, 0, chance.randrange(NANOSECONDS)))
        shots += [
            Shot(start + one.time, one.frame, one.link.number, one.interface, one.direction) for one in scene.taken
        ]
    return shots


def wrapped(chance: random.Random, most: int) -> list[Shot]:
    """A conversation in which each packet is in something else, or all are in the same."""
    shots = conversations(chance, most)
    case = chance.choice(_wraps())
    same = chance.random() < 0.5 and 4 in case.versions
    return [
        Shot(shot.time, frame, link)
        for shot in shots
        for link, frame in [(case.number, case.wrap(shot.frame)) if same else _wrapped(chance, shot.frame)]
    ]


def extremes(chance: random.Random, most: int) -> list[Shot]:
    """Segments of few 4-tuples whose numbers, windows, options and lengths lie at the limits of their fields."""
    numbers = (0, 1, 2, 0x7FFF_FFFE, 0x7FFF_FFFF, 0x8000_0000, 0x8000_0001, 0xFFFF_FFFE, 0xFFFF_FFFF)
    ports = [chance.choice((1, 80, 0x7FFF, 0x8000, 0xFFFF)) for _ in range(2)]
    hosts = [chance.choice((b"\0\0\0\1", b"\x7f\0\0\1", b"\x7f\xff\xff\xff", b"\x80\0\0\0", b"\xff" * 4))] * 2
    if chance.random() < 0.5:
        hosts[1] = b"\x0a\0\0\1"
    if chance.random() < 0.3:
        hosts = [host * 4 for host in hosts]
    shots, isn = [], [chance.choice(numbers) for _ in range(2)]
    for place in range(chance.randint(1, 6 * most)):
        side = chance.randrange(2)
        own, other = isn[side], isn[0 if hosts[0] == hosts[1] and ports[0] == ports[1] else 1 - side]
        near = (-1, 0, 0, 1, 1, 2, 65_535, 65_536)
        options = chance.choice((b"", frames.window_scale(chance.choice((0, 1, 14, 15, 255))), frames.mss(65_535)))
        segment = frames.tcp(
            ports[side],
            ports[1 - side],
            chance.choice((2, 2, 0x12, 0x12, 0x10, 0x18, 0x11, 4, 0x14, 0x3F, 0)),
            chance.choice((own, own + chance.choice(near), chance.choice(numbers))) & 0xFFFF_FFFF,
            chance.choice((0, other + chance.choice(near), chance.choice(numbers))) & 0xFFFF_FFFF,
            window=chance.choice((0, 1, 0x7FFF, 0x8000, 0xFFFF)),
            options=options,
            payload=bytes(chance.choice((0, 0, 1, 1400))),
        )
        if len(hosts[0]) == 4:
            identification = chance.choice((0, 1, place, 0xFFFF))
            packet = frames.ipv4(hosts[side], hosts[1 - side], segment, identification=identification)
        else:
            packet = frames.ipv6(hosts[side], hosts[1 - side], segment)
        shots.append(Shot(EPOCH + place * chance.choice((0, 1000, 10**6, 10**9)), packet))
    return shots


#: What a capture may hold.
KINDS = (conversations, scenery, wrapped, extremes)


def traffic(chance: random.Random, most: int = 5) -> list[Shot]:
    """What one or two of KINDS make, in the order of time, or not quite; some packets are captured again."""
    shots: list[Shot] = []
    while not shots:  # of some scenes nothing was captured
        shots = [shot for kind in chance.sample(KINDS, chance.randint(1, 2)) for shot in kind(chance, most)]
    start = min(shot.time for shot in shots)
    match chance.randrange(8):
        case 0:  # closer together: what is a copy, and the other side of a translation, is a matter of time
            by = chance.choice((10, 100, 1000))
            shots = [shot._replace(time=start + (shot.time - start) // by) for shot in shots]
        case 1:  # times that go back
            shots = [shot._replace(time=start + abs(NANOSECONDS - (shot.time - start) % NANOSECONDS)) for shot in shots]
        case 2:  # the ends of what a field holds
            shots = [shot._replace(time=chance.choice((0, 999, shot.time, LAST))) for shot in shots]
        case _:
            shots.sort(key=lambda shot: shot.time)
    for _ in range(chance.choice((0, 0, 1, 4))):
        at = chance.randrange(len(shots))
        copy = shots[at]._replace(
            time=shots[at].time + chance.choice((0, 1000, 10**6, 15 * 10**6)), interface=chance.randrange(2)
        )
        shots.insert(chance.randint(at + 1, len(shots)), copy)
    return shots


# -- files -----------------------------------------------------------------------------------------------------------


def as_pcapng(chance: random.Random, shots: Sequence[Shot]) -> bytes:
    """The shots as a pcapng file: sections in either byte order, options, and blocks that nobody asked for."""
    made, left = b"", list(shots)
    while left or not made:
        part, left = left[: (cut := chance.randint(1, 40))], left[cut:]
        order: writers.Order = chance.choice("<>")  # type: ignore[assignment]
        numbers: dict[tuple[int, int], int] = {}
        made += writers.section(order=order, options=_options(chance, order))
        for shot in part:
            key = (shot.link, shot.interface)
            if key not in numbers:
                numbers[key] = len(numbers)
                made += writers.interface(shot.link, order=order, resolution=9)
            if chance.random() < 0.05:
                made += _other_block(chance, order, len(numbers))
            options = _options(chance, order)
            if shot.direction:
                options = writers.option(2, struct.pack(f"{order}I", shot.direction), order=order)
            made += writers.enhanced(shot.time, shot.frame, order=order, number=numbers[key], options=options)
    return made


def _options(chance: random.Random, order: writers.Order) -> bytes:
    if chance.random() < 0.9:
        return b""
    each = (writers.option(chance.choice((1, 3, 4, 5, 2988)), chance.randbytes(chance.randrange(9)), order=order),)
    return b"".join(each * chance.randint(1, 3)) + chance.choice((b"", bytes(4)))


def _other_block(chance: random.Random, order: writers.Order, interfaces: int) -> bytes:
    """Interface statistics, name resolution, or a block of a type that nobody knows."""
    if chance.random() < 0.5:
        dropped = writers.option(5, struct.pack(f"{order}Q", chance.choice((0, 0, 7, 1 << 63))), order=order)
        return writers.block(
            5, struct.pack(f"{order}III", chance.randrange(interfaces), 0, 0) + dropped + bytes(4), order=order
        )
    number = chance.choice((4, 0x0BAD, 0x8000_0001))
    return writers.block(number, chance.randbytes(4 * chance.randrange(9)), order=order)


def as_file(chance: random.Random, shots: Sequence[Shot]) -> bytes:
    """The shots as a capture file of one of the formats."""
    links = {shot.link for shot in shots}
    if len(links) > 1 or chance.random() < 0.4:
        return as_pcapng(chance, shots)
    kind: writers.Kind = chance.choice(("nano", "nano", "micro", "modified"))  # type: ignore[assignment]
    order: writers.Order = chance.choice("<>")  # type: ignore[assignment]
    return writers.pcap(
        [(shot.time, shot.frame) for shot in shots], links.pop() if links else RAW, order=order, kind=kind
    )


def skippable(octets: bytes, number: int = 0) -> bytes:
    """A frame that zstd and lz4 pass over."""
    return struct.pack("<II", 0x184D2A50 + number, len(octets)) + octets


def small_members(octets: bytes) -> bytes:
    """As bgzip does, but in smaller members."""
    return writers.bgzf(octets, 200)


PACKERS = (gzip.compress, small_members, bz2.compress, lzma.compress, writers.zstd, writers.lz4)


def packed(chance: random.Random, octets: bytes) -> bytes:
    """The octets compressed, as one stream or several, with what may lie before, between and after them."""
    pack = chance.choice(PACKERS)
    cuts = sorted(chance.randrange(len(octets) + 1) for _ in range(chance.choice((0, 0, 1, 3))))
    streams = [pack(octets[start:end]) for start, end in itertools.pairwise([0, *cuts, len(octets)])]
    frames_of_two = pack in {writers.zstd, writers.lz4}
    made = b""
    for place, stream in enumerate(streams):
        if frames_of_two and chance.random() < 0.4:
            made += skippable(chance.randbytes(chance.randrange(40)), chance.randrange(16))
        made += stream
        if not frames_of_two and place == len(streams) - 1 and chance.random() < 0.4:
            made += bytes(4 * chance.randrange(1, 9))
    return made
