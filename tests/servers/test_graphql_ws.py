"""graphql-ws from npm, the reference implementation of GraphQL's subprotocol ``graphql-transport-ws``."""

import concurrent.futures
import itertools
import queue

import pytest

import wsclient
from wsclient import RemoteError, State

from ..support import LONG, eventually
from ..support.graphql import GraphQL
from ..support.node import npm

pytestmark = pytest.mark.skipif(
    npm("graphql-ws", "graphql", "ws") is None,
    reason="GRAPHQL-WS IS MISSING, so GraphQL is not tested on a real server: apt-get install nodejs npm, "
    "npm install graphql-ws@6 graphql@16 ws@8, and have NODE_PATH name its node_modules",
)


@pytest.fixture
def graphql(tmp_path):
    with GraphQL(tmp_path) as graphql:
        yield graphql


def ask(client, field, **options):
    """The value of one field."""
    result = client.request({"query": f"{{ {field} }}"}, timeout=LONG, **options)
    return result["data"][field.partition("(")[0]]


def subscription(field):
    return {"query": f"subscription {{ {field} }}"}


# --- queries ---------------------------------------------------------------------------------------------------------


def test_queries_get_their_results_from_many_threads(graphql):
    with graphql.client() as client, concurrent.futures.ThreadPoolExecutor(8) as pool:
        sums = pool.map(lambda number: ask(client, f"add(a: {number}, b: 1)"), range(100))
        assert list(sums) == list(range(1, 101))
        assert client.stats.connections == 1


def test_variables_and_an_operation_name_are_sent(graphql):
    operations = "query sum($a: Int!, $b: Int!) { add(a: $a, b: $b) } query other { live }"
    with graphql.client() as client:
        message = {"query": operations, "operationName": "sum", "variables": {"a": 2, "b": 40}}
        assert client.request(message, timeout=LONG) == {"data": {"add": 42}}


def test_errors_beside_data_are_part_of_the_result(graphql):
    with graphql.client() as client:
        result = client.request({"query": "{ fails live }"}, timeout=LONG)
        assert result["data"] == {"fails": None, "live": 0}
        assert [error["message"] for error in result["errors"]] == ["no such luck"]


def test_a_refused_operation_raises_with_all_its_errors(graphql):
    with graphql.client() as client:
        with pytest.raises(RemoteError, match='Cannot query field "nope"') as caught:
            client.request({"query": "{ nope live nada }"}, timeout=LONG)
        assert len(caught.value.data) == 2
        assert 'field "nada"' in caught.value.data[1]["message"]
        assert ask(client, "live") == 0
        assert client.stats.connections == 1


# --- subscriptions ---------------------------------------------------------------------------------------------------


def test_a_stream_returns_every_result_and_ends_with_complete(graphql):
    with graphql.client() as client, client.stream(subscription("count(to: 500)")) as numbers:
        assert [result["data"]["count"] for result in numbers] == list(range(1, 501))


def test_a_subscription_that_the_server_completes_ends(graphql):
    with graphql.client() as client, client.subscribe(subscription("count(to: 3)")) as numbers:
        assert [result["data"]["count"] for result in numbers] == [1, 2, 3]
        client.reconnect()
        eventually(lambda: client.stats.connections == 2)
        assert ask(client, "live", idempotent=True) == 0
        with pytest.raises(StopIteration):
            next(numbers)


def test_request_returns_the_last_of_many_results(graphql):
    with graphql.client() as client:
        assert client.request(subscription("count(to: 7)"), timeout=LONG) == {"data": {"count": 7}}


@pytest.mark.parametrize("way", ["stream", "subscribe"])
def test_an_error_ends_a_subscription(graphql, way):
    with graphql.client() as client, getattr(client, way)(subscription("breaks")) as numbers:
        assert numbers.get(LONG) == {"data": {"breaks": 1}}
        with pytest.raises(RemoteError, match="it broke"):
            numbers.get(LONG)
        assert ask(client, "live") == 0
        assert client.stats.connections == 1


@pytest.mark.parametrize("way", ["stream", "subscribe"])
def test_the_server_stops_when_a_subscription_is_closed(graphql, way):
    late = queue.Queue()
    with graphql.client(on_message=lambda _, message: late.put(message)) as client:
        with getattr(client, way)(subscription("ticks")) as first, client.subscribe(subscription("ticks")) as second:
            assert first.get(LONG) == second.get(LONG) == {"data": {"ticks": 1}}
            assert ask(client, "live") == 2
            first.close()
            eventually(lambda: ask(client, "live") == 1)
            assert second.get(LONG) == {"data": {"ticks": 2}}
        eventually(lambda: ask(client, "live") == 0)
        assert client.stats.connections == 1
        assert all("ticks" in message["payload"]["data"] for message in late.queue)  # under way at the unsubscribe


# --- pings -----------------------------------------------------------------------------------------------------------


def test_pings_of_the_server_are_answered_with_their_payload_and_not_delivered(graphql):
    seen = queue.Queue()
    with graphql.client(on_message=lambda _, message: seen.put(message)) as client, client.listen() as messages:
        for number in range(3):
            assert ask(client, f"ping(number: {number})") is True
        assert ask(client, "pongs") == [0, 1, 2]
        with pytest.raises(TimeoutError):
            messages.get(0)
        assert seen.empty()


