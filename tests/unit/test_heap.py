"""What large work leaves free does not stay with the node."""

from __future__ import annotations

import subprocess
import sys

HOLES = """
import psutil
from dhtnode.heap import give_back
process = psutil.Process()
blocks = [bytearray(100_000) for _ in range(1000)]
kept = blocks[::20]
before = process.memory_info().rss
del blocks
freed = process.memory_info().rss
give_back()
print(before - freed, before - process.memory_info().rss)
"""


def test_memory_that_is_free_between_what_is_kept_goes_back_to_the_system() -> None:
    """In a process of its own: in this one others' objects lie in between."""
    done = subprocess.run([sys.executable, "-c", HOLES], capture_output=True, text=True, check=True)
    by_itself, given_back = map(int, done.stdout.split())
    assert given_back > 80_000_000
    assert given_back > by_itself + 50_000_000
