"""The rings under scapy's own sniff()."""

# scapy is imported in children only, and after our door to it, which keeps it away from the home directory.
# ruff: noqa: PLC0415

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from alone import alone
from conftest import ROOT
from test_recorder import connected_to_itself, refused

from analysis.errors import CannotCapture

PORT = 50001


def door() -> type[Any]:
    from capture.packets.scapy_socket import SelfconnSocket

    return SelfconnSocket


def flags(packets: Any) -> list[str]:
    return [str(packet["TCP"].flags) for packet in packets]


@pytest.mark.live
@pytest.mark.usefixtures("need_private_namespace")
@pytest.mark.parametrize("interface", ["lo", "any"])
def test_sniff_gets_every_packet_once_and_in_order(interface: str) -> None:
    def run() -> None:
        listen = door()
        from scapy.sendrecv import sniff

        with listen(interface, PORT) as heard:
            refused(500)
            connected_to_itself()
            refused(500)
            packets = sniff(opened_socket=heard, count=2004, timeout=30)
            assert flags(packets) == ["S", "RA"] * 500 + ["S", "SA", "A", "RA"] + ["S", "RA"] * 500
            times = [packet.time for packet in packets]
            assert times == sorted(times)
            assert any(int(moment * 10**9) % 1000 for moment in times), "nanoseconds"
            assert all(packet.wirelen == len(packet) for packet in packets)
            assert (heard.rings.received, heard.rings.dropped) == (2004, 0)

    alone(run)


@pytest.mark.live
@pytest.mark.usefixtures("need_private_namespace", "need_ipv6")
def test_a_sniffer_in_the_background() -> None:
    def run() -> None:
        listen = door()
        from scapy.sendrecv import AsyncSniffer

        with listen("lo", PORT) as heard:
            seen: list[Any] = []
            sniffer = AsyncSniffer(
                opened_socket=heard, store=False, prn=seen.append, stop_filter=lambda _: len(seen) == 4
            )
            sniffer.start()
            connected_to_itself("::1")
            sniffer.join(30)
            assert flags(seen) == ["S", "SA", "A", "RA"]
            assert seen[0]["IPv6"].src == seen[0]["IPv6"].dst == "::1"

    alone(run)


@pytest.mark.live
@pytest.mark.usefixtures("need_private_namespace")
def test_it_never_waits_and_never_sends() -> None:
    def run() -> None:
        listen = door()
        from scapy.error import Scapy_Exception
        from scapy.layers.inet import IP
        from scapy.sendrecv import sniff

        heard = listen("lo", PORT)
        assert heard.recv() is None
        assert len(sniff(opened_socket=heard, timeout=0.1)) == 0
        with pytest.raises(Scapy_Exception, match="only listens"):
            heard.send(IP())
        heard.close()
        heard.close()

    alone(run)


@pytest.mark.live
@pytest.mark.usefixtures("need_private_namespace")
def test_no_such_interface() -> None:
    def run() -> None:
        with pytest.raises(CannotCapture, match="there is no interface 'nowhere0'"):
            door()("nowhere0")

    alone(run)


class Planted:
    """Leaves a file behind when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_nothing_at_home_is_read_run_or_written(tmp_path: Path) -> None:
    trace, home = tmp_path / "trace", tmp_path / "home"
    folders = {"XDG_CONFIG_HOME": ".config", "XDG_CACHE_HOME": ".cache", "XDG_DATA_HOME": ".local/share"}
    for folder in folders.values():
        (home / folder / "scapy").mkdir(parents=True)
    for name in ("prestart.py", "startup.py"):
        (home / ".config/scapy" / name).write_text(f"open({str(trace)!r}, 'w')")
    for name in ("ethertypes", "protocols", "services", "manufdb"):
        (home / ".cache/scapy" / f"{name}.pickle").write_bytes(pickle.dumps(Planted(trace)))
    before = sorted(home.rglob("*"))
    for named in ({}, {name: str(home / folder) for name, folder in folders.items()}):
        program = (
            "import os; before = dict(os.environ)\n"
            "import capture.packets.scapy_socket, scapy.main\n"
            "from scapy.config import conf\n"
            "conf.manufdb, conf.services_tcp, conf.ethertypes, conf.protocols\n"
            "assert scapy.main.SCAPY_CACHE_FOLDER is scapy.main.SCAPY_CONFIG_FOLDER is None\n"
            "assert before == dict(os.environ)"
        )
        environment = {name: value for name, value in os.environ.items() if name not in folders}
        subprocess.run(
            [sys.executable, "-W", "error", "-c", program],
            cwd=ROOT,
            env=environment | {"HOME": str(home), "SHELL": "/bin/bash"} | named,
            check=True,
            timeout=60,
        )
    assert not trace.exists()
    assert sorted(home.rglob("*")) == before
