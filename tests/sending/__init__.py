"""Tests of ``wsclient._sending``."""
