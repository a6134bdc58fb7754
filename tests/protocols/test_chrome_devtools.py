"""``ChromeDevTools``: the form of commands, and ``attach()``. ``tests/servers/test_chromium.py`` uses Chromium."""

import json

import pytest

from wsclient import Event, Failure, Reply
from wsclient.protocols import ChromeDevTools


def test_the_session_is_taken_from_the_params():
    build = ChromeDevTools().build
    assert build("Browser.getVersion", None, False) == {"method": "Browser.getVersion"}
    assert build("Page.enable", {"session": "S"}, False) == {"method": "Page.enable", "params": {}, "sessionId": "S"}
    message = build("Target.detachFromTarget", {"sessionId": "T"}, False)
    assert message == {"method": "Target.detachFromTarget", "params": {"sessionId": "T"}}


@pytest.mark.parametrize("session", [None, 7, {"sessionId": "S"}])
def test_a_session_that_is_no_id_is_refused(session):
    with pytest.raises(TypeError, match=f"must be the id that attach.. returned, not {type(session).__name__}"):
        ChromeDevTools().build("Page.enable", {"session": session}, False)


@pytest.mark.parametrize(
    ("message", "meaning"),
    [
        ({"id": 1, "result": {}, "sessionId": "S"}, Reply(1, {})),
        ({"method": "Page.loadEventFired", "params": {}, "sessionId": "S"},
         Event({"method": "Page.loadEventFired", "params": {}, "sessionId": "S"}, "Page.loadEventFired")),
        ({"error": {"code": -32700, "message": "JSON"}}, Event({"error": {"code": -32700, "message": "JSON"}})),
    ],
)  # fmt: skip
def test_messages_have_these_meanings(message, meaning):
    assert ChromeDevTools().decode(json.dumps(message)) == meaning


def test_an_error_has_its_code_message_and_data():
    error = {"code": -32602, "message": "Invalid parameters", "data": "Failed to deserialize params.url"}
    meaning = ChromeDevTools().decode(json.dumps({"id": 1, "error": error, "sessionId": "S"}))
    assert isinstance(meaning, Failure)
    assert (meaning.error.code, meaning.error.message, meaning.error.data) == tuple(error.values())


class Caller:
    """A client of a browser that opens one page."""

    def __init__(self):
        self.calls = []

    def call(self, method, params=None, *, timeout=None):
        self.calls.append((method, params))
        return {"targetId": "T1"} if method == "Target.createTarget" else {"sessionId": f"S of {params['targetId']}"}


def test_attach_opens_a_page_or_takes_a_target():
    caller = Caller()
    assert ChromeDevTools.attach(caller) == "S of T1"
    assert ChromeDevTools.attach(caller, "T2") == "S of T2"
    assert caller.calls == [
        ("Target.createTarget", {"url": "about:blank"}),
        ("Target.attachToTarget", {"targetId": "T1", "flatten": True}),
        ("Target.attachToTarget", {"targetId": "T2", "flatten": True}),
    ]
