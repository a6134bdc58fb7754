"""One client for a web application: FastAPI, and any other server with threads. Needs ``pip install fastapi uvicorn``.

Why: a connection for each web request would cost a log-in each time; a client may be used by all threads at once.
How: ``lifespan`` opens the client before the first web request, and closes it after the last; in threads, since both
wait. If the other server is down, the application does not start; with ``retry_first=True`` it waits for the server. If
the connection is lost later, requests wait for the next one, until their timeout. The path function is a ``def``, not
an ``async def``: FastAPI runs it in a thread, so it may wait for the answer. Flask and Django: open the client when the
process starts; with worker processes that fork, see ``processes.py``.

Change: ``URL``, the path, the messages. In an ``async def``: ``await asyncio.wrap_future(client.submit(...))``.
Run: python examples/cookbook/fastapi_app.py     (your application: uvicorn your_module:app)
"""

import asyncio
import contextlib
import json
import os
import threading
import time
import urllib.request

import fastapi
import uvicorn

import wsclient
from wsclient.testing import Server


@contextlib.asynccontextmanager
async def lifespan(app):
    app.state.client = client = wsclient.Client(os.environ["PRICES_URL"])
    await asyncio.to_thread(client.start)
    yield
    await asyncio.to_thread(client.close)


app = fastapi.FastAPI(lifespan=lifespan)


@app.get("/price/{coin}")
def price(coin: str, request: fastapi.Request):
    return request.app.state.client.request({"coin": coin}, timeout=10, idempotent=True)["price"]


if __name__ == "__main__":
    with Server(lambda connection, text: {"id": json.loads(text)["id"], "price": 100}) as server:
        os.environ["PRICES_URL"] = server.url
        web = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
        thread = threading.Thread(target=web.run)
        thread.start()
        while not web.started:
            time.sleep(0.01)
        port = web.servers[0].sockets[0].getsockname()[1]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/price/btc") as answer:
            print("price:", json.load(answer))
        web.should_exit = True
        thread.join()
        print("closed:", app.state.client.state == wsclient.State.CLOSED)
