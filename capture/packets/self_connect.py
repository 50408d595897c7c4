"""The sign of a self-connect in a frame: the SYN-ACK by which a socket answers its own SYN.

Just enough to know that it happened, to whom and when, at the moment it passes. What is reported of it comes from the
analysis, as with any capture.
"""

from __future__ import annotations

from analysis.model import Endpoint
from analysis.records import NamedTuple

from .ring import LINKTYPE_ETHERNET, LINKTYPE_LINUX_SLL2

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .ring import Packet

_LINK_HEADER = {LINKTYPE_ETHERNET: 14, LINKTYPE_LINUX_SLL2: 20}
_VLAN = (b"\x81\x00", b"\x88\xa8")


class SelfConnect(NamedTuple):
    """A socket has connected to itself: when (nanoseconds since the epoch), which endpoint, and the number it chose.

    ``isn`` is None where no packet said it.
    """

    time: int
    endpoint: Endpoint
    isn: int | None


def self_connect(linktype: int, packet: Packet) -> SelfConnect | None:
    """Look for the sign in a packet that the filter for equal endpoints has passed; None: it is another segment.

    A listening socket that answers a forged SYN has an initial sequence number of its own, so its SYN-ACK does not
    acknowledge itself.
    """
    time, frame, _ = packet
    at = _LINK_HEADER.get(linktype, 0)
    while linktype == LINKTYPE_ETHERNET and frame[at - 2 : at] in _VLAN:
        at += 4
    if frame[at] >> 4 == 4:
        header, address = 4 * (frame[at] & 0x0F), frame[at + 16 : at + 20]
    else:
        header, address = 40, frame[at + 24 : at + 40]
    tcp = frame[at + header : at + header + 14]
    if len(tcp) < 14 or tcp[13] & 0x17 != 0x12:  # SYN and ACK, neither FIN nor RST
        return None
    sequence, acknowledged = int.from_bytes(tcp[4:8], "big"), int.from_bytes(tcp[8:12], "big")
    if acknowledged != (sequence + 1) % (1 << 32):
        return None
    return SelfConnect(time, Endpoint(address, int.from_bytes(tcp[:2], "big")), sequence)
