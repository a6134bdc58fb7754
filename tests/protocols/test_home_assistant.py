"""``HomeAssistant``: the meaning of messages, and a client with a server that follows the published rules."""

import contextlib
import json
import queue

import pytest
import tenacity

import wsclient
from wsclient import Event, Failure, RemoteError, Reply, Request, SessionError
from wsclient.protocols import HomeAssistant

from ..support import LONG, eventually
from ..support.home_assistant import Home
from ..support.standin import running

SOON = wsclient.Reconnect(wait=tenacity.wait_none())
CHANGED = {"type": "subscribe_events", "event_type": "state_changed"}


@pytest.fixture
def start():
    """``start(home, ...)`` returns an open client."""
    with contextlib.ExitStack() as stack:

        def start(home, token="secret", **options):
            url = stack.enter_context(running(home.handle))
            options.setdefault("reconnect", SOON)
            client = wsclient.Client(url, protocol=HomeAssistant(token), **options)
            stack.callback(client.close)
            return client.start()

        yield start


def decoded(message):
    return HomeAssistant("t").decode(json.dumps(message))


# --- the meaning of messages -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("message", "meaning"),
    [
        ({"id": 1, "type": "result", "success": True, "result": None}, Reply(1, None)),
        ({"id": 1, "type": "result", "success": True, "result": [1]}, Reply(1, [1])),
        ({"id": 1, "type": "pong"}, Reply(1, {"id": 1, "type": "pong"})),
        ({"id": 1, "type": "event", "event": {"event_type": "e", "data": {}}},
         Event({"event_type": "e", "data": {}}, "e", 1)),
        ({"id": 1, "type": "event", "event": {"variables": {}}}, Event({"variables": {}}, None, 1)),
        ({"id": 1, "type": "event", "event": "7 °C"}, Event("7 °C", None, 1)),
        ({"type": "auth_required"}, Event({"type": "auth_required"})),
        ({"id": 1, "type": "new"}, Event({"id": 1, "type": "new"})),
        ([{"id": 1, "type": "result", "success": True, "result": 2}, {"id": 3, "type": "event", "event": {}}],
         [Reply(1, 2), Event({}, None, 3)]),
        ([], Event([])),
    ],
)  # fmt: skip
def test_messages_have_these_meanings(message, meaning):
    assert decoded(message) == meaning


def test_an_error_has_its_code_and_the_whole_error_as_its_data():
    error = {"code": "service_validation_error", "message": "No.", "translation_key": "unsupported_mode"}
    meaning = decoded({"id": 24, "type": "result", "success": False, "error": error})
    assert isinstance(meaning, Failure)
    assert meaning.id == 24
    assert (meaning.error.code, meaning.error.message, meaning.error.data) == ("service_validation_error", "No.", error)


def test_an_error_without_details_is_an_error():
    meaning = decoded({"id": 1, "type": "result", "success": False, "error": "no"})
    assert (meaning.error.code, meaning.error.data) == (None, "no")


def test_a_command_has_its_type_beside_its_params():
    build = HomeAssistant("t").build
    assert build("get_states", None, False) == {"type": "get_states"}
    assert build("fire_event", {"event_type": "e"}, False) == {"event_type": "e", "type": "fire_event"}


@pytest.mark.parametrize("token", [None, 5, b"token"])
def test_a_token_is_a_text_or_a_function(token):
    with pytest.raises(TypeError, match=f"access_token must be a str or a function .*, not {type(token).__name__}"):
        HomeAssistant(token)


def test_the_key_of_a_subscription_is_its_id():
    protocol = HomeAssistant("t")
    assert protocol.stream_of(CHANGED, 0) is None  # a sample, so the result is awaited
    assert protocol.stream_of(CHANGED, 18) == 18
    assert protocol.unsubscribe(CHANGED, 18, None) == Request({"type": "unsubscribe_events", "subscription": 18})


# --- the authentication phase ----------------------------------------------------------------------------------------


def test_each_connection_logs_in_with_the_token_of_the_function(start):
    tokens = iter(["secret", "secret", "secret"])
    home = Home()
    client = start(home, lambda: next(tokens))
    client.reconnect()
    eventually(lambda: client.stats.connections == 2)
    assert client.call("get_states", timeout=LONG)[0]["entity_id"] == "light.kitchen"
    assert home.tokens == ["secret", "secret"]


