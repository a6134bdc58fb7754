"""The programs of ``examples/cookbook/``, each run as a reader runs it."""

import importlib.util
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest

EXAMPLES = pathlib.Path(__file__).parent.parent.parent / "examples"
LINES = {
    "log_in": ["logged in: True", "logged in: True", "log-ins: 2", "The server does not accept the token."],
    "refresh_token": ["Bearer token-1", "Bearer token-2", "last disconnect: None"],
    "resume": ["1 one", "2 two, during the break", "3 three", "resumed after: 0 1"],
    "snapshot": ["{'btc': 1, 'eth': 2}", "{'btc': 3, 'eth': 4}", "gaps: 1"],
    "answer_server": ["bought", "not bought: too expensive"],
    "quiet_feed": [
        *(f"price: {price}" for price in range(100, 104)),
        "the connection was replaced because of: quiet",
        "silences: 1",
    ],
    "rate_limit": ["answered: 20 refused: 1", "not faster than 20 per second: True"],
    "renew_daily": ["each trade once: True", "last disconnect: None"],
    "many_connections": ["not opened: HandshakeError", "connections: 49 answers: 49", "closed: 49"],
    "fastapi_app": ["price: 100", "closed: True"],
    "processes": ["results: 0 2 4 6 8 10 12 14 16 18", "a connection for each process: True"],
    "tkinter_window": ["shown: hello"],
    "qt_window": ["shown: hello on the thread of the window: True"],
    "notebook": [
        "sum: 3",
        *(f"price: {price}" for price in range(100, 103)),
        "kept: {'price': 100} {'price': 101} {'price': 102}",
    ],
    "bug_report": [
        "files: log.txt report.txt session.jsonl",
        "messages are in it: True",
        "secrets are in it: False",
    ],
    "corporate_proxy": ["answer: server", "ProxyError", "TLSError"],
    "from_websocketapp": ["open", "{'news': {'op': 'hello'}}", "sum: 3", "closed: 1000"],
    "from_websockets": ["sum: 3", "sum: 7", "{'news': 'somebody adds'}", "{'news': 'somebody adds'} gaps: 1"],
    "from_socketio": ["sum: 3", "['news', 'somebody adds']"],
}
"""What each of them prints."""

ELSEWHERE = {"selenium_bidi": "servers/test_selenium.py"}
"""Those that other tests run."""

NEEDED = {"fastapi_app": ("fastapi", "uvicorn"), "tkinter_window": ("tkinter",), "qt_window": ("PySide6",)}
"""The modules that they import, and that the tests do not need otherwise."""

LONGEST = {"selenium_bidi": 120, "from_socketio": 100, "corporate_proxy": 80}
"""Lines of those that have a measurement, a protocol, or a proxy in them."""

ARGUMENTS = {"tkinter_window": ["demo"], "qt_window": ["demo"]}

ENVIRONMENT = {"qt_window": {"QT_QPA_PLATFORM": "offscreen", "QT_LOGGING_RULES": "default.warning=false"}}
"""Qt draws into memory, and does not warn that such a window has no size."""


def screen_for(name):
    """The command that gives tkinter a screen, where there is none."""
    is_needed = name == "tkinter_window" and sys.platform == "linux" and "DISPLAY" not in os.environ
    return ["xvfb-run", "--auto-servernum"] if is_needed and shutil.which("xvfb-run") else []


def missing_for(done):
    """What the machine does not have for a window; None if the program had everything."""
    if done.stderr.startswith("THERE IS NO SCREEN"):
        return done.stderr.strip()
    library = re.search(r"^ImportError: (lib\S+): cannot open shared object file", done.stderr, re.MULTILINE)
    return library and f"{library[1].upper()} IS MISSING"


@pytest.mark.slow
@pytest.mark.parametrize("name", LINES)
def test_it_prints_what_it_is_for(name):
    for module in NEEDED.get(name, ()):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module.upper()} IS MISSING: cookbook/{name}.py is not run")
    program = [sys.executable, "-u", str(EXAMPLES / "cookbook" / f"{name}.py"), *ARGUMENTS.get(name, ())]
    environment = {**os.environ, **ENVIRONMENT.get(name, {})}
    done = subprocess.run([*screen_for(name), *program], capture_output=True, text=True, timeout=60, env=environment)
    if missing := missing_for(done):
        pytest.skip(f"{missing}: cookbook/{name}.py is not run")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == LINES[name]


def test_each_is_run_listed_explained_and_short():
    files = {path.stem: path.read_text("utf-8") for path in EXAMPLES.glob("cookbook/*.py")}
    assert files.keys() == {*LINES, *ELSEWHERE}
    listed = re.findall(r"\]\(cookbook/(\w+)\.py\)", (EXAMPLES / "README.md").read_text("utf-8"))
    assert set(listed) == files.keys()
    for name, text in files.items():
        for word in ("Why:", "How:", "Change:", f"Run: python examples/cookbook/{name}.py"):
            assert word in text.split('"""')[1], (name, word)
        assert len(text.splitlines()) <= LONGEST.get(name, 75), name
