"""Captures that are damaged, by name: what a disk, a network, a bug or a malicious hand makes of one.

Wireshark reads as many packets of each. The exit status says whether the reading ends early or passes over a frame that
makes no sense (4), gets to the end with all of them (0) or finds no capture at all (3).
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from typing import NamedTuple

import frames
import writers
from test_linktypes import EPOCH, packets, timed

TIME = EPOCH + 123_456_789
RECORDS = [(time + 123_456_789, frame) for time, frame in timed(map(frames.ethernet, packets(4)))]
FRAME = RECORDS[4][1]


class Damaged(NamedTuple):
    """A capture, how many packets lie before its damage, and the exit status that it deserves.

    ``wireshark`` is how many Wireshark reads where it is right to differ.
    """

    octets: bytes
    packets: int
    status: int
    wireshark: int | None = None


FOUR = writers.pcap(RECORDS[:4])
FOUR_NG = writers.pcapng(RECORDS[:4])
LATER = b"".join(writers.pcap_record(time, frame) for time, frame in RECORDS[4:])
LATER_NG = b"".join(writers.enhanced(time, frame) for time, frame in RECORDS[4:])
WHOLE = writers.pcap(RECORDS)
WHOLE_NG = writers.pcapng(RECORDS)
HEAD_NG = writers.section() + writers.interface(resolution=9)


def record(captured: int, original: int, frame: bytes = FRAME) -> bytes:
    """A pcap record with these two lengths in its header."""
    made = bytearray(writers.pcap_record(TIME, frame))
    made[8:16] = captured.to_bytes(4, "little") + original.to_bytes(4, "little")
    return bytes(made)


def claims(length: int) -> bytes:
    """A pcapng packet block that claims so many octets."""
    return writers.enhanced(TIME, FRAME)[:4] + length.to_bytes(4, "little") + bytes(20)


def patched(block: bytes, place: int, octets: bytes) -> bytes:
    return block[:place] + octets + block[place + len(octets) :]


def broken(place: int, octets: bytes) -> bytes:
    """The frame of the fifth packet with something else in one place: its IP header begins at 14, TCP's at 34."""
    return patched(FRAME, place, octets)


def odd(frame: bytes, status: int = 4) -> Damaged:
    """A sound file with a frame in it that cannot be decoded: the frame is counted with the reason."""
    return Damaged(writers.pcap([*RECORDS[:4], (TIME, frame), *RECORDS[4:]]), 7, status)


def cut(name: str, octets: bytes, packets: int, **ends: int) -> dict[str, Damaged]:
    """The file cut in these places."""
    return {f"{name} cut {words.replace('_', ' ')}": Damaged(octets[:end], packets, 4) for words, end in ends.items()}


def gzip_that_breaks(octets: bytes) -> bytes:
    """A gzip stream that holds these octets, then a block of a kind that there is not."""
    stream = zlib.compressobj(9, wbits=31)
    return stream.compress(octets) + stream.flush(zlib.Z_FULL_FLUSH) + b"\xff" * 40


#: An IPv6 packet with a chain of extension headers that leads from one to the next and never to TCP.
ENDLESS = frames.ethernet(
    b"\x60\0\0\0" + (64 * 8).to_bytes(2, "big") + b"\0\x40" + bytes(32) + b"\0\0\0\0\0\0\0\0" * 64, 0x86DD
)
#: An option that claims more than there is, one after the other.
TOO_LONG = (1).to_bytes(2, "little") + (60_000).to_bytes(2, "little") + b"abcd"

#: What breaks after four packets that are sound: those, and the rest.
AFTER_FOUR = {
    "caplen 0xffffffff": (FOUR, record(0xFFFFFFFF, 0xFFFFFFFF) + LATER),
    "caplen 0x80000000": (FOUR, record(0x80000000, 60) + LATER),
    "caplen 262,145": (FOUR, writers.pcap_record(TIME, bytes(262_145)) + LATER),
    "records of ones": (FOUR, b"\xff" * 400),
    "block length 0": (FOUR_NG, claims(0) + LATER_NG),
    "block length 8": (FOUR_NG, claims(8) + LATER_NG),
    "block length 13": (FOUR_NG, claims(13) + LATER_NG),
    "block length 16": (FOUR_NG, claims(16) + LATER_NG),
    "block length 0xfffffffc": (FOUR_NG, claims(0xFFFF_FFFC) + LATER_NG),
    "block length over 16 MiB": (FOUR_NG, claims((16 << 20) + 4) + bytes(17 << 20) + LATER_NG),
    "blocks of ones": (FOUR_NG, b"\xff" * 400),
    "trailer that differs": (FOUR_NG, writers.enhanced(TIME, FRAME)[:-4] + bytes(4) + LATER_NG),
    "interface out of range": (FOUR_NG, writers.enhanced(TIME, FRAME, number=9) + LATER_NG),
    "packet longer than its block": (
        FOUR_NG,
        patched(writers.enhanced(TIME, FRAME), 20, (5000).to_bytes(4, "little")) + LATER_NG,
    ),
}

