"""From a URL to a socket with an answered upgrade: name look-up, TCP, Unix sockets, proxies, TLS.

All operations except name look-ups are non-blocking; the caller passes in the object that waits.
"""
