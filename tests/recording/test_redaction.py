"""Secrets are found by their names, at any position in a text, and the rest stays unchanged."""

import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wsclient._recording import redaction
from wsclient._recording.redaction import MAX_DEPTH, REDACTED, SECRET_NAMES, Redactor, normal

PLAIN = Redactor()
SECRET = "s3cr3t!"

leaves = st.none() | st.booleans() | st.integers() | st.text() | st.floats(allow_nan=False, allow_infinity=False)
values = st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=20)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('{"password":"s3cr3t!"}', '{"password":"[redacted]"}'),
        ('{"a": 1, "PassWord" : "s3cr3t!" , "b": 2.50}', '{"a": 1, "PassWord" : "[redacted]" , "b": 2.50}'),
        ('{"token": {"value": ["s3cr3t!", "]}"]}, "b": 2}', '{"token": "[redacted]", "b": 2}'),
        ('[{"secret":["s3cr3t!"]},{"n":1}]', '[{"secret":"[redacted]"},{"n":1}]'),
        ('{"a":{"b":[{"api_key":"s3cr3t!"}]}}', '{"a":{"b":[{"api_key":"[redacted]"}]}}'),
        ('{"token":12345,"b":null}', '{"token":"[redacted]","b":null}'),
        ('{"token":null}', '{"token":"[redacted]"}'),
        ('{"password":"a\\"s3cr3t!","b":1}', '{"password":"[redacted]","b":1}'),
        ('{"\\qpassword":"s3cr3t!"}', '{"\\qpassword":"[redacted]"}'),
        ('{"p\\u0061ssword":"s3cr3t!"}', '{"p\\u0061ssword":"[redacted]"}'),
        ('42["login",{"password":"s3cr3t!"}]', '42["login",{"password":"[redacted]"}]'),
        ('a["{\\"password\\":\\"s3cr3t!\\"}"]', 'a["{\\"password\\":\\"[redacted]\\"}"]'),
        ('["{\\u0022password\\u0022:\\u0022s3cr3t!\\u0022}"]', '["{\\"password\\":\\"[redacted]\\"}"]'),
        ('{"password":"s3cr3t!', '{"password":"[redacted]"'),
        ('{"token":{"a":"s3cr3t!"', '{"token":"[redacted]"'),
        ('{"x":NaN,"token":"s3cr3t!"}{"token":"s3cr3t!"}', '{"x":NaN,"token":"[redacted]"}{"token":"[redacted]"}'),
    ],
)  # fmt: skip
def test_a_secret_member_is_replaced_and_the_rest_stays_unchanged(text, expected):
    assert PLAIN.text(text) == expected
    assert PLAIN.data(text.encode()) == expected.encode()


@pytest.mark.parametrize(
    "name",
    ["password", "passwd", "token", "access_token", "accessToken", "secret", "client_secret", "api_key", "apikey",
     "X-Api-Key", "Authorization", "session", "sessionId", "refresh-token", "db_password"],
)  # fmt: skip
def test_these_names_are_secret(name):
    assert PLAIN.is_secret(name)


@pytest.mark.parametrize("name", ["id", "method", "max_tokens", "key", "passwords", "sessions", "authority", ""])
def test_these_names_are_not_secret(name):
    assert not PLAIN.is_secret(name)


def test_the_user_can_add_secret_names_and_exclude_others():
    redactor = Redactor(["PIN"], ["session_id"])
    assert (
        redactor.text('{"pin":1,"sessionId":2,"session":3}')
        == '{"pin":"[redacted]","sessionId":2,"session":"[redacted]"}'
    )


@pytest.mark.parametrize(
    "text", ["", "hello", '{"a":1}', '"password"', "password: s3cr3t", '{"a":"password"}', '{"', '\\"']
)
def test_text_without_a_secret_member_is_the_same_object(text):
    is_unchanged = PLAIN.text(text) is text  # not in the assertion: pytest would compare the texts for minutes
    assert is_unchanged


def test_binary_data_that_is_not_text_stays_unchanged():
    data = b'\xff{"password":"x"}'
    assert PLAIN.data(data) is data


def test_a_secret_is_found_although_the_nesting_is_too_deep_for_a_decoder():
    text = "[" * 100_000 + '{"password":"s3cr3t!"}'
    assert SECRET not in PLAIN.text(text)
    assert SECRET not in PLAIN.text('{"n":' + "9" * 10_000 + ',"password":"s3cr3t!"}')


def test_headers_are_redacted_by_their_names():
    for name in ("Set-Cookie", "set-cookie", "Cookie", "Authorization", "Proxy-Authorization", "X-Auth-Token"):
        assert PLAIN.header(name, SECRET) == REDACTED
    assert PLAIN.header("Server", "nginx") == "nginx"
    assert Redactor(keep=["cookie", "set_cookie"]).header("Set-Cookie", SECRET) == REDACTED


def planted(value, path, name):
    """The value with a secret member inside of it."""
    if isinstance(value, list) and value and path:
        i = path[0] % len(value)
        return [*value[:i], planted(value[i], path[1:], name), *value[i + 1 :]]
    if isinstance(value, dict) and value and path:
        key = sorted(value)[path[0] % len(value)]
        return {**value, key: planted(value[key], path[1:], name)}
    return {name: SECRET, "rest": value}


