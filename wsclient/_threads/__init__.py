"""Threads, locks and waits: the parts of the client that use the operating system's threads and processes.

No module of this package uses WebSocket frames. ``state`` and ``guard`` use the states of a client, since threads wait
for a state and calls are checked against it. ``commands`` uses close codes, since a command to close the client
contains one.
"""
