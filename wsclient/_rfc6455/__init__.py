"""The WebSocket protocol without I/O: the opening handshake, frames, masking, compression, close codes and URLs.

Bytes go in, bytes and messages come out; nothing here opens a socket or reads a clock.
"""
