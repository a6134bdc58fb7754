"""Recordings: the messages and control frames of a client's connections in a file, with secrets redacted.

The package is imported only if ``record=`` is set.
"""
