"""The report: its JSON shape, and the notes with the signs that they are read from."""

from __future__ import annotations

import json
import re
import tomllib

import pytest
from conftest import ROOT
from segments import SELF, START, Talk, refused, self_connect, simultaneous_open, three_way

from analysis import VERSION
from analysis.model import CaptureResult, Damage, Endpoint, Opening, Verdict
from analysis.report import Entry, report
from analysis.views import json as views


def made(*openings: Opening, **more: object) -> CaptureResult:
    result = CaptureResult("a.pcap", packets=9, segments=8, openings=list(openings), **more)
    for opening in openings:
        result.verdicts[opening.verdict] += 1
    return result


def notes(opening: Opening) -> str:
    return "\n".join(Entry(0, opening).account().notes)


def as_json(*results: CaptureResult) -> dict[str, object]:
    return json.loads("".join(views.render(report(results))))


# -- JSON -------------------------------------------------------------------------------------------------------------


def test_version_is_that_of_the_project():
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"] == VERSION


def test_the_whole_shape():
    result = made(self_connect(refused_before=2, refused_since=START - 5), duplicates=3, midstream=4)
    result.undecoded["TCP header cut short"] = 5
    result.damage = Damage(1234, "cut")
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
    result = made()
    result.name = "\x1b[31m\u202e\udcff"
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
        ({"sack": ((0, 1),)}, True, "D-SACK for a SYN received twice, the mark of Linux 6.11 or later"),
        ({}, True, "Linux before 6.11 drops the SYN-ACK here"),
        ({}, False, "without SACK there can be no D-SACK"),
        (None, True, "No ACK answers the SYN-ACK"),
    ],
)
def test_note_on_the_third_packet(third, sack, sign):
    talk = Talk(SELF).a("S", sack_permitted=sack).a("S.", 0, 1, sack_permitted=sack)
    if third is not None:
        talk.a(".", 1, 1, **third)
    assert sign in notes(talk.opening(Verdict.SELF_CONNECT))


def test_note_on_both_third_packets_of_a_simultaneous_open():
    assert "Frames 5 and 6: an ACK with D-SACK" in notes(simultaneous_open())


@pytest.mark.parametrize(
    ("talk", "signs"),
    [
        (Talk(SELF).a("S"), ["no option", "cut off there", "is a loopback address"]),
        (Talk(SELF).a("S", mss=65495), ["speaks for a real connect()", "cut off there"]),
        (Talk(SELF).a("S", mss=9).a("S", mss=9), ["was sent 2 times: speaks for a socket that waits"]),
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
    assert "Not both ends got to ESTABLISHED" in notes(opening)


def test_note_on_a_split_handshake():
    opening = Talk().a("S").b(".", 0, 1).b("S").a("S.", 0, 1).opening(Verdict.SPLIT_HANDSHAKE)
    assert "only a split handshake does so" in notes(opening)
    assert "Frame 2: an ACK where a SYN-ACK belongs" in notes(opening)


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
    assert "1,500 segments in the middle" in notes(Talk().a("S").opening(Verdict.THREE_WAY, omitted=1500))


def test_an_ordinary_opening_needs_no_note():
    assert notes(three_way()) == notes(refused()) == ""
