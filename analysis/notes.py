"""Notes on an opening: facts in its packets that no verdict and no state tells, each with the sign it is read from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .model import Flag, Options, Verdict
from .replay import octets
from .states import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .model import Segment
    from .replay import Replay


def notes(replayed: Replay) -> list[str]:
    """What else the packets of an opening tell, a sentence each."""
    rules = (_earlier_connection, _about_syn, *_ABOUT.get(replayed.opening.verdict, ()), _gaps)
    return [note for rule in rules for note in rule(replayed)] + [
        f"Frame {step.frame}: {step.reason}." for step in replayed.findings
    ]


def _syns(replayed: Replay) -> list[Segment]:
    return [segment for segment in replayed.segments if segment.bare_syn]


def _earlier_connection(replayed: Replay) -> Iterator[str]:
    for segment in _syns(replayed):
        if segment.options.tsecr:
            yield (
                f"The SYN in frame {segment.frame} carries a non-zero TSecr ({segment.options.tsecr}): an earlier "
                f"connection on the same 4-tuple left it (TIME-WAIT reuse)."
            )


def _about_syn(replayed: Replay) -> Iterator[str]:
    opening = replayed.opening
    first = _syns(replayed)[:1]
    if first and first[0].payload:
        yield f"The SYN carries {octets(first[0].payload)} (RFC 9293 3.10.7.3 allows it)."
    if first and first[0].options.fast_open is not None:
        what = "offers a Fast Open cookie" if first[0].options.fast_open else "asks for a Fast Open cookie"
        yield f"The SYN {what} (RFC 7413)."
    if opening.syn_retransmissions and opening.verdict is not Verdict.SELF_SYN:
        times = "once" if opening.syn_retransmissions == 1 else f"{opening.syn_retransmissions} times"
        yield f"The SYN was sent again {times}."
    if replayed.segments and opening.segments[0].frame != replayed.segments[0].frame:
        yield f"The SYN (frame {opening.first_frame}) was captured after what it caused."


def _third_packet(replayed: Replay) -> Iterator[str]:
    """How a SYN-ACK was answered that came to a socket in SYN-RECEIVED: a mark of its kernel."""
    answers = [
        segment
        for segment in replayed.segments
        if segment.frame in replayed.handshake and segment.flags & (Flag.SYN | Flag.ACK | Flag.RST) == Flag.ACK
    ]
    marked = [segment for segment in answers if segment.dsack]
    plain = [segment for segment in answers if not segment.dsack]
    if marked:
        yield (
            f"{_frames(marked)}: an ACK with D-SACK for a SYN received twice, the mark of Linux 6.11 or later (or of "
            f"an older one with that change ported back)."
        )
    if plain and all(segment.options.sack_permitted for segment in replayed.segments if segment.flags & Flag.SYN):
        yield (
            f"{_frames(plain)}: a plain ACK. Linux before 6.11 drops the SYN-ACK here, answers by this challenge ACK "
            f"and is ESTABLISHED by the ACK, not by the SYN-ACK; other systems may do likewise."
        )
    elif plain:
        yield f"{_frames(plain)}: a plain ACK; without SACK there can be no D-SACK, so it tells nothing of the kernel."
    if not answers:
        yield "No ACK answers the SYN-ACK, and none is needed: the SYN-ACK has acknowledged the SYN (figure 7)."


def _frames(segments: Sequence[Segment]) -> str:
    numbers = [str(segment.frame) for segment in segments]
    return f"Frame{'s' * (len(numbers) > 1)} {' and '.join(numbers)}"


def _self_syn(replayed: Replay) -> Iterator[str]:
    opening = replayed.opening
    syn = _syns(replayed)[:1]
    if not syn:
        return
    options = syn[0].options
    if options == Options():
        yield (
            "The SYN carries no option, not even the MSS that kernels send: speaks for a forged packet (LAND, "
            "CVE-1999-0016)."
        )
    elif options.damage is None:
        yield "The SYN carries options as a kernel's own SYN does: speaks for a real connect() to itself."
    if opening.syn_retransmissions:
        yield (
            f"The SYN was sent {1 + opening.syn_retransmissions} times: speaks for a socket that waits in SYN-SENT and "
            f"whose SYN does not come back to it (a firewall?)."
        )
    answers = [segment for segment in replayed.segments if segment.syn_ack and segment.seq != syn[0].seq]
    if answers:
        yield (
            f"The SYN-ACK in frame {answers[0].frame} has another sequence number: it is not from the socket that "
            f"sent the SYN but from one that listens on the port, so the SYN was forged (LAND)."
        )
    elif len(replayed.segments) == 1:
        yield "Nothing follows the SYN: the capture may have been cut off there."
    if opening.over_a_link:
        yield "Its Ethernet frame has addresses, which loopback leaves empty: it came over a real link, forged (LAND)."
    elif opening.source.is_loopback:
        yield "The address is a loopback address: no real link carries it."
    else:
        yield (
            "The address is no loopback address: a host's connection to its own address stays on its loopback "
            "interface, so on a real link this SYN is forged."
        )


def _one_sided(replayed: Replay) -> Iterator[str]:
    yield (
        "A SYN from each end, a SYN-ACK from one only. Either the end without a SYN-ACK never received the other's "
        "SYN (a simultaneous open that lost a packet, as in NAT hole punching), or it splits its SYN-ACK in two (a "
        "split handshake). Packets alone cannot tell."
    )
    if not replayed.established:
        yield "Not both ends got to ESTABLISHED in this capture."


def _split(_replayed: Replay) -> Iterator[str]:
    yield (
        "The responder acknowledges the SYN by a bare ACK and sends its own SYN apart from it: only a split handshake "
        "does so (Beardsley and Qian 2010)."
    )


def _crossed(_replayed: Replay) -> Iterator[str]:
    yield "A SYN from each end, and no SYN-ACK to either: no connection came of it."


def _half_open(replayed: Replay) -> Iterator[str]:
    for step in replayed.transitions:
        if step.before is State.SYN_SENT and step.after is State.CLOSED and step.event == "delete":
            yield (
                "The SYN-ACK is answered by a RST without ACK, which comes from a host that has no such socket: a "
                "half-open scan, or a program that had given up."
            )


def _gaps(replayed: Replay) -> Iterator[str]:
    if replayed.opening.omitted:
        yield f"{replayed.opening.omitted:,} segments in the middle of the connection are counted, not shown."


_ABOUT: dict[Verdict, Sequence[Callable[[Replay], Iterator[str]]]] = {
    Verdict.SELF_CONNECT: (_third_packet,),
    Verdict.SELF_SYN: (_self_syn,),
    Verdict.SIMULTANEOUS_OPEN: (_third_packet,),
    Verdict.ONE_SIDED_CROSSING: (_one_sided,),
    Verdict.SPLIT_HANDSHAKE: (_split,),
    Verdict.CROSSED_UNANSWERED: (_crossed,),
    Verdict.HALF_OPEN: (_half_open,),
}
