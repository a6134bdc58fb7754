"""Servers for tests: ``Server``, ``RawServer``, their certificates and sockets."""
