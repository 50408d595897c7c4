"""Notes on an opening: facts that neither its verdict nor a state shows, each with the packets that show it."""

from __future__ import annotations

from .model import NANOSECONDS, Evidence, Flag, Options, Verdict, spoken
from .replay import octets
from .states import Event, State
from .text import duration

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from .model import Endpoint, Segment
    from .replay import Replay


def notes(replayed: Replay) -> list[str]:
    """What else the packets of an opening tell, a sentence each."""
    about = _ABOUT.get(replayed.opening.verdict, ())
    rules = (_earlier_connection, _about_syn, *about, _translated, _icmp, _two_minds, _resets, _clock, _gaps)
    return [note for rule in rules for note in rule(replayed)] + [
        f"Frame {step.frame}: {step.reason}." for step in replayed.findings
    ]


def _syns(replayed: Replay) -> list[Segment]:
    return [segment for segment in replayed.segments if segment.bare_syn]


def _earlier_connection(replayed: Replay) -> Iterator[str]:
    for segment in _syns(replayed):
        if segment.options.tsecr:
            yield (
                f"The SYN in frame {segment.frame} carries a non-zero TSecr ({segment.options.tsecr}): on Linux the "
                "mark of an earlier connection on the same 4-tuple (TIME-WAIT reuse)."
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
    if first and replayed.segments[0] is first[0] and opening.segments[0].frame != first[0].frame:
        yield f"The SYN (frame {opening.first_frame}) was captured after what it caused."


def _third_packet(replayed: Replay) -> Iterator[str]:
    """How a socket in SYN-RECEIVED answered a SYN-ACK: a mark of its kernel."""
    answers = [
        segment
        for segment in replayed.segments
        if segment.frame in replayed.handshake and segment.flags & (Flag.SYN | Flag.ACK | Flag.RST) == Flag.ACK
    ]
    syns = [segment for segment in replayed.segments if segment.flags & Flag.SYN]
    marked = [segment for segment in answers if segment.dsack]
    plain = [segment for segment in answers if not segment.dsack]
    dropping = [segment for segment in plain if segment.source in _droppers(replayed)]
    if marked:
        yield (
            f"{_frames(marked)}: an ACK with D-SACK for a SYN received twice: on Linux the mark of 6.11 or later (or "
            "of an older one with that change ported back)."
        )
    if dropping:
        dropped = (
            f"{_frames(dropping)}: an ACK without D-SACK, though SACK is on: the SYN-ACK was dropped, as RFC 9293 "
            "3.10.7.4 has it, and the socket that receives this ACK is ESTABLISHED by it"
        )
        if any(syn.payload for syn in syns) or any(syn.flags & (Flag.ECE | Flag.CWR) for syn in syns):
            yield f"{dropped}. The SYN carries data or offers ECN, so this tells nothing about the kernel."
        else:
            yield f"{dropped}. Linux 3.6 to 6.10 does so, unless it got the change of 6.11; other systems may, too."
    elif plain and not all(syn.options.sack_permitted for syn in syns):
        yield (
            f"{_frames(plain)}: a plain ACK; without SACK there can be no D-SACK: it tells nothing about the kernel. "
            "On one that drops the SYN-ACK (Linux 3.6 to 6.10 does, unless it got the change of 6.11) the socket is "
            "ESTABLISHED by this ACK, not before."
        )
    if not answers and any(segment.syn_ack for segment in syns):
        yield "No ACK answers the SYN-ACK here, and none is needed: the SYN-ACK has acknowledged the SYN (figure 7)."


def _droppers(replayed: Replay) -> set[Endpoint]:
    """The sockets that could not use the SYN-ACK that reached them in SYN-RECEIVED."""
    syn_acks = {segment.frame for segment in replayed.segments if segment.syn_ack}
    return {
        step.endpoint
        for step in replayed.steps
        if step.frame in syn_acks and step.before is State.SYN_RECEIVED and step.event == Event.RECEIVE_UNACCEPTABLE
    }


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
            "The SYN carries no option, not even the MSS that kernels send: this suggests a forged packet (LAND, "
            "CVE-1999-0016)."
        )
    elif options.damage is None:
        yield "The SYN carries options as a kernel's own SYN does: this suggests a real connect() to itself."
    if opening.syn_retransmissions:
        yield (
            f"The SYN was sent {1 + opening.syn_retransmissions} times: this suggests a socket that waits in SYN-SENT, "
            "and whose SYN does not come back to it (a firewall may drop it)."
        )
    answers = [segment for segment in replayed.segments if segment.syn_ack and segment.seq != syn[0].seq]
    if answers:
        yield (
            f"The SYN-ACK in frame {answers[0].frame} has another sequence number, so it is not from a socket that "
            "sent this SYN. If it is from one that listens on the port, the SYN was forged (LAND)."
        )
    elif len(replayed.segments) == 1:
        yield "Nothing follows the SYN: the capture may have been cut off there."
    if opening.over_a_link:
        yield (
            "Its Ethernet frame has addresses, which loopback leaves empty. Unless a program added them, it came over "
            "a real link, and is forged (LAND)."
        )
    elif opening.source.is_loopback:
        yield "The address is a loopback address: no real link may carry it (RFC 1122 3.2.1.3)."
    else:
        yield (
            "The address is no loopback address: a host's connection to its own address stays on its loopback "
            "interface, so on a real link this SYN is forged."
        )


