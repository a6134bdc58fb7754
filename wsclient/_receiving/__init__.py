"""Receiving: a message from the socket to the code that receives it.

The router, streams and subscriptions, handlers of the server's calls, and the hooks with their thread.
"""
