#!/usr/bin/env python3
"""The lab of lesson 9: change one thing, predict what happens, let it happen, read why.

Each experiment runs in a network namespace of its own, with 8 ephemeral ports of which 4 are candidates, and changes
nothing outside of it. It needs no root where user namespaces are allowed; unshare(1) and ip(8) have to be there.

    lab.py                list the experiments
    lab.py NAME...        run some; all: every one
    lab.py --yes NAME...  without waiting for a prediction, as where standard input is no terminal

Those about segments leave their packets in lab-NAME.pcap, for selfconn-analyze and Wireshark.
Run it with the Python of the environment that selfconn is installed in.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import shutil
import socket
import struct
import subprocess
import sys
import textwrap
import threading
import time
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

HOST, PORT, TIMES = "127.0.0.1", 50000, 400
SETTINGS = Path("/proc/sys/net/ipv4")
#: In the environment: this process is in its namespace already.
_INSIDE = "SELFCONN_LAB"

_IP_BIND_ADDRESS_NO_PORT, _IP_LOCAL_PORT_RANGE = 24, 51  # ip(7)
_SO_ATTACH_FILTER, _SO_DETACH_FILTER, _SO_TIMESTAMPNS = 26, 27, 35  # <asm-generic/socket.h>
_SIOCETHTOOL, _ETHTOOL_STXCSUM = 0x8946, 0x17  # <linux/sockios.h>, <linux/ethtool.h>
_PACKET_OUTGOING, _ETH_P_ALL, _ETH_P_IP = 4, 0x0003, 0x0800  # packet(7)
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER: close with RST, so that no TIME-WAIT keeps the port

#: What was measured: a line each, what was done and what came of it.
Rows = list[tuple[str, str]]


# -- dialling -------------------------------------------------------------------------------------------------------


def own_range(low: int, high: int) -> Callable[[socket.socket], None]:
    """Give a socket an ephemeral range of its own, before it connects."""
    return lambda client: client.setsockopt(
        socket.IPPROTO_IP, _IP_LOCAL_PORT_RANGE, struct.pack("=I", high << 16 | low)
    )


def bound(address: str) -> Callable[[socket.socket], None]:
    """Give a socket an address; its port is chosen when it connects."""

    def prepare(client: socket.socket) -> None:
        client.setsockopt(socket.IPPROTO_IP, _IP_BIND_ADDRESS_NO_PORT, 1)
        client.bind((address, 0))

    return prepare


def at_any_port(client: socket.socket) -> None:
    """Have bind() choose the port."""
    client.bind((HOST, 0))


def dial(port: int = PORT, host: str = HOST, prepare: Callable[[socket.socket], None] | None = None) -> int:
    """Dial TIMES times, and count how often the client was connected to itself."""
    hits = 0
    for _ in range(TIMES):
        with socket.socket() as client:
            if prepare:
                prepare(client)
            if client.connect_ex((host, port)) == 0:
                hits += client.getsockname() == client.getpeername()
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    return hits


def hits(what: str, number: int) -> tuple[str, str]:
    """A line about so many hits."""
    return what, f"{number} of {TIMES} connected to themselves"


def ports(low: int, high: int) -> None:
    """Set the ephemeral range of this namespace."""
    (SETTINGS / "ip_local_port_range").write_text(f"{low} {high}", encoding="ascii")


def parity() -> Rows:
    """Dial an odd port, and have bind() choose the source port."""
    return [
        hits("dial 50000", dial()),
        hits("dial 50001", dial(PORT + 1)),
        hits("bind() to port 0, dial 50001", dial(PORT + 1, prepare=at_any_port)),
        hits("bind() to port 0, dial 50000", dial(prepare=at_any_port)),
    ]


def wider() -> Rows:
    """Let the range have other ports."""
    found = [hits("range 50000-50007", dial())]
    for low, high in ((50000, 50031), (50001, 50008), (50008, 50015)):
        ports(low, high)
        found += [hits(f"range {low}-{high}", dial())]
    return found


def own() -> Rows:
    """Give the client a range of its own."""
    try:
        return [
            hits("dial 50001", dial(PORT + 1)),
            hits("own range 50000-50007, dial 50001", dial(PORT + 1, prepare=own_range(50000, 50007))),
            hits("own range 50001-50001, dial 50001", dial(PORT + 1, prepare=own_range(50001, 50001))),
        ]
    except OSError as error:
        if error.errno != errno.ENOPROTOOPT:
            raise
        return [("this kernel has no IP_LOCAL_PORT_RANGE", "it came with Linux 6.3")]


def aside() -> Rows:
    """Take another loopback address."""
    there = "127.0.0.2"
    return [
        hits("dial 127.0.0.1", dial()),
        hits("dial 127.0.0.2", dial(host=there)),
        hits("from 127.0.0.2, dial 127.0.0.1", dial(prepare=bound(there))),
        hits("from 127.0.0.2, dial 127.0.0.2", dial(host=there, prepare=bound(there))),
    ]


def held() -> Rows:
    """Have somebody on the port."""
    found = [hits("nobody is there", dial())]
    with socket.socket() as holder:
        holder.bind((HOST, PORT))
        found.append(hits("a socket is bound to it, and does not listen", dial()))
        holder.listen(1024)
        threading.Thread(target=_accept, args=(holder,), daemon=True).start()
        found.append(hits("a server listens on it", dial()))
    return found


def _accept(server: socket.socket) -> None:
    with suppress(OSError):
        while True:
            server.accept()[0].close()


def reuse() -> Rows:
    """Close with FIN, and dial again 1.2 s later, as tcp_tw_reuse has it."""
    subprocess.run(["ip", "addr", "add", "192.0.2.1/32", "dev", "lo"], check=True)
    found = []
    settings = [(2, 1, HOST), (0, 1, HOST), (2, 0, HOST), (2, 1, "192.0.2.1"), (1, 1, "192.0.2.1")]
    for port, (way, stamps, address) in enumerate(settings, 50000):
        (SETTINGS / "tcp_tw_reuse").write_text(str(way), encoding="ascii")
        (SETTINGS / "tcp_timestamps").write_text(str(stamps), encoding="ascii")
        ports(port, port)
        for wait in (0, 1.2):
            time.sleep(wait)
            with socket.socket() as client:
                said = errno.errorcode.get(client.connect_ex((address, port)), "connected to itself")
        found.append((f"tcp_tw_reuse={way}, tcp_timestamps={stamps}, {address}", said))
    return found


# -- segments -------------------------------------------------------------------------------------------------------


@contextmanager
def recorded(name: str, device: str = "lo") -> Iterator[None]:
    """Write the IPv4 packets that pass *device* meanwhile to a pcap file."""
    with (
        Path(f"lab-{name}.pcap").open("wb") as file,
        socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, 0) as tap,
    ):
        tap.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
        tap.bind((device, _ETH_P_ALL))
        time.sleep(0.2)  # the kernel begins a little later to note when packets come
        file.write(struct.pack("=IHHiIII", 0xA1B23C4D, 2, 4, 0, 0, 65535, 101))  # nanoseconds, LINKTYPE_RAW
        yield
        time.sleep(0.05)
        tap.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                packet, extra, _, address = tap.recvmsg(65535, 64)
                twice = device == "lo" and address[2] == _PACKET_OUTGOING  # lo shows each packet two times
                if address[1] == _ETH_P_IP and not twice:
                    when = struct.unpack("qq", extra[0][2])
                    file.write(struct.pack("=IIII", *when, len(packet), len(packet)) + packet)


def losing(mask: int, flags: int) -> bytes:
    """A filter for a socket (classic BPF) that drops the segments whose flags, under *mask*, are *flags*."""
    code = [(0x30, 0, 0, 13), (0x54, 0, 0, mask), (0x15, 0, 1, flags), (0x06, 0, 0, 0), (0x06, 0, 0, 0xFFFF)]
    return b"".join(struct.pack("HBBI", *one) for one in code)


def lose(name: str, mask: int, flags: int) -> Rows:
    """Connect a socket to itself that does not get some segments in the first half second."""
    with recorded(name), socket.socket() as client:
        client.bind((HOST, PORT))
        program = ctypes.create_string_buffer(losing(mask, flags))
        client.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, struct.pack("HL", 5, ctypes.addressof(program)))
        threading.Timer(0.5, lambda: client.setsockopt(socket.SOL_SOCKET, _SO_DETACH_FILTER, 0)).start()
        began = time.monotonic()
        client.settimeout(10)
        said = errno.errorcode.get(client.connect_ex((HOST, PORT)), "connected to itself")
        took = time.monotonic() - began
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    return [("connect()", f"{said} after {took:.1f} s"), *_timeline(name)]


def lost_syn() -> Rows:
    """Lose the SYN."""
    return lose("lost-syn", 0x12, 0x02)


def lost_syn_ack() -> Rows:
    """Lose the SYN-ACK."""
    return lose("lost-syn-ack", 0x12, 0x12)


def _timeline(name: str) -> Rows:
    """What selfconn makes of the packets: the segments, and how the states went."""
    from analysis.reader import analyze  # noqa: PLC0415 - for the experiments about segments alone
    from analysis.replay import replay  # noqa: PLC0415

    found: Rows = [("packets", f"lab-{name}.pcap")]
    result = analyze(f"lab-{name}.pcap")
    for opening in result.openings:
        account = replay(opening)
        start = account.segments[0].time
        for segment in account.segments:
            said = f"{(segment.time - start) / 1e9:.3f} s"
            found.append((f"  frame {segment.frame}, {said}", _flags(segment.flags)))
        found.append(("verdict", str(opening.verdict)))
        for letter, endpoint in zip("AB", account.sockets, strict=False):
            found.append((f"states of {letter} ({endpoint})", " > ".join(account.state_path(endpoint))))
    return found


def _flags(flags: int) -> str:
    names = ((0x02, "SYN"), (0x04, "RST"), (0x01, "FIN"), (0x10, "ACK"))
    return "-".join(name for bit, name in names if flags & bit)


# -- two hosts ------------------------------------------------------------------------------------------------------

#: The two hosts: an address, a hardware address.
ENDS = (("192.0.2.1", "02:00:00:00:00:01"), ("192.0.2.2", "02:00:00:00:00:02"))
_DELAY = 0.05
#: What a host does: it waits for its device and for a line on standard input, and then calls the other one.
_HOST = """
import socket, sys
sys.stdin.readline()
with socket.socket() as client:
    client.bind((sys.argv[1], 50000))
    client.settimeout(5)
    print(client.connect_ex((sys.argv[2], 50000)), flush=True)
    sys.stdin.readline()
