"""The documentation's own task, run as the reader is told to."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def commands() -> list[list[str]]:
    """The indented commands of docs/tasks.md that need no network."""
    lines = re.findall(r"^    \.venv/bin/python (.+)$", (ROOT / "docs/tasks.md").read_text(), re.MULTILINE)
    return [line.split() for line in lines]


def test_a_reader_can_run_the_example(tmp_path: Path) -> None:
    data = tmp_path / "tumour.csv"
    printed = ""
    for command in commands():
        arguments = [str(data) if word == data.name else word for word in command]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # a tiny model, beside other tests
        run = subprocess.run(
            [sys.executable, *arguments],
            cwd=ROOT,
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        )
        printed = run.stdout
    assert len(data.read_text().splitlines()) == 570
    rounds = re.findall(r"^round +\d+  loss \S+  accuracy (\S+)  [0-9a-f]{16}$", printed, re.MULTILINE)
    assert len(rounds) == 10
    assert float(rounds[-1]) > 0.9
