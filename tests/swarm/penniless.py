"""The real node, on a machine too slow to find its proof of work: penniless.py [ATTACK] run SWARM.TOML ..."""

from __future__ import annotations

import runpy
import sys
import time
from pathlib import Path

from dhtnode.app import entrance
from dhtnode.cli import main

PAUSE_S = 0.05
CHEAT = Path(__file__).parents[1] / "adversary" / "cheat.py"


def in_vain(swarm_id: bytes, peer: str, bits: int, start: int, tries: int) -> None:
    """Looks at some numbers, and finds nothing."""
    time.sleep(PAUSE_S)


entrance.find_nonce = in_vain  # type: ignore[attr-defined]
if sys.argv[1] == "run":
    main()
else:
    runpy.run_path(str(CHEAT), run_name="__main__")
