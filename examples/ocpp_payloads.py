"""OCPP 1.6: a charge point with the payload classes and the schemas of the package ``ocpp`` (``pip install ocpp``).

The preset ``Ocpp`` carries payloads as dicts. Copy ``ask`` and ``answer``, which convert them.
Run: python examples/ocpp_payloads.py ws://central-system/CHARGE_POINT
"""

import asyncio
import sys

from ocpp.charge_point import camel_to_snake_case, remove_nones, serialize_as_dict, snake_to_camel_case
from ocpp.messages import Call, validate_payload
from ocpp.v16 import call, call_result

import wsclient
from wsclient.protocols import Ocpp


def to_payload(message):
    return remove_nones(snake_to_camel_case(serialize_as_dict(message)))


def ask(client, request):  # from a class of ocpp.v16.call to one of call_result
    action, payload = type(request).__name__, to_payload(request)
    asyncio.run(validate_payload(Call("", action, payload), "1.6"))
    return getattr(call_result, action)(**camel_to_snake_case(client.call(action, payload)))


def answer(client, action, function):  # the same for calls of the central system
    client.handle(action, lambda payload: to_payload(function(getattr(call, action)(**camel_to_snake_case(payload)))))


if __name__ == "__main__":
    with wsclient.connect(sys.argv[1], protocol=Ocpp("1.6")) as client:
        boot = ask(client, call.BootNotification(charge_point_model="Model", charge_point_vendor="Vendor"))
        print("boot:", boot.status, boot.interval)
        answer(client, "DataTransfer", lambda request: call_result.DataTransfer("Accepted", data=request.message_id))
        ask(client, call.DataTransfer(vendor_id="calls", message_id="hello"))  # this server makes a call meanwhile
        while (outcome := ask(client, call.DataTransfer(vendor_id="outcome")).data) is None:
            pass  # the central system has not processed the answer yet
        print("its call:", outcome)
