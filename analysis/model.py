"""The words that every part of selfconn shares: endpoint, sequence number, segment, opening.

Every other module may import this one. Of ours it imports records.py alone; it knows no file format, and no rule of TCP
except the arithmetic of sequence numbers (RFC 9293 3.4).
"""

from __future__ import annotations

import enum
import re
from collections.abc import Mapping, Sequence
from itertools import islice
from operator import sub

from .records import NamedTuple

#: Sequence numbers live in a space of this size (RFC 9293 3.4).
SEQUENCE_SPACE = 1 << 32

#: Captured octets, in any of these types.
Octets = bytes | bytearray | memoryview

#: Times are whole nanoseconds since the epoch.
NANOSECONDS = 1_000_000_000


class Endpoint(NamedTuple):
    """One end of a connection: an address (4 or 16 bytes, network order) and a port."""

    packed: bytes
    port: int

    @property
    def address(self) -> str:
        """The address as text, ``127.0.0.1`` or ``::1``."""
        return _dotted(self.packed) if len(self.packed) == 4 else _colons(self.packed)

    @property
    def is_loopback(self) -> bool:
        """Whether the address is one of the loopback's: 127.0.0.0/8, ::1."""
        return self.packed[0] == 127 if len(self.packed) == 4 else self.packed == bytes(15) + b"\1"

    def __str__(self) -> str:
        return f"{self.address}:{self.port}" if len(self.packed) == 4 else f"[{self.address}]:{self.port}"

    @classmethod
    def parse(cls, address: str, port: int) -> Endpoint:
        """An endpoint from text. Raises OSError or ValueError where *address* is no IP address."""
        import socket  # noqa: PLC0415 - here and below: it takes longer to import than a small capture to read

        if ":" not in address:
            return cls(socket.inet_pton(socket.AF_INET, address), port)
        if socket.has_ipv6:
            return cls(socket.inet_pton(socket.AF_INET6, address), port)
        from ipaddress import IPv6Address  # noqa: PLC0415 - Pyodide's Python knows no IPv6 socket

        return cls(IPv6Address(address).packed, port)


#: Words of an IPv6 address that are zero, one after the other.
_ZEROS = "(?:^|:)0(?::0)+(?:$|:)"


def _dotted(packed: bytes) -> str:
    return "{}.{}.{}.{}".format(*packed)


def _colons(packed: bytes) -> str:
    """An IPv6 address as glibc's inet_ntop() writes it (RFC 5952), which not every Python has."""
    if packed[:12] == bytes(10) + b"\xff\xff":
        return f"::ffff:{_dotted(packed[12:])}"
    if packed[:12] == bytes(12) and packed[12:14] != bytes(2):
        return f"::{_dotted(packed[12:])}"
    text = ":".join(f"{high << 8 | low:x}" for high, low in zip(packed[::2], packed[1::2], strict=True))
    longest = max(re.finditer(_ZEROS, text), key=lambda found: found[0].count("0"), default=None)
    return f"{text[: longest.start()]}::{text[longest.end() :]}" if longest else text


class SequenceNumber(int):
    """A 32-bit sequence number: arithmetic wraps, and order is that of RFC 9293 3.4.

    ``a - b`` of two sequence numbers is their signed distance (-2**31 .. 2**31-1), which is
    also what ``<`` and its kin look at. ``a + n`` is a sequence number again.
    """

    __slots__ = ()

    def __new__(cls, value: int) -> SequenceNumber:
        """Any whole number, brought into the space."""
        return int.__new__(cls, value % SEQUENCE_SPACE)  # super() takes as long as all the rest

    def __add__(self, octets: int) -> SequenceNumber:
        return SequenceNumber(int(self) + octets)

    def __sub__(self, other: int) -> int:
        distance = (int(self) - int(other)) % SEQUENCE_SPACE
        return distance - SEQUENCE_SPACE if distance >= SEQUENCE_SPACE // 2 else distance

    def __lt__(self, other: int) -> bool:
        return self - other < 0

    def __le__(self, other: int) -> bool:
        return self - other <= 0

    def __gt__(self, other: int) -> bool:
        return self - other > 0

    def __ge__(self, other: int) -> bool:
        return self - other >= 0


