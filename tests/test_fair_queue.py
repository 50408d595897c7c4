"""Who floods shares his part with nobody but himself, however he calls himself."""

from __future__ import annotations

import random
from collections import Counter

from capture.run.fair_queue import FairQueue, Pace

FREE = Pace(1.0, 1e9)


def served(queue: FairQueue[tuple[str, int, int]], times: int, seconds: float = 1.0) -> Counter[str]:
    """Who is told, if each time takes so long."""
    counts: Counter[str] = Counter()
    for _ in range(times):
        one = queue.take(0, lambda _: True)
        if one is None:
            break
        queue.charge(one, seconds, 0)
        counts[one[0]] += 1
    return counts


def flooded(
    owners: list[tuple[str, int, int]], *, most: int = 1000, each: int = 1000
) -> FairQueue[tuple[str, int, int]]:
    queue: FairQueue[tuple[str, int, int]] = FairQueue((FREE,) * 4, most, each)
    for one in owners:
        queue.put(one, one)
    return queue


def test_who_comes_after_a_flood_is_next() -> None:
    queue = flooded([("flooder", 1, 1)] * 500)
    assert served(queue, 100) == {"flooder": 100}
    queue.put(("victim", 1, 2), ("victim", 1, 2))
    assert served(queue, 1) == {"victim": 1}


def test_neither_processes_nor_namespaces_make_a_user_more() -> None:
    for flood in ([("flooder", 1, pid) for pid in range(500)], [("flooder", space, space) for space in range(500)]):
        queue = flooded([*flood, *[("victim", 1, 1000)] * 20])
        assert served(queue, 40) == {"flooder": 20, "victim": 20}


def test_a_container_does_not_drown_another_of_the_same_user() -> None:
    queue = flooded([*[("root", 1, pid) for pid in range(500)], ("root", 2, 1000)])
    told = [queue.take(0, lambda _: True) for _ in range(2)]
    assert {one[1] for one in told if one} == {1, 2} or told[0] == ("root", 1, 0)
    queue = flooded([("root", 1, pid) for pid in range(500)])
    served(queue, 5)
    queue.put(("root", 2, 1000), ("root", 2, 1000))
    assert queue.take(0, lambda _: True) == ("root", 2, 1000)


def test_who_is_ahead_of_the_pace_waits_and_the_others_do_not() -> None:
    paces = (FREE, Pace(0.5, 2.0), FREE, FREE)
    queue: FairQueue[tuple[str, int, int]] = FairQueue(paces, 1000, 1000)
    for _ in range(100):
        queue.put(("flooder", 1, 1), ("flooder", 1, 1))
    assert served(queue, 100) == {"flooder": 3}  # 2 seconds, and what went beyond them
    queue.put(("victim", 1, 2), ("victim", 1, 2))
    assert served(queue, 100) == {"victim": 1}
    assert queue.take(1.9, lambda _: True) is None
    assert queue.take(2.1, lambda _: True) == ("flooder", 1, 1)


def test_what_has_to_go_is_of_whoever_has_most() -> None:
    queue: FairQueue[tuple[str, int, int]] = FairQueue((FREE,) * 4, 10, 8)
    victims = [("victim", 1, pid) for pid in (1, 2, 3)]
    for one in victims:
        assert queue.put(one, one) is None
    gone = [queue.put(("flooder", 2, pid), ("flooder", 2, pid)) for pid in range(100)]
    assert gone == [*[None] * 7, *(("flooder", 2, pid) for pid in range(93))]
    assert len(queue) == 10
    gone = [queue.put(("victim", 1, 1), ("victim", 1, 1)) for _ in range(20)]
    assert queue.waiting(("victim", 1, 1)) <= 8
    assert len(queue) == 10


def test_what_is_not_ready_keeps_nobody_waiting() -> None:
    queue = flooded([("one", 1, 1), ("two", 1, 2)])
    assert queue.take(0, lambda one: one[0] == "two") == ("two", 1, 2)
    assert queue.take(0, lambda one: one[0] == "two") is None
    assert list(queue.drop(lambda _: True)) == [("one", 1, 1)]


def test_nothing_is_lost_and_nothing_is_remembered_of_who_is_gone() -> None:
    chance = random.Random(7)
    queue: FairQueue[int] = FairQueue((Pace(0.5, 4), Pace(0.2, 2), Pace(0.2, 1.5), Pace(0.1, 1)), 50, 10)
    put, out, now = 0, 0, 0.0
    for _ in range(20_000):
        now += chance.random() / 10
        owner = (f"user {chance.randrange(5)}", chance.randrange(3), chance.randrange(10_000))
        if chance.random() < 0.7:
            put += 1
            out += queue.put(owner, put) is not None
        elif queue.take(now, lambda _: chance.random() < 0.9) is not None:
            out += 1
            queue.charge(owner, 0.1, now)
        if chance.random() < 0.01:
            out += len(list(queue.drop(lambda one: one % 3 == 0)))
        assert len(queue) == put - out <= 50
    out += len(list(queue.drop(lambda _: True)))
    assert (len(queue), out) == (0, put)
    queue.put(("last", 1, 1), 0)
    assert queue.take(now + 1e6, lambda _: True) == 0
    nodes = [queue._all]
    for node in nodes:
        nodes += node.below.values()
    assert len(nodes) < 10
