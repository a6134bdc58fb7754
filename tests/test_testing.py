"""The public names of ``wsclient.testing``; what they promise is tested in ``tests/testing/``."""

import wsclient.testing


def test_every_name_is_there():
    assert {"Replay", "ReplayMismatch"} <= set(wsclient.testing.__all__)
    assert all(hasattr(wsclient.testing, name) for name in wsclient.testing.__all__)
