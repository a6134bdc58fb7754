"""Tests of ``wsclient.protocols``."""
