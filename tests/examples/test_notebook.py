"""``examples/cookbook/notebook.py`` in a Jupyter kernel: its cells, run again, interrupted."""

import importlib.util
import pathlib
import re
import sys

import pytest

NOTEBOOK = pathlib.Path(__file__).parent.parent.parent / "examples" / "cookbook" / "notebook.py"
MISSING = [name for name in ("nbclient", "ipykernel") if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="os.kill() does not interrupt a process of Windows"),
    pytest.mark.skipif(
        bool(MISSING),
        reason=f"{' AND '.join(MISSING).upper()} MISSING: cookbook/notebook.py is run as a program only",
    ),
]

INTERRUPTED = """
import os, signal
server.handler = lambda connection, text: os.kill(os.getpid(), signal.SIGINT)  # as "Interrupt" does
client.request({"op": "sum", "numbers": []}, timeout=60)
"""
HOOK_PRINTS = """
def on_message(client, message):
    print("printed by a hook:", message)
    printed.set()

import threading
printed = threading.Event()
server.handler = lambda connection, text: connection.send(text)
with wsclient.connect(URL, on_message=on_message) as other:
    other.send("hello")
    assert printed.wait(30)
"""
ONE_CLIENT = """
limit = time.monotonic() + 30
while len(server.connections) > 1 and time.monotonic() < limit:
    time.sleep(0.05)
print("open:", client.state.name, "connections:", len(server.connections))
"""


def cells():
    """The cells by the first word of their title; the first cell is ``Start``."""
    _, *parts = re.split(r"^# %%(.*)\n", NOTEBOOK.read_text("utf-8"), flags=re.MULTILINE)
    titles = [(title.split() or ["Start"])[0].strip(":") for title in parts[::2]]
    return dict(zip(titles, parts[1::2], strict=True))


def run(*sources):
    """What each of these cells prints, or the name of the error that it raises."""
    import nbclient
    import nbformat

    made = [nbformat.v4.new_code_cell(source) for source in sources]
    nbclient.NotebookClient(nbformat.v4.new_notebook(cells=made), timeout=60, allow_errors=True).execute()
    return ["".join(output.get("text") or output.get("ename", "") for output in cell.outputs) for cell in made]


def test_the_cells_are_run_again_and_interrupted():
    cell = cells()
    assert list(cell) == ["Start", "Open", "Ask", "Watch", "Look", "Close"]
    names = ["Start", "Open", "Ask", "Watch", "Look", "Ask", "Start", "Open", "Ask"]
    *first, interrupted, _, asked, hook, one, closed = run(
        *(cell[name] for name in names), INTERRUPTED, "server.handler = answer", cell["Ask"], HOOK_PRINTS, ONE_CLIENT,
        cell["Close"],
    )  # fmt: skip
    prices = "".join(f"price: {price}\n" for price in range(100, 103))
    kept = "kept: {'price': 100} {'price': 101} {'price': 102}\n"
    assert first == ["", "", "sum: 3\n", prices, kept, "sum: 3\n", "", "", "sum: 3\n"]
    assert interrupted == "KeyboardInterrupt"
    assert asked == "sum: 3\n"
    assert hook == "printed by a hook: hello\n"
    assert (one, closed) == ("open: OPEN connections: 1\n", "")
