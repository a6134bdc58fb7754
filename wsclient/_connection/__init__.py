"""The successive connections of a client.

The I/O thread and its loop, the set-up of a connection, keepalive, reconnect, and the shutdown of the client.
"""
