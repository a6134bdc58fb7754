"""A TCP forwarder that breaks the line in the ways a network does."""

import selectors
import socket
import struct
import threading


class FaultProxy:
    """Forwards connections on loopback to a server, until it is told otherwise."""

    def __init__(self, port):
        self._target = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = self._listener.getsockname()[1]
        self._pairs = []
        self._thawed = threading.Event()
        self._thawed.set()
        self._refusing = False
        self._stopped = False
        self._thread = threading.Thread(target=self._accept, name="test-proxy", daemon=True)
        self._thread.start()

    @property
    def url(self):
        return f"ws://127.0.0.1:{self.port}/"

    def _accept(self):
        while not self._stopped:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return
            try:
                far = None if self._refusing else socket.create_connection(self._target)
            except OSError:
                far = None
            if far is None:
                _reset(near)
                near.close()
                continue
            self._pairs.append((near, far))
            threading.Thread(target=self._forward, args=(near, far), name="test-proxy-line", daemon=True).start()

    def _forward(self, near, far):
        other = {near: far, far: near}
        with selectors.DefaultSelector() as selector:
            try:
                selector.register(near, selectors.EVENT_READ)
                selector.register(far, selectors.EVENT_READ)
                while True:
                    for key, _ in selector.select():
                        self._thawed.wait()
                        data = key.fileobj.recv(65536)
                        if not data:
                            return
                        other[key.fileobj].sendall(data)
            except (OSError, ValueError):
                pass
            finally:
                for sock in other:
                    sock.close()

    def cut(self):
        """End every line with a FIN, on both sides."""
        for pair in self._take():
            for sock in pair:
                _shut(sock)

    def reset(self):
        """End every line with a RST, on both sides."""
        for pair in self._take():
            for sock in pair:
                _reset(sock)

    def freeze(self):
        """Forward nothing any more, and keep the lines: half-open."""
        self._thawed.clear()

    def thaw(self):
        self._thawed.set()

    def refuse(self):
        """Take no new line."""
        self._refusing = True

    def accept(self):
        self._refusing = False

    def _take(self):
        pairs, self._pairs = self._pairs, []
        return pairs

    def stop(self):
        self._stopped = True
        self.thaw()
        try:
            self._listener.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._listener.close()
        self.cut()
        self._thread.join(15)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()


def _shut(sock):
    try:
        sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass


def _reset(sock):
    """Whoever forwards for the socket wakes and closes it, which now sends a RST."""
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.shutdown(socket.SHUT_RD)
    except OSError:
        pass
