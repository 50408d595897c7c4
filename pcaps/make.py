"""Make the captures in this directory, their golden texts, their pages and the index.

    python pcaps/make.py              every capture but those of other kernels, all texts and pages, and the index
    python pcaps/make.py NAME...      only what is recorded together with these captures
    python pcaps/make.py --golden     only texts, pages and the index; the captures stay as they are

Needs root; for an ordinary user it starts itself again in a user namespace, where those are allowed.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import textwrap
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent), str(HERE.parent / "tests")]

import recipes  # noqa: E402 -- these are found by the line above
from recipes import Studio  # noqa: E402
from topology import LEFT  # noqa: E402

from analysis import VERSION  # noqa: E402
from analysis.model import REMARKABLE, Verdict  # noqa: E402
from analysis.reader import analyze  # noqa: E402
from analysis.report import report  # noqa: E402
from analysis.views import rendered  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

# -- what there is --------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Capture:
    """One file of the corpus: what the analysis finds in it, and what to look at.

    *options* are those of the golden text's command line. *varies* names verdicts whose number is the kernel's whim.
    """

    name: str
    verdicts: dict[Verdict, int]
    look: str
    options: tuple[str, ...] = ()
    varies: frozenset[Verdict] = frozenset()


@dataclass(frozen=True)
class Recipe:
    """How one or more captures are made: the function, and what else it is told."""

    cook: Callable[..., None]
    captures: tuple[Capture, ...]
    told: dict[str, Any] = field(default_factory=dict)

    def make(self, studio: Studio) -> None:
        """Make the captures in the studio's folder."""
        self.cook(studio, *(capture.name for capture in self.captures), **self.told)


_ALL = ("--all",)

