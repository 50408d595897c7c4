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
from contextlib import ExitStack, closing

from analysis import privilege
from analysis.errors import CannotCapture, Incomplete, SelfconnError, UsageError
from analysis.model import NANOSECONDS, Verdict
from analysis.records import NamedTuple
from analysis.report import report
from analysis.text import count, printable

from ..kernel import namespaces, port_choice
from ..kernel.kernel_states import KernelStates
from ..kernel.netlink import own_diag
from ..kernel.sockets import owners
from ..packets.ring import ANY
from ..packets.watch_rings import WatchRings
from .fair_queue import FairQueue, Pace
from .messages import kernel_gaps, whose_socket
from .namespace_opener import NamespaceOpener
from .output import Sink
from .process_finder import ProcessFinder
from .recording import TOLD_BY_ENDS
from .report_sections import UNWATCHED, comparisons, of_kernel, one_line
from .session import signals, with_sudo
from .watch_counts import Again, Untold
from .watch_counts import one_line as counted
from .watch_intake import Intake, Waiting
from .watch_line import Seen, heading, written
from .watched import Watched, WatchedNamespaces, namespace_fields, whereabouts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

    from analysis.model import CaptureResult
    from analysis.reader import Analysis

    from ..kernel.port_choice import Kernel
    from ..kernel.sockets import Process
    from .console import Console
    from .report_sections import Comparison
    from .run_context import Options
    from .watch_intake import Holders

#: Seconds between two looks at the flight recorder; while something waits to be told.
_TICK, _SOON = 0.1, 0.02
#: Nanoseconds after a self-connect that belong to it, and within which others are analysed along with it.
_AFTER, _TOGETHER = NANOSECONDS // 100, NANOSECONDS // 10
#: Seconds after it when it is told at the latest, even if the kernel has not handed over all that belongs to it.
_AT_LAST = 0.75
#: Seconds from one word about what is only counted to the next; seconds after which it is too late to tell of one.
_SAY, _TOO_OLD = 2.0, 3.0
#: Seconds for which the kernel's settings are taken to be the same.
_SETTINGS = 2.0
#: Seconds at the end until the kernel has handed over what came last, and for those that wait.
_HANDED_OVER, _LAST = 0.06, 1.0
#: How much of a processor goes into telling: for all together, for a user, for a network namespace, for a process.
_PACES = (Pace(0.5, 4.0), Pace(0.2, 2.0), Pace(0.2, 1.5), Pace(0.1, 1.0))
#: Self-connects that can wait to be told, and those of one process; beyond that they are only counted. The sockets of
#: so many are asked for at once, those of the others when they are told.
_WAITING, _EACH, _FEW = 1000, 100, 5


def run(options: Options) -> int:
    """Watch as *options* say; return the exit status. Raises SelfconnError where that is not possible."""
    _check(options)
    with ExitStack() as opened:
        own, opener, kernel_states, holders = _privileged(options, opened)
        watched = opened.enter_context(closing(WatchedNamespaces(own, opener)))
        _check_directory(options)
        from analysis import portwalk, reader  # noqa: PLC0415, F401 - here and below: without privilege, and before it
        from analysis.views import json, table  # noqa: PLC0415, F401 - waits: by then another version may be installed

        from .console import Console  # noqa: PLC0415

        with signals() as signalled, Console(options) as console:
            watch = Watch(options, watched, kernel_states, console, holders)
            console.remark(watch.intended())
            watch.begin()
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


def _privileged(options: Options, opened: ExitStack) -> tuple[Watched, NamespaceOpener | None, KernelStates, Holders]:
    """Everything that needs privilege, and the end of it, but for what stays privileged: processes of their own."""
    privilege.keep_to_itself()
    everything = options.netns == "all" or (options.netns is None and namespaces.may_enter_all())
    opener = space = None
    try:
        if options.netns not in (None, "self", "all"):
            space = namespaces.go_into(options.netns)
        elif everything and options.interface in ("lo", ANY):
            opener = NamespaceOpener(options.port, packets=options.before)
            opened.callback(opener.close)
        kernel_states = opened.enter_context(KernelStates(options.port))
        holders: Holders = _holders
        if kernel_states.missing:
            finder = ProcessFinder()
            opened.callback(finder.close)
            holders = finder.holders
        rings = opened.enter_context(WatchRings(options.interface, options.port, packets=options.before))
    except CannotCapture as error:
        raise with_sudo(error, options) from error
    if space is None:  # afterwards not even the link to our own namespace may be read
        [space] = namespaces.named(namespaces.Scan().found.values())
    privilege.give_up_root()
    return Watched(space, rings, own_diag()), opener, kernel_states, holders


