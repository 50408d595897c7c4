"""selfconn-check: against hosts that the test made, against what the kernel then does, and its command line."""

from __future__ import annotations

import errno
import json
import math
import os
import random
import re
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from alone import alone
from conftest import ROOT
from test_portwalk import linux

from analysis import privilege
from analysis.errors import CannotCapture
from analysis.model import Endpoint
from analysis.odds import Odds
from analysis.states import State
from analysis.text import Style
from capture import check_cli
from capture.check import findings, page
from capture.check.findings import Risk, Survey
from capture.check.grid import grid
from capture.kernel import measured_rule, namespaces, netlink, netns, number_lists, port_choice, sockets
from capture.kernel.port_choice import Kernel
from capture.kernel.port_rules import BOUND_LISTED, RULES, Identity, Rule

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from capture.kernel.socket_table import TcpSocket

live = pytest.mark.live(pytest.mark.usefixtures("need_private_namespace"))

RESET = struct.pack("ii", 1, 0)
IP_BIND_ADDRESS_NO_PORT = 24


def setting(name: str, value: str) -> None:
    Path("/proc/sys/net/ipv4", name).write_text(value)


def run(*arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
    """Run it on this network namespace alone, unless asked otherwise: the machine has others."""
    which = () if "--netns" in arguments else ("--netns", "self")
    return subprocess.run(
        [sys.executable, "-m", "capture.check_cli", *which, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )


# -- a host with a bit of everything ---------------------------------------------------------------------------------


#: A program that was started as programs are: whoever has the rights of a whole namespace is not looked into by others.
HOLDER = """
import os, socket, struct, sys
from pathlib import Path

Path("/proc/self/comm").write_text("\\x1b[2Jproxy")
one, left, bound = socket.socket(), socket.socket(), socket.socket()
for itself, port in ((one, 50000), (left, 50020)):
    itself.bind(("127.0.0.1", port))
    itself.connect(("127.0.0.1", port))
left.close()
one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
served = [socket.create_server(("127.0.0.1", port)) for port in (50002, 50003, 50004, 2000)]
served.append(socket.create_server(("127.0.0.53", 50006)))
bound.bind(("127.0.0.1", 50008))
print(os.fstat(one.fileno()).st_ino, flush=True)
sys.stdin.read()
"""


def prepared(*commands: Sequence[str]) -> tuple[list[subprocess.CompletedProcess[str]], int, int]:
    """What each command line says of it; and in truth: the process that has it all, and the inode."""
    setting("ip_local_reserved_ports", "8080,50004")
    holder = subprocess.Popen([sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with holder:
        inode = int(holder.stdout.readline())
        return [run(*command) for command in commands], holder.pid, inode


EXPECTED = {
    2000: (Risk.SAFE, "source ports come from 32768-60999"),
    50000: (Risk.AT_RISK, "even source ports of 32768-60999, given to 1 attempt in 14,1"),
    50002: (Risk.AT_RISK, "once nobody listens"),
    50003: (Risk.UNTIL, "odd, and connect() prefers even ones, like 32768, the first of 32768-60999"),
    50004: (Risk.SAFE, "reserved"),
    50006: (Risk.UNTIL, "a client that dials 127.0.0.53 gets another source address"),
    50010: (Risk.AT_RISK, "even source ports"),
    50011: (Risk.UNTIL, "odd"),
    61000: (Risk.SAFE, "source ports come from 32768-60999"),
}
ASKED = ("--port", "50010", "--port", "50011", "--port", "61000")


@live
def test_every_line_of_a_prepared_host_is_right() -> None:
    [said], process, inode = alone(prepared, ["--format", "json", *ASKED])
    assert said.returncode == 1
    assert said.stderr == ""
    found = json.loads(said.stdout)
    [one] = found["self_connected"]
    assert one["endpoint"] == {"address": "127.0.0.1", "port": 50000}
    assert (one["state"], one["inode"], one["uid"]) == ("ESTABLISHED", inode, os.getuid())
    assert [holder["pid"] for holder in one["processes"]] == [process]
    assert one["processes"][0]["name"] == "\x1b[2Jproxy"
    assert 0 <= one["idle_seconds"] <= one["oldest_seconds"] < 60
    [left] = found["time_wait"]
    assert left["endpoint"]["port"] == 50020
    assert 50 < left["seconds"] <= 60
    ports = {port["port"]: port for port in found["ports"]}
    assert ports.keys() == EXPECTED.keys()
    for port, (risk, words) in EXPECTED.items():
        assert ports[port]["risk"] == risk, port
        assert words in ports[port]["reason"]
        assert bool(ports[port]["until"]) is (risk is Risk.UNTIL)
        assert ports[port]["asked"] is (str(port) in ASKED)
        assert bool(ports[port]["chance"]) is (risk is Risk.AT_RISK)
    for port in (2000, 50002, 50003, 50004, 50006):
        [server] = ports[port]["listening"]
        assert [holder["pid"] for holder in server["processes"]] == [process]
    assert found["remedy"] == {
        "sysctl": "net.ipv4.ip_local_reserved_ports=8080,50000,50002,50004,50010",
        "thorough": "net.ipv4.ip_local_reserved_ports=8080,50000,50002-50004,50006,50010-50011",
    }
    assert (found["missing"], found["whole"]) == ([], True)


@live
def test_a_page_for_people() -> None:
    [plain, verbose, quiet, colored], process, inode = alone(
        prepared, [*ASKED, "--port", "50008"], ["-v"], ["-q"], ["--color", "always"]
    )
    page = plain.stdout
    assert all(len(line) <= 100 for line in f"{page}{verbose.stdout}".splitlines())
    assert re.search(rf"^127\.0\.0\.1:50000 +ESTABLISHED +\\x1b\[2Jproxy \({process}\) +\w+ +\S", page, re.MULTILINE)
    assert "127.0.0.1:50020 was connected to itself and is in TIME-WAIT" in page
    for port, (risk, _) in EXPECTED.items():
        who = "nobody listens" if port in (50000, 50010, 50011, 61000) else rf"\\x1b\[2Jproxy \({process}\)"
        assert re.search(rf"^ *{port}  {who} +{risk}  ", page, re.MULTILINE), port
    if port_choice.kernel().has(BOUND_LISTED):
        told = re.sub(r"\s+", " ", page)
        assert rf"50008 nobody listens safe only until \x1b[2Jproxy ({process}) closes that socket" in told
    assert "sysctl -w net.ipv4.ip_local_reserved_ports=8080,50000,50002,50004,50010\n" in page
    assert "Who has the port\n- Port 50008 is bound at 127.0.0.1:50008 by a socket of \\x1b[2Jproxy (" in page
    assert "ss -tK src 127.0.0.1:50000 dst 127.0.0.1:50000\n" in page
    assert page.index("sysctl -w") < page.index("ss -tK")
    assert "if getsockname(fd) == getpeername(fd):" in page
    assert f"inode {inode}" in verbose.stdout
    assert quiet.stdout.startswith("Connected to themselves now\n")
    assert "Ports" not in quiet.stdout
    assert "\x1b[31mat risk\x1b[0m" in colored.stdout
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", page + verbose.stdout + quiet.stdout)
    assert not re.search(r"\x1b(?!\[\d*m)", colored.stdout)


@live
def test_metrics_for_prometheus() -> None:
    [said], process, _ = alone(prepared, ["--format", "prometheus", *ASKED])
    samples = {}
    for line in said.stdout.splitlines():
        if not re.match(r"# (?:HELP|TYPE) selfconn_\w+ ", line):
            name, labels, value = re.fullmatch(r"(\w+)(?:\{(.*)\})? (\S+)", line).groups()
            samples[name, labels] = float(value)
    assert samples["selfconn_sockets", None] == 1
    user = sockets.user(os.getuid())
    labels = rf'address="127.0.0.1",port="50000",process="\\x1b[2Jproxy",pid="{process}",user="{user}"'
    labels += ',namespace="self",container=""'
    assert samples["selfconn_socket_info", labels] == 1
    assert samples["selfconn_time_wait_sockets", None] == 1
    for port, (risk, _) in EXPECTED.items():
        at_risk = samples["selfconn_port_at_risk", f'port="{port}",namespace="self"']
        assert at_risk == (risk is Risk.AT_RISK)
    # 50004 is reserved, 50006 and 50008 are bound: what would start there goes on to 50010.
    assert samples["selfconn_port_attempt_probability", 'port="50010",namespace="self"'] == pytest.approx(
        4 / 14112, rel=0.05
    )
    assert samples["selfconn_check_complete", None] == 1


def quiet_host() -> tuple[str, str, int]:
    said = run("-q"), run()
    return said[0].stdout + said[0].stderr, said[1].stdout, said[0].returncode | said[1].returncode


@live
def test_where_nothing_is_wrong_little_is_said() -> None:
    assert alone(quiet_host) == ("", "No socket is connected to itself.\n", 0)


# -- what is said against what happens -------------------------------------------------------------------------------


def hits(target: int, attempts: int, address: str = "127.0.0.1", *, bound_first: bool = False) -> int | None:
    """The attempt that connected to itself, if one of so many did."""
    for attempt in range(1, attempts + 1):
        with socket.socket() as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            if bound_first:
                one.bind((address, 0))
            elif address != "127.0.0.1":
                one.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
                one.bind((address, 0))
            if not one.connect_ex((address, target)):
                assert one.getsockname() == one.getpeername()
                return attempt
    return None


def tried(low: int, high: int, reserved: str, target: int) -> tuple[Risk, bool]:
    """What is said of the target, and whether it was hit within 15 times the mean: once in a million it is not."""
    setting("ip_local_port_range", f"{low} {high}")
    setting("ip_local_reserved_ports", reserved)
    [port] = findings.look([target], every=1e-5).ports
    mean = port.odds.mean if port.odds.catch else (high - low + 1) / 2
    return port.risk, hits(target, math.ceil(15 * mean)) is not None


def all_tried(cases: Iterable[tuple[int, int, str, int]]) -> list[tuple[Risk, bool]]:
    return [tried(*case) for case in cases]


def cases() -> Iterator[tuple[int, int, str, int]]:
    rolls = random.Random(4)
    for number in range(24):
        low = rolls.randrange(20000, 60000)
        high = low + rolls.randrange(3, 150)
        reserved = rolls.sample(range(low, high + 1), rolls.randrange((high - low) // 2)) if number % 3 == 0 else ()
        target = rolls.choice(reserved) if reserved and number % 2 else rolls.randrange(low - 4, high + 5)
        yield low, high, number_lists.spans(reserved), target


@live
def test_exactly_the_ports_called_at_risk_are_hit() -> None:
    tested = list(cases())
    said = alone(all_tried, tested)
    assert [hit for _, hit in said] == [risk is Risk.AT_RISK for risk, _ in said], list(zip(tested, said, strict=True))
    assert {risk for risk, _ in said} == set(Risk)


def remedied() -> tuple[list[Risk], list[bool]]:
    setting("ip_local_port_range", "50000 50063")
    setting("ip_local_reserved_ports", "50010-50013")
    before = findings.look([50020])
    hit_before = hits(50020, 400) is not None
    name, _, value = str(before.remedy).partition("=")
    setting(name.removeprefix("net.ipv4."), value)
    after = findings.look([50020])
    still = hits(50012, 400) is not None  # what was reserved stays reserved
    return [before.ports[0].risk, after.ports[0].risk], [hit_before, hits(50020, 400) is not None, still]


@live
def test_the_remedy_is_one_and_keeps_what_is_reserved() -> None:
    assert alone(remedied) == ([Risk.AT_RISK, Risk.SAFE], [True, False, False])


def until() -> list[tuple[str | None, bool, bool]]:
    """What each port is safe until; whether it was hit before, and after that."""
    setting("ip_local_port_range", "50000 50063")
    seen = []
    [parity] = findings.look([50021]).ports
    seen.append((parity.until, hits(50021, 400) is not None, hits(50021, 1000, bound_first=True) is not None))
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 50030))
        [held] = findings.look([50030]).ports
        before = hits(50030, 400) is not None
    seen.append((held.until, before, hits(50030, 1000) is not None))
    with socket.create_server(("127.0.0.2", 50040)):
        [alias] = findings.look().ports
    seen.append((alias.until, _refused("127.0.0.2", 50040, 400), hits(50040, 1000, "127.0.0.2") is not None))
    return seen


def _refused(address: str, target: int, attempts: int) -> bool:
    """Whether any of so many plain attempts was not refused."""
    answers = set()
    for _ in range(attempts):
        with socket.socket() as one:
            answers.add(one.connect_ex((address, target)))
    return answers != {errno.ECONNREFUSED}


@live
def test_what_is_safe_until_is_not_after_that() -> None:
    if not port_choice.kernel().has(BOUND_LISTED):
        pytest.skip("needs Linux 6.8, which tells who only binds a port")
    (parity, *one), (held, *other), (alias, *third) = alone(until)
    assert one == other == third == [False, True]
    assert parity == "a client calls bind() to port 0 before connect(), or no even one is free"
    assert re.fullmatch(r".+ \(\d+\) closes that socket", str(held))
    assert alias == "a client calls bind() to 127.0.0.2 before connect()"


# -- the forecast ----------------------------------------------------------------------------------------------------


def kolmogorov_smirnov(sample: Sequence[int], odds: Odds) -> float:
    """The probability of a sample that lies as far from the forecast, or farther (for counts: at least that)."""
    ordered, size = sorted(sample), len(sample)
    apart = 0.0
    for attempts in set(ordered):
        for count in (attempts, attempts - 1):
            seen = sum(one <= count for one in ordered) / size
            apart = max(apart, abs(seen - odds.probability(count)))
    scaled = (math.sqrt(size) + 0.12 + 0.11 / math.sqrt(size)) * apart
    terms = (2 * (-1) ** (k - 1) * math.exp(-2 * (k * scaled) ** 2) for k in range(1, 101))
    return max(0.0, min(1.0, sum(terms))) if scaled > 0.2 else 1.0


def test_the_test_of_the_forecast_can_fail() -> None:
    rolls, odds = random.Random(1), Odds(1 / 60)
    geometric = [math.ceil(math.log(rolls.random()) / math.log(1 - 1 / 60)) for _ in range(300)]
    assert kolmogorov_smirnov(geometric, odds) > 0.01
    assert kolmogorov_smirnov([round(1.3 * one) for one in geometric], odds) < 0.01
    assert kolmogorov_smirnov([60] * 300, odds) < 1e-9


def forecast(low: int, high: int, reserved: str, target: int, count: int) -> tuple[Odds, list[int]]:
    """The odds as they are told, and how many attempts so many walks took.

    Each walk has an address of its own, so that it begins wherever the kernel's hash has it begin.
    """
    setting("ip_local_port_range", f"{low} {high}")
    setting("ip_local_reserved_ports", reserved)
    [port] = findings.look([target], every=1e-5).ports
    rolls = random.Random()
    taken = []
    for _ in range(count):
        address = f"127.{rolls.randrange(256)}.{rolls.randrange(256)}.{rolls.randrange(2, 255)}"
        taken.append(hits(target, 100_000, address) or 0)
    return port.odds, taken


@live
@pytest.mark.parametrize(("reserved", "target"), [("", 50050), ("50010-50011,50040-50043,50048", 50050)])
def test_the_forecast_is_what_happens(reserved: str, target: int) -> None:
    odds, taken = alone(forecast, 50000, 50127, reserved, target, 1200)
    assert sum(taken) / len(taken) == pytest.approx(odds.mean, rel=0.15)
    # A right forecast is rejected once in a hundred times; not twice in a row.
    assert max(kolmogorov_smirnov(taken[start : start + 300], odds) for start in (0, 300)) > 0.01


@pytest.mark.parametrize(("release", "version"), [("4.19.0", (4, 19)), ("5.15.0", (5, 15)), ("6.18.0", (6, 18))])
@pytest.mark.parametrize("every", [0.01, 0.5, 3.0, 60.0])
def test_the_forecast_for_other_kernels_and_for_pauses(release: str, version: tuple[int, int], every: float) -> None:
    kernel = Kernel(release, 50000, 50127)
    odds = kernel.odds(50050, kernel.windows(), every=every)
    rolls = random.Random(7)
    taken = []
    for number in range(300):
        choose, target = linux(rolls, 50000, 50127, release=version), Endpoint(bytes(4), number)
        now = rolls.random() * 10
        taken.append(1)
        while choose(target, now) != 50050:
            taken[-1] += 1
            now += every
    assert sum(taken) / len(taken) == pytest.approx(odds.mean, rel=0.15)
    assert kolmogorov_smirnov(taken, odds) > 0.01


def test_an_older_kernel_may_have_the_newer_rule() -> None:
    assert findings.caveat(Kernel("6.18.0", 32768, 60999)) is None
    assert "--measure-rule finds out" in str(findings.caveat(Kernel("5.4.0-100-generic", 32768, 60999)))


# -- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ports", "text"),
    [((), ""), ((8080,), "8080"), ((1, 2), "1-2"), ((9150, 8080, 9148, 9149), "8080,9148-9150"), ((5, 5, 7), "5,7")],
)
def test_ports_as_the_kernel_takes_them(ports: tuple[int, ...], text: str) -> None:
    assert number_lists.spans(set(ports)) == text
    assert number_lists.parsed(text) == frozenset(ports)


def reserved_by_command() -> tuple[set[int], set[int]]:
    """Very many ports, and those that are reserved when the command has run that reserves them."""
    ports = set(random.Random(5).sample(range(1024, 61000), 3000))
    text = number_lists.spans(ports, number_lists.LONGEST)
    subprocess.run(["sysctl", "-qw", f"net.ipv4.ip_local_reserved_ports={text}"], check=True)
    return ports, set(port_choice.kernel().reserved)


@live
@pytest.mark.root
@pytest.mark.usefixtures("need_root")
def test_a_setting_is_no_longer_than_the_kernel_takes_at_once() -> None:
    ports, reserved = alone(reserved_by_command)
    assert ports <= reserved
    assert len(number_lists.spans(ports)) > 4096


SERVER_OF_MANY = """
import random, resource, socket, sys
resource.setrlimit(resource.RLIMIT_NOFILE, (1000, 1000))
held = [socket.create_server(("127.0.0.1", port)) for port in random.Random(3).sample(range(1100, 61000), 400)]
print(flush=True)
sys.stdin.read()
"""


def pages_of_many() -> tuple[list[str], str, list[int]]:
    """A page on a terminal of 60, 80 and 100 columns, the whole of it, and the ports at risk; what it says was done."""
    command = [sys.executable, "-c", SERVER_OF_MANY]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        survey = Survey.of_one(findings.look())
        pages = ["".join(page.table(survey, Style(), columns)) for columns in (60, 80, 100)]
        whole = "".join(page.table(survey, Style(verbose=True)))
    shell = re.findall(r"^    ((?:sudo )?sysctl(?:.*\\\n)*.*)", pages[0], re.MULTILINE)[0].removeprefix("sudo ")
    subprocess.run(["sh", "-c", shell], check=True, capture_output=True)
    return pages, whole, sorted({one.port for one in survey.each[0].ports if one.risk is Risk.AT_RISK})


def many_reserved() -> tuple[list[str], str, list[int], list[int]]:
    pages, whole, at_risk = pages_of_many()
    return pages, whole, at_risk, sorted(port_choice.kernel().reserved)


@live
@pytest.mark.root
@pytest.mark.usefixtures("need_root")
def test_a_node_of_400_servers_has_a_page_that_can_be_read() -> None:
    pages, whole, at_risk, reserved = alone(many_reserved)
    for columns, text in zip((60, 80, 100), pages, strict=True):
        assert max(map(len, text.splitlines())) <= columns
        assert len(text.splitlines()) < 150
        assert text.count("source ports come from") <= 3  # one reason, told once, and the title
    assert pages[2].index("at risk") < pages[2].index("safe only until") < pages[2].index("  safe  ")
    assert reserved == at_risk
    assert len(re.findall(r"^ *\d+  127\.0\.0\.1:\d+ python", whole, re.MULTILINE)) == 400


def odd_range() -> findings.Port:
    setting("ip_local_port_range", "50000 50004")
    return findings.look([50004]).ports[0]


@live
def test_the_last_of_an_odd_number_of_ports_is_safe() -> None:
    port = alone(odd_range)
    assert port.risk is Risk.SAFE
    assert port.reason == "50000-50004 is an odd number of ports, of which the last is left out"


# -- the command line ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--port", "0"], "not a TCP port"),
        (["--port", "65536"], "not a TCP port"),
        (["--port", "http"], "not a TCP port"),
        (["--port", "\x1b[2J"], r"\x1b[2J"),
        (["--every", "0"], "not a number above 0"),
        (["--every", "nan"], "not a number above 0"),
        (["--rate", "-1"], "not a number above 0"),
        (["--rate", "1", "--every", "1"], "not allowed with"),
        (["--format", "html"], "invalid choice"),
        (["50000"], "unrecognized"),
    ],
)
def test_wrong_usage(arguments: list[str], words: str) -> None:
    said = run(*arguments)
    assert said.returncode == 2
    assert words in said.stderr
    assert "\x1b" not in said.stderr


def measured(count: int) -> tuple[findings.Findings, str]:
    """What is measured while so many attempts fail, and how it is told; then the same where none does."""

    def dial() -> None:
        time.sleep(0.3)
        assert hits(50001, count) is None

    setting("ip_local_port_range", "50000 50063")
    dialling = threading.Thread(target=dial)
    dialling.start()
    found = findings.look([50000], measured=findings.measured(2))
    dialling.join()
    quiet = findings.look([50000], 7.0, measured=findings.measured(0.1))
    assert (quiet.every, quiet.measured) == (7.0, findings.Measured(0.1, 0))
    told = "".join(page.table(Survey.of_one(quiet), Style()))
    assert "the pace is an assumption" in " ".join(told.split())
    return found, "".join(page.table(Survey.of_one(found), Style()))


@live
@live
def test_what_was_measured_is_told_where_no_port_is_at_risk_too() -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "capture.check_cli", "--netns", "self", "--measure-rule", "--measure", "0.1"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert "(Measured: this kernel goes through the ports " in ended.stdout, ended.stderr
    assert "in 100 ms: the pace is an assumption" in ended.stdout or "failed in 100 ms" in ended.stdout


def test_the_pace_is_measured() -> None:
    found, told = alone(measured, 150)
    assert (found.measured, found.every) == (findings.Measured(2, 150), 2 / 150)
    assert "Measured: 150 attempts to connect failed in 2" in " ".join(told.split())


@pytest.mark.parametrize("width", [1, 9, 20, 40, 100])
def test_a_grid_keeps_to_its_width(width: int) -> None:
    rows = [("a" * 30, "one two three four", "x"), ("", "b\nc", "yy")]
    drawn = grid(("first", "second", "third"), rows, width, right={2}, painted=lambda _column, _cell, text: text)
    assert all(len(line) <= max(width, 3 + 4) for line in drawn.splitlines())
    assert drawn.count("a") == 30
    if width == 100:
        assert drawn.splitlines()[2] == f"{'a' * 30}  one two three four      x"
        assert drawn.splitlines()[3:] == [f"{'':30}  b                      yy", f"{'':30}  c"]


def test_help_and_version() -> None:
    assert "selfconn-check -q;" in run("--help-all").stdout
    assert re.fullmatch(r"selfconn-check \d+\.\d+\.\d+ \(Python [\d.]+\w*\)\n", run("-V").stdout)


def test_where_it_is_not_linux(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    monkeypatch.setattr(port_choice, "_PROC", tmp_path)
    monkeypatch.setattr(privilege, "give_up_root", lambda: None)  # the tests would go on without it
    assert check_cli.main(["--netns", "self"]) == 3
    assert "this needs Linux" in capsys.readouterr().err


def blind(*_: object, **__: object) -> None:
    raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))