RECIPES = (
    Recipe(
        recipes.to_itself,
        (
            Capture(
                "self-connect-v4",
                {Verdict.SELF_CONNECT: 1},
                """Three packets open the connection, and all of them leave the socket that they reach. Frame 2 is a
                SYN-ACK with the sequence number of frame 1, whose SYN it acknowledges: the socket answers itself.
                Frame 3 reports a duplicate (D-SACK), because the SYN in frame 2 had been there before. From then on
                the sequence number equals the acknowledgment number in every ACK. One FIN (frame 6) and one ACK close
                it: the socket goes through CLOSING, which otherwise takes two that close at once.""",
            ),
        ),
    ),
    Recipe(
        recipes.to_itself,
        (
            Capture(
                "self-connect-v6",
                {Verdict.SELF_CONNECT: 1},
                """The same over IPv6, from ::1 to ::1. Nothing but the address family differs: compare frame by frame
                with self-connect-v4.""",
            ),
        ),
        {"address": "::1"},
    ),
    Recipe(
        recipes.to_itself,
        (
            Capture(
                "self-connect-own-address",
                {Verdict.SELF_CONNECT: 1},
                """The same with an address of a network card. It needs no loopback address: a host that talks to an
                address of its own talks over `lo`, where this was recorded.""",
            ),
        ),
        {"address": LEFT},
    ),
    Recipe(
        recipes.walk,
        (
            Capture(
                "self-connect-walk",
                {Verdict.SELF_CONNECT: 1, Verdict.REFUSED: 1},
                """The story itself. Somebody connects again and again to a port where nobody listens, and is refused
                with a RST each time. Watch the source ports: the kernel goes round its range in even steps, 2 to 16
                at a time, until it takes the very port that is being dialled. Nobody refuses that SYN: the socket
                that sent it is there to answer it. The range has 16 ports here, so that it does not take long;
                ordinarily there are 14,116 of the right parity. RST closes it.""",
                varies=frozenset({Verdict.REFUSED}),
            ),
        ),
    ),
    Recipe(
        recipes.port_walk,
        (
            Capture(
                "port-walk",
                {Verdict.REFUSED: 150},
                """What the source ports of refused attempts tell. The kernel goes round its range, of 256 ports here,
                taking the even ones in steps that it draws by lot: the mark of Linux 5.18 and later. The port that is
                dialled is none of them, so this client can try for ever and never be connected to itself.""",
                varies=frozenset({Verdict.REFUSED}),
            ),
        ),
    ),
    Recipe(
        recipes.to_itself,
        (
            Capture(
                "self-connect-rst",
                {Verdict.SELF_CONNECT: 1},
                """Closed by a RST instead of a FIN (SO_LINGER with a time of 0). Frame 6 reaches the socket that sent
                it, which is gone by then. No TIME-WAIT stays behind: the port is free at once.""",
            ),
        ),
        {"abort": True},
    ),
    Recipe(
        recipes.after_time_wait,
        (
            Capture(
                "self-connect-after-time-wait",
                {Verdict.SELF_CONNECT: 2},
                """Two self-connects on the same port. The first one (frames 1 to 7) leaves a TIME-WAIT. The SYN of the
                second (frame 8) is bare, and yet its timestamp option echoes a value: the last one of the connection
                before. That is how the kernel shows that it reuses a TIME-WAIT, and that its sequence numbers go on
                from where the old ones ended.""",
            ),
        ),
    ),
    Recipe(
        recipes.to_itself,
        (
            Capture(
                "self-connect-sll2",
                {Verdict.SELF_CONNECT: 1},
                """Recorded on all devices at once (`-i any`), so the frames begin with a header of Linux cooked
                captures (SLL2), which tells the device and the direction, instead of an Ethernet header.""",
            ),
        ),
        {"device": "any"},
    ),
    Recipe(
        recipes.doubles,
        (
            Capture(
                "self-connect-doubles",
                {Verdict.SELF_CONNECT: 1},
                """What a packet socket sees on `lo` when it does not look where packets go: each frame as it leaves
                and, a few microseconds later, as it arrives. Captures of scapy's sniff() look like this. They are not
                retransmissions: those have a later timestamp option, and these are equal to the last bit.""",
            ),
        ),
    ),
    Recipe(
        recipes.server_cannot_bind,
        (
            Capture(
                "server-cannot-bind",
                {Verdict.SELF_CONNECT: 1, Verdict.REFUSED: 2},
                """The damage. A socket connected to itself holds the port. Between frames 5 and 6 the server that the
                port belongs to tries to start, and bind() fails: address already in use. No packet shows it. What
                shows is that clients (frames 6 and 7) are refused on a port that somebody holds. After the close
                (frames 8 and 9) the server tries again, and fails again, SO_REUSEADDR or not: TIME-WAIT keeps the
                port for 60 seconds, and the next client is refused, too.""",
                _ALL,
            ),
        ),
    ),
    Recipe(
        recipes.refused_once,
        (
            Capture(
                "refused",
                {Verdict.REFUSED: 1},
                """A SYN to a port where nobody listens, and the RST that says so. It acknowledges the SYN, or the
                client would not believe it (SYN-SENT, RFC 9293 3.10.7.3).""",
                _ALL,
            ),
        ),
    ),
    Recipe(
        recipes.three_way,
        (
            Capture(
                "three-way",
                {Verdict.THREE_WAY: 1},
                """The ordinary case, to compare with. There are two sequence number spaces, and the SYN-ACK begins its
                own (frame 2). The server gets to ESTABLISHED by frame 3. The client closes first and ends in
                TIME-WAIT; the server goes through CLOSE-WAIT and LAST-ACK.""",
                _ALL,
            ),
        ),
    ),
    Recipe(
        recipes.half_open,
        (
            Capture(
                "half-open",
                {Verdict.HALF_OPEN: 1},
                """A port scan. The SYN was put on the wire by hand, no socket belongs to it. So the scanner's kernel
                answers the SYN-ACK with a RST, and the server's half of a connection comes to nothing.""",
                _ALL,
            ),
        ),
    ),
    Recipe(
        recipes.simultaneous_open,
        (
            Capture(
                "simultaneous-open-left",
                {Verdict.SIMULTANEOUS_OPEN: 1},
                """Two hosts, 100 ms apart there and back, connect to each other at the same moment; RFC 9293 figure 7.
                Nobody listens, nobody is client or server. This is what the left one sees: its own SYN, the other's
                SYN 50 ms later, and its SYN-ACK at once, which repeats its own sequence number. A self-connect is this
                with both ends in one socket: put the frames side by side.""",
            ),
            Capture(
                "simultaneous-open-right",
                {Verdict.SIMULTANEOUS_OPEN: 1},
                """The same connection, seen from the right. It looks the same: there is no direction in it.""",
            ),
            Capture(
                "simultaneous-open-middle",
                {Verdict.SIMULTANEOUS_OPEN: 1},
                """The same connection, seen half-way, where both SYNs pass at the same time. What passes here has not
                arrived yet: the two SYN-ACKs (frames 3 and 4) were sent before either host had seen the other's.""",
            ),
        ),
    ),
    Recipe(
        recipes.hole_punch,
        (
            Capture(
                "hole-punch-left",
                {Verdict.ONE_SIDED_CROSSING: 1},
                """Two hosts call each other to open their NATs, and the first SYN is lost on the way. Seen from the
                left: SYN, SYN, then a SYN-ACK from one end only, and the ACK. A split handshake would look the same;
                packets cannot tell, so the verdict does not pretend to.""",
            ),
            Capture(
                "hole-punch-right",
                {Verdict.THREE_WAY: 1},
                """The same connection, seen from the right, where the lost SYN never came: an ordinary three-way
                handshake. Both sockets called connect(), yet nothing in here says so.""",
                _ALL,
            ),
        ),
    ),
    Recipe(
        recipes.crossed_unanswered,
        (
            Capture(
                "crossed-unanswered",
                {Verdict.CROSSED_UNANSWERED: 1},
                """Two SYNs cross, and that is all: a firewall lets neither SYN-ACK through. Both sockets were in
                SYN-RECEIVED; half-way there is no sign of it. Crossed SYNs alone are no open.""",
            ),
        ),
    ),
    Recipe(
        recipes.land,
        (
            Capture(
                "land",
                {Verdict.SELF_SYN: 1},
                """A SYN with equal ends that no socket sent (LAND, CVE-1999-0016). It equals frame 1 of a self-connect;
                look at what is missing. It comes over a real link (the MAC addresses are not zero), and no SYN-ACK
                follows: Linux drops what claims to come from itself and comes from outside. The address has a
                listening socket on that port.""",
            ),
        ),
    ),
    Recipe(
        recipes.split_handshake,
        (
            Capture(
                "split-handshake",
                {Verdict.SPLIT_HANDSHAKE: 1},
                """The server answers the SYN in two pieces, an ACK (frame 2) and a SYN (frame 3), and the client
                answers that SYN as if the server were the one that calls. Security devices that keep track of who
                opened a connection can be fooled by it (Beardsley and Qian, 2010). The bare ACK before the SYN is the
                only sign that tells it from a simultaneous open.""",
            ),
        ),
    ),
)