def test_a_pong_of_the_server_is_not_delivered(graphql):
    seen = queue.Queue()
    with graphql.client(on_message=lambda _, message: seen.put(message)) as client, client.listen() as messages:
        received = client.stats.messages_received
        client.send({"type": "ping", "payload": {"number": 9}})
        assert ask(client, "pings") == [9]
        assert client.stats.messages_received == received + 3  # the pong, the result and its complete
        with pytest.raises(TimeoutError):
            messages.get(0)
        assert seen.empty()


# --- connection_init -------------------------------------------------------------------------------------------------


def test_params_are_sent_with_connection_init(graphql):
    with graphql.client({"token": "sesame"}) as client:
        assert ask(client, "inits") == ["sesame"]


def test_the_params_function_is_called_for_every_connection(graphql):
    tokens = iter([None, {"token": "sesame"}, {}])
    with graphql.client(lambda: next(tokens)) as client:
        for number in (2, 3):
            client.reconnect()
            eventually(lambda number=number: client.stats.connections == number)
        assert ask(client, "inits", idempotent=True) == [None, "sesame", None]


def test_the_params_function_is_called_again_after_a_stale_token(graphql):
    """4403 is not fatal: a rejected client may be accepted later."""
    tokens = iter(["stale", "sesame"])
    with graphql.client(lambda: {"token": next(tokens)}, retry_first=True).start(LONG) as client:
        assert ask(client, "inits") == ["stale", "sesame"]
        assert client.stats.failed_attempts == 1


def test_an_unauthorized_client_fails_at_once(graphql):
    asked = itertools.count(1)
    client = graphql.client(lambda: {"token": f"wrong {next(asked)}"}, retry_first=True)
    with pytest.raises(wsclient.ConnectError, match="4401"):
        client.start(LONG)
    assert client.state is State.FAILED
    assert next(asked) == 2
    with graphql.client() as other:
        assert ask(other, "inits") == ["wrong 1", None]


# --- closes for an error of the client -------------------------------------------------------------------------------

TICKS = {"id": "mine", "type": "subscribe", "payload": subscription("ticks")}


@pytest.mark.parametrize(
    ("messages", "code"),
    [
        (["no JSON"], 4400),
        ([{"type": "subscribe"}], 4400),
        ([{"type": "connection_init"}], 4429),
        ([TICKS, TICKS], 4409),
    ],
)
def test_a_close_for_a_permanent_error_is_fatal(graphql, messages, code):
    closes, errors = queue.Queue(), queue.Queue()
    hooks = {"on_close": lambda _, *told: closes.put(told), "on_error": lambda _, error: errors.put(error)}
    with graphql.client(**hooks) as client, client.subscribe(subscription("ticks")) as ticks:
        assert ticks.get(LONG) == {"data": {"ticks": 1}}
        for message in messages:
            client.send(message)
        assert closes.get(timeout=LONG)[0] == code
        assert client.wait_closed(LONG)
        assert client.state is State.FAILED
        assert client.last_disconnect.code == code
        assert str(code) in str(errors.get(timeout=LONG))
        with pytest.raises(wsclient.WebSocketClientError, match=str(code)):
            list(ticks)
        with pytest.raises(wsclient.ClientClosed):
            ask(client, "live")
        assert client.stats.connections == 1


# --- restarts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("how", "code"), [("SIGTERM", 1001), ("SIGKILL", None)])
def test_a_subscription_continues_after_a_restart_of_the_server(graphql, how, code):
    closes, gaps = queue.Queue(), []
    with graphql.client({"token": "sesame"}, on_close=lambda _, *told: closes.put(told)) as client:
        with client.subscribe(subscription("ticks"), on_gap=gaps.append) as ticks:
            assert [ticks.get(LONG)["data"]["ticks"] for _ in range(3)] == [1, 2, 3]
            graphql.stop(how)
            assert closes.get(timeout=LONG)[0] == code
            meanwhile = client.submit({"query": "{ inits live }"}, timeout=LONG)
            assert not meanwhile.done()
            assert (ticks.gaps, gaps) == (0, [])
            graphql.start()
            assert meanwhile.result(LONG) == {"data": {"inits": ["sesame"], "live": 1}}  # it was subscribed before
            numbers = (ticks.get(LONG)["data"]["ticks"] for _ in itertools.count())
            assert next(number for number in numbers if ticks.gaps) == 1
            assert [next(numbers), next(numbers)] == [2, 3]
            assert (ticks.gaps, gaps) == (1, [ticks])
        eventually(lambda: ask(client, "live") == 0)
        assert client.stats.connections == 2


@pytest.mark.parametrize("how", ["SIGTERM", "SIGKILL"])
def test_a_stream_ends_with_the_connection(graphql, how):
    with graphql.client() as client, client.stream(subscription("ticks")) as ticks:
        assert ticks.get(LONG) == {"data": {"ticks": 1}}
        graphql.stop(how)
        with pytest.raises(wsclient.ConnectionLost):
            list(ticks)
        graphql.start()
        assert ask(client, "live", idempotent=True) == 0


def test_a_subscription_survives_repeated_restarts(graphql):
    with graphql.client() as client, client.subscribe(subscription("ticks")) as ticks:
        assert ticks.get(LONG)
        for number, how in enumerate(("SIGKILL", "SIGTERM", "SIGKILL"), start=1):
            graphql.stop(how)
            graphql.start()
            eventually(lambda number=number: ticks.get(LONG) and ticks.gaps == number)
            assert client.stats.connections == number + 1
