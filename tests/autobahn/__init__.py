"""The Autobahn test suite against this client; see ``tests/README.md``."""
