"""Tests of ``wsclient._connection``."""
