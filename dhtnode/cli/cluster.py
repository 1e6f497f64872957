"""Several real nodes on this machine: each a process of its own, with its own home and daemon."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from dhtnode.control import NotRunningError, ask
from dhtnode.errors import ConfigError, Exit
from dhtnode.home import Home
from dhtnode.status import Status, parse_status

POLL_S = 0.25
START_DEADLINE_S = 120.0
"""Loading torch four times over on one busy core takes most of it."""
STOP_DEADLINE_S = 20.0
ANSWER_S = 60.0
"""Many nodes on few cores may leave one without a turn for long; that is no failure."""
_LAST_LINES = 5
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class LocalNode:
    """One started node."""

    home: Home
    process: subprocess.Popen[bytes]
    output: Path

    def status(self) -> Status | None:
        """Its own word; None while it starts.

        Raises:
            ConfigError: the process has ended; quotes its last lines.
        """
        try:
            return parse_status(ask(self.home.control_path, "status", ANSWER_S))
        except NotRunningError:
            self.check()
            return None

    def sample(self) -> str:
        """Text that its model writes now; empty for tasks that write none."""
        try:
            return msgspec.json.decode(ask(self.home.control_path, "sample", ANSWER_S), type=str)
        except NotRunningError:
            self.check()
            return ""

    def check(self) -> None:
        """Raise if the process has ended."""
        code = self.process.poll()
        if code is not None:
            lines = self.output.read_text(errors="replace").splitlines()[-_LAST_LINES:]
            raise ConfigError(
                f"the node in {self.home.root} ended with code {code}: {' | '.join(lines) or 'no output'}",
                Exit.FAILED,
            )


@contextmanager
def local_nodes() -> Iterator[list[LocalNode]]:
    """A list to start nodes into; when the block ends, however it ends, all of them are stopped."""
    nodes: list[LocalNode] = []
    try:
        yield nodes
    finally:
        stop_nodes(nodes)


def start_node(manifest: Path, home: Path, arguments: Sequence[str] = ()) -> LocalNode:
    """Start `dhtnode run` on loopback, on a free port."""
    command = [sys.executable, "-P", "-m", "dhtnode.cli", "run", str(manifest), "--home", str(home)]
    return launch([*command, "--listen", "/ip4/127.0.0.1/tcp/0", *arguments], home)


def launch(command: Sequence[str], home: Path) -> LocalNode:
    """Start a command that runs a node in this home, with its output beside the node's log."""
    opened = Home.open(home)
    output = opened.root / "output.log"
    with output.open("wb") as sink:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C reaches the node through us, and once
            preexec_fn=end_with_parent if sys.platform == "linux" else None,
        )
    return LocalNode(opened, process, output)


def wait_until_reachable(node: LocalNode) -> Status:
    """The status of a node that others can dial.

    Raises:
        ConfigError: it ended, or takes too long.
    """
    deadline_s = time.monotonic() + START_DEADLINE_S
    while time.monotonic() < deadline_s:
        status = node.status()
        if status is not None and status.addresses:
            return status
        time.sleep(POLL_S)
    raise ConfigError(
        f"the node in {node.home.root} did not start within {START_DEADLINE_S:.0f} s; look at {node.output}",
        Exit.FAILED,
    )


def stop_nodes(nodes: Sequence[LocalNode]) -> None:
    """SIGTERM to all, then SIGKILL to the process group of who is left."""
    for node in nodes:
        if node.process.poll() is None:
            node.process.terminate()
    deadline_s = time.monotonic() + STOP_DEADLINE_S
    for node in nodes:
        try:
            node.process.wait(max(0.0, deadline_s - time.monotonic()))
        except subprocess.TimeoutExpired:
            os.killpg(node.process.pid, signal.SIGKILL)
            node.process.wait()


def end_with_parent() -> None:
    """In the child: SIGTERM when the parent dies, also by SIGKILL (Linux)."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
