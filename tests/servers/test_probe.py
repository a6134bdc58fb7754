"""``wsclient probe`` against nginx, Chromium and aria2."""

import base64
import functools
import hashlib

import pytest

from ..support.chromium import CHROMIUM, Chromium
from ..support.probing import diagnose, failed, run_probe
from ..support.program import Program, find, free_port

NGINX, ARIA2 = find("nginx"), find("aria2c")

CONFIGURATION = """
daemon off;
user root root;
worker_processes 1;
pid nginx.pid;
error_log error.log notice;

events { worker_connections 64; }

http {
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;

    server {
        listen 127.0.0.1:%(port)s ssl;
        ssl_certificate certificate.pem;
        ssl_certificate_key key.pem;

        location / {
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
            proxy_pass http://127.0.0.1:%(upstream)s;
        }
        location /private {
            auth_basic "the staff";
            auth_basic_user_file users;
            proxy_http_version 1.1;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection "upgrade";
            proxy_pass http://127.0.0.1:%(upstream)s;
        }
        location /old { proxy_http_version 1.0; proxy_pass http://127.0.0.1:%(upstream)s; }
        location /without-upgrade { proxy_http_version 1.1; proxy_pass http://127.0.0.1:%(upstream)s; }
        location /down { proxy_pass http://127.0.0.1:%(dead)s; }
        location /page { default_type text/html; return 200 "<html>hello</html>"; }
        location /closed { return 403; }
        location /moved { return 301 /page; }
        location /missing { return 404; }
    }
}
"""


class Nginx(Program):
    """TLS in front of a server, and some answers of its own. The user ``a`` has the password ``b``."""

    def __init__(self, home, upstream, dead, authority):
        self.port = free_port()
        (home / "nginx.conf").write_text(CONFIGURATION % {"port": self.port, "upstream": upstream, "dead": dead})
        (home / "users").write_text(f"a:{{SHA}}{base64.b64encode(hashlib.sha1(b'b').digest()).decode()}\n")
        certificate = authority.issue_cert("localhost")
        certificate.private_key_pem.write_to_path(home / "key.pem")
        certificate.cert_chain_pems[0].write_to_path(home / "certificate.pem")
        super().__init__(home, [NGINX, "-p", f"{home}/", "-c", home / "nginx.conf"])

    def url(self, path=""):
        return f"wss://localhost:{self.port}/{path}"


class Aria2(Program):
    """Serves JSON-RPC at ``/jsonrpc``."""

    def __init__(self, home, port):
        self.port = port
        super().__init__(home, [ARIA2, "--no-conf", "--enable-dht=false", "--disable-ipv6", "--enable-rpc",
                                f"--rpc-listen-port={port}"])  # fmt: skip


@pytest.fixture
def probe(capsys):
    return functools.partial(diagnose, capsys)


@pytest.fixture
def ca(authority, tmp_path):
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


@pytest.fixture
def nginx(tmp_path, server, dead, authority):
    if NGINX is None:
        pytest.skip("NGINX IS MISSING: probe is not tested on it")
    with Nginx(tmp_path, server.port, dead, authority) as nginx:
        yield nginx


def test_a_server_behind_nginx_with_tls(probe, nginx, ca):
    code, report = probe(nginx.url(), "--ca", ca)
    phases = report["phases"]
    assert code == 0
    assert phases["tls"]["matches"]
    assert phases["upgrade"]["extensions"].startswith("permessage-deflate")
    assert (phases["pings"]["sent"], phases["close"]["code"]) == (5, 1000)
    assert probe(nginx.url("private"), "--ca", ca, "--auth", "a:b")[0] == 0


@pytest.mark.parametrize(
    ("path", "status", "cause"),
    [
        ("private", 401, "the server wants credentials (it asks for Basic)"),
        ("closed", 403, "Origin"),
        ("missing", 404, "the path '/missing'"),
        ("down", 502, "a proxy in front of the server answered"),
        ("page", 200, "it answers with an HTML page"),
        ("old", 505, "with HTTP/1.0"),
        ("without-upgrade", 426, "removes the Upgrade header"),
    ],
)
def test_refusals_of_nginx(probe, nginx, ca, path, status, cause):
    report = failed(probe(nginx.url(path), "--ca", ca), "upgrade", cause)
    assert report["phases"]["upgrade"]["status"] == status
    assert any(name == "server" for name, _ in report["phases"]["upgrade"]["headers"])


def test_a_wrong_password_for_nginx(probe, nginx, ca):
    failed(probe(nginx.url("private"), "--ca", ca, "--auth", "a:c"), "upgrade", "the password is wrong")


def test_a_redirect_of_nginx_is_not_followed_to_a_page(probe, nginx, ca):
    report = failed(probe(nginx.url("moved"), "--ca", ca), "upgrade", "HTML page")
    assert report["redirects"][0]["phases"]["upgrade"]["status"] == 301


def test_the_certificate_of_nginx_and_a_forgotten_tls(probe, nginx):
    failed(probe(nginx.url()), "tls", "is missing here; pass its certificate with --ca FILE")
    failed(probe(nginx.url().replace("wss:", "ws:")), "upgrade", "use wss:// instead of ws://")


@pytest.mark.skipif(CHROMIUM is None, reason="CHROMIUM IS MISSING: probe is not tested on it")
def test_chromium_refuses_an_origin(probe, tmp_path):
    with Chromium(tmp_path) as chromium:
        code, report = probe(chromium.url)
        assert (code, report["phases"]["pings"]["sent"]) == (0, 5)
        report = failed(probe(chromium.url, "--origin", "https://example.org"), "upgrade", "Origin")
        assert report["phases"]["upgrade"]["status"] == 403
        assert report["phases"]["upgrade"]["body"]


@pytest.mark.skipif(ARIA2 is None, reason="ARIA2 IS MISSING: probe is not tested on it")
def test_aria2(tmp_path, capsys):
    port = free_port()
    with Aria2(tmp_path, port):
        code, report = diagnose(capsys, f"localhost:{port}/jsonrpc")
        assert code == 0
        assert len(report["phases"]["pings"]["round_trips"]) == 5
        assert report["phases"]["upgrade"]["extensions"] is None
        assert run_probe(f"localhost:{port}/other") == 3
        assert "Likely cause: there is no WebSocket endpoint at the path '/other'" in capsys.readouterr().out
