"""Disturbances at every moment of a call, one after the other."""

import gc
import sys


def disturb(function, moment, disturbance, events):
    """Call a function, and a disturbance at the so-manyth of some events within it; False if it has not so many."""
    left = moment

    def strike(frame, event, argument):
        nonlocal left
        if event in events:
            left -= 1
            if not left:
                disturbance()

    gc.disable()  # what is raised in a finalizer that it happens to run is swallowed by Python
    sys.setprofile(strike)
    try:
        function()
    finally:
        sys.setprofile(None)
        gc.enable()
    return left <= 0


def strikes(moment, act, error=KeyboardInterrupt):
    """Whether a signal handler's error struck at the moment of that number. Python raises it as one of its functions
    begins, and as one in C has returned.
    """

    def strike():
        raise error("of a signal handler")

    try:
        disturb(act, moment + 1, strike, ("call", "c_return"))
    except error as struck:
        return struck.args == ("of a signal handler",)
    return False
