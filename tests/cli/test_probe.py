"""``wsclient probe``: what it reports about each phase, and the likely cause of each failure."""

import contextlib
import functools
import itertools
import json
import os
import signal
import socket
import ssl
import sys
import threading
from datetime import datetime, timedelta, timezone

import pytest
import trustme

from ..support import AMPLE, LONG, RawServer, Server
from ..support.home_assistant import Home
from ..support.probing import diagnose, failed, run_probe
from ..support.proxies import SecureProxy, Tunnels
from ..support.raw import frame
from ..support.sockets import LOOPBACK, Silent, full_backlogs_wait, local, socket_path
from ..support.stage import hang_up, redirect, respond, until_the_end
from ..support.standin import running

BRIEF = ("--timeout", "0.3")
"""For tests in which a phase must time out."""


@pytest.fixture
def probe(capsys):
    """``probe(*arguments)`` returns the exit code and the object for machines."""
    return functools.partial(diagnose, capsys)


@pytest.fixture
def text(capsys):
    """``text(*arguments)`` returns the exit code and the lines for people."""

    def run(*arguments):
        code = run_probe(*arguments)
        return code, capsys.readouterr().out

    return run


@pytest.fixture
def looked_up(monkeypatch):
    """``looked_up(result)``: the name ``a.test`` has these addresses, or its look-up raises this error."""
    real = socket.getaddrinfo

    def replace(result):
        def getaddrinfo(host, port, *args, **options):
            if host != "a.test":
                return real(host, port, *args, **options)
            if isinstance(result, BaseException):
                raise result
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in result]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)

    return replace


@pytest.fixture
def other_ca(tmp_path):
    """An authority of no server here. It loads faster than those of the system."""
    path = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(path)
    return path


