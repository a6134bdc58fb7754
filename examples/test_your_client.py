"""Tests of a program that uses wsclient, with a real server and a lost connection. Copy this file and change it.

pip install pytest 'wsclient-sdk[testing]' && pytest test_your_client.py
"""

import json

import pytest

import wsclient

pytestmark = pytest.mark.ws_no_leaks  # a test fails if it leaves a client open


def add(client, *numbers):
    """The program under test; replace it with yours."""
    return client.request({"method": "add", "params": numbers}, timeout=10, idempotent=True)["sum"]


@pytest.fixture(autouse=True)
def adds(ws_server):
    ws_server.handler = lambda connection, message: {"id": json.loads(message)["id"], "sum": 3}


def test_it_survives_a_line_that_is_cut(ws_server, ws_proxy):
    with wsclient.connect(ws_proxy.url) as client:
        ws_proxy.cut_after(5, "down")  # in the middle of the answer
        assert add(client, 1, 2) == 3
    assert ws_proxy.stats.cut == 1
    assert [json.loads(text)["params"] for text in ws_server.received] == [[1, 2], [1, 2]]  # sent again


def test_it_waits_while_the_server_is_busy(ws_server):
    ws_server.reject(503, {"Retry-After": "0"}, times=2)
    with wsclient.connect(ws_server.url, retry_first=True) as client:
        assert add(client, 1, 2) == 3
