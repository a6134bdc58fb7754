"""What another thread gives, and a socket that takes no more."""

import contextlib
import sys
import threading
import traceback

from . import LONG


def stacks():
    """What each thread is doing: to be shown where one did not do what it should."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    frames = sys._current_frames().items()
    return "\n".join(f"{names.get(ident)}:\n{''.join(traceback.format_stack(frame))}" for ident, frame in frames)


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
