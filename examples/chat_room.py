"""A chat room: a server that passes each message on to everyone, and three clients in threads.

Run: python examples/chat_room.py
"""

import threading

from websockets.sync.server import broadcast, serve

import wsclient

members = set()
everyone = threading.Barrier(3)


def room(connection):
    members.add(connection)
    try:
        for message in connection:
            broadcast(members, message)
    finally:
        members.discard(connection)


def chat(name, url):
    with wsclient.connect(url) as client, client.listen() as messages:
        everyone.wait()  # all are in the room
        client.send({"from": name})
        print(f"{name} heard {sorted(messages.get(timeout=10)['from'] for _ in range(3))}\n", end="")
        everyone.wait()  # nobody leaves before all have heard all


if __name__ == "__main__":
    with serve(room, "localhost", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"ws://localhost:{server.socket.getsockname()[1]}/"
        threads = [threading.Thread(target=chat, args=(name, url)) for name in ("Ann", "Bob", "Cleo")]
        for step in (threading.Thread.start, threading.Thread.join):
            [step(thread) for thread in threads]
