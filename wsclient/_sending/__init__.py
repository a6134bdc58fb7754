"""Sending: what happens to a message between ``send()`` and the socket.

The message, the queue, the writer of one connection and its limit on messages per second, control frames, pings, and
``Delivery``, the result of ``send()``.
"""
