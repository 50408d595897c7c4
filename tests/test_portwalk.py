"""Port walks: RFC 6056's algorithms written down from the RFC, Linux's variants, and the kernel that runs."""

from __future__ import annotations

import errno
import json
import math
import random
import socket
import time
from collections import defaultdict
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from alone import alone
from segments import Talk

from analysis.model import Attempts, CaptureResult, Endpoint, Verdict
from analysis.odds import Algorithm
from analysis.portwalk import LEAST, Walk, look, walks
from analysis.report import report
from analysis.text import duration
from analysis.views import json as json_view
from analysis.views import table
from capture.kernel import port_choice
from capture.kernel.port_rules import RULES

if TYPE_CHECKING:
    pass

DESTINATION = Endpoint.parse("127.0.0.1", 50000)
ELSEWHERE = Endpoint.parse("127.0.0.1", 6379)
START = 1_790_000_000_000_000_000

#: A way to choose: a function of the destination and of the time in seconds.
Chooser = "Callable[[Endpoint, float], int]"


# -- RFC 6056 3.3, each as its pseudocode has it, every port being free -----------------------------------------------


def algorithm_1(rolls: random.Random, low: int, high: int) -> Chooser:
    return lambda _to, _now: low + rolls.getrandbits(31) % (high - low + 1)


def algorithm_2(rolls: random.Random, low: int, high: int, free: float = 0.9) -> Chooser:
    """Where a port is not suitable, another one is drawn."""
    suitable = {port for port in range(low, high + 1) if rolls.random() < free}

    def choose(_to: Endpoint, _now: float) -> int:
        while True:
            port = low + rolls.getrandbits(31) % (high - low + 1)
            if port in suitable:
                return port

    return choose


def algorithm_3(rolls: random.Random, low: int, high: int) -> Chooser:
    offsets: dict[Endpoint, int] = defaultdict(lambda: rolls.getrandbits(32))  # F(): a hash of the destination
    counter = [rolls.getrandbits(16)]

    def choose(to: Endpoint, _now: float) -> int:
        port = low + (counter[0] + offsets[to]) % (high - low + 1)
        counter[0] += 1
        return port

    return choose


def algorithm_4(rolls: random.Random, low: int, high: int) -> Chooser:
    offsets: dict[Endpoint, int] = defaultdict(lambda: rolls.getrandbits(32))
    places: dict[Endpoint, int] = defaultdict(lambda: rolls.randrange(1000))  # G(): another hash
    table = [rolls.getrandbits(16) for _ in range(1000)]

    def choose(to: Endpoint, _now: float) -> int:
        port = low + (offsets[to] + table[places[to]]) % (high - low + 1)
        table[places[to]] += 1
        return port

    return choose


def algorithm_5(rolls: random.Random, low: int, high: int, trade_off: int = 500) -> Chooser:
    counter = [rolls.getrandbits(16)]

    def choose(_to: Endpoint, _now: float) -> int:
        counter[0] += rolls.getrandbits(31) % trade_off + 1
        return low + counter[0] % (high - low + 1)

    return choose


# -- __inet_hash_connect(), as Linux releases have it ----------------------------------------------------------------


