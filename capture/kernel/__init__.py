"""What the kernel is asked and told: ports and their choice, sockets and their owners, states, namespaces, privilege.

Nothing in here captures a packet or prints a line.
"""
