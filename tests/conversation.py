"""The language of tests/conversations: a line a packet, what must come of it last.

    A 10.0.0.1:40000 isn 1000        an endpoint and its initial sequence number; at the top of a file for
    B 10.0.0.2:80    isn 5000        all of it, or in one conversation for that one
    ## Title                         begins a conversation
    let A2 77000                     another name for a number
    0      A > B  S   A      len 5 win 100 <mss 1460, ws 7, sackOK, TS 1 0, sack A:A+1, FO 0011>   | A SYN-SENT
    +.001  B > A  S.  B      ack A+6                                   time: seconds, or + since the line before
    +.001  A > B  .   A+6    ack B+1
    +.00001 again 3                  the very bytes of packet 3
    +.1    B > A  unreachable 1      an ICMP error (port unreachable) that quotes packet 1
    +.0001 moved 1                   packet 1 behind a router: one hop less to live
    = three-way A 1                  an opening: verdict, who sent the first SYN, in which packet
    = refused A 7 again 2            ... with two SYN retransmissions
    = self-connect A 1 by syn-ack    ... on that evidence (handshake where not said)
    = three-way A 1 from C           ... answered by C, an address was translated
    = three-way A 1 with 2           ... translated with the opening of packet 2
    = refused A 1 error 2            ... by the ICMP error in packet 2
    = midstream 1 duplicates 1       counts; 0 where not said

Flags: S SYN, F FIN, R RST, P PSH, . ACK, U URG, E ECE, W CWR, - none. Numbers: a name, a figure, a name +- a figure.
After ``|`` stand the states of sockets once the packet was sent and has arrived. Each packet gets its own IP
identification, unless ``id N`` says otherwise: a retransmission is not a copy.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import frames
from oracle import Fact, Quote, Ruling, fact

from analysis.model import NANOSECONDS, Endpoint, Evidence, Flag, SequenceNumber, Unreachable, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER = Path(__file__).parent / "conversations"
EPOCH = 1_700_000_000 * NANOSECONDS

FLAGS = {
    "S": Flag.SYN,
    "F": Flag.FIN,
    "R": Flag.RST,
    "P": Flag.PSH,
    ".": Flag.ACK,
    "U": Flag.URG,
    "E": Flag.ECE,
    "W": Flag.CWR,
    "-": 0,
}

_ENDPOINT = re.compile(r"(?P<name>\w+)\s+(?P<address>[0-9a-f.:\[\]]+):(?P<port>\d+)(\s+isn\s+(?P<isn>\d+))?$")
_LET = re.compile(r"let\s+(?P<name>\w+)\s+(?P<value>\d+)$")
_TIME = r"(?P<time>\+?[\d.]+)\s+"
_AGAIN = re.compile(_TIME + r"again\s+(?P<packet>\d+)$")
_MOVED = re.compile(_TIME + r"moved\s+(?P<packet>\d+)$")
_ENDS = r"(?P<source>\w+)\s*>\s*(?P<destination>\w+)\s+"
_QUOTE = re.compile(_TIME + _ENDS + r"unreachable\s+(?P<packet>\d+)$")
_SEGMENT = re.compile(
    _TIME
    + _ENDS
    + r"(?P<flags>[SFRP.UEW]+|-)\s+(?P<seq>[\w+-]+)"
    + r"(\s+ack\s+(?P<ack>[\w+-]+))?(\s+win\s+(?P<win>\d+))?(\s+len\s+(?P<len>\d+))?(\s+id\s+(?P<id>\d+))?"
    + r"(\s*<(?P<options>[^>]*)>)?$"
)
_OPENING = re.compile(
    r"=\s*(?P<verdict>[a-z-]+)\s+(?P<source>\w+)\s+(?P<frame>\d+)(\s+again\s+(?P<again>\d+))?"
    r"(\s+by\s+(?P<by>[a-z-]+))?(\s+from\s+(?P<from>\w+))?(\s+with\s+(?P<with>\d+))?(\s+error\s+(?P<error>\d+))?$"
)
_COUNTS = re.compile(r"=(\s*(midstream|duplicates)\s+\d+)+$")


@dataclass
class Conversation:
    """One conversation: its packets, and what must come of them."""

    file: str
    title: str
    line: int
    endpoints: dict[str, Endpoint] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    #: Time in nanoseconds and IP packet, in capture order; frame n is packets[n - 1].
    packets: list[tuple[int, bytes]] = field(default_factory=list)
    #: The TCP segments among them, and the ICMP errors.
    facts: list[Fact] = field(default_factory=list)
    quotes: list[Quote] = field(default_factory=list)
    #: Frame to the states of endpoints after it.
    states: dict[int, dict[str, str]] = field(default_factory=dict)
    openings: list[Ruling] = field(default_factory=list)
    midstream: int = 0
    duplicates: int = 0

    def __str__(self) -> str:
        return f"{self.file}: {self.title}"

    def seen(self) -> list[Fact | Quote]:
        """What the oracle is to be told, in capture order."""
        return [*self.facts, *self.quotes]

    def add(self, time: int, packet: bytes) -> None:
        """Take in a packet."""
        self.packets.append((time, packet))
        if packet[9 if packet[0] >> 4 == 4 else 6] == frames.TCP:
            self.facts.append(fact(len(self.packets), time, packet))


class BadLineError(Exception):
    """A line that is not in the language."""


def conversations() -> list[Conversation]:
    """All conversations of the folder, by file name and place."""
    return [found for path in sorted(FOLDER.glob("*.txt")) for found in parse(path.name, path.read_text())]


def parse(name: str, text: str) -> Iterator[Conversation]:
    """The conversations of one file."""
    common = Conversation(name, "", 0)
    current = common
    for number, raw in enumerate(text.splitlines(), 1):
        line = raw.split("#", 1)[0].strip() if not raw.startswith("##") else raw.strip()
        if not line:
            continue
        if line.startswith("##"):
            if current is not common:
                yield current
            current = Conversation(name, line[2:].strip(), number, dict(common.endpoints), dict(common.numbers))
            continue
        try:
            _read(current, line)
        except (ValueError, KeyError, OSError) as error:
            raise BadLineError(f"{name}:{number}: {line!r}: {error}") from error
    if current is not common:
        yield current


def _read(conversation: Conversation, line: str) -> None:
    line, _, states = (part.strip() for part in line.partition("|"))
    for pattern, take in _LINES:
        if match := pattern.match(line):
            take(conversation, match)
            break
    else:
        raise ValueError("not in the language")
    if states:
        pairs = states.split()
        conversation.states[len(conversation.packets)] = dict(zip(pairs[::2], pairs[1::2], strict=True))


def _endpoint(conversation: Conversation, match: re.Match[str]) -> None:
    end = Endpoint.parse(match["address"].strip("[]"), int(match["port"]))
    conversation.endpoints[match["name"]] = end
    conversation.numbers[match["name"]] = int(match["isn"] or 0)


def _let(conversation: Conversation, match: re.Match[str]) -> None:
    conversation.numbers[match["name"]] = int(match["value"])


def _opening(conversation: Conversation, match: re.Match[str]) -> None:
    conversation.openings.append(_ruling(conversation, match))


def _counts(conversation: Conversation, match: re.Match[str]) -> None:
    for word, count in re.findall(r"(\w+)\s+(\d+)", match[0]):
        setattr(conversation, word, int(count))


def _again(conversation: Conversation, match: re.Match[str]) -> None:
    conversation.add(_time(conversation, match), conversation.packets[int(match["packet"]) - 1][1])


def _moved(conversation: Conversation, match: re.Match[str]) -> None:
    copied = bytearray(conversation.packets[int(match["packet"]) - 1][1])
    copied[8 if copied[0] >> 4 == 4 else 7] -= 1
    conversation.add(_time(conversation, match), bytes(copied))


def _quote(conversation: Conversation, match: re.Match[str]) -> None:
    sender, receiver = (conversation.endpoints[match[end]] for end in ("source", "destination"))
    time, packet = _time(conversation, match), int(match["packet"])
    conversation.add(time, frames.unreachable(sender.packed, receiver.packed, conversation.packets[packet - 1][1]))
    kind, code = (3, 3) if len(sender.packed) == 4 else (1, 4)
    error = Unreachable(len(conversation.packets), time, sender.packed, kind, code)
    for quoted in conversation.facts:
        if quoted.frame == packet and quoted.bare_syn:
            conversation.quotes.append(Quote(error, quoted.source, quoted.destination, quoted.seq))


def _time(conversation: Conversation, match: re.Match[str]) -> int:
    text = match["time"]
    nanoseconds = round(float(text) * NANOSECONDS)
    if text.startswith("+"):
        return conversation.packets[-1][0] + nanoseconds
    return EPOCH + nanoseconds


def _ruling(conversation: Conversation, match: re.Match[str]) -> Ruling:
    frame = int(match["frame"])
    first = next(fact for fact in conversation.facts if fact.frame == frame)
    if first.source != conversation.endpoints[match["source"]]:
        raise ValueError(f"packet {frame} is not from {match['source']}")
    verdict = Verdict(match["verdict"])
    evidence = Evidence(match["by"] or Evidence.HANDSHAKE) if verdict is Verdict.SELF_CONNECT else None
    quotes = {quote.error.frame: quote.error for quote in conversation.quotes}
    return Ruling(
        *(verdict, frame, first.source, first.destination, int(match["again"] or 0)),
        None if evidence is Evidence.STANDING else int(first.seq),
        evidence,
        conversation.endpoints[match["from"]] if match["from"] else None,
        int(match["with"]) if match["with"] else None,
        quotes[int(match["error"])] if match["error"] else None,
    )


def _number(conversation: Conversation, text: str) -> SequenceNumber:
    name, sign, offset = re.fullmatch(r"(\w+)(?:([+-])(\d+))?", text).groups()  # type: ignore[union-attr]
    base = int(name) if name.isdigit() else conversation.numbers[name]
    return SequenceNumber(base + int(f"{sign or '+'}{offset or 0}"))


def _segment(conversation: Conversation, match: re.Match[str]) -> None:
    time = _time(conversation, match)
    source, destination = (conversation.endpoints[match[end]] for end in ("source", "destination"))
    flags = 0
    for letter in match["flags"]:
        flags |= FLAGS[letter]
    seq, ack = (_number(conversation, match[field] or "0") for field in ("seq", "ack"))
    window, length = int(match["win"] or 65535), int(match["len"] or 0)
    frame = len(conversation.packets) + 1
    segment = frames.tcp(
        source.port,
        destination.port,
        flags,
        seq,
        ack,
        window=window,
        options=_options(conversation, match["options"] or ""),
        payload=b"x" * length,
    )
    packet = frames.segment_packet(source, destination, segment, identification=int(match["id"] or frame))
    conversation.add(time, packet)


def _options(conversation: Conversation, text: str) -> bytes:
    found = b""
    for item in filter(None, (part.strip() for part in text.split(","))):
        word, *values = item.split()
        if word == "mss":
            found += frames.mss(int(values[0]))
        elif word == "ws":
            found += frames.window_scale(int(values[0]))
        elif word == "sackOK":
            found += frames.sack_permitted()
        elif word == "TS":
            found += frames.timestamps(int(values[0]), int(values[1]))
        elif word == "sack":
            edges = [tuple(_number(conversation, edge) for edge in block.split(":")) for block in values]
            found += frames.sack(*((left, right) for left, right in edges))
        elif word == "FO":
            found += frames.fast_open(bytes.fromhex(values[0]) if values else b"")
        else:
            raise ValueError(f"unknown option {word}")
    return found


#: What a line may be, and who takes it in.
_LINES = (
    *((_ENDPOINT, _endpoint), (_LET, _let), (_OPENING, _opening), (_COUNTS, _counts), (_AGAIN, _again)),
    *((_MOVED, _moved), (_QUOTE, _quote), (_SEGMENT, _segment)),
)
