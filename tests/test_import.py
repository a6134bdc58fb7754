"""The cost of ``import wsclient``, what is loaded when, and that deferred loading changes nothing else.

Each test uses a separate interpreter: in this one everything is already loaded.
"""

import ast
import os
import pathlib
import statistics
import subprocess
import sys

import pytest

import wsclient.testing

from .support import SHORT
from .support.children import needs_fork

ROOT = pathlib.Path(wsclient.__file__).parent
RUNS = 11
LIMIT = 1.15
"""The highest cost of ``import wsclient``, as a multiple of that of importing the libraries it uses."""

LIBRARIES = "import websocket, tenacity"

EAGER = {
    "wsclient",
    "wsclient._threads",
    "wsclient._threads.imports",
    "wsclient._threads.locks",
    "wsclient._threads.processes",
    "wsclient._version",
}
"""The modules that ``import wsclient`` loads: its own, and those that must run at exit and at a fork."""

FOR_FEW = {
    "asyncio.events", "concurrent.futures.process", "concurrent.futures.thread", "email", "http.client",
    "multiprocessing", "pickle", "platform", "rich", "shutil", "tempfile", "urllib.request",
    "websockets", "wsclient._recording.recorder", "wsclient._recording.redaction", "wsclient._recording.format",
    "wsclient.cli", "wsclient.testing", "wsclient.protocols._commands", "wsclient.protocols._chrome_devtools",
    "wsclient.protocols._home_assistant", "wsclient.protocols._obs_websocket", "wsclient.protocols._webdriver_bidi",
}  # fmt: skip
"""Modules that only a few clients need."""

OF_PROXIES = {"email", "http.client", "shutil", "tempfile", "urllib.request"}
ASKS_THE_SYSTEM = sys.platform in ("darwin", "win32")  # for its proxies


def run(program, *arguments, **environment):
    """The output of a program in a separate interpreter, without a proxy in its environment."""
    plain = {name: value for name, value in os.environ.items() if not name.lower().endswith("_proxy")}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**plain, **environment},
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout.strip()


# --- cost ------------------------------------------------------------------------------------------------------------


def seconds(program, **environment):
    """Processor time of a program, without the start of its interpreter."""
    clock = "import time; began = time.process_time()\n"
    return float(run(f"{clock}{program}\nprint(time.process_time() - began)", **environment))


@pytest.mark.slow
def test_the_import_costs_little_in_addition_to_the_libraries_it_uses(figures, tmp_path):
    # Like an installed package: with bytecode, in any environment.
    environment = {"PYTHONPYCACHEPREFIX": str(tmp_path), "PYTHONDONTWRITEBYTECODE": ""}
    programs = {
        "import": "import wsclient",
        "first client": "import wsclient; wsclient.Client('ws://localhost').close()",
    }
    for program in (LIBRARIES, *programs.values()):
        seconds(program, **environment)
    ratios = {name: [] for name in programs}
    for _ in range(RUNS):
        base = seconds(LIBRARIES, **environment)
        for name, program in programs.items():
            ratios[name].append(seconds(program, **environment) / base)
    medians = {name: statistics.median(found) for name, found in ratios.items()}
    figures(*(f"{name}: {ratio:.2f} x `{LIBRARIES}`" for name, ratio in medians.items()))
    assert medians["import"] <= LIMIT


# --- deferred loading ------------------------------------------------------------------------------------------------

LOADED = "import sys; before = set(sys.modules)\n{}\nprint(*(set(sys.modules) - before))"


def loaded(program, *arguments, **environment):
    return set(run(LOADED.format(program), *arguments, **environment).split())


def of_ours(modules):
    return {name for name in modules if name.partition(".")[0] == "wsclient"}


def test_the_import_loads_no_module_of_the_client():
    modules = loaded("import wsclient; wsclient.__version__, dir(wsclient)")
    assert of_ours(modules) == EAGER
    modules -= loaded("import logging")  # which itself loads more from 3.14 on
    assert not modules & {"dataclasses", "json", "socket", "ssl", "tenacity", "websocket", *FOR_FEW}


USED = """
import wsclient
with wsclient.connect(sys.argv[1]) as client:
    assert client.request({"method": "add", "params": [1, 2]}) == {"id": 1, "result": 3}, "no answer"
    client.send("some text")
    client.stats
"""


def test_a_basic_client_loads_no_rarely_used_module(server):
    modules = loaded(USED, server.url) - loaded(LIBRARIES)
    assert "wsclient._client.client" in modules
    assert not modules & (FOR_FEW - OF_PROXIES if ASKS_THE_SYSTEM else FOR_FEW)


