"""Watching a host for days: nothing is done until a socket connects to itself, and then it is reported at once.

One line of JSON each, with whose socket it was, and a saved capture of what came before it (packets/watch_rings.py).
It is analysed by the code that reads any capture.
"""

from __future__ import annotations

import contextlib
import math
import os
import resource
import socket
import time
from collections import deque
from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING, NamedTuple

from analysis import privilege
from analysis.errors import CannotCapture, Incomplete, SelfconnError, UsageError
from analysis.model import NANOSECONDS, Verdict
from analysis.report import report
from analysis.text import printable
from analysis.views.phrases import count

from ..kernel import namespaces, port_choice
from ..kernel.kernel_states import KernelStates
from ..kernel.socket_owner import SocketOwner, find_owner
from ..packets.ring import ANY
from ..packets.self_connect import SelfConnect
from ..packets.watch_rings import WatchRings
from .messages import kernel_gaps, whose_socket
from .namespace_opener import NamespaceOpener
from .output import Sink
from .recording import TOLD_BY_ENDS
from .report_sections import UNWATCHED, comparisons, of_kernel, one_line
from .session import signals, with_sudo
from .watched import Watched, WatchedNamespaces, namespace_fields, teller, whereabouts

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from analysis.model import CaptureResult, Endpoint, Opening

    from ..kernel.namespaces import Namespace
    from .console import Console
    from .run_context import Options

#: Seconds between two looks at the flight recorder; while something waits to be reported.
_TICK, _SOON = 0.1, 0.02
#: Nanoseconds after a self-connect that belong to it, and within which others are reported along with it.
_AFTER = NANOSECONDS // 100
#: Seconds after it when it is reported at the latest, even if the kernel has not handed over all that belongs to it.
_AT_LAST = 0.75
#: Seconds in a row for finding out whose sockets are; of those beyond that nothing is known but what the packet tells.
_SEARCH = 0.2
#: Seconds from one word about self-connects that are only counted to the next.
_TELL = 2.0
#: Seconds at the end for those that wait.
_LAST = 1.0
#: Seconds until the rings have shown what the tracepoint told of, nanoseconds that the two may be apart, and how many
#: may wait for that.
_RINGS_TAKE, _SAME, _TOLD = 0.4, NANOSECONDS // 200, 500
#: Seconds for which it is remembered, at least, what the rings and what the tracepoint have shown.
_REMEMBERED = 2
#: Self-connects that can wait to be reported; beyond that they are only counted.
_WAITING = 1000


def run(options: Options) -> int:
    """Watch as *options* say; return the exit status. Raises SelfconnError where that is not possible."""
    _check(options)
    own, opener, kernel_states = _privileged(options)
    with closing(WatchedNamespaces(own, opener)) as watched, kernel_states:
        _check_directory(options)
        from analysis import portwalk, reader  # noqa: PLC0415, F401 - here and below: without privilege, and before it
        from analysis.views import json, table  # noqa: PLC0415, F401 - waits: by then another version may be installed

        from .console import Console  # noqa: PLC0415

        with signals() as signalled, Console(options) as console:
            watch = Watch(options, watched, kernel_states, console)
            console.remark(watch.intended())
            watch.run(signalled)
            console.remark(watch.summary())
    if watch.trouble:
        return Incomplete.status
    return 0 if watch.reported else 1


def _check(options: Options) -> None:
    """Raise UsageError where two options do not go together."""
    if options.command or options.private or options.range:
        raise UsageError("--watch watches this host, so it goes with neither COMMAND nor --private; leave that out")
    if options.format not in (None, "table", "json", "jsonl"):
        raise UsageError(f"--watch reports line by line, not in {options.format}; use --format table, json or jsonl")


def _check_directory(options: Options) -> None:
    """Raise UsageError where -w names no directory. With the user's rights: root would tell of what they cannot see."""
    if options.write not in (None, os.devnull) and not os.path.isdir(options.write):  # noqa: PTH112
        raise UsageError(
            f"--watch saves many captures, and -w {options.write!r} is not a directory; name one or {os.devnull}"
        )


