"""The kernel's rules of choosing a source port: the arithmetic, and the arithmetic against the kernel that runs."""

from __future__ import annotations

import errno
import math
import random
import re
import socket
import struct
from collections import Counter
from pathlib import Path

import pytest
from alone import alone

from analysis.errors import UsageError
from analysis.model import Endpoint
from analysis.odds import Odds
from analysis.states import State
from capture.kernel import addresses, number_lists, port_choice, port_outlook, socket_table
from capture.kernel.port_choice import Kernel
from capture.kernel.port_outlook import Outlook

NEW, OLD, OLDEST = "6.18.0", "4.19.42", "3.2.0"
TARGET = Endpoint.parse("127.0.0.1", 50000)


def kernel(low: int = 32768, high: int = 60999, *, release: str = NEW, **settings: object) -> Kernel:
    return Kernel(release=release, low=low, high=high, **settings)  # type: ignore[arg-type]


def outlook(port: int = 50000, of: Kernel | None = None, **facts: object) -> Outlook:
    asked = of or kernel()
    plain, bound = asked.windows(), asked.windows(bound_first=True)
    bound_first = port not in plain and port in bound
    odds = asked.odds(port, bound if bound_first else plain, bound_first=bound_first)
    known = {"bound_first": bound_first, "odds": odds, "sockets": (), "bind_error": 0, **facts}
    return Outlook(target=Endpoint.parse("127.0.0.1", port), kernel=asked, **known)  # type: ignore[arg-type]


# -- the rules -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("release", "build", "told"),
    [
        ("5.10.46", "#1 Wed Aug 4 20:30:21 UTC 2021", ((5, 10, 46), 1, False, True)),
        ("5.10.0-15-amd64", "#1 SMP Debian 5.10.116-1 (2022-05-19)", ((5, 10, 116), 1, False, True)),
        ("5.10.0-15-amd64", "#1 SMP Debian 5.10.118-1 (2022-05-25)", ((5, 10, 118), 1, True, True)),
        ("5.10.0-15-amd64", "#1 SMP Debian 5.10.120-1 (2022-06-09)", ((5, 10, 120), 2, True, True)),
        ("5.10.0-30-cloud-amd64", "#1 SMP Debian 5.10.218-1 (2024-06-01)", ((5, 10, 218), 8, True, True)),
        ("5.10.0-30-cloud-amd64", "", ((5, 10, 0), 8, True, False)),
        ("5.17.8", "#1", ((5, 17, 8), 2, False, True)),
        ("5.17.9", "#1", ((5, 17, 9), 8, True, True)),
        ("5.15.40-custom", "#1", ((5, 15, 40), 2, False, True)),
        ("5.4.0-100-generic", "#113-Ubuntu SMP Ubuntu 5.4.0-100.113-generic 5.4.166", ((5, 4, 166), 1, False, True)),
        ("5.4.0-200-generic", "#220-Ubuntu SMP Ubuntu 5.4.0-200.220-generic 5.4.284", ((5, 4, 284), 8, True, True)),
        ("5.4.0-100-generic", "#113-Ubuntu SMP Thu Feb 3 18:43:29 UTC 2022 ", ((5, 4, 0), 8, True, False)),
        ("4.18.0-553.el8_10.x86_64", "#1 SMP Fri May 10 15:19:13 EDT 2024", ((4, 18, 0), 8, True, False)),
        ("5.10.157-139.675.amzn2.x86_64", "#1 SMP Thu Dec 8 01:29:11 UTC 2022", ((5, 10, 157), 8, True, True)),
        ("5.14.21-150500.55.83-default", "#1 SMP", ((5, 14, 21), 8, True, False)),
        ("3.10.0-1160.el7.x86_64", "#1 SMP", ((3, 10, 0), 1, False, False)),
        ("6.1.0-47-cloud-amd64", "#1 SMP PREEMPT_DYNAMIC Debian 6.1.170-1", ((6, 1, 170), 8, True, True)),
    ],
)
def test_a_build_is_of_a_release(release: str, build: str, told: tuple[tuple[int, int, int], int, bool, bool]) -> None:
    asked = kernel(release=release, build=build)
    selection = asked.rule.selection
    assert (asked.identity.release, len(selection.steps), selection.salted == 10, asked.certain) == told


