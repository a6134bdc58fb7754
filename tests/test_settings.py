"""Every option of a client: valid values, and the error messages for invalid ones."""

import json
import math
import re
import socket
import ssl

import pytest
import trustme

from wsclient._client.options import OPTIONS, checked_options
from wsclient._options import DEFAULT, Limits, Queue, ReceiveQueue, SendQueue
from wsclient._rfc6455.deflate import Deflate
from wsclient._settings import (
    MAX_MESSAGE_SIZE,
    OPEN_TIMEOUT,
    PING_INTERVAL,
    PING_TIMEOUT,
    REQUEST_TIMEOUT,
    SESSION_TIMEOUT,
    make_settings,
)
from wsclient.protocols._codec import JSON


def made(url="ws://host/", **options):
    return make_settings(url, checked_options(options))


def refusal(kind, **options):
    """The error message for these options; it begins with the name of the first."""
    with pytest.raises(kind, match=rf"^{next(iter(options))}\b") as caught:
        made(**options)
    text = str(caught.value)
    assert text.endswith(".")
    assert "hunter2" not in text
    return text


# --- url --------------------------------------------------------------------------------------------------------------


def test_a_url_can_be_a_str():
    settings = made("wss://host/path")
    assert settings.urls == ("wss://host/path",)
    assert settings.url_function is None


@pytest.mark.parametrize("kind", [list, tuple])
def test_several_urls_can_be_given(kind):
    assert made(kind(["ws://a/", "wss://b/"])).urls == ("ws://a/", "wss://b/")


def test_a_url_can_be_a_function_that_is_not_called_yet():
    def ask():
        raise AssertionError("it was asked")

    settings = made(ask)
    assert settings.urls == ()
    assert settings.url_function is ask


@pytest.mark.parametrize("url", [None, 5, b"ws://host/", bytearray(b"ws://host/"), {"ws://host/"}, {"ws://host/": 1}])
def test_a_url_of_another_type_is_refused(url):
    assert f"not {type(url).__name__}" in refusal(TypeError, url=url)


@pytest.mark.parametrize("url", [["ws://host/", 5], ["ws://host/", None], [b"ws://host/"]])
def test_each_of_several_urls_must_be_a_str(url):
    refusal(TypeError, url=url)


@pytest.mark.parametrize(
    "url",
    ["", "host", "http://host/", "ws://", "ws://host/#x", "ws://ho st/", "ws://joe:hunter2@host:99999/?token=hunter2"],
)
@pytest.mark.parametrize("kind", [str, lambda url: ["ws://fine/", url]], ids=["alone", "among others"])
def test_an_invalid_url_is_refused(url, kind):
    refusal(ValueError, url=kind(url))


@pytest.mark.parametrize("url", [[], ()])
def test_an_empty_list_of_urls_is_refused(url):
    assert "empty" in refusal(ValueError, url=url)


def test_a_coroutine_function_is_refused_as_a_url():
    async def ask():
        return "ws://host/"

    assert "not asynchronous" in refusal(TypeError, url=ask)


def test_the_urls_can_be_printed_without_their_secrets():
    shown = made(["ws://joe:hunter2@a/?token=hunter2", "wss://b/"]).shown_url
    assert shown == "ws://***@a/?token=***, wss://b/"
    assert made(lambda: "ws://host/").shown_url == "<url function>"


# --- headers, subprotocols, origin ------------------------------------------------------------------------------------


def test_headers_are_copied():
    headers = {"X-Token": "abc"}
    handshake = made(headers=headers).handshake
    headers["X-Token"] = "changed"
    assert handshake.headers == {"X-Token": "abc"}


def test_headers_are_optional():
    assert made(headers=None).handshake.headers is None


def test_headers_can_be_a_function_that_is_not_called_yet():
    def ask():
        raise AssertionError("it was asked")

    assert made(headers=ask).handshake.headers is ask


@pytest.mark.parametrize("headers", [5, "X: y", [("X", "y")], {"X": 5}, {5: "x"}, {"X": b"hunter2"}], ids=repr)
def test_headers_of_another_type_are_refused(headers):
    refusal(TypeError, headers=headers)


