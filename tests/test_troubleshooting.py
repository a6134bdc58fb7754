"""``examples/TROUBLESHOOTING.md``: it lists each error of the library, and no sentence that is not in the library."""

import ast
import builtins
import functools
import pathlib
import re

import wsclient

from .test_pages import anchors, links

ROOT = pathlib.Path(wsclient.__file__).parent
PAGE = (ROOT.parent / "examples" / "TROUBLESHOOTING.md").read_text(encoding="utf-8")

KINDS = {
    name
    for module in (builtins, wsclient)
    for name in dir(module)
    if isinstance(getattr(module, name), type) and issubclass(getattr(module, name), BaseException)
}
"""The classes whose texts are errors even if they have two words only."""

OF_COMMANDS = {"CommandError", "InputError"}
"""The classes of the errors of the commands; the other texts in ``wsclient/cli`` are output."""

INTERNAL = {"Interrupted"}
"""The classes that no call raises, and that are not logged."""

UNLISTED = {
    "Method not found: …": "an answer to the server, which called a method",
    "No handler for ….": "an answer to the server, which called a method",
}
"""The texts that need not be on the page, each with the reason."""

ANCHORS = [
    "the-connection-cannot-be-opened", "certificates", "the-connection-ends", "a-request-gets-no-reply",
    "messages-are-lost-or-do-not-come", "a-call-is-refused", "surroundings",
]  # fmt: skip
"""Links from elsewhere may lead to these sections, so their headings stay."""


# --- the page --------------------------------------------------------------------------------------------------------


def joined(text):
    return re.sub(r"\s+", " ", text).strip()


def quoted(page):
    """The sentences in quotations; a quotation may have several lines."""
    return [
        joined(re.sub(r"^> ", "", one, flags=re.MULTILINE)) for one in re.findall(r"(?:^> .+\n)+", page, re.MULTILINE)
    ]


