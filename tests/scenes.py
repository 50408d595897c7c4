"""Scenes: a few packets each, in every way that they may be captured, for engine and oracle to agree on.

A scene has addresses of its own, so that one capture file holds hundreds of them. ``ALL`` are the generators by name.
"""

from __future__ import annotations

import itertools
import random
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NamedTuple

import frames
import writers
from frames import LINKS, Link
from oracle import Fact, Quote, fact
from segments import LETTERS

from analysis.model import NANOSECONDS, Endpoint, Unreachable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

EPOCH = 1_700_000_000 * NANOSECONDS
MICROSECOND, MILLISECOND = 1000, 1_000_000

ETHERNET = LINKS[0]
INBOUND, OUTBOUND = 1, 2


class Taken(NamedTuple):
    """A packet as it was captured: time since the scene began, link-layer frame, where; IP packet, or ICMP's quote."""

    time: int
    frame: bytes
    link: Link
    interface: int
    direction: int
    packet: bytes
    quote: tuple[bytes, int, int, Fact] | None  # sender, type, code, and the SYN that is quoted


@dataclass
class Scene:
    """The packets of one scene, and what the oracle must say of its openings where the generator knows."""

    name: str
    number: int = 0
    version: int = 4
    link: Link = ETHERNET
    taken: list[Taken] = field(default_factory=list)
    now: int = 0
    identification: int = 0
    expected: Sequence[str] | None = None

    def __str__(self) -> str:
        return self.name

    def end(self, role: int, port: int) -> Endpoint:
        """An endpoint of this scene's own."""
        if self.version == 4:
            return Endpoint(struct.pack(">I", 0x0A00_0000 + 16 * self.number + role), port)
        return Endpoint(b"\x20\1\x0d\xb8" + struct.pack(">QI", self.number, role), port)

    def tcp(  # noqa: PLR0917 - as a segment is written: from, to, flags, numbers, length
        self, source: Endpoint, destination: Endpoint, flags: str, seq: int, ack: int = 0, size: int = 0, **more: int
    ) -> Scene:
        """Send a segment, 100 microseconds after the last packet, or *gap* nanoseconds; *scale* is a SYN's option."""
        options = frames.window_scale(more["scale"]) if "scale" in more else b""
        segment = frames.tcp(
            *(source.port, destination.port, sum(LETTERS[letter] for letter in flags), seq, ack),
            window=more.get("window", 65535),
            options=options,
            payload=b"x" * size,
        )
        self.identification += 1
        identification = more.get("identification", self.identification)
        packet = frames.segment_packet(source, destination, segment, identification=identification)
        return self.put(packet, gap=more.get("gap", 100 * MICROSECOND))

    def put(
        self,
        packet: bytes,
        *,
        gap: int = 100 * MICROSECOND,
        link: Link | None = None,
        interface: int = 0,
        direction: int = 0,
        quote: tuple[bytes, int, int, Fact] | None = None,
    ) -> Scene:
        """Capture an IP packet."""
        self.now += gap
        link = link or self.link
        self.taken.append(Taken(self.now, link.wrap(packet), link, interface, direction, packet, quote))
        return self

    def again(self, place: int = -1, *, hops: int = 0, **where: object) -> Scene:
        """Capture a packet again, perhaps some hops on and at another place."""
        copied = bytearray(self.taken[place].packet)
        if copied and copied[0] >> 4 == 4:
            copied[8] -= hops
            copied[10:12] = bytes(2)
            copied[10:12] = struct.pack(">H", frames.checksum(bytes(copied[:20])))
        else:
            copied[7] -= hops
        return self.put(bytes(copied), **where)  # type: ignore[arg-type]

    def error(self, sender: Endpoint, place: int, kind: int, code: int, *, gap: int = 100 * MICROSECOND) -> Scene:
        """Somebody answers a packet by an ICMP error that quotes it."""
        quoted = self.taken[place].packet
        receiver = fact(0, 0, quoted).source
        message = bytes((kind, code)) + bytes(6) + quoted[:128]
        if len(receiver.packed) == 4:
            message = message[:2] + struct.pack(">H", frames.checksum(message)) + message[4:]
            packet = frames.ipv4(sender.packed, receiver.packed, message, frames.ICMP)
        else:
            packet = frames.ipv6(sender.packed, receiver.packed, message, frames.ICMPV6)
        return self.put(packet, gap=gap, quote=(sender.packed, kind, code, fact(0, 0, quoted)))

    def lose(self, *places: int) -> Scene:
        """Lose packets: they were sent, and not captured."""
        self.taken = [taken for place, taken in enumerate(self.taken) if place not in places]
        return self


