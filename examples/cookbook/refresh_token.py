"""Use a new token for each connection, and a new connection before the token expires.

Why: a token in a header is checked once, when the connection is opened. Servers close the connection when it expires.
How: ``headers`` is a function, which is called before each attempt. ``Expiring`` says how long the token is valid, and
``renew=`` opens the next connection before that, while the first one still serves, so no request fails.
If the server refuses a token (401, 403), the function is asked once more.

Change: ``fetch_token()``; it may do a HTTP request of some seconds. A token in the URL: give ``url`` such a function.
Run: python examples/cookbook/refresh_token.py [SECONDS], the lifetime of a token
"""

import itertools
import json
import sys
import threading

import wsclient
from wsclient.testing import Server

LIFETIME = float(sys.argv[1]) if len(sys.argv) > 1 else 1.0
numbers = itertools.count(1)


def fetch_token():
    return f"token-{next(numbers)}", LIFETIME


def headers():
    token, seconds = fetch_token()
    return wsclient.Expiring({"Authorization": f"Bearer {token}"}, expires_in=seconds)


def answer(connection, text):
    return {"id": json.loads(text)["id"], "authorized": connection.request.headers["Authorization"]}


if __name__ == "__main__":
    renewed = threading.Event()
    with (
        Server(answer) as server,
        wsclient.connect(
            server.url,
            headers=headers,
            renew=wsclient.Renew(before_expiry=60),  # seconds; at most half of the lifetime
            on_renew=lambda client, reason: renewed.set(),
        ) as client,
    ):
        print(client.request({})["authorized"])
        renewed.wait(30)
        print(client.request({})["authorized"])
        print("last disconnect:", client.last_disconnect)
