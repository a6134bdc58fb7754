"""Recordings: files with the messages and control frames of a client's connections, with secrets redacted.

The package and its module ``options`` are imported with every client. A client imports the other modules only if
``record=`` is set. ``wsclient.testing`` and some commands of ``wsclient.cli`` import them too.
"""