class Flag:
    """The control bits of a segment (RFC 9293 3.1), with their places in the header's byte 13.

    A set of them is an integer: enum's own arithmetic takes ten times as long.
    """

    FIN = 0x01
    SYN = 0x02
    RST = 0x04
    PSH = 0x08
    ACK = 0x10
    URG = 0x20
    ECE = 0x40
    CWR = 0x80
    ALL = 0xFF


_SYN, _SYN_ACK, _CONTROL = 0x02, 0x12, 0x17

#: Flags in the order and with the names in which people read them.
_SPOKEN = (
    (Flag.SYN, "SYN"),
    (Flag.FIN, "FIN"),
    (Flag.RST, "RST"),
    (Flag.PSH, "PSH"),
    (Flag.ACK, "ACK"),
    (Flag.URG, "URG"),
)


def spoken(flags: int) -> str:
    """The control bits as people say them: ``SYN-ACK``, ``PSH-ACK``, ``RST``; ``none`` for no bit."""
    return "-".join(name for bit, name in _SPOKEN if flags & bit) or "none"


class Options(NamedTuple):
    """The TCP options of one segment (RFC 9293 3.2, 7323, 2018, 7413). Absent ones are None or empty.

    ``damage`` says why reading stopped early, where it did.
    """

    mss: int | None = None
    window_scale: int | None = None
    sack_permitted: bool = False
    sack: tuple[tuple[int, int], ...] = ()
    tsval: int | None = None
    tsecr: int | None = None
    fast_open: bytes | None = None
    damage: str | None = None


class Segment(NamedTuple):
    """One TCP segment as it was captured.

    ``frame`` counts from 1 over the whole capture, as Wireshark's does; ``time`` is in nanoseconds
    since the epoch; ``payload`` is a length in octets (of the segment as sent, not of what was captured).
    """

    frame: int
    time: int
    source: Endpoint
    destination: Endpoint
    seq: SequenceNumber
    ack: SequenceNumber
    flags: int
    window: int
    payload: int = 0
    options: Options = Options()

    @property
    def length(self) -> int:
        """SEG.LEN: the octets that it takes in sequence space, SYN and FIN counted (RFC 9293 3.4)."""
        return self.payload + bool(self.flags & Flag.SYN) + bool(self.flags & Flag.FIN)

    @property
    def end(self) -> SequenceNumber:
        """The sequence number just after this segment."""
        return self.seq + self.length

    @property
    def bare_syn(self) -> bool:
        """Whether it opens a connection: SYN without ACK, RST or FIN."""
        return self.flags & _CONTROL == _SYN

    @property
    def syn_ack(self) -> bool:
        """Whether SYN and ACK are set, and neither RST nor FIN."""
        return self.flags & _CONTROL == _SYN_ACK

    @property
    def dsack(self) -> bool:
        """Whether its first SACK block reports a duplicate (RFC 2883): it lies below the ACK field."""
        return bool(self.options.sack) and SequenceNumber(self.options.sack[0][0]) < self.ack


class Verdict(enum.StrEnum):
    """What an opening turned out to be; the rules are in verdicts.py."""

    SELF_CONNECT = "self-connect"
    SELF_SYN = "self-syn"
    SIMULTANEOUS_OPEN = "simultaneous-open"
    ONE_SIDED_CROSSING = "one-sided-crossing"
    SPLIT_HANDSHAKE = "split-handshake"
    CROSSED_UNANSWERED = "crossed-unanswered"
    THREE_WAY = "three-way"
    HALF_OPEN = "half-open"
    REFUSED = "refused"
    ABORTED = "aborted"
    UNANSWERED = "unanswered"
    ODD = "odd"


class Evidence(enum.StrEnum):
    """On what grounds an opening is a self-connect; the rules are in docs/verdicts.md."""

    HANDSHAKE = "handshake"
    SYN_ACK = "syn-ack"
    ACKNOWLEDGED = "acknowledged"
    STANDING = "standing"


