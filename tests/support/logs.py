"""The log of a client, for tests of objects that log without a client around them."""

from wsclient._threads.guard import Guard
from wsclient._threads.log import ClientLog
from wsclient._threads.starter import ThreadStarter
from wsclient._threads.state import StateCell


def make_log(name="tester"):
    """A log, and the starter of its helper thread; there is no I/O thread, so records are handled at once."""
    starter = ThreadStarter(bool)
    return ClientLog(Guard(name, StateCell()), starter), starter
