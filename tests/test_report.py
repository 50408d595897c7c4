"""The report: its JSON shape, and the notes with the signs that they are read from."""

from __future__ import annotations

import json
import re

import pytest
from conftest import ROOT
from segments import SELF, START, A, B, Talk, counted, refused, self_connect, simultaneous_open, three_way

from analysis import VERSION
from analysis.model import CaptureResult, Damage, Endpoint, Evidence, Flag, Opening, Unreachable, Verdict
from analysis.report import Entry, report
from analysis.views import json as views
from analysis.views.phrases import before


def made(*openings: Opening, **more: object) -> CaptureResult:
    result = CaptureResult("a.pcap", packets=9, segments=8, openings=list(openings), **more)
    return counted(result)


def notes(opening: Opening) -> str:
    return "\n".join(Entry(0, opening).account().notes)


def as_json(*results: CaptureResult) -> dict[str, object]:
    return json.loads("".join(views.render(report(results))))


# -- JSON -------------------------------------------------------------------------------------------------------------


def test_the_whole_shape():
    result = made(self_connect(refused_before=2, refused_since=START - 5), duplicates=3, midstream=4)
    result = result._replace(undecoded={"TCP header cut short": 5}, damage=Damage(1234, "cut"))
    told = as_json(result)
    (opening,), (capture,) = told.pop("openings"), told.pop("captures")
    assert told == {"schema": "selfconn/1", "version": VERSION}
    assert capture == {
        "name": "a.pcap",
        "format": "pcap",
        "packets": 9,
        "segments": 8,
        "duplicates": 3,
        "complete": False,
        "undecoded": {"TCP header cut short": 5},
        "other": {},
        "unknown": {},
        "cut_to_itself": 0,
        "needed_snaplen": None,
        "recorded_drops": None,
        "filter": None,
        "damage": {"offset": 1234, "reason": "cut"},
        "verdicts": {verdict: int(verdict == "self-connect") for verdict in Verdict},
        "midstream": 4,
        "midstream_to_itself": 0,
        "translated": 0,
        "evicted": 0,
        "left_out": 0,
        "walks": [],
    }
    end = {"address": "127.0.0.1", "port": 50000}
    transitions = opening.pop("transitions")
    assert opening.pop("notes")
    assert opening == {
        "capture": 0,
        "verdict": "self-connect",
        "source": end,
        "destination": end,
        "evidence": None,
        "isn": 1000,
        "first_frame": 1,
        "frames": [1, 2, 3],
        "time": "1795343822.661830000",
        "duration_us": 2.0,
        "syn_retransmissions": 0,
        "established": True,
        "answered_by": None,
        "translated_with": None,
        "refused_by": None,
        "refused_before": 2,
        "refused_since": "1795343822.661829995",
        "omitted": 0,
        "findings": [],
    }
    assert transitions[1] == {
        "frame": 1,
        "event": "receive SYN",
        "endpoint": end,
        "from": "SYN-SENT",
        "to": "SYN-RECEIVED",
        "section": "3.10.7.3",
        "reason": "its own SYN arrives in SYN-SENT: simultaneous open (MUST-10)",
        "inferred": False,
    }


def test_json_lines_have_openings_first_then_captures():
    whole = report([made(self_connect()), made(refused())])
    whole.live = {"interface": "lo"}
    lines = [json.loads(line) for line in views.render_lines(whole)]
    assert [line["type"] for line in lines] == ["opening", "opening", "capture", "capture", "live"]
    assert [line["capture"] for line in lines[:2]] == [0, 1]
    assert {line["schema"] for line in lines} == {"selfconn/1"}
    both = json.loads("".join(views.render(whole)))
    strip = [{key: line[key] for key in line if key not in ("schema", "version", "type")} for line in lines]
    assert strip == [*both["openings"], *both["captures"], both["live"]]


def test_json_is_plain_ascii_whatever_the_name():
    result = made()._replace(name="\x1b[31m\u202e\udcff")
    text = "".join(views.render(report([result])))
    assert text.isascii()
    assert text.replace("\n", "").isprintable()


def test_every_field_is_documented():
    page = (ROOT / "docs" / "json.md").read_text()
    told = as_json(made(simultaneous_open(), damage=Damage(1, "x")))
    transition = told["openings"][0]["transitions"][0]
    fields = {*told, *told["captures"][0], *told["openings"][0], *transition, *told["captures"][0]["damage"]}
    assert fields <= set(re.findall(r"`(\w+)`", page))


@pytest.mark.parametrize(
    ("opening", "microseconds"),
    [(three_way(), 2.0), (refused(), 1.0), (Talk().a("S").opening(Verdict.UNANSWERED), None)],
)
def test_duration(opening, microseconds):
    told = as_json(made(opening))["openings"][0]
    assert told["duration_us"] == microseconds