class Take:
    """Scenes as a pcapng file (``octets``), and as facts for the oracle (``seen``)."""

    def __init__(self, scenes: Iterable[Scene], *, interleaved: bool = False) -> None:
        apart = 0 if interleaved else 1000 * NANOSECONDS
        shots = [(EPOCH + place * apart + taken.time, taken) for place, one in enumerate(scenes) for taken in one.taken]
        if interleaved:
            shots.sort(key=lambda shot: shot[0])
        self.seen: list[Fact | Quote] = []
        interfaces: dict[tuple[int, int], int] = {}
        blocks = []
        for frame, (time, taken) in enumerate(shots, 1):
            interface = interfaces.setdefault((taken.link.number, taken.interface), len(interfaces))
            options = writers.option(2, struct.pack("<I", taken.direction)) if taken.direction else b""
            blocks.append(writers.enhanced(time, taken.frame, number=interface, options=options))
            self._see(frame, time, taken, interface)
        descriptions = b"".join(writers.interface(link, resolution=9) for link, _ in interfaces)
        self.octets = writers.section() + descriptions + b"".join(blocks)

    def _see(self, frame: int, time: int, taken: Taken, interface: int) -> None:
        if taken.quote is None:
            around = taken.frame[: len(taken.frame) - len(taken.packet)]
            place = (interface, taken.direction, around)
            outer = taken.frame[_outermost(taken) :]
            self.seen.append(fact(frame, time, taken.packet, place, outer))
            return
        sender, kind, code, quoted = taken.quote
        if (len(sender), kind) in {(4, 3), (16, 1)} and not (kind == 3 and code == 4) and quoted.bare_syn:
            error = Unreachable(frame, time, sender, kind, code)
            self.seen.append(Quote(error, quoted.source, quoted.destination, quoted.seq))


def _outermost(taken: Taken) -> int:
    """Where the outermost IP packet of a frame begins: where a mark would be that the link wraps alike."""
    for start in range(len(taken.frame) - len(taken.packet) + 1):
        rest = taken.frame[start:]
        if len(rest) >= 40 and rest[0] >> 4 == 4 and int.from_bytes(rest[2:4], "big") == len(rest):
            return start
        if len(rest) >= 60 and rest[0] >> 4 == 6 and int.from_bytes(rest[4:6], "big") == len(rest) - 40:
            return start
    raise ValueError(taken.link.name)


class _Cast:
    """Makes scenes, each with a number of its own."""

    def __init__(self, first: int) -> None:
        self._number = itertools.count(first)

    def __call__(self, name: str, version: int = 4, link: Link = ETHERNET) -> Scene:
        return Scene(name, next(self._number), version, link)


# -- who speaks -------------------------------------------------------------------------------------------------------

X, Y = 0xFFFF_FFF0, 5000  # the opener's ISN wraps within some octets
VERSIONS = (4, 6)


def _links(version: int) -> Iterator[Link]:
    return itertools.cycle(link for link in LINKS if version in link.versions)


def _itself(scene: Scene, *, data: bool, close: str) -> Scene:
    """A socket that connects to itself, with or without data: 3 or 5 packets, and those of the close."""
    p = scene.end(1, 50_000)
    scene.tcp(p, p, "S", X).tcp(p, p, "S.", X, X + 1).tcp(p, p, ".", X + 1, X + 1)
    at = X + 1
    if data:
        scene.tcp(p, p, "P.", at, at, 5).tcp(p, p, ".", at + 5, at + 5)
        at += 5
    if close == "FIN":
        scene.tcp(p, p, "F.", at, at).tcp(p, p, ".", at + 1, at + 1)
    elif close == "RST":
        scene.tcp(p, p, "R.", at, at)
    return scene