DAMAGED = {
    **{name: Damaged(sound + rest, 4, 4) for name, (sound, rest) in AFTER_FOUR.items()},
    "nothing": Damaged(b"", 0, 3),
    "text": Damaged(b"Lorem ipsum dolor sit amet, consectetur adipiscing\n" * 10, 0, 3),
    "zeros": Damaged(bytes(1000), 0, 3),
    "ones": Damaged(b"\xff" * 1000, 0, 3),
    "half a file header": Damaged(WHOLE[:13], 0, 3),
    "half a section header": Damaged(WHOLE_NG[:13], 0, 3, 1),  # Wireshark shows what is no capture as one frame of text
    "a file header and no more": Damaged(WHOLE[:24], 0, 0),
    "a section header and no more": Damaged(writers.section(), 0, 0),
    "no interface": Damaged(writers.section() + writers.enhanced(TIME, FRAME), 0, 4),
    **cut("pcap", WHOLE, 4, in_a_record_header=len(FOUR) + 7, after_a_record_header=len(FOUR) + 16),
    **cut("pcap", WHOLE, 5, before_the_last_octet=len(WHOLE) - 1),
    **cut("pcapng", WHOLE_NG, 4, in_a_block_type=len(FOUR_NG) + 2, in_a_block_length=len(FOUR_NG) + 6),
    **cut("pcapng", WHOLE_NG, 4, in_a_packet_header=len(FOUR_NG) + 20, in_a_packet=len(FOUR_NG) + 60),
    **cut("pcapng", WHOLE_NG, 5, in_the_last_length=len(WHOLE_NG) - 3),
    **cut("pcapng", WHOLE_NG, 0, in_the_section_header=26, in_the_interface=len(HEAD_NG) - 5),
    "caplen 262,144": Damaged(FOUR + writers.pcap_record(TIME, bytes(262_144)) + LATER, 7, 0),
    "caplen above the snaplen": Damaged(writers.pcap_header(snaplen=60) + FOUR[24:] + LATER, 6, 0),
    "caplen above the length": Damaged(FOUR + record(len(FRAME), len(FRAME) - 20) + LATER, 7, 0),
    "caplen 0": Damaged(FOUR + record(0, len(FRAME), b"") + LATER, 7, 4),
    # The packet stands before its options, and nothing of ours lies in them: we read on, as libpcap does.
    "options that end nowhere": Damaged(FOUR_NG + writers.enhanced(TIME, FRAME, options=TOO_LONG) + LATER_NG, 7, 0, 4),
    "options of no length": Damaged(
        FOUR_NG + writers.enhanced(TIME, FRAME, options=writers.option(2, b"") + bytes(4)) + LATER_NG, 7, 0, 4
    ),
    "interface options that end nowhere": Damaged(
        writers.section() + writers.block(1, b"\1\0\0\0\0\0\4\0" + TOO_LONG) + LATER_NG, 0, 4
    ),
    "pcap of version 9": Damaged(patched(WHOLE, 4, b"\t\0"), 0, 3, 6),  # libpcap refuses it, too
    "pcap with reserved bits": Damaged(patched(WHOLE, 22, b"\1\0"), 0, 3),
    "pcapng of version 1.1": Damaged(patched(WHOLE_NG, 14, b"\1\0"), 0, 4),
    "if_tsresol of no length": Damaged(
        writers.section() + writers.block(1, b"\1\0\0\0\0\0\4\0" + writers.option(9, b"")) + LATER_NG, 2, 0
    ),
    **{f"IHL {words}": odd(broken(14, bytes([0x40 | words]))) for words in (0, 1, 2, 3, 4, 15)},
    **{f"data offset {words}": odd(broken(46, bytes([words << 4]))) for words in (0, 1, 2, 3, 4, 15)},
    **{f"total length {octets}": odd(broken(16, octets.to_bytes(2, "big"))) for octets in (1, 19, 20, 39)},
    **{f"total length {octets}": odd(broken(16, octets.to_bytes(2, "big")), 0) for octets in (0, 65_535)},
    "IP version 0": odd(broken(14, b"\x05")),
    "a TCP option of no length": odd(FRAME[:46] + b"\x60" + FRAME[47:54] + b"\x02\0\0\0", 0),
    "extension headers without end": odd(ENDLESS),
    "an empty frame": odd(b""),
    "gzip cut": Damaged(gzip.compress(WHOLE, mtime=0)[:-20], 5, 4),
    "gzip with a wrong sum": Damaged(patched(gzip.compress(WHOLE, mtime=0), -8, b"abcd"), 6, 4),
    # Some thousand octets that unpack to more than is unpacked at a time.
    "gzip that breaks after much": Damaged(gzip_that_breaks(writers.pcap(RECORDS * 3000)), 18_000, 4),
    "gzip of nothing": Damaged(gzip.compress(b"", mtime=0), 0, 3),
    "gzip, then garbage": Damaged(gzip.compress(WHOLE, mtime=0) + b"garbage", 6, 4),
    "bzip2 cut": Damaged(bz2.compress(WHOLE)[:-20], 0, 3),
    "xz cut": Damaged(lzma.compress(WHOLE)[:-20], 6, 4),
}
