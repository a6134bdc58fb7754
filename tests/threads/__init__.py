"""Tests of ``wsclient._threads``."""
