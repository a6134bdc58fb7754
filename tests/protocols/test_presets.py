"""What all presets have in common: lazy imports, pickling, commands, and messages that no server should send."""

import copy
import json
import pickle
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import wsclient
from wsclient import protocols
from wsclient.protocols import KINDS, ChromeDevTools, HomeAssistant, ObsWebSocket, WebDriverBiDi

PRESETS = {
    "ChromeDevTools": ChromeDevTools,
    "HomeAssistant": lambda: HomeAssistant("token"),
    "ObsWebSocket": lambda: ObsWebSocket("password", events=5),
    "WebDriverBiDi": lambda: WebDriverBiDi(capabilities={"alwaysMatch": {}}),
}
each = pytest.mark.parametrize("make", PRESETS.values(), ids=PRESETS)

scalars = st.none() | st.booleans() | st.integers(-2, 10) | st.sampled_from(["", "a.b", "event", "result", "error"])
members = st.sampled_from(
    ["id", "type", "method", "params", "event", "event_type", "success", "result", "error", "op", "d", "requestId",
     "requestStatus", "results", "eventType", "sessionId"]
)  # fmt: skip
messages = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(members, inner), max_leaves=8
)


def test_the_import_of_the_protocols_loads_no_preset():
    program = (
        "import sys, wsclient.protocols as p\n"
        "modules = ('_commands', '_chrome_devtools', '_home_assistant', '_obs_websocket', '_webdriver_bidi')\n"
        "before = [name for name in sys.modules if name.endswith(modules)]\n"
        "print(before, p.ChromeDevTools.__name__, 'HomeAssistant' in dir(p))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.stdout.split(), done.stderr) == (["[]", "ChromeDevTools", "True"], "")


def test_an_unknown_name_of_the_protocols_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'Chrome'"):
        protocols.Chrome  # noqa: B018


@each
def test_a_preset_can_be_pickled_before_a_client_is_made_with_it(make):
    protocol = make()
    twin = pickle.loads(pickle.dumps(protocol))
    assert type(twin) is type(protocol)
    assert twin.build("a.b", {"c": 1}, False) == protocol.build("a.b", {"c": 1}, False)
    wsclient.Client("ws://127.0.0.1:1", protocol=protocol)
    with pytest.raises(TypeError, match="can't be pickled"):
        pickle.dumps(protocol)
    assert copy.copy(protocol).build("a.b", None, False) == twin.build("a.b", None, False)


@each
def test_every_message_is_a_command_whose_params_are_an_object(make):
    protocol = make()
    with pytest.raises(TypeError, match="has no notifications"):
        protocol.build("a.b", {}, True)
    with pytest.raises(TypeError, match=r"params of a\.b must be a dict, .*, not list"):
        protocol.build("a.b", [1], False)


@each
def test_the_params_of_the_caller_are_not_changed(make):
    params = {"session": "s", "type": "x"}
    make().build("a.b", params, False)
    assert params == {"session": "s", "type": "x"}


@each
@settings(max_examples=40, deadline=None)
@given(messages)
def test_no_message_makes_a_preset_raise(make, message):
    decoded = make().decode(json.dumps(message))
    for meaning in decoded if isinstance(decoded, list) else [decoded]:
        assert isinstance(meaning, KINDS)
    assert isinstance(make().decode(b"\xff"), protocols.Event)
