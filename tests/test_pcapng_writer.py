"""What the recorder writes, read back by others."""

from __future__ import annotations

import struct
import subprocess

import pytest
from frames import ethernet, ipv4, tcp

from analysis.formats import pcapng

TIME = 1_795_343_822_661_830_123
FRAME = ethernet(ipv4(b"\x7f\0\0\1", b"\x7f\0\0\1", tcp(50000, 50000, 2, 7)))


def whole_blocks(file: bytes, order: str = "<") -> list[tuple[int, bytes]]:
    """Type and octets of every block; both lengths are checked. *order* is that of the bytes before any section."""
    found = []
    at = 0  # the rest is not cut off as a copy: a recording has a hundred thousand blocks
    while at < len(file):
        if file[at : at + 4] == b"\n\r\r\n":
            order = "<" if file[at + 8] == 0x4D else ">"
        kind, length = struct.unpack_from(f"{order}II", file, at)
        end = at + length
        assert length % 4 == 0
        assert 12 <= length <= len(file) - at
        assert file[end - 4 : end] == file[at + 4 : at + 8]
        found.append((kind, file[at:end]))
        at = end
    return found


def blocks(file: bytes) -> list[tuple[int, bytes]]:
    """Type and body of every block."""
    return [(kind, block[8:-4]) for kind, block in whole_blocks(file)]


def tshark(program: str, file: bytes, *fields: str) -> list[list[str]]:
    names = [word for field in fields for word in ("-e", field)]
    command = [program, "-n", "-r", "-", "-T", "fields", "-E", "separator=|", *names]
    answer = subprocess.run(command, input=file, capture_output=True, timeout=60, check=True)
    return [line.split("|") for line in answer.stdout.decode().splitlines()]


def head() -> bytes:
    return pcapng.section(hardware="h", system="s", application="a", comment="c") + pcapng.interface(
        1, 2048, name="lo", passes="tcp port 50000", system="s"
    )


def test_tshark_reads_packets_of_every_length(need_tshark: str) -> None:
    long = FRAME + bytes(range(256)) * 8
    file = head() + b"".join(
        pcapng.packet(TIME + size, long[:size], len(long), comment="see" * (size % 2)) for size in range(14, 300)
    )
    rows = tshark(need_tshark, file, "frame.time_epoch", "frame.cap_len", "frame.len", "frame.comment")
    assert rows == [
        [f"{(TIME + size) // 10**9}.{(TIME + size) % 10**9:09}", str(size), str(len(long)), "see" * (size % 2)]
        for size in range(14, 300)
    ]


def test_the_head_and_the_end_say_what_they_were_told(need_tshark: str, need_capinfos: str, tmp_path) -> None:
    comment = "context: 1 received, 2 dropped"
    end = pcapng.statistics(TIME + 5, began=TIME, received=1, dropped=2, comment=comment)
    file = head() + pcapng.packet(TIME, FRAME, len(FRAME)) + pcapng.filler(64) + end
    path = tmp_path / "a.pcapng"
    path.write_bytes(file)
    told = subprocess.run([need_capinfos, path], capture_output=True, text=True, timeout=60, check=True).stdout
    for line in (
        "Number of packets:   1",
        "Capture hardware:    h",
        "Capture oper-sys:    s",
        "Capture application: a",
        "Capture comment:     c",
        "Name = lo",
        "Encapsulation = Ethernet",
        "Capture length = 2048",
        "Time precision = nanoseconds",
        "Filter string = tcp port 50000",
        "Number of stat entries = 1",
    ):
        assert line in told
    assert tshark(need_tshark, file, "frame.interface_name") == [["lo"]]
    kind, body = blocks(file)[-1]
    assert kind == pcapng.INTERFACE_STATISTICS
    assert struct.unpack_from("<III", body) == (0, (TIME + 5) >> 32, (TIME + 5) & 0xFFFF_FFFF)
    options, counts = body[12:], {}
    while options:
        code, length = struct.unpack_from("<HH", options)
        counts[code] = options[4 : 4 + length]
        options = options[4 + length + -length % 4 :]
    assert counts == {
        1: comment.encode(),
        2: struct.pack("<II", TIME >> 32, TIME & 0xFFFF_FFFF),
        3: struct.pack("<II", (TIME + 5) >> 32, (TIME + 5) & 0xFFFF_FFFF),
        4: struct.pack("<Q", 1),
        5: struct.pack("<Q", 2),
        6: struct.pack("<Q", 3),
        7: struct.pack("<Q", 2),
        8: struct.pack("<Q", 1),
        0: b"",
    }


@pytest.mark.parametrize("size", [12, 16, 20, 64, 4096])
def test_a_filler_is_as_large_as_asked(size: int, need_tshark: str) -> None:
    filler = pcapng.filler(size)
    assert len(filler) == size
    packet = pcapng.packet(TIME, FRAME, len(FRAME))
    assert len(tshark(need_tshark, head() + filler + packet + filler + packet, "frame.number")) == 2


def test_no_text_is_too_long_for_a_page() -> None:
    text = "ж" * 5000 + "\udcff"
    assert len(pcapng.section(hardware=text, system=text, application=text, comment=text)) < 4096 - pcapng.SMALLEST
    described = pcapng.interface(1, 2048, name=text, system=text)
    assert len(described) < 4096 - pcapng.SMALLEST
    assert "ж".encode() * (pcapng.LONGEST // 2) in described


def test_empty_texts_are_left_out() -> None:
    assert len(pcapng.section()) == 28
