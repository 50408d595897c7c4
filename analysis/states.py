"""The TCP state machine of RFC 9293, as one table. Nothing else names a next state.

The rules of reading it:

* A segment is never an event by itself. It is a *send* at the socket that it leaves, then an *arrival* at the
  socket that it reaches; one segment can be several events in turn (its ACK part, then its FIN part: the order
  of RFC 9293 3.10.7.4). Which events it is follows from sequence numbers alone, never from the state.
* The machine knows no client and no server. Where a socket came from LISTEN, and the RFC lets that make a
  difference (MUST-11), the row says so in ``passive``.
* A pair without a row is not allowed by the RFC. For us that is a finding to report, never an error.
* In a reason ``{whose}`` stands for "its own" or "the peer's": a socket may well receive what it sent.

The sections are those of RFC 9293. docs/states.md is drawn from this table.
"""

from __future__ import annotations

import enum

from .records import NamedTuple


class State(enum.StrEnum):
    """The states of a connection, in the order and with the names of RFC 9293 3.3.2."""

    LISTEN = "LISTEN"
    SYN_SENT = "SYN-SENT"
    SYN_RECEIVED = "SYN-RECEIVED"
    ESTABLISHED = "ESTABLISHED"
    FIN_WAIT_1 = "FIN-WAIT-1"
    FIN_WAIT_2 = "FIN-WAIT-2"
    CLOSE_WAIT = "CLOSE-WAIT"
    CLOSING = "CLOSING"
    LAST_ACK = "LAST-ACK"
    TIME_WAIT = "TIME-WAIT"
    CLOSED = "CLOSED"


class Event(enum.StrEnum):
    """What can happen to a socket, as far as segments tell. The value is the text that people read."""

    PASSIVE_OPEN = "passive open"
    #: The program closed the socket or gave up, and nothing was sent that a capture could show.
    DELETE = "delete"
    TIME_WAIT_TIMEOUT = "2 MSL timeout"

    SEND_SYN = "send SYN"
    SEND_SYN_ACK = "send SYN-ACK"
    #: An ACK from a socket that has not sent its own SYN: the mark of a split handshake.
    SEND_EARLY_ACK = "send ACK before SYN"
    SEND_ACK = "send ACK"
    SEND_DATA = "send data"
    SEND_FIN = "send FIN"
    SEND_RST = "send RST"
    #: ``<SEQ=SEG.ACK><CTL=RST>`` for a segment whose ACK field acknowledges nothing that was sent.
    ANSWER_RST = "send RST in answer"
    RETRANSMIT = "retransmit"

    #: The first SYN that reaches the socket, without an ACK.
    RECEIVE_SYN = "receive SYN"
    #: A SYN with an ACK that acknowledges the socket's own SYN for the first time.
    RECEIVE_SYN_ACK = "receive SYN-ACK"
    RECEIVE_ACK_OF_SYN = "receive ACK of SYN"
    RECEIVE_ACK_OF_FIN = "receive ACK of FIN"
    #: Data or an ACK that says nothing about SYN or FIN.
    RECEIVE_ACK = "receive ACK"
    RECEIVE_FIN = "receive FIN"
    #: The other end's FIN, sent again.
    RECEIVE_FIN_AGAIN = "receive FIN again"
    #: Without ACK, SYN and RST: of an earlier protocol, or made up.
    RECEIVE_NO_ACK = "receive segment without ACK"
    #: Nothing but sequence numbers that the socket has already, or that lie beyond its window.
    RECEIVE_UNACCEPTABLE = "receive unacceptable segment"
    #: A SYN with another sequence number than the one the socket knows.
    RECEIVE_OTHER_SYN = "receive another SYN"
    #: An ACK field outside of what the socket sent, before its SYN was acknowledged.
    RECEIVE_BAD_ACK = "receive unacceptable ACK"
    RECEIVE_RST = "receive RST"
    RECEIVE_BAD_RST = "receive unacceptable RST"

    @property
    def is_send(self) -> bool:
        """Whether a segment leaves the socket."""
        return self.startswith(("send", "retransmit"))

    @property
    def is_arrival(self) -> bool:
        """Whether a segment, or a part of one, reaches the socket."""
        return self.startswith("receive")


