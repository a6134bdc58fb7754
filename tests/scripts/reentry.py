"""A client whose threads are interrupted all the time by finalizers and signal handlers that call the client too.

    python -m tests.scripts.reentry URL KIND OVERFLOW SECONDS

KIND: finalizers, signals or both. OVERFLOW: the policy of the send queue. The server at URL must echo each JSON text.

Prints one line of JSON: the numbers of the messages that must have arrived exactly once, and those that may have.
"""

import collections
import faulthandler
import gc
import itertools
import json
import random
import signal
import sys
import threading
import time

import wsclient
from tests.support import LONG

EXPECTED = (wsclient.SendQueueFull, wsclient.WouldDeadlock)


class Stress:
    """Sends numbered messages from several threads, and from inside these calls."""

    def __init__(self, url, overflow):
        bounds = wsclient.SendQueue(max_messages=50, overflow=overflow)
        self.client = wsclient.connect(url, send_queue=bounds, on_message=lambda client, message: None)
        self.numbers = itertools.count()
        self.deliveries = {}
        self.futures = []
        self.calls = collections.Counter()
        self.busy = threading.local()
        self.over = False

    def send(self):
        number = next(self.numbers)
        try:
            self.deliveries[number] = self.client.send(f"message {number}", timeout=LONG)
        except wsclient.SendQueueFull:
            pass

    def request(self):
        number = next(self.numbers)
        reply = self.client.request({"n": number}, timeout=LONG)
        assert reply["n"] == number, (reply, number)

    def submit(self):
        number = next(self.numbers)
        self.futures.append((number, self.client.submit({"n": number}, timeout=LONG)))

    def cancel(self):
        self.client.submit({"n": -1}, timeout=LONG).cancel()

    def stream(self):
        self.client.stream({"n": -1}, timeout=LONG).close()
        self.client.listen().close()

    def look(self):
        self.client.send("x", expires=60).state  # noqa: B018
        self.client.stats  # noqa: B018

    def interrupt(self, *_):
        """Make one call; a signal handler and a finalizer do this.

        At most one in a millisecond for each thread: one run of the collector may call thousands of finalizers, and
        would occupy the thread, perhaps the I/O thread, for many seconds.
        """
        now = time.monotonic()
        if self.over or getattr(self.busy, "until", 0.0) > now:
            return
        self.busy.until = float("inf")
        try:
            self.one(
                random.choice((self.send, self.send, self.submit, self.cancel, self.stream, self.look, self.request))
            )
        finally:
            self.busy.until = time.monotonic() + 0.001

    def one(self, call):
        try:
            call()
        except EXPECTED as error:
            self.calls[f"{call.__name__}: {type(error).__name__}"] += 1
        else:
            self.calls[call.__name__] += 1

    def work(self, until):
        calls = (self.send, self.send, self.request, self.submit, self.cancel, self.stream)
        for call in itertools.cycle(calls):
            if time.monotonic() > until:
                break
            Garbage(self)
            self.one(call)


class Garbage:
    """Only the garbage collector can free it."""

    finalizers = False

    def __init__(self, stress):
        self.stress = stress
        self.me = self

    def __del__(self):
        if Garbage.finalizers:
            self.stress.interrupt()


def main():
    url, kind, overflow, seconds = *sys.argv[1:4], float(sys.argv[4])
    faulthandler.dump_traceback_later(seconds + 4 * LONG, exit=True)
    failures = []
    threading.excepthook = sys.unraisablehook = lambda failure: failures.append(repr(failure.exc_value))
    stress = Stress(url, overflow)
    until = time.monotonic() + seconds
    Garbage.finalizers = kind != "signals"
    if Garbage.finalizers:
        gc.set_threshold(20)
    if kind != "finalizers":
        signal.signal(signal.SIGALRM, stress.interrupt)
        signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
    threads = [threading.Thread(target=stress.work, args=(until,)) for _ in range(2)]
    for thread in threads:
        thread.start()
    stress.work(until)
    for thread in threads:
        thread.join()
    stress.over = True
    if kind != "finalizers":
        signal.setitimer(signal.ITIMER_REAL, 0)
    gc.set_threshold(700)
    answered = 0
    for number, future in stress.futures:
        try:
            assert future.result(LONG)["n"] == number
            answered += 1
        except EXPECTED as error:
            stress.calls[f"submit: {type(error).__name__}"] += 1
    stress.client.flush(LONG)
    states = {number: str(delivery.state) for number, delivery in stress.deliveries.items()}
    stress.client.close()
    assert not failures, failures
    lost = sorted(number for number, state in states.items() if state == "lost")
    arrived = sorted(number for number, state in states.items() if state in ("written", "confirmed", "unknown"))
    print(
        json.dumps(
            {"arrived": arrived, "lost": lost, "total": len(states), "answered": answered, "calls": stress.calls}
        )
    )


if __name__ == "__main__":
    main()
