"""Options that are passed between processes: pickled and loaded, they are equal to the originals."""

import copy
import functools
import pickle
import ssl
import subprocess
import sys

import pytest
import tenacity

import wsclient
from wsclient import Fifo, GraphQLTransportWs, JsonId, JsonRpc, Reconnect
from wsclient._options import DEFAULT
from wsclient.protocols import ABSENT, OLDEST, OpenAIRealtime, Phoenix
from wsclient.protocols._codec import JSON

from ..support import LONG

URL = "ws://localhost:1/"

OBJECTS = [
    lambda: Reconnect(),
    lambda: Reconnect(min_uptime=1, should_retry=callable),
    lambda: Reconnect(wait=tenacity.wait_fixed(1) + tenacity.wait_random(0, 2), stop=tenacity.stop_after_attempt(3)),
    lambda: Reconnect(wait=tenacity.wait_chain(tenacity.wait_none(), tenacity.wait_fixed(5))),
    lambda: Reconnect(stop=tenacity.stop_after_attempt(3) | tenacity.stop_after_delay(60)),
    lambda: wsclient.Queue(overflow="latest"),
    lambda: wsclient.SendQueue(max_messages=5, overflow="raise", rate=5.0, burst=10),
    lambda: wsclient.ReceiveQueue(max_bytes=5),
    lambda: wsclient.Limits(max_redirects=0),
    lambda: wsclient.Deflate(level=1),
    lambda: wsclient.Heartbeat({"op": "ping"}, 30),
    lambda: wsclient.Heartbeat(wsclient.Request({"op": "ping"}), 30),
    lambda: wsclient.Heartbeat(dict, 30, only_if_idle=True),
    lambda: wsclient.Quiet(30),
    lambda: wsclient.Quiet(30, counts=bool, active=callable, action="report"),
    lambda: wsclient.Recording("session.jsonl", redact=["pin"]),
]

PROTOCOLS = [
    lambda: JsonId(("header", "msg_id"), ids=str, result="data", error="error", final=max),
    lambda: JsonRpc(),
    lambda: Fifo(max_in_flight=1, event=callable),
    lambda: GraphQLTransportWs({"token": "x"}),
    lambda: OpenAIRealtime(),
    lambda: Phoenix({"token": "x"}, heartbeat=25),
]


@pytest.mark.parametrize("make", OBJECTS)
def test_an_option_object_is_equal_to_its_pickled_copy(make):
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        option = make()
        read = pickle.loads(pickle.dumps(option, protocol))
        assert type(read) is type(option)
        assert read == option == make()
        assert hash(read) == hash(option)


def test_option_objects_of_different_values_are_different():
    options = [make() for make in OBJECTS] + [wsclient.SendQueue(), wsclient.ReceiveQueue(), wsclient.Queue()]
    for index, option in enumerate(options):
        assert [other for other in options if other == option] == [option]
        assert option != "something else", index
    assert Reconnect(wait=tenacity.wait_fixed(1)) != Reconnect(wait=tenacity.wait_fixed(2))


@pytest.mark.parametrize("option", [Reconnect(), wsclient.SendQueue()], ids=["reconnect", "queue"])
def test_an_option_object_cannot_be_changed_since_clients_share_it(option):
    with pytest.raises(AttributeError):
        option.min_uptime = option.max_bytes = 1


@pytest.mark.parametrize("constant", [OLDEST, ABSENT, DEFAULT, JSON], ids=["oldest", "absent", "default", "json"])
def test_a_constant_is_the_same_object_in_each_process(constant):
    assert pickle.loads(pickle.dumps(constant)) is constant
    assert copy.deepcopy(constant) is constant


@pytest.mark.parametrize("make", PROTOCOLS)
def test_a_protocol_without_a_client_can_be_pickled_and_used_afterwards(make):
    protocol = make()
    read = pickle.loads(pickle.dumps(protocol))
    assert type(read) is type(protocol)
    counters = ("_numbers", "_join_numbers")
    options = [{name: value for name, value in vars(one).items() if name not in counters} for one in (read, protocol)]
    assert options[0] == options[1]
    assert read.new_id() == protocol.new_id()
    wsclient.Client(URL, protocol=read)


def test_a_pickled_protocol_does_not_generate_earlier_ids_again():
    protocol = JsonId()
    assert protocol.new_id() == 1
    assert pickle.loads(pickle.dumps(protocol)).new_id() == 2


@pytest.mark.parametrize("make", PROTOCOLS)
def test_a_protocol_with_a_client_cannot_be_pickled_and_the_error_explains_why(make):
    protocol = make()
    client = wsclient.Client(URL, protocol=protocol)
    for duplicate in (pickle.dumps, copy.deepcopy):
        with pytest.raises(
            TypeError, match=rf"^This {type(protocol).__name__} serves a client, so it can't be pickled"
        ):
            duplicate(protocol)
    twin = copy.copy(protocol)
    assert twin.json is protocol.json
    first, second = protocol.new_id(), twin.new_id()
    assert second != first  # they use the same counter
    client.close()


def test_the_error_for_a_pickled_client_explains_what_to_pickle_instead():
    for duplicate in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match=r"pickle functools\.partial\(wsclient\.connect, url, \.\.\.\)"):
            duplicate(wsclient.Client(URL))


def test_connect_with_all_its_options_can_be_passed_to_another_process(server, tmp_path):
    connect = functools.partial(
        wsclient.connect,
        server.url,
        protocol=JsonRpc(),
        reconnect=Reconnect(wait=tenacity.wait_fixed(1), stop=tenacity.stop_after_attempt(2)),
        send_queue=wsclient.SendQueue(overflow="raise"),
        receive_queue=wsclient.ReceiveQueue(max_messages=5),
        limits=wsclient.Limits(max_redirects=0),
        compression=wsclient.Deflate(level=1),
        record=wsclient.Recording(tmp_path / "session.jsonl"),
        ssl_context=ssl.create_default_context,
        quiet=wsclient.Quiet(30, counts=bool),
        heartbeat=wsclient.Heartbeat({"op": "ping"}, 30),
        headers={"X-Token": "abc"},
        on_error=print,
        name="far",
    )
    program = (
        "import pickle, sys\n"
        "connect = pickle.load(sys.stdin.buffer)\n"
        "with connect() as client:\n"
        "    print(client.call('add', [1, 2], timeout=15), client)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], input=pickle.dumps(connect), capture_output=True, timeout=LONG
    )
    assert done.stderr == b""
    assert done.stdout.startswith(b"3 <Client 'far' open ")