def _one_sided(replayed: Replay) -> Iterator[str]:
    if any(_hairpin(replayed)):
        return
    yield (
        "A SYN from each end, a SYN-ACK from one only. Either the end without a SYN-ACK never received the other's "
        "SYN (a simultaneous open that lost a packet, as in NAT hole punching), or it splits its SYN-ACK in two (a "
        "split handshake). Packets alone cannot tell."
    )
    if not replayed.established:
        yield "In this capture not both ends reach ESTABLISHED."


def _split(_replayed: Replay) -> Iterator[str]:
    yield (
        "The responder acknowledges the SYN by a bare ACK and sends its own SYN apart from it, as a split handshake "
        "does (Beardsley and Qian 2010)."
    )


def _crossed(replayed: Replay) -> Iterator[str]:
    if replayed.established:
        yield "A SYN from each end, and no SYN-ACK was captured; yet each end acknowledges the other's SYN."
    else:
        yield "A SYN from each end, and no SYN-ACK to either: no connection came of it in this capture."


def _half_open(replayed: Replay) -> Iterator[str]:
    for step in replayed.transitions:
        if step.before is State.SYN_SENT and step.after is State.CLOSED and step.event == Event.DELETE:
            yield (
                "The SYN-ACK is answered by a RST without ACK, which comes from a host that has no such socket: a "
                "half-open scan, or a program that had given up."
            )
    syn_ack = next((segment for segment in replayed.segments if segment.syn_ack), None)
    again = [segment for segment in _syns(replayed) if syn_ack and segment.frame > syn_ack.frame]
    if syn_ack and again:
        yield (
            f"{_frames(again)}: the SYN again, after the SYN-ACK in frame {syn_ack.frame}: no SYN-ACK had reached "
            "the socket by then. If this was captured on the opener's own host, SYN-ACKs come to its interface and are "
            "not passed on to the socket."
        )


def _two_minds(replayed: Replay) -> Iterator[str]:
    """SYN-ACKs of one end with different sequence numbers."""
    answers = [one for one in replayed.segments if one.syn_ack]
    for end in replayed.sockets:
        first: dict[int, Segment] = {}
        for segment in answers:
            if segment.source == end:
                first.setdefault(segment.seq, segment)
        if len(first) > 1:
            yield (
                f"{_frames(list(first.values()))}: SYN-ACKs with different sequence numbers. Two hosts answer, or one "
                "that had forgotten its first answer (a restart, or SYN cookies); the opener takes the one that it "
                "acknowledges."
            )


