"""selfconn: one command for the three (selfconn capture, selfconn analyze, selfconn check), and nothing else.

What they do is in analysis/ and capture/; this exists so that there is one name to type, for ``python -m`` and for the
program in one file (docs/bundle.md).
"""
