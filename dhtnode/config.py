"""What the operator of a node decides; what the swarm decides is in the manifest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dhtnode.home import Home
from dhtnode.manifest import Manifest
from dhtnode.status import Status

Device = Literal["cpu", "cuda"]

Progress = Callable[[Status], None]
"""Called with a fresh status whenever the phase changes, and about once a second."""


@dataclass(frozen=True)
class RunOptions:
    """Everything that `dhtnode run` was told."""

    manifest: Manifest
    home: Home
    """Open, claimed for the manifest's swarm and locked, all by the caller."""
    folder: Path
    """Where the manifest lies, and with it the file of a task of one's own."""
    peers: tuple[str, ...] = ()
    """Multiaddrs with /p2p/, beside those of the manifest and the remembered ones."""
    listen: tuple[str, ...] = ("/ip4/0.0.0.0/tcp/0",)
    """Multiaddrs to listen on; port 0 picks a free one."""
    announce: tuple[str, ...] = ()
    """Multiaddrs to tell others instead of the ones we see, for a forwarded port."""
    data: Path | None = None
    """File or folder with the data; None: the manifest's way (built in, cached, or from peers)."""
    device: Device = "cpu"
    threads: int | None = None
    """Threads of torch; None: torch decides. Several nodes on one machine want 1."""
    stay: bool = False
    """After the last round: go on serving state and data to late members."""