class Row(NamedTuple):
    """What one event does in one state.

    ``sent`` is what the RFC has the socket send in answer ("" for nothing), ``section`` where RFC 9293 says so,
    ``passive`` the next state of a socket that came from LISTEN, where it differs. ``inferred`` marks what no
    capture can show to have happened just so.
    """

    to: State
    sent: str
    section: str
    reason: str
    passive: State | None = None
    inferred: bool = False


_S, _E = State, Event

#: The states in which both ends have agreed on sequence numbers (RFC 9293 3.5.2, group 3).
SYNCHRONIZED = (
    _S.ESTABLISHED,
    _S.FIN_WAIT_1,
    _S.FIN_WAIT_2,
    _S.CLOSE_WAIT,
    _S.CLOSING,
    _S.LAST_ACK,
    _S.TIME_WAIT,
)

_ARRIVALS = tuple(event for event in Event if event.is_arrival)

TABLE: dict[tuple[State, Event], Row] = {
    # -- CLOSED: no socket. Whatever arrives is answered by a RST, and a RST by nothing (3.10.7.1).
    **{
        (_S.CLOSED, event): Row(_S.CLOSED, "RST", "3.10.7.1", "no socket here: answered by a RST")
        for event in _ARRIVALS
    },
    (_S.CLOSED, _E.RECEIVE_RST): Row(_S.CLOSED, "", "3.10.7.1", "{whose} RST finds no socket: dropped"),
    (_S.CLOSED, _E.RECEIVE_BAD_RST): Row(_S.CLOSED, "", "3.10.7.1", "{whose} RST finds no socket: dropped"),
    (_S.CLOSED, _E.PASSIVE_OPEN): Row(_S.LISTEN, "", "3.10.1", "a server waits for a SYN", inferred=True),
    (_S.CLOSED, _E.SEND_SYN): Row(_S.SYN_SENT, "SYN", "3.10.1", "active open"),
    (_S.CLOSED, _E.SEND_RST): Row(_S.CLOSED, "RST", "3.10.7.1", "refuses: no socket here"),
    (_S.CLOSED, _E.ANSWER_RST): Row(_S.CLOSED, "RST", "3.10.7.1", "refuses: no socket here"),
    # -- LISTEN
    (_S.LISTEN, _E.SEND_SYN): Row(_S.SYN_SENT, "SYN", "3.10.1", "active open of a listening socket"),
    (_S.LISTEN, _E.ANSWER_RST): Row(_S.LISTEN, "RST", "3.10.7.2", "refuses an ACK that fits no connection"),
    (_S.LISTEN, _E.RECEIVE_SYN): Row(_S.SYN_RECEIVED, "SYN-ACK", "3.10.7.2", "{whose} SYN reaches a listening socket"),
    **{
        (_S.LISTEN, event): Row(_S.LISTEN, "RST", "3.10.7.2", "an ACK that fits no connection: answered by a RST")
        for event in (_E.RECEIVE_BAD_ACK, _E.RECEIVE_ACK, _E.RECEIVE_FIN)
    },
    (_S.LISTEN, _E.RECEIVE_NO_ACK): Row(_S.LISTEN, "", "3.10.7.2", "neither SYN nor ACK: dropped"),
    (_S.LISTEN, _E.RECEIVE_RST): Row(_S.LISTEN, "", "3.10.7.2", "a RST that fits no connection: ignored"),
    (_S.LISTEN, _E.RECEIVE_BAD_RST): Row(_S.LISTEN, "", "3.10.7.2", "a RST that fits no connection: ignored"),
    # -- SYN-SENT
    (_S.SYN_SENT, _E.RETRANSMIT): Row(_S.SYN_SENT, "SYN", "3.8.1", "sent again: no answer in time"),
    (_S.SYN_SENT, _E.SEND_RST): Row(_S.CLOSED, "", "3.10.5", "the opener gives up (the RFC would send nothing)"),
    (_S.SYN_SENT, _E.ANSWER_RST): Row(_S.SYN_SENT, "RST", "3.10.7.3", "refuses an ACK of what it never sent"),
    (_S.SYN_SENT, _E.RECEIVE_SYN): Row(
        _S.SYN_RECEIVED, "SYN-ACK", "3.10.7.3", "{whose} SYN arrives in SYN-SENT: simultaneous open (MUST-10)"
    ),
    (_S.SYN_SENT, _E.RECEIVE_SYN_ACK): Row(_S.ESTABLISHED, "ACK", "3.10.7.3", "its SYN is acknowledged"),
    (_S.SYN_SENT, _E.RECEIVE_ACK_OF_SYN): Row(_S.SYN_SENT, "", "3.10.7.3", "an ACK without SYN opens nothing: dropped"),
    (_S.SYN_SENT, _E.RECEIVE_ACK): Row(_S.SYN_SENT, "", "3.10.7.3", "neither SYN nor RST: dropped"),
    (_S.SYN_SENT, _E.RECEIVE_NO_ACK): Row(_S.SYN_SENT, "", "3.10.7.3", "neither SYN nor RST: dropped"),
    (_S.SYN_SENT, _E.RECEIVE_FIN): Row(_S.SYN_SENT, "", "3.10.7.4", "a FIN before any SYN cannot be checked: dropped"),
    (_S.SYN_SENT, _E.RECEIVE_BAD_ACK): Row(_S.SYN_SENT, "RST", "3.10.7.3", "acknowledges what was never sent"),
    (_S.SYN_SENT, _E.RECEIVE_RST): Row(_S.CLOSED, "", "3.10.7.3", "connection refused"),
    (_S.SYN_SENT, _E.RECEIVE_BAD_RST): Row(
        _S.SYN_SENT, "", "3.10.7.3", "a RST that does not acknowledge its SYN: dropped"
    ),
    (_S.SYN_SENT, _E.DELETE): Row(_S.CLOSED, "", "3.10.4", "the opener had gone, or never had a socket", inferred=True),
    # -- SYN-RECEIVED
    (_S.SYN_RECEIVED, _E.SEND_SYN_ACK): Row(_S.SYN_RECEIVED, "SYN-ACK", "3.5", "answers {whose} SYN"),
    (_S.SYN_RECEIVED, _E.SEND_ACK): Row(_S.SYN_RECEIVED, "ACK", "3.10.7.4", "answers a segment that it cannot use"),
    (_S.SYN_RECEIVED, _E.SEND_FIN): Row(_S.FIN_WAIT_1, "FIN", "3.10.4", "closes before the open was complete"),
    (_S.SYN_RECEIVED, _E.SEND_RST): Row(_S.CLOSED, "RST", "3.10.5", "aborts"),
    (_S.SYN_RECEIVED, _E.ANSWER_RST): Row(_S.SYN_RECEIVED, "RST", "3.10.7.4", "refuses an ACK of what it never sent"),
    (_S.SYN_RECEIVED, _E.RETRANSMIT): Row(_S.SYN_RECEIVED, "SYN-ACK", "3.8.1", "sent again: no answer in time"),
    # Figure 7, line 6. CONTRADICTION below says which systems do otherwise: to them it is unacceptable.
    (_S.SYN_RECEIVED, _E.RECEIVE_SYN_ACK): Row(
        _S.ESTABLISHED, "ACK", "3.5", "{whose} SYN-ACK acknowledges its SYN: open (figure 7)", inferred=True
    ),
    (_S.SYN_RECEIVED, _E.RECEIVE_ACK_OF_SYN): Row(_S.ESTABLISHED, "", "3.10.7.4", "its SYN is acknowledged: open"),
    (_S.SYN_RECEIVED, _E.RECEIVE_ACK): Row(_S.SYN_RECEIVED, "", "3.10.7.4", "does not acknowledge its SYN: dropped"),
    (_S.SYN_RECEIVED, _E.RECEIVE_NO_ACK): Row(_S.SYN_RECEIVED, "", "3.10.7.4", "without ACK: dropped"),
    (_S.SYN_RECEIVED, _E.RECEIVE_FIN): Row(_S.CLOSE_WAIT, "ACK", "3.10.7.4", "{whose} FIN: no more data will come"),
    (_S.SYN_RECEIVED, _E.RECEIVE_UNACCEPTABLE): Row(
        _S.SYN_RECEIVED, "ACK", "3.10.7.4", "outside its window: answered by an ACK"
    ),
    (_S.SYN_RECEIVED, _E.RECEIVE_OTHER_SYN): Row(
        _S.SYN_RECEIVED, "ACK", "3.10.7.4", "another SYN: challenge ACK, or back to LISTEN", passive=_S.LISTEN
    ),
    (_S.SYN_RECEIVED, _E.RECEIVE_BAD_ACK): Row(_S.SYN_RECEIVED, "RST", "3.10.7.4", "acknowledges what was never sent"),
    (_S.SYN_RECEIVED, _E.RECEIVE_RST): Row(
        _S.CLOSED, "", "3.10.7.4", "reset before the open was complete", passive=_S.LISTEN
    ),
    (_S.SYN_RECEIVED, _E.RECEIVE_BAD_RST): Row(_S.SYN_RECEIVED, "", "3.10.7.4", "a RST that does not fit: not obeyed"),
    # -- every synchronized state
    **{
        (state, event): Row(state if to is None else to, sent, section, reason)
        for state in SYNCHRONIZED
        for event, to, sent, section, reason in (
            (_E.SEND_ACK, None, "ACK", "3.10.7.4", "acknowledges"),
            (_E.RECEIVE_ACK, None, "", "3.10.7.4", "changes no state"),
            (_E.RECEIVE_NO_ACK, None, "", "3.10.7.4", "without ACK: dropped"),
            (_E.RECEIVE_UNACCEPTABLE, None, "ACK", "3.10.7.4", "outside its window: answered by an ACK"),
            (_E.RECEIVE_OTHER_SYN, None, "ACK", "3.10.7.4", "another SYN: answered by a challenge ACK"),
            (_E.RECEIVE_RST, _S.CLOSED, "", "3.10.7.4", "connection reset"),
            (_E.RECEIVE_BAD_RST, None, "", "3.10.7.4", "a RST that does not fit: not obeyed"),
        )
    },
    **{
        (state, _E.SEND_RST): Row(_S.CLOSED, "RST", "3.10.5", "aborts: nothing is left, not even TIME-WAIT")
        for state in (_S.ESTABLISHED, _S.FIN_WAIT_1, _S.FIN_WAIT_2, _S.CLOSE_WAIT)
    },
    # An abort sends nothing here (3.10.5), so it is no abort.
    **{
        (state, _E.SEND_RST): Row(
            _S.CLOSED, "RST", "3.10.7.1", "answered by a RST, since no socket is left", inferred=True
        )
        for state in (_S.CLOSING, _S.LAST_ACK, _S.TIME_WAIT)
    },
    # -- where the other end's FIN has come already
    **{
        (state, _E.RECEIVE_FIN_AGAIN): Row(state, "ACK", "3.10.7.4", "a FIN that it had already: answered by an ACK")
        for state in (_S.CLOSE_WAIT, _S.CLOSING, _S.LAST_ACK)
    },
    (_S.TIME_WAIT, _E.RECEIVE_FIN_AGAIN): Row(
        _S.TIME_WAIT, "ACK", "3.10.7.4", "{whose} FIN again: answered by an ACK, 2 MSL start anew"
    ),
    # -- where there may be something to send again
    **{
        (state, _E.RETRANSMIT): Row(state, "", "3.8.1", "sent again: lost, late, or a probe")
        for state in (_S.ESTABLISHED, _S.FIN_WAIT_1, _S.CLOSE_WAIT, _S.CLOSING, _S.LAST_ACK)
    },
    # -- ESTABLISHED and the close
    (_S.ESTABLISHED, _E.SEND_DATA): Row(_S.ESTABLISHED, "data", "3.10.2", "sends"),
    (_S.ESTABLISHED, _E.SEND_FIN): Row(_S.FIN_WAIT_1, "FIN", "3.10.4", "closes"),
    (_S.ESTABLISHED, _E.RECEIVE_FIN): Row(_S.CLOSE_WAIT, "ACK", "3.10.7.4", "{whose} FIN: no more data will come"),
    (_S.FIN_WAIT_1, _E.RECEIVE_ACK_OF_FIN): Row(_S.FIN_WAIT_2, "", "3.10.7.4", "its FIN is acknowledged"),
    **{
        (_S.FIN_WAIT_1, event): Row(_S.FIN_WAIT_1, "", "3.10.7.4", "its SYN is acknowledged after it closed")
        for event in (_E.RECEIVE_ACK_OF_SYN, _E.RECEIVE_SYN_ACK)
    },
    (_S.FIN_WAIT_1, _E.RECEIVE_FIN): Row(
        _S.CLOSING, "ACK", "3.10.7.4", "{whose} FIN before its FIN is acknowledged: simultaneous close"
    ),
    (_S.FIN_WAIT_2, _E.RECEIVE_FIN): Row(_S.TIME_WAIT, "ACK", "3.10.7.4", "{whose} FIN: waits 2 MSL"),
    (_S.CLOSE_WAIT, _E.SEND_DATA): Row(_S.CLOSE_WAIT, "data", "3.10.2", "half closed: may still send"),
    (_S.CLOSE_WAIT, _E.SEND_FIN): Row(_S.LAST_ACK, "FIN", "3.10.4", "closes as well"),
    (_S.CLOSE_WAIT, _E.RECEIVE_FIN): Row(_S.CLOSE_WAIT, "", "3.10.7.4", "had a FIN already: stays"),
    (_S.CLOSING, _E.RECEIVE_ACK_OF_FIN): Row(_S.TIME_WAIT, "", "3.10.7.4", "its FIN is acknowledged: waits 2 MSL"),
    (_S.CLOSING, _E.RECEIVE_FIN): Row(_S.CLOSING, "", "3.10.7.4", "had a FIN already: stays"),
    (_S.LAST_ACK, _E.RECEIVE_ACK_OF_FIN): Row(_S.CLOSED, "", "3.10.7.4", "its FIN is acknowledged: done"),
    (_S.LAST_ACK, _E.RECEIVE_FIN): Row(_S.LAST_ACK, "", "3.10.7.4", "had a FIN already: stays"),
    (_S.TIME_WAIT, _E.RECEIVE_FIN): Row(_S.TIME_WAIT, "ACK", "3.10.7.4", "another FIN: 2 MSL start anew"),
    (_S.TIME_WAIT, _E.TIME_WAIT_TIMEOUT): Row(_S.CLOSED, "", "3.10.8", "2 MSL have passed", inferred=True),
}