def _pair(scene: Scene, *, crossed: bool, close: str) -> Scene:
    """Two sockets; *close* is FIN or RST and who does it, or nothing."""
    a, b = scene.end(1, 40_000), scene.end(2, 80)
    if crossed:
        scene.tcp(a, b, "S", X).tcp(b, a, "S", Y).tcp(a, b, "S.", X, Y + 1).tcp(b, a, "S.", Y, X + 1)
        scene.tcp(a, b, ".", X + 1, Y + 1).tcp(b, a, ".", Y + 1, X + 1)
    else:
        scene.tcp(a, b, "S", X).tcp(b, a, "S.", Y, X + 1).tcp(a, b, ".", X + 1, Y + 1)
    scene.tcp(a, b, "P.", X + 1, Y + 1, 5).tcp(b, a, ".", Y + 1, X + 6)
    one, two, mine, theirs = (a, b, X + 6, Y + 1) if close.endswith("first") else (b, a, Y + 1, X + 6)
    if close.startswith("FIN"):
        scene.tcp(one, two, "F.", mine, theirs).tcp(two, one, "F.", theirs, mine + 1)
        scene.tcp(one, two, ".", mine + 1, theirs + 1)
    elif close.startswith("RST"):
        scene.tcp(one, two, "R", mine)
    return scene


def _lost(count: int) -> Iterator[tuple[int, ...]]:
    """Which of the first *count* packets are lost: none, one, two, three."""
    return itertools.chain.from_iterable(itertools.combinations(range(count), lost) for lost in range(4))


def _evidence(lost: tuple[int, ...], *, data: bool, close: str) -> str:
    """What is left to know a self-connect by."""
    there = [not {place} <= {*lost} for place in range(3)]
    if there[0]:
        later = there[2] or data or close == "FIN"
        return "handshake" if there[1] else "acknowledged" if later else "self-syn"
    if there[1]:
        return "syn-ack"
    return "standing" if data or close == "FIN" else "nothing"


def handshakes() -> Iterator[Scene]:
    """Packets of the handshake that the capture lacks, in IPv4 and IPv6, on every link type, however it closes."""
    cast = _Cast(0)
    for version in VERSIONS:
        links = _links(version)
        for data, close, lost in itertools.product((False, True), ("", "FIN", "RST"), _lost(3)):
            link = next(links)
            scene = cast(f"self IPv{version} {link} {data=} {close or 'open'} {lost=}", version, link)
            scene.expected = [_evidence(lost, data=data, close=close)]
            yield _itself(scene, data=data, close=close).lose(*lost)
        closes = ("", "FIN first", "FIN second", "RST first", "RST second")
        for crossed, close in itertools.product((False, True), closes):
            for lost in _lost(6 if crossed else 3):
                link = next(links)
                scene = cast(f"pair IPv{version} {link} {crossed=} {close or 'open'} {lost=}", version, link)
                yield _pair(scene, crossed=crossed, close=close).lose(*lost)


# -- RST --------------------------------------------------------------------------------------------------------------


def _established(
    scene: Scene, a: Endpoint, b: Endpoint, *, window: int = 1000, scale: int | None = None, scales: int = 2
) -> Scene:
    """A three-way handshake, and an ACK from each end with its window."""
    first = {} if scale is None else {"scale": scale}
    second = first if scales == 2 else {}
    scene.tcp(a, b, "S", X, window=900, **first).tcp(b, a, "S.", Y, X + 1, window=900, **second)
    return scene.tcp(a, b, ".", X + 1, Y + 1, window=window).tcp(b, a, ".", Y + 1, X + 1, window=window)


_Setting = tuple[str, "Callable[[Scene, Endpoint, Endpoint], object]", bool]

