"""A client that eight threads keep busy, in a process that executes another program.

python -m tests.scripts.busy URL PROGRAM
"""

import json
import os
import sys
import threading

import wsclient
from tests.support.figures import sockets


def main():
    url, program = sys.argv[1:]
    before = sockets()
    client = wsclient.connect(url, on_message=lambda client, message: None)
    for thread in range(8):
        threading.Thread(target=ask, args=(client, thread), daemon=True).start()
    print(json.dumps(sorted(sockets() - before)), flush=True)
    sys.stdin.readline()
    os.execv(sys.executable, [sys.executable, "-c", program])


def ask(client, thread):
    while True:
        client.request({"method": "echo", "params": thread})


if __name__ == "__main__":
    main()
