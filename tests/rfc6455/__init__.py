"""Tests of ``wsclient._rfc6455``."""