@pytest.mark.parametrize(
    "headers", [{"X": "hunter2\r\nY: z"}, {"X Y": "hunter2"}, {"X": "hunter2€"}, {"Upgrade": "hunter2"}], ids=ascii
)
def test_invalid_headers_are_refused(headers):
    refusal(ValueError, headers=headers)


def test_handlers_of_another_type_are_refused():
    assert "handlers must be a mapping" in refusal(TypeError, handlers=[print])


def test_a_coroutine_function_is_refused_as_headers():
    async def ask():
        return {}

    assert "not asynchronous" in refusal(TypeError, headers=ask)


@pytest.mark.parametrize("kind", [list, tuple])
def test_subprotocols_keep_their_order(kind):
    assert made(subprotocols=kind(["b", "a.v1", "a"])).handshake.subprotocols == ("b", "a.v1", "a")


def test_subprotocols_are_optional():
    assert made(subprotocols=[]).handshake.subprotocols == ()


@pytest.mark.parametrize("subprotocols", ["graphql-ws", None, 5, {"a"}])
def test_subprotocols_of_another_type_are_refused(subprotocols):
    refusal(TypeError, subprotocols=subprotocols)


@pytest.mark.parametrize("bad", ["", "a b", "a,b", "a\r\nb", "grün", "a/b", 5, None, ["a"]])
def test_a_subprotocol_that_is_not_a_token_is_refused(bad):
    assert repr(bad) in refusal((TypeError, ValueError), subprotocols=["fine", bad])


def test_repeated_subprotocols_are_refused():
    assert "different" in refusal(ValueError, subprotocols=["a", "b", "a"])


@pytest.mark.parametrize("name", ["upgrade", "Connection", "sec-websocket-key"])
def test_a_subprotocol_can_be_any_token(name):
    assert made(subprotocols=[name]).handshake.subprotocols == (name,)


def test_an_origin_is_kept():
    assert made(origin=None).handshake.origin is None
    assert made(origin="https://example.org").handshake.origin == "https://example.org"


@pytest.mark.parametrize("origin", [5, b"https://example.org", ["https://example.org"]])
def test_an_origin_of_another_type_is_refused(origin):
    refusal(TypeError, origin=origin)


@pytest.mark.parametrize("origin", ["https://example.org\r\nX: y", "https://bücher€.example", "\x00"], ids=ascii)
def test_an_invalid_origin_is_refused(origin):
    refusal(ValueError, origin=origin)


# --- compression ------------------------------------------------------------------------------------------------------


def test_the_name_deflate_means_deflate_with_default_parameters():
    compression = made(compression="deflate").handshake.compression
    assert isinstance(compression, Deflate)
    assert repr(compression) == repr(Deflate())


def test_compression_parameters_can_be_given():
    compression = Deflate(level=9)
    assert made(compression=compression).handshake.compression is compression


def test_compression_can_be_disabled():
    assert made(compression=None).handshake.compression is None


@pytest.mark.parametrize("compression", ["gzip", "", "Deflate", "permessage-deflate", "none"])
def test_an_unknown_compression_is_refused(compression):
    assert f"'deflate', not {compression!r}" in refusal(ValueError, compression=compression)


@pytest.mark.parametrize("compression", [1, True, False, b"deflate", ["deflate"], Deflate], ids=repr)
def test_a_compression_of_another_type_is_refused(compression):
    assert f"wsclient.Deflate or None, not {compression!r}" in refusal(TypeError, compression=compression)


# --- numbers ----------------------------------------------------------------------------------------------------------

SECONDS = ["open_timeout", "session_timeout", "ping_interval", "ping_timeout", "request_timeout"]
MAY_BE_NONE = ["ping_interval", "ping_timeout", "request_timeout"]


def seconds_of(settings, name):
    return getattr(settings.bounds if name == "request_timeout" else settings.network, name)


