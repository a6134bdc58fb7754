"""From a URL to a socket with an answered upgrade: name look-up, TCP, Unix sockets, proxies, TLS.

Everything is non-blocking; the caller passes in how to wait.
"""
