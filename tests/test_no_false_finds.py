"""What looks like a self-connect and is none: nothing is called one without proof, whatever is sent.

Ends that are equal are no proof (LAND, scanners, noise), nor is anything between two addresses that may be one host
(hairpin NAT, anycast).
"""

from __future__ import annotations

import itertools
import random
from typing import TYPE_CHECKING

import pytest
from oracle import judge
from scenes import MICROSECOND, MILLISECOND, VERSIONS, Scene, Take, X, Y
from test_conversations import analysed, judgement

from analysis.model import NANOSECONDS, Verdict

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WORD = 1 << 32


def land() -> Iterator[Scene]:
    """LAND: SYNs with equal ends, one number or a new one each time; the victim answers, refuses or is silent."""
    answers = ("silence", "RST", "RST-ACK of nothing", "a listener's SYN-ACK", "challenge ACK", "SYN cookie")
    for number, (version, fresh, answer) in enumerate(itertools.product(VERSIONS, (False, True), answers)):
        scene = Scene(f"LAND IPv{version} {fresh=} {answer}", number, version)
        chance = random.Random(number)
        p = scene.end(1, 139)
        for _ in range(40):
            isn = chance.getrandbits(32) if fresh else 3868
            scene.tcp(p, p, "S", isn, window=2048)
            if answer == "RST":
                scene.tcp(p, p, "R.", 0, isn + 1)
            elif answer == "RST-ACK of nothing":
                scene.tcp(p, p, "R.", isn, isn)
            elif answer == "a listener's SYN-ACK":
                scene.tcp(p, p, "S.", isn + 5, isn + 1)
            elif answer == "challenge ACK":
                scene.tcp(p, p, ".", isn + 5, isn + 9)
            elif answer == "SYN cookie":
                scene.tcp(p, p, "S.", chance.getrandbits(32), isn + 1)
        yield scene


def spoofed() -> Iterator[Scene]:
    """Spoofed segments with equal ends: number and acknowledgment have nothing to do with each other."""
    chance = random.Random(1)
    kinds = ("S.", ".", "P.", "F.", "R", "R.", "S", "FP", "SF")
    for number, (version, flags) in enumerate(itertools.product(VERSIONS, kinds)):
        scene = Scene(f"spoofed IPv{version} {flags}", 100 + number, version)
        p = scene.end(1, 80)
        for _ in range(60):
            size = chance.choice((0, 0, 1, 100)) if "S" not in flags else 0
            scene.tcp(p, p, flags, chance.getrandbits(32), chance.getrandbits(32), size)
        yield scene


