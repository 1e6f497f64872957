"""Machines of their own on this one: network namespaces behind a switch, each with a slow uplink.

Needs root and iproute2. Everything lies in namespaces that are made here, the switch included, so this
machine's own network is not touched, and deleting them leaves nothing behind.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest

RATE = "100mbit"
SWITCH_ADDRESS = "10.77.0.254"


class Machines:
    """Namespaces by name, with addresses 10.77.0.1 and so on in their order.

    Args:
        names: of the machines.
    """

    def __init__(self, *names: str) -> None:
        self.names = names
        self._made: list[str] = []

    def __enter__(self) -> Machines:
        try:
            self._build()
        except subprocess.CalledProcessError as error:
            self._remove()
            pytest.skip(f"this kernel lets nobody make network namespaces: {error.stderr.strip()}")
        return self

    def __exit__(self, *error: object) -> None:
        self._remove()

    def address(self, name: str) -> str:
        return f"10.77.0.{self.names.index(name) + 1}"

    def on(self, name: str) -> list[str]:
        """What to put before a command for it to run there."""
        return ["ip", "netns", "exec", self._namespace(name)]

    def sent_bytes(self, name: str) -> int:
        """What went through the machine's slow uplink."""
        said = _run("tc", "-n", self._namespace(name), "-s", "qdisc", "show", "dev", "up0")
        (sent,) = re.findall(r"^qdisc tbf .* rate 100Mbit .*\n Sent (\d+) bytes", said, re.MULTILINE)
        return int(sent)

    def _build(self) -> None:
        switch = self._make("switch")
        _run("ip", "-n", switch, "link", "add", "br0", "type", "bridge")
        _run("ip", "-n", switch, "address", "add", f"{SWITCH_ADDRESS}/24", "dev", "br0")
        _run("ip", "-n", switch, "link", "set", "br0", "up")
        for name in self.names:
            space = self._make(name)
            port = f"to-{name}"
            _run(
                "ip", "-n", switch, "link", "add", port, "type", "veth", "peer", "name", "up0", "netns", space
            )
            _run("ip", "-n", switch, "link", "set", port, "master", "br0", "up")
            _run("ip", "-n", space, "link", "set", "lo", "up")
            _run("ip", "-n", space, "address", "add", f"{self.address(name)}/24", "dev", "up0")
            _run("ip", "-n", space, "link", "set", "up0", "up")
            _run("ip", "-n", space, "route", "add", "default", "via", SWITCH_ADDRESS)
            shape = ("tbf", "rate", RATE, "burst", "64kb", "latency", "100ms")
            for where, device in ((space, "up0"), (switch, port)):
                _run("tc", "-n", where, "qdisc", "add", "dev", device, "root", *shape)

    def _make(self, name: str) -> str:
        space = self._namespace(name)
        _run("ip", "netns", "add", space)
        self._made.append(space)
        return space

    def _remove(self) -> None:
        while self._made:
            _run("ip", "netns", "delete", self._made.pop())

    @staticmethod
    def _namespace(name: str) -> str:
        return f"dhtnode-{os.getpid()}-{name}"


def require() -> None:
    """Skip the test, and say why, where namespaces can't be made."""
    if os.geteuid() != 0:
        pytest.skip("network namespaces need root")
    for tool in ("ip", "tc"):
        if shutil.which(tool) is None:
            pytest.skip(f"there is no `{tool}` here; install iproute2")


def _run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