@pytest.mark.parametrize("name", SECONDS)
def test_a_duration_is_a_number_of_seconds(name):
    for value in [0.001, 1, 2.5, 86400 * 365]:
        settings = made(**{name: value})
        assert seconds_of(settings, name) == value
        assert type(seconds_of(settings, name)) is float
        for other in SECONDS:
            if other != name:
                assert seconds_of(settings, other) == OPTIONS[other].default


@pytest.mark.parametrize("name", SECONDS)
def test_a_duration_that_cannot_be_waited_for_is_refused(name):
    for value in [0, 0.0, -1, -0.001, math.nan, math.inf, -math.inf]:
        assert "finite number of seconds above 0" in refusal(ValueError, **{name: value})


@pytest.mark.parametrize("name", SECONDS)
def test_a_duration_of_another_type_is_refused(name):
    for value in ["5", b"5", True, False, [5], 5j]:
        assert "number of seconds" in refusal(TypeError, **{name: value})


@pytest.mark.parametrize("name", MAY_BE_NONE)
def test_these_durations_can_be_disabled(name):
    assert seconds_of(made(**{name: None}), name) is None


@pytest.mark.parametrize("name", sorted(set(SECONDS) - set(MAY_BE_NONE)))
def test_the_other_durations_cannot_be_disabled(name):
    refusal(TypeError, **{name: None})


@pytest.mark.parametrize("ping_interval", [None, 1, 100])
@pytest.mark.parametrize("ping_timeout", [None, 1, 100])
def test_any_combination_of_ping_options_is_valid(ping_interval, ping_timeout):
    network = made(ping_interval=ping_interval, ping_timeout=ping_timeout).network
    assert (network.ping_interval, network.ping_timeout) == (ping_interval, ping_timeout)


def test_a_number_of_seconds_too_large_for_a_float_is_refused():
    refusal(ValueError, open_timeout=10**400)


@pytest.mark.parametrize("value", [1, 2**24, 10**12])
def test_a_size_must_be_an_integer(value):
    assert made(max_message_size=value).bounds.max_message_size == value


@pytest.mark.parametrize("value", [0, -1])
def test_a_size_must_be_at_least_1(value):
    assert f"at least 1, not {value}" in refusal(ValueError, max_message_size=value)


@pytest.mark.parametrize("value", [1.0, "5", None, True, math.inf])
def test_a_size_of_another_type_is_refused(value):
    assert "whole number" in refusal(TypeError, max_message_size=value)


# --- queues -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [Queue, SendQueue, ReceiveQueue])
def test_a_queue_holds_10_000_messages_and_64_mib_by_default(kind):
    queue = kind()
    assert (queue.max_messages, queue.max_bytes, queue.overflow) == (10_000, 64 * 2**20, "block")


@pytest.mark.parametrize("overflow", ["block", "raise", "drop_oldest", "drop_newest"])
@pytest.mark.parametrize("kind", [Queue, SendQueue, ReceiveQueue])
def test_a_queue_keeps_its_options(kind, overflow):
    queue = kind(max_messages=5, max_bytes=7, overflow=overflow)
    assert (queue.max_messages, queue.max_bytes, queue.overflow) == (5, 7, overflow)
    pace = ", rate=None, burst=1" if kind is SendQueue else ""
    assert repr(queue) == f"{kind.__name__}(max_messages=5, max_bytes=7, overflow='{overflow}'{pace})"


@pytest.mark.parametrize("kind", [Queue, ReceiveQueue])
def test_the_receive_queue_can_use_latest(kind):
    assert kind(overflow="latest").overflow == "latest"
    assert made(receive_queue=kind(overflow="latest")).bounds.receive_queue.overflow == "latest"


def test_the_send_queue_cannot_use_latest():
    with pytest.raises(ValueError, match=r"^overflow must be one of 'block', 'raise', 'drop_oldest', 'drop_newest'"):
        SendQueue(overflow="latest")
    assert "'latest'" in refusal(ValueError, send_queue=Queue(overflow="latest"))


