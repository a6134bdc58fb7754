"""Threads, locks and waits: the parts of the client that use the operating system's threads and processes.

No module of this package uses WebSocket frames. Client states and close codes appear here, since a command to close the
client contains a close code.
"""
