"""Threads, locks and waiting: what the client needs of the operating system's threads and processes.

Nothing here knows WebSocket frames. It may know the client's states and close codes: an order to close carries one.
"""
