"""One packet socket and the ring that the kernel fills for it (AF_PACKET, TPACKET_V3).

The ring is memory shared with the kernel, cut into blocks. The kernel fills one block after the other and hands each
over when it is full or RETIRE milliseconds old; read() takes the packets out and gives the blocks back. The kernel
copies each packet once, into the ring, and reading takes no system call: so Python keeps up with a loopback at full
speed.

Layout of the blocks and headers, and the options: linux/if_packet.h, Documentation/networking/packet_mmap.rst.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import socket
import struct
from collections import deque

from analysis.errors import CannotCapture

from .filters import ARPHRD_LOOPBACK, NOTHING, SNAPLEN

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Self

    from .filters import Program

#: The name for all interfaces at once.
ANY = "any"
_LOOPBACK = "lo"

ETH_P_ALL = 0x0003
SOL_PACKET = 263
PACKET_RX_RING, PACKET_STATISTICS, PACKET_VERSION, PACKET_IGNORE_OUTGOING = 5, 6, 10, 23
TPACKET_V3 = 2

#: Milliseconds after which the kernel hands over a block that is not full. It looks twice before it does,
#: so a packet becomes visible at most about twice this time after it passed.
RETIRE = 10

# Hardware types (linux/if_arp.h) whose frames are written as they are, and how a capture file calls them
# (tcpdump.org/linktypes.html). Frames of any other kind, and of several interfaces at once, get a header of ours.
LINKTYPE_ETHERNET, LINKTYPE_RAW, LINKTYPE_LINUX_SLL2 = 1, 101, 276
LINKTYPES: dict[int | None, int] = {
    1: LINKTYPE_ETHERNET,
    ARPHRD_LOOPBACK: LINKTYPE_ETHERNET,
    0xFFFE: LINKTYPE_RAW,
    519: LINKTYPE_RAW,
}

# Where things are in a block (struct tpacket_block_desc), in 32-bit words.
_BLOCK_STATUS, _BLOCK_PACKETS, _BLOCK_FIRST, _BLOCK_SECONDS, _BLOCK_NANOSECONDS = 2, 3, 4, 8, 9
_FROM_KERNEL = 1  # TP_STATUS_USER

# struct tpacket3_hdr: offset of the next, seconds, nanoseconds, octets kept, octets on the wire, status, offset of
# the frame, (offset of the network header, receive hash), VLAN tag and its Ethertype.
_PACKET = struct.Struct("=IIIIIIH6xIH")
_LINK = 48  # struct sockaddr_ll comes after it, TPACKET_ALIGN(sizeof(struct tpacket3_hdr))
_SOCKADDR_LL = struct.Struct("=2xHiHBB8s")
_SLL2 = struct.Struct(">HxxIHBB8s")
_VLAN_VALID, _VLAN_ETHERTYPE_VALID = 0x10, 0x40


#: A captured frame: when (nanoseconds since the epoch), what was kept of it, how many octets it had on the wire.
Packet = tuple[int, bytes, int]


class Ring:
    """A packet socket on *interface* ("any" for all) that takes in what *program* passes.

    *octets* is the size of the ring, *block* that of one block of it, halved until there are eight of them (a power
    of two, the page size at least). It is armed when the constructor returns: nothing that passed the interface before
    is in it, everything after is. Needs CAP_NET_RAW; nothing after the constructor does. Raises CannotCapture with
    the reason.

    *retire*: after so many milliseconds a block is handed over even if it is not full. *given*: a socket that another
    process has made in the same way, for all interfaces; then nothing needs a privilege.

    ``linktype`` says what the frames begin with; ``fileno()`` becomes readable when there is something to read.
    """

    def __init__(  # noqa: PLR0913 - each says something about the ring
        self,
        interface: str,
        program: Program,
        *,
        octets: int,
        block: int,
        retire: int = RETIRE,
        given: socket.socket | None = None,
    ) -> None:
        self.interface = interface
        self._retire = retire
        block = max(block, mmap.PAGESIZE)
        while block > mmap.PAGESIZE and octets < 8 * block:
            block //= 2
        self._block_words = block // 4
        self._blocks = max(octets // block, 2)
        self._next = 0  # the block that the kernel will hand over next
        self._counted = self._dropped = 0
        try:
            if given:
                self._adopt(given, block)
            else:
                self._open(interface, program, block)
        except OSError as error:
            raise CannotCapture(_reason(error, interface)) from error

    def _open(self, interface: str, program: Program, block: int) -> None:
        hardware = None if interface == ANY else _hardware(interface)
        self.linktype = LINKTYPES.get(hardware, LINKTYPE_LINUX_SLL2)
        kind = socket.SOCK_DGRAM if self.linktype == LINKTYPE_LINUX_SLL2 else socket.SOCK_RAW
        # With protocol 0 nothing comes in before bind(). Python cannot bind to all interfaces, so there it does; but
        # setting up the ring empties the queue, and until all is ready no packet passes the filter.
        self._socket = socket.socket(socket.AF_PACKET, kind, socket.htons(ETH_P_ALL) if interface == ANY else 0)
        try:
            NOTHING.attach(self._socket)
            if hardware == ARPHRD_LOOPBACK or program.arriving:
                self._spare_the_copy()
            self._socket.setsockopt(SOL_PACKET, PACKET_VERSION, TPACKET_V3)
            # struct tpacket_req3; the kernel checks the frame size, but version 3 does not use it.
            frame = 2048
            ring = (block, self._blocks, frame, block // frame * self._blocks, self._retire, 0, 0)
            _set(self._socket, PACKET_RX_RING, struct.pack("=7I", *ring))
            self._memory = mmap.mmap(self._socket.fileno(), block * self._blocks)
            self._words = memoryview(self._memory).cast("I")
            if interface != ANY:
                self._socket.bind((interface, ETH_P_ALL))
            self._check()
            self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 12)  # forget what was counted so far
            self._header = 14 if self.linktype == LINKTYPE_ETHERNET else 0
            program.attach(self._socket, self._header)
        except BaseException:
            self.close()
            raise

    def _adopt(self, given: socket.socket, block: int) -> None:
        self.linktype, self._socket = LINKTYPE_LINUX_SLL2, given
        try:
            self._memory = mmap.mmap(given.fileno(), block * self._blocks)
            self._words = memoryview(self._memory).cast("I")
        except BaseException:
            self.close()
            raise

    def _spare_the_copy(self) -> None:
        """Ask the kernel not even to filter what leaves (Linux 4.20): the filter rejects it on loopback anyway."""
        try:
            self._socket.setsockopt(SOL_PACKET, PACKET_IGNORE_OUTGOING, 1)
        except OSError as error:
            if error.errno != errno.ENOPROTOOPT:
                raise

    def _check(self) -> None:
        """Raise the OSError that the interface left on the socket, if any: it is down, or gone."""
        number = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if number:
            raise OSError(number, os.strerror(number))

    def fileno(self) -> int:
        """Return the descriptor to wait on: ready when read() or trouble() has something."""
        return self._socket.fileno()

    def read(self) -> list[Packet]:
        """Take all packets that the kernel has handed over, in the order in which they passed. Never waits."""
        packets: list[Packet] = []
        while self._words[self._next * self._block_words + _BLOCK_STATUS] & _FROM_KERNEL:
            self._unpack(self._next, packets)
            self._give_back()
        return packets

    def _give_back(self) -> None:
        """Let the kernel have the oldest block again."""
        words, at = self._words, self._next * self._block_words
        words[at + _BLOCK_PACKETS] = 0  # or pending() would take an old number for a new one
        words[at + _BLOCK_STATUS] = 0  # the kernel's again, from here on
        self._next = (self._next + 1) % self._blocks

    def _unpack(self, block: int, packets: list[Packet]) -> None:
        """Append the packets of a block that the kernel has handed over."""
        first = block * self._block_words
        at, count = 4 * first + self._words[first + _BLOCK_FIRST], self._words[first + _BLOCK_PACKETS]
        memory, unpack = self._memory, _PACKET.unpack_from
        cooked = self.linktype == LINKTYPE_LINUX_SLL2
        for _ in range(count):
            step, seconds, nanoseconds, kept, length, status, frame, tag, ethertype = unpack(memory, at)
            frame += at
            data = memory[frame : frame + kept]
            if cooked:
                data = (self._cooked(at + _LINK) + data)[:SNAPLEN]
                length += _SLL2.size
            elif status & _VLAN_VALID and self.linktype == LINKTYPE_ETHERNET:
                # The kernel took the tag out of the frame (802.1Q); it belongs behind the addresses.
                number = ethertype if status & _VLAN_ETHERTYPE_VALID else 0x8100
                data = (data[:12] + struct.pack(">HH", number, tag) + data[12:])[:SNAPLEN]
                length += 4
            packets.append((seconds * 1_000_000_000 + nanoseconds, data, length))
            at += step

    def _cooked(self, at: int) -> bytes:
        """Build the header of Linux cooked captures, version 2, from the struct sockaddr_ll *at*."""
        protocol, index, hardware, kind, octets, address = _SOCKADDR_LL.unpack_from(self._memory, at)
        return _SLL2.pack(socket.ntohs(protocol), index, hardware, kind, octets, address)

    def pending(self) -> int | None:
        """Return a time (nanoseconds since the epoch); no packet that read() has still to return is older.

        None: there is no such packet. The kernel counts the packets in the block that it is still filling, and
        notes there when it opened it.
        """
        block = self._filling()
        return self._opened_at(block) if self._words[block * self._block_words + _BLOCK_PACKETS] else None

    def _opened_at(self, block: int) -> int:
        """The time of the first packet in it, or somewhat before."""
        at = block * self._block_words
        return self._words[at + _BLOCK_SECONDS] * 1_000_000_000 + self._words[at + _BLOCK_NANOSECONDS]

    def _filling(self) -> int:
        """Find the block that the kernel hands over next, once all before it have been given back."""
        return self._next

    def replace(self, program: Program) -> None:
        """Filter by *program* from now on. Needs no privilege. Raises OSError."""
        program.attach(self._socket, self._header)

    def statistics(self) -> tuple[int, int]:
        """Count the packets that came in since the ring was armed, and those that had no room and were dropped."""
        try:
            # Reading the counters resets them; the first one includes the second.
            passed, dropped, _ = struct.unpack("=3I", self._socket.getsockopt(SOL_PACKET, PACKET_STATISTICS, 12))
        except OSError:
            if self._socket.fileno() >= 0:
                raise
            return self._counted, self._dropped  # closed, perhaps just now by another thread: as they were last
        self._counted += passed - dropped
        self._dropped += dropped
        return self._counted, self._dropped

    def trouble(self) -> str | None:
        """Say what happened to the interface since the last call (it went down, or was removed); None: nothing."""
        try:
            self._check()
        except OSError as error:
            return _reason(error, self.interface)
        return None

    def close(self) -> None:
        """Give the memory back and close the socket. Calling it twice does no harm."""
        if hasattr(self, "_words"):
            self._words.release()
        if hasattr(self, "_memory"):
            self._memory.close()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class FlightRecorder(Ring):
    """A ring that always holds the last *packets* packets, and is read only when somebody asks for them.

    Call keep() some ten times a second. It gives the oldest blocks back to the kernel without reading them, as long as
    the newer blocks hold twice *packets* packets (those asked for may have passed a moment ago): that costs one store
    for hundreds of packets. At least half of the ring stays free for the packets between two calls.

    Where packets are rare, the kernel hands over blocks with few packets in them, for it does not wait long. When such
    blocks fill half of the ring, keep() copies their packets and remembers them.
    """

    def __init__(  # noqa: PLR0913 - each says something about the ring
        self,
        interface: str,
        program: Program,
        *,
        packets: int,
        octets: int | None = None,
        retire: int = 50,
        given: socket.socket | None = None,
    ) -> None:
        self._most = packets
        self._kept = 0  # blocks handed over and not given back, from _next on
        self._inside = 0  # packets in them
        self._remembered: deque[Packet] = deque(maxlen=packets)  # that came just before them
        octets, block = (octets, 1 << 14) if octets else (max(16 << 20, packets * 512), 1 << 16)
        super().__init__(interface, program, octets=octets, block=block, retire=retire, given=given)

    def keep(self) -> int:
        """Give back what is no longer needed; return how many blocks there were since the last call. Never waits."""
        before = self._kept
        self._count()
        new = self._kept - before
        while self._kept:
            newer = self._inside - self._words[self._next * self._block_words + _BLOCK_PACKETS]
            if newer < 2 * self._most and self._kept <= self._blocks // 2:
                break
            self._inside = newer
            self._kept -= 1
            if newer >= self._most:
                self._remembered.clear()
            else:
                packets: list[Packet] = []
                self._unpack(self._next, packets)
                self._remembered.extend(packets)
            self._give_back()
        return new

    def stirred(self) -> bool:
        """Whether the kernel has handed over a block since keep() or last() looked."""
        return bool(self._words[self._filling() * self._block_words + _BLOCK_STATUS] & _FROM_KERNEL)

    def pending(self) -> int | None:
        """As a ring's: what last() has yet to return. A full ring has nothing more than that."""
        self._count()
        return None if self._kept == self._blocks else super().pending()

    def last(self, until: int) -> list[Packet]:
        """Return the last packets that the kernel has handed over, up to a time (nanoseconds since the epoch)."""
        self._count()
        blocks: list[int] = []
        found = 0  # packets in them, but for the newest block, of which some may be too new
        for position in reversed(range(self._kept)):
            block = (self._next + position) % self._blocks
            if self._opened_at(block) <= until:
                found += self._words[block * self._block_words + _BLOCK_PACKETS] if blocks else 0
                blocks.append(block)
                if found >= self._most:
                    break
        packets = list(self._remembered) if found < self._most else []
        for block in reversed(blocks):
            self._unpack(block, packets)
        return [packet for packet in packets if packet[0] <= until][-self._most :]

    def _count(self) -> None:
        """Count the blocks that the kernel has handed over since the last call."""
        words = self._words
        while (
            self._kept < self._blocks
            and words[(at := self._filling() * self._block_words) + _BLOCK_STATUS] & _FROM_KERNEL
        ):
            self._inside += words[at + _BLOCK_PACKETS]
            self._kept += 1

    def _filling(self) -> int:
        return (self._next + self._kept) % self._blocks


