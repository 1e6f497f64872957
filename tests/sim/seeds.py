"""How many seeds a kind of test runs with; everything in the simulator follows from one.

`SWEEP=10 scripts/test tests/sim` tries ten times as many. A seed that fails is named by its test, and fails
again; add it to the test beside those that it runs with.
"""

from __future__ import annotations

import os

SWEEP = int(os.environ.get("SWEEP", "1"))


def seeds(count: int, first: int = 0) -> range:
    """As many seeds as a usual run has, times the sweep's factor."""
    return range(first, first + count * SWEEP)
