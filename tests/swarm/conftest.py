"""Swarms of real processes. Each test has a folder of its own and leaves nothing running."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.swarm.harness import Swarm

MakeSwarm = Callable[..., Swarm]


@pytest.fixture
def make_swarm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MakeSwarm]:
    """Makes a swarm (the arguments are those of `Swarm`); its processes end with the test."""
    monkeypatch.setenv("DHTNODE_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("DHTNODE_HOME", raising=False)
    made: list[Swarm] = []

    def make(settings: dict[str, object] | None = None, **how: Any) -> Swarm:
        folder = tmp_path / f"s{len(made)}"
        folder.mkdir()
        made.append(Swarm(folder, settings, **how))
        return made[-1]

    yield make
    for swarm in made:
        swarm.stop()