_libc = ctypes.CDLL(None, use_errno=True)


def _set(packet_socket: socket.socket, option: int, value: bytes) -> None:
    """Set an option of packet sockets. Raises OSError.

    The kernel takes its time for a ring: other threads run meanwhile, unlike with Python's own setsockopt().
    """
    if _libc.setsockopt(packet_socket.fileno(), SOL_PACKET, option, value, len(value)):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def _hardware(interface: str) -> int:
    """Ask for the hardware type of *interface* (linux/if_arp.h). Raises OSError."""
    with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as probe:
        probe.bind((interface, 0))
        hardware: int = probe.getsockname()[3]
    return hardware


def _reason(error: OSError, interface: str) -> str:
    """Say to the user why the kernel refused, and what to do."""
    match error.errno:
        case errno.EPERM | errno.EACCES:
            return "capturing packets needs root or CAP_NET_RAW"
        case errno.ENODEV | errno.ENXIO:
            there = ", ".join(name for _, name in socket.if_nameindex())
            return f"there is no interface {interface!r}; choose one of {ANY}, {there}"
        case errno.ENETDOWN:
            private = "; or take a private one, which needs no ip: --private" if interface == _LOOPBACK else ""
            return f"interface {interface!r} is down; bring it up: ip link set {interface} up{private}"
        case errno.ENOMEM | errno.ENOBUFS:
            return "the kernel has no memory for the packet ring; stop other programs that capture, or free memory"
        case errno.EAFNOSUPPORT | errno.ENOPROTOOPT | errno.EINVAL:
            return f"capturing needs packet rings (AF_PACKET, TPACKET_V3), which this kernel lacks: {error.strerror}"
        case _:
            return f"cannot capture on {interface!r}: {error.strerror}"