def test_a_syn_captured_late_gives_no_negative_duration():
    talk = Talk().b("S.", 0, 1).a("S").a(".", 1, 1)
    assert Entry(0, talk.opening(Verdict.THREE_WAY)).account().duration == 1000


# -- notes ------------------------------------------------------------------------------------------------------------


def test_note_on_an_earlier_connection():
    opening = Talk(SELF).a("S", tsval=9, tsecr=5).a("S.", 0, 1).opening(Verdict.SELF_CONNECT)
    assert "non-zero TSecr (5)" in notes(opening)
    assert "TSecr" not in notes(self_connect())


@pytest.mark.parametrize(
    ("third", "sack", "sign"),
    [
        ({"sack": ((0, 1),)}, True, "D-SACK for a SYN received twice: on Linux the mark of 6.11 or later"),
        ({}, True, "the SYN-ACK was dropped, as RFC 9293 3.10.7.4 has it"),
        ({}, True, "Linux 3.6 to 6.10 does so"),
        ({}, False, "without SACK there can be no D-SACK"),
        (None, True, "No ACK answers the SYN-ACK"),
    ],
)
def test_note_on_the_third_packet(third, sack, sign):
    talk = Talk(SELF).a("S", sack_permitted=sack).a("S.", 0, 1, sack_permitted=sack)
    if third is not None:
        talk.a(".", 1, 1, **third)
    assert sign in notes(talk.opening(Verdict.SELF_CONNECT))


@pytest.mark.parametrize("more", [{"payload": 4}, {"ecn": True}])
def test_a_third_packet_that_tells_nothing_of_the_kernel(more):
    talk = Talk(SELF).a("S", 0, None, more.get("payload", 0), sack_permitted=True)
    if more.get("ecn"):
        talk.segments[0] = talk.segments[0]._replace(flags=Flag.SYN | Flag.ECE | Flag.CWR)
    said = notes(talk.a("S.", 0, 1, sack_permitted=True).a(".", 1, 1).opening(Verdict.SELF_CONNECT))
    assert "so this tells nothing about the kernel" in said
    assert "Linux" not in said


def test_note_on_both_third_packets_of_a_simultaneous_open():
    assert "Frames 5 and 6: an ACK with D-SACK" in notes(simultaneous_open())


@pytest.mark.parametrize(
    ("talk", "signs"),
    [
        (Talk(SELF).a("S"), ["no option", "cut off there", "is a loopback address"]),
        (Talk(SELF).a("S", mss=65495), ["this suggests a real connect()", "cut off there"]),
        (Talk(SELF).a("S", mss=9).a("S", mss=9), ["was sent 2 times: this suggests a socket that waits"]),
        (Talk(SELF).a("S").a("S.", 50, 1), ["another sequence number", "listens on the port"]),
        (Talk(Endpoint.parse("192.0.2.1", 9)).a("S"), ["no loopback address", "on a real link this SYN is forged"]),
        (Talk(Endpoint.parse("::1", 9)).a("S"), ["is a loopback address"]),
    ],
)
def test_signs_of_a_self_syn(talk, signs):
    again = len([segment for segment in talk.segments if segment.bare_syn]) - 1
    said = notes(talk.opening(Verdict.SELF_SYN, syn_retransmissions=again))
    assert not [sign for sign in signs if sign not in said]


def test_note_on_what_packets_cannot_tell():
    opening = Talk().a("S").b("S").a("S.", 0, 1).b(".", 1, 1).opening(Verdict.ONE_SIDED_CROSSING)
    assert "Packets alone cannot tell." in notes(opening)
    assert "Not both ends" not in notes(opening)
    opening = Talk().a("S").b("S").a("S.", 0, 1).opening(Verdict.ONE_SIDED_CROSSING)
    assert "In this capture not both ends reach ESTABLISHED" in notes(opening)


def test_note_on_a_split_handshake():
    opening = Talk().a("S").b(".", 0, 1).b("S").a("S.", 0, 1).opening(Verdict.SPLIT_HANDSHAKE)
    assert "as a split handshake does" in notes(opening)
    assert "Frame 2: an ACK where a SYN-ACK belongs" in notes(opening)


def test_note_on_a_syn_that_follows_its_syn_ack():
    opening = Talk().a("S").b("S.", 0, 1).a("S").b("S.", 0, 1).opening(Verdict.HALF_OPEN, syn_retransmissions=1)
    assert "Frame 3: the SYN again, after the SYN-ACK in frame 2" in notes(opening)


def test_note_on_syn_acks_of_two_minds():
    opening = Talk().a("S").b("S.", 0, 1).b("S.", 9000, 1).a(".", 1, 9001).opening(Verdict.THREE_WAY)
    assert "Frames 2 and 3: SYN-ACKs with different sequence numbers" in notes(opening)


