"""The kernel agrees with the replay by time, too: each change lies between the packets that the replay says."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest

from analysis.model import Verdict
from analysis.reader import analyze
from analysis.replay import Replay, replay
from analysis.states import State
from capture.kernel.kernel_states import compare, misplaced
from capture.kernel.tracepoint import KERNEL_SHOWS, StateChange

KERNELS = Path(__file__).parent / "kernels"
NEW, OLD = "6.1.170--self-connect-v4.pcapng", "5.10.251--self-connect-v4.pcapng"
#: After how many packets each change came, by the tracepoints of these kernels.
TOLD = {NEW: (0, 1, 2, 5, 6, 7), OLD: (0, 1, 3, 5, 6, 7)}


def rebuilt(name: str) -> Replay:
    (opening,) = [one for one in analyze(str(KERNELS / name)).openings if one.verdict is Verdict.SELF_CONNECT]
    return replay(opening)


def told(account: Replay, after: tuple[int, ...], late: int = 0) -> list[StateChange]:
    """What a kernel says that made its changes halfway from so many packets to the next, or so *late* after them."""
    times = [segment.time for segment in account.segments]
    times = [times[0] - 10_000, *times, times[-1] + 10_000]
    (end,) = account.sockets
    states = [KERNEL_SHOWS.get(state, state) for state in account.state_path(end)]
    return [
        StateChange(times[n] + late if late else (times[n] + times[n + 1]) // 2, 1, 1, end, end, before, now)
        for n, (before, now) in zip(after, pairwise(states), strict=True)
    ]


@pytest.mark.parametrize("name", [NEW, OLD])
def test_the_kernel_agrees_where_it_has_the_same_packets_before_and_after(name: str) -> None:
    account = rebuilt(name)
    assert compare(told(account, TOLD[name]), account) is True


@pytest.mark.parametrize(("name", "other", "after"), [(NEW, OLD, 3), (OLD, NEW, 2)])
def test_the_same_states_at_another_packet_are_a_disagreement(name: str, other: str, after: int) -> None:
    account = rebuilt(name)
    changes = told(account, TOLD[other])
    assert compare(changes, account) is False
    [one] = misplaced(changes, account)
    assert (one.step.after, one.change.new, one.after) == (State.ESTABLISHED, State.ESTABLISHED, after)
    assert one.step.frame == 5 - after


def test_a_fin_is_acknowledged_before_the_state_changes() -> None:
    """Linux's tcp_fin() sends its ACK first: CLOSING comes 1 us after the ACK passed as often as before it."""
    account = rebuilt(NEW)
    assert compare(told(account, (0, 1, 2, 5, 7, 7)), account) is True


def test_what_a_segment_does_that_is_sent_was_done_before_it_passed() -> None:
    account = rebuilt(NEW)
    [one] = misplaced(told(account, (1, 1, 2, 6, 6, 7)), account)[:1]
    assert (one.change.new, one.after) == (State.SYN_SENT, 1)


def test_clocks_may_differ_a_little() -> None:
    account = rebuilt(NEW)
    changes = told(account, TOLD[NEW], late=-400)
    assert compare(changes[1:2], account) is None  # it is not whole
    assert not [one for one in misplaced(changes, account) if not one.step.sends]
    assert [one for one in misplaced(told(account, TOLD[NEW], late=-600), account) if not one.step.sends]
