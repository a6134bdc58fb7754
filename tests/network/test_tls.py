"""TLS: verification, error messages, and threads that send while another one receives."""

import base64
import contextlib
import datetime as dt
import hashlib
import itertools
import os
import re
import select
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time
import warnings

import pytest
import tenacity
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

import wsclient
from wsclient import State, TLSError
from wsclient._connection import connection
from wsclient._rfc6455 import read_size

from ..support import LONG, RawServer, Server, eventually
from ..support.program import free_port
from ..support.proxies import SecureProxy
from ..support.raw import GUID, frame

try:
    import fcntl
    import termios
except ImportError:
    fcntl = None

SECONDS = float(os.environ.get("WSCLIENT_TLS_SECONDS", "1"))
"""How long the stress test with eight threads runs; 20 in CI and for releases."""

FAST = wsclient.Reconnect(wait=tenacity.wait_fixed(0.05))

VERSIONS = [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]


@pytest.fixture
def ca_file(authority, tmp_path):
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return str(path)


def serving(certificate, version=None):
    """A server context with a certificate, and with this newest version."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    if version is not None:
        context.maximum_version = version
    return context


def refusal(url, **options):
    """Why a client that would retry forever fails at its first attempt."""
    client = wsclient.Client(url, retry_first=True, **options)
    with pytest.raises(TLSError) as caught:
        client.start(LONG)
    assert client.state is State.FAILED
    assert not caught.value.retry
    assert client.stats.failed_attempts == 1
    return str(caught.value)


# --- the key log -----------------------------------------------------------------------------------------------------


def test_a_key_log_that_cannot_be_opened_is_named_and_the_attempt_is_not_repeated(ca_file, tmp_path, monkeypatch):
    path = str(tmp_path / "missing" / "keys.log")
    monkeypatch.setenv("SSLKEYLOGFILE", path)
    client = wsclient.Client("wss://localhost:9/", retry_first=True)
    with pytest.raises(
        wsclient.ConnectError, match=r"SSLKEYLOGFILE names .*No such file.*; correct or unset"
    ) as caught:
        client.start(LONG)
    assert repr(path) in str(caught.value)
    assert not caught.value.retry
    assert isinstance(caught.value.__cause__, FileNotFoundError)
    assert client.state is State.FAILED
    assert client.stats.failed_attempts == 1
    client = wsclient.Client("wss://localhost:9/", ssl_context=ssl.create_default_context, retry_first=True)
    with pytest.raises(
        wsclient.ConnectError, match=r"ssl_context function raised .*: the environment variable SSLKEYLOG"
    ):
        client.start(LONG)
    with pytest.raises(ValueError, match="for ssl_ca: the environment variable SSLKEYLOGFILE names"):
        wsclient.Client("wss://localhost:9/", ssl_ca=ca_file)


def test_the_key_log_is_written(server_tls, ca_file, tmp_path, monkeypatch):
    path = tmp_path / "keys.log"
    monkeypatch.setenv("SSLKEYLOGFILE", str(path))
    with Server(tls=server_tls) as server, wsclient.connect(server.url, ssl_ca=ca_file):
        assert "TRAFFIC_SECRET" in path.read_text()


# --- trust -----------------------------------------------------------------------------------------------------------


def test_a_context_or_a_ca_file_is_trusted(server_tls, trusting, ca_file):
    with Server(tls=server_tls) as server:
        for options in ({"ssl_context": trusting}, {"ssl_ca": ca_file}):
            with wsclient.connect(server.url, **options) as client:
                assert client.request({"method": "add", "params": [1, 2]}, timeout=LONG)["result"] == 3


def test_an_unknown_authority_is_fatal(server_tls):
    with Server(tls=server_tls) as server:
        client = wsclient.Client(server.url, retry_first=True)
        with pytest.raises(wsclient.TLSError, match="localhost") as caught:
            client.start(LONG)
        assert client.state is wsclient.State.FAILED
        assert isinstance(caught.value.last, ssl.SSLCertVerificationError)


def test_context_and_ca_exclude_each_other(trusting, ca_file):
    with pytest.raises(ValueError, match="exclude"):
        wsclient.Client("wss://localhost/", ssl_context=trusting, ssl_ca=ca_file)


def test_server_hostname_is_verified_and_sent_to_the_server(authority, trusting):
    context, names = serving(authority.issue_cert("example.org")), []
    context.sni_callback = lambda _, name, __: names.append(name)
    with Server(tls=context) as server:
        with wsclient.connect(server.url, ssl_context=trusting, server_hostname="example.org") as client:
            assert client.request({"method": "add", "params": [1, 2]}, timeout=LONG)["result"] == 3
        said = refusal(server.url, ssl_context=trusting)
        assert said.startswith("The certificate of 'localhost' was refused: ")
        said = refusal(server.url, ssl_context=trusting, server_hostname="example.net")
        assert said.startswith("The certificate of 'example.net' was refused: ")
    assert names == ["example.org", "localhost", "example.net"]


def test_server_hostname_has_no_effect_without_tls(server):
    with wsclient.connect(server.url, server_hostname="example.org") as client:
        assert client.request({"method": "add", "params": [1, 2]}, timeout=LONG)["result"] == 3


def test_a_context_function_is_called_for_each_attempt_on_the_io_thread(server_tls, trusting):
    threads = []

    def make():
        threads.append(threading.current_thread().name)
        return trusting

    with Server(tls=server_tls) as server:
        with wsclient.connect(server.url, ssl_context=make, name="feed", reconnect=FAST) as client:
            assert threads == ["feed-io"]
            server.restart()
            eventually(lambda: client.stats.connections == 2)
            assert set(threads) == {"feed-io"}
            assert len(threads) == 2 + client.stats.failed_attempts


def test_a_context_function_is_not_called_without_tls(server):
    def make():
        raise AssertionError("it was asked")

    wsclient.connect(server.url, ssl_context=make).close()


def test_a_context_function_that_raised_is_called_again(server_tls, trusting):
    errors = []

    def make():
        if not errors:
            raise LookupError("no certificate yet")
        return trusting

    with Server(tls=server_tls) as server:
        client = wsclient.Client(server.url, ssl_context=make, reconnect=FAST, retry_first=True)
        client.on_connect_error = lambda _, attempt: errors.append(attempt.error)
        with client:
            assert client.request({"method": "add", "params": [1, 2]}, timeout=LONG)["result"] == 3
    assert str(errors[0]) == "The ssl_context function raised LookupError: no certificate yet"
    assert isinstance(errors[0].last, LookupError)


@pytest.mark.parametrize(
    ("made", "words"),
    [
        (None, "returned None, which is not an ssl.SSLContext."),
        (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), "returned a context for servers"),
    ],
    ids=["none", "for servers"],
)
def test_a_value_that_is_not_a_client_context_is_fatal_before_a_socket_is_opened(made, words):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"wss://127.0.0.1:{listener.getsockname()[1]}/"
        client = wsclient.Client(url, ssl_context=lambda: made, retry_first=True)
        with pytest.raises(wsclient.ConnectError, match=f"^The ssl_context function {re.escape(words)}"):
            client.start(LONG)
        assert client.state is State.FAILED
        listener.setblocking(False)
        with pytest.raises(BlockingIOError):
            listener.accept()


def test_the_callers_context_decides_about_verification(authority):
    careless = ssl.create_default_context()
    careless.check_hostname = False
    careless.verify_mode = ssl.CERT_NONE
    with Server(tls=serving(authority.issue_cert("example.org"))) as server:
        with wsclient.connect(server.url, ssl_context=careless) as client:
            assert client.request({"method": "add", "params": [1, 2]}, timeout=LONG)["result"] == 3
    assert careless.verify_mode is ssl.CERT_NONE


# --- refused certificates --------------------------------------------------------------------------------------------


def on(year):
    return dt.datetime(year, 1, 1, tzinfo=dt.timezone.utc)


CERTIFICATES = {
    "good": ({}, "localhost"),
    "expired": ({"not_after": on(2020)}, "localhost"),
    "not valid yet": ({"not_before": on(2090), "not_after": on(2091)}, "localhost"),
    "wrong host": ({}, "example.org"),
    "wrong address": ({}, "192.0.2.1"),
}


def shown(authority, kind):
    options, name = CERTIFICATES[kind]
    return authority.issue_cert(name, **options)


@pytest.mark.parametrize(
    ("kind", "host", "says"),
    [
        ("expired", "localhost", r"it or a certificate of its chain has expired.* clock.* renew"),
        ("not valid yet", "localhost", r"it is not valid yet.* clock"),
        ("wrong host", "localhost", r"it is not valid for 'localhost'.* URL"),
        ("wrong address", "127.0.0.1", r"it is not valid for '127\.0\.0\.1'.* URL"),
        ("good", "127.0.0.1", r"it is not valid for '127\.0\.0\.1'.* host name"),
    ],
)
def test_a_refused_certificate_is_fatal_and_the_message_contains_the_reason(authority, trusting, kind, host, says):
    with Server(tls=serving(shown(authority, kind))) as server:
        sentence = refusal(f"wss://{host}:{server.port}/", ssl_context=trusting)
    assert re.fullmatch(rf"The certificate of '{re.escape(host)}' was refused: {says}.*[^.]\.", sentence)


def test_an_unknown_authority_is_reported_as_such(server_tls):
    with Server(tls=server_tls) as server:
        sentence = refusal(server.url)
    assert re.fullmatch(
        r"The certificate of 'localhost' was refused: its authority is not trusted here.* ssl_ca=.*\.", sentence
    )


def test_an_authority_in_the_chain_of_the_server_is_not_trusted(authority):
    certificate = authority.issue_cert("localhost")
    certificate.cert_chain_pems.append(authority.cert_pem)
    with Server(tls=with_the_whole_chain(certificate)) as server:
        sentence = refusal(server.url)
    assert re.search(r"self-signed certificate of an authority that is not trusted here.* ssl_ca=", sentence)


def with_the_whole_chain(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    chain = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
    with type(certificate.private_key_pem)(certificate.private_key_pem.bytes() + chain).tempfile() as path:
        context.load_cert_chain(path)
    return context


def test_an_authority_above_the_given_one_can_be_the_unknown_one(authority, tmp_path):
    between = authority.create_child_ca()
    context = ssl.create_default_context(cadata=between.cert_pem.bytes().decode())
    context.verify_flags &= ~ssl.VERIFY_X509_PARTIAL_CHAIN  # set by Python 3.13, and sufficient there
    with Server(tls=serving(between.issue_cert("localhost"))) as server:
        sentence = refusal(server.url, ssl_context=context)
    assert re.search(r"its authority is not trusted here; make the server send its whole chain", sentence)


def self_signed(path):
    """A file with a self-signed certificate, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    identifier = x509.SubjectKeyIdentifier.from_public_key(key.public_key())
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, on(2020), on(2090))
    for extension, critical in [
        (x509.SubjectAlternativeName([x509.DNSName("localhost")]), False),
        (x509.BasicConstraints(ca=True, path_length=0), True),
        (identifier, False),
        (x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), False),
    ]:
        builder = builder.add_extension(extension, critical)
    certificate = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    path.write_bytes(private + certificate)
    return str(path)


