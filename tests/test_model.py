"""The shared words: endpoints, sequence numbers that wrap, segments, their flags."""

from __future__ import annotations

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from segments import SELF, SELF6, Talk

from analysis.model import SEQUENCE_SPACE, Endpoint, Flag, SequenceNumber, Verdict, spoken

numbers = st.integers(0, SEQUENCE_SPACE - 1)
distances = st.integers(1, SEQUENCE_SPACE // 2 - 1)


@pytest.mark.parametrize(
    ("address", "port", "text"),
    [
        ("127.0.0.1", 50000, "127.0.0.1:50000"),
        ("::1", 80, "[::1]:80"),
        ("2001:db8:0:0::5", 1, "[2001:db8::5]:1"),
    ],
)
def test_endpoint_as_text(address, port, text):
    assert str(Endpoint.parse(address, port)) == text


@pytest.mark.parametrize("address", ["localhost", "1.2.3", "::g", "", "127.0.0.1:80"])
def test_endpoint_takes_addresses_only(address):
    with pytest.raises((OSError, ValueError), match=r"illegal|invalid|permitted|expected"):
        Endpoint.parse(address, 80)


words = st.sampled_from([0, 0, 0, 1, 0x10, 0xFFFF]) | st.integers(0, 0xFFFF)


@pytest.mark.skipif(not socket.has_ipv6, reason="needs a Python with IPv6 sockets")
@given(st.lists(words, min_size=8, max_size=8))
def test_ipv6_addresses_are_written_as_the_c_library_writes_them(eight):
    packed = b"".join(word.to_bytes(2, "big") for word in eight)
    assert Endpoint(packed, 1).address == socket.inet_ntop(socket.AF_INET6, packed)


def test_ipv6_addresses_are_read_without_ipv6_sockets(monkeypatch):
    texts = ("::1", "2001:db8::5", "::ffff:192.0.2.1")
    read = [Endpoint.parse(text, 1) for text in texts]
    monkeypatch.setattr(socket, "has_ipv6", False)
    assert [Endpoint.parse(text, 1) for text in texts] == read


@given(numbers, distances)
def test_sequence_numbers_keep_their_order_across_the_wrap(start, distance):
    first = SequenceNumber(start)
    later = first + distance
    assert first < later
    assert later > first
    assert first <= later
    assert later - first == distance
    assert first - later == -distance
    assert 0 <= int(later) < SEQUENCE_SPACE


@given(numbers)
def test_sequence_number_equals_itself(start):
    assert SequenceNumber(start) == SequenceNumber(start + SEQUENCE_SPACE)
    assert SequenceNumber(start) - SequenceNumber(start) == 0
    assert not SequenceNumber(start) < SequenceNumber(start)


def test_a_segment_takes_the_sequence_space_of_its_octets_syn_and_fin():
    syn, data, fin = Talk(isn_a=SEQUENCE_SPACE - 1).a("S").a("P.", 1, 1, 5).a("F.", 6, 1, 1).segments
    assert (syn.length, data.length, fin.length) == (1, 5, 2)
    assert (syn.end, data.end, fin.end) == (0, 5, 7)


@pytest.mark.parametrize(
    ("flags", "bare_syn", "syn_ack", "said"),
    [
        ("S", True, False, "SYN"),
        ("S.", False, True, "SYN-ACK"),
        ("SF", False, False, "SYN-FIN"),
        ("SR", False, False, "SYN-RST"),
        ("SP", True, False, "SYN-PSH"),
        ("P.", False, False, "PSH-ACK"),
        ("F.", False, False, "FIN-ACK"),
        ("", False, False, "none"),
    ],
)
def test_flags(flags, bare_syn, syn_ack, said):
    (segment,) = Talk().a(flags).segments
    assert (segment.bare_syn, segment.syn_ack, spoken(segment.flags)) == (bare_syn, syn_ack, said)


def test_ecn_bits_are_not_spoken():
    assert spoken(Flag.SYN | Flag.ECE | Flag.CWR) == "SYN"


@pytest.mark.parametrize("isn", [1000, SEQUENCE_SPACE - 1])
@pytest.mark.parametrize(("block", "ack", "dsack"), [((0, 1), 1, True), ((11, 21), 1, False), ((1, 5), 6, True)])
def test_dsack_is_a_first_block_below_the_ack(isn, block, ack, dsack):
    (segment,) = Talk(SELF, isn_a=isn).a(".", 1, ack, sack=(block,)).segments
    assert segment.dsack is dsack


def test_opening_to_itself():
    for end in (SELF, SELF6):
        assert Talk(end).a("S").opening(Verdict.SELF_SYN).to_itself
    assert not Talk().a("S").opening(Verdict.UNANSWERED).to_itself
    other = Endpoint(SELF.packed, SELF.port + 1)
    assert not Talk(SELF, other).a("S").opening(Verdict.UNANSWERED).to_itself
