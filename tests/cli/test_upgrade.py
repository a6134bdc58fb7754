"""The phases of ``wsclient probe`` after the upgrade, if the connection has ended before they begin."""

import pytest

import wsclient
from wsclient.cli.causes import Sent
from wsclient.cli.diagnosis import Diagnosis, Failed, Round
from wsclient.cli.upgrade import Checks, Tap

from ..support import LONG, eventually
from ..support.peers import open_pair


@pytest.fixture
def diagnosis():
    return Diagnosis([Round("ws://a.test")])


@pytest.mark.parametrize("phase", [Checks.pings, lambda checks: checks.watch(0), Checks.close])
def test_each_phase_reports_how_the_server_has_closed_the_connection(raw, diagnosis, phase):
    tap = Tap()
    client, peer = open_pair(raw, record=tap, reconnect=None, ping_interval=None)
    checks = Checks(client, tap, diagnosis, LONG)
    peer.send_frame(8, b"\x03\xf0no")
    assert peer.receive_frame()[0] == 8
    peer.close()
    eventually(lambda: client.last_disconnect is not None)
    with pytest.raises(Failed, match=r"with the code 1008 .* after the upgrade: no\.$") as caught:
        phase(checks)
    assert caught.value.code == 5
    assert diagnosis.rounds[0].findings[0].facts["close_code"] == 1008
    client.close()


def test_a_client_that_has_ended_already_is_reported(raw, diagnosis):
    client = wsclient.Client(raw.url)
    client.close()
    with pytest.raises(Failed, match="without a close frame"):
        Checks(client, Tap(), diagnosis, LONG).upgrade(Sent("/", has_credentials=False, origin=None), None)
