"""Openings replayed: what became of each socket, what crossed, what was lost, what the RFC does not allow."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from segments import SELF, SELF6, A, B, Talk, any_openings, refused, self_connect, simultaneous_open, three_way
from sequences import ALPHABETS, Alphabet, capture, every
from test_conversations import analysed, as_pcap

from analysis.model import SEQUENCE_SPACE, Endpoint, Verdict
from analysis.replay import Replay, replay
from analysis.states import TABLE, Event, State

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

CLIENT = "CLOSED SYN-SENT ESTABLISHED"
SERVER = "CLOSED LISTEN SYN-RECEIVED ESTABLISHED"
CROSSED = "CLOSED SYN-SENT SYN-RECEIVED ESTABLISHED"

ISNS = pytest.mark.parametrize("isn", [0, 1000, 2**31 - 1, 2**31, SEQUENCE_SPACE - 1, SEQUENCE_SPACE - 6])


def path(account: Replay, endpoint: Endpoint) -> str:
    return " ".join(account.state_path(endpoint))


def played(talk: Talk, verdict: Verdict = Verdict.THREE_WAY) -> Replay:
    return replay(talk.opening(verdict))


def opened() -> Talk:
    return Talk().a("S").b("S.", 0, 1).a(".", 1, 1)


# -- a socket connected to itself ------------------------------------------------------------------------------


@ISNS
@pytest.mark.parametrize("end", [SELF, SELF6], ids=["v4", "v6"])
def test_self_connect_from_open_to_close(end, isn):
    account = replay(self_connect(end, isn=isn))
    assert account.sockets == (end,)
    assert path(account, end) == f"{CROSSED} FIN-WAIT-1 CLOSING TIME-WAIT"
    assert account.handshake == [1, 2, 3]
    assert account.established
    assert not account.findings


def test_self_connect_step_by_step():
    steps = [
        (step.frame, step.event, str(step.before), str(step.after), step.section, step.inferred)
        for step in replay(self_connect()).transitions
    ]
    assert steps == [
        (1, "send SYN", "CLOSED", "SYN-SENT", "3.10.1", False),
        (1, "receive SYN", "SYN-SENT", "SYN-RECEIVED", "3.10.7.3", False),
        (2, "receive SYN-ACK", "SYN-RECEIVED", "ESTABLISHED", "3.5", True),
        (6, "send FIN", "ESTABLISHED", "FIN-WAIT-1", "3.10.4", False),
        (6, "receive FIN", "FIN-WAIT-1", "CLOSING", "3.10.7.4", False),
        (7, "receive ACK of FIN", "CLOSING", "TIME-WAIT", "3.10.7.4", True),
    ]


def test_the_third_packet_is_only_a_reaction():
    account = replay(self_connect())
    (sent,) = [step for step in account.steps if step.frame == 3 and step.sends]
    assert (sent.event, sent.before, sent.after) == ("send ACK", State.ESTABLISHED, State.ESTABLISHED)
    assert sent.reason == "its own SYN-ACK repeats a SYN that it has: answered by an ACK with D-SACK"


def test_a_server_listens_before_the_syn_is_sent():
    """Not in answer to it: the passive open is the first thing that happens, whatever comes of the SYN."""
    for account in (replay(three_way()), played(Talk().a("S").a("S").b("S.", 0, 1).a(".", 1, 1))):
        first, second = account.steps[:2]
        assert (first.event, first.endpoint, first.after) == ("passive open", B, State.LISTEN)
        assert (second.event, second.endpoint) == ("send SYN", A)


@pytest.mark.parametrize("third", [{"sack": ((0, 1),)}, {}], ids=["D-SACK", "challenge ACK"])
def test_self_connect_with_either_third_packet(third):
    account = played(Talk(SELF).a("S").a("S.", 0, 1).a(".", 1, 1, **third))
    assert path(account, SELF) == CROSSED
    assert account.handshake == [1, 2, 3]


def test_self_connect_without_a_third_packet():
    account = played(Talk(SELF).a("S").a("S.", 0, 1).a("P.", 1, 1, 5).a(".", 6, 6))
    assert path(account, SELF) == CROSSED
    assert account.handshake == [1, 2]
    assert not account.findings


def test_self_connect_reset():
    account = played(Talk(SELF).a("S").a("S.", 0, 1).a(".", 1, 1).a("R.", 1, 1))
    assert path(account, SELF) == f"{CROSSED} CLOSED"
    assert not account.findings


def test_self_connect_whose_capture_ends_with_its_fin():
    account = played(Talk(SELF).a("S").a("S.", 0, 1).a(".", 1, 1).a("F.", 1, 1))
    assert path(account, SELF) == f"{CROSSED} FIN-WAIT-1 CLOSING"
    assert account.transitions[-1].inferred


def test_self_syn_never_comes_back():
    account = played(Talk(SELF).a("S").a("S").a("S"), Verdict.SELF_SYN)
    assert path(account, SELF) == "CLOSED SYN-SENT"
    assert [step.event for step in account.steps if step.sends] == ["send SYN", "retransmit SYN", "retransmit SYN"]
    assert not account.established


def test_self_connect_with_data_in_flight():
    talk = Talk(SELF).a("S").a("S.", 0, 1).a(".", 1, 1)
    talk.a("P.", 1, 1, 100).a("P.", 101, 1, 100).a(".", 201, 201).a("F.", 201, 201).a(".", 202, 202)
    account = played(talk)
    assert path(account, SELF) == f"{CROSSED} FIN-WAIT-1 CLOSING TIME-WAIT"
    (late,) = [step for step in account.steps if step.frame == 4 and not step.sends]
    assert late.after_frame == 5


# -- two sockets, the ordinary way -----------------------------------------------------------------------------------


@ISNS
def test_three_way_from_open_to_close(isn):
    account = replay(three_way(isn_a=isn, isn_b=isn + 77))
    assert path(account, A) == f"{CLIENT} FIN-WAIT-1 FIN-WAIT-2 TIME-WAIT"
    assert path(account, B) == f"{SERVER} CLOSE-WAIT LAST-ACK CLOSED"
    assert account.handshake == [1, 2, 3]
    assert not account.findings


def test_three_way_marks_what_no_packet_proves():
    inferred = {(step.endpoint, str(step.after)) for step in replay(three_way()).transitions if step.inferred}
    assert inferred == {(B, "LISTEN"), (B, "ESTABLISHED"), (A, "FIN-WAIT-2"), (B, "CLOSED")}


def test_the_acceptor_may_close_first():
    account = played(opened().b("F.", 1, 1).a(".", 1, 2).a("F.", 1, 2).b(".", 2, 2))
    assert path(account, A) == f"{CLIENT} CLOSE-WAIT LAST-ACK CLOSED"
    assert path(account, B) == f"{SERVER} FIN-WAIT-1 FIN-WAIT-2 TIME-WAIT"


def test_fin_that_acknowledges_a_fin_passes_through_fin_wait_2():
    account = played(opened().a("F.", 1, 1).b("F.", 1, 2).a(".", 2, 2))
    assert path(account, A) == f"{CLIENT} FIN-WAIT-1 FIN-WAIT-2 TIME-WAIT"
    assert path(account, B) == f"{SERVER} CLOSE-WAIT LAST-ACK CLOSED"


def test_fins_that_cross():
    account = played(opened().a("F.", 1, 1).b("F.", 1, 1).a(".", 2, 2).b(".", 2, 2))
    assert path(account, A) == f"{CLIENT} FIN-WAIT-1 CLOSING TIME-WAIT"
    assert path(account, B) == f"{SERVER} FIN-WAIT-1 CLOSING TIME-WAIT"


def test_data_with_fin():
    account = played(opened().a("FP.", 1, 1, 10).b(".", 1, 12).b("FP.", 1, 12, 7).a(".", 12, 9))
    assert path(account, A) == f"{CLIENT} FIN-WAIT-1 FIN-WAIT-2 TIME-WAIT"
    assert path(account, B) == f"{SERVER} CLOSE-WAIT LAST-ACK CLOSED"


def test_half_closed_end_still_receives():
    talk = opened().a("F.", 1, 1).b(".", 1, 2).b("P.", 1, 2, 500).a(".", 2, 501).b("F.", 501, 2).a(".", 2, 502)
    account = played(talk)
    assert path(account, A) == f"{CLIENT} FIN-WAIT-1 FIN-WAIT-2 TIME-WAIT"
    assert not account.findings


def test_third_ack_may_carry_data():
    account = played(Talk().a("S").b("S.", 0, 1).a("P.", 1, 1, 10).b(".", 1, 11))
    assert account.handshake == [1, 2, 3]
    assert account.established


def test_refused():
    account = replay(refused())
    assert path(account, A) == "CLOSED SYN-SENT CLOSED"
    assert path(account, B) == "CLOSED"
    assert account.handshake == [1, 2]
    assert not account.findings


def test_unanswered():
    account = played(Talk().a("S").a("S"), Verdict.UNANSWERED)
    assert path(account, A) == "CLOSED SYN-SENT"
    assert path(account, B) == "CLOSED"


def test_aborted():
    assert path(played(Talk().a("S").a("R", 1), Verdict.ABORTED), A) == "CLOSED SYN-SENT CLOSED"


def test_half_open_scan_has_no_socket():
    account = played(Talk().a("S").b("S.", 0, 1).a("R", 1), Verdict.HALF_OPEN)
    assert path(account, A) == "CLOSED SYN-SENT CLOSED"
    assert path(account, B) == "CLOSED LISTEN SYN-RECEIVED LISTEN"
    assert not account.findings


def test_program_that_opens_and_aborts():
    account = played(Talk().a("S").b("S.", 0, 1).a("R.", 1, 1), Verdict.HALF_OPEN)
    assert path(account, A) == f"{CLIENT} CLOSED"
    assert path(account, B) == "CLOSED LISTEN SYN-RECEIVED LISTEN"


def test_wrong_ack_is_answered_by_a_reset():
    account = played(Talk().a("S").b(".", 500, 900).a("R", 900).b("S.", 0, 1).a(".", 1, 1))
    assert path(account, A) == CLIENT
    assert [step.event for step in account.steps if step.frame == 3 and step.sends] == ["send RST in answer"]


def test_syn_ack_of_another_connection():
    account = played(Talk().a("S").b("S.", -500, 900).b("S.", 0, 1).a(".", 1, 1))
    assert path(account, A) == CLIENT
    assert path(account, B) == SERVER
    assert [step.frame for step in account.findings] == [2]


def test_challenge_ack_of_an_older_connection():
    account = played(Talk().a("S").b(".", 50_000, 60_000).a("R", 60_000).a("S").b("S.", 0, 1).a(".", 1, 1), Verdict.ODD)
    (unanswered,) = [step for step in account.steps if step.frame == 1 and not step.sends]
    assert "frame 4 repeated it" in unanswered.reason
    assert path(account, A) == CLIENT
    account = played(Talk().a("S").b(".", 50_000, 60_000), Verdict.ODD)
    assert path(account, B) == "CLOSED"
    assert account.steps[-3].reason == "frame 2 answers, but does not acknowledge it"


def test_ack_beyond_the_window_does_not_open():
    account = played(Talk().a("S").b("S.", 0, 1).a(".", 65_496, 1), Verdict.HALF_OPEN)
    assert path(account, B) == "CLOSED LISTEN SYN-RECEIVED"


def test_syn_captured_after_the_syn_ack_that_crossed_it():
    account = played(Talk().a("S").a("S.", 0, 1).b("S").b("S.", 0, 1))
    assert [segment.frame for segment in account.segments] == [1, 3, 2, 4]
    assert path(account, A) == path(account, B) == CROSSED


def test_reset_of_an_established_connection():
    account = played(opened().a("P.", 1, 1, 10).b("R", 1))
    assert path(account, A) == f"{CLIENT} CLOSED"
    assert path(account, B) == f"{SERVER} CLOSED"


def test_reset_with_an_old_sequence_number_is_not_obeyed():
    account = played(opened().b("P.", 1, 1, 10).a(".", 1, 11).b("R", 5))
    assert path(account, A) == CLIENT


def test_forged_reset_is_a_finding_and_changes_nothing():
    account = played(opened().b("R", 1).b("P.", 1, 1, 10).a(".", 1, 11).b("F.", 11, 1).a(".", 1, 12))
    assert path(account, B) == f"{SERVER} FIN-WAIT-1 FIN-WAIT-2"
    assert path(account, A) == f"{CLIENT} CLOSE-WAIT"
    assert [step.frame for step in account.findings] == [4]


def test_fast_open():
    talk = Talk().a("S", 0, None, 20, fast_open=b"12345678").b("S.", 0, 21).b("P.", 1, 21, 30).a(".", 21, 31)
    account = played(talk)
    assert path(account, A) == CLIENT
    assert [step.frame for step in account.findings] == [3]
    assert "RFC 7413" in account.findings[0].reason


def test_fast_open_with_more_data_than_a_window():
    account = played(Talk().a("S", 0, None, 70_000).b("S.", 0, 70_001).a(".", 70_001, 1))
    assert path(account, B) == SERVER


def test_fast_open_data_that_the_server_does_not_take():
    account = played(Talk().a("S", 0, None, 20).b("S.", 0, 1).a("P.", 1, 1, 20).b(".", 1, 21))
    assert path(account, A) == CLIENT
    assert path(account, B) == SERVER


def test_data_in_a_syn_that_the_syn_ack_does_not_acknowledge_comes_again():
    on = {"sack_permitted": True}
    talk = Talk(SELF).a("S", 0, None, 4, **on).a("S.", 0, 1, **on).a(".", 5, 1).a(".", 1, 1, 4).a(".", 5, 5)
    account = played(talk, Verdict.SELF_CONNECT)
    (again,) = [step for step in account.steps if step.frame == 4 and not step.sends]
    assert (again.event, again.section) == ("receive ACK", "3.10.7.4")
    assert again.reason.startswith("4 octets arrive, as for the first time")
    assert [step.frame for step in account.transitions if step.after is State.ESTABLISHED] == [3]


# -- a SYN-ACK in SYN-RECEIVED: figure 7, or 3.10.7.4 to the letter -------------------------------------------------

ON = {"sack_permitted": True}


@pytest.mark.parametrize(
    ("syn", "third", "frame"),
    [(ON, {}, 3), (ON, {"sack": ((0, 1),)}, 2), ({}, {}, 2)],
    ids=["dropped", "taken", "nobody can tell"],
)
def test_which_segment_opens_a_self_connect(syn, third, frame):
    account = played(Talk(SELF).a("S", **syn).a("S.", 0, 1, **syn).a(".", 1, 1, **third).a("P.", 1, 1, 5).a(".", 6, 6))
    assert [step.frame for step in account.transitions if step.after is State.ESTABLISHED] == [frame]
    assert path(account, SELF) == CROSSED
    assert not account.findings


@pytest.mark.parametrize("of_a", [{}, {"sack": ((0, 1),)}], ids=["A drops", "A takes"])
@pytest.mark.parametrize("of_b", [{}, {"sack": ((0, 1),)}], ids=["B drops", "B takes"])
def test_which_segments_open_a_simultaneous_open(of_a, of_b):
    talk = Talk().a("S", **ON).b("S", **ON).a("S.", 0, 1, **ON).b("S.", 0, 1, **ON)
    account = played(talk.a(".", 1, 1, **of_a).b(".", 1, 1, **of_b), Verdict.SIMULTANEOUS_OPEN)
    opened = {step.endpoint: step.frame for step in account.transitions if step.after is State.ESTABLISHED}
    assert opened == {A: 4 if of_a else 6, B: 3 if of_b else 5}
    assert not account.findings


def test_a_syn_ack_that_was_used_is_answered_with_data():
    account = played(Talk(SELF).a("S", **ON).a("S.", 0, 1, **ON).a("P.", 1, 1, 5).a(".", 6, 6))
    assert [step.frame for step in account.transitions if step.after is State.ESTABLISHED] == [2]


# -- SYN-ACKs of two minds ---------------------------------------------------------------------------------------------


@ISNS
@pytest.mark.parametrize("further", [776_877, -776_877])
@pytest.mark.parametrize("takes_second", [True, False], ids=["takes the second", "takes the first"])
def test_either_of_two_syn_acks_opens(isn, further, takes_second):
    """The other end is ESTABLISHED by the ACK of either."""
    talk = Talk(isn_b=isn).a("S").b("S.", 0, 1).b("S.", further, 1)
    account = played(talk.a(".", 1, 1 + further if takes_second else 1))
    assert path(account, A) == CLIENT
    assert path(account, B) == SERVER
    opened = [step.frame for step in account.transitions if step.after is State.ESTABLISHED]
    assert opened == ([3, 4] if takes_second else [2, 4])
    assert account.isn[B] == talk.segments[2 if takes_second else 1].seq


# -- SYNs that cross --------------------------------------------------------------------------------------------------


@ISNS
def test_simultaneous_open_from_open_to_close(isn):
    account = replay(simultaneous_open(isn_a=isn, isn_b=isn + 12345))
    for end in (A, B):
        assert path(account, end) == f"{CROSSED} FIN-WAIT-1 CLOSING TIME-WAIT"
    assert account.handshake == [1, 2, 3, 4, 5, 6]
    assert not account.findings


def test_simultaneous_open_as_one_end_sees_it():
    talk = Talk().a("S").b("S").a("S.", 0, 1).b("S.", 0, 1).a(".", 1, 1, sack=((0, 1),)).b(".", 1, 1, sack=((0, 1),))
    seen = played(
        Talk().a("S").b("S").a("S.", 0, 1).b("S.", 0, 1).a(".", 1, 1).a("P.", 1, 1, 5).b(".", 1, 1).b(".", 1, 6)
    )
    for account in (played(talk), seen):
        assert path(account, A) == path(account, B) == CROSSED
        assert not account.findings


def test_simultaneous_open_that_the_capture_cuts_off():
    account = played(Talk().a("S").b("S").a("S.", 0, 1).b("S.", 0, 1))
    assert path(account, A) == path(account, B) == CROSSED


def test_crossing_whose_first_syn_was_lost():
    account = played(Talk().a("S").b("S").a("S.", 0, 1).b(".", 1, 1), Verdict.ONE_SIDED_CROSSING)
    assert path(account, A) == CROSSED
    assert path(account, B) == CLIENT
    (lost,) = [step for step in account.steps if step.frame == 1 and not step.sends]
    assert (lost.section, lost.reason) == ("", "lost, or overtaken by frame 3, which is what was answered")


def test_crossing_whose_second_syn_was_lost():
    account = played(Talk().a("S").b("S").b("S.", 0, 1).a(".", 1, 1), Verdict.ONE_SIDED_CROSSING)
    assert path(account, A) == CLIENT
    assert path(account, B) == CROSSED


def test_split_handshake():
    account = played(Talk().a("S").b(".", 0, 1).b("S").a("S.", 0, 1).b(".", 1, 1), Verdict.SPLIT_HANDSHAKE)
    assert path(account, A) == CROSSED
    assert path(account, B) == SERVER
    assert [step.frame for step in account.findings] == [2, 3]
    assert account.handshake == [1, 2, 3, 4, 5]


def test_crossed_and_unanswered():
    account = played(Talk().a("S").b("S"), Verdict.CROSSED_UNANSWERED)
    assert path(account, A) == path(account, B) == "CLOSED SYN-SENT"


# -- packets lost, repeated, captured out of order ------------------------------------------------------------------


def test_retransmissions_change_nothing():
    talk = Talk().a("S").a("S").b("S.", 0, 1).b("S.", 0, 1).a(".", 1, 1).a("F.", 1, 1).a("F.", 1, 1).b(".", 1, 2)
    account = played(talk)
    assert path(account, A) == f"{CLIENT} FIN-WAIT-1 FIN-WAIT-2"
    assert path(account, B) == f"{SERVER} CLOSE-WAIT"
    again = [(step.frame, step.event) for step in account.steps if step.event.startswith("retransmit")]
    assert again == [(2, "retransmit SYN"), (4, "retransmit SYN-ACK"), (7, "retransmit FIN-ACK")]
    assert all(step.before is step.after for step in account.steps if step.event.startswith("retransmit"))


def test_the_copy_that_was_answered_is_the_one_that_arrived():
    account = played(Talk().a("S").a("S").b("S.", 0, 1).a(".", 1, 1))
    assert [step.frame for step in account.transitions if step.endpoint == B] == [1, 2, 4]


def test_a_syn_ack_that_the_syn_follows_again_did_not_reach_the_socket():
    account = played(Talk().a("S").b("S.", 0, 1).a("S").b("S.", 0, 1).a("S").b("S.", 0, 1), Verdict.HALF_OPEN)
    assert path(account, A) == "CLOSED SYN-SENT"
    assert path(account, B) == "CLOSED LISTEN SYN-RECEIVED"


def test_a_syn_that_is_sent_again_while_the_syn_ack_is_under_way():
    account = played(Talk().a("S").b("S.", 0, 1).a("S").a(".", 1, 1))
    assert path(account, A) == CLIENT
    assert path(account, B) == SERVER


def test_the_last_of_several_copies_is_not_taken_to_have_arrived():
    account = played(Talk().a("S").b("S.", 0, 1).b("S.", 0, 1), Verdict.HALF_OPEN)
    assert path(account, A) == "CLOSED SYN-SENT"
    account = played(opened().a("F.", 1, 1).a("F.", 1, 1).a("F.", 1, 1))
    assert path(account, B) == SERVER


def test_syn_ack_captured_before_its_syn():
    talk = Talk().b("S.", 0, 1).a("S").a(".", 1, 1)
    account = played(talk)
    assert [segment.frame for segment in account.segments] == [2, 1, 3]
    assert path(account, A) == CLIENT
    assert path(account, B) == SERVER


def test_duplicate_fin_in_time_wait():
    account = played(opened().a("F.", 1, 1).b("F.", 1, 2).a(".", 2, 2).b("F.", 1, 2).a(".", 2, 2))
    assert path(account, A) == f"{CLIENT} FIN-WAIT-1 FIN-WAIT-2 TIME-WAIT"
    assert not account.findings


def test_lost_fin_is_not_taken_to_have_arrived():
    account = played(opened().a("F.", 1, 1).b("P.", 1, 1, 10).a(".", 2, 11).b("P.", 11, 1, 10))
    assert path(account, B) == SERVER


def test_keep_alive_changes_nothing():
    account = played(opened().a(".", 0, 1).b(".", 1, 1).a(".", 0, 1, 1).b(".", 1, 1))
    assert path(account, A) == CLIENT
    assert path(account, B) == SERVER
    assert not account.findings


def test_gap_in_the_middle():
    talk = opened().a("P.", 1, 1, 1000).b(".", 1, 1001).a("P.", 900_001, 1, 1000).b(".", 1, 901_001)
    account = replay(
        talk.a("F.", 901_001, 1).b("F.", 1, 901_002).a(".", 901_002, 2).opening(Verdict.THREE_WAY, omitted=900)
    )
    assert path(account, A) == f"{CLIENT} FIN-WAIT-1 FIN-WAIT-2 TIME-WAIT"
    assert path(account, B) == f"{SERVER} CLOSE-WAIT LAST-ACK CLOSED"
    assert not account.findings


def test_syn_ack_without_a_captured_syn_is_a_finding():
    account = played(Talk().a("S").a("S.", 0, 1), Verdict.UNANSWERED)
    assert [step.frame for step in account.findings] == [2]


# -- verdict and timeline ---------------------------------------------------------------------------------------------

#: Verdicts that say that the connection was opened, and such that say that no end was.
OPENED = frozenset({Verdict.THREE_WAY, Verdict.SELF_CONNECT, Verdict.SIMULTANEOUS_OPEN})
UNOPENED = frozenset({Verdict.REFUSED, Verdict.ABORTED, Verdict.UNANSWERED})


def contradictions(alphabet: Alphabet, sequences: Iterable[tuple[str, ...]]) -> Iterator[str]:
    facts = capture(alphabet, sequences)
    for opening in analysed(as_pcap((fact.time, fact.packet) for fact in facts)).openings:
        account = replay(opening)
        paths = [path(account, end) for end in account.sockets]
        said = f"{opening.verdict}: {[f'{one.flags!r} {one.seq} {one.ack}' for one in opening.segments]}: {paths}"
        if opening.verdict in OPENED and not account.established:
            yield said
        if opening.verdict in UNOPENED and any(State.ESTABLISHED in account.state_path(end) for end in account.sockets):
            yield said
        closed = account.final_state(opening.source) is State.CLOSED
        if opening.verdict in (Verdict.REFUSED, Verdict.ABORTED) and not closed:
            yield said


#: Without data in SYNs: which of two SYNs with different data was taken nobody can tell.
PLAIN = [
    dataclasses.replace(one, events={name: event for name, event in one.events.items() if "data" not in name})
    for one in ALPHABETS
    if one.name in {"pair", "self", "copied"}
]


@pytest.mark.parametrize("length", [2, 3, pytest.param(4, marks=pytest.mark.long)])
@pytest.mark.parametrize("alphabet", PLAIN, ids=str)
def test_verdict_and_timeline_do_not_contradict_each_other(alphabet, length):
    assert list(contradictions(alphabet, every(alphabet, length))) == []


# -- any segments at all ---------------------------------------------------------------------------------------------


@given(any_openings)
def test_any_segments_give_an_account(opening):
    account = replay(opening)
    states = dict.fromkeys(account.sockets, State.CLOSED)
    events = {event.value: event for event in Event}
    for step in account.steps:
        assert step.before is states[step.endpoint]
        states[step.endpoint] = step.after
        assert step.reason
        if step.changes:
            row = TABLE[step.before, events[step.event]]
            assert step.after in (row.to, row.passive)
            assert step.section == row.section
    told = [step.frame for step in account.steps]
    assert sorted(set(told)) == [segment.frame for segment in opening.segments]
    assert set(account.handshake) <= set(told)