def _privileged(options: Options) -> tuple[Watched, NamespaceOpener | None, KernelStates]:
    """Everything that needs privilege, and the end of it, but for the opener, which is a process of its own."""
    privilege.keep_to_itself()
    everything = options.netns == "all" or (options.netns is None and namespaces.may_enter_all())
    opener = space = None
    try:
        if options.netns not in (None, "self", "all"):
            space = namespaces.go_into(options.netns)
        elif everything and options.interface in ("lo", ANY):
            opener = NamespaceOpener(options.port, packets=options.before)
        rings = WatchRings(options.interface, options.port, packets=options.before)
    except CannotCapture as error:
        if opener:
            opener.close()
        raise with_sudo(error, options) from error
    kernel_states = KernelStates(options.port)
    if space is None:  # afterwards not even the link to our own namespace may be read
        [space] = namespaces.named(namespaces.Scan().found.values())
    try:
        privilege.give_up_root()
    except SelfconnError:
        rings.close()
        kernel_states.close()
        if opener:
            opener.close()
        raise
    return Watched(space, rings), opener, kernel_states


class Told(NamedTuple):
    """A self-connect that the kernel's tracepoint told of: whose it is, where it lives, and when that was found."""

    hit: SelfConnect
    found: SocketOwner
    space: Namespace
    since: float


class Waiting(NamedTuple):
    """A self-connect that is not reported yet: what was found of its socket at once, and when that was (monotonic)."""

    hit: SelfConnect
    found: SocketOwner
    since: float
    watched: Watched


