"""A TCP header's octets -> one Segment (RFC 9293 3.1, 3.2)."""

from __future__ import annotations

from .model import Endpoint, Options, Segment, SequenceNumber


def decode(frame: int, time: int, source: Endpoint, destination: Endpoint, header: bytes, payload: int) -> Segment:
    """The segment whose header is *header*: at least its 20 fixed octets; options may be cut short.

    *time* in nanoseconds since the epoch, *payload* in octets.
    """
    return Segment(
        frame=frame,
        time=time,
        source=source,
        destination=destination,
        seq=SequenceNumber(int.from_bytes(header[4:8], "big")),
        ack=SequenceNumber(int.from_bytes(header[8:12], "big")),
        flags=header[13],
        window=int.from_bytes(header[14:16], "big"),
        payload=payload,
        options=_whole(options(header[20:]), (header[12] >> 4) * 4 - len(header)),
    )


def _whole(found: Options, missing: int) -> Options:
    """The options as they were found; ``damage`` says that the capture lacks *missing* octets of the header."""
    if missing <= 0 or found.damage:
        return found
    return found._replace(damage=f"the last {missing} octets of the header were not captured")


def options(octets: bytes) -> Options:
    """The TCP options in *octets*; what comes after a malformed one is left out, and ``damage`` says so."""
    found: dict[str, object] = {}
    at = 0
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
            case 34, _:  # RFC 7413; an empty one asks for a cookie
                found["fast_open"] = body
            case ((2 | 3 | 4 | 5 | 8), _):
                found["damage"] = f"option {kind} has an impossible length of {size} octets"
                break
        at += size
    return Options(**found)  # type: ignore[arg-type]  # each key above is set with its field's type