def context_of(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


# --- a connection that works -----------------------------------------------------------------------------------------


def test_every_phase_is_reported_for_machines(probe, server):
    code, report = probe(server.url)
    assert (code, report["ok"], report["cause"]) == (0, True, None)
    phases = report["phases"]
    assert list(phases) == ["proxy", "dns", "tcp", "upgrade", "pings", "server", "close"]
    assert phases["dns"]["addresses"] == [{"family": "IPv4", "address": LOOPBACK}]
    (address,) = phases["tcp"]["addresses"]
    assert (address["port"], address["error"]) == (server.port, None)
    assert address["seconds"] > 0
    assert phases["upgrade"]["status"] == 101
    assert phases["upgrade"]["extensions"].startswith("permessage-deflate; ")
    assert ["upgrade", "websocket"] in phases["upgrade"]["headers"]
    pings = phases["pings"]
    assert len(pings["round_trips"]) == pings["sent"] == 5
    assert 0 < pings["min"] <= pings["median"] <= pings["max"]
    assert phases["close"]["code"] == 1000


def test_one_connection_goes_through_all_phases(probe):
    with Server() as server:
        assert probe(server.url)[0] == 0
        server.opened.get(timeout=LONG)  # its thread may be later than the command
        assert server.opened.empty()
        assert server.received == []


def test_the_lines_for_people_in_a_pipe_have_no_escape_sequences_and_need_no_rich(text, server, monkeypatch):
    monkeypatch.setitem(sys.modules, "rich", None)
    code, out = text(server.url)
    assert code == 0
    assert "\x1b" not in out
    assert out.startswith(f"{server.url}\n  ok      proxy     none\n")
    assert "5 of 5 answered: min " in out
    assert "1000 was answered with 1000" in out
    assert out.endswith("The connection works.\n")


@pytest.mark.parametrize("color", ["auto", "never"])
def test_a_terminal_gets_a_tree(text, server, monkeypatch, color):
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    code, out = text(server.url, "--color", color)
    assert code == 0
    assert "├── " in out
    assert "└── " in out
    assert ("\x1b[" in out) is (color == "auto")


def test_subprotocol_and_headers_are_reported_and_secrets_are_not(probe, stage, capsys):
    def accept(peer):
        peer.upgrade("Sec-WebSocket-Protocol: chat", "Set-Cookie: id=hush", "X-Api-Key: hush")
        until_the_end(peer)

    with stage(accept) as raw:
        code, report = probe(f"{raw.url}?token=hush", "--subprotocol", "chat", *BRIEF)
    upgrade = report["phases"]["upgrade"]
    assert (code, upgrade["subprotocol"]) == (0, "chat")
    assert ["set-cookie", "[redacted]"] in upgrade["headers"]
    assert "hush" not in json.dumps(report)


def test_every_frame_is_printed_with_vv(server, capsys):
    assert run_probe(server.url, "-vv", "--json") == 0
    written = capsys.readouterr()
    assert written.out.count("\n") == 1
    assert written.err.count(" > ping ") == 5
    assert " < close 1000" in written.err


def test_a_server_that_answers_neither_pings_nor_a_close_is_a_warning(probe, stage):
    def accept(peer):
        peer.upgrade()
        until_the_end(peer)

    with stage(accept) as raw:
        code, report = probe(raw.url, *BRIEF)
    assert code == 0
    assert {phase: one["state"] for phase, one in report["phases"].items() if one["state"] != "ok"} == {
        "pings": "warning",
        "close": "warning",
    }
    assert (report["phases"]["pings"]["sent"], report["phases"]["close"]["code"]) == (1, None)


def test_pings_and_messages_of_the_server_are_counted_while_it_is_watched(probe, stage):
    def lively(peer):
        peer.upgrade()
        peer.send_text("hello")
        for payload in (b"1", b"2", b"3"):
            peer.send_frame(9, payload)
        opcode = 0
        while opcode != 8:
            opcode, payload = peer.receive_frame()
            if opcode != 10:
                peer.send_frame(10 if opcode == 9 else 8, payload)

    with stage(lively) as raw:
        code, report = probe(raw.url, "--watch", "0.05")
    assert code == 0
    server = report["phases"]["server"]
    assert (server["pings"], server["messages"]) == (3, 1)
    assert server["watched"] >= 0.05
    assert server["ping_interval"] is not None


@local
def test_a_unix_domain_socket_is_probed(probe):
    with socket_path() as path:
        with Server(path=path) as server:
            code, report = probe(server.url)
        assert code == 0
        assert list(report["phases"]) == ["tcp", "upgrade", "pings", "server", "close"]
        failed(probe(f"unix://{path}.none"), "tcp", "there is no such socket")


@local
def test_a_unix_domain_socket_whose_server_refuses_the_upgrade(probe):
    with socket_path() as path, Server(path=path) as server:
        server.reject(400)
        failed(probe(server.url), "upgrade", "does not accept the request as a WebSocket upgrade")


@local
def test_a_path_that_is_too_long_for_a_socket(probe):
    code, report = probe(f"unix:///{'x' * 200}")
    assert (code, report["failed"], report["cause"]) == (3, "tcp", None)
    assert "too long" in report["error"]


# --- look-up and TCP -------------------------------------------------------------------------------------------------


def test_a_name_that_does_not_exist(probe, looked_up):
    looked_up(socket.gaierror(socket.EAI_NONAME, "Name or service not known"))
    failed(probe("a.test"), "dns", "there is no such name; check the spelling of 'a.test'")


def test_name_servers_that_do_not_answer(probe, looked_up, hanging_lookup):
    looked_up(socket.gaierror(socket.EAI_AGAIN, "Temporary failure"))
    failed(probe("a.test"), "dns", "the name servers of this system")
    hanging_lookup("b.test")
    failed(probe("b.test", *BRIEF), "dns", "the name servers of this system")


def test_each_address_is_tried_and_one_that_fails_is_a_warning(probe, looked_up, server):
    looked_up(["127.0.0.2", LOOPBACK])
    code, report = probe(f"ws://a.test:{server.port}", "--timeout", AMPLE)  # not each system refuses at once
    tcp = report["phases"]["tcp"]
    assert (code, tcp["state"], tcp["used"]) == (0, "warning", LOOPBACK)
    assert [one["error"] is None for one in tcp["addresses"]] == [False, True]
    assert len(report["phases"]["dns"]["addresses"]) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has all of 127.0.0.0/8")
def test_of_two_addresses_that_accept_the_first_is_used_and_the_other_connection_is_closed(probe, looked_up):
    looked_up([LOOPBACK, "127.0.0.2"])
    gone = threading.Event()

    def first_or_second(peer):
        if peer.sock.getsockname()[0] == LOOPBACK:
            peer.respond("404 Not Found")
        else:
            until_the_end(peer)
            gone.set()

    with RawServer(first_or_second, host="0.0.0.0") as raw:
        report = failed(probe(f"ws://a.test:{raw.port}"), "upgrade", "the path")
        assert gone.wait(LONG)
    assert report["phases"]["tcp"]["used"] == LOOPBACK
    assert report["phases"]["tcp"]["state"] == "ok"


def test_a_port_without_a_server(probe, dead):
    failed(probe(f"{LOOPBACK}:{dead}"), "tcp", "no program listens on this port")


@full_backlogs_wait
def test_packets_that_are_not_answered(probe):
    with contextlib.closing(Silent()) as silent:
        failed(probe(f"{LOOPBACK}:{silent.address[1][1]}", *BRIEF), "tcp", "a firewall drops the packets")


# --- TLS -------------------------------------------------------------------------------------------------------------


def test_the_certificate_is_reported(probe, server_tls, ca_file):
    with Server(tls=server_tls) as server:
        code, report = probe(server.url, "--ca", ca_file)
    tls = report["phases"]["tls"]
    assert (code, tls["state"], tls["verified"], tls["matches"]) == (0, "ok", True, True)
    assert tls["version"] == "TLSv1.3"
    assert set(tls["names"]) == {"localhost", LOOPBACK}
    assert tls["days_left"] > 1000
    assert "trustme" in tls["issuer"]
    assert tls["alpn"] is None
    assert tls["cipher"].startswith("TLS_")


def test_the_chain_is_reported_as_far_as_python_gives_it(probe, authority, ca_file):
    certificate = authority.create_child_ca().issue_cert("localhost")
    with Server(tls=context_of(certificate)) as server:
        code, report = probe(server.url, "--ca", ca_file)
    chain = report["phases"]["tls"]["chain"]
    assert (code, len(chain)) == (0, 2 if sys.version_info >= (3, 13) else 1)
    assert all(upper["subject"] == lower["issuer"] for lower, upper in itertools.pairwise(chain))


def test_a_certificate_of_an_unknown_authority_is_shown_and_the_missing_one_is_named(probe, server_tls, authority):
    with Server(tls=server_tls) as server:
        report = failed(probe(server.url), "tls", "is missing here; pass its certificate with --ca FILE")
    tls = report["phases"]["tls"]
    assert tls["issuer"] in report["cause"]
    assert tls["issuer"]
    assert (tls["verified"], tls["verify_code"]) == (False, 20)


def test_insecure_connects_but_says_so(probe, server_tls, capsys):
    with Server(tls=server_tls) as server:
        assert run_probe(server.url, "-k") == 0
    written = capsys.readouterr()
    assert "NOT verified" in written.err
    assert "the certificate is NOT verified" in written.out
    assert "The connection works; look at: tls." in written.out


def test_a_certificate_for_another_name(probe, server_tls, ca_file):
    with Server(tls=server_tls) as server:
        report = failed(probe(server.url, "--ca", ca_file, "--server-name", "other.test"), "tls", "it is valid for ")
    assert "does not match 'other.test'" in report["cause"]
    assert "localhost" in report["cause"]
    assert report["phases"]["tls"]["matches"] is False


def test_a_certificate_that_has_expired_or_soon_will(probe, authority, ca_file):
    now = datetime.now(timezone.utc)
    for days, state in ((-3, "failed"), (3, "warning")):
        certificate = authority.issue_cert("localhost", not_before=now - timedelta(9), not_after=now + timedelta(days))
        with Server(tls=context_of(certificate)) as server:
            _, report = probe(server.url, "--ca", ca_file)
        assert report["phases"]["tls"]["state"] == state
        if state == "failed":
            assert f"expired on {now + timedelta(days):%Y-%m-%d}" in report["cause"]
            assert report["phases"]["tls"]["days_left"] in (-3, -4)


def test_a_certificate_that_is_not_valid_yet(probe, authority, ca_file):
    tomorrow = datetime.now(timezone.utc) + timedelta(1)
    certificate = authority.issue_cert("localhost", not_before=tomorrow, not_after=tomorrow + timedelta(9))
    with Server(tls=context_of(certificate)) as server:
        failed(probe(server.url, "--ca", ca_file), "tls", f"not valid before {tomorrow:%Y-%m-%d}")


def test_a_self_signed_certificate(probe, tmp_path, ca_file):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "cert.pem")
    authority.private_key_pem.write_to_path(tmp_path / "key.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    with RawServer(until_the_end, tls=context) as raw:
        failed(probe(raw.url, "--ca", ca_file), "tls", "is self-signed; pass it with --ca FILE")


def test_an_intermediate_authority_that_the_server_does_not_send(probe, authority, ca_file, tmp_path):
    certificate = authority.create_child_ca().issue_cert("localhost")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    with RawServer(until_the_end, tls=context) as raw:
        failed(probe(raw.url, "--ca", ca_file), "tls", "let the server send its whole chain")


def test_a_certificate_that_can_not_be_decoded(text, authority, tmp_path):
    certificate = authority.issue_cert("localhost", not_before=datetime(2000, 1, 1, tzinfo=timezone.utc))
    der = ssl.PEM_cert_to_DER_cert(certificate.cert_chain_pems[0].bytes().decode())
    der = der.replace(b"000101000000Z", b"001301000000Z")  # the 13th month
    (tmp_path / "cert.pem").write_text(ssl.DER_cert_to_PEM_cert(der))
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    with Server(tls=context) as server:
        code, out = text(server.url, "-k")
    assert code == 0
    assert "the certificate can't be shown: " in out
    assert "The connection works; look at: tls." in out


def test_a_refused_certificate_that_a_second_connection_can_not_show(text, stage, server_tls, other_ca):
    def shake_hands(peer):
        server_tls.wrap_socket(peer.sock, server_side=True)

    with stage(shake_hands, hang_up) as raw:
        code, out = text(raw.url.replace("ws:", "wss:"), "--ca", other_ca)
    assert code == 3
    assert "the certificate can't be shown, since a second connection failed: " in out
    assert "Failed at tls: The certificate was refused: " in out
    assert "Likely cause" not in out


def test_the_names_in_a_certificate_can_not_control_the_terminal(text, authority, ca_file):
    certificate = authority.issue_cert("localhost", organization_name="\x1b[31mred\n2")
    with RawServer(hang_up, tls=context_of(certificate)) as raw:
        _, out = text(raw.url, "--ca", ca_file)
    assert "\x1b" not in out
    assert "O=\\x1b[31mred\\n2" in out


def test_a_file_for_keys_that_can_not_be_written(probe, server_tls, monkeypatch):
    monkeypatch.setenv("SSLKEYLOGFILE", "/none/keys")
    with Server(tls=server_tls) as server:
        code, report = probe(server.url)
    assert (code, report["failed"]) == (3, "tls")
    assert "SSLKEYLOGFILE" in report["error"]


def test_a_server_that_demands_a_client_certificate(probe, authority, ca_file):
    context = context_of(authority.issue_cert("localhost"))
    context.verify_mode = ssl.CERT_REQUIRED
    context.maximum_version = ssl.TLSVersion.TLSv1_2  # in 1.3 the refusal comes after the handshake
    authority.configure_trust(context)
    with RawServer(until_the_end, tls=context) as raw:
        failed(probe(raw.url, "--ca", ca_file), "tls", "client certificate")


def test_wss_to_a_port_that_answers_plain_http(probe, stage, other_ca):
    answer = respond("400 Bad Request")

    def plain(peer):
        peer.send(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        until_the_end(peer)

    with stage(plain, answer) as raw:
        failed(probe(raw.url.replace("ws:", "wss:"), "--ca", other_ca), "tls", "use ws:// instead of wss://")


def test_wss_to_a_port_that_says_nothing(probe, raw, other_ca):
    failed(probe(raw.url.replace("ws:", "wss:"), "--ca", other_ca, *BRIEF), "tls", "waits for other data")


def test_wss_to_a_server_that_cuts_the_connection_and_listens_no_more(probe, other_ca):
    def cut(listener):
        with listener:
            sock, _ = listener.accept()
        with sock:
            sock.recv(65536)

    listener = socket.create_server((LOOPBACK, 0))
    listener.settimeout(LONG)
    port = listener.getsockname()[1]
    cutting = threading.Thread(target=cut, args=(listener,))
    cutting.start()
    failed(probe(f"wss://{LOOPBACK}:{port}", "--ca", other_ca), "tls", "a firewall or proxy in between interrupts TLS")
    cutting.join(LONG)


def test_ws_to_a_port_with_tls(probe, server_tls):
    with Server(tls=server_tls) as server:
        failed(probe(server.url.replace("wss:", "ws:")), "upgrade", "use wss:// instead of ws://")


# --- refusals --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "headers", "body", "cause"),
    [
        ("401 Unauthorized", ("WWW-Authenticate: Basic realm=x",), b"", "wants credentials (it asks for Basic)"),
        ("403 Forbidden", (), b"", "a token is missing, or no Origin was sent (--origin)"),
        ("302 Found", (), b"", "the redirect can't be followed"),
        ("404 Not Found", (), b"", "no WebSocket endpoint at the path '/ws'"),
        ("405 Method Not Allowed", (), b"", "HTTP endpoint"),
        ("426 Upgrade Required", ("Upgrade: websocket",), b"", "removes the Upgrade header"),
        ("426 Upgrade Required", ("Sec-WebSocket-Version: 8",), b"", "only the version 8 "),
        ("429 Slow Down", ("Retry-After: 7",), b"", "limits the rate or the number of connections"),
        ("429 Slow Down", ("Retry-After: 7",), b"", "(Retry-After: 7)"),
        ("503 Busy", (), b"", "overloaded or in maintenance"),
        ("502 Bad Gateway", (), b"", "can't reach the server behind it"),
        ("504 Gateway Timeout", (), b"", "did not answer in time"),
        ("500 Oops", (), b"", "its log says more"),
        ("200 OK", ("Content-Type: text/html",), b"", "not a WebSocket endpoint: it answers with an HTML page"),
        ("200 OK", (), b"<!DOCTYPE html><p>", "not a WebSocket endpoint: it answers with an HTML page"),
        ("200 OK", (), b"{}", "not a WebSocket endpoint: it answers like an HTTP server (200)"),
    ],
)
def test_a_refusal_has_status_headers_body_and_a_likely_cause(probe, stage, status, headers, body, cause):
    with stage(respond(status, *headers, body=body)) as raw:
        report = failed(probe(f"{raw.url}ws"), "upgrade", cause)
    upgrade = report["phases"]["upgrade"]
    assert (upgrade["status"], upgrade["body"]) == (int(status[:3]), body.decode())
    assert ["content-length", str(len(body))] in upgrade["headers"]
    assert status[:3] in report["error"]


@pytest.mark.parametrize(
    ("status", "options", "cause"),
    [
        ("401 No", ("--auth", "a:b"), "the token or the password is wrong or has expired"),
        ("401 No", ("--token-cmd", "echo hush"), "the token or the password is wrong or has expired"),
        ("403 No", ("--auth", "a:b", "--origin", "https://b.test"), "the Origin 'https://b.test' is not allowed"),
        ("403 No", ("-H", "origin: https://b.test"), "the Origin 'https://b.test' is not allowed"),
        ("403 No", ("--auth", "a:b"), "the token has no right to connect"),
        ("401 No", ("-H", "X-Api-Key: hush"), "the token or the password is wrong or has expired"),
        ("401 No", ("-H", "X-Colour: red"), "wants credentials"),
    ],
)
def test_the_cause_takes_into_account_what_was_sent(probe, stage, status, options, cause):
    with stage(respond(status)) as raw:
        failed(probe(raw.url, *options), "upgrade", cause)


def test_a_status_that_is_not_registered_has_no_name_and_no_cause(probe, stage):
    with stage(respond("520 Unknown Error")) as raw:
        code, report = probe(raw.url)
    assert (code, report["failed"], report["cause"]) == (3, "upgrade", None)
    assert report["error"] == "The server refused the upgrade with HTTP 520."


def test_a_log_in_that_the_server_refuses(probe, monkeypatch):
    monkeypatch.setenv("HASS_TOKEN", "wrong")
    with running(Home().handle) as url:
        report = failed(probe(url, "--protocol", "ha"), "upgrade", "the server refused the log-in of --protocol")
    assert "refused the access token" in report["error"]


def test_a_bad_request_without_tls_behind_it(probe, stage):
    with stage(respond("400 Bad Request"), hang_up) as raw:
        failed(probe(raw.url), "upgrade", "does not accept the request as a WebSocket upgrade")


def test_a_body_is_cut_for_people_and_its_secrets_are_redacted(text, stage):
    body = b'{"token": "hush"}\n\x1b[31mred\n' + b"x" * 500 + b"\n" + b"line\n" * 30
    with stage(respond("403 Forbidden", body=body)) as raw:
        code, out = text(raw.url)
    assert code == 3
    assert "hush" not in out
    assert "\x1b" not in out
    assert "x" * 201 not in out
    assert out.count("| line") < 10
    assert "more lines" in out
    assert "Likely cause: a token is missing" in out


def test_an_answer_that_is_not_http(probe, stage):
    def other(peer):
        peer.receive_head()
        peer.send(b"220 mail.test ESMTP\r\n\r\n")
        until_the_end(peer)

    with stage(other, hang_up) as raw:
        failed(probe(raw.url), "upgrade", "another protocol than HTTP")


def test_a_server_that_closes_or_hangs_instead_of_answering(probe, stage):
    with stage(hang_up, hang_up) as raw:
        failed(probe(raw.url), "upgrade", "closed the connection instead of answering")
    with stage(until_the_end, until_the_end) as raw:
        failed(probe(raw.url, *BRIEF), "upgrade", "did not answer the upgrade")


def test_a_101_that_violates_the_protocol(probe, stage):
    with stage(lambda peer: peer.upgrade(accept="wrong")) as raw:
        report = failed(probe(raw.url), "upgrade", "does not implement RFC 6455 correctly")
    assert "Sec-WebSocket-Accept" in report["error"]


@pytest.mark.parametrize(
    ("closing", "code", "cause"),
    [((8, b"\x03\xf0no"), 1008, "missing or wrong token"), ((8, b"\x11\x31bye"), 4401, "the application's own"),
     (None, None, "without a close frame")],
)  # fmt: skip
def test_a_server_that_ends_the_connection_at_once(probe, stage, closing, code, cause):
    def accept(peer):
        peer.upgrade()
        if closing is not None:
            peer.send_frame(*closing)
            peer.receive_frame()

    with stage(accept) as raw:
        exit_code, report = probe(raw.url, "--watch", "9")
    assert exit_code == 5
    assert cause in report["cause"]
    assert report["phases"][report["failed"]]["close_code"] == code


@pytest.mark.parametrize("watch", ["0", "9"])
def test_a_server_that_closes_the_connection_later(probe, stage, watch):
    def accept(peer):
        peer.upgrade()
        for number in range(5):
            payload = peer.receive_frame()[1]
            closing = b"" if number < 4 else frame(8, b"\x03\xf0no")
            peer.send(frame(10, payload) + closing)
        peer.receive_frame()

    with stage(accept) as raw:
        code, report = probe(raw.url, "--watch", watch)
    assert code == 5
    assert "1008" in report["error"]
    assert report["phases"]["pings"]["state"] == "ok"
    assert report["failed"] in ("server", "close")


def test_a_subprotocol_that_the_server_does_not_support(probe, server):
    failed(probe(server.url, "--subprotocol", "chat"), "upgrade", "name one of them with --subprotocol")


# --- redirects -------------------------------------------------------------------------------------------------------


def test_a_redirect_to_another_server_is_followed_without_secrets(probe, stage, server):
    with stage(redirect(server.url)) as raw:
        code, report = probe(raw.url, "-H", "X-Api-Key: hush")
    assert code == 0
    assert report["url"] == server.url
    (first,) = report["redirects"]
    assert first["phases"]["upgrade"]["status"] == 302
    assert server.opened.get(timeout=LONG).request.headers.get("X-Api-Key") is None


def test_a_redirect_to_another_server_is_followed_without_a_log_in(probe, stage, monkeypatch):
    monkeypatch.setenv("HASS_TOKEN", "hush")
    home = Home("hush")
    with running(home.handle) as url, stage(redirect(url)) as raw:
        code, _ = probe(raw.url, "--protocol", "ha")
    assert code == 0
    assert "hush" not in home.tokens


def test_a_redirect_to_the_same_server_keeps_the_headers(probe, stage):
    with stage(redirect("/there"), respond("404 Not Found")) as raw:
        report = failed(probe(raw.url, "-H", "X-Api-Key: hush"), "upgrade", "at the path '/there'")
        assert raw.peers[1].header("X-Api-Key") == "hush"
    assert len(report["redirects"]) == 1


def test_a_redirect_that_the_client_does_not_follow(probe, stage):
    with stage(redirect("ftp://a.test/x")) as raw:
        report = failed(probe(raw.url), "upgrade", "use the URL to which the redirect leads")
    assert report["error"].startswith("The redirect is not followed. ")


def test_a_subprotocol_that_may_be_a_secret_is_not_sent_to_another_server(probe, stage, server):
    secret = "hush" * 50
    with stage(redirect(server.url)) as raw:
        report = failed(probe(raw.url, "--subprotocol", secret), "upgrade", "use the URL to which the redirect leads")
    assert "may be a secret" in report["error"]
    assert secret not in json.dumps(report)
    assert server.opened.empty()


def test_redirects_without_an_end(probe, stage):
    with stage(*[redirect("/again")] * 30) as raw:
        code, report = probe(raw.url)
    assert (code, report["failed"]) == (3, "upgrade")
    assert "more than" in report["error"]


# --- proxies ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scheme", ["http", "socks5h"])
def test_a_connection_through_a_proxy(probe, server, scheme):
    with Tunnels(scheme, login=("a", "hush")) as proxy:
        code, report = probe(server.url, "--proxy", proxy.url)
    phases = report["phases"]
    assert code == 0
    assert list(phases)[:4] == ["proxy", "dns", "tcp", "tunnel"]
    assert phases["proxy"]["url"] == f"{scheme}://localhost:{proxy.port}"
    assert phases["proxy"]["from"] == "--proxy"
    assert proxy.asked == [(LOOPBACK, server.port)]
    assert "hush" not in json.dumps(report)


def test_a_connection_without_tls_through_a_proxy_with_tls(probe, server, server_tls, ca_file):
    with SecureProxy(server_tls) as proxy:
        code, report = probe(server.url, "--proxy", proxy.url, "--ca", ca_file)
    assert (code, proxy.asked) == (0, [(LOOPBACK, server.port)])
    assert list(report["phases"])[:5] == ["proxy", "dns", "tcp", "tunnel", "upgrade"]


def test_a_refused_upgrade_through_a_proxy_with_tls(probe, server, server_tls, ca_file):
    server.reject(400)
    with SecureProxy(server_tls) as proxy:
        failed(probe(server.url, "--proxy", proxy.url, "--ca", ca_file), "upgrade", "does not accept the request")
    assert proxy.asked == [(LOOPBACK, server.port)] * 2  # the second connection finds out whether the port uses TLS


def test_the_certificate_is_reported_through_a_proxy(probe, server_tls, ca_file, other_ca):
    with Server(tls=server_tls) as server, Tunnels() as proxy:
        code, report = probe(server.url, "--proxy", proxy.url, "--ca", ca_file)
        assert (code, report["phases"]["tls"]["matches"]) == (0, True)
        report = failed(probe(server.url, "--proxy", proxy.url, "--ca", other_ca), "tls", "is missing here")
        assert report["phases"]["tls"]["chain"]


def test_tls_within_tls_is_opened_by_the_client(probe, server_tls, ca_file, other_ca):
    with Server(tls=server_tls) as server, SecureProxy(server_tls) as proxy:
        code, report = probe(server.url, "--proxy", proxy.url, "--ca", ca_file)
        assert code == 0
        assert report["phases"]["upgrade"]["tls_version"] == "TLSv1.3"
        failed(probe(server.url, "--proxy", proxy.url, "--ca", other_ca), "upgrade", "needs its CA: --ca FILE")


def test_a_redirect_within_tls_within_tls(probe, stage, server_tls, ca_file):
    with stage(redirect("/there"), respond("404 No"), tls=server_tls) as raw, SecureProxy(server_tls) as proxy:
        report = failed(probe(raw.url, "--proxy", proxy.url, "--ca", ca_file), "upgrade", "at the path '/there'")
    assert len(report["redirects"]) == 1


def test_the_variable_that_names_a_proxy_is_reported_and_what_exempts_from_it(probe, server, monkeypatch):
    with Tunnels() as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url)
        _, report = probe(server.url)
        assert report["phases"]["proxy"]["from"] == "HTTP_PROXY"
        monkeypatch.setenv("NO_PROXY", LOOPBACK)
        _, report = probe(server.url)
        assert report["phases"]["proxy"]["url"] is None
        assert "NO_PROXY exempts this host from HTTP_PROXY" in report["phases"]["proxy"]["summary"]


