"""``ObsWebSocket``: the meaning of messages, and a client with a server that follows the published rules."""

import contextlib
import json
import queue

import pytest
import tenacity

import wsclient
from wsclient import Event, Failure, RemoteError, Reply, SessionError
from wsclient.protocols import ObsWebSocket

from ..support import LONG, eventually
from ..support.obs import ALL, CHALLENGE, SALT, SCENES, VOLUME_METERS, Obs
from ..support.standin import running

SOON = wsclient.Reconnect(wait=tenacity.wait_none())


@pytest.fixture
def start():
    """``start(obs, protocol, ...)`` returns an open client."""
    with contextlib.ExitStack() as stack:

        def start(obs, protocol, **options):
            url = stack.enter_context(running(obs.handle, subprotocols=["obswebsocket.json"]))
            options.setdefault("reconnect", SOON)
            client = wsclient.Client(url, protocol=protocol, **options)
            stack.callback(client.close)
            return client.start()

        yield start


def decoded(message):
    return ObsWebSocket().decode(json.dumps(message))


# --- the meaning of messages -----------------------------------------------------------------------------------------

OK = {"result": True, "code": 100}


@pytest.mark.parametrize(
    ("message", "meaning"),
    [
        ({"op": 7, "d": {"requestId": "1", "requestStatus": OK, "responseData": {"a": 1}}}, Reply("1", {"a": 1})),
        ({"op": 7, "d": {"requestId": "1", "requestStatus": OK}}, Reply("1", None)),
        ({"op": 9, "d": {"requestId": "1", "results": [{"requestStatus": OK, "responseData": {"a": 1}}]}},
         Reply("1", [{"a": 1}])),
        ({"op": 5, "d": {"eventType": "E", "eventIntent": 1}}, Event({"eventType": "E", "eventIntent": 1}, "E")),
        ({"op": 2, "d": {"negotiatedRpcVersion": 1}}, Event({"op": 2, "d": {"negotiatedRpcVersion": 1}})),
        ({"op": 7, "d": {}}, Event({"op": 7, "d": {}})),
        ([7], Event([7])),
    ],
)  # fmt: skip
def test_messages_have_these_meanings(message, meaning):
    assert decoded(message) == meaning


def test_an_unsuccessful_request_has_the_code_and_the_comment_of_its_status():
    data = {"requestId": "1", "requestStatus": {"result": False, "code": 608, "comment": "Parameter: sceneName"}}
    meaning = decoded({"op": 7, "d": data})
    assert isinstance(meaning, Failure)
    assert (meaning.error.code, meaning.error.message, meaning.error.data) == (608, "Parameter: sceneName", data)


@pytest.mark.parametrize("response", ["text", {"requestId": "1"}, {"requestId": "1", "requestStatus": {"code": 100}}])
def test_a_response_that_does_not_say_that_it_was_successful_is_an_error(response):
    (outcome,) = decoded({"op": 9, "d": {"requestId": "1", "results": [response]}}).value
    assert isinstance(outcome, RemoteError)
    assert outcome.data == response
    assert decoded({"op": 9, "d": {"requestId": "1"}}) == Reply("1", None)


def test_requests_have_these_forms():
    protocol = ObsWebSocket()
    request = protocol.build("GetSceneList", None, False)
    assert request == {"op": 6, "d": {"requestType": "GetSceneList"}}
    assert json.loads(protocol.encode_request(request, "7"))["d"] == {"requestType": "GetSceneList", "requestId": "7"}
    assert protocol.build("S", {"a": 1}, False)["d"] == {"requestType": "S", "requestData": {"a": 1}}
    assert protocol.new_id() == "1"


def test_a_batch_has_this_form():
    requests = [{"requestType": "A"}, {"requestType": "B", "requestData": {"b": 1}}]
    assert ObsWebSocket.batch(["A", ("B", {"b": 1})]) == {"op": 8, "d": {"haltOnFailure": False, "requests": requests}}
    batch = ObsWebSocket.batch([("A", None)], halt_on_failure=True, execution=2)
    assert batch["d"] == {"haltOnFailure": True, "requests": requests[:1], "executionType": 2}


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"password": 5}, "password must be a str or None, not int"),
        ({"events": "all"}, "events must be a bit mask .* not str"),
        ({"events": True}, "events must be a bit mask .* not bool"),
        ({"events": -1}, "events must be a bit mask, so at least 0, not -1"),
    ],
)
def test_invalid_options_are_refused(options, error):
    with pytest.raises((TypeError, ValueError), match=error):
        ObsWebSocket(**options)


# --- identification --------------------------------------------------------------------------------------------------


class Scripted:
    """A session in which OBS sends these messages."""

    def __init__(self, *messages):
        self.messages, self.sent = list(messages), []

    def recv(self, timeout=None):
        return self.messages.pop(0)

    def send(self, message):
        self.sent.append(message)