"""


def delay() -> Rows:
    """Let two hosts, 50 ms apart, call each other at the same moment."""
    hosts = []
    try:
        for number in (0, 1):
            hosts += [_host(number)]
        with closing(_Path()), recorded("delay", "end0"):
            for host in hosts:
                _tell(host)
            said = [errno.errorcode.get(int(host.stdout.readline()), "connected") for host in hosts if host.stdout]
            time.sleep(3 * _DELAY)
    finally:
        for host in hosts:
            host.kill()
            host.wait()
    return [(f"{ENDS[number][0]}: connect()", word) for number, word in enumerate(said)] + _timeline("delay")


def _host(number: int) -> subprocess.Popen[str]:
    (own, mac), (other, its) = ENDS[number], ENDS[1 - number]
    host = subprocess.Popen(
        ["unshare", "--net", sys.executable, "-c", _HOST, own, other],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    here = Path("/proc/self/ns/net").readlink()
    while Path(f"/proc/{host.pid}/ns/net").readlink() == here:
        time.sleep(0.01)
    enter = ["nsenter", "--net", "--target", str(host.pid)]
    for command in (
        f"ip link add end{number} type veth peer name eth0 address {mac} netns {host.pid}",
        f"ip link set end{number} up",
        f"* ip addr add {own}/24 dev eth0",
        "* ip link set eth0 up",
        f"* ip neigh add {other} lladdr {its} dev eth0 nud permanent",
    ):
        words = command.split()
        subprocess.run(enter + words[1:] if words[0] == "*" else words, check=True)
    subprocess.run([*enter, sys.executable, "-c", _CHECKSUMS_OFF], check=True)
    return host


#: Checksums are to be right on the path: left to a device that is none, they stay wrong and are dropped.
_CHECKSUMS_OFF = f"""
import ctypes, fcntl, socket, struct
off = ctypes.create_string_buffer(struct.pack("=II", {_ETHTOOL_STXCSUM}, 0))
fcntl.ioctl(socket.socket(), {_SIOCETHTOOL}, struct.pack("16sP16x", b"eth0", ctypes.addressof(off)))
"""


def _tell(host: subprocess.Popen[str]) -> None:
    if host.stdin:
        host.stdin.write("\n")
        host.stdin.flush()


class _Path:
    """Hands every frame on from one host to the other, 50 ms later."""

    def __init__(self) -> None:
        self._ends = [socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) for _ in ENDS]
        for number, end in enumerate(self._ends):
            end.bind((f"end{number}", _ETH_P_ALL))
        self._stop, self._stopped = os.pipe()
        self._thread = threading.Thread(target=self._forward)
        self._thread.start()

    def close(self) -> None:
        """Cut the path."""
        os.close(self._stopped)
        self._thread.join()
        os.close(self._stop)
        for end in self._ends:
            end.close()

    def _forward(self) -> None:
        waiting: list[tuple[float, int, bytes]] = []
        while True:
            wait = max(waiting[0][0] - time.monotonic(), 0) if waiting else None
            ready = select.select([*(end.fileno() for end in self._ends), self._stop], [], [], wait)[0]
            if self._stop in ready:
                return
            for number, end in enumerate(self._ends):
                if end.fileno() in ready:
                    frame, address = end.recvfrom(65535)
                    if address[2] != _PACKET_OUTGOING:
                        waiting.append((time.monotonic() + _DELAY, 1 - number, frame))
            while waiting and waiting[0][0] <= time.monotonic():
                _, to, frame = waiting.pop(0)
                self._ends[to].send(frame)


# -- another kernel -------------------------------------------------------------------------------------------------


def kernel() -> Rows:
    """Let the kernel be an older one: captures from two, and from this one."""
    from analysis.reader import analyze  # noqa: PLC0415
    from analysis.replay import replay  # noqa: PLC0415

    with recorded("kernel"), socket.socket() as client:
        client.bind((HOST, PORT))
        client.connect((HOST, PORT))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
    older = Path(__file__).parent.parent / "tests" / "kernels"
    found: Rows = []
    for name, path in (
        ("5.10.251", older / "5.10.251--self-connect-v4.pcapng"),
        ("6.1.170", older / "6.1.170--self-connect-v4.pcapng"),
        (f"this one ({os.uname().release})", Path("lab-kernel.pcap")),
    ):
        for opening in analyze(str(path)).openings[:1]:
            account = replay(opening)
            frames = [segment.frame for segment in account.segments]
            opened = next(frames.index(step.frame) + 1 for step in account.transitions if step.after == "ESTABLISHED")
            mark = "ACK with D-SACK" if account.segments[2].dsack else "plain ACK"
            found.append((f"Linux {name}", f"third segment: {mark}; ESTABLISHED by segment {opened}"))
    return found


# -- the experiments ------------------------------------------------------------------------------------------------


class Experiment(NamedTuple):
    """One thing that is changed: the question before, what is done, and why it came out like that."""

    change: str
    predict: str
    run: Callable[[], Rows]
    why: str


EXPERIMENTS = {
    "parity": Experiment(
        "the port that is dialled: odd instead of even",
        "8 ephemeral ports, 50000-50007. How many of 400 attempts at 50000 hit? At 50001? And after bind() to port 0?",
        parity,
        "connect() takes the parity of the range's lower end while such a port is free (Linux 4.6 and later, commit "
        "1580ab63fc9a): 50000, 50002, 50004, 50006, so about 100 of 400, and none for 50001. bind() to port 0 takes "
        "the "
        "other parity: it is the other way round. Lesson 3.",
    ),
    "range": Experiment(
        "the ephemeral range",
        "Range 50000-50007 hits 50000 about 100 times in 400. And 50000-50031? 50001-50008? 50008-50015?",
        wider,
        "With 32 ports 16 are candidates: about 25 of 400. A port outside of the range is never given, which is why "
        "servers belong below it. Lesson 3.",
    ),
    "own-range": Experiment(
        "the range of the client alone (IP_LOCAL_PORT_RANGE)",
        "50001 is odd. The client asks for a range of its own, 50000-50007. How many of 400 hit now?",
        own,
        "In a range of its own connect() takes either parity (Linux 6.8 and later, commit 207184853dbd): 8 candidates, "
        "about 50 of 400; Linux 6.3 to 6.7 keep to the even ones. With a range of one port every attempt hits, on "
        "all of "
        "them. Lesson 3.",
    ),
    "127.0.0.2": Experiment(
        "the address that is dialled",
        "127.0.0.2 is this host, too. How many of 400 hit?",
        aside,
        "The client's address is 127.0.0.1 unless it chooses another one, so the two ends differ: none. Only a client "
        "that takes 127.0.0.2 for itself as well can hit. A free remedy: lesson 8.",
    ),
    "listener": Experiment(
        "who is on the port",
        "A socket is bound to 50000 and does not listen; then a server listens there. How many of 400 hit?",
        held,
        "A port that a socket is bound to is given to no client: it is refused without hitting, or reaches the server. "
        "Lesson 8.",
    ),
    "lost-syn": Experiment(
        "the SYN is lost (the socket is given a filter that drops it, for half a second)",
        "Does connect() fail? How long does it take, and how many SYNs are there?",
        lost_syn,
        "Nothing answers, so the SYN is sent again after about a second (RFC 6298, 2.1). That one arrives in "
        "SYN-SENT, and "
        "the rest is as always. The packets were recorded before the filter, so both SYNs are in the capture. Which "
        "of them "
        "arrived, no packet says.",
    ),
    "lost-syn-ack": Experiment(
        "the SYN-ACK is lost",
        "The socket is in SYN-RECEIVED. What does it send next: a SYN, a SYN-ACK, or nothing?",
        lost_syn_ack,
        "The SYN-ACK again, after about a second: its SYN is not acknowledged yet, and what is at the front of the "
        "retransmission queue is sent again, in any state (RFC 9293 3.10.8): the SYN, which now carries an ACK, and "
        "so is a SYN-ACK. The packets were recorded before the filter, so both are in the capture.",
    ),
    "delay": Experiment(
        "the distance: two hosts, 50 ms apart, that call each other at the same moment",
        "Nobody listens. Are they refused, or connected? How many segments does it take?",
        delay,
        "Connected, by figure 7 of RFC 9293: the SYNs cross, each host answers by a SYN-ACK. Two of each, where a "
        "self-connect has one, since there each segment leaves and arrives at the same socket. Lesson 4.",
    ),
    "reuse": Experiment(
        "what a TIME-WAIT allows (tcp_tw_reuse, time stamps, the address)",
        "The client has closed with FIN. It dials again from the same port, 1.2 s later. Which settings let it?",
        reuse,
        "A TIME-WAIT's port may be used again for an outgoing connection after a second, if there are time stamps, "
        "and if "
        "tcp_tw_reuse is 1, or 2 (the default) on a loopback address (Linux, Documentation/networking/ip-sysctl.rst). "
        "Otherwise connect() passes the port over; here no other is left. Lesson 5.",
    ),
    "kernel": Experiment(
        "the kernel",
        "The SYN-ACK repeats a SYN that the socket has. Who takes it, and who drops it and answers it?",
        kernel,
        "RFC 9293 says both: figure 7 uses it, 3.10.7.4 drops it and answers by an ACK. Linux 3.6 to 6.10 drop it "
        "(commit 0c24604b68fc), 6.11, 6.10.10 and 6.1.110 use it (commit 23e89e8ee7be). Both end in ESTABLISHED. "
        "Lesson 4b.",
    ),
}


def _conduct(name: str, *, ask: bool) -> None:
    experiment = EXPERIMENTS[name]
    show = sys.stdout.write
    show(f"{name}: {experiment.change}\n\n")
    show(textwrap.fill(f"Predict: {experiment.predict}", 100) + "\n")
    if ask:
        show("Your prediction (Enter runs it): ")
        sys.stdout.flush()
        sys.stdin.readline()
    ports(50000, 50007)
    rows = experiment.run()
    width = max(len(what) for what, _ in rows)
    show("\n" + "".join(f"  {what:{width}}  {said}\n" for what, said in rows))
    show("\n" + textwrap.fill(experiment.why, 100) + "\n")
    sys.stdout.flush()


def main(words: list[str]) -> int:
    """Run what was asked for, each experiment in a namespace of its own; return the exit status."""
    ask = "--yes" not in words and sys.stdin.isatty()
    names = [word for word in words if word != "--yes"]
    names = list(EXPERIMENTS) if names == ["all"] else names
    if os.environ.get(_INSIDE):
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        _conduct(names[0], ask=ask)
        return 0
    unknown = [name for name in names if name not in EXPERIMENTS]
    if unknown or not names:
        width = max(map(len, EXPERIMENTS))
        listed = "".join(f"  {name:{width}}  {one.change}\n" for name, one in EXPERIMENTS.items())
        sys.stdout.write(f"Change one thing: lab.py NAME, or all\n{listed}")
        return 2 if unknown else 0
    if missing := [program for program in ("unshare", "ip") if not shutil.which(program)]:
        sys.stderr.write(f"lab.py: {' and '.join(missing)} not found (packages util-linux and iproute2)\n")
        return 3
    status = 0
    for place, name in enumerate(names):
        sys.stdout.write("\n" * (place > 0))
        sys.stdout.flush()
        again = [sys.executable, __file__, *(["--yes"] if not ask else []), name]
        inside = ["unshare", "--map-root-user", "--net", *again]
        status = subprocess.run(inside, env={**os.environ, _INSIDE: "1"}, check=False).returncode or status
    return status


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
