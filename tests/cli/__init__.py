"""Tests of ``wsclient._network``."""
