"""Clients whose servers end each connection at once; prints the cost for this process.

python -m tests.scripts.turned_away SECONDS URL...
"""

import gc
import json
import sys
import threading
import time

import wsclient
from tests.support.figures import descriptors, resident, threads

WARM = 2.0
"""Seconds after which memory use is stable: all code has run once."""


def main():
    seconds, *urls = sys.argv[1:]
    clients = [wsclient.Client(url, retry_first=True) for url in urls]
    for client in clients:
        threading.Thread(target=swallow, args=(client.start,), daemon=True).start()
    rest = threading.Event()  # the time itself is measured
    rest.wait(WARM)
    gc.collect()
    before, cpu = resident(), time.process_time()
    rest.wait(float(seconds) - WARM)
    cpu = time.process_time() - cpu
    gc.collect()
    facts = {
        "attempts": [client.stats.failed_attempts + client.stats.connections for client in clients],
        "connections": [client.stats.connections for client in clients],
        "cpu": cpu,
        "grown": resident() - before,
        "threads": threads(),
        "descriptors": descriptors(),
    }
    print(json.dumps(facts), flush=True)
    for client in clients:
        client.close(timeout=0)


def swallow(call):
    try:
        call()
    except wsclient.WebSocketClientError:
        pass


if __name__ == "__main__":
    main()
