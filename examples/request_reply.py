"""Real-time communication: send a request and wait for its reply, from any thread. Needs echo_server.py.

Run: python examples/request_reply.py [URL]
"""

import sys
from concurrent.futures import ThreadPoolExecutor

import wsclient


def main(url):
    with wsclient.connect(url) as client:
        reply = client.request({"method": "add", "params": [1, 2]}, timeout=5)
        print("1 + 2 =", reply["result"])

        with ThreadPoolExecutor(4) as pool:  # many threads on one connection; each gets the replies to its requests
            sums = pool.map(lambda n: client.request({"method": "add", "params": [n, n]})["result"], range(10))
            print("doubled:", *sums)

        replies = client.request_many([{"method": "add", "params": [n, 1]} for n in range(5)])  # all are sent at once
        print("plus one:", *(reply["result"] for reply in replies))

        text = client.request("no id in plain text", match=lambda message: message == "Echo: no id in plain text")
        print(text)

        try:
            client.request({"method": "nothing adds up", "params": None}, timeout=0.2)
        except wsclient.RequestTimeout as error:
            print("RequestTimeout:", error)
        print(client.stats.requests_ok, "requests answered")


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "ws://localhost:8765/")
