"""Recordings of real traffic in a network of its own: nothing lost, nothing twice, in order, readable by everybody."""

from __future__ import annotations

import fcntl
import os
import select
import signal
import socket
import struct
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pytest
from alone import alone
from frames import ethernet, ipv4, tcp
from test_pcapng_writer import blocks, tshark

from analysis.errors import CannotCapture
from analysis.formats import pcapng
from capture.packets import capture_rings
from capture.packets.capture_rings import CaptureRings
from capture.packets.recorder import PAGE, Recorder

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.live, pytest.mark.usefixtures("need_private_namespace")]

HERE = b"\xc0\0\2\1"  # nobody's address, so that nobody answers (RFC 5737)
#: Of the parity that connect() does not pick by itself: no attempt to reach it connects to itself.
PORT = 50001


class Recording(NamedTuple):
    """A stream, and what the recorder said of it."""

    stream: bytes
    packets: int
    received: int
    dropped: int
    account: str


def finished(recorder: Recorder, stream: bytes = b"") -> Recording:
    stream += recorder.finish()
    return Recording(stream, recorder.packets, recorder.received, recorder.dropped, account(stream))


def account(stream: bytes) -> str:
    """The comment of the last block."""
    kind, body = blocks(stream)[-1]
    assert kind == pcapng.INTERFACE_STATISTICS
    code, length = struct.unpack_from("<HH", body, 12)
    assert code == pcapng.COMMENT
    return body[16 : 16 + length].decode()


def frames(stream: bytes) -> list[tuple[int, bytes]]:
    """Time and frame of every packet block."""
    found = []
    for kind, body in blocks(stream):
        if kind == pcapng.ENHANCED_PACKET:
            _, high, low, kept, _ = struct.unpack_from("<5I", body)
            found.append((high << 32 | low, body[20 : 20 + kept]))
    return found


def refused(attempts: int, address: str = "127.0.0.1", port: int = PORT) -> None:
    """Try in vain to connect."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    for _ in range(attempts):
        with socket.socket(family) as client:
            assert client.connect_ex((address, port)) != 0


def connected_to_itself(address: str = "127.0.0.1", port: int = PORT) -> None:
    """Connect to oneself and leave nothing behind: three segments, and a reset."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.socket(family) as client:
        client.bind((address, port))
        client.connect((address, port))
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


class Child:
    """A child that does something and then tells a number."""

    def __init__(self, work: Callable[[], int]) -> None:
        self._reader, writer = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.write(writer, struct.pack("q", work()))
            os._exit(0)
        os.close(writer)

    def fileno(self) -> int:
        return self._reader

    def answer(self) -> int:
        (number,) = struct.unpack("q", os.read(self._reader, 8))
        os.close(self._reader)
        os.waitpid(self._pid, 0)
        return number


def storm(seconds: float = 1.0) -> int:
    """Try in vain to connect, as fast as it goes, and count."""
    attempts = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        refused(100)
        attempts += 100
    return attempts


def recorded(recorder: Recorder, child: Child) -> tuple[bytes, int]:
    """What is recorded until *child* is done; its answer."""
    stream = b""
    while child not in select.select([*recorder.filenos(), child], [], [], 0.05)[0]:
        stream += recorder.poll()
    return stream, child.answer()


def test_full_speed_and_nothing_lost(need_capinfos: str, need_tshark: str, tmp_path) -> None:
    def run() -> tuple[Recording, int]:
        with Recorder("lo", PORT) as recorder:
            stream, attempts = recorded(recorder, Child(storm))
            return finished(recorder, stream), attempts

    recording, attempts = alone(run)
    assert recording.dropped == 0
    assert recording.packets == recording.received == 2 * attempts
    assert recording.account.startswith(f"context: {2 * attempts} received, 0 dropped; proof")
    path = tmp_path / "storm.pcapng"
    path.write_bytes(recording.stream)
    told = subprocess.run([need_capinfos, "-Mco", path], capture_output=True, text=True, timeout=60, check=True).stdout
    assert f"Number of packets:   {2 * attempts}\n" in told
    assert "Strict time order:   True" in told
    small = recording.stream[: 100 * PAGE]  # all of it takes tshark a while
    flags = [flag for (flag,) in tshark(need_tshark, small, "tcp.flags")]
    assert len(flags) == len(frames(small))
    assert {*flags} == {"0x0002", "0x0014"}


