"""``Replay``: a server that plays a recording back to the client that made it."""
