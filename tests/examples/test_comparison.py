"""The message protocols of ``examples/COMPARISON.md``: its programs, run against servers with the protocols' rules."""

import functools
import json
import pathlib
import re

import pytest

import wsclient

from ..support import LONG, eventually
from ..support.clients import FAST
from ..support.server import Server

PAGE = pathlib.Path(__file__).parents[2] / "examples" / "COMPARISON.md"
PROGRAMS = {
    re.search(r"^class (\w+)", text, re.MULTILINE)[1]: text
    for text in re.findall(r"```python\n(.+?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
}
MOST_LINES = 25


@functools.cache
def protocol(name):
    """The class, without the program below it."""
    names = {}
    exec(PROGRAMS[name].partition("\nwith ")[0], names)
    return names[name]


@pytest.mark.parametrize("name", ["SignalR", "Wamp"])
def test_each_class_is_short(name):
    text = PROGRAMS[name].partition("\nclass ")[2].partition("\nwith ")[0]
    assert sum(bool(line.strip()) for line in text.splitlines()) <= MOST_LINES


def test_the_programs_run(capsys):
    for name, server in (("SignalR", Server(hub)), ("Wamp", Server(router, subprotocols=["wamp.2.json"]))):
        with server:
            exec(PROGRAMS[name], {"url": server.url})
    assert set(capsys.readouterr().out.splitlines()) >= {"3", "[0, 1, 2]", "[[3]]", "[['hello']]"}


# --- SignalR ---------------------------------------------------------------------------------------------------------


def hub(connection, text):
    """A hub of ASP.NET Core, as far as the class needs one."""
    assert text.endswith("\x1e")
    for message in map(json.loads, text.split("\x1e")[:-1]):
        kind, id = message.get("type"), message.get("invocationId")
        if kind is None:
            answers = [{}] if message == {"protocol": "json", "version": 1} else [{"error": "no such protocol"}]
        elif kind == 4:
            answers = [{"type": 2, "invocationId": id, "item": n} for n in range(*message["arguments"])]
            answers += [{"type": 6}, {"type": 3, "invocationId": id}]
        elif message["target"] == "Add":
            answers = [{"type": 3, "invocationId": id, "result": sum(message["arguments"])}]
        elif message["target"] == "Say":
            answers = [{"type": 1, "target": "ReceiveMessage", "arguments": message["arguments"]}]
            answers += [{"type": 3, "invocationId": id}] if id else []
        else:
            answers = [{"type": 3, "invocationId": id, "error": "Method does not exist."}]
        connection.send("".join(json.dumps(answer) + "\x1e" for answer in answers))  # several in one frame


def test_signalr_calls_streams_and_events():
    with Server(hub) as server, wsclient.connect(server.url, protocol=protocol("SignalR")(), **FAST) as client:
        assert client.call("Add", [1, 2]) == 3
        with pytest.raises(wsclient.RemoteError, match=r"Method does not exist\."):
            client.call("Nope")
        with client.stream({"type": 4, "target": "Counter", "arguments": [3]}) as numbers:
            assert list(numbers) == [0, 1, 2]
        with client.listen() as heard:
            assert client.call("Say", ["hello"]) is None
            client.notify("Say", ["again"])
            assert [heard.get(LONG), heard.get(LONG)] == [["hello"], ["again"]]


# --- WAMP ------------------------------------------------------------------------------------------------------------


def router(connection, text):
    """A router of WAMP with one realm and one topic, as far as the class needs one. It knows one subscriber."""
    kind, *rest = json.loads(text)
    if kind == 1:
        answers = [[2, 4711, {"roles": {}}]] if rest[0] == "realm1" else [[3, {}, "wamp.error.no_such_realm"]]
    elif kind == 48 and rest[2] == "com.example.add":
        answers = [[50, rest[0], {}, [sum(rest[3])]]]
    elif kind == 48:
        answers = [[8, 48, rest[0], {}, "wamp.error.no_such_procedure", ["no callee"]]]
    elif kind == 32:
        answers = [[33, rest[0], 99]]
    elif kind == 16:
        answers = [[36, 99, 1, {}, *rest[3:]], [17, rest[0], 1]]
    else:
        answers = [[35, rest[0]]]
    for answer in answers:
        connection.send(json.dumps(answer))


@pytest.fixture
def wamp():
    with Server(router, subprotocols=["wamp.2.json"]) as server:
        yield server


def test_wamp_calls_publishes_and_subscribes_again_after_a_reconnect(wamp):
    news = [16, {"acknowledge": True, "exclude_me": False}, "com.example.news", ["hello"]]
    with wsclient.connect(wamp.url, protocol=protocol("Wamp")("realm1"), **FAST) as client:
        assert client.call("com.example.add", [1, 2]) == [[3]]
        with pytest.raises(wsclient.RemoteError) as failure:
            client.call("com.example.nope")
        assert failure.value.code == "wamp.error.no_such_procedure"
        with client.subscribe([32, {}, "com.example.news"]) as stream:
            client.request(news)
            assert stream.get(LONG) == [["hello"]]
            client.reconnect()
            eventually(lambda: client.stats.connections == 2)
            client.request(news, timeout=LONG)
            assert stream.get(LONG) == [["hello"]]
    eventually(lambda: json.loads(wamp.received[-1])[0::2] == [34, 99])  # UNSUBSCRIBE


def test_wamp_reports_a_realm_that_does_not_exist(wamp):
    with pytest.raises(wsclient.SessionError, match="no_such_realm"):
        wsclient.connect(wamp.url, protocol=protocol("Wamp")("another"))