#: What to think of some pairs that have no row. Every other absent pair speaks for itself.
ABSENT: dict[tuple[State, Event], str] = {
    (
        _S.CLOSED,
        _E.SEND_EARLY_ACK,
    ): "an ACK before any SYN: of an older connection between these ends (one that stands, or waits in TIME-WAIT)",
    (_S.CLOSED, _E.SEND_SYN_ACK): "a SYN-ACK that acknowledges no captured SYN",
    (_S.SYN_SENT, _E.SEND_SYN_ACK): "a SYN-ACK that acknowledges no captured SYN",
    **{
        (_S.SYN_SENT, event): "no SYN-ACK that would allow it had been captured"
        for event in (_E.SEND_ACK, _E.SEND_DATA, _E.SEND_FIN)
    },
    (_S.SYN_RECEIVED, _E.SEND_EARLY_ACK): "an ACK where a SYN-ACK belongs: a split handshake begins",
    (_S.SYN_RECEIVED, _E.SEND_SYN): "a SYN without the ACK that belongs to it: the other half of a split SYN-ACK",
    (_S.SYN_RECEIVED, _E.SEND_DATA): "data before its SYN was acknowledged: TCP Fast Open (RFC 7413), or a missing ACK",
}


def absent(state: State, event: Event) -> str:
    """Why it is a finding that *event* happened in *state*, where TABLE has no row for the pair."""
    return ABSENT.get((state, event), f"RFC 9293 does not know '{event}' in {state}")


