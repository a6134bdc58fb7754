"""Tests of ``wsclient.cli``."""
