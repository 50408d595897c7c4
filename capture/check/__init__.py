"""selfconn-check: what is found on this host, and the views of it.

Nothing in here changes anything on the host.
"""
