"""Every encapsulation in every carrier: the self-connect inside is found, and Wireshark reads the same segments."""

from __future__ import annotations

import random
import shlex
import struct
import subprocess
from typing import TYPE_CHECKING

import encapsulations
import frames
import pytest
import writers
from conftest import ROOT, program
from encapsulations import IP_TAGS, TAGS, TUNNELS, Case, Tunnel, combined, single
from test_mutants import interpreted, mutant

from analysis import engine, partial, reader
from analysis.engine import protocols
from analysis.errors import NotACapture
from analysis.model import NANOSECONDS, CaptureResult, Flag, Verdict
from analysis.reader import Analysis, analyze, analyze_set

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

CASES = ROOT / "tests" / "reported"
#: One capture that other programs' formats can hold.
PCAP = CASES / "rfc-v22.pcap"
EPOCH = 1_700_000_000 * NANOSECONDS
MILLISECOND = NANOSECONDS // 1000
HOST = {4: b"\x0a\0\0\1", 6: b"\x20\1\x0d\xb8" + bytes(11) + b"\1"}


def analysed(data: bytes, table: int = 1 << 10) -> CaptureResult:
    analysis = Analysis("frames", collect=frozenset(Verdict), table=table)
    analysis.feed(data)
    return analysis.finish()


def self_connect(version: int, port: int) -> Iterator[bytes]:
    """The three IP packets of a socket that connects to itself."""
    host = HOST[version]
    for place, (flags, seq, ack) in enumerate(
        ((Flag.SYN, 7000, 0), (Flag.SYN | Flag.ACK, 7000, 7001), (Flag.ACK, 7001, 7001))
    ):
        segment = frames.tcp(port, port, flags, seq, ack)
        yield (
            frames.ipv4(host, host, segment, identification=place) if version == 4 else frames.ipv6(host, host, segment)
        )


def capture(cases: Iterable[Case]) -> tuple[bytes, list[str]]:
    """All of them in one pcapng, an interface for each link type, a port for each case; the name that each port has."""
    numbers: dict[int, int] = {}
    blocks: list[bytes] = []
    names: list[str] = []
    for case in cases:
        number = numbers.setdefault(case.number, len(numbers))
        for version in case.versions:
            for packet in self_connect(version, 1024 + len(names)):
                blocks.append(writers.enhanced(EPOCH + len(blocks) * MILLISECOND, case.wrap(packet), number=number))
            names.append(f"{case} IPv{version}")
    described = b"".join(writers.interface(link, resolution=9) for link in numbers)
    return writers.section() + described + b"".join(blocks), names


def missed(result: CaptureResult, names: list[str]) -> list[str]:
    """The cases whose self-connect is not among the openings."""
    found = {one.source.port - 1024 for one in result.openings if one.verdict is Verdict.SELF_CONNECT}
    return [name for place, name in enumerate(names) if place not in found]


@pytest.fixture(scope="module")
def everything() -> tuple[bytes, list[Case], list[str]]:
    """A capture of all cases, the cases, and the name that each port has."""
    # After L2TP Wireshark takes whatever comes from that port for L2TP.
    cases = sorted([*single(), *combined()], key=lambda case: "L2TP" in str(case))
    data, names = capture(cases)
    return data, cases, names


def test_every_one_in_every_carrier(everything: tuple[bytes, list[Case], list[str]]) -> None:
    data, _, names = everything
    result = analysed(data, 1 << 17)
    assert missed(result, names) == []
    assert (result.undecoded, result.other, result.unknown) == ({}, {}, {})
    assert (result.segments, result.duplicates) == (3 * len(names), 0)


#: What Wireshark 4.0 does not read, or not so, and why.
NO_WITNESS = {
    "Cisco HDLC with direction": "no pseudo-header in pcapng",
    "Frame Relay with direction": "no pseudo-header in pcapng",
    "netfilter log, big-endian": "it goes by the byte order of the file",
    "netANALYZER": "it wants the fields of that header",
    "MPLS as a link type": "not at all",
    "Linux cooked, HDLC": "not at all",
    "Broadcom tag": "from 4.2 on",
    "Broadcom tag in front": "from 4.2 on",
    "Marvell DSA tag": "not at all",
    "Marvell EDSA tag": "not at all",
    "GRE MetaData": "it goes on with GRE's table",
    "L2TPv3": "it has to be told the lengths",
    "L2TPv3 in UDP": "it has to be told the lengths",
    "L2TPv3 with a cookie": "it has to be told the lengths",
    "CAPWAP": "it takes all for swapped, unless told",
    "IP in IP, old": "not at all",
}
#: Where it reads some of the EtherTypes only.
SOME_TYPES = {"Cisco HDLC", "IP over InfiniBand", "Frame Relay of Cisco"}


