"""From a URL to a socket on which the server has accepted the WebSocket upgrade: name look-up, TCP, Unix sockets,
proxies, TLS.

All operations except name look-ups are non-blocking; the caller passes in the object that waits.
"""