@pytest.mark.usefixtures("need_ipv6")
@pytest.mark.parametrize("ring_octets", [1 << 19, 1 << 20])
@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_the_proof_survives_an_overflow(address: str, ring_octets: int) -> None:
    def run() -> Recording:
        with Recorder("lo", PORT, ring_octets=ring_octets) as recorder:  # and nobody reads
            refused(3000)
            connected_to_itself(address)
            refused(3000)
            return finished(recorder)

    recording = alone(run)
    assert recording.received == recording.packets < 12_004
    assert recording.received + recording.dropped == 12_004
    assert recording.account.endswith("; proof (equal endpoints): 4 received, 0 dropped")
    head = 14 + (40 if ":" in address else 20)
    ports = struct.pack(">HH", PORT, PORT)
    proof = [frame[head:] for _, frame in frames(recording.stream) if frame[head:][:4] == ports]
    assert [segment[13] for segment in proof] == [2, 18, 16, 20]  # SYN, SYN-ACK, ACK, RST-ACK
    assert proof[0][4:8] == proof[1][4:8]


def test_both_rings_come_out_in_the_order_of_time() -> None:
    def run() -> Recording:
        with Recorder("lo", PORT) as recorder, socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
            sender.bind(("lo", 0))
            stream = b""
            for number in range(4000):
                port = 7 if number % 3 else PORT + 1  # proof or context
                sender.send(ethernet(ipv4(HERE, HERE, tcp(port, 7 if number % 3 else PORT, 2, number))))
                if number % 100 == 0:
                    select.select(recorder.filenos(), [], [], 0.002 * (number % 7))
                    stream += recorder.poll()
            return finished(recorder, stream)

    recording = alone(run)
    found = frames(recording.stream)
    times = [moment for moment, _ in found]
    assert times == sorted(times)
    assert [struct.unpack(">I", frame[38:42])[0] for _, frame in found] == list(range(4000))
    assert recording.packets == recording.received == 4000


def test_no_block_lies_across_a_page_and_every_piece_ends_with_a_block() -> None:
    def run() -> list[bytes]:
        with Recorder("lo", PORT) as recorder, socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
            sender.bind(("lo", 0))
            pieces = []
            for size in range(3000):
                sender.send(ethernet(ipv4(HERE, HERE, tcp(7, PORT, 24, size, payload=bytes(size)))))
                if size % 50 == 0:
                    pieces.append(recorder.poll())
            return [*pieces, recorder.finish()]

    pieces = alone(run)
    stream = b"".join(pieces)
    assert len(frames(stream)) == 3000
    for piece in pieces:
        blocks(piece)
    for start in range(0, len(stream), PAGE):
        blocks(stream[start : start + PAGE])


def test_what_was_sent_just_before_the_end_is_there() -> None:
    def run() -> list[list[tuple[int, bytes]]]:
        found = []
        for attempts in range(8):
            with Recorder("lo", PORT) as recorder:
                refused(attempts)
                connected_to_itself()
                found.append(frames(recorder.finish()))
        return found

    assert [len(each) for each in alone(run)] == [2 * attempts + 4 for attempts in range(8)]


def test_a_file_is_whole_from_the_first_piece_on() -> None:
    def run() -> tuple[bytes, bytes, bytes]:
        with Recorder("lo", PORT, comment="why") as recorder:
            return recorder.poll(), recorder.poll(), recorder.finish()

    first, second, last = alone(run)
    assert [kind for kind, _ in blocks(first)] == [pcapng.SECTION_HEADER, pcapng.INTERFACE_DESCRIPTION]
    assert b"why" in first
    assert second == b""
    assert [kind for kind, _ in blocks(last)] == [pcapng.INTERFACE_STATISTICS]


