"""A chat room: a server that sends each message to all members, and three clients in threads: python chat_room.py"""

import threading
from concurrent.futures import ThreadPoolExecutor

from websockets.sync.server import serve

import wsclient

members = set()
everyone = threading.Barrier(3)


def room(connection):
    members.add(connection)
    connection.send("welcome")
    try:
        for message in connection:
            for member in members.copy():  # other threads may change the set
                member.send(message)
    finally:
        members.discard(connection)


def chat(name, url):
    client = wsclient.Client(url)
    with client.listen() as messages, client:
        messages.get(timeout=10)  # "welcome"
        everyone.wait()  # until all clients are in the room
        client.send({"from": name})
        print(f"{name} heard {sorted(messages.get(timeout=10)['from'] for _ in range(3))}\n", end="")
        everyone.wait()  # until all clients have received all messages


if __name__ == "__main__":
    with serve(room, "localhost", 0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"ws://localhost:{server.socket.getsockname()[1]}/"
        with ThreadPoolExecutor(3) as pool:
            list(pool.map(chat, ("Ann", "Bob", "Cleo"), [url] * 3))
