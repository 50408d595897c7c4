"""The table of RFC 9293: every pair of state and event, present or absent on purpose."""

from __future__ import annotations

import re
from itertools import product

import pytest
from conftest import ROOT

from analysis.states import ABSENT, SYNCHRONIZED, TABLE, Event, State, absent, document, mermaid

S, E = State, Event
ALL = frozenset(State)
SENDING = frozenset({S.ESTABLISHED, S.CLOSE_WAIT})
UNSYNCHRONIZED = ALL - frozenset(SYNCHRONIZED)
KNOWS_NO_SYN = frozenset({S.LISTEN, S.SYN_SENT})
HAD_FIN = frozenset({S.CLOSE_WAIT, S.CLOSING, S.LAST_ACK, S.TIME_WAIT})

#: Where each event can happen at all, and why nowhere else.
ALLOWED = {
    E.PASSIVE_OPEN: ({S.CLOSED}, "listens already, or is connected"),
    E.DELETE: ({S.SYN_SENT}, "nothing shows it: not reported"),
    E.TIME_WAIT_TIMEOUT: ({S.TIME_WAIT}, "no such timer runs"),
    E.SEND_SYN: ({S.CLOSED, S.LISTEN}, "has sent its SYN"),
    E.SEND_SYN_ACK: ({S.SYN_RECEIVED}, "has no SYN to answer"),
    E.SEND_EARLY_ACK: ((), "the RFC has SYN and ACK in one segment"),
    E.SEND_ACK: ({S.SYN_RECEIVED, *SYNCHRONIZED}, "has received nothing to acknowledge"),
    E.SEND_DATA: (SENDING, "not open yet, or has sent its FIN"),
    E.SEND_FIN: ({S.SYN_RECEIVED, *SENDING}, "not open yet, or has sent its FIN"),
    E.SEND_RST: (ALL - {S.LISTEN}, "a listening socket only answers"),
    E.ANSWER_RST: (UNSYNCHRONIZED, "a synchronized one answers by an ACK (3.5.2)"),
    E.RETRANSMIT: (ALL - {S.CLOSED, S.LISTEN, S.FIN_WAIT_2, S.TIME_WAIT}, "nothing is outstanding"),
    E.RECEIVE_SYN: ({S.CLOSED, *KNOWS_NO_SYN}, "knows the other end's SYN: a duplicate, or another one"),
    E.RECEIVE_SYN_ACK: ({S.CLOSED, S.SYN_SENT, S.SYN_RECEIVED, S.FIN_WAIT_1}, "its SYN is acknowledged, or unsent"),
    E.RECEIVE_ACK_OF_SYN: ({S.CLOSED, S.SYN_SENT, S.SYN_RECEIVED, S.FIN_WAIT_1}, "its SYN is acknowledged, or unsent"),
    E.RECEIVE_ACK_OF_FIN: ({S.CLOSED, S.FIN_WAIT_1, S.CLOSING, S.LAST_ACK}, "its FIN is acknowledged, or unsent"),
    E.RECEIVE_ACK: (ALL, ""),
    E.RECEIVE_FIN: (ALL, ""),
    E.RECEIVE_FIN_AGAIN: ({S.CLOSED, *HAD_FIN}, "has had none"),
    E.RECEIVE_NO_ACK: (ALL, ""),
    E.RECEIVE_UNACCEPTABLE: (ALL - KNOWS_NO_SYN, "knows of no window yet"),
    E.RECEIVE_OTHER_SYN: (ALL - KNOWS_NO_SYN, "has received no first SYN"),
    E.RECEIVE_BAD_ACK: (UNSYNCHRONIZED, "a gap in the capture looks the same: not reported"),
    E.RECEIVE_RST: (ALL, ""),
    E.RECEIVE_BAD_RST: (ALL, ""),
}

