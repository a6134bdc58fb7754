"""A client of an API with the limits of Amazon API Gateway: it never idles, and is renewed before the 2 hours are over.

Run: python aws_client.py
"""

import threading

from aws_server import MESSAGE, Gateway
from serving import running

import wsclient

IDLE, LIFETIME = 600, 7200


def open_api(url, token, *, idle=IDLE, lifetime=LIFETIME, **options):
    """A client with a new token for each connection: ``token()`` is called before each attempt."""
    return wsclient.connect(
        lambda: wsclient.Expiring(f"{url}/?token={token()}", expires_in=lifetime),
        renew=wsclient.Renew(before_expiry=lifetime / 4, overlap=lifetime / 8),
        heartbeat=wsclient.Heartbeat({"action": "heartbeat"}, every=idle / 3, only_if_idle=True),
        **options,
    )


def main():
    renewed = threading.Event()

    def add(connection_id, body):
        return {"id": body["id"], "sum": sum(body["numbers"])}

    def add_slowly(connection_id, body):
        renewed.wait(10)
        return add(connection_id, body)

    routes = {"add": add, "addSlowly": add_slowly, "heartbeat": lambda connection_id, body: None}
    tokens = []
    gateway = Gateway(routes, authorize=tokens.__contains__, idle=1, lifetime=60)

    def token():
        tokens.append(f"token-{len(tokens) + 1}")
        return tokens[-1]

    with (
        running(gateway.handle, judge=gateway.judge, process_request=gateway.connect, max_size=MESSAGE) as url,
        open_api(url, token, idle=1, lifetime=60, on_renew=lambda client, reason: renewed.set()) as client,
    ):
        slow = client.submit({"action": "addSlowly", "numbers": [1, 2]})
        client.renew("for this example")  # and without this call, a quarter of the lifetime before its end
        print("sum, from the first connection:", slow.result(10)["sum"])
        print("sum, from the second one:", client.request({"action": "add", "numbers": [3, 4]})["sum"])
        threading.Event().wait(1.2)  # longer than a connection may idle
        print("tokens:", *tokens)
        print(f"{client.stats.renewals} renewal, last disconnect: {client.last_disconnect}")


if __name__ == "__main__":
    main()
