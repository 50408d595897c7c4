"""Capture files in every format, in any portions, whole and damaged, compressed and through a pipe.

Of a damaged file the intact part must be read, exactly as Wireshark reads it, and the offset named.
"""

from __future__ import annotations

import bz2
import gzip
import importlib.util
import lzma
import os
import random
import re
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import frames
import pytest
import writers
from damaged import AFTER_FOUR, FOUR, LATER, RECORDS
from hypothesis import given, settings
from hypothesis import strategies as st
from test_linktypes import BOTH, EPOCH, MILLISECOND, analysed, counted, packets, timed

from analysis.errors import NotACapture
from analysis.formats import compression
from analysis.formats.compression import Cut, unpacked
from analysis.model import NANOSECONDS, CaptureResult, Damage, Verdict
from analysis.reader import Analysis, analyze

if TYPE_CHECKING:
    from collections.abc import Callable

    from writers import Kind, Order

ROOT = Path(__file__).parent.parent

ORDERS = pytest.mark.parametrize("order", ["<", ">"], ids=["little-endian", "big-endian"])
KINDS = pytest.mark.parametrize("kind", ["micro", "nano", "modified"])

#: The conversation in Ethernet, its times odd in every digit.
TIMES = [time for time, _ in RECORDS]


def opened(path: Path) -> CaptureResult:
    return analyze(str(path), collect=frozenset(Verdict))


def times(result: CaptureResult) -> list[int]:
    return [segment.time for opening in result.openings for segment in opening.segments]


def whole(result: CaptureResult) -> None:
    assert counted(result) == BOTH
    assert (result.packets, result.segments, result.undecoded, result.damage) == (6, 6, {}, None)


# -- pcap -------------------------------------------------------------------------------------------------------


