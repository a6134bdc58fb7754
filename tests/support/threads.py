"""What another thread gives, and a socket that takes no more."""

import contextlib
import threading

from . import LONG


def on_thread(call):
    """What a function gives on another thread than the main one."""
    gave = []
    thread = threading.Thread(target=lambda: gave.append(call()))
    thread.start()
    thread.join(LONG)
    return gave[0]


def fill(sock):
    """Send until the socket takes no more."""
    with contextlib.suppress(BlockingIOError):
        while True:
            sock.send(b"\0" * 65536)
