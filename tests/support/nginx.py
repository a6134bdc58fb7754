"""nginx in front of a server; it terminates TLS. Its master and its worker form a process group."""

import tenacity

import wsclient

from . import eventually
from .program import Program, find, free_port

NGINX = find("nginx")
"""The path of the program; None if there is none."""

SOON = wsclient.Reconnect(wait=tenacity.wait_fixed(0.05))

UPGRADE = """
    proxy_http_version 1.1;
    proxy_set_header Upgrade $http_upgrade;
    proxy_set_header Connection "upgrade";
"""
"""The directives that pass on the handshake of a WebSocket."""

CONFIGURATION = """
daemon off;
worker_processes 1;
pid nginx.pid;
error_log error.log notice;
%(main)s

events { worker_connections 256; }

http {
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    %(http)s

    server {
        listen 127.0.0.1:%(port)s ssl;
        ssl_certificate certificate.pem;
        ssl_certificate_key key.pem;
        %(locations)s
    }
}
"""


class SecureNginx(Program):
    """An nginx with the certificate of ``localhost``.

    Args:
        home: its folder.
        authority: signs the certificate.
        locations: its directives of the context ``server``.
        http, main: further directives of these contexts.
    """

    def __init__(self, home, authority, locations, *, http="", main=""):
        self.port = free_port()
        configuration = home / "nginx.conf"
        facts = {"port": self.port, "locations": locations, "http": http, "main": main}
        configuration.write_text(CONFIGURATION % facts)
        certificate = authority.issue_cert("localhost", "127.0.0.1")
        certificate.private_key_pem.write_to_path(home / "key.pem")
        for part in certificate.cert_chain_pems:
            part.write_to_path(home / "certificate.pem", append=True)
        super().__init__(home, [NGINX, "-p", f"{home}/", "-c", configuration])

    def url(self, path=""):
        return f"wss://localhost:{self.port}/{path}"


HTTP = f"""
    limit_conn_zone $server_port zone=places:1m;
    {UPGRADE}
    proxy_set_header Host $host;
    proxy_read_timeout %(idle)ss;
"""

LOCATIONS = """
        location / {
            proxy_pass http://127.0.0.1:%(upstream)s;
        }

        location /one {
            limit_conn places 1;
            limit_conn_status 429;
            add_header Retry-After 2 always;
            proxy_pass http://127.0.0.1:%(upstream)s;
        }
"""


class Nginx(SecureNginx):
    """``/`` leads to the upstream; ``/one`` too, for one client at a time: others get a 429 with ``Retry-After: 2``."""

    def __init__(self, home, upstream, authority, trusting, *, idle=60, main=""):
        self._trusting = trusting
        self._log = home / "error.log"
        super().__init__(home, authority, LOCATIONS % {"upstream": upstream}, http=HTTP % {"idle": idle}, main=main)

    def client(self, path="", **options):
        """A client for it, not started."""
        options = {"reconnect": SOON, "ssl_context": self._trusting, **options}
        return wsclient.Client(self.url(path), **options)

    def reload(self):
        """Returns when the new worker serves, and the old one accepts no new connections."""
        self.signal("SIGHUP")
        eventually(lambda: "gracefully shutting down" in self._log.read_text())
