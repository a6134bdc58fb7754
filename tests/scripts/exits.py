"""A program that ends with a client left open, in one of several states.

python -W always -m tests.scripts.exits STATE URL
"""

import socket
import sys
import threading

import wsclient
from tests.support import eventually


def main():
    state, url = sys.argv[1:]
    hanging = threading.Event()
    if state == "new":
        client = wsclient.Client(url)
        client.send("never")
    elif state == "open":
        client = wsclient.connect(url, on_message=lambda client, message: None, on_close=lambda *args: None)
        client.send("hello")
    elif state == "stuck hook":
        client = wsclient.connect(url, on_open=lambda client: hanging.wait())
    elif state == "waiting":
        client = wsclient.connect(url, reconnect=wsclient.Reconnect(wait=lambda state: 3600.0))
        client.request({"method": "cut"}, match=lambda m: m == "never", timeout=None)
    elif state == "connecting":
        client = wsclient.Client(url, retry_first=True)
        threading.Thread(target=swallow, args=(client.start,), daemon=True).start()
        client.wait_until(wsclient.State.CONNECTING)
    elif state == "stuck session":
        client = wsclient.Client(url, on_session=lambda client, session: hanging.wait(), retry_first=True)
        threading.Thread(target=swallow, args=(client.start,), daemon=True).start()
        client.wait_until(wsclient.State.CONNECTING)
    elif state == "name look-up":
        socket.getaddrinfo = lambda *args, **options: hanging.wait()
        client = wsclient.Client("ws://slow.invalid/", retry_first=True)
        threading.Thread(target=swallow, args=(client.start,), daemon=True).start()
        eventually(lambda: any(thread.name.endswith("-lookup") for thread in threading.enumerate()))
    elif state == "closed":
        client = wsclient.connect(url)
        client.close()
    elif state == "closing":
        client = wsclient.connect(url)
        client.close(timeout=60, wait=False)
        assert client.state is wsclient.State.CLOSING or client.wait_until(wsclient.State.CLOSING, 15)
    elif state == "failed":
        client = wsclient.connect(url)
        swallow(lambda: client.request({"method": "refuse"}, timeout=None))
        client.wait_closed()
        assert client.state is wsclient.State.FAILED
    elif state == "stuck line":
        client = wsclient.connect(url, send_queue=wsclient.SendQueue(max_messages=50, overflow="block"))
        threading.Thread(target=swallow, args=(lambda: flood(client),), daemon=True).start()
        eventually(lambda: client.stats.queue_depth >= 50)
    elif state == "thread in request":
        client = wsclient.connect(url)
        threading.Thread(
            target=swallow, args=(lambda: client.request({"method": "silence"}, timeout=None),), daemon=True
        ).start()
    print(state, "ends")


def flood(client):
    while True:
        client.send("x" * 1_000_000)


def swallow(call):
    try:
        call()
    except wsclient.WebSocketClientError:
        pass


if __name__ == "__main__":
    try:
        main()
    except wsclient.ConnectionLost:
        print("waiting ends")
