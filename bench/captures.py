"""Make big captures out of the small real ones in pcaps/.

    python bench/captures.py [--dir DIRECTORY] [--scale S] [NAME...]

The frames are those that a kernel sent (pcaps/README.md); ports, addresses, sequence numbers and times move on from
copy to copy, checksums do not follow. The same numbers give the same file, octet by octet. A file that is there
already is taken as it is. Each holds sockets connected to themselves: :data:`CAPTURES` says what else, and how many.
"""

from __future__ import annotations

import argparse
import random
import shutil
import struct
import sys
from array import array
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    Octets = bytes | bytearray

ROOT = Path(__file__).resolve().parent.parent
DIRECTORY = ROOT / ".cache" / "bench"

#: Where a field begins in an Ethernet frame with an IPv4 header without options.
TOTAL_LENGTH, ID, SOURCE, DESTINATION, SOURCE_PORT, DESTINATION_PORT, SEQ, ACK = 16, 18, 26, 30, 34, 36, 38, 42
#: Octets before the payload of a segment whose one option is the timestamp.
HEADERS = 66
#: A full frame: 1,448 octets of data behind these headers.
FULL = 1514
START = 1_700_000_000  # seconds since the epoch
MICROSECONDS = 1_000_000
SEED = 2013

# -- frames and records ---------------------------------------------------------------------------------------------


def frames(name: str) -> list[bytes]:
    """The frames of one of our own captures in pcaps/ (little-endian pcapng, enhanced packet blocks)."""
    data = (ROOT / "pcaps" / f"{name}.pcapng").read_bytes()
    found, at = [], 0
    while at < len(data):
        kind, size = struct.unpack_from("<II", data, at)
        if kind == 6:
            (captured,) = struct.unpack_from("<I", data, at + 20)
            found.append(data[at + 28 : at + 28 + captured])
        at += size
    return found


def with_payload(frame: bytes, size: int) -> bytes:
    """Give *frame* (with HEADERS octets of headers) that much data, in place of its own."""
    length = struct.pack(">H", HEADERS - 14 + size)
    head = frame[:TOTAL_LENGTH] + length + frame[TOTAL_LENGTH + 2 : HEADERS]
    return head + random.Random(SEED).randbytes(size)  # noqa: S311 -- as good as any data


PCAP = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262_144, 1)
RECORD = 16  # octets of header


def record(frame: bytes, time: int = 0) -> bytes:
    """A pcap record; *time* in microseconds since START."""
    seconds, rest = divmod(time, MICROSECONDS)
    return struct.pack("<IIII", START + seconds, rest, len(frame), len(frame)) + frame


PCAPNG = struct.pack("<IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28) + struct.pack(
    "<IIHHIHHB3xHHI", 1, 32, 1, 0, 262_144, 9, 1, 9, 0, 0, 32
)
BLOCK = 28  # octets of header


def block(frame: bytes, time: int = 0) -> bytes:
    """A pcapng enhanced packet block; *time* in microseconds since START."""
    padded = frame + bytes(-len(frame) % 4)
    size = 32 + len(padded)
    nanoseconds = (START * MICROSECONDS + time) * 1000
    clock = (nanoseconds >> 32, nanoseconds & 0xFFFF_FFFF)
    return struct.pack("<7I", 6, size, 0, *clock, len(frame), len(frame)) + padded + struct.pack("<I", size)


def itself(time: int, port: int, write: Callable[[bytes, int], bytes] = record) -> bytes:
    """A socket connects to itself and says hello: the first five frames of a real one, a microsecond apart."""
    here = struct.pack(">HH", port, port)
    moved = (frame[:SOURCE_PORT] + here + frame[SEQ:] for frame in frames("self-connect-v4")[:5])
    return b"".join(write(frame, time + place) for place, frame in enumerate(moved))


# -- many of them ---------------------------------------------------------------------------------------------------