def test_a_self_signed_certificate_is_refused_until_it_is_given_as_ssl_ca(tmp_path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path := self_signed(tmp_path / "own.pem"))
    with Server(tls=context) as server:
        assert re.search(r"'localhost' was refused: it is self-signed.* ssl_ca=", refusal(server.url))
        with wsclient.connect(server.url, ssl_ca=path) as client:
            assert client.request({"method": "add", "params": [1, 2]}, timeout=LONG)["result"] == 3


def test_other_refusals_are_reported_with_the_text_of_openssl(server_tls, trusting):
    trusting.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
    with Server(tls=server_tls) as server:
        sentence = refusal(server.url, ssl_context=trusting)
    assert sentence == "The certificate of 'localhost' was refused: unable to get certificate CRL."


def test_a_server_that_restarts_with_an_expired_certificate_ends_the_client(authority, server_tls, trusting):
    reported = []
    with Server(lambda c, m: None, port=free_port(), tls=server_tls) as server:
        client = wsclient.Client(
            server.url, ssl_context=trusting, reconnect=FAST, on_error=lambda client, error: reported.append(error)
        )
        client.start()
        stream = client.listen()
        written = client.submit({"method": "silence"}, idempotent=True)
        server.wait_for(1)
    eventually(lambda: client.state is not State.OPEN)
    queued = client.submit({"method": "add", "params": [1, 2]})
    with Server(port=server.port, tls=serving(shown(authority, "expired"))):
        assert client.wait_closed(LONG)
    assert client.state is State.FAILED
    for wait in (lambda: written.result(LONG), lambda: queued.result(LONG), lambda: stream.get(LONG)):
        with pytest.raises(
            TLSError, match="'localhost' was refused: it or a certificate of its chain has expired"
        ) as caught:
            wait()
        assert not caught.value.retry
    with pytest.raises(wsclient.ClientClosed) as caught:
        client.send("x")
    assert isinstance(caught.value.__cause__, TLSError)
    eventually(lambda: reported)
    assert [type(error) for error in reported] == [TLSError]