@dataclass(frozen=True)
class Elsewhere:
    """A capture of another kernel, which stays as it is: only its text and page are made here. *how* it was made."""

    capture: Capture
    how: str


_COMMAND = "selfconn-capture in a guest with Debian's kernel (tools/kernels/boot.sh): "
_UBUNTU = "selfconn-capture in a guest with Ubuntu's kernel 5.15.0-25 (tools/kernels/boot.sh): "
_LINE = "In user-mode Linux, a kernel that runs as a process (tools/kernels/boot.sh): "

ELSEWHERE = (
    Elsewhere(
        Capture(
            "linux-5.10.251-self-connect",
            {Verdict.SELF_CONNECT: 1},
            """Linux before 6.11 (or what stable kernels took up of it) drops the SYN-ACK that its socket sent to
            itself, because a SYN is in it that was there before, and answers with an ACK (RFC 9293 3.10.7.4). So
            frame 3 is plain, where self-connect-v4 has a D-SACK, and it is frame 3 by which the socket is ESTABLISHED,
            where it is frame 2 there. Everything else is the same.""",
        ),
        f"{_COMMAND}selfconn-capture --repro bind --port 50010, Debian 5.10.251-1.",
    ),
    Elsewhere(
        Capture(
            "linux-6.1.170-self-connect",
            {Verdict.SELF_CONNECT: 1},
            """An older release with the change of 6.11, which 6.1 took up in 6.1.110: frame 3 reports the duplicate
            (D-SACK). So the third packet tells of the change, not of the release's number.""",
        ),
        f"{_COMMAND}selfconn-capture --repro bind --port 50010, Debian 6.1.170-1.",
    ),
    Elsewhere(
        Capture(
            "linux-6.1.170-self-connect-no-sack",
            {Verdict.SELF_CONNECT: 1},
            """The same kernel with net.ipv4.tcp_sack=0. A D-SACK is a SACK option, and none is negotiated: frame 3 is
            plain whatever the kernel does with the SYN-ACK, so it tells nothing about it.""",
        ),
        f"{_COMMAND}sysctl net.ipv4.tcp_sack=0; selfconn-capture --repro bind --port 50016.",
    ),
    Elsewhere(
        Capture(
            "linux-5.10.46-self-connect-walk",
            {Verdict.SELF_CONNECT: 1, Verdict.REFUSED: 3},
            """The walk of a kernel before the random steps: each attempt gets the next even port (frames 1, 3, 5),
            so the fourth gets the port that is dialled (frame 7). Whoever knows one source port knows the next.""",
        ),
        f"{_LINE}selfconn-capture --private, Linux 5.10.46.",
    ),
    Elsewhere(
        Capture(
            "linux-5.10.46-port-walk",
            {Verdict.REFUSED: 150},
            """The walk through 256 ports on Linux 5.10.46: the next even port each time, one after the other, round
            and round. This is the simple hash of RFC 6056 (algorithm 3), and what Linux had up to 5.11.""",
        ),
        f"{_LINE}selfconn-capture --range 50000-50255 --port 49999 --repro walk; the first 300 packets.",
    ),
    Elsewhere(
        Capture(
            "linux-5.10.46-port-walk-one-port-held",
            {Verdict.REFUSED: 100},
            """The same through 16 ports, of which one is held: what a self-connect of a bound socket left in TIME-WAIT
            on 127.0.0.1 has port 50006. The client dials [::1]:50006, another address of another family, and connect()
            passes the port over all the same: the kernel looks at who bound it, not at the address.""",
        ),
        f"{_LINE}connect() to [::1]:50006 again and again, range 50000-50015; the first 200 packets.",
    ),
    Elsewhere(
        Capture(
            "linux-5.10.251-port-walk",
            {Verdict.REFUSED: 150},
            """The walk through 256 ports on Linux 5.10.251. Its number is older than 5.18, and yet it moves on by 2 to
            16 ports at random: 5.10.125 took up that change, so the patch level tells and not the series.""",
        ),
        f"{_COMMAND}selfconn-capture --range 50000-50255 --port 49999 --repro walk; the first 300 packets.",
    ),
    Elsewhere(
        Capture(
            "linux-5.15.30-port-walk",
            {Verdict.REFUSED: 150},
            """The walk through 256 ports on Linux 5.15.30, which has the rule of 5.12 (double hash, RFC 6056 algorithm
            4): the next even port each time, but now and then one is left out (5 % of the steps, while by lot it would
            be seven in eight). A hash of the destination chooses one of many counters; 5.10.46 has one.""",
        ),
        f"{_UBUNTU}selfconn-capture --range 50000-50255 --port 49999 --repro walk --attempts 150.",
    ),
    Elsewhere(
        Capture(
            "linux-6.1.176-s390x-self-connect",
            {Verdict.SELF_CONNECT: 1},
            """A self-connect on a big-endian machine, and a file in its order of octets: the first 32 bits of the
            section are 1a 2b 3c 4d, where a PC has 4d 3c 2b 1a. Packets are the same on every machine.""",
        ),
        "On s390x in QEMU, with Debian's kernel (tools/kernels/boot.sh): bind(), connect(), 5 octets, shutdown(), "
        "recorded by Debian's dumpcap 4.0.17 for s390x, -f tcp, Debian 6.1.176-1.",
    ),
)

