"""``wsclient probe`` against nginx, Chromium and aria2."""

import base64
import functools
import hashlib

import pytest

from ..support.aria2 import ARIA2, Aria2
from ..support.chromium import CHROMIUM, Chromium
from ..support.nginx import NGINX, UPGRADE, SecureNginx
from ..support.probing import diagnose, failed, run_probe

LOCATIONS = f"""
        location / {{ {UPGRADE} proxy_pass http://127.0.0.1:%(upstream)s; }}
        location /private {{
            auth_basic "the staff";
            auth_basic_user_file users;
            {UPGRADE}
            proxy_pass http://127.0.0.1:%(upstream)s;
        }}
        location /old {{ proxy_http_version 1.0; proxy_pass http://127.0.0.1:%(upstream)s; }}
        location /without-upgrade {{ proxy_http_version 1.1; proxy_pass http://127.0.0.1:%(upstream)s; }}
        location /down {{ proxy_pass http://127.0.0.1:%(dead)s; }}
        location /page {{ default_type text/html; return 200 "<html>hello</html>"; }}
        location /closed {{ return 403; }}
        location /moved {{ return 301 /page; }}
        location /missing {{ return 404; }}
"""


class Nginx(SecureNginx):
    """TLS in front of a server, and some answers of its own. The user ``a`` has the password ``b``."""

    def __init__(self, home, upstream, dead, authority):
        (home / "users").write_text(f"a:{{SHA}}{base64.b64encode(hashlib.sha1(b'b').digest()).decode()}\n")
        # Its worker reads the file of the users, in a folder that only this user may read.
        super().__init__(home, authority, LOCATIONS % {"upstream": upstream, "dead": dead}, main="user root root;")


@pytest.fixture
def probe(capsys):
    return functools.partial(diagnose, capsys)


@pytest.fixture
def nginx(tmp_path, server, dead, authority):
    if NGINX is None:
        pytest.skip("NGINX IS MISSING: probe is not tested on it")
    with Nginx(tmp_path, server.port, dead, authority) as nginx:
        yield nginx


def test_a_server_behind_nginx_with_tls(probe, nginx, ca_file):
    code, report = probe(nginx.url(), "--ca", ca_file)
    phases = report["phases"]
    assert code == 0
    assert phases["tls"]["matches"]
    assert phases["upgrade"]["extensions"].startswith("permessage-deflate")
    assert (phases["pings"]["sent"], phases["close"]["code"]) == (5, 1000)
    assert probe(nginx.url("private"), "--ca", ca_file, "--auth", "a:b")[0] == 0


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
def test_refusals_of_nginx(probe, nginx, ca_file, path, status, cause):
    report = failed(probe(nginx.url(path), "--ca", ca_file), "upgrade", cause)
    assert report["phases"]["upgrade"]["status"] == status
    assert any(name == "server" for name, _ in report["phases"]["upgrade"]["headers"])


def test_a_wrong_password_for_nginx(probe, nginx, ca_file):
    failed(probe(nginx.url("private"), "--ca", ca_file, "--auth", "a:c"), "upgrade", "the password is wrong")


def test_a_redirect_of_nginx_is_not_followed_to_a_page(probe, nginx, ca_file):
    report = failed(probe(nginx.url("moved"), "--ca", ca_file), "upgrade", "HTML page")
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
    with Aria2(tmp_path) as aria2:
        code, report = diagnose(capsys, aria2.url)
        assert code == 0
        assert len(report["phases"]["pings"]["round_trips"]) == 5
        assert report["phases"]["upgrade"]["extensions"] is None
        assert run_probe(f"localhost:{aria2.port}/other") == 3
        assert "Likely cause: there is no WebSocket endpoint at the path '/other'" in capsys.readouterr().out
