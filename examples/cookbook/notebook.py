# %%
"""A Jupyter notebook: a client that lives from cell to cell. Each ``# %%`` begins a cell (VS Code, Spyder, Jupytext).

Why: a cell ends and the connection shall not; a cell that is run twice must not leave a second connection; a call that
takes too long must be ended without losing the log-in.
How: open the client in one cell, use it in the others, and close it in the last. The first line of the cell that opens
it closes the one of an earlier run. Its threads go on between cells, so it answers pings and reconnects while no cell
runs. "Interrupt" (Ctrl-C in a console) raises KeyboardInterrupt in the call that waits; the client stays open, and the
next cell uses it. What a hook prints appears in the cell that runs, or that ran last. So keep what arrives in a deque,
and look at it in a cell; or read a stream in a cell. A restart of the kernel ends the connection without a close frame.

Change: ``URL`` to that of your server, and the messages; the server of this cell is for the demonstration.
Run: python examples/cookbook/notebook.py     (or open it as a notebook)
"""

import collections
import itertools
import json
import time

import wsclient
from wsclient.testing import Server


def answer(connection, text):
    message = json.loads(text)
    if message["op"] == "sum":
        return {"id": message["id"], "sum": sum(message["numbers"])}
    for price in range(100, 103):
        connection.send(json.dumps({"price": price}))
    return None


if "server" not in globals():
    server = Server(answer)
URL = server.url

# %% Open: this cell may be run again.
if "client" in globals():
    client.close()  # noqa: F821 (of an earlier run)
latest = collections.deque(maxlen=1000)
client = wsclient.connect(URL, on_message=lambda client, message: latest.append(message))

# %% Ask: one request for each run of the cell.
print("sum:", client.request({"op": "sum", "numbers": [1, 2]}, timeout=10)["sum"])

# %% Watch: until three prices have come, or until you press "Interrupt".
with client.listen(lambda message: "price" in message) as prices:
    client.send({"op": "prices"})
    for message in itertools.islice(prices, 3):
        print("price:", message["price"])

# %% Look at what has come between the cells.
while len(latest) < 3:
    time.sleep(0.1)
print("kept:", *latest)

# %% Close: at the end, and before the kernel is shut down.
client.close()
server.stop()
