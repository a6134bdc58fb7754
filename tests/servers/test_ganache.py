"""ganache from npm, an Ethereum node: subscriptions with a key from the server, and errors with data.

After SIGTERM it closes with 1000, like at the request of the client.
"""

import concurrent.futures
import queue

import pytest

import wsclient
from wsclient import RemoteError, State

from ..support import LONG, eventually
from ..support.ganache import Ganache
from ..support.node import npm

pytestmark = pytest.mark.skipif(
    npm("ganache") is None,
    reason="GANACHE IS MISSING, so subscriptions are not tested on a real node: apt-get install nodejs npm, "
    "npm install ganache@7, and have NODE_PATH name its node_modules",
)

NEW_HEADS = {"method": "eth_subscribe", "params": ["newHeads"]}

REVERTS = "0x602a60005260206000fd"
"""A program that reverts with 42: mstore(0, 42); revert(0, 32)."""


@pytest.fixture(scope="module")
def shared_ganache(tmp_path_factory):
    """One for all tests that do not end it: its start takes long."""
    with Ganache(tmp_path_factory.mktemp("ganache")) as ganache:
        yield ganache


@pytest.fixture
def ganache(tmp_path):
    with Ganache(tmp_path) as ganache:
        yield ganache


def call(client, method, *params, **options):
    return client.call(method, list(params), timeout=LONG, **options)


def mine(client):
    """Mine one block."""
    assert call(client, "evm_mine", idempotent=True) == "0x0"


def height(client):
    return int(call(client, "eth_blockNumber", idempotent=True), 16)


def number(head):
    return int(head["params"]["result"]["number"], 16)


# --- calls -----------------------------------------------------------------------------------------------------------


def test_calls_get_their_results_from_many_threads(shared_ganache):
    with shared_ganache.connect() as client, concurrent.futures.ThreadPoolExecutor(8) as pool:
        texts = [f"0x{n:04x}" for n in range(50)]
        hashes = [call(client, "web3_sha3", text) for text in texts]
        assert len(set(hashes)) == 50
        assert list(pool.map(lambda text: call(client, "web3_sha3", text), texts)) == hashes
        assert client.stats.connections == 1


def test_a_batch_gives_the_results_in_order(shared_ganache):
    with shared_ganache.connect() as client:
        batch = [{"method": "eth_chainId"}, {"method": "web3_sha3", "params": ["0x"]}, {"method": "net_listening"}]
        assert client.request(batch, timeout=LONG) == [
            "0x539",
            "0xc5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470",
            True,
        ]


def test_an_error_has_its_data(shared_ganache):
    with shared_ganache.connect() as client:
        with pytest.raises(RemoteError, match="revert") as caught:
            call(client, "eth_call", {"data": REVERTS}, "latest")
        assert caught.value.code == -32000
        assert int(caught.value.data, 16) == 42
        assert call(client, "net_version")


@pytest.mark.parametrize(
    ("method", "params", "words"),
    [
        ("no_such", [], "method no_such does not exist"),
        ("eth_getBalance", [], "Incorrect number of arguments"),
        ("eth_subscribe", ["nonsense"], "nonsense"),
    ],
)
def test_an_error_without_data_has_its_code_and_its_message(shared_ganache, method, params, words):
    with shared_ganache.connect() as client:
        with pytest.raises(RemoteError, match=words) as caught:
            call(client, method, *params)
        assert isinstance(caught.value.code, int)
        assert caught.value.data is None
        assert call(client, "net_version")
        assert client.stats.connections == 1


# --- subscriptions ---------------------------------------------------------------------------------------------------


def test_a_subscription_receives_every_new_block_in_order_and_no_other_receiver_does(shared_ganache):
    seen = queue.Queue()
    with shared_ganache.connect(on_message=lambda _, message: seen.put(message)) as client, client.listen() as others:
        with client.subscribe(NEW_HEADS) as heads:
            first = height(client) + 1
            for _ in range(30):
                mine(client)
            assert [number(heads.get(LONG)) for _ in range(30)] == list(range(first, first + 30))
            assert (heads.gaps, heads.dropped) == (0, 0)
        with pytest.raises(TimeoutError):
            others.get(0)
        assert seen.empty()


