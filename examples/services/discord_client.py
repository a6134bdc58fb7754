"""A bot at a gateway with Discord's rules: it resumes its session after each lost connection, and misses no event.

Run: python discord_client.py
"""

import queue

from discord_server import ACK, HEARTBEAT, IDENTIFY, INVALID_SESSION, RESUME, Gateway
from serving import running

import wsclient


def make_protocol():
    """The only messages that answer others are acknowledgements of heartbeats."""
    protocol = wsclient.Fifo(event=lambda message: message["op"] != ACK)
    protocol.fatal_codes = frozenset({4004, 4010, 4011, 4012, 4013, 4014})  # "Reconnect: false" in the documentation
    return protocol


class Bot(wsclient.Client):
    """``events`` has the events, each once and in their order."""

    def __init__(self, url, token, **options):
        self.first_url, self.token, self.events = url, token, queue.Queue()
        # 120 messages in 60 s: these 20 at once, and 100 in each minute
        send_queue = wsclient.SendQueue(rate=100 / 60, burst=20)
        heartbeat = wsclient.Heartbeat(self.make_heartbeat, every=41.25)
        options = {"protocol": make_protocol(), "heartbeat": heartbeat, "send_queue": send_queue} | options
        super().__init__(lambda: self.memo.get("url", url), **options)

    def make_heartbeat(self):  # without an acknowledgement the connection is replaced
        return wsclient.Request({"op": HEARTBEAT, "d": self.memo.get("seq")})

    def on_session(self, session):
        hello = session.recv()
        session.heartbeat(hello["d"]["heartbeat_interval"] / 1000)
        session.send(self.make_resume() if "session_id" in session.memo else self.make_identify())

    def make_identify(self):
        return {"op": IDENTIFY, "d": {"token": self.token, "intents": 513, "properties": {}}}

    def make_resume(self):
        where = {name: self.memo[name] for name in ("session_id", "seq")}
        return {"op": RESUME, "d": {"token": self.token} | where}

    def on_message(self, message):
        if message["op"] == INVALID_SESSION and message["d"]:
            self.send(self.make_resume())
        elif message["op"] == INVALID_SESSION:
            self.memo.clear()
            self.reconnect()
        elif (message.get("s") or 0) > self.memo.get("seq", 0):  # a smaller number: the event came before the loss, too
            self.memo["seq"] = message["s"]
            if message["t"] == "READY":
                self.memo.update(session_id=message["d"]["session_id"], url=message["d"]["resume_gateway_url"])
            self.events.put((message["t"], message["d"]))


def main():
    gateway = Gateway("secret", interval=1)
    with running(gateway.handle) as url, Bot(url, "secret") as bot:
        print(bot.events.get(timeout=10)[0])
        gateway.dispatch("MESSAGE_CREATE", {"content": "hello"})
        print(*bot.events.get(timeout=10))
        gateway.reconnect()  # the server restarts
        gateway.dispatch("MESSAGE_CREATE", {"content": "while the bot was away"})
        print(*bot.events.get(timeout=10))
        print(bot.events.get(timeout=10)[0])
        print(f"{bot.stats.connections} connections, {len(gateway.sessions)} session")


if __name__ == "__main__":
    main()
