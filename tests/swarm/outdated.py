"""The real node, of a version that can't change one key: outdated.py SECTION KEY run SWARM.TOML ..."""

from __future__ import annotations

import sys

from dhtnode.amendments import AMENDABLE
from dhtnode.cli import main

section, key = sys.argv.pop(1), sys.argv.pop(1)
AMENDABLE[section] = tuple(known for known in AMENDABLE[section] if known != key)
main()
