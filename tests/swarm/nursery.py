"""Where the nodes of tests come from: a process that has loaded all they need, and forks.

Most of what a node's start costs is loading torch, hivemind and what they load, 4 s of CPU on a slow machine,
150 times in these tests. A forked node is a process like any other: `python -P` with the same words, from
the moment on when all is imported. Nodes that start from nothing, as users start them, are in test_machines,
test_refusals and `dhtnode demo`.
"""

from __future__ import annotations

import os
import runpy
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from multiprocessing import forkserver, get_context
from pathlib import Path

from dhtnode.cli.cluster import POLL_S, LocalNode, end_with_parent, launch
from dhtnode.home import Home

PYTHON = (sys.executable, "-P")
_nursery = get_context("forkserver")
_nursery.set_forkserver_preload([__name__, "dhtnode.app.node", "tests.swarm.drowsy", "tests.swarm.warmed"])


class Forked:
    """One node's process, with the face of `subprocess.Popen`.

    Args:
        words: what follows `python -P`.
        output: where it writes.
    """

    def __init__(self, words: Sequence[str], output: Path) -> None:
        self._process = _nursery.Process(target=_run, args=(words, output, dict(os.environ)))
        self._process.start()
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    @property
    def returncode(self) -> int | None:
        return self._process.exitcode

    def poll(self) -> int | None:
        return self.returncode

    def wait(self) -> int:
        while (code := self.poll()) is None:
            time.sleep(POLL_S / 10)
        return code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def start(line: Sequence[str], home: Path) -> LocalNode:
    """As `dhtnode.cli.cluster.launch`; a plain Python program is forked."""
    if tuple(line[:2]) != PYTHON:
        return launch(line, home)
    opened = Home.open(home)
    output = opened.root / "output.log"
    return LocalNode(opened, Forked(line[2:], output), output)  # type: ignore[arg-type]


def _run(words: Sequence[str], output: Path, environment: Mapping[str, str]) -> None:
    """In the child: be `python -P WORDS`."""
    os.setsid()
    os.close(forkserver._forkserver._forkserver_alive_fd)  # type: ignore[attr-defined]
    # As long as anybody holds that end of the pipe, the nursery does not see that the tests have been killed.
    if sys.platform == "linux":
        end_with_parent()
    sink = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
        os.dup2(sink, stream.fileno())
    os.environ.clear()
    os.environ.update(environment)
    if words[0] == "-m":
        sys.argv = list(words[1:])
        runpy.run_module(words[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = list(words)
        runpy.run_path(words[0], run_name="__main__")