@pytest.mark.parametrize("overflow", ["", "Block", "drop", None, 5, ["block"]])
def test_an_unknown_overflow_policy_is_refused(overflow):
    with pytest.raises(ValueError, match=rf"^overflow must be one of .* not {re.escape(repr(overflow))}"):
        Queue(overflow=overflow)


@pytest.mark.parametrize("name", ["max_messages", "max_bytes"])
def test_the_limits_of_a_queue_are_integers_from_1(name):
    assert getattr(Queue(**{name: 1}), name) == 1
    for value in (0, -1):
        with pytest.raises(ValueError, match=f"^{name} must be at least 1"):
            Queue(**{name: value})
    for value in (1.5, "5", True, None):
        with pytest.raises(TypeError, match=f"^{name} must be a whole number"):
            Queue(**{name: value})


@pytest.mark.parametrize("name", ["send_queue", "receive_queue"])
def test_a_queue_option_must_be_a_queue(name):
    queue = Queue(max_messages=3)
    assert getattr(made(**{name: queue}).bounds, name) is queue
    for value in (None, 5, "block", SendQueue):
        assert "wsclient.Queue" in refusal(TypeError, **{name: value})


# --- the connection ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ca(tmp_path_factory):
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    trustme.CA().cert_pem.write_to_path(path)
    return str(path)


def test_without_tls_options_no_context_is_created():
    assert made().network.ssl_context is None


def test_a_context_is_used_unchanged():
    context = ssl.create_default_context()
    assert made(ssl_context=context).network.ssl_context is context


def test_ssl_ca_is_the_only_trusted_authority_and_verified_strictly(ca):
    context = made(ssl_ca=ca).network.ssl_context
    assert len(context.get_ca_certs()) == 1
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context.check_hostname
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


def test_a_missing_ca_file_is_refused(tmp_path):
    missing = str(tmp_path / "missing.pem")
    assert repr(missing) in refusal(ValueError, ssl_ca=missing)


def test_a_ca_file_that_is_not_pem_is_refused(tmp_path):
    path = tmp_path / "nonsense.pem"
    path.write_text("hello")
    refusal(ValueError, ssl_ca=str(path))
    refusal(ValueError, ssl_ca=str(tmp_path))


def test_an_empty_path_is_refused_as_ssl_ca():
    refusal(ValueError, ssl_ca="")


@pytest.mark.parametrize("value", [5, b"ca.pem", True])
def test_a_ca_of_another_type_is_refused(value):
    refusal(TypeError, ssl_ca=value)


@pytest.mark.parametrize("value", [5, True, "context", ssl.SSLContext])
def test_a_context_of_another_type_is_refused(value):
    refusal(TypeError, ssl_context=value)


def test_a_context_function_is_kept_and_not_called_yet():
    def make():
        raise AssertionError("it was asked")

    assert made(ssl_context=make).network.ssl_context is make


def test_a_coroutine_function_is_refused_as_a_context_function():
    async def make():
        return ssl.create_default_context()

    assert "not asynchronous" in refusal(TypeError, ssl_context=make)


def test_a_context_function_and_ssl_ca_exclude_each_other(ca):
    assert "ssl_ca" in refusal(ValueError, ssl_context=ssl.create_default_context, ssl_ca=ca)


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        (None, None),
        ("example.org", "example.org"),
        ("example.org.", "example.org"),
        ("my_host", "my_host"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("192.0.2.1", "192.0.2.1"),
        ("2001:DB8::1", "2001:db8::1"),
    ],
)
def test_a_server_name_is_a_host_name_or_an_address(name, kept):
    assert made(server_hostname=name).network.server_hostname == kept


@pytest.mark.parametrize(
    "name", ["", ".", ".org", "a..b", "a b", "host:443", "[::1]", "a/b", "wss://host", "a\0b", "-a", "x" * 64, "a\n"]
)
def test_an_invalid_server_name_is_refused(name):
    assert "without a port" in refusal(ValueError, server_hostname=name)