# --- versions --------------------------------------------------------------------------------------------------------


def allow_tls_1_1(context):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    return context


def no_newer_than_tls_1_1(context):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.maximum_version = ssl.TLSVersion.TLSv1_1
    return context


def version_between(server, client):
    """The TLS version that two contexts negotiate, determined without a network."""
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [server.wrap_bio(there, back, server_side=True), client.wrap_bio(back, there, server_hostname="localhost")]
    for _ in range(4):
        for end in reversed(ends):
            with contextlib.suppress(ssl.SSLWantReadError):
                end.do_handshake()
    return ends[0].version()


@pytest.fixture
def old_tls(authority, trusting):
    """A server context that supports TLS 1.1 at most."""
    server = no_newer_than_tls_1_1(allow_tls_1_1(serving(authority.issue_cert("localhost"))))
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(client)
    try:
        assert version_between(server, allow_tls_1_1(client)) == "TLSv1.1"
    except ssl.SSLError as error:
        pytest.skip(f"this OpenSSL can't speak TLS 1.1 any more: {error}")
    return server


def test_a_server_with_an_old_tls_version_is_fatal_and_reported_as_such(old_tls, trusting, ca_file):
    with Server(tls=old_tls) as server:
        for options in ({}, {"ssl_ca": ca_file}, {"ssl_context": trusting}):
            sentence = refusal(server.url, **options)
            assert re.match(
                rf"wss://localhost:{server.port}/ supports no TLS version of this client \(TLS 1\.2 or newer\)",
                sentence,
            )


