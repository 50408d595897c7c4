"""What the kernel lets through to us: classic BPF programs, assembled here.

A few programs and no compiler, because a compiler (libpcap) would be a library running as root:

- NOTHING rejects every packet; it ends a capture.
- proof() passes the TCP segments whose two endpoints are equal. No flood of other traffic can push them out.
- context() passes the rest: the TCP segments of one port, or of all, that proof() does not pass.
- answer() and before() are for a watch of days: the one passes a single segment of each self-connect, the SYN-ACK by
  which it answers itself, the other what may be of interest when one has happened.

A packet passes at most one of proof() and context(), and at most one of answer() and before(). Loads count from the
network header (SKF_NET_OFF) until a program is attached to a socket: there the link-layer header has a known length.
(Linux that does not have "bpf: support SKF_NET_OFF and SKF_LL_OFF on skb frags", which came to 6.12.24, 6.1.135 and
5.10.237, finds nothing from there in a packet whose headers lie in page fragments, as some drivers leave them, and
rejects it without a word.) Like libpcap's ``tcp port``, they look at IPv4
with any header length but only at first fragments, and at IPv6 without extension headers: what the kernel's own
connections send.

On a loopback interface every packet passes by twice, leaving and arriving; the programs keep the arriving one.
On any other interface both directions are kept.

Instructions and the negative offsets: linux/filter.h, linux/bpf_common.h, Documentation/networking/filter.rst.
"""

from __future__ import annotations

import array
import socket
import struct

from analysis.model import EQUAL_ENDS
from analysis.records import NamedTuple

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

#: Octets of a frame that are kept: every frame of an ordinary Ethernet whole, of loopback's giants the headers
#: and the first data. A self-connect is recognised by the first 150 octets.
SNAPLEN = 2048

SO_ATTACH_FILTER = 26

# The operations in use: class, size, mode, source (linux/bpf_common.h).
LD_W, LD_H, LD_B = 0x20, 0x28, 0x30  # A = packet[k]
LD_H_X, LD_B_X = 0x48, 0x50  # A = packet[X + k]
LDX_MEM, ST, STX = 0x61, 0x02, 0x03  # scratch memory
LDX_IMM, LDX_IHL = 0x01, 0xB1  # X = k; X = 4 * (packet[k] & 15)
TAX, XOR_X, OR_X, AND = 0x07, 0xAC, 0x4C, 0x54
JA, JEQ, JSET = 0x05, 0x15, 0x45
RET = 0x06

# Negative offsets ask the kernel instead of the packet (linux/filter.h), as unsigned 32-bit numbers.
_KERNEL = (1 << 32) - 0x1000
PROTOCOL, PKTTYPE, HATYPE = _KERNEL + 0, _KERNEL + 4, _KERNEL + 28
NET = (1 << 32) - 0x100000

PACKET_OUTGOING = 4
ARPHRD_LOOPBACK = 772
ETH_P_IP, ETH_P_IPV6 = 0x0800, 0x86DD

# Words of scratch memory.
DIFFERENCE, HEADER, PORT = 0, 1, 2

_INSTRUCTION = struct.Struct("=HBBI")  # struct sock_filter

#: An instruction: operation and operand; a comparison also has the labels to go to when it holds and when it does
#: not (None: the next instruction). A label stands in the list as a bare string.
Instruction = tuple[int, int | str] | tuple[int, int, str | None, str | None]