@pytest.mark.parametrize(
    ("release", "halves", "longest"),
    [
        ("6.18.44-custom", True, 8),
        ("5.18.0", True, 8),
        ("5.16.20", True, 2),
        ("5.11.22", True, 1),
        ("5.4.100-custom", True, 1),
        ("4.2.0", True, 1),
        ("4.1.51", False, 1),
        ("2.6.32-754.el6.x86_64", False, 1),
        ("who knows", False, 1),
    ],
)
def test_a_release_has_its_rule(release: str, halves: bool, longest: int) -> None:
    rule = kernel(release=release).rule
    assert (rule.halves, len(rule.selection.steps)) == (halves, longest)
    assert sum(rule.selection.steps) == 1


def test_the_default_range_has_14116_candidates_of_each_parity() -> None:
    asked = kernel()
    assert asked.share(50000) == asked.share(50001, bound_first=True) == 1 / 14116
    assert asked.share(50001) == asked.share(50000, bound_first=True) == 0


def test_outside_of_the_range_nothing_is_given() -> None:
    for port in (1, 32767, 61000, 65535):
        assert kernel().share(port) == kernel().share(port, bound_first=True) == 0


def test_parity_is_that_of_the_low_end() -> None:
    asked = kernel(50001, 50008)
    assert asked.share(50001) == 1 / 4
    assert asked.share(50002, bound_first=True) == 1 / 4


def test_the_last_port_of_an_odd_range_is_never_given() -> None:
    asked = kernel(50000, 50004)
    assert [asked.share(port) for port in range(50000, 50005)] == [0.5, 0, 0.5, 0, 0]
    assert [asked.share(port, bound_first=True) for port in range(50000, 50005)] == [0, 0.5, 0, 0.5, 0]


def test_a_range_of_one_port() -> None:
    assert kernel(50000, 50000).share(50000) == kernel(50000, 50000).share(50000, bound_first=True) == 1


def test_a_port_behind_a_reserved_block_gets_its_share() -> None:
    asked = kernel(50000, 50015, reserved=frozenset((50002, 50004, 50005, 50014)))
    assert {port: asked.share(port) * 8 for port in range(50000, 50016, 2)} == {
        50000: 2,  # the search goes round the end of the range
        50002: 0,
        50004: 0,
        50006: 3,
        50008: 1,
        50010: 1,
        50012: 1,
        50014: 0,
    }
    assert asked.share(50005, bound_first=True) == 0


def test_a_step_width_spreads_it_evenly() -> None:
    asked = kernel(50000, 50015, reserved=frozenset((50002, 50004)), step_width=100)
    assert {asked.share(port) for port in (50000, 50006, 50008)} == {1 / 6}


def test_the_other_parity_comes_when_no_port_is_left() -> None:
    even = frozenset(range(50000, 50016, 2))
    assert kernel(50000, 50015, reserved=even).share(50001) == 1 / 8
    assert kernel(50000, 50015).share(50001, taken=even) == 1 / 8
    assert kernel(50000, 50015, reserved=frozenset(range(50000, 50016))).share(50001) == 0


def test_before_4_2_every_port_was_given() -> None:
    asked = kernel(1024, 65000, release=OLDEST)
    assert asked.share(6379) == asked.share(6380) == 1 / 63977


def test_shares_sum_up_to_one() -> None:
    rolls = random.Random(4)
    for release in (NEW, OLD, OLDEST):
        for _ in range(50):
            low = rolls.randrange(1024, 60000)
            high = low + rolls.randrange(2, 40)
            reserved = frozenset(rolls.sample(range(low, high + 1), rolls.randrange(high - low)))
            asked = kernel(low, high, release=release, reserved=reserved)
            if asked.candidates()[1]:
                assert sum(map(asked.share, range(low, high + 1))) == pytest.approx(1)


# -- the forecast ----------------------------------------------------------------------------------------------------


def test_a_choice_made_anew_each_time_is_geometric() -> None:
    odds = outlook(50001).odds
    assert odds.mean == pytest.approx(14116)
    assert odds.probability(9784) == pytest.approx(0.5, abs=1e-4)
    assert 64_990 < odds.attempts(0.99) < 65_010
    assert odds.probability(odds.attempts(0.99)) >= 0.99 > odds.probability(odds.attempts(0.99) - 1)


