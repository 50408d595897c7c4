"""The facts of a capture file as Wireshark's dissectors see them, for the oracle."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

from oracle import Fact, Quote

from analysis.model import NANOSECONDS, Endpoint, SequenceNumber, Unreachable

if TYPE_CHECKING:
    from collections.abc import Iterator

#: What may stand around TCP for it to be a segment of ours; anything else (ICMP above all) carries none.
_LINKS = ("eth", "ethertype", "chdlc", "vlan", "ieee8021ad", "mpls", "pppoes", "ppp", "null", "raw", "sll")
_PACKETS = ("ip", "ipv6", "gre", "ah", "ipv6.hopopts", "ipv6.dstopts", "ipv6.routing", "ipv6.fraghdr")
_OVER_UDP = ("udp", "vxlan", "geneve", "gtp", "teredo")
CARRIERS = frozenset((*_LINKS, *_PACKETS, *_OVER_UDP))

_PREFERENCES = (
    "tcp.relative_sequence_numbers:FALSE",
    "tcp.desegment_tcp_streams:FALSE",
    "ip.defragment:FALSE",
    "ipv6.defragment:FALSE",
)

_FIELDS = (
    *("frame.number", "frame.time_epoch", "frame.protocols"),
    *("ip.src", "ip.dst", "ipv6.src", "ipv6.dst", "tcp.srcport", "tcp.dstport"),
    *("tcp.seq_raw", "tcp.ack_raw", "tcp.flags", "tcp.window_size_value", "tcp.len"),
    *("tcp.checksum", "ip.flags.mf", "ipv6.fraghdr.more", "tcp.options.wscale.shift", "ip.id"),
    *("icmp.type", "icmp.code", "icmpv6.type", "icmpv6.code"),
)

#: What tells where a frame was captured, besides what stands around TCP.
_PLACE = ("frame.interface_id", "eth.src", "eth.dst", "sll.pkttype", "frame.packet_flags_direction")
_HOPS = ("ip.ttl", "ipv6.hlim")

#: ICMP errors that refuse: which type, and which code of it does not (RFC 792, RFC 1191, RFC 4443).
_REFUSES = {"icmp": (3, 4), "icmpv6": (1, None)}


def _tshark(program: str, capture: str, *arguments: str) -> subprocess.Popen[str]:
    command = [program, "-n", "-r", capture, *arguments]
    for preference in _PREFERENCES:
        command += ["-o", preference]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def facts(program: str, capture: str) -> Iterator[Fact | Quote]:
    """The segments of a capture file as Wireshark dissects them: the innermost TCP header of each frame.

    *program* is tshark. Of a damaged file it gives the intact part, of what is no capture nothing. ICMP errors that
    quote a TCP header are told as such.
    """
    names = (*_FIELDS, *_PLACE, *_HOPS)
    fields = [word for name in names for word in ("-e", name)]
    # Asked for a protocol that no frame has, jsonraw still gives each frame's bytes, and where each protocol begins.
    # Both run at the same time: most of it is tshark's start.
    runs = (
        _tshark(program, capture, "-T", "fields", "-E", "occurrence=a", *fields),
        _tshark(program, capture, "-T", "jsonraw", "-j", "none"),
    )
    text, raw = (run.communicate(timeout=100)[0] for run in runs)
    lines = text.splitlines()
    frames = json.loads(raw, object_pairs_hook=list) if raw.strip() else []
    for line, frame in zip(lines, frames, strict=True):
        column = dict(zip(names, line.split("\t"), strict=True))
        layers = dict(dict(frame)["_source"])["layers"]
        if found := _quote(column, layers) or _segment(column, layers):
            yield found


def _segment(column: dict[str, str], layers: list[tuple[str, Any]]) -> Fact | None:
    protocols = column["frame.protocols"].split(":")
    # A TCP header that is cut short has no checksum; a malformed one has no length, but a first fragment neither.
    fragment = "1" in (column["ip.flags.mf"] + column["ipv6.fraghdr.more"])
    if "tcp" not in protocols or not column["tcp.checksum"] or not (column["tcp.len"] or fragment):
        return None
    carriers = protocols[: protocols.index("tcp")]
    if not CARRIERS.issuperset(carriers):
        return None
    packet = _outermost_packet(layers)
    return Fact(
        int(column["frame.number"]),
        _time(column),
        _end(column, carriers, "src"),
        _end(column, carriers, "dst"),
        SequenceNumber(_first(column["tcp.seq_raw"])),
        SequenceNumber(_first(column["tcp.ack_raw"])),
        _first(column["tcp.flags"]),
        _first(column["tcp.window_size_value"]),
        _first(column["tcp.len"] or "0"),
        packet,
        _tcp_header(layers),
        _first(column["tcp.options.wscale.shift"]) if column["tcp.options.wscale.shift"] else None,
        (carriers, *(column[name] for name in _PLACE), *(column[name].split(",")[-1] for name in _HOPS)),
        int(column["ip.id"].split(",")[-1], 0) if _innermost(carriers) == "ip" else 0,
    )


def _quote(column: dict[str, str], layers: list[tuple[str, Any]]) -> Quote | None:
    """An ICMP error that says that nobody takes what it quotes of TCP."""
    protocols = column["frame.protocols"].split(":")
    name = next((protocol for protocol in protocols if protocol in _REFUSES), None)
    if name is None or not column["tcp.srcport"]:
        return None
    kind, code = (_first(column[f"{name}.{field}"]) for field in ("type", "code"))
    refusing, but = _REFUSES[name]
    around = protocols[: protocols.index(name)]
    if kind != refusing or code == but or not CARRIERS.issuperset(around):
        return None
    sender = _address(column, around, "src")
    carriers = protocols[: protocols.index("tcp")]
    error = Unreachable(int(column["frame.number"]), _time(column), Endpoint.parse(sender, 0).packed, kind, code)
    icmp = dict(layers)[f"{name}_raw"]
    quoted = bytes.fromhex(dict(layers)["frame_raw"][0])[icmp[1] + 8 :]
    at = 4 * (quoted[0] & 15) if quoted[0] >> 4 == 4 else 40
    seq = int.from_bytes(quoted[at + 4 : at + 8], "big")
    return Quote(error, _end(column, carriers, "src"), _end(column, carriers, "dst"), SequenceNumber(seq))


def _time(column: dict[str, str]) -> int:
    seconds, _, nanoseconds = column["frame.time_epoch"].partition(".")
    return int(seconds) * NANOSECONDS + int(nanoseconds)


def _tcp_header(layers: list[tuple[str, Any]]) -> bytes:
    return bytes.fromhex(next((value[0] for name, value in layers if name == "tcp_raw"), ""))


def _end(column: dict[str, str], carriers: list[str], which: str) -> Endpoint:
    """Source or destination in the IP header that carries TCP: the innermost of those before it."""
    return Endpoint.parse(_address(column, carriers, which), _first(column[f"tcp.{which}port"]))


def _address(column: dict[str, str], carriers: list[str], which: str) -> str:
    version = _innermost(carriers)
    return column[f"{version}.{which}"].split(",")[carriers.count(version) - 1]


def _innermost(carriers: list[str]) -> str:
    return next(name for name in reversed(carriers) if name in {"ip", "ipv6"})


def _first(numbers: str) -> int:
    return int(numbers.partition(",")[0], 0)


def _outermost_packet(layers: list[tuple[str, Any]]) -> bytes:
    """The bytes of the outermost IP packet, without what the link added behind it."""
    headers = [value for name, value in layers if name in {"ip_raw", "ipv6_raw", "tcp_raw"}]
    try:
        frame = bytes.fromhex(dict(layers)["frame_raw"][0])
    except ValueError:  # jsonraw gives up on a frame that says it holds more than is there
        return bytes.fromhex("".join(header[0] for header in headers))
    start = headers[0][1]
    packet = frame[start:]
    if packet[0] >> 4 == 4:
        return packet[: int.from_bytes(packet[2:4], "big") or None]
    return packet[: 40 + int.from_bytes(packet[4:6], "big")]