def _resets(replayed: Replay) -> Iterator[str]:
    for frame, ruling in replayed.resets.items():
        if ruling.unproven:
            yield f"Frame {frame}: this RST is taken to end the connection: {ruling.why}."


# -- on what grounds ---------------------------------------------------------------------------------------------------


def _evidence(replayed: Replay) -> Iterator[str]:
    """What proves a self-connect whose handshake was not captured whole, and how good a proof that is."""
    opening, segments = replayed.opening, replayed.segments
    if opening.evidence is Evidence.SYN_ACK:
        yield (
            f"The SYN was not captured. Frame {opening.first_frame} is the proof: a SYN-ACK from this endpoint to "
            "itself that acknowledges its own sequence number."
        )
    elif opening.evidence is Evidence.ACKNOWLEDGED:
        proof = next((one for one in segments if _acknowledges_itself(one) and not one.bare_syn), None)
        frame = f"Frame {proof.frame}" if proof else "A later segment"
        yield f"The SYN-ACK was not captured. {frame} is the proof: the socket's ACK field acknowledges its own SYN."
    elif opening.evidence is Evidence.STANDING:
        yield from _standing(replayed)
    if opening.over_a_link:
        yield (
            "It came in Ethernet frames with addresses. A host's own connection to itself never leaves the host, so "
            "these segments may be forged."
        )
    elif opening.evidence not in (None, Evidence.HANDSHAKE) and not opening.source.is_loopback:
        yield (
            "The address is no loopback address. A host's own connection to itself stays on its loopback interface; "
            "captured on a real link, these segments could be forged."
        )


def _acknowledges_itself(segment: Segment) -> bool:
    return bool(segment.flags & Flag.ACK) and not segment.flags & (Flag.RST | Flag.SYN) and segment.seq == segment.ack


def _standing(replayed: Replay) -> Iterator[str]:
    opening, segments = replayed.opening, replayed.segments
    yield (
        f"Connected to itself since before frame {opening.first_frame}: neither its SYN nor its SYN-ACK was captured, "
        "and the capture does not say when it was opened."
    )
    pairs = (
        (one, other)
        for place, other in enumerate(segments)
        if _acknowledges_itself(other)
        for one in segments[:place]
        if other.ack in (one.end, one.seq + 1) and (one.length or one.seq != other.seq)
    )
    for one, other in pairs:
        yield (
            f"Frames {one.frame} and {other.frame} are the proof: the second acknowledges what this endpoint sends to "
            "itself in the first, and goes on after it, in a single stream of numbers."
        )
        break
    last = segments[-1] if segments else None
    if last and last.time > opening.time:
        shown = len(segments) + opening.omitted
        later = duration((last.time - opening.time) / NANOSECONDS)
        which = "the last that is shown" if opening.omitted else "the last"
        yield f"{shown:,} segments, {which} in frame {last.frame}, {later} later."


# -- addresses that were translated, ICMP ------------------------------------------------------------------------------


def _translated(replayed: Replay) -> Iterator[str]:
    opening = replayed.opening
    if opening.answered_by:
        answer = next((one for one in opening.segments if one.source == opening.answered_by), None)
        frame = answer.frame if answer else opening.answered_in
        where = f" in frame {frame}" if frame else ""
        what = spoken(answer.flags & ~Flag.PSH) if answer else "answer"
        yield (
            f"The {what}{where} goes {opening.answered_by} > {opening.source} and acknowledges the SYN, which went "
            f"{opening.source} > {opening.destination}: an address or a port was translated, as REDIRECT and DNAT do."
        )
        if answer is None and replayed.established:
            yield f"What {opening.answered_by} sends is in a conversation of its own, so not every step is here."
        if opening.source == opening.destination:
            yield (
                f"Both ends of the SYN are equal only because of that: the client dialled {opening.answered_by}, so "
                "this is no connection to itself."
            )
    if opening.misdirected:
        frame, source, port = opening.misdirected
        yield (
            f"Frame {frame} from {source} acknowledges exactly this SYN, but was sent to port {port} of the client, "
            f"while the SYN came from port {opening.source.port}: a port was translated, or the number is chance."
        )
    if opening.translated_with is not None:
        yield (
            f"The other side of the translation is the opening in frame {opening.translated_with}: one connection, "
            "counted as two openings."
        )


