"""What a capture from a stranger can cost: memory and output are bounded, whatever stands in it.

It is looked at how much is kept.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import resource
from typing import TYPE_CHECKING

import frames
import pytest
import writers
from conftest import ROOT
from test_analyze_cli import run
from test_mutants import interpreted

from analysis.engine.protocols import MAX_NAMES
from analysis.model import CaptureResult, Endpoint, Verdict
from analysis.reader import Analysis, analyze

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Callable, Iterable
    from pathlib import Path

EPOCH = 1_700_000_000_000_000_000
SELF = Endpoint.parse("127.0.0.1", 50_000)
SYN, ACK = 2, 16

#: The engine's numbers; compiled, it has no names for them.
NUMBERS = interpreted().layout
FULL, ALL = NUMBERS.FULL, NUMBERS.ALL


def sent(flags: int, seq: int, ack: int = 0, port: int = 50_000) -> bytes:
    """A segment from a socket to itself, without its link header."""
    end = Endpoint(SELF.packed, port)
    return frames.segment_packet(end, end, frames.tcp(port, port, flags, seq, ack))


def read(packets: Iterable[bytes], apart: int = 2_000_000) -> CaptureResult:
    """The packets in a capture, so many nanoseconds apart; equal ones within a millisecond are doubles."""
    analysis = Analysis("flood", most=1000)
    analysis.feed(writers.pcap_header(101))
    for number, packet in enumerate(packets):
        analysis.feed(writers.pcap_record(EPOCH + number * apart, packet))
    return analysis.finish()


def kept(result: CaptureResult) -> int:
    return max(len(opening.segments) for opening in result.openings)


def test_acks_to_a_syn_ack_without_syn_are_not_collected_for_ever() -> None:
    """The SYN-ACK came early; a million ACKs that fit it could follow, and no SYN."""
    acks = (sent(ACK, 1001 + number, 1001) for number in range(5_000))
    result = read([sent(SYN | ACK, 1000, 1001), *acks, sent(SYN, 1000)], 100_000)
    assert result.verdicts[Verdict.SELF_CONNECT] == 1
    assert kept(result) <= FULL + 1


def test_one_opening_keeps_so_much_and_no_more() -> None:
    result = read([sent(SYN, 1000)] * 3_000)
    assert result.openings[0].syn_retransmissions == 2_999
    assert kept(result) == ALL
    assert result.openings[0].omitted == 3_000 - ALL


def test_interfaces_and_link_types_are_bounded() -> None:
    links = [writers.interface(1000 + number) for number in range(80)]
    packets = [writers.enhanced(0, bytes(40), number=number) for number in range(80)]
    analysis = Analysis("links")
    analysis.feed(writers.section() + b"".join(links + packets))
    unknown = analysis.finish().unknown
    assert sum(unknown.values()) == 80
    assert len(unknown) == MAX_NAMES + 1
    assert list(unknown)[-1] == "others"
    many = Analysis("interfaces")
    many.feed(writers.section() + writers.interface(1) * 65_536 + writers.enhanced(0, bytes(40)))
    assert not many.damaged
    many.feed(writers.interface(1))
    damage = many.finish().damage
    assert damage
    assert "more than 65536 interfaces" in damage.reason


TINY = writers.pcap_record(EPOCH, b"") * 65_536


@pytest.mark.long
@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress], ids=["gzip", "bzip2", "xz"])
def test_a_bomb_of_records_is_stopped(pack: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = tmp_path / "bomb"
    path.write_bytes(pack(writers.pcap_header() + TINY * 40))
    result = analyze(str(path))
    assert result.damage is not None
    assert "unpacks to more than 200 times its size" in result.damage.reason
    assert 32 << 20 <= result.damage.offset <= 34 << 20


# -- where the system has no more --------------------------------------------------------------------------------------


def limited(what: int, most: int, *words: str | Path) -> subprocess.CompletedProcess[str]:
    """What selfconn-analyze says where it may have no more of something; it has a minute."""
    return run(*words, preexec_fn=lambda: resource.setrlimit(what, (most, most)))


@pytest.mark.long
@pytest.mark.parametrize("files", [6, 8, 10, 12, 14, 16, 18, 24])
def test_with_few_open_files_it_reads_one_after_the_other(files: int) -> None:
    captures = sorted((ROOT / "pcaps").glob("*.pcapng"))
    ended = limited(resource.RLIMIT_NOFILE, files, "--jobs", "4", *captures)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout == run("--jobs", "1", *captures).stdout


@pytest.mark.long
@pytest.mark.parametrize("megabytes", [50, 60, 70, 100, 200])
def test_without_memory_it_ends_in_words(megabytes: int) -> None:
    ended = limited(resource.RLIMIT_AS, megabytes << 20, ROOT / "pcaps" / "self-connect-v4.pcapng")
    assert ended.returncode in {0, 3, 70}
    assert ended.returncode == 0 or "memory" in ended.stderr
    assert ended.returncode != 70 or ended.stderr.startswith("selfconn-analyze: out of memory (ulimit -v): ")
