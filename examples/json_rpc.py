"""JSON-RPC 2.0: start a download in the download manager aria2, and wait for its notification. Needs aria2c.

Run: python examples/json_rpc.py
"""

import queue
import socket
import subprocess
import tempfile
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import wsclient

KEY = "token:open sesame"


def download(client, url):
    done = queue.Queue()
    client.on("aria2.onDownloadComplete", done.put)  # the topic of a notification is its method
    gid = client.call("aria2.addUri", [KEY, [url]])
    assert done.get(timeout=60)["params"] == [{"gid": gid}]
    return client.call("aria2.getFiles", [KEY, gid])[0]


if __name__ == "__main__":
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    web = ThreadingHTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler)  # serves this folder
    threading.Thread(target=web.serve_forever, daemon=True).start()
    options = ["--enable-rpc", f"--rpc-listen-port={port}", "--rpc-secret=open sesame", f"--dir={tempfile.mkdtemp()}"]
    aria2 = subprocess.Popen(["aria2c", "--quiet", "--no-conf", *options])  # noqa: S603, S607
    try:
        url = f"ws://127.0.0.1:{port}/jsonrpc"
        with wsclient.connect(url, protocol=wsclient.JsonRpc(), retry_first=True) as client:
            print("aria2", client.call("aria2.getVersion", [KEY])["version"])
            file = download(client, f"http://127.0.0.1:{web.server_port}/")
            print("downloaded {completedLength} of {length} bytes: {path}".format(**file))
    finally:
        aria2.terminate()