@pytest.mark.parametrize("name", [5, b"example.org", True, ["example.org"]], ids=repr)
def test_a_server_name_of_another_type_is_refused(name):
    refusal(TypeError, server_hostname=name)


def test_a_context_and_a_ca_exclude_each_other(ca):
    assert "ssl_ca" in refusal(ValueError, ssl_context=ssl.create_default_context(), ssl_ca=ca)


@pytest.mark.parametrize(
    "proxy",
    [
        None,
        "env",
        "http://proxy:3128",
        "https://proxy",
        "socks4://proxy",
        "socks4a://proxy",
        "socks5://proxy:1080",
        "socks5h://joe:hunter2@[::1]:1080",
        "HTTP://Proxy:1",
    ],
)
def test_a_proxy_is_a_url_or_that_of_the_environment_or_none(proxy):
    assert made(proxy=proxy).network.proxy == proxy


@pytest.mark.parametrize(
    "proxy",
    [
        "",
        "ENV",
        "proxy:3128",
        "proxy",
        "ftp://proxy",
        "ws://proxy",
        "http://",
        "http://:3128",
        "http://proxy:0",
        "http://proxy:99999",
        "http://proxy:port",
        "http://[::1",
        "ftp://joe:hunter2@proxy",
        "http://joe:hunter2@proxy:99999",
        "joe:hunter2@proxy:3128",
    ],
)
def test_an_invalid_proxy_is_refused(proxy):
    assert "http://host:port" in refusal(ValueError, proxy=proxy)


@pytest.mark.parametrize(("proxy", "kept"), [(True, "env"), (False, None)])
def test_true_is_the_proxy_of_the_environment_and_false_is_none(pair, proxy, kept):
    assert made(proxy=proxy).network.proxy == kept
    assert made(sock=pair, proxy=proxy).network.proxy == kept


@pytest.mark.parametrize("proxy", [5, 1, 0, ["http://proxy"], b"http://joe:hunter2@proxy"], ids=repr)
def test_a_proxy_of_another_type_is_refused(proxy):
    refusal(TypeError, proxy=proxy)


@pytest.mark.parametrize(
    ("source", "kept"),
    [
        (None, None),
        ("127.0.0.2", ("127.0.0.2", 0)),
        (("127.0.0.2", 5000), ("127.0.0.2", 5000)),
        (["::1", 0], ("::1", 0)),
        (("::1", 65535), ("::1", 65535)),
    ],
)
def test_a_source_address_can_have_a_port(source, kept):
    assert made(source_address=source).network.source_address == kept


@pytest.mark.parametrize(
    "source",
    [
        5,
        b"127.0.0.2",
        ("127.0.0.2",),
        ("127.0.0.2", 1, 2),
        {"127.0.0.2"},
        ("a", "80"),
        ("a", True),
        ("a", 1.5),
        (5, 80),
    ],
    ids=repr,
)
def test_a_source_address_of_another_type_is_refused(source):
    refusal(TypeError, source_address=source)


@pytest.mark.parametrize("source", [("a", -1), ("a", 65536)], ids=repr)
def test_a_source_address_with_an_invalid_port_is_refused(source):
    refusal(ValueError, source_address=source)


# --- a socket of the caller -------------------------------------------------------------------------------------------


@pytest.fixture
def pair():
    near, far = socket.socketpair()
    with near, far:
        yield near


def test_without_the_sock_option_the_client_connects_itself():
    assert made(sock=None).network.sock is None


@pytest.mark.parametrize("proxy", [None, "env"])
def test_a_socket_is_kept_unchanged_until_it_is_needed(pair, proxy):
    pair.settimeout(5)
    assert made(sock=pair, proxy=proxy).network.sock is pair
    assert pair.gettimeout() == 5


def test_a_socket_function_is_not_called_yet():
    def ask():
        raise AssertionError("it was asked")

    assert made(sock=ask).network.sock is ask


