"""jupyter-server with ipykernel: requests with many answers, calls of the kernel, other clients, a kernel that dies.

The end of a kernel is noticed by the server within 3 s; it starts another one.
"""

import json
import pathlib
import subprocess
import urllib.request

import pytest
import tenacity

import wsclient
from wsclient import RemoteError
from wsclient.protocols import JupyterKernel

from ..support import LONG, eventually
from ..support.program import Program, find, free_port

JUPYTER = find("jupyter-server")


def has_kernel():
    """Whether the environment of jupyter-server has ipykernel."""
    if JUPYTER is None:
        return False
    try:
        python = pathlib.Path(JUPYTER).with_name("python3")
        return subprocess.run([python, "-c", "import ipykernel"], capture_output=True).returncode == 0
    except OSError:  # not beside a Python installation
        return False


pytestmark = pytest.mark.skipif(
    "not has_kernel()",
    reason="JUPYTER-SERVER OR IPYKERNEL IS MISSING, so no kernel is tested: pip install jupyter-server ipykernel",
)

SOON = wsclient.Reconnect(wait=tenacity.wait_fixed(0.05))
TOKEN = "secret"


class Jupyter(Program):
    def __init__(self, home):
        self.port = free_port()
        folders = ("HOME", "IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR")
        options = (
            "--ServerApp.ip=127.0.0.1",
            f"--ServerApp.port={self.port}",
            f"--ServerApp.root_dir={home}",
            f"--IdentityProvider.token={TOKEN}",
            "--allow-root",
            "--no-browser",
        )
        super().__init__(home, [JUPYTER, *options], **dict.fromkeys(folders, str(home)))

    def start_kernel(self):
        """Start a kernel, and return the URL of its WebSocket."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.port}/api/kernels", b"{}", {"Authorization": f"token {TOKEN}"}
        )
        with urllib.request.urlopen(request, timeout=LONG) as answer:
            return f"ws://127.0.0.1:{self.port}/api/kernels/{json.load(answer)['id']}/channels?token={TOKEN}"


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    """The URL of a kernel."""
    with Jupyter(tmp_path_factory.mktemp("jupyter")) as jupyter:
        yield jupyter.start_kernel()


def connect(kernel, **options):
    return wsclient.connect(kernel, protocol=JupyterKernel(), reconnect=SOON, request_timeout=LONG, **options)


def execution(code, **content):
    return {"msg_type": "execute_request", "content": {"code": code, **content}}


def outputs(client, code, **content):
    """The types and contents of all answers of the kernel."""
    with client.stream(execution(code, **content)) as answers:
        return [(message["msg_type"], message["content"]) for message in answers]


def printed(client, code, **content):
    return "".join(found["text"] for kind, found in outputs(client, code, **content) if kind == "stream")


def is_answering(client):
    """Whether the kernel answers; a request that is sent before the next kernel runs may be lost."""
    try:
        return client.call("kernel_info_request", timeout=2)
    except wsclient.RequestTimeout:
        return None


def test_a_call_returns_the_reply_after_all_outputs(kernel):
    with connect(kernel) as client:
        assert client.call("kernel_info_request")["content"]["language_info"]["name"] == "python"
        reply = client.call("execute_request", {"code": "x = 6", "user_expressions": {"y": "x * 7"}})
        assert reply["content"]["user_expressions"]["y"]["data"]["text/plain"] == "42"
        assert client.stats.requests_in_flight == 0


def test_a_stream_has_all_outputs_and_the_reply_at_the_end(kernel):
    with connect(kernel) as client:
        found = outputs(client, "print('a'); display('b'); 3")
        assert [kind for kind, _ in found] == [
            "execute_input",
            "stream",
            "display_data",
            "execute_result",
            "execute_reply",
        ]
        assert found[1][1] == {"name": "stdout", "text": "a\n"}
        assert found[3][1]["data"]["text/plain"] == "3"


def test_requests_that_overlap_get_their_own_answers(kernel):
    with connect(kernel) as client:
        futures = [client.submit(execution("", user_expressions={"n": f"{number} ** 2"})) for number in range(20)]
        replies = [future.result(LONG)["content"]["user_expressions"]["n"]["data"]["text/plain"] for future in futures]
        assert replies == [str(number**2) for number in range(20)]


def test_an_exception_is_raised_with_its_name_after_the_outputs(kernel):
    with connect(kernel) as client:
        found = []
        with client.stream(execution("print('first'); 1 / 0")) as answers:
            with pytest.raises(RemoteError, match="division by zero") as caught:
                found += (message["msg_type"] for message in answers)
        assert caught.value.code == "ZeroDivisionError"
        assert caught.value.data["traceback"]
        assert found == ["execute_input", "stream", "error"]
        with pytest.raises(RemoteError, match="no_such_name"):
            client.call("execute_request", {"code": "no_such_name"})


def test_the_kernel_reads_lines_from_the_handler(kernel):
    with connect(kernel) as client:
        client.handle("input_request", lambda params: f"{params['prompt']}Ann, {params['password']}")
        assert printed(client, "print(input('name: '))", allow_stdin=True) == "name: Ann, False\n"
        code = "from getpass import getpass; print(getpass('secret: '))"
        assert printed(client, code, allow_stdin=True) == "secret: Ann, True\n"


@pytest.mark.parametrize("answer", ["no handler", "an exception", "no string"])
def test_without_a_line_the_kernel_gets_an_end_of_file(kernel, answer):
    errors = []
    with connect(kernel, on_error=lambda client, error: errors.append(error)) as client:
        if answer != "no handler":
            client.handle("input_request", lambda params: 1 / 0 if answer == "an exception" else 1)
        with pytest.raises(RemoteError) as caught:
            client.call("execute_request", {"code": "input()", "allow_stdin": True})
        assert caught.value.code == "EOFError"
        assert [type(error) for error in errors] == {
            "no handler": [],
            "an exception": [ZeroDivisionError],
            "no string": [TypeError],
        }[answer]


def test_the_outputs_of_other_clients_are_events(kernel):
    with connect(kernel) as client, connect(kernel) as other:
        client.call("kernel_info_request")
        with client.listen(lambda message: message["msg_type"] == "stream") as streams:
            other.call("execute_request", {"code": "print('of the other')"})
            assert streams.get(LONG)["content"]["text"] == "of the other\n"
            assert printed(client, "print('own')") == "own\n"


def test_binary_buffers_travel_in_both_directions(kernel):
    target = (
        "from comm import get_comm_manager\n"
        "def opened(comm, message):\n"
        "    comm.send({'size': len(message['buffers'])}, buffers=[bytes(message['buffers'][0])[::-1]])\n"
        "get_comm_manager().register_target('mirror', opened)"
    )
    with connect(kernel) as client:
        client.call("execute_request", {"code": target})
        with client.listen(lambda message: message["msg_type"] == "comm_msg") as messages:
            content = {"comm_id": "1", "target_name": "mirror", "data": {}}
            client.send({"msg_type": "comm_open", "content": content, "buffers": [b"\x00\x01\xff", b""]})
            message = messages.get(LONG)
        assert message["content"]["data"] == {"size": 2}
        assert message["buffers"] == [b"\xff\x01\x00"]


def test_after_a_reconnect_the_kernel_still_has_its_variables(kernel):
    with connect(kernel) as client:
        client.call("execute_request", {"code": "kept = 'value'"})
        client.reconnect()
        eventually(lambda: client.stats.connections == 2)
        assert printed(client, "print(kept)") == "value\n"


def test_if_the_kernel_dies_its_requests_fail_and_the_next_kernel_answers(kernel):
    with connect(kernel) as client:
        with client.listen(lambda message: message["content"].get("execution_state") == "restarting") as deaths:
            dying = client.submit(execution("import os; os._exit(1)"))
            waiting = client.submit(execution("1"))
            for future in (dying, waiting):
                with pytest.raises(RemoteError) as caught:
                    future.result(LONG)
                assert caught.value.code == "restarting"
            assert deaths.get(LONG)
        eventually(lambda: is_answering(client))
        assert printed(client, "print('again')") == "again\n"
        assert client.stats.connections == 1
