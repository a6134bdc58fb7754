"""Tests of ``wsclient._receiving``."""