class Watch:
    """Reports every self-connect in what is *watched*, as *console* does, and saves what came before it.

    ``reported`` counts them. ``trouble`` says what went wrong last, if something did.
    """

    def __init__(
        self, options: Options, watched: WatchedNamespaces, kernel_states: KernelStates, console: Console
    ) -> None:
        self.reported = self._unreported = self._saved = 0
        self.trouble: str | None = None
        self._options, self._watched, self._kernel_states, self._console = options, watched, kernel_states, console
        self._waiting: deque[Waiting] = deque()
        self._told: deque[Told] = deque()
        self._by_ring: dict[Endpoint, list[int]] = {}
        self._by_tracepoint: dict[Endpoint, list[int]] = {}
        self._forgot = 0.0
        self._told_unreported, self._told_at = 0, -math.inf
        self._began, self._worked = time.monotonic(), time.process_time()

    def intended(self) -> Iterator[str]:
        """Say what is going to be done, and what is missing."""
        options = self._options
        which = f"port {options.port}" if options.port else "any port"
        yield (
            f"Watching {printable(options.interface)} for sockets that connect from {which} to themselves. The last "
            f"{options.before:,} segments with SYN, FIN or RST are kept for the moment when one does."
        )
        if self._kernel_states.missing:
            more = (
                ", and what a new network namespace does in its first moments is missed"
                if self._watched.everywhere
                else ""
            )
            yield f"Of a process of another user only the user can be named{more}: {self._kernel_states.missing}."
        yield from self._watched.started()

    def summary(self) -> Iterator[str]:
        """Say what it came to, and what it cost."""
        seconds, worked = time.monotonic() - self._began, time.process_time() - self._worked
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        more = f" and {self._unreported:,} more that came too fast to be reported" if self._unreported else ""
        events = (
            f", {count(self._kernel_states.lost, 'event')} of the kernel's own account lost"
            if self._kernel_states.lost
            else ""
        )
        yield (
            f"{count(self.reported, 'self-connect')}{more} in {seconds:,.1f} s; {worked / seconds:.2%} of a processor, "
            f"{memory / 1024:,.0f} MB of memory at most, {self._watched.dropped:,} segments lost{events}."
        )

    def run(self, signalled: int) -> None:
        """Watch until the descriptor *signalled* becomes readable, a limit is reached or the interface is gone."""
        end = self._began + (self._options.timeout or math.inf)
        due = False
        while not (time.monotonic() > end or self._enough() or self._gone()):
            pause = 0 if due else _SOON if self._waiting else _TICK
            stop, due_now, remarks = self._watched.wait(signalled, pause)
            self._console.remark(remarks)
            if stop:
                break
            self._look(due_now)
            if due := bool(self._waiting) and self._is_due(self._waiting[0]):
                self._report_first()  # one at a time: a signal is heard in between
            if self._watched.leaving:  # what came out of the last wait() was looked at since
                self._watched.let_go({one.watched for one in self._waiting})
        self._look(self._watched.all())  # what came since
        end = time.monotonic() + _LAST
        while self._waiting and time.monotonic() < end:
            self._report_first()
        self._report_unseen(after=0)
        self._unreported += len(self._waiting)
        self._tell_unreported(every=0)

    def _look(self, due: Iterable[Watched]) -> None:
        if self._watched.everywhere:
            self._hear()
        hits = [(one, hit) for one in due for hit in one.rings.look(hold=self._waits_in(one))]
        end = time.monotonic() + _SEARCH
        for watched, hit in hits:
            if self._watched.everywhere:
                if _take(self._by_tracepoint, hit):  # its rings came late
                    continue
                self._by_ring.setdefault(hit.endpoint, []).append(hit.time)
            if len(self._waiting) == _WAITING:
                self._unreported += 1
                continue
            found = SocketOwner(hit.time, hit.endpoint)
            if time.monotonic() < end:
                self._kernel_states.read()
                found = find_owner(hit.endpoint, hit.time, self._kernel_states, watched.diag)
            self._waiting.append(Waiting(hit, found, time.monotonic(), watched))
        self._report_unseen()
        self._tell_unreported(every=_TELL)

    def _hear(self) -> None:
        """Take what the tracepoint told."""
        self._kernel_states.read()
        now = time.monotonic()
        for change in self._kernel_states.connected():
            if len(self._told) == _TOLD:
                self._unreported += 1
                continue
            found, space = teller(change, self._kernel_states)
            self._told.append(Told(SelfConnect(change.time, change.source, None), found, space, now))

    def _report_unseen(self, *, after: float = _RINGS_TAKE) -> None:
        """Report what the tracepoint told and no ring has shown: its namespace has no rings yet."""
        now = time.monotonic()
        while self._told and now > self._told[0].since + after:
            one = self._told.popleft()
            if _take(self._by_ring, one.hit):
                continue
            self._by_tracepoint.setdefault(one.hit.endpoint, []).append(one.hit.time)
            nothing = Waiting(one.hit, one.found, now, replace(self._watched.own, namespace=one.space, diag=None))
            self._report_one(nothing, None, None, 0)
        if now > self._forgot + _REMEMBERED:  # what the one shows the other may a moment later
            self._forgot = now
            for known in (self._by_ring, self._by_tracepoint):
                _forget(known, before=time.time_ns() - _REMEMBERED * NANOSECONDS)

    def _tell_unreported(self, *, every: float) -> None:
        """Say how many self-connects could not be told, if there are more of them now; so many seconds apart."""
        if self._unreported > self._told_unreported and time.monotonic() > self._told_at + every:
            self._told_unreported, self._told_at = self._unreported, time.monotonic()
            self._complain(f"self-connects come too fast to be reported: {self._unreported:,} so far are only counted")

    def _waits_in(self, watched: Watched) -> bool:
        return any(one.watched is watched for one in self._waiting)

    def _is_due(self, one: Waiting) -> bool:
        return time.monotonic() > one.since + _AT_LAST or not one.watched.rings.waits_for(one.hit.time + _AFTER)

    def _enough(self) -> bool:
        return self.reported >= (self._options.count or math.inf)

    def _gone(self) -> bool:
        """Whether the interface is no more. One that went down may come up again, and the rings with it."""
        if self._watched.trouble:
            self._complain(self._watched.trouble)
            self._watched.trouble = None
        trouble = self._watched.own.rings.trouble()
        if trouble:
            self._complain(trouble)
            interfaces = [name for _, name in socket.if_nameindex()]
            return self._options.interface not in interfaces
        return False

    def _complain(self, trouble: str) -> None:
        self.trouble = trouble
        self._console.complain(trouble)

    def _report_first(self) -> None:
        """Save what is kept for the first that waits, and report it and those that came along with it."""
        from analysis.reader import Analysis  # noqa: PLC0415 - it was imported without privilege

        watched = self._waiting[0].watched
        until = self._waiting[0].hit.time + _AFTER
        self._kernel_states.read(end=True)
        packets = watched.rings.kept(until)
        stream = watched.rings.pcapng(packets)
        name = self._save(stream)
        analysis = Analysis(name or "what was kept", collect={Verdict.SELF_CONNECT}, only=TOLD_BY_ENDS)
        analysis.feed(stream)
        result = analysis.finish()
        together: list[Waiting] = []
        others: deque[Waiting] = deque()
        for one in self._waiting:
            (together if one.watched is watched and one.hit.time <= until else others).append(one)
        self._waiting = others
        for one in together:
            self._report_one(one, result, name, len(packets))

    def _report_one(self, one: Waiting, result: CaptureResult | None, name: str | None, packets: int) -> None:
        self.reported += 1
        opening = _opening(result, one.hit) if result else None
        whole = report([replace(result, openings=[opening] if opening else [])] if result else [])
        compared = comparisons(whole, [opening] if opening else [], self._kernel_states)
        whole.live = {
            "interface": self._options.interface,
            **namespace_fields(one.watched.namespace, one.found.pid),
            "repro": "watch",
            "outcome": "hit",
            "attempts": opening.refused_before if opening else None,
            "seconds": round(time.monotonic() - self._began, 6),
            "packets": packets,
            "dropped": one.watched.rings.dropped,
            "file": name,
        }
        whole.kernel = of_kernel(port_choice.kernel(), [one.found], compared, self._kernel_states)
        if one.watched is not self._watched.own:  # its settings are not ours
            whole.kernel |= dict.fromkeys(("range", "reserved", "tcp_tw_reuse", "ip_local_port_step_width"))
        if self._options.format == "table":
            saved = [f"{packets:,} packets in {printable(name)}."] if name else []
            sentences = [
                *([UNWATCHED] if result is None else []),
                *(whereabouts(one.watched.namespace) if self._watched.everywhere else ()),
                whose_socket(one.found),
                *saved,
                *kernel_gaps(compared, self._kernel_states),
            ]
            self._console.show(whole, "The watch", sentences, compared)
        else:
            self._console.write(one_line(whole, one.hit))

    def _save(self, stream: bytes) -> str | None:
        """Write the packets to a new file; its name, or None."""
        if self._options.write == os.devnull or self._saved > self._options.keep:
            return None
        self._saved += 1
        if self._saved > self._options.keep:  # a program that connects to itself again and again fills no disk
            self._console.remark([f"{count(self._options.keep, 'capture')} saved, as many as --keep allows: no more."])
            return None
        try:
            with contextlib.closing(Sink(directory=self._options.write or "")) as sink:
                sink.write(stream)
        except SelfconnError as error:
            self._complain(str(error))
            return None
        return sink.name


def _take(known: dict[Endpoint, list[int]], hit: SelfConnect) -> bool:
    """Take the same self-connect out of those that are *known* by another way; whether it was there."""
    times = known.get(hit.endpoint, [])
    near = next((moment for moment in times if abs(moment - hit.time) < _SAME), None)
    if near is None:
        return False
    times.remove(near)
    return True


def _forget(known: dict[Endpoint, list[int]], *, before: int) -> None:
    """Drop those that happened *before* that time (nanoseconds since the epoch)."""
    for end, times in list(known.items()):
        known[end] = [moment for moment in times if moment > before]
        if not known[end]:
            del known[end]


def _opening(result: CaptureResult, hit: SelfConnect) -> Opening | None:
    """Find the opening that *hit* is the SYN-ACK of; None where its SYN was lost."""
    for one in result.openings:
        if one.verdict is Verdict.SELF_CONNECT and (one.source, one.isn) == (hit.endpoint, hit.isn):
            return one
    return None
