"""A client of Twitch's EventSub that changes to the new connection which the server asks for, and misses no event.

Run: python twitch_client.py
"""

import json
import threading
import urllib.error
import urllib.request

from serving import answering, running
from twitch_server import EventSub

import wsclient


def reconnect_url(message):
    """The URL of ``session_reconnect``: the client opens a second connection there, and then closes the first one."""
    if message["metadata"]["message_type"] == "session_reconnect":
        return message["payload"]["session"]["reconnect_url"]
    return None


class Events(wsclient.Client):
    """Prints nothing and keeps all: ``received`` has the events by message id, since Twitch may send one twice."""

    def __init__(self, url, api, types, *, silence=12, **options):
        self.api, self.types, self.received, self.complete = api, types, {}, threading.Event()
        renew = wsclient.Renew(on=reconnect_url, overlap=20)  # the server closes the old connection after 30 s
        # A message comes at least every 10 s.
        super().__init__(url, renew=renew, quiet=silence, **options)

    def on_session(self, session):
        welcome = session.recv()["payload"]["session"]
        for kind in self.types:
            transport = {"method": "websocket", "session_id": welcome["id"]}
            self.post({"type": kind, "version": "1", "transport": transport})

    def post(self, subscription):
        try:
            urllib.request.urlopen(self.api, json.dumps(subscription).encode(), timeout=10).close()  # noqa: S310
        except urllib.error.HTTPError as error:
            error.close()
            if error.code != 409:  # 409: the new connection has this subscription already
                raise

    def on_message(self, message):
        if message["metadata"]["message_type"] == "notification":
            self.received.setdefault(message["metadata"]["message_id"], message["payload"]["event"])
            if message["payload"]["event"].get("last"):
                self.complete.set()


def main():
    service = EventSub()
    with (
        running(service.handle) as url,
        answering(service.subscribe) as api,
        Events(f"{url}/ws", api, ["channel.follow"]) as client,
    ):
        for number in range(200):
            service.publish("channel.follow", {"number": number})
            if number == 50:
                service.reconnect()
            threading.Event().wait(0.005)
        service.publish("channel.follow", {"number": 200, "last": True})
        client.complete.wait(10)
        numbers = [event["number"] for event in client.received.values()]
        print(f"{len(numbers)} events, none missing: {sorted(numbers) == list(range(201))}")
        print(
            f"{client.stats.renewals} renewal, {client.stats.connections} connections, lost: {client.last_disconnect}"
        )


if __name__ == "__main__":
    main()
