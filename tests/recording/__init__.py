"""Tests of ``wsclient._recording``."""
