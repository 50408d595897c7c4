"""What kind of capture a file is, by its first octets; and what else it may be, for the message that it is none."""

from __future__ import annotations

from ..errors import NotACapture
from . import pcap, pcapng

#: Octets that tell.
ENOUGH = pcap.LENGTH

#: What a file is told to be when it is neither: one hint for each thing people feed in by mistake.
_HINTS = (
    (b"#!", "it is a script"),
    (b"\x7fELF", "it is a program"),
    (b"%PDF", "it is a PDF document"),
    (b"PK\x03\x04", "it is a zip archive: unpack it first"),
    (b"snoop\0", "it is a snoop capture: convert it with editcap"),
    (b"{", "it looks like JSON"),
)


def recognised(name: str, head: bytes) -> pcap.FileHeader | None:
    """The file header of a pcap file; None: it is a pcapng file, whose header is a block like others.

    *head* are the first ENOUGH octets of the file *name*. Raises NotACapture where it is neither.
    """
    if head[:4] == pcapng.SECTION and head[8:12] in pcapng.BYTE_ORDERS:
        return None
    found = pcap.file_header(head)
    if found is None:
        raise NotACapture(not_a_capture(name, head))
    if not found.known:
        raise NotACapture(f"{name} is not a capture: it begins as pcap, but of no version that is known")
    return found


def not_a_capture(name: str, head: bytes) -> str:
    """Say that the file *name* is no capture, and what it seems to be; *head* are its first octets, or all it has."""
    for magic, hint in _HINTS:
        if head.startswith(magic):
            return f"{name} is not a capture: {hint}"
    if len(head) < ENOUGH and (head[:4] == pcapng.SECTION[: len(head)] or pcap.byte_order(head[:4])):
        return f"{name} is cut off inside the file header: capture it again"
    if head and all(32 <= octet < 127 or octet in b"\t\r\n" for octet in head):
        return f"{name} is not a capture: it is text"
    return f"{name} is not a capture: it begins neither as pcap nor as pcapng"