@ORDERS
@KINDS
def test_pcap(kind: Kind, order: Order) -> None:
    result = analysed(writers.pcap(RECORDS, order=order, kind=kind))
    whole(result)
    assert result.format == "pcap"
    assert times(result) == [time if kind == "nano" else time // 1000 * 1000 for time in TIMES]


def test_upper_bits_of_the_link_type_word_are_no_link_type() -> None:
    data = bytearray(writers.pcap(RECORDS))
    data[23] = 0x24  # a frame check sequence of four octets follows each frame
    whole(analysed(bytes(data)))


def test_records_of_no_octets() -> None:
    data = (
        writers.pcap_header()
        + writers.pcap_record(EPOCH, b"")
        + b"".join(writers.pcap_record(time, frame) for time, frame in RECORDS)
    )
    result = analysed(data)
    assert (result.packets, result.segments) == (7, 6)
    assert [opening.first_frame for opening in result.openings] == [2, 5]


def test_a_header_and_no_record() -> None:
    result = analysed(writers.pcap_header())
    assert (result.packets, result.damage, result.openings) == (0, None, [])


def test_a_record_of_the_greatest_length() -> None:
    frame = RECORDS[0][1]
    data = writers.pcap([(EPOCH, frame + bytes(262_144 - len(frame))), *RECORDS[1:]])
    whole(analysed(data))


# -- pcapng -----------------------------------------------------------------------------------------------------


def with_times(result: CaptureResult, expected: list[int]) -> None:
    whole(result)
    assert result.format == "pcapng"
    assert times(result) == expected


@ORDERS
def test_pcapng(order: Order) -> None:
    with_times(analysed(writers.pcapng(RECORDS, order=order)), TIMES)


@ORDERS
@pytest.mark.parametrize(
    ("resolution", "units"),
    [
        pytest.param(None, 1_000_000, id="default"),
        pytest.param(0, 1, id="seconds"),
        pytest.param(3, 1000, id="milliseconds"),
        pytest.param(6, 1_000_000, id="microseconds"),
        pytest.param(7, 10_000_000, id="tenths of a microsecond"),
        pytest.param(9, NANOSECONDS, id="nanoseconds"),
        pytest.param(0x80 | 10, 1024, id="1024ths"),
        pytest.param(0x80 | 20, 1 << 20, id="2**-20"),
        pytest.param(0x80 | 30, 1 << 30, id="2**-30"),
    ],
)
def test_pcapng_time_resolution(resolution: int | None, units: int, order: Order) -> None:
    data = writers.section(order=order) + writers.interface(order=order, resolution=resolution)
    for time, frame in RECORDS:
        data += writers.enhanced(time * units // NANOSECONDS, frame, order=order)
    with_times(analysed(data), [time * units // NANOSECONDS * NANOSECONDS // units for time in TIMES])


@pytest.mark.parametrize("offset", [1_600_000_000, -3600])
def test_pcapng_time_offset(offset: int) -> None:
    data = writers.section() + writers.interface(resolution=9, offset=offset)
    for time, frame in RECORDS:
        data += writers.enhanced(time - offset * NANOSECONDS, frame)
    with_times(analysed(data), TIMES)


@ORDERS
def test_pcapng_simple_packets_have_no_time(order: Order) -> None:
    data = writers.section(order=order) + writers.interface(order=order)
    data += b"".join(writers.simple(frame, order=order) for _, frame in RECORDS)
    whole(analysed(data))


def test_pcapng_simple_packets_are_cut_to_the_interface_s_length() -> None:
    data = writers.section() + writers.interface(snaplen=len(RECORDS[0][1]) + 7)
    for _, frame in RECORDS:
        kept = (frame + bytes(100))[: len(RECORDS[0][1]) + 7]
        data += writers.simple(kept, original=len(frame) + 100)
    assert analysed(data).segments == 6


@ORDERS
def test_pcapng_obsolete_packets(order: Order) -> None:
    data = writers.section(order=order) + writers.interface(order=order, resolution=9)
    data += b"".join(writers.obsolete(time, frame, order=order) for time, frame in RECORDS)
    with_times(analysed(data), TIMES)


def test_pcapng_sections_of_both_orders_with_interfaces_of_their_own() -> None:
    links: list[tuple[Order, int, Callable[[bytes], bytes]]] = [
        ("<", 1, frames.ethernet),
        (">", 113, frames.sll),
        ("<", 101, bytes),
    ]
    data = b""
    for order, link, wrap in links:
        data += writers.section(order=order) + writers.interface(link, order=order, resolution=9)
        for time, frame in timed(map(wrap, packets(4, 40_000 + link))):
            data += writers.enhanced(time, frame, order=order)
    result = analysed(data)
    assert counted(result) == dict.fromkeys(BOTH, 3)
    assert (result.packets, result.undecoded, result.damage) == (18, {}, None)
    assert [opening.first_frame for opening in result.openings] == [1, 4, 7, 10, 13, 16]


def test_pcapng_interfaces_of_different_links_and_clocks() -> None:
    data = writers.section()
    data += (
        writers.interface(1) + writers.interface(276, resolution=9) + writers.interface(12, resolution=3, offset=100)
    )
    for place, (time, packet) in enumerate(timed(packets(4))):
        number = place % 3
        frame = (frames.ethernet(packet), frames.sll2(packet), packet)[number]
        units = (time // 1000, time, time // MILLISECOND - 100_000)[number]
        data += writers.enhanced(units, frame, number=number)
    with_times(analysed(data), [EPOCH + place * MILLISECOND for place in range(6)])


@ORDERS
def test_pcapng_other_blocks_are_skipped(order: Order) -> None:
    others = [
        writers.block(number, body, order=order)
        for number, body in [
            (4, b"\1\0\10\0\n\0\0\1host" + bytes(4)),  # name resolution
            (5, bytes(12)),  # interface statistics
            (10, b"TLSK" + bytes(20)),  # secrets
            (0xBAD, bytes(8)),  # custom
            (0x40000BAD, bytes(4)),
            (0x7FFF_FFFF, b""),  # unknown, and empty
            (0x0000_0B0E, os.urandom(64)),
        ]
    ]
    data = writers.section(order=order, options=writers.option(4, b"test", order=order) + bytes(4))
    data += others[0] + writers.interface(order=order, resolution=9)
    for place, (time, frame) in enumerate(RECORDS):
        data += others[place] + writers.enhanced(time, frame, order=order)
    with_times(analysed(data + others[6]), TIMES)


def test_pcapng_packets_may_have_options() -> None:
    comment = writers.option(1, b"a comment") + writers.option(2, bytes(4)) + bytes(4)
    data = writers.section() + writers.interface(resolution=9)
    data += b"".join(writers.enhanced(time, frame, options=comment) for time, frame in RECORDS)
    with_times(analysed(data), TIMES)


def test_pcapng_section_lengths_may_be_told() -> None:
    body = writers.interface(resolution=9) + b"".join(writers.enhanced(time, frame) for time, frame in RECORDS)
    with_times(analysed(writers.section(length=len(body)) + body), TIMES)


# -- portions -----------------------------------------------------------------------------------------------------

FORMATS = {
    "pcap": writers.pcap(RECORDS),
    "pcap big-endian nano": writers.pcap(RECORDS, order=">", kind="nano"),
    "pcap modified": writers.pcap(RECORDS, kind="modified"),
    "pcapng": writers.pcapng(RECORDS),
    "pcapng big-endian": writers.pcapng(RECORDS, order=">"),
    "pcapng twice": writers.pcapng(RECORDS) + writers.pcapng(RECORDS, order=">"),
}
FILES = pytest.mark.parametrize("data", FORMATS.values(), ids=FORMATS)


def in_portions(data: bytes, *cuts: int) -> CaptureResult:
    analysis = Analysis("frames", collect=frozenset(Verdict))
    for start, end in zip((0, *cuts), (*cuts, len(data)), strict=True):
        analysis.feed(data[start:end])
    return analysis.finish()


@FILES
def test_octet_by_octet(data: bytes) -> None:
    assert in_portions(data, *range(1, len(data))) == analysed(data)


@pytest.mark.long
@FILES
def test_cut_in_two_anywhere(data: bytes) -> None:
    expected = analysed(data)
    for cut in range(len(data)):
        assert in_portions(data, cut) == expected


@FILES
def test_portions_may_be_any_kind_of_buffer_and_change_afterwards(data: bytes) -> None:
    analysis = Analysis("frames", collect=frozenset(Verdict))
    buffer = bytearray(50)
    for start in range(0, len(data), 50):
        portion = data[start : start + 50]
        buffer[: len(portion)] = portion
        analysis.feed(memoryview(buffer)[: len(portion)])
        buffer[:] = b"\xff" * 50
    assert analysis.finish() == analysed(data)


def test_verdicts_so_far_are_there_after_each_portion() -> None:
    analysis = Analysis("frames")
    seen = []
    for portion in (writers.pcap_header(), *(writers.pcap_record(time, frame) for time, frame in RECORDS)):
        analysis.feed(portion)
        seen.append(analysis.verdicts[Verdict.SELF_CONNECT])
    assert seen == sorted(seen)
    assert seen[-1] == 1


# -- damage ---------------------------------------------------------------------------------------------------------


def tshark_frames(program: str, path: Path) -> int:
    command = [program, "-n", "-r", str(path), "-T", "fields", "-e", "frame.number"]
    return len(subprocess.run(command, capture_output=True, text=True, timeout=60, check=False).stdout.split())


def starts(data: bytes) -> list[int]:
    """Where each record of a pcap, each block of a pcapng begins, and where the last one ends."""
    if data[:4] == b"\n\r\r\n":
        places = [0]
        while places[-1] < len(data):
            length = data[places[-1] + 4 : places[-1] + 8]
            little = data[8:12] == b"\x4d\x3c\x2b\x1a"
            places.append(places[-1] + int.from_bytes(length, "little" if little else "big"))
        return places
    places = [24]
    for _, frame in RECORDS:
        places.append(places[-1] + len(writers.pcap_record(0, frame)))
    return places


@pytest.mark.parametrize("name", ["pcap", "pcapng", "pcapng big-endian"])
def test_a_file_cut_anywhere_gives_its_intact_part(name: str) -> None:
    data = FORMATS[name]
    places = starts(data)
    ahead = 0 if name == "pcap" else 2  # section and interface are blocks, no packets
    for end in range(24, len(data) + 1):
        result = analysed(data[:end])
        intact = [place for place in places if place <= end]
        assert result.packets == max(len(intact) - 1 - ahead, 0)
        if end in places:
            assert result.damage is None
        else:
            assert result.damage is not None
            assert result.damage.offset == intact[-1]


@pytest.mark.parametrize("name", ["pcap", "pcapng", "pcapng big-endian"])
@pytest.mark.parametrize("missing", [1, 40, 60, 100])
def test_wireshark_reads_as_much_of_a_cut_file(name: str, missing: int, need_tshark: str, tmp_path: Path) -> None:
    path = tmp_path / "cut"
    path.write_bytes(FORMATS[name][:-missing])
    assert opened(path).packets == tshark_frames(need_tshark, path)


DAMAGES = [pytest.param(*pieces, id=name) for name, pieces in AFTER_FOUR.items()]


@pytest.mark.parametrize(("intact", "rest"), DAMAGES)
def test_damage_is_told_with_its_offset_and_ends_the_reading(intact: bytes, rest: bytes) -> None:
    result = analysed(intact + rest)
    assert result.packets == 4
    assert counted(result) == {Verdict.THREE_WAY: 1, Verdict.SELF_SYN: 1}
    assert result.damage is not None
    assert result.damage.offset == len(intact)
    assert result.damage.reason


@pytest.mark.parametrize(("intact", "rest"), DAMAGES)
def test_damage_is_the_same_in_any_portions(intact: bytes, rest: bytes) -> None:
    data = (intact + rest)[: len(intact) + 1000]
    expected = analysed(data)
    assert in_portions(data, *range(1, len(data))) == expected


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress], ids=["gzip", "bzip2", "xz"])
def test_a_second_stream_may_begin_anywhere(pack: Callable[[bytes], bytes]) -> None:
    """Wherever the octets that came so far end: in the middle of what tells that another stream follows, too."""
    packed = pack(FOUR) + pack(LATER)
    for cut in range(len(pack(FOUR)) - 3, len(pack(FOUR)) + 8):
        assert b"".join(unpacked("it", iter((packed[:cut], packed[cut:])))) == FOUR + LATER


def skippable(octets: bytes, number: int = 0) -> bytes:
    """A frame that zstd and lz4 pass over."""
    return struct.pack("<II", 0x184D2A50 + number, len(octets)) + octets


#: Between compressed streams, and around them, there may be this.
BETWEEN = [
    pytest.param(writers.zstd, skippable(b"a table"), id="a skippable frame of zstd"),
    pytest.param(writers.lz4, skippable(b"a table", 15), id="a skippable frame of lz4"),
    pytest.param(writers.zstd, skippable(b"") * 3 + skippable(bytes(200_000)), id="several, one of them long"),
    pytest.param(lzma.compress, bytes(8), id="padding of xz"),
    pytest.param(gzip.compress, bytes(100_000), id="the rest of a tape"),
]


@pytest.mark.parametrize(("pack", "between"), BETWEEN)
@pytest.mark.parametrize("first", [False, True])
def test_what_is_no_stream_is_passed_over(pack: Callable[[bytes], bytes], between: bytes, first: bool) -> None:
    packed = (between if first and between[0] else b"") + pack(FOUR) + between + pack(LATER) + between
    for octets in (1, 7, 65_536, len(packed)):
        pieces = (packed[start : start + octets] for start in range(0, len(packed), octets))
        assert b"".join(unpacked("it", pieces)) == FOUR + LATER


def test_zlib_ng_gives_what_zlib_gives_of_whole_and_damaged_files(monkeypatch: pytest.MonkeyPatch) -> None:
    other = pytest.importorskip("zlib_ng.zlib_ng")
    octets = random.Random(1)
    text = b"".join(b"%d " % octets.randrange(3000) for _ in range(60_000))
    packed = gzip.compress(text[:100_000]) + gzip.compress(text)
    for damaged in (0, *octets.sample(range(len(packed)), 40)):
        data = packed[:damaged] + bytes([packed[damaged] ^ (0x10 if damaged else 0)]) + packed[damaged + 1 :]
        told = []
        for module in (zlib, other):
            monkeypatch.setattr(compression, "_zlib", lambda module=module: module)
            out, why = bytearray(), ""
            try:
                for block in unpacked("it", iter((data,))):
                    out += block
            except Cut as error:
                why = str(error)
            told.append((out, why))
        assert told[0] == told[1]
        assert damaged or told[0] == (text[:100_000] + text, "")


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, writers.zstd, writers.lz4])
@pytest.mark.parametrize(
    ("after", "words"),
    [(b"something else", "neither another stream nor padding"), (skippable(b"a table")[:-1], "cut short")],
)
def test_what_follows_and_is_nothing_known_is_damage(pack: Callable[[bytes], bytes], after: bytes, words: str) -> None:
    blocks = unpacked("it", iter((pack(FOUR) + after,)))
    assert next(blocks) == FOUR
    with pytest.raises(Cut, match=words):
        next(blocks)


def test_small_frames_are_passed_over_in_one_go() -> None:
    """Each takes no more than a look at its head: the octets that wait are not moved for it."""
    packed = writers.zstd(FOUR) + skippable(b"") * 200_000 + writers.zstd(LATER)
    assert b"".join(unpacked("it", iter((packed,)))) == FOUR + LATER


# -- what is no capture -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "hint"),
    [
        pytest.param(b"", "empty", id="empty"),
        pytest.param(b"just some text\n", "text", id="text"),
        pytest.param(b"Lorem ipsum dolor sit amet, consectetur adipiscing\n" * 10, "text", id="long text"),
        pytest.param(b"#!/bin/sh\n" * 5, "script", id="script"),
        pytest.param(b"\x7fELF" + bytes(60), "program", id="program"),
        pytest.param(writers.pcap_header()[:10], "cut off", id="half a pcap header"),
        pytest.param(writers.section()[:6], "cut off", id="half a section header"),
        pytest.param(bytes(100), "neither", id="zeros"),
        pytest.param(b"\x93\x01\xfe" + bytes(100), "neither", id="noise"),
        pytest.param(gzip.compress(b"just some text\n" * 5), "text", id="compressed text"),
    ],
)
def test_no_capture_is_said_in_one_line(data: bytes, hint: str, tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(data)
    with pytest.raises(NotACapture, match=hint) as error:
        analyze(str(path))
    assert "\n" not in str(error.value)
    assert "file" in str(error.value)


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotACapture, match="No such file"):
        analyze(str(tmp_path / "missing"))
    with pytest.raises(NotACapture, match="directory"):
        analyze(str(tmp_path))