def test_tls_is_1_2_or_newer_even_if_the_system_allows_older_versions(old_tls, ca_file, monkeypatch):
    create = ssl.create_default_context
    monkeypatch.setattr(ssl, "create_default_context", lambda **options: allow_tls_1_1(create(**options)))
    with Server(tls=old_tls) as server:
        for options in ({}, {"ssl_ca": ca_file}):
            assert "no TLS version of this client (TLS 1.2 or newer)" in refusal(server.url, **options)


def test_the_callers_context_can_allow_an_old_version(old_tls, trusting):
    with Server(tls=old_tls) as server:
        with wsclient.connect(server.url, ssl_context=allow_tls_1_1(trusting)) as client:
            assert server.opened.get(timeout=LONG).socket.version() == "TLSv1.1"
            assert client.request({"method": "add", "params": [1, 2]}, timeout=LONG)["result"] == 3


def answer_in_tls_1_1(peer):
    """The response of a server from before TLS 1.3, which does not know the newer encoding of versions."""
    peer.sock.recv(65536)
    hello = struct.pack("!H32sBHB", 0x0302, b"r" * 32, 0, 0xC013, 0)
    peer.send(struct.pack("!BHHBxH", 22, 0x0302, len(hello) + 4, 2, len(hello)) + hello)
    peer.sock.recv(65536)


def only_tls_1_2():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return ssl.SSLContext(ssl.PROTOCOL_TLSv1_2)


def neither_1_2_nor_1_3():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.options |= ssl.OP_NO_TLSv1_2 | ssl.OP_NO_TLSv1_3
    return context


@pytest.mark.parametrize("make", [ssl.create_default_context, only_tls_1_2, neither_1_2_nor_1_3])
def test_every_openssl_error_about_versions_is_fatal(make):
    with RawServer(answer_in_tls_1_1) as server:
        sentence = refusal(server.url.replace("ws:", "wss:"), ssl_context=make())
        assert f"wss://127.0.0.1:{server.port}/ supports no TLS version of this client" in sentence


def test_the_versions_of_the_callers_context_are_in_the_message(authority, trusting, old_tls):
    no_newer_than_tls_1_1(allow_tls_1_1(trusting))
    with Server(tls=serving(authority.issue_cert("localhost"))) as server:
        assert "no TLS version of this client (TLS 1.1 to TLS 1.1)" in refusal(server.url, ssl_context=trusting)


