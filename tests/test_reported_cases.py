"""Captures from public reports, and their right answers: as a table and as JSON, compiled and interpreted.

tests/reported/ has them. Where each comes from:

- encap-*: what other programs were asked to read (sipcapture/heplify#120, arkime/arkime#1917, phaag/nfdump#366,
  Security-Onion-Solutions/security-onion#1068, seladb/PcapPlusPlus#966, the-tcpdump-group/tcpdump#1188). Inside each
  four refused attempts and a self-connect.
- icmp-reject: kubernetes/kubernetes#97360, #78994. istio-redirect-lo: istio/istio#22915, envoyproxy/envoy#15625.
  node-any-routed: antrea-io/antrea#4271. nodeport-halfopen: kubernetes/kubernetes#111682.
- midstream-keepalives-only: the first and the last keepalives of 24 days of a self-connect like nats.net.v1's.
- snap40-v4, step-back-in-attempts: the-tcpdump-group/tcpdump#136, #146. zeek3313: zeek/zeek#3313.
- rfc-*: RFC 9293 figure 9, RFC 791 source routes, fragments, pcap 2.2, SYNs captured late.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from test_mutants import interpreted

from analysis import reader
from analysis.cli import main

if TYPE_CHECKING:
    from collections.abc import Mapping

FOLDER = Path(__file__).parent / "reported"


@dataclass(frozen=True)
class Case:
    """The right answer: verdicts and their number, what the report says (regular expressions), and what it must not."""

    verdicts: Mapping[str, int]
    says: tuple[str, ...] = ()
    never: tuple[str, ...] = ()
    #: Fields of the first opening, and of the capture.
    opening: Mapping[str, object] = field(default_factory=dict)
    capture: Mapping[str, object] = field(default_factory=dict)
    status: int = 0


def _end(address: str, port: int) -> dict[str, object]:
    return {"address": address, "port": port}


NOTHING_IN_IT = r"No opening of a TCP connection|without an opening of those asked for"
WRAPPED = Case(
    {"self-connect": 1, "refused": 4},
    says=(r"self-connect: 127\.0\.0\.1:50000",),
    never=(NOTHING_IN_IT,),
    opening={"evidence": "handshake", "first_frame": 9, "frames": [9, 10, 11]},
    capture={"complete": True, "segments": 15},
)
ONE_CONNECTION = Case({"three-way": 1}, capture={"midstream": 0, "segments": 3})

CASES = {
    **{path.name: WRAPPED for path in sorted(FOLDER.glob("encap-*"))},
    "icmp-reject.pcap": Case(
        {"refused": 20},
        says=(r"ICMP",),
        never=(r"unanswered", r"no answer to it was captured"),
        opening={"syn_retransmissions": 1, "answered_by": None},
    ),
    "istio-redirect-lo.pcap": Case(
        {"three-way": 3},
        says=(r"198\.51\.100\.7:80", r"translated"),
        never=(r"unanswered", r"no answer to it was captured"),
        opening={"answered_by": _end("198.51.100.7", 80), "destination": _end("127.0.0.1", 15001)},
    ),
    "midstream-keepalives-only.pcap": Case(
        {"self-connect": 1},
        says=(r"10\.3\.1\.54:4222", r"since before frame 1\b"),
        never=(NOTHING_IN_IT,),
        opening={
            "evidence": "standing",
            "isn": None,
            "first_frame": 1,
            "duration_us": None,
            "source": _end("10.3.1.54", 4222),
        },
        capture={"midstream": 0, "midstream_to_itself": 0},
    ),
    "node-any-routed.pcap": Case(
        {"three-way": 1, "refused": 3},
        never=(r"sent again", r"unanswered"),
        opening={"syn_retransmissions": 0},
        capture={"segments": 16, "duplicates": 16},
    ),
    "nodeport-halfopen.pcap": Case(
        {"half-open": 1}, never=(r"SYN-SENT > ESTABLISHED",), opening={"established": False, "syn_retransmissions": 4}
    ),
    "redirect-looks-like-self.pcap": Case(
        {"refused": 2},
        says=(r"127\.0\.0\.1:80",),
        never=(r"self-syn", r"this suggests a real connect\(\) to itself", r"no answer to it was captured"),
        opening={"answered_by": _end("127.0.0.1", 80)},
    ),
    "rfc-fig9.pcap": Case({"three-way": 1}, opening={"syn_retransmissions": 1}, capture={"midstream": 0}),
    "rfc-latesyn.pcap": Case({"three-way": 1}, capture={"midstream": 0}),
    "rfc-lsrr.pcap": Case(
        ONE_CONNECTION.verdicts, opening={"destination": _end("10.0.0.2", 80)}, capture={"midstream": 0}
    ),
    "rfc-selfrst.pcap": Case({"self-connect": 1}, opening={"evidence": "handshake", "established": True}),
    "rfc-tinyfrag.pcap": Case({"three-way": 1}, capture={"midstream": 0, "segments": 3}),
    "rfc-v22.pcap": Case({"three-way": 1}, capture={"packets": 3, "damage": None}),
    "snap40-v4.pcap": Case(
        {},
        says=(r"\b7 (?:of|frames)\b", r"-s 54\b"),
        never=(r"No opening of a TCP connection\.\s*$",),
        capture={"complete": False},
        status=4,
    ),
    "step-back-in-attempts.pcap": Case(
        {"self-connect": 1, "refused": 4}, says=(r"clock went back at frame 5\b",), never=(r"-7,199",)
    ),
    "syn-lost-synack-there.pcap": Case(
        {"self-connect": 1, "refused": 4},
        says=(r"self-connect: 127\.0\.0\.1:50000",),
        never=(r"began before the capture",),
        opening={"evidence": "syn-ack", "first_frame": 9},
        capture={"midstream": 0, "midstream_to_itself": 0},
    ),
    "tfo-data-in-syn.pcapng": Case(
        {"self-connect": 1}, never=(r"outside its window",), opening={"evidence": "handshake", "established": True}
    ),
    "zeek3313-synack-two-isns.pcap": Case(
        {"three-way": 1},
        never=(r"Not completed", r"acknowledges what was never sent"),
        opening={"established": True},
    ),
}

each = pytest.mark.parametrize("name", CASES)
both = pytest.mark.parametrize("form", ["as installed", "interpreted"])


@cache
def _interpreted() -> Any:
    return interpreted().Engine


@pytest.fixture
def told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run the command on one form of the engine: its exit status and what it printed."""

    def tell(form: str, *arguments: str) -> tuple[int, str]:
        with monkeypatch.context() as patched:
            if form == "interpreted":
                patched.setattr(reader, "Engine", _interpreted())
            status = main(list(arguments))
        return status, capsys.readouterr().out

    return tell


