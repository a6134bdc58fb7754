"""``Renew`` and ``Expiring``: their defaults, checks, and pickling."""

import dataclasses
import operator
import pickle
import socket

import pytest

import wsclient
from wsclient import Expiring, Renew

URL = "ws://localhost"


def test_the_defaults_match_the_contract():
    assert dataclasses.asdict(Renew()) == {
        "every": None, "before_expiry": 60.0, "on": None, "when": None, "latest": None, "overlap": 10.0, "jitter": 0.1,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("every", 0), ("every", -1), ("every", float("nan")), ("before_expiry", -1), ("latest", -0.1), ("overlap", -1),
        ("overlap", float("inf")), ("jitter", 1), ("jitter", -0.1), ("jitter", float("nan")),
    ],
)  # fmt: skip
def test_a_value_that_can_not_work_is_refused(name, value):
    with pytest.raises(ValueError, match=name):
        Renew(**{name: value})


@pytest.mark.parametrize(
    ("name", "value"),
    [("every", "1"), ("before_expiry", None), ("on", 5), ("when", True), ("latest", "x"), ("overlap", None),
     ("jitter", None), ("jitter", True)],
)  # fmt: skip
def test_a_value_of_a_wrong_type_is_refused(name, value):
    with pytest.raises(TypeError, match=name):
        Renew(**{name: value})


def test_a_coroutine_function_is_refused():
    async def on(message):
        return True

    with pytest.raises(TypeError, match="asynchronous"):
        Renew(on=on)


def test_options_are_keywords_frozen_and_can_be_pickled():
    with pytest.raises(TypeError):
        Renew(5)
    renew = Renew(every=3600, on=operator.truth, latest=5)
    with pytest.raises(dataclasses.FrozenInstanceError):
        renew.every = 5
    assert pickle.loads(pickle.dumps(renew)) == renew
    assert (type(renew.every), type(renew.latest)) == (float, float)


def test_a_client_refuses_a_combination_that_can_not_work():
    with pytest.raises(ValueError, match=r"renew=.*reconnect="):
        wsclient.Client(URL, renew=Renew(), reconnect=None)
    with socket.socket() as sock, pytest.raises(ValueError, match=r"renew=.*sock="):
        wsclient.Client(URL, renew=Renew(), sock=sock)
    with pytest.raises(TypeError, match="renew"):
        wsclient.Client(URL, renew=3600)
    wsclient.Client(URL, renew=Renew(), sock=socket.socket)


def test_an_expiring_value_is_frozen_can_be_pickled_and_hides_its_value():
    expiring = Expiring("ws://localhost/?token=secret", expires_in=600)
    assert "secret" not in repr(expiring)
    assert pickle.loads(pickle.dumps(expiring)) == expiring
    with pytest.raises(dataclasses.FrozenInstanceError):
        expiring.expires_in = 5
    with pytest.raises(TypeError):
        Expiring("x")
    with pytest.raises(TypeError):
        Expiring("x", 5)


@pytest.mark.parametrize("seconds", [0, -1, float("nan"), float("inf")])
def test_an_expiring_value_needs_a_time(seconds):
    with pytest.raises(ValueError, match="expires_in"):
        Expiring("x", expires_in=seconds)
