"""Two hosts within the kernel, joined by a cable: network namespaces with a veth pair, and faults of that network.

One thread alone enters a namespace; the sockets it creates there, and the threads it starts, stay there. So the
server and the client are objects of the test, while every packet between them goes over the cable.
"""

import contextlib
import ctypes
import fcntl
import itertools
import os
import re
import select
import shutil
import struct
import subprocess
import threading
import time
from collections import deque

NET, CLIENT, SERVER = "10.213.0.0", "10.213.0.1", "10.213.0.2"
UNTESTED = "NETWORK NOT TESTED (pulled cables, lost packets, distance, a host that is gone, a NAT that forgets)"
_CLONE_NEWNET = 0x40000000
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
_numbers = itertools.count(1)


def unavailable_because(*tools):
    """Why namespaces are not available here; None if they are."""
    if not hasattr(os, "geteuid") or os.geteuid() != 0:
        return f"{UNTESTED}: namespaces need Linux and root; run `sudo python -m pytest tests/faults/test_network.py`"
    missing = [(tool, package) for tool, package in tools if tool_path(tool) is None]
    if missing:
        names, packages = (" and ".join(names) for names in zip(*missing, strict=True))
        return f"{UNTESTED}: without {names}; run `apt-get install {packages.replace(' and', '')}`"
    probe = f"wsc-probe-{os.getpid()}"
    made = subprocess.run([tool_path("ip"), "netns", "add", probe], capture_output=True, text=True, check=False)
    if made.returncode:
        return f"{UNTESTED}: no namespace can be made here ({made.stderr.strip()}); a container needs CAP_SYS_ADMIN"
    run("ip", "netns", "del", probe)
    return None


def tool_path(tool):
    return shutil.which(tool, path=os.environ.get("PATH", "") + ":/usr/sbin:/sbin")


def run(tool, *args, text=None):
    done = subprocess.run([tool_path(tool), *args], input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{tool} {' '.join(args)}: {done.stderr.strip()}"
    return done.stdout


class Network:
    """Two namespaces, ``client`` and ``server``, each with one end of a cable."""

    def __init__(self):
        base = f"wsc-{os.getpid()}-{next(_numbers)}"
        self.client, self.server = f"{base}-c", f"{base}-s"
        self._made = []
        try:
            for name in (self.client, self.server):
                run("ip", "netns", "add", name)
                self._made.append(name)
            self._join()
        except BaseException:
            self.remove()
            raise

    def _join(self):
        run("ip", "-n", self.client, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns",
            self.server)  # fmt: skip
        for name, address in ((self.client, CLIENT), (self.server, SERVER)):
            run("ip", "-n", name, "addr", "add", f"{address}/30", "dev", "cable")
            # Packets of the size of a cable; otherwise 64 KiB are one packet, and few packets can be lost.
            run("ip", "-n", name, "link", "set", "cable", "gso_max_segs", "1", "up")

    def remove(self):
        while self._made:
            run("ip", "netns", "del", self._made.pop())

    def pull(self):
        """Pull the cable: both ends lose their carrier."""
        run("ip", "-n", self.server, "link", "set", "cable", "down")

    def plug(self):
        run("ip", "-n", self.server, "link", "set", "cable", "up")

    def filter(self, host, *rules):
        """Make a host, ``client`` or ``server``, apply nftables' rules to incoming packets.

        Only to incoming ones: the TCP that sends a packet is notified (EPERM) if it is dropped on its host, and sends
        it again after a moment. With a cable this does not happen.
        """
        lines = "\n".join(rules)
        chain = f"type filter hook input priority 0;\n{lines}\n"
        text = f"table ip faults {{\nchain packets {{\n{chain}}}\n}}\n"
        run("ip", "netns", "exec", host, tool_path("nft"), "-f", "-", text=text)

    def caught(self, host):
        """How many packets the rules of that host have applied to, one number for each rule that counts."""
        listed = run("ip", "netns", "exec", host, tool_path("nft"), "list", "ruleset")
        return [int(number) for number in re.findall(r"packets (\d+)", listed)]

    def unfilter(self):
        for host in (self.client, self.server):
            run("ip", "netns", "exec", host, tool_path("nft"), "flush", "ruleset")

    def shorten_retransmission(self):
        """Make TCP repeat lost packets after 20 ms, 40 ms, ..., not from 200 ms on; for later connections.

        Without time stamps: if their echo is late, TCP waits for tens of seconds.
        """
        for name, address in ((self.client, CLIENT), (self.server, SERVER)):
            run("ip", "-n", name, "route", "replace", f"{NET}/30", "dev", "cable", "proto", "kernel", "scope", "link",
                "src", address, "rto_min", "20ms")  # fmt: skip
            with inside(name), open("/proc/sys/net/ipv4/tcp_timestamps", "w") as setting:
                setting.write("0")

    def lose_packets(self):
        """Lose three of ten packets in each direction, two of them in a row.

        By counting: a random choice sometimes loses a packet ten times in a row, and TCP waits for minutes.
        """
        for host in (self.client, self.server):
            self.filter(host, "numgen inc mod 10 { 0, 1, 5 } counter drop")


@contextlib.contextmanager
def inside(name):
    """The calling thread is in that namespace; the sockets and threads that it creates stay there."""
    with open("/proc/thread-self/ns/net") as home, open(f"/run/netns/{name}") as there:
        _enter(there.fileno())
        try:
            yield
        finally:
            _enter(home.fileno())


def _enter(descriptor):
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "setns failed")


class DelayedCable(Network):
    """A cable with a delay for each packet in each direction: packets are copied from one TUN device to another.

    (The delay of the kernel, ``tc netem``, is a module that many machines do not have.)
    """

    def __init__(self, delay):
        self._delay = delay
        self._tuns = []
        self._stop = threading.Event()
        self._carrier = threading.Thread(target=self._carry, name="long-cable", daemon=True)
        super().__init__()

    def _join(self):
        for name, address, other in ((self.client, CLIENT, SERVER), (self.server, SERVER, CLIENT)):
            with inside(name):
                tun = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
                self._tuns.append(tun)
                fcntl.ioctl(tun, _TUNSETIFF, struct.pack("16sH22x", b"cable", _IFF_TUN | _IFF_NO_PI))
            run("ip", "-n", name, "addr", "add", address, "peer", other, "dev", "cable")
            run("ip", "-n", name, "link", "set", "cable", "up")
        self._carrier.start()

    def _carry(self):
        ways = dict(zip(self._tuns, reversed(self._tuns), strict=True))
        under_way = deque()
        while not self._stop.is_set():
            wait = min(0.1, under_way[0][0] - time.monotonic()) if under_way else 0.1
            ready, _, _ = select.select(self._tuns, [], [], max(0, wait))
            for tun in ready:
                with contextlib.suppress(BlockingIOError):
                    under_way.append((time.monotonic() + self._delay, ways[tun], os.read(tun, 65536)))
            while under_way and under_way[0][0] <= time.monotonic():
                _, tun, packet = under_way.popleft()
                with contextlib.suppress(OSError):
                    os.write(tun, packet)

    def remove(self):
        self._stop.set()
        if self._carrier.is_alive():
            self._carrier.join(15)
        while self._tuns:
            os.close(self._tuns.pop())
        super().remove()
