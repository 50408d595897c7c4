"""What was not seen is said: no report says "none" where an opening may be hidden, and every view has the new facts."""

from __future__ import annotations

import html
import json
import re
from typing import TYPE_CHECKING

import pytest
from pyarrow import parquet
from segments import SELF, SELF6, START, Talk, counted, refused, self_connect, three_way

from analysis.engine import REASONS
from analysis.model import (
    EQUAL_ENDS,
    HIDING_NOTHING,
    CaptureResult,
    Damage,
    Endpoint,
    Evidence,
    Opening,
    Piece,
    Unreachable,
    Verdict,
)
from analysis.report import Entry, report
from analysis.views import FORMATS, rendered
from analysis.views.annotated import comments
from analysis.views.parquet import Rows
from analysis.views.phrases import nothing, proof, unreachable
from capture.packets import filters

if TYPE_CHECKING:
    from pathlib import Path

#: What makes a capture incomplete, each with a piece of what is said of it.
HIDES: dict[str, tuple[dict[str, object], str]] = {
    "unknown": (
        {"unknown": {"link type 220 (USB)": 7}},
        "7 of 100 frames could not be looked into (7 link type 220 (USB))",
    ),
    "cut header": ({"undecoded": {"TCP header cut short": 2}}, "2 of 100 frames could not be looked into"),
    "recorder's drops": ({"recorded_drops": 5}, "5 packets dropped by the recorder"),
    "short snap length": (
        {"cut_to_itself": 3, "needed_snaplen": 54},
        "3 frames from a socket to itself are cut off before the TCP flags: with -s 54 the recorder keeps them",
    ),
    "evicted": ({"evicted": 4}, "4 openings forgotten while undecided"),
    "unsure": ({"unsure": True}, "put together from parts, and not sure to be the same as read in one go"),
    "damage": ({"damage": Damage(24, "a record lies")}, "ends early, at byte 24: a record lies"),
    "a gap": ({"parts": (Piece("1", 5, Damage(9, "cut")), Piece("2", 5, None))}, "there are gaps in it"),
}

#: What does not.
SOUND: dict[str, dict[str, object]] = {
    "nothing": {},
    "other": {"other": {"UDP": 50, "ESP (encrypted)": 2}},
    "fragments": {"undecoded": dict.fromkeys(HIDING_NOTHING, 3)},
    "no drops": {"recorded_drops": 0},
    "a filter": {"filters": ("tcp",)},
    "duplicates": {"duplicates": 8, "midstream": 3},
}

BARE = "No opening of a TCP connection."


def made(*openings: Opening, name: str = "a.pcapng", **more: object) -> CaptureResult:
    result = CaptureResult(name, "pcapng", packets=100, segments=40, openings=list(openings), **more)
    return counted(result)


def shown(form: str, *results: CaptureResult, **how: bool) -> str:
    """A report as text, with its lines joined, and without what is there for the format alone."""
    text = "".join(rendered(report(results), form, **how)).replace("<br/>", " ")
    match form:
        case "html":
            text = html.unescape(text)
        case "mermaid":
            text = re.sub(r"#(\d+);", lambda found: chr(int(found[1])), text)
        case "markdown":
            text = re.sub(r"\\([^\w\s])", r"\1", text)
    return " ".join(text.split())


PEOPLE = [form for form in FORMATS if not form.startswith("json")]


# -- what is complete -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("what", HIDES)
def test_what_may_hide_an_opening(what: str) -> None:
    assert not made(**HIDES[what][0]).complete


@pytest.mark.parametrize("what", SOUND)
def test_what_hides_none(what: str) -> None:
    assert made(**SOUND[what]).complete


def test_every_reason_that_hides_nothing_is_one() -> None:
    assert set(REASONS) > HIDING_NOTHING
    for reason in REASONS:
        assert made(undecoded={reason: 1}).complete == (reason in HIDING_NOTHING)


