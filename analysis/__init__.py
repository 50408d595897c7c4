"""Offline analysis of captures: bytes to segments, openings, TCP states, reports. No root, no live socket, no scapy."""