#: What there is, each with how it was made.
MADE = [(capture, str(recipe.cook.__doc__)) for recipe in RECIPES for capture in recipe.captures]
MADE += [(one.capture, one.how) for one in ELSEWHERE]
CAPTURES = {capture.name: capture for capture, _ in MADE}

#: Whose pages stand here as well, for whoever opens one from a clone: README and lessons link to them. Each page
#: carries the same style and script, so the others are left to be made, from their captures.
PAGES = (
    "port-walk",
    "self-connect-rst",
    "self-connect-v4",
    "self-connect-walk",
    "server-cannot-bind",
    "simultaneous-open-middle",
    "three-way",
)


def golden(name: str, folder: Path = HERE) -> str:
    """What selfconn-analyze prints for a capture."""
    command = [sys.executable, "-m", "analysis.cli", *CAPTURES[name].options, f"{name}.pcapng"]
    path = os.pathsep.join((str(HERE.parent), os.environ.get("PYTHONPATH", "")))
    environment = {**os.environ, "PYTHONPATH": path, "COLUMNS": "100"}
    return subprocess.run(  # noqa: S603 -- our own program
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=60, check=True
    ).stdout


def page(name: str) -> str:
    """The HTML page of a capture, with the openings of the golden text; without the version of the program."""
    collect = frozenset(Verdict) if CAPTURES[name].options == _ALL else REMARKABLE
    found = analyze(str(HERE / f"{name}.pcapng"), collect=collect)
    found = found._replace(name=f"{name}.pcapng")
    return "".join(rendered(report([found]), "html")).replace(f"selfconn {VERSION}", "selfconn")


