"""What selfconn-check says of a port, in random set-ups, is what connect() then does (tools/kernels/setups.py)."""

from __future__ import annotations

import sys

import pytest
from conftest import ROOT

from analysis.model import Endpoint
from analysis.states import State
from capture.check import findings
from capture.check.findings import Risk, Seen
from capture.kernel import port_choice
from capture.kernel.port_choice import Kernel
from capture.kernel.socket_table import TcpSocket
from capture.kernel.sockets import Table

sys.path.append(str(ROOT / "tools" / "kernels"))
import setups  # it is found by the line above

HERE = Endpoint.parse("127.0.0.1", 50000)
live = pytest.mark.live(pytest.mark.usefixtures("need_private_namespace"))


@pytest.fixture
def usual(monkeypatch: pytest.MonkeyPatch) -> None:
    """A kernel with the usual range."""
    monkeypatch.setattr(port_choice, "kernel", lambda *_: Kernel("6.18.0", 32768, 60999))


@live
def test_what_is_said_is_what_happens() -> None:
    tried = list(setups.experiments(5, 10))
    assert len(tried) == 10
    assert [(setup, outcome) for setup, outcome in tried if not outcome.right] == []
    assert {outcome.risk for _, outcome in tried} >= {Risk.AT_RISK, Risk.UNTIL}


@live
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_what_a_bound_self_connect_leaves_keeps_connect_away(address: str) -> None:
    """It keeps those away who dial another address, too."""
    left = ("itself after bind()", "127.0.0.1", 50010)
    outcome = setups.tried(setups.Setup(address, 50000, 50015, 50010, (), ("nobody", address, 50010), left))
    assert outcome
    assert (outcome.risk, outcome.hits) == (Risk.AT_RISK, 0)
    assert "a self-connect of 127.0.0.1:50010 is in TIME-WAIT for" in outcome.reason
    assert outcome.right


@pytest.mark.parametrize(
    ("risk", "reason", "hits"),
    [
        (Risk.AT_RISK, "one of 8", 0),
        (Risk.AT_RISK, "one of 8", 240),
        (Risk.AT_RISK, "one of 8; if by bind(), connect() passes it over meanwhile", 3),
        (Risk.SAFE, "reserved", 1),
        (Risk.UNTIL, "odd", 1),
    ],
)
def test_a_wrong_verdict_is_seen(risk: Risk, reason: str, hits: int) -> None:
    assert not setups.Outcome(risk, reason, None, 60.0 if risk is Risk.AT_RISK else 0.0, hits, 480, False).right


@pytest.mark.usefixtures("usual")
@pytest.mark.parametrize("told", [True, False])
def test_who_only_binds_a_port_may_not_be_told(told: bool) -> None:
    """Linux before 6.8 does not: a port at risk may be held for now."""
    table = Table([], [], [], True, told)
    [port] = findings.look([50000], seen=Seen(({}, 0), table, {})).ports
    assert port.risk is Risk.AT_RISK
    assert ("if a socket is bound to it and no more, which is not told here" in port.reason) is not told


@pytest.mark.usefixtures("usual")
def test_time_wait_of_a_self_connect_is_told() -> None:
    left = TcpSocket(HERE, HERE, State.TIME_WAIT, 58.2, 0, 0)
    [port] = findings.look([HERE.port], seen=Seen(({}, 0), Table([left], [], [], True), {})).ports
    assert "127.0.0.1:50000 is in TIME-WAIT for 59 s more: if it had called bind(), connect() passes" in port.reason
