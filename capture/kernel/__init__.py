"""What is asked of the kernel, and set in it.

Ports and how they are chosen, sockets and their owners, socket states, namespaces, privilege.

Nothing in here captures a packet or prints a line.
"""