def test_note_on_a_reset_that_cannot_be_checked():
    opening = Talk().a("S").b("S.", 0, 1).a(".", 1, 1).a("R", 900_000).opening(Verdict.THREE_WAY, omitted=3)
    assert "Frame 4: this RST is taken to end the connection" in notes(opening)


# -- on what grounds it is a self-connect ----------------------------------------------------------------------------


def without_a_syn(talk: Talk, evidence: Evidence) -> Opening:
    first = talk.segments[0]
    isn = None if evidence is Evidence.STANDING else talk.isn[0]
    return Opening(Verdict.SELF_CONNECT, *talk.ends, isn, first.frame, first.time, talk.segments, evidence=evidence)


OWN = Endpoint.parse("10.3.1.54", 4222)


def test_a_lost_syn():
    opening = without_a_syn(Talk(SELF, frame=9).a("S.", 0, 1).a(".", 1, 1), Evidence.SYN_ACK)
    said = notes(opening)
    assert "The SYN was not captured. Frame 9 is the proof" in said
    assert "forged" not in said
    account = Entry(0, opening).account()
    assert [(step.event, step.inferred) for step in account.replay.transitions] == [
        ("send SYN", True),
        ("receive SYN", True),
        ("receive SYN-ACK", True),
    ]
    assert account.replay.established
    assert not account.replay.findings


@pytest.mark.parametrize("third", [{}, {"sack": ((0, 1),)}])
@pytest.mark.parametrize("data", [0, 5])
def test_a_lost_syn_ack(third, data):
    talk = Talk(SELF).a("S", sack_permitted=True).a("P." if data else ".", 1, 1, data, **third)
    opening = without_a_syn(talk.a("P.", 1 + data, 1, 7).a(".", 8 + data, 8 + data), Evidence.ACKNOWLEDGED)
    assert "The SYN-ACK was not captured. Frame 2 is the proof" in notes(opening)
    account = Entry(0, opening).account().replay
    assert account.established
    assert not account.findings


def test_one_that_stands_already():
    day = 86_400 * 1_000_000_000
    talk = Talk(OWN, frame=7)
    for _ in range(24):
        talk.a(".", 9, 10).a(".", 10, 10)
        talk.time += day
    opening = without_a_syn(talk, Evidence.STANDING)
    said = notes(opening)
    for part in (
        "Connected to itself since before frame 7",
        "Frames 7 and 8 are the proof",
        "48 segments, the last in frame 54, 23 d later",
        "The address is no loopback address",
        "could be forged",
    ):
        assert part in said
    account = Entry(0, opening).account()
    assert account.duration is None
    assert account.replay.handshake == []
    assert [(str(step.after), step.inferred) for step in account.replay.transitions] == [("ESTABLISHED", True)]
    assert not account.replay.findings


def test_one_that_stands_already_closes():
    talk = Talk(SELF).a("P.", 5, 5, 3).a(".", 8, 8).a("F.", 8, 8).a(".", 9, 9)
    account = Entry(0, without_a_syn(talk, Evidence.STANDING)).account().replay
    assert " ".join(account.state_path(SELF)) == "CLOSED ESTABLISHED FIN-WAIT-1 CLOSING TIME-WAIT"
    assert not account.findings


# -- addresses that were translated, ICMP, clocks ---------------------------------------------------------------------

REAL = Endpoint.parse("203.0.113.7", 80)


def test_an_answer_from_another_endpoint():
    talk = Talk().a("S")
    talk.segments += Talk(REAL, A, isn_a=7000, isn_b=1000, frame=2).a("S.", 0, 1).segments
    talk.frame = 3
    opening = talk.a(".", 1, 1).opening(Verdict.THREE_WAY, answered_by=REAL, translated_with=9)
    account = Entry(0, opening).account()
    said = " ".join(account.notes)
    assert f"The SYN-ACK in frame 2 goes {REAL} > {A} and acknowledges the SYN, which went {A} > {B}" in said
    assert "The other side of the translation is the opening in frame 9" in said
    assert account.replay.established
    assert not account.replay.findings


@pytest.mark.parametrize("steps", [["a"], ["a", "a"]], ids=["SYN", "SYN sent again"])
def test_an_answer_that_is_in_a_conversation_of_its_own(steps):
    talk = Talk()
    for _ in steps:
        talk.a("S")
    opening = talk.a(".", 1, 1).a("P.", 1, 1, 5).opening(Verdict.THREE_WAY, answered_by=REAL)
    account = Entry(0, opening).account()
    assert account.replay.established
    assert not account.replay.findings
    (implied,) = [step for step in account.replay.steps if step.implied]
    assert (implied.endpoint, str(implied.after), implied.inferred) == (A, "ESTABLISHED", True)
    assert str(REAL) in implied.reason
    assert "in a conversation of its own" in " ".join(account.notes)