# -- what is said of it -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", PEOPLE)
@pytest.mark.parametrize("what", HIDES)
def test_none_never_stands_alone_beside_what_was_not_seen(what: str, form: str) -> None:
    result, said = made(**HIDES[what][0]), HIDES[what][1]
    text = shown(form, result)
    assert "No opening of a TCP connection in what was seen, which is not everything" in text
    assert said in text
    assert BARE not in text
    assert "No opening to show</h1>" not in text


@pytest.mark.parametrize("form", PEOPLE)
@pytest.mark.parametrize("what", [what for what in HIDES if what not in ("damage", "a gap")])
def test_where_there_are_openings_it_is_said_too(what: str, form: str) -> None:
    for openings in ((self_connect(),), (three_way(),)):
        text = shown(form, made(*openings, **HIDES[what][0]))
        assert "Not everything was seen: " in text
        assert HIDES[what][1] in text


@pytest.mark.parametrize("form", PEOPLE)
def test_a_filter_and_drops_are_quoted_beside_none(form: str) -> None:
    text = shown(form, made(filters=("udp\x1b[2J", "port 53"), recorded_drops=1))
    assert '"udp\\x1b[2J" or "port 53"' in text
    assert "1 packet dropped by the recorder" in text
    assert BARE not in text
    assert "\x1b" not in text


@pytest.mark.parametrize("form", PEOPLE)
def test_a_filter_that_passes_every_self_connect_is_no_reason_to_doubt(form: str) -> None:
    own = filters.both_text(50000, ends_only=True)
    assert BARE in shown(form, made(filters=(own,)))
    assert "filter" not in shown("table", made(filters=(own,)))
    doubtful = f"{EQUAL_ENDS} and port 80"
    assert made(filters=(own, doubtful)).narrowed_by == [doubtful]


def test_a_long_filter_is_not_quoted_to_its_end() -> None:
    assert len(nothing(made(filters=("port 53 or " * 1000,)))) < 400


def test_where_nothing_was_read_nothing_is_said_of_openings() -> None:
    text = nothing(made(unknown={"link type 220 (USB)": 100}, verdicts={Verdict.SELF_CONNECT: 0}))
    assert text == (
        "Whether there is an opening of a TCP connection (self-connect) is not known: 100 of 100 frames could not be "
        "looked into (100 link type 220 (USB))."
    )


@pytest.mark.parametrize("form", ["table", "markdown", "html"])
def test_what_needs_all_frames_is_not_said_without_half_of_them(form: str) -> None:
    counts = {"midstream": 9, "midstream_to_itself": 2}
    seen = shown(form, made(unknown={"NFLOG": 49}, **counts))
    assert "9 conversations without a SYN" in seen
    assert "2 conversations with equal ends, without a SYN and without proof" in seen
    unseen = shown(form, made(unknown={"NFLOG": 48}, undecoded={"IPv6 header cut short": 2}, **counts))
    assert "conversation" not in unseen


@pytest.mark.parametrize("form", ["table", "markdown", "html"])
def test_every_frame_is_accounted_for(form: str) -> None:
    text = shown(form, made(other={"ARP": 3, "UDP": 20}, unknown={"EtherType 0x1234": 2}, translated=1))
    assert "23 frames without TCP: 20 UDP, 3 ARP" in text
    assert "2 frames not looked into: selfconn cannot read EtherType 0x1234" in text
    assert "1 pair of openings that are two sides of one translated connection" in text


@pytest.mark.parametrize("form", ["table", "markdown", "html"])
def test_tunnels_in_udp_are_spoken_of_once(form: str) -> None:
    said = "tunnels in it are looked for only on the ports of known tunnels"
    assert shown(form, *(made(other={"UDP": 5}) for _ in range(3))).count(said) == 1
    assert said not in shown(form, made(other={"ARP": 5}))


