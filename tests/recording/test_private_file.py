"""Only the user of the process may read a recording, whether its file is new or not."""

import gc
import os
import pathlib
import stat
import subprocess
import sys
import tempfile

import pytest

import wsclient
from wsclient._recording import private_file

needs_owners = pytest.mark.skipif(not hasattr(os, "geteuid"), reason="on Windows files have no modes")
needs_root = pytest.mark.skipif(getattr(os, "geteuid", bool)() != 0, reason="only root may change the owner of a file")

OTHER_USER = 65534


@pytest.fixture(autouse=True)
def readable_by_all_by_default():
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.fixture
def open_folder():
    """A folder that every user may read; ``tmp_path`` is in one that only this user may."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield pathlib.Path(folder)


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


@needs_owners
@pytest.mark.parametrize("existing", [None, 0o600, 0o644, 0o666, 0o400, 0o640], ids=repr)
def test_only_the_owner_may_read_a_recording(server, tmp_path, existing):
    path = tmp_path / "session.jsonl"
    if existing is not None:
        path.write_text("an older recording")
        path.chmod(existing | 0o200)
    with wsclient.connect(server.url, record=path) as client:
        assert mode(path) == 0o600  # also while it is written
        client.send("hello")
    assert mode(path) == 0o600
    assert b"hello" in path.read_bytes()
    assert b"older" not in path.read_bytes()


@needs_owners
def test_a_file_is_private_before_the_first_byte_is_written(tmp_path):
    path = tmp_path / "x"
    with private_file.create(str(path)):
        assert (mode(path), path.read_bytes()) == (0o600, b"")


@needs_owners
def test_a_device_keeps_its_mode(tmp_path):
    before = mode(os.devnull)
    with private_file.create(os.devnull) as file:
        file.write(b"x")
    assert mode(os.devnull) == before


@needs_owners
@pytest.mark.parametrize("exists", [True, False])
def test_a_link_of_the_user_is_followed(tmp_path, exists):
    target, link = tmp_path / "target", tmp_path / "link"
    if exists:
        target.write_text("old")
    link.symlink_to(target)
    with private_file.create(str(link)) as file:
        file.write(b"new")
    assert (mode(target), target.read_bytes()) == (0o600, b"new")


@needs_root
@needs_owners
def test_a_link_of_another_user_is_refused_and_its_target_unchanged(server, tmp_path):
    target, link = tmp_path / "target", tmp_path / "link"
    target.write_text("important")
    link.symlink_to(target)
    os.chown(link, OTHER_USER, OTHER_USER, follow_symlinks=False)
    errors = []
    with wsclient.connect(server.url, record=link, on_error=lambda client, error: errors.append(error)):
        pass
    (error,) = errors
    assert "it is a symbolic link of another user, uid 65534; remove it" in str(error)
    assert target.read_text() == "important"


@needs_root
@needs_owners
def test_a_file_of_another_user_that_others_may_read_is_refused_and_unchanged(open_folder):
    path = open_folder / "x"
    path.write_text("theirs")
    path.chmod(0o666)
    program = (
        "import os, sys; sys.path.insert(0, os.getcwd())\n"
        "from wsclient._recording import private_file\n"
        "os.chdir(sys.argv[1])\n"  # as root: the other user may have no right to the folders above
        f"os.setuid({OTHER_USER})\n"
        "try:\n    private_file.create('x')\n"
        "except PermissionError as error:\n    print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program, str(open_folder)], capture_output=True, text=True, timeout=60)
    assert done.stdout == "the file belongs to another user, uid 0, who could read it; remove it\n", done.stderr
    assert path.read_text() == "theirs"
    assert mode(path) == 0o666


@needs_owners
def test_a_refused_file_is_closed(tmp_path, monkeypatch):
    """The same in this process, which would warn of a file that is left open."""

    def refuse(descriptor, mode):
        raise PermissionError(1, "Operation not permitted")

    path = tmp_path / "x"
    path.write_text("theirs")
    path.chmod(0o666)
    monkeypatch.setattr(os, "fchmod", refuse)
    monkeypatch.setattr(os, "geteuid", lambda: OTHER_USER)
    with pytest.raises(PermissionError, match=f"belongs to another user, uid {path.stat().st_uid}"):
        private_file.create(str(path))
    gc.collect()
    assert path.read_text() == "theirs"


@needs_owners
def test_a_file_system_without_modes_is_no_obstacle(tmp_path, monkeypatch):
    def refuse(descriptor, mode):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "fchmod", refuse)  # as on a mounted FAT file system
    path = tmp_path / "x"
    path.write_text("old")
    with private_file.create(str(path)) as file:
        file.write(b"new")
    assert path.read_bytes() == b"new"


def test_a_file_that_cannot_be_created_is_an_oserror(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere" / "x"):
        with pytest.raises(OSError, match=r"directory|denied"):
            private_file.create(str(path))
