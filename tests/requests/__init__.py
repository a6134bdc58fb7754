"""Tests of ``wsclient._requests``."""