# --- temporary errors ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x81\x05hello", struct.pack("!BHH", 22, 0x0303, 0xFFFF)]
)
def test_a_server_without_tls_is_retried(server_tls, trusting, answer):
    def act(peer):
        peer.sock.recv(65536)
        peer.send(answer)
        peer.sock.recv(65536)

    attempts = []
    with RawServer(act, port=free_port()) as plain:
        client = wsclient.Client(
            f"wss://localhost:{plain.port}/",
            ssl_context=trusting,
            retry_first=True,
            reconnect=FAST,
            on_connect_error=lambda client, attempt: attempts.append(attempt),
        )
        starter = threading.Thread(target=client.start, args=(2 * LONG,))
        starter.start()
        eventually(lambda: attempts)
    assert isinstance(attempts[0].error, TLSError)
    assert attempts[0].error.retry
    assert re.search(r"answered with something that is not TLS.* port", str(attempts[0].error))
    with Server(port=plain.port, tls=server_tls):
        starter.join(LONG)
        assert client.state is State.OPEN
        client.close(timeout=0)


def few_ciphers(trusting):
    trusting.set_ciphers("ECDHE+AESGCM")
    trusting.maximum_version = ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("limit", [few_ciphers, lambda context: no_newer_than_tls_1_1(keep_the_ciphers(context))])
def test_no_common_cipher_is_temporary_and_reported(authority, trusting, limit):
    server_tls = serving(authority.issue_cert("localhost"), ssl.TLSVersion.TLSv1_2)
    server_tls.set_ciphers("ECDHE+CHACHA20")
    limit(trusting)
    with Server(tls=server_tls) as server:
        with pytest.raises(TLSError, match=r"no (TLS )?cipher in common") as caught:
            wsclient.connect(server.url, ssl_context=trusting)
        assert caught.value.retry


def keep_the_ciphers(context):
    """Allow TLS 1.1, but none of the ciphers that OpenSSL 3 has for it."""
    allow_tls_1_1(context).set_ciphers("ECDHE+AESGCM")
    return context


# --- client certificates ---------------------------------------------------------------------------------------------


@pytest.fixture(params=VERSIONS, ids=lambda version: version.name)
def strict(request, authority):
    """A server that requires a client certificate."""
    context = serving(authority.issue_cert("localhost"), request.param)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    with Server(tls=context) as server:
        yield server


def test_a_client_certificate_is_sent_to_the_server(authority, trusting, strict):
    authority.issue_cert("me@example.org").configure_cert(trusting)
    with wsclient.connect(strict.url, ssl_context=trusting) as client:
        shown = strict.opened.get(timeout=LONG).socket.getpeercert()
        assert shown["subjectAltName"] == (("email", "me@example.org"),)
        assert client.request({"method": "add", "params": [1, 2]}, timeout=LONG)["result"] == 3


def test_a_server_that_requires_a_client_certificate_is_reported(trusting, strict):
    """With TLS 1.3 the rejection comes after the handshake is complete for the client."""
    with pytest.raises(TLSError, match=r"requires a client certificate.*load_cert_chain") as caught:
        wsclient.connect(strict.url, ssl_context=trusting)
    assert caught.value.retry


@pytest.mark.parametrize("kind", ["expired", "of an unknown authority"])
def test_a_client_certificate_that_the_server_refuses_is_reported(authority, trusting, strict, kind):
    issuer = trustme.CA() if kind == "of an unknown authority" else authority
    issuer.issue_cert("me@example.org", not_after=on(2020 if kind == "expired" else 2090)).configure_cert(trusting)
    with pytest.raises(TLSError, match=r"requires a client certificate that the server trusts") as caught:
        wsclient.connect(strict.url, ssl_context=trusting)
    assert caught.value.retry


# --- the server name -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("host", "asked_for"),
    [("localhost", "localhost"), ("127.0.0.1", None), ("b\u00fccher.example", "xn--bcher-kva.example")],
)
def test_the_host_of_the_url_is_sent_as_the_server_name_unless_it_is_an_address(
    authority, trusting, monkeypatch, host, asked_for
):
    asked = []
    context = serving(authority.issue_cert(host))
    context.sni_callback = lambda sock, name, context: asked.append(name)
    with Server(tls=context) as server:
        address = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", server.port))
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: [address])
        with wsclient.connect(f"wss://{host}:{server.port}/", ssl_context=trusting) as client:
            assert client.request({"method": "add", "params": [1, 2]}, timeout=LONG)["result"] == 3
    assert asked == [asked_for]


# --- messages --------------------------------------------------------------------------------------------------------


