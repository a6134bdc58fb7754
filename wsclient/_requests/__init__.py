"""Requests: each reply is assigned to the request that it answers, and each request ends exactly once.

The request, the table of requests, the ways in which a request ends, batches and futures.
"""
