"""Profiles, and how they combine with the options of the command line."""

import sys

import pytest

from wsclient.cli import main, profiles
from wsclient.cli.exits import CommandError
from wsclient.cli.profiles import load_profile, run_for_secret

from ..support import Server


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write the file of profiles."""
    monkeypatch.setattr(profiles, "profiles_path", lambda: tmp_path / "profiles.toml")
    return (tmp_path / "profiles.toml").write_text


def test_the_path_is_in_the_folder_of_configurations(monkeypatch, tmp_path):
    monkeypatch.setenv("APPDATA" if sys.platform == "win32" else "XDG_CONFIG_HOME", str(tmp_path))
    assert profiles.profiles_path() == tmp_path / "wsclient" / "profiles.toml"


def test_secrets_are_references(write, monkeypatch):
    monkeypatch.setenv("A_TOKEN", "t0k")
    command = f"cmd:{sys.executable} -c 'print(5)'" if sys.platform != "win32" else "cmd:echo 5"
    write(f'[x]\nurl = "wss://h"\nheaders = {{ A = "env:A_TOKEN", B = "{command}" }}\nca = "~/ca.pem"\n')
    profile = load_profile("x")
    assert profile["headers"] == {"A": "t0k", "B": "5"}
    assert "~" not in profile["ca"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[y]\n", "There is no profile 'x' in .*; it has: y."),
        ("[x]\nurls = 1\n", "'urls' is unknown; known are: url, "),
        ("[x]\nurl = 1\n", "'url' must not be of the type int."),
        ('[x]\nauth = ["me:pw"]\n', "'auth' must not be of the type list.$"),  # it may be a secret
        ("[x]\ntimeout = true\n", "'timeout' must not be of the type bool."),
        ('[x]\nauth = "env:NO_SUCH_VARIABLE"\n', "variable 'NO_SUCH_VARIABLE' of profile 'x', 'auth' is not set"),
        ("[x\n", "is not TOML"),
    ],
)
def test_a_profile_that_cannot_be_used_is_refused_in_one_sentence(write, text, sentence):
    write(text)
    with pytest.raises(CommandError, match=sentence):
        load_profile("x")


def test_without_a_file_there_are_no_profiles(write):
    with pytest.raises(CommandError, match=r"There are no profiles: .*profiles\.toml does not exist"):
        load_profile("x")


@pytest.mark.parametrize(("program", "sentence"), [("raise SystemExit(3)", "exit code 3"), ("", "printed nothing")])
def test_a_command_that_prints_no_secret_is_reported(program, sentence):
    with pytest.raises(CommandError, match=sentence):
        run_for_secret(f'"{sys.executable}" -c "{program}"')


def test_a_command_that_hangs_is_ended(monkeypatch):
    monkeypatch.setattr(profiles, "_COMMAND_TIMEOUT", 0.01)
    with pytest.raises(CommandError, match=r"did not end within 0\.01 s"):
        run_for_secret(f'"{sys.executable}" -c "import time; time.sleep(60)"')


def test_lists_are_resolved_and_a_file_that_cannot_be_read_is_reported(write, monkeypatch, tmp_path):
    monkeypatch.setenv("OFFERED", "chat")
    write('[x]\nsubprotocol = ["env:OFFERED"]\nretry = "forever"\n')
    assert load_profile("x") == {"subprotocol": ["chat"], "retry": "forever"}
    monkeypatch.setattr(profiles, "profiles_path", lambda: tmp_path)
    with pytest.raises(CommandError, match="can't be read: "):
        load_profile("x")


@pytest.mark.parametrize("command", ["listen", "probe"])
def test_a_profile_with_a_url_leaves_no_argument(write, capsys, command):
    write('[x]\nurl = "ws://127.0.0.1:1"\nretry = 0\n')
    assert main([command, "--profile", "x", "more"]) == 2
    assert capsys.readouterr().err == "wsclient: 'more' is one argument too many.\n"
    assert main([command, "--profile", "x"]) == 3  # one attempt


def test_the_command_line_counts_more_than_the_profile(write, capsys):
    with Server() as server:
        write(f'[x]\nurl = "{server.url}"\nprotocol = "jsonrpc"\ntimeout = 20\nheaders = {{ X-A = "1" }}\n')
        assert main(["call", "--profile", "x", "--protocol", "id=id", "-H", "x-a: 2", "echo", "n:=1"]) == 0
        assert server.opened.get().request.headers.get_all("X-A") == ["2"]
    assert capsys.readouterr().out == '{"id": 1, "result": {"n": 1}}\n'
