"""A WebSocket server on one thread that can serve a thousand clients, made to be killed.

python -m tests.scripts.lean_server PORT [answers-held]

Answers ``{"id": ..., "method": "echo", "params": ...}``, pings and closes; ``"held"`` only with ``answers-held``.
Supports short messages only (below 126 bytes), in one frame.
"""

import base64
import hashlib
import json
import selectors
import socket
import sys

from tests.support.raw import GUID, frame


def main():
    listener = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=4096)
    listener.setblocking(False)
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ, None)
    print(json.dumps({"port": listener.getsockname()[1]}), flush=True)
    while True:
        for key, _ in selector.select():
            if key.data is None:
                sock = listener.accept()[0]
                selector.register(sock, selectors.EVENT_READ, Guest(sock))
            elif not key.data.read():
                selector.unregister(key.fileobj)
                key.fileobj.close()


class Guest:
    def __init__(self, sock):
        self.sock = sock
        self.buffer = b""
        self.upgraded = False

    def read(self):
        try:
            data = self.sock.recv(65536)
        except ConnectionError:
            return False
        self.buffer += data
        return bool(data) and self.answer()

    def answer(self):
        if not self.upgraded:
            head, end, rest = self.buffer.partition(b"\r\n\r\n")
            if not end:
                return True
            self.buffer, self.upgraded = rest, True
            self.upgrade(head)
        while len(self.buffer) >= 6 and len(self.buffer) >= (size := 6 + (self.buffer[1] & 0x7F)):
            opcode, key, data = self.buffer[0] & 0x0F, self.buffer[2:6], self.buffer[6:size]
            self.buffer = self.buffer[size:]
            payload = bytes(byte ^ key[n % 4] for n, byte in enumerate(data))
            if opcode == 8:
                self.sock.sendall(frame(8, payload))
                return False
            if opcode == 9:
                self.sock.sendall(frame(10, payload))
            elif opcode == 1:
                self.reply(json.loads(payload))
        return True

    def upgrade(self, head):
        key = next(
            line.partition(b":")[2].strip() for line in head.split(b"\r\n") if b"sec-websocket-key:" in line.lower()
        )
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
        self.sock.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Accept: " + accept + b"\r\n\r\n"
        )

    def reply(self, call):
        if call["method"] != "held" or "answers-held" in sys.argv:
            self.sock.sendall(frame(1, json.dumps({"id": call["id"], "result": call.get("params")}).encode()))


if __name__ == "__main__":
    main()
