"""``Replay``: a server that replays a recording to a client."""
