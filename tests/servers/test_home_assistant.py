"""Home Assistant itself: log-in, commands, subscriptions, ids, a restart.

Its installation takes minutes and 800 MB, so ``.ci/run`` does not make it. By hand, with the Python that its version
needs: ``pip install homeassistant``, and ``home-assistant-frontend`` in the version that ``hass`` then asks for.
"""

import concurrent.futures
import contextlib
import json
import os
import queue
import urllib.parse
import urllib.request

import pytest
import tenacity

import wsclient
from wsclient import RemoteError, SessionError
from wsclient.protocols import HomeAssistant

from ..support import LONG, eventually
from ..support.program import Program, find, free_port

HASS = find(os.environ.get("HASS", "hass"))
pytestmark = pytest.mark.skipif(
    HASS is None,
    reason="HOME ASSISTANT IS MISSING, so the stand-in alone is tested: pip install homeassistant "
    "home-assistant-frontend into an environment, and have HASS name its program hass",
)

SOON = wsclient.Reconnect(wait=tenacity.wait_fixed(0.05))
CONFIGURATION = """
http:
  server_host: 127.0.0.1
  server_port: {port}
api:
websocket_api:
auth:
onboarding:
"""


class Home(Program):
    """A house with one user, who has a long-lived token."""

    def __init__(self, home):
        self.port = free_port()
        configuration = home / "configuration"
        configuration.mkdir()
        (configuration / "configuration.yaml").write_text(CONFIGURATION.format(port=self.port))
        command = [HASS, "--config", str(configuration), "--skip-pip"]
        super().__init__(home, command, HOME=str(home), PYTHONPYCACHEPREFIX="")  # its modules are compiled already

    @property
    def url(self):
        return f"ws://127.0.0.1:{self.port}/api/websocket"

    def post(self, path, data, kind):
        url = f"http://127.0.0.1:{self.port}{path}"
        with urllib.request.urlopen(urllib.request.Request(url, data, {"Content-Type": kind}), timeout=LONG) as answer:
            return json.load(answer)

    def make_user(self):
        """Make the first user, and return a token for half an hour."""
        page = f"http://127.0.0.1:{self.port}/"
        user = {"client_id": page, "name": "Ann", "username": "ann", "password": "secret", "language": "en"}
        code = self.post("/api/onboarding/users", json.dumps(user).encode(), "application/json")["auth_code"]
        form = {"grant_type": "authorization_code", "code": code, "client_id": page}
        kind = "application/x-www-form-urlencoded"
        return self.post("/auth/token", urllib.parse.urlencode(form).encode(), kind)["access_token"]

    def stop(self, how="SIGTERM"):
        """End it so that it stores its users."""
        super().stop(how)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    with Home(tmp_path_factory.mktemp("home")) as home:
        yield home


@pytest.fixture(scope="module")
def token(home):
    with wsclient.connect(home.url, protocol=HomeAssistant(home.make_user()), request_timeout=LONG) as client:
        return client.call("auth/long_lived_access_token", {"client_name": "tests", "lifespan": 365})


@pytest.fixture
def client(home, token):
    with connect(home, token) as client:
        yield client


def connect(home, token, **options):
    options = {"reconnect": SOON, "request_timeout": LONG, **options}
    return wsclient.connect(home.url, protocol=HomeAssistant(token), **options)


def test_commands_are_answered(client):
    assert client.call("get_config")["location_name"]
    assert "zone.home" in [state["entity_id"] for state in client.call("get_states")]
    assert client.call("ping")["type"] == "pong"


def test_a_refused_token_is_fatal_although_the_server_closes_with_1000(home, token):
    for wrong in ("wrong", token[:-1]):
        with pytest.raises(SessionError, match="refused the access token") as caught:
            connect(home, wrong)
        assert not caught.value.retry
        assert "Invalid access token or password" in str(caught.value)