#: Every change of state, written down a second time: RFC 9293 figure 5 with 3.10.
CHANGES = {
    (S.CLOSED, E.PASSIVE_OPEN): S.LISTEN,
    (S.CLOSED, E.SEND_SYN): S.SYN_SENT,
    (S.LISTEN, E.SEND_SYN): S.SYN_SENT,
    (S.LISTEN, E.RECEIVE_SYN): S.SYN_RECEIVED,
    (S.SYN_SENT, E.DELETE): S.CLOSED,
    (S.SYN_SENT, E.SEND_RST): S.CLOSED,
    (S.SYN_SENT, E.RECEIVE_RST): S.CLOSED,
    (S.SYN_SENT, E.RECEIVE_SYN): S.SYN_RECEIVED,
    (S.SYN_SENT, E.RECEIVE_SYN_ACK): S.ESTABLISHED,
    (S.SYN_RECEIVED, E.RECEIVE_SYN_ACK): S.ESTABLISHED,
    (S.SYN_RECEIVED, E.RECEIVE_ACK_OF_SYN): S.ESTABLISHED,
    (S.SYN_RECEIVED, E.RECEIVE_FIN): S.CLOSE_WAIT,
    (S.SYN_RECEIVED, E.SEND_FIN): S.FIN_WAIT_1,
    (S.ESTABLISHED, E.SEND_FIN): S.FIN_WAIT_1,
    (S.ESTABLISHED, E.RECEIVE_FIN): S.CLOSE_WAIT,
    (S.FIN_WAIT_1, E.RECEIVE_ACK_OF_FIN): S.FIN_WAIT_2,
    (S.FIN_WAIT_1, E.RECEIVE_FIN): S.CLOSING,
    (S.FIN_WAIT_2, E.RECEIVE_FIN): S.TIME_WAIT,
    (S.CLOSE_WAIT, E.SEND_FIN): S.LAST_ACK,
    (S.CLOSING, E.RECEIVE_ACK_OF_FIN): S.TIME_WAIT,
    (S.LAST_ACK, E.RECEIVE_ACK_OF_FIN): S.CLOSED,
    (S.TIME_WAIT, E.TIME_WAIT_TIMEOUT): S.CLOSED,
    **{(state, event): S.CLOSED for state in (S.SYN_RECEIVED, *SYNCHRONIZED) for event in (E.SEND_RST, E.RECEIVE_RST)},
}

#: ... and where it differs for a socket that came from LISTEN (MUST-11).
PASSIVE = {(S.SYN_RECEIVED, E.RECEIVE_RST): S.LISTEN, (S.SYN_RECEIVED, E.RECEIVE_OTHER_SYN): S.LISTEN}


@pytest.mark.parametrize(("state", "event"), list(product(State, Event)), ids=str)
def test_every_pair(state, event):
    states, why_not = ALLOWED[event]
    row = TABLE.get((state, event))
    if state not in states:
        assert why_not
        assert row is None
        assert absent(state, event)
        return
    assert row.to == CHANGES.get((state, event), state)
    assert row.passive == PASSIVE.get((state, event))
    assert re.fullmatch(r"3(\.\d+)+", row.section)
    assert row.reason.format(whose="its own")


def test_every_event_is_ruled_on():
    assert ALLOWED.keys() == set(Event)


def test_reasons_for_absent_pairs_are_for_absent_pairs():
    assert not ABSENT.keys() & TABLE.keys()


def test_states_print_as_the_rfc_prints_them():
    assert ", ".join(State) == (
        "LISTEN, SYN-SENT, SYN-RECEIVED, ESTABLISHED, FIN-WAIT-1, FIN-WAIT-2, CLOSE-WAIT, CLOSING, LAST-ACK, "
        "TIME-WAIT, CLOSED"
    )


def test_each_event_is_a_send_an_arrival_or_neither():
    neither = {event for event in Event if not event.is_send and not event.is_arrival}
    assert neither == {E.PASSIVE_OPEN, E.DELETE, E.TIME_WAIT_TIMEOUT}
    assert not {event for event in Event if event.is_send and event.is_arrival}


def test_every_state_can_be_reached_and_left():
    edges = {(state, to) for (state, _), to in CHANGES.items()}
    assert {to for _, to in edges} == {state for state, _ in edges} == ALL


def test_the_diagram_shows_every_change():
    arrows = re.findall(r"^    (\w+) --> (\w+) : (.+)$", mermaid(), re.MULTILINE)
    drawn = {(S[before], E(event), S[to]) for before, to, events in arrows for event in events.split("<br>")}
    assert drawn == {(*pair, to) for changes in (CHANGES, PASSIVE) for pair, to in changes.items()}


def test_the_document_is_current():
    assert (ROOT / "docs" / "states.md").read_text() == document(), "run: python -m analysis.states > docs/states.md"
