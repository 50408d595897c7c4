"""Every rule that turns the packets of an opening into its verdict. Nothing else names a verdict.

An opening begins with a bare SYN. Its *first* end sent that SYN, its *second* end is the other one; where both
ends are equal there is only a first. Each further segment of the 4-tuple is one :class:`Event`, and

    RULES[phase, event] -> next phase

says how far the opening has come. An event without a rule changes nothing. When the opening ends (RST, both
FINs, a new SYN, the end of the capture), ``VERDICT[phase]`` is its verdict; a phase in ``DECIDED`` cannot
change any more. The table is small enough to become an array: that array is what the engine steps through.

What fits, and what an opening is, follows the counting rules of docs/verdicts.md:

* a SYN-ACK *fits* where its ACK field acknowledges the other end's SYN (and the data in it, RFC 7413) and,
  after crossed SYNs, where it repeats its own SYN's sequence number (RFC 9293 3.5, figure 7);
* the third ACK *fits* where the second end would take it (RFC 9293 3.10.7.4): sequence number inside the
  window that the SYN-ACK offered, ACK field between the SYN-ACK and the last octet that the second end sent.
"""

from __future__ import annotations

import enum
import re
from functools import cache

from .model import REMARKABLE, Verdict


class Phase(enum.IntEnum):
    """How far an opening has come. The first two are no openings."""

    FREE = 0
    MIDSTREAM = 1  # the conversation began before the capture
    SYN = 2
    SYN_BARE_ACK = 3  # the second end answered with a bare ACK: challenge, or a split handshake begins
    SYN_ODD = 4
    SYN_ACKED = 5
    THREE_WAY = 6
    CROSSED = 7
    CROSSED_ONE = 8  # a SYN-ACK from the first end
    CROSSED_OTHER = 9  # a SYN-ACK from the second end
    SIMULTANEOUS = 10
    SPLIT_CROSSED = 11
    SPLIT_ONE = 12
    SPLIT_OTHER = 13
    REFUSED = 14
    ABORTED = 15
    SELF_SYN = 16
    SELF_CONNECT = 17


class Event(enum.IntEnum):
    """What a segment can be to an opening. FIRST and SECOND say which end sent it."""

    SYN_SECOND = 0
    SYN_ACK_FIRST = 1  # one that fits
    SYN_ACK_SECOND = 2  # one that fits
    ACK_FIRST = 3  # one that fits: ACK, perhaps with data or FIN
    ACK_SECOND = 4  # a bare ACK: no SYN, FIN or RST
    OTHER_SECOND = 5  # anything else, a SYN-ACK that does not fit among it
    RST_FIRST = 6
    RST_SECOND = 7
    NOTHING = 8


_P, _E = Phase, Event

RULES: dict[tuple[Phase, Event], Phase] = {
    # -- one SYN so far
    (_P.SYN, _E.SYN_ACK_SECOND): _P.SYN_ACKED,
    (_P.SYN, _E.ACK_SECOND): _P.SYN_BARE_ACK,
    (_P.SYN, _E.OTHER_SECOND): _P.SYN_ODD,
    (_P.SYN, _E.SYN_SECOND): _P.CROSSED,
    (_P.SYN, _E.RST_SECOND): _P.REFUSED,
    (_P.SYN, _E.RST_FIRST): _P.ABORTED,
    # -- answered, but not as figure 6 has it
    (_P.SYN_BARE_ACK, _E.SYN_ACK_SECOND): _P.SYN_ACKED,
    (_P.SYN_BARE_ACK, _E.SYN_SECOND): _P.SPLIT_CROSSED,
    (_P.SYN_ODD, _E.ACK_SECOND): _P.SYN_BARE_ACK,
    (_P.SYN_ODD, _E.SYN_ACK_SECOND): _P.SYN_ACKED,
    (_P.SYN_ODD, _E.SYN_SECOND): _P.CROSSED,
    # -- RFC 9293 3.5, figure 6
    (_P.SYN_ACKED, _E.ACK_FIRST): _P.THREE_WAY,
    # -- RFC 9293 3.5, figure 7, and its halves
    (_P.CROSSED, _E.SYN_ACK_FIRST): _P.CROSSED_ONE,
    (_P.CROSSED, _E.SYN_ACK_SECOND): _P.CROSSED_OTHER,
    (_P.CROSSED_ONE, _E.SYN_ACK_SECOND): _P.SIMULTANEOUS,
    (_P.CROSSED_OTHER, _E.SYN_ACK_FIRST): _P.SIMULTANEOUS,
    # -- Beardsley and Qian 2010: the responder acknowledges first and sends its own SYN afterwards
    (_P.SPLIT_CROSSED, _E.SYN_ACK_FIRST): _P.SPLIT_ONE,
    (_P.SPLIT_CROSSED, _E.SYN_ACK_SECOND): _P.SPLIT_OTHER,
    (_P.SPLIT_ONE, _E.SYN_ACK_SECOND): _P.SIMULTANEOUS,
    (_P.SPLIT_OTHER, _E.SYN_ACK_FIRST): _P.SIMULTANEOUS,
    # -- both ends are one
    (_P.SELF_SYN, _E.SYN_ACK_FIRST): _P.SELF_CONNECT,
}