def index(pages: Collection[str] = PAGES) -> str:
    """README.md: what there is, how it was made, what to look at; *pages* are the captures whose pages are there."""
    lines = [
        "# Captures to learn from",
        "",
        "Made by `make pcaps` (`python pcaps/make.py`), which also writes this page. Real sockets on a real Linux",
        "kernel, in private network namespaces; what was made by hand says so. Those that begin with `linux-` are of",
        "other kernels and stay as they are. Addresses are loopback's or those set aside for documentation (RFC",
        "5737). The [lessons](../docs/lessons/README.md) go through some of them.",
        "",
        "A page is for a browser: open it from a clone of this repository, or save it and open it. It needs",
        "nothing else, and steps through the opening ([the page explained](../docs/page.md)). The pages that the",
        "lessons use are here; each carries the same style and script, so the others are not: the command below a",
        "capture makes its page.",
        "",
        "| capture | packets | verdict | to read | to step through |",
        "|---|--:|---|---|---|",
    ]
    for name in CAPTURES:
        found = analyze(str(HERE / f"{name}.pcapng"))
        counts = ", ".join(f"{count} {verdict}" for verdict, count in found.verdicts.items() if count)
        links = f"[text]({name}.txt) | {f'[page]({name}.html)' if name in pages else ''}"
        anchor = name.replace(".", "")  # as forges make it of the heading
        lines.append(f"| [{name}](#{anchor}) | {found.packets} | {counts} | {links} |")
    for capture, how in MADE:
        command = " ".join(("selfconn-analyze", *capture.options, f"{capture.name}.pcapng"))
        lines += ["", f"## {capture.name}", "", *_filled(capture.look), ""]
        lines += [*_filled(f"How it was made: {how}"), ""]
        lines += [f"`{command}` prints [{capture.name}.txt]({capture.name}.txt);"]
        page_of_it = f"[{capture.name}.html]({capture.name}.html)" if capture.name in pages else "a page"
        lines += [f"with `--format html` it is {page_of_it}."]
    return "\n".join(lines) + "\n"


def _filled(text: str) -> list[str]:
    return textwrap.wrap(" ".join(text.split()), 110, break_long_words=False, break_on_hyphens=False)


def main() -> None:
    """Do what the command line asks."""
    parser = argparse.ArgumentParser(description="Make the captures, their texts, pages and index.")
    parser.add_argument("names", nargs="*", metavar="NAME", help="only what is recorded together with these captures")
    parser.add_argument("--golden", action="store_true", help="only golden texts, pages and the index")
    asked = parser.parse_args()
    if unknown := set(asked.names) - {capture.name for recipe in RECIPES for capture in recipe.captures}:
        parser.error(f"no such capture: {', '.join(sorted(unknown))}")
    if not asked.golden:
        if os.geteuid():
            again = ["unshare", "--map-root-user", "--net", sys.executable, *sys.argv]
            os.execvp(again[0], again)  # noqa: S606 -- this very program
        for recipe in RECIPES:
            if not asked.names or any(capture.name in asked.names for capture in recipe.captures):
                recipe.make(Studio(HERE))
    for name in CAPTURES:
        (HERE / f"{name}.txt").write_text(golden(name), encoding="utf-8")
    for name in PAGES:
        (HERE / f"{name}.html").write_text(page(name), encoding="utf-8")
    (HERE / "README.md").write_text(index(), encoding="utf-8")


if __name__ == "__main__":
    main()
