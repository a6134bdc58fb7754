"""The structure: which package may import which, the only importer of an external package, and what no module does."""

import ast
import functools
import graphlib
import pathlib
import re

import wsclient

ROOT = pathlib.Path(wsclient.__file__).parent
FILES = {path.relative_to(ROOT).as_posix(): path for path in sorted(ROOT.rglob("*.py"))}

ORDER = """
    _version _models _stats _typing _validation | _errors _options | _threads | _rfc6455 |
    protocols _network _recording | _settings _sending | _requests | _receiving | _connection | _client |
    testing | cli | __init__ __main__ _url
"""
"""Each package imports only from groups to the left of its own, never from another package of its group."""

OUTSIDE = {
    "websocket": ("_connection/websocket_app.py",),
    "tenacity": ("_connection/reconnect.py",),
    "rich": ("cli/screen.py", "cli/bench_screen.py", "cli/coloring.py", "cli/tree.py"),
    "click": ("cli/",),
    "cryptography": ("cli/certificates.py",),
    "prompt_toolkit": ("cli/shell.py", "cli/shell_screen.py", "cli/shell_history.py"),
    "websockets": ("_rfc6455/masking.py", "cli/", "testing/"),
    "pytest": ("testing/",),
    "trustme": ("testing/",),
}
"""The only modules that import a package outside the standard library."""

PRINTING = ("cli/", "testing/__main__.py")
"""Modules of a command line; only they may print."""

LOCKS = ("_threads/locks.py", "_threads/sections.py", "_threads/waiting.py", "_threads/imports.py")
"""Modules that create locks of the standard library."""

RANK = {package: rank for rank, group in enumerate(ORDER.split("|")) for package in group.split()}


@functools.cache
def tree(name):
    return ast.parse(FILES[name].read_text(encoding="utf-8"))


@functools.cache
def nodes(name):
    return list(ast.walk(tree(name)))


@functools.cache
def modules_of_ours(name):
    """Modules that a file imports: when it is loaded, in a function, or for the type checker alone."""
    found = set()
    for node in nodes(name):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = "/".join([*name.split("/")[: -node.level], *filter(None, (node.module or "").split("."))])
            for path in (f"{base}/{alias.name}".lstrip("/") for alias in node.names):
                files = (f"{path}.py", f"{path}/__init__.py", f"{base}.py", f"{base}/__init__.py".lstrip("/"))
                found.add(next(file for file in files if file in FILES))
    return found - {name}


def package_of(name):
    return name.split("/")[0].removesuffix(".py")


def test_a_package_imports_only_packages_to_its_left():
    for name in FILES:
        for other in modules_of_ours(name):
            here, there = package_of(name), package_of(other)
            assert there == here or RANK[there] < RANK[here], f"{name} imports {other}"


def test_imports_of_every_kind_are_counted():
    late, typed = modules_of_ours("_connection/context.py"), modules_of_ours("_sending/writer.py")
    assert "_recording/recorder.py" in late
    assert "_network/transport.py" in typed
    assert all("wsclient" not in packages_of_others(name) for name in FILES)


def test_no_modules_form_an_import_cycle():
    graphlib.TopologicalSorter({name: modules_of_ours(name) for name in FILES}).prepare()


@functools.cache
def packages_of_others(name):
    """Packages that a file imports, at the top or in a function."""
    found = set()
    for node in nodes(name):
        if isinstance(node, ast.Import):
            found.update(alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found.add(node.module.split(".")[0])
    return found


def test_each_external_package_has_its_importers():
    for name in FILES:
        for package in packages_of_others(name) & OUTSIDE.keys():
            assert name.startswith(OUTSIDE[package]), f"{name} imports {package}"


def test_asyncio_and_the_wall_clock_are_not_used():
    for name, path in FILES.items():
        text = path.read_text(encoding="utf-8")
        assert "asyncio" not in packages_of_others(name), name
        assert name.startswith("cli/") or ("time.time()" not in text and "datetime.now" not in text), name


def test_locks_are_created_only_in_the_modules_that_handle_interrupts():
    for name, path in FILES.items():
        made = re.findall(r"threading\.(?:R?Lock|Condition)\(", path.read_text(encoding="utf-8"))
        assert not made or name in LOCKS, f"{name}: {made}; see _threads/locks.py"


def test_each_lock_is_acquired_together_with_the_section_of_its_thread():
    for name, path in FILES.items():
        if name.partition("/")[0] not in ("testing", "cli"):
            lines = path.read_text(encoding="utf-8").splitlines()
            bare = [line for line in lines if re.search(r"with self\.(?:_lock|_write_lock)\b", line)]
            if name == "_requests/table.py":
                bare.remove("        with self._lock:  # the writer calls this, inside the section of its write lock")
            assert not bare, f"{name}: write `with this_thread.section, self._lock:`, see _threads/sections.py"


def test_nothing_sleeps_or_prints_in_the_library():
    for name, path in FILES.items():
        text = path.read_text(encoding="utf-8")
        assert name.startswith("cli/") or "time.sleep(" not in text, name
        assert name.startswith(PRINTING) or "print(" not in text, name


def test_no_function_is_nested():
    for name in FILES:
        for node in nodes(name):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                inner = [x.name for x in ast.walk(node) if isinstance(x, ast.FunctionDef) and x is not node]
                assert not inner, f"{name}: {node.name} holds {inner}"
