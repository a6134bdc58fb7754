"""A client certificate is sent to the origin of the client's URL only."""

import datetime as dt
import ssl

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

import wsclient
from wsclient import ConnectError, TLSError
from wsclient._network.tls import without_certificate

from ..support import LONG, Server
from ..support.proxies import Tunnels
from ..support.stage import redirect, upgrade


@pytest.fixture
def asking(authority):
    """A server's context that asks for a client certificate, and accepts clients without one."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_OPTIONAL
    return context


@pytest.fixture
def certified(authority, trusting):
    authority.issue_cert("me@example.org").configure_cert(trusting)
    return trusting


class Certificates(list):
    """For each connection whether the client sent a certificate."""

    def then(self, act):
        def noted(peer):
            self.append(bool(peer.sock.getpeercert()))
            act(peer)

        return noted


@pytest.fixture
def seen():
    return Certificates()


def connect(server, context, **options):
    url = f"wss://127.0.0.1:{server.port}/"
    wsclient.connect(url, ssl_context=context, reconnect=None, open_timeout=LONG, **options).close(timeout=0)


def test_the_server_of_the_url_gets_the_certificate_also_after_a_redirect_within_it(stage, asking, certified, seen):
    connect(stage(seen.then(redirect("/there")), seen.then(upgrade()), tls=asking), certified)
    assert seen == [True, True]


@pytest.mark.parametrize("is_function", [False, True])
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_another_origin_gets_no_certificate_after_a_redirect(stage, asking, certified, seen, is_function, version):
    asking.maximum_version = version
    there = stage(seen.then(upgrade()), tls=asking)
    here = stage(seen.then(redirect(f"https://localhost:{there.port}/")), tls=asking)
    connect(here, (lambda: certified) if is_function else certified)
    assert seen == [True, False]


def test_a_server_that_redirects_from_plain_text_is_another_origin(stage, asking, certified, seen):
    there = stage(seen.then(upgrade()), tls=asking)
    here = stage(redirect(f"https://localhost:{there.port}/"))
    wsclient.connect(here.url, ssl_context=certified, reconnect=None).close(timeout=0)
    assert seen == [False]


def test_a_redirect_back_to_the_first_origin_gets_no_certificate(stage, asking, certified, seen):
    here = stage(
        seen.then(lambda peer: redirect(f"https://localhost:{there.port}/")(peer)), seen.then(upgrade()), tls=asking
    )
    there = stage(seen.then(redirect(f"https://127.0.0.1:{here.port}/back")), tls=asking)
    connect(here, certified)
    assert seen == [True, False, False]


def test_the_next_attempt_sends_the_certificate_again(stage, asking, certified, seen):
    there = stage(seen.then(lambda peer: None), tls=asking)
    here = stage(seen.then(redirect(f"https://localhost:{there.port}/")), seen.then(upgrade()), tls=asking)
    reconnect = wsclient.Reconnect(wait=lambda state: 0.0)
    url = f"wss://127.0.0.1:{here.port}/"
    wsclient.connect(url, ssl_context=certified, reconnect=reconnect, retry_first=True).close(timeout=0)
    assert seen == [True, False, True]


@pytest.mark.parametrize("secure", [False, True])
def test_a_proxy_gets_no_certificate_and_the_server_behind_it_does(asking, certified, secure):
    by_proxy, by_server = [], []

    class Noting(Tunnels):
        def _serve(self, peer):
            by_proxy.append(bool(peer.sock.getpeercert()))
            super()._serve(peer)

    def note(connection, message):
        by_server.append(bool(connection.socket.getpeercert()) if secure else None)
        return message

    with Server(note, tls=asking if secure else False) as server, Noting("https", tls=asking) as proxy:
        options = {"ssl_context": certified, "proxy": f"https://localhost:{proxy.port}", "protocol": wsclient.Fifo()}
        with wsclient.connect(server.url, reconnect=None, **options) as client:
            assert client.request("x", timeout=LONG) == "x"
    assert by_proxy == [False]
    assert by_server == [True if secure else None]


def test_another_origin_must_have_a_certificate_that_the_context_trusts(stage, asking, certified, seen):
    foreign = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost").configure_cert(foreign)
    there = stage(tls=foreign)
    here = stage(seen.then(redirect(f"https://localhost:{there.port}/")), tls=asking)
    with pytest.raises(TLSError, match="certificate of 'localhost' was refused"):
        connect(here, certified)


def test_a_context_of_ssl_ca_is_used_for_other_origins_too(stage, authority, asking, tmp_path):
    there = stage(upgrade(), tls=asking)
    here = stage(redirect(f"https://localhost:{there.port}/"), tls=asking)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    wsclient.connect(f"wss://127.0.0.1:{here.port}/", ssl_ca=str(tmp_path / "ca.pem"), reconnect=None).close(timeout=0)


# --- the context without the certificate -----------------------------------------------------------------------------


def settings(context):
    ciphers = {cipher["name"] for cipher in context.get_ciphers()}
    return (
        *(type(context), context.verify_mode, context.check_hostname, context.verify_flags, context.options),
        *(context.minimum_version, context.maximum_version, context.security_level, ciphers),
        context.get_ca_certs(binary_form=True),
    )


class OwnContext(ssl.SSLContext):
    pass


def unverified(context):
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE


CHANGES = {
    "none": lambda context: None,
    "unverified": unverified,
    "no host name": lambda context: setattr(context, "check_hostname", False),
    "TLS 1.3": lambda context: setattr(context, "minimum_version", ssl.TLSVersion.TLSv1_3),
    "TLS 1.2": lambda context: setattr(context, "maximum_version", ssl.TLSVersion.TLSv1_2),
    "ciphers": lambda context: context.set_ciphers("ECDHE-RSA-AES256-GCM-SHA384"),
    "old ciphers": lambda context: context.set_ciphers("DEFAULT:@SECLEVEL=0"),
    "revocation": lambda context: setattr(context, "verify_flags", ssl.VERIFY_CRL_CHECK_LEAF),
    "renegotiation": lambda context: setattr(context, "options", context.options | ssl.OP_NO_RENEGOTIATION),
    "authorities": lambda context: context.load_default_certs(),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("kind", [ssl.SSLContext, OwnContext])
def test_the_context_without_the_certificate_has_the_settings_of_the_callers(authority, change, kind):
    context = kind(ssl.PROTOCOL_TLS_CLIENT)
    authority.configure_trust(context)
    authority.issue_cert("me@example.org").configure_cert(context)
    change(context)
    assert settings(without_certificate(context, had_authorities=True)) == settings(context)


def test_the_keys_of_connections_without_the_certificate_are_logged_too(tmp_path, certified):
    certified.keylog_filename = str(tmp_path / "keys")
    assert without_certificate(certified, had_authorities=True).keylog_filename == certified.keylog_filename


def test_a_context_that_shows_no_authorities_gets_those_of_the_system(monkeypatch):
    loaded = []
    monkeypatch.setattr(OwnContext, "load_default_certs", lambda context: loaded.append(context))
    twin = without_certificate(OwnContext(ssl.PROTOCOL_TLS_CLIENT), had_authorities=False)
    assert loaded == [twin]
    without_certificate(OwnContext(ssl.PROTOCOL_TLS_CLIENT), had_authorities=True)
    blind = OwnContext(ssl.PROTOCOL_TLS_CLIENT)
    unverified(blind)
    without_certificate(blind, had_authorities=False)
    assert loaded == [twin]


def test_a_context_that_trusts_one_server_does_not_trust_those_of_the_system_instead(stage, asking, monkeypatch):
    loaded, context = [], OwnContext(ssl.PROTOCOL_TLS_CLIENT)
    monkeypatch.setattr(OwnContext, "load_default_certs", lambda context: loaded.append(context))
    key = ec.generate_private_key(ec.SECP256R1())
    name, begin, end = x509.Name([]), *(dt.datetime(year, 1, 1, tzinfo=dt.timezone.utc) for year in (2020, 2090))
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, begin, end)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
    pinned = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    context.load_verify_locations(cadata=pinned.decode())
    there = stage(tls=asking)
    here = stage(redirect(f"https://localhost:{there.port}/"))
    with pytest.raises(TLSError, match="certificate of 'localhost' was refused"):
        wsclient.connect(f"ws://127.0.0.1:{here.port}/", ssl_context=context, reconnect=None)
    assert loaded == []


def test_a_context_that_does_not_show_its_authorities_can_be_used(stage, authority, asking, seen, monkeypatch):
    class Opaque(ssl.SSLContext):  # as truststore.SSLContext
        def cert_store_stats(self):
            raise NotImplementedError

        def get_ca_certs(self, binary_form=False):
            raise NotImplementedError

    monkeypatch.setattr(Opaque, "load_default_certs", lambda context: authority.configure_trust(context))
    context = Opaque(ssl.PROTOCOL_TLS_CLIENT)
    context.load_default_certs()
    authority.issue_cert("me@example.org").configure_cert(context)
    connect(stage(seen.then(upgrade()), tls=asking), context)
    there = stage(seen.then(upgrade()), tls=asking)
    connect(stage(seen.then(redirect(f"https://localhost:{there.port}/")), tls=asking), context)
    assert seen == [True, True, False]


def test_a_context_that_cannot_be_copied_is_not_used_for_another_origin(stage, asking, authority, seen):
    class Named(ssl.SSLContext):
        def __new__(cls, protocol, name=None):
            if name is None:
                raise TypeError("a name is needed")
            return super().__new__(cls, protocol)

        def __init__(self, protocol, name):
            super().__init__()

    context = Named(ssl.PROTOCOL_TLS_CLIENT, "x")
    authority.configure_trust(context)
    authority.issue_cert("me@example.org").configure_cert(context)
    there = stage(tls=asking)
    here = stage(seen.then(redirect(f"https://localhost:{there.port}/")), tls=asking)
    with pytest.raises(ConnectError, match=r"Only the server of url= may get the client certificate .*name") as caught:
        connect(here, context)
    assert not caught.value.retry
    assert seen == [True]
    assert there.peers == []