def test_a_refused_token_is_fatal_although_the_server_closes_with_1000(start):
    home = Home()
    client = start(home)
    home.token = "changed"
    client.reconnect()
    assert client.wait_closed(LONG)
    assert client.state is wsclient.State.FAILED
    assert len(home.tokens) == 2
    with pytest.raises(wsclient.ClientClosed) as caught:
        client.call("get_states")
    assert isinstance(caught.value.__cause__, SessionError)
    assert "refused the access token: 'Invalid access token or password'" in str(caught.value.__cause__)
    assert "secret" not in str(caught.value.__cause__)


class Scripted:
    """A session in which the server sends these messages, and refuses all commands."""

    def __init__(self, *messages):
        self.messages = list(messages)

    def request(self, message):
        raise RemoteError("unauthorized", "No.")

    def recv(self, timeout=None):
        return self.messages.pop(0)

    def send(self, message):
        """Send nothing."""


@pytest.mark.parametrize("messages", [["text"], [{"type": "auth_required"}, {"type": "pong"}]])
def test_another_order_of_messages_is_an_error_that_is_retried(messages):
    with pytest.raises(SessionError) as caught:
        HomeAssistant("t").on_session(Scripted(*messages))
    assert caught.value.retry


def test_an_error_of_the_features_other_than_an_unknown_command_fails_the_set_up():
    session = Scripted({"type": "auth_required"}, {"type": "auth_ok"})
    with pytest.raises(RemoteError, match="No"):
        HomeAssistant("t").on_session(session)


# --- commands and events ---------------------------------------------------------------------------------------------


def test_ids_rise_on_each_connection_and_errors_are_raised(start):
    home = Home()
    client = start(home)
    assert client.call("ping", timeout=LONG)["type"] == "pong"
    assert client.request_many([{"type": "get_states"}] * 20, timeout=LONG)[19][0]["state"] == "on"
    with pytest.raises(RemoteError, match="Unknown command") as caught:
        client.call("no_such", timeout=LONG)
    assert caught.value.code == "unknown_command"
    with pytest.raises(RemoteError, match="have to increase"):
        client.request({"id": 1, "type": "ping"}, timeout=LONG)
    client.reconnect()
    eventually(lambda: client.stats.connections == 2)
    assert client.call("ping", timeout=LONG)["type"] == "pong"


def test_a_server_without_the_feature_sends_single_messages(start):
    home = Home(knows_features=False)
    client = start(home)
    with client.subscribe(CHANGED, timeout=LONG) as changes:
        client.call("fire_event", {"event_type": "state_changed"}, timeout=LONG)
        assert changes.get(LONG)["event_type"] == "state_changed"
    assert home.visits[0].features == {}


def test_events_go_to_their_subscription_also_from_an_array_and_after_a_reconnect(start):
    home = Home()
    client = start(home)
    assert home.visits[0].features == {"coalesce_messages": 1}
    with (
        client.subscribe(CHANGED, timeout=LONG) as changes,
        client.subscribe({"type": "subscribe_events"}, timeout=LONG) as everything,
    ):
        assert changes.reply is None
        client.call("fire_event", {"event_type": "state_changed", "event_data": {"n": 1}}, timeout=LONG)
        client.call("fire_event", {"event_type": "other"}, timeout=LONG)
        assert changes.get(LONG) == {"event_type": "state_changed", "data": {"n": 1}}
        assert [everything.get(LONG)["event_type"] for _ in range(2)] == ["state_changed", "other"]
        client.reconnect()
        eventually(lambda: client.stats.connections == 2)
        client.call("fire_event", {"event_type": "state_changed", "event_data": {"n": 2}}, timeout=LONG)
        assert changes.get(LONG)["data"] == {"n": 2}
        assert changes.gaps == 1
    eventually(lambda: home.visits[1].subscriptions == {})
    assert home.visits[1].types.count("unsubscribe_events") == 2


def test_a_refused_subscription_raises(start):
    client = start(Home())
    with pytest.raises(RemoteError, match="Unknown command"):
        client.subscribe({"type": "subscribe_nothing"}, timeout=LONG)


def test_events_of_a_call_have_their_type_as_the_topic(start):
    home, handled = Home(), queue.Queue()
    client = start(home)
    client.on("doorbell", handled.put)
    client.call("subscribe_events", {"event_type": "doorbell"}, timeout=LONG)
    home.fire("doorbell", {"times": 2})
    assert handled.get(timeout=LONG) == {"event_type": "doorbell", "data": {"times": 2}}