_SETTINGS: tuple[_Setting, ...] = (
    ("SYN-SENT", lambda s, a, b: s.tcp(a, b, "S", X), False),
    ("SYN-SENT with data", lambda s, a, b: s.tcp(a, b, "S", X, 0, 20), False),
    ("challenged", lambda s, a, b: s.tcp(a, b, "S", X).tcp(b, a, ".", Y, X + 1), False),
    ("crossed", lambda s, a, b: s.tcp(a, b, "S", X).tcp(b, a, "S", Y), False),
    ("answered", lambda s, a, b: s.tcp(a, b, "S", X).tcp(b, a, "S.", Y, X + 1, window=1000), False),
    (
        "answered, scaled",
        lambda s, a, b: s.tcp(a, b, "S", X, scale=7).tcp(b, a, "S.", Y, X + 1, window=1000, scale=7),
        False,
    ),
    ("established", _established, False),
    ("established, scaled", lambda s, a, b: _established(s, a, b, scale=7), False),
    ("established, window 0", lambda s, a, b: _established(s, a, b, window=0), False),
    (
        "established, one end scales",
        lambda s, a, b: _established(s, a, b, scale=7, scales=1),
        False,
    ),
    ("data", lambda s, a, b: _established(s, a, b).tcp(a, b, "P.", X + 1, Y + 1, 50, window=1000), False),
    ("self SYN-SENT", lambda s, a, b: s.tcp(a, b, "S", X), True),
    ("self answered", lambda s, a, b: s.tcp(a, b, "S", X, window=900).tcp(b, a, "S.", X, X + 1, window=1000), True),
    (
        "self established, scaled",
        lambda s, a, b: (
            s.tcp(a, b, "S", X, window=900, scale=7)
            .tcp(b, a, "S.", X, X + 1, window=1000, scale=7)
            .tcp(a, b, ".", X + 1, X + 1, window=1000)
        ),
        True,
    ),
    (
        "self acknowledged",
        lambda s, a, b: s.tcp(a, b, "S", X, window=900).tcp(b, a, ".", X + 1, X + 1, window=1000),
        True,
    ),
    ("self syn-ack", lambda s, a, b: s.tcp(a, b, "S.", X, X + 1, window=1000), True),
)


def _numbers(sender_isn: int) -> Iterator[int]:
    """The numbers that a RST may have: at each edge of what was sent, and of every window."""
    for base in (0, 1, 20, 50, 900, 1000, 900 << 7, 1000 << 7):
        yield from (sender_isn + base + more for more in (-1, 0, 1, 2))


def resets() -> Iterator[Scene]:
    """RSTs inside, outside and at every edge of what is acceptable; the same SYN again tells whether one ended it."""
    cast = _Cast(2000)
    for (name, setting, to_itself), second in itertools.product(_SETTINGS, (False, True)):
        if to_itself and second:
            continue
        own, other = (Y, X) if second else (X, X if to_itself else Y)
        for seq in sorted({*_numbers(own), 0}):
            yield _reset(
                cast(f"{name}, {'second' if second else 'first'} RST {seq - own:+}"), setting, seq, None, second
            )
        for ack, seq in itertools.product((-1, 0, 1, 2, 20, 21, 22), (0, own, own + 1)):
            scene = cast(f"{name}, {'second' if second else 'first'} RST-ACK {seq - own:+} ack {ack:+}")
            yield _reset(scene, setting, seq, other + ack, second)


def _reset(scene: Scene, setting: Callable, seq: int, ack: int | None, second: bool) -> Scene:
    to_itself = "self" in scene.name
    a = scene.end(1, 40_000)
    b = a if to_itself else scene.end(2, 80)
    setting(scene, a, b)
    ends = (b, a) if second else (a, b)
    scene.tcp(*ends, "R" if ack is None else "R.", seq, ack or 0)
    return scene.tcp(a, b, "S", X, gap=NANOSECONDS)


# -- evidence ---------------------------------------------------------------------------------------------------------


def late_syns() -> Iterator[Scene]:
    """SYN-ACKs captured before their SYN: how long before, and what lies between."""
    cast = _Cast(8000)
    between = {
        "nothing": "",
        "ACK": ".",
        "data": "P",
        "FIN": "F",
        "RST": "R",
        "ACK, FIN": ".F",
        "both FINs": "Ff",
        "SYN-ACK again": "A",
    }
    delays = (10 * MICROSECOND, 999 * MILLISECOND, NANOSECONDS, NANOSECONDS + 1000, 5 * NANOSECONDS)
    for to_itself, version, (name, letters), delay in itertools.product(
        (True, False), VERSIONS, between.items(), delays
    ):
        scene = cast(f"{'self' if to_itself else 'pair'} IPv{version} {name} between, SYN {delay} ns late", version)
        a = scene.end(1, 40_000)
        b, isn = (a, X) if to_itself else (scene.end(2, 80), Y)
        scene.tcp(b, a, "S.", isn, X + 1)
        started = scene.now
        for letter in letters:
            if letter == "A":
                scene.tcp(b, a, "S.", isn, X + 1, gap=1)
            elif letter == "f":
                scene.tcp(b, a, "F.", isn + 1, X + 2, gap=1)
            else:
                flags, size = letter.strip(".") + ".", 5 * (letter == "P")
                scene.tcp(a, b, flags, X + 1, isn + 1, size, gap=1)
        scene.now = scene.now if to_itself else started
        scene.tcp(a, b, "S", X, gap=delay)
        yield scene.tcp(a, b, ".", X + 1, isn + 1)


