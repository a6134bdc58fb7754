"""OBS Studio on a screen in memory: its password, requests, batches, events, a restart."""

import contextlib
import os
import pathlib
import queue
import signal

import pytest
import tenacity

import wsclient
from wsclient import RemoteError, SessionError
from wsclient.protocols import ObsWebSocket

from ..support import LONG, eventually
from ..support.program import Program, find, free_port, living

OBS, SCREEN = find("obs"), find("xvfb-run")
pytestmark = pytest.mark.skipif(
    OBS is None or SCREEN is None,
    reason="OBS STUDIO OR XVFB IS MISSING, so the stand-in alone is tested: apt-get install obs-studio xvfb xauth",
)

SOON = wsclient.Reconnect(wait=tenacity.wait_fixed(0.05))
PASSWORD = "a password"
SCENES, VOLUME_METERS = 1 << 2, 1 << 16


class Obs(Program):
    """OBS with settings of its own. Older versions read them from ``global.ini``, newer ones from ``config.json``."""

    def __init__(self, home, password=None):
        self.port = free_port()
        settings = home / "obs-studio"
        plugin = settings / "plugin_config" / "obs-websocket"
        plugin.mkdir(parents=True)
        needs = str(password is not None).lower()
        (plugin / "config.json").write_text(
            f'{{"first_load": false, "server_enabled": true, "server_port": {self.port}, "alerts_enabled": false, '
            f'"auth_required": {needs}, "server_password": "{password or ""}"}}'
        )
        (settings / "global.ini").write_text(
            "[General]\nFirstRun=true\nInfoIncrement=99\nEnableAutoUpdates=false\n\n[OBSWebSocket]\nFirstLoad=false\n"
            f"ServerEnabled=true\nServerPort={self.port}\nAlertsEnabled=false\nAuthRequired={needs}\n"
            f"ServerPassword={password or ''}\n"
        )
        screen = (SCREEN, "--auto-servernum", "--server-args=-screen 0 1280x720x24")
        options = ("--multi", "--minimize-to-tray", "--disable-updater", "--disable-missing-files-check")
        places = {"HOME": str(home), "XDG_CONFIG_HOME": str(home), "XDG_RUNTIME_DIR": str(home)}
        super().__init__(home, [*screen, OBS, *options], LIBGL_ALWAYS_SOFTWARE="1", **places)

    @property
    def url(self):
        return f"ws://127.0.0.1:{self.port}"

    def stop(self, how="SIGKILL"):
        """Kill OBS; ``xvfb-run`` then removes the screen, and ends."""
        if self.process is None:
            return
        group = self.process.pid
        for pid in living(group):
            with contextlib.suppress(OSError):  # it has just ended
                if pathlib.Path(f"/proc/{pid}/comm").read_text().strip() == "obs":
                    os.kill(pid, signal.SIGKILL)
        self.process.wait(LONG)
        eventually(lambda: not living(group))  # the screen removes its lock file
        super().stop(how)


@pytest.fixture(scope="module")
def obs(tmp_path_factory):
    with Obs(tmp_path_factory.mktemp("obs"), PASSWORD) as obs:
        yield obs


def connect(obs, *, password=PASSWORD, events=None, **options):
    options = {"reconnect": SOON, "request_timeout": LONG, **options}
    return wsclient.connect(obs.url, protocol=ObsWebSocket(password, events=events), **options)


def test_with_the_password_requests_are_answered_and_errors_have_their_code(obs):
    with connect(obs) as client:
        assert client.connection.subprotocol == "obswebsocket.json"
        version = client.call("GetVersion")
        assert version["rpcVersion"] == 1
        assert version["obsWebSocketVersion"].startswith("5.")
        assert client.call("SetCurrentProgramScene", {"sceneName": "Scene"}) is None
        for kind, data, code in (
            ("NoSuchRequest", None, 204),
            ("SetCurrentProgramScene", {}, 300),
            ("SetCurrentProgramScene", {"sceneName": "none"}, 600),
        ):
            with pytest.raises(RemoteError) as caught:
                client.call(kind, data)
            assert caught.value.code == code


def test_a_wrong_password_is_fatal(obs):
    with pytest.raises(wsclient.ConnectError) as caught:
        connect(obs, password="wrong")
    assert "4009" in str(caught.value)


def test_a_missing_password_is_fatal(obs):
    with pytest.raises(SessionError, match="OBS asks for a password"):
        connect(obs, password=None)


def test_a_batch_returns_the_results_in_order(obs):
    requests = ["GetVersion", ("SetCurrentProgramScene", {"sceneName": "none"}), "GetStats"]
    with connect(obs) as client:
        version, error, stats = client.request(ObsWebSocket.batch(requests))
        assert (version["rpcVersion"], error.code) == (1, 600)
        assert stats["webSocketSessionOutgoingMessages"] > 0
        halted = client.request(ObsWebSocket.batch(requests, halt_on_failure=True))
        assert [type(one) for one in halted] == [dict, RemoteError]
        assert len(client.request(ObsWebSocket.batch(["GetVersion"] * 50, execution=2))) == 50
        assert client.request(ObsWebSocket.batch([])) == []


def test_events_have_their_type_as_the_topic_and_the_mask_can_be_changed(obs):
    handled, others = queue.Queue(), queue.Queue()
    with connect(obs, events=SCENES, on_message=lambda _, message: others.put(message)) as client:
        client.on("SceneCreated", handled.put)
        client.on("InputVolumeMeters", handled.put)
        client.call("CreateScene", {"sceneName": "a scene"})
        event = handled.get(timeout=LONG)
        assert (event["eventIntent"], event["eventData"]["sceneName"]) == (SCENES, "a scene")
        client.send({"op": 3, "d": {"eventSubscriptions": VOLUME_METERS}})
        eventually(lambda: {"op": 2, "d": {"negotiatedRpcVersion": 1}} in others.queue)
        assert "inputs" in handled.get(timeout=LONG)["eventData"]
        client.call("RemoveScene", {"sceneName": "a scene"})


def test_after_a_restart_without_a_password_the_client_identifies_itself_again(tmp_path):
    with Obs(tmp_path) as obs, connect(obs, password=None) as client:
        assert client.call("GetVersion")["rpcVersion"] == 1
        obs.stop()
        waiting = client.submit(ObsWebSocket().build("GetVersion", None, False), idempotent=True, timeout=2 * LONG)
        obs.start()
        assert waiting.result(2 * LONG)["rpcVersion"] == 1
        assert client.stats.connections == 2
