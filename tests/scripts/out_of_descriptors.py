"""A proxy in a process without free descriptors: prints its processor time, and whether it continues with free ones.

The argument is the number of descriptors that are released at the end for a client in the backlog: with 1 the client
can be accepted, but the target cannot be connected.
"""

import json
import logging
import os
import resource
import socket
import sys
import threading
import time

from tests.support.sockets import use_all_descriptors
from wsclient.testing import FaultProxy

warned = threading.Event()


class Alarm(logging.Handler):
    def emit(self, record):
        warnings.append(record.getMessage())
        warned.set()


warnings = []
logging.getLogger("wsclient.testing").addHandler(Alarm())
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
target = socket.create_server(("127.0.0.1", 0))
proxy = FaultProxy(target.getsockname()[1])
early, late = socket.socket(), socket.socket()
late.settimeout(15)
taken = use_all_descriptors()
early.connect(("127.0.0.1", proxy.port))
assert warned.wait(15)
used = time.process_time()
threading.Event().wait(0.5)
used = time.process_time() - used
warnings_of_pause = list(warnings)

os.close(taken.pop())  # enough to accept, too few to connect
turned_away = None
early.settimeout(15)
try:
    turned_away = not early.recv(1)
except ConnectionResetError:
    turned_away = True
early.close()

for number in taken:
    os.close(number)
late.connect(("127.0.0.1", proxy.port))
target.settimeout(15)
far, _ = target.accept()
far.settimeout(15)
late.sendall(b"hello")
heard = far.recv(5, socket.MSG_WAITALL).decode()
for sock in (late, far, target):
    sock.close()
proxy.close()
json.dump([used, warnings_of_pause, turned_away, heard, warnings], sys.stdout)