def linux(
    rolls: random.Random,
    low: int,
    high: int,
    *,
    release: tuple[int, int],
    reserved: frozenset[int] = frozenset(),
    step_width: int = 0,
) -> Chooser:
    hint, table = [rolls.getrandbits(16) & ~1], [rolls.getrandbits(32) & ~1 for _ in range(256)]
    offsets: dict[tuple[Endpoint, int], int] = defaultdict(lambda: rolls.getrandbits(32))
    unit = 2 if release >= (4, 2) else 1
    remaining = (high + 1 - low) & ~1

    def choose(to: Endpoint, now: float) -> int:
        salt = int(now + 3.3) // 10 if release >= (5, 18) else 0
        port_offset = offsets[to, salt]
        index = port_offset % 256
        offset = ((hint[0] if release < (5, 12) else table[index]) + port_offset // 256) % remaining
        offset -= offset % unit
        stride = unit
        if step_width:
            candidates = remaining // unit
            stride = rolls.randint(1, min(candidates, step_width))
            while math.gcd(stride, candidates) != 1:
                stride = stride + 1 if stride < min(candidates, step_width) else 1
            stride *= unit
        moved = 0
        while low + offset in reserved:
            offset = (offset + stride) % remaining
            moved += unit
        if release < (5, 12):
            hint[0] += moved + unit
        elif release < (5, 18):
            table[index] += (2 if not moved and not rolls.randrange(16) else moved) + 2
        else:
            table[index] += max(moved, rolls.randrange(8) * 2) + 2
        return low + offset

    return choose


# -- walks -----------------------------------------------------------------------------------------------------------


def walk(choose: Chooser, count: int, *, every: float = 0.001, others: float = 0.0, seen: float = 1.0) -> Walk:
    """What is found where so many attempts were made, so many *others* elsewhere for each, and a share was *seen*."""
    rolls = random.Random(count)
    made: dict[Endpoint, list[tuple[int, int]]] = {DESTINATION: [], ELSEWHERE: []}
    now = 0.0
    while len(made[DESTINATION]) < count:
        to = ELSEWHERE if rolls.random() < others / (1 + others) else DESTINATION
        port = choose(to, now)
        if rolls.random() < seen:
            made[to].append((int(now * 1e9), port))
        now += every / (1 + others)
    return next(walks([attempts(to, moments) for to, moments in made.items() if moments]))


def attempts(to: Endpoint, moments: list[tuple[int, int]]) -> Attempts:
    first, last = moments[0][0], moments[-1][0]
    ports, times = tuple(port for _, port in moments), tuple(time - first for time, _ in moments)
    return Attempts(to, len(moments), START + first, START + last, ports, times)


RFC = {
    algorithm_1: Algorithm.RANDOM,
    algorithm_2: Algorithm.RANDOM,
    algorithm_3: Algorithm.SIMPLE_HASH,
    algorithm_4: Algorithm.DOUBLE_HASH,
    algorithm_5: Algorithm.RANDOM_INCREMENTS,
}


@pytest.mark.parametrize("count", [60, 3000])
@pytest.mark.parametrize(("low", "high"), [(49152, 65535), (1024, 65535)])
@pytest.mark.parametrize("algorithm", RFC, ids=lambda algorithm: algorithm.__name__)
def test_each_algorithm_of_the_rfc_is_named(algorithm, low: int, high: int, count: int) -> None:
    found = walk(algorithm(random.Random(7), low, high), count, others=0.5)
    assert found.guess.algorithm is RFC[algorithm]
    assert found.guess.sure > 0.9
    assert (found.parity, found.strangers) == (None, 0)


@pytest.mark.parametrize("every", [0.0002, 0.05, 1.0, 4.0])
@pytest.mark.parametrize(
    ("release", "algorithm"),
    [
        ((2, 6), Algorithm.SIMPLE_HASH),
        ((4, 19), Algorithm.SIMPLE_HASH),
        ((5, 15), Algorithm.DOUBLE_HASH),
        ((6, 18), Algorithm.DOUBLE_HASH_STEPS),
    ],
)
def test_each_linux_is_named(release: tuple[int, int], algorithm: Algorithm, every: float) -> None:
    found = walk(linux(random.Random(1), 32768, 60999, release=release), 600, every=every)
    assert found.guess.algorithm is algorithm
    assert found.guess.sure > 0.9
    assert found.parity == (None if release < (4, 2) else 0)
    # What the kernel does is one table, which both sides read.
    assert any(rule.selection is found.guess.selection for _, rule in RULES)


@pytest.mark.parametrize(
    ("release", "seen"), [((4, 19), 0.5), ((4, 19), 0.2), ((6, 18), 0.9), ((6, 18), 0.5), ((6, 18), 0.2)]
)
def test_a_capture_that_misses_attempts_does_not_mislead(release: tuple[int, int], seen: float) -> None:
    whole = walk(linux(random.Random(1), 32768, 60999, release=release), 1000)
    holes = walk(linux(random.Random(1), 32768, 60999, release=release), 1000, seen=seen)
    assert holes.guess.algorithm is whole.guess.algorithm
    assert "missing in the capture" in holes.guess.why


def test_one_destination_alone_does_not_tell_algorithm_3_from_4() -> None:
    for algorithm in (algorithm_3, algorithm_4):
        found = walk(algorithm(random.Random(1), 1024, 65535), 1000)
        assert found.guess.algorithm is Algorithm.SIMPLE_HASH
        assert 0.8 < found.guess.sure < 0.99
        assert "algorithm 4 to the letter would look the same" in found.guess.why


def test_what_cannot_be_told_is_not_told() -> None:
    narrow = walk(linux(random.Random(1), 50000, 50007, release=(6, 18)), 500)
    assert narrow.guess.algorithm is None
    assert narrow.guess.why == "with 4 ports to choose from, every way looks alike"
    assert narrow.odds.mean == pytest.approx(4)
    slow = walk(linux(random.Random(1), 32768, 60999, release=(6, 18)), 100, every=30)
    assert slow.guess.algorithm is None
    assert "10 s and more apart" in slow.guess.why


def test_a_step_width_shows_in_ports_beside_the_path() -> None:
    reserved = frozenset(range(40000, 41000))
    for step_width, algorithm in ((30_000, Algorithm.DOUBLE_HASH_LEAPS), (0, Algorithm.DOUBLE_HASH_STEPS)):
        choose = linux(random.Random(1), 32768, 60999, release=(7, 1), reserved=reserved, step_width=step_width)
        found = walk(choose, 5000)
        assert found.guess.algorithm is algorithm
        assert bool(found.beside) is bool(step_width)
        assert (found.guess.sure > 0.99) is not step_width


# -- range, laps, salts, odds ----------------------------------------------------------------------------------------


def test_a_walk_is_measured() -> None:
    found = walk(linux(random.Random(2), 50000, 50199, release=(4, 19)), 1000, every=0.01)
    assert (found.low, found.high, found.range, found.assumed) == (50000, 50198, (50000, 50198), False)
    assert (found.laps, found.jumps, found.beside, found.steps) == (10, (), (), ((2, 999),))
    assert found.rate == pytest.approx(100)
    assert found.seconds == pytest.approx(9.99)
    assert (found.odds.catch, found.odds.lap, found.odds.mean) == (1, 100, 50.5)


def test_the_steps_of_a_newer_kernel() -> None:
    found = walk(linux(random.Random(2), 50000, 50999, release=(6, 18)), 4000, every=0.001)
    assert sorted(width for width, _ in found.steps) == list(range(2, 17, 2))
    assert found.laps == pytest.approx(4000 / 500 * 4.5, rel=0.1)
    assert found.odds.catch == pytest.approx(2 / 9)


def test_a_new_salt_every_10_s_is_seen() -> None:
    found = walk(linux(random.Random(2), 32768, 60999, release=(6, 18)), 1000, every=0.1)
    assert len(found.jumps) == found.salted == 10
    assert {later - jump for jump, later in pairwise(found.jumps)} <= {99, 100, 101}
    assert "10 times, in step with a clock of 10 s" in found.guess.why
    assert found.odds.lap == pytest.approx(100)


def test_jumps_at_odd_moments_are_no_salts() -> None:
    inner = linux(random.Random(3), 32768, 60999, release=(5, 15))
    shift = {200: 2000, 350: 3000, 777: 1000}
    moved = [0]

    def choose(to: Endpoint, now: float) -> int:
        moved[0] += shift.get(round(now * 10), 0)
        return 32768 + (inner(to, now) - 32768 + moved[0]) % 28232

    found = walk(choose, 1000, every=0.1)
    assert (len(found.jumps), found.salted) == (3, 0)


def test_a_range_not_gone_round_yet_is_taken_to_be_linux_s_own() -> None:
    few = walk(linux(random.Random(2), 32768, 60999, release=(6, 18)), 100)
    assert (few.range, few.assumed) == ((32768, 60999), True)
    assert few.odds.chance == pytest.approx(1 / 14116)
    elsewhere = walk(linux(random.Random(2), 20000, 29999, release=(6, 18)), 100)
    assert (elsewhere.range, elsewhere.assumed) == ((elsewhere.low, elsewhere.high), False)


def test_a_target_of_the_other_parity_or_outside_is_never_met() -> None:
    odd = walk(linux(random.Random(2), 49901, 50300, release=(6, 18)), 500)
    assert (odd.parity, odd.odds.mean) == (1, math.inf)
    assert odd.sentences()[-1] == "No self-connect that way: port 50000 is even, the walk's ports are not."
    outside = walk(linux(random.Random(2), 51000, 51399, release=(6, 18)), 500)
    assert outside.odds.mean == math.inf
    assert "port 50000 does not lie in 51000-51398" in outside.sentences()[-1]


def test_a_range_may_end_with_the_port_that_no_refused_attempt_has() -> None:
    for low, high in ((50000, 50399), (49602, 50001)):
        inner = linux(random.Random(2), low, high, release=(6, 18))
        found = walk(
            lambda to, now, pick=inner: next(port for _ in range(99) if (port := pick(to, now)) != 50000), 2000
        )
        assert found.odds.chance == pytest.approx(1 / 200)


def test_a_few_ports_of_the_other_parity_are_somebody_else_s() -> None:
    inner, rolls = linux(random.Random(2), 32768, 60999, release=(6, 18)), random.Random(3)
    bound = algorithm_1(rolls, 16384, 30499)

    def choose(to: Endpoint, now: float) -> int:
        return bound(to, now) * 2 + 1 if rolls.random() < 0.05 else inner(to, now)

    found = walk(choose, 1000)
    assert (found.parity, found.guess.algorithm) == (0, Algorithm.DOUBLE_HASH_STEPS)
    assert 20 < found.strangers < 90
    assert len(found.jumps) < 3


# -- what is no walk, and odd ones -----------------------------------------------------------------------------------


def test_a_few_attempts_are_no_walk() -> None:
    ports = range(50000, 50000 + 2 * (LEAST - 1), 2)
    assert not list(walks([attempts(DESTINATION, [(n, port) for n, port in enumerate(ports)])]))
    assert not list(walks([]))


@pytest.mark.parametrize("ports", [[50000] * 20, [50000, 50001] * 20, [1, 65535] * 10, list(range(60000, 59900, -1))])
@pytest.mark.parametrize("pause", [0, 1000, -1000, 20 * 10**9])
def test_any_ports_at_any_times_are_told_of(ports: list[int], pause: int) -> None:
    moments = [(10**9 + n * pause, port) for n, port in enumerate(ports)]
    found = next(walks([attempts(DESTINATION, moments)]))
    assert found.sentences()
    assert all(len(line) <= 100 for line in found.plot())


def test_more_attempts_than_are_remembered() -> None:
    some = attempts(DESTINATION, [(n * 1000, 50000 + 2 * n) for n in range(100)])
    more = Attempts(DESTINATION, 1_000_000, some.first, START + 10**9, some.ports, some.times)
    found = next(walks([more]))
    assert found.rate == pytest.approx(1e6, rel=1e-3)
    assert "(of the first 100)" in found.sentences()[0]


# -- text ------------------------------------------------------------------------------------------------------------


def test_it_is_told_in_words() -> None:
    found = walk(linux(random.Random(2), 32768, 60999, release=(6, 18)), 3300, every=0.003)
    told, chosen, outlook = found.sentences()
    assert told == (
        "3,300 attempts at 127.0.0.1:50000 were refused in 9.9 s, 333.3 a second. Source ports: even ones of "
        f"{found.low}-{found.high}; went round the range once."
    )
    assert chosen == (
        "Chosen almost surely by double-hash (algorithm 4) with random increments, as Linux 5.18 and later: 99 % of "
        "the steps are 2 to 16 ports wide, each width about as often."
    )
    assert outlook == (
        "Port 50000 is one of them: 1 attempt in 14,116 is a self-connect, if the client is on that host and the range "
        "is Linux's own; at this rate it takes 38 s on average."
    )


PICTURE = """\
50080 |       ##       ##       ##
50060 |     :#.      :#.      :#.
50040 >   :#.      :#.      :#.
50020 | .#:      .#:      .#:
50000 |#:       #:       #:
      +---------------------------
       1                       150 attempts
"""


def test_it_is_drawn() -> None:
    moments = [(n, 50000 + 2 * (n % 50)) for n in range(150)]
    plot = next(walks([attempts(Endpoint.parse("127.0.0.1", 50051), moments)])).plot(27, 5)
    assert "\n".join(plot) + "\n" == PICTURE


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0143, "14.3 ms"),
        (1.25, "1.2 s"),
        (43.2, "43 s"),
        (60, "1 min"),
        (90, "1 min 30 s"),
        (14_116, "3 h 55 min"),
        (86_400, "1 d"),
        (200_000, "2 d 8 h"),
        (1e7, "115 d"),
        (4e7, "1 years 98 d"),
        (1e12, "over a thousand years"),
        (math.inf, "over a thousand years"),
    ],
)
def test_durations_as_people_say_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


