"""Which RSTs end an opening: RFC 9293's rule, as far as packets tell."""

from __future__ import annotations

import pytest
from segments import SELF, Talk

from analysis.model import SEQUENCE_SPACE, Opening, Verdict
from analysis.replay import replay
from analysis.resets import Ruling, rule
from analysis.states import State

ISNS = pytest.mark.parametrize("isn", [0, 1000, 2**31 - 1, SEQUENCE_SPACE - 1])


def judged(talk: Talk, **more: object) -> Ruling:
    """The ruling on the last segment."""
    opening = talk.opening(Verdict.ODD, **more)
    return rule(opening, talk.segments[:-1], talk.segments[-1])


def syn(isn: int = 1000, payload: int = 0) -> Talk:
    return Talk(isn_a=isn, isn_b=isn + 500_000).a("S", 0, None, payload)


def answered(isn: int = 1000) -> Talk:
    return syn(isn).b("S.", 0, 1)


@ISNS
@pytest.mark.parametrize(("ack", "ends"), [(0, False), (1, True), (4, True), (5, True), (6, False), (-9, False)])
def test_in_syn_sent_from_the_other_end(isn: int, ack: int, ends: bool) -> None:
    assert judged(syn(isn, payload=4).b("R.", 99, ack)).ends is ends


def test_in_syn_sent_without_ack_from_the_other_end() -> None:
    assert not judged(syn().b("R", 1)).ends


@ISNS
@pytest.mark.parametrize(("seq", "ends"), [(0, False), (1, True), (5, True), (6, False), (-900, False)])
def test_in_syn_sent_from_the_opener(isn: int, seq: int, ends: bool) -> None:
    assert judged(syn(isn, payload=4).a("R", seq)).ends is ends


def test_the_answer_of_figure_9_ends_nothing() -> None:
    """The opener refuses an ACK of an older connection, and its opening goes on."""
    ruling = judged(syn().b(".", 300, -900).a("R", -900))
    assert (ruling.ends, ruling.refuses) == (False, True)
    ruling = judged(syn().b(".", 300, 1).a("R", 1))  # that ACK field happens to be one that it would abort with
    assert (ruling.ends, ruling.refuses) == (False, True)


@ISNS
@pytest.mark.parametrize(
    ("flags", "seq", "ends"),
    [("R", 1, True), ("R.", 1, True), ("R", 0, False), ("R", -5, False), ("R", 65_495, True), ("R", 65_496, False)],
)
def test_later_from_the_opener(isn: int, flags: str, seq: int, ends: bool) -> None:
    """Between the SYN-ACK's ACK field and the right edge of its window, which is not scaled, ends it."""
    assert judged(answered(isn).a(flags, seq, 1)).ends is ends


def test_later_from_the_other_end() -> None:
    assert not judged(answered().b("R", 0)).ends  # not in SYN-SENT, for it acknowledges nothing; nor in ESTABLISHED
    assert judged(answered().b("R.", -50, 1)).ends  # the SYN-ACK may have been lost
    assert not judged(answered().a(".", 1, 1).b("R.", -50, 1)).ends  # it was not
    assert judged(answered().a(".", 1, 1).b("R", 1)).ends


def test_the_highest_acknowledgment_counts() -> None:
    talk = answered().a(".", 1, 1).b("P.", 1, 1, 100).a(".", 1, 101)
    assert not judged(talk.b("R", 100)).ends
    talk.segments.pop()
    assert judged(talk.b("R", 101)).ends


def test_an_acknowledgment_of_what_was_not_captured_counts() -> None:
    talk = answered().a(".", 1, 1).a(".", 1, 4_000)
    assert not judged(talk.b("R", 1)).ends
    talk.segments.pop()
    assert judged(talk.b("R", 4_000)).ends


@pytest.mark.parametrize(("of_a", "of_b", "edge"), [(7, 7, 65_495 << 7), (7, None, 65_495), (None, 7, 65_495)])
def test_windows_are_scaled_where_both_ends_do(of_a: int | None, of_b: int | None, edge: int) -> None:
    talk = Talk().a("S", window_scale=of_a).b("S.", 0, 1, window_scale=of_b).a(".", 1, 1)
    assert judged(talk.b("R", edge)).ends
    talk.segments.pop()
    assert not judged(talk.b("R", 1 + edge)).ends