def acknowledged() -> Iterator[Scene]:
    """Self-connects without their SYN-ACK: what was captured of what it sent, and what acknowledges."""
    cast = _Cast(9000)
    cases = itertools.product(VERSIONS, (0, 8), (0, 1, 2), (-1, 0, 1), ("", "R", "F"))
    for version, in_syn, pieces, miss, close in cases:
        for hole in (False, True) if pieces else (False,):
            name = f"IPv{version} SYN of {in_syn}, {pieces} pieces, {hole=}, ACK {miss:+}, {close or 'open'}"
            scene = cast(name, version)
            p = scene.end(1, 50_000)
            scene.tcp(p, p, "S", X, 0, in_syn)
            at = X + 1 + in_syn + hole
            for _ in range(pieces):
                scene.tcp(p, p, "P.", at, X - 7, 5)
                at += 5
            scene.tcp(p, p, ".", at + miss, at + miss)
            if close:
                scene.tcp(p, p, close + ".", at, at)
            yield scene.tcp(p, p, "S", X, gap=NANOSECONDS)


def standing() -> Iterator[Scene]:
    """Captures that begin after a handshake to itself: what is sent, what acknowledges it, and how it goes on."""
    cast = _Cast(10_000)
    sent = {
        "data": ("P.", -5, -5, 5),
        "FIN": ("F.", -1, -1, 0),
        "keepalive": (".", -1, 0, 0),
        "keepalive of an octet": (".", -1, 0, 1),
        "no more than an ACK": (".", 0, 0, 0),
        "RST": ("R.", -1, 0, 0),
        "SYN-FIN": ("SF.", -2, 0, 0),
    }
    answers = {"ACK": (".", 0), "data": ("P.", 5), "FIN": ("F.", 0), "RST": ("R.", 0)}
    ends = (X, 9, 0, 4)
    for (what, one), (answer, two), e, order in itertools.product(sent.items(), answers.items(), ends, (0, 1, 2)):
        scene = cast(f"{what}, {answer}, E={e}, {('in order', 'backwards', 'twice')[order]}", 4 + 2 * (e == 9))
        p = scene.end(1, 50_000)

        def first(scene: Scene, p: Endpoint = p, e: int = e, one: tuple[str, int, int, int] = one) -> None:
            flags, seq, ack, size = one
            scene.tcp(p, p, flags, e + seq, e + ack, size)

        def second(scene: Scene, p: Endpoint = p, e: int = e, two: tuple[str, int] = two) -> None:
            scene.tcp(p, p, two[0], e, e, two[1], gap=75 * NANOSECONDS)

        for step in ((first, second), (second, first), (first, first, second))[order]:
            step(scene)
        yield scene
    yield from _standing_after(cast)


def _standing_after(cast: _Cast) -> Iterator[Scene]:
    """An opening, its end, and what comes then: its tail, or the middle of another connection."""
    for close, far, again, version in itertools.product(("FIN", "RST"), (False, True), (False, True), VERSIONS):
        scene = cast(f"after {close}, {'far' if far else 'near'}, {again=} IPv{version}", version)
        _itself(scene, data=True, close=close)
        p = scene.end(1, 50_000)
        at = X + (5_000_000 if far else 6)
        scene.tcp(p, p, "F." if not far else ".", at if not far else at - 1, at).tcp(
            p, p, ".", at + (not far), at + (not far)
        )
        if again:
            scene.tcp(p, p, "S", X + 77_777).tcp(p, p, "S.", X + 77_777, X + 77_778)
        scene.expected = ["handshake", *(["standing"] if far else []), *(["handshake"] if again else [])]
        yield scene