# -- in the report ---------------------------------------------------------------------------------------------------


def result(*some: Attempts) -> CaptureResult:
    return CaptureResult("a.pcap", attempts=list(some))


def test_the_report_has_the_arrays() -> None:
    some = attempts(DESTINATION, [(n * 10**6, 50000 + 2 * n) for n in range(40)])
    few = attempts(ELSEWHERE, [(10**9 + n, 50000 + n) for n in range(LEAST - 1)])
    whole = json.loads("".join(json_view.render(report([result(some, few)]))))
    [told] = whole["captures"][0]["walks"]
    assert told["destination"] == {"address": "127.0.0.1", "port": 50000}
    assert (told["ports"], told["times_ns"]) == (list(some.ports), list(some.times))
    assert (told["attempts"], told["rate"], told["parity"]) == (40, 1000, "even")
    assert (told["steps"], told["algorithm"]) == ([[2, 39]], "simple hash (algorithm 3)")
    assert (told["range"], told["range_assumed"], told["mean_attempts"]) == ([32768, 60999], True, 7058.5)


def test_a_port_that_was_given_in_the_end_is_in_the_range() -> None:
    """A few attempts far from the port, and then the hit: the range reaches that far."""
    destination = Endpoint.parse("127.0.0.1", 50_000)
    some = attempts(destination, [(n * 10**6, 1024 + 2 * n) for n in range(LEAST * 20)])
    hit = Talk(destination, None).a("S").a("S.", 0, 1).opening(Verdict.SELF_CONNECT)
    with_hit, without = (look(CaptureResult("a", openings=ones, attempts=[some]))[0] for ones in ([hit], []))
    assert (without.range, with_hit.range) == ((1024, 1662), (1024, 50_000))
    assert without.odds.chance == 0 < with_hit.odds.chance


