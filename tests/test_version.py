"""The version: one place, four readers."""

import importlib.metadata
import platform
import re

import wsclient
from wsclient._version import USER_AGENT


def test_the_version_stands_in_one_place():
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+|[ab]\d+|rc\d+)?", wsclient.__version__)
    assert importlib.metadata.version("wsclient-sdk") == wsclient.__version__
    assert wsclient.__version__ in USER_AGENT


def test_a_server_is_told_the_release_of_python_too():
    assert USER_AGENT.endswith(f" Python/{platform.python_version()}")
