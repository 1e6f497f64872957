"""`dhtnode run`: check everything that can be checked at once, then load the heavy parts and start."""

from __future__ import annotations

import asyncio
import signal
import sys

from rich.console import Console

from dhtnode.cli.logs import quiet_libraries, set_up_logs
from dhtnode.cli.progress import ProgressView
from dhtnode.config import RunOptions
from dhtnode.errors import Exit


def run_node_here(options: RunOptions, *, log_level: str, json_log: bool) -> int:
    """Run one node in this process until its rounds are done or the user stops it.

    Returns:
        The exit code.

    Raises:
        ConfigError: home, manifest, data or network can't be used.
    """
    console = Console(stderr=True)
    options.home.claim(options.manifest)
    with options.home.locked():
        for number in (signal.SIGINT, signal.SIGTERM):  # until the node has handlers of its own
            signal.signal(number, _leave)
        set_up_logs(options.home.log_path, log_level, as_json=json_log, console=console)
        import uvloop  # only now: what is above answers at once, torch and hivemind take seconds

        from dhtnode.app import run_node

        quiet_libraries()
        with ProgressView(console) as view, asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(run_node(options, view.update))


def _leave(*_: object) -> None:
    """Nothing has started yet, so there is nothing to finish."""
    sys.exit(Exit.OK)
