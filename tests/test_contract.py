"""The public names and signatures, compared with the contract (``contract.pyi`` beside this file)."""

import ast
import inspect
import os
import pathlib
import typing
from collections.abc import Callable

import pytest

import wsclient
import wsclient.protocols
import wsclient.testing

CONTRACT = ast.parse((pathlib.Path(__file__).parent / "contract.pyi").read_text(encoding="utf-8"))

TO_COME: set[str] = set()
"""Names of the contract that this version does not have yet; the list can only become shorter."""

BEYOND = {"Deflate", "Limits", "Recording"}
"""Public names that the contract omits: the parameters of ``compression=``, those of ``limits=``, and the names of
secrets in a recording."""

PRESETS = {
    "ChromeDevTools", "HomeAssistant", "JupyterKernel", "ObsWebSocket", "Ocpp", "OpenAIRealtime", "Phoenix",
    "WebDriverBiDi",
}  # fmt: skip
"""Names of the contract that are in ``wsclient.protocols`` only."""

ALIASES = {"F", "Message", "Path", "Overflow"}
CLASSES = {node.name: node for node in CONTRACT.body if isinstance(node, ast.ClassDef)}


def names():
    found = set(CLASSES)
    for node in CONTRACT.body:
        if isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.AnnAssign):
            found.add(node.target.id)
        elif isinstance(node, ast.Assign):
            found.update(target.id for target in node.targets)
    return found - ALIASES - PRESETS


def members(cls):
    """Attributes and methods of a class of the contract; several may be on one line."""
    found = {}
    for node in cls.body:
        if isinstance(node, ast.FunctionDef):
            found[node.name] = node
        elif isinstance(node, ast.AnnAssign):
            found[node.target.id] = None
        elif isinstance(node, ast.Assign):
            found.update(dict.fromkeys(target.id for target in node.targets))
    return found


def parameters(function):
    arguments = function.args
    return [a.arg for a in [*arguments.posonlyargs, *arguments.args] if a.arg != "self"], [
        a.arg for a in arguments.kwonlyargs
    ]


def test_every_name_is_exported():
    exported = set(wsclient.__all__)
    assert names() - exported == {name for name in TO_COME if "." not in name and "(" not in name}
    assert exported - names() == {"__version__", *BEYOND}
    assert all(hasattr(wsclient, name) for name in exported)


def test_the_presets_are_exported_by_the_protocols_only():
    assert set(CLASSES) >= PRESETS
    assert set(wsclient.protocols.__all__) - set(wsclient.__all__) == {"ABSENT", "KINDS", *PRESETS}
    assert all(issubclass(getattr(wsclient.protocols, name), wsclient.Protocol) for name in PRESETS)


def test_the_members_and_signatures_match_the_contract():
    for name in sorted(set(CLASSES) - TO_COME):
        cls = getattr(wsclient.protocols if name in PRESETS else wsclient, name)
        missing = set()
        for member, function in members(CLASSES[name]).items():
            if member == "__init__" or function is None:
                continue
            if not hasattr(cls, member):
                missing.add(f"{name}.{member}")
                continue
            assert parameters_of(getattr(cls, member)) == parameters(function), f"{name}.{member}"
        assert missing == {entry for entry in TO_COME if entry.startswith(f"{name}.") and entry in missing}
        if "__init__" in members(CLASSES[name]):
            check_constructor(name, cls, members(CLASSES[name])["__init__"])


def check_constructor(name, cls, function):
    positional, keywords = parameters(function)
    have_positional, have_keywords = parameters_of(cls.__init__)
    assert have_positional == positional
    lacking = {f"{name}({keyword})" for keyword in keywords if keyword not in have_keywords}
    assert lacking == {entry for entry in TO_COME if entry.startswith(f"{name}(")}
    assert [keyword for keyword in keywords if keyword in have_keywords] == [
        keyword for keyword in have_keywords if keyword in keywords
    ]


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_the_presets_have_the_bases_and_the_defaults_of_the_contract(name):
    preset = getattr(wsclient.protocols, name)
    assert issubclass(preset, wsclient.Protocol)
    written = members(CLASSES[name]).get("__init__")
    defaults = [] if written is None else [*written.args.defaults, *written.args.kw_defaults]
    assert [ast.literal_eval(default) for default in defaults] == [
        one.default for one in inspect.signature(preset).parameters.values() if one.default is not one.empty
    ]


def parameters_of(function):
    kinds = inspect.Parameter
    found = [p for p in inspect.signature(function).parameters.values() if p.name != "self"]
    return [p.name for p in found if p.kind in (kinds.POSITIONAL_ONLY, kinds.POSITIONAL_OR_KEYWORD)], [
        p.name for p in found if p.kind is kinds.KEYWORD_ONLY
    ]


@pytest.mark.parametrize(
    ("option", "default"),
    [
        ("open_timeout", 10),
        ("session_timeout", 30),
        ("ping_interval", 20),
        ("ping_timeout", 20),
        ("request_timeout", 30),
        ("proxy", "env"),
        ("retry_first", False),
        ("headers", None),
        ("subprotocols", ()),
        ("origin", None),
        ("compression", "deflate"),
        ("max_message_size", 16 * 2**20),
    ],
)
def test_the_defaults_of_the_options_match_the_contract(option, default):
    assert inspect.signature(wsclient.Client).parameters[option].default == default


def test_connect_has_the_options_of_the_client():
    client = inspect.signature(wsclient.Client).parameters
    assert dict(inspect.signature(wsclient.connect).parameters) == dict(client)


def test_the_error_tree_matches_the_contract():
    tree = {
        cls: {base.id for base in node.bases if base.id != "Exception"}
        for cls, node in CLASSES.items()
        if issubclass(getattr(wsclient, cls, object), Exception)
    }
    for name, bases in tree.items():
        assert {base.__name__ for base in getattr(wsclient, name).__bases__} - {"Exception"} == bases, name


def test_the_defaults_of_the_queues_match_the_contract():
    queue = wsclient.SendQueue()
    assert (queue.max_messages, queue.max_bytes, queue.overflow) == (10_000, 64 * 2**20, "block")
    assert issubclass(wsclient.SendQueue, wsclient.Queue)
    assert issubclass(wsclient.ReceiveQueue, wsclient.Queue)


def annotated(cls):
    """The functions of a class and of its bases, by their names."""
    found = {}
    for base in (base for base in cls.__mro__ if base.__module__.startswith("wsclient")):
        for name, value in vars(base).items():
            function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
            if inspect.isfunction(function):
                found[f"{base.__qualname__}.{name}"] = function
    return found


PUBLIC = [(module, name) for module in (wsclient, wsclient.protocols, wsclient.testing) for name in module.__all__]


def test_the_type_hints_of_every_public_name_can_be_resolved():
    for module, name in PUBLIC:
        value = getattr(module, name)
        if inspect.isclass(value):
            typing.get_type_hints(value)
            for function in annotated(value).values():
                typing.get_type_hints(function)
        elif inspect.isfunction(value):
            typing.get_type_hints(value)


def test_the_type_hints_of_the_options_are_those_of_the_signature():
    hints = typing.get_type_hints(wsclient.ClientOptions)
    assert hints["protocol"] == wsclient.Protocol | None
    record = str | os.PathLike[str] | Callable[[bytes], object] | wsclient.Recording | None
    assert hints["record"] == record
    assert list(hints) == list(inspect.signature(wsclient.connect).parameters)[1:]
