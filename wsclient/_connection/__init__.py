"""Connections: the client's life, one connection after the other.

The I/O thread and its loop, the set-up of a connection, keepalive, reconnect, the client's state and its shutdown.
"""
