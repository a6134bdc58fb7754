"""Connections of a client, one after the other.

The I/O thread and its loop, the set-up of a connection, keepalive, reconnect, and the shutdown of the client.
"""