def test_a_pcapng_of_an_unknown_byte_order_is_no_capture_or_damaged_from_the_start() -> None:
    data = bytearray(writers.pcapng(RECORDS))
    data[8:12] = b"\1\2\3\4"
    outcome = sane(bytes(data))
    if isinstance(outcome, CaptureResult):
        assert outcome.packets == 0
        assert outcome.damage is not None
        assert outcome.damage.offset == 0


# -- compression ------------------------------------------------------------------------------------------------------

PACKERS: dict[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "xz": lzma.compress, "bzip2": bz2.compress}


@pytest.mark.parametrize("packer", PACKERS)
@FILES
def test_compressed(data: bytes, packer: str, tmp_path: Path) -> None:
    path = tmp_path / "capture"
    path.write_bytes(PACKERS[packer](data))
    assert opened(path)._replace(name="frames") == analysed(data)


@pytest.mark.parametrize("packer", PACKERS)
def test_several_compressed_streams_in_one_file(packer: str, tmp_path: Path) -> None:
    path = tmp_path / "capture"
    data = FORMATS["pcap"]
    path.write_bytes(b"".join(PACKERS[packer](data[start : start + 100]) for start in range(0, len(data), 100)))
    whole(opened(path))


@pytest.mark.parametrize("packer", PACKERS)
def test_a_compressed_file_cut_short(packer: str, tmp_path: Path) -> None:
    path = tmp_path / "capture"
    records = [(EPOCH + number * MILLISECOND, os.urandom(1000)) for number in range(2000)]
    path.write_bytes(PACKERS[packer](writers.pcap(records))[:-30_000])
    result = opened(path)
    assert 0 < result.packets < 2000 or packer == "xz"
    assert result.damage is not None
    assert "cut short" in result.damage.reason


