"""Tests of ``wsclient._client``."""
