"""The real node, on a machine too slow to find its proof of work: penniless.py run SWARM.TOML ..."""

from __future__ import annotations

import time

from dhtnode.app import entrance
from dhtnode.cli import main

PAUSE_S = 0.05


def in_vain(swarm_id: bytes, peer: str, bits: int, start: int, tries: int) -> None:
    """Looks at some numbers, and finds nothing."""
    time.sleep(PAUSE_S)


entrance.find_nonce = in_vain  # type: ignore[attr-defined]
main()