def noise() -> Iterator[Scene]:
    """Segments with equal ends and random numbers, always the same: nothing of it connects."""
    cast = _Cast(11_000)
    chance = random.Random(9293)
    for number in range(150):
        scene = cast(f"noise {number}", VERSIONS[number % 2])
        p = scene.end(1, 50_000)
        scene.expected = []
        for _ in range(chance.randint(1, 12)):
            flags = chance.choice((".", "P.", "F.", "S.", "R", "R.", "F", ".", "."))
            seq, ack = chance.getrandbits(32), chance.getrandbits(32)
            scene.tcp(p, p, flags, seq, ack, chance.choice((0, 0, 9)), gap=chance.randint(1000, NANOSECONDS))
        yield scene


# -- answers from elsewhere -------------------------------------------------------------------------------------------


def translations() -> Iterator[Scene]:
    """A destination that is translated: what answers, where it was captured, and what else there is."""
    cast = _Cast(12_000)
    cases = itertools.product(
        VERSIONS,
        ("SYN-ACK", "RST", "RST without ACK", "nothing", "both"),
        ("behind, answers before", "before, answers behind", "both", "behind"),
        (False, True),
        (MILLISECOND, 20 * MILLISECOND, 20 * MILLISECOND + 1000),
    )
    for version, answer, point, third, apart in cases:
        if point != "both" and apart != MILLISECOND:
            continue
        scene = cast(f"IPv{version} {answer}, captured {point}, {third=} {apart=}", version)
        yield _translated(scene, answer, point, third=third, apart=apart)
    for version, port, answer, size, ack in itertools.product(
        VERSIONS, (12_345, 15_001), ("S.", "R."), (0, 9), (0, 1, 2, 10, 11)
    ):
        scene = cast(f"IPv{version} REDIRECT to {port}, {answer} of {ack}, SYN of {size}", version)
        a = scene.end(1, 12_345)
        b, v = scene.end(1, port), scene.end(1, 80)
        scene.tcp(a, b, "S", X, 0, size).tcp(v, a, answer, Y, X + ack)
        yield scene.tcp(a, b, ".", X + ack, Y + 1)


def _translated(scene: Scene, answer: str, point: str, *, third: bool, apart: int) -> Scene:
    a, v, b = scene.end(1, 40_000), scene.end(2, 80), scene.end(3, 15_001)
    syns = {"both": (v, b), "before, answers behind": (v,)}.get(point, (b,))
    answerers = {"both": (b, v), "before, answers behind": (b,), "behind": (b,)}.get(point, (v,))
    for place, destination in enumerate(syns):
        scene.tcp(a, destination, "S", X, gap=apart if place else 1000, identification=7)
    kinds = {"SYN-ACK": ("S.",), "RST": ("R.",), "RST without ACK": ("R",), "both": ("S.", "R.")}.get(answer, ())
    for flags, source in itertools.product(kinds, answerers):
        scene.tcp(source, a, flags, Y, X + 1)
    if third:
        for destination in syns:
            scene.tcp(a, destination, ".", X + 1, Y + 1)
    return scene


def refusals() -> Iterator[Scene]:
    """ICMP errors: type and code, from whom, when, and what else answers."""
    cast = _Cast(13_000)
    errors = {
        4: [(3, code) for code in (0, 1, 3, 4, 9, 10, 13)] + [(11, 0), (12, 0)],
        6: [(1, 0), (1, 4), (2, 0), (3, 0)],
    }
    after = ("nothing", "SYN", "SYN and error", "SYN-ACK", "RST", "bare ACK", "own RST", "another SYN")
    for version, to_itself, then in itertools.product(VERSIONS, (False, True), after):
        for kind, code in errors[version]:
            scene = cast(f"IPv{version} {'self' if to_itself else 'pair'} type {kind} code {code}, {then}", version)
            a = scene.end(1, 50_000)
            b, isn = (a, X) if to_itself else (scene.end(2, 80), Y)
            router = scene.end(9, 0)
            scene.tcp(a, b, "S", X).error(router if code else b, 0, kind, code)
            if then in {"SYN", "SYN and error"}:
                scene.tcp(a, b, "S", X, gap=NANOSECONDS)
            if then == "SYN and error":
                scene.error(b, 0, 3 if version == 4 else 1, 1)
            if then in {"SYN-ACK", "RST", "bare ACK"}:
                flags = {"SYN-ACK": "S.", "RST": "R.", "bare ACK": "."}[then]
                scene.tcp(b, a, flags, 7 if then == "bare ACK" else isn, X + 1)
            elif then == "own RST":
                scene.tcp(a, b, "R", X + 1)
            elif then == "another SYN":
                scene.tcp(a, b, "S", X + 99_999).error(b, 0, 3 if version == 4 else 1, 1)
            yield scene