def test_a_service_is_called_and_its_errors_have_their_code(client):
    call = {"domain": "persistent_notification", "service": "create", "service_data": {"message": "hello"}}
    with client.subscribe({"type": "subscribe_events", "event_type": "call_service"}) as calls:
        assert client.call("call_service", call)["context"]["user_id"]
        assert calls.get(LONG)["data"]["service_data"] == {"message": "hello"}
    for command, params, code in (
        ("no_such_command", None, "unknown_command"),
        ("call_service", {**call, "service": "none"}, "not_found"),
        ("call_service", {**call, "service_data": {}}, "invalid_format"),
        ("get_config", {"no": "such"}, "invalid_format"),
        ("unsubscribe_events", {"subscription": 999_999}, "not_found"),
    ):
        with pytest.raises(RemoteError) as caught:
            client.call(command, params)
        assert caught.value.code == code
        assert caught.value.message


def test_subscriptions_of_each_kind_bring_their_events_and_are_ended(client):
    event = {"event_type": "doorbell", "event_data": {"times": 2}}
    template = {"type": "render_template", "template": "{{ states('zone.home') }} {{ 6 * 7 }}"}
    trigger = {"type": "subscribe_trigger", "trigger": {"platform": "event", "event_type": "doorbell"}}
    with (
        client.subscribe({"type": "subscribe_events", "event_type": "doorbell"}) as rings,
        client.subscribe({"type": "subscribe_entities", "entity_ids": ["zone.home"]}) as entities,
        client.subscribe(template) as texts,
        client.subscribe(trigger) as triggers,
    ):
        assert "zone.home" in entities.get(LONG)["a"]
        assert str(texts.get(LONG)["result"]).endswith("42")
        client.call("fire_event", event)
        assert rings.get(LONG)["data"] == {"times": 2}
        assert triggers.get(LONG)["variables"]["trigger"]["event"]["data"] == {"times": 2}
    client.call("subscribe_events", {"event_type": "the end"})
    with client.listen() as rest:
        eventually(lambda: brings_no_doorbell(client, rest))
    with pytest.raises(RemoteError):
        client.subscribe({"type": "subscribe_trigger", "trigger": {"platform": "none"}})


def brings_no_doorbell(client, rest):
    """Whether all subscriptions have ended; close() does not wait for the answers."""
    for name in ("doorbell", "the end"):
        client.call("fire_event", {"event_type": name})
    return list(iter(lambda: rest.get(LONG).get("event_type"), "the end")) == []


def test_ids_rise_and_several_messages_come_in_a_frame(client, figures):
    frames = client.stats.messages_received
    answers = client.request_many([{"type": "get_config"}] * 300)
    assert [answer["state"] for answer in answers] == ["RUNNING"] * 300
    frames = client.stats.messages_received - frames
    assert frames < 300
    figures(f"Home Assistant {answers[0]['version']}: 300 answers in {frames} frames")
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        assert len(list(threads.map(lambda _: client.call("ping"), range(400)))) == 400
    with pytest.raises(RemoteError) as caught:
        client.request({"id": 1, "type": "ping"})
    assert caught.value.code == "id_reuse"
    client.reconnect()
    eventually(lambda: client.stats.connections == 2)
    assert client.call("ping")["type"] == "pong"


def test_events_of_a_call_have_their_type_as_the_topic(client):
    handled = queue.Queue()
    client.on("doorbell", handled.put)
    client.call("subscribe_events", {"event_type": "doorbell"})
    client.call("fire_event", {"event_type": "doorbell"})
    assert handled.get(timeout=LONG)["event_type"] == "doorbell"


@contextlib.contextmanager
def stopped(home):
    home.stop()
    try:
        yield
    finally:
        home.start()


def test_after_a_restart_the_token_is_sent_again_and_the_subscription_continues(home, client):
    with client.subscribe({"type": "subscribe_events", "event_type": "doorbell"}) as rings:
        client.call("fire_event", {"event_type": "doorbell", "event_data": {"times": 1}})
        assert rings.get(LONG)["data"] == {"times": 1}
        with stopped(home):
            assert client.last_disconnect.code == 1000
            waiting = client.submit({"type": "get_config"}, idempotent=True, timeout=3 * LONG)
        assert waiting.result(3 * LONG)["location_name"]
        assert client.stats.connections == 2
        client.call("fire_event", {"event_type": "doorbell", "event_data": {"times": 2}})
        assert rings.get(LONG)["data"] == {"times": 2}
        assert rings.gaps == 1