@pytest.mark.parametrize("arguments", [[], ["-q"], ["--format", "json"]])
def test_what_cannot_be_seen_is_not_called_well(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture, arguments: list[str]
) -> None:
    monkeypatch.setattr(sockets, "tcp_sockets", blind)
    monkeypatch.setattr(namespaces, "_unanswered", lambda: "no answer")
    monkeypatch.setattr(privilege, "give_up_root", lambda: None)  # the tests would go on without it
    assert check_cli.main(["--netns", "self", *arguments]) == 4
    said = capfd.readouterr()
    assert "/proc/net/tcp cannot be read" in said.out + said.err
    assert "No socket is connected" not in said.out


def check_unlisted() -> dict[str, Any]:
    """What the command says of a bound port where the kernel lists none, as Linux before 6.8."""
    listed = netlink.SockDiag.sockets

    def without_bound(*arguments: object, **named: object) -> list[TcpSocket]:
        return [one for one in listed(*arguments, **named) if one.state is not State.CLOSED]

    netlink.SockDiag.sockets = without_bound
    port_choice.identity = lambda: Identity((6, 1, 170), certain=True)
    privilege.give_up_root = lambda: None
    with tempfile.NamedTemporaryFile() as out, socket.socket() as bound:
        bound.bind(("127.0.0.1", 50000))
        assert check_cli.main(["--netns", "self", "--port", "50000", "--format", "json", "-o", out.name]) == 0
        [port] = json.loads(Path(out.name).read_text())["ports"]
        return port


