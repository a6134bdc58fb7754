"""Threads, locks and waits: everything that the client needs from the operating system's threads and processes.

No module of this room knows WebSocket frames. Client states and close codes are known here: a command to close carries
a close code.
"""
