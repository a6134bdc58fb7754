"""The waits of ``wsclient probe``."""

import socket
import time

from wsclient._network.poller import READ
from wsclient._threads.waiting import Deadline
from wsclient.cli.phases import Waits

from ..support import LONG, SHORT


def test_a_wait_for_several_sockets_that_something_else_ends_continues_until_its_deadline():
    waits, (near, far) = Waits(), socket.socketpair()
    with near, far:
        waits.wake()
        began = time.monotonic()
        assert waits.wait_any({near: READ}, Deadline.after(SHORT, began)) == []
        assert time.monotonic() - began >= SHORT
        far.send(b"1")
        waits.wake()
        assert waits.wait_any({near: READ}, Deadline.after(LONG, time.monotonic())) == [near]
    waits.close()
