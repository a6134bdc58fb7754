"""The house: which module may import which, and who alone may import whom from outside."""

import ast
import pathlib
import re

import wsclient

ROOT = pathlib.Path(wsclient.__file__).parent

FLOORS = {
    0: ("_version", "_lock", "_import", "_errors", "_events", "_clock", "_masking", "_url", "_checks", "_limits"),
    1: (
        "_latch", "_codec", "_http", "_deflate", "_close_frames", "_appetite", "_frames", "_handshake", "_redaction",
        "_tape", "_recording", "_config", "_state",
        "_tls_errors", "_outgoing", "_urgent", "_pings", "_pace", "_inbox", "_counters", "_worker",
    ),
    2: (
        "_outbox", "_pending", "_waiter", "_hooks", "_handlers", "_streams", "_subscriptions", "_retry", "protocols",
    ),
    3: (
        "_wakeup", "_processes", "_line", "_wrap_tls", "_nested_tls", "_dial", "_proxy", "_opening", "_orders",
        "_wire_needs", "_wire", "_core", "_requests", "_losses", "_batches", "_departing", "_source", "_delivery",
        "_feeds", "_subscribing", "_answering", "_router", "_beat", "_connection", "_session", "_transport",
    ),
    4: ("_closing", "_supervisor", "_lifecycle", "_terms", "_calls", "_stream_calls"),
    5: ("_names", "_construction", "_messaging", "_client", "_connect"),
    6: ("__init__", "testing", "cli", "__main__"),
}  # fmt: skip
"""Every module, from the cellar to the roof; each imports only what stands before it."""

OUTSIDE = {
    "websocket": ("_transport",),
    "tenacity": ("_retry",),
    "python_socks": ("_proxy",),
    "rich": ("cli", "testing"),
    "websockets": ("_masking", "cli", "testing"),
    "pytest": ("testing",),
    "trustme": ("testing",),
}
"""Who alone imports a package that is not the standard library's."""


PRINTING = (
    "cli", "testing/__main__.py", "testing/_soak/_command.py", "testing/_soak/_screen.py", "testing/_soak/_live.py",
)  # fmt: skip
"""What belongs to a command line, and alone may print."""


def room(path):
    return path.relative_to(ROOT).with_suffix("").parts[0]


def imports(path):
    """Modules of ours and packages of others that a file imports when it runs (not for the type checker alone).

    Sooner or later: what a function imports counts, and so does a table of names that are loaded late (``_HOMES``).
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    skipped = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and getattr(node.test, "id", None) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    ours, others = set(), set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            others.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            others.add(node.module.split(".")[0])
        elif isinstance(node, ast.ImportFrom) and node.level == len(path.relative_to(ROOT).parts):
            ours.update([node.module.split(".")[0]] if node.module else [alias.name for alias in node.names])
        elif isinstance(node, ast.AnnAssign) and getattr(node.target, "id", None) == "_HOMES" and path.parent == ROOT:
            ours.update(ast.literal_eval(node.value).values())
    return ours, others


FILES = sorted(ROOT.rglob("*.py"))
ORDER = [module for floor in FLOORS.values() for module in floor]


def test_every_module_has_its_place():
    assert {room(path) for path in FILES} == set(ORDER)


def test_a_module_imports_only_what_stands_below_it():
    for path in FILES:
        ours, _ = imports(path)
        below = ORDER[: ORDER.index(room(path))]
        assert ours <= set(below), f"{path.name} imports {ours - set(below)}"


def test_what_is_loaded_late_is_seen_too():
    assert {"_client", "_recording", "protocols"} <= imports(ROOT / "__init__.py")[0]
    assert "_recording" in imports(ROOT / "_core.py")[0]


def test_rich_is_needed_for_what_is_live_alone():
    rich = {path.relative_to(ROOT).as_posix() for path in FILES if "rich" in imports(path)[1]}
    assert rich == {"cli/screen.py", "testing/_soak/_live.py"}


def test_each_foreign_package_has_its_importers():
    for path in FILES:
        _, others = imports(path)
        for package, owners in OUTSIDE.items():
            assert package not in others or room(path) in owners, f"{path.name} imports {package}"


def test_nothing_of_asyncio_is_used_and_no_wall_clock():
    for path in FILES:
        _, others = imports(path)
        text = path.read_text(encoding="utf-8")
        assert "asyncio" not in others
        assert room(path) == "cli" or ("time.time()" not in text and "datetime.now" not in text), path.name


def test_locks_are_made_where_interrupts_are_known():
    for path in FILES:
        made = re.findall(r"threading\.(?:R?Lock|Condition)\(", path.read_text(encoding="utf-8"))
        assert not made or room(path) in ("_lock", "_latch", "_import"), f"{path.name}: {made}; see _lock"


def test_nothing_sleeps_or_prints_in_the_library():
    for path in FILES:
        text = path.read_text(encoding="utf-8")
        if room(path) != "cli":
            assert "time.sleep(" not in text, path.name
        if not path.relative_to(ROOT).as_posix().startswith(PRINTING):
            assert "print(" not in text, path.name


def test_no_function_is_nested():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                inner = [x.name for x in ast.walk(node) if isinstance(x, ast.FunctionDef) and x is not node]
                assert not inner, f"{path.name}: {node.name} holds {inner}"