@live
@pytest.mark.usefixtures("need_pidfd_getfd")
def test_a_port_that_is_bound_is_held_although_the_kernel_does_not_list_it() -> None:
    port = alone(check_unlisted)
    assert port["risk"] == "safe only until"
    assert "bound by a socket that does not listen" in port["reason"]
    assert [one["state"] for one in port["held_by"]] == ["CLOSED"]


def check_without(part: str) -> tuple[int, str]:
    """What the command says where netlink says that the kernel lacks a part."""
    said = f"this kernel has no {part}"

    def lacks(*_: object, **__: object) -> None:
        raise OSError(errno.ENOENT, said)

    netlink.SockDiag.sockets = lacks
    privilege.give_up_root = lambda: None
    with tempfile.NamedTemporaryFile() as out:
        return check_cli.main(["--netns", "self", "--port", "50000", "-o", out.name]), Path(out.name).read_text()


@live
@pytest.mark.parametrize("part", ["inet_diag", "tcp_diag", "netlink's sock_diag"])
def test_a_part_that_the_kernel_lacks_is_named_and_is_no_find(part: str) -> None:
    status, page = alone(check_without, part)
    assert status == 4
    told = " ".join(page.split())
    assert f"so that no client is given them: this kernel has no {part}" in told
    assert "No socket that could be seen is connected to itself." in told


