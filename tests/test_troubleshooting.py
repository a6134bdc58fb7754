"""``examples/TROUBLESHOOTING.md``: its sentences are those of the library, and each error class is explained."""

import ast
import functools
import pathlib
import re

import pytest

import wsclient

ROOT = pathlib.Path(wsclient.__file__).parent
PAGE = (ROOT.parent / "examples" / "TROUBLESHOOTING.md").read_text(encoding="utf-8")
SENTENCES = re.findall(r"^> (.+)$", PAGE, re.MULTILINE)

CONTINUED = re.findall(r"^\| ((?:it|its|the peer|Meanwhile|Replies) .+?) \|", PAGE, re.MULTILINE)
"""The ends of sentences, in tables."""


@functools.cache
def texts():
    """All texts in the code of the library, each with ``…`` in place of its values."""
    found = []
    for path in sorted(ROOT.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                found.append("".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(re.sub(r"\{[^}]*\}", "…", node.value))
    return "\n".join(found)


def parts_of(sentence):
    return [part.strip(" .,:;()'") for part in sentence.split("…")]


@pytest.mark.parametrize("sentence", SENTENCES + CONTINUED)
def test_the_library_contains_each_listed_sentence(sentence):
    parts = [part for part in parts_of(sentence) if part]
    assert max(map(len, parts)) >= 12, "too short to be found"
    for part in parts:
        assert part in texts(), part


@pytest.mark.parametrize("name", [
    name for name in dir(wsclient)
    if isinstance(getattr(wsclient, name), type) and issubclass(getattr(wsclient, name), wsclient.WebSocketClientError)
])  # fmt: skip
def test_each_error_is_explained(name):
    assert name in PAGE
