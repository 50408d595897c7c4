"""A network namespace of one's own: what is in it, and that the host's stays as it is."""

from __future__ import annotations

import errno
import os
import socket
from pathlib import Path
from typing import NamedTuple

import pytest
from alone import alone

from analysis import privilege
from analysis.errors import CannotCapture
from analysis.model import Endpoint
from capture.kernel import netns
from capture.kernel.addresses import family

SETTINGS = Path("/proc/sys/net/ipv4")


class Seen(NamedTuple):
    """What a process sees of the network that it is in."""

    namespace: str
    interfaces: list[str]
    ports: str
    user: tuple[int, int]
    bound: list[str]


def look(*addresses: str, port: int = 0) -> Seen:
    bound = []
    for address in addresses:
        with socket.socket(family(Endpoint.parse(address, port))) as one:
            one.bind((address, port))
            bound.append(one.getsockname()[0])
    return Seen(
        str(Path("/proc/self/ns/net").readlink()),
        [name for _, name in socket.if_nameindex()],
        (SETTINGS / "ip_local_port_range").read_text().strip(),
        (os.geteuid(), os.getegid()),
        bound,
    )


@pytest.mark.parametrize("port", [1, 3, 7, 8, 80, 1023, 49999, 50000, 50001, 50007, 65528, 65535])
def test_the_range_is_small_and_begins_even_where_it_can(port: int) -> None:
    low, high = netns.ephemeral_range(port)
    assert 1 <= low <= port <= high <= 65535
    assert high - low + 1 == netns.PORTS
    assert low % 2 == 0 or low == 1


def test_no_namespace_is_said_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_what: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(netns, "_leave", refuse)
    with pytest.raises(CannotCapture, match="cannot make a private network namespace: Operation not permitted"):
        netns.enter(Endpoint.parse("127.0.0.1", 50000), (50000, 50007))


def enter_and_look(address: str, ports: tuple[int, int], *bound: str, port: int = 0) -> Seen:
    netns.enter(Endpoint.parse(address, 50000), ports)
    return look(*bound, port=port)


@pytest.mark.live
@pytest.mark.usefixtures("need_private_namespace")
class TestInside:
    def test_it_is_another_network_with_a_loopback_of_its_own(self) -> None:
        before = look("127.0.0.1")
        inside = alone(enter_and_look, "127.0.0.1", (50000, 50007), "127.0.0.1", "127.1.2.3")
        assert inside.namespace != before.namespace
        assert inside.interfaces == ["lo"]
        assert inside.ports.split() == ["50000", "50007"]
        assert inside.user == before.user
        assert inside.bound == ["127.0.0.1", "127.1.2.3"]
        assert look("127.0.0.1") == before

    @pytest.mark.usefixtures("need_ipv6")
    @pytest.mark.parametrize("address", ["::1", "192.0.2.1", "2001:db8::1", "127.9.9.9"])
    def test_any_address_can_be_its_own(self, address: str) -> None:
        assert alone(enter_and_look, address, (50000, 50007), address, "127.0.0.1").bound == [address, "127.0.0.1"]

    def test_every_port_can_be_in_the_range_and_bound_by_everybody(self) -> None:
        inside = alone(enter_and_look, "127.0.0.1", (80, 87), "127.0.0.1", port=80)
        assert inside.ports.split() == ["80", "87"]

    def test_ports_that_are_no_range_are_refused(self) -> None:
        with pytest.raises(pytest.fail.Exception, match="cannot make a private network namespace: Invalid argument"):
            alone(enter_and_look, "127.0.0.1", (50007, 50000))


@pytest.mark.parametrize(
    ("code", "settings", "said"),
    [
        (errno.ENOSPC, {}, "there are as many namespaces as this system allows"),
        (
            errno.ENOSPC,
            {"user/max_user_namespaces": "0"},
            "there are as many namespaces as this system allows (user.max_user_namespaces=0)",
        ),
        (
            errno.EPERM,
            {"kernel/unprivileged_userns_clone": "0", "user/max_net_namespaces": "100"},
            "Operation not permitted (kernel.unprivileged_userns_clone=0)",
        ),
        (errno.EINVAL, {}, "this kernel has no network namespaces"),
    ],
)
def test_what_forbids_a_namespace_is_named(
    code: int, settings: dict[str, str], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_what: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(netns, "_unshared", refuse)
    monkeypatch.setattr(netns, "_setting", lambda name: settings.get(name, ""))
    with pytest.raises(CannotCapture) as error:
        netns.enter(Endpoint.parse("127.0.0.1", 50000), (50000, 50007))
    assert str(error.value) == f"cannot make a private network namespace: {said}"


def limited(setting: str, *, capable: bool) -> str:
    """What is said in a user namespace that allows none of a kind, to its root or to somebody without capabilities."""
    uid, gid = os.geteuid(), os.getegid()
    netns._leave(netns._CLONE_NEWUSER)
    for name, text in (("setgroups", "deny"), ("uid_map", f"0 {uid} 1"), ("gid_map", f"0 {gid} 1")):
        Path("/proc/self", name).write_text(text)
    Path("/proc/sys", setting).write_text("0")
    if not capable:
        privilege._clear_capabilities()
    try:
        netns.enter(Endpoint.parse("127.0.0.1", 50000), (50000, 50007))
    except CannotCapture as error:
        return str(error)
    return ""


@pytest.mark.live
@pytest.mark.usefixtures("need_private_namespace")
@pytest.mark.parametrize(
    ("setting", "capable"), [("user/max_user_namespaces", False), ("user/max_net_namespaces", True)]
)
def test_where_the_kernel_allows_none_the_setting_is_named(setting: str, capable: bool) -> None:
    said = alone(limited, setting, capable=capable)
    why = f"there are as many namespaces as this system allows ({setting.replace('/', '.')}=0)"
    assert said == f"cannot make a private network namespace: {why}"


def bound_without_privilege(port: int, ports: tuple[int, int]) -> tuple[str, int]:
    netns.enter(Endpoint.parse("127.0.0.1", port), ports)
    privilege._clear_capabilities()
    with socket.socket() as client:
        client.bind(("127.0.0.1", port))
        client.connect(("127.0.0.1", port))
        return client.getpeername()


@pytest.mark.live
@pytest.mark.usefixtures("need_private_namespace")
@pytest.mark.parametrize("ports", [(50000, 50031), (16, 23)])
def test_the_target_may_be_a_privileged_port_wherever_the_range_is(ports: tuple[int, int]) -> None:
    assert alone(bound_without_privilege, 22, ports) == ("127.0.0.1", 22)


def without_ipv6() -> str:
    real = socket.socket

    def four(family: int = socket.AF_INET, *more: int) -> socket.socket:
        if family == socket.AF_INET6:
            raise OSError(errno.EAFNOSUPPORT, os.strerror(errno.EAFNOSUPPORT))
        return real(family, *more)

    netns.socket.socket = four
    try:
        netns.enter(Endpoint.parse("::1", 50000), (50000, 50007))
    except CannotCapture as error:
        return str(error)
    return ""


@pytest.mark.usefixtures("need_private_namespace")
def test_without_ipv6_that_is_said() -> None:
    said = alone(without_ipv6)
    assert said == "cannot make a private network namespace: this kernel has no IPv6; give an IPv4 address"