@pytest.mark.parametrize("captured", [True, False], ids=["in it", "in a conversation of its own"])
def test_equal_ends_only_by_translation(captured):
    talk = Talk(SELF).a("S", mss=65495)
    if captured:
        talk.segments += Talk(REAL, SELF, isn_a=0, isn_b=1000, frame=2).a("R.", 0, 1).segments
    opening = talk.opening(Verdict.REFUSED, answered_by=REAL)
    account = Entry(0, opening).account()
    assert not opening.to_itself
    assert f"the client dialled {REAL}, so this is no connection to itself" in " ".join(account.notes)
    assert [str(state) for state in account.replay.state_path(SELF)] == ["CLOSED", "SYN-SENT", "CLOSED"]


@pytest.mark.parametrize(
    ("sender", "kind", "code", "said"),
    [
        ("10.0.0.1", 3, 3, "10.0.0.1 refuses it by ICMP, destination unreachable, port unreachable (type 3, code 3)"),
        ("10.0.0.1", 3, 13, "communication administratively prohibited (type 3, code 13)"),
        ("10.0.0.1", 3, 99, "by ICMP, destination unreachable (type 3, code 99)"),
        ("2001:db8::1", 1, 4, "2001:db8::1 refuses it by ICMPv6, destination unreachable, port unreachable"),
        ("2001:db8::1", 1, 6, "reject route to destination (type 1, code 6)"),
    ],
)
def test_a_refusal_by_icmp(sender, kind, code, said):
    error = Unreachable(2, START, Endpoint.parse(sender, 0).packed, kind, code)
    account = Entry(0, Talk().a("S").opening(Verdict.REFUSED, refused_by=error)).account()
    assert said in " ".join(account.notes)
    assert "the ICMP error in frame 2 quotes this SYN" in account.replay.steps[-1].reason


def test_a_socket_that_meets_itself_through_hairpin_nat():
    talk = Talk(isn_b=1000).a("S", tsval=5, tsecr=0).b("S", tsval=5, tsecr=0).a("S.", 0, 1).b("S.", 0, 1)
    assert "they are one SYN of one socket" in notes(talk.opening(Verdict.SIMULTANEOUS_OPEN))
    other = Talk(isn_b=1000).a("S", tsval=5, tsecr=0).b("S", tsval=6, tsecr=0)
    assert "one socket" not in notes(other.opening(Verdict.CROSSED_UNANSWERED))


def test_a_clock_that_was_set_back():
    opening = self_connect(refused_before=4, refused_since=START + 7_200_000_000_000)
    assert "The capture's clock went back at frame 1 or before it, after the first of the refused attempts" in notes(
        opening
    )
    assert "earlier" not in before(Entry(0, opening).account().replay, 5)
    talk = Talk().a("S")
    talk.time -= 7_200_000_000_000
    opening = talk.b("S.", 0, 1).a(".", 1, 1).opening(Verdict.THREE_WAY)
    account = Entry(0, opening).account()
    assert "The capture's clock went back at frame 2" in " ".join(account.notes)
    assert account.duration is None
    talk = Talk().a("S").b("S.", 0, 1)
    talk.time -= 7_200_000_000_000
    assert Entry(0, talk.a(".", 1, 1).opening(Verdict.THREE_WAY)).account().duration is None


def test_note_on_a_half_open_scan():
    opening = Talk().a("S").b("S.", 0, 1).a("R", 1).opening(Verdict.HALF_OPEN)
    assert "half-open scan" in notes(opening)
    opening = Talk().a("S").b("S.", 0, 1).a("R.", 1, 1).opening(Verdict.HALF_OPEN)
    assert "half-open scan" not in notes(opening)


def test_other_notes():
    assert "was sent again 3 times" in notes(Talk().a("S").opening(Verdict.UNANSWERED, syn_retransmissions=3))
    assert "was sent again once" in notes(Talk().a("S").opening(Verdict.UNANSWERED, syn_retransmissions=1))
    assert "carries 20 octets" in notes(Talk().a("S", 0, None, 20).opening(Verdict.UNANSWERED))
    assert "asks for a Fast Open cookie" in notes(Talk().a("S", fast_open=b"").opening(Verdict.UNANSWERED))
    assert "offers a Fast Open cookie" in notes(Talk().a("S", fast_open=b"x" * 8).opening(Verdict.UNANSWERED))
    assert "captured after what it caused" in notes(Talk().b("S.", 0, 1).a("S").opening(Verdict.HALF_OPEN))
    assert "1,500 more segments of the connection" in notes(Talk().a("S").opening(Verdict.THREE_WAY, omitted=1500))


def test_an_ordinary_opening_needs_no_note():
    assert notes(three_way()) == notes(refused()) == ""
