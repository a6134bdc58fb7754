"""The WebSocket protocol without I/O: the opening handshake, frames, masking, compression, close codes and URLs.

The modules convert between bytes and messages. None of them opens a socket or reads a clock.
"""
