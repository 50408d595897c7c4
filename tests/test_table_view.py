"""The table for people: what it says, how wide it gets, and that nothing foreign reaches the terminal raw."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from segments import (
    SELF6,
    START,
    Endpoint,
    Talk,
    any_openings,
    counted,
    refused,
    self_connect,
    simultaneous_open,
    three_way,
)

from analysis.model import CaptureResult, Damage, Opening, Verdict
from analysis.report import report
from analysis.text import Style, printable
from analysis.views.table import WIDTH, render


def table(*openings: Opening, style: Style | None = None, **more: object) -> str:
    result = CaptureResult(**{"name": "a.pcap", "packets": 7, "segments": 7, "openings": list(openings), **more})
    return "".join(render(report([counted(result)]), style or Style()))


LONG = Talk(Endpoint.parse("2001:db8:1111:2222:3333:4444:5555:6666", 50000), Endpoint.parse("2001:db8::1", 60000))
LONG.a("S").b("S").a("S.", 0, 1).b("S.", 0, 1).a("P.", 3_000_000_000, 2_000_000_000, 1_000_000)

OPENINGS = {
    "self-connect": self_connect(SELF6, refused_before=14_116, refused_since=START - 10**12, frame=1_234_567_890),
    "three-way": three_way(),
    "simultaneous": simultaneous_open(),
    "refused": refused(),
    "long": LONG.opening(Verdict.SIMULTANEOUS_OPEN),
    "split": Talk().a("S").b(".", 0, 1).b("S").a("S.", 0, 1).b(".", 1, 1).opening(Verdict.SPLIT_HANDSHAKE),
    "self-syn": Talk(SELF6).a("S").opening(Verdict.SELF_SYN),
}

SELF_CONNECT = """\
a.pcap
pcap, 7 packets, 7 TCP segments

verdict         openings
------------  ----------
self-connect           1

1. self-connect: 127.0.0.1:50000 > 127.0.0.1:50000
A is 127.0.0.1:50000, one socket: both ends of the connection are the same. 103 attempts to the same
destination refused before it, the first 2.00 ms earlier. Handshake frames 1, 2, 3 in 2.0 us.

  frame    time  segment        the sending socket               the receiving socket
-------  ------  -------------  -------------------------------  --------------------------------
      1  0.0 us  A > A SYN      A CLOSED > SYN-SENT              A SYN-SENT > SYN-RECEIVED
                 seq 0          active open (3.10.1)             its own SYN arrives in SYN-SENT:
                                                                 simultaneous open (MUST-10)
                                                                 (3.10.7.3)
      2  1.0 us  A > A SYN-ACK  A SYN-RECEIVED                   A SYN-RECEIVED > ESTABLISHED*
                 seq 0 ack 1    answers its own SYN (3.5)        its own SYN-ACK acknowledges its
                                                                 SYN: open (figure 7) (3.5)
      3  2.0 us  A > A ACK      A ESTABLISHED                    A ESTABLISHED
                 seq 1 ack 1    its own SYN-ACK repeats a SYN
                 D-SACK {0:1}   that it has: answered by an ACK
                                with D-SACK (3.10.7.4)
      4  3.0 us  A > A ACK      A ESTABLISHED                    A ESTABLISHED
                 seq 1 ack 1                                     its own 5 octets arrive: the
                 5 octets                                        socket reads what it wrote
                                                                 (3.10.7.4)
      5  4.0 us  A > A ACK      A ESTABLISHED                    A ESTABLISHED
                 seq 6 ack 6    acknowledges its own data
                                (3.10.7.4)
      6  5.0 us  A > A FIN-ACK  A ESTABLISHED > FIN-WAIT-1       A FIN-WAIT-1 > CLOSING
                 seq 6 ack 6    closes (3.10.4)                  its own FIN before its FIN is
                                                                 acknowledged: simultaneous close
                                                                 (3.10.7.4)
      7  6.0 us  A > A ACK      A CLOSING                        A CLOSING > TIME-WAIT*
                 seq 7 ack 7    acknowledges its own FIN         its FIN is acknowledged: waits 2
                                (3.10.7.4)                       MSL (3.10.7.4)
(3.10.7.3): a section of RFC 9293. *: inferred, it follows from the rules but no packet proves it.

- Close of A: ESTABLISHED > FIN-WAIT-1 > CLOSING > TIME-WAIT.
- A server that wants port 50000 cannot have it yet: after this close TIME-WAIT keeps it (60 s on
  Linux), and bind() fails with EADDRINUSE unless both sockets set SO_REUSEADDR.
- Frame 3: an ACK with D-SACK for a SYN received twice: on Linux the mark of 6.11 or later (or of an
  older one with that change ported back).
