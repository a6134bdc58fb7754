"""Receiving: what happens to a message between the socket and the code that receives it.

The router, streams and subscriptions, handlers of the server's calls, and the hooks with their thread.
"""
