"""``wsclient record`` and ``wsclient replay`` with aria2 and graphql-ws."""

import io
import json

import pytest

import wsclient

from ..support import LONG
from ..support.aria2 import ARIA2, TOKEN, Aria2
from ..support.commands import Commands
from ..support.graphql import GraphQL
from ..support.node import npm


@pytest.fixture
def commands(monkeypatch):
    return Commands(monkeypatch)


class Typist:
    """A stdin: each line comes after the command has printed the reply to the one before, with ``--pairs``."""

    def __init__(self, commands, messages):
        self._commands = commands
        self._messages = messages
        self.printed = []

    def __iter__(self):
        for message in self._messages:
            yield json.dumps(message)
            self.printed.append(json.loads(self._commands.out.line()))


def played(commands, script, *arguments):
    """What a replay printed that a script has used."""
    commands.new_streams()
    used = commands.interrupt_after(lambda: script(commands.out.line()))
    result = commands.run("replay", *arguments)
    used()
    return result


# --- aria2 -----------------------------------------------------------------------------------------------------------

CALLS = [
    ("aria2.getVersion", []),
    ("aria2.getSessionInfo", []),
    ("aria2.addUri", [["http://127.0.0.1/"], {"pause": "true"}]),
    ("no.such", []),
]


def call_aria2(url):
    """A script: it prints nothing, and needs the replies."""
    with wsclient.connect(url, protocol=wsclient.JsonRpc()) as client:
        for method, params in CALLS[:-1]:
            client.call(method, [TOKEN, *params], timeout=LONG)
        with pytest.raises(wsclient.RemoteError, match="No such method"):
            client.call("no.such", [TOKEN], timeout=LONG)


@pytest.mark.skipif(ARIA2 is None, reason="ARIA2 IS MISSING: apt-get install aria2")
def test_a_session_with_aria2(commands, tmp_path):
    path = tmp_path / "session.jsonl"
    asked = [
        {"jsonrpc": "2.0", "id": number, "method": method, "params": [TOKEN, *params]}
        for number, (method, params) in enumerate(CALLS, 1)
    ]
    with Aria2(tmp_path) as aria2:
        typist = Typist(commands, asked)
        commands.new_streams()
        code, _, err = commands.run("record", aria2.url, path, "--pairs", stdin=typist)
        assert code == 0
        pairs = typist.printed
        assert [pair["request"] for pair in pairs] == asked
        replies = [pair["reply"] for pair in pairs]
        assert replies[0]["result"]["version"]
        assert replies[1]["result"] == {"sessionId": "[redacted]"}
        assert replies[3]["error"]["message"] == "No such method: no.such"
        assert "4 replies (median " in err[-1]

        assert played(commands, call_aria2, path) == (0, [], [])

        code, (line,), err = commands("replay", path, "--to", aria2.url)
        assert (code, line.split(": ")[1]) == (1, "result")
        gid = replies[2]["result"]
        assert f'recorded "{gid}", now "' in line  # aria2 chooses it
        assert err[-1].endswith("4 sent, 3 received as recorded; 1 difference.")
        assert commands("replay", path, "--to", aria2.url, "--ignore", "result")[:2] == (0, [])


# --- graphql-ws ------------------------------------------------------------------------------------------------------

SECRET = "sesame"
QUERY, SUBSCRIPTION = {"query": "{ add(a: 2, b: 3) }"}, {"query": "subscription { count(to: 3) }"}


@pytest.mark.skipif(npm("graphql-ws", "graphql", "ws") is None, reason="GRAPHQL-WS IS MISSING, see test_graphql_ws.py")
def test_a_session_with_graphql_ws(commands, tmp_path):
    path = tmp_path / "session.jsonl"

    def use(url, token="another", **options):
        protocol = wsclient.GraphQLTransportWs({"token": token})
        with wsclient.connect(url, protocol=protocol, **options) as client:
            assert client.request(QUERY, timeout=LONG) == {"data": {"add": 5}}
            with client.stream(SUBSCRIPTION, timeout=LONG) as replies:
                assert [reply["data"]["count"] for reply in replies] == [1, 2, 3]

    with GraphQL(tmp_path) as graphql:
        use(graphql.url, SECRET, record=path)
        assert SECRET not in path.read_text()
        assert played(commands, use, path) == (0, [], [])
        assert commands("replay", path, "--to", graphql.url, "--set", f"token={SECRET}")[:2] == (0, [])
        arguments = ("replay", path, "--to", graphql.url, "--protocol", "graphql")  # the login is in the recording
        assert commands(*arguments, "--set", f"token={SECRET}")[:2] == (0, [])
        code, out, _ = commands("replay", path, "--to", graphql.url, "--set", "token=guessed")
        assert code == 1
        assert "4401 (Unauthorized) too early" in out[0]

        asked = {"id": "a", "type": "subscribe", "payload": SUBSCRIPTION}
        arguments = (
            "record",
            graphql.url,
            path,
            "--protocol",
            "graphql",
            "--show",
            "--pairs",
            "--until",
            "type=complete",
        )
        code, shown, _ = commands.json(*arguments, stdin=io.StringIO(json.dumps(asked)))
        assert code == 0
        types = [one["message"]["type"] for one in shown if "message" in one]
        assert types == ["connection_init", "connection_ack", "subscribe", "next", "next", "next", "complete"]
        (pair,) = [one for one in shown if "reply" in one]
        assert (pair["request"], pair["reply"]["type"]) == (asked, "next")
