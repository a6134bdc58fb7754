"""Recordings: files with the messages and control frames of a client's connections, with secrets redacted.

The package is imported only if ``record=`` is set.
"""