class Rows:
    """*count* copies of the same octets, of which a field is filled in all rows at a time.

    In Python a loop over the rows would take minutes; assigning to a slice with a stride takes as long as writing.
    """

    def __init__(self, row: bytes, count: int) -> None:
        self.data = bytearray(row * count)
        self.stride = len(row)
        self.count = count

    def fill(self, at: int, values: array[int] | int, order: Literal["little", "big"] = "big") -> None:
        """Write the integers (as wide as the array's) at octet *at* of the rows; an int is 32 bits, the same in all."""
        column = array("I", [values]) * self.count if isinstance(values, int) else values[:]
        if order != sys.byteorder:
            column.byteswap()
        octets, size = column.tobytes(), column.itemsize
        for place in range(size):
            self.data[at + place :: self.stride] = octets[place::size]


def moved(numbers: Iterable[int], by: int) -> array[int]:
    """Sequence numbers, *by* octets further on."""
    return array("I", [(number + by) & 0xFFFF_FFFF for number in numbers])


def random_words(source: random.Random, count: int) -> array[int]:
    """So many 32-bit numbers."""
    return array("I", source.randbytes(4 * count))


def portions(total: int, most: int) -> Iterator[tuple[int, int]]:
    """Cut *total* rows into portions: what came before, and how many."""
    for before in range(0, total, most):
        yield before, min(most, total - before)


# -- the captures ---------------------------------------------------------------------------------------------------