VERDICT: dict[Phase, Verdict] = {
    _P.SYN: Verdict.UNANSWERED,
    _P.SYN_BARE_ACK: Verdict.ODD,
    _P.SYN_ODD: Verdict.ODD,
    _P.SYN_ACKED: Verdict.HALF_OPEN,
    _P.THREE_WAY: Verdict.THREE_WAY,
    _P.CROSSED: Verdict.CROSSED_UNANSWERED,
    _P.CROSSED_ONE: Verdict.ONE_SIDED_CROSSING,
    _P.CROSSED_OTHER: Verdict.ONE_SIDED_CROSSING,
    _P.SIMULTANEOUS: Verdict.SIMULTANEOUS_OPEN,
    _P.SPLIT_CROSSED: Verdict.CROSSED_UNANSWERED,
    _P.SPLIT_ONE: Verdict.SPLIT_HANDSHAKE,
    _P.SPLIT_OTHER: Verdict.SPLIT_HANDSHAKE,
    _P.REFUSED: Verdict.REFUSED,
    _P.ABORTED: Verdict.ABORTED,
    _P.SELF_SYN: Verdict.SELF_SYN,
    _P.SELF_CONNECT: Verdict.SELF_CONNECT,
}

#: Phases that no event leaves.
DECIDED = frozenset(VERDICT) - {phase for phase, _ in RULES}

#: Verdicts in the order in which they are counted and shown; the engine knows them by their place here.
VERDICTS = tuple(Verdict)


def _leads_to() -> dict[Phase, frozenset[Verdict]]:
    reach = {phase: {verdict} for phase, verdict in VERDICT.items()}
    for _ in reach:  # as many rounds as the longest path could need
        for (phase, _), after in RULES.items():
            reach[phase] |= reach[after]
    return {phase: frozenset(verdicts) for phase, verdicts in reach.items()}


#: For each phase, the verdicts that are still possible.
LEADS_TO = _leads_to()


@cache
def compiled_rules() -> bytes:
    """RULES as an array: entry ``phase * len(Event) + event`` is the next phase."""
    return bytes(RULES.get((phase, event), phase) for phase in Phase for event in Event)


@cache
def compiled_verdicts() -> bytes:
    """For each phase the place of its verdict in VERDICTS, with 0x80 set where it is decided; 0x7f for no opening."""
    return bytes(
        VERDICTS.index(VERDICT[phase]) | (0x80 if phase in DECIDED else 0) if phase in VERDICT else 0x7F
        for phase in Phase
    )


def keep_from(collect: frozenset[Verdict]) -> int:
    """The phases (as bits) from which an opening's segments are kept, so that a verdict in *collect* can be replayed.

    An opening that is still a lone SYN is kept only where an unremarkable verdict was asked for: there may be
    millions of them, and its one header is remembered anyway.
    """
    early = {Phase.SYN, Phase.SYN_ODD, Phase.SYN_ACKED}
    if collect - REMARKABLE:
        return sum(1 << phase for phase in VERDICT)
    return sum(1 << phase for phase in VERDICT if phase not in early and LEADS_TO[phase] & collect)