def edges() -> dict[tuple[State, State], list[Event]]:
    """Every change of state that the table allows, with the events that bring it about; states in RFC order."""
    found: dict[tuple[State, State], list[Event]] = {}
    for (state, event), row in TABLE.items():
        for to in {row.to, row.passive or row.to} - {state}:
            found.setdefault((state, to), []).append(event)
    order = list(State)
    return dict(sorted(found.items(), key=lambda item: [order.index(state) for state in item[0]]))


def mermaid() -> str:
    """Draw every row that changes the state as Mermaid text: RFC 9293 figure 5, and what it leaves out."""
    lines = ["stateDiagram-v2", "    direction TB", "    [*] --> CLOSED"]
    lines += [f"    {state.name} : {state}" for state in State if state.name != state.value]
    lines += [f"    {state.name} --> {to.name} : {'<br>'.join(events)}" for (state, to), events in edges().items()]
    return "\n".join(lines)


#: Why a SYN-ACK in SYN-RECEIVED opens one system's socket and not another's.
CONTRADICTION = """\
## Where RFC 9293 contradicts itself

The SYN-ACK of a simultaneous open, and so that of a self-connect, repeats a SYN that its receiver had already. In
figure 7 (3.5) it opens the socket. By 3.10.7.4 it cannot: its sequence number is RCV.NXT - 1, left of the window, so it
is dropped and answered by an ACK; a socket that receives *that* ACK in SYN-RECEIVED is ESTABLISHED. In a self-connect
it is the same socket, one segment later.

Linux has done as 3.10.7.4 says since it sends challenge ACKs (commit 0c24604b68fc, Linux 3.6), and does as figure 7
says since 6.11, 6.10.10 and 6.1.110 (commit 23e89e8ee7be). An ACK follows the SYN-ACK in both cases. Where SACK is on,
D-SACK in it says that the SYN-ACK was used, its absence that it was dropped; where SACK is off nothing tells the two
apart, and figure 7 is followed here.
"""


def document() -> str:
    """docs/states.md: the diagram and the table, in full."""
    lines = [
        "# The TCP state machine",
        "",
        "Drawn from `analysis/states.py` by `python -m analysis.states > docs/states.md`; a test keeps it current.",
        "Sections are those of RFC 9293. Pairs of state and event that are not listed are not allowed by it:",
        "where a capture shows one, the report calls it a finding.",
        "",
        "```mermaid",
        mermaid(),
        "```",
        "",
        "| state | event | next state | answer | section | why |",
        "|---|---|---|---|---|---|",
    ]
    for state in State:
        for event in Event:
            if row := TABLE.get((state, event)):
                to = f"{row.to}, or {row.passive} after a passive open" if row.passive else row.to
                reason = row.reason.format(whose="a")
                lines.append(f"| {state} | {event} | {to} | {row.sent} | {row.section} | {reason} |")
    return "\n".join([*lines, "", CONTRADICTION])


if __name__ == "__main__":
    print(document(), end="")  # noqa: T201 -- it is a generator of documentation here