@given(values, st.lists(st.integers(0, 9), max_size=5), st.sampled_from(SECRET_NAMES), st.booleans(), st.booleans())
def test_a_secret_is_replaced_at_any_position_and_the_result_is_json(value, path, name, ascii, wrapped):
    message = planted(value, path, f"my_{name}")
    text = json.dumps(message, ensure_ascii=ascii)
    if wrapped:
        text = json.dumps([text])
    redacted = PLAIN.text(text)
    assert SECRET not in redacted
    found = json.loads(redacted)
    assert REDACTED in json.dumps(json.loads(found[0]) if wrapped else found)


@given(values)
def test_without_secret_names_nothing_changes(value):
    def plain(one):
        if isinstance(one, dict):
            return all(not PLAIN.is_secret(key) and plain(member) for key, member in one.items())
        return all(map(plain, one)) if isinstance(one, list) else not isinstance(one, str) or ":" not in one

    if plain(value):
        text = json.dumps(value)
        assert PLAIN.text(text) == text


@given(st.text())
def test_any_text_is_accepted_and_redacting_is_idempotent(text):
    once = PLAIN.text(text)
    assert PLAIN.text(once) == once


@given(st.text())
def test_a_normalized_name_has_only_small_letters_and_digits(name):
    assert normal(normal(name)) == normal(name)


# --- limits on the cost ----------------------------------------------------------------------------------------------


def nested(levels, text):
    """Text inside strings inside strings. Each backslash is written as a Unicode escape, which grows more slowly."""
    for _ in range(levels):
        text = '"' + text.replace("\\", "\\u005c").replace('"', "\\u0022") + '"'
    return text


def test_strings_inside_strings_are_searched_down_to_a_limit_and_replaced_below():
    inner = json.dumps({"password": SECRET})
    for levels in (1, 2, 4):
        redacted = PLAIN.text(nested(levels, inner))
        for _ in range(levels):
            redacted = json.loads(redacted)
        assert redacted == '{"password": "[redacted]"}'
    assert SECRET not in PLAIN.text(nested(MAX_DEPTH + 1, inner))


@pytest.mark.slow
def test_a_text_of_520_levels_of_strings_is_redacted():
    text = nested(520, "x")
    redacted = PLAIN.text(text)
    assert REDACTED in redacted
    assert len(redacted) <= len(text)


@pytest.mark.parametrize(
    "hostile",
    [
        '""',
        '"":',
        '"\\n"',
        '"\\n":',
        '"\\""',
        "\\n",
        ":",
        "\\",
        '"token":1,',
        '"token":[',
        '"token":["",',
        '"\\u0022x"',
    ],
)
def test_a_text_of_many_members_or_escapes_is_replaced_beyond_a_number_of_steps(monkeypatch, hostile):
    monkeypatch.setattr(redaction, "MAX_STEPS", 1000)
    secret = json.dumps({"password": SECRET})
    few = PLAIN.text(hostile * 50 + secret)
    assert SECRET not in few
    many = PLAIN.text(hostile * 5000 + secret)
    assert SECRET not in many
    if hostile == '""':
        assert many == hostile * 5000 + '{"password": "[redacted]"}'
    else:
        assert many.endswith((f'"{REDACTED}"', '{"password": "[redacted]"}'))


def test_a_truncated_text_that_was_too_long_is_an_honest_prefix(monkeypatch):
    monkeypatch.setattr(redaction, "MAX_STEPS", 100)
    text = json.dumps([{"id": n, "text": "a: b"} for n in range(1000)])
    redacted = PLAIN.text(text)
    assert redacted.endswith(f'"{REDACTED}"')
    assert text.startswith(redacted.removesuffix(f'"{REDACTED}"'))


def test_usual_json_is_within_the_limit(monkeypatch):
    monkeypatch.setattr(redaction, "MAX_STEPS", redaction.MAX_STEPS // 16)
    line = json.dumps({"id": 1, "name": "something", "price": 12.5, "tags": ["a", "b"], "ok": True})
    text = f"[{', '.join([line] * (2**20 // len(line)))}]"  # 1 MiB
    is_unchanged = PLAIN.text(text) is text  # not in the assertion: pytest would compare the texts for minutes
    assert is_unchanged


@pytest.mark.slow
def test_long_names_of_a_peer_are_not_kept():
    redactor, size, count = Redactor(), 2**16, 200
    tracemalloc.start()
    try:
        for n in range(count):
            assert redactor.text(f'{{"{n}{"x" * size}_password": 1}}').endswith(f'"{REDACTED}"}}')
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert kept < size * count / 10


def test_secrets_are_found_after_any_number_of_names():
    redactor = Redactor()
    names = redaction._CACHED_NAMES + 1
    for n in range(names):
        assert redactor.text(f'{{"name {n}": 1}}') == f'{{"name {n}": 1}}'
    assert redactor.text('{"password": "s3cr3t!"}') == '{"password": "[redacted]"}'
    assert len(redactor._known) <= redaction._CACHED_NAMES
