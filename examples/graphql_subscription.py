"""GraphQL over WebSocket: a query, an operation with many results, and a subscription that continues after a reconnect.

Needs a server: NODE_PATH=$(npm root -g) node tests/servers/graphql_server.cjs 4000
Run: python examples/graphql_subscription.py [URL]
"""

import itertools
import sys

import wsclient


def credentials():
    return {"token": "sesame"}  # called for each connection, so the token may change


def main(url):
    with wsclient.connect(url, protocol=wsclient.GraphQLTransportWs(credentials)) as client:
        print(client.request({"query": "query ($a: Int!) { add(a: $a, b: 40) }", "variables": {"a": 2}}))

        for result in client.stream({"query": "subscription { count(to: 3) }"}):
            print("count:", result["data"]["count"])

        with client.subscribe({"query": "subscription { ticks }"}) as ticks:
            print("ticks:", *(result["data"]["ticks"] for result in itertools.islice(ticks, 3)))
            client.reconnect()  # the client subscribes again, as after a restart of the server
            after = itertools.dropwhile(lambda _: ticks.gaps == 0, ticks)
            print("ticks:", *(result["data"]["ticks"] for result in itertools.islice(after, 3)))
            print(client.stats.connections, "connections,", ticks.gaps, "gap")

        try:
            client.request({"query": "{ nope }"})
        except wsclient.RemoteError as error:
            print("RemoteError:", error)


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "ws://127.0.0.1:4000/")