# -- one packet at several places -------------------------------------------------------------------------------------


def _other_mac(packet: bytes) -> bytes:
    return b"\2\0\0\0\0\4\2\0\0\0\0\3" + frames.ethernet(packet)[12:]


OTHER_MAC = Link("other MAC", 1, _other_mac)
SLL_IN, SLL_OUT = Link("SLL in", 113, frames.sll), Link("SLL out", 113, lambda p: frames.sll(p, packet_type=4))
VLAN = next(link for link in LINKS if link.name == "802.1Q")
VXLAN = next(link for link in LINKS if link.name == "VXLAN")

#: What tells two places apart: hops between, and where the copy was captured.
PLACES: dict[str, dict[str, object]] = {
    "hop": {"hops": 1},
    "MAC": {"link": OTHER_MAC},
    "interface": {"interface": 1},
    "direction": {"direction": OUTBOUND},
    "hop and MAC": {"hops": 1, "link": OTHER_MAC},
    "VLAN": {"link": VLAN},
    "VXLAN": {"link": VXLAN},
    "nothing": {},
}


def copies() -> Iterator[Scene]:
    """Packets that are captured at two places, and packets that are sent twice."""
    cast = _Cast(14_000)
    delays = (10 * MICROSECOND, 2 * MILLISECOND, 20 * MILLISECOND, 20 * MILLISECOND + 1000, 300 * MILLISECOND)
    for version, (place, where), delay, ids in itertools.product(
        VERSIONS, PLACES.items(), delays, ("the same", "none", "others", "one")
    ):
        if version == 6 and ids != "none":
            continue
        scene = cast(f"IPv{version} {place}, {delay} ns, identification: {ids}", version)
        a, b = scene.end(1, 40_000), scene.end(2, 80)
        first, second = {"the same": (5, 5), "none": (0, 0), "others": (5, 6), "one": (5, 0)}[ids]
        for source, destination, flags, seq, ack in (
            (a, b, "S", X, 0),
            (b, a, "S.", Y, X + 1),
            (a, b, ".", X + 1, Y + 1),
        ):
            scene.tcp(source, destination, flags, seq, ack, identification=first)
            scene.taken[-1] = scene.taken[-1]._replace(direction=INBOUND if place == "direction" else 0)
            at = len(scene.taken) - 1
            if first != second:
                scene.tcp(source, destination, flags, seq, ack, identification=second)
                packet = scene.taken.pop().packet
                scene.now -= 100 * MICROSECOND
                scene.taken.append(scene.taken[at]._replace(packet=packet))
                scene.again(-1, gap=delay, **where)
                scene.taken.pop(-2)
            else:
                scene.again(at, gap=delay, **where)
        yield scene
    yield from _routed(cast)


def _routed(cast: _Cast) -> Iterator[Scene]:
    """A router's two interfaces, with retransmissions that both of them see."""
    for version, again, cooked in itertools.product(VERSIONS, (3, 15, 200), (False, True)):
        scene = cast(f"IPv{version} routed, {cooked=}, the SYN sent again after {again} ms", version)
        a, b = scene.end(1, 40_000), scene.end(2, 80)
        before, behind = (SLL_IN, SLL_OUT) if cooked else (ETHERNET, OTHER_MAC)
        scene.link = before
        parts = (
            (a, b, "S", X, 0, 100 * MICROSECOND),
            (a, b, "S", X, 0, again * MILLISECOND),
            (b, a, "S.", Y, X + 1, 100 * MICROSECOND),
            (a, b, ".", X + 1, Y + 1, 100 * MICROSECOND),
        )
        for source, destination, flags, seq, ack, gap in parts:
            scene.tcp(source, destination, flags, seq, ack, gap=gap)
            scene.again(hops=1, gap=30 * MICROSECOND, link=behind)
        scene.expected = ["three-way"]
        yield scene


ALL: dict[str, Callable[[], Iterator[Scene]]] = {
    "handshakes": handshakes,
    "resets": resets,
    "late SYNs": late_syns,
    "acknowledged": acknowledged,
    "standing": standing,
    "noise": noise,
    "translations": translations,
    "refusals": refusals,
    "copies": copies,
}