#: The segment's addresses compared into DIFFERENCE (0: equal), its TCP header's place in HEADER, both ports
#: compared: then on to "same" or "different".
_LOOK: tuple[Instruction | str, ...] = (
    (LD_B, PKTTYPE),
    (JEQ, PACKET_OUTGOING, None, "arrived"),
    (LD_H, HATYPE),
    (JEQ, ARPHRD_LOOPBACK, "reject", None),
    "arrived",
    (LD_H, PROTOCOL),
    (JEQ, ETH_P_IP, "ipv4", None),
    (JEQ, ETH_P_IPV6, "ipv6", "reject"),
    "ipv4",
    (LD_B, NET + 9),
    (JEQ, socket.IPPROTO_TCP, None, "reject"),
    (LD_H, NET + 6),
    (JSET, 0x1FFF, "reject", None),
    (LD_W, NET + 12),
    (TAX, 0),
    (LD_W, NET + 16),
    (XOR_X, 0),
    (ST, DIFFERENCE),
    (LDX_IHL, NET),
    (JA, "tcp"),
    "ipv6",
    (LD_B, NET + 6),
    (JEQ, socket.IPPROTO_TCP, None, "reject"),
    *(
        instruction
        for word in range(0, 16, 4)
        for instruction in (
            (LD_W, NET + 8 + word),
            (TAX, 0),
            (LD_W, NET + 24 + word),
            (XOR_X, 0),
            *(((LDX_MEM, DIFFERENCE), (OR_X, 0)) if word else ()),
            (ST, DIFFERENCE),
        )
    ),
    (LDX_IMM, 40),
    "tcp",
    (STX, HEADER),
    (LD_H_X, NET),
    (ST, PORT),
    (LD_H_X, NET + 2),
    (LDX_MEM, PORT),
    (XOR_X, 0),
    (LDX_MEM, DIFFERENCE),
    (OR_X, 0),
    (JEQ, 0, "same", "different"),
)

_LOOPBACK: tuple[Instruction | str, ...] = ((LD_H, HATYPE), (JEQ, ARPHRD_LOOPBACK, None, "reject"))

_ENDS: tuple[Instruction | str, ...] = ("accept", (RET, SNAPLEN), "reject", (RET, 0))


class Program(NamedTuple):
    """A filter: the same thing said in libpcap's language, and as instructions for the kernel.

    ``arriving``: nothing that leaves passes it, on any interface.
    """

    text: str
    code: bytes
    arriving: bool = False

    def attach(self, packet_socket: socket.socket, header: int = 0) -> None:
        """Let only what passes reach *packet_socket* from now on. Needs no privilege. Raises OSError.

        *header*: octets of link-layer header with which this socket sees packets.
        """
        code = array.array("B", b"".join(_counted(one, header) for one in _INSTRUCTION.iter_unpack(self.code)))
        address, octets = code.buffer_info()
        packet_socket.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", octets // 8, address))


def _counted(instruction: tuple[int, int, int, int], header: int) -> bytes:
    """The instruction, its load counted from the packet's beginning instead of from the network header."""
    operation, true, false, operand = instruction
    load = operation in (LD_W, LD_H, LD_B, LD_H_X, LD_B_X, LDX_IHL) and NET <= operand < _KERNEL
    return _INSTRUCTION.pack(operation, true, false, operand - NET + header if load else operand)


def assemble(lines: Iterable[Instruction | str]) -> bytes:
    """Make machine code (struct sock_filter, 8 octets each) of *lines*. Raises KeyError for a label that is nowhere."""
    lines = list(lines)
    labels: dict[str | None, int] = {}
    position = 0
    for line in lines:
        if isinstance(line, str):
            labels[line] = position
        else:
            position += 1
    return b"".join(_encoded(lines, labels))


def _encoded(lines: Iterable[Instruction | str], labels: dict[str | None, int]) -> Iterator[bytes]:
    following = 0
    for line in lines:
        if isinstance(line, str):
            continue
        following += 1
        labels[None] = following
        operation, operand, *targets = line
        if isinstance(operand, str):
            operand = labels[operand] - following
        yield _INSTRUCTION.pack(operation, *[labels[target] - following for target in targets] or (0, 0), operand)


def proof() -> Program:
    """Pass TCP segments from an endpoint to itself: equal ports and equal addresses, IPv4 and IPv6."""
    return Program(EQUAL_ENDS, assemble([*_LOOK, "same", (JA, "accept"), "different", (RET, 0), *_ENDS]))