def test_only_the_port_and_the_proof() -> None:
    def run() -> Recording:
        with Recorder("any", PORT) as recorder:
            refused(3, port=PORT + 2)  # not recorded
            refused(3)
            connected_to_itself(port=PORT + 4)
            return finished(recorder)

    assert alone(run).packets == 6 + 4


def test_only_the_ends_of_connections() -> None:
    def run() -> Recording:
        with Recorder("lo", ends_only=True) as recorder, socket.create_server(("127.0.0.1", 0)) as server:
            with socket.create_connection(server.getsockname()) as client, server.accept()[0] as accepted:
                client.sendall(b"question")
                accepted.sendall(accepted.recv(100))
                assert client.recv(100) == b"question"
            return finished(recorder)

    flags = [frame[14 + 20 + 13] for _, frame in frames(alone(run).stream)]
    assert flags[:2] == [2, 18]
    assert all(each & 7 for each in flags)


@pytest.mark.parametrize("step", [-3600, 3600])
def test_a_clock_that_is_set_does_not_hold_packets_back(step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def run() -> int:
        real = time.time_ns
        with CaptureRings("lo", PORT) as both, socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0) as sender:
            sender.bind(("lo", 0))
            sender.send(ethernet(ipv4(HERE, HERE, tcp(7, 7, 2, 0))))
            assert select.select(both.filenos(), [], [], 10)[0]
            monkeypatch.setattr(capture_rings.time, "time_ns", lambda: real() + step * 10**9)
            return len(both.read())

    assert alone(run) == 1


def test_nothing_after_the_opening_needs_privilege(need_root: None) -> None:  # noqa: ARG001 - must be there
    def run() -> Recording:
        with Recorder("lo", PORT) as recorder:
            os.setgroups([])
            os.setresgid(65534, 65534, 65534)
            os.setresuid(65534, 65534, 65534)
            refused(100)
            return finished(recorder, recorder.poll())

    recording = alone(run)
    assert (recording.packets, recording.dropped) == (200, 0)


def test_an_interface_that_goes_down() -> None:
    def run() -> tuple[str | None, str | None, int]:
        with Recorder("lo", PORT) as recorder, socket.socket() as control:
            refused(3)
            stream, before = recorder.poll(), recorder.trouble
            fcntl.ioctl(control, 0x8914, struct.pack("16sH22x", b"lo", 0))  # SIOCSIFFLAGS
            stream += recorder.poll() + recorder.finish()
            return before, recorder.trouble, len(blocks(stream))

    private = "; or take a private one, which needs no ip: --private"
    assert alone(run) == (None, f"interface 'lo' is down; bring it up: ip link set lo up{private}", 9)


def test_no_such_interface_leaves_nothing_open() -> None:
    def run() -> tuple[int, int]:
        before = len(list(Path("/proc/self/fd").iterdir()))
        with pytest.raises(CannotCapture):
            Recorder("nowhere0", PORT)
        return before, len(list(Path("/proc/self/fd").iterdir()))

    before, after = alone(run)
    assert after == before


def test_a_reader_that_stops_for_a_while_loses_nothing() -> None:
    def run() -> tuple[Recording, int]:
        with Recorder("lo", PORT) as recorder:
            child = Child(lambda: storm(0.3))
            select.select([child], [], [])  # not reading at all
            return finished(recorder), child.answer()

    recording, attempts = alone(run)
    assert recording.received + recording.dropped == 2 * attempts
    assert recording.packets == recording.received
    assert recording.dropped == 0


def test_two_recorders_at_once_see_the_same() -> None:
    def run() -> list[list[bytes]]:
        with Recorder("lo", PORT) as one, Recorder("any", None) as other:
            refused(20)
            return [[frame[head:] for _, frame in frames(each.finish())] for each, head in ((one, 14), (other, 20))]

    one, other = alone(run)
    assert len(one) == 40
    assert one == other


def test_a_signal_does_not_cut_the_stream() -> None:
    def run() -> Recording:
        signal.signal(signal.SIGALRM, lambda *_: None)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        with Recorder("lo", PORT) as recorder:
            stream = b""
            for _ in range(20):
                refused(50)
                stream += recorder.poll()
            return finished(recorder, stream)

    assert alone(run).packets == 2000
