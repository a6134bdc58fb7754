"""Hundreds of interrupts in the main thread, at random moments of every call; afterwards the client must still work.

    python -m tests.scripts.interrupts SECONDS SEED deflate|plain

The main thread writes directly only without compression.

Prints one line of JSON.
"""

import collections
import faulthandler
import json
import os
import random
import signal
import sys
import threading
import time

import wsclient
from tests.support import LONG, Server

armed = False


def strike(signum, stack):
    if armed:
        raise KeyboardInterrupt


def storm(rng, over):
    while not over.wait(rng.random() * 0.008):
        if armed:
            os.kill(os.getpid(), signal.SIGINT)


def send(client, n):
    client.send(f"sent {n}")


def send_and_wait(client, n):
    client.send(f"sent {n}").wait(LONG)


def request(client, n):
    client.request({"method": "echo", "params": n}, timeout=LONG)


def submit(client, n):
    client.submit({"method": "echo", "params": n}, timeout=LONG).result()


def cancel(client, n):
    client.submit({"method": "echo", "params": n}, timeout=LONG).cancel()


def request_many(client, n):
    client.request_many([{"method": "echo", "params": f"{n} {i}"} for i in range(5)], timeout=LONG)


def flush(client, n):
    client.flush(LONG)


def listen(client, n):
    with client.listen() as stream:
        client.send(f"heard {n}")
        next(stream)


def look(client, n):
    _ = client.state, client.stats
    client.wait_until(wsclient.State.OPEN, LONG)


CALLS = (send, send_and_wait, request, submit, cancel, request_many, flush, listen, look)


def main():
    global armed
    seconds, seed = float(sys.argv[1]), int(sys.argv[2])
    faulthandler.dump_traceback_later(seconds + 60, exit=True)
    signal.signal(signal.SIGINT, strike)
    rng, over = random.Random(seed), threading.Event()
    threading.Thread(target=storm, args=(rng, over), daemon=True).start()
    interrupts = collections.Counter()
    server = Server()
    compression = "deflate" if sys.argv[3] == "deflate" else None
    client = wsclient.connect(server.url, on_message=lambda client, message: None, compression=compression)
    end = time.monotonic() + seconds
    kept = []
    n = 0
    while time.monotonic() < end or interrupts.total() <= 100:
        n += 1
        call = CALLS[n % len(CALLS)]
        try:
            armed = True
            call(client, n)
            armed = False
            kept += [f"sent {n}"] if call in (send, send_and_wait) else []
        except KeyboardInterrupt:
            armed = False
            interrupts[call.__name__] += 1
    over.set()
    answer = client.request({"method": "add", "params": [1, 2]}, timeout=LONG)["result"]
    client.flush(LONG)
    context = client._wsclient.context
    sent = collections.Counter(json.dumps(json.loads(m)["params"]) if m[0] == "{" else m for m in server.received)
    print(
        json.dumps(
            {
                "seed": seed,
                "calls": n,
                "interrupts": interrupts,
                "answer": answer,
                "lost": [message for message in kept if message not in sent],
                "plain": context.sender.writer.is_uncompressed_tcp,
                "sent twice": [message for message, count in sent.items() if count > 1],
                "still waiting": len(context.table.everything()) + context.table.in_flight + context.queue.messages,
                "connections": client.stats.connections,
            }
        )
    )
    client.close()
    server.stop()


if __name__ == "__main__":
    main()