def context(port: int | None = None, *, ends_only: bool = False) -> Program:
    """Pass TCP segments to or from *port* (None: all ports) that proof() does not pass.

    *ends_only*: of those only the ones that begin or end a connection (SYN, FIN or RST set), for long watches.
    """
    lines = [*_LOOK, "same", (RET, 0), "different", (LDX_MEM, HEADER), *_of_port(port)]
    if ends_only:
        lines += [(LD_B_X, NET + 13), (JSET, _ENDS_ONE, None, "reject")]
    return Program(f"{_context_text(port, ends_only=ends_only)} and not {EQUAL_ENDS}", assemble([*lines, *_ENDS]))


def _of_port(port: int | None, label: str = "port") -> list[Instruction | str]:
    """Go on only with segments to or from *port* (None: with all); X is the TCP header's place."""
    if port is None:
        return []
    return [(LD_H_X, NET), (JEQ, port, label, None), (LD_H_X, NET + 2), (JEQ, port, None, "reject"), label]


def answer(port: int | None = None, *, loopback: bool = False) -> Program:
    """Pass the SYN-ACKs that an endpoint sends to itself, from *port* (None: from any).

    *loopback*: of all interfaces loopback alone, for a socket that is bound to none: so it may be down meanwhile.
    """
    flags: list[Instruction | str] = [(LD_B_X, NET + 13), (AND, _OPENING), (JEQ, _SYN_ACK, "accept", "reject")]
    look = (*_LOOPBACK, *_LOOK) if loopback else _LOOK
    lines = [*look, "same", (LDX_MEM, HEADER), *_of_port(port), *flags, "different", (RET, 0), *_ENDS]
    return Program(f"{_same_text(port)} and {_ANSWER_TEXT}", assemble(lines), arriving=loopback)


def before(port: int | None = None, *, loopback: bool = False) -> Program:
    """Pass what begins or ends a connection, and whatever an endpoint sends to itself, but not what answer() passes."""
    lines = [
        *(_LOOPBACK if loopback else ()),
        *(*_LOOK, "same", (LDX_MEM, HEADER), *_of_port(port, "same port")),
        *((LD_B_X, NET + 13), (AND, _OPENING), (JEQ, _SYN_ACK, "reject", "accept")),
        *("different", (LDX_MEM, HEADER), *_of_port(port)),
        *((LD_B_X, NET + 13), (JSET, _ENDS_ONE, "accept", "reject")),
    ]
    text = (
        f"({_context_text(port, ends_only=True)} and not {EQUAL_ENDS}) or ({_same_text(port)} and not {_ANSWER_TEXT})"
    )
    return Program(text, assemble([*lines, *_ENDS]), arriving=loopback)


def watch_text(port: int | None) -> str:
    """Say in libpcap's language what answer() and before() pass together."""
    return f"({_context_text(port, ends_only=True)}) or {_same_text(port)}"


def both_text(port: int | None, *, ends_only: bool = False) -> str:
    """Say in libpcap's language what proof() and context() pass together."""
    return f"{EQUAL_ENDS} or ({_context_text(port, ends_only=ends_only)})"


#: SYN, FIN or RST; and the bits that make a segment a SYN-ACK or not.
_ENDS_ONE, _OPENING, _SYN_ACK = 0x07, 0x17, 0x12
_ANSWER_TEXT = "((ip and tcp[13] & 0x17 = 0x12) or (ip6 and ip6[53] & 0x17 = 0x12))"


def _same_text(port: int | None) -> str:
    return EQUAL_ENDS if port is None else f"({EQUAL_ENDS} and tcp port {port})"


def _context_text(port: int | None, *, ends_only: bool) -> str:
    text = "tcp portrange 0-65535" if port is None else f"tcp port {port}"
    if ends_only:
        text += " and ((ip and tcp[13] & 7 != 0) or (ip6 and ip6[53] & 7 != 0))"
    return text


#: Passes no packet at all.
NOTHING = Program("less 0", assemble([(RET, 0)]))
