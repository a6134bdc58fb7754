"""A WebSocket server: it sends the result of process_message() for each message.

Run: python examples/echo_server.py [PORT]
"""

import asyncio
import contextlib
import json
import sys

from websockets.asyncio.server import serve


def process_message(message):
    """``{"id": 1, "method": "add", "params": [1, 2]}`` is answered with the sum; other messages are echoed."""
    try:
        call = json.loads(message)
        return json.dumps({"id": call["id"], "result": sum(call["params"])})
    except (ValueError, TypeError, KeyError):
        return message if isinstance(message, bytes) else f"Echo: {message}"


async def handler(connection):
    async for message in connection:
        await connection.send(process_message(message))


async def main(port):
    async with serve(handler, "localhost", port) as server:
        print(f"listening on ws://localhost:{server.sockets[0].getsockname()[1]}/", flush=True)
        await server.serve_forever()


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(int(sys.argv[1]) if len(sys.argv) > 1 else 8765))
