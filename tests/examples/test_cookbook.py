"""The programs of ``examples/cookbook/``, each run as a reader runs it."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

EXAMPLES = pathlib.Path(__file__).parent.parent.parent / "examples"
LINES = {
    "log_in": ["logged in: True", "logged in: True", "log-ins: 2", "The server does not accept the token."],
    "refresh_token": ["Bearer token-1", "Bearer token-2", "last disconnect: None"],
    "resume": ["1 one", "2 two, while nobody listens", "3 three", "connections: 2"],
    "snapshot": ["{'btc': 1, 'eth': 2}", "{'btc': 3, 'eth': 4}", "gaps: 1"],
    "answer_server": ["bought", "not bought: too expensive"],
    "quiet_feed": [
        *(f"price: {price}" for price in range(100, 104)),
        "the connection was replaced because of: quiet",
        "silences: 1",
    ],
    "rate_limit": ["answered: 20 refused: 1", "not faster than 50 per second: True"],
    "renew_daily": ["each trade once: True", "last disconnect: None"],
    "many_connections": ["connections: 50 answers: 50", "closed: 50"],
}
"""What each of them prints."""

ELSEWHERE = {"selenium_bidi": "servers/test_selenium.py"}
"""Those that other tests run."""


@pytest.mark.slow
@pytest.mark.parametrize("name", LINES)
def test_it_prints_what_it_is_for(name):
    command = [sys.executable, "-u", str(EXAMPLES / "cookbook" / f"{name}.py")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, env=os.environ)
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
        assert len(text.splitlines()) <= (110 if name in ELSEWHERE else 65), name