#: The kinds of evidence in order; the engine knows them by their place here.
EVIDENCE = tuple(Evidence)


class Unreachable(NamedTuple):
    """An ICMP or ICMPv6 error that quotes the SYN of an opening: the SYN was not delivered.

    Frame number, time (nanoseconds since the epoch), ``sender`` (packed address), type and code (RFC 792, RFC 4443).
    """

    frame: int
    time: int
    sender: bytes
    type: int
    code: int

    @property
    def address(self) -> str:
        """The sender's address as text."""
        return Endpoint(self.sender, 0).address


#: Openings of each verdict in a capture that come into the report, unless --all asks for every one.
MOST = 1000


class Misdirected(NamedTuple):
    """A SYN-ACK or RST that acknowledges the SYN of an opening, but was sent to another port of the client.

    Its frame number, the endpoint that sent it, and the port that it was sent to.
    """

    frame: int
    source: Endpoint
    port: int


#: The verdicts that are shown opening by opening unless the user asks otherwise.
REMARKABLE = frozenset(
    {
        Verdict.SELF_CONNECT,
        Verdict.SELF_SYN,
        Verdict.SIMULTANEOUS_OPEN,
        Verdict.ONE_SIDED_CROSSING,
        Verdict.SPLIT_HANDSHAKE,
        Verdict.CROSSED_UNANSWERED,
    }
)


class Opening(NamedTuple):
    """One opening of a connection, from its bare SYN on.

    ``source`` sent the first SYN with sequence number ``isn`` in frame ``first_frame`` at ``time``
    (nanoseconds since the epoch). ``segments`` are those of this opening in capture order, to the end of
    the connection; bulk data between the handshake and the close is left out and counted in ``omitted``.
    ``refused_before`` counts the openings to the same destination that were refused since the capture
    began, the first of them at ``refused_since`` (nanoseconds, None where there was none). ``over_a_link`` is True
    where both ends are equal and the SYN came in an Ethernet frame with addresses, so not over loopback.

    ``evidence`` says on what grounds a self-connect is one, None for every other verdict. Of ``standing`` evidence
    the ISN is None, and ``first_frame`` and ``time`` are those of the first of the two proving segments.
    ``answered_by`` is the endpoint of another 4-tuple whose SYN-ACK or RST answered the SYN, in the frame
    ``answered_in`` (an address was translated), ``translated_with`` the first frame of the opening on the other side of
    a translation, ``refused_by`` the ICMP error that refused it, ``misdirected`` a segment that would have answered it,
    had it not been sent to another port.
    """

    verdict: Verdict
    source: Endpoint
    destination: Endpoint
    isn: int | None
    first_frame: int
    time: int
    segments: list[Segment]
    syn_retransmissions: int = 0
    omitted: int = 0
    refused_before: int = 0
    refused_since: int | None = None
    over_a_link: bool = False
    evidence: Evidence | None = None
    answered_by: Endpoint | None = None
    answered_in: int | None = None
    translated_with: int | None = None
    refused_by: Unreachable | None = None
    misdirected: Misdirected | None = None

    @property
    def to_itself(self) -> bool:
        """Whether both ends are one and the same endpoint, and not only after an address was translated."""
        return self.source == self.destination and self.answered_by is None


class Attempts(NamedTuple):
    """The refused attempts at one destination.

    ``count`` of them, the first at ``first``, the last at ``last`` (nanoseconds since the epoch). ``ports`` and
    ``times`` (nanoseconds since the first) are the source ports and the times of the earliest of them, in order.
    """

    destination: Endpoint
    count: int  # type: ignore[assignment] # tuple's method of that name counts fields, which nobody wants
    first: int
    last: int
    ports: Sequence[int]
    times: Sequence[int]

    @property
    def took(self) -> int | None:
        """Nanoseconds from the first attempt to the last; None where the capture's clock went back meanwhile."""
        back = max(map(sub, self.times, islice(self.times, 1, None)), default=0) > NANOSECONDS
        return None if back or self.last < self.first else self.last - self.first


