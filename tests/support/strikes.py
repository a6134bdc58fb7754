"""An interrupt at every moment at which it may strike, one after the other."""

import itertools
import sys


def strikes(moment, act, error=KeyboardInterrupt):
    """Whether a signal handler's error struck at the moment of that number. Python raises it as one of its functions
    begins, and as one in C has returned.
    """
    events = itertools.count()

    def strike(frame, event, argument):
        if event in ("call", "c_return") and next(events) == moment:
            sys.setprofile(None)
            raise error("of a signal handler")

    try:
        sys.setprofile(strike)
        act()
        sys.setprofile(None)
    except error as struck:
        return struck.args == ("of a signal handler",)
    return False
