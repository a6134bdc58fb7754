"""``WebDriverBiDi``: the meaning of messages, sessions, subscriptions. ``tests/servers/test_chromedriver.py`` uses
chromedriver.
"""

import json
import types

import pytest

from wsclient import Event, Failure, Reply, Request
from wsclient.protocols import WebDriverBiDi

from ..support import LONG
from ..support.peers import close_now, open_against, put, start_call, taken


def subscribing(*events, **params):
    return {"method": "session.subscribe", "params": {"events": list(events), **params}}


@pytest.mark.parametrize(
    ("message", "meaning"),
    [
        ({"type": "success", "id": 1, "result": {"a": 1}}, Reply(1, {"a": 1})),
        ({"type": "event", "method": "log.entryAdded", "params": {}},
         Event({"type": "event", "method": "log.entryAdded", "params": {}}, "log.entryAdded", "log.entryAdded")),
        ({"type": "error", "id": None, "error": "invalid argument", "message": "no JSON"},
         Event({"type": "error", "id": None, "error": "invalid argument", "message": "no JSON"})),
    ],
)  # fmt: skip
def test_messages_have_these_meanings(message, meaning):
    assert WebDriverBiDi().decode(json.dumps(message)) == meaning


def test_an_error_has_a_string_as_its_code_and_the_stack_trace_as_its_data():
    message = {"type": "error", "id": 1, "error": "no such frame", "message": "Context x not found", "stacktrace": "at"}
    meaning = WebDriverBiDi().decode(json.dumps(message))
    assert isinstance(meaning, Failure)
    error = meaning.error
    assert (error.code, error.message, error.data) == ("no such frame", "Context x not found", "at")


def test_a_command_always_has_params():
    build = WebDriverBiDi().build
    assert build("session.status", None, False) == {"method": "session.status", "params": {}}
    assert build("a.b", {"c": 1}, False) == {"method": "a.b", "params": {"c": 1}}


def test_capabilities_are_copied_and_checked():
    capabilities = {"alwaysMatch": {}}
    protocol = WebDriverBiDi(capabilities=capabilities)
    capabilities["alwaysMatch"]["x"] = 1
    session = Recorded()
    protocol.on_session(session)
    assert session.calls == [("session.new", {"capabilities": {"alwaysMatch": {}}})]
    assert session.memo == {"session.new": {"sessionId": "s"}}
    with pytest.raises(TypeError, match="capabilities must be a dict or None, not list"):
        WebDriverBiDi(capabilities=[])


class Recorded:
    """A connection to a browser that makes sessions with the id ``s``."""

    def __init__(self, url="ws://x/session", memo=None):
        self.calls, self.memo = [], {} if memo is None else memo
        self.connection = types.SimpleNamespace(url=url)

    def call(self, method, params=None):
        self.calls.append((method, params))
        return {"sessionId": "s"}


def test_without_capabilities_the_session_is_that_of_the_url():
    protocol, session = WebDriverBiDi(), Recorded()
    protocol.on_session(session)
    assert (session.calls, protocol.goodbye()) == ([], None)


def test_a_url_with_the_id_leads_back_to_the_session():
    protocol, first = WebDriverBiDi(capabilities={}), Recorded()
    protocol.on_session(first)
    back, elsewhere = Recorded("ws://x/session/s", first.memo), Recorded("ws://x/session", first.memo)
    protocol.on_session(back)
    protocol.on_session(elsewhere)
    assert [len(one.calls) for one in (first, back, elsewhere)] == [1, 0, 1]


def test_the_session_is_ended_if_this_client_made_it():
    assert WebDriverBiDi(capabilities={}).goodbye() == Request({"method": "session.end", "params": {}})


@pytest.mark.parametrize(
    ("request_", "key"),
    [
        (subscribing("log.entryAdded"), "log.entryAdded"),
        (subscribing("log.entryAdded", contexts=[]), "log.entryAdded"),
        (subscribing("log"), None),
        (subscribing("log.entryAdded", "network.beforeRequestSent"), None),
        (subscribing("log.entryAdded", contexts=["c"]), None),
        (subscribing("log.entryAdded", userContexts=["c"]), None),
        ({"method": "session.subscribe"}, None),
        ({"method": "browsingContext.getTree", "params": {"events": ["log.entryAdded"]}}, None),
    ],
)
def test_the_key_of_a_subscription_is_its_only_event(request_, key):
    protocol = WebDriverBiDi()
    assert protocol.stream_of(request_, 1, {"subscription": "u"}) == key
    assert protocol.stream_of(request_, 1) is None


def test_a_subscription_is_ended_by_its_id_or_else_by_its_params():
    protocol, request = WebDriverBiDi(), subscribing("log.entryAdded")
    ending = protocol.unsubscribe(request, 1, {"subscription": "u"})
    assert ending == Request({"method": "session.unsubscribe", "params": {"subscriptions": ["u"]}})
    ending = protocol.unsubscribe(request, 1, {})
    assert ending == Request({"method": "session.unsubscribe", "params": {"events": ["log.entryAdded"]}})
    assert protocol.unsubscribe({"method": "network.addIntercept", "params": {}}, 1, {}) is None


def entry(text):
    return {"type": "event", "method": "log.entryAdded", "params": {"text": text}}


def test_events_before_and_after_the_reply_go_to_the_subscription(raw):
    client, peer, seen = open_against(raw, protocol=WebDriverBiDi())
    future = start_call(lambda: client.subscribe(subscribing("log.entryAdded"), timeout=LONG))
    request = taken(peer)
    put(
        peer, entry("buffered"), {"type": "success", "id": request["id"], "result": {"subscription": "u"}}, entry("new")
    )
    with future.result(LONG) as entries:
        assert [entries.get(LONG)["params"]["text"] for _ in range(2)] == ["buffered", "new"]
    assert taken(peer)["params"] == {"subscriptions": ["u"]}
    assert seen == []
    close_now(client)
