"""What was found, in the one structure that every view reads, and its JSON shape (schema ``selfconn/1``)."""

from __future__ import annotations

from bisect import bisect_right
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, overload

from .model import NANOSECONDS, Flag, Options, Verdict
from .portwalk import look
from .replay import Replay, octets, replay
from .states import State

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from .model import CaptureResult, Damage, Endpoint, Opening, Segment
    from .portwalk import Walk
    from .replay import Step
    from .result_spill import Shelf
    from .wireshark import Evidence, Witness

SCHEMA = "selfconn/1"

#: A JSON value, as json.dumps takes it.
Json = Any


class Entry(NamedTuple):
    """One opening on the page, and the place in the report of the capture that it is from."""

    capture: int
    opening: Opening

    def account(self) -> Account:
        """Replay the opening. It is done anew each time: there may be many openings, and an account is large."""
        account = replay(self.opening)
        frames = set(account.handshake)
        last = max((segment.time for segment in account.segments if segment.frame in frames), default=0)
        duration = last - self.opening.time
        return Account(account, notes(account), duration if len(frames) > 1 and duration > 0 else None)


class Account(NamedTuple):
    """What became of an opening.

    ``duration`` is in nanoseconds, from the first SYN to the last frame of the handshake; None for a SYN alone.
    """

    replay: Replay
    notes: list[str]
    duration: int | None


class Entries(Sequence[Entry]):
    """The openings of all captures of a report, in order."""

    def __init__(self, captures: Sequence[CaptureResult], ends: Sequence[int]) -> None:
        self._captures, self._ends = captures, ends  # how many openings there are up to the end of each capture

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    @overload
    def __getitem__(self, number: int) -> Entry: ...
    @overload
    def __getitem__(self, number: slice) -> list[Entry]: ...
    def __getitem__(self, number: int | slice) -> Entry | list[Entry]:
        if isinstance(number, slice):
            return [self[one] for one in range(*number.indices(len(self)))]
        number = range(len(self))[number]
        place = bisect_right(self._ends, number)
        before = self._ends[place - 1] if place else 0
        return Entry(place, self._captures[place].openings[number - before])

    def __iter__(self) -> Iterator[Entry]:
        for place, result in enumerate(self._captures):
            yield from entries(place, result)


def entries(place: int, result: CaptureResult) -> list[Entry]:
    """The openings of the capture at this place of a report."""
    return [Entry(place, opening) for opening in result.openings]


@dataclass(slots=True)
class Report:
    """Everything that a run has to say.

    ``captures`` is for add() alone to lengthen: a list, or a Shelf. ``live`` and ``kernel`` are the sections that a
    live capture adds; ``witness`` is what Wireshark says of the same frames, None where it was not asked.
    """

    captures: list[CaptureResult] | Shelf = field(default_factory=list)
    live: dict[str, Json] | None = None
    kernel: dict[str, Json] | None = None
    witness: Evidence | None = None
    packets: int = 0
    verdicts: Counter[Verdict] = field(default_factory=Counter)
    _ends: list[int] = field(default_factory=list)

    @property
    def entries(self) -> Entries:
        """The openings of all captures, in order."""
        return Entries(self.captures, self._ends)

    def add(self, result: CaptureResult) -> None:
        """Take in one capture."""
        self.captures.append(result)
        self.packets += result.packets
        self.verdicts.update(result.verdicts)
        self._ends.append(len(self.entries) + len(result.openings))

    def count(self, verdict: Verdict) -> int:
        """How many openings have this verdict, in all captures."""
        return self.verdicts[verdict]

    def said(self, entry: Entry) -> dict[int, Witness] | None:
        """What Wireshark says of the frames of an opening, by frame; None where it was not asked."""
        if self.witness is None:
            return None
        frames = self.witness.frames
        places = ((entry.capture, segment.frame) for segment in entry.opening.segments)
        return {place[1]: frames[place] for place in places if place in frames}

    def sections(self) -> dict[str, Json]:
        """The sections that only some reports have."""
        sections = {"live": self.live, "kernel": self.kernel, "witness": self.witness and _witness(self.witness)}
        return {name: section for name, section in sections.items() if section is not None}


def report(results: Iterable[CaptureResult]) -> Report:
    """A report on these captures, in this order."""
    made = Report()
    for result in results:
        made.add(result)
    return made


def seconds(nanoseconds: int) -> str:
    """A time as a decimal string of seconds with nine digits after the point."""
    sign, whole = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    return f"{sign}{whole // NANOSECONDS}.{whole % NANOSECONDS:09d}"