@pytest.mark.parametrize(
    "others",
    [{"proxy": "http://joe:hunter2@proxy:3128"}, {"source_address": "127.0.0.1"}, {"source_address": ("", 0)}],
    ids=["proxy", "source_address", "any source_address"],
)
@pytest.mark.parametrize("kind", ["socket", "function"])
def test_a_socket_excludes_the_options_for_connecting(pair, others, kind):
    sock = pair if kind == "socket" else lambda: pair
    text = refusal(ValueError, sock=sock, **others)
    assert "excludes proxy= and source_address=" in text


@pytest.mark.parametrize("sock", [5, "sock", b"sock", ["sock"], True], ids=repr)
def test_a_socket_of_another_type_is_refused(sock):
    assert f"not {sock!r}" in refusal(TypeError, sock=sock)


def test_a_coroutine_function_is_refused_as_a_socket_function():
    async def ask():
        raise AssertionError("it was asked")

    assert "not asynchronous" in refusal(TypeError, sock=ask)


def test_a_datagram_socket_is_refused():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        assert "stream socket (SOCK_STREAM), not a socket of type SOCK_DGRAM." in refusal(ValueError, sock=sock)


# --- limits -----------------------------------------------------------------------------------------------------------


def test_limits_are_kept():
    limits = Limits(max_redirects=0)
    assert made(limits=limits).network.limits is limits


@pytest.mark.parametrize("limits", [None, 5, {"max_redirects": 0}, Limits], ids=repr)
def test_limits_of_another_type_are_refused(limits):
    assert f"wsclient.Limits, not {limits!r}" in refusal(TypeError, limits=limits)


# --- json, retry_first, name ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("codec", [None, JSON, json], ids=["none", "ours", "the module"])
def test_a_codec_is_kept(codec):
    assert made(json=codec).codec is codec


def test_an_invalid_codec_is_refused():
    refusal(TypeError, json=object())


@pytest.mark.parametrize("value", [True, False])
def test_a_flag_is_kept(value):
    assert made(retry_first=value).retry_first is value


@pytest.mark.parametrize("value", [None, 0, 1, "yes"])
def test_a_flag_must_be_true_or_false(value):
    assert "True or False" in refusal(TypeError, retry_first=value)


@pytest.mark.parametrize("name", ["feed", "my feed 2", "grün"])
def test_a_name_is_kept(name):
    assert made(name=name).name == name


def test_a_client_without_a_name_gets_a_unique_one():
    one, other = made().name, made().name
    assert re.fullmatch(r"wsclient-\d+", one)
    assert re.fullmatch(r"wsclient-\d+", other)
    assert one != other


@pytest.mark.parametrize("name", ["", "a\nb", "\x00"], ids=repr)
def test_a_name_that_cannot_be_printed_is_refused(name):
    refusal(ValueError, name=name)


@pytest.mark.parametrize("name", [5, b"feed", True], ids=repr)
def test_a_name_of_another_type_is_refused(name):
    refusal(TypeError, name=name)


# --- defaults ---------------------------------------------------------------------------------------------------------


def test_the_defaults_are_the_documented_ones():
    assert (OPEN_TIMEOUT, SESSION_TIMEOUT, REQUEST_TIMEOUT) == (10, 30, 30)
    assert (PING_INTERVAL, PING_TIMEOUT) == (20, 20)
    assert MAX_MESSAGE_SIZE == 16 * 1024 * 1024


# --- other checks -----------------------------------------------------------------------------------------------------


def test_the_repr_of_the_default_is_that_in_the_signature():
    assert repr(DEFAULT) == "..."


def test_settings_cannot_be_changed():
    settings = made()
    for part, name in [(settings, "name"), (settings.handshake, "origin"), (settings.network, "proxy")]:
        with pytest.raises(AttributeError):
            setattr(part, name, None)
    with pytest.raises(AttributeError):
        settings.bounds.max_message_size = 1


def test_a_tls_context_for_servers_is_refused():
    refusal(ValueError, ssl_context=ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))


def test_an_object_with_an_async_call_method_is_refused():
    class Asynchronous:
        async def __call__(self):
            return {}

    assert "not asynchronous" in refusal(TypeError, headers=Asynchronous())