def in_blocks(page):
    """The sentences in blocks of text, one on each line; a line that is indented continues the one before."""
    blocks = re.findall(r"^```text\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in re.sub(r"\n +", " ", block).splitlines()]


def in_tables(page):
    """The ends of sentences, in tables."""
    return re.findall(r"^\| ((?:it|its|the peer|Meanwhile|Replies) .+?) \|", page, re.MULTILINE)


WORDS_OF_PAGE = joined(re.sub(r"^> ", "", PAGE.replace("`", ""), flags=re.MULTILINE))


# --- the code --------------------------------------------------------------------------------------------------------


def text_of(node):
    """The text of a constant or of an f-string, with ``…`` in place of its values; None for other nodes."""
    if isinstance(node, ast.JoinedStr):
        text = "".join(part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        text = re.sub(r"\{[^}]*\}|%[.\d]*[sdrfg]\b", "…", node.value)  # for format() and for the log
    else:
        return None
    return joined(re.sub("…+", "…", text))


def parts_of(sentence):
    """The literal parts of a sentence, between its values."""
    return [part for part in (part.strip(" .,:;()'") for part in sentence.split("…")) if part]


def is_sentence(text, words):
    return len(re.findall(r"[^\W\d_]{2,}", text)) >= words and re.search(r"[^\W\d_] [a-z']", text) is not None


def is_log_below_warning(call):
    """Whether a call logs with the level INFO or DEBUG."""
    levels = [argument.attr for argument in call.args if isinstance(argument, ast.Attribute)]
    return "INFO" in levels or "DEBUG" in levels


def sentences(node, only=None, *, is_error=False):
    """The texts below a node that may be errors or warnings, with their lines.

    All texts of three words count, since a text may be made far from the place where it is raised or logged; and, in
    a ``raise`` statement or the constructor of an error, those of two words. Docstrings and records below the level
    WARNING do not count.

    Args:
        node: where to begin.
        only: the classes whose arguments count; None for all texts.
        is_error: whether the node is a part of an error.
    """
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return
    if isinstance(node, ast.Call):
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        if name in INTERNAL or is_log_below_warning(node):
            return
        is_error = is_error or name in (KINDS if only is None else only)
    is_error = is_error or (only is None and isinstance(node, ast.Raise))
    text = text_of(node)
    if text is not None and (is_error or only is None) and is_sentence(text, 2 if is_error else 3):
        yield text, node.lineno
    inner = [one.value for one in getattr(node, "values", ()) if isinstance(one, ast.FormattedValue)]
    for child in inner if isinstance(node, ast.JoinedStr) else ast.iter_child_nodes(node):
        yield from sentences(child, only, is_error=is_error and not inner)


@functools.cache
def trees():
    """The parsed modules, by their paths below ``wsclient``."""
    return {
        path.relative_to(ROOT).as_posix(): ast.parse(path.read_text(encoding="utf-8"))
        for path in sorted(ROOT.rglob("*.py"))
    }


@functools.cache
def texts():
    """All texts in the code, one on each line."""
    return "\n".join(filter(None, (text_of(node) for tree in trees().values() for node in ast.walk(tree))))


@functools.cache
def errors():
    """The sentences of errors and warnings: for each the place in the code where it is first."""
    found = {}
    for path, tree in trees().items():
        if not path.startswith("testing/"):
            for text, line in sentences(tree, OF_COMMANDS if path.startswith("cli/") else None):
                found.setdefault(text, f"wsclient/{path}:{line}")
    return found


# --- the tests -------------------------------------------------------------------------------------------------------


def is_listed(sentence, page=WORDS_OF_PAGE):
    """Whether each literal part of at least 12 characters is on the page, or the longest one, if none has so many."""
    parts = parts_of(sentence)
    return all(part in page for part in [part for part in parts if len(part) >= 12] or [max(parts, key=len)])


def test_the_page_lists_each_error_and_warning_of_the_library():
    missing = [
        f"    {place}: {text}" for text, place in errors().items() if not is_listed(text) and text not in UNLISTED
    ]
    assert not missing, "\n".join([
        "These sentences are not in examples/TROUBLESHOOTING.md. Add each to a ```text block of the section that fits,",
        "with … for its values, and check that the explanation below the block is right for it (if only the wording",
        "has changed, change it on the page too); or add it to UNLISTED with a reason:",
        *missing,
    ])  # fmt: skip


def test_the_library_contains_each_listed_sentence():
    listed = dict.fromkeys(quoted(PAGE) + in_blocks(PAGE) + in_tables(PAGE))
    assert len(listed) > 400
    whole = texts()
    lines = whole.splitlines()
    wrong = []
    for sentence in listed:
        parts = parts_of(sentence)
        wrong += [f"    {sentence}: {part!r} is not in the code" for part in parts if part not in whole]
        if max(map(len, parts)) < 12 and sentence not in lines:
            wrong.append(f"    {sentence}: too short to be found in the code")
    assert not wrong, "\n".join(
        ["Remove these sentences from examples/TROUBLESHOOTING.md, or write them as in the code:", *wrong]
    )


def test_each_class_of_errors_is_explained():
    for name in [
        name
        for name in dir(wsclient)
        if isinstance(getattr(wsclient, name), type)
        and issubclass(getattr(wsclient, name), wsclient.WebSocketClientError)
    ]:
        assert name in PAGE


def test_no_exception_is_superfluous():
    for text in UNLISTED:
        assert text in errors(), text
        assert not is_listed(text), text


def test_the_contents_link_each_section_in_order():
    contents, _, rest = PAGE.partition("\n## ")
    assert [link.removeprefix("#") for link in links(contents)] == anchors("## " + rest)
    assert set(ANCHORS) <= set(anchors(PAGE))


def test_errors_are_found_in_each_form():
    source = '''
"""A docstring of three words."""
PLAIN: Final = "a constant of a module"
FORMAT = "the {} function of {name!r}"
def function():
    """Another docstring of three words."""
    raise ValueError(f"in two parts {1 + 1:>5} "
        "of one sentence")
    raise ValueError(TWO + "two words")
    text = f"made {x} so far {'away from it' if y else ''}"
    log.write(logging.WARNING, "a warning with %r and %.1f s", 1, 2)
    log.write(logging.INFO, "not worth a warning")
    raise Interrupted("never seen by users")
    name = f"{name}-two words"
'''
    assert [text for text, _ in sentences(ast.parse(source))] == [
        "a constant of a module", "the … function of …", "in two parts … of one sentence", "two words",
        "made … so far …", "away from it", "a warning with … and … s",
    ]  # fmt: skip
    command = 'raise CommandError("no file")\nprint("an output of three words")\nraise Failed("one of the findings")'
    assert [text for text, _ in sentences(ast.parse(command), OF_COMMANDS)] == ["no file"]


def test_a_sentence_is_listed_if_its_long_parts_are():
    assert is_listed("The … function has no name", "The url function has no name.")
    assert not is_listed("The … function has no name", "The function has a name.")
    assert is_listed("url … is bad", "url … is bad")
    assert not is_listed("url … is bad", "url … is good")