@pytest.mark.parametrize("packer", PACKERS)
def test_a_compressed_file_that_is_damaged(packer: str, tmp_path: Path) -> None:
    path = tmp_path / "capture"
    records = [(EPOCH + number * MILLISECOND, os.urandom(1000)) for number in range(2000)]
    data = bytearray(PACKERS[packer](writers.pcap(records)))
    data[-100_000:-99_900] = bytes(100)
    path.write_bytes(data)
    result = opened(path)
    assert result.damage is not None


@pytest.mark.long
def test_a_bomb_is_stopped(tmp_path: Path) -> None:
    path = tmp_path / "bomb"
    with gzip.open(path, "wb", compresslevel=9) as bomb:
        bomb.write(writers.section())
        filler = writers.block(0xBAD, bytes(1 << 20))
        for _ in range(100):
            bomb.write(filler)
    result = opened(path)
    assert result.damage is not None
    assert re.search("unpacks to more than", result.damage.reason)


@pytest.mark.parametrize(
    ("pack", "modules", "tool"),
    [
        pytest.param(writers.zstd, ("compression.zstd", "backports.zstd"), "zstd -dc", id="zstd"),
        pytest.param(writers.lz4, ("lz4.frame",), "lz4 -dc", id="lz4"),
    ],
)
def test_zstd_and_lz4_are_read_or_the_tool_is_named(
    pack: Callable[[bytes], bytes], modules: tuple[str, ...], tool: str, tmp_path: Path
) -> None:
    path = tmp_path / "capture"
    path.write_bytes(pack(FORMATS["pcapng"]))
    if any(importlib.util.find_spec(name.partition(".")[0]) for name in modules):
        whole(opened(path))
    else:
        with pytest.raises(NotACapture, match=re.escape(tool)):
            analyze(str(path))


