"""Calls a function repeatedly, and runs other code at each moment of the call in turn."""

import gc
import sys


def disturb(function, moment, disturbance, events):
    """Call a function, and call ``disturbance`` at the event with the number ``moment`` inside it.

    Args:
        function: the function.
        moment: the number of the event, from 1.
        disturbance: the other function.
        events: the kinds of events to count, as ``sys.setprofile`` names them.

    Returns:
        False if there were fewer events.
    """
    left = moment

    def strike(frame, event, argument):
        nonlocal left
        if event in events:
            left -= 1
            if not left:
                disturbance()

    gc.disable()  # Python discards an exception that is raised in a finalizer
    sys.setprofile(strike)
    try:
        function()
    finally:
        sys.setprofile(None)
        gc.enable()
    return left <= 0


def strikes(moment, act, error=KeyboardInterrupt):
    """Call a function, and raise an error of a signal handler at a moment inside it.

    Python raises such an error when a Python function begins, and when a C function has returned.

    Args:
        moment: the number of the moment, from 0.
        act: the function.
        error: the class of the error.

    Returns:
        Whether the function ended with this error.
    """

    def strike():
        raise error("of a signal handler")

    try:
        disturb(act, moment + 1, strike, ("call", "c_return"))
    except error as struck:
        return struck.args == ("of a signal handler",)
    return False
