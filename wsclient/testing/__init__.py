"""Servers for the tests of programs that use wsclient. Needs ``pip install 'wsclient-sdk[testing]'``."""

from ._replay import Replay, ReplayMismatch

__all__ = ["Replay", "ReplayMismatch"]
