"""What an answer from elsewhere is taken for, and what not: notes and links."""

from __future__ import annotations

import pytest
from scenes import MICROSECOND, VERSIONS, Scene, Take, X, Y
from test_conversations import analysed

from analysis.model import CaptureResult, Verdict
from analysis.notes import notes
from analysis.replay import replay


def result(scene: Scene) -> CaptureResult:
    return analysed(Take([scene]).octets)


@pytest.mark.parametrize("version", VERSIONS)
def test_an_answer_to_another_port_of_the_client_is_a_note(version: int) -> None:
    scene = Scene("wrong port", 1, version)
    a, other, b = scene.end(1, 40_000), scene.end(1, 40_001), scene.end(2, 80)
    scene.tcp(a, b, "S", X).tcp(b, other, "S.", Y, X + 1)
    opening = result(scene).openings[0]
    assert (opening.verdict, opening.answered_by) == (Verdict.UNANSWERED, None)
    assert opening.misdirected == (2, b, other.port)
    [note] = [note for note in notes(replay(opening)) if "port 40001 of the client" in note]
    assert note.startswith(f"Frame 2 from {b} acknowledges exactly this SYN")


@pytest.mark.parametrize("version", VERSIONS)
def test_what_acknowledges_another_number_is_none(version: int) -> None:
    scene = Scene("wrong number", 1, version)
    a, other, b = scene.end(1, 40_000), scene.end(1, 40_001), scene.end(2, 80)
    scene.tcp(b, other, "S.", Y, X + 1, gap=MICROSECOND)  # before the SYN
    scene.tcp(a, b, "S", X).tcp(b, other, "R.", Y, X + 2)
    assert result(scene).openings[0].misdirected is None


def test_the_probes_of_a_scanner_are_no_two_sides_of_a_translation() -> None:
    """A scanner sends the same number from the same port to many hosts, each in a packet of its own."""
    scene = Scene("scanner", 1, 4)
    for host in range(2, 12):
        scene.tcp(scene.end(1, 40_000), scene.end(host, 80), "S", X)
    found = result(scene)
    assert (found.translated, [opening.translated_with for opening in found.openings]) == (0, [None] * 10)


def test_a_translated_packet_keeps_its_identification() -> None:
    scene = Scene("both sides", 1, 4)
    for host in (2, 3):
        scene.tcp(scene.end(1, 40_000), scene.end(host, 80), "S", X, identification=77)
    found = result(scene)
    assert (found.translated, [opening.translated_with for opening in found.openings]) == (1, [2, 1])
