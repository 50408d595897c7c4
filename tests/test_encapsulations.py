"""Every encapsulation in every carrier: the self-connect inside is found, and Wireshark reads the same segments."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

import frames
import pytest
import writers
from encapsulations import Case, combined, single

from analysis.model import NANOSECONDS, CaptureResult, Flag, Verdict
from analysis.reader import Analysis

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

EPOCH = 1_700_000_000 * NANOSECONDS
MILLISECOND = NANOSECONDS // 1000
HOST = {4: b"\x0a\0\0\1", 6: b"\x20\1\x0d\xb8" + bytes(11) + b"\1"}


def analysed(data: bytes, verdicts: Iterable[Verdict] = Verdict) -> CaptureResult:
    analysis = Analysis("frames", collect=frozenset(verdicts))
    analysis.feed(data)
    return analysis.finish()


def self_connect(version: int, port: int) -> Iterator[bytes]:
    """The three IP packets of a socket that connects to itself."""
    host = HOST[version]
    for place, (flags, seq, ack) in enumerate(
        ((Flag.SYN, 7000, 0), (Flag.SYN | Flag.ACK, 7000, 7001), (Flag.ACK, 7001, 7001))
    ):
        segment = frames.tcp(port, port, flags, seq, ack)
        yield frames.ipv4(host, host, segment, identification=place) if version == 4 else frames.ipv6(host, host, segment)


def capture(cases: Iterable[Case]) -> tuple[bytes, list[str]]:
    """All of them in one pcapng, an interface for each link type, a port for each case; the name that each port has."""
    numbers: dict[int, int] = {}
    blocks: list[bytes] = []
    names: list[str] = []
    for case in cases:
        number = numbers.setdefault(case.number, len(numbers))
        for version in case.versions:
            for packet in self_connect(version, 1024 + len(names)):
                blocks.append(writers.enhanced(EPOCH + len(blocks) * MILLISECOND, case.wrap(packet), number=number))
            names.append(f"{case.name} IPv{version}")
    described = b"".join(writers.interface(link, resolution=9) for link in numbers)
    return writers.section() + described + b"".join(blocks), names


def missed(result: CaptureResult, names: list[str]) -> list[str]:
    """The cases whose self-connect is not among the openings."""
    found = {one.source.port - 1024 for one in result.openings if one.verdict is Verdict.SELF_CONNECT}
    return [name for place, name in enumerate(names) if place not in found]


def test_every_one_in_every_carrier() -> None:
    data, names = capture([*single(), *combined()])
    result = analysed(data)
    assert missed(result, names) == []
    assert (result.undecoded, result.other, result.unknown) == ({}, {}, {})
    assert (result.segments, result.duplicates) == (3 * len(names), 0)