@pytest.mark.slow
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "all_proxy"])
def test_the_modules_for_a_proxy_of_the_environment_are_loaded_if_there_may_be_one(dead, variable):
    fails = (
        "import wsclient\n"
        "try:\n"
        "    wsclient.connect('ws://localhost:1', proxy={})\n"
        "except wsclient.ProxyError:\n"
        "    print('by proxy')\n"
        "except wsclient.ConnectError:\n"
        "    print('directly')\n"
    )
    named = {variable: f"http://127.0.0.1:{dead}"}
    assert {"proxy", "urllib.request"} <= loaded(fails.format("'env'"), **named)
    assert "urllib.request" not in loaded(fails.format("None"), **named)


def test_the_modules_for_a_recording_are_loaded_with_its_client(tmp_path):
    made = "import wsclient; client = wsclient.Client('ws://localhost', record=sys.argv[1])"
    assert {"wsclient._recording.recorder", "wsclient._recording.redaction", "wsclient._recording.format"} <= loaded(
        made, str(tmp_path / "tape")
    )


LIFE = """
import atexit, sys
atexit.register(lambda: print(*late()))  # before wsclient's own, hence after it
import os, threading, warnings, wsclient

def late():
    return [name for name in set(sys.modules) - before if name.startswith("wsclient")]

warnings.filterwarnings("ignore", ".*never closed", ResourceWarning)  # the warning about an open client
warnings.filterwarnings("ignore", ".*multi-threaded", DeprecationWarning)
_, end, url, *tape = sys.argv
client = wsclient.Client(url, record=tape[0] if tape else None)
before = set(sys.modules)
client.start()
client.request({"method": "add", "params": [1, 2]})
client.submit({"method": "add", "params": [1, 2]}).result()
client.request_many([{"method": "add", "params": [1, 2]}])
client.listen().close()
client.subscribe({"method": "add", "params": [1, 2]}, match=print).close()
client.on("topic", print, workers=1)
again = threading.Event()
client.on_reconnect = lambda _: again.set()
client.reconnect()
assert again.wait(15)
client.flush()
client.stats, client.last_disconnect
if hasattr(os, "fork"):
    if os.fork() == 0:
        try:
            client.send("x")
        except wsclient.ForkedClient:
            os._exit(len(late()))
        os._exit(99)
    assert os.wait()[1] == 0
if end == "close":
    client.close()
elif end == "close at once":
    client.close(wait=False)
elif end == "drain":
    client.drain()
"""


@pytest.mark.parametrize(
    ("end", "recorded"),
    [
        ("close", False),
        ("drain", True),
        ("left open", False),
        pytest.param("close at once", False, marks=pytest.mark.slow),
        pytest.param("drain", False, marks=pytest.mark.slow),
    ],
)
def test_after_the_construction_of_a_client_no_module_of_the_library_is_loaded(server, end, recorded, tmp_path):
    # At the end of the interpreter imports fail; also in a child, if the fork interrupted an import of another thread.
    assert run(LIFE, end, server.url, *([str(tmp_path / "tape")] if recorded else [])) == ""


def test_functions_registered_for_exit_after_the_import_run_before_the_warning_about_an_open_client(server):
    program = (
        "import atexit, sys, wsclient\n"
        "atexit.register(lambda: client.close())\n"
        "client = wsclient.connect(sys.argv[1])\n"
    )
    assert run(program, server.url) == ""  # no warning about a client that was never closed


# --- names -----------------------------------------------------------------------------------------------------------


