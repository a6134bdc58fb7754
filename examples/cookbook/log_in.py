"""Log in on each connection, also on those after a reconnect.

Why: a server knows a connection, not your program. A new connection is not logged in.
How: ``on_session`` runs on each new connection, before any other message is sent. If it raises, the attempt has
failed and is repeated. ``SessionError(..., retry=False)`` ends the client instead: a wrong token would fail again.

Change: ``URL``, and the messages in ``log_in()``. It may also wait for a challenge: ``session.recv(timeout=5)``.
Run: python examples/cookbook/log_in.py
"""

import json

import wsclient
from wsclient.testing import Server

VALID = {"right"}  # the tokens that the server accepts
logged_in = []  # its connections


def answer(connection, text):
    message = json.loads(text)
    if message["op"] == "login" and message["token"] in VALID:
        logged_in.append(connection)
    return {"id": message["id"], "ok": connection in logged_in}


def open_account(url, token):
    def log_in(client, session):
        if not session.request({"op": "login", "token": token}, timeout=10)["ok"]:
            raise wsclient.SessionError("The server does not accept the token.", retry=False)

    return wsclient.connect(url, on_session=log_in)


if __name__ == "__main__":
    with Server(answer) as server:
        with open_account(server.url, "right") as client:
            print("logged in:", client.request({"op": "balance"})["ok"])
            server.cut_all()
            print("logged in:", client.request({"op": "balance"}, idempotent=True)["ok"])
            print("log-ins:", len(logged_in))
        try:
            open_account(server.url, "wrong")
        except wsclient.ConnectError as error:
            print(error.last)
