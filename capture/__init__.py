"""Live capture on Linux: sockets, namespaces, the repro. Imports analysis, never the reverse."""
