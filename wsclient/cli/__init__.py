"""The command line: ``python -m wsclient``."""
