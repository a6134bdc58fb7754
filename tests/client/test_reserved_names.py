"""Reserved names of a client, and hooks: overridden, passed, assigned."""

import threading

import pytest
import typing_extensions

import wsclient

from ..support import LONG, eventually

URL = "ws://127.0.0.1:9/"
PUBLIC = sorted(name for name in dir(wsclient.Client) if not name.startswith(("_", "on_")))


def test_a_method_that_hides_a_public_name_is_refused():
    with pytest.raises(TypeError, match=r"Bad\.send .*override"):

        class Bad(wsclient.Client):
            def send(self, message):
                pass


@pytest.mark.parametrize("name", [*PUBLIC, "protocol", "_wsclient"])
def test_an_attribute_that_hides_a_reserved_name_is_refused(name):
    client = wsclient.Client(URL)
    with pytest.raises(AttributeError, match=name):
        setattr(client, name, 5)
    with pytest.raises(TypeError, match=name):
        type("Bad", (wsclient.Client,), {name: 5})


def test_a_mixin_that_hides_a_name_is_refused_too():
    class Mixin:
        def close(self):
            pass

    with pytest.raises(TypeError, match=r"Mixin\.close"):
        type("Bad", (Mixin, wsclient.Client), {})


def test_an_intended_override_is_allowed():
    class Loud(wsclient.Client):
        @typing_extensions.override
        def send(self, message, **options):
            return super().send(message.upper(), **options)

    client = Loud(URL)
    client.send("x")
    assert client.stats.queue_depth == 1


def test_a_subclass_can_have_other_attributes():
    class Ticker(wsclient.Client):
        symbols = ("A", "B")

        def __init__(self, url):
            super().__init__(url)
            self.prices = {}

        def price_of(self, symbol):
            return self.prices.get(symbol)

    ticker = Ticker(URL)
    ticker.prices["A"] = 5
    assert ticker.price_of("A") == 5
    with pytest.raises(AttributeError, match="'Ticker' object has no attribute 'volume'"):
        _ = ticker.volume


def test_a_missing_super_init_raises_an_error_that_explains_it():
    class Forgetful(wsclient.Client):
        def __init__(self):
            self.ready = True

    with pytest.raises(RuntimeError, match=r"super\(\).__init__"):
        Forgetful().send("x")


def test_a_coroutine_function_is_refused_as_a_hook():
    async def hook(client, message):
        pass

    with pytest.raises(TypeError, match="on_message"):
        wsclient.Client(URL, on_message=hook)
    with pytest.raises(TypeError, match="on_message"):

        class Bad(wsclient.Client):
            async def on_message(self, message):
                pass


def test_hooks_can_be_overridden_passed_and_assigned(server):
    seen = []

    class Overridden(wsclient.Client):
        def on_message(self, message):
            seen.append(("overridden", message))

    def passed(client, message):
        seen.append(("passed", client is current, message))

    def assigned(client, message):
        seen.append(("assigned", client is current, message))

    with Overridden(server.url) as current:
        current.send("1")
        eventually(lambda: len(seen) == 1)
        current.on_message = assigned
        assert current.on_message is assigned
        current.send("2")
        eventually(lambda: len(seen) == 2)
        current.on_message = None
        current.send("3")
        eventually(lambda: len(seen) == 3)
    with Overridden(server.url, on_message=passed) as current:
        current.send("4")
        eventually(lambda: len(seen) == 4)
    assert seen == [("overridden", "1"), ("assigned", True, "2"), ("overridden", "3"), ("passed", True, "4")]


def test_hooks_run_in_order_on_one_thread_other_than_the_io_thread(server):
    calls = []

    class Noting(wsclient.Client):
        def note(self, what):
            calls.append((what, threading.current_thread().name.rpartition("-")[2]))

        def on_open(self):
            self.note("open")

        def on_message(self, message):
            self.note(message)

        def on_close(self, code, reason):
            self.note("close")

    with Noting(server.url) as client:
        for n in range(100):
            client.send(str(n))
        eventually(lambda: len(calls) == 101)
    assert [what for what, _ in calls] == ["open", *map(str, range(100)), "close"]
    assert {thread for _, thread in calls} == {"hooks"}


def test_requests_inside_hooks_are_allowed(server):
    answers = []

    class Asking(wsclient.Client):
        def on_open(self):
            answers.append(self.request({"method": "add", "params": [1, 1]}, timeout=LONG)["result"])

        def on_message(self, message):
            answers.append(self.submit({"method": "add", "params": [2, 2]}).result(LONG)["result"])
            answers.extend(reply["result"] for reply in self.request_many([{"method": "add", "params": [3, 3]}]))
            self.flush(LONG)
            answers.append("flushed")

    with Asking(server.url) as client:
        client.send("go")
        eventually(lambda: answers == [2, 4, 6, "flushed"])


def test_a_hook_that_raises_is_logged_and_reported_and_the_client_continues(server, caplog):
    errors = []

    class Clumsy(wsclient.Client):
        def on_message(self, message):
            if message == "bad":
                raise ZeroDivisionError("clumsy")

        def on_error(self, error):
            errors.append(error)

    with Clumsy(server.url) as client:
        client.send("bad")
        eventually(lambda: errors)
        assert client.request({"method": "add", "params": [1, 2]}, timeout=LONG)["result"] == 3
    assert isinstance(errors[0], ZeroDivisionError)
    assert "ZeroDivisionError: clumsy" in caplog.text


def test_options_are_checked_at_construction():
    for options in (
        {"on_open": 5},
        {"protocol": "json"},
        {"json": object()},
        {"reconnect": 5},
        {"retry_first": True, "reconnect": None},
        {"ping_interval": 0},
        {"send_queue": 5},
        {"receive_queue": wsclient.SendQueue},
        {"headers": {"A": "b\r\nC: d"}},
        {"name": ""},
    ):
        with pytest.raises((TypeError, ValueError), match=next(iter(options))):
            wsclient.Client(URL, **options)
    with pytest.raises(ValueError, match="ws://"):
        wsclient.Client("http://example.org/")
