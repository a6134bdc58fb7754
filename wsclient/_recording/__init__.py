"""Recordings: files with the messages and control frames of a client's connections, with secrets redacted.

The package and its module ``options`` are imported with every client. ``recorder``, ``format`` and ``redaction`` are
imported only if ``record=`` is set, or if ``wsclient.testing`` replays a recording.
"""