def test_every_capture_has_its_answer() -> None:
    assert {path.name for path in FOLDER.iterdir() if path.is_file()} == set(CASES)
    assert sum(path.stat().st_size for path in FOLDER.rglob("*")) < 100_000


@both
@each
def test_json(told: Any, name: str, form: str) -> None:
    case = CASES[name]
    status, out = told(form, "--all", "--format", "json", str(FOLDER / name))
    said = json.loads(out)
    capture, openings = said["captures"][0], said["openings"]
    assert {verdict: count for verdict, count in capture["verdicts"].items() if count} == case.verdicts
    assert {key: capture[key] for key in case.capture} == dict(case.capture)
    first = next((one for one in openings if one["verdict"] == next(iter(case.verdicts))), {})
    assert {key: first[key] for key in case.opening} == dict(case.opening)
    assert status == case.status


@both
@each
def test_table(told: Any, name: str, form: str) -> None:
    case = CASES[name]
    _, out = told(form, "--all", str(FOLDER / name))
    text = " ".join(out.split())
    assert [words for words in case.says if not re.search(words, text)] == []
    assert [words for words in case.never if re.search(words, text)] == []


@both
def test_who_refused_by_icmp(told: Any, form: str) -> None:
    _, out = told(form, "--all", "--format", "json", str(FOLDER / "icmp-reject.pcap"))
    said = [opening["refused_by"] for opening in json.loads(out)["openings"]]
    assert [(one["type"], one["code"], one["sender"]) for one in said] == [(3, 3, "10.0.0.2")] * 20


@both
def test_a_folder_of_captures_that_had_been_passed_over(told: Any, form: str) -> None:
    status, out = told(form, str(FOLDER / "folder-nothing-decodable"))
    text = " ".join(out.split())
    assert status == 0
    assert not re.search(NOTHING_IN_IT, text)
    assert text.count("self-connect: 127.0.0.1:50000") == 2


@both
@pytest.mark.parametrize("name", ["midstream-keepalives-only.pcap", "syn-lost-synack-there.pcap"])
def test_expected_on_whatever_evidence(told: Any, name: str, form: str) -> None:
    assert told(form, "--expect", "self-connect", str(FOLDER / name))[0] == 0
    status, out = told(form, "--only", "self-connect", "--format", "json", str(FOLDER / name))
    assert (status, len(json.loads(out)["openings"])) == (0, 1)


@both
def test_what_is_cut_short_is_not_expected_and_not_ruled_out(told: Any, form: str) -> None:
    assert told(form, "--expect", "self-connect", str(FOLDER / "snap40-v4.pcap"))[0] == 4