# -- standard input ---------------------------------------------------------------------------------------------------

CHILD = """
from analysis.reader import analyze
result = analyze("-")
print(result.name, result.packets, sum(result.verdicts.values()), result.damage is not None)
"""


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        pytest.param(FORMATS["pcap"], "6 2 False", id="pcap"),
        pytest.param(gzip.compress(FORMATS["pcapng"]), "6 2 False", id="pcapng, compressed"),
        pytest.param(FORMATS["pcap"][:-5], "5 2 True", id="cut short"),
    ],
)
def test_standard_input_octet_by_octet(data: bytes, answer: str) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT, bufsize=0
    )
    assert child.stdin
    assert child.stdout
    for place in range(len(data)):
        child.stdin.write(data[place : place + 1])
    child.stdin.close()
    with child.stdout:
        assert child.stdout.read().decode().split(" ", 2)[2] == f"{answer}\n"
    assert child.wait(timeout=60) == 0


# -- any bytes --------------------------------------------------------------------------------------------------------


def mutated(data: bytes, changes: list[tuple[int, int]]) -> bytes:
    changed = bytearray(data)
    for place, octet in changes:
        changed[place % len(changed)] = octet
    return bytes(changed)


def sane(data: bytes) -> CaptureResult | str:
    """Any bytes give a result that adds up, or NotACapture; never another exception."""
    try:
        result = analysed(data)
    except NotACapture as error:
        return str(error)
    assert result.segments + result.duplicates + sum(result.undecoded.values()) <= result.packets
    assert sum(result.verdicts.values()) == len(result.openings)
    if result.damage:
        assert isinstance(result.damage, Damage)
        assert 0 <= result.damage.offset <= len(data)
    return result


