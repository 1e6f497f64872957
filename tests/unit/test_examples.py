"""The documentation's own task, run as the reader is told to."""

from __future__ import annotations

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
    make, rehearse = commands()
    printed = []
    for command in (make, rehearse, rehearse):
        arguments = [str(data) if word == data.name else word for word in command]
        run = subprocess.run(
            [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, check=True
        )
        printed.append(run.stdout.splitlines())
    assert len(data.read_text().splitlines()) == 570
    *_, last = printed[1]
    accuracy = re.search(r"^round 10  loss \S+  accuracy (\S+)  [0-9a-f]{16}$", last)
    assert accuracy is not None
    assert float(accuracy[1]) > 0.9