#: What each verdict means, in a line.
MEANING = {
    Verdict.SELF_CONNECT: "both ends equal, and the socket acknowledges what it sent itself (what proves it: below)",
    Verdict.SELF_SYN: "both ends equal, never acknowledged (LAND-like, or cut off); notes say what suggests which",
    Verdict.SIMULTANEOUS_OPEN: "crossed SYNs, a SYN-ACK from each end",
    Verdict.ONE_SIDED_CROSSING: "crossed SYNs, a SYN-ACK from one end only: a split handshake, or a simultaneous open "
    "whose SYN was lost; packets cannot tell",
    Verdict.SPLIT_HANDSHAKE: "one-sided, with a bare ACK from the responder before its SYN",
    Verdict.CROSSED_UNANSWERED: "crossed SYNs, no SYN-ACK",
    Verdict.THREE_WAY: "SYN, SYN-ACK, ACK that fit each other",
    Verdict.HALF_OPEN: "SYN, SYN-ACK, but no ACK that fits (reset, lost or wrong)",
    Verdict.REFUSED: "SYN, RST from the other end, no SYN-ACK; or an ICMP error, and nothing else",
    Verdict.ABORTED: "SYN, RST from the end that sent it",
    Verdict.UNANSWERED: "SYN, nothing from the other end",
    Verdict.ODD: "SYN answered by something else",
}

