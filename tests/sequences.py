"""Every short sequence of packets: conversations over a small alphabet, for engine and oracle to agree on.

Each sequence is a conversation of its own between a pair of addresses of its own, so that one capture holds
thousands of them. ``python tests/sequences.py DEPTH`` compares all of that length (minutes from 5 on).
"""

from __future__ import annotations

import itertools
import random
import struct
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import frames
from oracle import Fact, fact

from analysis.model import NANOSECONDS, Endpoint, Flag

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

EPOCH = 1_700_000_000 * NANOSECONDS

#: Initial sequence numbers: the opener's and its next, the other end's and its next. X wraps within a handshake; Y and
#: Y2 are as far apart as can be, so that neither is ahead of the other.
X, X2, Y, Y2 = 0xFFFF_FFFF, 70_000, 0x7FFF_FFFE, 0xFFFF_FFFE

S, R, F, P, ACK = Flag.SYN, Flag.RST, Flag.FIN, Flag.PSH, Flag.ACK


@dataclass(frozen=True)
class Event:
    """One packet: from the first end or from the second, and its numbers. ``copies`` is a copy of the packet before."""

    from_first: bool
    flags: int
    seq: int
    ack: int = 0
    payload: int = 0
    copies: bool = False


COPY = Event(from_first=True, flags=0, seq=0, copies=True)

#: Two ends. The second SYN-ACK fits the opener's next SYN, the third SYN-ACK is the opener's, for crossed SYNs.
PAIR = {
    "SYN": Event(True, S, X),
    "next SYN": Event(True, S, X2),
    "their SYN": Event(False, S, Y),
    "SYN-ACK": Event(False, S | ACK, Y, X + 1),
    "SYN-ACK of next": Event(False, S | ACK, Y, X2 + 1),
    "own SYN-ACK": Event(True, S | ACK, X, Y + 1),
    "ACK": Event(True, ACK, X + 1, Y + 1),
    "their ACK": Event(False, ACK, Y + 1, X + 1),
    "RST": Event(True, R, X + 1),
    "their RST": Event(False, R | ACK, 0, X + 1),
    "FIN": Event(True, F | ACK, X + 1, Y + 1),
    "their FIN": Event(False, F | ACK, Y + 1, X + 1),
}

#: What PAIR leaves out: data in SYNs, foreign numbers, answers that miss by one, other flags.
STRANGE = {
    "SYN": Event(True, S, X),
    "SYN with data": Event(True, S, X, payload=9),
    "their SYN": Event(False, S, Y),
    "their next SYN": Event(False, S, Y2),
    "SYN-ACK of data": Event(False, S | ACK, Y, X + 10),
    "SYN-ACK too low": Event(False, S | ACK, Y, X),
    "next SYN-ACK": Event(False, S | ACK, Y2, X + 1),
    "own SYN-ACK": Event(True, S | ACK, X, Y + 1),
    "ACK of data": Event(True, ACK, X + 10, Y + 1),
    "ACK too high": Event(True, ACK, X + 1, Y + 2),
    "ACK of next": Event(True, ACK, X + 1, Y2 + 1),
    "SYN-FIN": Event(False, S | F, Y),
    "their data": Event(False, P | ACK, Y + 1, X + 1, payload=5),
}

#: One end.
SELF = {
    "SYN": Event(True, S, X),
    "next SYN": Event(True, S, X2),
    "SYN with data": Event(True, S, X, payload=9),
    "SYN-ACK": Event(True, S | ACK, X, X + 1),
    "SYN-ACK of next": Event(True, S | ACK, X2, X2 + 1),
    "SYN-ACK of a listener": Event(True, S | ACK, Y, X + 1),
    "SYN-ACK of data": Event(True, S | ACK, X, X + 10),
    "ACK": Event(True, ACK, X + 1, X + 1),
    "RST": Event(True, R, X + 1),
    "FIN": Event(True, F | ACK, X + 1, X + 1),
}

#: What matters with copies between.
COPIED = {
    name: PAIR[name] for name in ("SYN", "next SYN", "their SYN", "SYN-ACK", "own SYN-ACK", "ACK", "their RST")
} | {"copy": COPY}

Sequence = tuple[str, ...]


@dataclass(frozen=True)
class Alphabet:
    """Events by name, whether the two ends are one, and the time between two packets in nanoseconds."""

    name: str
    events: dict[str, Event]
    to_itself: bool
    gap: int

    def __str__(self) -> str:
        return self.name


ALPHABETS = (
    Alphabet("pair", PAIR, False, NANOSECONDS // 5000),
    Alphabet("pair, slowly", PAIR, False, 400_000_000),
    Alphabet("strange", STRANGE, False, 400_000_000),
    Alphabet("self", SELF, True, 400_000_000),
    Alphabet("copied", COPIED, False, 400_000),
)


def every(alphabet: Alphabet, length: int) -> Iterator[Sequence]:
    """All sequences of one length."""
    return itertools.product(alphabet.events, repeat=length)


def some(alphabet: Alphabet, count: int, seed: int = 9293) -> Iterator[Sequence]:
    """*count* longer sequences, always the same."""
    chance = random.Random(seed)
    names = list(alphabet.events)
    for _ in range(count):
        yield ("SYN", *chance.choices(names, k=chance.randint(4, 11)))


def capture(alphabet: Alphabet, sequences: Iterable[Sequence], *, interleaved: bool = False) -> list[Fact]:
    """The packets of all sequences: one conversation after the other, or all first packets, all second packets ..."""
    timed: list[tuple[int, int, Sequence, int]] = []
    for number, names in enumerate(sequences):
        start = 0 if interleaved else 20 * NANOSECONDS * number
        timed += [(start + place * alphabet.gap, number, names, place) for place in range(len(names))]
    if interleaved:
        timed.sort(key=lambda packet: packet[:2])
    sent: dict[int, Fact] = {}
    found = []
    for frame, (time, number, names, place) in enumerate(timed, 1):
        event = alphabet.events[names[place]]
        earlier = sent.get(number)
        copied = earlier.packet if event.copies and earlier else b""
        packet = copied or _packet(event, _ends(alphabet, number, event), place)
        sent[number] = fact(frame, EPOCH + time, packet)
        found.append(sent[number])
    return found


def _ends(alphabet: Alphabet, number: int, event: Event) -> tuple[Endpoint, Endpoint]:
    first = Endpoint(struct.pack(">I", 0x0A00_0001 + number), 40_000)
    second = first if alphabet.to_itself else Endpoint(struct.pack(">I", 0xC000_0201 + number), 40_000)
    return (first, second) if event.from_first else (second, first)


def _packet(event: Event, ends: tuple[Endpoint, Endpoint], place: int) -> bytes:
    source, destination = ends
    payload = b"x" * event.payload
    segment = frames.tcp(source.port, destination.port, event.flags, event.seq, event.ack, payload=payload)
    return frames.segment_packet(source, destination, segment, identification=place + 1)


def _main(depth: int) -> None:
    from test_conversations import differences  # noqa: PLC0415 -- the tests import this module

    for alphabet in ALPHABETS:
        sequences = every(alphabet, depth)
        total = 0
        while batch := list(itertools.islice(sequences, 20_000)):
            for difference in differences(alphabet, batch):
                print(alphabet, difference)  # noqa: T201 -- that is its output
            total += len(batch)
        print(f"{alphabet}: {total} sequences of {depth} packets compared")  # noqa: T201


if __name__ == "__main__":
    _main(int(sys.argv[1]))
