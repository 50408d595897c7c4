"""The Mermaid diagrams: that Mermaid itself reads them, and that they tell what happened."""

from __future__ import annotations

import re

import npm
import pytest
from conftest import ROOT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from segments import SELF, SELF6, Talk, any_openings, counted, self_connect, simultaneous_open, three_way

from analysis.cli import main
from analysis.model import CaptureResult, Endpoint, Opening, Verdict
from analysis.reader import analyze
from analysis.report import report
from analysis.views.mermaid import render

#: The packages may have to be fetched first.
pytestmark = [pytest.mark.browser, pytest.mark.timeout(400)]

CAPTURES = sorted((ROOT / "pcaps").glob("*.pcapng"))

#: For each text, null or what Mermaid says against it.
PARSE = """
const { default: mermaid } = await import('mermaid');
answer = [];
for (const text of given) {
    try {
        const { diagramType } = await mermaid.parse(text);
        answer.push(diagramType === 'sequence' ? null : diagramType);
    } catch (error) {
        answer.push(String(error.message));
    }
}
"""

NAMES = (
    "a; b",
    "end",
    "#35;",
    "%%{init: {}}%%",
    "a\nb",
    "<br/><script>",
    "-->>",
    "`",
    "\x1b[2J",
    "\u202e",
    "a:b",
    "é ü 漢",
)


def diagram(*openings: Opening, name: str = "a.pcap", verbose: bool = False) -> str:
    result = CaptureResult(name, openings=list(openings))
    return "".join(render(report([counted(result)]), verbose=verbose))


def test_mermaid_reads_the_diagram_of_every_capture(capsys: pytest.CaptureFixture[str]) -> None:
    texts = []
    for captures in (*([capture] for capture in CAPTURES), CAPTURES):
        for more in ([], ["--all"], ["--all", "-v"]):
            assert main(["--format", "mermaid", *more, *map(str, captures)]) == 0
            texts.append(capsys.readouterr().out)
    assert npm.run(PARSE, texts) == [None] * len(texts)


def test_mermaid_reads_the_diagrams_in_the_markdown(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--format", "markdown", "--all", "-v", *map(str, CAPTURES)]) == 0
    texts = re.findall(r"^```mermaid\n(.*?)^```$", capsys.readouterr().out, re.MULTILINE | re.DOTALL)
    assert len(texts) == sum(len(analyze(str(capture), collect=frozenset(Verdict)).openings) for capture in CAPTURES)
    assert npm.run(PARSE, texts) == [None] * len(texts)


def test_names_are_text_and_nothing_else() -> None:
    texts = [diagram(*openings, name=name) for name in NAMES for openings in ((), (self_connect(), three_way()))]
    several = report([CaptureResult(name) for name in NAMES])
    texts.append("".join(render(several)))
    assert npm.run(PARSE, texts) == [None] * len(texts)
    assert all(line.isprintable() for text in texts for line in text.splitlines())


@settings(max_examples=3, suppress_health_check=list(HealthCheck))
@given(st.lists(any_openings, min_size=10, max_size=20))
def test_whatever_happens_mermaid_reads_it(openings: list[Opening]) -> None:
    texts = [*(diagram(opening) for opening in openings), diagram(*openings, verbose=True)]
    assert npm.run(PARSE, texts) == [None] * len(texts)


def test_one_participant_for_one_socket() -> None:
    assert (
        diagram(self_connect(SELF6))
        == """\
sequenceDiagram
    participant A as A is [::1]:50000
    A->>A: 1. SYN, seq 0
    Note over A: CLOSED > SYN-SENT (3.10.1)
    Note over A: 1 arrives. SYN-SENT > SYN-RECEIVED (3.10.7.3)
    A->>A: 2. SYN-ACK, seq 0 ack 1
    Note over A: 2 arrives. SYN-RECEIVED > ESTABLISHED* (3.5)
    A->>A: 3. ACK, seq 1 ack 1, D-SACK {0:1}
    A->>A: 4. ACK, seq 1 ack 1, 5 octets
    A->>A: 5. ACK, seq 6 ack 6
    A->>A: 6. FIN-ACK, seq 6 ack 6
    Note over A: ESTABLISHED > FIN-WAIT-1 (3.10.4)
    Note over A: 6 arrives. FIN-WAIT-1 > CLOSING (3.10.7.4)
    A->>A: 7. ACK, seq 7 ack 7
    Note over A: 7 arrives. CLOSING > TIME-WAIT* (3.10.7.4)
"""
    )


def test_what_crossed_arrives_after_what_it_crossed() -> None:
    lines = diagram(simultaneous_open()).splitlines()
    first, second = (next(i for i, line in enumerate(lines) if f": {frame}. SYN" in line) for frame in (1, 2))
    arrival = next(i for i, line in enumerate(lines) if ": 1 arrives." in line)
    assert first < second < arrival


def test_a_lost_segment_ends_in_a_cross() -> None:
    text = diagram(Talk().a("S").a("S").b("S.", 0, 1).opening(Verdict.HALF_OPEN))
    assert "A-xB: 1. SYN, seq 0\n" in text
    assert "Note over B: 1: unanswered when frame 2 repeated it: lost, or<br/>late\n" in text
    assert "A->>B: 2. SYN, seq 0\n" in text


def test_a_long_transfer_is_folded() -> None:
    talk = Talk().a("S").b("S.", 0, 1).a(".", 1, 1)
    for n in range(40):
        talk.a(".", 1 + 1000 * n, 1, 1000).b(".", 1, 1001 + 1000 * n)
    text = diagram(talk.opening(Verdict.THREE_WAY, omitted=1000))
    assert text.count("Note over A,B: 1,072 segments, 36,000 octets and more\n") == 1
    assert len(text.splitlines()) < 30


def test_sockets_are_shared_by_openings() -> None:
    other = Endpoint(SELF.packed, 50001)
    text = diagram(self_connect(), self_connect(other), self_connect())
    assert re.findall(r"participant (\S+) as (\S+)", text) == [("S1", str(SELF)), ("S2", str(other))]
    assert re.findall(r"Note over S1,S2: (.*)", text) == [f"{number}. self-connect" for number in (1, 2, 3)]


def test_few_openings_unless_more_are_asked_for() -> None:
    openings = [self_connect(frame=1 + 10 * n) for n in range(12)]
    assert [diagram(*openings, verbose=more).count(". self-connect") for more in (False, True)] == [8, 12]


def test_without_openings_it_says_so() -> None:
    result = CaptureResult("a.pcap", verdicts={Verdict.THREE_WAY: 3})
    text = "".join(render(report([result])))
    assert text.endswith("Note over S1: 3 three-way. --all shows ordinary openings\n")
