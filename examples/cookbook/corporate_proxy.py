"""Connect from a company's network: through its proxy, with certificates of its own authority (CA).

Why: such networks permit connections through a proxy only; many proxies, and servers inside, have certificates that no
public authority has signed.
How: ``proxy=`` is the proxy's URL, with user and password; by default the proxy of the environment (``HTTPS_PROXY``,
``NO_PROXY``) is used. ``ssl_ca=`` is the file (PEM) with the authority's certificate; ask your administrators for it.
Never disable verification instead: then anyone on the way can read the password. SOCKS: ``proxy="socks5h://..."``.

Change: the three arguments of ``connect()``. Only part of this file is for you; the rest is a proxy and a CA to try it.
Run: python examples/cookbook/corporate_proxy.py
"""

import base64
import contextlib
import pathlib
import socket
import socketserver
import ssl
import tempfile
import threading

import trustme

import wsclient
from wsclient.testing import Server


def connect(url, proxy, ca_file):
    return wsclient.connect(url, proxy=proxy, ssl_ca=ca_file)


class Proxy(socketserver.StreamRequestHandler):
    def handle(self):
        target = self.rfile.readline().split()[1].decode()
        lines = list(iter(self.rfile.readline, b"\r\n"))
        if not any(line.split()[-1] == base64.b64encode(b"ann:secret") for line in lines):
            self.wfile.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            return
        host, _, port = target.rpartition(":")
        with socket.create_connection((host, int(port))) as server:
            self.wfile.write(b"HTTP/1.1 200 OK\r\n\r\n")
            threading.Thread(target=forward, args=(server, self.connection)).start()
            forward(self.connection, server)


def forward(source, target):
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def try_it(url, proxy, ca_file):
    try:
        with connect(url, proxy, ca_file) as client:
            print("answer:", client.request({"hello": "server"})["hello"])
    except wsclient.ConnectError as error:
        print(type(error).__name__)


if __name__ == "__main__":
    ca, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    with (
        tempfile.TemporaryDirectory() as folder,
        Server(tls=context) as server,
        socketserver.ThreadingTCPServer(("127.0.0.1", 0), Proxy) as proxy,
    ):
        threading.Thread(target=proxy.serve_forever, args=(0.05,)).start()
        ca_file = str(pathlib.Path(folder) / "ca.pem")
        ca.cert_pem.write_to_path(ca_file)
        address = f"127.0.0.1:{proxy.server_address[1]}"
        try_it(server.url, f"http://ann:secret@{address}", ca_file)
        try_it(server.url, f"http://ann:wrong@{address}", ca_file)
        try_it(server.url, f"http://ann:secret@{address}", None)
        proxy.shutdown()