@pytest.mark.skipif(os.geteuid() == 0, reason="root sees everybody's processes")
def test_an_ordinary_user_is_told_what_root_would_see() -> None:
    said = run("--format", "json")
    assert said.returncode in (0, 1)
    found = json.loads(said.stdout)
    if any(not one["processes"] for port in found["ports"] for one in port["listening"]):
        assert "root can" in found["missing"][-1]


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "selfconn.prom"
    path.write_text("old")
    path.chmod(0o600)
    reader = path.open()
    said = run("--format", "prometheus", "-o", str(path), umask=0o022)
    assert (said.stdout, said.stderr) == ("", "")
    assert path.read_text().startswith("# HELP selfconn_sockets")
    assert path.stat().st_mode & 0o777 == 0o644
    with reader:
        assert reader.read() == "old"
    assert [one.name for one in tmp_path.iterdir()] == ["selfconn.prom"]


@pytest.mark.long
def test_nobody_elses_file_is_touched(tmp_path: Path) -> None:
    victim, link, other, fifo = (tmp_path / name for name in ("victim", "link", "other", "fifo"))
    victim.write_text("do not touch")
    link.symlink_to(victim)
    other.hardlink_to(victim)
    os.mkfifo(fifo)
    for path in (link, other, fifo):
        said = run("-o", str(path))
        assert (said.returncode, said.stdout) == (3, "")
        assert said.stderr.startswith(f"selfconn-check: cannot write {path}: ")
    assert run("-o", "/dev/null").stderr == ""
    assert Path("/dev/null").is_char_device()
    assert (victim.read_text(), link.is_symlink(), fifo.is_fifo()) == ("do not touch", True, True)
    assert {path.name for path in tmp_path.iterdir()} == {"victim", "link", "other", "fifo"}