def near_misses() -> Iterator[Scene]:
    """Segments with equal ends that miss a proof by one."""
    number = 200
    misses = (
        ("SYN-ACK of itself", [("S.", X, X)]),
        ("SYN-ACK one too high", [("S.", X, X + 2)]),
        ("SYN, SYN-ACK one too high", [("S", X, 0), ("S.", X, X + 2)]),
        ("SYN, SYN-ACK of another number", [("S", X, 0), ("S.", X + 1, X + 1)]),
        ("SYN, ACK of the SYN with a foreign number", [("S", X, 0), (".", Y, X + 1)]),
        ("SYN, ACK one too high", [("S", X, 0), (".", X + 2, X + 2)]),
        ("SYN, ACK one too low", [("S", X, 0), (".", X, X)]),
        ("SYN, RST with SEQ = ACK", [("S", X, 0), ("R.", X + 1, X + 1)]),
        ("one ACK with SEQ = ACK", [(".", X, X)]),
        ("the same ACK five times", [(".", X, X)] * 5),
        ("zeros", [(".", 0, 0)] * 5 + [("P.", 0, 0, 9), (".", 0, 0), ("F.", 0, 0), (".", 0, 0)]),
        ("keepalives without an answer", [(".", X - 1, X)] * 5),
        ("keepalives, and RST", [(".", X - 1, X), ("R", X, 0), ("R.", X, X)]),
        ("data, and an ACK that is one short", [("P.", X, Y, 9), (".", X + 8, X + 8)]),
        ("data, and an ACK that is one ahead", [("P.", X, Y, 9), (".", X + 10, X + 10)]),
        ("an ACK, and data that ends there", [(".", X + 9, X + 9), ("P.", X, X, 9)]),
        ("ACKs that go up", [(".", X + place, X + place) for place in range(20)]),
        ("data, and a SYN-ACK", [("P.", X, Y, 9), ("S.", X + 9, X + 9)]),
    )
    for version, (name, sent) in itertools.product(VERSIONS, misses):
        scene = Scene(f"near miss IPv{version}: {name}", number, version)
        p = scene.end(1, 50_000)
        for segment in sent:
            scene.tcp(p, p, *segment, gap=NANOSECONDS // 2)
        number += 1
        yield scene


def scanners() -> Iterator[Scene]:
    """Scanners with equal ports on both sides, and whoever answers them."""
    for number, (version, answer) in enumerate(itertools.product(VERSIONS, ("S.", "R.", ""))):
        scene = Scene(f"scanner IPv{version} {answer or 'silence'}", 300 + number, version)
        for port, host in itertools.product((22, 80, 443, 3389), range(2, 10)):
            a, b = scene.end(1, port), scene.end(host, port)
            scene.tcp(a, b, "S", X + port, gap=30 * MILLISECOND)
            if answer:
                scene.tcp(b, a, answer, Y if answer == "S." else 0, X + port + 1)
                scene.tcp(a, b, "R", X + port + 1)
        yield scene


def hairpins() -> Iterator[Scene]:
    """A socket that meets itself or another one through hairpin NAT: its two ends differ in what is captured."""
    for number, (version, same, crossed) in enumerate(itertools.product(VERSIONS, (False, True), (False, True))):
        scene = Scene(f"hairpin IPv{version} {same=} {crossed=}", 400 + number, version)
        inside, outside = scene.end(1, 50_000), scene.end(2, 50_000)
        other = X if same else Y
        scene.tcp(inside, outside, "S", X)
        if crossed:
            scene.tcp(outside, inside, "S", other)
            scene.tcp(inside, outside, "S.", X, other + 1).tcp(outside, inside, "S.", other, X + 1)
        else:
            scene.tcp(outside, inside, "S.", other, X + 1)
        scene.tcp(inside, outside, ".", X + 1, other + 1).tcp(outside, inside, ".", other + 1, X + 1)
        yield scene


def anycast() -> Iterator[Scene]:
    """One address at several hosts: two of them answer the same SYN, or one answers what another began."""
    for number, version in enumerate(VERSIONS):
        scene = Scene(f"anycast IPv{version}", 500 + number, version)
        a, b = scene.end(1, 53), scene.end(2, 53)
        scene.tcp(a, b, "S", X).tcp(b, a, "S.", Y, X + 1).tcp(b, a, "S.", Y + 99, X + 1).tcp(a, b, ".", X + 1, Y + 1)
        scene.tcp(a, b, "P.", X + 1, Y + 1, 9).tcp(b, a, "R", Y + 500).tcp(b, a, ".", X + 10, X + 10)
        yield scene


def noise() -> Iterator[Scene]:
    """Random segments with equal ends, near each other as those of one connection are."""
    chance = random.Random(2)
    for number in range(200):
        scene = Scene(f"noise {number}", 600 + number, VERSIONS[number % 2])
        p = scene.end(1, 50_000)
        for _ in range(chance.randint(2, 15)):
            # Odd SEQ, even ACK, payload even: no end is ever acknowledged by a segment of that number.
            seq, ack = chance.randrange(1, 2000, 2), chance.randrange(0, 2000, 2)
            flags = chance.choice((".", "P.", "R", "R.", "."))
            scene.tcp(p, p, flags, seq, ack, chance.choice((0, 10, 100)), gap=chance.randint(1, 2000) * MICROSECOND)
        yield scene


KINDS = (land, spoofed, near_misses, scanners, hairpins, anycast, noise)


@pytest.mark.parametrize("interleaved", [False, True], ids=["one after the other", "interleaved"])
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_nothing_is_a_self_connect_without_proof(kind: Callable[[], Iterator[Scene]], interleaved: bool) -> None:
    take = Take(list(kind()), interleaved=interleaved)
    result = analysed(take.octets)
    found = [(opening.first_frame, opening.evidence) for opening in result.openings if opening.evidence]
    assert (result.verdicts[Verdict.SELF_CONNECT], found) == (0, [])
    assert [ruling for ruling in judge(take.seen).openings if ruling.evidence] == []


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_as_the_oracle_says(kind: Callable[[], Iterator[Scene]]) -> None:
    for scene in kind():
        take = Take([scene])
        assert (scene.name, judgement(analysed(take.octets))) == (scene.name, judge(take.seen))