def has_witness(case: Case) -> bool:
    """Whether Wireshark reads a case in full."""
    if NO_WITNESS.keys() & set(case.parts) or (
        "FabricPath" in case.parts and case.parts[1:] not in ((), ("Ethernet",))
    ):
        return False
    tagged = case.parts[0] in TAGS or case.parts[0] in IP_TAGS
    return not (tagged and SOME_TYPES & set(case.parts))


def test_every_one_as_wireshark_reads_it(
    everything: tuple[bytes, list[Case], list[str]], need_tshark: str, tmp_path: Path
) -> None:
    data, cases, names = everything
    path = tmp_path / "encapsulations.pcapng"
    path.write_bytes(data)
    fields = ("tcp.srcport", "tcp.dstport", "tcp.flags", "tcp.seq_raw", "tcp.ack_raw")
    command = [need_tshark, "-r", str(path), "-T", "fields", "-E", "occurrence=l"]
    command += [word for field in fields for word in ("-e", field)]
    lines = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout.splitlines()
    ours = {
        segment.frame: (segment.source.port, segment.destination.port, int(segment.flags), segment.seq, segment.ack)
        for opening in analysed(data, 1 << 17).openings
        for segment in opening.segments
    }
    read = [case for case in cases for _ in case.versions]
    assert len(lines) == 3 * len(names) == 3 * len(read)
    differ = set()
    for frame, line in enumerate(lines, 1):
        place = (frame - 1) // 3
        if has_witness(read[place]):
            numbers = line.split("\t")
            if numbers[0] == "" or tuple(int(number, 0) for number in numbers) != ours[frame]:
                differ.add(names[place])
    assert differ == set()
    assert sum(map(has_witness, cases)) > 4000


SINGLE = [pytest.param(case, version, id=f"{case} IPv{version}") for case in single() for version in case.versions]


@pytest.mark.long
@pytest.mark.parametrize(("case", "version"), SINGLE)
def test_cut_anywhere_it_is_a_segment_or_said(case: Case, version: int) -> None:
    """Whatever the snap length: the self-connect is there, or the frames are not among those that carry no TCP."""
    whole = [case.wrap(packet) for packet in self_connect(version, 5000)]
    for kept in range(len(whole[0]) + 1):
        data = writers.pcap_header(case.number)
        for place, frame in enumerate(whole):
            data += writers.pcap_record(EPOCH + place * MILLISECOND, frame[:kept], original=len(frame))
        result = analysed(data)
        said = sum(result.undecoded.values()) + sum(result.unknown.values())
        assert (result.packets, result.segments + said) == (3, 3), kept
        if result.segments == 3:
            assert result.verdicts[Verdict.SELF_CONNECT] == 1
        elif result.cut_to_itself:
            assert kept < result.needed_snaplen <= len(whole[0])


@pytest.mark.long
@pytest.mark.parametrize("case", single(), ids=str)
def test_a_frame_with_any_octet_changed_is_accounted_for(case: Case) -> None:
    version = case.versions[0]
    frame = case.wrap(next(self_connect(version, 5000)))
    for place in range(len(frame)):
        changed = bytearray(frame)
        changed[place] ^= 0xFF
        result = analysed(writers.pcap([(EPOCH, bytes(changed))], case.number))
        counts = (result.undecoded, result.other, result.unknown)
        assert result.segments + sum(sum(count.values()) for count in counts) == 1, place


