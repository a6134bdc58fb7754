"""A thousand clients in one process; prints the times at which each of them tried to reconnect.

python -m tests.scripts.herd URL COUNT
"""

import json
import sys
import threading
import time

import wsclient
from tests.support import eventually
from tests.support.figures import resident, threads_that_stay
from wsclient import State

DEFAULT = wsclient.Reconnect().wait

PATIENCE = 600
"""Seconds; a thousand threads that share one interpreter take some 20 s on an idle machine."""


class Member:
    """One client with the default back-off, and the times of its attempts."""

    def __init__(self, url):
        self._url = url
        self.attempts = []  # when each began
        self.losses = []  # when the back-off was called
        self.delays = []  # its results
        self.client = wsclient.Client(self.ask, reconnect=wsclient.Reconnect(wait=self.wait))

    def ask(self):
        self.attempts.append(time.monotonic())
        return self._url

    def wait(self, state):
        self.losses.append(time.monotonic())
        delay = DEFAULT(state)
        self.delays.append(delay)
        return delay


def say(**facts):
    print(json.dumps(facts), flush=True)


def main():
    url, count = sys.argv[1], int(sys.argv[2])
    threading.stack_size(512 * 1024)
    sys.setswitchinterval(0.1)  # a thousand threads that wait for the interpreter wake up once in this time
    herd = [Member(url) for _ in range(count)]
    for member in herd:
        member.client.start(PATIENCE)
    say(open=count, threads=threads_that_stay(count + 1, PATIENCE), resident=resident())
    clients = [one.client for one in herd]
    eventually(lambda: all(one.stats.connections > 1 and one.state is State.OPEN for one in clients), PATIENCE)
    back = time.monotonic()
    answered = sum(one.client.request({"method": "echo", "params": n})["result"] == n for n, one in enumerate(herd))
    say(
        back=back,
        answered=answered,
        threads=threads_that_stay(count + 1),
        attempts=[one.attempts[1:] for one in herd],
        losses=[one.losses for one in herd],
        delays=[one.delays for one in herd],
    )
    for member in herd:
        member.client.close(wait=False)
    say(closed=all(member.client.wait_closed(PATIENCE) for member in herd))


if __name__ == "__main__":
    main()
