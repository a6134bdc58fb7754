"""Tests of ``wsclient.testing``."""