def test_each_subscription_receives_its_own_events(shared_ganache):
    with shared_ganache.connect() as client:
        with client.subscribe(NEW_HEADS) as heads:
            with client.subscribe({"method": "eth_subscribe", "params": ["newPendingTransactions"]}) as pending:
                assert heads.reply != pending.reply
                before = height(client)
                sender = call(client, "eth_accounts")[0]
                sent = call(client, "eth_sendTransaction", {"from": sender, "to": sender})
                assert pending.get(LONG)["params"]["result"] == sent
                assert number(heads.get(LONG)) == before + 1
                mine(client)
                assert number(heads.get(LONG)) == before + 2
                with pytest.raises(TimeoutError):
                    pending.get(0)


def test_a_closed_subscription_is_closed_at_the_server_too(shared_ganache):
    with shared_ganache.connect() as client, client.subscribe(NEW_HEADS) as left:
        with client.subscribe(NEW_HEADS) as closed:
            assert closed.reply != left.reply
        with client.subscribe(NEW_HEADS):  # is sent after the unsubscribe
            assert call(client, "eth_unsubscribe", closed.reply) is False
        mine(client)
        assert number(left.get(LONG)) == height(client)
        assert call(client, "eth_unsubscribe", left.reply) is True


def test_a_refused_subscription_raises(shared_ganache):
    with shared_ganache.connect() as client:
        with pytest.raises(RemoteError, match="nonsense"):
            client.subscribe({"method": "eth_subscribe", "params": ["nonsense"]})
        assert call(client, "net_version")


# --- restarts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("how", "code"), [("SIGTERM", 1000), ("SIGKILL", None)])
def test_a_subscription_continues_with_another_key_after_a_restart(ganache, how, code):
    closes, gaps = queue.Queue(), []
    with ganache.connect(on_close=lambda _, *told: closes.put(told)) as client:
        client.subscribe(NEW_HEADS).close()
        with client.subscribe(NEW_HEADS, on_gap=lambda heads: gaps.append((heads, height(client)))) as heads:
            mine(client)
            mine(client)
            assert [number(heads.get(LONG)) for _ in range(2)] == [1, 2]
            name = heads.reply
            ganache.stop(how)
            assert closes.get(timeout=LONG)[0] == code  # a 1000 that the client did not request is a loss
            assert client.last_disconnect.initiator == ("remote" if code else "network")
            meanwhile = client.submit({"method": "evm_mine"}, timeout=LONG)
            assert not meanwhile.done()
            ganache.start()
            assert meanwhile.result(LONG) == "0x0"
            assert heads.gaps == 0  # no message after the gap has been returned
            assert number(heads.get(LONG)) == 1  # the call that waited has mined the block
            assert (heads.gaps, gaps) == (1, [(heads, 1)])
            assert heads.reply != name
            mine(client)
            assert number(heads.get(LONG)) == 2
            assert heads.gaps == 1
        assert client.stats.connections == 2


def test_a_subscription_survives_repeated_restarts(ganache):
    with ganache.connect() as client, client.subscribe(NEW_HEADS) as heads:
        for count, how in enumerate(("SIGKILL", "SIGTERM"), start=1):
            ganache.stop(how)
            ganache.start()
            eventually(lambda count=count: client.stats.connections > count)
            mine(client)
            assert number(heads.get(LONG)) == 1
            assert heads.gaps == count
            assert client.stats.connections == count + 1


def test_a_subscription_without_resume_ends_with_the_connection(ganache):
    with ganache.connect() as client, client.subscribe(NEW_HEADS, resume=False) as heads:
        mine(client)
        assert number(heads.get(LONG)) == 1
        ganache.stop("SIGTERM")
        with pytest.raises(wsclient.ConnectionLost):
            heads.get(LONG)
        assert client.state is not State.FAILED
        ganache.start()
        assert height(client) == 0