# -- many captures ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quiet", [False, True])
@pytest.mark.parametrize("what", HIDES)
def test_among_many_it_is_named(what: str, quiet: bool) -> None:
    many = [made(name=f"{n}.pcap") for n in range(3)]
    text = shown("table", *many, made(name="dark\x1b.pcap", **HIDES[what][0]), made(self_connect()), quiet=quiet)
    assert "3 of them without an opening of those asked for; -v names them." in text
    assert (
        "1 of them without an opening of those asked for in what was seen, which is not everything: - dark\\x1b.pcap: "
        in text
    )
    assert HIDES[what][1] in text


def test_among_many_filters_are_told() -> None:
    many = [made(filters=(f"port {port}",)) for port in (1, 1, 1, 2, 2, 3, 4)]
    text = shown("table", *many, made())
    assert (
        "8 of them without an opening of those asked for; -v names them. 7 of these were recorded with a filter" in text
    )
    assert '3 with "port 1", 2 with "port 2", 1 with "port 3" and others.' in text


# -- openings ---------------------------------------------------------------------------------------------------------


def standing(end: Endpoint = SELF) -> Opening:
    opening = (
        Talk(end, frame=5).a("P.", 10, 9, 3).a(".", 13, 10).a(".", 13, 13).a(".", 13, 13).opening(Verdict.SELF_CONNECT)
    )
    return opening._replace(isn=None, evidence=Evidence.STANDING)


def by_icmp() -> Opening:
    error = Unreachable(2, START + 5_000, bytes([10, 0, 0, 1]), 3, 13)
    return Talk().a("S").opening(Verdict.REFUSED)._replace(refused_by=error)


def translated(talk: Talk | None = None) -> Opening:
    """Refused by an endpoint to which nobody sent anything."""
    opening = (talk or Talk().a("S").b("R.", 0, 1)).opening(Verdict.REFUSED)
    server = Endpoint.parse("10.0.0.5", 15001)
    opening.segments[1] = opening.segments[1]._replace(source=server)
    return opening._replace(answered_by=server, translated_with=44)


def looks_like_self() -> Opening:
    """The same, dialled from the very port that the SYN was sent to in the end."""
    return translated(Talk(SELF).a("S").a("R.", 0, 1))


#: Openings, and in a few words what they rest on.
GROUNDS = {
    "standing": (standing(), "connected since before frame 5, frames 5 and 7 prove it"),
    "standing, IPv6": (standing(SELF6), "connected since before frame 5"),
    "ICMP": (by_icmp(), "refused by 10.0.0.1 in frame 2 (ICMP type 3, code 13)"),
    "answered": (translated(), "answered by 10.0.0.5:15001, as an address was translated"),
    "translated": (translated(), "the other side of its translation is the opening of frame 44"),
    "no SYN": (self_connect(evidence=Evidence.SYN_ACK), "its SYN was not captured, frame 1 proves it"),
    "no SYN-ACK": (
        self_connect(evidence=Evidence.ACKNOWLEDGED),
        "its SYN-ACK was not captured, frames 1 and 3 prove it",
    ),
}


@pytest.mark.parametrize("what", GROUNDS)
def test_a_diagram_says_on_what_grounds(what: str) -> None:
    opening, said = GROUNDS[what]
    assert said in shown("mermaid", made(opening))
    assert "prove" not in shown("mermaid", made(self_connect(evidence=Evidence.HANDSHAKE)))


@pytest.mark.parametrize("form", PEOPLE)
def test_what_stands_stands_since_before_its_first_frame(form: str) -> None:
    assert "since before frame 5" in shown(form, made(standing()))
    assert "since before frame 5" in shown(form, made(*[standing()] * 9))


@pytest.mark.parametrize("form", [*PEOPLE, "json", "jsonl"])
@pytest.mark.parametrize(
    ("opening", "who"), [(by_icmp(), "10.0.0.1"), (translated(), "10.0.0.5"), (looks_like_self(), "10.0.0.5")]
)
def test_who_answered_is_said(form: str, opening: Opening, who: str) -> None:
    for openings in ([opening], [self_connect(), opening, opening]):
        text = shown(form, made(*openings))
        assert who in text
        assert "both ends of the connection are the same" not in text or len(openings) > 1