def _holders(inodes: Collection[int]) -> dict[int, list[Process]]:
    """Look for the processes that hold these sockets, without privilege."""
    return owners(inodes)[0]


class _Kept(NamedTuple):
    """What was kept in a namespace from one moment to another, analysed: it serves for all that happened meanwhile."""

    watched: Watched
    since: int
    until: int
    analysis: Analysis
    result: CaptureResult
    name: str | None
    packets: int


class Watch:
    """Reports every self-connect in what is *watched*, as *console* does, and saves what came before it.

    ``reported`` counts them. ``trouble`` says what went wrong last, if something did.
    """

    def __init__(
        self,
        options: Options,
        watched: WatchedNamespaces,
        kernel_states: KernelStates,
        console: Console,
        holders: Holders,
    ) -> None:
        self.reported = self._saved = 0
        self.trouble: str | None = None
        self._options, self._watched, self._kernel_states, self._console = options, watched, kernel_states, console
        self._again, self._untold = Again(), Untold()
        self._intake = Intake(watched, kernel_states, self._untold, holders)
        self._queue: FairQueue[Waiting] = FairQueue(_PACES, most=_WAITING, each=_EACH)
        self._kept: _Kept | None = None
        self._kernel: Kernel | None = None
        self._said_at = self._asked_at = -math.inf
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
            yield f"A process is named only while its socket lasts{more}: {self._kernel_states.missing}."
        yield from self._watched.started()

    def begin(self) -> None:
        """Write what stands above the lines for people."""
        if self._options.format == "table" and not self._options.quiet:
            self._console.write(heading() + "\n")

    def summary(self) -> Iterator[str]:
        """Say what it came to, and what it cost."""
        seconds, worked = time.monotonic() - self._began, time.process_time() - self._worked
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        again = f", {self._again.total:,} more like those" if self._again.total else ""
        more = f", {self._untold.total:,} that came too fast to be told" if self._untold.total else ""
        events = (
            f", {count(self._kernel_states.lost, 'event')} of the kernel's own account lost"
            if self._kernel_states.lost
            else ""
        )
        yield (
            f"{count(self.reported, 'self-connect')}{again}{more} in {seconds:,.1f} s; {worked / seconds:.2%} of a "
            f"processor, {memory / 1024:,.0f} MB of memory at most, {self._watched.dropped:,} segments lost{events}."
        )

    def run(self, signalled: int) -> None:
        """Watch until the descriptor *signalled* becomes readable, a limit is reached or the interface is gone."""
        end = self._began + (self._options.timeout or math.inf)
        served = False
        while not (time.monotonic() > end or self._enough() or self._gone()):
            pause = 0 if served else _SOON if self._queue else _TICK
            stop, due, remarks = self._watched.wait(signalled, pause)
            self._console.remark(remarks)
            if stop:
                break
            self._take_in(self._intake.look(due))
            served = self._serve()  # one at a time: a signal is heard in between
            self._say(every=_SAY)
        time.sleep(_HANDED_OVER)
        self._take_in(self._intake.look(self._watched.all()))  # what came since
        self._take_in(self._intake.last())
        end = time.monotonic() + _LAST
        while not self._enough() and time.monotonic() < end and self._serve(last=True):
            pass
        for one in self._queue.drop(lambda _: True):
            self._give_up(one)
        self._say(every=0)

    def _take_in(self, some: Iterable[Waiting]) -> None:
        """Count what is like one that was told; have the others wait."""
        for one in some:
            one.watched.newest = max(one.watched.newest, one.hit.time)
            if self._again.is_known(one.alike, one.hit.time, one.since):
                continue
            self._again.remember(one.alike, one.found, one.watched.namespace, one.since)
            one.watched.waiting += one.shown
            few = one.found.state is None and self._queue.waiting(one.owner) < _FEW
            if gone := self._queue.put(one.owner, self._intake.asked(one) if few else one):
                self._give_up(gone)

    def _serve(self, *, last: bool = False) -> bool:
        """Tell the next that waits, if one may be told now; whether there was one."""
        began, now = time.process_time(), time.monotonic()
        one = self._queue.take(now, self._is_ready if not last else lambda _: True)
        if one is None:
            return False
        one.watched.waiting -= one.shown
        found = self._intake.once_more(one)
        self._again.told(one.alike, found)
        self._tell(one._replace(found=found))
        self._queue.charge(one.owner, time.process_time() - began, now)
        return True

    def _is_ready(self, one: Waiting) -> bool:
        """Whether the kernel has handed over all that belongs to it, or no longer is waited for."""
        waited = time.monotonic() > one.since + _AT_LAST
        return waited or not one.is_shown or not one.watched.rings.waits_for(one.hit.time + _AFTER)

    def _give_up(self, one: Waiting) -> None:
        """It is only counted, and so are those that were counted as alike."""
        one.watched.waiting -= one.shown
        self._untold.add(1 + self._again.forget(one.alike), one.found.user, one.watched.namespace.name)

    def _say(self, *, every: float) -> None:
        """Say what was counted; so many seconds apart, and with 0 all of it."""
        now = time.monotonic()
        if now < self._said_at + every:
            return
        self._said_at = now
        for one in self._queue.drop(lambda one: now > one.since + _TOO_OLD):
            self._give_up(one)
        self._intake.count_lost()
        said = [("again", *words) for words in self._again.words(now if every else math.inf)]
        if words := self._untold.words():
            lines, sentence = words
            self._complain(sentence)
            said += [("untold", fields, "") for fields in lines]
        for kind, fields, sentence in said:
            if self._options.format != "table":
                self._console.write(counted(kind, fields))
            elif sentence:
                self._console.remark([sentence])

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

    def _kept_for(self, one: Waiting) -> _Kept:
        """Save and analyse what is kept of that namespace, unless that has just been done."""
        from analysis.reader import Analysis  # noqa: PLC0415 - it was imported without privilege

        kept, rings, moment = self._kept, one.watched.rings, one.hit.time
        if kept and kept.watched is one.watched and kept.since <= moment <= kept.until - _AFTER:
            return kept
        last = min(one.watched.newest + _AFTER, moment + _TOGETHER, rings.settled())
        until = max(moment + _AFTER, last)
        packets = rings.kept(until)
        stream = rings.pcapng(packets)
        name = self._save(stream)
        analysis = Analysis(name or "what was kept", collect={Verdict.SELF_CONNECT}, only=TOLD_BY_ENDS)
        analysis.feed(stream)
        self._kept = _Kept(one.watched, moment, until, analysis, analysis.finish(opened=False), name, len(packets))
        return self._kept

    def _tell(self, one: Waiting) -> None:
        self.reported += 1
        self._kernel_states.read(end=True, of=(one.hit.endpoint, one.hit.time))
        kept = self._kept_for(one) if one.is_shown else None
        # None where its SYN was lost.
        opening = kept.analysis.opening(one.hit.endpoint, one.hit.isn) if kept and one.hit.isn is not None else None
        whole = report([kept.result._replace(openings=[opening] if opening else [])] if kept else [])
        compared = comparisons(whole, [opening] if opening else [], self._kernel_states)
        whole.live = live = {
            "interface": self._options.interface,
            **namespace_fields(one.watched.namespace, one.found.pid),
            "repro": "watch",
            "outcome": "hit",
            "attempts": opening.refused_before if opening else None,
            "seconds": round(time.monotonic() - self._began, 6),
            "packets": kept.packets if kept else 0,
            "dropped": one.watched.rings.dropped,
            "file": kept.name if kept else None,
        }
        whole.kernel = of_kernel(self._settings(), [one.found], compared, self._kernel_states)
        if one.watched is not self._watched.own:  # its settings are not ours
            whole.kernel |= dict.fromkeys(("range", "reserved", "tcp_tw_reuse", "ip_local_port_step_width"))
        if self._options.format != "table":
            self._console.write(one_line(whole, one.hit))
            return
        self._console.write_columns(written(Seen(one.found, str(live["namespace"]), opening)))
        if self._options.verbose:
            self._console.show(whole, "The watch", self._sentences(one, kept, compared), compared)

    def _settings(self) -> Kernel:
        """Ask for the kernel's settings, which may change in the days of a watch; not for each of a flood."""
        now = time.monotonic()
        if self._kernel is None or now > self._asked_at + _SETTINGS:
            self._kernel, self._asked_at = port_choice.kernel(), now
        return self._kernel

    def _sentences(self, one: Waiting, kept: _Kept | None, compared: list[Comparison]) -> list[str]:
        saved = [f"{count(kept.packets, 'packet')} in {printable(kept.name)}."] if kept and kept.name else []
        return [
            *([] if kept else [UNWATCHED]),
            *(whereabouts(one.watched.namespace) if self._watched.everywhere else ()),
            whose_socket(one.found),
            *saved,
            *kernel_gaps(compared, self._kernel_states),
        ]

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