@pytest.mark.parametrize("name", ["missing/file", "."])
def test_a_file_that_cannot_be_written(tmp_path: Path, name: str) -> None:
    said = run("-o", str(tmp_path / name))
    assert said.returncode == 3
    assert said.stderr.startswith(f"selfconn-check: cannot write {tmp_path}")
    assert said.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_full_disk_is_told() -> None:
    with Path("/dev/full").open("w") as full:
        said = subprocess.run(
            [sys.executable, "-m", "capture.check_cli"], cwd=ROOT, stdout=full, stderr=subprocess.PIPE, check=False
        )
    assert said.returncode == 4
    assert b"cannot write standard output: No space left" in said.stderr


def test_a_reader_that_has_enough_ends_it_quietly() -> None:
    command = f"{sys.executable} -m capture.check_cli --format json | head -c1; exit ${{PIPESTATUS[0]}}"
    said = subprocess.run(["bash", "-c", command], cwd=ROOT, capture_output=True, timeout=60, check=False)
    assert (said.stdout, said.stderr) == (b"{", b"")


def names(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from value
        value = list(value.values())
    if isinstance(value, list):
        for inner in value:
            yield from names(inner)


@live
def test_every_field_is_documented() -> None:
    [said], *_ = alone(prepared, ["--format", "json", *ASKED])
    documented = set(re.findall(r"`([a-z_]+)`", (ROOT / "docs" / "json.md").read_text()))
    assert set(names(json.loads(said.stdout))) <= documented


# -- the rule, measured ----------------------------------------------------------------------------------------------


@live
def test_the_rule_is_measured() -> None:
    said = run("--measure-rule", "--port", "50000", "--format", "json")
    assert said.stderr == ""
    kernel = json.loads(said.stdout)["kernel"]
    assert kernel["rule"] == "measured"
    assert kernel["algorithm"] == port_choice.kernel().identity.rule.selection.algorithm
    assert (
        "(Measured: this kernel goes through the ports moving on by " in run("--measure-rule", "--port", "50000").stdout
    )


def walk_of(steps: Iterable[int], start: int = 32768) -> list[tuple[int, int]]:
    """Attempts that move on by these steps, a microsecond apart."""
    ports = [start]
    for step in steps:
        ports.append((ports[-1] + step - 32768) % 28232 + 32768)
    return [(1_000 * n, port) for n, port in enumerate(ports)]


@pytest.mark.parametrize("rule", [rule for _, rule in RULES], ids=lambda rule: rule.description)
def test_each_rule_is_recognised(rule: Rule, monkeypatch: pytest.MonkeyPatch) -> None:
    rolls, unit = random.Random(1), 2 if rule.halves else 1
    weights = rule.selection.steps
    steps = [unit * n for n in rolls.choices(range(1, len(weights) + 1), weights, k=999)]
    monkeypatch.setattr(measured_rule, "_made", lambda: walk_of(steps))
    for _, assumed in RULES:
        assert measured_rule.measured_rule(assumed) == rule
    salted = rule._replace(selection=rule.selection._replace(salted=10))
    assert measured_rule.measured_rule(salted) == salted


def test_a_rule_that_nobody_knows_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    rolls = random.Random(1)
    monkeypatch.setattr(measured_rule, "_made", lambda: walk_of(2 * rolls.randint(1, 14_000) for _ in range(999)))
    with pytest.raises(CannotCapture, match="the rule of this kernel is none of those known"):
        measured_rule.measured_rule(RULES[0][1])


def test_where_there_can_be_no_namespace_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_what: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(netns, "_leave", refuse)
    with pytest.raises(CannotCapture, match="the rule cannot be measured: cannot make a private network namespace"):
        measured_rule.measured_rule(RULES[0][1])
