"""The public names of ``wsclient.testing``; ``tests/testing/`` tests their behaviour."""

import wsclient.testing


def test_every_public_name_exists():
    assert {"Replay", "ReplayMismatch"} <= set(wsclient.testing.__all__)
    assert all(hasattr(wsclient.testing, name) for name in wsclient.testing.__all__)