MUTATIONS = st.lists(st.tuples(st.integers(0, 2000), st.integers(0, 255)), max_size=12)


@pytest.mark.long
@settings(max_examples=300)
@given(name=st.sampled_from(list(FORMATS)), changes=MUTATIONS, tail=st.binary(max_size=40), cut=st.integers(0, 1500))
def test_any_bytes_give_a_result_or_no_capture(
    name: str, changes: list[tuple[int, int]], tail: bytes, cut: int
) -> None:
    data = mutated(FORMATS[name], changes) + tail
    outcome = sane(data)
    try:
        pieces: CaptureResult | str = in_portions(data, min(cut, len(data)))
    except NotACapture as error:
        pieces = str(error)
    assert pieces == outcome


LINKED = [(link.number, link.wrap(packets(version)[0])) for link in frames.LINKS for version in link.versions]


@pytest.mark.long
@settings(max_examples=500)
@given(which=st.integers(0, len(LINKED) - 1), changes=MUTATIONS, kept=st.integers(0, 200))
def test_any_frame_gives_a_segment_or_a_reason_or_is_not_tcp(
    which: int, changes: list[tuple[int, int]], kept: int
) -> None:
    link, frame = LINKED[which]
    broken = mutated(frame, changes)
    record = writers.pcap_record(EPOCH, broken[:kept], original=len(broken))
    result = sane(writers.pcap_header(link) + record + writers.pcap_record(EPOCH, frame))
    assert isinstance(result, CaptureResult)
    assert (result.packets, result.damage) == (2, None)
    assert result.segments + result.duplicates >= 1