def test_the_table_tells_and_draws_the_longest_walks() -> None:
    some = [
        attempts(Endpoint.parse("2001:db8:1111:2222:3333:4444:5555:6666", port), [(n, 50000 + n) for n in range(99)])
        for port in (1, 2, 3)
    ]
    plain = "".join(table.render(report([result(*some)])))
    assert plain.count("The walk through source ports to [2001:db8") == 2
    assert "More walks through source ports: -v shows them." in plain
    assert "attempts\n" in plain
    assert all(len(line) <= table.WIDTH for line in plain.splitlines())
    verbose = "".join(table.render(report([result(*some)]), table.Style(verbose=True)))
    assert verbose.count("The walk through source ports to [2001:db8") == 3
    quiet = "".join(table.render(report([result(*some)]), table.Style(quiet=True)))
    assert "walk" not in quiet


@pytest.mark.parametrize("held", [(50006,), (50000, 50010)])
@pytest.mark.parametrize("unit", [1, 2])
def test_a_held_port_does_not_make_a_strict_walk_another_kernels(held: tuple[int, ...], unit: int) -> None:
    candidates = [port for port in range(50000, 50016, unit) if port not in held]
    made = [(1_000_000 * n, candidates[n % len(candidates)]) for n in range(400)]
    found = next(walks([attempts(Endpoint.parse("127.0.0.1", 50006), made)]))
    assert found.guess.algorithm is Algorithm.SIMPLE_HASH
    assert found.passed == tuple(port for port in held if found.low < port < found.high)
    if 50006 in held:
        assert not found.odds.catch
        assert "passed over 50006 each time" in found.sentences()[0]
        assert found.sentences()[2].startswith("No self-connect that way: port 50006 is passed over")


# -- the kernel that runs --------------------------------------------------------------------------------------------


def walked(count: int, *, bound_first: bool) -> tuple[list[tuple[int, int]], port_choice.Kernel]:
    made = []
    for _ in range(count):
        with socket.socket() as one:
            if bound_first:
                one.bind(("127.0.0.1", 0))
            assert one.connect_ex(("127.0.0.1", 9)) == errno.ECONNREFUSED
            made.append((time.monotonic_ns(), one.getsockname()[1]))
    return made, port_choice.kernel()


@pytest.mark.live
@pytest.mark.usefixtures("need_private_namespace")
@pytest.mark.parametrize("bound_first", [False, True])
def test_the_kernel_that_runs_is_named(bound_first: bool) -> None:
    made, kernel = alone(walked, 3000, bound_first=bound_first)
    found = next(walks([attempts(Endpoint.parse("127.0.0.1", 9), made)]))
    assert found.parity == (kernel.low + bound_first) % 2
    if bound_first:
        assert found.guess.algorithm is Algorithm.RANDOM
    else:
        assert found.guess.algorithm is kernel.rule.selection.algorithm
    assert found.guess.sure > 0.9