class Damage(NamedTuple):
    """Where a capture file stops making sense: the byte offset, and why."""

    offset: int
    reason: str


#: Reasons for which a frame gives no segment, and yet hides no opening. Of fragments the first has the TCP header
#: (RFC 791 3.2, RFC 8200 4.5); every other reason means octets that were cut off or make no sense, and may be a SYN's.
HIDING_NOTHING = frozenset({"IP fragment after the first"})


#: In the language of capture filters: the segments whose two endpoints are equal, as selfconn-capture records them.
EQUAL_ENDS = (
    "((ip and tcp[0:2] = tcp[2:2] and ip[12:4] = ip[16:4]) or (ip6 and ip6[6] = 6 and ip6[40:2] = ip6[42:2]"
    " and ip6[8:4] = ip6[24:4] and ip6[12:4] = ip6[28:4] and ip6[16:4] = ip6[32:4] and ip6[20:4] = ip6[36:4]))"
)


class Piece(NamedTuple):
    """One file of a capture that was cut into several."""

    name: str
    packets: int
    damage: Damage | None


class CaptureResult(NamedTuple):
    """What one capture held.

    ``segments`` counts TCP segments without the ``duplicates``; ``undecoded`` maps a reason to a number of frames.
    ``complete`` says whether every opening that there was can be among those that were found.
    """

    name: str
    format: str = "pcap"
    packets: int = 0
    segments: int = 0
    duplicates: int = 0
    undecoded: Mapping[str, int] = {}
    damage: Damage | None = None
    verdicts: Mapping[Verdict, int] = dict.fromkeys(Verdict, 0)
    midstream: int = 0
    #: Conversations with equal endpoints whose SYN is not in the capture: connected to themselves before it began.
    midstream_to_itself: int = 0
    #: Undecided openings that the bounded table had to forget; counted under the verdict that they had by then.
    evicted: int = 0
    openings: Sequence[Opening] = ()
    #: Endpoints connected to themselves, of openings that were handed on as they ended and are not among these.
    hits: frozenset[Endpoint] = frozenset()
    #: Openings with the same verdicts as these that are only counted: there are more than were asked for.
    left_out: int = 0
    #: Refused attempts by destination, most attempts first.
    attempts: Sequence[Attempts] = ()
    #: The files of a capture that was cut into several, in order.
    parts: tuple[Piece, ...] = ()
    #: Frames that carry no TCP, by the name of what they carry.
    other: Mapping[str, int] = {}
    #: Frames that selfconn cannot read, by name (link type, EtherType, IP protocol, tunnel); they may carry TCP.
    unknown: Mapping[str, int] = {}
    #: Packets that the recorder dropped, as the file itself says; None where it says nothing.
    recorded_drops: int | None = None
    #: The capture filters that the file names.
    filters: tuple[str, ...] = ()
    #: Frames from a socket to itself that are cut off before the TCP flags, and the snap length that would keep them.
    cut_to_itself: int = 0
    needed_snaplen: int = 0
    #: Pairs of openings that are the two sides of one translated connection.
    translated: int = 0
    #: Whether it was put together from parts, and may differ from what the whole gives (analysis.partial says when).
    unsure: bool = False

    @property
    def unread(self) -> int:
        """How many frames could not be looked into, and may hold a segment that opens a connection."""
        hiding = sum(frames for reason, frames in self.undecoded.items() if reason not in HIDING_NOTHING)
        return hiding + sum(self.unknown.values())

    @property
    def complete(self) -> bool:
        """Whether nothing hides an opening: no frame that could not be read, no loss, no damage, nothing forgotten.

        Frames that carry no TCP, encrypted ones among them, and what a capture filter kept out do not count.
        """
        missing = self.unread, self.recorded_drops, self.cut_to_itself, self.evicted, self.damage, self.unsure
        return not any(missing) and not any(part.damage for part in self.parts)

    @property
    def narrowed_by(self) -> list[str]:
        """The capture filters that may have kept a self-connect out: all but those that pass equal ends in any case."""
        return [text for text in self.filters if text != EQUAL_ENDS and not text.startswith(f"{EQUAL_ENDS} or ")]
