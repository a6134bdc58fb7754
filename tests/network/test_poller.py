"""The poller in a program whose ``select`` module was changed by eventlet or gevent."""

import select
import subprocess
import sys

import pytest

from tests.support import LONG, Server

REQUEST = """
import sys, warnings
warnings.simplefilter("ignore")  # those of eventlet
{patch}
import wsclient
with wsclient.connect(sys.argv[1]) as client:
    print(client.request({{"op": "add"}}, timeout=20)["op"], client.ping(20) < 20)
"""

PATCHES = {
    "no poll": "import select, selectors; del select.poll, select.epoll, selectors.PollSelector",
    "eventlet": "import eventlet; eventlet.monkey_patch()",
    "gevent": "import gevent.monkey; gevent.monkey.patch_all()",
}


@pytest.mark.parametrize("patch", PATCHES)
def test_a_client_works_where_another_library_has_changed_the_select_module(patch):
    if patch == "no poll" and not hasattr(select, "epoll"):
        pytest.skip("this system has no epoll")
    if patch != "no poll":
        pytest.importorskip(patch)
    with Server() as server:
        program = [sys.executable, "-c", REQUEST.format(patch=PATCHES[patch]), server.url]
        done = subprocess.run(program, capture_output=True, text=True, timeout=LONG)
    assert done.stdout.split() == ["add", "True"], done.stderr