def declared(path):
    """The public names and their modules, for type checkers and editors."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    (block,) = (
        node for node in tree.body if isinstance(node, ast.If) and getattr(node.test, "id", "") == "TYPE_CHECKING"
    )
    return {
        alias.name: node.module
        for node in block.body
        if isinstance(node, ast.ImportFrom) and node.module
        for alias in node.names
    }


@pytest.mark.parametrize("package", [wsclient, wsclient.testing])
def test_type_checkers_find_the_same_names_in_the_same_modules(package):
    assert declared(pathlib.Path(package.__file__)) == package._MODULE_OF
    assert set(package.__all__) == {
        *package._MODULE_OF,
        *({"__version__"} & vars(package).keys() if package is wsclient else ()),
    }


def test_type_checkers_find_the_presets_in_the_same_modules():
    package = wsclient.protocols
    at_once = set(package.__all__) - set(package._MODULE_OF)
    assert at_once <= vars(package).keys()
    assert declared(pathlib.Path(package.__file__)) == package._MODULE_OF


def test_presets_are_imported_when_they_are_first_used():
    program = (
        "import sys, wsclient\n"
        "from wsclient.protocols import JsonId\n"
        "before = 'wsclient.protocols._phoenix' in sys.modules\n"
        "wsclient.protocols.Phoenix\n"
        "print(before, 'Phoenix' in vars(wsclient.protocols), 'Ocpp' in dir(wsclient.protocols))\n"
    )
    assert run(program) == "False True True"
    with pytest.raises(AttributeError, match="Phenix"):
        wsclient.protocols.Phenix  # noqa: B018


@pytest.mark.parametrize("package", [wsclient, wsclient.protocols, wsclient.testing])
def test_type_checkers_do_not_see_the_module_getattr(package):
    # They would accept any name: a misspelt one would no longer be reported.
    tree = ast.parse(pathlib.Path(package.__file__).read_text(encoding="utf-8"))
    hidden = [node for node in tree.body if isinstance(node, ast.If) and ast.unparse(node.test) == "not TYPE_CHECKING"]
    places = [block for block in (tree, *hidden) for node in block.body if getattr(node, "name", "") == "__getattr__"]
    assert len(hidden) == 1
    assert places == hidden


@pytest.mark.slow
def test_each_name_can_be_the_first_one_used():
    program = (
        "import sys, wsclient\n"
        "for name in wsclient.__all__:\n"
        "    for module in [module for module in sys.modules if module.startswith('wsclient')]:\n"
        "        del sys.modules[module]\n"
        "    import wsclient\n"
        "    assert name == '__version__' or name not in vars(wsclient), name\n"
        "    assert getattr(wsclient, name) is getattr(wsclient, name) is vars(wsclient)[name], name\n"
        "    print(name)\n"
    )
    assert run(program).split() == wsclient.__all__


def test_all_names_can_be_listed_and_imported_at_once():
    assert set(run("import wsclient; print(*dir(wsclient))").split()) >= {*wsclient.__all__, "protocols"}
    assert set(run("from wsclient import *; print(*globals())").split()) >= set(wsclient.__all__)


def test_the_protocols_need_no_separate_import():
    assert (
        run("import wsclient; print(wsclient.protocols.ABSENT is not None, 'testing' in dir(wsclient))") == "True False"
    )


@pytest.mark.slow
@pytest.mark.parametrize("first", ["", "wsclient.Client; "])
def test_a_misspelt_name_is_reported_like_that_of_any_module(first):
    program = f"import wsclient; {first}{{}}"
    assert said(program.format("wsclient.conect")) == (
        "AttributeError: module 'wsclient' has no attribute 'conect'. Did you mean: 'connect'?"
    )
    assert said(program.format("from wsclient import nope")).startswith(
        "ImportError: cannot import name 'nope' from 'wsclient' ("
    )


def said(program):
    """The last line of the error output of a program that fails."""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    return done.stderr.splitlines()[-1]


# --- deferred loading in special cases -------------------------------------------------------------------------------


@pytest.mark.slow
def test_threads_can_use_their_first_names_at_the_same_time():
    program = (
        "import sys, threading, wsclient\n"
        "sys.setswitchinterval(1e-5)\n"
        "barrier = threading.Barrier(len(wsclient.__all__))\n"
        "found = {}\n"
        "def use(name):\n"
        "    barrier.wait()\n"
        "    found[name] = getattr(wsclient, name)\n"
        "threads = [threading.Thread(target=use, args=(name,)) for name in wsclient.__all__]\n"
        "for thread in threads: thread.start()\n"
        "for thread in threads: thread.join()\n"
        "print(all(found[name] is getattr(wsclient, name) for name in wsclient.__all__), len(found))\n"
    )
    for _ in range(5):
        assert run(program) == f"True {len(wsclient.__all__)}"


@pytest.mark.slow
def test_a_first_use_that_was_interrupted_can_be_repeated(server):
    program = (
        "import sys, wsclient\n"
        "class Interrupt:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == sys.argv[2]:\n"
        "            sys.meta_path.remove(self)\n"
        "            raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Interrupt())\n"
        "try:\n"
        "    wsclient.connect\n"
        "except KeyboardInterrupt:\n"
        "    with wsclient.connect(sys.argv[1]) as client:\n"
        "        print(client.request('text', match=lambda message: True))\n"
    )
    for module in (
        "wsclient._client.connect",
        "wsclient.protocols._base",
        "wsclient._connection.supervisor",
        "tenacity",
    ):
        assert run(program, server.url, module) == "text"


@pytest.mark.slow
def test_the_first_use_can_be_in_a_signal_handler(server):
    program = (
        "import signal, sys, wsclient\n"
        "def tell(*_):\n"
        "    with wsclient.connect(sys.argv[1]) as client:\n"
        "        print(client.request('text', match=lambda message: True))\n"
        "signal.signal(signal.SIGINT, tell)\n"
        "signal.raise_signal(signal.SIGINT)\n"
    )
    assert run(program, server.url) == "text"


@pytest.mark.slow
@needs_fork
def test_the_first_use_can_be_in_a_forked_child(server):
    program = (
        "import os, sys, wsclient\n"
        "if os.fork() == 0:\n"
        "    with wsclient.connect(sys.argv[1]) as client:\n"
        "        print(client.request('text', match=lambda message: True))\n"
        "    sys.exit()\n"
        "assert os.wait()[1] == 0\n"
    )
    assert run(program, server.url) == "text"


@pytest.mark.slow
@needs_fork
@pytest.mark.parametrize(
    "module",
    [
        "wsclient._client.client",
        "wsclient.protocols._base",
        "tenacity",
    ],
)
def test_a_fork_waits_until_another_thread_has_loaded_a_module(server, module):
    # The child would wait forever for a thread of the parent to end its import. Afterwards all threads can continue.
    program = (
        "import os, signal, sys, threading, warnings, wsclient\n"
        "warnings.simplefilter('ignore', DeprecationWarning)  # since 3.12, of a fork in a process with threads\n"
        "inside, forked = threading.Event(), threading.Event()\n"
        "class Slow:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == sys.argv[2]:\n"
        "            sys.meta_path.remove(self)\n"
        "            inside.set()\n"
        "            print('too early' if forked.wait(float(sys.argv[3])) else 'imported', flush=True)\n"
        "sys.meta_path.insert(0, Slow())\n"
        "thread = threading.Thread(target=lambda: wsclient.connect)\n"
        "thread.start()\n"
        "inside.wait()\n"
        "child = os.fork()\n"
        "forked.set()\n"
        "signal.alarm(10)\n"
        "other = threading.Thread(target=lambda: wsclient.Recording)\n"
        "other.start()\n"
        "other.join()\n"
        "if child == 0:\n"
        "    with wsclient.connect(sys.argv[1]) as client:\n"
        "        print(client.request('text', match=lambda message: True))\n"
        "    sys.exit()\n"
        "sys.exit(os.wait()[1])\n"
    )
    assert run(program, server.url, module, str(SHORT)).split() == ["imported", "text"]


@pytest.mark.slow
@needs_fork
def test_a_signal_handler_that_forks_during_an_import_does_not_deadlock():
    program = (
        "import os, sys, wsclient\n"
        "class Forks:\n"
        "    def find_spec(self, name, *_):\n"
        "        if name == 'wsclient._connection.supervisor':\n"
        "            sys.meta_path.remove(self)\n"
        "            if os.fork():\n"
        "                assert os.wait()[1] == 0\n"
        "sys.meta_path.insert(0, Forks())\n"
        "print(wsclient.connect.__name__)\n"
    )
    assert run(program).split() == ["connect", "connect"]


@pytest.mark.slow
def test_the_first_use_can_be_at_exit():
    program = "import atexit, wsclient\natexit.register(lambda: print(wsclient.Client('ws://localhost').state))\n"
    assert run(program) == "State.NEW"


# --- a file with the name of a library -------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["websocket.py", "websocket/__init__.py"])
def test_a_file_with_the_name_of_a_library_is_named_in_the_error(path, tmp_path):
    file = tmp_path / path
    file.parent.mkdir(exist_ok=True)
    file.write_text("")
    program = """
import sys
sys.path.insert(0, sys.argv[1])
import wsclient
for _ in range(2):
    try:
        wsclient.Client
    except ImportError as error:
        print(error.name, error)
"""
    lines = run(program, str(tmp_path)).splitlines()
    assert len(lines) == 2
    for line in lines:
        assert line.startswith("websocket wsclient needs the library websocket-client, but the import of 'websocket'")
        assert str(file) in line


def test_a_script_with_the_name_of_a_library_gets_the_same_error(tmp_path):
    script = tmp_path / "websocket.py"
    script.write_text("import wsclient\nwsclient.connect('ws://localhost:9/')\n")
    done = subprocess.run(
        [sys.executable, script], capture_output=True, text=True, timeout=60, check=False,
        env={**os.environ, "PYTHONPATH": str(ROOT.parent)},
    )  # fmt: skip
    last = done.stderr.splitlines()[-1]
    assert last.startswith("ImportError: wsclient needs the library websocket-client"), done.stderr
    assert str(script) in last
