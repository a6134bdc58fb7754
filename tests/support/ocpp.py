"""The central system of the package ``ocpp``, in a program of its own."""

import os
import pathlib
import subprocess
import sys

from .program import Program, free_port

PYTHON = os.environ.get("OCPP_PYTHON", sys.executable)
PROGRAM = pathlib.Path(__file__).parents[1] / "servers" / "ocpp_central_system.py"


def has_ocpp():
    """Whether that Python has the package, and what ``wsclient`` needs."""
    command = [PYTHON, "-c", "import ocpp, tenacity, websocket, websockets"]
    try:
        return subprocess.run(command, capture_output=True).returncode == 0
    except OSError:
        return False


class CentralSystem(Program):
    def __init__(self, home, version):
        self.port = free_port()
        self.version = version
        super().__init__(home, [PYTHON, str(PROGRAM), str(self.port), version], PYTHONWARNINGS="ignore")

    @property
    def url(self):
        return f"ws://127.0.0.1:{self.port}/CP"