def test_large_messages_arrive_in_both_directions(server_tls, trusting):
    text = "ü" * 2**20
    with Server(lambda c, m: c.send(m), tls=server_tls, max_size=None) as server:
        with wsclient.connect(server.url, ssl_context=trusting) as client:
            assert client.request(text, match=lambda m: True, timeout=LONG) == text


@pytest.mark.slow
@pytest.mark.parametrize("version", VERSIONS, ids=lambda version: version.name)
def test_messages_of_2_mib_arrive_unchanged_while_the_connection_is_full(authority, trusting, version):
    blobs = [os.urandom(2**21) for _ in range(5)]
    with RawServer(tls=serving(authority.issue_cert("localhost"), version)) as raw:
        client = wsclient.Client(raw.url, ssl_context=trusting, ping_interval=None)
        starter = threading.Thread(target=client.start)
        starter.start()
        peer = raw.accept()
        assert peer.sock.version() == version.name.replace("_", ".")
        peer.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        peer.upgrade()
        starter.join(LONG)
        with client.listen() as stream:
            deliveries = [client.send(blob) for blob in blobs]
            peer.send(b"".join(frame(2, blob) for blob in blobs))
            assert [stream.get(LONG) for _ in blobs] == blobs
            assert deliveries[-1].state == "queued", "the connection was never full"
            assert [peer.receive_frame() for _ in blobs] == [(2, blob) for blob in blobs]
        assert client.stats.connections == 1
        client.close(timeout=0)


def test_records_already_decrypted_are_processed(server_tls, trusting, monkeypatch):
    """Many frames in one TLS record: after a read of a part of it, poll() does not report the rest."""
    monkeypatch.setattr(read_size, "READ_SIZE", 1000)
    monkeypatch.setattr(read_size, "LARGE_READ_SIZE", 1000)
    monkeypatch.setattr(connection, "_READS_A_TURN", 1)
    with RawServer(tls=server_tls) as raw:
        client = wsclient.Client(raw.url, ssl_context=trusting, ping_interval=None)
        starter = threading.Thread(target=client.start)
        starter.start()
        peer = raw.accept().upgrade()
        starter.join(LONG)
        with client.listen() as stream:
            for _ in range(20):
                peer.send(b"".join(frame(2, bytes([n]) * 200) for n in range(75)))  # 15 KiB: nearly a whole record
            assert [stream.get(LONG)[0] for _ in range(1500)] == list(range(75)) * 20
        client.close(timeout=0)


def test_session_tickets_are_neither_a_response_nor_an_end(authority, trusting):
    """They follow the handshake, as records without data."""
    tls = serving(authority.issue_cert("localhost"))
    tls.num_tickets = 50
    with RawServer(tls=tls) as raw:
        client = wsclient.Client(raw.url, ssl_context=trusting)
        starter = threading.Thread(target=client.start)
        starter.start()
        peer = raw.accept().upgrade()
        starter.join(LONG)
        client.send("hello")
        assert peer.receive_text() == "hello"
        assert client.stats.failed_attempts == 0
        client.close(timeout=0)


class KeyServer:
    """OpenSSL's own server program: unlike Python's, it can change the keys of a connection."""

    def __init__(self, certificate, directory):
        path = directory / "server.pem"
        certificate.private_key_and_cert_chain_pem.write_to_path(path)
        command = ["openssl", "s_server", "-accept", "127.0.0.1:0", "-cert", str(path), "-tls1_3", "-naccept", "1"]
        self._near, self._far = os.pipe()
        self._process = subprocess.Popen(
            command, stdin=self._near, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0
        )
        self._said = b""

    def wait_for(self, pattern):
        """Its output, and the client's messages, up to and including this text."""
        while (found := re.search(pattern, self._said, re.DOTALL)) is None:
            ready, _, _ = select.select([self._process.stdout], [], [], LONG)
            piece = self._process.stdout.read(65536) if ready else b""
            assert piece, f"openssl did not say {pattern}, but {self._said}"
            self._said += piece
        self._said = self._said[found.end() :]
        return found

    def send(self, data):
        """Make it send this; a piece that begins with one of its command letters is a command instead."""
        os.write(self._far, data)
        eventually(lambda: not any(fcntl.ioctl(self._near, termios.FIONREAD, bytes(4))))

    def close(self):
        self._process.kill()
        self._process.communicate()
        os.close(self._near)
        os.close(self._far)


