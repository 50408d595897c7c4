"""The port walk: the source ports that a client was given, attempt after attempt, and what they say of its system.

Ports become steps: how far each lies beyond the one before, round the range, counted in ports that are candidates at
all (of one parity, where the walk keeps to one). Every way of choosing that is known says how likely each step is; the
one that explains them best is named, with its share of all explanations as the certainty.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections import Counter
from functools import cached_property, lru_cache
from itertools import pairwise, repeat
from operator import add, itemgetter, lt, mul

from .model import NANOSECONDS, Verdict
from .odds import DOUBLE_HASH, LINUX_2_6, LINUX_5_12, LINUX_5_18, RANDOM, Algorithm, Odds, random_increments
from .records import NamedTuple
from .text import duration, whole_percent

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from .model import Attempts, CaptureResult, Endpoint
    from .odds import Selection

#: Refused attempts at one destination that make a walk.
LEAST = 16
#: Linux's ephemeral range, unless somebody set another.
DEFAULT_RANGE = (32768, 60999)

#: Ways of choosing, each with its weight before anything is seen. RFC 6056's algorithm 4 to the letter is rare: the
#: systems that use it do not step evenly.
_WAYS = ((RANDOM, 0.2), (LINUX_2_6, 0.2), (DOUBLE_HASH, 0.02), (LINUX_5_12, 0.2), (LINUX_5_18, 0.2))
_WEIGHT_OF_INCREMENTS = 0.1

#: Steps that are weighed; a walk does not change its ways.
_SAMPLE = 4096
#: From this share of ports with one parity on, the rest counts as another program's.
_ONE_PARITY = 0.9
#: The share of steps that fit nothing: sockets in the way, packets lost.
_STRAY = 0.01
#: Shares of attempts that the capture may have missed.
_MISSED = (0.0, 0.05, 0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 0.9)
#: Sums of steps that are rarer than _RARE, or of more than _LONG steps, are not considered.
_RARE, _LONG = 1e-5, 64
#: Ports in a row that may lie beside the path before it goes on.
_BESIDE = 64
#: A range with fewer candidates than this looks alike whatever the way.
_NARROW = 16
#: A guess that is less sure is not given.
_SURE = 0.5
#: Attempts or new starts after which a walk that goes nowhere in order has been nearly everywhere.
_EVERYWHERE = 64
#: Times that a walk has been at each of its ports before one that it never took counts as held.
_ROUNDS = 4
#: Held ports that are named.
_NAMED = 5


class Guess(NamedTuple):
    """How the ports were chosen; no ``selection`` where that is not clear.

    ``algorithm`` is its algorithm, or the variant that other signs speak for. ``sure`` lies between 0 and 1, ``why``
    is the middle of a sentence.
    """

    selection: Selection | None
    algorithm: Algorithm | None
    sure: float
    why: str


class Walk(NamedTuple):
    """The refused attempts at one destination, taken as a walk through source ports.

    ``low`` and ``high`` are the lowest and the highest port seen. ``parity`` is 0 if they are even, 1 if odd, but for
    ``strangers`` of them, and None if they are both. ``steps`` is the histogram of steps, in ports round the range, the
    most frequent first. ``laps``: how often it came round. ``jumps``: places in ``attempts.ports`` where it went on
    from somewhere else, so many of them ``salted``: by a clock of 10 s. ``beside``: places of ports off the path, which
    went on behind them. ``passed``: ports that it passed over in every lap, as held ones. ``seconds`` lie between the
    first attempt and the last, 0 where the capture's clock went back meanwhile. ``odds`` are those of a self-connect in
    the ephemeral ``range``: the ports seen, or Linux's own where the walk shows too little and does not contradict
    (``assumed``).
    """

    attempts: Attempts
    low: int
    high: int
    parity: int | None
    strangers: int
    steps: tuple[tuple[int, int], ...]
    laps: int
    jumps: tuple[int, ...]
    salted: int
    beside: tuple[int, ...]
    passed: tuple[int, ...]
    guess: Guess
    seconds: float
    range: tuple[int, int]
    assumed: bool
    odds: Odds

    @property
    def destination(self) -> Endpoint:
        """Where nobody answered."""
        return self.attempts.destination

    @property
    def rate(self) -> float | None:
        """Attempts a second; None where no time passed."""
        return (self.attempts.count - 1) / self.seconds if self.seconds > 0 else None

    def sentences(self) -> list[str]:
        """Say how many attempts there were, from which ports, how these were chosen, and the odds of a self-connect."""
        return [self._told(), self._chosen(), self._outlook()]

    def _told(self) -> str:
        count, seen = self.attempts.count, len(self.attempts.ports)
        pace = f" in {duration(self.seconds)}, {_figures(self.rate)} a second" if self.rate else ""
        kind = "" if self.parity is None else f"{_KINDS[self.parity]} ones of "
        text = f"{count:,} attempts at {self.destination} were refused{pace}. "
        text += f"Source ports: {kind}{self.low}-{self.high}"
        text += f", except {self.strangers:,}" if self.strangers else ""
        text += f"; went round the range {_times(self.laps)}" if self.laps else ""
        text += f", and passed over {_listed(self.passed)} each time" if self.passed else ""
        return text + (f" (of the first {seen:,})." if seen < count else ".")

    def _chosen(self) -> str:
        selection, algorithm, sure, why = self.guess
        if not selection:
            return f"How they were chosen is not clear: {why}."
        believed = "almost surely" if sure > 0.999 else "probably" if sure > 0.9 else "perhaps"
        return f"Chosen {believed} by {algorithm}, {selection.told}: {why}."

    def _outlook(self) -> str:
        port, (low, high) = self.destination.port, self.range
        if not low <= port <= high:
            whose = "Linux's own range" if self.assumed else "the range of the ports seen"
            return f"No self-connect that way: port {port} does not lie in {low}-{high}, {whose}."
        if port in self.passed:
            return f"No self-connect that way: port {port} is passed over, as what somebody has bound is."
        if not self.odds.catch:
            return f"No self-connect that way: port {port} is {_KINDS[port % 2]}, the walk's ports are not."
        where = "if the client is on that host" + (" and the range is Linux's own" if self.assumed else "")
        text = f"Port {port} is one of them: 1 attempt in {1 / self.odds.chance:,.0f} is a self-connect, {where}"
        takes = f"; at this rate it takes {duration(self.odds.mean / self.rate)} on average" if self.rate else ""
        return f"{text}{takes}."

    def plot(self, width: int = 72, height: int = 10) -> list[str]:
        """The walk as a picture in characters: attempts to the right, ports upwards, ``>`` at the destination's own."""
        ports, span = self.attempts.ports, self.high - self.low + 1
        height, width = min(height, span), min(width, len(ports))
        floors = [self.low - -row * span // height for row in range(height + 1)]  # the least port of each row
        cells: dict[tuple[int, int], int] = {}
        for at in range(width):
            column = sorted(ports[-(-at * len(ports) // width) : -(-(at + 1) * len(ports) // width)])
            ends = [bisect_left(column, floor) for floor in floors]
            cells |= {(row, at): above - below for row, (below, above) in enumerate(pairwise(ends))}
        most = max(cells.values())
        own = (self.destination.port - self.low) * height // span
        lines = []
        for row in reversed(range(height)):
            marks = "".join(".:#"[cells[row, at] * 3 // (most + 1)] if cells[row, at] else " " for at in range(width))
            lines.append(f"{floors[row]:5} {'>' if row == own else '|'}{marks}".rstrip())
        return [*lines, f"      +{'-' * width}", f"       1{f'{len(ports):,}':>{width - 1}} attempts"]


_KINDS = ("even", "odd")


def _figures(rate: float) -> str:
    """A rate with what figures it deserves: ``333.3``, ``26,573``."""
    return f"{rate:,.0f}" if rate >= 1000 else f"{rate:.4g}"


def look(result: CaptureResult) -> list[Walk]:
    """Find the walks of a capture. It takes some 2 us an attempt: do it once."""
    hits = {opening.source for opening in result.openings if opening.verdict is Verdict.SELF_CONNECT}
    return list(walks(result.attempts, hits | result.hits))


def walks(attempts: Sequence[Attempts], hits: Collection[Endpoint] = ()) -> Iterator[Walk]:
    """Look at each destination that was tried often enough; how the others were tried speaks for it or against it.

    *hits* are destinations whose own port was given to an attempt in the end.
    """
    if not any(len(one.ports) >= LEAST for one in attempts):
        return
    for one, others in zip(attempts, _others(attempts), strict=True):
        if len(one.ports) >= LEAST:
            yield _walk(one, others, hit=one.destination in hits)


def _others(attempts: Sequence[Attempts]) -> list[list[int]]:
    """For each attempt at each destination, how many there had been at others; of the first ones, see _SAMPLE."""
    if len(attempts) == 1:
        return [[0] * len(attempts[0].times[:_SAMPLE])]
    moments = sorted((one.first + time, place) for place, one in enumerate(attempts) for time in one.times[:_SAMPLE])
    counts: list[list[int]] = [[] for _ in attempts]
    for rank, (_, place) in enumerate(moments):
        counts[place].append(rank - len(counts[place]))
    return counts


class _Track:
    """A walk counted in candidates: ``places`` of its attempts in a range of so many ``candidates``, ``unit`` apart.

    ``times`` are in nanoseconds, ``others`` as ``_others()`` has them, shorter than the rest.
    """

    def __init__(self, places: list[int], times: Sequence[int], others: list[int], unit: int, candidates: int) -> None:
        self.places, self.times, self.others = places, times, others
        self.unit, self.candidates = unit, candidates

    def width(self, one: int, other: int) -> int:
        """How far it is from one attempt's place to another's, round the range: 1 to ``candidates``."""
        return (self.places[other] - self.places[one] - 1) % self.candidates + 1

    @cached_property
    def widths(self) -> list[int]:
        """How far it is from each attempt to the next."""
        candidates = self.candidates
        return [(there - here - 1) % candidates + 1 for here, there in pairwise(self.places)]

    def without_others(self) -> _Track:
        """The same as if no other destination had moved the walk on."""
        if not self.others[-1]:
            return self
        rest = [self.others[-1]] * (len(self.places) - len(self.others))
        places = [at - moved for at, moved in zip(self.places, self.others + rest, strict=True)]
        return _Track(places, self.times, self.others, self.unit, self.candidates)


def _walk(attempts: Attempts, others: list[int], *, hit: bool) -> Walk:
    ports, times = attempts.ports, attempts.times
    odd = sum([port % 2 for port in ports]) / len(ports)
    parity = 1 if odd >= _ONE_PARITY else 0 if odd <= 1 - _ONE_PARITY else None
    kept: Sequence[int] = range(len(ports))
    if parity is not None and 0 < odd < 1:
        kept = [n for n, port in enumerate(ports) if port % 2 == parity]
        ports, times = [ports[n] for n in kept], [times[n] for n in kept]
    low, high, unit = min(ports), max(ports), 1 if parity is None else 2
    track = _Track(
        places=[(port - low) // unit for port in ports],
        times=times,
        others=[others[n] for n in kept[: len(others)] if n < len(others)],
        unit=unit,
        candidates=(high - low) // unit + 1,
    )
    track, passed = _without_held(track)
    guess, missed = _guess(track)
    selection = guess.selection
    laps, jumps, beside = _path(track, selection, missed) if selection and selection.steps else (0, [], [])
    salted = _salted(track.times, jumps) if selection and selection.salted < math.inf else 0
    if selection is LINUX_5_18 and len(beside) > max(2, len(jumps)):
        why = f"{guess.why}; {len(beside):,} ports lie beside the path, as where Linux leaps on from a reserved port"
        guess = guess._replace(algorithm=Algorithm.DOUBLE_HASH_LEAPS, sure=min(guess.sure, 0.95), why=why)
    elif salted:
        guess = guess._replace(why=f"{guess.why}; it jumped elsewhere {_times(salted)}, in step with a clock of 10 s")
    widths = track.widths
    steps = Counter({unit * width: times for width, times in Counter(widths).items()})
    tries = salted if selection and selection.steps else len(ports)
    everywhere = laps or tries >= _EVERYWHERE or len(ports) >= 4 * track.candidates
    # The destination's own port is the one that no refused attempt can have had: the range may begin or end with it.
    port = attempts.destination.port
    first = port if (port < low if hit else port == low - unit) else low
    last = port if (port > high if hit else port == high + unit) else high
    extent, assumed = _range(first, last, everywhere=bool(everywhere))
    held = tuple(low + unit * place for place in passed)
    lowest = extent[0] if parity in (None, extent[0] % 2) else extent[0] + 1
    candidates = len(range(lowest, extent[1] + 1, unit)) - len(held)
    odds = Odds(0.0)
    seconds = (attempts.took or 0) / NANOSECONDS
    if extent[0] <= port <= extent[1] and parity in (None, port % 2) and port not in held:
        odds = (selection or RANDOM).odds({1: candidates}, every=seconds / (attempts.count - 1))
    return Walk(
        attempts=attempts,
        low=low,
        high=high,
        parity=parity,
        strangers=len(attempts.ports) - len(ports),
        steps=tuple(steps.most_common(32)),
        laps=laps,
        jumps=tuple(kept[n] for n in jumps),
        salted=salted,
        beside=tuple(kept[n] for n in beside),
        passed=held,
        guess=guess,
        seconds=seconds,
        range=extent,
        assumed=assumed,
        odds=odds,
    )


def _without_held(track: _Track) -> tuple[_Track, list[int]]:
    """The same walk among the places that it takes, and those that it passes over; only if it is one place on then.

    A port that somebody holds (bound, or reserved) is no candidate. Where the walk goes strictly on, each gap is one.
    """
    taken = sorted(set(track.places))
    if len(taken) == track.candidates or len(track.places) < _ROUNDS * len(taken):
        return track, []
    among = {place: n for n, place in enumerate(taken)}
    closed = _Track([among[place] for place in track.places], track.times, track.others, track.unit, len(taken))
    widths = closed.widths
    if widths.count(1) < (1 - _STRAY) * len(widths):
        return track, []
    return closed, sorted(set(range(track.candidates)) - set(taken))


def _range(low: int, high: int, *, everywhere: bool) -> tuple[tuple[int, int], bool]:
    """The ephemeral range behind the ports seen, and whether it is a guess."""
    first, last = DEFAULT_RANGE
    fits = first <= low and high <= last
    if fits and (not everywhere or high - low > 0.9 * (last - first)):
        return DEFAULT_RANGE, True
    return (low, high), False


# -- which way of choosing ------------------------------------------------------------------------------------------


def _guess(track: _Track) -> tuple[Guess, float]:
    """How the ports were chosen, and the share of attempts that the capture seems to have missed."""
    last = min(_SAMPLE, len(track.others)) - 1
    alike = track.without_others()
    plain, alone = track.widths[:last], alike.widths[:last]
    seconds = [time / NANOSECONDS for time in track.times[: last + 1]]
    pauses = [max(0.0, then - now) for now, then in pairwise(seconds)]
    penalty = math.log(last) / 2
    scores: list[tuple[float, Selection, float]] = []
    counts: dict[tuple[bool, float], Counter[tuple[int, int]]] = {}
    for way, weight in [*_WAYS, *_increments(plain, track.candidates)]:
        # In hundredths, so that steps can be counted instead of looked at one by one.
        shared = way.shared and alike is not track
        counted = counts.get((shared, way.salted))
        if counted is None:
            salts = _hundredths(pauses, way.salted)
            counted = Counter(zip(alone if shared else plain, salts, strict=True))
            counts[shared, way.salted] = counted
        more = way.algorithm is Algorithm.RANDOM_INCREMENTS
        for missed, score in _scores(way, counted, track.candidates):
            scores.append((score + math.log(weight) - ((missed > 0) + more) * penalty, way, missed))
    top, best, missed = max(scores, key=itemgetter(0))
    believed = [(math.exp(score - top), way.algorithm) for score, way, _ in scores]
    sure = sum(share for share, algorithm in believed if algorithm is best.algorithm)
    # Logarithms differ in their last digits from one C library to the next, and reports do not.
    sure = round(sure / sum(share for share, _ in believed), 9)
    if sure < _SURE:
        return Guess(None, None, sure, _unclear(track, pauses)), 0.0
    why = _evidence(best, alone if best.shared else plain, track)
    why += f"; some {missed:.0%} of the attempts seem to be missing in the capture" if missed else ""
    return Guess(best, best.algorithm, sure, why), missed


def _hundredths(pauses: Sequence[float], salted: float) -> list[int]:
    """The chance that a new salt came in each pause."""
    if salted == math.inf:
        return [0] * len(pauses)
    return [math.ceil(min(1.0, pause / salted) * 100) for pause in pauses]


def _increments(widths: Sequence[int], candidates: int) -> list[tuple[Selection, float]]:
    """Algorithm 5 with the largest increment that these steps speak for, if they do."""
    usual = 2 * sorted(widths)[len(widths) * 9 // 10]
    most = max(width for width in widths if width <= usual)
    return [(random_increments(most), _WEIGHT_OF_INCREMENTS)] if _NARROW < most <= candidates // 2 else []


def _scores(way: Selection, counted: Counter[tuple[int, int]], candidates: int) -> Iterator[tuple[float, float]]:
    """Shares of attempts that may have been missed, each with the logarithm of the chance of these steps then.

    Of each step *counted* has the width, and the chance of a new salt in hundredths.
    """
    strays = {salt: 1 - (1 - _STRAY) * (1 - salt / 100) if way.steps else 1.0 for _, salt in counted}
    parts = [(width, count, 1 - strays[salt], strays[salt] / candidates) for (width, salt), count in counted.items()]
    log = math.log
    for missed, (likely, reach) in _sums(way.steps).items():
        known = likely.get
        if reach > candidates:  # round the range, and on
            rounds = {width: range(width, reach + 1, candidates) for width, *_ in parts}
            known = {width: sum([likely.get(wide, 0.0) for wide in wides]) for width, wides in rounds.items()}.get
        yield missed, sum([count * log(fits * known(width, 0.0) + stray) for width, count, fits, stray in parts])


@lru_cache(maxsize=16)
def _sums(steps: tuple[float, ...]) -> dict[float, tuple[dict[int, float], int]]:
    """How likely each width is, and the widest: for each share of attempts that may have been missed.

    Where attempts are missed a step may be the sum of several.
    """
    tries = _MISSED if 0 < len(steps) < _NARROW else _MISSED[:1]
    likely: dict[float, list[float]] = {missed: [] for missed in tries}  # from width 1 on
    shares = {missed: 1.0 - missed for missed in tries}
    sums = [1.0]  # of so many steps, from the least one (all of width 1) on
    for count in range(1, _LONG + 1 if steps else 0):
        shares = {missed: share for missed, share in shares.items() if share >= _RARE}
        if not shares:
            break
        before, sums = sums, [0.0] * (len(sums) + len(steps) - 1)
        for at in reversed(range(len(steps))):  # the widest first: rounding depends on the order
            there = slice(at, at + len(before))
            sums[there] = map(add, sums[there], map(mul, before, repeat(steps[at])))
        for missed, share in shares.items():
            widths = likely[missed]
            widths += [0.0] * (count * len(steps) - len(widths))
            widths[count - 1 :] = map(add, widths[count - 1 :], map(mul, repeat(share), sums))
            shares[missed] = share * missed
    return {missed: (dict(enumerate(widths, start=1)), len(widths)) for missed, widths in likely.items()}


def _evidence(way: Selection, widths: Sequence[int], track: _Track) -> str:
    """What speaks for it, in half a sentence."""
    near, unit = Counter(widths), track.unit
    share = whole_percent(sum(near[wide] for wide in range(1, len(way.steps) + 1)) / len(widths))
    if not way.steps:
        below = sum(later < port for port, later in pairwise(track.places)) / (len(track.places) - 1)
        return f"{whole_percent(below)} of the ports lie below the one before, at any distance"
    if len(way.steps) > 2:
        return f"{share} of the steps are {unit} to {unit * len(way.steps)} ports wide, each width about as often"
    following = f"{whole_percent(near[1] / len(widths))} of the steps lead to the next port" + " of that parity" * (
        unit == 2
    )
    if len(way.steps) == 2:
        return f"{following}, {whole_percent(near[2] / len(widths))} skip one"
    if track.others[-1]:
        return following + (
            ", if attempts at other destinations are counted, too" if way.shared else ", no matter what goes elsewhere"
        )
    return f"{following} (algorithm 4 to the letter would look the same, but nothing is known to use it)"


def _unclear(track: _Track, pauses: Sequence[float]) -> str:
    if track.candidates < _NARROW:
        return f"with {track.candidates} ports to choose from, every way looks alike"
    if sorted(pauses)[len(pauses) // 2] >= LINUX_5_18.salted:
        return "the attempts are 10 s and more apart, and Linux starts from elsewhere every 10 s"
    return "the steps fit more than one way"


def _listed(ports: Sequence[int]) -> str:
    """The first ports, and how many more."""
    more = f" and {len(ports) - _NAMED:,} more" if len(ports) > _NAMED else ""
    return ", ".join(map(str, ports[:_NAMED])) + more


def _times(count: int) -> str:
    return {1: "once", 2: "twice"}.get(count, f"{count:,} times")


# -- the path -------------------------------------------------------------------------------------------------------


def _path(track: _Track, selection: Selection, missed: float) -> tuple[int, list[int], list[int]]:
    """How often the walk came round, where it jumped, and what lies beside it."""
    ports = track.places
    if selection.shared:
        track = track.without_others()
    _, reach = _sums(selection.steps)[missed]
    laps = 0
    jumps: list[int] = []
    beside: list[int] = []
    widths = track.widths
    here, end = 0, len(track.places)
    for far in [*[n for n, width in enumerate(widths) if width > reach], end - 1]:
        if far < here:
            continue  # it was beside the path
        laps += sum(map(lt, ports[here + 1 : far + 1], ports[here:far]))
        here = far
        if here == end - 1:
            break
        # A port beside the path: the next one goes on from before it. More than one: they do not follow each other.
        there, astray = here + 1, widths[here]
        scattered = there + 1 < end and widths[there] > reach
        tries = range(there + 1, min(there + (_BESIDE if scattered else 1) + 1, end))
        there = next((n for n in tries if track.width(here, n) < min(reach * (n - here) + 1, astray)), there)
        beside += range(here + 1, there)
        if there == here + 1:
            jumps.append(there)
        else:
            laps += ports[there] < ports[here]
        here = there
    return laps, jumps, beside


def _salted(times: Sequence[int], jumps: Sequence[int]) -> int:
    """How many of the jumps come by a clock of 10 s; 0 unless nearly all of them do. *times* in nanoseconds."""
    period = LINUX_5_18.salted
    seconds = {n: times[n] / NANOSECONDS for jump in jumps for n in (jump - 1, jump)}
    ticks = [seconds[n] % period for n in jumps]
    # A jump fits a clock that ticked after the attempt before it, and at the latest with it: from begin to end.
    begins, ends, always = [], [], 0
    for n, end in zip(jumps, ticks, strict=True):
        begin = end - (seconds[n] - seconds[n - 1] + 0.02)
        if begin <= end - period:
            always += 1
        elif begin <= end:
            begins += [begin] if begin >= 0 else [begin + period, 0.0]  # round the clock
            ends += [end] if begin >= 0 else [period, end]
    begins.sort()
    ends.sort()
    most = always + max((bisect_right(begins, tick) - bisect_left(ends, tick) for tick in ticks), default=0)
    return most if len(ticks) > 1 and most >= 0.8 * len(ticks) else 0
