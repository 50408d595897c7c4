"""What other programs say of a socket that is connected to itself: the table in docs/other-tools.md.

``make docs`` writes the table out of these rows; tests/test_docs_other_tools.py runs every command
and looks for what is quoted.
"""

from __future__ import annotations

from typing import NamedTuple

#: The capture that all are asked about; a copy of it in the older format, for those that read no other.
CAPTURE, OLDER = "pcaps/self-connect-v4.pcapng", "self-connect-v4.pcap"


class Tool(NamedTuple):
    """A program (with the Debian package that brings it), a command line, and words of its answer, spaces folded."""

    name: str
    package: str
    command: str
    quotes: tuple[str, ...]
    meaning: str


TOOLS = (
    Tool(
        "selfconn",
        "",
        f"selfconn-analyze {CAPTURE}",
        ("self-connect: 127.0.0.1:50000 > 127.0.0.1:50000", "A SYN-SENT > SYN-RECEIVED"),
        "one socket, a simultaneous open with itself",
    ),
    Tool(
        "Wireshark",
        "tshark",
        f"tshark -r {CAPTURE}",
        ("[TCP Retransmission] 50000 → 50000 [SYN, ACK]", "[TCP Window Update] 50000 → 50000 [ACK]"),
        "the SYN-ACK that opens it is taken for the SYN once more",
    ),
    Tool(
        "Wireshark's conversations",
        "tshark",
        f"tshark -q -z conv,tcp -r {CAPTURE}",
        ("127.0.0.1:50000 <-> 127.0.0.1:50000 0 0 bytes 7 495 bytes",),
        "one end says everything, the other nothing",
    ),
    Tool(
        "tcpdump",
        "tcpdump",
        f"tcpdump -n -r {CAPTURE}",
        ("127.0.0.1.50000 > 127.0.0.1.50000: Flags [S.]", "sack 1 {0:1}"),
        "what is on the wire, and no judgement",
    ),
    Tool(
        "tcptrace",
        "tcptrace",
        f"tcptrace -n {OLDER}",
        ("127.0.0.1:50000 - 127.0.0.1:50000 (a2b) 7> 0< (unidirectional)",),
        "one direction, no connection",
    ),
    Tool(
        "Argus",
        "argus-client",
        f"argus -r {OLDER} -w - | ra -n -r -",
        ("127.0.0.1.50000 -> 127.0.0.1.50000 7 495 FIN",),
        "a flow in one direction",
    ),
    Tool(
        "nDPI",
        "libndpi-bin",
        f"ndpiReader -v 2 -i {OLDER}",
        ("[7 pkts/495 bytes -> 0 pkts/0 bytes]",),
        "a flow in one direction",
    ),
    Tool(
        "tcpflow",
        "tcpflow",
        f"tcpflow -c -r {OLDER}",
        ("127.000.000.001.50000-127.000.000.001.50000: hello",),
        "one stream; that its reader is its writer does not show",
    ),
)


def table() -> str:
    """Return the table in Markdown."""
    rows = ["| | asked by | says | that is |", "|---|---|---|---|"]
    for tool in TOOLS:
        command = f"`{tool.command}`".replace("|", "\\|")
        quotes = ", ".join(f"`{quote}`" for quote in tool.quotes)
        rows.append(f"| {tool.name} | {command} | {quotes} | {tool.meaning} |")
    return "\n".join(rows) + "\n"
