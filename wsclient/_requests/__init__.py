"""Requests: each reply is assigned to the request that it answers, and each request ends exactly once.

The request, the table of requests, the requests in flight on one connection, the ways in which a request ends, batches
and futures.
"""