def capture_as_json(result: CaptureResult) -> dict[str, Json]:
    """One capture in the shape of the schema, but for what walks_as_json() gives."""
    parts = [{"name": part.name, "packets": part.packets, "damage": _damage(part.damage)} for part in result.parts]
    return {
        "name": result.name,
        "format": result.format,
        "packets": result.packets,
        "segments": result.segments,
        "duplicates": result.duplicates,
        "undecoded": dict(result.undecoded),
        "damage": _damage(result.damage),
        "verdicts": {verdict.value: count for verdict, count in result.verdicts.items()},
        "midstream": result.midstream,
        "midstream_to_itself": result.midstream_to_itself,
        "evicted": result.evicted,
        "left_out": result.left_out,
        **({"parts": parts} if parts else {}),
        **({"unsure": True} if result.unsure else {}),
    }


def walks_as_json(result: CaptureResult) -> list[Json]:
    """The port walks of a capture in the shape of the schema."""
    return [_walk(walk) for walk in look(result)]


def _damage(damage: Damage | None) -> dict[str, Json] | None:
    return None if damage is None else {"offset": damage.offset, "reason": damage.reason}


def _walk(walk: Walk) -> dict[str, Json]:
    attempts, guess = walk.attempts, walk.guess
    return {
        "destination": _endpoint(walk.destination),
        "attempts": attempts.count,
        "first": seconds(attempts.first),
        "last": seconds(attempts.last),
        "rate": walk.rate,
        "low": walk.low,
        "high": walk.high,
        "parity": None if walk.parity is None else ("even", "odd")[walk.parity],
        "steps": [list(step) for step in walk.steps],
        "laps": walk.laps,
        "jumps": list(walk.jumps),
        "salted": walk.salted,
        "beside": list(walk.beside),
        "algorithm": guess.algorithm and guess.algorithm.value,
        "sure": guess.sure,
        "why": guess.why,
        "range": list(walk.range),
        "range_assumed": walk.assumed,
        "chance": walk.odds.chance,
        "mean_attempts": walk.odds.mean if walk.odds.catch else None,
        "ports": list(attempts.ports),
        "times_ns": list(attempts.times),
    }


def entry_as_json(entry: Entry, said: dict[int, Witness] | None = None) -> dict[str, Json]:
    """One opening in the shape of the schema; with *said*, what Wireshark says of its frames as well."""
    opening = entry.opening
    account, notes, duration = entry.account()
    since = opening.refused_since
    return {
        "capture": entry.capture,
        "verdict": opening.verdict.value,
        "source": _endpoint(opening.source),
        "destination": _endpoint(opening.destination),
        "isn": int(opening.isn),
        "first_frame": opening.first_frame,
        "frames": list(account.handshake),
        "time": seconds(opening.time),
        "duration_us": None if duration is None else duration / 1000,
        "syn_retransmissions": opening.syn_retransmissions,
        "established": account.established,
        "refused_before": opening.refused_before,
        "refused_since": None if since is None else seconds(since),
        "omitted": opening.omitted,
        "notes": notes,
        "transitions": [_transition(step) for step in account.transitions],
        "findings": [
            {
                "frame": step.frame,
                "event": step.event,
                "endpoint": _endpoint(step.endpoint),
                "state": step.before.value,
                "reason": step.reason,
            }
            for step in account.findings
        ],
        **({} if said is None else {"witness": [_said(witness) for witness in said.values()]}),
    }


def _said(witness: Witness) -> dict[str, Json]:
    differences = [difference._asdict() for difference in witness.differences]
    return {"frame": witness.frame, "says": list(witness.says), "differences": differences}


def _witness(evidence: Evidence) -> dict[str, Json]:
    return {
        "tshark": evidence.version,
        "frames": len(evidence.frames),
        "differences": evidence.differences,
    }


def _endpoint(endpoint: Endpoint) -> dict[str, Json]:
    return {"address": endpoint.address, "port": endpoint.port}


def _transition(step: Step) -> dict[str, Json]:
    return {
        "frame": step.frame,
        "event": step.event,
        "endpoint": _endpoint(step.endpoint),
        "from": step.before.value,
        "to": step.after.value,
        "section": step.section,
        "reason": step.reason,
        "inferred": step.inferred,
    }


# -- notes: facts in the packets, each with the sign it is read from ---------------------------------------------


def notes(account: Replay) -> list[str]:
    """What else the packets of an opening tell, a sentence each."""
    rules = (_earlier_connection, _about_syn, *_ABOUT.get(account.opening.verdict, ()), _gaps)
    return [note for rule in rules for note in rule(account)] + [
        f"Frame {step.frame}: {step.reason}." for step in account.findings
    ]


def _syns(account: Replay) -> list[Segment]:
    return [segment for segment in account.segments if segment.bare_syn]


def _earlier_connection(account: Replay) -> Iterator[str]:
    for segment in _syns(account):
        if segment.options.tsecr:
            yield (
                f"The SYN in frame {segment.frame} carries a non-zero TSecr ({segment.options.tsecr}): an earlier "
                f"connection on the same 4-tuple left it (TIME-WAIT reuse)."
            )