_DOCUMENT = """\
# Verdicts

Written by `python -m analysis.verdicts > docs/verdicts.md`; a test keeps it current.

{meanings}

## What counts

An *opening* starts with a bare SYN (SYN without ACK, RST, FIN) between two endpoints. Its *first*
end sent that SYN, its *second* end is the other one; where both are equal, there is only a first.

- The same SYN again (same end, same sequence number) before the opening has ended is a
  retransmission. A SYN from the other end before any SYN-ACK that fits belongs to the same opening:
  the SYNs crossed. Any other bare SYN, or any bare SYN after a RST that ended the opening or after
  both FINs (one FIN where both ends are one socket), starts a new opening.
- A SYN-ACK *fits* where its ACK field acknowledges the other end's SYN, and perhaps the data in it
  (RFC 7413); after crossed SYNs it must repeat its own SYN's sequence number (RFC 9293 3.5, figure
  7). One that does not fit is something else.
- The third ACK *fits* where the second end would take it (RFC 9293 3.10.7.4): it begins inside the
  window that the SYN-ACK offered, and acknowledges the SYN-ACK and at most what the second end has
  sent. It may carry data or FIN.
- A SYN-ACK that was captured up to a second before the SYN that it fits still belongs to it.
- A frame whose IP packet was captured already, octet for octet, a millisecond and less than 2,048
  frames ago is a *duplicate*: it counts once. Loopback hands every packet to a capture twice. So is
  a packet that was captured at another place within 20 ms (same addresses, ports, TCP header and
  payload length, but another TTL, hardware address, interface, direction or encapsulation, and not
  two different IPv4 identifications): a router hands it on.
- Conversations whose SYN is not in the capture are counted as *midstream*, once each; those with
  equal endpoints that prove nothing also as *midstream to itself*.
- The number of conversations remembered at one time is bounded (`--table`). When the table is full,
  the oldest one that had no packet since its last turn is forgotten. If its opening is not decided
  by then, it is counted under the verdict that it has so far, and as *evicted*. An opening with
  equal endpoints that is under way is kept, as long as such conversations fill less than half of
  the table.
- Not segments: TCP headers quoted inside ICMP errors, and fragments after the first.

## What proves a self-connect

- `handshake`: SYN and SYN-ACK.
- `syn-ack`: its SYN-ACK to itself. The SYN was not captured.
- `acknowledged`: its SYN, and a segment without RST whose sequence number and ACK field are both ISN+1
  (plus own octets). The SYN-ACK was not captured.
- `standing`: neither was captured, but a segment that ends at a number E (data, a FIN, a keep-alive
  from E-1), and a later one whose sequence number and ACK field are both E.

A repeated segment proves nothing, nor does a RST, nor do numbers that are 0. A single stray
segment with equal ends is no proof, since anybody can send one. Where the address is not a
loopback address the report says that all of it may be forged. A *standing* one began before the
first of the two segments; the capture does not say when.

## Which RST ends an opening

By RFC 9293 (3.10.7.3, 3.10.7.4) the socket that receives the RST decides, by its state and its window.
A capture shows neither, and may lack packets, so:

- In SYN-SENT (no SYN-ACK that fits was captured, nor another proof of a self-connect) a RST ends the
  opening if it acknowledges the SYN of the end that it goes to: ACK field in (ISN, ISN+1+data]. It does,
  too, if it comes from an end that sent a SYN (it aborts) and its sequence number lies in [ISN+1, the
  next number of that end], unless it equals an ACK field that the other end sent before: it refuses
  that segment then (RFC 9293 3.5, figure 9), and the opening goes on. (Of each end the last such ACK field
  is remembered; where both ends are equal, the last three that differ.)
- Later a RST ends the opening, unless it is provably outside of what its receiver can accept: before
  the receiver's highest ACK, or behind both the sender's next number and every window that the
  receiver offered. Windows in SYNs are not scaled, others only if both SYNs had the option; the right
  edge itself is outside. A receiver that has acknowledged nothing expects the sender's ISN+1, or is in
  SYN-SENT still: a RST that acknowledges its SYN ends the opening, too.
- Where octets are missing that were sent or acknowledged, no RST is provably behind: it ends the
  opening; the timeline calls it inferred, and a note says so.
- Where both ends are equal, one socket is the RST's sender and its receiver.

A RST that ends nothing is a finding in the timeline, which follows the same rule (analysis/resets.py).

## Answers from elsewhere

- *Translated addresses* (REDIRECT, DNAT). A SYN-ACK or RST from another endpoint to the same client
  endpoint, with an ACK field in [ISN+1, ISN+1+data], answers the SYN where nothing in its own
  conversation does; a segment that fits an opening of its own conversation is never lent. Where both
  sides of the translation are in the capture there are two openings, both counted, linked with each
  other.
- *ICMP*. An error "destination unreachable" (type 3 except code 4, ICMPv6 type 1) that quotes the SYN
  ends nothing: the same SYN may be sent again. If nothing else answers, the opening is refused, and
  the report names type, code and sender.

## The rules

What is not listed changes nothing. A phase in bold is decided: no event leaves it.

| phase | event | next phase |
|---|---|---|
{rules}

| phase | verdict, if the opening ends there |
|---|---|
{phases}
"""


def document() -> str:
    """docs/verdicts.md: what each verdict means, what counts, and the rules."""
    verdicts = [f"| {verdict} | {MEANING[verdict]} |" for verdict in Verdict]
    rules = [f"| {_named(phase)} | {_named(event)} | {_named(after)} |" for (phase, event), after in RULES.items()]
    phases = [f"| {_named(phase)} | {verdict} |" for phase, verdict in VERDICT.items()]
    return _DOCUMENT.format(
        meanings="\n".join(["| verdict | meaning |", "|---|---|", *verdicts]),
        rules="\n".join(rules),
        phases="\n".join(phases),
    )


def _named(one: Phase | Event) -> str:
    name = re.sub(
        r"\b(SYN|ACK|RST)(?=\b|ED)|\w", lambda found: found[1] or found[0].lower(), one.name.replace("_", " ")
    )
    name = name.replace("SYN ACK", "SYN-ACK").replace("ACKED", "ACKed")
    return f"**{name}**" if one in DECIDED and isinstance(one, Phase) else name


if __name__ == "__main__":
    print(document(), end="")  # noqa: T201 - it writes a document here
