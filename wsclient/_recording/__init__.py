"""Recordings: what crosses the connection is written to a file, with secrets redacted.

The package is loaded only where ``record=`` is set.
"""
