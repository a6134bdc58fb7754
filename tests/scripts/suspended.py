"""A client with a request in flight, in a process that is stopped and continued; prints its state afterwards.

python -m tests.scripts.suspended URL
"""

import json
import sys

import tenacity

import wsclient

SOON = wsclient.Reconnect(wait=tenacity.wait_fixed(0.05))


def main():
    client = wsclient.connect(sys.argv[1], ping_interval=2, ping_timeout=5, reconnect=SOON)
    before = client.submit({"method": "before"}, timeout=None)
    try:
        said = before.result()["result"]
    except wsclient.ConnectionLost as error:
        said = f"lost, sent={error.sent}"
    print(json.dumps(said), flush=True)
    print(json.dumps(client.request({"method": "after"}, timeout=15)["result"]), flush=True)
    last = client.last_disconnect
    facts = {"connections": client.stats.connections, "last": last and last.initiator}
    client.close()
    print(json.dumps(facts), flush=True)


if __name__ == "__main__":
    main()
