"""A client whose connections all end at once; prints its resources after certain numbers of them.

python -m tests.scripts.reconnecting URL MARK...
"""

import collections
import gc
import json
import sys

import tenacity

import wsclient
from tests.support import eventually
from tests.support.figures import depth, descriptors, resident, threads_that_stay


class Counting(wsclient.Client):
    def on_session(self, session):
        depths["io"].add(depth())

    def on_open(self):
        depths["on_open"].add(depth())
        self.send("subscribe")  # usually lost with its connection

    def on_close(self, code, reason):
        depths["on_close"].add(depth())
        closed["connections"] += 1


depths = {"io": set(), "on_open": set(), "on_close": set()}
closed = collections.Counter()


def main():
    url, *marks = sys.argv[1:]
    client = Counting(url, reconnect=wsclient.Reconnect(wait=tenacity.wait_none()))
    client.start()
    for mark in map(int, marks):
        # Counted by the hook thread, so that no events wait for it, which take memory.
        eventually(lambda mark=mark: closed["connections"] >= mark, 300)
        gc.collect()
        facts = {
            "connections": client.stats.connections,
            "threads": threads_that_stay(3),  # the helper thread of on_session comes and goes
            "descriptors": descriptors(),
            "resident": resident(),
            "io depths": len(depths["io"]),
            "hook depths": max(len(depths["on_open"]), len(depths["on_close"])),
            "depth": max(depths["io"]),
        }
        print(json.dumps(facts), flush=True)
    client.close(timeout=0)


if __name__ == "__main__":
    main()
