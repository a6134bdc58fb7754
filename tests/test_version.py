"""The version: one definition, four readers."""

import importlib.metadata
import platform
import re

import wsclient
from wsclient._version import USER_AGENT


def test_the_version_is_defined_in_one_place():
    assert re.fullmatch(r"\d+\.\d+\.\d+(\.dev\d+|[ab]\d+|rc\d+)?", wsclient.__version__)
    assert importlib.metadata.version("wsclient-sdk") == wsclient.__version__
    assert wsclient.__version__ in USER_AGENT


def test_the_user_agent_has_the_version_of_python_too():
    assert USER_AGENT.endswith(f" Python/{platform.python_version()}")