@pytest.mark.parametrize("seed", range(4))
def test_changed_frames_compiled_and_interpreted_alike(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    forms = [engine.Engine, interpreted().Engine] if engine.COMPILED else [engine.Engine]
    chance = random.Random(seed)
    cases = single()
    described = b"".join(writers.interface(case.number) for case in cases)
    for _ in range(40):
        data = writers.section() + described
        for _ in range(100):
            number = chance.randrange(len(cases))
            packet = chance.choice(list(self_connect(cases[number].versions[0], 5000)))
            frame = mutant(cases[number].wrap(packet), chance)
            missing = chance.choice((0, 0, 3, 40))
            data += writers.enhanced(EPOCH, frame, number=number, original=len(frame) + missing)
        said = []
        for form in forms:
            monkeypatch.setattr(reader, "Engine", form)
            result = analysed(data)
            said.append(result)
            counts = (result.undecoded, result.other, result.unknown)
            accounted = sum(sum(count.values()) for count in counts)
            assert result.packets == 100 == result.segments + result.duplicates + accounted
        assert said.count(said[0]) == len(said)


# -- what is guessed -----------------------------------------------------------------------------------------------


def datagram(rng: random.Random, port: int, payload: bytes, *, back: bool) -> bytes:
    """An Ethernet frame with UDP to (*back*: from) a port."""
    ports = (port, rng.randrange(1024, 65_536)) if back else (rng.randrange(1024, 65_536), port)
    body = struct.pack(">HHHH", *ports, 8 + len(payload), 0) + payload
    return frames.ethernet(frames.ipv4(b"\xc0\0\2\1", b"\xc0\0\2\2", body, frames.UDP))


def answer(rng: random.Random) -> bytes:
    """A DNS reply with an address."""
    name = bytes(rng.choice(b"abcdefgh") for _ in range(8))
    question = b"\x08" + name + b"\3com\0\0\1\0\1"
    head = struct.pack(">HHHHHH", rng.randrange(65_536), 0x8180, 1, 1, 0, 0)
    return head + question + b"\xc0\x0c\0\1\0\1" + struct.pack(">IH4s", 300, 4, rng.randbytes(4))


def plausible(rng: random.Random, port: int) -> bytes:
    """Random octets behind what the tunnel of this port begins with."""
    heads = {
        1701: b"\0\2\0\1\0\1\xff\3\0\x21\x45\0",
        2152: b"\x30\xff\0\x20\0\0\0\1\x45\0",
        3544: b"\x60\0\0\0\0\x08\6\x40",
        4341: b"\x08\0\0\0\0\0\7\0\x45\0\0\x28",
        4754: b"\0\0\x08\0\x45\0\0\x28",
        4789: b"\x08\0\0\0\0\0\7\0" + bytes(12) + b"\x08\0\x45\0\0\x28",
        5072: b"\x41\x52\x11\x29" + bytes(40) + b"\x60\0\0\0\0\x08\6\x40",
        5247: b"\0\x10\x40\0" + bytes(4) + bytes(12) + b"\x08\0\x45\0\0\x28",
        6081: b"\0\0\x65\x58\0\0\7\0" + bytes(12) + b"\x08\0\x45\0\0\x28",
        37008: b"\1\0\0\1\1" + bytes(12) + b"\x08\0\x45\0\0\x28",
    }
    return heads.get(port, b"") + rng.randbytes(60)


@pytest.mark.parametrize("port", [row.number for row in protocols.TUNNELS])
@pytest.mark.parametrize("back", [False, True], ids=["to", "from"])
def test_random_datagrams_hold_no_tunnel(port: int, back: bool) -> None:
    rng = random.Random(port)
    found = [datagram(rng, port, rng.randbytes(rng.randrange(120)), back=back) for _ in range(1500)]
    found += [datagram(rng, port, answer(rng), back=back) for _ in range(300)]
    found += [datagram(rng, port, plausible(rng, port), back=back) for _ in range(300)]
    result = analysed(writers.pcap([(EPOCH, frame) for frame in found]))
    assert (result.segments, result.undecoded, result.unknown) == (0, {}, {})
    assert result.other == {"UDP": 2100}


def test_random_octets_behind_a_label_hold_no_segment() -> None:
    rng = random.Random(1)
    payloads = [bytes((rng.choice((0x00, 0x10, 0x20, 0x45, 0x60, 0xAA)),)) + rng.randbytes(90) for _ in range(4000)]
    found = [
        frames.ethernet(frames.mpls(payload, 16), 0x8847) for payload in payloads if payload[0] not in (0x45, 0x60)
    ]
    result = analysed(writers.pcap([(EPOCH, frame) for frame in found]))
    assert (result.segments, result.undecoded) == (0, {})
    assert result.other.keys() == {"MPLS control channel"}
    assert result.unknown.keys() == {"MPLS payload"}


def test_ordinary_labels_carry_ip_whatever_its_checksum() -> None:
    packet = next(self_connect(4, 5000))
    wrong = packet[:10] + b"\0\0" + packet[12:]
    result = analysed(writers.pcap([(EPOCH, frames.ethernet(frames.mpls(wrong, 16), 0x8847))]))
    assert result.segments == 1


def test_a_pseudowire_that_carries_arp_or_spanning_tree_has_no_tcp() -> None:
    arp = frames.ethernet(struct.pack(">HHBBH", 1, 0x0800, 6, 4, 1) + bytes(20), frames.ETHERTYPE_ARP)
    tree = frames.ethernet(b"\x42\x42\3" + bytes(35), 38)
    found = [frames.ethernet(frames.mpls(frame, 16), 0x8847) for frame in (arp, bytes(4) + arp, tree)]
    result = analysed(writers.pcap([(EPOCH, frame) for frame in found]))
    assert (result.undecoded, result.unknown) == ({}, {})
    assert result.other == {"ARP": 2, "LLC (spanning tree, OSI, IPX, NetBIOS)": 1}


@pytest.mark.parametrize("tunnel", [tunnel for tunnel in TUNNELS if tunnel.guess], ids=lambda tunnel: tunnel.name)
def test_a_wrong_checksum_inside_makes_no_tunnel(tunnel: Tunnel) -> None:
    version = tunnel.versions[0]
    packet = bytearray(next(self_connect(version, 5000)))
    packet[11 if version == 4 else 4] ^= 1  # of IPv6 the length
    inside = frames.ethernet(bytes(packet)) if tunnel.ethernet else bytes(packet)
    result = analysed(writers.pcap([(EPOCH, frames.ethernet(tunnel.wrap(inside)))]))
    assert (result.segments, result.undecoded) == (0, {})
    assert [*result.other, *result.unknown] in (["UDP"], ["IP protocol 115 (L2TPv3)"])


# -- captures that were taken ------------------------------------------------------------------------------------------

#: Each has four attempts that were refused, and then a self-connect.
WRAPPED = sorted(path.stem for path in CASES.glob("encap-*.pcap"))


@pytest.mark.parametrize("name", WRAPPED)
def test_a_self_connect_that_was_captured_in_it(name: str) -> None:
    result = analysed((CASES / f"{name}.pcap").read_bytes())
    assert {verdict: count for verdict, count in result.verdicts.items() if count} == {
        Verdict.SELF_CONNECT: 1,
        Verdict.REFUSED: 4,
    }
    assert (result.packets, result.segments) == (15, 15)
    opening = next(opening for opening in result.openings if opening.verdict is Verdict.SELF_CONNECT)
    assert (str(opening.source), opening.first_frame) == ("127.0.0.1:50000", 9)


def test_a_source_route_that_was_captured() -> None:
    result = analysed((CASES / "rfc-lsrr.pcap").read_bytes())
    assert [(opening.verdict, str(opening.destination)) for opening in result.openings] == [
        (Verdict.THREE_WAY, "10.0.0.2:80")
    ]


def test_a_first_fragment_that_cuts_options_counts() -> None:
    result = analysed((CASES / "rfc-tinyfrag.pcap").read_bytes())
    assert (result.verdicts[Verdict.THREE_WAY], result.segments) == (1, 3)
    assert result.undecoded == {"IP fragment after the first": 1}


def test_an_old_file_with_its_lengths_the_other_way_round() -> None:
    result = analysed((CASES / "rfc-v22.pcap").read_bytes())
    assert (result.packets, result.verdicts[Verdict.THREE_WAY], result.damage) == (3, 1, None)


def test_a_capture_that_is_cut_before_the_flags() -> None:
    result = analysed((CASES / "snap40-v4.pcap").read_bytes())
    assert (result.cut_to_itself, result.needed_snaplen) == (7, 54)
    assert result.undecoded == {"TCP header cut short": 15}


# -- parts ---------------------------------------------------------------------------------------------------------


def test_parts_add_up_what_they_did_not_look_into(tmp_path: Path) -> None:
    """What is read as one, and as parts that are merged in either order of merging, says the same."""
    unread = [frames.ethernet(bytes(40), 0x7000 + kind) for kind in range(100) for _ in range(kind % 7 + 1)]
    other = [frames.ethernet(bytes(40), kind) for kind in (0x0806, 0x88CC, 0x0806)]
    filters = [b"\0port %d" % number for number in range(20)]
    lost = [writers.option(5, struct.pack("<Q", count)) for count in (3, 4, 5)]
    files = []
    for place, drops in enumerate(lost):
        data = writers.section()
        for text in filters[place * 6 : place * 6 + 8]:
            data += writers.block(1, struct.pack("<HHI", 1, 0, 0) + writers.option(11, text))
        for frame in (*unread[place::3], *other[: place + 1], *wrapped_and_cut()):
            data += writers.enhanced(EPOCH, frame, original=100)
        files.append(data + writers.block(5, struct.pack("<III", 0, 0, 0) + drops))
    one, two, three = (partial.part([data]) for data in files)
    whole = partial.result(partial.merge(partial.merge(one, two), three))
    paths = []
    for place, data in enumerate(files):
        paths.append(tmp_path / str(place))
        paths[-1].write_bytes(data)
    in_one = analyze_set([str(path) for path in paths])
    for result in (in_one, whole, partial.result(partial.merge(one, partial.merge(two, three)))):
        assert result.recorded_drops == 12
        assert (result.cut_to_itself, result.needed_snaplen) == (3, 54)
        assert result.other == {"ARP": 4, "LLDP": 2}
        assert len(result.unknown) == 65
        assert sum(result.unknown.values()) == len(unread)
        assert len(result.filters) == 16
        assert result.filters == tuple(sorted(text[1:].decode() for text in filters)[:16])


def wrapped_and_cut() -> list[bytes]:
    """A frame from a socket to itself, cut before its flags."""
    return [frames.ethernet(next(self_connect(4, 5000)))[:44]]


@pytest.mark.parametrize("written", ["snoop", "netmon1", "netmon2", "ngsniffer", "ngwsniffer_1_1", "ngwsniffer_2_0"])
def test_captures_of_other_programs_are_named_and_the_command_converts_them(written: str, tmp_path: Path) -> None:
    foreign = tmp_path / "a foreign capture"
    subprocess.run([program("editcap", "wireshark-common"), "-F", written, PCAP, foreign], check=True)
    assert analyze(str(convert(foreign))).verdicts == analyze(str(PCAP)).verdicts


def test_iptrace_and_erf_are_named_and_the_command_converts_them(tmp_path: Path) -> None:
    packets = [frames.ethernet(packet) for packet in self_connect(4, 5000)]
    head = struct.Struct(">III16sIII")
    iptrace = b"".join(
        head.pack(len(frame) + 32, 0, 0, b"en0", 6 << 24, 1_700_000_000 + place, 0) + frame
        for place, frame in enumerate(packets)
    )
    erf = b"".join(encapsulations.erf(b"\0\0" + frame, 2) for frame in packets)
    for name, octets in (("iptrace", b"iptrace 2.0" + iptrace), ("erf", erf)):
        path = tmp_path / name
        path.write_bytes(octets)
        assert analyze(str(convert(path))).verdicts[Verdict.SELF_CONNECT] == 1


def convert(path: Path) -> Path:
    """Convert a capture by the command that the message names."""
    with pytest.raises(NotACapture, match=r"convert it first, with `.* converted\.pcapng`") as caught:
        analyze(str(path))
    command = shlex.split(str(caught.value).partition("`")[2].partition("`")[0])
    command[0] = program(command[0], {"editcap": "wireshark-common", "tshark": "tshark"}[command[0]])
    subprocess.run(command, check=True, capture_output=True, cwd=path.parent)
    return path.parent / command[-1]


def test_docs_protocols_is_written_from_the_tables() -> None:
    written = (ROOT / "docs" / "protocols.md").read_text()
    assert written == protocols.document(), "run: python -m analysis.engine.protocols > docs/protocols.md"


def test_no_number_stands_twice_in_a_table() -> None:
    tables = (protocols.LINK_TYPES, protocols.ETHER_TYPES, protocols.UNNUMBERED, protocols.IP_PROTOCOLS)
    for table in (*tables, protocols.TUNNELS):
        numbers = [row.number for row in table]
        assert len(numbers) == len(set(numbers))
