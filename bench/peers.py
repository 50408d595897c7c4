"""What a Python programmer would write to look for equal endpoints: python bench/peers.py dpkt|scapy FILE."""

from __future__ import annotations

import sys


def with_dpkt(path: str) -> int:
    """Count the segments whose two endpoints are equal."""
    import dpkt  # noqa: PLC0415 -- one of the two libraries

    found = 0
    with open(path, "rb") as file:  # noqa: PTH123 -- as its documentation has it
        for _, octets in dpkt.pcap.Reader(file):
            packet = dpkt.ethernet.Ethernet(octets).data
            segment = packet.data
            if isinstance(segment, dpkt.tcp.TCP):
                found += segment.sport == segment.dport and packet.src == packet.dst
    return found


def with_scapy(path: str) -> int:
    """Count the segments whose two endpoints are equal."""
    from scapy.layers import l2  # noqa: F401, PLC0415 -- binds Ethernet to its link type
    from scapy.layers.inet import IP, TCP  # noqa: PLC0415 -- one of the two libraries
    from scapy.utils import PcapReader  # noqa: PLC0415

    found = 0
    with PcapReader(path) as packets:
        for packet in packets:
            if TCP in packet:
                found += packet[TCP].sport == packet[TCP].dport and packet[IP].src == packet[IP].dst
    return found


if __name__ == "__main__":
    sys.stdout.write(f"{ {'dpkt': with_dpkt, 'scapy': with_scapy}[sys.argv[1]](sys.argv[2]) }\n")
