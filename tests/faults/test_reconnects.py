"""Ten thousand reconnects: threads, descriptors, memory and stack are the same as after the first thousand.

The client has a separate process, so that resources of the server are not counted. ``test_leaks.py`` counts the
allocations of the library alone, over hundreds of reconnects.
"""

import time

import pytest

from ..support import RawServer
from ..support.children import Script
from ..support.figures import needs_proc

MARKS = 1_000, 5_000, 10_000
PATIENCE = 330
"""Seconds for the reconnects between two measurements; an idle machine takes 10."""


def hang_up(peer):
    peer.upgrade()
    peer.send_text("hello")


@pytest.mark.slow
@needs_proc
def test_ten_thousand_reconnects_use_no_further_resources(figures):
    began = time.monotonic()
    with RawServer(hang_up) as server, Script("reconnecting", server.url, *MARKS, is_measured=False) as client:
        measured = [client.read_value(PATIENCE) for _ in MARKS]
        assert client.process.wait(15) == 0
        took = time.monotonic() - began
    figures(
        f"{MARKS[-1]} reconnects in {took:.1f} s, {took / MARKS[-1] * 1000:.2f} ms each, the server's part included",
        "  connections   threads   descriptors   RSS (KiB)   stack (frames)",
        *(
            f"  {at['connections']:11}   {at['threads']:7}   {at['descriptors']:11}   {at['resident'] >> 10:9}"
            f"   {at['depth']:14}"
            for at in measured
        ),
    )
    early, *later = measured
    for late in later:
        assert late["threads"] == early["threads"] == 3  # the main thread, the I/O thread, the hook thread
        assert abs(late["descriptors"] - early["descriptors"]) <= 1  # the current socket, or none
        assert late["resident"] < early["resident"] + (2 << 20)
        assert (late["io depths"], late["hook depths"]) == (1, 1)