def test_lines_of_openings_that_stand() -> None:
    assert shown("table", made(*[standing()] * 9)).count("9. self-connect since before frame 5 5 127.0.0.1:50000") == 1


def test_a_keepalive_proves_as_well_as_data() -> None:
    opening = Talk(SELF, frame=3).a(".", 8, 9).a(".", 9, 9).a(".", 8, 9).opening(Verdict.SELF_CONNECT)
    opening = opening._replace(evidence=Evidence.STANDING)
    assert proof(opening) == (3, 4)
    opening.segments[1:2] = []
    assert proof(opening) == (3,)


def test_what_icmp_says() -> None:
    assert unreachable(Unreachable(1, 0, bytes(16), 1, 4)) == "ICMPv6 type 1, code 4"
    assert unreachable(Unreachable(1, 0, bytes(4), 3, 99)) == "ICMP type 3, code 99"


def test_openings_in_json() -> None:
    told = json.loads("".join(rendered(report([made(standing(), by_icmp(), translated())]), "json")))["openings"]
    assert [one["evidence"] for one in told] == ["standing", None, None]
    assert [one["isn"] for one in told] == [None, 1000, 1000]
    assert told[0]["duration_us"] is None
    assert [one["refused_by"] for one in told] == [None, {"type": 3, "code": 13, "sender": "10.0.0.1"}, None]
    assert [one["answered_by"] for one in told] == [None, None, {"address": "10.0.0.5", "port": 15001}]
    assert [one["translated_with"] for one in told] == [None, None, 44]


def test_captures_in_json() -> None:
    more = {"other": {"UDP": 1}, "unknown": {"x": 2}, "recorded_drops": 0, "translated": 3, "cut_to_itself": 4}
    told = json.loads("".join(rendered(report([made(needed_snaplen=54, **more)]), "json")))["captures"][0]
    assert {name: told[name] for name in more} == more
    assert (told["complete"], told["needed_snaplen"], told["filter"]) == (False, 54, None)
    for names, one in ((("udp",), "udp"), (("udp", "tcp or arp"), "(udp) or (tcp or arp)")):
        assert json.loads("".join(rendered(report([made(filters=names)]), "json")))["captures"][0]["filter"] == one


def test_comments_on_the_packets_that_prove() -> None:
    said = dict(comments(Entry(0, opening) for opening in (standing(), by_icmp())))
    assert said[5].startswith("selfconn: self-connect since before frame 5, proof 1 of 2")
    assert said[7].startswith("selfconn: self-connect since before frame 5, proof 2 of 2")
    assert said[2] == "selfconn: refused, the SYN of frame 1 (ICMP type 3, code 13)"


def test_one_frame_of_two_openings_has_one_comment() -> None:
    both = refused(), translated()
    said = list(comments(Entry(0, opening) for opening in both))
    assert [frame for frame, _ in said] == [1, 2]
    assert said[0][1].count("selfconn: refused, 1 of 2") == 2


def test_an_error_before_its_syn_is_commented_in_order() -> None:
    opening = Talk(frame=9).a("S").opening(Verdict.REFUSED)._replace(refused_by=Unreachable(2, START, bytes(16), 1, 0))
    assert [frame for frame, _ in comments([Entry(0, opening), Entry(0, self_connect(frame=3))])] == [2, 3, 4, 5, 9]


def test_openings_as_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    rows = Rows(str(path))
    for opening in (standing(), by_icmp(), translated()):
        rows.add("a", opening)
    rows.close()
    told = parquet.read_table(path).to_pylist()
    assert [one["evidence"] for one in told] == ["standing", None, None]
    assert told[0]["isn"] is told[0]["duration_ns"] is None
    assert [told[1][f"refused_by_{name}"] for name in ("sender", "type", "code")] == ["10.0.0.1", 3, 13]
    assert [told[2][f"answered_by_{name}"] for name in ("address", "port")] == ["10.0.0.5", 15001]
    assert told[2]["translated_with"] == 44