def test_more_than_every_window_but_what_the_sender_has_come_to() -> None:
    talk = answered().a(".", 1, 1).a("P.", 1, 1, 100_000)
    assert judged(talk.a("R", 100_001)).ends


def test_where_packets_are_missing_it_ends_and_that_is_said() -> None:
    ruling = judged(answered().a(".", 1, 1).b("R", 900_000), omitted=700)
    assert (ruling.ends, ruling.unproven) == (True, True)
    ruling = judged(answered().a(".", 1, 700_000).b("R", 900_000))  # acknowledged was more than was captured
    assert (ruling.ends, ruling.unproven) == (True, True)
    ruling = judged(answered().a(".", 1, 1).b("R", 900_000))
    assert (ruling.ends, ruling.unproven) == (False, False)


@pytest.mark.parametrize(("flags", "seq", "ack", "ends"), [("R", 1, None, True), ("R", -8, None, False)])
def test_crossed_syns(flags: str, seq: int, ack: int | None, ends: bool) -> None:
    assert judged(syn().b("S").a(flags, seq, ack)).ends is ends
    assert judged(syn().b("S").b(flags, seq, ack)).ends is ends


def test_crossed_syns_and_a_refusal() -> None:
    assert judged(syn().b("S").b("R.", -70_000, 1)).ends  # the other SYN may have been lost


@pytest.mark.parametrize(
    ("flags", "seq", "ack", "ends"),
    [("R", 5 - 1000, None, False), ("R", 1, None, True), ("R.", -1000, 1, True), ("R.", -1000, 9, False)],
)
def test_both_ends_are_one_socket(flags: str, seq: int, ack: int | None, ends: bool) -> None:
    assert judged(Talk(SELF).a("S").a(flags, seq, ack)).ends is ends


def test_both_ends_are_one_socket_later() -> None:
    open_to_itself = Talk(SELF).a("S").a("S.", 0, 1).a(".", 1, 1).a("P.", 1, 1, 5).a(".", 6, 6)
    assert judged(open_to_itself.a("R.", 6, 6)).ends
    open_to_itself.segments.pop()
    assert not judged(open_to_itself.a("R.", 5, 6)).ends


def standing(talk: Talk) -> Opening:
    first = talk.segments[0]
    return Opening(Verdict.SELF_CONNECT, *talk.ends, None, first.frame, first.time, talk.segments)


def test_without_a_syn() -> None:
    talk = Talk(SELF).a(".", 9, 10).a(".", 10, 10).a("R.", 3, 10)
    assert not rule(standing(talk), talk.segments[:-1], talk.segments[-1]).ends
    talk = Talk(SELF).a(".", 9, 10).a(".", 10, 10).a("R.", 10, 10)
    assert rule(standing(talk), talk.segments[:-1], talk.segments[-1]).ends


# -- in the timeline --------------------------------------------------------------------------------------------------


def test_what_ends_nothing_is_a_finding_and_changes_no_state() -> None:
    account = replay(Talk(SELF).a("S").a("R", -900).a("S.", 0, 1).a(".", 1, 1).opening(Verdict.SELF_CONNECT))
    assert [step.frame for step in account.findings] == [2]
    assert account.final_state(SELF) is State.ESTABLISHED
    assert account.handshake == [1, 3, 4]


def test_figure_9_is_no_finding() -> None:
    talk = syn().b(".", 300, -900).a("R", -900).a("S").b("S.", 0, 1).a(".", 1, 1)
    account = replay(talk.opening(Verdict.THREE_WAY, syn_retransmissions=1))
    assert account.established
    assert [step.frame for step in account.findings] == [2]  # an ACK from a connection that is not in the capture
    assert [step.section for step in account.steps if step.frame == 3] == ["3.10.7.3", "3.10.7.1"]


def test_a_reset_before_the_open_was_complete_ends_it_whatever_follows() -> None:
    account = replay(answered().a("R", 1).a(".", 1, 1).opening(Verdict.HALF_OPEN))
    assert not account.established
    assert [step.frame for step in account.findings] == [4]
    assert "frame 3 closed this socket" in account.findings[0].reason
