"""What kind of capture a file is, by its first octets; and what else it may be, for the message that it is none."""

from __future__ import annotations

import struct

from ..errors import NotACapture
from . import pcap, pcapng

#: How many octets of a file are needed to recognise it.
ENOUGH = pcap.LENGTH

#: What the message says of a file that is no capture: a hint for each kind that people pass by mistake.
_HINTS = (
    (b"#!", "it is a script"),
    (b"\x7fELF", "it is a program"),
    (b"%PDF", "it is a PDF document"),
    (b"PK\x03\x04", "it is a zip archive: unpack it first"),
    (b"{", "it looks like JSON"),
)

_EDITCAP = "editcap -F pcapng {name} converted.pcapng"
#: Captures of other programs, by their first octets (as in Wireshark's wiretap), and the command that converts each.
#: (Each packet of iptrace has a link type of its own, and that editcap does not write.)
_FOREIGN = (
    (b"snoop\0\0\0", "a snoop capture", _EDITCAP),
    (b"RTSS", "a Network Monitor 1 capture", _EDITCAP),
    (b"GMBU", "a Network Monitor 2 capture", _EDITCAP),
    (b"iptrace 1.0", "an iptrace capture", "tshark -r {name} -w converted.pcapng"),
    (b"iptrace 2.0", "an iptrace capture", "tshark -r {name} -w converted.pcapng"),
    (b"TRSNIFF data    \x1a", "a Sniffer capture", _EDITCAP),
    (b"XCP\0", "a Sniffer (Windows) capture", _EDITCAP),
)


def recognised(name: str, head: bytes) -> pcap.FileHeader | None:
    """Return the file header of a pcap file; None for a pcapng file, whose header is a block like others.

    *head* are the first ENOUGH octets of the file *name*. Raises NotACapture where it is neither.
    """
    if head[:4] == pcapng.SECTION and head[8:12] in pcapng.BYTE_ORDERS:
        return None
    found = pcap.file_header(head)
    if found is None:
        raise NotACapture(not_a_capture(name, head))
    if not found.known:
        raise NotACapture(
            f"{name} is not a capture: it begins as pcap, but its version or its link type makes no sense"
        )
    return found


def not_a_capture(name: str, head: bytes) -> str:
    """Say that the file *name* is no capture, and what it seems to be; *head* are its first octets, or all it has."""
    for magic, hint in _HINTS:
        if head.startswith(magic):
            return f"{name} is not a capture: {hint}"
    foreign = [(what, command) for magic, what, command in _FOREIGN if head.startswith(magic)]
    if not foreign and _is_erf(head):
        foreign = [("an Endace ERF capture", _EDITCAP)]
    for what, command in foreign:
        from shlex import quote  # noqa: PLC0415 - seldom needed

        return f"{name} is {what}: convert it first, with `{command.format(name=quote(name))}`"
    if len(head) < ENOUGH and (head[:4] == pcapng.SECTION[: len(head)] or pcap.byte_order(head[:4])):
        return f"{name} is cut off inside the file header: capture it again"
    if head and all(32 <= octet < 127 or octet in b"\t\r\n" for octet in head):
        return f"{name} is not a capture: it is text"
    return f"{name} is not a capture: it begins neither as pcap nor as pcapng"


def _is_erf(head: bytes) -> bool:
    """Whether a file begins as a record of ERF does, which has no magic number: a time since 1996, type, lengths."""
    if len(head) < ENOUGH:
        return False
    seconds, kind, flags = struct.unpack_from("<4xIBB", head)
    size, wire = struct.unpack_from(">HxxH", head, 10)
    return bool(seconds > 820_000_000 and 0 < kind & 0x7F < 49 and flags < 64 and 16 < size <= wire + 64)
