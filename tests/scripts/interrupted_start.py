"""Interrupts while clients are made, started, used and closed; no client may remain half started.

    python -m tests.scripts.interrupted_start SECONDS SEED

Prints one line of JSON.
"""

import faulthandler
import json
import os
import random
import signal
import sys
import threading
import time

import wsclient
from tests.support import LONG, Server, eventually

armed = False


def strike(signum, stack):
    if armed:
        raise KeyboardInterrupt


def storm(rng, over):
    while not over.wait(rng.random() * 0.006):
        if armed:
            os.kill(os.getpid(), signal.SIGINT)


def use(client):
    client.start()
    with client.listen() as stream:
        client.send("x")
        next(stream)
    client.close()


def client_threads():
    return [thread.name for thread in threading.enumerate() if thread.name.endswith(("-io", "-hooks"))]


def main():
    global armed
    seconds, seed = float(sys.argv[1]), int(sys.argv[2])
    faulthandler.dump_traceback_later(seconds + 60, exit=True)
    signal.signal(signal.SIGINT, strike)
    over = threading.Event()
    threading.Thread(target=storm, args=(random.Random(seed), over), daemon=True).start()
    server = Server(lambda connection, message: connection.send(message))
    interrupts, states = 0, set()
    end = time.monotonic() + seconds
    clients = 0
    while time.monotonic() < end or interrupts <= 100:
        clients += 1
        client = wsclient.Client(server.url, on_message=lambda client, message: None)
        try:
            armed = True
            use(client)
            armed = False
        except KeyboardInterrupt:
            armed = False
            interrupts += 1
        client.close()
        states.add(client.state.value)
    over.set()
    eventually(lambda: not client_threads(), LONG)
    others = [thread.name for thread in threading.enumerate() if thread.name.startswith("Dummy")]
    print(json.dumps({"clients": clients, "interrupts": interrupts, "states": sorted(states), "others": others}))
    server.stop()


if __name__ == "__main__":
    main()
