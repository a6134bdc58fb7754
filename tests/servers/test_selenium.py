"""Selenium with ``examples/cookbook/selenium_bidi.py`` as the connection of its WebDriver BiDi."""

import importlib.util
import os
import pathlib
import queue
import re
import subprocess
import sys

import pytest

from wsclient.testing import FaultProxy

from ..support import LONG
from ..support.program import find

RECIPE = pathlib.Path(__file__).parent.parent.parent / "examples" / "cookbook" / "selenium_bidi.py"
needed = {
    "SELENIUM": importlib.util.find_spec("selenium"),
    "CHROMEDRIVER": find("chromedriver"),
    "CHROMIUM": find("chromium") or find("google-chrome"),
}
missing = [name for name, found in needed.items() if not found]
pytestmark = pytest.mark.skipif(
    bool(missing),
    reason=f"{' AND '.join(missing)} {'ARE' if missing[1:] else 'IS'} MISSING, so the recipe for Selenium is not run: "
    "pip install selenium && apt-get install chromium chromium-driver",
)

LINE = re.compile(
    r"(\w+): a call takes ([\d.]+) ms, quit\(\) ([\d.]+) s; "
    r"where the connection is lost, it fails after ([\d.]+) s, and the next one (\w+)"
)


@pytest.fixture
def recipe(monkeypatch):
    """The recipe as a module; what it replaces in Selenium is put back."""
    spec = importlib.util.spec_from_file_location("selenium_bidi", RECIPE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module.remote, "WebSocketConnection", module.remote.WebSocketConnection)
    return module


@pytest.fixture
def driver(recipe):
    driver = recipe.open_browser(recipe.FastConnection, LONG)
    yield driver
    driver.quit()


def test_the_measurement_shows_what_the_recipe_is_for():
    command = [sys.executable, str(RECIPE), "5"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=os.environ)
    assert (done.returncode, done.stderr) == (0, "")
    rows = [LINE.fullmatch(line).groups() for line in done.stdout.splitlines()]
    (theirs, polled, _, waited, after), (ours, call, _, failed, afterwards) = rows
    assert (theirs, after, ours, afterwards) == ("WebSocketConnection", "fails", "FastConnection", "succeeds")
    assert float(call) < float(polled)
    assert float(failed) < float(waited)


def test_results_errors_and_events_reach_the_program(recipe, driver):
    events = queue.Queue()

    def note(entry):  # a callback may make calls
        events.put((entry.text, driver.script.execute("() => 1 + 2")["value"]))

    driver.script.add_console_message_handler(note)
    driver.script.execute("() => { for (const n of [1, 2, 3]) console.log('line', n) }")
    assert [events.get(timeout=LONG) for _ in range(3)] == [(f"line {n}", 3) for n in (1, 2, 3)]
    with pytest.raises(recipe.WebDriverException, match="no such frame"):
        driver.browsing_context.navigate("none", "about:blank")


def test_events_go_on_after_a_lost_connection(driver):
    texts = queue.Queue()
    with FaultProxy(driver.caps["webSocketUrl"]) as proxy:
        driver.caps["webSocketUrl"] = proxy.url
        driver.script.add_console_message_handler(lambda entry: texts.put(entry.text))
        driver.script.execute("() => console.log('before')")
        assert texts.get(timeout=LONG) == "before"
        proxy.cut()
        proxy.wait_for(accepted=2)
        driver.script.execute("() => console.log('after')")
        while texts.get(timeout=LONG) != "after":  # the browser repeats what it has stored
            pass
