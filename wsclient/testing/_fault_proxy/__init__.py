"""``FaultProxy``: a TCP proxy that delays, limits and cuts connections; and its console."""