def storm(packets: int) -> Iterator[Octets]:
    """A client retries a dead port 50,000 times a second, and in the end connects to itself."""
    syn, rst, *_ = frames("self-connect-walk")
    target = int.from_bytes(syn[DESTINATION_PORT:SEQ], "big")
    source = random.Random(SEED)  # noqa: S311 -- not for secrets
    rate = 50_000
    apart = MICROSECONDS // rate
    # The kernel walks the even ports of its range in steps of 2 to 16, and never gets to the one that is dialled.
    steps = accumulate(source.choices(range(2, 17, 2), k=2 * rate))
    ports = [32_768 + step % 28_232 for step in steps]
    walk = array("H", [port + 2 * (port == target) for port in ports])
    rows = Rows(b"", 0)
    syn_at, rst_at = RECORD, RECORD + len(syn) + RECORD
    yield PCAP
    for before, count in portions(packets // 2, rate):
        if count != rows.count:
            rows = Rows(record(syn) + record(rst), count)
            rows.fill(4, array("I", range(0, count * apart, apart)), "little")
            rows.fill(rst_at - RECORD + 4, array("I", range(4, 4 + count * apart, apart)), "little")
        second = before // rate
        rows.fill(0, START + second, "little")
        rows.fill(rst_at - RECORD, START + second, "little")
        start = source.randrange(rate)
        rows.fill(syn_at + SOURCE_PORT, walk[start : start + count])
        rows.fill(rst_at + DESTINATION_PORT, walk[start : start + count])
        numbers = random_words(source, count)
        rows.fill(syn_at + SEQ, numbers)
        rows.fill(rst_at + ACK, moved(numbers, 1))
        if before + count < packets // 2:
            yield rows.data
        else:
            last = count * 9 // 10
            yield rows.data[: last * rows.stride]
            yield itself(second * MICROSECONDS + last * apart - 10, target)
            yield rows.data[last * rows.stride :]


def bulk(packets: int) -> Iterator[Octets]:
    """One connection carries as much as fits into its frames."""
    syn, syn_ack, ack, data, *_ = frames("three-way")
    full = with_payload(data, FULL - HEADERS)
    isn = int.from_bytes(data[SEQ:ACK], "big")
    apart = 10
    yield PCAP
    yield b"".join(record(frame, place) for place, frame in enumerate((syn, syn_ack, ack)))
    rows = Rows(b"", 0)
    for before, count in portions(packets, 1000):
        if count != rows.count:
            rows = Rows(record(full), count)
        second, rest = divmod(5 + before * apart, MICROSECONDS)  # a second is a whole number of portions
        rows.fill(0, START + second, "little")
        rows.fill(4, array("I", range(rest, rest + count * apart, apart)), "little")
        rows.fill(RECORD + ID, array("H", [number & 0xFFFF for number in range(before, before + count)]))
        rows.fill(RECORD + SEQ, moved(range(before * 1448, (before + count) * 1448, 1448), isn))
        yield rows.data
    yield itself((packets + 1) * apart, 50_000)


def flood(packets: int) -> Iterator[Octets]:
    """SYNs of as many clients as there are packets; sockets connect to themselves before, amid and after."""
    syn = frames("self-connect-walk")[0]
    syn = syn[:DESTINATION] + bytes((192, 0, 2, 1)) + syn[SOURCE_PORT:DESTINATION_PORT] + b"\0\x50" + syn[SEQ:]
    source = random.Random(SEED)  # noqa: S311 -- not for secrets
    rate = 100_000
    apart = MICROSECONDS // rate
    half = packets // 2
    rows = Rows(b"", 0)
    yield PCAP
    yield itself(0, 50_000)
    for part, (begin, total) in enumerate(((0, half), (half, packets - half))):
        for passed, count in portions(total, rate):
            before = begin + passed
            if count != rows.count:
                rows = Rows(record(syn), count)
                rows.fill(4, array("I", range(10, 10 + count * apart, apart)), "little")
            # As many seconds as portions. The factor is odd: 2 ** 24 rows have as many addresses, all in 10.0.0.0/8.
            rows.fill(0, START + before // rate + part, "little")
            spread = [10 << 24 | row * 0x9E3779B1 & 0xFF_FFFF for row in range(before, before + count)]
            rows.fill(RECORD + SOURCE, array("I", spread))
            rows.fill(RECORD + SOURCE_PORT, array("H", [1024 + row % 64_000 for row in range(before, before + count)]))
            rows.fill(RECORD + SEQ, random_words(source, count))
            yield rows.data
        yield itself(((begin + total) // rate + part + 1) * MICROSECONDS, 50_002 + 2 * part)


#: A connection of the web, after its handshake: whether the client sends, octets of data.
WEB = ((True, 400), (False, 0), *((False, 1448), (False, 1448), (True, 0)) * 4)
WEB_PACKETS = 3 + len(WEB) + 3


def web(packets: int) -> Iterator[Octets]:
    """Clients fetch pages, 256 of them at a time; pcapng."""
    syn, syn_ack, ack, data, _, fin, fin_too, last_ack = frames("three-way")
    sizes = {0: ack} | {size: with_payload(data, size) for _, size in WEB if size}
    # Each step: frame, whether the client sends, octets in sequence space.
    steps = [(syn, True, 1), (syn_ack, False, 1), (ack, True, 0)]
    steps += [(sizes[size], client, size) for client, size in WEB]
    steps += [(fin, True, 1), (fin_too, False, 1), (last_ack, True, 0)]
    source = random.Random(SEED)  # noqa: S311 -- not for secrets
    time = START * MICROSECONDS
    yield PCAPNG
    for before, count in portions(packets // WEB_PACKETS, 256):
        clients = array("I", [10 << 24 | row * 0x9E3779B1 & 0xFF_FFFF for row in range(before, before + count)])
        client_ports = array("H", [1024 + number % 64_000 for number in random_words(source, count)])
        servers = array("I", [192 << 24 | 2 << 8 | 1 + number % 32 for number in random_words(source, count)])
        server_ports = array("H", [443]) * count
        isn = {client: random_words(source, count) for client in (True, False)}
        sent = {True: 0, False: 0}
        for frame, client, length in steps:
            rows = Rows(block(frame), count)
            times = [(time + 4 * row) * 1000 for row in range(count)]
            rows.fill(12, array("I", [nanoseconds >> 32 for nanoseconds in times]), "little")
            rows.fill(16, array("I", [nanoseconds & 0xFFFF_FFFF for nanoseconds in times]), "little")
            rows.fill(BLOCK + (SOURCE if client else DESTINATION), clients)
            rows.fill(BLOCK + (DESTINATION if client else SOURCE), servers)
            rows.fill(BLOCK + (SOURCE_PORT if client else DESTINATION_PORT), client_ports)
            rows.fill(BLOCK + (DESTINATION_PORT if client else SOURCE_PORT), server_ports)
            rows.fill(BLOCK + SEQ, moved(isn[client], sent[client]))
            if frame is not syn:
                rows.fill(BLOCK + ACK, moved(isn[not client], sent[not client]))
            sent[client] += length
            time += 2000
            yield rows.data
    yield itself(time - START * MICROSECONDS, 50_000, block)


@dataclass(frozen=True)
class Capture:
    """One kind of big capture: how it is made, of how many packets, and the octets that each takes in the file."""

    make: Callable[[int], Iterator[Octets]]
    packets: int
    octets: float
    suffix: str
    verdicts: Callable[[int], dict[str, int]]

    def path(self, directory: Path, packets: int) -> Path:
        """Its file with so many packets."""
        return directory / f"{self.make.__name__}-{packets}.{self.suffix}"


#: What there is. ``verdicts`` says how many openings of which verdict so many packets hold.
CAPTURES = {
    "storm": Capture(storm, 40_000_000, 80, "pcap", lambda n: {"self-connect": 1, "refused": n // 2}),
    "bulk": Capture(bulk, 5_000_000, 1530, "pcap", lambda _: {"self-connect": 1, "three-way": 1}),
    "flood": Capture(flood, 10_000_000, 90, "pcap", lambda n: {"self-connect": 3, "unanswered": n}),
    "web": Capture(web, 3_000_000, 695, "pcapng", lambda n: {"self-connect": 1, "three-way": n // WEB_PACKETS}),
}


def made(directory: Path, name: str, packets: int) -> Path:
    """The capture *name* of about so many packets in *directory*: as it is there, or made now.

    Exits with a sentence where there is not enough space.
    """
    capture = CAPTURES[name]
    path = capture.path(directory, packets)
    if path.exists():
        return path
    directory.mkdir(parents=True, exist_ok=True)
    need, free = packets * capture.octets, shutil.disk_usage(directory).free
    if need > free - (1 << 30):
        sys.exit(f"{path} takes {need / 1e9:.1f} GB, and {directory} has room for {free / 1e9:.1f}: name another --dir")
    part = path.with_suffix(".part")
    try:
        with part.open("wb", buffering=0) as file:
            for octets in capture.make(packets):
                written = file.write(octets)
                assert written == len(octets)  # noqa: S101 -- a full disk raises
        return part.rename(path)
    finally:
        part.unlink(missing_ok=True)


def parser(description: str, names: Collection[str]) -> argparse.ArgumentParser:
    """Make the parser of what this file and run.py have in common."""

    def known(name: str) -> str:
        if name not in names:
            raise argparse.ArgumentTypeError(f"there is no {name}: {', '.join(names)} are there")
        return name

    options = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--dir", type=Path, default=DIRECTORY, help="where the captures go (.cache/bench)")
    options.add_argument("--scale", type=float, default=1.0, help="0.02 for a quick look")
    options.add_argument("names", nargs="*", metavar="NAME", type=known, help=f"{', '.join(names)} (all)")
    return options


def main() -> None:
    """Make what was asked for, and print the paths."""
    options = parser(__doc__ or "", CAPTURES).parse_args()
    for name in options.names or CAPTURES:
        path = made(options.dir, name, round(CAPTURES[name].packets * options.scale))
        sys.stdout.write(f"{path}\n")


if __name__ == "__main__":
    main()
