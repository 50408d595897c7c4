"""A guard in Python. python3 guard.py HOST PORT TIMES [unguarded]."""

import socket
import struct
import sys

RESET = struct.pack("ii", 1, 0)  # a linger time of 0: close() sends RST and leaves no TIME-WAIT
host, port, times, *unguarded = sys.argv[1:]
connected = caught = 0
for _ in range(int(times)):
    try:
        client = socket.create_connection((host, int(port)))
    except OSError:
        continue
    with client:
        if not unguarded and client.getsockname() == client.getpeername():
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            caught += 1
        else:
            connected += 1
sys.stdout.write(f"{connected} connected, {caught} caught\n")