def _about_syn(account: Replay) -> Iterator[str]:
    opening = account.opening
    first = _syns(account)[:1]
    if first and first[0].payload:
        yield f"The SYN carries {octets(first[0].payload)} (RFC 9293 3.10.7.3 allows it)."
    if first and first[0].options.fast_open is not None:
        what = "offers a Fast Open cookie" if first[0].options.fast_open else "asks for a Fast Open cookie"
        yield f"The SYN {what} (RFC 7413)."
    if opening.syn_retransmissions and opening.verdict is not Verdict.SELF_SYN:
        times = "once" if opening.syn_retransmissions == 1 else f"{opening.syn_retransmissions} times"
        yield f"The SYN was sent again {times}."
    if account.segments and opening.segments[0].frame != account.segments[0].frame:
        yield f"The SYN (frame {opening.first_frame}) was captured after what it caused."


def _third_packet(account: Replay) -> Iterator[str]:
    """How a SYN-ACK was answered that came to a socket in SYN-RECEIVED: a mark of its kernel."""
    answers = [
        segment
        for segment in account.segments
        if segment.frame in account.handshake and segment.flags & (Flag.SYN | Flag.ACK | Flag.RST) == Flag.ACK
    ]
    marked = [segment for segment in answers if segment.dsack]
    plain = [segment for segment in answers if not segment.dsack]
    if marked:
        yield (
            f"{_frames(marked)}: an ACK with D-SACK for a SYN received twice, the mark of Linux 6.11 or later (or of "
            f"an older one with that change ported back)."
        )
    if plain and all(segment.options.sack_permitted for segment in account.segments if segment.flags & Flag.SYN):
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


def _self_syn(account: Replay) -> Iterator[str]:
    opening = account.opening
    syn = _syns(account)[:1]
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
    answers = [segment for segment in account.segments if segment.syn_ack and segment.seq != syn[0].seq]
    if answers:
        yield (
            f"The SYN-ACK in frame {answers[0].frame} has another sequence number: it is not from the socket that "
            f"sent the SYN but from one that listens on the port, so the SYN was forged (LAND)."
        )
    elif len(account.segments) == 1:
        yield "Nothing follows the SYN: the capture may have been cut off there."
    if opening.over_a_link:
        yield "Its Ethernet frame has addresses, which loopback leaves empty: it came over a real link, forged (LAND)."
    elif _is_loopback(opening.source):
        yield "The address is a loopback address: no real link carries it."
    else:
        yield (
            "The address is no loopback address: a host's connection to its own address stays on its loopback "
            "interface, so on a real link this SYN is forged."
        )


def _is_loopback(endpoint: Endpoint) -> bool:
    packed = endpoint.packed
    return packed[0] == 127 if len(packed) == 4 else packed == bytes(15) + b"\1"


def _one_sided(account: Replay) -> Iterator[str]:
    yield (
        "A SYN from each end, a SYN-ACK from one only. Either the end without a SYN-ACK never received the other's "
        "SYN (a simultaneous open that lost a packet, as in NAT hole punching), or it splits its SYN-ACK in two (a "
        "split handshake). Packets alone cannot tell."
    )
    if not account.established:
        yield "Not both ends got to ESTABLISHED in this capture."


def _split(_account: Replay) -> Iterator[str]:
    yield (
        "The responder acknowledges the SYN by a bare ACK and sends its own SYN apart from it: only a split handshake "
        "does so (Beardsley and Qian 2010)."
    )


def _crossed(_account: Replay) -> Iterator[str]:
    yield "A SYN from each end, and no SYN-ACK to either: no connection came of it."


def _half_open(account: Replay) -> Iterator[str]:
    for step in account.transitions:
        if step.before is State.SYN_SENT and step.after is State.CLOSED and step.event == "delete":
            yield (
                "The SYN-ACK is answered by a RST without ACK, which comes from a host that has no such socket: a "
                "half-open scan, or a program that had given up."
            )


def _gaps(account: Replay) -> Iterator[str]:
    if account.opening.omitted:
        yield f"{account.opening.omitted:,} segments in the middle of the connection are counted, not shown."


_ABOUT: dict[Verdict, Sequence[Callable[[Replay], Iterator[str]]]] = {
    Verdict.SELF_CONNECT: (_third_packet,),
    Verdict.SELF_SYN: (_self_syn,),
    Verdict.SIMULTANEOUS_OPEN: (_third_packet,),
    Verdict.ONE_SIDED_CROSSING: (_one_sided,),
    Verdict.SPLIT_HANDSHAKE: (_split,),
    Verdict.CROSSED_UNANSWERED: (_crossed,),
    Verdict.HALF_OPEN: (_half_open,),
}