def test_the_password_answers_the_challenge_as_the_document_says():
    # The document has this salt and this challenge, and the password; `openssl dgst` computed the answer.
    hello = {"op": 0, "d": {"rpcVersion": 1, "authentication": {"challenge": CHALLENGE, "salt": SALT}}}
    session = Scripted(hello, {"op": 2, "d": {"negotiatedRpcVersion": 1}})
    ObsWebSocket("supersecretpassword").on_session(session)
    assert session.sent == [
        {"op": 1, "d": {"rpcVersion": 1, "authentication": "1Ct943GAT+6YQUUX47Ia/ncufilbe6+oD6lY+5kaCu4="}}
    ]


@pytest.mark.parametrize("messages", [["text"], [{"op": 5, "d": {}}], [{"op": 0, "d": {}}, {"op": 0, "d": {}}]])
def test_another_order_of_messages_is_an_error_that_is_retried(messages):
    with pytest.raises(SessionError, match=r"OBS must send a message with the op code [02] now") as caught:
        ObsWebSocket().on_session(Scripted(*messages))
    assert caught.value.retry


def test_each_connection_identifies_itself(start):
    obs = Obs("p")
    client = start(obs, ObsWebSocket("p", events=SCENES))
    client.reconnect()
    eventually(lambda: client.stats.connections == 2)
    assert client.call("GetSceneList", timeout=LONG) == {"scenes": ["Intro", "Talk"]}
    assert [one["eventSubscriptions"] for one in obs.identified] == [SCENES, SCENES]
    assert client.connection.subprotocol == "obswebsocket.json"


def test_without_events_the_server_chooses(start):
    obs = Obs()
    start(obs, ObsWebSocket("not asked for"))
    assert obs.identified == [{"rpcVersion": 1}]
    assert list(obs.masks.values()) == [ALL]


def test_a_mask_of_zero_is_sent(start):
    obs = Obs()
    start(obs, ObsWebSocket(events=0))
    assert list(obs.masks.values()) == [0]


def test_a_missing_password_is_fatal_and_reported_as_such(start):
    with pytest.raises(SessionError, match=r"OBS asks for a password; give it to ObsWebSocket\(password\)") as caught:
        start(Obs("p"), ObsWebSocket())
    assert not caught.value.retry


@pytest.mark.parametrize(("change", "code"), [({"password": "new"}, 4009), ({"rpc_version": 2}, 4010)])
def test_a_refused_identification_is_fatal(start, change, code):
    obs = Obs("p")
    client = start(obs, ObsWebSocket("p"))
    vars(obs).update(change)
    client.reconnect()
    assert client.wait_closed(LONG)
    assert client.state is wsclient.State.FAILED
    assert str(code) in str(client.last_error)
    assert len(obs.identified) == 1


def test_a_client_that_was_kicked_does_not_come_back(start):
    obs = Obs()
    client = start(obs, ObsWebSocket())
    for connection in list(obs.masks):
        connection.close(4011, "kicked")
    assert client.wait_closed(LONG)
    assert client.last_disconnect.code == 4011
    assert len(obs.identified) == 1


# --- requests, batches, events ---------------------------------------------------------------------------------------


def test_an_unsuccessful_request_is_raised(start):
    client = start(Obs(), ObsWebSocket())
    assert client.call("SetCurrentProgramScene", {"sceneName": "Talk"}, timeout=LONG) is None
    with pytest.raises(RemoteError, match="No such request") as caught:
        client.call("NoSuch", timeout=LONG)
    assert caught.value.code == 204


def test_a_batch_returns_the_results_in_order(start):
    client = start(Obs(), ObsWebSocket())
    requests = ["GetSceneList", ("SetCurrentProgramScene", {"sceneName": "none"}), "GetSceneList"]
    first, error, last = client.request(ObsWebSocket.batch(requests), timeout=LONG)
    assert first == last == {"scenes": ["Intro", "Talk"]}
    assert isinstance(error, RemoteError)
    assert error.code == 600
    halted = client.request(ObsWebSocket.batch(requests, halt_on_failure=True), timeout=LONG)
    assert [type(one) for one in halted] == [dict, RemoteError]


def test_events_of_the_mask_have_their_type_as_the_topic_and_the_mask_can_be_changed(start):
    obs, handled, others = Obs(), queue.Queue(), queue.Queue()
    client = start(obs, ObsWebSocket(events=SCENES), on_message=lambda _, message: others.put(message))
    client.on("CurrentProgramSceneChanged", handled.put)
    client.on("InputVolumeMeters", handled.put)
    obs.emit("InputVolumeMeters", VOLUME_METERS, {})
    client.call("SetCurrentProgramScene", {"sceneName": "Talk"}, timeout=LONG)
    assert handled.get(timeout=LONG)["eventData"] == {"sceneName": "Talk"}
    client.send({"op": 3, "d": {"eventSubscriptions": VOLUME_METERS}})
    while (message := others.get(timeout=LONG)) != {"op": 2, "d": {"negotiatedRpcVersion": 1}}:
        assert message["eventType"] == "CurrentProgramSceneChanged"
    obs.emit("InputVolumeMeters", VOLUME_METERS, {"inputs": []})
    assert handled.get(timeout=LONG) == {
        "eventType": "InputVolumeMeters",
        "eventIntent": VOLUME_METERS,
        "eventData": {"inputs": []},
    }
