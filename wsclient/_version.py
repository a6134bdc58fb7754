"""The version number; it is defined only here."""

import sys

__all__ = ["USER_AGENT", "__version__"]

__version__ = "0.1.0"

USER_AGENT = f"wsclient-sdk/{__version__} Python/{sys.version.partition(' ')[0]}"
"""Sent with the upgrade unless the caller sets a ``User-Agent``."""