@pytest.fixture
def key_server(authority, tmp_path):
    if shutil.which("openssl") is None or fcntl is None:
        pytest.skip("there is no openssl program here, or no FIONREAD for its input")
    server = KeyServer(authority.issue_cert("localhost"), tmp_path)
    yield server
    server.close()


@pytest.mark.parametrize("command", [b"k\n", b"K\n"], ids=["of the server", "of both"])
def test_keys_can_change_on_an_open_connection(key_server, trusting, command):
    port = int(key_server.wait_for(rb"ACCEPT \S*:(\d+)\s")[1])
    client = wsclient.Client(f"wss://localhost:{port}/", ssl_context=trusting, ping_interval=None)
    starter = threading.Thread(target=client.start)
    starter.start()
    key = key_server.wait_for(rb"Sec-WebSocket-Key: (\S+)\r\n.*\r\n\r\n")[1]
    accept = base64.b64encode(hashlib.sha1(key + GUID).digest())
    head = b"HTTP/1.1 101 Switching\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "
    key_server.send(head + accept + b"\r\n\r\n")
    starter.join(LONG)
    with client.listen() as stream:
        for n in range(3):
            key_server.send(command)
            key_server.send(frame(1, b"down %d" % n))
            assert stream.get(LONG) == f"down {n}"
            client.send(b"up %d" % n)
            mask, masked = key_server.wait_for(rb"\x82\x84(.{4})(.{4})").groups()
            assert bytes(a ^ b for a, b in zip(mask, masked, strict=True)) == b"up %d" % n
    assert client.stats.connections == 1
    client.close(timeout=0)


def test_a_tls_handshake_that_stalls_ends_at_the_open_timeout(raw):
    began = time.monotonic()
    with pytest.raises(wsclient.ConnectError, match=r"0\.3 s"):
        wsclient.connect(raw.url.replace("ws://", "wss://"), open_timeout=0.3)
    assert time.monotonic() - began < 5


@pytest.mark.slow
def test_eight_threads_send_requests_and_lose_no_connection(server_tls, trusting):
    """On CPython below 3.13 a simple implementation broke healthy connections within seconds (cpython#77271)."""
    end = time.monotonic() + SECONDS
    answers = []

    def ask(client, thread):
        n = 0
        while time.monotonic() < end:
            n += 1
            size = 10 if n % 50 else 100_000
            message = {"method": "echo", "params": [thread, n, "x" * size]}
            assert client.request(message, timeout=LONG)["result"] == message["params"]
        answers.append(n)

    with Server(tls=server_tls) as server, wsclient.connect(server.url, ssl_context=trusting) as client:
        threads = [threading.Thread(target=ask, args=(client, thread)) for thread in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(SECONDS + LONG)
        assert len(answers) == 8
        assert client.stats.connections == 1
        assert client.last_disconnect is None
        assert client.stats.requests_ok == sum(answers)


@pytest.mark.parametrize("kind", ["wss", "wss through https"])
@pytest.mark.parametrize("length", [994, *(pytest.param(size, marks=pytest.mark.slow) for size in (1001, 1015, 1029))])
def test_no_message_arrives_twice_if_a_full_connection_is_dropped(server_tls, trusting, kind, length):
    """The part of a batch that TLS has sent must be counted as sent: the rest is sent on the next connection."""
    with RawServer(tls=server_tls) as raw, SecureProxy(server_tls) as proxy:
        client = wsclient.Client(
            raw.url, ssl_context=trusting, ping_interval=None, json=None, compression=None,
            reconnect=wsclient.Reconnect(wait=tenacity.wait_none()), proxy=proxy.url if "https" in kind else None,
        )  # fmt: skip
        starter = threading.Thread(target=client.start)
        starter.start()
        first = raw.accept().upgrade()
        starter.join(LONG)
        first.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        numbers = itertools.count()
        writer = client._wsclient.context.sender.writer
        while not writer.blocked:
            for _ in range(100):
                client.send(f"{next(numbers):06d}" + "x" * length)
            eventually(lambda: writer.blocked or not client.stats.queue_depth)
        while client.stats.queue_depth < 2000:
            client.send(f"{next(numbers):06d}" + "x" * length)
        client.reconnect()
        second = raw.accept().upgrade()
        again = {second.receive_frame()[1][:6] for _ in range(1000)}
        arrived = set()
        with contextlib.suppress(ConnectionError, ssl.SSLError):
            while True:
                arrived.add(first.receive_frame()[1][:6])
        client.close(timeout=0)
        assert len(arrived) > 100
        assert not arrived & again
