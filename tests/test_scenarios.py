"""The story, with the programs that it happened to; and what helps against it, and what does not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from alone import alone
from conftest import ROOT
from test_capture_cli import ENVIRONMENT
from test_command import left

if TYPE_CHECKING:
    from collections.abc import Callable

sys.path.append(str(ROOT / "scenarios"))
import remedies  # found by the line above

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("need_private_namespace")]


CAPTURE = (
    *(sys.executable, "-m", "capture.cli", "--private", "--format", "json", "-q", "-w", "made.pcapng"),
    *("--timeout", "60"),  # in case the scenario never ends
)


def under_capture(cwd: Path, *arguments: str) -> tuple[dict[str, Any], str]:
    """The report of selfconn-capture on a scenario, and what the scenario printed; nothing of it is left."""
    mark = f"SELFCONN_TEST_{os.getpid()}_{cwd.name}"
    with subprocess.Popen(
        [*CAPTURE, *arguments],
        cwd=cwd, env=ENVIRONMENT | {mark: "1"}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdout
        assert process.stderr
        # Not communicate(): that would end the input, and with it the telnet that is connected to itself.
        printed, told = process.stderr.read(), process.stdout.read()
        assert process.wait(60) == 0, printed
    assert left(mark) == []
    return json.loads(told), printed


def is_the_story(made: dict[str, Any], process: str) -> dict[str, Any]:
    """What must be true of both: the self-connect of 127.0.0.1:50000, and whose it was."""
    (opening,) = (one for one in made["openings"] if one["verdict"] == "self-connect")
    assert opening["source"] == opening["destination"] == {"address": "127.0.0.1", "port": 50000}
    assert len(opening["frames"]) == 3
    assert [one["to"] for one in opening["transitions"]][:3] == ["SYN-SENT", "SYN-RECEIVED", "ESTABLISHED"]
    (socket,) = made["kernel"]["sockets"]
    assert (socket["process"], socket["state"], socket["uid"]) == (process, "ESTABLISHED", os.getuid())
    assert made["kernel"]["agrees"] is (True if os.geteuid() == 0 else None)
    assert made["live"]["dropped"] == 0
    return opening


@pytest.mark.usefixtures("need_telnet")
def test_the_loop_of_the_story(tmp_path: Path) -> None:
    made, printed = under_capture(tmp_path, "--", str(ROOT / "scenarios" / "loop.sh"))
    opening = is_the_story(made, "telnet")
    assert opening["refused_before"] == made["live"]["attempts"] == printed.count("Connection refused")
    assert printed.count("Connected to 127.0.0.1.") == 1
    assert made["live"]["command"]["signal"] == "SIGTERM"


@pytest.mark.usefixtures("need_redis", "need_nutcracker")
def test_redis_dies_and_its_proxy_talks_to_itself(tmp_path: Path) -> None:
    arguments = ("--range", "50000-50031", "--then", "wait", "--", str(ROOT / "scenarios" / "redis.sh"))
    made, printed = under_capture(tmp_path, *arguments)
    opening = is_the_story(made, "nutcracker")
    assert opening["transitions"][-1]["to"] == "TIME-WAIT"
    lines = printed.splitlines()
    assert lines[0].endswith("get a -> 1")
    assert lines[1].endswith(("get a -> ERR Connection refused", "get a -> get"))  # once in 16 times it is the first
    assert lines[-2].endswith("get a -> get a ")  # the client's own request
    assert lines[-1].endswith("bind: Address already in use")
    assert made["live"]["command"] | {"status": 0, "stopped": False} == made["live"]["command"]
    shown = subprocess.run(
        [sys.executable, "-m", "analysis.cli", "--expect", "self-connect", "made.pcapng"],
        cwd=tmp_path, env=ENVIRONMENT, capture_output=True, text=True, timeout=60, check=True,
    ).stdout  # fmt: skip
    for words in ("CLOSED > SYN-SENT", "SYN-SENT > SYN-RECEIVED", "SYN-RECEIVED > ESTABLISHED", "20 octets"):
        assert words in shown


# -- remedies: each has to withstand 250 times the attempts that it takes on average ---------------------------------

NONE_CONNECTED = remedies.Tried(remedies.ATTEMPTS, 0)


def in_few_ports(try_it: Callable[[], Any]) -> Any:
    """Try it in a namespace with 4 candidate ports, the target among them."""

    def there() -> Any:
        Path("/proc/sys/net/ipv4/ip_local_port_range").write_text("{} {}".format(*remedies.RANGE))
        return try_it()

    return alone(there)


def test_without_a_remedy_it_happens() -> None:
    assert in_few_ports(remedies.dial).connected > 50


def test_a_reserved_port_is_safe() -> None:
    def try_it() -> tuple[remedies.Tried, remedies.Tried]:
        with remedies.reserved():
            tried = remedies.dial()
        return tried, remedies.dial()

    tried, without = in_few_ports(try_it)
    assert tried == NONE_CONNECTED
    assert without.connected


def test_a_port_that_a_socket_holds_is_safe_though_nobody_listens() -> None:
    def try_it() -> tuple[remedies.Tried, remedies.Tried]:
        with remedies.held():
            tried = remedies.dial()
        return tried, remedies.dial()

    tried, without = in_few_ports(try_it)
    assert tried == NONE_CONNECTED
    assert without.connected


def test_a_port_of_the_other_parity_is_safe_from_clients_that_do_not_bind() -> None:
    assert in_few_ports(lambda: remedies.dial(to=(remedies.HOST, remedies.PORT + 1))) == NONE_CONNECTED
    assert in_few_ports(lambda: remedies.dial(to=(remedies.HOST, remedies.PORT + 1), bind=remedies.HOST)).connected > 50


def test_another_loopback_address_is_safe_unless_the_client_has_it_too() -> None:
    there = remedies.ASIDE
    assert in_few_ports(lambda: remedies.dial(to=(there, remedies.PORT))) == NONE_CONNECTED
    assert in_few_ports(lambda: remedies.dial(bind=there, late=True)) == NONE_CONNECTED
    assert in_few_ports(lambda: remedies.dial(to=(there, remedies.PORT), bind=there, late=True)).connected > 50


def test_a_guard_in_the_client_sees_every_one() -> None:
    tried = in_few_ports(lambda: remedies.dial(guard=True))
    assert (tried.attempts, tried.connected) == (remedies.ATTEMPTS, 0)
    assert tried.guarded > 50


def test_so_reuseaddr_on_the_server_is_no_remedy() -> None:
    assert in_few_ports(remedies.serve_with_reuse) == ("EADDRINUSE", "EADDRINUSE")
