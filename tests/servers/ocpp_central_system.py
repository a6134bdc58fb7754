"""A central system of the package ``ocpp``, for ``test_ocpp.py``: ``python ocpp_central_system.py PORT VERSION``.

It checks each message with the schemas of the version. After a call it makes the calls that the test wants.
"""

import asyncio
import logging
import sys

import ocpp.exceptions
import ocpp.routing
import websockets

PORT, VERSION = int(sys.argv[1]), sys.argv[2]

if VERSION == "1.6":
    from ocpp.v16 import ChargePoint, call, call_result
else:
    from ocpp.v201 import ChargePoint, call, call_result

NOW = "2026-01-01T00:00:00Z"


class Central(ChargePoint):
    @ocpp.routing.on("BootNotification")
    def on_boot(self, **payload):
        return call_result.BootNotification(current_time=NOW, interval=1, status="Accepted")

    @ocpp.routing.on("Heartbeat")
    async def on_heartbeat(self):
        return call_result.Heartbeat(current_time=NOW)

    @ocpp.routing.on("DataTransfer")
    async def on_data(self, vendor_id, message_id=None, data=None, **others):
        if vendor_id == "fails":
            raise ocpp.exceptions.SecurityError("not for you", {"vendor": vendor_id})
        if vendor_id == "calls":
            self.sent, self.outcome = asyncio.Event(), None
            self.task = asyncio.create_task(self.ask(message_id))
            await self.sent.wait()  # so the charge point receives the call before this answer
        if vendor_id == "outcome":
            data = self.outcome
        return call_result.DataTransfer(status="Accepted", data=data)

    async def ask(self, message_id):
        try:
            answer = await self.call(call.DataTransfer(vendor_id="central", message_id=message_id), suppress=False)
            self.outcome = f"{answer.status} {answer.data}"
        except ocpp.exceptions.OCPPError as error:
            self.outcome = f"{error.code}: {error.description}"

    async def _send(self, message):
        await super()._send(message)
        if hasattr(self, "sent"):
            self.sent.set()


async def serve(connection):
    await Central("CP", connection, response_timeout=30).start()


async def main():
    async with websockets.serve(serve, "127.0.0.1", PORT, subprotocols=[f"ocpp{VERSION}"]):
        await asyncio.get_running_loop().create_future()


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    asyncio.run(main())
