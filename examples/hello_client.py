"""The four callbacks, as functions and as methods: python examples/hello_client.py [URL of echo_server.py]"""

import sys

import wsclient

URL = (sys.argv[1:] or ["ws://localhost:8765/"])[0]


def on_message(client, message):
    print("message:", message)
    client.close()


class Hello(wsclient.Client):
    def on_open(self):
        self.send("Hello, server!")

    def on_message(self, message):
        print("message:", message)
        self.close()

    def on_close(self, code, reason):
        print("closed:", code)

    def on_error(self, error):
        print("error:", error)


if __name__ == "__main__":
    wsclient.Client(
        URL,
        on_open=lambda client: client.send("Hello, server!"),
        on_message=on_message,
        on_close=lambda client, code, reason: print("closed:", code),
        on_error=lambda client, error: print("error:", error),
    ).run_forever()
    Hello(URL).run_forever()
