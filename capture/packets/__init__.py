"""Packets off the wire: kernel filters, packet sockets and their rings, and the stream of pcapng bytes that they give.

Nothing in here knows a process, a repro or a report.
"""
