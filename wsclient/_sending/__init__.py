"""Sending: a message from ``send()`` to the socket.

The message, the queue, the writer of one connection, control frames, pings, and ``Delivery``, the result of ``send()``.
"""
