"""Everything that knows file bytes: pcap, pcapng, compression, and files that lie elsewhere (URLs).

Nothing in here knows what a TCP segment is.
"""