"""


def test_the_picture_of_a_self_connect():
    assert table(self_connect(refused_before=103, refused_since=START - 2_000_000)) == SELF_CONNECT


@pytest.mark.parametrize("name", OPENINGS)
@pytest.mark.parametrize("number", [1, 12])
def test_no_line_is_wider_than_promised(name, number):
    text = table(*[OPENINGS[name]] * number, name="x" * 60, undecoded={"a reason of some length " * 5: 12345})
    assert [line for line in text.splitlines() if len(line) > WIDTH] == []


def test_colour_adds_nothing_but_colour():
    for opening in OPENINGS.values():
        colored = table(opening, style=Style(color=True))
        assert "\x1b[" in colored
        plain = re.sub(r"\x1b\[\d+m", "", colored)
        assert [line.rstrip() for line in plain.splitlines()] == [line.rstrip() for line in table(opening).splitlines()]
        assert all(line.count("\x1b[0m") * 2 == line.count("\x1b[") for line in colored.splitlines())


def test_a_long_transfer_is_folded():
    talk = Talk().a("S").b("S.", 0, 1).a(".", 1, 1)
    for n in range(40):
        talk.a(".", 1 + 1000 * n, 1, 1000).b(".", 1, 1001 + 1000 * n)
    talk.a("F.", 40001, 1)
    text = table(talk.opening(Verdict.THREE_WAY))
    assert re.search(r"\.\.\.\s+72 segments,\n\s+36,000 octets\n", text)
    frames = re.findall(r"^ +(\d+) ", text, re.MULTILINE)
    assert [int(frame) for frame in frames if int(frame) > 1] == [2, 3, 4, 5, 6, 7, 8, 9, 82, 83, 84]
    text = table(talk.opening(Verdict.THREE_WAY, omitted=1000))
    assert re.search(r"\.\.\.\s+1,072 segments,\n\s+36,000 octets\s+and\s+more\n", text)


def test_the_first_few_in_full_the_rest_in_a_line():
    text = table(*[self_connect() for _ in range(12)])
    assert len(re.findall("the sending socket", text)) == 8
    assert "4 more openings (-v shows each in full)" in text
    assert re.search(r"^ *12\.  self-connect +1  127\.0\.0\.1:50000 > 127\.0\.0\.1:50000$", text, re.MULTILINE)
    assert len(re.findall("ing socket", table(*[self_connect()] * 12, style=Style(verbose=True)))) == 24
    assert "ing socket" not in table(*[self_connect()] * 12, style=Style(quiet=True))


def test_legend_is_said_once():
    assert table(*OPENINGS.values()).count("a section of RFC 9293") == 1


def test_what_crossed_is_said_to_have_crossed():
    assert "crossed\n" in table(simultaneous_open()) or "crossed frame 2" in table(simultaneous_open())


@pytest.mark.parametrize(
    ("last", "said"),
    [
        ([], "No close in the capture: the connection still stands at its last frame (5)."),
        ([], "A server that wants port 50000 cannot have it while it stands"),
        ([("R.", 6, 6)], "A server that wants port 50000 can have it at once"),
        ([("F.", 6, 6)], "cannot have it until this close is complete"),
        ([("F.", 6, 6), (".", 7, 7)], "cannot have it yet: after this close TIME-WAIT keeps it"),
    ],
)
def test_what_the_close_means_for_a_server(last, said):
    talk = Talk(self_connect().source)
    talk.segments = self_connect(close=False).segments
    talk.frame = 6
    for segment in last:
        talk.a(*segment)
    assert said in " ".join(table(talk.opening(Verdict.SELF_CONNECT)).split())


def test_counts_and_shortcomings_of_a_capture():
    text = table(
        duplicates=1,
        undecoded={"TCP header cut short": 2},
        midstream=3,
        midstream_to_itself=1,
        evicted=5,
        damage=Damage(1_234_567, "cut short"),
    )
    for said in (
        "1 duplicate left out",
        "2 frames not decoded: TCP header cut short",
        "3 conversations without a SYN",
        "1 conversation with equal ends, without a SYN and without proof: such segments alone prove nothing",
        "5 openings forgotten while undecided: --table was too small",
        "at byte 1,234,567: cut short",
        "No opening of a TCP connection in what was seen, which is not everything: 2 of 7 frames could not be looked",
    ):
        assert said in " ".join(text.split())


def test_no_opening_of_the_verdicts_asked_for():
    assert "No opening of a TCP connection (self-syn)." in table(verdicts={Verdict.SELF_SYN: 0})


@given(any_openings, st.sampled_from(Verdict))
def test_any_segments_give_a_page(opening, verdict):
    opening = opening._replace(verdict=verdict)
    text = table(opening)
    assert max(map(len, text.splitlines())) <= WIDTH
    assert all(line.isprintable() for line in text.splitlines())


@given(st.text())
def test_names_reach_the_terminal_escaped(name):
    head = "".join(render(report([CaptureResult(name, damage=Damage(1, name), undecoded={name: 1})]), Style()))
    assert all(line.isprintable() for line in head.split("\n"))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain name.pcap", "plain name.pcap"),
        ("Größe 東京", "Größe 東京"),
        ("\x1b[2J\a", r"\x1b[2J\x07"),
        ("a\u202eb\u2066", r"a\u202eb\u2066"),
        ("\udcff", r"\udcff"),
        ("line\nline\r\t", r"line\nline\r\t"),
        ("\N{LINE SEPARATOR}\N{NO-BREAK SPACE}", r"\u2028\xa0"),
    ],
)
def test_printable(text, shown):
    assert printable(text) == shown