def test_random_steps_of_4_5_ports_on_average_step_over_most_ports() -> None:
    odds = outlook().odds
    assert odds.chance == pytest.approx(1 / 14116)
    assert (odds.catch, odds.lap) == (pytest.approx(2 / 9), pytest.approx(14116 * 2 / 9))
    # No port comes twice in a lap, so it takes a little less than the 14,116 of a geometric distribution.
    assert odds.mean == pytest.approx(14116 * 8 / 9, rel=1e-3)


def test_with_a_pause_the_walk_is_salted_before_a_lap_is_done() -> None:
    asked = kernel()
    odds = asked.odds(50000, asked.windows(), every=1.0)
    assert (odds.lap, odds.chance) == (10, pytest.approx(1 / 14116))
    assert asked.odds(50000, asked.windows(), every=60).mean == pytest.approx(14116)


def test_a_kernel_that_goes_in_laps_hits_within_one() -> None:
    odds = outlook(of=kernel(release=OLD)).odds
    assert odds.mean == (14116 + 1) / 2
    assert (odds.probability(7058), odds.probability(14116), odds.probability(10**6)) == (0.5, 1, 1)
    assert odds.attempts(0.99) == math.ceil(0.99 * 14116)
    # bind() to port 0 has always been random
    assert outlook(50001, kernel(release=OLD)).odds.mean == pytest.approx(14116)


def test_a_kernel_that_leaves_one_out_now_and_then_may_need_another_lap() -> None:
    odds = outlook(of=kernel(release="5.15.0")).odds
    assert (odds.catch, odds.lap) == (pytest.approx(16 / 17), pytest.approx(14116 * 16 / 17))
    assert odds.chance == pytest.approx(1 / 14116)


def test_behind_a_long_reserved_block_a_lap_hardly_misses() -> None:
    asked = kernel(50000, 50999, reserved=frozenset(range(50100, 50200)))
    odds = asked.odds(50200, asked.windows())
    assert odds.catch == pytest.approx(1)
    assert odds.mean < 0.6 * asked.odds(50300, asked.windows()).lap + 2
    # Salted before each attempt, it gets what starts anywhere in the block.
    assert asked.odds(50200, asked.windows(), every=60).chance == asked.share(50200) == 51 / 500


def test_without_a_chance_it_takes_for_ever() -> None:
    odds = outlook(80).odds
    assert (odds.mean, odds.attempts(0.5), odds.probability(10**9)) == (math.inf, math.inf, 0)


def test_a_certain_hit() -> None:
    odds = outlook(50000, kernel(50000, 50001)).odds
    assert (odds.mean, odds.attempts(0.99), odds.probability(1)) == (1, 1, 1)


# -- what it says ----------------------------------------------------------------------------------------------------


def sock(state: State, local: str = "127.0.0.1") -> socket_table.TcpSocket:
    here, nobody = Endpoint.parse(local, 50000), Endpoint.parse("0.0.0.0", 0)
    return socket_table.TcpSocket(
        here, nobody if state is State.LISTEN else here, state, seconds=42.0, uid=1000, inode=77
    )


@pytest.mark.parametrize(
    ("seen", "words"),
    [
        (outlook(), "14,116 even ports of 32768-60999"),
        (outlook(50001), "connect() alone never takes port 50001"),
        (outlook(80), "never port 80"),
        (outlook(of=kernel(reserved=frozenset({50000}))), "ip_local_reserved_ports"),
        (outlook(50004, kernel(50000, 50004)), "left out"),
        (outlook(of=kernel(release=OLDEST)), "the 28,232 ports of 32768-60999, moving on by 1"),
        (outlook(sockets=(sock(State.LISTEN),)), "A server (uid 1000) listens on 127.0.0.1:50000"),
        (outlook(sockets=(sock(State.LISTEN, "::"),)), "listens on [::]:50000"),
        (outlook(sockets=(sock(State.ESTABLISHED),)), "inode 77, uid 1000) is connected to itself there already"),
        (outlook(sockets=(sock(State.TIME_WAIT),), bind_error=errno.EADDRINUSE), "its place 1 s after it began"),
        (outlook(sockets=(sock(State.TIME_WAIT),)), "keeps the port from connect() for 42 s more"),
        (
            outlook(
                of=kernel(tw_reuse=0), sockets=(sock(State.TIME_WAIT),), bind_error=errno.EADDRINUSE
            ),
            "keeps the port from connect() for 42 s more",
        ),
        (outlook(bind_error=errno.EADDRINUSE), "bound, though nobody listens"),
        (
            outlook(sockets=(sock(State.LISTEN, "192.0.2.1"),), bind_error=errno.EADDRINUSE),
            "Port 50000 is taken (192.0.2.1:50000 LISTEN (uid 1000)): connect() passes it over",
        ),
        (
            outlook(sockets=(sock(State.TIME_WAIT, "::1")._replace(remote=Endpoint.parse("::1", 9)),)),
            "Port 50000 is that of [::1]:50000, too (TIME-WAIT for 42 s more): if by bind(), connect() passes it over",
        ),
        (
            outlook(sockets=(sock(State.LISTEN, "::1"),)),
            "Port 50000 is that of [::1]:50000, too (LISTEN): connect() passes it over.",
        ),
    ],
)  # fmt: skip
def test_it_tells_what_will_happen(seen: Outlook, words: str) -> None:
    assert words in " ".join(seen.sentences())


