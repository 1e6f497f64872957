"""What `dhtnode run` shows: a log line for each finished round, and on a terminal what happens now."""

from __future__ import annotations

import logging
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

from dhtnode.cli.view import phase_line, round_line
from dhtnode.status import Status

log = logging.getLogger("dhtnode")


class ProgressView:
    """Use as a context manager; hand `update` to the node."""

    def __init__(self, console: Console) -> None:
        self._live = (
            Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        )
        self._last: Status | None = None

    def __enter__(self) -> ProgressView:
        if self._live:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._live:
            self._live.stop()

    def update(self, status: Status) -> None:
        """Show a fresh status; what is not new is not repeated."""
        last, self._last = self._last, status
        if status.addresses and (last is None or last.addresses != status.addresses):
            log.info("others reach this node with --peer %s", status.addresses[0])
        if last is None:
            log.info("%s", phase_line(status))
        elif status.round.number > last.round.number:
            log.info("%s", round_line(status))
        if self._live:
            line = Text(phase_line(status), overflow="ellipsis", no_wrap=True)
            self._live.update(line, refresh=True)
