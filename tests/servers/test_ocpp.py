"""The central system of the package ``ocpp``, which checks each message: calls in both directions, errors, restarts.

It processes the messages of a charge point one at a time, so it makes its own calls in a task.
"""

import concurrent.futures

import pytest
import tenacity

import wsclient
from wsclient import RemoteError
from wsclient.protocols import Ocpp

from ..support import LONG, eventually
from ..support.ocpp import CentralSystem, has_ocpp  # noqa: F401  (for the mark)

SOON = wsclient.Reconnect(wait=tenacity.wait_fixed(0.05))
VERSIONS = ["1.6", "2.0.1"]
BOOT = {
    "1.6": {"chargePointVendor": "Vendor", "chargePointModel": "Model"},
    "2.0.1": {"reason": "PowerUp", "chargingStation": {"vendorName": "Vendor", "model": "Model"}},
}


pytestmark = pytest.mark.skipif(
    "not has_ocpp()",
    reason="OCPP IS MISSING, so no central system is tested: pip install . ocpp websockets into an environment, and "
    "have OCPP_PYTHON name its python",
)


def connect(central, **options):
    options = {"protocol": Ocpp(central.version), "reconnect": SOON, "request_timeout": LONG, **options}
    return wsclient.connect(central.url, **options)


@pytest.fixture(scope="module", params=VERSIONS)
def central(request, tmp_path_factory):
    with CentralSystem(tmp_path_factory.mktemp("ocpp"), request.param) as central:
        yield central


def transfer(client, vendor, message_id="m", data=None):
    payload = {"vendorId": vendor, "messageId": message_id}
    return client.call("DataTransfer", payload if data is None else {**payload, "data": data})


def outcome_of_a_call(client, message_id="m"):
    """Let the central system make a call before it answers, and return what came of that."""
    assert transfer(client, "calls", message_id)["status"] == "Accepted"
    found = []
    eventually(lambda: found.append(transfer(client, "outcome").get("data")) or found[-1])
    return found[-1]


def test_a_charge_point_boots_and_gets_answers(central):
    with connect(central) as client:
        assert client.connection.subprotocol == f"ocpp{central.version}"
        assert client.call("BootNotification", BOOT[central.version])["status"] == "Accepted"
        assert client.call("Heartbeat")["currentTime"] == "2026-01-01T00:00:00Z"


def test_calls_of_many_threads_are_made_one_after_the_other(central):
    with connect(central) as client, concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda number: transfer(client, "echo", data=str(number))["data"], range(24)))
    assert answers == [str(number) for number in range(24)]


@pytest.mark.parametrize(
    ("action", "payload", "codes"),
    [
        ("DataTransfer", {"vendorId": "fails"}, {"SecurityError"}),
        ("DataTransfer", {}, {"ProtocolError"}),
        ("DataTransfer", {"vendorId": 5}, {"TypeConstraintViolation"}),
        ("Unknown", {}, {"NotImplemented", "NotSupported"}),
    ],
)
def test_errors_are_raised_with_their_code(central, action, payload, codes):
    with connect(central) as client:
        with pytest.raises(RemoteError) as caught:
            client.call(action, payload)
        assert caught.value.code in codes
        assert transfer(client, "echo")["status"] == "Accepted"


def test_a_call_of_the_central_system_is_answered_while_a_call_of_the_charge_point_is_in_flight(central):
    with connect(central) as client:
        client.handle("DataTransfer", lambda payload: {"status": "Accepted", "data": payload["messageId"] * 2})
        assert outcome_of_a_call(client, "ab") == "Accepted abab"


def test_errors_of_handlers_reach_the_central_system(central):
    def refuse(payload):
        raise RemoteError("SecurityError", "no entry", {"why": "test"})

    with connect(central, on_error=lambda client, error: None) as client:
        assert outcome_of_a_call(client).startswith("NotImplemented: ")
        registration = client.handle("DataTransfer", refuse)
        assert outcome_of_a_call(client) == "SecurityError: no entry"
        registration.remove()
        client.handle("DataTransfer", lambda payload: 1 / 0)
        assert outcome_of_a_call(client) == "InternalError: ZeroDivisionError: division by zero"


def test_heartbeats_have_the_interval_that_the_central_system_wants(central):
    intervals = []

    def on_session(client, session):
        intervals.append(session.call("BootNotification", BOOT[central.version])["interval"])
        session.heartbeat(0.05)

    beat = wsclient.Heartbeat(wsclient.Request(["Heartbeat", {}]), 300, only_if_idle=True)
    with connect(central, on_session=on_session, heartbeat=beat) as client:
        eventually(lambda: client.stats.messages_received > 3)
        assert client.stats.connections == 1
    assert intervals == [1]


def test_after_a_restart_the_charge_point_boots_again(tmp_path):
    boots = []

    def on_session(client, session):
        boots.append(session.call("BootNotification", BOOT["1.6"])["status"])

    with CentralSystem(tmp_path, "1.6") as central, connect(central, on_session=on_session) as client:
        assert transfer(client, "echo", data="1")["data"] == "1"
        central.stop()
        waiting = client.submit(["DataTransfer", {"vendorId": "echo", "data": "2"}], idempotent=True)
        central.start()
        assert waiting.result(LONG)["data"] == "2"
    assert boots == ["Accepted"] * 2


def test_another_version_is_refused(central):
    other = VERSIONS[1 - VERSIONS.index(central.version)]
    with pytest.raises(wsclient.HandshakeError) as caught:
        connect(central, protocol=Ocpp(other))
    assert caught.value.status == 400
    assert b"subprotocol" in caught.value.body