def test_a_server_of_the_other_family_does_not_serve() -> None:
    six = Outlook(Endpoint.parse("::1", 50000), kernel(), False, Odds(0.1), (sock(State.LISTEN, "0.0.0.0"),), 0)
    assert six.listening is None


# -- targets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "192.0.2.1", "fd00::1"])
def test_an_address_is_a_target(address: str) -> None:
    assert addresses.target(address, 50000) == Endpoint.parse(address, 50000)


def test_an_ipv4_address_in_ipv6_clothes_is_what_it_is_on_the_wire() -> None:
    assert addresses.target("::ffff:127.0.0.1", 50000) == TARGET


@pytest.mark.parametrize(
    ("address", "port", "words"),
    [
        ("localhost", 50000, "names are not resolved"),
        ("", 50000, "not an IP address"),
        ("127.0.0.1\0", 50000, "not an IP address"),
        ("127.1", 50000, "not an IP address"),
        ("fe80::1%lo", 50000, "not an IP address"),
        ("0.0.0.0", 50000, "is not a unicast address"),
        ("::", 50000, "is not a unicast address"),
        ("224.0.0.1", 50000, "is not a unicast address"),
        ("ff02::1", 50000, "is not a unicast address"),
        ("127.0.0.1", 0, "not a TCP port"),
        ("127.0.0.1", 65536, "not a TCP port"),
    ],
)
def test_what_is_no_target_is_refused(address: str, port: int, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        addresses.target(address, port)


@pytest.mark.parametrize(
    ("text", "ports"),
    [("", set()), ("8080", {8080}), ("8080,9148-9150", {8080, 9148, 9149, 9150}), ("1-1", {1})],
)
def test_reserved_ports_as_the_kernel_prints_them(text: str, ports: set[int]) -> None:
    assert number_lists.parsed(text) == ports


# -- the kernel that runs --------------------------------------------------------------------------------------------


def live(test):
    return pytest.mark.live(pytest.mark.usefixtures("need_private_namespace")(test))


def setting(name: str, value: str) -> None:
    Path("/proc/sys/net/ipv4", name).write_text(value)


def walked(attempts: int, *, bound_first: bool = False) -> Counter[int]:
    """The source ports that the kernel gives to so many attempts at a port that is not among them."""
    ports: Counter[int] = Counter()
    for _ in range(attempts):
        with socket.socket() as one:
            if bound_first:
                one.bind(("127.0.0.1", 0))
            assert one.connect_ex(("127.0.0.1", 9)) == errno.ECONNREFUSED
            ports[one.getsockname()[1]] += 1
    return ports


def given(low: int, high: int, reserved: str, held: int | None, *, bound_first: bool) -> tuple[Counter[int], Kernel]:
    setting("ip_local_port_range", f"{low} {high}")
    setting("ip_local_reserved_ports", reserved)
    with socket.socket() as holder:
        if held:
            holder.bind(("127.0.0.1", held))
        return walked(3000, bound_first=bound_first), port_choice.kernel()


@live
@pytest.mark.parametrize("bound_first", [False, True])
@pytest.mark.parametrize(
    ("low", "high", "reserved", "held"),
    [
        (50000, 50015, "", None),
        (50001, 50016, "", None),
        (50000, 50006, "", None),
        (50000, 50015, "50002-50005,50009", None),
        (50000, 50015, "", 50004),
        (50000, 50007, "50000,50002,50004,50006", None),
    ],
)
def test_the_kernel_gives_what_the_rules_say(
    low: int, high: int, reserved: str, held: int | None, bound_first: bool
) -> None:
    ports, asked = alone(given, low, high, reserved, held, bound_first=bound_first)
    taken = frozenset({held} if held else ())
    expected = {
        port: share
        for port in range(low, high + 1)
        if (share := asked.share(port, bound_first=bound_first, taken=taken))
    }
    assert ports.keys() == expected.keys()
    for port, share in expected.items():
        assert ports[port] / ports.total() == pytest.approx(share, rel=0.5)


def looked_at() -> tuple[Kernel, list[socket_table.TcpSocket]]:
    with socket.create_server(("127.0.0.1", 50000)) as four, socket.socket(socket.AF_INET6) as six:
        six.bind(("::1", 50002))
        six.listen()
        with socket.create_connection(four.getsockname()):
            return port_choice.kernel(), socket_table.tcp_sockets(50000)


@live
@pytest.mark.usefixtures("need_ipv6")
def test_sockets_are_read_as_the_kernel_lists_them() -> None:
    asked, sockets = alone(looked_at)
    assert asked.identity.release >= (4, 0, 0)
    assert (asked.low, asked.high) == (32768, 60999)
    listening = {str(one.local) for one in sockets if one.state is State.LISTEN}
    assert listening == {"127.0.0.1:50000", "[::1]:50002"}
    assert [str(one.local) for one in sockets if one.state is State.ESTABLISHED] == ["127.0.0.1:50000"]


def own(address: str) -> str:
    try:
        addresses.check_own(addresses.target(address, 50000))
    except UsageError as error:
        return str(error)
    return ""


@live
def test_an_address_of_somebody_else_is_refused() -> None:
    assert not alone(own, "127.0.0.1")
    assert "not an address of this machine" in alone(own, "192.0.2.1")


def before(port: int, kind: str) -> Outlook:
    with socket.socket() as holder:
        if kind:
            holder.bind(("127.0.0.1", port))
        if kind == "listening":
            holder.listen()
        return port_outlook.outlook(Endpoint.parse("127.0.0.1", port))


@live
@pytest.mark.parametrize(("kind", "held"), [("", False), ("bound", True), ("listening", True)])
def test_who_holds_the_port_is_seen(kind: str, held: bool) -> None:
    seen = alone(before, 50000, kind)
    assert seen.held is held
    assert bool(seen.listening) is (kind == "listening")
    assert (seen.odds.chance, seen.bound_first) == (pytest.approx(1 / 14116), False)


def left_behind(*, bound: bool) -> tuple[set[int], str]:
    """What walks to ::1 are given while 127.0.0.1 has a TIME-WAIT on one of eight ports; and what is said of that."""
    setting("ip_local_port_range", "50000 50007" if bound else "50006 50006")
    with socket.create_server(("127.0.0.1", 2000)) as server, socket.socket() as one:
        if bound:
            one.bind(("127.0.0.1", 50006))
        one.connect(server.getsockname())
        one.shutdown(socket.SHUT_WR)
        server.accept()[0].close()
    setting("ip_local_port_range", "50000 50007")
    told = port_outlook.outlook(Endpoint.parse("::1", 50006)).sentences()[-1]
    given = set()
    for _ in range(300):
        with socket.socket(socket.AF_INET6) as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            one.connect_ex(("::1", 9))
            given.add(one.getsockname()[1])
    return given, told


@live
@pytest.mark.usefixtures("need_ipv6")
@pytest.mark.parametrize("bound", [True, False])
def test_a_time_wait_of_another_family_keeps_a_bound_port_from_connect(bound: bool) -> None:
    given, told = alone(left_behind, bound=bound)
    assert given == {50000, 50002, 50004, 50006} - ({50006} if bound else set())
    assert re.fullmatch(
        r"Port 50006 is that of 127\.0\.0\.1:50006, too \(TIME-WAIT for \d+ s more\): "
        r"if by bind\(\), connect\(\) passes it over meanwhile\.",
        told,
    )