@pytest.mark.parametrize(
    ("status", "cause"),
    [("407 Login", "the proxy needs a user and a password"), ("403 No", "the rules of the proxy forbid"),
     ("502 No", "the proxy can't reach the server")],
)  # fmt: skip
def test_a_proxy_that_refuses(probe, stage, status, cause):
    with stage(respond(status)) as raw:
        failed(probe("ws://a.test", "--proxy", raw.url.replace("ws:", "http:")), "tunnel", cause)


def test_a_proxy_that_closes_or_hangs(probe, stage):
    with stage(hang_up) as raw:
        url = raw.url.replace("ws:", "http:")
        failed(probe("ws://a.test", "--proxy", url), "tunnel", "or does not permit this")
    with stage(until_the_end) as raw:
        url = raw.url.replace("ws:", "http:")
        failed(probe("ws://a.test", "--proxy", url, *BRIEF), "tunnel", "can't reach the server, or is another kind")


def test_a_proxy_that_refuses_tls_within_tls(probe, stage, server_tls, ca_file):
    with stage(respond("407 Login"), tls=server_tls) as raw:
        url = raw.url.replace("wss:", "https:")
        failed(
            probe("wss://a.test", "--proxy", url, "--ca", ca_file), "upgrade", "the proxy needs a user and a password"
        )


