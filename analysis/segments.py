"""A TCP header's octets -> one Segment (RFC 9293 3.1, 3.2)."""

from __future__ import annotations

from functools import lru_cache
from struct import Struct

from .model import Endpoint, Options, Segment, SequenceNumber

#: From octet 4 on: sequence number, ACK field, length in words (and four bits more), control bits, window.
_FIXED = Struct(">IIBBH")
_STAMPS = Struct(">II")
#: How a time stamp begins (RFC 7323 3.2), and the octets after that.
_STAMP, _STAMPED = b"\x08\x0a", 8


def decode(frame: int, time: int, source: Endpoint, destination: Endpoint, header: bytes, payload: int) -> Segment:
    """The segment whose header is *header*: at least its 20 fixed octets; options may be cut short.

    *time* in nanoseconds since the epoch, *payload* in octets.
    """
    seq, ack, words, flags, window = _FIXED.unpack_from(header, 4)
    found = _whole(options(header[20:]), (words >> 4) * 4 - len(header))
    numbers = SequenceNumber(seq), SequenceNumber(ack)
    return Segment(frame, time, source, destination, *numbers, flags, window, payload, found)


def _whole(found: Options, missing: int) -> Options:
    """The options as they were found; ``damage`` says that the capture lacks *missing* octets of the header."""
    if missing <= 0 or found.damage:
        return found
    return found._replace(damage=f"the last {missing} octets of the header were not captured")


def options(octets: bytes) -> Options:
    """The TCP options in *octets*; what comes after a malformed one is left out, and ``damage`` says so.

    But for their time stamps, segments have the same options again and again: the rest is read once.
    """
    at = octets.find(_STAMP) + len(_STAMP)
    if at >= len(_STAMP) and at + _STAMPED <= len(octets):
        found, stamp = _read(octets[:at] + bytes(_STAMPED) + octets[at + _STAMPED :])
        if stamp == at:
            mss, scale, permitted, sack, _, _, cookie, damage = found
            tsval, tsecr = _STAMPS.unpack_from(octets, at)
            return Options(mss, scale, permitted, sack, tsval, tsecr, cookie, damage)
    return _read(octets)[0]


@lru_cache(maxsize=1 << 8)
def _read(octets: bytes) -> tuple[Options, int]:
    """The options, and where the time stamp's numbers begin: those of the last one, 0 where there is none."""
    found: dict[str, object] = {}
    at = stamp = 0
    while at < len(octets):
        kind = octets[at]
        if kind == 0:  # end of option list
            break
        if kind == 1:  # no-operation
            at += 1
            continue
        size = octets[at + 1] if at + 1 < len(octets) else 0
        body = octets[at + 2 : at + size]
        if size < 2 or len(body) != size - 2:
            found["damage"] = f"option {kind} claims {size} octets, {len(octets) - at} are left"
            break
        match kind, len(body):
            case 2, 2:
                found["mss"] = int.from_bytes(body, "big")
            case 3, 1:
                found["window_scale"] = body[0]
            case 4, 0:
                found["sack_permitted"] = True
            case 5, n if n % 8 == 0 and n:
                edges = [int.from_bytes(body[i : i + 4], "big") for i in range(0, n, 4)]
                found["sack"] = tuple(zip(edges[::2], edges[1::2], strict=True))
            case 8, 8:
                found["tsval"] = int.from_bytes(body[:4], "big")
                found["tsecr"] = int.from_bytes(body[4:], "big")
                stamp = at + 2
            case 34, _:  # RFC 7413; an empty one asks for a cookie
                found["fast_open"] = body
            case ((2 | 3 | 4 | 5 | 8), _):
                found["damage"] = f"option {kind} has an impossible length of {size} octets"
                break
        at += size
    return Options(**found), stamp  # type: ignore[arg-type]  # each key above is set with its field's type
