"""From a URL to a socket on which the server has accepted the WebSocket upgrade: name look-up, TCP, Unix sockets,
proxies, TLS.

All sockets are non-blocking. Where a function must wait, it calls the ``Watch`` that its caller passes in, so a
deadline or a command can end the wait. A name look-up blocks, so it runs on a thread of its own (``lookup``).
"""