def test_a_proxy_of_the_environment_that_can_not_be_used(probe, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "gopher://a.test")
    code, report = probe("ws://b.test")
    assert (code, report["failed"], report["cause"]) == (3, "proxy", None)
    assert "(gopher)" in report["error"]


def test_the_proxy_of_the_environment_is_not_used_with_none(probe, server, monkeypatch, dead):
    monkeypatch.setenv("HTTP_PROXY", f"http://{LOOPBACK}:{dead}")
    code, report = probe(server.url, "--proxy", "none")
    assert (code, report["phases"]["proxy"]["summary"]) == (0, "none")


def test_a_proxy_that_is_down(probe, dead):
    failed(probe("ws://a.test", "--proxy", f"http://{LOOPBACK}:{dead}"), "tcp", "no program listens")


# --- bad input and Ctrl-C --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("x y",), "is not a URL"),
        ((), "Which URL?"),
        (("ftp://a.test",), "is not a WebSocket URL"),
        (("a.test", "b"), "extra argument"),
        (("a.test", "--watch", "-1"), "--watch"),
        (("a.test", "--proxy", "foo"), "proxy must be a URL"),
        (("a.test", "-H", "nothing"), "is not a header"),
        (("a.test", "--ca", "/none.pem"), "/none.pem"),
        (("a.test", "--protocol", "none"), "none"),
        (("a.test", "--profile", "none"), "profile"),
    ],
)
def test_bad_input_is_one_sentence(arguments, words, capsys):
    assert run_probe(*arguments) == 2
    written = capsys.readouterr()
    assert written.out == ""
    assert written.err.count("\n") == 1
    assert words in written.err


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends the process")
@pytest.mark.parametrize("is_for_machines", [False, True])
def test_ctrl_c_ends_it_and_shows_which_phase_hangs(capsys, stage, is_for_machines):
    def interrupt(peer):
        peer.receive_head()
        os.kill(os.getpid(), signal.SIGINT)
        until_the_end(peer)

    with stage(interrupt) as raw:
        assert run_probe(raw.url, *["--json"] * is_for_machines) == 130
    out = capsys.readouterr().out
    if is_for_machines:
        assert out == ""
        return
    assert "  ok      tcp " in out
    assert "  !       upgrade   interrupted\n" in out
    assert out.endswith("Interrupted at upgrade.\n")