def _hairpin(replayed: Replay) -> Iterator[str]:
    """Crossed SYNs that are one SYN: a socket that meets itself."""
    opening = replayed.opening
    ours, theirs = (
        {(syn.seq, syn.options.tsval) for syn in _syns(replayed) if syn.source == end and syn.options.tsval is not None}
        for end in (opening.source, opening.destination)
    )
    if opening.source != opening.destination and ours & theirs:
        yield (
            "Both SYNs have the same sequence number and the same time stamp: they are one SYN of one socket, which "
            "comes back to it with translated addresses (hairpin NAT). The socket meets itself, though the ends differ."
        )


#: The type's name and its codes' names: RFC 792, RFC 1122 3.2.2.1, RFC 1812 5.2.7.1; RFC 4443 3.1.
_ICMP = {
    (False, 3): (
        "destination unreachable",
        (
            *(
                "net unreachable",
                "host unreachable",
                "protocol unreachable",
                "port unreachable",
                "fragmentation needed",
            ),
            *("source route failed", "destination network unknown", "destination host unknown", "source host isolated"),
            *("network administratively prohibited", "host administratively prohibited", "network unreachable for TOS"),
            *("host unreachable for TOS", "communication administratively prohibited", "host precedence violation"),
            "precedence cutoff in effect",
        ),
    ),
    (True, 1): (
        "destination unreachable",
        (
            *("no route to destination", "administratively prohibited", "beyond scope of source address"),
            *("address unreachable", "port unreachable", "source address failed ingress/egress policy"),
            *("reject route to destination", "error in source routing header"),
        ),
    ),
}


def _icmp(replayed: Replay) -> Iterator[str]:
    error = replayed.opening.refused_by
    if error is None:
        return
    six = len(error.sender) == 16
    name, codes = _ICMP.get((six, error.type), ("error", ()))
    what = f"{name}, {codes[error.code]}" if error.code < len(codes) else name
    yield (
        f"Frame {error.frame}: {error.address} refuses it by {'ICMPv6' if six else 'ICMP'}, {what} (type {error.type}, "
        f"code {error.code}). The error quotes the SYN. It ends nothing by itself: a socket may send its SYN again "
        "after it."
    )


# -- what the capture is like ------------------------------------------------------------------------------------------


def _clock(replayed: Replay) -> Iterator[str]:
    opening = replayed.opening
    if opening.refused_since is not None and opening.refused_since > opening.time:
        yield (
            f"The capture's clock went back at frame {opening.first_frame} or before it, after the first of the "
            "refused attempts: how long they took is not known."
        )
    for frame in replayed.clock_went_back:
        yield f"The capture's clock went back at frame {frame}: no time across it is right."


def _gaps(replayed: Replay) -> Iterator[str]:
    if replayed.opening.omitted:
        yield f"{replayed.opening.omitted:,} more segments of the connection are counted, not shown."


_ABOUT: dict[Verdict, Sequence[Callable[[Replay], Iterator[str]]]] = {
    Verdict.SELF_CONNECT: (_evidence, _third_packet),
    Verdict.SELF_SYN: (_self_syn,),
    Verdict.SIMULTANEOUS_OPEN: (_hairpin, _third_packet),
    Verdict.ONE_SIDED_CROSSING: (_hairpin, _one_sided),
    Verdict.SPLIT_HANDSHAKE: (_split,),
    Verdict.CROSSED_UNANSWERED: (_hairpin, _crossed),
    Verdict.HALF_OPEN: (_half_open,),
}
